"""Declared schemas: a table's TOML file <-> ``Schema`` <-> ``pyarrow.Schema``, and their fingerprint.

pyarrow is imported only by the functions that answer with its types.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from briquette.errors import SchemaError
from briquette.model import ExtraFields, Field, Limits, Schema
from briquette.schemas.limits import NAMES, changed_limits
from briquette.schemas.types import (
    JSON,
    Decimal,
    ListOf,
    Plain,
    Struct,
    Timestamp,
    TypeWord,
    parse_type,
    promote,
)
from briquette.shipped import shipped

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    import pyarrow as pa

__all__ = [
    "RESCUED",
    "TableSpec",
    "arrow_schema",
    "arrow_type",
    "check_schema",
    "dump_schema",
    "load_schema",
    "load_table",
    "parse_table",
    "parse_type",
    "promote",
    "schema_fingerprint",
    "table_names",
    "type_word",
]

RESCUED = "_rescued"  # the column that holds unknown fields with extra_fields = "rescue"

_TABLE_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\Z")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_NOT_NULL = re.compile(r"\s+not\s+null\s*\Z")
_KEYS = ("name", "null_values", "unique_key", "extra_fields", "max_reject_ratio", "limits", "columns")


@dataclasses.dataclass(frozen=True, slots=True)
class TableSpec:
    """What a table's file declares: its schema, and the policies that belong to its data."""

    schema: Schema
    unique_key: tuple[str, ...] = ()
    extra_fields: ExtraFields = ExtraFields.IGNORE
    max_reject_ratio: float = 0.05
    limits: Limits = dataclasses.field(default_factory=Limits)

    def spec_defaults(self) -> dict[str, Any]:
        """The fields of a CompactionSpec that this table decides, apart from its schema."""
        return {
            "unique_key": self.unique_key,
            "extra_fields": self.extra_fields,
            "max_reject_ratio": self.max_reject_ratio,
            "limits": self.limits,
        }


# -- Arrow -------------------------------------------------------------------------------------


def arrow_type(word: str) -> pa.DataType:
    """The Arrow type of a type word: ``json`` becomes string, list elements are named ``element``."""
    return _to_arrow(parse_type(word))


def _to_arrow(word: TypeWord) -> pa.DataType:
    import pyarrow as pa

    match word:
        case Timestamp(unit, utc):
            return pa.timestamp(unit, "UTC" if utc else None)
        case Decimal(precision, scale):
            return pa.decimal128(precision, scale)
        case ListOf(element):
            return pa.list_(pa.field("element", _to_arrow(element)))
        case Struct(fields):
            return pa.struct([pa.field(name, _to_arrow(kind)) for name, kind in fields])
        case Plain(name):
            factory = {"bool": "bool_", "date": "date32", "json": "string"}.get(name, name)
            return getattr(pa, factory)()


def arrow_schema(schema: Schema, *, rescued: bool = False) -> pa.Schema:
    """The Arrow schema in column order, nullability kept; ``rescued`` adds ``_rescued`` at the end."""
    import pyarrow as pa

    fields = [pa.field(f.name, arrow_type(f.type), nullable=f.nullable) for f in schema.fields]
    if rescued:
        fields.append(pa.field(RESCUED, pa.string()))
    return pa.schema(fields)


def type_word(kind: pa.DataType) -> TypeWord | None:
    """The narrowest type word that holds an Arrow type, or None where the engine has no word for it.

    What has no word inside of a list or a struct is ``json`` there; Arrow's null type is ``null``.
    """
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return type_word(kind.value_type)
    if types.is_timestamp(kind):
        return Timestamp(kind.unit, kind.tz is not None)
    if types.is_decimal(kind) and 0 <= kind.scale <= kind.precision <= 38:
        return Decimal(kind.precision, kind.scale)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return ListOf(type_word(kind.value_type) or JSON)
    if types.is_struct(kind):
        inner = tuple((child.name, type_word(child.type) or JSON) for child in kind)
        names = {name for name, _ in inner}
        return Struct(inner) if names and "" not in names and len(names) == len(inner) else None
    if types.is_floating(kind):
        return Plain("float64" if kind.bit_width == 64 else "float32")
    if types.is_date(kind):
        return Plain("date")
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return Plain("string")
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return Plain("binary")
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_null(kind):
        return Plain(str(kind))
    return None


# -- check and fingerprint ---------------------------------------------------------------------


def check_schema(schema: Schema, *, where: str = "the schema") -> Schema:
    """The schema with canonical type words; SchemaError where it cannot be used."""
    if not schema.fields:
        raise SchemaError(f"{where} has no columns.", hint="Name at least one under [columns].")
    seen: set[str] = set()
    fields = []
    for field in schema.fields:
        if not field.name or not _is_unicode(field.name):
            raise SchemaError(f"{where}: column name {field.name!r} is empty or not valid Unicode.")
        if field.name == RESCUED:
            hint = 'It holds the unknown fields when extra_fields = "rescue".'
            raise SchemaError(f"{where}: {RESCUED} is the engine's own column.", hint=hint)
        if field.name in seen:
            raise SchemaError(f"{where}: column {field.name!r} is declared twice.")
        seen.add(field.name)
        try:
            word = str(parse_type(field.type))
        except SchemaError as error:
            raise SchemaError(f"{where}, column {field.name!r}: {error.message}", hint=error.hint) from error
        fields.append(dataclasses.replace(field, type=word))
    return dataclasses.replace(schema, fields=tuple(fields))


def schema_fingerprint(schema: Schema) -> str:
    """SHA-256 of what can change the rows: columns in order with canonical types, and the null texts.

    The schema's name is not part of it: the same columns under another name read the same.
    """
    checked = check_schema(schema)
    document = {
        "columns": [{"name": f.name, "nullable": f.nullable, "type": f.type} for f in checked.fields],
        "null_values": sorted(set(checked.null_values)),
    }
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# -- TOML --------------------------------------------------------------------------------------


def load_schema(path_or_name: str | Path, *, tables: Path | None = None) -> Schema:
    """Read the declared schema of a ``.toml`` file or of a table's name; returns it as ``Schema``.

    Raises ``SchemaError`` where there is no such table, or its file cannot be read or is no schema.
    """
    return load_table(path_or_name, tables=tables).schema


def load_table(path_or_name: str | Path, *, tables: Path | None = None) -> TableSpec:
    """What a table's file declares: a path that ends in ``.toml``, or a name.

    A name is looked up in the directory ``tables`` (if given), then among the tables that briquette brings.
    """
    text = str(path_or_name)
    if isinstance(path_or_name, Path) or text.endswith(".toml"):
        return parse_table(_read(Path(text)), where=text)
    if not _TABLE_NAME.match(text):
        hint = "Give a table's name such as market.prices, or a path that ends in .toml."
        raise SchemaError(f"{text!r} is not a table's name.", hint=hint)
    for directory in _directories(tables):
        file = directory / f"{text}.toml"
        if file.is_file():
            table = parse_table(_read(file), where=f"{text}.toml")
            if table.schema.name not in ("", text):
                found = f"{text}.toml declares name = {table.schema.name!r}."
                raise SchemaError(found, hint="Make them equal.")
            return dataclasses.replace(table, schema=dataclasses.replace(table.schema, name=text))
    names = table_names(tables=tables)
    hint = _did_you_mean(text, names) or f"Known tables: {', '.join(names) or 'none'}."
    raise SchemaError(f"There is no table {text!r}.", hint=f"{hint} briquette infer writes a table's file.")


def table_names(*, tables: Path | None = None) -> tuple[str, ...]:
    """The names that ``load_table`` knows, sorted."""
    files = [file.name for directory in _directories(tables) for file in directory.iterdir()]
    return tuple(sorted({name.removesuffix(".toml") for name in files if name.endswith(".toml")}))


def _directories(tables: Path | None) -> list[Traversable]:
    return [place for place in (tables, shipped("tables")) if place is not None and place.is_dir()]


def _read(file: Traversable) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        hint = "Check the path; briquette infer --out writes such a file from the data."
        raise SchemaError(f"{file} cannot be read ({why}).", hint=hint) from error


def parse_table(text: str, *, where: str = "the table's file") -> TableSpec:
    r"""The TOML text of a table's file, checked strictly: an unknown key is an error, not a silent default.

    >>> parse_table('[columns]\nid = "int64 not null"\nprice = "float64"').schema.fields[0]
    Field(name='id', type='int64', nullable=False)
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SchemaError(f"{where} is not TOML: {error}.") from error
    for key in document:
        if key not in _KEYS:
            hint = _did_you_mean(key, _KEYS) or f"Known keys: {', '.join(_KEYS)}."
            raise SchemaError(f"{where} has an unknown key {key!r}.", hint=hint)

    def get(key: str, kinds: type | tuple[type, ...], expected: str, default: Any) -> Any:
        value = document.get(key, default)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise SchemaError(f"{where}: {key} must be {expected}, not {value!r}.")
        return value

    def texts(key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        values = get(key, (list, tuple), "a list of strings", default)
        if not all(isinstance(value, str) for value in values):
            raise SchemaError(f"{where}: {key} must be a list of strings, not {values!r}.")
        return tuple(values)

    columns = get("columns", dict, "a table", {})
    schema = Schema(
        fields=tuple(_parse_column(name, word, where) for name, word in columns.items()),
        null_values=texts("null_values", Schema(()).null_values),
        name=get("name", str, "a string", ""),
    )
    schema = check_schema(schema, where=where)
    unique_key = texts("unique_key", ())
    for column in unique_key:
        if column not in columns:
            hint = _did_you_mean(column, tuple(columns))
            raise SchemaError(f"{where}: unique_key names {column!r}, which is no column.", hint=hint)
    policy = get("extra_fields", str, "a string", ExtraFields.IGNORE.value)
    if policy not in list(ExtraFields):
        hint = f"Use one of {', '.join(ExtraFields)}."
        raise SchemaError(f"{where}: extra_fields = {policy!r} is no policy.", hint=hint)
    ratio = get("max_reject_ratio", (int, float), "a number", TableSpec(schema).max_reject_ratio)
    if not 0 <= ratio <= 1:
        hint = "It is a share of the records: 0.05 means 5 %."
        raise SchemaError(f"{where}: max_reject_ratio must lie between 0 and 1, not {ratio!r}.", hint=hint)
    try:
        limits = changed_limits(get("limits", dict, "a table", {}), Limits())
    except ValueError as error:
        raise SchemaError(f"{where}: under [limits], {error}.") from error
    return TableSpec(schema, unique_key, ExtraFields(policy), float(ratio), limits)


def _parse_column(name: str, word: object, where: str) -> Field:
    if isinstance(word, dict):
        hint = 'Write: name = "type", or name = "type not null"; quote a name that has a dot.'
        raise SchemaError(f"{where}: column {name!r} is a TOML table, not a type word.", hint=hint)
    if not isinstance(word, str):
        raise SchemaError(f"{where}: the type of column {name!r} must be a string, not {word!r}.")
    required = _NOT_NULL.search(word)
    return Field(name, word[: required.start()] if required else word, nullable=required is None)


def dump_schema(table: TableSpec | Schema, *, comments: Mapping[str, str] | None = None) -> str:
    """TOML text that ``parse_table`` reads back as an equal value; ``comments`` go behind their columns."""
    if isinstance(table, Schema):
        table = TableSpec(table)
    schema = check_schema(table.schema)
    plain = TableSpec(schema)
    lines = []
    if schema.name:
        lines.append(f"name = {_toml(schema.name)}")
    if schema.null_values != Schema(()).null_values:
        lines.append(f"null_values = {_toml(schema.null_values)}  # unquoted CSV texts that mean null")
    if table.unique_key:
        lines.append(f"unique_key = {_toml(table.unique_key)}")
    if table.extra_fields != plain.extra_fields:
        lines.append(f"extra_fields = {_toml(table.extra_fields.value)}")
    if table.max_reject_ratio != plain.max_reject_ratio:
        lines.append(f"max_reject_ratio = {table.max_reject_ratio!r}")
    limits = [(name, getattr(table.limits, name)) for name in NAMES]
    changed = [f"{name} = {value}" for name, value in limits if value != getattr(plain.limits, name)]
    lines += ["", "[limits]", *changed] if changed else []
    lines += ["", "[columns]  # in file order"] if lines else ["[columns]  # in file order"]
    keys = [f.name if _BARE_KEY.match(f.name) else _toml(f.name) for f in schema.fields]
    width = min(max(map(len, keys)), 40)
    for key, field in zip(keys, schema.fields, strict=True):
        text = (comments or {}).get(field.name, "")
        comment = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        word = field.type if field.nullable else f"{field.type} not null"
        lines.append(f"{key:<{width}} = {_toml(word)}" + (f"  # {comment}" if comment else ""))
    return "\n".join(lines) + "\n"


def _toml(value: str | tuple[str, ...]) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _did_you_mean(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]}?" if close else ""

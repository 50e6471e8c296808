"""What Arrow's values are to C5: each as the JSON value, or the text, that says it exactly.

Nothing is asked of Arrow's own conversion to Python objects: it fails for far and fine times, makes pairs
of maps and rounds to microseconds.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from briquette.decoding.parquet.scalars import BINARY, first_of, scalars
from briquette.decoding.rows.values import NotFinite, Unfit, Unsayable, compact, parsed_json, quoted
from briquette.schemas.types import ColumnType, ListOf, Plain, Struct

types = pa.types
T = TypeVar("T")

_TEXT = Plain("string")
_DIGITS = 1_000  # of a number in JSON text that stands in a Parquet value
_LISTS = (types.is_list, types.is_large_list, types.is_fixed_size_list)
_VIEWS = (types.is_list_view, types.is_large_list_view)


@dataclass(frozen=True, slots=True)
class Form:
    """What Parquet says of a column beyond Arrow's type, for each leaf of a nested one.

    ``mark`` is ``int96`` (a time whose twin in milliseconds tells where its count has wrapped), ``interval``,
    ``opaque`` (bytes whose logical type is none of text), or "".
    """

    mark: str = ""
    children: tuple[Form, ...] = ()

    def marks(self) -> Iterator[str]:
        """The marks of all leaves."""
        yield self.mark
        for child in self.children:
            yield from child.marks()


def form_of(kind: pa.DataType, marks: Iterator[str]) -> Form:
    """The form of a type; ``marks`` gives one for each leaf, in the order of the file's columns."""
    if isinstance(kind, pa.BaseExtensionType):
        return form_of(kind.storage_type, marks)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return form_of(kind.value_type, marks)
    if kind.num_fields:
        return Form(children=tuple(form_of(child, marks) for child in _child_types(kind)))
    return Form(next(marks, ""))


def _child_types(kind: pa.DataType) -> list[pa.DataType]:
    if types.is_map(kind):
        return [kind.key_type, kind.item_type]
    return [kind.field(i).type for i in range(kind.num_fields)]


class Doubled(dict[str, object]):
    """An object made of a map in which a key occurs more than once: the last value counts."""


class Tokens:
    """Columns as lists of tokens; ``doubled`` says that some map had a key twice."""

    def __init__(self) -> None:
        self.doubled = False

    def of(
        self, array: pa.Array, form: Form, column_type: ColumnType | None = None, twin: pa.Array | None = None
    ) -> list[Any]:
        """The values of one column, or one level of it, for a place that is declared as ``column_type``.

        A token is what the JSON reader gives: str, Number, NotFinite, bool, None, list, dict; or Unsayable.
        """
        kind = array.type
        if isinstance(kind, pa.BaseExtensionType):
            return self._extension(array, form, column_type, twin)
        if types.is_dictionary(kind):
            return self._dictionary(array, form, column_type)
        if types.is_run_end_encoded(kind):
            return self.of(array.dictionary_decode(), form, column_type, twin)
        if types.is_map(kind):
            return self._maps(array, form, column_type, twin)
        if first_of(kind, _VIEWS):
            return self._views(array, form, column_type, twin)
        if first_of(kind, _LISTS):
            return self._lists(array, form, column_type, twin)
        if types.is_struct(kind):
            return self._structs(array, form, column_type, twin)
        return scalars(array, form.mark, column_type, twin)

    # -- nested --------------------------------------------------------------------------------

    def _lists(
        self, array: pa.Array, form: Form, column_type: ColumnType | None, twin: pa.Array | None
    ) -> list[Any]:
        offsets, elements = elements_of(array, array.values)
        twins = elements_of(twin, twin.values)[1] if twin is not None else None
        inner = column_type.element if isinstance(column_type, ListOf) else None
        return _per_row(array, offsets, self.of(elements, form.children[0], inner, twins), list)

    def _views(
        self, array: pa.Array, form: Form, column_type: ColumnType | None, twin: pa.Array | None
    ) -> list[Any]:
        inner = column_type.element if isinstance(column_type, ListOf) else None
        elements = self.of(array.values, form.children[0], inner, twin.values if twin is not None else None)
        begins, sizes = array.offsets.to_pylist(), array.sizes.to_pylist()
        return [
            elements[begin : begin + size] if fine else None
            for fine, begin, size in zip(_valid(array), begins, sizes, strict=True)
        ]

    def _structs(
        self, array: pa.Array, form: Form, column_type: ColumnType | None, twin: pa.Array | None
    ) -> list[Any]:
        column_types = dict(column_type.fields) if isinstance(column_type, Struct) else {}
        names = [array.type.field(i).name for i in range(array.type.num_fields)]
        columns = [
            self.of(
                array.field(i),
                form.children[i],
                column_types.get(name),
                twin.field(i) if twin is not None else None,
            )
            for i, name in enumerate(names)
        ]
        valid = _valid(array)
        rows = zip(*columns, strict=True) if columns else (() for _ in valid)
        return [
            dict(zip(names, row, strict=True)) if fine else None
            for fine, row in zip(valid, rows, strict=True)
        ]

    def _maps(
        self, array: pa.Array, form: Form, column_type: ColumnType | None, twin: pa.Array | None
    ) -> list[Any]:
        offsets, keys = elements_of(array, array.keys)
        items = elements_of(array, array.items)[1]
        key_twins, item_twins = (
            (None, None)
            if twin is None
            else (
                elements_of(twin, twin.keys)[1],
                elements_of(twin, twin.items)[1],
            )
        )
        told = self.of(keys, form.children[0], None, key_twins)
        names = [_name(key) for key in told]
        column_types = dict(column_type.fields) if isinstance(column_type, Struct) else {}
        values = self.of(items, form.children[1], None, item_twins)
        # Where a member is declared, its value is read for that: bytes may be binary in one, text in another.
        declared = {w: self.of(items, form.children[1], w, item_twins) for w in set(column_types.values())}
        for at, name in enumerate(names):
            if isinstance(name, str) and name in column_types:
                values[at] = declared[column_types[name]][at]
        made = _per_row(array, offsets, list(zip(names, values, told, strict=True)), self._object)
        return [None if m is None else _as_text(m) for m in made] if column_type == _TEXT else made

    def _object(self, entries: list[tuple[str | None, object, object]]) -> object:
        """A map's entries, each the key as a name, the value, and the key as it is, as an object."""
        made = {name: value for name, value, _ in entries if name is not None}
        if any(name is None for name, _, _ in entries):
            shown = compact([[key, value] for _, value, key in entries], non_finite=quoted)
            return Unsayable(shown, "a key of the map is null, NaN, infinite, nested or no text")
        if len(made) == len(entries):
            return made
        self.doubled = True
        return Doubled(made)

    def _dictionary(self, array: pa.Array, form: Form, column_type: ColumnType | None) -> list[Any]:
        if len(array.dictionary) > len(array):
            return self.of(array.dictionary_decode(), form, column_type)
        inner = self.of(array.dictionary, form, column_type)
        return [None if i is None else inner[i] for i in array.indices.to_pylist()]

    def _extension(
        self, array: pa.Array, form: Form, column_type: ColumnType | None, twin: pa.Array | None
    ) -> list[Any]:
        name, storage = array.type.extension_name, array.storage
        tokens = self.of(storage, form, BINARY if name == "arrow.uuid" else column_type, twin)
        if name == "arrow.uuid" and column_type != BINARY:
            return [None if t is None else _uuid_text(base64.b64decode(t)) for t in tokens]
        if name == "arrow.json" and column_type not in (_TEXT, BINARY):
            return [None if t is None else _parsed(t) for t in tokens]
        if name == "arrow.bool8":
            return [None if t is None else t != "0" for t in tokens]
        return tokens


def holds_doubled(token: object) -> bool:
    """Whether a map with a key twice lies in a token."""
    if isinstance(token, Doubled | _DoubledText):
        return True
    inner = token.values() if isinstance(token, dict) else token if isinstance(token, list) else ()
    return any(map(holds_doubled, inner))


class _DoubledText(str):
    """The text of an object made of a map in which a key occurs more than once."""

    __slots__ = ()


def _as_text(made: object) -> str:
    """A map's object as JSON text."""
    if isinstance(made, Unsayable):
        return made
    try:
        text = compact(made)
    except Unfit as unfit:
        return Unsayable(compact(made, non_finite=quoted), str(unfit))
    return _DoubledText(text) if holds_doubled(made) else text


def _name(key: object) -> str | None:
    """A map's key as the key of an object; None where it has no text."""
    if isinstance(key, bool):
        return "true" if key else "false"
    return None if isinstance(key, NotFinite) or not isinstance(key, str) else str(key)


def _valid(array: pa.Array) -> list[bool]:
    return array.is_valid().to_pylist() if array.null_count else [True] * len(array)


def elements_of(array: pa.Array, values: pa.Array) -> tuple[list[int], pa.Array]:
    """Where each list or map begins and ends in those of ``values`` that belong to the array; and these."""
    if types.is_fixed_size_list(array.type):
        size = array.type.list_size
        at = [i * size for i in range(len(array) + 1)]
        return at, values.slice(array.offset * size, len(array) * size)
    offsets = array.offsets.to_numpy(zero_copy_only=False)
    first, last = int(offsets[0]), int(offsets[-1])
    return (offsets - first).tolist(), values.slice(first, last - first)


def _per_row(
    array: pa.Array, offsets: list[int], elements: list[T], make: Callable[[list[T]], object]
) -> list[Any]:
    return [
        make(elements[offsets[i] : offsets[i + 1]]) if fine else None for i, fine in enumerate(_valid(array))
    ]


def _parsed(text: str) -> object:
    try:
        return parsed_json(text, _DIGITS)
    except Unfit as unfit:
        return Unsayable(text, str(unfit))


def _uuid_text(value: bytes) -> str:
    digits = value.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

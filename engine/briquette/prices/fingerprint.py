"""The schema fingerprint that the crawler decision compares: the columns as Spark names their types.

One JSON document: ``columns`` (name and type, in file order, without ``ds``), ``codec``, and ``hash``, the
SHA-256 of the columns alone. docs/transform.md has the mapping of types.
"""

from __future__ import annotations

import hashlib
import json

from briquette.errors import SchemaError
from briquette.model import Schema
from briquette.schemas.types import ColumnType, Decimal, ListOf, Plain, Struct, Timestamp, parse_type

PARTITION_COLUMN = "ds"

# Spark has no unsigned numbers: each becomes the next type that holds it.
_SPARK = {
    "string": "string",
    "json": "string",
    "bool": "boolean",
    "int8": "tinyint",
    "int16": "smallint",
    "int32": "int",
    "int64": "bigint",
    "uint8": "smallint",
    "uint16": "int",
    "uint32": "bigint",
    "uint64": "decimal(20,0)",
    "float32": "float",
    "float64": "double",
    "date": "date",
    "binary": "binary",
}


def simple_string(declared: str) -> str:
    """What Spark's ``simpleString`` says of a column that was declared with this type.

    >>> simple_string("timestamp[us, UTC]"), simple_string("list<struct<a: int64, b: decimal(10, 2)>>")
    ('timestamp', 'array<struct<a:bigint,b:decimal(10,2)>>')
    """
    return _spark(parse_type(declared))


def _spark(column_type: ColumnType) -> str:
    match column_type:
        case Timestamp("ns", _):
            return "bigint"  # Spark reads nanoseconds only as a number (spark.sql.legacy.parquet.nanosAsLong)
        case Timestamp(_, utc):
            return "timestamp" if utc else "timestamp_ntz"
        case Decimal(precision, scale):
            return f"decimal({precision},{scale})"
        case ListOf(element):
            return f"array<{_spark(element)}>"
        case Struct(fields):
            return "struct<" + ",".join(f"{name}:{_spark(kind)}" for name, kind in fields) + ">"
        case Plain(name) if name in _SPARK:
            return _SPARK[name]
    raise SchemaError(
        f"Spark has no type for {column_type}.", hint="Declare the column with a type that Spark has."
    )


def columns_of(schema: Schema) -> list[dict[str, str]]:
    """The columns in file order, without the partition column."""
    return [
        {"name": f.name, "type": simple_string(f.type)} for f in schema.fields if f.name != PARTITION_COLUMN
    ]


def columns_hash(columns: list[dict[str, str]]) -> str:
    """SHA-256 of the columns as compact JSON with sorted keys."""
    text = json.dumps({"columns": columns}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_document(schema: Schema, codec: str) -> bytes:
    """The document of a schema, as it is stored."""
    columns = columns_of(schema)
    document = {"columns": columns, "codec": codec, "hash": columns_hash(columns)}
    return json.dumps(document).encode()


def hash_of(document: bytes) -> str:
    """The hash that a stored document says, or "" for one that cannot be read."""
    try:
        found = json.loads(document)["hash"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return found if isinstance(found, str) else ""

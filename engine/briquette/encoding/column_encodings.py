"""Which Parquet encoding each column gets, from its type and its values; and the columns' one form.

Only encodings that every reader of the pipeline knows: PLAIN, dictionary and DELTA_BINARY_PACKED.
(BYTE_STREAM_SPLIT would suit some columns, but Spark's vectorized reader refuses the whole file.)
All arithmetic is on integers, so the same rows get the same encodings on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

DICTIONARY_LIMIT_BYTES = 1 << 20  # a larger dictionary outgrows caches, the readers' and ours
SAMPLE_ROWS = 4_096
_SAMPLE_BLOCKS = 4
_TEXT_BYTES_LIMIT = (1 << 31) - 1  # of one array with 32-bit offsets

# Of 4,096 draws from 2**bits equally frequent values so many are expected to be distinct.
_EXPECTED_DISTINCT = (
    1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1005, 1771, 2589, 3223, 3624, 3850, 3971, 4033,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Encodings:
    """Leaf columns by their Parquet path: those with a dictionary, those as deltas; the others are plain."""

    dictionary: frozenset[str] = frozenset()
    delta: frozenset[str] = frozenset()


Measure = Callable[[pa.Table, Encodings], dict[str, int]]  # encoded bytes of each leaf column, by path


# -- one form ----------------------------------------------------------------------------------


def canonical(table: pa.Table) -> pa.Table:
    """The same rows, one chunk a column; texts with few values as dictionaries in order of appearance.

    Parquet has no timestamps in seconds: they become milliseconds.
    """
    columns = [_text(c) if is_text(c.type) else joined(c) for c in table.columns]
    return _table(columns, table.schema)


def part_of(table: pa.Table, start: int, rows: int) -> pa.Table:
    """Some rows of a canonical table, canonical again: a dictionary holds only what the rows use."""
    columns = [c.chunk(0).slice(start, rows) for c in table.columns]
    return _table([_in_order(c) if types.is_dictionary(c.type) else c for c in columns], table.schema)


def _table(columns: list[pa.Array], schema: pa.Schema) -> pa.Table:
    fields = [pa.field(f.name, c.type, f.nullable) for f, c in zip(schema, columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def is_text(kind: pa.DataType) -> bool:
    """Whether values have a length of their own: text or bytes, dictionary-encoded or not."""
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
    )


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type that Parquet gives back: no dictionaries, no variants in memory, milliseconds for seconds."""
    if types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if types.is_list(kind) or types.is_large_list(kind):
        element = kind.value_field
        return pa.list_(pa.field("element", plain_type(element.type), element.nullable))
    if types.is_struct(kind):
        return pa.struct([pa.field(f.name, plain_type(f.type), f.nullable) for f in kind])
    if types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    return kind


def joined(column: pa.ChunkedArray) -> pa.Array:
    """One array of the plain type; texts too long for 32-bit offsets get 64-bit ones."""
    kind = plain_type(column.type)
    if kind in (pa.string(), pa.binary()) and column.nbytes > _TEXT_BYTES_LIMIT:
        kind = pa.large_string() if kind == pa.string() else pa.large_binary()
    column = column.cast(kind)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _text(column: pa.ChunkedArray) -> pa.Array:
    if types.is_dictionary(column.type):
        array = column.unify_dictionaries().combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        array = _in_order(array)
        return array if _is_worth_a_dictionary(array) else joined(pa.chunked_array([array]))
    array = joined(column)
    if _repeats(array):
        encoded = pc.dictionary_encode(array)
        if _is_worth_a_dictionary(encoded):
            return encoded
    return array


def _in_order(array: pa.DictionaryArray) -> pa.DictionaryArray:
    """The dictionary in order of first appearance, without unused, repeated or null values."""
    dictionary, indices = array.dictionary, array.indices
    if dictionary.null_count or len(pc.unique(dictionary)) != len(dictionary):
        return pc.dictionary_encode(array.cast(plain_type(array.type)))
    used = pc.drop_null(pc.unique(indices)).to_numpy().astype(np.int64, copy=False)
    if len(used) != len(dictionary) or not np.array_equal(used, np.arange(len(used))):
        places = np.zeros(len(dictionary), dtype=np.int32)
        places[used] = np.arange(len(used), dtype=np.int32)
        indices = pc.take(pa.array(places), indices)
        dictionary = pc.take(dictionary, pa.array(used))
    plain = plain_type(array.type)
    return pa.DictionaryArray.from_arrays(indices.cast(pa.int32()), dictionary.cast(plain))


def _is_worth_a_dictionary(array: pa.DictionaryArray) -> bool:
    """By the values alone, whether they arrived plain or not."""
    distinct, rows = len(array.dictionary), len(array) - array.null_count
    size = 4 * distinct + (pc.sum(pc.binary_length(array.dictionary)).as_py() or 0)
    return 0 < 2 * distinct <= rows and size < DICTIONARY_LIMIT_BYTES and _repeats(array.indices)


def _repeats(array: pa.Array) -> bool:
    """Whether at most half of a spread sample's values are new: a look before the whole is hashed."""
    sample = _spread(array)
    return bool(2 * pc.count_distinct(sample).as_py() <= len(sample) - sample.null_count)


def _spread(array: pa.Array) -> pa.Array:
    step = _step(array)
    if step == 1:
        return array
    return pc.take(array, pa.array(np.arange(0, len(array), step)[:SAMPLE_ROWS]))


def _step(array: pa.Array) -> int:
    return max(len(array) // SAMPLE_ROWS, 1)


# -- choice ------------------------------------------------------------------------------------


def choose_encodings(table: pa.Table, measure: Measure) -> Encodings:
    """The encodings of a canonical table; ``measure`` tries some on a sample and says what came out."""
    leaves = list(_leaves(table.schema))
    twice = {path for path, n in Counter(path for path, _, _ in leaves).items() if n > 1}
    flat = {path: kind for path, kind, nested in leaves if not nested and path not in twice}
    inside = {path: kind for path, kind, nested in leaves if nested and path not in twice}
    dictionary = {p for p, k in flat.items() if types.is_dictionary(k)}
    dictionary |= {p for p, k in inside.items() if is_text(k)}
    delta = {p for p, k in inside.items() if _is_integer(k)}
    numbers = [p for p, k in flat.items() if _is_integer(k) or _is_wide_number(k)]
    integers = frozenset(p for p in numbers if _is_integer(flat[p]))
    # A dictionary that may pay needs a size to compare with; a float column without one stays plain.
    cardinality = {p: _cardinality_bits(table.column(p).chunk(0)) for p in numbers}
    open_choice = [p for p in numbers if p in integers or cardinality[p] is not None]
    if open_choice:
        sample = _blocks(table.select(open_choice))
        plain = measure(sample, Encodings())
        deltas = measure(sample.select(sorted(integers)), Encodings(delta=integers)) if integers else {}
        for path in open_choice:
            best = min(plain[path], deltas.get(path, plain[path]))
            column = table.column(path)
            rows = len(column) - column.null_count
            bits = cardinality[path]
            if bits is not None:
                with_dictionary = rows * bits // 8 + (_bytes_of(flat[path]) << bits)
                if 10 * with_dictionary * sample.num_rows < 9 * best * table.num_rows:
                    dictionary.add(path)
                    continue
            if path in deltas and deltas[path] <= plain[path]:
                delta.add(path)
    return Encodings(frozenset(dictionary), frozenset(delta))


def _leaves(schema: pa.Schema) -> Iterator[tuple[str, pa.DataType, bool]]:
    """(path, type, nested) of every leaf column, with the names that Parquet gives to levels of lists."""

    def inner(path: str, kind: pa.DataType, *, nested: bool) -> Iterator[tuple[str, pa.DataType, bool]]:
        if types.is_struct(kind):
            for child in kind:
                yield from inner(f"{path}.{child.name}", child.type, nested=True)
        elif types.is_list(kind):
            yield from inner(f"{path}.list.element", kind.value_type, nested=True)
        else:
            yield path, kind, nested

    for field in schema:
        yield from inner(field.name, field.type, nested=False)


def _is_integer(kind: pa.DataType) -> bool:
    """Stored as INT32 or INT64 (decimals of up to 18 digits too), so that deltas are possible."""
    return bool(
        types.is_integer(kind)
        or types.is_date(kind)
        or types.is_timestamp(kind)
        or (types.is_decimal128(kind) and kind.precision <= 18)
    )


def _is_wide_number(kind: pa.DataType) -> bool:
    return bool(types.is_floating(kind) or types.is_decimal(kind))


def _bytes_of(kind: pa.DataType) -> int:
    return 4 if kind.bit_width <= 32 or (types.is_decimal(kind) and kind.precision <= 9) else 8


def _cardinality_bits(array: pa.Array) -> int | None:
    """Bits of a dictionary code, guessed from a spread sample; None where a dictionary grows too large."""
    drawn, distinct = _drawn_and_distinct(array)
    if len(array) <= SAMPLE_ROWS:
        bits = max(distinct - 1, 0).bit_length()
        return bits if 2 * distinct <= drawn else None
    if drawn < SAMPLE_ROWS // 2:
        return None  # mostly null: there is little to win
    scaled = distinct * SAMPLE_ROWS // drawn
    for bits, expected in enumerate(_EXPECTED_DISTINCT):
        if scaled <= expected:
            return bits if _bytes_of(array.type) << bits < DICTIONARY_LIMIT_BYTES else None
    return None


def _drawn_and_distinct(array: pa.Array) -> tuple[int, int]:
    """How many values a spread sample has, and how many of them are distinct."""
    if array.null_count or array.type.bit_width not in (32, 64):
        sample = _spread(array)
        return len(sample) - sample.null_count, pc.count_distinct(sample).as_py()
    # Every column of numbers comes by here: sorting their words takes a tenth of the time of hashing them.
    words = np.frombuffer(array.buffers()[1], np.dtype(f"u{array.type.bit_width // 8}"))
    sample = words[array.offset : array.offset + len(array)][:: _step(array)][:SAMPLE_ROWS]
    ordered = np.sort(sample)
    return len(sample), int(np.count_nonzero(ordered[1:] != ordered[:-1])) + min(len(sample), 1)


def _blocks(table: pa.Table) -> pa.Table:
    """A sample of contiguous runs: neighbours matter to deltas and to compression."""
    if table.num_rows <= SAMPLE_ROWS:
        return table
    size = SAMPLE_ROWS // _SAMPLE_BLOCKS
    last = table.num_rows - size
    starts = [last * i // (_SAMPLE_BLOCKS - 1) for i in range(_SAMPLE_BLOCKS)]
    return pa.concat_tables([table.slice(start, size) for start in starts]).combine_chunks()

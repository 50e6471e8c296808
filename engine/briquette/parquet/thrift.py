"""Thrift's compact protocol by byte spans: find values, change some, copy the rest byte for byte.

Nothing is turned into objects that would have to be written again. ``scan`` says where the fields lie,
``patched`` replaces spans. So a footer of a future writer, with fields nobody here has heard of or
numbers in a longer form than needed, survives unchanged wherever it is not edited.

Input may be hostile. Every value takes at least one byte, so a loop ends with the data; a length that
points past the end meets ``IndexError`` at the next byte; nesting is bounded. All become ``ThriftError``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

BOOL_TRUE, BOOL_FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(1, 14)

MAX_DEPTH = 64
_MAX_SHIFT = 63  # a varint holds at most 64 bits, in groups of 7

# Which structs to open: field id -> what to open inside. A list of structs opens each of its elements.
Wanted: TypeAlias = "Mapping[int, Wanted]"
Edit = tuple[int, int, bytes]  # replace data[start:stop]


class ThriftError(ValueError):
    """The bytes are not what the compact protocol allows."""


@dataclass(slots=True)
class Field:
    """One field of a struct: ``data[header:start]`` is its header, ``data[start:stop]`` its value."""

    id: int
    type: int
    header: int
    start: int
    stop: int
    structs: tuple[Struct, ...]  # the opened struct, or the elements of the opened list


@dataclass(slots=True)
class Struct:
    """The fields of one struct in file order; ``stop`` is the offset just behind its end mark."""

    fields: dict[int, Field]
    start: int
    stop: int


def scan(data: bytes, wanted: Wanted, start: int = 0) -> Struct:
    """The struct at ``start``; raises ``ThriftError`` where the bytes end too early or make no sense."""
    try:
        return _scan(data, start, wanted, 0)
    except IndexError:
        raise ThriftError("a value reaches past the end") from None


def _scan(data: bytes, pos: int, wanted: Wanted, depth: int) -> Struct:
    if depth > MAX_DEPTH:
        raise ThriftError(f"structs nest deeper than {MAX_DEPTH}")
    fields: dict[int, Field] = {}
    begin = pos
    field_id = 0
    while True:
        header = pos
        byte = data[pos]
        pos += 1
        if byte == 0:
            return Struct(fields, begin, pos)
        kind = byte & 0x0F
        if byte > 0x0F:
            field_id += byte >> 4
        else:
            field_id, pos = read_int(data, pos)
        if field_id in fields:
            raise ThriftError(f"field {field_id} appears twice in one struct")
        start = pos
        structs: tuple[Struct, ...] = ()
        if I16 <= kind <= I64:  # nearly all of a footer; a call for each would double the time
            while data[pos] > 0x7F:
                pos += 1
            pos += 1
        elif kind == STRUCT and field_id in wanted:
            structs = (_scan(data, pos, wanted[field_id], depth + 1),)
            pos = structs[0].stop
        elif kind in (LIST, SET) and field_id in wanted:
            structs, pos = _scan_list(data, pos, wanted[field_id], depth + 1)
        elif kind > BOOL_FALSE:
            pos = _skip(data, pos, kind, depth + 1)
        elif kind == 0:
            raise ThriftError("a field without a type")
        fields[field_id] = Field(field_id, kind, header, start, pos, structs)


def _scan_list(data: bytes, pos: int, wanted: Wanted, depth: int) -> tuple[tuple[Struct, ...], int]:
    count, kind, pos = _list_header(data, pos)
    if kind != STRUCT:
        raise ThriftError("a list of structs holds something else")
    structs = []
    for _ in range(count):
        one = _scan(data, pos, wanted, depth)
        pos = one.stop
        structs.append(one)
    return tuple(structs), pos


def _list_header(data: bytes, pos: int) -> tuple[int, int, int]:
    byte = data[pos]
    count = byte >> 4
    pos += 1
    if count == 15:
        count, pos = read_unsigned(data, pos)
    return count, byte & 0x0F, pos


def _skip(data: bytes, pos: int, kind: int, depth: int) -> int:
    """The offset behind a value that nobody wants to look into."""
    if I16 <= kind <= I64:
        while data[pos] > 0x7F:
            pos += 1
        return pos + 1
    if kind == BINARY:
        size, pos = read_unsigned(data, pos)
        return pos + size
    if kind in (BOOL_TRUE, BOOL_FALSE, BYTE):  # as elements; a boolean field lies in its header
        data[pos]
        return pos + 1
    if kind == DOUBLE:
        return pos + 8
    if kind == UUID:
        return pos + 16
    if depth > MAX_DEPTH:
        raise ThriftError(f"values nest deeper than {MAX_DEPTH}")
    if kind == STRUCT:
        return _skip_struct(data, pos, depth)
    if kind in (LIST, SET):
        count, kind, pos = _list_header(data, pos)
        for _ in range(count):
            pos = _skip(data, pos, kind, depth + 1)
            data[pos - 1]  # a claimed billion of doubles must stop at the end, not count to a billion
        return pos
    if kind == MAP:
        count, pos = read_unsigned(data, pos)
        if not count:
            return pos
        kinds = data[pos]
        pos += 1
        for _ in range(count):
            pos = _skip(data, pos, kinds >> 4, depth + 1)
            pos = _skip(data, pos, kinds & 0x0F, depth + 1)
            data[pos - 1]
        return pos
    raise ThriftError(f"unknown type {kind}")


def _skip_struct(data: bytes, pos: int, depth: int) -> int:
    while True:
        byte = data[pos]
        pos += 1
        if byte == 0:
            return pos
        if byte <= 0x0F:
            _, pos = read_int(data, pos)
        kind = byte & 0x0F
        if I16 <= kind <= I64:  # as in _scan
            while data[pos] > 0x7F:
                pos += 1
            pos += 1
        elif kind > BOOL_FALSE:
            pos = _skip(data, pos, kind, depth + 1)
        elif kind == 0:
            raise ThriftError("a field without a type")


def read_unsigned(data: bytes, pos: int) -> tuple[int, int]:
    """The varint at ``pos`` and the offset behind it; ``IndexError`` where the bytes end."""
    byte = data[pos]
    pos += 1
    if byte < 0x80:
        return byte, pos
    value = byte & 0x7F
    shift = 7
    while True:
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, pos
        shift += 7
        if shift > _MAX_SHIFT:
            raise ThriftError("a number is longer than 64 bits")


def read_int(data: bytes, pos: int) -> tuple[int, int]:
    """The zigzag number at ``pos`` and the offset behind it."""
    value, pos = read_unsigned(data, pos)
    return (value >> 1) ^ -(value & 1), pos


def int_of(data: bytes, field: Field) -> int:
    """The value of an i16, i32 or i64 field."""
    if not I16 <= field.type <= I64:
        raise ThriftError(f"field {field.id} is no number")
    return read_int(data, field.start)[0]


def ints_of(data: bytes, field: Field) -> tuple[int, ...]:
    """The numbers of a list of i16, i32 or i64."""
    count, kind, pos = _list_header(data, field.start) if field.type == LIST else (0, 0, 0)
    if not I16 <= kind <= I64:
        raise ThriftError(f"field {field.id} is no list of numbers")
    numbers = []
    for _ in range(min(count, field.stop - pos)):
        number, pos = read_int(data, pos)
        numbers.append(number)
    return tuple(numbers)


def encode_int(value: int) -> bytes:
    """A number as zigzag varint, in the fewest bytes."""
    return _encode_unsigned(value << 1 if value >= 0 else (-value << 1) - 1)


def _encode_unsigned(value: int) -> bytes:
    if value < 0x80:
        return value.to_bytes(1, "little")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def list_of_structs(count: int) -> bytes:
    """The header of a list of ``count`` structs."""
    if count < 15:
        return bytes((count << 4 | STRUCT,))
    return bytes((0xF0 | STRUCT,)) + _encode_unsigned(count)


def without(struct: Struct, ids: Collection[int]) -> list[Edit]:
    """The edits that remove fields; what follows one gets a new header, since headers count from the last."""
    edits: list[Edit] = []
    kept = 0  # id of the field before the gap
    gap = -1  # where the gap begins
    for field in struct.fields.values():
        if field.id in ids:
            gap = field.header if gap < 0 else gap
            continue
        if gap >= 0:
            edits.append((gap, field.start, _field_header(kept, field)))
            gap = -1
        kept = field.id
    if gap >= 0:
        edits.append((gap, struct.stop - 1, b""))
    return edits


def field_header(delta: int, kind: int) -> int:
    """The one byte that begins a field whose id is 1 to 15 above that of the field before it."""
    return delta << 4 | kind


def _field_header(previous_id: int, field: Field) -> bytes:
    delta = field.id - previous_id
    if 0 < delta < 16:
        return bytes((field_header(delta, field.type),))
    return bytes((field.type,)) + encode_int(field.id)


def patched(data: bytes, start: int, stop: int, edits: Iterable[Edit]) -> bytes:
    """``data[start:stop]`` with the edits made."""
    out = []
    at = start
    for begin, end, new in sorted(edits):
        if begin < at:
            raise ThriftError("edits overlap")
        out.append(data[at:begin])
        out.append(new)
        at = end
    out.append(data[at:stop])
    return b"".join(out)

"""The compiled kernel as a flat image: linked when it is compiled, so that loading it takes a millisecond.

llvmlite would link the object file at each start, but importing it and making its linker costs 0.1 s while
the first splits wait. The kernel asks for nothing from outside and refers to itself relative to the
instruction, so its sections laid out one behind the other run at any address. For Linux on x86-64.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Callable
from typing import Any, Final

MAGIC: Final = b"briquette image 1\n"
_HEADER: Final = struct.Struct("<Q")  # offset of the entry
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_RELOCATION: Final = struct.Struct("<QQq")

_PROGBITS, _SYMTAB, _RELA, _UNWIND = 1, 2, 4, 0x70000001
_WRITE, _ALLOCATED = 1, 2
_LARGEST_INDEX: Final = 0xFF00  # above it lie "absolute" and "common"
_RELATIVE: Final = {2: 4, 4: 4, 24: 8}  # R_X86_64_PC32, PLT32, PC64: to how many bytes they write
_SECTION_ALIGNMENT: Final = 64


def linked(code: bytes, symbol: str) -> bytes | None:
    """The image of a relocatable ELF object whose entry is ``symbol``.

    None when that takes more than laying out: a symbol from outside, writable data, an absolute address.
    """
    sections = _sections(code)
    tables = [s for s in sections if s[1] == _SYMTAB]
    if len(tables) != 1 or any(s[2] & _WRITE and s[2] & _ALLOCATED and s[5] for s in sections):
        return None
    table = tables[0]
    symbols = [_SYMBOL.unpack_from(code, at) for at in range(table[4], table[4] + table[5], _SYMBOL.size)]
    names = code[sections[table[6]][4] :]

    image = bytearray()
    places: dict[int, int] = {}
    for index, section in enumerate(sections):
        if section[2] & _ALLOCATED and section[5] and section[1] != _UNWIND:  # nothing is thrown through it
            if section[1] != _PROGBITS:
                return None
            image.extend(bytes(-len(image) % _SECTION_ALIGNMENT))
            places[index] = len(image)
            image += code[section[4] : section[4] + section[5]]
    for section in sections:
        if (
            section[1] == _RELA
            and section[7] in places
            and not _relocate(code, image, section, symbols, places)
        ):
            return None
    for name, _, _, index, value, _ in symbols:
        if index in places and names[name : names.index(b"\0", name)] == symbol.encode():
            return MAGIC + _HEADER.pack(places[index] + value) + bytes(image)
    return None


def _sections(code: bytes) -> list[tuple[int, ...]]:
    """(name, type, flags, address, offset, size, link, info, alignment, entry size) of each section."""
    (first,) = struct.unpack_from("<Q", code, 0x28)
    size, count = struct.unpack_from("<HH", code, 0x3A)
    return [_SECTION.unpack_from(code, first + i * size) for i in range(count)]


def _relocate(
    code: bytes,
    image: bytearray,
    section: tuple[int, ...],
    symbols: list[tuple[Any, ...]],
    places: dict[int, int],
) -> bool:
    base = places[section[7]]
    for at in range(section[4], section[4] + section[5], _RELOCATION.size):
        offset, info, addend = _RELOCATION.unpack_from(code, at)
        _, _, _, index, value, _ = symbols[info >> 32]
        width = _RELATIVE.get(info & 0xFFFFFFFF)
        if width is None or index not in places or index >= _LARGEST_INDEX:
            return False
        where = base + offset
        distance = places[index] + value + addend - where
        image[where : where + width] = distance.to_bytes(width, "little", signed=True)
    return True


def load(image: bytes) -> tuple[Any, int]:
    """The image in memory that can be run: what keeps it there, and the address of its entry.

    Raises ``OSError`` where the system does not allow that.
    """
    (entry,) = _HEADER.unpack_from(image, len(MAGIC))
    body = memoryview(image)[len(MAGIC) + _HEADER.size :]
    size = -(-len(body) // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[: len(body)] = body
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect: Callable[..., int] = ctypes.CDLL(None, use_errno=True).mprotect
    # Never writable and executable at once.
    if protect(ctypes.c_void_p(address), ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_EXEC) != 0:
        raise OSError(ctypes.get_errno(), "mprotect: memory cannot be made executable")
    return memory, address + entry

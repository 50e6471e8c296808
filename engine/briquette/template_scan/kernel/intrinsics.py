"""Words of memory for the compiled scan: unaligned loads and stores, bit counts, and the rules of compiling.

Positions are int64 and eight-byte words uint64. numba would turn a mix of the two into a float, so every
constant that meets a word is a uint64.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

# With BRIQUETTE_SCAN_CHECKED=1 every access is checked instead of trusted; the tests do that.
CHECKED = os.environ.get("BRIQUETTE_SCAN_CHECKED") == "1"
# No reference counting (_nrt): the kernel allocates nothing, and counting costs a call for each number.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": CHECKED, "_nrt": False}
# numba declares types for these two, but for a use as a plain function.
_intrinsic: Callable[[Callable[..., Any]], Any] = intrinsic
_fill: Callable[..., Any] = populate_array
F = TypeVar("F", bound=Callable[..., Any])


def inline(function: F) -> F:
    """Compile into its callers."""
    return cast(F, njit(**OPTIONS, forceinline=True)(function))


def aside(function: F) -> F:
    """Compile as a function of its own: rare, or too large to be everywhere."""
    return cast(F, njit(**OPTIONS)(function))


def _loader(bits: int) -> Any:
    def load(_typing: Any, array: Any, _index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            place = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(bits).as_pointer())
            value = builder.load(place, align=1)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return (types.uint64 if bits == 64 else types.int64)(array, types.int64), generate

    return _intrinsic(load)


@_intrinsic
def _store64(_typing: Any, array: Any, _index: Any, _word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(64).as_pointer())
        builder.store(arguments[2], place, align=1)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), generate


@_intrinsic
def view(_typing: Any, _address: Any, _size: Any, item: Any) -> Any:
    """An array over memory that the driver owns."""
    array = types.Array(item.dtype, 1, "C")

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        struct = context.make_array(array)(context, builder)
        width = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(item.dtype)))
        _fill(
            struct,
            data=builder.inttoptr(arguments[0], struct.data.type),
            shape=(arguments[1],),
            strides=(width,),
            itemsize=width,
            meminfo=None,
        )
        return struct._getvalue()  # noqa: SLF001  # numba's own name for it

    return array(types.int64, types.int64, item), generate


@_intrinsic
def low_zeros(_typing: Any, _word: Any) -> Any:
    """Zero bits below the lowest one; 64 for zero."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@_intrinsic
def high_zeros(_typing: Any, _word: Any) -> Any:
    """Zero bits above the highest one; 64 for zero."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@_intrinsic
def high_product(_typing: Any, _left: Any, _right: Any) -> Any:
    """The upper word of the 128-bit product."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


_raw8, _raw16, _raw64 = _loader(8), _loader(16), _loader(64)


if CHECKED:

    @inline
    def byte(memory: Any, index: int) -> Any:
        if index < 0 or index + 1 > memory.size:
            raise IndexError
        return _raw8(memory, index)

    @inline
    def pair(memory: Any, index: int) -> Any:
        if index < 0 or index + 2 > memory.size:
            raise IndexError
        return _raw16(memory, index)

    @inline
    def word(memory: Any, index: int) -> Any:
        if index < 0 or index + 8 > memory.size:
            raise IndexError
        return _raw64(memory, index)

    @inline
    def put_word(memory: Any, index: int, value: int) -> None:
        if index < 0 or index + 8 > memory.size:
            raise IndexError
        _store64(memory, index, value)

else:
    byte, pair, word, put_word = _raw8, _raw16, _raw64, _store64


U: Any = np.uint64
Int: Any = np.int64
ZERO, ONE, EIGHT, TEN = U(0), U(1), U(8), U(10)
BYTE, HALF, FULL = U(0xFF), U(0xFFFFFFFF), U(0xFFFFFFFFFFFFFFFF)
ONES = U(0x0101010101010101)
HIGHS = U(0x8080808080808080)
LOWS = U(0x7F7F7F7F7F7F7F7F)


def word_of(text: bytes) -> Any:
    """Up to eight characters as a word."""
    return U(int.from_bytes(text.ljust(8, b"\0"), "little"))

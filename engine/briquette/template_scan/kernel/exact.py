"""Tables for exact decimal-to-double conversion, made with Python's integers."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

EXPONENT_LIMIT: Final = 64  # powers of ten outside +-64 leave the fast lane


def powers_of_five() -> tuple[Any, Any]:
    """The leading 128 bits of 5**q for q in -64..64, as high and low uint64 arrays.

    All are cut, except the reciprocals of 5**1 to 5**27, which are raised to the next integer: that is what
    Lemire's proof ("Number parsing at a gigabyte per second") of the rounding step rests on.
    """
    leading = []
    for q in range(-EXPONENT_LIMIT, EXPONENT_LIMIT + 1):
        power = 5 ** abs(q)
        if q >= 0:
            bits = power.bit_length()
            value = power << (128 - bits) if bits <= 128 else power >> (bits - 128)
        else:
            bits = (power - 1).bit_length()
            value = (1 << (bits + 127)) // power + (1 if q >= -27 else 0)
        leading.append(value)
    high = np.array([value >> 64 for value in leading], np.uint64)
    low = np.array([value & ((1 << 64) - 1) for value in leading], np.uint64)
    return high, low

"""Numbers of the compiled scan: decimal text to int64, and to the nearest double, exactly or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np

from briquette.template_scan.kernel.exact import EXPONENT_LIMIT, powers_of_five
from briquette.template_scan.kernel.intrinsics import (
    BYTE,
    EIGHT,
    FULL,
    HIGHS,
    LOWS,
    ONE,
    TEN,
    ZERO,
    Int,
    U,
    aside,
    byte,
    high_product,
    high_zeros,
    inline,
    low_zeros,
    word,
)

ZEROS = U(0x3030303030303030)  # "00000000"
OVER_NINE = U(0x7676767676767676)  # added to a byte below 128, sets its high bit when the byte is above 9
WHOLE_POWERS = np.array([10**k for k in range(20)], np.uint64)
FIVES_HIGH, FIVES_LOW = powers_of_five()
INT64_MAX = U((1 << 63) - 1)
MOST_DECIMALS = 64  # a longer tail of zeros is a number that the strict reader's limits may refuse
NINE_BITS = U(0x1FF)
HIDDEN_BIT = U(1 << 52)


@inline
def digit_count(x: Any) -> Any:
    """Leading bytes of ``text ^ "00000000"`` that are digits, 0 to 8."""
    return low_zeros((((x & LOWS) + OVER_NINE) | x) & HIGHS) >> 3


@inline
def digits_value(x: Any, count: Any) -> Any:
    """Value of the first ``count`` (1 to 8) digits of ``text ^ "00000000"``."""
    x = x << U(64 - 8 * count)
    x = x * TEN + (x >> EIGHT)
    low = (x & U(0x000000FF000000FF)) * U(0x000F424000000064)
    high = ((x >> U(16)) & U(0x000000FF000000FF)) * U(0x0000271000000001)
    return (low + high) >> U(32)


@inline
def number(memory: Any, p: Any, padded: Any) -> Any:
    """A number at ``p``: (end, negative, digits as one integer, power of ten); end -1: not here.

    ``padded`` also takes zeros in front, as numeric text may have: fewer than eight digits then.
    """
    negative = byte(memory, p) == 45
    if negative:
        p += 1
    x = word(memory, p) ^ ZEROS
    n = digit_count(x)
    if n == 0 or (n > 1 and x & BYTE == ZERO and (not padded or n == 8)):
        return -1, negative, ZERO, 0
    mantissa = digits_value(x, n)
    p += n
    while n == 8:
        x = word(memory, p) ^ ZEROS
        n = digit_count(x)
        if n > 0:
            if mantissa >= WHOLE_POWERS[19 - n]:
                return -1, negative, ZERO, 0
            mantissa = mantissa * WHOLE_POWERS[n] + digits_value(x, n)
        p += n
    power = 0
    c = byte(memory, p)
    if c == 46:
        p += 1
        x = word(memory, p) ^ ZEROS
        n = digit_count(x)
        # Nineteen digits are sure to fit; zeros in front of them do not count.
        if n == 0 or mantissa >= WHOLE_POWERS[19 - n]:
            return -1, negative, ZERO, 0
        mantissa = mantissa * WHOLE_POWERS[n] + digits_value(x, n)
        p += n
        power = -n
        while n == 8:
            x = word(memory, p) ^ ZEROS
            n = digit_count(x)
            if n > 0:
                if mantissa >= WHOLE_POWERS[19 - n] or power < -MOST_DECIMALS:
                    return -1, negative, ZERO, 0
                mantissa = mantissa * WHOLE_POWERS[n] + digits_value(x, n)
            p += n
            power -= n
        c = byte(memory, p)
    if c in (101, 69):
        p += 1
        c = byte(memory, p)
        down = c == 45
        if c in (45, 43):
            p += 1
        x = word(memory, p) ^ ZEROS
        n = digit_count(x)
        if n == 0 or n > 4:
            return -1, negative, ZERO, 0
        stated = Int(digits_value(x, n))
        p += n
        power = power - stated if down else power + stated
    return p, negative, mantissa, power


@aside
def rounded_bits(mantissa: Any, power: Any) -> Any:
    """Bits of the double nearest to ``mantissa * 10**power`` (Eisel-Lemire); -1 where it cannot be told here.

    The mantissa is multiplied with a 128-bit approximation of the power of five; the result is certain except
    where the known bits end in a run that a carry could cross, near subnormals and near infinity.
    """
    if mantissa == ZERO or power < -EXPONENT_LIMIT or power > EXPONENT_LIMIT:
        return -1
    shift = high_zeros(mantissa)
    w = mantissa << U(shift)
    index = power + EXPONENT_LIMIT
    high = high_product(w, FIVES_HIGH[index])
    low = w * FIVES_HIGH[index]
    if high & NINE_BITS == NINE_BITS:
        second = high_product(w, FIVES_LOW[index])
        low = low + second
        if low < second:
            high = high + ONE
        if low == FULL:
            return -1
    top = Int(high >> U(63))
    drop = U(top + 9)
    m = high >> drop
    exponent = ((217_706 * power) >> 16) + 63 + top - shift + 1023
    if exponent <= 0:
        return -1
    if low <= ONE and power >= -4 and power <= 23 and m & U(3) == ONE and (m << drop) == high:
        m = m & ~ONE  # exactly between two doubles: to the even one
    m = (m + (m & ONE)) >> ONE
    if m >= HIDDEN_BIT << ONE:
        m = HIDDEN_BIT
        exponent += 1
    if exponent >= 2047:
        return -1
    return Int((m & (HIDDEN_BIT - ONE)) | (U(exponent) << U(52)))


@inline
def whole(mantissa: Any, power: Any) -> Any:
    """``mantissa * 10**power`` when it is an integer below 2**63, else -1."""
    if mantissa == ZERO:
        return 0
    if power < 0:
        if power < -19:
            return -1
        scale = WHOLE_POWERS[-power]
        if mantissa % scale != ZERO:
            return -1
        mantissa = mantissa // scale
    elif power > 0:
        if power > 18 or mantissa > INT64_MAX // WHOLE_POWERS[power]:
            return -1
        mantissa = mantissa * WHOLE_POWERS[power]
    if mantissa > INT64_MAX:
        return -1
    return Int(mantissa)

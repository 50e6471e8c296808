"""Computed numbers as the columns of the contract: decimals, floats rounded to six places, whole numbers.

A number that its type cannot hold becomes null and is counted; it never wraps, and never becomes infinite.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import types

from briquette.prices.windows import Floats

FLOAT_PLACES = 1e6
# From here on the spacing of doubles is wider than half a unit of the sixth place.
LARGEST_WITH_PLACES = 2.0**32
LARGEST_BIGINT = 2.0**63


def typed_column(values: Floats, kind: pa.DataType) -> tuple[pa.Array, int]:
    """The values as an array of ``kind``, NaN as null; and how many did not fit.

    >>> column, too_large = typed_column(np.array([1.00005, float("nan"), 1e9]), pa.decimal128(12, 4))
    >>> [str(x) for x in column], too_large
    (['1.0001', 'None', 'None'], 1)
    """
    known = ~np.isnan(values)
    if types.is_decimal(kind):
        whole, fits = _scaled(values, kind.scale, float(10**kind.precision))
        array = _decimals(np.where(fits & known, whole, 0.0).astype(np.int64), fits & known, kind)
    elif types.is_float32(kind):
        few = np.abs(values) < LARGEST_WITH_PLACES
        places = np.where(few, np.rint(np.where(few, values, 0.0) * FLOAT_PLACES) / FLOAT_PLACES, values)
        fits = np.abs(places) <= np.finfo(np.float32).max
        held = np.where(fits, places, 0.0).astype(np.float32) + np.float32(0.0)  # no negative zero
        array = pa.array(held, mask=~(fits & known))
    elif types.is_integer(kind):
        whole = np.rint(values)
        fits = np.abs(whole) < min(LARGEST_BIGINT, 2.0 ** (kind.bit_width - 1))
        array = pa.array(np.where(fits, whole, 0.0).astype(np.int64), mask=~(fits & known)).cast(kind)
    else:
        fits = np.isfinite(values)
        array = pa.array(np.where(fits, values, 0.0) + 0.0, mask=~(fits & known))
    return array, int((known & ~fits).sum())


def _scaled(values: Floats, scale: int, limit: float) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """``values * 10**scale`` rounded half to even, as if without rounding before."""
    factor = float(10**scale)
    fits = np.abs(values) < limit / factor  # false for NaN and infinity
    held = np.where(fits, values, 0.0)
    product = held * factor
    whole = np.rint(product)
    # A product may have been rounded onto the half: then what was lost says which side it was on.
    tie = np.abs(product - np.trunc(product)) == 0.5
    if tie.any():
        lost = _lost_in_product(held[tie], factor)
        below = np.floor(product[tie])
        whole[tie] = np.where(lost > 0.0, below + 1.0, np.where(lost < 0.0, below, whole[tie]))
    return whole, fits & (np.abs(whole) < limit)


def _lost_in_product(values: Floats, factor: float) -> Floats:
    """What rounding took from ``values * factor``, exactly (Dekker 1971); factor is a small whole number."""
    split = values * 134_217_729.0  # 2**27 + 1
    high = split - (split - values)
    low = values - high
    return (high * factor - values * factor) + low * factor


def _decimals(whole: npt.NDArray[np.int64], valid: npt.NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    words = np.empty((len(whole), 2), dtype="<i8")  # 128 bits, the low word first
    words[:, 0] = whole
    words[:, 1] = whole >> 63
    bitmap = pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    nulls = int(len(valid) - valid.sum())
    buffers: list[Any] = [bitmap if nulls else None, pa.py_buffer(words.tobytes())]
    return pa.Array.from_buffers(kind, len(whole), buffers, nulls)

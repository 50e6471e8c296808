"""NumPy vectors as Arrow arrays, and Arrow's functions over them, without imports that every start would pay.

``pa.array`` imports numpy.ma to recognise a masked array, up to 0.06 s of a start-up of 0.5 s. Methods of
arrays import pyarrow.compute, which wraps and documents 250 functions, 0.05 s; most days need six.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

try:  # what pyarrow.compute calls, and shows under the same name
    from pyarrow._compute import CastOptions, call_function
except ImportError:
    from pyarrow.compute import CastOptions, call_function


def from_numpy(values: np.ndarray[Any, Any]) -> pa.Array:
    """A vector of numbers or bools as an Arrow array without nulls.

    >>> from_numpy(np.array([True, False])).to_pylist(), from_numpy(np.arange(3)).type
    ([True, False], DataType(int64))
    """
    is_bool = values.dtype == np.bool_
    stored = np.packbits(values, bitorder="little") if is_bool else np.ascontiguousarray(values)
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(stored)])


def compute(function: str, *values: Any) -> Any:
    """What Arrow's compute function of that name says of these values, with its default options.

    >>> compute("unique", pa.array([2, 1, 2])).to_pylist()
    [2, 1]
    """
    return call_function(function, list(values))


def cast(values: Any, kind: pa.DataType) -> Any:
    """An array, chunked or not, as another type; raises ``pa.ArrowInvalid`` where it would not fit."""
    return values if values.type == kind else call_function("cast", [values], CastOptions.safe(kind))

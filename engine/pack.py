"""Finished row groups -> parts of the target size. Pure arithmetic, after all sizes are known."""

from __future__ import annotations

from collections.abc import Sequence

from engine.model import RowGroup
from engine.splice import added_bytes, fixed_bytes, most_added_bytes


def pack_row_groups(row_groups: Sequence[RowGroup], target: int) -> tuple[tuple[int, int], ...]:
    """Runs ``[start, stop)`` of row groups whose files come nearest to ``target`` bytes, footers included."""
    if not row_groups:
        return ()
    if sum(map(most_added_bytes, row_groups)) + len(row_groups[0].footer) < target:
        return ((0, len(row_groups)),)  # most days: sizes to the byte are for those that make several parts
    sizes = [added_bytes(group, target // 2) for group in row_groups]
    return pack_parts(sizes, target, fixed_bytes(row_groups[0]))


def pack_parts(sizes: Sequence[int], target: int, fixed_bytes: int = 0) -> tuple[tuple[int, int], ...]:
    """Contiguous runs ``[start, stop)`` whose sums come nearest to ``target``; the last takes what is left.

    ``sizes`` are what each row group adds to a part in bytes, ``fixed_bytes`` what every part has besides.
    A run misses the target by at most half of the row group at its end, so row groups of up to a tenth
    of the target give parts within 5 %.

    >>> pack_parts([40, 40, 40, 40, 40], 100)
    ((0, 2), (2, 5))
    """
    if target <= 0:
        raise ValueError(f"target is {target} bytes; it must be positive")
    parts: list[tuple[int, int]] = []
    start, filled = 0, fixed_bytes
    for i, size in enumerate(sizes):
        # Close the run before this row group if that is at least as near to the target as closing after it.
        if i > start and target - filled <= filled + size - target:
            parts.append((start, i))
            start, filled = i, fixed_bytes
        filled += size
    if start < len(sizes):
        parts.append((start, len(sizes)))
    return tuple(parts)

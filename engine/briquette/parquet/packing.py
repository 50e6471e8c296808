"""Finished row groups -> parts of the target size: pure arithmetic, one row group after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from briquette.model import RowGroup
from briquette.parquet.splice import added_bytes, fixed_bytes, most_added_bytes

Item = TypeVar("Item")


class Packer(Generic[Item]):
    """Says of each row group in turn whether a part begins with it; the last part takes what is left.

    Parts come nearest to ``target`` bytes: they miss it by at most half of the row group at their end, so row
    groups of up to a tenth of the target give parts within 5 %. ``exact`` is what a row group adds to a
    part, ``fixed`` what a part has besides, in bytes. Both parse footers, so near the beginning of a part
    ``most`` has to do, which is no less than either. Raises ``ValueError`` for a target that is not positive.
    """

    def __init__(
        self,
        target: int,
        *,
        most: Callable[[Item], int],
        exact: Callable[[Item], int],
        fixed: Callable[[Item], int],
    ) -> None:
        if target <= 0:
            raise ValueError(f"target is {target} bytes; it must be positive")
        self._target, self._most, self._exact, self._fixed = target, most, exact, fixed
        self._part: list[Item] = []
        self._bound = 0  # of the part's bytes, while nothing exact is needed
        self._sizes: list[int] = []  # exact ones, of the part's first row groups

    def begins_a_part(self, item: Item) -> bool:
        """Whether ``item``, the next one, is the first of a part."""
        if begins := not self._part or self._is_full_before(item):
            # Its bound counts twice: once for what the part has besides.
            self._part, self._sizes, self._bound = [], [], self._most(item)
        self._part.append(item)
        self._bound += self._most(item)
        return begins

    def _is_full_before(self, item: Item) -> bool:
        """Whether closing the part before ``item`` is at least as near to the target as closing it after."""
        if 2 * self._bound + self._most(item) < 2 * self._target:
            return False
        self._sizes += map(self._exact, self._part[len(self._sizes) :])
        filled = self._fixed(self._part[0]) + sum(self._sizes)
        return self._target - filled <= filled + self._exact(item) - self._target


def packer_of_row_groups(target: int) -> Packer[RowGroup]:
    """The packer of all parts; offsets are counted as if each row group lay in the middle of one."""
    return Packer(
        target,
        most=lambda group: most_added_bytes(group) + len(group.footer),
        exact=lambda group: added_bytes(group, target // 2),
        fixed=fixed_bytes,
    )


def pack_row_groups(row_groups: Sequence[RowGroup], target: int) -> tuple[tuple[int, int], ...]:
    """Runs ``[start, stop)`` of row groups whose files come nearest to ``target`` bytes, footers included."""
    return runs(row_groups, packer_of_row_groups(target))


def runs(items: Sequence[Item], packer: Packer[Item]) -> tuple[tuple[int, int], ...]:
    """Where parts begin and end.

    >>> runs([40] * 5, Packer(100, most=int, exact=int, fixed=lambda _: 0))
    ((0, 2), (2, 5))
    """
    starts = [i for i, item in enumerate(items) if packer.begins_a_part(item)]
    return tuple(zip(starts, [*starts[1:], len(items)], strict=True)) if starts else ()

"""On disk, parts are written while later splits are still being made.

Row groups are packed in the order of the splits, so where a part ends is known as soon as the row group
after it is there; until then its bodies can be written already, into the directory that will be swapped in.
What comes out is what would be written after the last split, by the same code. Drafts that cannot be had or
cannot be used are removed, and the parts are written then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue

from briquette.model import Piece, RowGroup, SplitResult
from briquette.parquet.packing import packer_of_row_groups
from briquette.parquet.splice import HEAD, SplicedPart, splice
from briquette.planning.layout import PLAN, part_name
from briquette.publishing.part_hashes import PartHashes
from briquette.storage.interface import NextDirectory, Store, Stored


class Drafts:
    """Parts of one plan, written and hashed by a thread while ``take`` is told of finished splits.

    ``order`` are the indexes of the splits. ``open_directory`` makes the directory of the next state once the
    first split is there; ``is_ours`` tells which names in it are this engine's. ``hashes`` are those of the
    parts of ``complete``.
    """

    def __init__(
        self,
        store: Store,
        plan_id: str,
        target_bytes: int,
        order: Sequence[int],
        open_directory: Callable[[], NextDirectory],
        is_ours: Callable[[str], bool],
    ) -> None:
        self._plan_id, self._open, self._is_ours = plan_id, open_directory, is_ours
        self._packer = packer_of_row_groups(target_bytes)
        self._order, self._early = iter(order), dict[int, tuple[RowGroup, ...]]()
        self._next = next(self._order, None)
        self._arrived = SimpleQueue[RowGroup | None]()  # None: there are no more
        self._taken: list[RowGroup] = []
        self._parts: list[SplicedPart] = []
        self._stored: list[Stored] = []
        self._spliced = threading.Event()  # all of them, or there will be none
        self._given_up = False
        self._failed: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._directory: NextDirectory | None = None
        self.hashes = PartHashes(store, self._parts)

    # -- while the splits are made -------------------------------------------------------------

    def take(self, result: SplitResult) -> None:
        """A finished split; those that come before their turn wait for it."""
        self._early[result.split_index] = result.row_groups
        while self._next is not None and self._next in self._early:
            for group in self._early.pop(self._next):
                self._taken.append(group)
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._write, args=(group,), name="briquette-drafts"
                    )
                    self._thread.start()
                else:
                    self._arrived.put(group)
            self._next = next(self._order, None)

    # -- afterwards ----------------------------------------------------------------------------

    def complete(self, row_groups: Sequence[RowGroup]) -> tuple[SplicedPart, ...] | None:
        """The parts of exactly these row groups, whose last bytes may still be on their way to the disk.

        None if anything else was taken or went wrong: then nothing of this is used, and it is removed.
        """
        same = len(row_groups) == len(self._taken) and all(
            ours is theirs for ours, theirs in zip(self._taken, row_groups, strict=True)
        )
        if self._thread is not None and same:
            self._arrived.put(None)
            self._spliced.wait()
            if not self._failed:
                return tuple(self._parts)
        self.close()
        return None

    def hand_over(self) -> tuple[NextDirectory, list[Stored]]:
        """The directory with all parts in it, once they are written: from now on it is the caller's.

        Raises ``StoreError`` and what else prevented that.
        """
        assert self._thread is not None
        self._thread.join()
        if self._failed:
            raise self._failed
        assert self._directory is not None
        directory, self._directory = self._directory, None
        return directory, self._stored

    def close(self) -> None:
        """Stop, and remove what nobody took over."""
        self._given_up = True
        self._arrived.put(None)
        if self._thread is not None:
            self._thread.join()
        self.hashes.close()
        if self._directory is not None:
            self._directory.clear(self._is_ours)
            self._directory = None

    # -- the thread ----------------------------------------------------------------------------

    def _write(self, group: RowGroup) -> None:
        try:
            self._directory = directory = self._open()
            self._packer.begins_a_part(group)
            first: RowGroup | None = group
            while first is not None:
                name, index = part_name(len(self._parts)), len(self._parts)
                groups, after = [first], list[RowGroup | None]()

                def once_written(name: str = name, index: int = index) -> dict[str, str]:
                    self.hashes.written(index, directory.path_of(name))  # while the disk syncs it
                    return {PLAN: self._plan_id}

                stored = directory.add(name, self._pieces(groups, after), once_written)
                self._stored.append(stored)
                first = after[0]
        except BaseException as error:  # noqa: BLE001  # raised by hand_over, if anybody asks
            self._failed = error
        finally:
            self._spliced.set()

    def _pieces(self, groups: list[RowGroup], after: list[RowGroup | None]) -> Iterator[Piece]:
        """One part's pieces as its row groups arrive (the first is there), and then who comes after."""
        yield HEAD
        yield groups[0].body
        while (group := self._next_group()) is not None and not self._packer.begins_a_part(group):
            groups.append(group)
            yield group.body
        part = splice(groups)
        self._parts.append(part)
        after.append(group)
        if group is None:
            self._spliced.set()
        yield part.pieces[-1]

    def _next_group(self) -> RowGroup | None:
        group = self._arrived.get()
        if self._given_up:
            raise _GivenUpError
        return group


class _GivenUpError(Exception):
    """Nobody will want these parts."""

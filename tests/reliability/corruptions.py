"""Damage between two steps of a run: a bit, a cut or an addition where bytes wait for the next step."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from briquette.model import RowGroup, SplitResult

FLIP, ZERO, CUT, ADD = "a bit flipped", "a run of zeros", "cut", "extended"
KINDS = (FLIP, ZERO, CUT, ADD)


def damaged(body: bytes, kind: str, draw: random.Random) -> bytes:
    """Other bytes than ``body``, which is not empty."""
    at = draw.randrange(len(body))
    if kind == FLIP:
        return body[:at] + bytes([body[at] ^ (1 << draw.randrange(8))]) + body[at + 1 :]
    if kind == CUT:
        return body[: -draw.randrange(1, len(body) + 1)]
    if kind == ADD:
        return body[:at] + draw.randbytes(draw.randrange(1, 9)) + body[at:]
    zeros = min(len(body) - at, draw.randrange(1, 9))
    other = body[:at] + bytes(zeros) + body[at + zeros :]
    return other if other != body else damaged(body, FLIP, draw)


def damaged_group(group: RowGroup, what: str, kind: str, draw: random.Random) -> RowGroup:
    """A row group that its split did not make, but whose checksums say what the split's own says."""
    if what == "body":
        assert group.body.data is not None
        return replace(group, body=replace(group.body, data=damaged(group.body.data, kind, draw)))
    if what == "body and its size":
        assert group.body.data is not None
        data = damaged(group.body.data, kind, draw)
        return replace(group, body=replace(group.body, data=data, size_bytes=len(data)))
    if what == "footer":
        return replace(group, footer=damaged(group.footer, kind, draw))
    if what == "rows":
        return replace(group, rows=group.rows + draw.choice((-1, 1)))
    indexes = list(getattr(group, what))
    i = draw.randrange(len(indexes))
    indexes[i] = damaged(indexes[i], kind, draw)
    return replace(group, **{what: tuple(indexes)})


OF_A_GROUP = ("body", "body and its size", "footer", "column_indexes", "offset_indexes", "rows")


class DamagingExecutor:
    """Serial, but one row group of one result is another when the driver gets it."""

    name, in_process = "serial", True

    def __init__(self, results: dict[int, SplitResult]) -> None:
        self._results = results  # what the splits made, remembered: the kernel is not the subject here
        self.change: Callable[[SplitResult], SplitResult] = lambda result: result

    def map(
        self, function: Callable[[Any], Any], tasks: Sequence[Any], on_result: Callable[[Any], None]
    ) -> None:
        for task in tasks:
            if task.split_index not in self._results:
                self._results[task.split_index] = function(task)
            on_result(self.change(self._results[task.split_index]))


@contextmanager
def damaged_once_written(name: str, kind: str, draw: random.Random, *, quietly: bool) -> Iterator[list[str]]:
    """The next file of the next state called ``name`` is damaged after its last byte was written.

    ``quietly`` keeps the file's times, as a disk does that loses bits.
    """
    from briquette.storage.local.store import LocalStore

    hit: list[str] = []
    write_file = LocalStore.write_file

    def write(self: Any, path: str, pieces: Any, metadata: Any, *, durable: bool) -> Any:
        def then_damage() -> Any:
            if os.path.basename(path) == name and not hit:
                hit.append(path)
                damage_file(Path(path), kind, draw, quietly=quietly)
            return metadata()

        return write_file(self, path, pieces, then_damage, durable=durable)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalStore, "write_file", write)
        yield hit


def damage_file(path: Path, kind: str, draw: random.Random, *, quietly: bool) -> None:
    """Change the file in place, as the same file."""
    before = path.stat()
    body = damaged(path.read_bytes(), kind, draw)
    with path.open("r+b") as file:
        file.write(body)
        file.truncate()
    if quietly:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

"""Duplicates of a day over all of its splits: found by hashes, looked at, and left out by the rule."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from briquette.compaction.checks import check_conservation
from briquette.compaction.map_splits import task_for
from briquette.compaction.split import SplitRow, rows_of_split
from briquette.model import CompactionSpec, Plan, Reject, SplitResult, SplitTask
from briquette.prices import duplicates
from briquette.prices.duplicates import Hashes, Resolved

if TYPE_CHECKING:
    import pyarrow as pa

    from briquette.executors import Executor

_LENGTH = 8


def framed(findings: bytes, hashes: Hashes) -> bytes:
    """What was counted in a block, and the hashes of its rows' keys, so that blocks can be joined."""
    body = hashes.astype("<u8").tobytes()
    return b"".join(len(part).to_bytes(_LENGTH, "little") + part for part in (findings, body))


def unframed(joined: bytes) -> tuple[bytes, Hashes]:
    """The counts of all blocks joined, and the hashes of all blocks."""
    parts, at = [], 0
    while at < len(joined):
        size = int.from_bytes(joined[at : at + _LENGTH], "little")
        parts.append(joined[at + _LENGTH : at + _LENGTH + size])
        at += _LENGTH + size
    return b"".join(parts[::2]), np.frombuffer(b"".join(parts[1::2]), dtype="<u8")


def without_duplicates(
    plan: Plan,
    executor: Executor,
    results: Sequence[SplitResult],
    source: CompactionSpec,
    keys: Sequence[str],
    rule: str,
    kernel: Callable[[SplitTask], SplitResult],
) -> tuple[tuple[SplitResult, ...], Resolved]:
    """The results without the records that the rule takes out; the splits that hold some are done again.

    ``kernel`` made the results, framed. With the rule ``fail`` and a conflict nothing is done again: it is
    the caller's to refuse the day.
    """
    hashes = [unframed(result.findings)[1] for result in results]
    wanted = duplicates.repeated(hashes)
    rows: list[SplitRow] = []
    if len(wanted):
        choose = partial(_choose, keys=tuple(keys), wanted=wanted)
        concerned = [
            replace(task_for(plan, split), spec=source)
            for split, some in zip(plan.splits, hashes, strict=True)
            if np.isin(some, wanted).any()
        ]
        executor.map(partial(rows_of_split, choose=choose), concerned, rows.extend)
        rows.sort(key=lambda row: (row.split_index, row.number))
    found = duplicates.resolve([row.values for row in rows], keys, rule)
    if not found.found or (rule == duplicates.FAIL and found.conflicting):
        return tuple(results), found
    out = {number: rows[number] for number in (*found.dropped, *found.rejected)}
    by_split: dict[int, list[int]] = {}
    for row in out.values():
        by_split.setdefault(row.split_index, []).append(row.number)
    again: list[SplitResult] = []
    tasks = [
        task_for(plan, split, tuple(sorted(by_split[split.index])))
        for split in plan.splits
        if split.index in by_split
    ]
    executor.map(kernel, tasks, again.append)
    rejects = _rejects(plan, results, [rows[number] for number in found.rejected])
    changed = {
        r.split_index: replace(
            r,
            duplicates=r.duplicates - len(rejects.get(r.split_index, ())),
            rejects=tuple(
                sorted((*r.rejects, *rejects.get(r.split_index, ())), key=lambda x: (x.key, x.position))
            ),
        )
        for r in again
    }
    resolved = tuple(changed.get(result.split_index, result) for result in results)
    for result in changed.values():
        check_conservation(result)
    return resolved, found


def _choose(table: pa.Table, keys: Sequence[str], wanted: Hashes) -> Sequence[int]:
    return [int(n) for n in duplicates.rows_of(table, keys, wanted)]


def _rejects(
    plan: Plan, results: Sequence[SplitResult], rows: Sequence[SplitRow]
) -> Mapping[int, tuple[Reject, ...]]:
    """The rows of a conflict as rejects: what was read of them as JSON, since a part holds no text."""
    made: dict[int, list[Reject]] = {}
    wanted: dict[int, list[SplitRow]] = {}
    for row in rows:
        wanted.setdefault(row.split_index, []).append(row)
    before: Counter[str] = Counter()
    for split, result in zip(plan.splits, results, strict=True):
        edges = np.cumsum(result.object_records)
        objects = plan.objects(split)
        for row in wanted.get(split.index, ()):
            place = int(np.searchsorted(edges, row.number, side="right"))
            key = objects[place].key
            position = row.number - int(edges[place] - result.object_records[place]) + before[key]
            raw = json.dumps(row.values, ensure_ascii=False, default=str).encode()
            made.setdefault(split.index, []).append(Reject(key, position, 0, duplicates.REASON, raw))
        for item, records in zip(objects, result.object_records, strict=True):
            before[item.key] += records
    return {index: tuple(found) for index, found in made.items()}

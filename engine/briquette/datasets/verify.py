"""Whether what is published is what the manifest says, and what the raw objects say."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from briquette.compaction.options import RunOptions
from briquette.compaction.run import run_plan
from briquette.datasets.read import Dataset, open_dataset, read_tables
from briquette.encoding.row_digest import rows_digest
from briquette.errors import UsageError
from briquette.model import COMPACTION, Location, Status
from briquette.planning.listing import list_partition
from briquette.planning.plan import is_made_of, is_of_the_size_of, plan_partition
from briquette.publishing.verify import examine
from briquette.storage.opening import open_store

if TYPE_CHECKING:
    import pyarrow as pa

    from briquette.compaction.options import Progress

COPIED = "it is a copy: its etags are not those of the manifest, every size and SHA-256 is"
COMMANDS = {name: f"`briquette {name} --force`" for name in ("transform", "indicators")}
COMMANDS[COMPACTION.name] = "`briquette compact --force`"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found; ``problems`` is empty when all is well."""

    dataset: Dataset
    deep: bool
    problems: tuple[str, ...]
    copied: bool = False  # all bytes are right, and some etags are not the manifest's
    notes: tuple[str, ...] = ()
    strangers: bool = False  # readers see files that the manifest does not name

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def next(self) -> str:
        """What to do about the problems."""
        command = COMMANDS.get(self.dataset.manifest.stage.name, "the command that set it aside, and --force")
        again = f"publish it again with {command}."
        if self.strangers:
            return f"move the files away that the manifest does not name (no run removes them), then {again}"
        return again


def verify(
    url: str | os.PathLike[str],
    *,
    deep: bool = False,
    options: RunOptions | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Check counts, checksums and footers against the manifest; ``deep`` compacts the raw objects again.

    The deep check decodes every raw object anew into a scratch directory and compares all rows in order;
    ``options`` say how. What is wrong is no exception: see ``ok``, ``problems`` and ``next`` of the verdict.
    Raises ``NoDataset`` where nothing is published and the errors of a compaction for the raw side.

    >>> from briquette import verify
    >>> verify(curated, deep=True).ok
    True
    """
    dataset = open_dataset(url)
    if deep and dataset.manifest.stage != COMPACTION:
        name = dataset.manifest.stage.name
        raise UsageError(
            f"{dataset.output} was made by the stage {name!r}; --deep compares compacted data with raw.",
            hint="Verify it without --deep.",
        )
    found = examine(open_store(dataset.output.url), dataset.output)
    problems, notes = list(found.problems), [COPIED] if found.copied else []
    if deep and not problems:
        problems = list(_compare_with_raw(dataset, options or RunOptions(), progress, notes))
    return Verdict(dataset, deep, tuple(problems), found.copied, tuple(notes), bool(found.strangers))


def _compare_with_raw(
    dataset: Dataset, options: RunOptions, progress: Progress | None, notes: list[str]
) -> Iterator[str]:
    published = dataset.manifest
    spec = published.spec
    store = open_store(published.raw.url)
    with tempfile.TemporaryDirectory(prefix="briquette-verify-") as scratch:
        listing = list_partition(
            store,
            published.raw,
            spec,
            check_batch_manifest=options.check_batch_manifest,
            batch_manifest=options.batch_manifest,
        )
        plan = plan_partition(
            published.partition,
            published.raw,
            Location(scratch),
            spec,
            listing.objects,
            listing.expected_records,
        )
        if not is_of_the_size_of(published, plan):
            yield f"the raw objects under {published.raw} are not those compacted: late or corrected data"
        elif not is_made_of(published, plan):  # the rows decide
            notes.append(
                "the raw objects have other etags than those compacted: copied, restored or corrected"
            )
        again = run_plan(plan, replace(options, force=True), progress=progress)
        if again.status is Status.EMPTY or again.manifest is None:
            yield f"the raw objects under {published.raw} hold no rows now, the dataset has {published.rows}"
            return
        for name in ("records", "rows", "rejects", "duplicates"):
            now, then = getattr(again.manifest, name), getattr(published, name)
            if now != then:
                yield f"the raw objects give {now} {name}, the manifest says {then}"
        yield from _first_difference(read_tables(dataset), read_tables(open_dataset(scratch)))


def _first_difference(published: Iterator[pa.Table], again: Iterator[pa.Table]) -> Iterator[str]:
    """Compare two streams of tables, whatever their batches; names the first row that differs."""
    row = 0
    for left, right in _aligned(published, again):
        if left is None or right is None:
            which = "the raw objects have" if left is None else "the dataset has"
            yield f"from row {row} on only {which} rows"
            return
        if rows_digest(left) != rows_digest(right):
            at = _first_unequal(left, right)
            published_row, raw_row = left.slice(at, 1).to_pylist()[0], right.slice(at, 1).to_pylist()[0]
            yield f"row {row + at} is published as {published_row}, the raw object says {raw_row}"
            return
        row += left.num_rows


def _more(table: pa.Table | None, source: Iterator[pa.Table]) -> pa.Table | None:
    """``table`` while it has rows, then the next of ``source`` that has, then None."""
    if table is not None and table.num_rows:
        return table
    return next((t for t in source if t.num_rows), None)


def _first_unequal(left: pa.Table, right: pa.Table) -> int:
    """The first row in which two tables of equal length differ, found by halving."""
    first, stop = 0, left.num_rows
    while stop - first > 1:
        half = (stop - first) // 2
        same = rows_digest(left.slice(first, half)) == rows_digest(right.slice(first, half))
        first, stop = (first + half, stop) if same else (first, first + half)
    return first


def _aligned(
    left: Iterator[pa.Table], right: Iterator[pa.Table]
) -> Iterator[tuple[pa.Table | None, pa.Table | None]]:
    """The two streams in slices of equal length; None on the side that ends first."""
    waiting: list[pa.Table | None] = [None, None]
    sources = (left, right)
    while True:
        for i, source in enumerate(sources):
            waiting[i] = _more(waiting[i], source)
        a, b = waiting
        if a is None and b is None:
            return
        if a is None or b is None:
            yield a, b
            return
        rows = min(a.num_rows, b.num_rows)
        yield a.slice(0, rows), b.slice(0, rows)
        waiting = [a.slice(rows), b.slice(rows)]

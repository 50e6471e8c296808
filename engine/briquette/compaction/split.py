"""One split from raw objects to finished row groups: what every executor calls, on every engine.

``compact_split``, and ``change_split`` for later stages, are functions of their task and of the bytes behind
the addresses in it; running one twice, elsewhere, or after a crash gives the same result and leaves at most
the same staged objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from briquette.compaction import unique_keys as unique
from briquette.decoding.decode import decode_in_turn, decode_objects
from briquette.decoding.rows.result import Decoded, Refused
from briquette.encoding import row_digest
from briquette.encoding.row_groups import encode
from briquette.errors import NotFound, PreconditionFailed, SourceChanged
from briquette.model import CompactionSpec, Piece, RawObject, Reject, RowGroup, SplitResult, SplitTask
from briquette.parquet.splice import read_part_row_groups, splice
from briquette.planning.plan import expected_bytes, is_huge
from briquette.storage.interface import Store
from briquette.storage.opening import open_store
from briquette.template_scan import scan

if TYPE_CHECKING:
    import pyarrow as pa

# A line that starts in a byte range may end beyond it; one more megabyte nearly always holds the rest.
RANGE_TAIL_BYTES = 1 << 20
_PARQUET = b"PAR1"  # begins a file of Parquet, and nothing else (C2.4)

Change = Callable[["pa.Table"], tuple["pa.Table", bytes]]  # new rows, and what was counted in the old ones


def compact_split(task: SplitTask) -> SplitResult:
    """Fetch, decode and encode one split; raises ``SourceChanged`` or ``InputError``; never for a record."""
    store = open_store(task.raw_url)
    if scan.worthwhile(task.plan_bytes):
        scan.warm()
    sink = _RowGroupSink(task)
    counts = _Counts(objects=len(task.objects))
    digests: list[str] = []
    keys: list[pa.Table] = []
    for block in _blocks(store, task):
        table = counts.add(block)
        if task.spec.unique_key:
            keys.append(table)
            continue
        digests.append(sink.add_rows(table))
    unique_keys, duplicates = b"", 0
    if task.spec.unique_key:
        table, duplicates = unique.keep_last(keys, task.spec)
        unique_keys = unique.keys_to_bytes(table, task.spec)
        table = unique.without_rows(table, task.drop_rows)
        duplicates += len(task.drop_rows)
        digests.append(sink.add_rows(table))
    result = counts.result(task, sink, digests, duplicates=duplicates)
    return replace(result, unique_keys=unique_keys) if unique_keys else result


def change_split(task: SplitTask, source: CompactionSpec, change: Change) -> SplitResult:
    """Fetch one split, decode it as ``source`` says, change its rows, and encode them as ``task.spec`` says.

    ``change`` gives each block's new rows, as many as it got, and what it counted in them; the blocks' bytes
    are joined in ``findings``, so they must say themselves where they end. The task's ``drop_rows`` are left
    out of the new rows and count as duplicates. Raises as ``compact_split``.
    """
    store = open_store(task.raw_url)
    if scan.worthwhile(task.plan_bytes) and not task.objects[0].key.endswith(".parquet"):
        scan.warm()
    sink = _RowGroupSink(task)
    counts = _Counts(objects=len(task.objects))
    digests: list[str] = []
    findings: list[bytes] = []
    for block in _blocks(store, replace(task, spec=source)):
        first = counts.rows
        table, found = change(counts.add(block))
        findings.append(found)
        losers = [row - first for row in task.drop_rows if first <= row < counts.rows]
        digests.append(sink.add_rows(unique.without_rows(table, losers)))
    result = counts.result(task, sink, digests, duplicates=len(task.drop_rows))
    return replace(result, findings=b"".join(findings))


def rows_of_split(task: SplitTask, choose: Callable[[pa.Table], Sequence[int]]) -> tuple[SplitRow, ...]:
    """Chosen rows of a split, in its order; ``choose`` gives the numbers of those of each block."""
    found: list[SplitRow] = []
    counts = _Counts(objects=len(task.objects))
    for block in _blocks(open_store(task.raw_url), task):
        first = counts.rows
        table = counts.add(block)
        numbers = [int(n) for n in choose(table)]
        chosen = table.take(numbers).to_pylist() if numbers else []
        found += [SplitRow(task.split_index, first + n, row) for n, row in zip(numbers, chosen, strict=True)]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class SplitRow:
    """One row as it was read, and its number among the rows of its split."""

    split_index: int
    number: int
    values: dict[str, Any]


class _Counts:
    """Sums over the blocks of a split, and the result that they make."""

    def __init__(self, objects: int) -> None:
        self.rows = 0
        self.rejects: list[Reject] = []
        self.object_records = [0] * objects
        self.extra_fields: Counter[str] = Counter()
        self.duplicate_json_keys = 0
        self.decoded_bytes = 0
        self.reject_bytes = 0

    def add(self, block: Decoded) -> pa.Table:
        """Take over a block's counts and hand on its rows."""
        self.rows += block.table.num_rows
        self.rejects.extend(block.rejects)
        for i, n in enumerate(block.object_records):
            self.object_records[i] += n
        self.extra_fields.update(dict(block.extra_fields))
        self.duplicate_json_keys += block.duplicate_json_keys
        self.decoded_bytes += block.decoded_bytes
        self.reject_bytes += block.reject_bytes
        return block.table

    def result(
        self, task: SplitTask, sink: _RowGroupSink, digests: Iterable[str], *, duplicates: int = 0
    ) -> SplitResult:
        return SplitResult(
            split_index=task.split_index,
            records=self.rows + len(self.rejects),
            rows=self.rows - duplicates,
            duplicates=duplicates,
            rejects=tuple(self.rejects),
            row_groups=sink.finish(),
            digest=row_digest.combine_digests(digests),
            object_records=tuple(self.object_records),
            extra_fields=tuple(sorted(self.extra_fields.items())),
            duplicate_json_keys=self.duplicate_json_keys,
            raw_bytes=task.raw_bytes,
            decoded_bytes=self.decoded_bytes,
            reject_bytes=self.reject_bytes,
        )


@dataclass
class _RowGroupSink:
    """Keeps row groups inline while they are small together; stages them in the store once not."""

    task: SplitTask

    def __post_init__(self) -> None:
        self._inline: list[RowGroup] = []
        self._inline_bytes = 0
        self._staged: list[RowGroup] = []

    def add_rows(self, table: pa.Table) -> str:
        """Encode rows; returns their digest."""
        self.add(encode(table, self.task.spec))
        return row_digest.rows_digest(table)

    def add(self, row_groups: Iterable[RowGroup]) -> None:
        self._inline.extend(row_groups)
        self._inline_bytes = sum(g.size_bytes for g in self._inline)
        if self._inline_bytes > self.task.inline_limit_bytes:
            self._stage()

    def _stage(self) -> None:
        """Write the waiting row groups as one object, so that long runs can be copied in the store."""
        place = self.task.staging
        kind = "dedup" if self.task.drop_rows else "split"
        key = f"{place.prefix}{kind}-{self.task.split_index:06d}-{len(self._staged):06d}"
        bodies = [g.body.data for g in self._inline if g.body.data is not None]
        stored = open_store(place.url).put(key, b"".join(bodies), durable=False)  # gone after a crash anyway
        offset = 0
        for group in self._inline:
            piece = Piece(group.size_bytes, None, key, offset, stored.etag)
            self._staged.append(replace(group, body=piece))
            offset += group.size_bytes
        self._inline, self._inline_bytes = [], 0

    def finish(self) -> tuple[RowGroup, ...]:
        if self._staged and self._inline:
            self._stage()
        return (*self._staged, *self._inline)


def _blocks(store: Store, task: SplitTask) -> Iterator[Decoded]:
    first = task.objects[0]
    try:
        if task.byte_range is not None:
            if first.key.endswith(".parquet"):
                yield from _row_group_blocks(store, first, task)
            else:
                yield from _range_blocks(store, first, task)
        elif len(task.objects) == 1 and is_huge(first, task.spec) and not first.refused:
            yield from _huge_blocks(store, first, task.spec)
        else:
            total_bytes = sum(map(expected_bytes, task.objects))
            yield from decode_in_turn(_bodies(store, task), len(task.objects), total_bytes, task.spec)
    except (NotFound, PreconditionFailed) as cause:
        raise SourceChanged(
            f"a raw object of {task.raw_url} changed or vanished after it was listed: {cause.message}",
            hint="Plan again; if the ingestion still writes, wait for its batch manifest.",
        ) from cause


def _huge_blocks(store: Store, item: RawObject, spec: CompactionSpec) -> Iterator[Decoded]:
    """One object in blocks; of Parquet only the pages that are read are in memory."""

    def fetch(start: int, stop: int) -> bytes:
        return store.get(item.key, etag=item.etag, start=start, length=stop - start)

    if item.key.lower().endswith(".parquet") and fetch(0, len(_PARQUET)) == _PARQUET:
        from briquette.decoding.parquet.file import Ranged
        from briquette.decoding.parquet.rows import parquet_blocks

        yield from parquet_blocks(item.key, Ranged(item.size_bytes, fetch), spec, spec.split_bytes)
        return
    from briquette.decoding.stream import decode_stream

    chunks = store.open_chunks(item, chunk_bytes=4 << 20)
    yield from decode_stream(item.key, chunks, spec, block_bytes=spec.split_bytes)


def _bodies(store: Store, task: SplitTask) -> Iterator[tuple[str, bytes | Refused]]:
    """Keys and bodies; none is held here while the next one is fetched."""
    bodies = store.get_many([item for item in task.objects if not item.refused])
    for item in task.objects:
        yield item.key, Refused(item.refused, item.size_bytes) if item.refused else next(bodies)


def _range_blocks(store: Store, item: RawObject, task: SplitTask) -> Iterator[Decoded]:
    from briquette.decoding.stream import decode_range

    assert task.byte_range is not None
    start, stop = task.byte_range

    def fetch(begin: int, end: int) -> bytes:
        length = min(end, item.size_bytes) - begin
        return store.get(item.key, etag=item.etag, start=begin, length=length) if length > 0 else b""

    return decode_range(
        item.key, fetch, (start, stop), item.size_bytes, task.spec, tail_bytes=RANGE_TAIL_BYTES
    )


def _row_group_blocks(store: Store, item: RawObject, task: SplitTask) -> Iterator[Decoded]:
    """The row groups of a part of ours that begin in the byte range, one at a time, so that one is in memory.

    Each is read in one request and decoded as a file of its own, which splicing makes of it.
    """
    assert task.byte_range is not None
    start, stop = task.byte_range

    def fetch(offset: int, length: int) -> bytes:
        return store.get(item.key, etag=item.etag, start=offset, length=length)

    before = 0
    for group in read_part_row_groups(fetch, item.size_bytes, item.key, item.etag):
        if start <= group.body.offset < stop:
            body = Piece(group.size_bytes, fetch(group.body.offset, group.size_bytes))
            file = splice([replace(group, body=body)]).to_bytes()
            block = decode_objects([(item.key, file)], task.spec)
            moved = tuple(replace(r, position=r.position + before) for r in block.rejects)
            before += block.object_records[0]
            yield replace(block, rejects=moved)

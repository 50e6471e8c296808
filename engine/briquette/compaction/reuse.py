"""What a second run takes over: finished row groups of splits that did not change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from briquette.compaction.manifest import writer_name
from briquette.errors import BriquetteError, VerificationFailed
from briquette.model import Manifest, Plan, PublishedSplit, RowGroup, SplitResult
from briquette.planning.plan import expected_bytes

if TYPE_CHECKING:
    from briquette.storage.interface import Store, Stored


def reusable_splits(
    plan: Plan, published: Manifest | None, store: Store, edited: frozenset[str] = frozenset()
) -> dict[int, SplitResult]:
    """Results of splits whose inputs and spec did not change; their row groups lie in published parts.

    Only what gives the same bytes is taken over: the same library versions, no rejects (their text is not
    in the manifest), no unique key (a later split may now win over a row), none of the inputs ``edited``
    under an equal etag. Anything odd about the published parts means decoding again, not failing.
    """
    if published is None or published.writer != writer_name() or plan.spec.unique_key:
        return {}
    old = {s.fingerprint: s for s in published.splits if s.rejects == 0}
    wanted = {
        s.index: old[s.fingerprint]
        for s in plan.splits
        if s.fingerprint in old and edited.isdisjoint(o.key for o in plan.objects(s))
    }
    if not wanted:
        return {}
    try:
        groups = _published_row_groups(published, store, wanted.values())
    except BriquetteError:
        return {}
    return {
        index: SplitResult(
            split_index=index,
            records=s.records,
            rows=s.rows,
            duplicates=0,
            rejects=(),
            row_groups=tuple(groups[n] for n in range(s.first_row_group, s.first_row_group + s.row_groups)),
            digest=s.digest,
            object_records=s.object_records,
            extra_fields=s.extra_fields,
            duplicate_json_keys=s.duplicate_json_keys,
            raw_bytes=0,
            decoded_bytes=s.decoded_bytes or sum(map(expected_bytes, plan.objects(plan.splits[index]))),
        )
        for index, s in wanted.items()
    }


def _published_row_groups(
    published: Manifest, store: Store, wanted: Iterable[PublishedSplit]
) -> dict[int, RowGroup]:
    """Row groups of the parts that ``wanted`` splits lie in, by their number through all parts."""
    from briquette.parquet.splice import read_part_row_groups
    from briquette.publishing.verify import require_as_published

    numbers = {n for s in wanted for n in range(s.first_row_group, s.first_row_group + s.row_groups)}
    found: dict[int, RowGroup] = {}
    first = 0
    for file in published.files:
        if any(first <= n < first + file.row_groups for n in numbers):
            now = require_as_published(store, file)

            def read_range(offset: int, length: int, now: Stored = now) -> bytes:
                return store.get(now.key, etag=now.etag, start=offset, length=length)

            groups = read_part_row_groups(read_range, now.size_bytes, key=now.key, etag=now.etag)
            if len(groups) != file.row_groups:
                raise VerificationFailed(f"{file.key} has {len(groups)} row groups, not {file.row_groups}.")
            found.update(zip(range(first, first + len(groups)), groups, strict=True))
        first += file.row_groups
    return found

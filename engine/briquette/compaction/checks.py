"""What must hold before a run publishes: nothing lost between records and rows, not too many rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from briquette.errors import BatchManifestMismatch, RejectLimitExceeded, VerificationFailed
from briquette.model import Plan, PublishedFile, Reject, SplitResult


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all splits; C7 holds for them as for each split."""

    records: int
    rows: int
    rejects: int
    duplicates: int
    extra_fields: tuple[tuple[str, int], ...]
    duplicate_json_keys: int
    content_digest: str
    decoded_bytes: int
    reject_bytes: int
    first_reject: Reject | None


def check_conservation(result: SplitResult) -> None:
    """C7 for one split; a violation is a defect of the engine and stops the run unpublished."""
    parts = result.rows + len(result.rejects) + result.duplicates
    grouped = sum(g.rows for g in result.row_groups)
    if result.records != parts or grouped != result.rows or sum(result.object_records) != result.records:
        raise VerificationFailed(
            f"split {result.split_index} read {result.records} records "
            f"({sum(result.object_records)} by object) but has {result.rows} rows ({grouped} in row groups), "
            f"{len(result.rejects)} rejects and {result.duplicates} duplicates.",
            hint="Nothing was published. This is a defect of briquette: report it with the raw objects.",
        )


def check_expected_records(plan: Plan, results: Sequence[SplitResult]) -> None:
    """The batch manifest's record counts must be those read; raises ``BatchManifestMismatch``."""
    if not plan.expected_records:
        return
    read: Counter[str] = Counter()
    for split, result in zip(plan.splits, results, strict=True):
        for item, records in zip(plan.objects(split), result.object_records, strict=True):
            read[item.key] += records
    for key, expected in plan.expected_records:
        if expected >= 0 and read[key] != expected:
            raise BatchManifestMismatch(
                f"the batch manifest says {key} has {expected} records, the object has {read[key]}.",
                hint="Ingest that symbol again, or pass --batch-manifest ignore to take what is there.",
            )


def within_reject_limit(plan: Plan, totals: Totals) -> bool:
    """C6.7: rejects may be no larger a share of the records, nor of the bytes of text, than the spec says."""
    most = plan.spec.max_reject_ratio
    return totals.rejects <= totals.records * most and totals.reject_bytes <= totals.decoded_bytes * most


def check_reject_limit(plan: Plan, totals: Totals, keep_rejects: Callable[[], PublishedFile | None]) -> None:
    """C6: too many rejects stop the run; the reject file stays for whoever reads the error."""
    if within_reject_limit(plan, totals):
        return
    file, first = keep_rejects(), totals.first_reject
    assert first is not None
    raise RejectLimitExceeded(
        f"{totals.rejects} of {totals.records} records of {plan.raw} were rejected "
        f"({totals.rejects / totals.records:.1%}) "
        f"with {totals.reject_bytes} of {totals.decoded_bytes} bytes "
        f"({totals.reject_bytes / max(totals.decoded_bytes, 1):.1%}); of both, "
        f"at most {plan.spec.max_reject_ratio:.1%} may be. The first: {first.key!r}, record "
        f"{first.position}: {first.reason}. Nothing was published.",
        hint=f"Read {plan.output.url.rstrip('/')}/{file.key if file else ''}, fix the source or the schema, "
        "or raise --max-reject-ratio.",
    )


def total(results: Sequence[SplitResult]) -> Totals:
    """Sums over the splits."""
    from briquette.encoding import row_digest

    extra: Counter[str] = Counter()
    for result in results:
        extra.update(dict(result.extra_fields))
    return Totals(
        records=sum(r.records for r in results),
        rows=sum(r.rows for r in results),
        rejects=sum(len(r.rejects) for r in results),
        duplicates=sum(r.duplicates for r in results),
        extra_fields=tuple(sorted(extra.items())),
        duplicate_json_keys=sum(r.duplicate_json_keys for r in results),
        content_digest=row_digest.combine_digests([r.digest for r in results]),
        decoded_bytes=sum(r.decoded_bytes for r in results),
        reject_bytes=sum(r.reject_bytes for r in results),
        first_reject=next((r.rejects[0] for r in results if r.rejects), None),
    )

"""What a run publishes beside its parts: the manifest and the reject file."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence

from briquette.compaction.checks import Totals
from briquette.errors import VerificationFailed
from briquette.model import COMPACTION, Manifest, Plan, PublishedFile, PublishedSplit, Reject, SplitResult
from briquette.planning.plan import warnings_of
from briquette.version import __version__


def writer_name() -> str:
    """The library versions that decide the bytes of a row group."""
    import pyarrow as pa

    return f"briquette {__version__}, pyarrow {pa.__version__}"


def build_manifest(
    plan: Plan,
    results: Sequence[SplitResult],
    totals: Totals,
    files: tuple[PublishedFile, ...],
    rejects_file: PublishedFile | None,
) -> Manifest:
    """What was published, from what, by what."""
    published_rows = sum(f.rows for f in files)
    if published_rows != totals.rows:
        raise VerificationFailed(f"the footers hold {published_rows} rows, the splits made {totals.rows}.")
    return Manifest(
        partition=plan.partition,
        plan_id=plan.plan_id,
        input_fingerprint=plan.input_fingerprint,
        spec=plan.spec,
        content_digest=totals.content_digest,
        records=totals.records,
        rows=totals.rows,
        rejects=totals.rejects,
        duplicates=totals.duplicates,
        input_objects=len(plan.listing),
        input_bytes=plan.raw_bytes,
        raw=plan.raw,
        files=files,
        rejects_file=rejects_file,
        splits=tuple(_published_splits(plan, results)),
        extra_fields=totals.extra_fields,
        duplicate_json_keys=totals.duplicate_json_keys,
        writer=writer_name(),
        stage=plan.stage,
        fresh=plan.fresh,
        warnings=warnings_of(plan.listing, plan.raw.prefix) if plan.stage == COMPACTION else (),
    )


def _published_splits(plan: Plan, results: Sequence[SplitResult]) -> Iterator[PublishedSplit]:
    first = 0
    for split, result in zip(plan.splits, results, strict=True):
        yield PublishedSplit(
            index=split.index,
            fingerprint=split.fingerprint,
            first_row_group=first,
            row_groups=len(result.row_groups),
            rows=result.rows,
            records=result.records,
            rejects=len(result.rejects),
            duplicates=result.duplicates,
            digest=result.digest,
            object_records=result.object_records,
            extra_fields=result.extra_fields,
            duplicate_json_keys=result.duplicate_json_keys,
            decoded_bytes=result.decoded_bytes,
        )
        first += len(result.row_groups)


def reject_lines(results: Sequence[SplitResult]) -> bytes:
    """The reject file: a JSON object a line, in (key, position) order; raw that is no UTF-8 in base64."""
    return b"".join(reject_line(reject) for result in results for reject in result.rejects)


def reject_line(reject: Reject) -> bytes:
    """One line of the reject file."""
    line: dict[str, object] = {
        "key": reject.key,
        "position": reject.position,
        "byte_offset": reject.byte_offset,
        "reason": reject.reason,
    }
    try:
        line["raw"] = reject.raw.decode("utf-8", "strict")
    except UnicodeDecodeError:
        line["raw_base64"] = base64.b64encode(reject.raw).decode("ascii")
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"

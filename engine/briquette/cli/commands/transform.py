"""``briquette transform``: the second stage of a day."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from briquette.cli.options import (
    OUTPUT,
    RUN,
    Common,
    RunFlags,
    StageFlags,
    TargetFlags,
    choice,
    expand,
    option,
)
from briquette.cli.output import begin, elapsed, say

if TYPE_CHECKING:
    from briquette.pipeline.transform import TransformResult
    from briquette.prices.quality import Thresholds
    from briquette.settings.environments import Settings

QUALITY = "Data quality"


@expand
def transform(
    target: TargetFlags,
    stage: StageFlags,
    run: RunFlags,
    common: Common,
    *,
    expected_min_records: Annotated[
        int | None, option(QUALITY, "Fewer records are a warning. [default: the environment's, else 100]")
    ] = None,
    max_critical_error_rate: Annotated[
        float | None,
        option(QUALITY, "Per cent of critical errors that may be. [default: the environment's, else 5]"),
    ] = None,
    duplicates: Annotated[
        str,
        option(
            QUALITY,
            "Of conflicting records of one key: keep_last, reject or fail. "
            "[default: the environment's, else keep_last]",
        ),
    ] = "",
    schema: Annotated[
        str, option(OUTPUT, "A declared table or a TOML file, for a day that was not compacted.")
    ] = "",
    batch_manifest: Annotated[
        str, option(RUN, "check or ignore _batch.manifest.json, for a day that was not compacted.")
    ] = "check",
) -> None:
    """Check and adjust a compacted day, and publish it.

    Too many critical errors: the rows go to quarantine, and what was published stays.
    """
    begin(common)
    from briquette.cli.text import Progress
    from briquette.pipeline.transform import TransformOptions, transform_day
    from briquette.pipeline.transform_source import places_of
    from briquette.prices.duplicates import KEEP_LAST

    settings = target.settings()
    subdir = settings.compaction_output_subdir if settings else "compacted"
    check = choice("batch-manifest", batch_manifest, ("check", "ignore")) == "check"
    options = TransformOptions(
        thresholds=_thresholds(settings, expected_min_records, max_critical_error_rate),
        duplicates_rule=duplicates or (settings.duplicates if settings else KEEP_LAST),
        schema=schema or None,
        schema_fingerprint=stage.schema_fingerprint,
        run=run.resolve(
            force=stage.force,
            unsafe_store=stage.unsafe_store,
            check_batch_manifest=check,
            batch_manifest=target.batch_manifest(),
        ),
        spec_overrides=stage.sizes(settings),
    )
    places = places_of(target.resolve(), target.compacted_subdir or subdir)
    with Progress(shown=common.shows_progress, what=str(places.partition)) as progress:
        result = transform_day(places, options, progress=progress)
    result = replace(result, compaction=replace(result.compaction, seconds=elapsed()))
    say(result.to_dict(), transform_text(result))


def _thresholds(settings: Settings | None, least: int | None, most: float | None) -> Thresholds:
    """Those of the command line, else the environment's, else the defaults."""
    from briquette.prices.quality import EXPECTED_MIN_RECORDS, MAX_CRITICAL_ERROR_RATE, Thresholds

    if least is None:
        least = settings.expected_min_records if settings else EXPECTED_MIN_RECORDS
    if most is None:
        most = settings.max_critical_error_rate if settings else MAX_CRITICAL_ERROR_RATE
    return Thresholds(least, most)


def transform_text(result: TransformResult) -> str:
    """The summary of a transform."""
    from briquette.cli.text import result_text, rows_of

    pairs = [("read from", f"{result.read_from}  ({result.source})")]
    if result.quality:
        found = result.quality
        warned = [f"{found.duplicate_keys:,} keys occur twice or more"] if found.duplicate_keys else []
        if found.too_few_records:
            warned.append(f"fewer than {found.thresholds.expected_min_records:,} records")
        warned += [f"{name} is not a decimal" for name in found.not_decimal]
        pairs.append(("quality", found.sentence()))
        pairs.append(("warnings", f"{found.warnings:,}" + (f": {', '.join(warned)}" if warned else "")))
    if result.duplicates and result.duplicates.found:
        repeated = result.duplicates
        sentences = [f"{repeated.exact:,} exact dropped"] if repeated.exact else []
        if repeated.conflicting:
            what = f"{len(repeated.rejected):,} rejected" if repeated.rejected else "the last stays"
            sentences.append(
                f"{repeated.conflicting:,} conflicting ({', '.join(repeated.examples)} …): {what}"
            )
        pairs.append(("duplicates", ", ".join(sentences)))
    if result.schema_changed is not None:
        pairs.append(("schema", "recorded: it is new or changed" if result.schema_changed else "as recorded"))
    return f"{result_text(result.compaction)}\n{rows_of(pairs)}"

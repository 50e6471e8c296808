"""The Glue transform job: a compacted day to adjusted, checked prices, scheduled by Spark.

``python -m glue_wrappers.transform_job --JOB_NAME local …`` runs it here; docs/transform.md has arguments.
The plan, the kernel and the publish are the engine's own, so the bytes are those of a Dask run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from briquette.aws.glue_arguments import Argument, Arguments
from briquette.aws.glue_compaction import FILE_TYPES, bucket_url, target_of
from briquette.aws.glue_runtime import JOB_NAME, GlueRun, log
from briquette.compaction.options import RunOptions
from briquette.errors import UnsupportedFormat
from briquette.pipeline.transform import TransformOptions, transform_day
from briquette.pipeline.transform_source import Places
from briquette.planning.plan import BATCH_MANIFEST_NAME
from briquette.planning.spec import CODECS
from briquette.prices.duplicates import KEEP_LAST, RULES
from briquette.prices.quality import EXPECTED_MIN_RECORDS, MAX_CRITICAL_ERROR_RATE, Thresholds
from briquette.settings.values import flag, number, one_of, positive, whole
from briquette.storage.urls import below, parse_url

ARGUMENTS = (
    JOB_NAME,
    Argument("environment"),
    Argument("raw_bucket", required=True),
    Argument("raw_prefix", required=True),
    Argument("compacted_bucket", required=True),
    Argument("compacted_prefix", required=True),
    Argument("curated_bucket", required=True),
    Argument("curated_prefix", required=True),
    Argument("schema_fingerprint_s3_uri"),
    Argument("codec", one_of(str, CODECS), required=True),
    Argument("target_file_mb", positive, required=True),
    Argument("expected_min_records", whole, default=EXPECTED_MIN_RECORDS),
    Argument("max_critical_error_rate", number, default=MAX_CRITICAL_ERROR_RATE),
    Argument("ds", required=True),
    Argument("file_type", required=True),
    Argument("interval", required=True),
    Argument("data_source", required=True),
    Argument("domain"),
    Argument("table_name"),
    Argument("schema"),
    Argument("duplicates", one_of(str, RULES), default=KEEP_LAST),
    Argument("force", flag, default=False),
    Argument("batch_manifest_name", default=BATCH_MANIFEST_NAME),
)


def transform(run: GlueRun) -> Mapping[str, Any]:
    """The job's work; raises the errors of ``briquette.errors``."""
    arguments = run.arguments
    if arguments["file_type"] not in FILE_TYPES:
        raise UnsupportedFormat(
            f"Unsupported file_type {arguments['file_type']!r}.", hint=f"Use one of {', '.join(FILE_TYPES)}."
        )
    places = places_of(arguments)
    options = TransformOptions(
        thresholds=Thresholds(arguments["expected_min_records"], arguments["max_critical_error_rate"]),
        schema=arguments["schema"] or None,
        duplicates_rule=arguments["duplicates"],
        schema_fingerprint=arguments["schema_fingerprint_s3_uri"],
        run=RunOptions(force=arguments["force"], batch_manifest=arguments["batch_manifest_name"]),
        spec_overrides={n: arguments[n] for n in ("codec", "target_file_mb")},
    )
    log(
        f"transforming {places.compacted} into {places.output}, "
        f"environment {arguments['environment'] or 'not named'}"
    )
    result = transform_day(places, options, executor=run.executor)
    if result.quality:
        log(f"quality: {result.quality.sentence()}; {result.quality.warnings} warnings")
    return result.to_dict()


def places_of(arguments: Arguments) -> Places:
    """The partition and its places, as preflight's arguments name them."""
    target = target_of(arguments)
    table = below(parse_url(bucket_url(arguments["curated_bucket"])), arguments["curated_prefix"])
    return Places(target.partition, target.raw, target.output, table)

"""The arguments of a day's runs, by the pipeline's names: Glue's are strings, the container's an argv."""

from __future__ import annotations

from collections.abc import Sequence

from briquette.planning.plan import BATCH_MANIFEST_NAME
from briquette.settings.environments import Settings
from briquette.storage.urls import parse_url
from orchestration.handlers.request import Request

INDICATORS = "indicators"
Strings = dict[str, str]


def glue_args(request: Request, settings: Settings, ds: str) -> Strings:
    """The names that the pipeline's Glue jobs share."""
    curated = _root(settings.curated_url, request)
    return {
        "--environment": settings.environment,
        "--raw_bucket": settings.raw_bucket,
        "--raw_prefix": f"{_root(settings.raw_url, request)}"
        f"interval={request.interval}/data_source={request.data_source}/",
        "--compacted_bucket": settings.curated_bucket,
        "--compacted_prefix": f"{curated}{settings.compaction_output_subdir}",
        "--curated_bucket": settings.curated_bucket,
        "--curated_prefix": curated,
        "--schema_fingerprint_s3_uri": _fingerprint(settings, request.domain, request.table_name),
        "--codec": settings.compaction_codec,
        "--target_file_mb": str(settings.compaction_target_file_mb),
        "--expected_min_records": str(settings.expected_min_records),
        "--max_critical_error_rate": str(settings.max_critical_error_rate),
        "--duplicates": settings.duplicates,
        "--ds": ds,
        "--file_type": request.file_type,
        "--interval": request.interval,
        "--data_source": request.data_source,
    } | _manifest(settings, "--batch_manifest_name")


_OF_COMPACTION = (
    *("environment", "raw_bucket", "raw_prefix", "compacted_bucket", "compacted_prefix"),
    *("codec", "target_file_mb", "ds", "file_type", "interval", "data_source", "batch_manifest_name"),
)


def compaction_args(request: Request, shared: Strings, plan_uri: str, result_uri: str) -> Strings:
    """The arguments of a Glue run that finishes the stored plan, or plans itself where there is none.

    It leaves its result where the container would.
    """
    chosen = {f"--{name}": shared[f"--{name}"] for name in _OF_COMPACTION if f"--{name}" in shared}
    stored = {"--result_uri": result_uri} | ({"--plan_uri": plan_uri} if plan_uri else {})
    return chosen | _table(request) | stored | _force(request)


_OF_CATALOG = (
    *("environment", "curated_bucket", "curated_prefix", "compacted_bucket", "compacted_prefix"),
    "schema_fingerprint_s3_uri",
)


def catalog_args(request: Request, settings: Settings) -> Strings:
    """What the catalog needs to find the tables of a request; it holds for all of its days."""
    shared = glue_args(request, settings, request.days[0])
    return {f"--{name}": shared[f"--{name}"] for name in _OF_CATALOG}


def transform_args(request: Request, shared: Strings) -> Strings:
    """The arguments of the transform's Glue run."""
    return shared | _table(request) | _force(request)


def indicators_args(request: Request, settings: Settings, shared: Strings) -> Strings:
    """The arguments of the indicators' Glue run."""
    above = parse_url(settings.curated_url).prefix
    return {
        "--environment": shared["--environment"],
        "--prices_curated_bucket": shared["--curated_bucket"],
        "--prices_prefix": shared["--curated_prefix"],
        "--output_bucket": shared["--curated_bucket"],
        "--output_prefix": f"{above}{request.domain}/{INDICATORS}/",
        "--schema_fingerprint_s3_uri": _fingerprint(settings, request.domain, INDICATORS),
        "--codec": shared["--codec"],
        "--target_file_mb": shared["--target_file_mb"],
        "--lookback_days": str(settings.indicators_lookback_days),
        "--duplicates": shared["--duplicates"],
        "--ds": shared["--ds"],
    } | _force(request)


def container_command(
    request: Request, settings: Settings, ds: str, plan_uri: str, result_uri: str
) -> Sequence[str]:
    """What the Fargate task is told: execute the stored plan, or plan this target, and say how it ended."""
    if plan_uri:
        what = ["--plan-uri", plan_uri]
    else:
        words = {
            "--raw": settings.raw_url,
            "--curated": settings.curated_url,
            "--compacted-subdir": settings.compaction_output_subdir,
            "--domain": request.domain,
            "--table": request.table_name,
            "--interval": request.interval,
            "--data-source": request.data_source,
            "--ds": ds,
            "--codec": settings.compaction_codec,
            "--target-file-mb": str(settings.compaction_target_file_mb),
        } | _manifest(settings, "--batch-manifest-name")
        what = [word for pair in words.items() for word in pair]
    forced = ["--force"] if request.reprocess else []
    return ["compact", *what, *forced, "--result-uri", result_uri]


def artifact_uri(settings: Settings, domain: str, table: str, *names: str) -> str:
    """A table's own place in the artifacts: ``s3://artifacts/market/prices/_plans/…``."""
    return "/".join([settings.artifacts_url.rstrip("/"), domain, table, *names])


def _fingerprint(settings: Settings, domain: str, table: str) -> str:
    return artifact_uri(settings, domain, table, "_schema", "latest.json")


def _manifest(settings: Settings, argument: str) -> Strings:
    """Only where it has another name than always, so that runs are told what the pipeline tells them."""
    name = settings.raw_manifest_name
    return {} if name == BATCH_MANIFEST_NAME else {argument: name}


def _root(url: str, request: Request) -> str:
    return f"{parse_url(url).prefix}{request.domain}/{request.table_name}/"


def _table(request: Request) -> Strings:
    return {"--domain": request.domain, "--table_name": request.table_name}


def _force(request: Request) -> Strings:
    return {"--force": "true"} if request.reprocess else {}

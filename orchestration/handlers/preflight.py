"""Preflight: which days an event means, and for one day the plan, its state and every run's arguments.

docs/flow.md is the contract; the shapes, codes and messages of the daily pipeline are kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from briquette.aws.environment import environment_name
from briquette.aws.telemetry import log
from briquette.errors import EXIT_BAD_INPUT, EXIT_USAGE, BriquetteError
from briquette.settings.environments import Settings
from briquette.storage.urls import bucket_of, parse_url
from orchestration.handlers import arguments
from orchestration.handlers.day import Day, look_at, store_plan, target_of
from orchestration.handlers.request import PRE_VALIDATION_FAILED, Refused, Request, read_request
from orchestration.handlers.settings import settings_from

IDEMPOTENT_SKIP = "IDEMPOTENT_SKIP"
Document = dict[str, Any]


def handler(event: Mapping[str, Any], context: object) -> Document:  # noqa: ARG001 - Lambda's signature
    """The Lambda: a refused event is an answer, a failing store is an error."""
    answer = preflight(event, os.environ)
    told = ("proceed", "reason", "state", "ds", "stale", "makesStale")
    states = {name: answer[name] for name in told if name in answer}
    log("INFO", "preflight", str(answer.get("correlationId", "")), **states)
    return answer


def preflight(event: Mapping[str, Any], env: Mapping[str, str]) -> Document:
    """What ``handler`` answers, of an event and the variables of a process."""
    try:
        environment = environment_name(env if env.get("ENVIRONMENT") else {"ENVIRONMENT": _named(event)})
        settings = settings_from({**env, "ENVIRONMENT": environment})
        request = read_request(event, environment=environment, max_days=settings.max_backfill_days)
        _require_buckets(settings)
        _require_own_bucket(event, settings)
        target_of(request, settings, request.days[0])
        if request.expand:
            return expanded(request, settings)
    except Refused as refusal:
        return refused(refusal.code, refusal.message, ds=refusal.ds)
    except BriquetteError as error:
        if error.exit_code not in (EXIT_USAGE, EXIT_BAD_INPUT):
            raise
        return refused(PRE_VALIDATION_FAILED, str(error))
    items = [item_of(request, settings, ds) for ds in request.days]
    return {"dates": items} if request.many else items[0]


def expanded(request: Request, settings: Settings) -> Document:
    """Which days there are, without looking at any."""
    return {
        "proceed": True,
        "days": [{"ds": ds} for ds in request.days],
        "catalogArgs": arguments.catalog_args(request, settings),
        "request": request.without_days() | {"environment": settings.environment},
        "settings": {
            "maxConcurrency": settings.sfn_max_concurrency,
            "compactionTimeoutSeconds": settings.compaction_timeout_minutes * 60,
            "transformTimeoutSeconds": settings.transform_timeout_minutes * 60,
            "indicatorsTimeoutSeconds": settings.indicators_timeout_minutes * 60,
            "catalogUpdate": request.catalog_update or settings.catalog_update,
            **_results_place(request, settings),
        },
        "correlationId": request.correlation_id,
    }


def _results_place(request: Request, settings: Settings) -> Document:
    """Where the Map leaves its children's results."""
    place = parse_url(arguments.artifact_uri(settings, request.domain, request.table_name, "_runs", "days"))
    return {"resultsBucket": settings.artifacts_bucket, "resultsPrefix": place.prefix.rstrip("/")}


def item_of(request: Request, settings: Settings, ds: str) -> Document:
    """One day; input that no engine could compact is refused here, before anything is started."""
    catalog = {"catalog_update": request.catalog_update or settings.catalog_update}
    try:
        day = look_at(request, settings, ds)
    except BriquetteError as error:
        if error.exit_code not in (EXIT_USAGE, EXIT_BAD_INPUT):
            raise
        return refused(PRE_VALIDATION_FAILED, f"{error.name}: {error}", ds=ds) | catalog
    if day.done:
        message = "Curated partition already exists"
        skipped = refused(IDEMPOTENT_SKIP, message, reason="Already processed", ds=ds)
        named = {"stale": [later.to_dict() for later in day.stale]} if day.stale else {}
        return skipped | named | catalog
    return proceeding(request, settings, day, ds) | catalog


def proceeding(request: Request, settings: Settings, day: Day, ds: str) -> Document:
    """The answer for a day with something to do; its plan is stored."""
    plan_uri = store_plan(day.plan, settings) if day.plan else ""
    result_uri = arguments.artifact_uri(
        settings, request.domain, request.table_name, "_runs", ds, f"{day.run_id}.json"
    )
    shared = arguments.glue_args(request, settings, ds)
    engine = request.engine or settings.engine
    fingerprint = day.plan.input_fingerprint if day.plan else ""
    return {
        "proceed": True,
        "reason": day.reason or None,
        "ds": ds,
        "glue_args": shared,
        "correlationId": f"{request.domain}:{request.table_name}:{ds}",
        "state": day.state,
        "engine": engine,
        "fallback": settings.fallback if engine == "dask" else "none",
        "plan_uri": plan_uri,
        "inputFingerprint": fingerprint,
        "stale": [later.to_dict() for later in day.stale],
        "makesStale": list(day.makes_stale),
        "inputs": {"objects": len(day.listing), "bytes": day.input_bytes},
        "compaction_args": arguments.compaction_args(request, shared, plan_uri, result_uri),
        "container_command": arguments.container_command(request, settings, ds, plan_uri, result_uri),
        "result_uri": result_uri,
        "guard": {
            "bucket": shared["--compacted_bucket"],
            "prefix": shared["--compacted_prefix"],
            "ds": ds,
            "inputFingerprint": fingerprint,
        },
        "transform_args": arguments.transform_args(request, shared),
        "indicators_args": arguments.indicators_args(request, settings, shared),
    }


def refused(code: str, message: str, *, reason: str = "", ds: str = "") -> Document:
    """The answer that nothing is started, in the pipeline's shape."""
    known = {"ds": ds} if ds else {}
    error = {"code": code, "message": message}
    return {"proceed": False, "reason": reason or message, **known, "error": error}


def _require_buckets(settings: Settings) -> None:
    urls = (settings.curated_url, settings.raw_url, settings.artifacts_url)
    if not all(map(bucket_of, urls)):
        raise Refused(PRE_VALIDATION_FAILED, "Missing CURATED_BUCKET/RAW_BUCKET/ARTIFACTS_BUCKET")


def _require_own_bucket(event: Mapping[str, Any], settings: Settings) -> None:
    """An object of another bucket says nothing about this one, whatever its key."""
    told = event.get("source_bucket")
    if told and told != settings.raw_bucket:
        raise Refused(
            PRE_VALIDATION_FAILED, f"source_bucket is {told!r}, not the raw bucket {settings.raw_bucket!r}"
        )


def _named(event: object) -> str:
    named = event.get("environment") if isinstance(event, Mapping) else None
    return named if isinstance(named, str) else ""

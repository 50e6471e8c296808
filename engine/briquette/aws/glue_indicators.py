"""The Glue indicators job: a day's technical indicators from its published prices, on a Spark worker.

``python -m glue_wrappers.indicators_job --JOB_NAME local …`` runs it here; docs/glue.md has its arguments.
The bytes are those of ``briquette indicators``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from briquette.aws.glue_arguments import Argument, Arguments
from briquette.aws.glue_compaction import bucket_url
from briquette.aws.glue_runtime import JOB_NAME, GlueRun, log
from briquette.compaction.options import RunOptions
from briquette.errors import UsageError
from briquette.pipeline.indicators import LOOKBACK_DAYS, IndicatorsOptions, IndicatorsTarget, places
from briquette.pipeline.indicators_days import IndicatorsOfDay, IndicatorsOfDays, indicators_days
from briquette.planning.spec import CODECS
from briquette.planning.target import check_ds
from briquette.prices.duplicates import KEEP_LAST, RULES
from briquette.settings.values import flag, one_of, positive, whole
from briquette.storage.opening import open_object
from briquette.storage.urls import below, parse_url

ARGUMENTS = (
    JOB_NAME,
    Argument("environment"),
    Argument("prices_curated_bucket", required=True),
    Argument("prices_prefix", required=True),
    Argument("output_bucket", required=True),
    Argument("output_prefix", required=True),
    Argument("schema_fingerprint_s3_uri"),
    Argument("codec", one_of(str, CODECS), default="zstd"),
    Argument("target_file_mb", positive, default=256.0),
    Argument("lookback_days", whole, default=LOOKBACK_DAYS),
    Argument("ds", required=True),
    Argument("indicator_set", one_of(str, ("A", "B")), default="A"),
    Argument("duplicates", one_of(str, RULES), default=KEEP_LAST),
    Argument("force", flag, default=False),
    Argument("days"),
    Argument("repair_stale", flag, default=False),
    Argument("result_uri"),
)


def compute(run: GlueRun) -> Mapping[str, Any]:
    """The job's work; raises the errors of ``briquette.errors``."""
    arguments = run.arguments
    target = target_of(arguments)
    options = IndicatorsOptions(
        set_name=arguments["indicator_set"],
        lookback_days=arguments["lookback_days"],
        duplicates_rule=arguments["duplicates"],
        schema_fingerprint=arguments["schema_fingerprint_s3_uri"],
        codec=arguments["codec"],
        target_file_mb=arguments["target_file_mb"],
        run=RunOptions(force=arguments["force"]),
    )
    log(f"indicators {options.set_name} of {target.prices} into {target.output}")
    days = [word for word in arguments["days"].split(",") if word] or [arguments["ds"]]
    for day in days:
        check_ds(day)
    left: list[IndicatorsOfDay] = []

    def leave(day: IndicatorsOfDay) -> None:
        """After every day, so that a run that is stopped has told of those before."""
        left.append(day)
        log(f"{day.ds}: {day.error or (day.result and day.result.status.value)}")
        _leave(arguments["result_uri"], IndicatorsOfDays(tuple(left), ()))

    made = indicators_days(
        target,
        days,
        options,
        repair_stale=arguments["repair_stale"],
        executor=run.executor,
        on_day=leave,
    )
    _leave(arguments["result_uri"], made)
    if made.errors:
        raise made.errors[0]
    if len(made.days) > 1:
        return made.to_dict()
    (only,) = made.days
    assert only.result is not None
    return only.result.to_dict()


def _leave(uri: str, made: IndicatorsOfDays) -> None:
    """Write the result document, if one was asked for."""
    if uri:
        store, key = open_object(uri)
        store.put(key, json.dumps(made.to_dict()).encode())


def target_of(arguments: Arguments) -> IndicatorsTarget:
    """The places, as preflight's arguments name them."""
    check_ds(arguments["ds"])
    prefix = arguments["prices_prefix"].strip("/")
    domain, slash, table = prefix.partition("/")
    if not (domain and slash and table):
        raise UsageError(
            f"prices_prefix is {arguments['prices_prefix']!r}.",
            hint="Pass <domain>/<table>/, as in market/prices/.",
        )
    return places(
        below(parse_url(bucket_url(arguments["prices_curated_bucket"])), prefix),
        below(parse_url(bucket_url(arguments["output_bucket"])), arguments["output_prefix"]),
        domain=domain,
        ds=arguments["ds"],
    )

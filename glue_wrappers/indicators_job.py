"""The Glue indicators job: a day's technical indicators from its published prices, on a Spark worker.

As a Glue script, or ``python -m glue_wrappers.indicators_job --JOB_NAME local …``; docs/glue.md lists the
arguments. The bytes are those of ``briquette indicators``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.compaction import CODECS, RunOptions
from engine.errors import UsageError
from engine.indicators import LOOKBACK_DAYS, IndicatorsOptions, IndicatorsTarget, indicators_day, places
from engine.store import parse_url
from engine.target import below, check_ds
from glue_wrappers.arguments import Argument, Arguments, flag, one_of, positive, whole
from glue_wrappers.compaction_job import bucket_url
from glue_wrappers.runtime import JOB_NAME, GlueRun, log, run_script

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
    Argument("force", flag, default=False),
)


def compute(run: GlueRun) -> Mapping[str, Any]:
    """The job's work; raises the errors of ``engine.errors``."""
    arguments = run.arguments
    target = target_of(arguments)
    options = IndicatorsOptions(
        set_name=arguments["indicator_set"],
        lookback_days=arguments["lookback_days"],
        schema_fingerprint=arguments["schema_fingerprint_s3_uri"],
        codec=arguments["codec"],
        target_file_mb=arguments["target_file_mb"],
        run=RunOptions(force=arguments["force"]),
    )
    log(f"indicators {options.set_name} of {target.prices} into {target.output}")
    return indicators_day(target, options, executor=run.executor).to_dict()


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


if __name__ == "__main__":
    run_script(ARGUMENTS, compute)

"""The Glue compaction job: a table-day of raw objects to one published dataset, scheduled by Spark.

``python -m glue_wrappers.compaction_job --JOB_NAME local …`` runs it here; docs/glue.md has its arguments.
The plan, the kernel and the publish are the engine's own, so the bytes are those of a Dask run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from briquette.aws.glue_arguments import Argument, Arguments
from briquette.aws.glue_runtime import JOB_NAME, GlueRun, log
from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.run import run_plan
from briquette.errors import UnsupportedFormat, UsageError
from briquette.model import OnEmpty, Partition, Plan
from briquette.planning.plan import BATCH_MANIFEST_NAME
from briquette.planning.spec import CODECS
from briquette.planning.target import Target, check_ds
from briquette.serialization import plan_from_bytes
from briquette.settings.values import flag, number, one_of, positive
from briquette.storage.opening import open_object
from briquette.storage.urls import below, parse_url

FILE_TYPES = ("json", "csv", "parquet")

ARGUMENTS = (
    JOB_NAME,
    Argument("raw_bucket", required=True),
    Argument("raw_prefix", required=True),
    Argument("compacted_bucket", required=True),
    Argument("compacted_prefix", required=True),
    Argument("ds", required=True),
    Argument("file_type", required=True),
    Argument("codec", one_of(str, CODECS), required=True),
    Argument("target_file_mb", positive, required=True),
    Argument("interval", required=True),
    Argument("data_source", required=True),
    Argument("environment"),
    Argument("domain"),
    Argument("table_name"),
    Argument("schema"),
    Argument("plan_uri"),
    Argument("on_empty", one_of(OnEmpty, tuple(OnEmpty)), default=OnEmpty.KEEP),
    Argument("force", flag, default=False),
    Argument("batch_manifest_name", default=BATCH_MANIFEST_NAME),
    Argument("max_reject_ratio", number, default=None),
    Argument("result_uri"),
)


def compact(run: GlueRun) -> Mapping[str, Any]:
    """The job's work; raises the errors of ``briquette.errors``."""
    arguments = run.arguments
    if arguments["file_type"] not in FILE_TYPES:
        raise UnsupportedFormat(
            f"Unsupported file_type {arguments['file_type']!r}.", hint=f"Use one of {', '.join(FILE_TYPES)}."
        )
    target = target_of(arguments)
    options = RunOptions(
        force=arguments["force"],
        on_empty=arguments["on_empty"],
        batch_manifest=arguments["batch_manifest_name"],
    )
    log(
        f"compacting {target.raw} into {target.output}, environment {arguments['environment'] or 'not named'}"
    )
    plan = stored_plan(arguments, target) if arguments["plan_uri"] else new_plan(arguments, target, options)
    result = run_plan(plan, options, executor=run.executor)
    if result.message:
        log(result.message)
    document = result.to_dict()
    if arguments["result_uri"]:
        left = document | {"engine": "glue", "error": None}
        store, key = open_object(arguments["result_uri"])
        store.put(key, json.dumps(left, ensure_ascii=False).encode())
    return document


def target_of(arguments: Arguments) -> Target:
    """The partition and its two places, as preflight's arguments name them."""
    day = check_ds(arguments["ds"])
    prefix = arguments["raw_prefix"]
    segments = prefix.strip("/").split("/")
    words = dict(s.split("=", 1) for s in segments if "=" in s)
    for name in ("interval", "data_source"):
        if words.get(name, arguments[name]) != arguments[name]:
            raise UsageError(
                f"raw_prefix says {name}={words[name]}, but --{name} is {arguments[name]!r}.",
                hint="Pass a prefix and arguments that name the same partition.",
            )
    dated = words.keys() >= {"year", "month", "day"}
    date = () if dated else (f"year={day:%Y}", f"month={day:%m}", f"day={day:%d}")
    if dated and "-".join(words[w] for w in ("year", "month", "day")) != arguments["ds"]:
        log(f"raw_prefix {prefix} is used as it is, though ds is {arguments['ds']}")
    named = len(segments) > 2 and segments[2].startswith("interval=")
    domain, table = segments[:2] if named else ("", "")
    partition = Partition(
        arguments["domain"] or domain,
        arguments["table_name"] or table,
        arguments["interval"],
        arguments["data_source"],
        arguments["ds"],
    )
    raw = below(parse_url(bucket_url(arguments["raw_bucket"])), prefix, *date)
    curated = parse_url(bucket_url(arguments["compacted_bucket"]))
    output = below(curated, arguments["compacted_prefix"], f"ds={arguments['ds']}")
    return Target(partition, raw, output).apart()


def bucket_url(name: str) -> str:
    """The URL of a bucket; what begins with ``/`` or ``.`` is a path, for runs without AWS.

    >>> bucket_url("raw"), bucket_url("./raw"), bucket_url("file:///data/raw")
    ('s3://raw', './raw', 'file:///data/raw')
    """
    if "://" in name or name.startswith(("/", ".")):
        return name
    if "/" in name:  # as a path it would be a folder of the worker's own disk, gone with the worker
        raise UsageError(
            f"{name!r} is not a bucket's name.",
            hint="Pass the bucket alone and the rest as the prefix; a path begins with / or ./",
        )
    return f"s3://{name}"


def new_plan(arguments: Arguments, target: Target, options: RunOptions) -> Plan:
    """List and plan, with the schema of ``--schema``, the declared one, or one inferred from all records."""
    overrides = {n: arguments[n] for n in ("codec", "target_file_mb", "max_reject_ratio")}
    spec = resolve_spec(target, arguments["schema"] or None, overrides, infers_named=True)
    return make_plan(target, spec, options)


def stored_plan(arguments: Arguments, target: Target) -> Plan:
    """The plan under ``--plan_uri``, which must be one for this partition; its places and spec hold."""
    uri = arguments["plan_uri"]
    store, key = open_object(uri)
    plan = plan_from_bytes(store.get(key), where=uri)
    for word in ("interval", "data_source", "ds"):
        planned, asked = getattr(plan.partition, word), getattr(target.partition, word)
        if planned and planned != asked:
            raise UsageError(
                f"{uri} plans {word} {planned!r} ({plan.partition}), but --{word} is {asked!r}.",
                hint="Pass the plan of this partition, or none.",
            )
    log(f"executing the stored plan {plan.plan_id}: {plan.raw} into {plan.output}, with its codec and sizes")
    return plan

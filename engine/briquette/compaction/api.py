"""Compaction as a library: ``compact`` one dataset, or ``plan`` it and run the plan later or elsewhere."""

from __future__ import annotations

import os
import time
from typing import Any

from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import Progress, RunOptions, check_options
from briquette.compaction.prefetch import prefetch
from briquette.compaction.result import CompactionResult
from briquette.compaction.run import run_plan
from briquette.model import Partition, Plan, Schema
from briquette.planning.target import Target, resolve_target

Url = str | os.PathLike[str]


def compact(
    *,
    input: Url | None = None,  # noqa: A002 - the command line's own word
    output: Url | None = None,
    raw: Url | None = None,
    curated: Url | None = None,
    domain: str = "",
    table: str = "",
    interval: str = "",
    data_source: str = "",
    ds: str = "",
    compacted_subdir: str = "compacted",
    schema: Schema | Url | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **spec_overrides: Any,
) -> CompactionResult:
    """Compact one dataset and publish it, verified, in one visible step.

    Three ways to say what: ``input``/``output`` (any two URLs), ``raw``/``curated``/``ds`` (``raw`` is the
    day's own prefix), or ``raw``/``curated`` roots with ``domain``, ``table``, ``interval``, ``data_source``
    and ``ds`` (the daily pipeline's layout). URLs are paths, ``file://`` or ``s3://``.

    ``schema`` is a ``Schema``, the name of a declared table or a TOML file; without one it is inferred from
    all records first. ``spec_overrides``: ``codec``, ``target_file_mb``, ``extra_fields``,
    ``max_reject_ratio``, ``unique_key``, ``publish``, ``limits`` (a ``Limits`` or some of its values) and the
    other fields of ``CompactionSpec``.

    Returns how the run ended, also where nothing had to be done (UNCHANGED) or there was nothing (EMPTY).
    Raises the errors of ``briquette.errors``; a bad record never raises, it becomes a reject.
    """
    started = time.monotonic()
    partition = Partition(domain, table, interval, data_source, ds)
    target = _target(partition, (input, output), (raw, curated), compacted_subdir)
    options = options or RunOptions()
    check_options(options)
    spec = resolve_spec(target, schema, spec_overrides)
    with prefetch(target, spec, options) as prefetched:
        made = make_plan(target, spec, options, prefetched)
        return run_plan(made, options, progress=progress, started=started, prefetched=prefetched)


def plan(
    *,
    input: Url | None = None,  # noqa: A002 - as of compact
    output: Url | None = None,
    raw: Url | None = None,
    curated: Url | None = None,
    domain: str = "",
    table: str = "",
    interval: str = "",
    data_source: str = "",
    ds: str = "",
    compacted_subdir: str = "compacted",
    schema: Schema | Url | None = None,
    options: RunOptions | None = None,
    **spec_overrides: Any,
) -> Plan:
    """List what ``compact`` would read and cut it into splits; nothing is written.

    Takes what ``compact`` takes. The plan is a value: ``serialization.plan_to_bytes`` stores it, and
    ``compaction.run.run_plan`` executes it, here or on another machine, to the same bytes.

    Raises the errors of ``briquette.errors``.
    """
    partition = Partition(domain, table, interval, data_source, ds)
    target = _target(partition, (input, output), (raw, curated), compacted_subdir)
    options = options or RunOptions()
    check_options(options)
    return make_plan(target, resolve_spec(target, schema, spec_overrides), options)


def _target(
    partition: Partition,
    anywhere: tuple[Url | None, Url | None],
    daily: tuple[Url | None, Url | None],
    compacted_subdir: str,
) -> Target:
    (input_url, output_url), (raw, curated) = (tuple(_text(url) for url in two) for two in (anywhere, daily))
    return resolve_target(
        partition,
        input_url=input_url,
        output_url=output_url,
        raw=raw,
        curated=curated,
        compacted_subdir=compacted_subdir,
    )


def _text(url: Url | None) -> str:
    return "" if url is None else os.fspath(url)

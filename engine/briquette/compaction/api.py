"""Compaction as a library: ``compact`` one dataset, or ``plan`` it and run the plan later or elsewhere."""

from __future__ import annotations

import os
from typing import Any

from briquette.compaction.run import RunOptions, check_options, make_plan, resolve_spec, resolve_target
from briquette.compaction.run import compact as compact  # noqa: PLC0414 - named from here
from briquette.model import Plan, Schema

Url = str | os.PathLike[str]


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

    Takes what ``compact`` takes. The plan is a value: ``briquette.serialization.plan_to_bytes`` stores it,
    and ``briquette.compaction.run.run_plan`` executes it, here or on another machine, to the same bytes.

    Raises the errors of ``briquette.errors``.
    """
    target = resolve_target(
        input_url=_text(input),
        output_url=_text(output),
        raw=_text(raw),
        curated=_text(curated),
        domain=domain,
        table=table,
        interval=interval,
        data_source=data_source,
        ds=ds,
        compacted_subdir=compacted_subdir,
    )
    options = options or RunOptions()
    check_options(options)
    return make_plan(target, resolve_spec(target, schema, spec_overrides), options)


def _text(url: Url | None) -> str:
    return "" if url is None else os.fspath(url)

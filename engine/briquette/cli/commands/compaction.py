"""``briquette compact`` and ``plan``: publish a target, or say what that would do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from briquette.cli.files import check_writable, read_file, write_file
from briquette.cli.options import (
    OUTPUT,
    RUN,
    Common,
    RunFlags,
    SpecFlags,
    TargetFlags,
    choice,
    expand,
    option,
)
from briquette.cli.output import begin, configure_output, elapsed, say
from briquette.cli.process_setup import hide_pandas_from_pyarrow
from briquette.errors import EXIT_EMPTY, UsageError

if TYPE_CHECKING:
    from briquette.compaction.prefetch import Prefetched
    from briquette.compaction.result import CompactionResult
    from briquette.model import Plan

BatchManifest = Annotated[str, option(RUN, "check or ignore the ingestion's _batch.manifest.json.")]


@expand
def compact(
    target: TargetFlags,
    spec: SpecFlags,
    run: RunFlags,
    common: Common,
    *,
    plan: Annotated[Path | None, option(RUN, "Execute this stored plan instead of making one.")] = None,
    force: Annotated[
        bool,
        option(RUN, "Write again even if nothing changed, or over a damaged manifest.", "--force"),
    ] = False,
    on_empty: Annotated[
        str, option(RUN, "If there is nothing to compact, the published dataset: keep, remove or fail.")
    ] = "keep",
    batch_manifest: BatchManifest = "check",
    unsafe_store: Annotated[
        bool, option(RUN, "Publish to a store without conditional writes, with care.", "--unsafe-store")
    ] = False,
) -> None:
    """Compact raw objects into one Parquet dataset and publish it.

    List, plan, decode, verify, and publish in one visible step.
    """
    configure_output(common)
    from briquette.cli.text import Progress, result_text
    from briquette.compaction.new_plan import make_plan
    from briquette.compaction.prefetch import prefetch
    from briquette.compaction.run import run_plan
    from briquette.model import OnEmpty, Status

    options = run.resolve(
        force=force,
        unsafe_store=unsafe_store,
        on_empty=OnEmpty(choice("on-empty", on_empty, tuple(OnEmpty))),
        check_batch_manifest=choice("batch-manifest", batch_manifest, ("check", "ignore")) == "check",
        batch_manifest=target.batch_manifest(),
    )

    def execute(work: Plan, prefetched: Prefetched | None = None) -> CompactionResult:
        with Progress(shown=common.shows_progress, what=str(work.partition)) as progress:
            ended = run_plan(work, options, progress=progress, prefetched=prefetched)
            return replace(ended, seconds=elapsed())

    if plan:
        result = execute(_stored(plan, target, spec))
    else:
        place = target.resolve()
        if not (spec.schema or place.partition.table):
            hide_pandas_from_pyarrow()  # all is read in order to infer a schema
        chosen = spec.resolve(place, target.settings())
        with prefetch(place, chosen, options) as prefetched:
            hide_pandas_from_pyarrow()  # and import it, while the stores have been asked
            result = execute(make_plan(place, chosen, options, prefetched), prefetched)
    say(result.to_dict(), result_text(result))
    if result.status is Status.EMPTY:
        raise typer.Exit(EXIT_EMPTY)


def _stored(plan: Path, target: TargetFlags, spec: SpecFlags) -> Plan:
    """The plan in that file; raises ``UsageError`` where the command line says too what it says."""
    from briquette.serialization import plan_from_bytes

    if target != TargetFlags() or spec != SpecFlags():
        raise UsageError(
            "a stored plan already says what is read, where it is published and how.",
            hint="Leave out the options of input, output and schema.",
        )
    hide_pandas_from_pyarrow()
    return plan_from_bytes(read_file(plan), where=str(plan))


@expand
def plan(
    target: TargetFlags,
    spec: SpecFlags,
    common: Common,
    batch_manifest: BatchManifest = "check",
    out: Annotated[Path | None, option(OUTPUT, "Write the plan here, for compact --plan.")] = None,
) -> None:
    """Say what a compaction would do.

    State, splits, predicted parts and memory; nothing is written.
    """
    begin(common)
    from briquette.cli.text import plan_text
    from briquette.compaction.new_plan import make_plan
    from briquette.compaction.plan_summary import plan_summary
    from briquette.serialization import plan_to_bytes

    check = choice("batch-manifest", batch_manifest, ("check", "ignore")) == "check"
    place = target.resolve()
    options = RunFlags().resolve(check_batch_manifest=check, batch_manifest=target.batch_manifest())
    if out:
        check_writable(out)
    work = make_plan(place, spec.resolve(place, target.settings()), options)
    if out:
        write_file(out, plan_to_bytes(work))
    summary = plan_summary(work) | {"plan_file": str(out) if out else None}
    say(summary, plan_text(summary))

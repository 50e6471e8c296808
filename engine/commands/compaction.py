"""``briquette compact`` and ``plan``: publish a target, or say what that would do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands.files import read_file, write_file
from engine.commands.speech import begin, hide_pandas_from_pyarrow, say, speak_as
from engine.errors import EXIT_EMPTY
from engine.options import (
    OUTPUT,
    RUN,
    Common,
    RunChoices,
    SpecOptions,
    TargetOptions,
    choice,
    expand,
    option,
)
from engine.stores import read_ahead

if TYPE_CHECKING:
    from engine.target import Target

BatchManifest = Annotated[str, option(RUN, "check or ignore the ingestion's _batch.manifest.json.")]


@expand
def compact(
    target: TargetOptions,
    spec: SpecOptions,
    run: RunChoices,
    common: Common,
    *,
    plan: Annotated[Path | None, option(RUN, "Execute this stored plan instead of making one.")] = None,
    force: Annotated[
        bool, option(RUN, "Write though nothing changed, and over foreign Parquet files.", "--force")
    ] = False,
    on_empty: Annotated[str, option(RUN, "With nothing to compact: keep, remove or fail.")] = "keep",
    batch_manifest: BatchManifest = "check",
    unsafe_store: Annotated[bool, option(RUN, "Allow a store without conditions.", "--unsafe-store")] = False,
) -> None:
    """Compact a target and publish it.

    List, plan, decode, verify, and publish in one visible step.
    """
    speak_as(common)
    place = None if plan else target.resolve()
    if place:
        _read_ahead(place, run, force=force)
    hide_pandas_from_pyarrow()
    from engine.compaction import make_plan, run_plan
    from engine.model import OnEmpty, Status
    from engine.report import Progress, result_text
    from engine.wire import plan_from_bytes

    options = run.resolve(
        force=force,
        unsafe_store=unsafe_store,
        on_empty=OnEmpty(choice("on-empty", on_empty, tuple(OnEmpty))),
        check_batch_manifest=choice("batch-manifest", batch_manifest, ("check", "ignore")) == "check",
    )
    if plan:
        work = plan_from_bytes(read_file(plan), where=str(plan))
    else:
        assert place is not None
        work = make_plan(place, spec.resolve(place, target.settings()), options)
    with Progress(shown=not common.quiet, what=str(work.partition)) as progress:
        result = run_plan(work, options, progress=progress)
    say(result.to_dict(), result_text(result))
    if result.status is Status.EMPTY:
        raise typer.Exit(EXIT_EMPTY)


def _read_ahead(place: Target, run: RunChoices, *, force: bool) -> None:
    """Let the other process list the day, and read its files where this one will decode all of them."""
    from engine.publishing.layout import Layout
    from engine.store import open_store
    from engine.stores.local import LocalStore

    ahead = read_ahead.current()
    store = open_store(place.raw.url)
    if ahead is None or not isinstance(store, LocalStore):
        return
    elsewhere = run.workers or run.scheduler or run.ray_address or run.executor == "ray"
    published = not force and os.path.exists(
        os.path.join(place.output.url, Layout.of(place.output).manifest_key)
    )
    ahead.ask(store.root, place.raw.prefix, bodies=not (elsewhere or published))
    store.read_ahead = ahead


@expand
def plan(
    target: TargetOptions,
    spec: SpecOptions,
    common: Common,
    batch_manifest: BatchManifest = "check",
    out: Annotated[Path | None, option(OUTPUT, "Write the plan here, for compact --plan.")] = None,
) -> None:
    """Say what a compaction would do.

    State, splits, predicted parts and memory; nothing is written.
    """
    begin(common)
    from engine.compaction import make_plan, plan_summary
    from engine.report import plan_text
    from engine.wire import plan_to_bytes

    check = choice("batch-manifest", batch_manifest, ("check", "ignore")) == "check"
    place = target.resolve()
    work = make_plan(
        place, spec.resolve(place, target.settings()), RunChoices().resolve(check_batch_manifest=check)
    )
    if out:
        write_file(out, plan_to_bytes(work))
    summary = plan_summary(work) | {"plan_file": str(out) if out else None}
    say(summary, plan_text(summary))

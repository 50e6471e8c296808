"""``briquette compact`` and ``plan``: publish a target, or say what that would do."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands.files import read_file, write_file
from engine.commands.settling import arrow_is_mapped
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
    with _reading_ahead(place, run, force=force):
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
        if place is None:
            assert plan is not None
            work = plan_from_bytes(read_file(plan), where=str(plan))
        else:
            work = make_plan(place, spec.resolve(place, target.settings()), options)
        with Progress(shown=not common.quiet, what=str(work.partition)) as progress:
            result = run_plan(work, options, progress=progress)
    say(result.to_dict(), result_text(result))
    if result.status is Status.EMPTY:
        raise typer.Exit(EXIT_EMPTY)


def _reading_ahead(place: Target | None, run: RunChoices, *, force: bool) -> AbstractContextManager[None]:
    """Another process lists a day on disk, and reads its files where this one will decode all of them."""
    from engine.publishing.layout import Layout
    from engine.store import open_store
    from engine.stores.local import LocalStore
    from engine.stores.read_ahead import reading_ahead

    store = open_store(place.raw.url) if place else None
    if place is None or not isinstance(store, LocalStore):
        return nullcontext()
    arrow_is_mapped()
    elsewhere = run.workers or run.scheduler or run.ray_address or run.executor == "ray"
    published = os.path.join(place.output.url, Layout.of(place.output).manifest_key)
    bodies = not elsewhere and (force or not os.path.exists(published))
    return reading_ahead(store, place.raw.prefix, bodies=bodies)


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

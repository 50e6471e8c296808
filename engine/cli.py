"""The ``briquette`` command: parse, one call, print. Heavy libraries load only when a command needs them."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from engine import __version__
from engine.commands.bench import bench
from engine.commands.config import config
from engine.commands.days import backfill, run
from engine.commands.indicators import indicators
from engine.commands.speech import begin, fail, say
from engine.commands.transform import transform
from engine.errors import (
    EXIT_EMPTY,
    EXIT_RETRYABLE,
    BriquetteError,
    Interrupted,
    UsageError,
    VerificationFailed,
)
from engine.options import (
    OUTPUT,
    RUN,
    Common,
    PanelledCommand,
    RunChoices,
    SpecOptions,
    TargetOptions,
    choice,
    expand,
    option,
)
from engine.stores import stopping

app = typer.Typer(
    name="briquette",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
BatchManifest = Annotated[str, option(RUN, "check or ignore the ingestion's _batch.manifest.json.")]


@app.command(cls=PanelledCommand)
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
    begin(common)
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
        work = plan_from_bytes(_read_file(plan), where=str(plan))
    else:
        place = target.resolve()
        work = make_plan(place, spec.resolve(place, target.settings()), options)
    with Progress(shown=not common.quiet, what=str(work.partition)) as progress:
        result = run_plan(work, options, progress=progress)
    say(result.to_dict(), result_text(result))
    if result.status is Status.EMPTY:
        raise typer.Exit(EXIT_EMPTY)


@app.command(cls=PanelledCommand)
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
        _write_file(out, plan_to_bytes(work))
    summary = plan_summary(work) | {"plan_file": str(out) if out else None}
    say(summary, plan_text(summary))


@app.command(cls=PanelledCommand)
@expand
def inspect(
    common: Common, url: Annotated[str, typer.Argument(help="A published dataset, or one Parquet file.")]
) -> None:
    """Show what a dataset is made of.

    Or one Parquet file: row groups, encodings, sizes, schema, manifest.
    """
    begin(common)
    from engine.inspection import inspect_url
    from engine.report import inspection_text

    found = inspect_url(url)
    say(found, inspection_text(found))


@app.command(cls=PanelledCommand)
@expand
def verify(
    target: TargetOptions,
    run: RunChoices,
    common: Common,
    *,
    url: Annotated[str, typer.Argument(help="A published dataset; or name it by the target options.")] = "",
    deep: Annotated[bool, option(RUN, "Decode the raw again and compare every row.", "--deep")] = False,
) -> None:
    """Check a published dataset.

    Counts, checksums and footers against its manifest; with --deep every row against the raw objects.
    """
    begin(common)
    from engine.report import Progress, verdict_document, verdict_text
    from engine.verification import verify as verify_url

    place = url or str(target.resolve(reads=False).output)
    with Progress(shown=deep and not common.quiet, what=place) as progress:
        verdict = verify_url(place, deep=deep, options=run.resolve(), progress=progress)
    say(verdict_document(verdict), verdict_text(verdict))
    if not verdict.ok:
        raise typer.Exit(VerificationFailed.exit_code)


@app.command(cls=PanelledCommand)
@expand
def infer(
    target: TargetOptions,
    common: Common,
    name: Annotated[str, option(OUTPUT, "Name written into the schema.")] = "",
    out: Annotated[Path | None, option(OUTPUT, "Write the TOML here instead of to stdout.")] = None,
) -> None:
    """Write a schema (TOML) from the data.

    One that holds every record of the target.
    """
    begin(common)
    from engine.compaction import infer_target
    from engine.report import inferred_document

    place = target.resolve(writes=False)
    inferred, text = infer_target(place, name)
    if out:
        _write_file(out, text.encode())
    say(inferred_document(inferred, text), f"wrote {out}" if out else text)


@app.command(cls=PanelledCommand)
@expand
def demo(
    common: Common,
    dir: Annotated[Path, option(RUN, "Where raw and curated are made.")] = Path("demo"),  # noqa: A002
    symbols: Annotated[int, option(RUN, "Symbols, one small file each.", min=10, max=100_000)] = 5_438,
) -> None:
    """Make, compact and show a raw day.

    On local disk, with Dask; no account is needed.
    """
    begin(common, pandas=True)
    from engine.demo import run_demo

    silent = common.quiet or common.json_output
    document = run_demo(dir, symbols, say=(lambda _: None) if silent else print)
    say(document, "")


@app.command(cls=PanelledCommand)
@expand
def doctor(target: TargetOptions, common: Common) -> None:
    """Examine this machine and the stores.

    Versions, credentials, and which conditional writes a store honours.
    """
    begin(common, pandas=True)
    from engine.doctor import examine
    from engine.report import examination_text

    settings = target.settings()
    raw = target.raw or target.input or (settings.raw_url if settings else "")
    curated = target.curated or target.output or (settings.curated_url if settings else "")
    found = examine(raw_url=raw, curated_url=curated)
    say(found, examination_text(found))
    if not found["ok"]:
        raise typer.Exit(EXIT_RETRYABLE)


app.command(cls=PanelledCommand)(transform)
app.command(cls=PanelledCommand)(indicators)
app.command(cls=PanelledCommand)(run)
app.command(cls=PanelledCommand)(backfill)
app.command(cls=PanelledCommand)(bench)
app.add_typer(config, name="config")


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise UsageError(f"{path} cannot be read ({cause.strerror}).", hint="Check the path.") from cause


def _write_file(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as cause:
        raise UsageError(f"{path} cannot be written ({cause.strerror}).", hint="Check the path.") from cause


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        sys.stdout.write(f"briquette {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Press a day of small raw JSON and CSV objects into one well-sized, verified Parquet dataset.

    Exit codes: 0 published or unchanged; 1 worth a retry or a fallback; 2 usage; 3 nothing to do;
    4 bad input or contract; 5 reject limit or data quality; 143 stopped by SIGTERM.
    """


def main() -> None:
    """Entry point: runs the command and turns errors into a message and an exit code."""
    # Importing makes many objects and no garbage: collecting as often as by default costs 0.1 s of start-up.
    gc.set_threshold(50_000, 20, 50)
    stopping.listen()
    try:
        app()
    except SystemExit:
        if stopping.obeyed():  # run and backfill have said which days are not done
            sys.exit(stopping.EXIT_STOPPED)
        raise
    except Interrupted as error:
        fail(error.name, error.message, error.hint, stopping.EXIT_STOPPED)
    except BriquetteError as error:
        fail(error.name, error.message, error.hint, error.exit_code)
    except KeyboardInterrupt:
        fail("Interrupted", "the run was stopped; nothing was published.", "Run it again.", EXIT_RETRYABLE)
    except MemoryError:
        fail("MemoryError", "the machine ran out of memory.", "Pass --memory-limit.", EXIT_RETRYABLE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_RETRYABLE)


if __name__ == "__main__":
    main()

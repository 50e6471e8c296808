"""``briquette infer``, ``demo`` and ``doctor``: what comes before the first run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from briquette.cli.files import check_writable, write_file
from briquette.cli.options import OUTPUT, RUN, Common, TargetFlags, expand, option
from briquette.cli.output import begin, say, warn
from briquette.errors import EXIT_RETRYABLE


@expand
def infer(
    target: TargetFlags,
    common: Common,
    name: Annotated[str, option(OUTPUT, "Name written into the schema.")] = "",
    out: Annotated[Path | None, option(OUTPUT, "Write the TOML here instead of to stdout.")] = None,
) -> None:
    """Write a schema (TOML) from the data.

    One that holds every record of the target.
    """
    begin(common)
    from briquette.cli.text import inferred_document
    from briquette.compaction.undeclared_schema import infer_target
    from briquette.datasets.infer import check_any_good

    place = target.resolve(writes=False)
    if out:
        check_writable(out)
    inferred, text = infer_target(place, name)
    warn(inferred.warnings)
    check_any_good(inferred)
    if out:
        write_file(out, text.encode())
    say(inferred_document(inferred, text), f"wrote {out}" if out else text)


@expand
def demo(
    common: Common,
    dir: Annotated[Path, option(RUN, "Where raw and curated are made.")] = Path("demo"),  # noqa: A002
    symbols: Annotated[int, option(RUN, "Symbols, one small file each.", min=10, max=100_000)] = 5_438,
) -> None:
    """Make, compact and show a raw day.

    On local disk; no account is needed.
    """
    begin(common, pandas=True)
    from briquette.cli.demo import run_demo

    silent = common.quiet or common.json_output
    document = run_demo(dir, symbols, say=(lambda _: None) if silent else print)
    say(document, "")


@expand
def doctor(target: TargetFlags, common: Common) -> None:
    """Examine this machine and the stores.

    Versions, credentials, and which conditional writes a store honours.
    """
    begin(common, pandas=True)
    from briquette.cli.doctor import examine
    from briquette.cli.text import examination_text

    settings = target.settings()
    raw = target.raw or target.input or (settings.raw_url if settings else "")
    curated = target.curated or target.output or (settings.curated_url if settings else "")
    found = examine(raw_url=raw, curated_url=curated)
    say(found, examination_text(found))
    if not found["ok"]:
        raise typer.Exit(EXIT_RETRYABLE)

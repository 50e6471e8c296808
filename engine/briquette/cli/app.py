"""The tree of commands: only the module of the command that is asked for is loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated

import typer

from briquette import __version__
from briquette.cli.options import CommandGroup, PanelledCommand

COMMANDS = {  # in the order of the help page
    "compact": "compaction",
    "plan": "compaction",
    "inspect": "look",
    "verify": "look",
    "infer": "first",
    "demo": "first",
    "doctor": "first",
    "transform": "transform",
    "indicators": "indicators",
    "run": "days",
    "backfill": "days",
    "bench": "bench",
}
GROUPS = {"config": "config"}


def build(names: Iterable[str] = (*COMMANDS, *GROUPS)) -> typer.Typer:
    """The command line with these commands; building all of them takes 0.1 s."""
    app = typer.Typer(
        name="briquette",
        cls=CommandGroup,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        home = import_module(f"briquette.cli.commands.{COMMANDS.get(name) or GROUPS[name]}")
        if name in GROUPS:
            app.add_typer(getattr(home, name), name=name)
        else:
            app.command(name, cls=PanelledCommand)(getattr(home, name))
    return app


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        sys.stdout.write(f"briquette {__version__}\n")
        raise typer.Exit


def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn many small raw JSON, CSV and Parquet objects into one well-sized, verified Parquet dataset.

    Exit codes: 0 published or unchanged; 1 worth a retry or a fallback; 2 usage; 3 nothing to do;
    4 bad input or contract; 5 reject limit or data quality; 6 refused by a store: keys, rights,
    bucket, space; 143 stopped by SIGTERM, 130 by Ctrl-C.
    """

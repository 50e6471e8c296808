"""Write docs/cli.md from the commands themselves, so that the page cannot say anything else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperArgument, TyperOption

from briquette.cli.app import build

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
HEAD = """# The command line

Made from the commands by `python -m scripts.cli_docs`, and kept true by a test.
`briquette COMMAND --help` says the same.

URLs are paths, `file://` or `s3://bucket/prefix`; `AWS_ENDPOINT_URL` and the usual AWS variables count.
With `--json` one document goes to stdout and nothing else does; progress and messages go to stderr.

| exit code | meaning |
|---|---|
| 0 | published, or unchanged |
| 1 | failure worth a retry or a fallback: network, memory, lost workers, a raw object that changed |
| 2 | usage: the command, an option or a configuration file is wrong |
| 3 | nothing to do: no raw objects, or none with records |
| 4 | bad input or contract: another engine would fail the same way |
| 5 | reject limit or data quality |
| 6 | refused by a store: keys, rights, the bucket's name or region, space; another engine would fare alike |
| 130, 143 | stopped by Ctrl-C or SIGTERM: readers see what was there, or a publish that had begun, ended |
"""


def page() -> str:
    """The whole page."""
    out = [HEAD]
    for name, command in sorted(_commands(typer.main.get_command(build()))):
        arguments = [p for p in command.params if isinstance(p, TyperArgument)]
        words = "".join(f" {str(p.name).upper()}" for p in arguments)
        out.append(f"## briquette {name}\n\n    briquette {name}{words} [OPTIONS]\n\n{command.help}\n")
        lines = [f"| `{str(p.name).upper()}` | {p.help} |" for p in arguments]
        lines += [_option(p) for p in command.params if isinstance(p, TyperOption) and not p.hidden]
        out.append("| option | meaning |\n|---|---|\n" + "\n".join(lines) + "\n")
    return "\n".join(out)


def _commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its words, those of groups too."""
    for name, command in group.commands.items():
        words = f"{above} {name}".strip()
        if hasattr(command, "commands"):
            yield from _commands(command, words)
        else:
            yield words, command


def _option(option: TyperOption) -> str:
    names = ", ".join(f"`{n}`" for n in [*option.opts, *option.secondary_opts])
    default = option.default
    shown = f" Default: `{default}`." if default not in (None, "", False, 0) else ""
    return f"| {names} | {(option.help or '').replace('|', '&#124;')}{shown} |"


if __name__ == "__main__":
    if "--check" in sys.argv:
        true = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page()
        sys.exit(0 if true else f"{PAGE.name} is out of date: run python -m scripts.cli_docs")
    PAGE.write_text(page(), encoding="utf-8")

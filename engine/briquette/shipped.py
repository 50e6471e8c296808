"""Where environments and tables are looked for: the user's own folder, then the examples of the package."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from briquette.errors import ConfigError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

VARIABLE = "BRIQUETTE_CONFIG"
KINDS = ("environments", "tables")


def shipped(folder: str) -> Traversable:
    """The folder ``environments`` or ``tables`` of the package, or of the checkout that it is part of."""
    inside = resources.files("briquette") / "config" / folder
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "config" / folder


def places(folder: str, env: Mapping[str, str] | None = None) -> list[tuple[str, Traversable]]:
    """The folders in which ``environments`` or ``tables`` are looked for, each with what messages call it.

    The user's own first: below ``$BRIQUETTE_CONFIG`` where that is set, else below ``config`` of the working
    directory; then those of the package. ``env`` is a process environment, by default this one. Raises
    ``ConfigError`` where the variable names no such folder.
    """
    own = _own(folder, os.environ if env is None else env)
    return [*([(str(own), own)] if own else []), (f"shipped {folder}", shipped(folder))]


def _own(folder: str, env: Mapping[str, str]) -> Path | None:
    named = env.get(VARIABLE)
    # A folder ``config`` may be anybody's, a package for instance: without such files it is none of ours.
    place = Path(named or "config") / folder
    if not named:
        return place if any(files(place)) else None
    if not any((Path(named) / kind).is_dir() for kind in KINDS):
        raise ConfigError(
            f"{VARIABLE} is {named!r}, which has neither a folder environments nor a folder tables.",
            hint=f"Put the TOML files into {named}/environments and {named}/tables, or unset it.",
        )
    return place if place.is_dir() else None


def files(place: Traversable) -> Iterator[Traversable]:
    """The TOML files in a folder; none where there is no folder."""
    if place.is_dir():
        yield from (file for file in place.iterdir() if file.name.endswith(".toml") and file.is_file())

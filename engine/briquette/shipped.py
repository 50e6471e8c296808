"""The files that travel with the package: environments and tables that a user's own come before."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def shipped(folder: str) -> Traversable:
    """The folder ``environments`` or ``tables`` of the package, or of the checkout that it is part of."""
    inside = resources.files("briquette") / "config" / folder
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "config" / folder

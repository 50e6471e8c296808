"""The accelerators, and the variables that switch them off.

An accelerator makes a run faster and nothing else: without it every byte of the output is the same. Each has
one variable, ``auto`` (the default), ``on`` or ``off``; ``BRIQUETTE_ACCELERATORS=off`` switches all of them
off, whatever theirs say. What each saves stands in docs/decisions/0015-accelerators.md.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Final

from briquette.errors import UsageError

ALL: Final = "BRIQUETTE_ACCELERATORS"
VALUES: Final = ("auto", "on", "off")


class Accelerator(StrEnum):
    """One accelerator; its value is the name of its variable."""

    SCAN = "BRIQUETTE_SCAN"  # template_scan; "on" takes it for the smallest day too
    ARROW_LANES = "BRIQUETTE_ARROW_LANES"  # decoding/fast: pyarrow's parsers before the record readers
    EARLY_PARTS = "BRIQUETTE_EARLY_PARTS"  # publishing/early_parts: parts written while splits are made
    PREFETCH = "BRIQUETTE_PREFETCH"  # storage/s3/prefetch: listed and fetched while libraries are imported
    S3_CURL = "BRIQUETTE_S3_CURL"  # storage/s3/small_gets: many small objects asked for side by side


def wish(accelerator: Accelerator) -> str:
    """What the environment says: ``auto``, ``on`` or ``off``; raises ``UsageError`` for another word."""
    return "off" if _value(ALL) == "off" else _value(accelerator)


def allowed(accelerator: Accelerator) -> bool:
    """Whether nobody has switched it off."""
    return wish(accelerator) != "off"


def check() -> None:
    """Refuse a word that no variable means, before anything is done; raises ``UsageError``."""
    for variable in (ALL, *Accelerator):
        _value(variable)


def _value(variable: str) -> str:
    value = os.environ.get(variable) or "auto"
    if value not in VALUES:
        raise UsageError(f"{variable} is {value!r}.", hint=f"Set it to {', '.join(VALUES)}, or not at all.")
    return value

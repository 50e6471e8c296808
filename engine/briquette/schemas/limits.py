"""The limits of a spec as settings: checked, with their bounds, and the hint that names them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from briquette.model import Limits

# Deeper nesting would meet the interpreter's own bound, and longer digits the one of its integers.
MOST = {
    "object_bytes": 1 << 62,
    "record_bytes": 1 << 31,
    "depth": 300,
    "columns": 1_000_000,
    "number_digits": 4_000,
}
NAMES = tuple(f.name for f in dataclasses.fields(Limits))


def changed_limits(given: Mapping[str, object], base: Limits) -> Limits:
    """``base`` with the given limits in place of its own; raises ValueError with a sentence."""
    checked: dict[str, int] = {}
    for name, value in given.items():
        if name not in NAMES:
            raise ValueError(f"there is no limit {name!r}; there are {', '.join(NAMES)}")
        if type(value) is not int or not 1 <= value <= MOST[name]:
            raise ValueError(f"the limit {name} must be a whole number from 1 to {MOST[name]}, not {value!r}")
        checked[name] = value
    return dataclasses.replace(base, **checked)


def limit_hint(name: str) -> str:
    """What to do about an object that passes a limit."""
    return (
        f"If the object is right, raise the limit with --limits {name}=N or under [limits] in the "
        "schema's file; otherwise move the object away."
    )

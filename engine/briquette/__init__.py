"""briquette: many small raw files into one well-sized, verified Parquet dataset.

>>> from briquette import compact, read                                             # doctest: +SKIP
>>> result = compact(input="raw/day", output="curated/day", schema="schema.toml")  # doctest: +SKIP
>>> frame = read("curated/day")                                                  # doctest: +SKIP

Importing this package loads nothing heavy; the two functions are fetched on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from briquette.version import __version__

if TYPE_CHECKING:
    from briquette.compaction.api import compact as compact
    from briquette.compaction.result import CompactionResult as CompactionResult
    from briquette.datasets.read import read as read

__all__ = ["CompactionResult", "__version__", "compact", "read"]

_HOMES = {
    "compact": "briquette.compaction.api",
    "CompactionResult": "briquette.compaction.result",
    "read": "briquette.datasets.read",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'briquette' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

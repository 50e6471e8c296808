"""briquette: many small raw files into one well-sized, verified Parquet dataset.

>>> from engine import compact, read                                             # doctest: +SKIP
>>> result = compact(input="raw/day", output="curated/day", schema="schema.toml")  # doctest: +SKIP
>>> frame = read("curated/day")                                                  # doctest: +SKIP

Importing this package loads nothing heavy; the two functions are fetched on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.compaction import CompactionResult as CompactionResult
    from engine.compaction import compact as compact
    from engine.reading import read as read

__version__ = "0.1.0"
__all__ = ["CompactionResult", "__version__", "compact", "read"]

_HOMES = {"compact": "engine.compaction", "CompactionResult": "engine.compaction", "read": "engine.reading"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

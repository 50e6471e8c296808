"""One rule for records of one key, for every stage that reads prices. docs/transform.md has the rules.

Exact duplicates (equal in every column) are dropped and counted. Of conflicting ones the rule decides: the
last in (key, position) order stays, all are rejected, or the day fails. The key is the symbol where a day
has one bar of each, else symbol and time. A record with a null in its key is never a duplicate, as in SQL.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from briquette.errors import UsageError

KEEP_LAST, REJECT, FAIL = "keep_last", "reject", "fail"
RULES = (KEEP_LAST, REJECT, FAIL)
REASON = "conflicting duplicate"
_DAILY = re.compile(r"[0-9]*(?:d|day|wk|w|week|mo|M|month|y|year)s?")
_TIMES = ("timestamp", "date")
_SHOWN = 5

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Resolved:
    """What becomes of the records of repeated keys; rows are numbers into whatever was given."""

    dropped: tuple[int, ...]  # exact duplicates, and conflicting ones that a later one replaces
    rejected: tuple[int, ...]
    exact: int  # records beyond the first of those that are equal in every column
    conflicting: int  # records beyond the first of their key that are not
    examples: tuple[str, ...]  # of keys in conflict, a few

    @property
    def found(self) -> bool:
        """Whether any key was there twice."""
        return bool(self.exact or self.conflicting)


def check_rule(rule: str) -> str:
    """The rule itself; raises ``UsageError`` for any other word."""
    if rule not in RULES:
        raise UsageError(f"duplicates is {rule!r}.", hint=f"Use one of {', '.join(RULES)}.")
    return rule


def is_daily(interval: str) -> bool:
    """Whether a symbol has one bar a day at most.

    >>> [is_daily(word) for word in ("1d", "1wk", "1h", "5m", "")]
    [True, True, False, False, False]
    """
    return _DAILY.fullmatch(interval) is not None


def key_columns(names: Sequence[str], interval: str) -> tuple[str, ...]:
    """The columns that make a record one of its kind, as far as they are there."""
    if is_daily(interval):
        return ("symbol",)
    return ("symbol", *(name for name in _TIMES if name in names))


def key_hashes(table: pa.Table, keys: Sequence[str]) -> Hashes:
    """A hash of each row's key, in the table's order; without the rows that have a null in it.

    Equal keys have equal hashes in every process; different ones may, so what repeats is looked at again.
    """
    hashes = np.zeros(table.num_rows, dtype=np.uint64)
    for name in keys:
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + _column_hashes(table.column(name))
    return hashes[_valid(table, keys)]


def repeated(hashes: Sequence[Hashes]) -> Hashes:
    """The hashes that occur more than once."""
    ordered = np.sort(np.concatenate([*hashes, np.empty(0, dtype=np.uint64)]))
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def rows_of(table: pa.Table, keys: Sequence[str], wanted: Hashes) -> npt.NDArray[np.int64]:
    """The numbers of the rows whose key has one of the hashes."""
    valid = np.flatnonzero(_valid(table, keys))
    return valid[np.isin(key_hashes(table, keys), wanted)]


def resolve(rows: Sequence[Mapping[str, Any]], keys: Sequence[str], rule: str) -> Resolved:
    """Decide about rows, given in (key, position) order; numbers in the answer are positions in ``rows``."""
    places: dict[tuple[Any, ...], list[int]] = {}
    for number, row in enumerate(rows):
        key = tuple(row[name] for name in keys)
        if None not in key:
            places.setdefault(key, []).append(number)
    dropped: list[int] = []
    rejected: list[int] = []
    examples: list[str] = []
    exact = conflicting = 0
    for key, numbers in places.items():
        states = {repr(sorted(rows[n].items())) for n in numbers}
        exact += len(numbers) - len(states)
        if len(states) == 1 or rule == KEEP_LAST:
            dropped += numbers[:-1]
        elif rule == REJECT:
            last = {repr(sorted(rows[n].items())): n for n in numbers}
            rejected += last.values()
            dropped += [n for n in numbers if n not in last.values()]
        conflicting += len(states) - 1
        if len(states) > 1 and len(examples) < _SHOWN:
            examples.append(" ".join(str(part) for part in key))
    return Resolved(tuple(sorted(dropped)), tuple(sorted(rejected)), exact, conflicting, tuple(examples))


def resolved_table(table: pa.Table, keys: Sequence[str], rule: str) -> tuple[pa.Table, Resolved]:
    """The table without the records that the rule takes out of it."""
    numbers = rows_of(table, keys, repeated([key_hashes(table, keys)]))
    found = resolve(table.take(pa.array(numbers)).to_pylist(), keys, rule)
    out = numbers[[*found.dropped, *found.rejected]] if found.dropped or found.rejected else numbers[:0]
    stays = np.ones(table.num_rows, dtype=bool)
    stays[out] = False
    return (table.filter(pa.array(stays)) if len(out) else table), found


def _valid(table: pa.Table, keys: Sequence[str]) -> npt.NDArray[np.bool_]:
    valid = np.ones(table.num_rows, dtype=bool)
    for name in keys:
        valid &= pc.is_valid(table.column(name)).to_numpy()
    return valid


def _column_hashes(column: pa.ChunkedArray) -> Hashes:
    if not len(column):
        return np.empty(0, dtype=np.uint64)
    encoded = column.combine_chunks()
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    values = [_hash(value) for value in encoded.dictionary.to_pylist()] or [0]
    codes = pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False)
    found: Hashes = np.array(values, dtype=np.uint64)[codes]
    return found


def _hash(value: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(value).encode(), digest_size=8).digest(), "little")

"""The look-back of indicators: which published prices a day reads, and whether it has read what is there now.

A day's indicators say in their manifest which sessions they read and what each held (``READ``). So a day is
stale, whoever published what in which order, when the sessions that it would read now are others: one came
late, one was corrected, one is gone. No Arrow here: preflight's Lambda asks the same question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from briquette import serialization
from briquette.errors import SourceChanged
from briquette.model import Location, Manifest, RawObject, Schema
from briquette.planning.layout import Layout, is_hidden
from briquette.planning.table_formats import refuse_table
from briquette.publishing.identity import standing
from briquette.storage.interface import Store, Stored
from briquette.storage.urls import below

INDICATORS = "indicators"  # the stage, and the folder of its days
READ, SESSIONS = "read", "sessions"  # parameters of the stage: what was read, and how many sessions at most
_DIGITS = 32  # of a fingerprint: 128 bits are enough to tell two states of a day apart
_MANIFESTS_AT_ONCE = 64
_DAY = re.compile(r"ds=(\d{4}-\d{2}-\d{2})/(.+)")


@dataclass(frozen=True, slots=True)
class Session:
    """The published prices of one day; ``schema`` is None where no manifest describes them."""

    ds: str
    parts: tuple[RawObject, ...]
    schema: Schema | None = None
    fingerprint: str = ""  # equal rows in equal order, equal fingerprint
    interval: str = ""  # of its bars, as far as it is known


@dataclass(frozen=True, slots=True)
class Stale:
    """A day whose published indicators have not read the prices that are there now, and what differs."""

    ds: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The day as JSON values."""
        return {"ds": self.ds, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class _Known:
    """A day that was read, and the objects that lay in its folder then."""

    objects: tuple[Stored, ...]
    session: Session
    manifest: Manifest | None


class PublishedDays:
    """The ``ds=<ds>/`` folders of a table, listed once; their manifests are read when they are asked for."""

    def __init__(self, store: Store, table: Location, known: Mapping[str, _Known] | None = None) -> None:
        self._store, self._table = store, table
        self._objects: dict[str, list[Stored]] = {}
        for stored in store.list(f"{table.prefix}ds="):
            match = _DAY.fullmatch(stored.key[len(table.prefix) :])
            if match:
                self._objects.setdefault(match[1], []).append(stored)
        still = {ds: day for ds, day in (known or {}).items() if self._lie(ds) == day.objects}
        self._known: dict[str, _Known] = still

    def again(self) -> PublishedDays:
        """The folders as they are now; what did not change is not read again."""
        return PublishedDays(self._store, self._table, self._known)

    def _lie(self, ds: str) -> tuple[Stored, ...]:
        return tuple(self._objects.get(ds, ()))

    @property
    def days(self) -> tuple[str, ...]:
        """Every day with an object in its folder, hidden ones included; ascending."""
        return tuple(sorted(self._objects))

    def until(self, ds: str, count: int) -> tuple[Session, ...]:
        """The last ``count`` sessions up to ``ds``, oldest first.

        A day that an older pipeline wrote has no manifest: its visible Parquet files are taken. A folder may
        hold nothing but hidden objects, so a few more days than sessions may be looked at.
        """
        days = [day for day in self.days if day <= ds][::-1]
        sessions: list[Session] = []
        while days and len(sessions) < count:
            some, days = days[: count - len(sessions)], days[count - len(sessions) :]
            sessions += [s for s in self._read(some) if s.parts]
        return tuple(sorted(sessions, key=lambda s: s.ds))

    def pinned(self, session: Session) -> Session:
        """A session whose parts are pinned as they stand now, and are by their bytes those of its manifest.

        Raises ``SourceChanged`` where one is not, and ``UnsupportedTable`` for files of another table format.
        """
        manifest = self._known[session.ds].manifest
        if manifest is None:
            keys = [part.key for part in session.parts]
            refuse_table(self._store, below(self._table, f"ds={session.ds}"), keys)
            return session
        found = standing(self._store, manifest.files, {o.key: o for o in self._lie(session.ds)})
        if found is None:
            raise SourceChanged(
                f"the parts of {manifest.partition} are not those of their manifest.",
                hint="Transform that day again, then run this again.",
            )
        parts = tuple(RawObject(f.key, f.size_bytes, f.etag, sha256=f.sha256) for f in found.files)
        return replace(session, parts=parts)

    def manifests(self, days: Sequence[str]) -> Mapping[str, Manifest]:
        """The manifests of those of the days that have one."""
        self._read(days)
        known = {day: self._known[day].manifest for day in days if day in self._known}
        return {day: manifest for day, manifest in known.items() if manifest is not None}

    def modified_seconds(self, ds: str) -> float:
        """When the newest visible file of a day, or its manifest, was written, by the store's clock."""
        layout = Layout.of(below(self._table, f"ds={ds}"))
        seen = (s for s in self._lie(ds) if s.key == layout.manifest_key or _is_part(s, layout))
        return max((s.modified_seconds for s in seen), default=0.0)

    def _read(self, days: Sequence[str]) -> list[Session]:
        new = [day for day in days if day not in self._known and day in self._objects]
        for start in range(0, len(new), _MANIFESTS_AT_ONCE):
            self._load(new[start : start + _MANIFESTS_AT_ONCE])
        return [self._known[day].session for day in days if day in self._known]

    def _load(self, days: Sequence[str]) -> None:
        layouts = {ds: Layout.of(below(self._table, f"ds={ds}")) for ds in days}
        pins = {
            ds: RawObject(stored.key, stored.size_bytes, stored.etag)
            for ds in days
            for stored in self._objects[ds]
            if stored.key == layouts[ds].manifest_key
        }
        bodies = dict(zip(pins, self._store.get_many(tuple(pins.values())), strict=True))
        for ds in days:
            session, manifest = self._session(ds, layouts[ds], bodies.get(ds))
            self._known[ds] = _Known(self._lie(ds), session, manifest)

    def _session(self, ds: str, layout: Layout, body: bytes | None) -> tuple[Session, Manifest | None]:
        if body is None:
            plain = tuple(
                RawObject(o.key, o.size_bytes, o.etag) for o in self._lie(ds) if _is_part(o, layout)
            )
            return Session(
                ds, plain, None, serialization.fingerprint(serialization.listing_bytes(plain))[:_DIGITS]
            ), None
        if not body.strip():  # the claim of a first run that is at work, or died
            return Session(ds, ()), None
        manifest = layout.manifest_of(body, f"{self._store.url}/{layout.manifest_key}")
        parts = tuple(RawObject(f.key, f.size_bytes, f.etag, sha256=f.sha256) for f in manifest.files)
        digest = manifest.content_digest[:_DIGITS]
        return Session(ds, parts, manifest.spec.schema, digest, manifest.partition.interval), manifest


def _is_part(stored: Stored, layout: Layout) -> bool:
    return stored.key.endswith(".parquet") and not is_hidden(stored.key[len(layout.live) :])


def read_text(sessions: Sequence[Session]) -> str:
    """What a run reads, as the parameter ``READ`` holds it.

    >>> read_text([Session("2025-09-08", (), None, "ab"), Session("2025-09-09", (), None, "cd")])
    '2025-09-08=ab 2025-09-09=cd'
    """
    return " ".join(f"{s.ds}={s.fingerprint}" for s in sessions)


def parameters_of(published: Manifest) -> Mapping[str, str]:
    """The parameters of the stage that published a dataset."""
    return dict(published.stage.parameters)


def stale_reason(ds: str, published: Manifest, prices: PublishedDays) -> str:
    """How what the indicators of ``ds`` have read differs from what is there now; "" where it does not."""
    said = parameters_of(published)
    if published.stage.name != INDICATORS or READ not in said or not said.get(SESSIONS, "").isdigit():
        return "its indicators do not say which sessions they read"
    read = dict(entry.split("=", 1) for entry in said[READ].split())
    now = {s.ds: s.fingerprint for s in prices.until(ds, int(said[SESSIONS]))}
    if ds not in now:
        return f"the prices of {ds} are gone"
    changed = [day for day in now if day in read and read[day] != now[day]]
    new, gone = sorted(now.keys() - read.keys()), sorted(read.keys() - now.keys())
    reasons = [
        f"{what} {_some(days)}"
        for what, days in (("changed since:", changed), ("not read:", new), ("no longer read:", gone))
        if days
    ]
    return "; ".join(reasons)


def stale_after(prices: PublishedDays, indicators: PublishedDays, ds: str) -> tuple[Stale, ...]:
    """The later days whose look-back reaches ``ds`` and whose indicators are stale, ascending."""
    found = []
    for day, published in _reaching(prices, indicators, ds):
        reason = stale_reason(day, published, prices)
        if reason:
            found.append(Stale(day, reason))
    return tuple(found)


def followers(prices: PublishedDays, indicators: PublishedDays, ds: str) -> tuple[str, ...]:
    """The later days with indicators whose look-back reaches ``ds``: stale once its prices change."""
    return tuple(day for day, _ in _reaching(prices, indicators, ds))


def _reaching(prices: PublishedDays, indicators: PublishedDays, ds: str) -> Iterator[tuple[str, Manifest]]:
    sessions = [day for day in prices.days if day > ds]
    later = [day for day in indicators.days if day > ds]
    for start in range(0, len(later), _MANIFESTS_AT_ONCE):
        reached = False
        for day, published in indicators.manifests(later[start : start + _MANIFESTS_AT_ONCE]).items():
            wanted = parameters_of(published).get(SESSIONS, "")
            between = sum(1 for session in sessions if session <= day)
            if not wanted.isdigit() or between < int(wanted):
                reached = True
                yield day, published
        if not reached:
            return


def _some(days: Sequence[str]) -> str:
    ordered = sorted(days)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")

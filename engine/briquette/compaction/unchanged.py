"""Whether what is published is of these inputs and whole, and if not, why.

Runs, ``plan`` and preflight ask here, so that they all say the same.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import islice

from briquette.errors import SourceChanged
from briquette.model import CompactionSpec, Manifest, Plan, State
from briquette.planning.plan import is_of_the_size_of, state_of
from briquette.publishing.identity import Standing
from briquette.publishing.snapshot import Snapshot
from briquette.storage.interface import Store

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Found:
    """A plan beside what is published. ``why`` says what is CHANGED.

    ``standing`` is how an UNCHANGED dataset stands; ``edited`` are inputs whose etag is that of the last run
    and whose bytes are not.
    """

    state: State
    why: str = ""
    standing: Standing | None = None
    edited: frozenset[str] = frozenset()


def compare_with_published(plan: Plan, seen: Snapshot, raw: Store, curated: Store) -> Found:
    """Compare a plan with what is published; ``raw`` and ``curated`` are the stores of its two places.

    Reads inputs that were fresh at the last run, and published parts whose etags are not the manifest's.
    """
    published = seen.manifest
    state = state_of(plan, published)
    if state not in (State.CHANGED, State.UNCHANGED) or published is None:
        return Found(state)
    if state is State.CHANGED:
        known = {split.fingerprint for split in published.splits}
        kept = (o.key for s in plan.splits if s.fingerprint in known for o in plan.objects(s))
        edited = frozenset(_edited(plan, published, raw, frozenset(kept)))
        return Found(state, why_changed(plan, published), edited=edited)
    edited = frozenset(_edited(plan, published, raw, frozenset(o.key for o in plan.listing)))
    if edited:
        named = ", ".join(islice(sorted(edited), _SHOWN)) + (", …" if len(edited) > _SHOWN else "")
        why = f"{named}: other bytes of the same size, written within a tick of the clock"
        return Found(State.CHANGED, why, edited=edited)
    standing = seen.standing(curated)
    if standing is None:
        return Found(State.CHANGED, "the published files are not those of the manifest: they are made again")
    return Found(state, standing=standing)


def _edited(plan: Plan, published: Manifest, raw: Store, among: frozenset[str]) -> list[str]:
    known = dict(plan.fresh)
    items = {item.key: item for item in plan.listing}
    found = []
    for key, sha256 in published.fresh:
        if key not in among:
            continue
        item = items[key]
        try:
            now = known.get(key) or raw.sha256(item)
        except SourceChanged:
            now = ""
        if now != sha256:
            found.append(key)
    return found


def why_changed(plan: Plan, published: Manifest) -> str:
    """In what inputs and spec of a plan differ from those of what is published, as far as that shows."""
    if plan.stage != published.stage:
        return (
            f"what is published was made by another stage or with other parameters ({published.stage.name})"
        )
    differ = _differing(plan.spec, published.spec)
    if differ:
        return f"the spec differs: {', '.join(differ)}"
    if not is_of_the_size_of(published, plan):
        return (
            f"{len(plan.listing):,} objects of {plan.raw_bytes:,} bytes, "
            f"{published.input_objects:,} of {published.input_bytes:,} were published"
        )
    return (
        "as many objects and bytes as were published, but not the same ones by their etags: corrected at the "
        "same size, or copied or restored (on disk an etag is a file's times and number); they are read again"
    )


def _differing(ours: CompactionSpec, theirs: CompactionSpec) -> list[str]:
    pairs = ((f.name, getattr(ours, f.name), getattr(theirs, f.name)) for f in fields(CompactionSpec))
    return [
        name if name in ("schema", "limits") else f"{name} {there} → {here}"
        for name, here, there in pairs
        if here != there
    ]

"""One day as preflight finds it: the real plan, what is published of it, and whether anything is to do."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from briquette import serialization
from briquette.compaction.unchanged import compare_with_published
from briquette.errors import PreconditionFailed
from briquette.model import COMPACTION, CompactionSpec, Manifest, Partition, Plan, RawObject, Schema, State
from briquette.pipeline.lookback import PublishedDays, Stale, followers, stale_after, stale_reason
from briquette.planning.listing import list_partition
from briquette.planning.plan import check_same_partition, plan_partition
from briquette.planning.spec import declared_table, spec_of
from briquette.planning.target import Target, daily
from briquette.publishing.snapshot import Snapshot, observe
from briquette.schemas.declared import TableSpec
from briquette.settings.environments import Settings
from briquette.storage.interface import IF_ABSENT, Store, if_match
from briquette.storage.opening import open_object, open_store
from briquette.storage.urls import below, parse_url
from orchestration.handlers.arguments import INDICATORS, artifact_uri
from orchestration.handlers.request import Request

FORCED, UNPLANNED, STALE = "FORCED", "UNPLANNED", "STALE"


@dataclass(frozen=True, slots=True)
class Day:
    """What was found. ``plan`` is None where only the engine can plan, because no schema is declared."""

    target: Target
    listing: tuple[RawObject, ...]
    plan: Plan | None
    state: str  # of briquette.model.State, or FORCED, UNPLANNED, or STALE: only its indicators are to do
    done: bool  # compacted, transformed and followed by indicators, all from what is there now
    reason: str = ""  # why it is STALE
    stale: tuple[Stale, ...] = ()  # later days whose indicators have not read what is there now
    makes_stale: tuple[str, ...] = ()  # later days that have read this one, which is about to change

    @property
    def input_bytes(self) -> int:
        """Bytes of the raw objects as they lie there."""
        return sum(o.size_bytes for o in self.listing)

    @property
    def run_id(self) -> str:
        """What the result of a run of this day is named by: equal inputs, equal name."""
        if self.plan is not None:
            return self.plan.plan_id[:16]
        where = f"{self.target.raw} {self.target.output}".encode()
        return serialization.fingerprint(b"unplanned", where, serialization.listing_bytes(self.listing))[:16]


def target_of(request: Request, settings: Settings, ds: str) -> Target:
    """The day's places; raises ``UsageError`` for words that no path may hold."""
    return daily(
        Partition(request.domain, request.table_name, request.interval, request.data_source, ds),
        raw=settings.raw_url,
        curated=settings.curated_url,
        compacted_subdir=settings.compaction_output_subdir,
    )


def look_at(request: Request, settings: Settings, ds: str) -> Day:
    """List, plan, and compare with what is published; writes nothing. Raises ``briquette.errors``."""
    target = target_of(request, settings, ds)
    curated = open_store(target.output.url)
    seen = observe(curated, target.output, force=request.reprocess)
    options = {
        "codec": settings.compaction_codec,
        "target_file_mb": settings.compaction_target_file_mb,
    }
    spec = declared_spec(target.partition, options)
    bare = spec or CompactionSpec(Schema(()))
    raw = open_store(target.raw.url)
    found = list_partition(raw, target.raw, bare, batch_manifest=settings.raw_manifest_name)

    def planned(spec: CompactionSpec) -> Plan:
        partition = target.partition
        return plan_partition(
            partition, target.raw, target.output, spec, found.objects, found.expected_records
        )

    plan = planned(spec) if spec else None
    if plan is None and seen.manifest is not None:
        # The same raw objects would be given the same inferred schema, so what is published tells.
        again = planned(spec_of(_as_declared(seen.manifest), options))
        plan = again if _found(again, seen, curated) is State.UNCHANGED else None
    if plan is not None and seen.manifest is not None:
        check_same_partition(plan.partition, plan.output, seen.manifest)
    state = _state(request, found.objects, plan, seen, curated)
    day = Day(target, found.objects, plan, state, done=False)
    if target.partition.table == INDICATORS:
        return replace(
            day, done=state == State.UNCHANGED and _is_transformed(curated, settings, target, seen)
        )
    return _with_indicators(day, curated, settings, seen)


def declared_spec(partition: Partition, options: dict[str, object]) -> CompactionSpec | None:
    """The spec by the table's declared schema, the very one that a run uses; None where none is declared."""
    declared = declared_table(partition)
    return spec_of(declared, options) if declared else None


def _as_declared(published: Manifest) -> TableSpec:
    spec = published.spec
    return TableSpec(spec.schema, spec.unique_key, spec.extra_fields, spec.max_reject_ratio)


def _found(plan: Plan, seen: Snapshot, curated: Store) -> State:
    return compare_with_published(plan, seen, open_store(plan.raw.url), curated).state


def _state(
    request: Request, listing: tuple[RawObject, ...], plan: Plan | None, seen: Snapshot, curated: Store
) -> str:
    if not listing:
        return State.EMPTY.value
    if request.reprocess:
        return FORCED
    return _found(plan, seen, curated).value if plan is not None else UNPLANNED


# -- whether the later stages have followed ----------------------------------------------------------


def _is_transformed(store: Store, settings: Settings, target: Target, compacted: Snapshot) -> bool:
    """Whether the curated day was made from these very parts."""
    part, root = target.partition, parse_url(settings.curated_url)
    return _follows(store, observe(store, below(root, part.domain, part.table, f"ds={part.ds}")), compacted)


def _with_indicators(day: Day, store: Store, settings: Settings, seen: Snapshot) -> Day:
    """Whether the day's indicators have read the whole look-back as it is, and which later ones have not."""
    part, root = day.target.partition, parse_url(settings.curated_url)
    if day.state == State.EMPTY:
        return day
    prices = PublishedDays(store, below(root, part.domain, part.table))
    indicators = PublishedDays(store, below(root, part.domain, INDICATORS))
    if day.state != State.UNCHANGED or not _is_transformed(store, settings, day.target, seen):
        return replace(day, makes_stale=followers(prices, indicators, part.ds))
    reason = _not_current(part.ds, prices, indicators, settings)
    return replace(
        day,
        state=STALE if reason else day.state,
        done=not reason,
        reason=reason,
        stale=stale_after(prices, indicators, part.ds),
    )


def _not_current(ds: str, prices: PublishedDays, indicators: PublishedDays, settings: Settings) -> str:
    """Why a day's indicators are to be computed; of plain Spark's output only the time is known."""
    published = indicators.manifests([ds]).get(ds)
    if published is not None:
        return stale_reason(ds, published, prices)
    plain = indicators.modified_seconds(ds)
    if not plain:
        return "its indicators are missing"
    sessions = prices.until(ds, settings.indicators_lookback_days)
    newer = [s.ds for s in sessions if prices.modified_seconds(s.ds) > plain]
    return f"its indicators are older than the prices of {newer[-1]}" if newer else ""


def _follows(store: Store, later: Snapshot, compacted: Snapshot) -> bool:
    """Our own transform pins the parts that it read; of plain Spark's output only the time is known."""
    assert compacted.manifest is not None
    if later.manifest is None:
        return _published_seconds(later) >= compacted.manifest_modified_seconds
    files = compacted.manifest.files
    parts = tuple(RawObject(f.key, f.size_bytes, f.etag, sha256=f.sha256) for f in files)
    same = later.manifest.input_fingerprint == _input_fingerprint(later.manifest, parts)
    return same and later.standing(store) is not None


def _input_fingerprint(published: Manifest, inputs: tuple[RawObject, ...]) -> str:
    """The fingerprint that ``published`` would have, had it been made from ``inputs``."""
    spec_print = serialization.spec_fingerprint(published.spec)
    if published.stage != COMPACTION:
        stage = serialization.canonical_json(serialization.to_value(published.stage))
        spec_print = serialization.fingerprint(spec_print.encode(), stage)
    ordered = sorted(inputs, key=lambda o: o.key.encode())
    return serialization.input_fingerprint(spec_print, ordered, ())


def _published_seconds(seen: Snapshot) -> float:
    """When a dataset was published, by the store's clock; 0 where there is none."""
    if seen.manifest is not None:
        return seen.manifest_modified_seconds
    plain = [s.modified_seconds for s in seen.visible if s.key.endswith(".parquet")]
    return max(plain, default=0.0)


# -- the stored plan ---------------------------------------------------------------------------------


def store_plan(plan: Plan, settings: Settings) -> str:
    """Write the plan under its own content hash, once; returns its URI."""
    part = plan.partition
    uri = artifact_uri(settings, part.domain, part.table, "_plans", f"{plan.plan_id}.json")
    (store, key), body = open_object(uri), serialization.plan_to_bytes(plan)
    there = store.stat(key)
    if there is None or there.size_bytes != len(body):  # another size: an upload that was meddled with
        with suppress(PreconditionFailed):  # another preflight of the same day was faster
            store.put(key, body, if_match(there.etag) if there else IF_ABSENT)
    return uri

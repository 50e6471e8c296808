"""The story of a run: list, plan, map over splits, pack, verify, publish.

Each step is a function of values; only ``compact`` and ``run_plan`` know the order. Every executor, and the
Glue fallback with a stored plan, goes through ``run_plan``.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from briquette import cancellation, serialization
from briquette.compaction import assembly
from briquette.compaction.prefetch import Early, look_ahead
from briquette.compaction.result import CompactionResult as CompactionResult  # noqa: PLC0414 - also named from here
from briquette.compaction.unchanged import look_again
from briquette.compaction.undeclared_schema import infer_target as infer_target  # noqa: PLC0414 - likewise
from briquette.compaction.undeclared_schema import inferred_schema as inferred_schema  # noqa: PLC0414 - likewise
from briquette.errors import EmptyInput, PlanError, UsageError
from briquette.executors import Executor, check_executor, open_executor
from briquette.model import (
    COMPACTION,
    CompactionSpec,
    Limits,
    OnEmpty,
    Plan,
    Schema,
    SplitResult,
    State,
    Status,
)
from briquette.planning.listing import list_partition
from briquette.planning.place_overlap import check_apart, check_not_published
from briquette.planning.plan import (
    BATCH_MANIFEST_NAME,
    check_identity,
    concurrency_within,
    plan_partition,
    predicted_output_bytes,
    projected_memory_bytes,
    warnings_of,
)
from briquette.planning.plan import state_of as state_of  # noqa: PLC0414 - also named from here
from briquette.planning.spec import CODECS as CODECS  # noqa: PLC0414 - likewise
from briquette.planning.spec import check_spec as check_spec  # noqa: PLC0414 - likewise
from briquette.planning.spec import checked_overrides, limits_of, spec_of
from briquette.planning.target import Target
from briquette.planning.target import resolve_target as resolve_target  # noqa: PLC0414 - likewise
from briquette.storage.interface import Store, open_store

if TYPE_CHECKING:
    from briquette.publishing.early_parts import Drafts

log = logging.getLogger(__name__)
LEAST_MEMORY_BYTES = 128 << 20  # of a process: the interpreter and its libraries
Progress = Callable[[int, int, int], None]  # splits done, splits in all, raw bytes done


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run may decide without changing a byte of its output."""

    executor: str = "auto"
    workers: int = 0  # worker processes; 0 means threads of this process
    scheduler: str = ""  # address of an existing Dask cluster
    ray_address: str = ""  # of an existing Ray cluster
    threads: int = 0  # 0 means one for each core
    memory_limit_bytes: int | None = None
    force: bool = False
    on_empty: OnEmpty = OnEmpty.KEEP
    check_batch_manifest: bool = True
    batch_manifest: str = BATCH_MANIFEST_NAME  # how ingestion names it
    unsafe_store: bool = False
    reuse: bool = True  # take over finished row groups of unchanged splits


def compact(
    *,
    input: str | os.PathLike[str] | None = None,  # noqa: A002 - the command line's own word
    output: str | os.PathLike[str] | None = None,
    raw: str | os.PathLike[str] | None = None,
    curated: str | os.PathLike[str] | None = None,
    domain: str = "",
    table: str = "",
    interval: str = "",
    data_source: str = "",
    ds: str = "",
    compacted_subdir: str = "compacted",
    schema: Schema | str | os.PathLike[str] | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **spec_overrides: Any,
) -> CompactionResult:
    """Compact one dataset and publish it, verified, in one visible step.

    Three ways to say what: ``input``/``output`` (any two URLs), ``raw``/``curated``/``ds`` (``raw`` is the
    day's own prefix), or ``raw``/``curated`` roots with ``domain``, ``table``, ``interval``, ``data_source``
    and ``ds`` (the daily pipeline's layout). URLs are paths, ``file://`` or ``s3://``.

    ``schema`` is a ``Schema``, the name of a declared table or a TOML file; without one it is inferred from
    all records first. ``spec_overrides``: ``codec``, ``target_file_mb``, ``extra_fields``,
    ``max_reject_ratio``, ``unique_key``, ``publish``, ``limits`` (a ``Limits`` or some of its values) and the
    other fields of ``CompactionSpec``.

    Raises the errors of ``briquette.errors``; a bad record never raises, it becomes a reject.
    """
    target = resolve_target(
        input_url=_text(input),
        output_url=_text(output),
        raw=_text(raw),
        curated=_text(curated),
        domain=domain,
        table=table,
        interval=interval,
        data_source=data_source,
        ds=ds,
        compacted_subdir=compacted_subdir,
    )
    started = time.monotonic()
    options = options or RunOptions()
    check_options(options)
    spec = resolve_spec(target, schema, spec_overrides)
    with look_ahead(target, spec, options) as early:
        plan = make_plan(target, spec, options, early)
        return run_plan(plan, options, progress=progress, started=started, early=early)


def _text(url: str | os.PathLike[str] | None) -> str:
    return "" if url is None else os.fspath(url)


def resolve_spec(
    target: Target, schema: Schema | str | os.PathLike[str] | None, overrides: dict[str, Any]
) -> CompactionSpec:
    """A run's spec: the table's defaults, then ``overrides``; infers the schema where none is given."""
    from briquette.schemas.declared import TableSpec, load_table

    checked_overrides(overrides)  # before all is read for a schema
    part = target.partition
    if isinstance(schema, Schema):
        declared = TableSpec(schema)
    elif schema is not None:
        declared = load_table(os.fspath(schema))
    elif part.table:
        declared = load_table(f"{part.domain}.{part.table}")
    else:
        limits = limits_of(overrides.get("limits"), Limits())
        try:
            declared = TableSpec(inferred_schema(target, limits=limits))
        except EmptyInput:  # C15.1: nothing to do is no error; there is no column to ask of nothing either
            return CompactionSpec(Schema(()), **checked_overrides({**overrides, "unique_key": None}))
    return spec_of(declared, overrides)


def make_plan(target: Target, spec: CompactionSpec, options: RunOptions, early: Early | None = None) -> Plan:
    """List the raw objects, unless that was begun already, and plan the partition."""
    target.apart()
    store = open_store(target.raw.url)
    listing = list_partition(
        store,
        target.raw,
        spec,
        check_batch_manifest=options.check_batch_manifest,
        batch_manifest=options.batch_manifest,
        listed=early.listed if early else None,
    )
    return plan_partition(
        target.partition,
        target.raw,
        target.output,
        spec,
        listing.objects,
        listing.expected_records,
        fresh=listing.fresh,
    )


def plan_summary(plan: Plan) -> dict[str, Any]:
    """What ``briquette plan`` says: the state found, the splits, and predicted parts and memory."""
    from briquette.publishing.publish import observe

    store = open_store(plan.output.url)
    seen = observe(store, plan.output)
    check_not_published(plan.raw, plan.listing, plan.output, seen.visible)
    if seen.manifest:
        check_identity(plan, seen.manifest)
    found = look_again(plan, seen, open_store(plan.raw.url), store)
    predicted = predicted_output_bytes(plan)
    return {
        "partition": serialization.to_value(plan.partition),
        "raw": str(plan.raw),
        "output": str(plan.output),
        "state": found.state.value,
        "why": found.why,
        "plan_id": plan.plan_id,
        "input_fingerprint": plan.input_fingerprint,
        "inputs": {"objects": len(plan.listing), "bytes": plan.raw_bytes},
        "batch_manifest_objects": len(plan.expected_records),
        "splits": len(plan.splits),
        "codec": plan.spec.codec,
        "target_part_bytes": plan.spec.target_part_bytes,
        "predicted": {
            "bytes": predicted,
            "parts": -(-predicted // plan.spec.target_part_bytes) if plan.listing else 0,
            "memory_bytes": projected_memory_bytes(plan, default_threads()),
        },
        "warnings": list(warnings_of(plan.listing, plan.raw.prefix)),
    }


def default_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def executor_for(plan: Plan, options: RunOptions) -> Executor:
    """The executor of a run; memory bounds its threads, never the plan. Those beyond the splits are lent."""
    threads = options.threads or default_threads()
    return open_executor(
        options.executor,
        workers=options.workers,
        concurrency=concurrency_within(plan, threads, options.memory_limit_bytes),
        scheduler=options.scheduler,
        ray_address=options.ray_address,
        memory_limit_bytes=options.memory_limit_bytes,
    )


def check_options(options: RunOptions) -> None:
    """Refuse what no run could keep to, before anything is read; raises ``UsageError``."""
    check_executor(options.executor, scheduler=options.scheduler, ray_address=options.ray_address)
    limit, least = options.memory_limit_bytes, max(options.workers, 1) * LEAST_MEMORY_BYTES
    if limit is not None and limit < least:
        what = f"{options.workers} processes take" if options.workers > 1 else "a process takes"
        raise UsageError(
            f"a memory limit of {limit:,} bytes is less than {what} without any data ({least:,}).",
            hint=f"Pass --memory-limit {least >> 19}MiB or more.",
        )


def _warn_of_memory(plan: Plan, options: RunOptions) -> None:
    if options.memory_limit_bytes is None or not plan.splits:
        return
    limit = options.memory_limit_bytes // max(options.workers, 1)
    least = projected_memory_bytes(plan, 1)
    if least > limit:
        log.warning(
            "One split at a time may take %s MB, more than the memory limit of %s MB for each process.",
            f"{least / 1e6:,.0f}",
            f"{limit / 1e6:,.0f}",
        )


def run_plan(
    plan: Plan,
    options: RunOptions | None = None,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    started: float | None = None,
    work: assembly.Work = assembly.CompactSplits(),  # noqa: B008 - a frozen value
    early: Early | None = None,
) -> CompactionResult:
    """Execute a plan: the same for every executor, and for a plan that another engine began.

    ``work`` says what is made of the plan's inputs: compaction, or one of the later stages.
    """
    from briquette.publishing import publish

    if plan.stage == COMPACTION:
        check_apart(plan.raw, plan.output)  # a stored plan, or one made by hand
    if work.stage != plan.stage.name:
        raise PlanError(f"this is a plan of the stage {plan.stage.name!r}, not of {work.stage!r}.")
    store = open_store(plan.output.url)
    with publish.running(store, plan.output):
        return _run(
            plan,
            options or RunOptions(),
            store,
            executor=executor,
            progress=progress,
            started=time.monotonic() if started is None else started,
            work=work,
            early=early,
        )


def _run(
    plan: Plan,
    options: RunOptions,
    store: Store,
    *,
    executor: Executor | None,
    progress: Progress | None,
    started: float,
    work: assembly.Work,
    early: Early | None,
) -> CompactionResult:
    from briquette.publishing import publish

    # What is there before the work begins is what the publish may replace; anything newer is a conflict.
    seen = early.seen() if early else publish.observe(store, plan.output, force=options.force)
    published = seen.manifest
    previous = (published, seen.manifest_etag) if published else None
    check_not_published(plan.raw, plan.listing, plan.output, seen.visible)
    if published is not None:
        check_identity(plan, published)
    found = look_again(plan, seen, open_store(plan.raw.url), store)
    state = found.state
    executor = executor or executor_for(plan, options)
    _warn_of_memory(plan, options)
    base = CompactionResult(
        status=Status.EMPTY,
        partition=plan.partition,
        output=plan.output,
        plan_id=plan.plan_id,
        input_fingerprint=plan.input_fingerprint,
        raw_objects=len(plan.listing),
        raw_bytes=plan.raw_bytes,
        executor="none",
        seconds=0.0,
        manifest=published,
        splits=len(plan.splits),
        why=found.why,
    )

    def done(**changes: Any) -> CompactionResult:
        return replace(base, seconds=time.monotonic() - started, **changes)

    told = {"plan_id": plan.plan_id, "output": str(plan.output), "state": state.value}
    sizes = {"objects": len(plan.listing), "bytes": plan.raw_bytes, "splits": len(plan.splits)}
    log.info("planned", extra={"fields": told | sizes})
    if state is State.UNCHANGED and not options.force:
        assert published is not None
        changes: dict[str, Any] = {"rejects": published.rejects, "splits_reused": len(plan.splits)}
        if found.standing is not None and found.standing.copied:
            changes["manifest"] = publish.renew_manifest(store, seen, found.standing.files)
            changes["message"] = (
                "The dataset is a copy: its parts have other etags than its manifest said, but its bytes."
            )
        return done(status=Status.UNCHANGED, **changes)
    if state is State.EMPTY:
        return done(**_nothing(plan, options, store, previous, 0))

    reuse = options.reuse and work.reuses and not options.force
    kept = assembly.reusable_splits(plan, published, store, found.edited) if reuse else {}
    with _drafting(plan, store, kept) as drafts:
        with publish.probe_meanwhile(store, plan.output, unsafe_store=options.unsafe_store):
            on_split = drafts.take if drafts else None
            results = work.results(plan, executor, kept, _unless_stopped(progress), on_split)
        if len(kept) < len(plan.splits):
            base = replace(base, executor=executor.name)
        totals = assembly.total(results)
        rejects = assembly.reject_lines(results)
        if totals.rows == 0 and assembly.within_reject_limit(plan, totals):
            publish.write_rejects(store, plan.output, plan.plan_id, rejects)
            return done(**_nothing(plan, options, store, previous, totals.rejects))
        assembly.check_reject_limit(
            plan, totals, lambda: publish.write_rejects(store, plan.output, plan.plan_id, rejects)
        )
        drafted = drafts.complete(assembly.row_groups_in_order(results)) if drafts else None
        manifest = publish.publish(
            store,
            plan.output,
            drafted or assembly.assemble(plan, results),
            build_manifest=lambda files, rejects_file: assembly.manifest(
                plan, results, totals, files, rejects_file
            ),
            rejects=rejects,
            previous=previous,
            plan_id=plan.plan_id,
            mode=plan.spec.publish,
            unsafe_store=options.unsafe_store,
            force=options.force,
            seen=seen,
            drafts=drafts if drafted else None,
        )
    log.info("published", extra={"fields": told | {"rows": manifest.rows, "rejects": manifest.rejects}})
    return done(status=Status.PUBLISHED, manifest=manifest, rejects=manifest.rejects, splits_reused=len(kept))


def finishing_of(result: CompactionResult) -> AbstractContextManager[None]:
    """While the block does what belongs to a publish, SIGTERM does not cut it off from what readers see."""
    return cancellation.finishing() if result.status is Status.PUBLISHED else nullcontext()


def _drafting(
    plan: Plan, store: Store, kept: Mapping[int, SplitResult]
) -> AbstractContextManager[Drafts | None]:
    """Parts are begun early where several are likely, and every split is made in this run, and once.

    For a single part that gains nothing: it is hashed after its last byte, and until then all cores are busy.
    """
    from briquette.publishing import publish

    several = predicted_output_bytes(plan) > plan.spec.target_part_bytes
    if not several or kept or plan.spec.unique_key:
        return nullcontext()
    order = [split.index for split in plan.splits]
    target_bytes = plan.spec.target_part_bytes
    return publish.drafting(store, plan.output, plan.plan_id, target_bytes, order, plan.spec.publish)


def _unless_stopped(progress: Progress | None) -> Progress:
    """The splits may be the work of other processes, which nobody told to stop."""

    def call(done: int, total: int, raw_bytes: int) -> None:
        cancellation.check()
        if progress is not None:
            progress(done, total, raw_bytes)

    return call


def _nothing(plan: Plan, options: RunOptions, store: Store, previous: Any, rejects: int) -> dict[str, Any]:
    """C15: nothing is written; what happens to a published dataset is the caller's choice, said loudly."""
    from briquette.publishing import publish

    what = f"no rows in the {len(plan.listing)} raw objects" if plan.listing else "no raw objects"
    message = f"{what} under {plan.raw}; nothing was written."
    if options.on_empty is OnEmpty.FAIL:
        raise EmptyInput(message, hint="Check the ingestion, or pass --on-empty keep.")
    if previous is None:
        return {"status": Status.EMPTY, "message": message, "rejects": rejects}
    if options.on_empty is OnEmpty.REMOVE:
        publish.remove_dataset(store, plan.output, previous, unsafe_store=options.unsafe_store)
        message += f" The dataset published earlier under {plan.output} was removed (--on-empty remove)."
        return {"status": Status.EMPTY, "message": message, "manifest": None, "rejects": rejects}
    rows = previous[0].rows
    message += f" The dataset published earlier under {plan.output} stays ({rows} rows, --on-empty keep)."
    return {"status": Status.EMPTY, "message": message, "rejects": rejects}

"""What a run of the transform makes of its splits: adjusted rows, judged together, or a quarantine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from briquette.compaction.checks import check_reject_limit, total
from briquette.compaction.manifest import reject_lines
from briquette.compaction.map_splits import CompactSplits, OnSplit, map_splits
from briquette.compaction.options import Progress, RunOptions
from briquette.compaction.run import run_plan
from briquette.errors import DataQualityFailed, NoRawData, OutputOccupied
from briquette.model import CompactionSpec, Location, Plan, SplitResult, Stage
from briquette.pipeline.transform_duplicates import framed, unframed, without_duplicates
from briquette.pipeline.transform_source import QUARANTINE
from briquette.planning.plan import plan_partition
from briquette.prices import adjust, duplicates, quality
from briquette.prices.duplicates import Resolved
from briquette.prices.quality import Quality, Thresholds
from briquette.storage.opening import open_store

if TYPE_CHECKING:
    import pyarrow as pa

    from briquette.executors import Executor

STAGE, STAGE_VERSION = "transform", 2


def adjusted_rows(table: pa.Table, keys: Sequence[str]) -> tuple[pa.Table, bytes]:
    """A ``split.Change``: the adjusted rows, and the findings on the rows as they were read."""
    counted = quality.findings_to_bytes(quality.count(table))
    return adjust.adjust(table), framed(counted, duplicates.key_hashes(table, keys))


@dataclass(frozen=True, slots=True)
class TransformSplits:
    """The work of this stage (``map_splits.Work``): adjust every split, then judge all of them together.

    ``on_quality`` gets the numbers before the verdict; below the threshold the rows as they were read are
    published under ``quarantine`` and ``DataQualityFailed`` is raised.
    """

    source: CompactionSpec
    thresholds: Thresholds
    quarantine: Location
    options: RunOptions
    on_quality: Callable[[Quality], None]
    on_duplicates: Callable[[Resolved], None]
    duplicates_rule: str
    stage: str = STAGE
    reuses: bool = False  # a manifest does not hold the findings of a split

    def results(
        self,
        plan: Plan,
        executor: Executor,
        kept: Mapping[int, SplitResult],
        progress: Progress | None,
        on_split: OnSplit | None = None,
    ) -> tuple[SplitResult, ...]:
        """See ``Work.results``; raises ``DataQualityFailed``, ``NoRawData`` and ``RejectLimitExceeded``."""
        from briquette.compaction.split import change_split

        keys = duplicates.key_columns([f.name for f in self.source.schema.fields], plan.partition.interval)
        kernel = partial(change_split, source=self.source, change=partial(adjusted_rows, keys=keys))
        read = map_splits(plan, executor, kept, progress, kernel, on_split)
        results, resolved = without_duplicates(
            plan, executor, read, self.source, keys, self.duplicates_rule, kernel
        )
        self.on_duplicates(resolved)
        _check_rejects(plan, results)
        self._judge(plan, executor, read, resolved, keys)
        return results

    def _judge(
        self,
        plan: Plan,
        executor: Executor,
        read: Sequence[SplitResult],
        resolved: Resolved,
        keys: Sequence[str],
    ) -> None:
        """Raise ``DataQualityFailed`` for rows that may not be published, and set them aside."""
        found = quality.judge((unframed(r.findings)[0] for r in read), self.thresholds)
        self.on_quality(found)
        if resolved.conflicting and self.duplicates_rule == duplicates.FAIL:
            self._set_aside(plan, executor)
            raise DataQualityFailed(
                f"{resolved.conflicting} records of {', '.join(resolved.examples)} contradict another of "
                f"their {' and '.join(keys)}. The rows as they were read are in {self.quarantine}; "
                f"nothing changed under {plan.output}.",
                hint="Fix the source, or set duplicates to keep_last or reject.",
            )
        if not found.passed:
            aside = f"The rows as they were read are in {self.quarantine};"
            try:
                self._set_aside(plan, executor)
            except OutputOccupied as occupied:  # by an earlier program: no run removes what no run published
                aside = f"The rows could not be set aside: {occupied.message}"
            raise DataQualityFailed(
                f"{found.sentence()}. {aside} nothing changed under {plan.output}.",
                hint="Fix the source and compact again, or raise --max-critical-error-rate.",
            )

    def _set_aside(self, plan: Plan, executor: Executor) -> None:
        """Publish the rows as they were read, with the engine's own plan and kernel."""
        stage = Stage(QUARANTINE, STAGE_VERSION, plan.stage.parameters)
        aside = plan_partition(
            plan.partition,
            plan.raw,
            self.quarantine,
            self.source,
            plan.listing,
            plan.expected_records,
            stage,
        )
        work = CompactSplits(stage=QUARANTINE, reuses=False)
        run_plan(aside, self.options, executor=executor, work=work)


def _check_rejects(plan: Plan, results: Sequence[SplitResult]) -> None:
    """Raise ``RejectLimitExceeded`` or ``NoRawData``, and keep the reject file."""
    from briquette.publishing.publish import write_rejects

    store = open_store(plan.output.url)
    totals = total(results)
    keep_rejects = partial(write_rejects, store, plan.output, plan.plan_id, reject_lines(results))
    check_reject_limit(plan, totals, keep_rejects)
    if totals.rows == 0:
        keep_rejects()
        raise NoRawData(
            f"no rows in the {len(plan.listing)} objects under {plan.raw}; nothing was written.",
            hint="Check the ingestion of that day.",
        )

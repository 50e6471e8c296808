"""Runs of the public engine for a case: raw objects land on a disk, the engine runs, the ending is kept."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from briquette.compaction.api import compact
from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.result import CompactionResult
from briquette.compaction.run import run_plan
from briquette.errors import EXIT_EMPTY, EXIT_OK, BriquetteError
from briquette.executors import Executor
from briquette.model import Field, Limits, Manifest, OnEmpty, Partition, Schema, Status
from briquette.planning.target import resolve_target
from briquette.schemas.declared import load_schema
from tests.conformance.make_binary_cases import many_objects

EXECUTOR = os.environ.get("BRIQUETTE_TEST_EXECUTOR", "serial")
LAYOUT = "{domain}/{table}/interval={interval}/data_source={data_source}/year={y}/month={m}/day={d}"


@dataclass(frozen=True)
class Ending:
    """How one run ended: its result or its error, and the dataset as it then lies on disk."""

    result: CompactionResult | None
    error: BriquetteError | None
    output: Path  # the folder that manifest keys are relative to

    @property
    def status(self) -> str:
        return self.error.name if self.error else self.result.status.value

    @property
    def exit_code(self) -> int:
        if self.error:
            return self.error.exit_code
        return EXIT_EMPTY if self.result.status is Status.EMPTY else EXIT_OK

    @property
    def message(self) -> str:
        return str(self.error) if self.error else self.result.message

    @property
    def manifest(self) -> Manifest:
        return self.result.manifest

    @property
    def parts(self) -> list[Path]:
        found = (p.relative_to(self.output) for p in self.output.rglob("part-*.parquet"))
        return sorted(self.output / p for p in found if not any(s.startswith("_") for s in p.parts))

    def part_bytes(self) -> list[bytes]:
        return [part.read_bytes() for part in self.parts]

    def table(self) -> pa.Table:
        """The rows on disk, as plain pyarrow reads the parts that a lister sees."""
        return pa.concat_tables([pq.ParquetFile(part).read() for part in self.parts])

    def rejects(self) -> list[dict[str, Any]]:
        """The lines of every reject file below the output."""
        below = (p for p in sorted(self.output.rglob("*")) if p.is_file())
        files = (p for p in below if "reject" in p.relative_to(self.output).as_posix())
        return [json.loads(line) for p in files for line in p.read_text().split("\n") if line]


class Runs:
    """All runs of one case below ``scratch``; ``executor`` does them where a step does not name its own."""

    def __init__(self, folder: Path, scratch: Path, executor: Executor | None = None) -> None:
        self.folder, self.scratch, self.executor = folder, scratch, executor
        self.document: dict[str, Any] = json.loads((folder / "case.json").read_text())
        self.schema = self._schema()

    def _schema(self) -> Schema:
        declared = self.document["schema"]
        if isinstance(declared, str):
            return load_schema(declared)
        fields = [
            Field(n, t.removesuffix(" not null"), not t.endswith(" not null")) for n, t in declared.items()
        ]
        return Schema(tuple(fields), tuple(self.document.get("null_values", [""])))

    def run(self, step: dict[str, Any], to: str = "curated") -> Ending:
        """One run as ``step`` says, over the case's own words; raises only what is no error of the engine."""
        partition = {**self.document.get("partition", {}), **step.get("partition", {})}
        spec = {"max_reject_ratio": 1.0, **self.document.get("spec", {}), **step.get("spec", {})}
        if "limits" in spec:
            spec["limits"] = Limits(**spec["limits"])
        options = RunOptions(
            **{"executor": EXECUTOR, **step.get("options", {})},
            force=step.get("force", False),
            on_empty=OnEmpty(step.get("on_empty", "keep")),
        )
        output = self.scratch / to
        raw = self.land(step.get("raw", "raw"), partition, backwards=step.get("landed_backwards", False))
        places = ("raw", "curated") if partition else ("input", "output")
        executor = None if "executor" in step.get("options", {}) else self.executor
        try:
            if executor or "after_listing" in step:
                names = places if partition else ("input_url", "output_url")
                urls = dict(zip(names, (str(raw), str(output)), strict=True))
                target = resolve_target(Partition(**partition), **urls)
                plan = make_plan(target, resolve_spec(target, self.schema, spec), options)
                _change(raw, step.get("after_listing", {}))
                return Ending(run_plan(plan, options, executor=executor), None, output)
            urls = dict(zip(places, (raw, output), strict=True))
            result = compact(**urls, **partition, schema=self.schema, options=options, **spec)
        except BriquetteError as error:
            return Ending(None, error, output)
        return Ending(result, None, output)

    def land(self, folder: str, partition: dict[str, str], *, backwards: bool) -> Path:
        """Write raw objects where the ingestion would put them, one after another, and return their root."""
        root = self.scratch / (folder + "-backwards" if backwards else folder)
        if root.exists():
            return root
        objects = self.objects(folder)
        day = root
        if partition:
            y, m, d = partition["ds"].split("-")
            day = root / LAYOUT.format(**partition, y=y, m=m, d=d)
        for key in sorted(objects, reverse=backwards):
            (day / key).parent.mkdir(parents=True, exist_ok=True)
            (day / key).write_bytes(objects[key])
        return root

    def objects(self, folder: str) -> dict[str, bytes]:
        """The raw objects of one folder of the case, or those made in bulk."""
        if "made" in self.document:
            return many_objects(**self.document["made"])
        source = self.folder / folder
        return {p.relative_to(source).as_posix(): p.read_bytes() for p in source.rglob("*") if p.is_file()}


def _change(raw: Path, changes: dict[str, Any]) -> None:
    for key, text in changes.get("write", {}).items():
        (raw / key).write_text(text)
    for key in changes.get("delete", []):
        (raw / key).unlink()

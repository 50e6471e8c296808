"""Every folder of ``cases/`` through the public engine on a real disk, compared with what its author wrote.

README.md describes the folders. ``BRIQUETTE_TEST_EXECUTOR`` chooses another executor for all of them.
"""

from __future__ import annotations

import io
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from briquette import read
from briquette.datasets.verify import verify
from briquette.errors import SnapshotChanged
from briquette.schemas.declared import arrow_schema
from briquette.template_scan import scan
from tests.conformance.canonical import canonical_lines, canonical_rows
from tests.conformance.row_digest import content_digest
from tests.conformance.runs import Ending, Runs
from tests.invariants import assert_conserves, assert_only_parts_are_visible, snapshot, visible_files

CASES = Path(__file__).parent / "cases"
EVERY_EXECUTOR = "every-executor-writes-the-same-bytes"  # starts clusters, and not once more for each lane
COUNTS = ("duplicates", "duplicate_json_keys")  # 0 where a case does not say otherwise


@pytest.mark.parametrize("name", sorted(p.name for p in CASES.iterdir()))
def test_case(name: str, tmp_path: Path) -> None:
    case = Case(CASES / name, tmp_path)
    case.first_run()
    for check, argument in case.document.get("also", {}).items():
        getattr(case, f"also_{check}")(argument)


@pytest.mark.skipif(not scan.available(), reason="numba is not installed (the [fast] extra)")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name == EVERY_EXECUTOR else ())
        for name in sorted({p.parts[len(CASES.parts)] for p in CASES.rglob("raw*/**/*.[ct]sv")})
    ],
)
def test_case_of_csv_with_the_template_scan(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIQUETTE_SCAN", "on")
    test_case(name, tmp_path)


class Case(Runs):
    """The checks of one case; ``first`` is the ending of its first run."""

    first: Ending

    def first_run(self) -> None:
        before = snapshot(self.scratch / "curated")
        step = {k: v for k, v in self.document.items() if k == "after_listing"}
        self.first = self.run(step)
        expect = self.document["expect"]
        self.check_ending(self.first, expect, before)
        self.check_rejects(self.first)
        if self.first.status != "PUBLISHED":
            assert self.first.parts == [], "a run that did not publish left visible parts"
            return
        self.check_rows(self.first, "expected.jsonl")
        assert_only_parts_are_visible(self.first.parts[0].parent)
        assert len(self.first.parts) >= expect.get("parts_at_least", 1)
        manifest = self.first.manifest
        assert {c: getattr(manifest, c) for c in COUNTS} == {c: expect.get(c, 0) for c in COUNTS}
        if manifest.spec.extra_fields != "rescue" or "extra_fields" in expect:
            assert dict(manifest.extra_fields) == expect.get("extra_fields", {})

    # -- checks ------------------------------------------------------------------------------------

    def check_ending(self, ending: Ending, expect: dict[str, Any], before: dict[str, Any]) -> None:
        wanted = (expect["status"], expect.get("exit_code", ending.exit_code))
        assert (ending.status, ending.exit_code) == wanted, ending.message
        assert expect.get("message", "") in ending.message
        if expect.get("writes") is False:
            assert snapshot(ending.output) == before
        if "warning" in expect:
            assert expect["warning"] in " ".join(ending.manifest.warnings)
        if "visible_files" in expect:
            assert visible_files(ending.output) == expect["visible_files"]
        if expect.get("parts") == "same":
            assert [before[str(p)][0] for p in ending.parts] == ending.part_bytes()
        if ending.status in ("PUBLISHED", "UNCHANGED"):
            assert_conserves(ending.manifest, ending.output)
            if "content_digest" in expect:
                same = ending.manifest.content_digest == self.first.manifest.content_digest
                assert same == (expect["content_digest"] == "same")

    def check_rows(self, ending: Ending, expected: str) -> None:
        """The rows on disk are the ones written by hand, in order; their types are the schema's."""
        table = self.rows_on_disk(ending)
        if "made" in self.document:
            text = "".join(body.decode() for _, body in sorted(self.objects("raw").items()))
        else:
            text = (self.folder / expected).read_bytes().decode()
        assert canonical_rows(table) == canonical_lines(text)

    def rows_on_disk(self, ending: Ending) -> pa.Table:
        """The published rows in the schema's types; Parquet has no seconds, so the file holds them as ms."""
        table = ending.table()
        declared = arrow_schema(self.schema, rescued="_rescued" in table.column_names)
        in_file = [_in_parquet(field) for field in declared]
        assert table.schema.remove_metadata().equals(pa.schema(in_file))
        return table.cast(declared)

    def check_rejects(self, ending: Ending) -> None:
        file = self.folder / "rejects.jsonl"
        expected = [json.loads(t) for t in file.read_text().split("\n") if t] if file.exists() else []
        found = ending.rejects()
        places = [(r["key"].rpartition("/day=05/")[2], r["position"]) for r in found]
        assert places == [(r["key"], r["position"]) for r in expected], found
        for want, got in zip(expected, found, strict=True):
            assert got["reason"]
            assert want["reason"].lower() in got["reason"].lower()
            assert got["byte_offset"] == want.get("byte_offset", got["byte_offset"]), (want, got)
            if "raw_json" in want:
                assert json.loads(got["raw"]) == want["raw_json"]
            else:
                assert _raw(got) == _raw(want)

    # -- "also": what one run does not show --------------------------------------------------------

    def also_then(self, steps: list[dict[str, Any]]) -> None:
        for step in steps:
            to = step.get("to", "curated")
            before = snapshot(self.scratch / to)
            ending = self.run(step, to)
            self.check_ending(ending, step["expect"], before)
            if "rows" in step:
                self.check_rows(ending, step["rows"])

    def also_landed_in_another_order(self, _: bool) -> None:
        again = self.run({"landed_backwards": True}, "curated-backwards")
        assert again.part_bytes() == self.first.part_bytes()
        assert again.manifest.content_digest == self.first.manifest.content_digest

    def also_executors_agree(self, choices: list[dict[str, Any]]) -> None:
        for i, options in enumerate(choices):
            other = self.run({"options": options}, f"curated-{i}")
            assert other.part_bytes() == self.first.part_bytes(), options
            assert other.rejects() == self.first.rejects(), options
            assert other.manifest.content_digest == self.first.manifest.content_digest, options

    def also_copied(self, _: bool) -> None:
        """A copy is the dataset; with one other byte it is not, and the next run makes it again."""
        there = self.scratch / "copied"
        shutil.copytree(self.first.output, there)
        assert (verify(str(there)).problems, verify(str(there)).copied) == ((), True)
        symbols = read(there).compute(scheduler="synchronous")["symbol"].tolist()
        assert symbols == self.first.table().column("symbol").to_pylist()
        assert self.run({}, "copied").status == "UNCHANGED"
        assert (verify(str(there)).problems, verify(str(there)).copied) == ((), False)
        part = there / "part-00000.parquet"
        part.write_bytes(part.read_bytes().replace(b"PAR1", b"PAR2", 1))
        assert not verify(str(there)).ok
        with pytest.raises(SnapshotChanged):
            read(there).compute(scheduler="synchronous")
        again = self.run({}, "copied")
        assert (again.status, again.part_bytes()) == ("PUBLISHED", self.first.part_bytes())

    def also_sizes_within(self, ratio: float) -> None:
        target = self.document["spec"]["target_part_bytes"]
        *sizes, last = [p.stat().st_size for p in self.first.parts]
        assert all(abs(size - target) <= ratio * target for size in sizes), (target, sizes)
        assert last <= target * (1 + ratio)

    def also_visible_files(self, names: list[str]) -> None:
        assert visible_files(self.first.output) == names

    def also_digest_in_plain_python(self, _: bool) -> None:
        """C11.3 is enough to compute ``content_digest`` again from the rows on disk."""
        table, at, splits = self.first.table(), 0, []
        for split in self.first.manifest.splits:
            splits.append(table.slice(at, split.rows))
            at += split.rows
        assert content_digest(splits) == self.first.manifest.content_digest

    def also_reader_while_publishing(self, other: dict[str, Any]) -> None:
        """A reader that never stops opening the part sees one publication or the other, whole."""
        known = [canonical_lines((self.folder / n).read_text()) for n in ("expected.jsonl", other["rows"])]
        part, seen, stop = self.first.parts[0], [], threading.Event()

        def read() -> None:
            while not stop.is_set():
                seen.append(part.read_bytes())

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for i in range(other["publications"]):
                step = {"raw": "raw" if i % 2 else other["raw"]}
                assert self.run(step).status == "PUBLISHED"
        finally:
            stop.set()
            reader.join()
        datasets = [canonical_rows(pq.read_table(io.BytesIO(data))) for data in set(seen)]
        assert sorted(datasets) == sorted(known), "not exactly the old and the new rows were seen"

    def also_pinned_reader(self, other: dict[str, Any]) -> None:
        """A frame that was made from one publication never shows rows of the next."""
        frame = read(self.first.output)
        assert self.run({"raw": other["raw"]}).status == "PUBLISHED"
        with pytest.raises(SnapshotChanged):
            frame.compute(scheduler="synchronous")
        again = read(self.first.output).compute(scheduler="synchronous")
        lines = canonical_lines((self.folder / other["rows"]).read_text())
        assert again["symbol"].tolist() == [json.loads(line)["symbol"] for line in lines]


def _in_parquet(field: pa.Field) -> pa.Field:
    seconds = pa.types.is_timestamp(field.type) and field.type.unit == "s"
    return field.with_type(pa.timestamp("ms", field.type.tz)) if seconds else field


def _raw(reject: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in reject.items() if k in ("raw", "raw_base64")}

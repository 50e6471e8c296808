"""Small inputs that other people's tools stumbled over: what comes of each, and what is said about it.

The inputs lie beside the project and are not part of it; where they are absent, this is skipped.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from briquette.datasets.read import open_dataset, read_tables

CASES = Path(__file__).parents[2].parent / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"the cases are not at {CASES}")


def briquette(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "briquette", *words, "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def compacted(case: str, tmp_path: Path) -> tuple[int, dict[str, Any]]:
    """Exit code and document of a compaction, by the schema that the case declares, if it does."""
    folder = CASES / case
    declared = ("--schema", str(folder / "schema.toml")) if (folder / "schema.toml").exists() else ()
    done = briquette("compact", "--input", str(folder / "in"), "--output", str(tmp_path / "out"), *declared)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def inferred(case: str) -> tuple[int, dict[str, Any]]:
    done = briquette("infer", "--input", str(CASES / case / "in"))
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


# case: rows and rejects that are published
PUBLISHED = {
    "01-ints-past-int64": (2, 0),
    "04-late-key": (30_001, 0),
    "09-nested-int-string": (2, 0),
    "105-pq-decimal-float64": (2, 0),
    "125-quotes-pair-swallow": (3_998, 2),
    "131-lone-cr": (62, 0),
    "15-dynamodb-export": (2, 0),
    "22-odd-names": (1, 0),
    "39-one-column": (3, 0),
    "43-open-quote-swallows-file": (9_999, 1),
    "72-hive-partitions": (3, 0),
    "76-pq-int-vs-float-nullable": (4, 0),
    "79-pq-int96-far": (4, 0),
    "80-pq-map": (3, 0),
    "83-pq-time64ns": (1, 0),
    "88-pq-binary-as-string": (2, 0),
    "95-pq-nested-times": (2, 0),
}
# case: exit code, error, and a part of what is said
REFUSED = {
    "114-csv-sep-line": (5, "RejectLimitExceeded", "its first line says which delimiter is used"),
    "117-api-pages": (5, "RejectLimitExceeded", "the records may be the elements of 'data'"),
    "119-epoch-millis": (5, "RejectLimitExceeded", "1704067200000 is not"),
    "120-us-dates": (5, "RejectLimitExceeded", '"01/31/2024" is not a date'),
    "13-cloudtrail": (5, "RejectLimitExceeded", "the records may be the elements of 'Records'"),
    "30-semicolon-decimal-comma": (5, "RejectLimitExceeded", "its delimiter may be a semicolon"),
    "31-semicolon-plain": (5, "RejectLimitExceeded", "its delimiter may be a semicolon"),
    "32-pipe-psv": (5, "RejectLimitExceeded", "its delimiter may be a pipe"),
    "33-latin1": (5, "RejectLimitExceeded", "not valid UTF-8"),
    "36-two-trailing-commas": (4, "CorruptObject", "names '' more than once"),
    "38-headerless": (5, "RejectLimitExceeded", "it may have no header"),
    "41-backslash-escape": (5, "RejectLimitExceeded", "text after the closing quote"),
    "47-comments-preamble": (5, "RejectLimitExceeded", "no column of it is in the schema"),
    "57-header-case": (5, "RejectLimitExceeded", "did you mean 'id' by 'ID'?"),
    "71-sidecars": (4, "UnsupportedFormat", "README.md is in no format"),
    "74-delta-table-dir": (4, "UnsupportedTable", "is a Delta table"),
}
# case: columns that inference finds
COLUMNS = {
    "01-ints-past-int64": {"a": "uint64", "b": "decimal(38, 0)", "c": "int64"},
    "04-late-key": {"a": "int64", "b": "string"},
    "09-nested-int-string": {"Records": "struct<a: int64, b: string>"},
    "105-pq-decimal-float64": {"d": "decimal(38, 10)"},
    "131-lone-cr": {"id": "int64", "note": "string"},
    "76-pq-int-vs-float-nullable": {"id": "int64"},
    "79-pq-int96-far": {"i": "int64", "t": "timestamp[us]"},
}
# case: a part of what inference warns of
WARNINGS = {
    "117-api-pages": "list of objects under data",
    "119-epoch-millis": "milliseconds since 1970",
    "120-us-dates": "month/day/year, as 31 can only be a day",
    "13-cloudtrail": "list of objects under Records",
    "22-odd-names": "'_rescued' is left out",
    "31-semicolon-plain": "separated by ';'",
    "32-pipe-psv": "separated by '|'",
    "33-latin1": "2 of 3 records are rejects",
    "38-headerless": "looks like data, not like a header",
    "57-header-case": "did you mean one column?",
    "72-hive-partitions": "region (3 values), year (2 values)",
}


def test_every_case_is_here() -> None:
    assert {c.name for c in CASES.iterdir() if c.is_dir()} <= PUBLISHED.keys() | REFUSED.keys()


@pytest.mark.parametrize("case", PUBLISHED)
def test_what_can_be_read_is_published(case: str, tmp_path: Path) -> None:
    code, document = compacted(case, tmp_path)
    assert (code, document["status"]) == (0, "PUBLISHED")
    assert (document["rows"], document["rejects"]) == PUBLISHED[case]


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_with_the_likely_cause(case: str, tmp_path: Path) -> None:
    code, document = compacted(case, tmp_path)
    exit_code, name, said = REFUSED[case]
    assert (code, document["error"]["name"]) == (exit_code, name)
    assert said in document["error"]["message"]
    assert not (tmp_path / "out" / "_manifest.json").exists()


@pytest.mark.parametrize("case", COLUMNS)
def test_inference_finds_types_that_hold_every_value(case: str) -> None:
    _, document = inferred(case)
    assert {c["name"]: c["type"] for c in document["columns"]} == COLUMNS[case]


@pytest.mark.parametrize("case", WARNINGS)
def test_inference_says_what_looks_wrong(case: str) -> None:
    _, document = inferred(case)
    assert WARNINGS[case] in " ".join(document["warnings"])


def values(case: str, tmp_path: Path) -> list[dict[str, Any]]:
    assert compacted(case, tmp_path)[0] == 0
    return [row for table in read_tables(open_dataset(tmp_path / "out")) for row in table.to_pylist()]


def test_values_are_exact(tmp_path: Path) -> None:
    ids = [row["id"] for row in values("76-pq-int-vs-float-nullable", tmp_path / "a")]
    assert 9_007_199_254_740_993 in ids
    assert None in ids
    texts = {v for row in values("88-pq-binary-as-string", tmp_path / "b") for v in row.values()}
    assert {"hello", "world"} <= texts
    years = [row["t"].year for row in values("79-pq-int96-far", tmp_path / "c") if row["t"]]
    assert 9999 in years
    torn = [row for row in values("131-lone-cr", tmp_path / "d") if row["id"] == 60]
    assert torn[0]["note"] == "first line\rsecond line"

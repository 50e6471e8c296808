"""Every case without accelerators gives the bytes of the list; and each switch turns its accelerator off."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from briquette import compact
from briquette.accelerators import ALL, Accelerator, allowed, check, wish
from briquette.compaction.options import RunOptions
from briquette.decoding.fast.csv_arrow import CsvLane
from briquette.decoding.fast.json_arrow import ArrowLane
from briquette.decoding.parquet import rows as parquet_rows
from briquette.errors import UsageError
from briquette.model import Field, Schema
from briquette.publishing.early_parts import Drafts
from briquette.storage.opening import open_store
from briquette.storage.s3.prefetch import S3Prefetch
from briquette.storage.s3.small_gets import SmallGets
from briquette.template_scan import scan
from briquette.template_scan.compiler import native
from tests.conformance.test_bytes import HERE, bytes_of, listed
from tests.servers import Bucket

Calls = list[str]
SCHEMA = Schema((Field("n", "int64"), Field("text", "string")))
OBJECTS, LINES = 4, 3_000  # of each format, and of each object


def test_without_accelerators_every_case_has_the_bytes_of_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = listed()
    monkeypatch.setenv(ALL, "off")
    calls = counted(monkeypatch)
    found = {case.name: bytes_of(case, tmp_path / case.name) for case in sorted((HERE / "cases").iterdir())}
    assert found == wanted
    assert calls == []


# -- the switches ------------------------------------------------------------------------------------


def counted(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The list to which each accelerator adds its variable whenever it is at work."""
    calls: Calls = []

    def count(owner: Any, name: str, accelerator: Accelerator) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def call(*args: Any, **named: Any) -> Any:
            calls.append(accelerator.value)
            return real(*args, **named)

        monkeypatch.setattr(owner, name, call)

    count(native, "entry_or_none", Accelerator.SCAN)
    count(ArrowLane, "parse", Accelerator.ARROW_LANES)
    count(CsvLane, "parse", Accelerator.ARROW_LANES)
    count(parquet_rows, "_taken_over", Accelerator.ARROW_LANES)
    count(Drafts, "take", Accelerator.EARLY_PARTS)
    count(S3Prefetch, "__init__", Accelerator.PREFETCH)
    count(SmallGets, "get_many", Accelerator.S3_CURL)
    return calls


def write_day(url: str) -> None:
    """Objects of three formats, in several splits; the second line of the JSON is not like the first."""
    store, draw = open_store(url), random.Random(1)
    for i in range(OBJECTS):
        numbers = [draw.getrandbits(60) for _ in range(LINES)]
        lines = [b'{"n": %d, "text": "t%d"}\n' % (n, n % 7) for n in numbers]
        lines[1] = b'{"text": "\\u0041", "n": 1}\n'
        store.put(f"raw/{i}.json", b"".join(lines))
        cells = b"".join(b'%d,"t%d"\n' % (n, n % 7) for n in numbers)
        store.put(f"raw/{i}.csv", b"n,text\n" + cells)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"n": numbers, "text": [f"t{n % 7}" for n in numbers]}), sink)
        store.put(f"raw/{i}.parquet", sink.getvalue().to_pybytes())


def compacted(url: str, name: str) -> list[bytes]:
    """The parts of that day, made in many splits and several parts."""
    compact(
        input=f"{url}/raw",
        output=f"{url}/{name}",
        schema=SCHEMA,
        options=RunOptions(threads=2),
        target_part_bytes=64 << 10,
        split_bytes=256 << 10,
    )
    store = open_store(url)
    return [store.get(s.key) for s in store.list(f"{name}/") if s.key.endswith(".parquet")]


AT_WORK = {
    "disk": {Accelerator.SCAN, Accelerator.ARROW_LANES, Accelerator.EARLY_PARTS},
    "s3": {Accelerator.SCAN, Accelerator.ARROW_LANES, Accelerator.PREFETCH, Accelerator.S3_CURL},
}


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_each_switch_turns_its_accelerator_off_and_no_other(
    place: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket: Bucket | None = request.getfixturevalue("s3") if place == "s3" else None
    url = bucket.url if bucket else str(tmp_path)
    write_day(url)
    compacted(url, "first")  # and the endpoint is known from now on
    calls = counted(monkeypatch)
    expected = set(AT_WORK[place])
    if not scan.available():
        expected.discard(Accelerator.SCAN)
    monkeypatch.setenv(Accelerator.SCAN, "on")  # so small a day would not repay it
    parts = compacted(url, "on")
    assert len(parts) > 2
    assert set(calls) == expected
    for accelerator in sorted(expected):
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setenv(accelerator, "off")
            assert compacted(url, f"without-{accelerator.lower()}") == parts
        assert accelerator not in calls
        # Objects are fetched ahead by the same client, so they are not asked for again.
        assert set(calls) >= expected - {accelerator, Accelerator.S3_CURL}
    calls.clear()
    monkeypatch.setenv(ALL, "off")
    assert compacted(url, "without-any") == parts
    assert calls == []


def test_one_variable_wins_over_those_of_the_single_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (ALL, *Accelerator):
        monkeypatch.delenv(variable, raising=False)
    assert {wish(a) for a in Accelerator} == {"auto"}
    monkeypatch.setenv(Accelerator.SCAN, "on")
    monkeypatch.setenv(Accelerator.PREFETCH, "off")
    assert [a for a in Accelerator if not allowed(a)] == [Accelerator.PREFETCH]
    assert wish(Accelerator.SCAN) == "on"
    monkeypatch.setenv(ALL, "off")
    assert not any(map(allowed, Accelerator))


@pytest.mark.parametrize("variable", [ALL, *Accelerator])
def test_a_word_that_means_nothing_is_refused_before_anything_is_done(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.json").write_text('{"n": 1, "text": "a"}\n')
    monkeypatch.setenv(variable, "of")
    with pytest.raises(UsageError, match=f"{variable} is 'of'"):
        check()
    with pytest.raises(UsageError):
        compact(input=tmp_path / "raw", output=tmp_path / "out", schema=SCHEMA)
    assert not (tmp_path / "out").exists()


def test_the_switches_are_not_taken_for_misspelt_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from briquette.settings.environments import load_environment

    for variable in (ALL, *Accelerator):
        monkeypatch.setenv(variable, "auto")
    load_environment("dev", env=os.environ)

"""Which schema a run takes where none is given: one rule, and one sentence, for every way to start it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from briquette.aws.container_command import parse
from briquette.compaction.api import compact, plan
from briquette.compaction.new_plan import resolve_spec
from briquette.compaction.undeclared_schema import declared_or_inferred
from briquette.errors import EmptyInput, SchemaError
from briquette.model import Field, Limits, Partition, Schema, Status
from briquette.planning.spec import declared_table
from briquette.planning.target import Target, resolve_target
from briquette.schemas.declared import load_table

DAY = {"interval": "1d", "data_source": "yahoo", "ds": "2025-09-09"}
SENTENCE = "no schema is declared for {!r}: it is inferred from all records; pass --schema to fix it"
INFERRED = (Field("bid", "float64"), Field("who", "string"))


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("briquette"), "propagate", True)
    caplog.set_level(logging.INFO, "briquette")
    return caplog


def land(root: Path, table: str, body: bytes = b'{"who": "AAPL", "bid": 1.5}\n') -> Target:
    folder = root / f"raw/market/{table}/interval=1d/data_source=yahoo/year=2025/month=09/day=09"
    folder.mkdir(parents=True)
    (folder / "a.json").write_bytes(body)
    partition = Partition(domain="market", table=table, **DAY)
    return resolve_target(partition, raw=str(root / "raw"), curated=str(root / "curated"))


def sentences(said: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(r.levelname, r.getMessage()) for r in said.records if "is inferred" in r.getMessage()]


def test_a_declared_table_is_taken_and_nothing_is_read_or_said(tmp_path: Path, said) -> None:
    target = land(tmp_path, "prices", b"no JSON at all")
    assert declared_table(target.partition) == load_table("market.prices")
    assert declared_or_inferred(target, Limits()) == load_table("market.prices")
    assert sentences(said) == []


def test_an_undeclared_table_is_inferred_from_its_records_and_that_is_said(tmp_path: Path, said) -> None:
    target = land(tmp_path, "quotes")
    assert declared_table(target.partition) is None
    assert set(declared_or_inferred(target, Limits(), infers_named=True).schema.fields) == set(INFERRED)
    assert sentences(said) == [("WARNING", SENTENCE.format("market.quotes"))]


def test_a_name_that_a_person_may_have_mistyped_is_refused(tmp_path: Path, said) -> None:
    land(tmp_path, "price")
    words = {"domain": "market", "table": "price", **DAY}
    with pytest.raises(SchemaError, match=r"There is no table 'market\.price'") as caught:
        plan(raw=tmp_path / "raw", curated=tmp_path / "curated", **words)
    assert "Did you mean market.prices?" in caught.value.hint
    assert sentences(said) == []


def test_the_container_infers_the_schema_of_a_table_that_nobody_declared(tmp_path: Path, said) -> None:
    target = land(tmp_path, "quotes")
    words = {"domain": "market", "table": "quotes", **DAY}
    places = {"raw": tmp_path / "raw", "curated": tmp_path / "curated"}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in {**words, **places}.items()]
    by_container = parse(["compact", *options]).plan()
    assert by_container.spec == resolve_spec(target, None, {}, infers_named=True)
    assert sentences(said) == [("WARNING", SENTENCE.format("market.quotes"))] * 2


def test_of_any_data_at_all_nothing_is_said(tmp_path: Path, said) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.json").write_bytes(b'{"who": "AAPL", "bid": 1.5}\n')
    made = compact(input=tmp_path / "in", output=tmp_path / "out")
    assert made.status is Status.PUBLISHED
    assert sentences(said) == []


def test_where_there_is_no_record_nothing_is_asked_of_a_schema(tmp_path: Path) -> None:
    target = land(tmp_path, "quotes")
    for file in (tmp_path / "raw").rglob("*.json"):
        file.unlink()
    with pytest.raises(EmptyInput):
        declared_or_inferred(target, Limits(), infers_named=True)
    spec = resolve_spec(target, None, {"codec": "snappy", "unique_key": ["who"]}, infers_named=True)
    assert (spec.schema, spec.codec, spec.unique_key) == (Schema(()), "snappy", ())

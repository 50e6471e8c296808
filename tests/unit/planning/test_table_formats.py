"""C1.6: the folder of a Delta, Iceberg or Hudi table is no input, nor a folder inside of one."""

from __future__ import annotations

import pytest

from briquette import compact
from briquette.compaction.options import RunOptions
from briquette.compaction.undeclared_schema import infer_target
from briquette.errors import UnsupportedTable
from briquette.model import CompactionSpec, Field, Location, Schema
from briquette.planning.listing import list_partition
from briquette.planning.plan import path_keys, warnings_of
from briquette.planning.table_formats import refuse_table
from briquette.planning.target import anywhere
from briquette.storage.interface import Store
from briquette.storage.opening import open_store
from briquette.storage.urls import parse_url

SCHEMA = Schema((Field("a", "int64"),))
ICEBERG = "metadata/00000-0f3e2a8c-1b2d-4c5e-8f90-123456789abc.metadata.json"
MARKS = [
    ("Delta", "_delta_log/00000000000000000000.json"),
    ("Delta", "_delta_log/00000000000000000010.checkpoint.parquet"),
    ("Hudi", ".hoodie/hoodie.properties"),
    ("Hudi", "x=1/.hoodie_partition_metadata"),
    ("Iceberg", ICEBERG),
    ("Iceberg", "metadata/v3.metadata.json"),
    ("Iceberg", "metadata/v3.gz.metadata.json"),
    ("Iceberg", "metadata/version-hint.text"),
    ("Iceberg", "metadata/snap-123-1-0f3e2a8c.avro"),
]


def put(url: str, *keys: str, body: bytes = b'{"a": 1}\n') -> None:
    place = parse_url(url)
    for key in keys:
        open_store(place.url).put(place.prefix + key, body)


@pytest.mark.parametrize(("kind", "mark"), MARKS)
@pytest.mark.parametrize("below", ["", "deeper/", "a=1/b=2/"])
def test_a_table_in_the_input_is_refused_by_every_mark(kind: str, mark: str, below: str) -> None:
    url = f"memory://tables-{kind}-{abs(hash((mark, below)))}"
    put(f"{url}/in", "plain.json", below + mark)
    with pytest.raises(UnsupportedTable, match=f"is an? {kind} table") as caught:
        compact(input=f"{url}/in", output=f"{url}/out", schema=SCHEMA)
    assert caught.value.exit_code == 4
    assert "Read it with" in caught.value.hint
    with pytest.raises(UnsupportedTable):
        infer_target(anywhere(input_url=f"{url}/in", output_url=f"{url}/out"))


@pytest.mark.parametrize(
    "key",
    [
        "metadata/a.json",
        "metadata/about.metadata.json",
        "x_delta_log/0.json",
        "metadata/1.metadata.json",
        "my.hoodie/x.json",
        "_old/_delta_log/0.json",
        "_old/t/metadata/v1.metadata.json",
        ".old/.hoodie/hoodie.properties",
    ],
)
def test_names_that_only_look_like_it_and_hidden_tables_are_no_tables(key: str) -> None:
    refuse_table(
        open_store("memory://plain"), Location("memory://plain", "in/"), [f"in/{key}"], [f"in/{key}"]
    )


@pytest.mark.parametrize(
    ("kind", "mark", "inside"),
    [
        ("Delta", "_delta_log/00000000000000000000.json", "year=2024/month=01"),
        ("Delta", "_delta_log/_last_checkpoint", "year=2024"),
        ("Hudi", ".hoodie/hoodie.properties", "2024/01/01"),
        ("Iceberg", ICEBERG, "data/dt=2024-01-01"),
        ("Iceberg", "metadata/version-hint.text", "data"),
    ],
)
@pytest.mark.parametrize("above", ["lake/t/", "data/t/", ""])
def test_a_table_is_refused_wherever_the_input_lies_in_it(
    store: Store, store_url: str, kind: str, mark: str, inside: str, above: str
) -> None:
    put(f"{store_url}/{above}".rstrip("/"), mark, f"{inside}/part-0.parquet")
    place = parse_url(f"{store_url}/{above}{inside}")
    with pytest.raises(UnsupportedTable, match=f"lies inside of .*an? {kind} table"):
        list_partition(open_store(place.url), place, CompactionSpec(SCHEMA))
    assert store.url


def test_a_folder_beside_a_table_is_an_input_and_json_asks_nothing_above(
    store: Store, store_url: str
) -> None:
    put(f"{store_url}/lake/t", "_delta_log/00000000000000000000.json", "a.parquet")
    put(f"{store_url}/lake/plain", "a.json", "b.parquet")
    place = parse_url(f"{store_url}/lake/plain")
    opened = open_store(place.url)
    assert len(list_partition(opened, place, CompactionSpec(SCHEMA)).objects) == 2
    place = parse_url(f"{store_url}/lake/json")
    put(f"{store_url}/lake/json", "a.json")
    opened = open_store(place.url)
    opened.requests.reset()
    list_partition(opened, place, CompactionSpec(SCHEMA))
    assert opened.requests["HEAD"] == 0
    assert store.url


def test_a_transform_does_not_take_a_table_for_plain_parquet(tmp_path) -> None:
    from briquette.pipeline.transform import transform

    put(str(tmp_path / "t" / "ds=2025-09-09"), "a.parquet", "_delta_log/00000000000000000000.json")
    with pytest.raises(UnsupportedTable):
        transform(
            input=tmp_path / "t" / "ds=2025-09-09", output=tmp_path / "out" / "ds=2025-09-09", schema=SCHEMA
        )


# -- C1.7: what only folders say ----------------------------------------------------------------------


def objects(url: str):
    place = parse_url(url)
    return list_partition(open_store(place.url), place, CompactionSpec(SCHEMA)).objects, place.prefix


def test_keys_of_folders_are_counted_at_any_depth_and_names_of_files_are_none(
    store: Store, store_url: str
) -> None:
    put(
        f"{store_url}/in",
        "year=2023/region=us%20east/b.json",
        "year=2024/region=eu/a.json",
        "year=2024/x/region=__HIVE_DEFAULT_PARTITION__/c.json",
        "k=v.json",
        "=x/d.json",
        "plain/e.json",
        "_hidden=1/f.json",
    )
    found = objects(f"{store_url}/in")
    assert path_keys(*found) == (("region", 3), ("year", 2))
    (sentence,) = warnings_of(*found)
    assert "region (3 values), year (2 values)" in sentence
    assert store.url


def test_the_prefix_of_the_daily_layout_is_no_warning(store_url: str) -> None:
    put(f"{store_url}/interval=1d/data_source=x/year=2025", "A.json")
    assert warnings_of(*objects(f"{store_url}/interval=1d/data_source=x/year=2025")) == ()


def test_the_warning_is_in_the_plan_the_result_the_manifest_and_the_inference(store_url: str) -> None:
    from briquette.cli.text import inferred_document, plan_text, result_text
    from briquette.compaction.new_plan import make_plan
    from briquette.compaction.plan_summary import plan_summary

    put(f"{store_url}/in", "dt=2024-01-01/a.json", "dt=2024-01-02/b.json")
    target = anywhere(input_url=f"{store_url}/in", output_url=f"{store_url}/out")
    options = RunOptions(executor="serial")
    summary = plan_summary(make_plan(target, CompactionSpec(SCHEMA), options))
    assert "dt (2 values)" in summary["warnings"][0]
    assert "dt (2 values)" in plan_text(summary | {"plan_file": None})
    inferred, text = infer_target(target)
    assert "dt (2 values)" in inferred_document(inferred, text)["warnings"][0]
    for _ in range(2):
        result = compact(input=f"{store_url}/in", output=f"{store_url}/out", schema=SCHEMA, options=options)
        assert result.manifest is not None
        assert result.to_dict()["warnings"] == list(result.manifest.warnings) == summary["warnings"]
        assert "warning" in result_text(result)

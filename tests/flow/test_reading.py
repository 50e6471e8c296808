"""Reading is pinned: a frame is the dataset it was made from, or an error that says to read again."""

from __future__ import annotations

import dask
import pytest

from briquette import compact, read
from briquette.errors import NotFound, SnapshotChanged, UsageError
from briquette.storage.opening import open_store
from briquette.storage.urls import parse_url
from tests.flow.test_compaction import SCHEMA, SMALL, crumbs, lines, row


@pytest.fixture(params=["disk", "s3"])
def places(request, tmp_path) -> tuple[str, str]:
    base = request.getfixturevalue("s3").url if request.param == "s3" else str(tmp_path)
    place = parse_url(f"{base}/raw")
    store = open_store(place.url)
    for name, data in crumbs(300).items():
        store.put(place.prefix + name, data)
    return f"{base}/raw", f"{base}/curated/things/ds=2025-01-02"


def publish(places, **changes):
    return compact(
        input=places[0], output=places[1], schema=SCHEMA, **{"target_file_mb": 0.0625, **SMALL, **changes}
    )


def test_a_frame_has_the_rows_in_published_order(places):
    publish(places)
    frame = read(places[1])
    assert list(frame.columns) == ["id", "name", "price"]
    with dask.config.set(scheduler="threads"):
        assert frame["id"].compute().tolist() == list(range(900))


def test_the_folder_above_and_a_ds_name_the_same_dataset(places):
    publish(places)
    above = places[1].rpartition("/")[0]
    assert len(read(above, ds="2025-01-02")) == 900


def test_columns_are_selected_and_ordered(places):
    publish(places)
    frame = read(places[1], columns=["price", "id"])
    assert list(frame.compute().columns) == ["price", "id"]
    with pytest.raises(UsageError, match="nope"):
        read(places[1], columns=["nope"])


def test_a_frame_made_before_another_publication_says_so(places):
    publish(places)
    frame = read(places[1])
    place = parse_url(places[0])
    open_store(place.url).put(f"{place.prefix}o0001.json", lines([row(5)]))
    publish(places)
    with pytest.raises(SnapshotChanged, match="replaced"):
        frame.compute()
    assert len(read(places[1])) == 898


def test_where_nothing_is_published_reading_says_what_to_do(places):
    with pytest.raises(NotFound, match=r"_manifest\.json") as caught:
        read(places[1])
    assert "briquette compact" in caught.value.hint

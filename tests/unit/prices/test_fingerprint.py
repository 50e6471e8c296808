"""The schema fingerprint: its document, its hash, and two writers that step on each other's toes."""

from __future__ import annotations

import hashlib
import json

import pytest

from briquette.errors import PublishConflict, SchemaError, StoreError
from briquette.model import Field, Schema
from briquette.pipeline.schema_record import ATTEMPTS, record_document, record_schema
from briquette.prices.fingerprint import fingerprint_document, hash_of, simple_string
from briquette.storage.interface import ANY
from briquette.storage.opening import open_store

LATEST, PREVIOUS = "market/prices/_schema/latest.json", "market/prices/_schema/previous.json"


def schema(*names: str) -> Schema:
    return Schema(tuple(Field(n, "float64") for n in names))


def document(*names: str) -> bytes:
    return fingerprint_document(schema(*names), "zstd")


A, B, C = document("a"), document("a", "b"), document("a", "b", "c")


def test_the_document_has_columns_codec_and_the_hash_of_the_columns_alone():
    made = Schema(
        (Field("symbol", "string", nullable=False), Field("ds", "string"), Field("close", "float64"))
    )
    columns = [{"name": "symbol", "type": "string"}, {"name": "close", "type": "double"}]
    text = '{"columns":[{"name":"symbol","type":"string"},{"name":"close","type":"double"}]}'
    found = json.loads(fingerprint_document(made, "zstd"))
    assert found == {"columns": columns, "codec": "zstd", "hash": hashlib.sha256(text.encode()).hexdigest()}
    assert hash_of(fingerprint_document(made, "gzip")) == found["hash"]


def test_the_order_of_columns_matters():
    assert hash_of(document("a", "b")) != hash_of(document("b", "a"))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("string", "string"),
        ("float64", "double"),
        ("float32", "float"),
        ("int64", "bigint"),
        ("int32", "int"),
        ("int8", "tinyint"),
        ("uint64", "decimal(20,0)"),
        ("timestamp[us, UTC]", "timestamp"),
        ("timestamp[ms]", "timestamp_ntz"),
        ("date", "date"),
        ("bool", "boolean"),
        ("json", "string"),
        ("binary", "binary"),
        ("decimal(12, 4)", "decimal(12,4)"),
        ("list<list<int64>>", "array<array<bigint>>"),
        ("struct<a: int32, b: list<string>>", "struct<a:int,b:array<string>>"),
    ],
)
def test_types_have_spark_s_names(word, said):
    assert simple_string(word) == said


def test_a_type_that_spark_lacks_is_an_error():
    with pytest.raises(SchemaError):
        simple_string("nonsense")


@pytest.mark.parametrize("garbage", [b"", b"[]", b"{}", b'{"hash": 3}', b"\xff"])
def test_a_document_that_cannot_be_read_has_no_hash(garbage):
    assert hash_of(garbage) == ""


# -- in a store --------------------------------------------------------------------------------------


def holds(store) -> tuple[bytes | None, bytes | None]:
    """previous, latest."""
    found = tuple(store.get(k) if store.stat(k) else None for k in (PREVIOUS, LATEST))
    return found[0], found[1]


def record(store, made: bytes) -> bool:
    return record_document(store, LATEST, PREVIOUS, made)


def test_the_first_schema_has_no_previous_and_a_change_keeps_the_one_before(store):
    assert record(store, A)
    assert holds(store) == (None, A)
    assert record(store, B)
    assert holds(store) == (A, B)
    assert record(store, C)
    assert holds(store) == (B, C)


def test_the_same_schema_writes_nothing(store):
    record(store, A)
    record(store, B)
    store.requests.reset()
    assert not record(store, B)
    assert store.requests.writes == 0


def test_a_record_that_cannot_be_read_is_kept_as_previous(store):
    store.put(LATEST, b"not json")
    assert record(store, A)
    assert holds(store) == (b"not json", A)


def test_the_url_names_the_record(store_url):
    url = f"{store_url}/{LATEST}"
    assert record_schema(url, schema("a"), "zstd")
    assert record_schema(url, schema("a", "b"), "zstd")
    assert not record_schema(url, schema("a", "b"), "gzip")
    assert holds(open_store(store_url)) == (A, B)


class Interrupted:
    """Runs ``other`` just ahead of the n-th request of a writer, and counts the requests."""

    def __init__(self, store, at: int, other) -> None:
        self.store, self.at, self.other, self.seen = store, at, other, 0
        store.requests.before = self

    def __call__(self, verb: str, key: str) -> None:
        self.seen += 1
        if self.seen == self.at:
            self.store.requests.before = None
            try:
                self.other()
            finally:
                self.store.requests.before = self


STEPS = range(1, 13)  # more than a writer has requests; test_the_steps_reach_the_end sees to it
BEFORE: tuple[tuple[bytes, ...], ...] = ((), (A,), (C, A), (B, A))
# All in memory; on disk and on S3, whose etags repeat, what tells most. The rest of these is slow.
EVERYWHERE = pytest.mark.parametrize(
    ("store_url", "before"),
    [
        pytest.param(where, before, marks=() if where == "memory" or before == (C, A) else pytest.mark.slow)
        for where in ("memory", "disk", "s3")
        for before in BEFORE
    ],
    indirect=["store_url"],
)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("other", [B, C])
@EVERYWHERE
def test_two_writers_lose_no_change_wherever_they_meet(store, before, other, step):
    for made in before:
        record(store, made)
    told = []
    Interrupted(store, step, lambda: told.append(record(store, other)))
    told.append(record(store, B))
    store.requests.before = None
    if len(told) == 1:  # the writer had fewer requests: the other comes after it
        told.append(record(store, other))
    previous, latest = holds(store)
    last = before[-1] if before else None
    if other == B:  # both say the same: one change, and what was there before is kept
        assert (previous, latest) == ((before[-1] if before else None), B)
    else:  # two changes, in either order: the later one keeps the earlier one
        assert {previous, latest} == {B, C}
    assert True in told
    assert latest != last


@pytest.mark.parametrize("step", STEPS)
@EVERYWHERE
def test_a_slow_writer_puts_no_old_schema_back(store, before, step):
    for made in before:
        record(store, made)
    told = []
    Interrupted(store, step, lambda: told.extend([record(store, C), record(store, B)]))
    record(store, B)
    store.requests.before = None
    if not told:
        return  # the writer had fewer requests
    # Where an etag is a hash of the bytes (S3), a previous.json that came back to what the slow writer saw
    # looks as if it never changed: then it gets the schema before C. It still differs from latest.
    same_again = before == (C, A) and holds(store) == (A, B)
    assert same_again or holds(store) == (C, B)


@pytest.mark.parametrize("step", STEPS)
@EVERYWHERE
def test_a_writer_that_dies_anywhere_is_made_good_by_the_next(store, before, step):
    for made in before:
        record(store, made)

    def die() -> None:
        raise StoreError("the machine is gone")

    Interrupted(store, step, die)
    try:
        record(store, B)
    except StoreError:
        store.requests.before = None
        record(store, B)
    store.requests.before = None
    assert holds(store) == ((before[-1] if before else None), B)


def test_the_steps_reach_the_end(store):
    record(store, C)
    record(store, A)
    counting = Interrupted(store, 0, lambda: None)
    record(store, B)
    store.requests.before = None
    assert counting.seen < max(STEPS)


def test_a_place_where_others_never_stop_writing_is_a_conflict(store):
    record(store, A)
    count = iter(range(10_000))

    def again(verb: str, key: str) -> None:
        if verb == "PUT":
            store.requests.before = None
            store.put(LATEST, document(f"x{next(count)}"), ANY)
            store.requests.before = again

    store.requests.before = again
    with pytest.raises(PublishConflict, match=f"{ATTEMPTS} times"):
        record(store, B)

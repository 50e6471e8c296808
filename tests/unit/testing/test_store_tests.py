"""Every test of ``StoreTests`` fails for some store that breaks its sentence, and none for a good one."""

from __future__ import annotations

import inspect
import io
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from briquette.errors import NotFound
from briquette.storage.interface import ANY, NO_METADATA, Stored
from briquette.storage.local.directory_swap import LocalDirectories, SwapDirectory
from briquette.storage.local.store import LocalStore
from briquette.storage.memory import MemoryStore
from briquette.testing.stores import StoreTests

NEVER = "test_a_directory_is_exchanged_as_a_whole_where_directories_are_real"


def cases() -> Iterator[tuple[str, dict[str, object]]]:
    """Each test with each of its parameters."""
    for name, test in inspect.getmembers(StoreTests, inspect.isfunction):
        marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
        for values in [{mark.args[0]: value} for mark in marks for value in mark.args[1]] or [{}]:
            yield name, values


def failures(make) -> set[str]:
    """The tests that a kind of store fails."""
    failed = set()
    for name, values in cases():
        try:
            getattr(StoreTests(), name)(make(), **values)
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 - a broken store may fail in any way
            failed.add(name)
    return failed


def fresh(kind):
    return lambda: kind("memory://broken")


class Unsorted(MemoryStore):
    def list(self, prefix):
        return iter(list(super().list(prefix))[::-1])


class OddListedEtags(MemoryStore):
    def list(self, prefix):
        return (replace(stored, etag=stored.etag.upper() + "X") for stored in super().list(prefix))


class FoldersOnly(MemoryStore):
    def list(self, prefix):
        whole = prefix.endswith("/") or not prefix
        return (s for s in super().list(prefix) if whole or s.key.startswith(f"{prefix}/"))


class NoEmptyListing(MemoryStore):
    def list(self, prefix):
        found = list(super().list(prefix))
        if not found:
            raise NotFound("there is no such prefix.", hint="")
        return iter(found)


class HidesEmptyObjects(MemoryStore):
    def list(self, prefix):
        return (stored for stored in super().list(prefix) if stored.size_bytes)


class ShowsStaged(MemoryStore):
    def stage(self, key, pieces, metadata=NO_METADATA):
        staged = super().stage(key, pieces, metadata)
        self.put(key, b"".join(staged.read_back()))
        return staged


class ExplainsNothing(MemoryStore):
    def why_nothing(self, prefix):
        return "", ""


class RangesEndExactly(MemoryStore):
    def get(self, key, *, etag="", start=0, length=None):
        body = super().get(key, etag=etag, start=start, length=length)
        if length is not None and len(body) < length:
            raise NotFound(f"{key} is shorter.", hint="")
        return body


class NothingIsEmpty(MemoryStore):
    def get(self, key, *, etag="", start=0, length=None):
        try:
            return super().get(key, etag=etag, start=start, length=length)
        except NotFound:
            return b""


class Unpinned(MemoryStore):
    def get(self, key, *, etag="", start=0, length=None):
        return super().get(key, start=start, length=length)


class AsksTwice(MemoryStore):
    def get_pinned(self, item):
        self.stat(item.key)
        return super().get_pinned(item)


class TrustsPlans(MemoryStore):
    def get_pinned(self, item):
        try:
            return self.get(item.key)
        except NotFound:
            return b""


class StreamsByManyGets(MemoryStore):
    def open_chunks(self, item, chunk_bytes, *, start=0, length=None):
        stop = item.size_bytes if length is None else start + length
        for at in range(start, stop, chunk_bytes):
            yield self.get(item.key, start=at, length=min(chunk_bytes, stop - at))


class LosesBytesOfFiles(MemoryStore):
    def open_file(self, key, changed):
        now = self.stat(key)
        return io.BytesIO(self.get(key)[:-1] if now else b""), now or Stored(key, 0, "")


class PrefetchesAnything(MemoryStore):
    requests_take_time = True

    def prefetch(self, prefix, wanted):
        return nullcontext()


class Unconditional(MemoryStore):
    def put(self, key, data, condition=ANY, metadata=NO_METADATA, *, durable=True):
        return super().put(key, data, ANY, metadata)

    def delete(self, key, condition=ANY):
        super().delete(key)


class MatchesNothingThere(MemoryStore):
    def put(self, key, data, condition=ANY, metadata=NO_METADATA, *, durable=True):
        return super().put(key, data, condition if self.stat(key) else ANY, metadata)


class Racing(MemoryStore):
    """Looks and writes in two steps; all of a race look before one writes."""

    def __init__(self, url):
        super().__init__(url)
        self.looked = threading.Barrier(12)

    def put(self, key, data, condition=ANY, metadata=NO_METADATA, *, durable=True):
        if data.startswith(b"writer"):
            self._require(key, condition, "PUT")
            self.looked.wait(timeout=10)
            condition = ANY
        return super().put(key, data, condition, metadata)


class ForgetsMetadata(MemoryStore):
    def put(self, key, data, condition=ANY, metadata=NO_METADATA, *, durable=True):
        return super().put(key, data, condition)


class DeletesOnce(MemoryStore):
    def delete(self, key, condition=ANY):
        if self.stat(key) is None:
            raise self.missing(key)
        super().delete(key, condition)


class ComposesInReverse(MemoryStore):
    def stage(self, key, pieces, metadata=NO_METADATA):
        return super().stage(key, pieces[::-1], metadata)


class ComposesAnyState(MemoryStore):
    def stage(self, key, pieces, metadata=NO_METADATA):
        return super().stage(
            key, [p if p.data is not None else replace(p, etag="") for p in pieces], metadata
        )


class ComposesTwice(MemoryStore):
    """Large parts by another way, which asks no condition."""

    def compose(self, key, pieces, condition=ANY, metadata=NO_METADATA):
        large = sum(piece.size_bytes for piece in pieces) > 5 << 20
        return super().compose(key, pieces, ANY if large else condition, metadata)


class CountsAfterwards(MemoryStore):
    def put(self, key, data, condition=ANY, metadata=NO_METADATA, *, durable=True):
        before, self.requests.before = self.requests.before, None
        stored = super().put(key, data, condition, metadata)
        if before is not None:
            before("PUT", key)
        self.requests.before = before
        return stored


class WritesAnywhere(MemoryStore):
    def put(self, key, data, condition=ANY, metadata=NO_METADATA, *, durable=True):
        return super().put(key.replace("..", "up").strip("/\\") or "x", data, condition, metadata)


class LeavesProbes(MemoryStore):
    def delete(self, key, condition=ANY):
        if condition == ANY and "probe" in key:
            return
        super().delete(key, condition)


class HashesNames(MemoryStore):
    def sha256(self, item):
        return f"{hash(item.key):064x}"


BROKEN = [
    kind
    for kind in list(vars().values())
    if isinstance(kind, type) and issubclass(kind, MemoryStore) and kind is not MemoryStore
]


def test_a_good_store_fails_none(tmp_path: Path) -> None:
    assert failures(fresh(MemoryStore)) == set()
    numbers = iter(range(1_000))

    def make() -> LocalStore:
        root = tmp_path / str(next(numbers))
        root.mkdir()
        return LocalStore(str(root))

    assert failures(make) == set()


def test_every_broken_store_fails_and_every_test_fails_for_one() -> None:
    failed = {kind.__name__: failures(fresh(kind)) for kind in BROKEN}
    assert [name for name, tests in failed.items() if not tests] == []
    assert {name for name, _ in cases()} - set().union(*failed.values()) == {NEVER}


def test_a_directory_that_is_not_exchanged_as_a_whole_fails(tmp_path: Path) -> None:
    class InSteps(SwapDirectory):
        def add(self, name, pieces, metadata):
            stored = super().add(name, pieces, metadata)
            self._store.put(stored.key, b"seen too soon")
            return stored

    class Directories(LocalDirectories):
        def begin_next(self, live, workshop, begins):
            return InSteps(self._store, live, workshop, begins)

    class Broken(LocalStore):
        directories = property(Directories)

    with pytest.raises(AssertionError):
        getattr(StoreTests(), NEVER)(Broken(str(tmp_path)))

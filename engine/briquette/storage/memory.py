"""A store in this process's memory, with the same conditional semantics as S3; for tests and demos."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import md5

from briquette.model import Piece, RawObject
from briquette.storage.interface import ANY, NO_METADATA, Condition, Store, Stored, check_writable


@dataclass(frozen=True, slots=True)
class _Held:
    stored: Stored
    data: bytes


class MemoryStore(Store):
    """Objects in a dict; a lock makes each conditional write atomic."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._objects: dict[str, _Held] = {}
        self._lock = threading.Lock()

    def list(self, prefix: str) -> Iterator[Stored]:
        self.requests.note("LIST", prefix)
        with self._lock:
            found = [(k, held.stored) for k, held in self._objects.items() if k.startswith(prefix)]
        return (
            Stored(s.key, s.size_bytes, s.etag, {}, s.modified_seconds) for _, s in sorted(found, key=_by_key)
        )

    def stat(self, key: str) -> Stored | None:
        self.requests.note("HEAD", key)
        held = self._objects.get(key)
        return held.stored if held else None

    def get(self, key: str, *, etag: str = "", start: int = 0, length: int | None = None) -> bytes:
        self.requests.note("GET", key)
        held = self._objects.get(key)
        if held is None:
            raise self.missing(key)
        if etag and held.stored.etag != etag:
            raise self.refused("GET", key, f"etag {etag}")
        return held.data[start : None if length is None else start + length]

    def open_chunks(
        self, item: RawObject, chunk_bytes: int, *, start: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        whole = self.get_pinned(item)
        stop = len(whole) if length is None else min(len(whole), start + length)
        return (whole[at : min(stop, at + chunk_bytes)] for at in range(start, stop, chunk_bytes))

    def put(
        self,
        key: str,
        data: bytes,
        condition: Condition = ANY,
        metadata: Mapping[str, str] = NO_METADATA,
        *,
        durable: bool = True,  # noqa: ARG002
    ) -> Stored:
        self.requests.note("PUT", check_writable(key))
        with self._lock:
            self._require(key, condition, "PUT")
            etag = f"{md5(data, usedforsecurity=False).hexdigest()}-{next(_VERSIONS)}"
            stored = Stored(key, len(data), etag, dict(metadata), time.time())
            self._objects[key] = _Held(stored, bytes(data))
        return stored

    def stage(
        self, key: str, pieces: Sequence[Piece], metadata: Mapping[str, str] = NO_METADATA
    ) -> MemoryStaged:
        check_writable(key)
        body = b"".join(
            p.data
            if p.data is not None
            else self.get(p.key, etag=p.etag, start=p.offset, length=p.size_bytes)
            for p in pieces
        )
        return MemoryStaged(self, key, body, metadata)

    def delete(self, key: str, condition: Condition = ANY) -> None:
        self.requests.note("DELETE", check_writable(key))
        with self._lock:
            if key in self._objects:
                self._require(key, condition, "DELETE")
                del self._objects[key]

    def _require(self, key: str, condition: Condition, verb: str) -> None:
        held = self._objects.get(key)
        if (condition.absent and held) or (
            condition.etag and (not held or held.stored.etag != condition.etag)
        ):
            raise self.refused(verb, key, str(condition))


class MemoryStaged:
    """Bytes that wait for their one PUT."""

    multipart = False

    def __init__(self, store: MemoryStore, key: str, body: bytes, metadata: Mapping[str, str]) -> None:
        self.key = key
        self.size_bytes = len(body)
        self._store, self._body, self._metadata = store, body, metadata

    def commit(self, condition: Condition) -> Stored:
        return self._store.put(self.key, self._body, condition, self._metadata)

    def read_back(self) -> Iterator[bytes]:
        return iter([self._body])

    def abort(self) -> None:
        self._body = b""


def _by_key(item: tuple[str, Stored]) -> str:
    return item[0]


_VERSIONS = itertools.count(1)

"""What every store shares: composing in two steps, and the errors of pinned raw objects."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from briquette.errors import NotFound, PreconditionFailed, SourceChanged, StoreError
from briquette.model import Piece, RawObject
from briquette.storage.interface import ANY, NO_METADATA, Condition, Requests, Staged, Stored

if TYPE_CHECKING:
    from briquette.storage.s3.prefetch import Ahead

HASH_BYTES = 8 << 20  # read at once


class BaseStore(ABC):
    """A store whose objects are read one after the other; S3 overrides that."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.endpoint = ""
        self.requests = Requests(url)

    @abstractmethod
    def list(self, prefix: str) -> Iterator[Stored]: ...

    @abstractmethod
    def stat(self, key: str) -> Stored | None: ...

    @abstractmethod
    def get(self, key: str, *, etag: str = "", start: int = 0, length: int | None = None) -> bytes: ...

    @abstractmethod
    def open_chunks(
        self, item: RawObject, chunk_bytes: int, *, start: int = 0, length: int | None = None
    ) -> Iterator[bytes]: ...

    @abstractmethod
    def stage(
        self, key: str, pieces: Sequence[Piece], metadata: Mapping[str, str] = NO_METADATA
    ) -> Staged: ...

    @abstractmethod
    def delete(self, key: str, condition: Condition = ANY) -> None: ...

    def get_many(self, objects: Sequence[RawObject]) -> Iterator[bytes]:
        """The bodies in order, each pinned by size and etag; ``SourceChanged`` otherwise."""
        return (self.get_pinned(item) for item in objects)

    def sha256(self, item: RawObject) -> str:
        """The SHA-256 of an object in exactly this state; ``SourceChanged`` otherwise."""
        digest = hashlib.sha256()
        for chunk in self.open_chunks(item, HASH_BYTES):
            digest.update(chunk)
        return digest.hexdigest()

    def look_ahead(
        self,
        prefix: str,  # noqa: ARG002 - for stores where a request takes its time
        wanted: Callable[[Stored], bool],  # noqa: ARG002
    ) -> AbstractContextManager[Ahead | None]:
        """While the block runs, list ``prefix`` and, after ``Ahead.fetch``, get what is ``wanted`` of it.

        None where a listing takes no time worth having.
        """
        return nullcontext()

    def get_pinned(self, item: RawObject) -> bytes:
        try:
            body = self.get(item.key, etag=item.etag)
        except (NotFound, PreconditionFailed) as error:
            raise self.changed(item) from error
        if len(body) != item.size_bytes:
            raise self.changed(item)
        return body

    def why_nothing(self, prefix: str) -> tuple[str, str]:
        """Why a listing of ``prefix`` found nothing, where that is a mistake, and what to do; else ("", "").

        A prefix without objects is nothing wrong, the name of an object is.
        """
        try:
            one = self.stat(prefix.rstrip("/")) if prefix else None
        except StoreError:  # whoever may only list cannot tell
            one = None
        if one is None:
            return "", ""
        return f"{self.url}/{one.key} is one object, not a prefix.", (
            "Pass the prefix above it, whose objects are all read; for this one alone, give it a prefix."
        )

    def changed(self, item: RawObject | Stored) -> SourceChanged:
        now = self.stat(item.key)
        state = f"now {now.size_bytes:,} bytes, etag {now.etag}" if now else "now it is gone"
        return SourceChanged(
            f"{self.url}/{item.key} had {item.size_bytes:,} bytes, etag {item.etag} in the plan, {state}.",
            hint="Run it again: the plan is made from a fresh listing.",
        )

    def compose(
        self,
        key: str,
        pieces: Sequence[Piece],
        condition: Condition = ANY,
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> Stored:
        """One object from inline bytes and ranges of stored objects, visible in one conditional step."""
        return self.stage(key, pieces, metadata).commit(condition)

    def missing(self, key: str) -> NotFound:
        return NotFound(f"{self.url}/{key} does not exist.", hint="List the prefix to see what is there.")

    def refused(self, verb: str, key: str, condition: str) -> PreconditionFailed:
        return PreconditionFailed(
            f"{verb} {self.url}/{key} needs {condition}, which does not hold.",
            hint="Somebody else wrote it since; look again before writing.",
        )

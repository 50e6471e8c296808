"""S3: obstore carries the bytes, boto3 what obstore cannot say (conditional multipart, deletes, odd keys)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from briquette.accelerators import Accelerator, allowed
from briquette.errors import NotFound, PreconditionFailed, StoreError
from briquette.model import Piece, RawObject
from briquette.storage.interface import ANY, NO_METADATA, Condition, Staged, Store, Stored, check_writable
from briquette.storage.s3 import get_threads
from briquette.storage.s3.clients import Connection
from briquette.storage.s3.errors import answer_of, explain
from briquette.storage.s3.etag_check import EtagCheck
from briquette.storage.s3.multipart import MIN_COPY_BYTES, MultipartUpload
from briquette.storage.s3.prefetch import S3Prefetch, Watch
from briquette.storage.s3.retry import ATTEMPT, Retry, TransientError
from briquette.storage.s3.small_gets import Pinned, SmallGets

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, PutMode

T = TypeVar("T")

SINGLE_PUT_BYTES = 64 << 20  # inline bytes up to this go in one PUT
PAGE_OBJECTS = 1_000

_Found = list[Stored]  # `list` and `bytes` are verbs inside the classes
_Body = bytes


class S3Store(Store):
    """One bucket. Requests are repeated here and nowhere below; every client retry is switched off."""

    requests_take_time = True

    def __init__(self, bucket: str, retry: Retry | None = None) -> None:
        super().__init__(f"s3://{bucket}")
        self.bucket = bucket
        self.retry = retry or Retry()
        self.connection = Connection(bucket)
        self.unproven_server = self.connection.endpoint
        self.etags = EtagCheck(self.connection.endpoint)
        self._small: SmallGets | None = None
        self._prefetches: list[S3Prefetch] = []

    def send(
        self,
        verb: str,
        key: str,
        call: Callable[[], T],
        condition: str = "",
        failed: TransientError | None = None,
    ) -> T:
        """Send one request until it is answered; the client's errors become ours."""
        return self.retry.run(
            f"{verb} {self.url}/{key}", lambda: self._once(verb, key, call, condition), failed
        )

    def _once(self, verb: str, key: str, call: Callable[[], T], condition: str) -> T:
        self.requests.note(verb, key)
        try:
            found = call()
        except TransientError:
            raise
        except Exception as error:
            raise explain(error, self, verb, key, condition) from error
        self.connection.answered = True
        return found

    # -- reading -------------------------------------------------------------------------------

    def list(self, prefix: str, watch: Watch | None = None) -> Iterator[Stored]:
        """Every object whose key starts with ``prefix``, sorted by key, without folder markers ("…/").

        ``watch`` is shown each page as it comes, some twice and perhaps with keys that are none.
        """
        found: _Found | None = None
        if not prefix or prefix.endswith("/"):
            found = self.send("LIST", prefix, lambda: self._list_fast(prefix, watch))
        if found is None:
            found = [*self._list_exact(prefix, watch)]
        found.sort(key=_key)
        return iter(found)

    def _list_fast(self, prefix: str, watch: Watch | None = None) -> _Found | None:
        """Through obstore, or None where it is not exact: it hides empty segments and a marker's slash."""
        import obstore
        from obstore.exceptions import InvalidPathError

        found: _Found = []
        try:
            for page in obstore.list(self.connection.data, prefix or None, chunk_size=PAGE_OBJECTS):
                for item in page:
                    if not item["size"]:
                        return None
                    modified = item["last_modified"].timestamp()
                    found.append(Stored(item["path"], item["size"], _quoted(item["e_tag"]), {}, modified))
                if watch is not None:
                    watch(found[-len(page) :])
        except InvalidPathError:
            return None
        return found

    def _list_exact(self, prefix: str, watch: Watch | None = None) -> Iterator[Stored]:
        more: dict[str, str] = {}
        while True:
            page: dict[str, Any] = self.send(
                "LIST",
                prefix,
                lambda more=more: self.connection.control.list_objects_v2(  # type: ignore[misc]
                    Bucket=self.bucket, Prefix=prefix, **more
                ),
            )
            if watch is not None:
                watch(
                    ()
                )  # which may end it; small objects of such a listing are fetched when they are wanted
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):
                    modified = item["LastModified"].timestamp()
                    yield Stored(item["Key"], item["Size"], _quoted(item["ETag"]), {}, modified)
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    @contextmanager
    def prefetch(self, prefix: str, wanted: Callable[[Stored], bool]) -> Iterator[S3Prefetch]:
        """See ``Store``."""
        prefetch = S3Prefetch(partial(self.list, prefix), self._small_gets, self._strictly, wanted)
        self._prefetches.append(prefetch)
        try:
            yield prefetch
        finally:
            self._prefetches.remove(prefetch)
            prefetch.close()

    def stat(self, key: str) -> Stored | None:
        """HEAD, with metadata; None where there is nothing."""
        import obstore

        try:
            answer = self.send(
                "HEAD", key, lambda: obstore.get(self.connection.data, key, options={"head": True})
            )
        except NotFound:
            return None
        meta = answer.meta
        attributes = {str(k): v for k, v in answer.attributes.items()}
        return Stored(key, meta["size"], meta["e_tag"] or "", attributes, meta["last_modified"].timestamp())

    def get(self, key: str, *, etag: str = "", start: int = 0, length: int | None = None) -> bytes:
        """One GET; a body that ends early is fetched again."""
        if length == 0:
            return b""
        return self.send(
            "GET", key, lambda: self._get_once(key, etag, start, length), f"etag {etag}" if etag else ""
        )

    def get_pinned(self, item: Pinned, failed: TransientError | None = None) -> bytes:
        """See ``Store``; a body of another size, while the object is as pinned, is fetched again.

        ``failed`` is how a first attempt ended that was made elsewhere.
        """

        def once() -> bytes:
            body = self._get_once(item.key, item.etag, 0, None)
            if len(body) != item.size_bytes:
                now = self.stat(item.key)
                if now is not None and (now.size_bytes, now.etag) == (item.size_bytes, item.etag):
                    raise TransientError(f"the body has {len(body):,} bytes, the object {item.size_bytes:,}")
                raise self.changed(item)
            return body

        try:
            return self.send("GET", item.key, once, f"etag {item.etag}", failed)
        except (NotFound, PreconditionFailed) as error:
            raise self.changed(item) from error

    def _get_once(self, key: str, etag: str, start: int, length: int | None) -> bytes:
        answer = self._ask(key, etag, start, length)
        if answer is None:
            return b""
        first, stop = answer.range
        body = answer.bytes().to_bytes()
        if len(body) != stop - first:
            raise TransientError(f"the body ended after {len(body):,} of {stop - first:,} bytes")
        if not start and length is None:
            self.etags.check(etag or answer.meta["e_tag"] or "", body)
        return body

    def _ask(self, key: str, etag: str, start: int, length: int | None) -> GetResult | OddBody | None:
        """The answer to a GET before its body is read; None for a range behind the end."""
        import obstore

        options: GetOptions = {}
        if etag:
            options["if_match"] = etag
        if length is not None:
            options["range"] = (start, start + length)
        elif start:
            options["range"] = {"offset": start}
        try:
            return obstore.get(self.connection.data, key, options=options)
        except ValueError:  # a key that obstore cannot spell: "a//b"
            return self._ask_exact(key, etag, start, length)
        except Exception as error:
            if answer_of(error).status == 416:
                return None
            raise

    def _ask_exact(self, key: str, etag: str, start: int, length: int | None) -> OddBody:
        asked: dict[str, str] = {"IfMatch": etag} if etag else {}
        if start or length is not None:
            asked["Range"] = f"bytes={start}-" + ("" if length is None else str(start + length - 1))
        answer = self.connection.control.get_object(Bucket=self.bucket, Key=key, **asked)
        return OddBody(answer["Body"].read(), answer["ContentLength"], answer["ETag"])

    def get_many(self, objects: Sequence[RawObject]) -> Iterator[bytes]:
        """The bodies in order, many GETs at once, one each, pinned by size and etag; ``SourceChanged``.

        Bodies wait in memory up to ``AHEAD_BYTES`` (and one batch more).
        """
        get = self._get_many
        for prefetch in tuple(self._prefetches):
            get = partial(prefetch.get_many, otherwise=get)
        return get(objects)

    def _get_many(self, objects: Sequence[RawObject]) -> Iterator[_Body]:
        small = self._small_gets()
        if small is None or not any(small.takes(item) for item in objects):
            return get_threads.get_many(objects, self.get_pinned)
        return small.get_many(objects, self._strictly)

    def _strictly(self, item: Pinned, failed: TransientError | None) -> Future[_Body]:
        return get_threads.submit(self.get_pinned, item, failed)

    def _small_gets(self) -> SmallGets | None:
        if not allowed(Accelerator.S3_CURL):
            return None
        if self._small is None:
            self._small = SmallGets(self.connection, self.etags, self.requests)
        return self._small if self._small.usable else None

    def open_chunks(
        self, item: RawObject, chunk_bytes: int, *, start: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        """The object in chunks of about ``chunk_bytes``, in one GET; a broken body goes on where it broke."""
        stop = item.size_bytes if length is None else min(item.size_bytes, start + length)
        at, failures = start, 0
        digest = self.etags.digest(item.etag) if (start, stop) == (0, item.size_bytes) else None
        while at < stop:
            before = at
            try:
                for found in self._stream(item, at, stop, chunk_bytes):
                    chunk = found[: stop - at]
                    at += len(chunk)
                    if digest is not None:
                        digest.update(chunk)
                    if at == stop and digest is not None:
                        self._settle(item, digest.hexdigest(), chunk_bytes)
                    if chunk:
                        yield chunk
                if at < stop:
                    raise TransientError(f"the body ended {stop - at:,} bytes early")
            except (NotFound, PreconditionFailed) as error:
                raise self.changed(item) from error
            except TransientError as error:
                failures = failures + 1 if at == before else 1
                if failures >= self.retry.attempts:
                    raise explain(error, self, "GET", item.key, "") from error
                self.retry.pause(failures)

    def _settle(self, item: RawObject, found: str, chunk_bytes: int) -> None:
        """The chunks are with the caller already: what is not so again was damaged, and ends the run."""
        try:
            self.etags.settle(item.etag, found)
        except TransientError as error:
            what = f"GET {self.url}/{item.key}"
            if self.retry.run(what, lambda: self._md5(item, chunk_bytes)) != found:
                raise StoreError(
                    f"GET {self.url}/{item.key} gave damaged bytes: {error}.",
                    hint="Run it again; with https the connection itself would have noticed.",
                ) from error

    def _md5(self, item: RawObject, chunk_bytes: int) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in self._stream(item, 0, item.size_bytes, chunk_bytes):
            digest.update(chunk)
        return digest.hexdigest()

    def _stream(self, item: RawObject, at: int, stop: int, chunk_bytes: int) -> Iterator[bytes]:
        """One GET; who reads it asks again, so that no two layers of retries multiply."""
        length = None if at == 0 and stop == item.size_bytes else stop - at
        answer = self._once(
            "GET", item.key, lambda: self._ask(item.key, item.etag, at, length), f"etag {item.etag}"
        )
        if answer is None:
            raise self.changed(item)
        chunks: Iterator[Any] = iter(answer.stream(chunk_bytes))
        while True:
            try:
                chunk = next(chunks, None)
            except Exception as error:
                raise explain(error, self, "GET", item.key, "") from error
            if chunk is None:
                return
            yield bytes(chunk)

    # -- writing -------------------------------------------------------------------------------

    def put(
        self,
        key: str,
        data: bytes,
        condition: Condition = ANY,
        metadata: Mapping[str, str] = NO_METADATA,
        *,
        durable: bool = True,  # noqa: ARG002 - S3 is always durable
    ) -> Stored:
        """One PUT. A refusal is believed only if the object is not our own, written by a lost reply."""
        check_writable(key)
        if len(data) > SINGLE_PUT_BYTES:
            return self.compose(key, (Piece(len(data), data),), condition, metadata)
        import obstore

        attempt = secrets.token_hex(16)
        mode: PutMode = "overwrite"
        if condition.absent:
            mode = "create"
        elif condition.etag:
            mode = {"e_tag": condition.etag}
        attributes = {**metadata, ATTEMPT: attempt}
        try:
            answer = self.send(
                "PUT",
                key,
                lambda: obstore.put(
                    self.connection.data, key, data, mode=mode, attributes=attributes, use_multipart=False
                ),
                str(condition),
            )
        except PreconditionFailed:
            own = self.own_success(key, attempt)
            if own is None:
                raise
            return own
        return Stored(key, len(data), answer["e_tag"] or "", attributes)

    def own_success(self, key: str, attempt: str) -> Stored | None:
        """What lies at ``key`` if the attempt ``attempt`` wrote it: its reply was lost, not its effect."""
        now = self.stat(key)
        return now if now is not None and now.metadata.get(ATTEMPT) == attempt else None

    def stage(self, key: str, pieces: Sequence[Piece], metadata: Mapping[str, str] = NO_METADATA) -> Staged:
        """Small objects wait in memory for one PUT; large ones as an uploaded, uncompleted multipart."""
        check_writable(key)
        size = sum(p.size_bytes for p in pieces)
        limit = SINGLE_PUT_BYTES if all(p.data is not None for p in pieces) else 2 * MIN_COPY_BYTES
        if size > limit:
            return MultipartUpload(self, key, pieces, metadata)
        fetched = any(p.data is None for p in pieces)
        return WaitingPut(self, key, self.read_pieces(pieces), metadata, fetched=fetched)

    def read_pieces(self, pieces: Sequence[Piece]) -> bytes:
        """The pieces' bytes, joined."""
        bodies = (
            p.data
            if p.data is not None
            else self.get(p.key, etag=p.etag, start=p.offset, length=p.size_bytes)
            for p in pieces
        )
        return b"".join(bodies)

    def delete(self, key: str, condition: Condition = ANY) -> None:
        """Remove an object; one that is not there is removed already."""
        check_writable(key)
        try:
            self.send("DELETE", key, lambda: self._delete_once(key, condition), str(condition))
        except NotFound:
            return

    def _delete_once(self, key: str, condition: Condition) -> None:
        asked = {"IfMatch": condition.etag} if condition.etag else {}
        self.connection.control.delete_object(Bucket=self.bucket, Key=key, **asked)


class WaitingPut:
    """Bytes that wait for their one PUT."""

    multipart = False

    def __init__(
        self, store: S3Store, key: str, body: bytes, metadata: Mapping[str, str], *, fetched: bool
    ) -> None:
        self.key = key
        self.size_bytes = len(body)
        self._store, self._body, self._metadata = store, body, metadata
        self._fetched = fetched

    def read_back(self) -> Iterator[bytes] | None:
        return iter([self._body]) if self._fetched else None

    def commit(self, condition: Condition) -> Stored:
        return self._store.put(self.key, self._body, condition, self._metadata)

    def abort(self) -> None:
        self._body = b""


class OddBody:
    """A body that boto3 read, in the shape of obstore's answer."""

    def __init__(self, body: bytes, size_bytes: int, etag: str) -> None:
        self.range = (0, size_bytes)
        self.meta = {"e_tag": etag}
        self._body = body

    def bytes(self) -> OddBody:
        return self

    def to_bytes(self) -> _Body:
        return self._body

    def stream(self, chunk_bytes: int) -> Iterator[_Body]:
        return (self._body[at : at + chunk_bytes] for at in range(0, len(self._body), chunk_bytes))


def _quoted(etag: str | None) -> str:
    """A listed etag as PUT and HEAD spell it: some servers leave the quotes out of a listing."""
    return f'"{etag}"' if etag and not etag.endswith('"') else etag or ""


def _key(stored: Stored) -> str:
    return stored.key

"""One S3 object from many pieces: copied in the store where they are large, uploaded where small."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from briquette.errors import BriquetteError, NotFound, PreconditionFailed, StoreError
from briquette.model import Piece
from briquette.storage.interface import Condition, Stored
from briquette.storage.s3.errors import explain
from briquette.storage.s3.etag_check import of_parts
from briquette.storage.s3.retry import ATTEMPT

if TYPE_CHECKING:
    from briquette.storage.s3.store import S3Store

MIN_COPY_BYTES = 5 << 20  # S3: every part but the last is at least this
UPLOAD_BYTES = 16 << 20
COPY_BYTES = 512 << 20  # S3 copies up to 5 GiB at once; smaller copies run side by side
MAX_PARTS = 10_000
UPLOAD_THREADS = 8
CONFLICT_ATTEMPTS = 3
ABORT_ATTEMPTS = 3  # a run that has failed does not wait long for its cleaning up

Upload = tuple[Piece, ...]  # one part: a lone stored range is copied, anything else is uploaded joined


def plan_uploads(
    pieces: Sequence[Piece],
    *,
    min_bytes: int = MIN_COPY_BYTES,
    upload_bytes: int = UPLOAD_BYTES,
    copy_bytes: int = COPY_BYTES,
) -> tuple[Upload, ...]:
    """Cut pieces into multipart parts: all but the last of at least ``min_bytes``, ranges copied if they can.

    >>> pieces = (Piece(4, b"PAR1"), Piece(12 << 20, key="staged", etag="e"), Piece(9, b"x" * 9))
    >>> [sum(p.size_bytes for p in upload) >> 20 for upload in plan_uploads(pieces)]
    [5, 7, 0]
    """
    uploads: list[Upload] = []
    waiting: list[Piece] = []  # small neighbours, to be joined
    size = 0

    def flush() -> None:
        nonlocal waiting, size
        if waiting:
            uploads.append(tuple(waiting))
        waiting, size = [], 0

    for piece in _neighbours(pieces, copy_bytes):
        rest = piece
        if _copies(piece, min_bytes):
            if 0 < size < min_bytes:  # too small to stand alone: fill up from the range, or take it all
                wanted = min_bytes - size
                head, rest = _cut(
                    piece, wanted if piece.size_bytes - wanted >= min_bytes else piece.size_bytes
                )
                waiting.append(head)
                size += head.size_bytes
            if rest.size_bytes:
                flush()
                uploads.append((rest,))
        else:
            while size + rest.size_bytes > 2 * upload_bytes:
                head, rest = _cut(rest, upload_bytes - size)
                waiting.append(head)
                flush()
            waiting.append(rest)
            size += rest.size_bytes
        if size >= upload_bytes:
            flush()
    flush()
    if len(uploads) > MAX_PARTS:
        raise StoreError(
            f"An object of {sum(p.size_bytes for p in pieces):,} bytes needs {len(uploads):,} upload parts; "
            f"S3 takes {MAX_PARTS:,}.",
            hint="Lower --target-file-mb.",
        )
    return tuple(uploads)


def _copies(piece: Piece, min_bytes: int) -> bool:
    return piece.data is None and piece.size_bytes >= min_bytes


def _cut(piece: Piece, at: int) -> tuple[Piece, Piece]:
    left, right = piece.size_bytes - at, piece.offset + at
    if piece.data is not None:
        return Piece(at, piece.data[:at]), Piece(left, piece.data[at:])
    return replace(piece, size_bytes=at), replace(piece, size_bytes=left, offset=right)


def _neighbours(pieces: Sequence[Piece], copy_bytes: int) -> Iterator[Piece]:
    """Adjacent ranges of one object as one range, cut again where they pass ``copy_bytes``."""
    held: Piece | None = None
    for piece in pieces:
        if piece.size_bytes == 0:
            continue
        if held is not None and _continues(held, piece) and held.size_bytes + piece.size_bytes <= copy_bytes:
            held = replace(held, size_bytes=held.size_bytes + piece.size_bytes)
            continue
        if held is not None:
            yield held
        held = piece
        while held.data is None and held.size_bytes > 2 * copy_bytes:
            head, held = _cut(held, copy_bytes)
            yield head
    if held is not None:
        yield held


def _continues(left: Piece, right: Piece) -> bool:
    if left.data is not None or right.data is not None:
        return False
    return (left.key, left.etag, left.offset + left.size_bytes) == (right.key, right.etag, right.offset)


class MultipartUpload:
    """Uploaded parts that become an object by one conditional CompleteMultipartUpload."""

    multipart = True

    def __init__(
        self, store: S3Store, key: str, pieces: Sequence[Piece], metadata: Mapping[str, str]
    ) -> None:
        self.key = key
        self.size_bytes = sum(p.size_bytes for p in pieces)
        self._store, self._pieces, self._metadata = store, tuple(pieces), dict(metadata)
        self._committed = False
        self._start()

    def _start(self) -> None:
        store = self._store
        self._attempt = secrets.token_hex(16)
        self._attributes = {**self._metadata, ATTEMPT: self._attempt}
        self._upload_id = store.send(
            "CREATE_UPLOAD",
            self.key,
            lambda: store.connection.control.create_multipart_upload(
                Bucket=store.bucket,
                Key=self.key,
                Metadata=self._attributes,
                ContentType="application/octet-stream",
            ),
        )["UploadId"]
        try:
            uploads = plan_uploads(self._pieces)
            with ThreadPoolExecutor(min(UPLOAD_THREADS, len(uploads))) as threads:
                try:
                    self._etags = list(threads.map(self._upload, range(1, len(uploads) + 1), uploads))
                except BaseException:
                    threads.shutdown(wait=True, cancel_futures=True)
                    raise
        except BaseException:
            self.abort()
            raise

    def _upload(self, number: int, upload: Upload) -> str:
        store, first = self._store, upload[0]
        control = store.connection.control
        place = {"Bucket": store.bucket, "Key": self.key, "UploadId": self._upload_id, "PartNumber": number}
        if len(upload) == 1 and _copies(first, MIN_COPY_BYTES):
            answer = store.send(
                "COPY",
                first.key,
                lambda: control.upload_part_copy(
                    **place,
                    CopySource={"Bucket": store.bucket, "Key": first.key},
                    CopySourceIfMatch=first.etag,
                    CopySourceRange=f"bytes={first.offset}-{first.offset + first.size_bytes - 1}",
                ),
                f"etag {first.etag}",
            )
            etag = answer.get("CopyPartResult", {}).get("ETag")
            if not etag:  # a server that takes it for a copy of the whole object, or for an empty part
                raise StoreError(
                    f"COPY {store.url}/{first.key}: the store did not copy a range as a part of an upload.",
                    hint="See `briquette doctor`; parts of 8 MB (--target-file-mb 8) do not need it.",
                )
            return str(etag)
        body = store.read_pieces(upload)
        return str(store.send("UPLOAD", self.key, lambda: control.upload_part(**place, Body=body))["ETag"])

    def commit(self, condition: Condition) -> Stored:
        """Complete the upload. S3 answers 409 when another write is in flight: then all is sent again."""
        for _ in range(CONFLICT_ATTEMPTS):
            try:
                answer = self._complete(condition)
            except (PreconditionFailed, NotFound) as error:
                own = self._store.own_success(self.key, self._attempt)
                if own is not None:
                    self._committed = True
                    return own
                if isinstance(error, PreconditionFailed):
                    self.abort()
                    raise
                self._start()  # the upload is gone: expired, or swept away
                continue
            except BriquetteError:
                with suppress(BriquetteError):  # every reply may have been lost, and the object be there
                    own = self._store.own_success(self.key, self._attempt)
                    if own is not None:
                        self._committed = True
                        return own
                self.abort()
                raise
            if answer is not None:
                self._committed = True
                if answer != of_parts(self._etags):  # encrypted otherwise, or damaged on its way
                    own = self._store.own_success(self.key, self._attempt)
                    answer = own.etag if own is not None else answer
                return Stored(self.key, self.size_bytes, answer, self._attributes)
            self.abort()
            self._start()
        self.abort()
        raise StoreError(
            f"COMPLETE {self._store.url}/{self.key} met another writer {CONFLICT_ATTEMPTS} times.",
            hint="Look who else publishes there, then run it again.",
        )

    def _complete(self, condition: Condition) -> str | None:
        """The new etag, or None on 409."""
        from botocore.exceptions import ClientError

        store = self._store
        asked: dict[str, str] = {"IfNoneMatch": "*"} if condition.absent else {}
        if condition.etag:
            asked = {"IfMatch": condition.etag}
        parts = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(self._etags, 1)]

        def call() -> str | None:
            try:
                answer = store.connection.control.complete_multipart_upload(
                    Bucket=store.bucket,
                    Key=self.key,
                    UploadId=self._upload_id,
                    MultipartUpload={"Parts": parts},
                    **asked,
                )
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 409:
                    return None
                raise
            return str(answer["ETag"])

        return store.send("COMPLETE", self.key, call, str(condition))

    def read_back(self) -> None:
        """S3 holds the bytes: it has compared what was uploaded with its digest, and copied by etag."""

    def abort(self) -> None:
        """Forget the uploaded parts; what cannot be reached now is left to the bucket's lifecycle rule."""
        if self._committed:
            return
        store = self._store

        def once() -> None:
            try:
                store.connection.control.abort_multipart_upload(
                    Bucket=store.bucket, Key=self.key, UploadId=self._upload_id
                )
            except Exception as error:
                raise explain(error, store, "ABORT", self.key, "") from error

        with suppress(Exception):
            replace(store.retry, attempts=ABORT_ATTEMPTS).run(f"ABORT {store.url}/{self.key}", once)

"""S3 through boto3 alone: for a Lambda, whose runtime brings boto3 and whose package brings no obstore.

Handlers list, look and write a plan; whoever reads thousands of objects has obstore.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping

from briquette.errors import NotFound, PreconditionFailed
from briquette.model import RawObject
from briquette.storage.interface import ANY, HASH_BYTES, NO_METADATA, Condition, Stored, check_writable
from briquette.storage.s3.prefetch import Watch
from briquette.storage.s3.retry import ATTEMPT
from briquette.storage.s3.store import OddBody, S3Store


class PlainS3Store(S3Store):
    """The same verbs, errors, etags and retries as ``S3Store``."""

    def _list_fast(self, prefix: str, watch: Watch | None = None) -> None:
        """None: the exact listing is the only one here."""

    def _small_gets(self) -> None:
        return None

    def stat(self, key: str) -> Stored | None:
        """HEAD, with metadata; None where there is nothing."""
        try:
            answer = self.send(
                "HEAD", key, lambda: self.connection.control.head_object(Bucket=self.bucket, Key=key)
            )
        except NotFound:
            return None
        modified = answer["LastModified"].timestamp()
        return Stored(key, answer["ContentLength"], answer["ETag"], dict(answer["Metadata"]), modified)

    def sha256(self, item: RawObject) -> str:
        """See ``Store``; in ranges, as one answer here is all in memory, of which a Lambda has little."""
        digest = hashlib.sha256()
        try:
            for at in range(0, item.size_bytes, HASH_BYTES):
                digest.update(self.get(item.key, etag=item.etag, start=at, length=HASH_BYTES))
        except (NotFound, PreconditionFailed) as error:
            raise self.changed(item) from error
        return digest.hexdigest()

    def _ask(self, key: str, etag: str, start: int, length: int | None) -> OddBody | None:
        try:
            return self._ask_exact(key, etag, start, length)
        except self.connection.control.exceptions.ClientError as error:
            if error.response["ResponseMetadata"].get("HTTPStatusCode") == 416:
                return None
            raise

    def put(
        self,
        key: str,
        data: bytes,
        condition: Condition = ANY,
        metadata: Mapping[str, str] = NO_METADATA,
        *,
        durable: bool = True,  # noqa: ARG002 - S3 is always durable
    ) -> Stored:
        """One PUT, whatever its size. A refusal is believed only if the object is not our own."""
        check_writable(key)
        attributes = {**metadata, ATTEMPT: secrets.token_hex(16)}
        asked = {"IfNoneMatch": "*"} if condition.absent else {}
        if condition.etag:
            asked = {"IfMatch": condition.etag}
        try:
            answer = self.send(
                "PUT",
                key,
                lambda: self.connection.control.put_object(
                    Bucket=self.bucket, Key=key, Body=data, Metadata=attributes, **asked
                ),
                str(condition),
            )
        except PreconditionFailed:
            own = self.own_success(key, attributes[ATTEMPT])
            if own is None:
                raise
            return own
        return Stored(key, len(data), answer["ETag"], attributes)

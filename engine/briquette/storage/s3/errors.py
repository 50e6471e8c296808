"""What the errors of S3 and of its two clients mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING

from briquette.errors import AccessDenied, BriquetteError, NoSpace, NoSuchBucket, StoreError, StoreRefused
from briquette.storage.s3.retry import TransientError

if TYPE_CHECKING:
    from briquette.storage.s3.clients import Connection
    from briquette.storage.s3.store import S3Store

TRANSIENT_CODES = frozenset(
    [
        "BadDigest",  # the bytes that arrived are not those that were sent
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "XAmzContentSHA256Mismatch",  # likewise
    ]
)
EXPIRED_CODES = frozenset(["ExpiredToken", "TokenRefreshRequired"])
# A request that was whole when it was made: what it quoted of an earlier answer, or it itself, was damaged.
GARBLED_CODES = frozenset(
    [
        "EntityTooSmall",
        "InvalidDigest",
        "InvalidPart",
        "InvalidPartOrder",
        "InvalidRange",
        "MalformedXML",
        "XAmzContentSHA256Mismatch",
    ]
)
FULL_CODES = frozenset(["InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"])
REGION_CODES = frozenset(
    ["AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"]
)
_STATUS = "Server returned non-2xx status code: "  # how obstore's text goes on to S3's own
_NO_LOCATION = "redirect without LOCATION"
_TYPED = {  # obstore's types; a listing has none, and AlreadyExistsError may be 409 or 412
    "FileNotFoundError": 404,
    "NotFoundError": 404,
    "PreconditionError": 412,
    "PermissionDeniedError": 403,
    "UnauthenticatedError": 401,
    "NotModifiedError": 304,
}


def explain(
    error: Exception, store: S3Store, verb: str, key: str, condition: str
) -> BriquetteError | TransientError:
    """The error of ours that a client's error means; ``TransientError`` where another try may help."""
    if isinstance(error, BriquetteError):
        return error
    found = answer_of(error)
    status, code = found.status, found.code
    store.connection.answered |= status is not None
    where = f"{verb} {store.url}/{key}"
    if isinstance(error, TransientError):
        return StoreError(
            f"{where} failed again and again; the last time: {error}.", hint="Run it again later."
        )
    if code == "NoSuchBucket":
        return NoSuchBucket(
            f"{where}: the bucket does not exist.", hint="Check the URL, region and endpoint."
        )
    if code in FULL_CODES or status == 507:
        return NoSpace(f"{where} failed: {found}.", hint="Free some space there, then run it again.")
    if code in TRANSIENT_CODES or (status and status != 501 and (status >= 500 or status in (408, 429))):
        return TransientError(str(found))
    if status == 409 and code in (
        "",
        "409",
    ):  # which botocore makes of none: the answer to a HEAD has no body that could say which conflict it is
        return TransientError(str(found))
    gone = status == 404 and code != "NoSuchUpload" and condition.startswith("etag")
    if status == 412 or (gone and verb in ("PUT", "COMPLETE")):
        return store.refused(verb, key, condition or "its precondition")
    if status == 404 or code in ("NoSuchKey", "NoSuchUpload"):
        return store.missing(key)
    if status is None and _is_connection_trouble(error):
        return store.connection.unreachable() or TransientError(found.text)
    return _refusal(found, store.connection, where)


def _refusal(found: Answer, connection: Connection, where: str) -> StoreError | TransientError:
    """What the store will say again, unless somebody fixes what it names."""
    code = found.code
    if code == "RequestTimeTooSkewed":  # another machine may do better
        return StoreError(f"{where} was denied: {found}.", hint="Set the clock of this machine.")
    if code in EXPIRED_CODES and connection.refreshes:
        return TransientError(str(found))
    if code in EXPIRED_CODES:
        return AccessDenied(
            f"{where} was denied: {found}.", hint="Get fresh credentials (AWS_SESSION_TOKEN and its keys)."
        )
    if found.status == 301 or code in REGION_CODES or _NO_LOCATION in found.text:
        region = found.region or connection.region_of_bucket()
        there = f"Set AWS_REGION={region}." if region else "Set AWS_REGION to the bucket's region."
        said = f": {found}" if code else ""
        return StoreRefused(f"{where}: the bucket is in another region{said}.", hint=there)
    if found.status in (401, 403):
        hint = _OF_KEYS.get(code, "Check the credentials and the bucket's policy.")
        return AccessDenied(f"{where} was denied: {found}.", hint=hint)
    if code in GARBLED_CODES:  # what was sent or answered was damaged on its way
        return StoreError(f"{where} failed: {found}.", hint="Run it again.")
    return StoreRefused(
        f"{where} failed: {found}.", hint="The store will answer the same again; see its message."
    )


_OF_KEYS = {
    "InvalidAccessKeyId": "Check AWS_ACCESS_KEY_ID: this store knows no such key.",
    "SignatureDoesNotMatch": "Check AWS_SECRET_ACCESS_KEY: it is not the secret of this access key.",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client's error says: status, S3's code, message and right region; ``text`` is all of it."""

    text: str
    status: int | None = None
    code: str = ""
    message: str = ""
    region: str = ""

    def __str__(self) -> str:
        said = " ".join(word for word in (str(self.status or ""), self.code) if word)
        message = self.message.rstrip(".")
        return f"{said} ({message})" if said and message else said or message or self.text


def answer_of(error: Exception) -> Answer:
    """What either client's error says.

    obstore has a type for some answers; for the others, and for what S3 itself says, there is only its text.
    """
    response = getattr(error, "response", None)  # botocore's ClientError
    if isinstance(response, dict):
        meta, said = response.get("ResponseMetadata", {}), response.get("Error", {})
        region = said.get("Region") or meta.get("HTTPHeaders", {}).get("x-amz-bucket-region", "")
        return Answer(
            _short(str(error)),
            meta.get("HTTPStatusCode"),
            str(said.get("Code", "")),
            _short(str(said.get("Message", ""))),
            str(region),
        )
    text = str(error).partition("\n\nDebug source")[0]
    reply = text.rpartition(_STATUS)[2] if _STATUS in text else ""
    status = _TYPED.get(type(error).__name__)
    if status is None and reply[:3].isdigit():
        status = int(reply[:3])
    return Answer(_short(text), status, *(_tagged(reply, tag) for tag in ("Code", "Message", "Region")))


def _tagged(reply: str, tag: str) -> str:
    found = re.search(f"<{tag}>([^<]*)</{tag}>", reply)
    return _short(unescape(found[1])) if found else ""


def _short(text: str) -> str:
    return " ".join(text.split())[:300]


def _is_connection_trouble(error: Exception) -> bool:
    """Whether a client got no answer: it could not connect, or the connection broke."""
    kind = type(error).__module__
    if kind.startswith("botocore"):
        from botocore import exceptions

        return isinstance(
            error,
            exceptions.HTTPClientError | exceptions.FlexibleChecksumError | exceptions.IncompleteReadError,
        )
    return type(error).__name__ in ("GenericError", "JoinError") or isinstance(error, ConnectionError)

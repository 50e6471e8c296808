"""How S3 is reached (endpoint, region, credentials), and what its clients' errors mean."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from engine.errors import BriquetteError, StoreError
from engine.stores.retry import TransientError
from engine.stores.sigv4 import Credentials

if TYPE_CHECKING:
    from obstore.store import S3Store as DataClient

    from engine.stores.base import BaseStore

CONNECT_SECONDS, READ_SECONDS = 5, 60
CREDENTIAL_TTL = timedelta(minutes=5)  # botocore refreshes ahead of expiry; asking it often is cheap
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

_STATIC = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_tokio_pid = 0  # the process whose threads serve obstore; they do not survive a fork


class Connection:
    """Both clients of one bucket, made when first wanted, from the usual AWS environment."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self.endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        self._lock = threading.Lock()
        self._data: DataClient | None = None
        self._control: Any = None
        self._session: Any = None

    @property
    def data(self) -> DataClient:
        if self._data is None:
            with self._lock:
                if self._data is None:
                    self._data = self._open_data()
        return self._data

    @property
    def control(self) -> Any:
        if self._control is None:
            with self._lock:
                if self._control is None:
                    self._control = self._open_control()
        return self._control

    def _open_data(self) -> DataClient:
        global _tokio_pid  # noqa: PLW0603 - one runtime serves the whole process
        _refuse_fork()
        from obstore.store import S3Store as DataClient

        region, session = self._region_and_session()
        chosen: dict[str, Any] = {"region": region}
        if self.endpoint:
            chosen |= {"endpoint": self.endpoint, "virtual_hosted_style_request": False}
        else:  # TLS names of bucket hosts have no dots
            chosen |= {"virtual_hosted_style_request": "." not in self.bucket}
        if session is not None:
            chosen |= {"credential_provider": _credentials(session)}
        client = DataClient(
            self.bucket,
            client_options={
                "allow_http": self.endpoint.startswith("http://"),
                "connect_timeout": f"{CONNECT_SECONDS}s",
                "read_timeout": f"{READ_SECONDS}s",
                "timeout": "1day",  # of a whole body; huge objects stream
            },
            retry_config={"max_retries": 0},
            **chosen,
        )
        _tokio_pid = os.getpid()
        return client

    def _region_and_session(self) -> tuple[str, Any]:
        """The region, and the boto3 session that gives credentials, None where the environment does."""
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
        static = bool(os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY"))
        session = None
        if not static or not (region or self.endpoint):
            session = self._boto3_session()
            region = region or session.region_name or ""
            self.endpoint = self.endpoint or _profile_endpoint()
        return region or "us-east-1", None if static else session

    def host(self) -> tuple[str, str, Callable[[], Credentials]]:
        """For requests without either client: URL of the bucket, region, and who gives credentials."""
        _refuse_fork()
        region, session = self._region_and_session()
        if self.endpoint:
            url = f"{self.endpoint.rstrip('/')}/{self.bucket}"
        elif "." in self.bucket:
            url = f"https://s3.{region}.amazonaws.com/{self.bucket}"
        else:
            url = f"https://{self.bucket}.s3.{region}.amazonaws.com"
        return url, region, _given if session is None else partial(_current, _able(session))

    def _boto3_session(self) -> Any:
        if self._session is None:
            import boto3

            self._session = boto3.session.Session()
        return self._session

    def _open_control(self) -> Any:
        from botocore.config import Config

        return self._boto3_session().client(
            "s3",
            endpoint_url=self.endpoint or None,
            config=Config(
                s3={"addressing_style": "path"} if self.endpoint else {},
                retries={"total_max_attempts": 1, "mode": "standard"},
                max_pool_connections=32,
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
            ),
        )


def _profile_endpoint() -> str:
    import botocore.session

    try:
        found = botocore.session.get_session().get_scoped_config().get("endpoint_url", "")
    except botocore.exceptions.ProfileNotFound as error:
        raise StoreError(f"{error}.", hint="Set AWS_PROFILE to a profile that exists.") from error
    return found if isinstance(found, str) else ""


def _refuse_fork() -> None:
    if _tokio_pid not in (0, os.getpid()):
        raise StoreError(
            f"This process was forked from one (pid {_tokio_pid}) that had already used S3, "
            "whose connections do not work here.",
            hint="Start worker processes with 'spawn' or 'forkserver', or use threads.",
        )


def _able(session: Any) -> Any:
    if session.get_credentials() is None:
        raise StoreError(
            "There are no AWS credentials.",
            hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the machine a role.",
        )
    return session


def _credentials(session: Any) -> Any:
    from obstore.auth.boto3 import Boto3CredentialProvider

    return Boto3CredentialProvider(_able(session), ttl=CREDENTIAL_TTL)


def _given() -> Credentials:
    return Credentials(*(os.environ.get(name, "") for name in _STATIC))


def _current(session: Any) -> Credentials:
    frozen = session.get_credentials().get_frozen_credentials()  # refreshed ahead of expiry
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")


class RefusedError(Exception):
    """A status above 299, in the shape of botocore's ``ClientError``."""

    def __init__(self, status: int, body: bytes) -> None:
        found = _CODE.search(body.decode("utf-8", "replace"))
        code = found[1] if found else ""
        super().__init__(f"{status} {code}".strip())
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code}}


def explain(
    error: Exception, store: BaseStore, verb: str, key: str, condition: str
) -> BriquetteError | TransientError:
    """The error of ours that a client's error means; ``TransientError`` where another try may help."""
    if isinstance(error, BriquetteError):
        return error
    status, code, text = _answer(error)
    where = f"{verb} {store.url}/{key}"
    said = " ".join(word for word in (str(status or ""), code) if word) or text
    if isinstance(error, TransientError):
        return StoreError(
            f"{where} failed again and again; the last time: {text}.", hint="Run it again later."
        )
    if code == "NoSuchBucket":
        return StoreError(f"{where}: the bucket does not exist.", hint="Check the URL, region and endpoint.")
    if code in TRANSIENT_CODES or (status and (status >= 500 or status in (408, 429))):
        return TransientError(said)
    if status == 409 and not code:  # the answer to a HEAD has no body that could say which conflict it is
        return TransientError(said)
    gone = status == 404 and code != "NoSuchUpload" and condition.startswith("etag")
    if status == 412 or (gone and verb in ("PUT", "COMPLETE")):
        return store.refused(verb, key, condition or "its precondition")
    if status == 404 or code in ("NoSuchKey", "NoSuchUpload"):
        return store.missing(key)
    if status in (401, 403):
        return StoreError(
            f"{where} was denied: {said}.", hint="Check the credentials and the bucket's policy."
        )
    if status == 301 or "redirect without LOCATION" in text:
        return StoreError(
            f"{where}: the bucket is in another region.", hint="Set AWS_REGION to the bucket's region."
        )
    if status is None and _is_connection_trouble(error):
        return TransientError(text)
    return StoreError(
        f"{where} failed: {said}.", hint="The store will answer the same again; see its message."
    )


def _answer(error: Exception) -> tuple[int | None, str, str]:
    """HTTP status, S3 error code and a short text, from either client."""
    response = getattr(error, "response", None)  # botocore's ClientError
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status, str(response.get("Error", {}).get("Code", "")), str(error)
    text = str(error).partition("\n\nDebug source")[0]
    found, code = _STATUS.search(text), _CODE.search(text)
    return (int(found[1]) if found else None), (code[1] if code else ""), " ".join(text.split())[:300]


def _is_connection_trouble(error: Exception) -> bool:
    kind = type(error).__module__
    if kind.startswith("botocore"):
        from botocore import exceptions

        return isinstance(
            error,
            exceptions.HTTPClientError | exceptions.FlexibleChecksumError | exceptions.IncompleteReadError,
        )
    return type(error).__name__ in ("GenericError", "JoinError") or isinstance(error, ConnectionError)

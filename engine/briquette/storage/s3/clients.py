"""How S3 is reached: endpoint, region, credentials, and the two clients."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from briquette.errors import AccessDenied, ConfigError, StoreError

if TYPE_CHECKING:
    from obstore.store import S3Store as DataClient

CONNECT_SECONDS, READ_SECONDS = 5, 60
REACH_SECONDS = 3.0  # for a first connection, whose failure ends the run
CREDENTIAL_TTL = timedelta(minutes=5)  # botocore refreshes ahead of expiry; asking it often is cheap

_STATIC = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_tokio_pid = 0  # the process whose threads serve obstore; they do not survive a fork


class Credentials(NamedTuple):
    """What signs; ``token`` is "" for keys that do not expire."""

    key_id: str
    secret: str
    token: str = ""


class Connection:
    """Both clients of one bucket, made when first wanted, from the usual AWS environment."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self.endpoint = _endpoint_given()
        self.answered = False  # whatever this endpoint said, it is there
        self.refreshes = False  # whether credentials that expired may be fresh at the next try
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
        refuse_fork(_tokio_pid)
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
        self.refreshes = not static
        if not all(part.isascii() and part.isalnum() for part in (region or "x").split("-")):
            raise ConfigError(
                f"{region!r} is no AWS region.", hint="Set AWS_REGION, for instance to eu-west-1."
            )
        return region or "us-east-1", None if static else session

    def unreachable(self) -> StoreError | None:
        """The error if nothing listens at the endpoint, so that it is not asked again and again.

        At a first contact only: a server that has answered may be away for a moment. Behind a proxy, nobody
        can tell from here.
        """
        if self.answered or any(os.environ.get(name) for name in _PROXIES):
            return None
        parts = urlsplit(self.host()[0])
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname or "", port), REACH_SECONDS).close()
        except OSError as error:
            mine = f"AWS_ENDPOINT_URL ({self.endpoint})" if self.endpoint else "AWS_REGION, the network"
            return StoreError(
                f"there is no S3 server to be reached at {parts.hostname}:{port}: {_why(error)}.",
                hint=f"Check {mine} and that the server runs.",
            )
        return None

    def region_of_bucket(self) -> str:
        """The region that the bucket is in, "" where the store does not say."""
        from briquette.storage.s3.errors import answer_of

        try:
            answer = self.control.head_bucket(Bucket=self.bucket)  # botocore follows to the right region
        except Exception as error:  # noqa: BLE001 - it only makes a hint better
            return answer_of(error).region
        return str(answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", ""))

    def host(self) -> tuple[str, str, Callable[[], Credentials]]:
        """For requests without either client: URL of the bucket, region, and who gives credentials."""
        refuse_fork(_tokio_pid)
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
            from botocore.exceptions import ProfileNotFound

            try:
                self._session = boto3.session.Session()
            except ProfileNotFound as error:
                raise ConfigError(f"{error}.", hint="Set AWS_PROFILE to a profile that exists.") from error
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


def _endpoint_given() -> str:
    name = "AWS_ENDPOINT_URL_S3" if os.environ.get("AWS_ENDPOINT_URL_S3") else "AWS_ENDPOINT_URL"
    return _checked_endpoint(os.environ.get(name, ""), name)


def _checked_endpoint(endpoint: str, name: str) -> str:
    """The endpoint itself; a client would panic at one that is no URL. Raises ``ConfigError``."""
    if not endpoint:
        return ""
    try:
        parts = urlsplit(endpoint)
        fine = (
            "@" not in endpoint and parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        )
    except ValueError:  # a port that is no number
        fine = False
    if not fine or any(c.isspace() for c in endpoint) or parts.query or parts.fragment:
        shown = endpoint if "@" not in endpoint else "a text with a credential"
        raise ConfigError(
            f"{name} is {shown}, which is no URL of a server.", hint="Write it like http://localhost:9000."
        )
    return endpoint


def _why(error: OSError) -> str:
    """Why no connection came about, without the number.

    >>> _why(ConnectionRefusedError(111, "Connection refused")), _why(TimeoutError("timed out"))
    ('Connection refused', 'timed out')
    """
    return str(error.strerror or error)


def _profile_endpoint() -> str:
    import botocore.session

    try:
        found = botocore.session.get_session().get_scoped_config().get("endpoint_url", "")
    except botocore.exceptions.ProfileNotFound as error:
        raise ConfigError(f"{error}.", hint="Set AWS_PROFILE to a profile that exists.") from error
    return _checked_endpoint(found, "endpoint_url of the profile") if isinstance(found, str) else ""


def refuse_fork(user: int) -> None:
    """Raise ``StoreError`` where the process ``user``, 0 for none, is another than this one."""
    if user not in (0, os.getpid()):
        raise StoreError(
            f"This process was forked from one (pid {user}) that had already used S3, "
            "whose connections do not work here.",
            hint="Start worker processes with 'spawn' or 'forkserver', or use threads.",
        )


def _able(session: Any) -> Any:
    """The session, whose credentials are there now; later they are fetched where no error is typed."""
    from botocore.exceptions import BotoCoreError

    hint = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the machine a role."
    try:
        found = session.get_credentials()
        if found is not None:
            found.get_frozen_credentials()
    except BotoCoreError as error:
        raise AccessDenied(
            f"AWS credentials could not be had: {' '.join(str(error).split())}.", hint=hint
        ) from error
    if found is None:
        raise AccessDenied("There are no AWS credentials.", hint=hint)
    return session


def _credentials(session: Any) -> Any:
    from obstore.auth.boto3 import Boto3CredentialProvider

    return Boto3CredentialProvider(_able(session), ttl=CREDENTIAL_TTL)


def _given() -> Credentials:
    return Credentials(*(os.environ.get(name, "") for name in _STATIC))


def _current(session: Any) -> Credentials:
    frozen = session.get_credentials().get_frozen_credentials()  # refreshed ahead of expiry
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")

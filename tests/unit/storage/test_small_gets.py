"""Small GETs by libcurl: signed as botocore signs, and taken only if the answer is the planned one."""

from __future__ import annotations

import gc
import gzip
import os
import resource
import shlex
import socket
import ssl
import string
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.utils import percent_encode

from briquette.errors import AccessDenied, PreconditionFailed, SourceChanged, StoreError
from briquette.model import RawObject
from briquette.storage.interface import if_match
from briquette.storage.opening import open_store
from briquette.storage.s3 import curl_get, small_gets
from briquette.storage.s3.small_gets import Pinned, SmallGets
from briquette.storage.s3.store import S3Store
from tests.faults import Fault, FaultyWire
from tests.needs import needs_openssl
from tests.servers import Bucket

pycurl = pytest.importorskip("pycurl")

_pause = threading.Event().wait  # the pauses of retries are taken out of time.sleep
BODY = b"0123456789"
ETAG = f'"{md5(BODY).hexdigest()}"'
GOOD = b"HTTP/1.1 200 OK\r\nETag: %s\r\nContent-Length: 10\r\n\r\n" % ETAG.encode()
CHUNKED = GOOD.replace(b"Content-Length: 10", b"Transfer-Encoding: chunked")
NOTHING = b"\r\nContent-Length: 0\r\n\r\n"


# -- a server that does as it is told --------------------------------------------------------------


@dataclass
class Script:
    """A server that answers each request with the bytes that it is told, piece by piece; None closes."""

    answers: Callable[[int], Sequence[bytes | None] | None]
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    requests: list[bytes] = field(default_factory=list)
    open_now: int = 0
    most_open: int = 0
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def paths(self) -> list[str]:
        return [request.split(b" ")[1].decode() for request in self.requests]


@contextmanager
def serving(script: Script) -> Iterator[Script]:
    family = socket.AF_INET6 if ":" in script.host else socket.AF_INET
    listener = socket.create_server((script.host, 0), family=family, backlog=512)
    script.port = listener.getsockname()[1]

    def serve(sock: socket.socket) -> None:
        with script.lock:
            script.open_now += 1
            script.most_open = max(script.most_open, script.open_now)
        try:
            wire = script.tls.wrap_socket(sock, server_side=True) if script.tls else sock
            with wire:
                _converse(script, wire)
        except OSError:
            pass
        finally:
            sock.close()
            with script.lock:
                script.open_now -= 1

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield script
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _converse(script: Script, wire: socket.socket) -> None:
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            block = wire.recv(65_536)
            if not block:
                return
            received += block
        with script.lock:
            number = len(script.requests)
            script.requests.append(received)
        received = b""
        pieces = script.answers(number)
        if pieces is None:
            return
        for i, piece in enumerate(pieces):
            if piece is None:
                return
            if i:
                _pause(0.02)
            wire.sendall(piece)


@pytest.fixture
def point_at(monkeypatch: pytest.MonkeyPatch, s3: Bucket) -> Callable[[str], None]:
    monkeypatch.setattr("briquette.storage.s3.retry.time.sleep", lambda _: None)
    return lambda endpoint: monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)


@pytest.fixture(autouse=True)
def everything_is_closed() -> Iterator[None]:
    free = small_gets._SLOTS._value
    yield
    gc.collect()
    assert not small_gets._OPEN
    assert small_gets._SLOTS._value == free


def items(count: int) -> list[RawObject]:
    return [RawObject(f"k{i}", len(BODY), ETAG) for i in range(count)]


def opened() -> tuple[S3Store, SmallGets]:
    store = open_store("s3://raw")
    assert isinstance(store, S3Store)
    small = store._small_gets()
    assert small is not None
    return store, small


@dataclass
class Strict:
    """Stands where obstore does, and says what it was asked for."""

    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def __call__(self, item: Pinned, failed: Exception | None) -> Future[bytes]:
        self.asked.append((item.key, None if failed is None else str(failed)))
        done: Future[bytes] = Future()
        done.set_result(b"strictly")
        return done


def ask(objects: Sequence[RawObject]) -> tuple[list[bytes], Strict]:
    """The bodies, and what libcurl did not get."""
    strict = Strict()
    return list(opened()[1].get_many(objects, strict)), strict


# -- signatures ------------------------------------------------------------------------------------


def headers_of(request: bytes) -> dict[str, str]:
    lines = request.decode().split("\r\n")[1:-2]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


def require_signed(
    request: bytes, key_id: str, secret: str, token: str = "", region: str = "us-east-1"
) -> None:
    """Sign what came as botocore signs it, at the time that it names, and compare."""
    sent = headers_of(request)
    path = request.split(b" ")[1].decode()
    signed = sent["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"host", "if-match", "x-amz-date", "x-amz-content-sha256"} <= {*signed}
    assert ("x-amz-security-token" in signed) == bool(token)
    asked = AWSRequest("GET", f"http://{sent['host']}{path}", headers={"If-Match": sent["if-match"]})
    asked.context["timestamp"] = sent["x-amz-date"]
    auth = S3SigV4Auth(BotocoreCredentials(key_id, secret, token or None), "s3", region)
    auth._modify_request_before_signing(asked)
    text = auth.string_to_sign(asked, auth.canonical_request(asked))
    auth._inject_signature_to_request(asked, auth.signature(text, asked))
    for name, value in asked.headers.items():
        found = sent[name.lower()]
        assert found.replace(", ", ",") == value.replace(", ", ","), name


ODD_TEXTS = [
    *(f"a{c}b" for c in string.printable if c.isprintable() and c != "/"),
    *(f"{c}x" for c in "~ +%=&?#.!*'()"),
    *(f"x{c}" for c in "~ +%=&?#.!*'()"),
    *("a%41", "%2F", "%2f..", "a%2Fb", "100%", "%2e%2e/x", "%252e", "a+b c", "a  b", "a=b=c"),
    *("..a", "a..", ".a/b.", "...", "a/b/c", "~a/~b", "\\", "a\\..\\b", "a;b:c@d$e,f", "x" * 1_000),
    *("symbol=AAPL/day=2025-01-01/x.json", "ü", "u\u0308", "日本/株", "\U0001f9f1"),
    *("\xa0", "\u200b", "\ufeff"),
]


@pytest.mark.parametrize("token", ["", "FwoGZXIvYXdzE+/=="])
def test_every_key_is_sent_and_signed_as_botocore_does(
    point_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sec:ret/+%=")
    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    with serving(Script(lambda n: [GOOD + BODY])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        bodies, strict = ask([RawObject(key, len(BODY), ETAG) for key in ODD_TEXTS])
    assert (bodies, strict.asked) == ([BODY] * len(ODD_TEXTS), [])
    assert {unquote(path) for path in script.paths} == {f"/raw/{key}" for key in ODD_TEXTS}
    assert sorted(script.paths) == sorted(percent_encode(f"/raw/{key}", safe="/~") for key in ODD_TEXTS)
    for request in script.requests:
        require_signed(request, "AKID", "sec:ret/+%=", token)


def test_keys_and_etags_that_http_would_change_are_left_to_obstore(point_at: Callable[[str], None]) -> None:
    keys = ["a//b", "/a", "a/", "a/./b", "a/../b", "..", ".", "a\nb", "a\x7f", "a\x00b"]
    odd = [RawObject(key, len(BODY), ETAG) for key in keys]
    odd += [
        RawObject("e", len(BODY), etag) for etag in ("", "*", "x", '"a", "b"', 'W/"a"', '"ü"', '"a\r\nb: c"')
    ]
    with serving(Script(lambda n: [GOOD + BODY])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        bodies, strict = ask(odd)
    assert bodies == [b"strictly"] * len(odd)
    assert strict.asked == [(item.key, None) for item in odd]
    assert script.requests == []


@pytest.mark.parametrize(
    ("bucket", "url"),
    [
        ("raw", "https://raw.s3.eu-west-1.amazonaws.com"),
        ("raw.dots", "https://s3.eu-west-1.amazonaws.com/raw.dots"),
    ],
)
def test_on_aws_the_bucket_is_addressed_as_obstore_does(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch, bucket: str, url: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    small = open_store(f"s3://{bucket}")._small_gets()  # type: ignore[attr-defined]
    assert small.url == url
    assert small.options[pycurl.AWS_SIGV4] == "aws:amz:eu-west-1:s3"
    assert small.options[pycurl.PROTOCOLS] == pycurl.PROTO_HTTPS
    assert small.options[pycurl.CAINFO if pycurl.CAINFO in small.options else pycurl.CAPATH]


def test_an_endpoint_of_s3_alone_wins_and_may_have_a_path(
    point_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Script(lambda n: [GOOD + BODY])) as script:
        point_at("http://127.0.0.1:1")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{script.port}/door/")
        bodies, _ = ask(items(1))
    assert bodies == [BODY]
    assert script.paths == ["/door/raw/k0"]
    require_signed(script.requests[0], "test", "test")


def test_ipv6(point_at: Callable[[str], None]) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving(Script(lambda n: [GOOD + BODY], host="::1")) as script:
        point_at(f"http://[::1]:{script.port}")
        bodies, strict = ask(items(20))
    assert (bodies, strict.asked) == ([BODY] * 20, [])
    require_signed(script.requests[0], "test", "test")


def test_credentials_that_rotate_are_asked_for_again(
    point_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From a process, as `aws sso` and role helpers give them; each call of it gives others."""
    monkeypatch.setattr(small_gets, "CREDENTIAL_SECONDS", 0.0)
    (tmp_path / "keys.py").write_text(
        "import datetime, json, pathlib\n"
        f"calls = pathlib.Path({str(tmp_path / 'calls')!r})\n"
        "with calls.open('a') as file: file.write('x')\n"
        "n = len(calls.read_text())\n"
        "soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=5)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'AKID{n}', 'SecretAccessKey': f'secret{n}',"
        " 'SessionToken': f'token{n}', 'Expiration': soon.isoformat()}))\n"
    )
    command = shlex.join([sys.executable, str(tmp_path / "keys.py")])
    (tmp_path / "config").write_text(f"[default]\nregion = us-east-1\ncredential_process = {command}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with serving(Script(lambda n: [GOOD + BODY])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        bodies, strict = ask(items(3))
    assert (bodies, strict.asked) == ([BODY] * 3, [])
    used = [headers_of(request)["x-amz-security-token"] for request in script.requests]
    assert len({*used}) == 3
    for request, token in zip(script.requests, used, strict=True):
        number = token.removeprefix("token")
        require_signed(request, f"AKID{number}", f"secret{number}", token)


def test_credentials_that_would_break_a_header_are_not_sent(
    point_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Script(lambda n: [GOOD + BODY])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"):
            with monkeypatch.context() as changed:
                changed.setenv(name, "a\r\nx-other: b")
                bodies, strict = ask(items(3))
            assert bodies == [b"strictly"] * 3
            assert strict.asked == [(f"k{i}", None) for i in range(3)]
        assert script.requests == []


# -- answers ---------------------------------------------------------------------------------------


def test_an_answer_may_come_in_pieces_and_a_connection_serves_many(
    point_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_gets, "MOST_MISSES", 1)  # and so, of eight objects, one at once
    whole = GOOD + BODY
    pieces = [
        [whole],
        [whole[:9], whole[9:]],
        [whole[:-1], whole[-1:]],
        [GOOD, BODY],
        [GOOD[:-2], GOOD[-2:] + BODY],
        [b"HTTP/1.1 100 Continue\r\n\r\n", GOOD + BODY],
        [CHUNKED, b"a\r\n" + BODY + b"\r\n0\r\n\r\n"],
        [GOOD.replace(b"ETag:", b"eTaG:") + BODY],
    ]
    with serving(Script(lambda n: pieces[n])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        bodies, strict = ask(items(len(pieces)))
        assert (bodies, strict.asked) == ([BODY] * len(pieces), [])
        assert script.most_open == 1


@pytest.mark.parametrize("told", [b"Connection: close\r\n", b""])
def test_a_server_that_closes_after_each_answer_gets_a_new_connection_for_each(
    point_at: Callable[[str], None], told: bytes
) -> None:
    with serving(Script(lambda n: [GOOD[:-2] + told + b"\r\n" + BODY, None])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        store = open_store("s3://raw")
        assert list(store.get_many(items(60))) == [BODY] * 60
        asked = store.requests["GET"]
        assert len(script.requests) == 60 == asked if told else asked >= 60  # some were on their way then


def test_an_object_is_taken_as_it_is_stored(point_at: Callable[[str], None]) -> None:
    """Compressed by whoever wrote it: a client that unpacks it would change the bytes that are pinned."""
    packed = gzip.compress(b"x" * 1_000, mtime=0)
    etag = f'"{md5(packed).hexdigest()}"'
    head = GOOD.replace(b"10", b"%d" % len(packed)).replace(ETAG.encode(), etag.encode())
    head = head[:-2] + b"Content-Encoding: gzip\r\n\r\n"
    with serving(Script(lambda n: [head + packed])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        bodies, _ = ask([RawObject("k", len(packed), etag)])
    assert bodies == [packed]
    assert "accept-encoding" not in headers_of(script.requests[0])


def test_an_empty_object(point_at: Callable[[str], None]) -> None:
    etag = f'"{md5(b"").hexdigest()}"'
    head = f"HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: 0\r\n\r\n".encode()
    longer = head.replace(b"Length: 0", b"Length: 5") + b"abcde"
    with serving(Script(lambda n: [head] if n % 2 == 0 else [longer])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        bodies, strict = ask([RawObject("k", 0, etag)])
        again, more = ask([RawObject("k", 0, etag)])
    assert (bodies, strict.asked) == ([b""], [])
    assert (again, [key for key, _ in more.asked]) == ([b"strictly"], ["k"])


ODD = {
    "another status": GOOD.replace(b"200 OK", b"206 Partial Content") + BODY,
    "an error of the right size": GOOD.replace(b"200 OK", b"503 Slow Down") + BODY,
    "a longer one": GOOD.replace(b"10", b"11") + BODY,  # and the rest never comes
    "a much longer one": GOOD.replace(b"10", b"99999999999") + BODY,
    "a shorter one": GOOD.replace(b"10", b"9") + BODY[:9],
    "two lengths": GOOD[:-2] + b"content-length: 11\r\n\r\n" + BODY,
    "no length and more": GOOD.replace(b"Content-Length: 10\r\n", b"") + BODY * 2,
    "longer by chunks": CHUNKED + b"b\r\n" + BODY + b"x\r\n",
    "bad chunks": CHUNKED + b"xyz\r\n" + BODY,
    "another etag": GOOD.replace(ETAG.encode(), b'"other"') + BODY,
    "no etag": GOOD.replace(b"ETag", b"Tag") + BODY,
    "the etag of an interim answer": b"HTTP/1.1 103 Hints\r\nETag: %s\r\n\r\n" % ETAG.encode()
    + GOOD.replace(b"ETag", b"Tag")
    + BODY,
    "another body": GOOD + BODY[::-1],
    "another place": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{port}/elsewhere" + NOTHING,
    "another protocol": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd" + NOTHING,
    "a wish for another login": b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic" + NOTHING,
    "an endless head": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200_000,
    "nonsense": b"\x00" * 70_000,
    "an ancient protocol": BODY,
}


@pytest.mark.parametrize("what", ODD)
def test_any_other_answer_is_a_failed_attempt_of_the_strict_way(
    point_at: Callable[[str], None], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("default login me password netrc-secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with serving(Script(lambda n: [ODD[what].replace(b"{port}", b"%d" % script.port), None])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        started = time.monotonic()
        bodies, strict = ask(items(1))
        assert time.monotonic() - started < 20  # noticed at once, and not when the time is over
    assert bodies == [b"strictly"]
    ((key, failure),) = strict.asked
    assert key == "k0"
    assert failure
    assert {*script.paths} == {"/raw/k0"}
    assert all(headers_of(r)["authorization"].startswith("AWS4-HMAC-SHA256 ") for r in script.requests)


@pytest.mark.parametrize("pieces", [None, [], [GOOD[:20]], [GOOD + BODY[:9]], [GOOD + BODY[:9], None]])
def test_a_server_that_goes_away_or_falls_silent_is_a_failed_attempt(
    point_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, pieces: list[bytes | None] | None
) -> None:
    monkeypatch.setattr(curl_get, "READ_SECONDS", 1)
    with serving(Script(lambda n: pieces)) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        started = time.monotonic()
        bodies, strict = ask(items(1))
        assert time.monotonic() - started < 15
    assert bodies == [b"strictly"]
    assert strict.asked[0][1]


def test_where_nobody_listens_nothing_was_sent(point_at: Callable[[str], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    point_at(f"http://127.0.0.1:{port}")
    assert ask(items(1))[1].asked == [("k0", None)]


def test_a_connection_that_nobody_accepts_is_given_up(
    point_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curl_get, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        where = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:  # the queue is full, and nobody takes from it
            sock.setblocking(False)
            sock.connect_ex(where)
        point_at(f"http://127.0.0.1:{where[1]}")
        started = time.monotonic()
        _, strict = ask(items(1))
        assert time.monotonic() - started < 15
        for sock in waiting:
            sock.close()
    assert strict.asked == [("k0", None)]


def test_a_flipped_bit_is_noticed_by_the_etag(point_at: Callable[[str], None]) -> None:
    with serving(Script(lambda n: [GOOD + (b"0123456799" if n == 5 else BODY)])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        bodies, strict = ask(items(30))
    assert sorted(bodies) == [BODY] * 29 + [b"strictly"]
    assert "MD5" in str(strict.asked[0][1])


# -- by a real server, on a wire that breaks ---------------------------------------------------------


def stored(s3: Bucket, count: int = 12) -> tuple[list[RawObject], list[bytes]]:
    store = open_store(s3.url)
    bodies = [b"%d " % i * (i + 1) for i in range(count)]
    return [
        RawObject(s.key, s.size_bytes, s.etag)
        for s in (store.put(f"raw/{i:02}.json", body) for i, body in enumerate(bodies))
    ], bodies


FAULTS = {
    "slow down": Fault("GetObject", status=503, code="SlowDown"),
    "internal": Fault("GetObject", status=500),
    "reset": Fault("GetObject", reset=True),
    "lost": Fault("GetObject", lose_reply=True),
    "cut": Fault("GetObject", keep_body=0.5),
    "less": Fault("GetObject", keep_body=0.5, announce_less=True),
    "more": Fault("GetObject", add_bytes=3),
    "flipped": Fault("GetObject", flip_reply=True),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("curl", ["on", "off", "missing"])
def test_faults_are_repeated_with_and_without_libcurl(
    faulty_s3: tuple[Bucket, FaultyWire], monkeypatch: pytest.MonkeyPatch, fault: str, curl: str
) -> None:
    choose(monkeypatch, curl)
    monkeypatch.setattr("briquette.storage.s3.retry.time.sleep", lambda _: None)
    s3, wire = faulty_s3
    objects, bodies = stored(s3)
    values = {name: getattr(FAULTS[fault], name) for name in Fault.__slots__}
    # The same damage twice is taken for what is stored, and this wire flips the same bit each time.
    times = 1 if fault == "flipped" else 3
    wire.break_(Fault(**{**values, "times": times}))
    store = open_store(s3.url)
    assert (store._small_gets() is not None) == (curl == "on")  # type: ignore[attr-defined]
    assert list(store.get_many(objects)) == bodies
    assert wire.fired == times
    assert wire.operations.count("GetObject") == len(objects) + times


@pytest.mark.parametrize("curl", ["on", "off", "missing"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("GetObject", status=403, code="AccessDenied", times=99), AccessDenied),
        (Fault("GetObject", status=412, code="PreconditionFailed", times=99), SourceChanged),
        (Fault("GetObject", status=404, code="NoSuchKey", times=99), SourceChanged),
        (Fault("GetObject", status=503, code="SlowDown", times=99), StoreError),
    ],
)
def test_refusals_are_the_same_errors_and_name_no_secret(
    faulty_s3: tuple[Bucket, FaultyWire],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    curl: str,
    fault: Fault,
    error: type[Exception],
) -> None:
    choose(monkeypatch, curl)
    monkeypatch.setattr("briquette.storage.s3.retry.time.sleep", lambda _: None)
    s3, wire = faulty_s3
    objects, _ = stored(s3)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")
    wire.break_(fault)
    with pytest.raises(error) as caught:
        list(open_store(s3.url).get_many(objects))
    told = "".join([str(caught.value), repr(caught.value.__cause__), caplog.text, *capfd.readouterr()])
    assert "a-secret" not in told
    assert "a-token" not in told


@pytest.mark.parametrize("curl", ["on", "off", "missing"])
def test_an_object_that_was_replaced_is_not_read(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch, curl: str
) -> None:
    choose(monkeypatch, curl)
    objects, bodies = stored(s3)
    open_store(s3.url).put(objects[3].key, bodies[3][::-1])  # of the same size
    with pytest.raises(SourceChanged):
        list(open_store(s3.url).get_many(objects))


def choose(monkeypatch: pytest.MonkeyPatch, curl: str) -> None:
    """libcurl, "off" by its switch, or as if pycurl were not installed."""
    if curl == "off":
        monkeypatch.setenv("BRIQUETTE_S3_CURL", "off")
    elif curl == "missing":
        monkeypatch.setitem(sys.modules, "pycurl", None)


# -- many ------------------------------------------------------------------------------------------


def test_no_more_connections_are_open_than_a_process_may_have(
    point_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_gets, "_SLOTS", threading.Semaphore(12))
    with serving(Script(lambda n: [b"", GOOD + BODY])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        store = open_store("s3://raw")
        assert list(store.get_many(items(200))) == [BODY] * 200
        assert 9 <= script.most_open <= 12
        assert store.requests.as_dict() == {"GET": 200}
        assert small_gets._SLOTS._value == 12
    monkeypatch.setattr(small_gets, "_SLOTS", threading.Semaphore(0))
    with serving(Script(lambda n: [b"", GOOD + BODY])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        assert list(open_store("s3://raw").get_many(items(40))) == [BODY] * 40
        assert script.most_open <= small_gets.FEWEST
    monkeypatch.undo()


def test_a_process_with_thousands_of_files_is_served_too(
    point_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """select() sees no socket above number 1,023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4_096:
        pytest.skip("this process may not open so many files")
    monkeypatch.setattr(small_gets, "_SLOTS", threading.Semaphore(12))
    resource.setrlimit(resource.RLIMIT_NOFILE, (4_096, hard))
    files: list[int] = []
    try:
        with serving(Script(lambda n: [b"", GOOD + BODY])) as script:
            while not files or files[-1] < 1_100:
                files.append(os.open(os.devnull, os.O_RDONLY))
            point_at(f"http://127.0.0.1:{script.port}")
            bodies, strict = ask(items(100))
        assert (bodies, strict.asked) == ([BODY] * 100, [])
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_half_of_the_files_that_a_process_may_open_are_left_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(small_gets, "getrlimit", lambda _: (24, 1_000))
    assert small_gets._slots()._value == 12
    monkeypatch.setattr(small_gets, "getrlimit", lambda _: (small_gets.RLIM_INFINITY,) * 2)
    assert small_gets._slots()._value == small_gets.CONNECTIONS


@pytest.mark.parametrize(
    ("scheme", "most"), [("http", small_gets.CONNECTIONS), ("https", small_gets.TLS_CONNECTIONS)]
)
def test_over_tls_there_are_fewer_and_before_an_answer_few(
    point_at: Callable[[str], None], scheme: str, most: int
) -> None:
    point_at(f"{scheme}://127.0.0.1:9")
    _, gets = opened()
    assert gets.side_by_side(100_000) == small_gets.MOST_MISSES
    gets._proved = True
    assert [gets.side_by_side(n) for n in (10, 1_000, 100_000)] == [small_gets.MOST_MISSES, 125, most]


def test_a_reader_that_stops_leaves_no_connection_open(point_at: Callable[[str], None]) -> None:
    with serving(Script(lambda n: [GOOD + BODY])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        bodies = open_store("s3://raw").get_many(items(1_000))
        assert next(bodies) == BODY
        bodies.close()  # type: ignore[attr-defined]
        assert not small_gets._OPEN
        until = time.monotonic() + 10
        while script.open_now and time.monotonic() < until:
            _pause(0.01)
        assert script.open_now == 0
        assert len(script.requests) < 1_000


def test_no_more_waits_in_memory_than_is_allowed(
    point_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_gets, "AHEAD_BYTES", 3 * len(BODY))
    with serving(Script(lambda n: [GOOD + BODY])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        bodies = open_store("s3://raw").get_many(items(20))
        next(bodies)
        _pause(0.2)
        assert len(script.requests) <= 4
        assert len(list(bodies)) == 19


def test_a_store_that_always_answers_otherwise_is_soon_asked_the_strict_way_only(
    point_at: Callable[[str], None],
) -> None:
    """Here without an etag. Each object is there after one more request, or, later, after one."""
    without = GOOD.replace(b"ETag", b"Tag").replace(
        b"\r\n\r\n", b"\r\nLast-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\n\r\n"
    )
    with serving(Script(lambda n: [without + BODY])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        store = open_store("s3://raw")
        assert list(store.get_many(items(100))) == [BODY] * 100
        asked = len(script.requests)
        assert small_gets.MOST_MISSES <= asked - 100 < 2 * small_gets.MOST_MISSES  # with those in flight
        assert store.requests.as_dict() == {"GET": asked}
        assert list(store.get_many(items(50))) == [BODY] * 50
        assert len(script.requests) == asked + 50


def test_two_calls_at_once_and_large_bodies(point_at: Callable[[str], None]) -> None:
    big = bytes(range(256)) * 4_096  # 1 MiB, the largest that is fetched so
    etag = f'"{md5(big).hexdigest()}"'
    head = b"HTTP/1.1 200 OK\r\nETag: %s\r\nContent-Length: %d\r\n\r\n" % (etag.encode(), len(big))
    with serving(Script(lambda n: [head + big[:100_000], big[100_000:]])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        store = open_store("s3://raw")
        wanted = [RawObject(f"k{i}", len(big), etag) for i in range(10)]
        first, second = store.get_many(wanted), store.get_many(wanted)
        for one, other in zip(first, second, strict=True):
            assert one == big
            assert other == big
        assert store.requests.as_dict() == {"GET": 20}


# -- when it is not used -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy", "AWS_SKIP_SIGNATURE", "AWS_REQUEST_PAYER"])
def test_what_only_a_client_knows_is_left_to_it(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1" if "proxy" in name.lower() else "true")
    assert open_store(s3.url)._small_gets() is None  # type: ignore[attr-defined]


def test_an_older_libcurl_is_not_used(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its signatures were wrong for some keys."""
    assert curl_get.available()
    monkeypatch.setattr(pycurl, "version_info", lambda: (0, "7.88.1", 0x075801))
    assert open_store(s3.url)._small_gets() is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", ["prepare", "handle", "multi", "credentials"])
def test_whatever_libcurl_raises_costs_time_only(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    objects, bodies = stored(s3)
    store = open_store(s3.url)
    assert isinstance(store, S3Store)
    small = store._small_gets()
    assert small is not None

    def fail(*_: object) -> Any:
        raise pycurl.error(27, "out of memory")

    class Multi(pycurl.CurlMulti):  # type: ignore[misc, name-defined]
        perform = fail

    if place == "prepare":
        monkeypatch.setattr(curl_get.CurlGet, "prepare", fail)
    elif place == "handle":
        small.options = {-1: 0}  # an option that there is not
    elif place == "multi":
        monkeypatch.setattr(pycurl, "CurlMulti", Multi)
    else:
        small._ask_credentials = fail
    assert list(store.get_many(objects)) == bodies
    assert list(store.get_many(objects)) == bodies


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_in_the_middle_neither_reads_nor_hangs_up(point_at: Callable[[str], None]) -> None:
    with serving(Script(lambda n: [b"", GOOD + BODY])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        bodies = open_store("s3://raw").get_many(items(100))
        assert next(bodies) == BODY
        child = os.fork()
        if not child:
            try:
                next(bodies)
            except StoreError:
                bodies.close()  # type: ignore[attr-defined]
                os._exit(17 if small_gets._SLOTS._value >= small_gets.FEWEST else 3)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
        assert list(bodies) == [BODY] * 99
        assert len(script.requests) == 100


# -- removals --------------------------------------------------------------------------------------


def test_a_removal_and_its_condition(s3: Bucket) -> None:
    store = open_store(s3.url)
    key = "raw/a b+c=ü%41~.json"
    made = store.put(key, BODY)
    with pytest.raises(PreconditionFailed):
        store.delete(key, if_match(ETAG.replace("7", "8")))
    assert store.get(key) == BODY
    store.delete(key, if_match(made.etag))
    assert store.stat(key) is None
    store.delete(key)
    store.put(key, BODY)
    store.delete(key)
    assert store.stat(key) is None


@pytest.mark.parametrize("status", ["500 Internal", "503 Slow Down", "409 Conflict"])
def test_a_removal_that_a_store_in_trouble_answers_is_asked_again(
    point_at: Callable[[str], None], status: str
) -> None:
    bad = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    good = b"HTTP/1.1 204 No Content\r\n\r\n"
    with serving(Script(lambda n: None if n == 0 else [bad] if n == 1 else [good])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        open_store("s3://raw").delete("k")
        assert [request.split(b" ")[0] for request in script.requests] == [b"DELETE"] * 3


def test_objects_are_read_without_boto3(s3: Bucket) -> None:
    """Its import and client cost 0.3 s of CPU; with keys in the environment only a removal needs it."""
    objects, bodies = stored(s3)
    asked = [(o.key, o.size_bytes, o.etag) for o in objects]
    program = (
        "import sys\n"
        "from briquette.model import RawObject\n"
        "from briquette.storage.opening import open_store\n"
        f"found = open_store({s3.url!r}).get_many([RawObject(*o) for o in {asked!r}])\n"
        f"print(list(found) == {bodies!r}, *{{'boto3', 'http.client'}} & {{*sys.modules}})"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["True"]


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for the name localhost, its own authority, and a server that has it."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    words = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost")
    name = ("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert))
    subprocess.run(["openssl", "req", *words, *name], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context


@needs_openssl()
def test_over_tls_bodies_come_with_the_given_authority(
    point_at: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    """The strict way does not know that authority, so every body has come this way."""
    cert, context = certificate
    big = bytes(range(256)) * 2_000
    etag = f'"{md5(big).hexdigest()}"'
    head = b"HTTP/1.1 200 OK\r\nETag: %s\r\nContent-Length: %d\r\n\r\n" % (etag.encode(), len(big))
    with serving(Script(lambda n: [head + big[:100_000], big[100_000:]], context)) as script:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(cert))
        point_at(f"https://localhost:{script.port}")
        store = open_store("s3://raw")
        wanted = [RawObject(f"k{i}", len(big), etag) for i in range(40)]
        assert list(store.get_many(wanted)) == [big] * 40
        assert sorted(script.paths) == sorted(f"/raw/k{i}" for i in range(40))


@needs_openssl()
@pytest.mark.parametrize("why", ["nobody knows the authority", "the certificate has another name"])
def test_a_server_that_is_not_known_gets_no_request(
    point_at: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    certificate: tuple[Path, ssl.SSLContext],
    why: str,
) -> None:
    cert, context = certificate
    with serving(Script(lambda n: [GOOD + BODY], context)) as script:
        if why.startswith("the certificate"):
            monkeypatch.setenv("AWS_CA_BUNDLE", str(cert))
        point_at(f"https://{'127.0.0.1' if why.startswith('the') else 'localhost'}:{script.port}")
        with pytest.raises(StoreError):
            list(open_store("s3://raw").get_many(items(3)))
        assert script.requests == []

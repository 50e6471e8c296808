"""Small GETs without a client: signed as botocore signs, and taken only if the answer is the planned one."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from briquette.errors import PreconditionFailed, StoreError
from briquette.model import RawObject
from briquette.storage.interface import if_match
from briquette.storage.opening import open_store
from briquette.storage.s3 import small_gets, wires
from briquette.storage.s3.exchange import exchange
from briquette.storage.s3.sigv4 import Credentials, Signer, encoded
from briquette.storage.s3.wires import Answer, Host, Wanted, Wires
from tests.needs import needs_openssl
from tests.servers import Bucket

_pause = threading.Event().wait  # the pauses of retries are taken out of time.sleep
BODY = b"0123456789"
ETAG = f'"{md5(BODY).hexdigest()}"'
GOOD = b"HTTP/1.1 200 OK\r\nETag: %s\r\nContent-Length: 10\r\n\r\n" % ETAG.encode()


# -- signatures ------------------------------------------------------------------------------------


@given(
    key=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30),
    token=st.sampled_from(["", "FwoGZXIvYXdzE+/="]),
    host=st.sampled_from(["127.0.0.1:9000", "raw.s3.eu-west-1.amazonaws.com"]),
    now=st.integers(1_600_000_000, 1_900_000_000),
    asked=st.sampled_from([("GET", ETAG), ("DELETE", ETAG), ("DELETE", "")]),
)
def test_requests_are_signed_as_botocore_signs_them(
    key: str, token: str, host: str, now: int, asked: tuple[str, str]
) -> None:
    method, etag = asked
    path = encoded(f"/bucket/{key}")
    found = Signer(host, "eu-west-1", Credentials("AKID", "secret/+", token)).head(path, etag, now, method)
    headers = {"If-Match": etag} if etag else {}
    request = AWSRequest(method, f"http://{host}{path}", headers=headers)
    request.context["timestamp"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    auth = S3SigV4Auth(BotocoreCredentials("AKID", "secret/+", token or None), "s3", "eu-west-1")
    auth._modify_request_before_signing(request)
    canonical = auth.canonical_request(request)
    auth._inject_signature_to_request(
        request, auth.signature(auth.string_to_sign(request, canonical), request)
    )
    lines = found.decode().split("\r\n")
    assert lines[0] == f"{method} {path} HTTP/1.1"
    sent = dict(line.split(": ", 1) for line in lines[1:-2])
    assert sent == {"host": host} | {name.lower(): value for name, value in request.headers.items()}


@pytest.mark.parametrize(
    "key", ["a b", "a+b", "a=b", "a%41", "a~b", "ü/\U0001f9f1", "a&b?c#d", "a:b@c'(d)*!$,;"]
)
def test_odd_keys_are_sent_as_botocore_sends_them(key: str) -> None:
    from botocore.utils import percent_encode

    assert encoded(key) == percent_encode(key, safe="/~")


def test_a_day_and_a_second_later_the_signature_is_another() -> None:
    signer = Signer("h", "r", Credentials("k", "s"))
    heads = [signer.head("/b/k", ETAG, now) for now in (0, 0, 1, 86_400, 0)]
    assert len(set(heads)) == 3
    assert heads[0] == heads[1] == heads[4]


# -- answers ---------------------------------------------------------------------------------------


@dataclass
class Script:
    """A server that answers each request with the bytes that it is told, piece by piece; None: it closes."""

    answers: Callable[[int], list[bytes] | None]
    tls: ssl.SSLContext | None = None
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
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
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
            if i:
                _pause(0.02)
            wire.sendall(piece)


def ask(script: Script, numbers: int = 1, *, seconds: float = 5.0) -> list[Answer]:
    """What becomes of requests for ``BODY``, one after the other."""
    found: list[Answer] = []
    request = b"GET /raw/k HTTP/1.1\r\n\r\n"
    connections = Wires(Host("127.0.0.1", script.port, None), lambda number: request, seconds, seconds)
    try:
        for number in range(numbers):
            connections.begin(Wanted(number, len(BODY), ETAG))
            until = time.monotonic() + 10
            while len(found) <= number and time.monotonic() < until:
                found += connections.poll(0.1)
    finally:
        connections.close()
    return found


def test_an_answer_may_come_in_pieces_and_a_connection_serves_many() -> None:
    whole = GOOD + BODY
    pieces = [
        [whole],
        [whole[:9], whole[9:]],
        [whole[:-1], whole[-1:]],
        [GOOD, BODY],
        [GOOD[:-2], GOOD[-2:] + BODY],
    ]
    with serving(Script(lambda n: pieces[n])) as script:
        found = ask(script, len(pieces))
        assert found == [Answer(n, BODY, "", sent=True) for n in range(len(pieces))]
        assert script.most_open == 1


def test_a_server_that_closes_after_each_answer_gets_a_new_connection_for_each() -> None:
    closing = GOOD[:-2] + b"Connection: close\r\n\r\n" + BODY
    with serving(Script(lambda n: [closing])) as script:
        assert [answer.body for answer in ask(script, 3)] == [BODY] * 3


def test_a_connection_that_the_server_closed_while_idle_is_not_used_again() -> None:
    with serving(Script(lambda n: [GOOD + BODY] if n % 2 == 0 else None)) as script:
        connections = Wires(Host("127.0.0.1", script.port, None), lambda n: b"GET / HTTP/1.1\r\n\r\n", 5, 5)
        connections.begin(Wanted(0, len(BODY), ETAG))
        while not list(connections.poll(1)):
            pass
        (wire,) = connections._idle
        wire.sock.shutdown(socket.SHUT_RD)  # as if the server's end had come
        assert list(connections.poll(1)) == []
        assert connections._idle == []
        connections.close()


ODD = {
    "another status": b"HTTP/1.1 206 Partial Content\r\nETag: %s\r\nContent-Length: 10\r\n\r\n"
    % ETAG.encode()
    + BODY,
    "an older protocol": GOOD.replace(b"1.1", b"1.0") + BODY,
    "another length": GOOD.replace(b"10", b"9") + BODY[:9],
    "two lengths": GOOD[:-2] + b"content-length: 11\r\n\r\n" + BODY,
    "no length": GOOD.replace(b"Content-Length: 10\r\n", b"") + BODY,
    "chunks": GOOD[:-2] + b"Transfer-Encoding: chunked\r\n\r\na\r\n" + BODY,
    "another etag": GOOD.replace(ETAG.encode(), b'"other"') + BODY,
    "no etag": GOOD.replace(b"ETag", b"Tag") + BODY,
    "bytes behind the end": GOOD + BODY + b"HTTP/1.1",
    "no end of the head": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000,
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD + BODY,
    "nonsense": b"\x00" * 70_000,
}


@pytest.mark.parametrize("what", ODD)
def test_any_other_answer_is_a_failure_that_may_have_reached_the_server(what: str) -> None:
    with serving(Script(lambda n: [ODD[what]])) as script:
        started = time.monotonic()
        (answer,) = ask(script, seconds=30)
        assert time.monotonic() - started < 5  # noticed at once, and not when the time is over
    assert (answer.body, answer.sent) == (None, True)
    assert answer.failure


@pytest.mark.parametrize("pieces", [None, [], [GOOD[:20]], [GOOD + BODY[:9]]])
def test_a_server_that_goes_away_or_falls_silent_is_a_failure(pieces: list[bytes] | None) -> None:
    with serving(Script(lambda n: pieces)) as script:
        (answer,) = ask(script, seconds=0.5)
    assert (answer.body, answer.sent) == (None, True)


def test_where_nobody_listens_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (answer,) = ask(Script(lambda n: None, port=port))
    assert (answer.body, answer.sent) == (None, False)


def test_a_broken_address_is_left_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Script(lambda n: [GOOD + BODY])) as script, socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()
        closed.close()
        both = [(socket.AF_INET, 1, 6, "", dead), (socket.AF_INET, 1, 6, "", ("127.0.0.1", script.port))]
        monkeypatch.setattr(wires.socket, "getaddrinfo", lambda *_, **__: both)
        found = ask(script, 6)
    assert [answer.body for answer in found] == [None, *[BODY] * 5]


# -- many ------------------------------------------------------------------------------------------


@pytest.fixture
def point_at(monkeypatch: pytest.MonkeyPatch, s3: Bucket) -> Callable[[str], None]:
    monkeypatch.setattr("briquette.storage.s3.retry.time.sleep", lambda _: None)
    return lambda endpoint: monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)


def items(count: int) -> list[RawObject]:
    return [RawObject(f"k{i}", len(BODY), ETAG) for i in range(count)]


def test_no_more_connections_are_open_than_a_process_may_have(
    point_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "CONNECTIONS", 12)
    with serving(Script(lambda n: [b"", GOOD + BODY])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        store = open_store("s3://raw")
        assert list(store.get_many(items(60))) == [BODY] * 60
        assert 2 <= script.most_open <= 12
        assert store.requests.as_dict() == {"GET": 60}
    assert wires._open_sockets == 0


def test_half_of_the_files_that_a_process_may_open_are_left_to_others(
    point_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "getrlimit", lambda _: (24, 1_000))
    with serving(Script(lambda n: [b"", GOOD + BODY])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        assert list(open_store("s3://raw").get_many(items(200))) == [BODY] * 200
        assert 8 <= script.most_open <= 12


def test_without_a_limit_of_open_files_and_over_tls_the_number_of_connections_is_ours(
    point_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "getrlimit", lambda _: (wires.RLIM_INFINITY, wires.RLIM_INFINITY))
    for scheme, most in (("http", wires.CONNECTIONS), ("https", small_gets.MOST_TLS)):
        point_at(f"{scheme}://127.0.0.1:9")
        gets = open_store("s3://raw")._small_gets()  # type: ignore[attr-defined]
        assert gets.wires(lambda _: b"")._most == wires.CONNECTIONS
        assert gets.side_by_side(100_000) == small_gets.MOST_MISSES
        gets._proved = True
        assert [gets.side_by_side(n) for n in (10, 1_000, 100_000)] == [small_gets.MOST_MISSES, 125, most]


def test_a_reader_that_stops_leaves_no_connection_open(point_at: Callable[[str], None]) -> None:
    with serving(Script(lambda n: [GOOD + BODY])) as script:
        point_at(f"http://127.0.0.1:{script.port}")
        bodies = open_store("s3://raw").get_many(items(1_000))
        assert next(bodies) == BODY
        bodies.close()  # type: ignore[attr-defined]
        assert wires._open_sockets == 0
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


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy", "AWS_SKIP_SIGNATURE", "AWS_REQUEST_PAYER"])
def test_what_only_a_client_knows_is_left_to_it(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1" if "proxy" in name.lower() else "true")
    assert open_store(s3.url)._small_gets() is None  # type: ignore[attr-defined]


# -- removals --------------------------------------------------------------------------------------


def test_a_removal_and_its_condition_go_without_boto3(s3: Bucket) -> None:
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
    assert store.connection._control is None  # type: ignore[attr-defined]


def test_after_many_removals_and_for_odd_keys_boto3_does_them(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_gets, "MOST_DELETES", 1)
    store = open_store(s3.url)
    for key in ("raw/a", "raw/b"):
        store.put(key, BODY)
        store.delete(key)
        assert store.stat(key) is None
    assert store.connection._control is not None  # type: ignore[attr-defined]


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


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 9\r\n\r\n", b"<Code>P</", b"and more"],
        [b"HTTP/1.1 412 P", b"F\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n<Code>", b"P</\r\n0\r\n\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 412 PF\r\ncontent-length: 9\r\n\r\n<Code>P</"],
    ],
)
def test_the_answer_to_a_removal_is_read_whatever_its_form(pieces: list[bytes]) -> None:
    with serving(Script(lambda n: pieces)) as script:
        found = exchange(Host("127.0.0.1", script.port, None), b"DELETE / HTTP/1.1\r\n\r\n", "DELETE", 5, 5)
    assert found == (412, b"<Code>P</")


@pytest.mark.parametrize(
    "pieces", [None, [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"], [b"nonsense" * 9_000]]
)
def test_of_an_answer_that_does_not_end_nobody_knows_what_was_done(pieces: list[bytes] | None) -> None:
    with serving(Script(lambda n: pieces)) as script, pytest.raises(ConnectionError):
        exchange(Host("127.0.0.1", script.port, None), b"DELETE / HTTP/1.1\r\n\r\n", "DELETE", 5, 0.5)


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

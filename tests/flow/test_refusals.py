"""Who should act: what a store refuses, a place that is not there, an endpoint that nobody serves."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from briquette.errors import (
    EXIT_REFUSED,
    EXIT_RETRYABLE,
    AccessDenied,
    NoSpace,
    NoSuchBucket,
    StoreError,
    StoreRefused,
)
from briquette.pipeline.backfill import backfill
from briquette.storage.local.store import LocalStore
from tests.flow.test_cli import NAMES, SCHEMA, briquette, document
from tests.flow.test_compaction import land, lines, row


@dataclass
class Answers:
    """A server that claims to be S3 and gives one answer to everything."""

    endpoint: str = ""
    status: int = 200
    code: str = ""
    message: str = "so it is"
    more: str = ""  # XML beside code and message
    requests: int = 0


@contextmanager
def answering(answers: Answers) -> Iterator[Answers]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answers.requests += 1
            said = f"<Code>{answers.code}</Code><Message>{answers.message}</Message>{answers.more}"
            body = f"<Error>{said}</Error>".encode()
            self.send_response(answers.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    for verb in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        setattr(Handler, f"do_{verb}", Handler._answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    answers.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield answers
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def keys(monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


REFUSED = [
    (403, "AccessDenied", AccessDenied, "policy"),
    (403, "InvalidAccessKeyId", AccessDenied, "AWS_ACCESS_KEY_ID"),
    (403, "SignatureDoesNotMatch", AccessDenied, "AWS_SECRET_ACCESS_KEY"),
    (401, "Unauthorized", AccessDenied, "credentials"),
    (400, "ExpiredToken", AccessDenied, "fresh credentials"),
    (404, "NoSuchBucket", NoSuchBucket, "URL"),
    (400, "AuthorizationHeaderMalformed", StoreRefused, "AWS_REGION=eu-west-3"),
    (400, "InvalidArgument", StoreRefused, "message"),
    (501, "NotImplemented", StoreRefused, "message"),
    (507, "XMinioStorageFull", NoSpace, "space"),
]


@pytest.mark.parametrize(("status", "code", "kind", "hint"), REFUSED, ids=str)
def test_what_a_store_refuses_is_asked_once_and_said_in_its_own_words(
    keys, monkeypatch, tmp_path, status, code, kind, hint
):
    answers = Answers(
        status=status, code=code, message="Its own &amp; words", more="<Region>eu-west-3</Region>"
    )
    with answering(answers):
        monkeypatch.setenv("AWS_ENDPOINT_URL", answers.endpoint)
        (tmp_path / "s.toml").write_text(SCHEMA)
        places = ("--input", "s3://bucket/raw", "--output", tmp_path / "out")
        done = briquette("compact", *places, "--schema", tmp_path / "s.toml", "--json")
    assert done.returncode == kind.exit_code == EXIT_REFUSED == 6, done.stderr
    error = document(done)["error"]
    assert error["name"] == kind.__name__
    assert hint in error["hint"]
    if kind is not NoSuchBucket:
        assert "Its own & words" in error["message"]
    assert answers.requests <= 2  # the listing, and who looks at the output meanwhile


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (403, "RequestTimeTooSkewed")])
def test_what_may_pass_stays_worth_a_retry(keys, monkeypatch, tmp_path, status, code):
    monkeypatch.setattr("briquette.storage.s3.retry.Retry.pause", lambda *_: None)
    with answering(Answers(status=status, code=code)) as answers:
        monkeypatch.setenv("AWS_ENDPOINT_URL", answers.endpoint)
        from briquette.storage.s3.store import S3Store

        with pytest.raises(StoreError) as caught:
            list(S3Store("bucket").list("raw/"))
    assert caught.value.exit_code == EXIT_RETRYABLE


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EACCES, AccessDenied),
        (errno.EPERM, AccessDenied),
        (errno.EROFS, AccessDenied),
        (errno.ENAMETOOLONG, StoreRefused),
        (errno.EIO, StoreError),
    ],
)
def test_a_disk_that_refuses_is_no_network_that_fails(tmp_path, monkeypatch, number, kind):
    def write(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("briquette.storage.local.files.os.write", write)
    with pytest.raises(StoreError) as caught:
        LocalStore(str(tmp_path)).put("k", b"bytes")
    assert type(caught.value) is kind
    assert caught.value.exit_code == (EXIT_RETRYABLE if kind is StoreError else EXIT_REFUSED)
    assert os.strerror(number) in caught.value.message


def test_an_output_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    land(tmp_path / "raw", {"a.json": lines([row(1)])})
    done = briquette("compact", "--input", tmp_path / "raw", "--output", tmp_path / "file" / "out")
    assert done.returncode == EXIT_REFUSED, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["compact", "plan", "infer"])
@pytest.mark.parametrize("missing", ["nowhere", "raw/a.json"])
def test_a_place_that_is_not_there_or_is_a_file_is_usage_and_not_empty(tmp_path, command, missing):
    land(tmp_path / "raw", {"a.json": lines([row(1)])})
    out = () if command == "infer" else ("--output", tmp_path / "out")
    done = briquette(command, "--input", tmp_path / missing, *out)
    assert done.returncode == 2, done.stdout + done.stderr
    assert str(tmp_path / missing) in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_day_without_a_folder_is_empty_where_the_root_is_there(tmp_path):
    places = ("--raw", tmp_path / "raw", "--curated", tmp_path / "curated")
    assert briquette("compact", *places, *NAMES).returncode == 2
    (tmp_path / "raw").mkdir()
    assert briquette("compact", *places, *NAMES).returncode == 3


def test_on_s3_a_prefix_without_objects_is_empty_and_an_object_is_no_prefix(s3, tmp_path):
    from briquette.storage.opening import open_store

    open_store(s3.url).put("raw/a.json", lines([row(1)]))
    (tmp_path / "s.toml").write_text(SCHEMA)
    words = ("--output", tmp_path / "out", "--schema", tmp_path / "s.toml")
    assert briquette("compact", "--input", f"{s3.url}/nothing", *words).returncode == 3
    one = briquette("compact", "--input", f"{s3.url}/raw/a.json", *words)
    assert one.returncode == 2, one.stdout
    assert "one object" in one.stderr
    gone = briquette("compact", "--input", f"{s3.url}-gone/raw", *words)
    assert gone.returncode == EXIT_REFUSED
    assert "NoSuchBucket" in gone.stderr


def test_the_later_stages_and_doctor_say_so_too(tmp_path):
    places = ("--raw", tmp_path / "nowhere", "--curated", tmp_path / "nor-here")
    assert briquette("transform", *places, *NAMES).returncode == 2
    words = ("--curated", tmp_path / "nor-here", "--domain", "market", "--ds", "2025-09-09")
    assert briquette("indicators", *words).returncode == 2
    asked = briquette("doctor", "--raw", tmp_path / "nowhere")
    assert (asked.returncode, "does not exist" in asked.stdout) == (1, True)


def test_a_dataset_that_is_not_there_is_usage(tmp_path):
    for command in ("inspect", "verify"):
        assert briquette(command, tmp_path / "nowhere").returncode == 2


@pytest.mark.parametrize("empty", [{}, {"a.json": b""}, {"a.json": b"\n\n", "b.csv": b""}])
def test_nothing_to_do_is_the_same_with_and_without_a_schema(tmp_path, empty):
    land(tmp_path / "raw", empty)
    (tmp_path / "raw").mkdir(exist_ok=True)
    (tmp_path / "s.toml").write_text(SCHEMA)
    places = ("--input", tmp_path / "raw", "--output", tmp_path / "out")
    assert briquette("compact", *places, "--schema", tmp_path / "s.toml").returncode == 3
    assert briquette("compact", *places, "--unique-key", "id").returncode == 3
    assert briquette("compact", *places, "--on-empty", "fail").returncode == 4
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:9000",
        "localhost",
        "ftp://h:1",
        "http://",
        "http://h:x",
        "http://h:9000 ",
        "http://u:secret@h:1",
    ],
)
def test_an_endpoint_that_is_no_url_is_usage(keys, monkeypatch, tmp_path, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    done = briquette("infer", "--input", "s3://bucket/raw")
    assert done.returncode == 2, done.stderr
    assert "AWS_ENDPOINT_URL" in done.stderr
    assert "panicked" not in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("url", "region"), [("s3://bad bucket/raw", "eu-west-1"), ("s3://bucket/raw", "eu west")]
)
def test_names_at_which_a_client_would_panic_are_usage(keys, monkeypatch, url, region):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", region)
    done = briquette("infer", "--input", url)
    assert (done.returncode, "panicked" in done.stderr) == (2, False), done.stderr


def test_an_endpoint_that_nobody_serves_ends_soon_and_says_so(keys, monkeypatch):
    from briquette.storage.s3.store import S3Store

    pauses: list[int] = []
    monkeypatch.setattr("briquette.storage.s3.retry.Retry.pause", lambda _, attempt: pauses.append(attempt))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError) as caught:
        list(S3Store("bucket").list("raw/"))
    assert (caught.value.exit_code, pauses) == (EXIT_RETRYABLE, [])
    assert "127.0.0.1:9: Connection refused" in caught.value.message
    assert "AWS_ENDPOINT_URL" in caught.value.hint


def test_a_store_that_has_answered_is_asked_again_when_it_is_away(keys, monkeypatch):
    from briquette.storage.s3.store import S3Store

    pauses: list[int] = []
    monkeypatch.setattr("briquette.storage.s3.retry.Retry.pause", lambda _, attempt: pauses.append(attempt))
    with answering(Answers(status=404, code="NoSuchKey")) as answers:
        monkeypatch.setenv("AWS_ENDPOINT_URL", answers.endpoint)
        store = S3Store("bucket")
        assert store.stat("k") is None
    with pytest.raises(StoreError):
        store.stat("k")
    assert len(pauses) == 6


def test_a_cluster_that_nobody_serves_is_not_waited_for(monkeypatch):
    from briquette.errors import UsageError, WorkerLost
    from briquette.executors import open_executor

    def waits(*_, **__):
        raise AssertionError("Dask would try for half a minute, Ray for two")

    monkeypatch.setattr("distributed.Client", waits)
    with pytest.raises(WorkerLost, match="Connection refused") as caught:
        open_executor("auto", scheduler="tcp://127.0.0.1:9").map(str, [1], print)
    assert "--scheduler" in caught.value.hint
    with pytest.raises(UsageError):
        open_executor("auto", scheduler="localhost").map(str, [1], print)
    pytest.importorskip("ray")
    monkeypatch.setattr("ray.init", waits)
    with pytest.raises(WorkerLost, match="Connection refused"):
        open_executor("auto", ray_address="127.0.0.1:9").map(str, [1], print)


def test_a_profile_that_does_not_exist_is_usage(monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    done = briquette("infer", "--input", "s3://bucket/raw")
    assert (done.returncode, "no-such-profile" in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_refused_day_tells_a_backfill_what_to_do(monkeypatch):
    from tests.flow.test_days import ended, targets

    day = ended("2025-01-01", error=AccessDenied("x"))
    assert backfill(targets(1), lambda _: day).exit_code == EXIT_REFUSED

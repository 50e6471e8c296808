"""A real S3 server on this machine, for tests. `tests/faults.py` breaks the wire in front of it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The server ends when the pipe to its standard input closes, so not even a killed test run leaves one behind.
_RUN = """
import os, runpy, sys, threading
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
# Microburst 0.10 takes the length from all answers. S3 always says it, and obstore takes none without it.
_KEEP_LENGTHS = """
import microburst.forward
microburst.forward.HOP_BY_HOP -= {"content-length"}
"""
START_SECONDS = 60.0
PORT = "{port}"  # among the words of a command: the port that was free


@dataclass(frozen=True, slots=True)
class Bucket:
    """A fresh bucket; the environment of the test points at its server."""

    endpoint: str
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}"


@contextlib.contextmanager
def ministack(folder: Path) -> Iterator[str]:
    """The endpoint of a MiniStack that listens on this machine only."""
    with _server("ministack", folder, "/_ministack/health") as endpoint:
        yield endpoint


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[str]:
    """The endpoint of a moto server: S3 that ignores some conditions of large objects."""
    with _server("moto.server", folder, "/moto-api/", "-H", "127.0.0.1", "-p", PORT) as endpoint:
        yield endpoint


@contextlib.contextmanager
def microburst(upstream: str, folder: Path) -> Iterator[str]:
    """The endpoint of a microburst, which injects faults by rules, in front of an S3 server."""
    words = ("--upstream", upstream, "--port", PORT)
    with _server("microburst", folder, "/_microburst/health", *words, before=_KEEP_LENGTHS) as endpoint:
        yield endpoint


def new_bucket(endpoint: str) -> Bucket:
    """Make a bucket with an unlikely name; the local server asks for no signature."""
    name = f"t-{uuid.uuid4().hex[:16]}"
    request = urllib.request.Request(f"{endpoint}/{name}", method="PUT", headers={"Authorization": _SIGNED})
    urllib.request.urlopen(request, timeout=30).close()
    return Bucket(endpoint, name)


def promote(source: Bucket, target: Bucket, prefix: str = "", *, metadata: bool = True) -> None:
    """Copy every object below a prefix; it gets another etag than it had, as by a copy in parts."""
    import boto3

    client = boto3.client("s3")
    for item in client.list_objects_v2(Bucket=source.name, Prefix=prefix)["Contents"]:
        there, here = ({"Bucket": b.name, "Key": item["Key"]} for b in (source, target))
        found = client.get_object(**there)
        begun = client.create_multipart_upload(**here, Metadata=found["Metadata"] if metadata else {})
        upload = {**here, "UploadId": begun["UploadId"]}
        part = client.upload_part(**upload, PartNumber=1, Body=found["Body"].read())
        parts = [{"ETag": part["ETag"], "PartNumber": 1}]
        client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})


def environment(endpoint: str) -> dict[str, str]:
    """The variables with which any AWS client reaches ``endpoint`` and nothing else."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


_SIGNED = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
)


@contextlib.contextmanager
def _server(module: str, folder: Path, ready: str, *words: str, before: str = "") -> Iterator[str]:
    for last in (False, False, True):  # another process may take the port between choosing and binding
        port = free_port()
        endpoint = f"http://127.0.0.1:{port}"
        log = folder / f"{module}-{port}.log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    before + _RUN,
                    module,
                    *(str(port) if w == PORT else w for w in words),
                ],
                cwd=folder,
                env={
                    **os.environ,
                    "BIND_HOST": "127.0.0.1",
                    "GATEWAY_PORT": str(port),
                    "LOG_LEVEL": "WARNING",
                },
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            if _wait_until_ready(server, f"{endpoint}{ready}"):
                yield endpoint
                return
            if last:
                raise RuntimeError(f"{module} did not start: {log.read_text(errors='replace')[-2000:]}")
        finally:
            assert server.stdin is not None
            server.stdin.close()
            server.terminate()
            server.wait(timeout=20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: subprocess.Popen[bytes], url: str) -> bool:
    until = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
        else:
            return True
    return False

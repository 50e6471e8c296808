"""Raw and curated behind S3 on this machine: a MiniStack, a server of raw objects, and what both cost."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CURATED = "curated"
START_SECONDS = 60.0
_SIGNED = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
)
# The server ends when the pipe to its standard input closes, so a suite that is killed leaves none behind.
_RUN = """
import os, runpy, sys, threading
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True, slots=True)
class Lab:
    """A running pair of servers."""

    endpoint: str
    server_pid: int
    raw_server_pid: int

    def environment(self) -> dict[str, str]:
        """The variables with which a client reaches it and nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def cpu_seconds(self) -> tuple[float, float]:
        """CPU seconds of the two servers since they started."""
        return _cpu_seconds(self.server_pid), _cpu_seconds(self.raw_server_pid)

    def fetch(self, prefix: str, folder: Path) -> list[Path]:
        """Download what a peer published below a prefix of the curated bucket."""
        import boto3
        from botocore.config import Config

        variables = self.environment()
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            config=Config(s3={"addressing_style": "path"}),
        )
        found = []
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=CURATED, Prefix=prefix)
        for key in [item["Key"] for page in pages for item in page.get("Contents", ())]:
            if key.endswith(".parquet"):
                place = folder / key.removeprefix(prefix).lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                client.download_file(CURATED, key, str(place))
                found.append(place)
            client.delete_object(Bucket=CURATED, Key=key)
        return found


@contextlib.contextmanager
def lab(raw: Path, latency_ms: float) -> Iterator[Lab]:
    """Servers for one raw folder, up while in the block."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="briquette-bench-s3-"))
        port = _free_port()
        own = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "LOG_LEVEL": "WARNING"}
        server = subprocess.Popen(
            [sys.executable, "-c", _RUN, "ministack"],
            cwd=folder,
            env={**os.environ, **own},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(_end, server)
        _wait_until_ready(server, f"http://127.0.0.1:{port}/_ministack/health")
        bucket = urllib.request.Request(
            f"http://127.0.0.1:{port}/{CURATED}", method="PUT", headers={"Authorization": _SIGNED}
        )
        urllib.request.urlopen(bucket, timeout=30).close()  # noqa: S310
        raw_server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.raw_server", str(raw), str(port), str(latency_ms)],
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        stack.callback(_end, raw_server)
        assert raw_server.stdout is not None
        told = raw_server.stdout.readline()
        if not told:
            raise RuntimeError("the server of raw objects did not start")
        yield Lab(f"http://127.0.0.1:{int(told)}", server.pid, raw_server.pid)


def _end(server: subprocess.Popen[bytes]) -> None:
    for stream in (server.stdin, server.stdout):
        if stream is not None:
            stream.close()
    server.terminate()
    server.wait(timeout=20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("MiniStack did not start")


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

"""A Dask cluster that speaks TLS only: the same bytes with its certificates, a clear error without them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dask
import distributed  # noqa: F401 - its defaults come before the settings of a test
import pytest

from briquette import compact
from briquette.compaction.options import RunOptions
from briquette.errors import UsageError
from tests.needs import needs_openssl
from tests.reliability.small_days import SCHEMA, write_day

pytestmark = needs_openssl()

DASK = Path(sys.executable).with_name("dask")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One self-signed certificate, its own authority, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    words = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost")
    command = ["openssl", "req", *words, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def settings(cert: Path, key: Path) -> dict[str, object]:
    """What a user puts into Dask's configuration."""
    tls = "distributed.comm.tls"
    sides = {
        f"{tls}.{side}.{what}": str(path)
        for side in ("client", "scheduler", "worker")
        for what, path in (("cert", cert), ("key", key))
    }
    return {f"{tls}.ca-file": str(cert), "distributed.comm.require-encryption": True, **sides}


@contextmanager
def cluster(cert: Path, key: Path, folder: Path) -> Iterator[str]:
    """`dask scheduler` and one `dask worker`, as a person starts them with TLS."""
    tls = ("--tls-ca-file", str(cert), "--tls-cert", str(cert), "--tls-key", str(key))
    common = ("--host", "127.0.0.1", "--protocol", "tls", "--no-dashboard", *tls)
    with ExitStack() as stack:

        def start(*words: str) -> Path:
            log = folder / f"{words[0]}.log"
            output = stack.enter_context(log.open("wb"))
            started = subprocess.Popen(
                [str(DASK), *words, *common], stdout=output, stderr=subprocess.STDOUT, cwd=Path.cwd()
            )
            stack.callback(started.wait, 20)
            stack.callback(started.terminate)
            return log

        address = _found(start("scheduler", "--port", "0"), r"Scheduler at:\s+(tls://[\d.:]+)")
        worker = start("worker", address, "--nthreads", "1", "--no-nanny")
        _found(worker, r"(Registered to)")
        yield address


def _found(log: Path, pattern: str) -> str:
    import time

    for _ in range(300):
        match = re.search(pattern, log.read_text(errors="replace"))
        if match:
            return match[1]
        time.sleep(0.1)
    raise AssertionError(f"{pattern!r} never came: {log.read_text(errors='replace')[-2000:]}")


def test_a_cluster_that_speaks_tls_gives_the_same_bytes(
    tmp_path: Path, certificate: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    from briquette.storage.opening import open_store

    write_day(open_store(str(tmp_path)), "raw/")

    def made(name: str, options: RunOptions) -> list[str]:
        done = compact(input=tmp_path / "raw", output=tmp_path / name, schema=SCHEMA, options=options)
        assert done.manifest is not None
        return [file.sha256 for file in done.manifest.files]

    here = made("serial", RunOptions(executor="serial"))
    with cluster(*certificate, tmp_path) as address:
        with dask.config.set(settings(*certificate)):
            assert made("tls", RunOptions(scheduler=address)) == here
        assert "without TLS" not in caplog.text
        with pytest.raises(UsageError, match="speaks TLS, and this process has no certificates"):
            made("stranger", RunOptions(scheduler=address))
    assert not (tmp_path / "stranger").exists()

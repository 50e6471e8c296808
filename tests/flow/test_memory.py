"""Peak memory of a real process stays within what the plan projected for it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = b"".join(
    b'{"symbol": "S%04d", "timestamp": "2025-09-09T%02d:%02d:00Z", "close": %d.%02d, "volume": %d}\n'
    % (i % 700, i // 60 % 24, i % 60, i % 500, i % 97, i * 37 % 1_000_003)
    for i in range(60_000)
)
SCHEMA = (
    '[columns]\nsymbol = "string"\ntimestamp = "timestamp[us, UTC]"\nclose = "float64"\nvolume = "int64"\n'
)


def one_plain(folder: Path) -> None:
    (folder / "huge.json").write_bytes(LINES * 24)


def one_compressed(folder: Path) -> None:
    (folder / "huge.json.gz").write_bytes(gzip.compress(LINES, 1) * 24)


def many(folder: Path) -> None:
    for i in range(240):
        (folder / f"o{i:03d}.json").write_bytes(LINES[: len(LINES) // 10].rpartition(b"\n")[0])


@pytest.mark.parametrize("land", [one_plain, one_compressed, many])
@pytest.mark.parametrize("limit", ["", "700MB"])
def test_peak_memory_stays_within_the_projection(land, limit, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    land(raw)
    (tmp_path / "s.toml").write_text(SCHEMA)
    words = ["--input", str(raw), "--output", str(tmp_path / "out"), "--schema", str(tmp_path / "s.toml")]
    plan = json.loads(briquette("plan", *words)[0])
    done, peak = briquette("compact", *words, *(("--memory-limit", limit) if limit else ()))
    assert json.loads(done)["rows"] > 1_000_000
    assert peak <= plan["predicted"]["memory_bytes"]
    if limit:
        assert peak <= 1.2 * 700e6


# The kernel hands a parent's peak on to its child's ru_maxrss, and a test runner grows; VmHWM is its own.
COMMAND = """
import re, sys
from briquette.cli.main import main
try:
    main()
finally:
    status = open("/proc/self/status").read()
    sys.stderr.write(re.search(r"VmHWM:\\s*([0-9]+) kB", status)[1] + "\\n")
"""


def briquette(*words: str) -> tuple[bytes, int]:
    """The process's stdout and its peak resident memory in bytes."""
    command = [sys.executable, "-c", COMMAND, *words, "--json"]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, check=True)
    return done.stdout, int(done.stderr.split()[-1]) * 1024

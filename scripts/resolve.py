"""Try that pip alone can resolve this project: old and new pip, base and every extra, nothing cached.

A lock is what `make install` uses; whoever types `pip install .` has only the ranges of pyproject.toml, and a
resolver that has to try one release of botocore after the other gives up after many minutes, or never.
usage: python scripts/resolve.py [--pips 23.0.1,latest] [--extras ,fast,spark,ray,infra,dev] [--seconds 120]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = "23.0.1"  # what Debian 12 brings
LATEST = "latest"
SECONDS = 120.0
FAILED_LINES = 6


def main() -> None:
    """Fail with what could not be resolved in time, or say how long each took."""
    parser = argparse.ArgumentParser(description="Resolve briquette with pip, from nothing.")
    parser.add_argument("--pips", default=f"{OLDEST},{LATEST}", help="pip releases, by commas")
    parser.add_argument(
        "--extras", default=",".join(("", *extras())), help="extras, by commas; '' is the base"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that one resolution may take")
    told = parser.parse_args()
    late = [
        f"pip {pip}, {extra or 'base'}"
        for pip in told.pips.split(",")
        for extra in told.extras.split(",")
        if not resolved(pip, extra, told.seconds)
    ]
    if late:
        sys.exit(f"not resolved within {told.seconds:.0f} s: {'; '.join(late)}. See docs/decisions/0001.")


def extras() -> tuple[str, ...]:
    """The extras of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return tuple(project["optional-dependencies"])


def resolved(pip: str, extra: str, seconds: float) -> bool:
    """Whether that pip, in a fresh environment and without a cache, finds what to install in time."""
    wanted = f"{ROOT}[{extra}]" if extra else str(ROOT)
    with tempfile.TemporaryDirectory() as scratch:
        python = fresh(Path(scratch) / "venv", pip)
        command = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--no-cache-dir", wanted]
        started = time.monotonic()
        try:
            end = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, check=False, cwd=scratch
            )
            said = end.stderr.strip().splitlines()[-FAILED_LINES:] if end.returncode else []
        except subprocess.TimeoutExpired:
            said = ["took too long"]
        took = time.monotonic() - started
    print(f"pip {pip:<8} {extra or 'base':<6} {took:6.1f} s  {'FAILED' if said else 'resolved'}", flush=True)
    for line in said:
        print(f"    {line}", flush=True)
    return not said


def fresh(place: Path, pip: str) -> str:
    """An environment that has that pip and nothing else; its Python."""
    venv.create(place, with_pip=True)
    python = str(place / "bin" / "python")
    wanted = ["--upgrade", "pip"] if pip == LATEST else [f"pip=={pip}"]
    quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True, env=quiet)
    return python


if __name__ == "__main__":
    main()

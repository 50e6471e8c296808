"""Peers whose requirements contradict ours, each in an environment of its own below the cache folder.

Daft asks for a pyarrow below the one that is locked here. The environment is made on first use and kept;
where the package index cannot be reached, the peer is missing and the results say so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

UV = Path(sys.executable).with_name("uv")
PINS = {"daft": ("daft==0.7.26", "pyarrow==25.0.1")}


def uv_environment() -> dict[str, str]:
    """The variables of a process that runs uv: this one's, and the package index that pip is told to use."""
    told = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    mirror = subprocess.run(told, capture_output=True, text=True, check=False).stdout.strip()
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or mirror
    return {**os.environ, **({"UV_DEFAULT_INDEX": index} if index else {})}


def python(name: str) -> Path:
    """The interpreter of that environment."""
    pins = "-".join(pin.replace("==", "") for pin in PINS[name])
    return Path(tempfile.gettempdir()) / f"briquette-bench-{os.getuid()}" / "side" / pins / "bin" / "python"


@cache
def version(name: str) -> str | None:
    """The pinned version, once its environment stands; None where it cannot be made."""
    made = python(name)
    if not (made.parent / "complete").exists() and not _install(name, made.parents[1]):
        return None
    return PINS[name][0].partition("==")[2]


def _install(name: str, folder: Path) -> bool:
    if not UV.exists():
        return False
    options = [str(UV), "--system-certs", "--quiet"]
    commands = (
        [*options, "venv", "--clear", "--python", sys.executable, str(folder)],
        [*options, "pip", "install", "--python", str(folder / "bin" / "python"), *PINS[name]],
    )
    for command in commands:
        if subprocess.run(command, env=uv_environment(), check=False).returncode:
            return False
    (folder / "bin" / "complete").touch()
    return True

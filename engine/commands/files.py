"""Files that a command is told to read or write."""

from __future__ import annotations

from pathlib import Path

from engine.errors import UsageError


def read_file(path: Path) -> bytes:
    """The bytes of a file; raises ``UsageError``."""
    try:
        return path.read_bytes()
    except OSError as cause:
        raise UsageError(f"{path} cannot be read ({cause.strerror}).", hint="Check the path.") from cause


def write_file(path: Path, data: bytes) -> None:
    """Write a file and the folders above it; raises ``UsageError``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as cause:
        raise UsageError(f"{path} cannot be written ({cause.strerror}).", hint="Check the path.") from cause

"""Files that a command is told to read or write."""

from __future__ import annotations

import os
from pathlib import Path

from briquette.errors import UsageError


def read_file(path: Path) -> bytes:
    """The bytes of a file; raises ``UsageError``."""
    try:
        return path.read_bytes()
    except OSError as cause:
        raise UsageError(f"{path} cannot be read ({cause.strerror}).", hint="Check the path.") from cause


def check_writable(path: Path) -> None:
    """Say before the work begins that its result could not be written; raises ``UsageError``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise UsageError(f"{path} cannot be written ({cause.strerror}).", hint="Check the path.") from cause
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        why = "it is a folder" if path.is_dir() else "no permission"
        raise UsageError(f"{path} cannot be written ({why}).", hint="Check the path.")


def write_file(path: Path, data: bytes) -> None:
    """Write a file and the folders above it; raises ``UsageError``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as cause:
        raise UsageError(f"{path} cannot be written ({cause.strerror}).", hint="Check the path.") from cause

"""Python packages that tests install away from .venv, because they fit no lock of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.side import UV, uv_environment


def uv(*arguments: str) -> None:
    """Run uv with the index that pip is told to use; a test that cannot install skips, but fails in CI."""
    if not UV.exists():
        _cannot("uv is not in .venv")
    command = [UV, "--system-certs", "--quiet", *arguments]
    done = subprocess.run(command, env=uv_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        _cannot(f"uv {' '.join(arguments[:3])} … failed: {done.stderr.strip()[-500:]}")


def install_into(folder: Path, packages: Sequence[str]) -> Path:
    """The packages alone, without what they depend on, in a folder for PYTHONPATH."""
    uv("pip", "install", "--python", sys.executable, "--no-deps", "--target", str(folder), *packages)
    return folder


def s3a_jars() -> str:
    """A class path with Hadoop's S3A, 194 MB that come in a PyPI package; kept below the environment."""
    folder = Path(sys.prefix) / "share" / "sagemaker-pyspark-1.4.5"
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}-{os.getpid()}")
        install_into(partial, ["sagemaker-pyspark==1.4.5"])
        partial.rename(folder)
    names = ("hadoop-aws-3.3.1.jar", "aws-java-sdk-bundle-1.11.901.jar")
    return ":".join(str(folder / "sagemaker_pyspark/jars" / name) for name in names)


def _cannot(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)

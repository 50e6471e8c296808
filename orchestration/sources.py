"""The folders that are deployed, copied from this checkout: what Lambdas import, what the image is made of.

A copy holds nothing but what it names, so an asset changes only when its own files do.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What is copied, and where to: the Lambdas' folder is one import root, the image's a checkout.
FUNCTIONS = {
    "engine/briquette": "briquette",
    "config": "briquette/config",
    "orchestration/__init__.py": "orchestration/__init__.py",
    "orchestration/handlers": "orchestration/handlers",
}
CONTAINER = (
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "requirements.lock",
    "scripts/warm.py",
    "config",
    "engine",
    "orchestration/container",
)
SUFFIXES = (".asl.json", ".lock", ".md", ".py", ".sh", ".toml", "LICENSE")


def copy_functions(into: Path) -> Path:
    """The Lambdas' folder: the standard library and boto3 are all that it needs besides."""
    return _copy(FUNCTIONS, into, skip=(".md", ".sh"))


def copy_container(into: Path) -> Path:
    """The build context, with the Dockerfile at its top."""
    _copy({name: name for name in CONTAINER}, into)
    shutil.copy(ROOT / "orchestration/container/Dockerfile", into / "Dockerfile")
    return into


def _copy(names: Mapping[str, str], into: Path, skip: tuple[str, ...] = ()) -> Path:
    shutil.rmtree(into, ignore_errors=True)
    for name, place in names.items():
        source = ROOT / name
        files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
        for path in sorted(files):
            if (
                "__pycache__" in path.parts
                or not path.name.endswith(SUFFIXES)
                or path.name.endswith(skip or " ")
            ):
                continue
            target = into / place / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return into

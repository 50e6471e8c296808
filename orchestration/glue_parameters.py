"""With which parameters the Glue jobs run, for each Glue version; docs/glue.md says why each is there.

Made from ``requirements.lock`` beside the packages: from a checkout, like the stacks and ``make glue``.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from orchestration.sources import ROOT

PLACE = "{artifacts_url}"

# What the engine imports on Glue. Dask, typer and rich belong to the command line and to `read`.
KERNEL = ("boto3", "isal", "numpy", "obstore", "pyarrow")
SCAN = ("numba",)


@dataclass(frozen=True, slots=True)
class Runtime:
    """A Glue version and what it brings."""

    glue: str
    python: str
    spark: str


RUNTIMES = (Runtime("5.1", "3.11", "3.5.6"), Runtime("6.0", "3.13", "4.1.1"))


def parameters(
    wheel: str, scripts: Iterable[str], artifacts_url: str = PLACE, *, scan: bool = False
) -> dict[str, Any]:
    """The parameters of the jobs for each Glue version: default arguments, and where the scripts lie."""
    place = artifacts_url.rstrip("/")
    roots = KERNEL + (SCAN if scan else ())
    return {
        runtime.glue: {
            "glue_version": runtime.glue,
            "python": runtime.python,
            "spark": runtime.spark,
            "scripts": {Path(name).stem: f"{place}/{name}" for name in scripts},
            "default_arguments": {
                "--additional-python-modules": ",".join([f"{place}/{wheel}", *pins(runtime.python, roots)]),
                "--python-modules-installer-option": "--no-deps",
                "--job-bookmark-option": "job-bookmark-disable",
                "--enable-metrics": "true",
                "--enable-continuous-cloudwatch-log": "true",
            },
        }
        for runtime in RUNTIMES
    }


def pins(python: str, roots: Iterable[str]) -> list[str]:
    """``name==version`` from requirements.lock for ``roots`` and all that they need on that Python."""
    marked = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = [Requirement(re.split(r"\s+#", line)[0]) for line in lines if re.match(r"[a-z]", line)]
    versions = {r.name: str(r) for r in locked if r.marker is None or r.marker.evaluate(marked)}
    waiting, found = list(roots), dict[str, str]()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found[name] = versions[name].partition(";")[0].strip()
        needs = (Requirement(text) for text in importlib.metadata.requires(name) or ())
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate(marked)]
    return [found[name] for name in sorted(found)]

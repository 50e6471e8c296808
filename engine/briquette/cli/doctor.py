"""What this machine has, and what the stores of a target honour."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any

from briquette.errors import BriquetteError
from briquette.storage.opening import open_store
from briquette.storage.urls import parse_url
from briquette.version import __version__

LIBRARIES = ("pyarrow", "dask", "distributed", "obstore", "boto3", "numpy", "numba", "pyspark")
NEEDED = frozenset(LIBRARIES) - {"numba", "pyspark"}


def examine(*, raw_url: str = "", curated_url: str = "") -> dict[str, Any]:
    """Versions and memory; that ``raw_url`` can be listed; what ``curated_url`` honours, by writing."""
    libraries = {name: _version(name) for name in LIBRARIES}
    stores = [_readable(raw_url)] if raw_url else []
    stores += [_honours(curated_url)] if curated_url else []
    fine = all(libraries[name] for name in NEEDED) and all(s["ok"] for s in stores)
    return {"ok": fine, "machine": _machine(), "libraries": _named(libraries), "stores": stores}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _named(libraries: dict[str, str]) -> dict[str, str]:
    return {n: v or ("MISSING" if n in NEEDED else "not installed (optional)") for n, v in libraries.items()}


def _machine() -> dict[str, Any]:
    from briquette.cli.text import size_text
    from briquette.compaction.options import default_threads

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "briquette": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": default_threads(),
        "memory": size_text(pages),
        "aws endpoint": os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS",
        "aws region": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "not set",
        "aws keys": _credentials(),
    }


def _credentials() -> str:
    """Where credentials would come from; never what they are."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return "from the environment"
    if os.environ.get("AWS_PROFILE"):
        return f"from the profile {os.environ['AWS_PROFILE']}"
    if os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return "from the container"
    return "none in the environment (AWS's usual places are tried when S3 is used)"


def _readable(url: str) -> dict[str, Any]:
    try:
        place = parse_url(url)
        store = open_store(place.url)
        found = sum(1 for _ in islice(store.list(place.prefix), 1))
        why, hint = ("", "") if found else store.why_nothing(place.prefix)
        if why:
            return {"url": url, "ok": False, "verdict": f"{why} {hint}", "honours": {}}
    except BriquetteError as error:
        return {"url": url, "ok": False, "verdict": str(error), "honours": {}}
    return {"url": url, "ok": True, "verdict": "can be listed", "honours": {"objects found": found > 0}}


def _honours(url: str) -> dict[str, Any]:
    from briquette.publishing.store_probe import DELETE_MATCH, WITHOUT, probe_store

    try:
        place = parse_url(url)
        honours = probe_store(open_store(place.url), place.prefix)
    except BriquetteError as error:
        return {"url": url, "ok": False, "verdict": str(error), "honours": {}}
    broken = {promise: WITHOUT[promise] for promise, kept in honours.items() if not kept}
    verdict = "safe to publish to"
    if broken.keys() == {DELETE_MATCH}:
        verdict = (
            "NOT safe: only a first publish of one part is; replacing it or more parts need --unsafe-store"
        )
    elif broken:
        verdict = "NOT safe: publishing needs --unsafe-store"
    return {"url": url, "ok": not broken, "verdict": verdict, "honours": honours, "broken": broken}

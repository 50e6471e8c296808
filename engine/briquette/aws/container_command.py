"""The container's command line, as preflight writes it (docs/flow.md)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.errors import UsageError
from briquette.model import OnEmpty, Partition, Plan
from briquette.planning.plan import BATCH_MANIFEST_NAME
from briquette.planning.target import Target, resolve_target
from briquette.serialization import plan_from_bytes
from briquette.settings.values import Parser, parse_bytes, positive, whole
from briquette.storage.opening import open_object

_PLACES, _WORDS = ("raw", "curated"), ("domain", "table", "interval", "data_source", "ds")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
SHARE_OF_MEMORY = 0.8  # of the container's limit; the rest is Python, libraries and buffers of the kernel


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}.", hint="docs/flow.md lists what the container takes.")


def _typed(parse: Parser) -> Parser:
    def read(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as cause:
            raise argparse.ArgumentTypeError(f"{text!r} is not {cause}") from None

    return read


@dataclass(frozen=True, slots=True)
class Command:
    """What the container was told: a stored plan or a target, where the result goes, and how to run."""

    plan_uri: str
    target: Target | None
    schema: str
    spec: dict[str, Any]
    result_uri: str
    options: RunOptions

    def plan(self) -> Plan:
        """The stored plan, or one made now."""
        if self.plan_uri:
            return plan_from_bytes(read(self.plan_uri), where=self.plan_uri)
        assert self.target is not None
        spec = resolve_spec(self.target, self.schema or None, self.spec, infers_named=True)
        return make_plan(self.target, spec, self.options)


def parse(argv: Sequence[str]) -> Command:
    """The command in ``argv``; raises ``UsageError``."""
    parser = _Parser(prog="python -m briquette.aws.container", allow_abbrev=False)
    compact = parser.add_subparsers(dest="command", required=True).add_parser("compact", allow_abbrev=False)
    for name in ("plan-uri", "result-uri", "schema", "codec", "memory-limit", *_PLACES, *_WORDS):
        compact.add_argument(f"--{name.replace('_', '-')}", default="")
    compact.add_argument("--compacted-subdir", default="compacted")
    compact.add_argument("--batch-manifest-name", default=BATCH_MANIFEST_NAME)
    compact.add_argument("--target-file-mb", type=_typed(positive))
    compact.add_argument("--threads", type=_typed(whole), default=0)
    compact.add_argument("--force", action="store_true")
    compact.add_argument("--on-empty", choices=tuple(OnEmpty), default=OnEmpty.KEEP)
    said = vars(compact.parse_args(_without_command(argv)))
    places = {name: said[name] for name in _PLACES}
    partition = Partition(**{name: said[name] for name in _WORDS})
    if bool(said["plan_uri"]) == (any(places.values()) or partition != Partition()):
        raise UsageError(
            "the container runs either a stored plan or a target.",
            hint="Pass --plan-uri alone, or --raw, --curated, --domain, --table, --interval, --data-source "
            "and --ds.",
        )
    spec = {name: said[name] for name in ("codec", "target_file_mb") if said[name]}
    return Command(
        plan_uri=said["plan_uri"],
        target=None
        if said["plan_uri"]
        else resolve_target(partition, **places, compacted_subdir=said["compacted_subdir"]),
        schema=said["schema"],
        spec=spec,
        result_uri=said["result_uri"],
        options=RunOptions(
            executor="dask",
            threads=said["threads"],
            memory_limit_bytes=parse_bytes(said["memory_limit"]) if said["memory_limit"] else own_memory(),
            force=said["force"],
            on_empty=OnEmpty(said["on_empty"]),
            batch_manifest=said["batch_manifest_name"],
        ),
    )


def _without_command(argv: Sequence[str]) -> Sequence[str]:
    if not argv or argv[0] != "compact":
        raise UsageError(f"the container has no command {argv[0] if argv else ''!r}.", hint="Use compact.")
    return argv[1:]


def own_memory(limit: Path = CGROUP_LIMIT) -> int | None:
    """The share of the container's memory that splits may fill; None where it has no limit."""
    try:
        text = limit.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(int(text) * SHARE_OF_MEMORY) if text.isdigit() else None


def read(uri: str) -> bytes:
    """The object at a URI."""
    store, key = open_object(uri)
    return store.get(key)


def write(uri: str, body: bytes) -> None:
    """Put an object at a URI."""
    store, key = open_object(uri)
    store.put(key, body)

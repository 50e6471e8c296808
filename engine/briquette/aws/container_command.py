"""The container's command line, as preflight writes it (docs/flow.md)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from briquette.cli.options import parse_bytes
from briquette.compaction.run import RunOptions, inferred_schema, make_plan, resolve_spec, resolve_target
from briquette.errors import EmptyInput, UsageError
from briquette.model import Field, OnEmpty, Plan, Schema
from briquette.planning.plan import BATCH_MANIFEST_NAME
from briquette.planning.target import Target
from briquette.schemas.declared import table_names
from briquette.serialization import plan_from_bytes
from briquette.storage.interface import open_store, parse_url

_WORDS = ("raw", "curated", "domain", "table", "interval", "data_source", "ds")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
SHARE_OF_MEMORY = 0.8  # of the container's limit; the rest is Python, libraries and buffers of the kernel


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}.", hint="docs/flow.md lists what the container takes.")


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
        """The stored plan, or one made now; where no schema is declared it is inferred from the records."""
        if self.plan_uri:
            return plan_from_bytes(read(self.plan_uri), where=self.plan_uri)
        assert self.target is not None
        schema = self.schema or self._schema(self.target)
        return make_plan(self.target, resolve_spec(self.target, schema, self.spec), self.options)

    def _schema(self, target: Target) -> Schema | str:
        name = f"{target.partition.domain}.{target.partition.table}"
        if name in table_names():
            return name
        try:
            return inferred_schema(target)
        except EmptyInput:  # nothing to infer from, and nothing to write: any schema will do
            return Schema((Field("nothing", "string"),))


def parse(argv: Sequence[str]) -> Command:
    """The command in ``argv``; raises ``UsageError``."""
    parser = _Parser(prog="orchestration.container", allow_abbrev=False)
    compact = parser.add_subparsers(dest="command", required=True).add_parser("compact", allow_abbrev=False)
    for name in ("plan-uri", "result-uri", "schema", "codec", "memory-limit", *_WORDS):
        compact.add_argument(f"--{name.replace('_', '-')}", default="")
    compact.add_argument("--compacted-subdir", default="compacted")
    compact.add_argument("--batch-manifest-name", default=BATCH_MANIFEST_NAME)
    compact.add_argument("--target-file-mb", type=float)
    compact.add_argument("--threads", type=int, default=0)
    compact.add_argument("--force", action="store_true")
    compact.add_argument("--on-empty", choices=tuple(OnEmpty), default=OnEmpty.KEEP)
    said = vars(compact.parse_args(_without_command(argv)))
    given = {name: said[name] for name in _WORDS}
    if bool(said["plan_uri"]) == any(given.values()):
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
        else resolve_target(**given, compacted_subdir=said["compacted_subdir"]),
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
    folder, slash, name = uri.rpartition("/")
    place = parse_url(folder or slash or ".")
    return open_store(place.url).get(place.prefix + name)


def write(uri: str, body: bytes) -> None:
    """Put an object at a URI."""
    folder, slash, name = uri.rpartition("/")
    place = parse_url(folder or slash or ".")
    open_store(place.url).put(place.prefix + name, body)

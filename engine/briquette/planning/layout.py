"""Names below an output place: parts and manifest where readers look, everything else hidden."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from briquette import serialization
from briquette.errors import UnsafePath, VerificationFailed
from briquette.model import Location, Manifest, PublishedFile
from briquette.storage.interface import check_writable
from briquette.storage.urls import above

MANIFEST_NAME = "_manifest.json"
VERSIONS = "_versions"
PLAN, SHA256 = "briquette-plan", "briquette-sha256"  # object metadata: which run made it, of which bytes
_PART_NAME = re.compile(r"part-\d{5,}\.parquet")
_PLAN_DIGITS = 16


def part_name(index: int) -> str:
    """The stable name of a part."""
    return f"part-{index:05d}.parquet"


def is_part_name(name: str) -> bool:
    """Whether a name is one that only this engine gives: ``part-00000.parquet``."""
    return _PART_NAME.fullmatch(name) is not None


def is_hidden(path: str) -> bool:
    """Whether readers pass over a path because a segment of it begins with "_" or "."."""
    return any(segment[:1] in ("_", ".") for segment in path.split("/"))


@dataclass(frozen=True, slots=True)
class Layout:
    """Keys of one dataset. ``live`` is its prefix; hidden names lie beside a ``ds=`` folder, else inside.

    >>> Layout.of(Location("s3://b", "prices/compacted/ds=2025-09-09/")).rejects_key("4f" * 32)
    'prices/compacted/_rejects/ds=2025-09-09/4f4f4f4f4f4f4f4f.jsonl'
    >>> Layout.of(Location("/out")).staging("4f" * 32)
    '_staging/4f4f4f4f4f4f4f4f/'
    """

    live: str
    above: str  # where hidden folders lie
    segment: str  # "ds=2025-09-09/" or ""

    @classmethod
    def of(cls, output: Location) -> Layout:
        folder, last = above(output)
        if last.startswith("ds="):
            return cls(output.prefix, folder.prefix, f"{last}/")
        return cls(output.prefix, output.prefix, "")

    @property
    def manifest_key(self) -> str:
        return self.live + MANIFEST_NAME

    @property
    def all_staging(self) -> str:
        return f"{self.above}_staging/{self.segment}"

    @property
    def all_versions(self) -> str:
        return f"{self.above}{VERSIONS}/{self.segment}"

    @property
    def all_rejects(self) -> str:
        return f"{self.above}_rejects/{self.segment}"

    def part_key(self, index: int) -> str:
        return self.live + part_name(index)

    def staging(self, plan_id: str) -> str:
        return f"{self.all_staging}{plan_id[:_PLAN_DIGITS]}/"

    def version(self, plan_id: str, content: str) -> str:
        return f"{self.all_versions}{plan_id[:_PLAN_DIGITS]}-{content[:_PLAN_DIGITS]}/"

    def manifest_body(self, manifest: Manifest) -> bytes:
        """The manifest as it is stored: with keys below ``above``, so that a moved tree stays true."""

        def below(file: PublishedFile) -> PublishedFile:
            return replace(file, key=file.key.removeprefix(self.above))

        return serialization.manifest_to_bytes(_with_files(manifest, below))

    def manifest_of(self, body: bytes, where: str) -> Manifest:
        """The stored manifest with keys of this store; ``VerificationFailed`` also for keys that escape."""

        def here(file: PublishedFile) -> PublishedFile:
            return replace(file, key=check_writable(self.above + file.key, self.above))

        try:
            return _with_files(serialization.manifest_from_bytes(body, where), here)
        except UnsafePath as cause:
            raise VerificationFailed(f"{where} cannot be trusted: {cause.message}", hint=cause.hint) from None

    def rejects_key(self, plan_id: str) -> str:
        return f"{self.all_rejects}{plan_id[:_PLAN_DIGITS]}.jsonl"


def _with_files(manifest: Manifest, change: Callable[[PublishedFile], PublishedFile]) -> Manifest:
    rejects = manifest.rejects_file
    files = tuple(change(f) for f in manifest.files)
    return replace(manifest, files=files, rejects_file=change(rejects) if rejects else None)

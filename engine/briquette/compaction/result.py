"""How a run ended: the value that the command line prints, the Glue jobs log and tests look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from briquette import serialization
from briquette.model import Location, Manifest, Partition, Status


@dataclass(frozen=True, slots=True)
class CompactionResult:
    """How a run ended. ``manifest`` is what is published now (of this run, or of the run that it equals)."""

    status: Status
    partition: Partition
    output: Location
    plan_id: str
    input_fingerprint: str
    raw_objects: int
    raw_bytes: int
    executor: str
    seconds: float
    manifest: Manifest | None
    rejects: int = 0
    splits: int = 0
    splits_reused: int = 0
    message: str = ""
    why: str = ""  # what differed from the dataset that was published before

    def to_dict(self) -> dict[str, Any]:
        """The document of ``compact --json``."""
        made = self.manifest if self.status is not Status.EMPTY else None
        files = made.files if made else ()
        return {
            "status": self.status.value,
            "partition": serialization.to_value(self.partition),
            "output": str(self.output),
            "plan_id": self.plan_id,
            "input_fingerprint": self.input_fingerprint,
            "content_digest": made.content_digest if made else None,
            "records": made.records if made else self.rejects,
            "rows": made.rows if made else 0,
            "rejects": made.rejects if made else self.rejects,
            "duplicates": made.duplicates if made else 0,
            "extra_fields": dict(made.extra_fields) if made else {},
            "duplicate_json_keys": made.duplicate_json_keys if made else 0,
            "rejects_file": made.rejects_file.key if made and made.rejects_file else None,
            "inputs": {"objects": self.raw_objects, "bytes": self.raw_bytes},
            "outputs": {
                "parts": len(files),
                "bytes": sum(f.size_bytes for f in files),
                "files": [
                    {
                        "key": f.key,
                        "bytes": f.size_bytes,
                        "rows": f.rows,
                        "row_groups": f.row_groups,
                        "sha256": f.sha256,
                    }
                    for f in files
                ],
            },
            "splits": {"all": self.splits, "reused": self.splits_reused},
            "seconds": round(self.seconds, 3),
            "executor": self.executor,
            "message": self.message,
            "why": self.why,
            "warnings": list(made.warnings) if made else [],
        }

"""What ``briquette plan`` says of a plan."""

from __future__ import annotations

from typing import Any

from briquette import serialization
from briquette.compaction.options import default_threads
from briquette.compaction.unchanged import compare_with_published
from briquette.model import Plan
from briquette.planning.place_overlap import check_not_published
from briquette.planning.plan import (
    check_same_partition,
    predicted_output_bytes,
    projected_memory_bytes,
    warnings_of,
)
from briquette.publishing.snapshot import observe
from briquette.storage.opening import open_store


def plan_summary(plan: Plan) -> dict[str, Any]:
    """The state found, the splits, and predicted parts and memory."""
    store = open_store(plan.output.url)
    seen = observe(store, plan.output)
    check_not_published(plan.raw, plan.listing, plan.output, seen.visible)
    if seen.manifest:
        check_same_partition(plan.partition, plan.output, seen.manifest)
    found = compare_with_published(plan, seen, open_store(plan.raw.url), store)
    predicted = predicted_output_bytes(plan)
    return {
        "partition": serialization.to_value(plan.partition),
        "raw": str(plan.raw),
        "output": str(plan.output),
        "state": found.state.value,
        "why": found.why,
        "plan_id": plan.plan_id,
        "input_fingerprint": plan.input_fingerprint,
        "inputs": {"objects": len(plan.listing), "bytes": plan.raw_bytes},
        "batch_manifest_objects": len(plan.expected_records),
        "splits": len(plan.splits),
        "codec": plan.spec.codec,
        "target_part_bytes": plan.spec.target_part_bytes,
        "predicted": {
            "bytes": predicted,
            "parts": -(-predicted // plan.spec.target_part_bytes) if plan.listing else 0,
            "memory_bytes": projected_memory_bytes(plan, default_threads()),
        },
        "warnings": list(warnings_of(plan.listing, plan.raw.prefix)),
    }

"""What a run works on: the spec of a target, and the plan of what lies there now."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from briquette.compaction.options import RunOptions
from briquette.compaction.undeclared_schema import declared_or_inferred
from briquette.errors import EmptyInput
from briquette.model import CompactionSpec, Limits, Plan, Schema
from briquette.planning.listing import list_partition
from briquette.planning.plan import plan_partition
from briquette.planning.spec import checked_overrides, limits_of, spec_of
from briquette.planning.target import Target
from briquette.schemas.declared import TableSpec, load_table
from briquette.storage.opening import open_store

if TYPE_CHECKING:
    from briquette.compaction.prefetch import Prefetched


def resolve_spec(
    target: Target,
    schema: Schema | str | os.PathLike[str] | None,
    overrides: dict[str, Any],
    *,
    infers_named: bool = False,
) -> CompactionSpec:
    """A run's spec: the table's defaults, then ``overrides``.

    ``schema`` is a schema, a declared table's name or a TOML file; None: see ``declared_or_inferred``, which
    ``infers_named`` is for.
    """
    checked_overrides(overrides)  # before all is read for a schema
    if isinstance(schema, Schema):
        declared = TableSpec(schema)
    elif schema is not None:
        declared = load_table(os.fspath(schema))
    else:
        try:
            limits = limits_of(overrides.get("limits"), Limits())
            declared = declared_or_inferred(target, limits, infers_named=infers_named)
        except EmptyInput:  # C15.1: nothing to do is no error; there is no column to ask of nothing either
            return CompactionSpec(Schema(()), **checked_overrides({**overrides, "unique_key": None}))
    return spec_of(declared, overrides)


def make_plan(
    target: Target, spec: CompactionSpec, options: RunOptions, prefetched: Prefetched | None = None
) -> Plan:
    """List the raw objects, unless that was begun already, and plan the partition."""
    target.apart()
    store = open_store(target.raw.url)
    listing = list_partition(
        store,
        target.raw,
        spec,
        check_batch_manifest=options.check_batch_manifest,
        batch_manifest=options.batch_manifest,
        listed=prefetched.listed if prefetched else None,
    )
    return plan_partition(
        target.partition,
        target.raw,
        target.output,
        spec,
        listing.objects,
        listing.expected_records,
        fresh=listing.fresh,
    )

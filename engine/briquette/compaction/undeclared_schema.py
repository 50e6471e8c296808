"""The schema of a target whose table declares none: inferred from all of its records."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from briquette.errors import EmptyInput
from briquette.model import CompactionSpec, Limits, Schema
from briquette.planning.listing import list_partition
from briquette.planning.plan import warnings_of
from briquette.planning.spec import declared_table
from briquette.planning.target import Target
from briquette.schemas.declared import TableSpec, load_table
from briquette.storage.opening import open_store

if TYPE_CHECKING:
    from briquette.inference.infer import Inferred

log = logging.getLogger(__name__)


def declared_or_inferred(target: Target, limits: Limits, *, infers_named: bool = False) -> TableSpec:
    """What is declared for the target's table, or a schema inferred from all of its records.

    A table that is named but not declared is a ``SchemaError``, as its name may be mistyped, unless
    ``infers_named``: scheduled jobs get their names from a trigger, and a new table must not wait. That it is
    inferred is logged, as is what a person should know about it. Raises ``EmptyInput`` where there is no
    record to infer it from.
    """
    part = target.partition
    declared = declared_table(part)
    if declared is not None:
        return declared
    if part.table:
        name = f"{part.domain}.{part.table}"
        if not infers_named:
            return load_table(name)  # which says what is declared
        log.warning(
            "no schema is declared for %r: it is inferred from all records; pass --schema to fix it", name
        )
    inferred, _ = infer_target(target, limits=limits)
    for warning in inferred.warnings:
        log.warning("%s", warning)
    return TableSpec(inferred.schema)


def infer_target(target: Target, name: str = "", *, limits: Limits | None = None) -> tuple[Inferred, str]:
    """A schema that holds every record of the target (C4), and its TOML; reads each raw object once."""
    from briquette.inference.infer import infer_schema
    from briquette.schemas.declared import dump_schema

    target.apart()
    store = open_store(target.raw.url)
    listing = list_partition(store, target.raw, CompactionSpec(Schema(())), check_batch_manifest=False)
    if not listing.objects:
        raise EmptyInput(f"there are no raw objects under {target.raw}.", hint="Check the path and the day.")
    refused = {o.key: o.refused for o in listing.objects if o.refused}

    def bodies(keys: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
        chosen = tuple(o for o in listing.objects if not o.refused and (keys is None or o.key in keys))
        return ((o.key, body) for o, body in zip(chosen, store.get_many(chosen), strict=True))

    part = target.partition
    full_name = name or f"{part.domain}.{part.table}".strip(".") or "inferred"
    inferred = infer_schema(bodies(), name=full_name, again=bodies, refused=refused.items(), limits=limits)
    folders = warnings_of(listing.objects, target.raw.prefix)
    inferred = replace(inferred, warnings=(*folders, *inferred.warnings))
    return inferred, dump_schema(inferred.schema, comments=inferred.comments)

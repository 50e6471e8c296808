"""A table's declaration + a run's options -> ``CompactionSpec``, without reading or importing anything heavy.

Preflight plans with it inside a Lambda, so it gives the very spec that a run of the command gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from engine.errors import UsageError
from engine.limits import changed_limits
from engine.model import MIB, CompactionSpec, ExtraFields, Limits, PublishMode
from engine.schema import TableSpec, check_schema

CODECS = ("zstd", "snappy", "gzip", "lz4", "none")


def spec_of(declared: TableSpec, overrides: Mapping[str, Any]) -> CompactionSpec:
    """The table's defaults, then ``overrides`` (None: not given); raises ``UsageError``."""
    values = {k: v for k, v in overrides.items() if v is not None}
    if "target_file_mb" in values:
        values["target_part_bytes"] = int(float(values.pop("target_file_mb")) * MIB)
    for name, kind in (("extra_fields", ExtraFields), ("publish", PublishMode)):
        if name in values:
            values[name] = kind(values[name])
    if "unique_key" in values:
        values["unique_key"] = tuple(values["unique_key"])
    if "limits" in values:
        values["limits"] = limits_of(values["limits"], declared.limits)
    unknown = sorted(values.keys() - {f.name for f in fields(CompactionSpec)})
    if unknown:
        raise UsageError(f"there is no option {unknown[0]!r} of a compaction spec.")
    spec = CompactionSpec(schema=check_schema(declared.schema), **(declared.spec_defaults() | values))
    check_spec(spec)
    return spec


def limits_of(given: Limits | Mapping[str, object] | None, base: Limits) -> Limits:
    """``base`` with what is given in place of its own; raises ``UsageError``."""
    if isinstance(given, Limits):
        given, base = {f.name: getattr(given, f.name) for f in fields(Limits)}, Limits()
    try:
        return changed_limits(given or {}, base)
    except ValueError as error:
        raise UsageError(f"{error}.", hint="For instance --limits depth=200,record_bytes=128MiB.") from error


def check_spec(spec: CompactionSpec) -> None:
    """Refuse a spec that cannot be run; raises ``UsageError``."""
    columns = {f.name for f in spec.schema.fields}
    unknown = [c for c in spec.unique_key if c not in columns]
    if unknown:
        raise UsageError(f"unique_key names {unknown[0]!r}, which the schema does not have.")
    if spec.codec not in CODECS:
        raise UsageError(f"there is no codec {spec.codec!r}.", hint=f"Use one of {', '.join(CODECS)}.")
    if spec.target_part_bytes < 1 << 16:
        raise UsageError("the target file size is under 64 KiB.", hint="Pass --target-file-mb 1 or more.")
    if not 0 <= spec.max_reject_ratio <= 1:
        raise UsageError(f"max_reject_ratio is {spec.max_reject_ratio}, not between 0 and 1.")

"""A table's declaration + a run's options -> ``CompactionSpec``, without reading or importing anything heavy.

Preflight plans with it inside a Lambda, so it gives the very spec that a run of the command gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from briquette.errors import UsageError, did_you_mean
from briquette.model import MIB, CompactionSpec, ExtraFields, Limits, Partition, PublishMode
from briquette.schemas.declared import TableSpec, check_schema, load_table, table_names
from briquette.schemas.limits import changed_limits

CODECS = ("zstd", "snappy", "gzip", "lz4", "none")
LEAST_PART_BYTES, MOST_PART_BYTES = 1 << 16, 1 << 40


def declared_table(partition: Partition) -> TableSpec | None:
    """What is declared for a partition's table; None where nothing is."""
    name = f"{partition.domain}.{partition.table}"
    return load_table(name) if name in table_names() else None


def spec_of(declared: TableSpec, overrides: Mapping[str, Any]) -> CompactionSpec:
    """The table's defaults, then ``overrides`` (None: not given); raises ``UsageError``."""
    values = checked_overrides(overrides, declared.limits)
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


def checked_overrides(overrides: Mapping[str, Any], base: Limits | None = None) -> dict[str, Any]:
    """The values of ``CompactionSpec`` that options mean, without a schema; raises ``UsageError``.

    ``base`` are the limits of which options change some.
    """
    base = base or Limits()
    values = {k: v for k, v in overrides.items() if v is not None}
    if "target_file_mb" in values:
        values["target_part_bytes"] = _bytes_of(values.pop("target_file_mb"))
    for name, kind in (("extra_fields", ExtraFields), ("publish", PublishMode)):
        if name in values:
            values[name] = _member(kind, name, values[name])
    if "unique_key" in values:
        values["unique_key"] = tuple(values["unique_key"])
    if "limits" in values:
        values["limits"] = limits_of(values["limits"], base)
    known = {f.name for f in fields(CompactionSpec)}
    unknown = sorted(values.keys() - known)
    if unknown:
        hint = did_you_mean(unknown[0], sorted(known | {"target_file_mb"}))
        raise UsageError(f"there is no option {unknown[0]!r} of a compaction spec.", hint=hint)
    check_values(values)
    return values


def _bytes_of(target_file_mb: Any) -> int:
    try:
        return int(float(target_file_mb) * MIB)
    except (TypeError, ValueError, OverflowError) as cause:
        raise UsageError(
            f"the target file size is {target_file_mb!r}.", hint="Pass --target-file-mb 256 or so."
        ) from cause


def _member(kind: type[ExtraFields | PublishMode], name: str, value: Any) -> ExtraFields | PublishMode:
    try:
        return kind(value)
    except ValueError as cause:
        known = [member.value for member in kind]
        raise UsageError(
            f"--{name.replace('_', '-')} is {str(value)!r}.",
            hint=f"Use {', '.join(known[:-1])} or {known[-1]}.",
        ) from cause


def check_values(values: Mapping[str, Any]) -> None:
    """Refuse values that no compaction can have, of those that are there; raises ``UsageError``."""
    codec, size, ratio = (values.get(k) for k in ("codec", "target_part_bytes", "max_reject_ratio"))
    if codec is not None and codec not in CODECS:
        raise UsageError(f"there is no codec {codec!r}.", hint=f"Use one of {', '.join(CODECS)}.")
    if size is not None and not LEAST_PART_BYTES <= size <= MOST_PART_BYTES:
        raise UsageError(
            f"a target file size of {size / MIB:g} MiB is not between 64 KiB and 1 TiB.",
            hint="Pass --target-file-mb 1 or more.",
        )
    if ratio is not None and not 0 <= ratio <= 1:
        raise UsageError(
            f"max_reject_ratio is {ratio}, not between 0 and 1.", hint="0.05 allows five in a hundred."
        )


def check_spec(spec: CompactionSpec) -> None:
    """Refuse a spec that cannot be run; raises ``UsageError``."""
    columns = {f.name for f in spec.schema.fields}
    unknown = [c for c in spec.unique_key if c not in columns]
    if unknown:
        hint = did_you_mean(unknown[0], sorted(columns))
        raise UsageError(f"unique_key names {unknown[0]!r}, which the schema does not have.", hint=hint)
    check_values({f.name: getattr(spec, f.name) for f in fields(spec)})

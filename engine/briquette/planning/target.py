"""Where a run reads and writes: the names of the daily pipeline, or any two URLs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from briquette.errors import UsageError
from briquette.model import Location, Partition
from briquette.planning.place_overlap import check_apart
from briquette.storage.urls import below, is_remote, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Target:
    """A partition with the places it is read from and published to."""

    partition: Partition
    raw: Location
    output: Location

    def apart(self) -> Target:
        """Itself; raises ``PlacesOverlap`` where a run would read what it publishes."""
        check_apart(self.raw, self.output)
        return self


def check_ds(ds: str) -> date:
    """The date of a ``YYYY-MM-DD`` text; raises ``UsageError``."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", ds):
            return date.fromisoformat(ds)
    except ValueError:
        pass
    raise UsageError(f"ds is {ds!r}, which is not a date.", hint="Write it as YYYY-MM-DD, e.g. 2025-09-09.")


def _check_word(name: str, value: str) -> str:
    if not _WORD.fullmatch(value):
        raise UsageError(
            f"{name} is {value!r}; it becomes part of a path and may hold letters, digits, '.', '_' and '-'.",
            hint=f"Pass --{name.replace('_', '-')} with such a value.",
        )
    return value


def daily(partition: Partition, *, raw: str, curated: str, compacted_subdir: str = "compacted") -> Target:
    """The daily pipeline's layout: one partition of one table under a raw and a curated root."""
    day = check_ds(partition.ds)
    for name in ("domain", "table", "interval", "data_source"):
        _check_word(name, getattr(partition, name))
    for segment in compacted_subdir.split("/"):
        _check_word("compacted_subdir", segment)
    domain, table = partition.domain, partition.table
    source = below(
        parse_url(raw),
        domain,
        table,
        f"interval={partition.interval}",
        f"data_source={partition.data_source}",
        f"year={day:%Y}",
        f"month={day:%m}",
        f"day={day:%d}",
    )
    output = below(parse_url(curated), domain, table, compacted_subdir, f"ds={partition.ds}")
    return Target(partition, source, output).apart()


def day_prefix(*, raw: str, curated: str, ds: str) -> Target:
    """A raw prefix that is the day itself, published under ``<curated>/ds=<ds>/``."""
    check_ds(ds)
    source, base = parse_url(raw), parse_url(curated)
    names = dict(re.findall(r"(?:^|/)(interval|data_source)=([^/]+)", f"{source.url}/{source.prefix}"))
    partition = Partition(interval=names.get("interval", ""), data_source=names.get("data_source", ""), ds=ds)
    return Target(partition, source, below(base, f"ds={ds}")).apart()


def dataset_location(url: str) -> Location:
    """The place of a dataset, so that a ``ds=`` folder on disk is a prefix of the folder above it.

    Its hidden neighbours (``_rejects``, ``_staging``) then lie in the same store.

    >>> dataset_location("/curated/prices/ds=2025-09-09")
    Location(url='/curated/prices', prefix='ds=2025-09-09/')
    """
    place = parse_url(url)
    folder, _, last = place.url.rpartition("/")
    if not is_remote(place) and last.startswith("ds=") and folder:
        return Location(folder, f"{last}/")
    return place


def anywhere(*, input_url: str, output_url: str) -> Target:
    """Any prefix of JSON, CSV or Parquet objects into any output prefix."""
    return Target(Partition(), parse_url(input_url), dataset_location(output_url)).apart()


def days(start: str, end: str) -> Iterator[str]:
    """Each day from ``start`` to ``end``, both included; raises ``UsageError`` if end is first."""
    first, last = check_ds(start), check_ds(end)
    if last < first:
        raise UsageError(f"--start {start} is after --end {end}.", hint="Swap them.")
    return (date.fromordinal(n).isoformat() for n in range(first.toordinal(), last.toordinal() + 1))


def resolve_target(
    partition: Partition = Partition(),  # noqa: B008 - a frozen value
    *,
    input_url: str = "",
    output_url: str = "",
    raw: str = "",
    curated: str = "",
    compacted_subdir: str = "compacted",
) -> Target:
    """The one target that words and URLs name; raises ``UsageError`` when they name none or two."""
    ds = partition.ds
    names = {n: getattr(partition, n) for n in ("domain", "table", "interval", "data_source")}
    if bool(input_url or output_url) == bool(raw or curated):
        raise UsageError(
            "a target is either input and output, or raw and curated.",
            hint="Pass --input URL --output URL, or --raw URL --curated URL (or --env NAME) with --ds.",
        )
    if input_url or output_url:
        if not (input_url and output_url) or any(names.values()) or ds:
            raise UsageError(
                "input and output go together, without ds, domain, table, interval or data_source.",
                hint="Put the day into the two URLs, for instance --output out/ds=2025-09-09.",
            )
        return anywhere(input_url=input_url, output_url=output_url)
    missing = [n for n, v in {"raw": raw, "curated": curated, "ds": ds}.items() if not v]
    if missing:
        raise UsageError(f"the target lacks {', '.join(missing)}.", hint="Pass --raw, --curated and --ds.")
    if not any(names.values()):
        return day_prefix(raw=raw, curated=curated, ds=ds)
    missing = [n for n, v in names.items() if not v]
    if missing:
        flags = ", ".join("--" + n.replace("_", "-") for n in missing)
        raise UsageError(f"the target lacks {', '.join(missing)}.", hint=f"Pass {flags}.")
    return daily(partition, raw=raw, curated=curated, compacted_subdir=compacted_subdir)

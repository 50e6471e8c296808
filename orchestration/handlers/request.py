"""What an event asks of preflight: names, options and days, checked before any store is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from briquette.errors import UsageError
from briquette.planning.target import check_ds, days

PRE_VALIDATION_FAILED, IGNORED_OBJECT = "PRE_VALIDATION_FAILED", "IGNORED_OBJECT"
FILE_TYPES = ("json", "csv", "parquet")
ENGINES = ("dask", "glue")
MOST_DAYS = 1_000  # of one execution, whatever the setting: their results together have to fit into a payload
CATALOG_POLICIES = ("never", "force", "on_schema_change")

_WORDS = ("domain", "table_name", "interval", "data_source")
_DATE = re.compile(r"(?:^|/)year=(\d{4})/month=(\d{2})/day=(\d{2})/")
_PLACE = re.compile(r"(?:^|/)([^/]+)/([^/]+)/interval=")
_LEGACY_DATE = re.compile(r"(?:^|/)ingestion_date=(\d{4}-\d{2}-\d{2})(?:/|$)")


class Refused(Exception):
    """The event cannot be followed; what the caller gets is a code and a message, not a failed Lambda."""

    def __init__(self, code: str, message: str, ds: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.ds = code, message, ds


@dataclass(frozen=True, slots=True)
class Request:
    """One event. ``days`` are in order; ``many`` says that a range was asked for, even if of one day."""

    domain: str
    table_name: str
    interval: str
    data_source: str
    file_type: str
    days: tuple[str, ...]
    many: bool
    expand: bool
    reprocess: bool
    repair_stale: bool  # compute later days too whose indicators have not read these prices
    engine: str  # "" where the environment decides
    catalog_update: str  # likewise

    @property
    def correlation_id(self) -> str:
        """``market:prices:2025-09-09``, or the first and last day of several."""
        span = self.days[0] if len(self.days) == 1 else f"{self.days[0]}..{self.days[-1]}"
        return f"{self.domain}:{self.table_name}:{span}"

    def without_days(self) -> dict[str, Any]:
        """The event that asks the same of any day, once its ``ds`` is put in."""
        said = {name: getattr(self, name) for name in (*_WORDS, "file_type", "reprocess", "repair_stale")}
        chosen = {name: getattr(self, name) for name in ("engine", "catalog_update")}
        return said | {name: value for name, value in chosen.items() if value}


def read_request(event: Mapping[str, Any], *, environment: str, max_days: int) -> Request:
    """The request in an event; ``date_range`` wins over ``ds``, ``ds`` over a source key. ``Refused``."""
    if not isinstance(event, Mapping):
        raise Refused(PRE_VALIDATION_FAILED, f"The event is {type(event).__name__}, not an object.")
    key = decoded_key(_text(event, "source_key"))
    _refuse_contradiction(event, key)
    words = {
        "domain": _text(event, "domain"),
        "table_name": _text(event, "table_name") or _text(event, "table"),
        "interval": _text(event, "interval") or _in_key("interval", key),
        "data_source": _text(event, "data_source") or _in_key("data_source", key),
    }
    if not all(words.values()):
        raise Refused(PRE_VALIDATION_FAILED, "Missing domain/table_name/interval/data_source")
    asked = _text(event, "environment")
    if asked and asked != environment:
        raise Refused(PRE_VALIDATION_FAILED, f"This is environment {environment!r}, not {asked!r}")
    file_type = (_text(event, "file_type") or "json").lower()
    chosen, many = _days(event, key, max_days)
    return Request(
        **words,
        file_type=_one_of("file_type", file_type, FILE_TYPES),
        days=chosen,
        many=many,
        expand=_flag(event, "expand"),
        reprocess=_flag(event, "reprocess"),
        repair_stale=_flag(event, "repair_stale"),
        engine=_one_of("engine", _text(event, "engine"), ("", *ENGINES)),
        catalog_update=_one_of("catalog_update", _text(event, "catalog_update"), ("", *CATALOG_POLICIES)),
    )


def _refuse_contradiction(event: Mapping[str, Any], key: str) -> None:
    """An event whose words are not those of its key would be compacted under another day's name."""
    place = _PLACE.search(key)
    in_key = dict(zip(("domain", "table_name"), place.groups(), strict=True)) if place else {}
    in_key |= {name: found for name in ("interval", "data_source") if (found := _in_key(name, key))}
    for name, found in in_key.items():
        said = _text(event, name) or (_text(event, "table") if name == "table_name" else "")
        if said and said != found:
            raise Refused(PRE_VALIDATION_FAILED, f"{name} is {said!r}, but source_key says {found!r}: {key}")


def _days(event: Mapping[str, Any], key: str, max_days: int) -> tuple[tuple[str, ...], bool]:
    try:
        if event.get("date_range"):
            return _range(event["date_range"], max_days), True
        ds = _text(event, "ds")
        if not ds:
            ds = _day_of_object(event, key)
        check_ds(ds)
    except UsageError as error:
        raise Refused(PRE_VALIDATION_FAILED, error.message) from error
    return (ds,), False


def _range(asked: object, max_days: int) -> tuple[str, ...]:
    if not isinstance(asked, Mapping) or not all(isinstance(asked.get(n), str) for n in ("start", "end")):
        raise Refused(PRE_VALIDATION_FAILED, "date_range needs start and end, each YYYY-MM-DD")
    start, end = asked["start"], asked["end"]
    count = check_ds(end).toordinal() - check_ds(start).toordinal() + 1
    if count < 1:
        raise Refused(PRE_VALIDATION_FAILED, f"date_range starts on {start}, after its end {end}")
    if count > MOST_DAYS:
        raise Refused(
            PRE_VALIDATION_FAILED,
            f"date_range has {count} days; one execution takes at most {MOST_DAYS}, ask for fewer at once",
        )
    if count > max_days:
        raise Refused(
            PRE_VALIDATION_FAILED,
            f"date_range has {count} days, more than max_backfill_days = {max_days}; ask for fewer at once",
        )
    return tuple(days(start, end))


def _day_of_object(event: Mapping[str, Any], key: str) -> str:
    if not (_text(event, "source_bucket") and key):
        raise Refused(PRE_VALIDATION_FAILED, "Missing source_bucket/source_key for S3 trigger mode")
    allowed = _suffixes(event.get("allowed_suffixes"))
    if allowed and not key.lower().endswith(allowed):
        raise Refused(IGNORED_OBJECT, f"Object suffix is not one of {', '.join(allowed)}: {key}")
    legacy, dated = _LEGACY_DATE.search(key), _DATE.search(key)
    if legacy:
        return legacy[1]
    if dated:
        return "-".join(dated.groups())
    raise Refused(PRE_VALIDATION_FAILED, "year=YYYY/month=MM/day=DD not found in key")


def decoded_key(key: str) -> str:
    """A key as the bucket has it: S3's own notifications encode it, EventBridge does not.

    Keys of the pipeline hold "=", which an encoded key never does, so nothing is decoded twice.

    >>> decoded_key("market/prices/interval%3D1d/A+B.json"), decoded_key("market/interval=1d/A+B.json")
    ('market/prices/interval=1d/A B.json', 'market/interval=1d/A+B.json')
    """
    return unquote_plus(key) if "=" not in key and "%3d" in key.lower() else key


def _in_key(name: str, key: str) -> str:
    found = re.search(rf"(?:^|/){name}=([^/]+)/", key)
    return found[1] if found else ""


def _suffixes(asked: object) -> tuple[str, ...]:
    given = asked.split(",") if isinstance(asked, str) else asked or ()
    if not isinstance(given, list | tuple) or not all(isinstance(s, str) for s in given):
        raise Refused(PRE_VALIDATION_FAILED, "allowed_suffixes must be a string or a list of strings")
    return tuple(s.strip().lower() for s in given if s.strip())


def _text(event: Mapping[str, Any], name: str) -> str:
    value = event.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused(PRE_VALIDATION_FAILED, f"{name} must be a string, not {type(value).__name__}")
    return value or ""


def _flag(event: Mapping[str, Any], name: str) -> bool:
    value = event.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refused(PRE_VALIDATION_FAILED, f"{name} must be true or false, not {value!r}")
    return bool(value)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        known = ", ".join(word for word in allowed if word)
        raise Refused(PRE_VALIDATION_FAILED, f"Unsupported {name} {value!r}; use one of {known}")
    return value

"""Plans, manifests and specs as canonical JSON, and the fingerprints made from it.

One generic codec turns the frozen dataclasses of ``model`` into JSON values and back; reading is strict
(unknown or missing keys, wrong types) because plans and manifests come from disks and buckets.
Listings and splits travel as columns, so that a million objects stay small and quick.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from briquette.errors import BriquetteError, PlanError, UpgradeNeeded, VerificationFailed
from briquette.model import COMPACTION, CompactionSpec, Manifest, Plan, RawObject, Split

FORMAT_VERSION = 2  # raise it when a document has a key more; older ones are read with its default
T = TypeVar("T")


class _Mismatch(Exception):
    """A JSON value does not have the shape of its type; carries the path to it."""


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys, no spaces, UTF-8: equal values give equal bytes.

    >>> canonical_json({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "strict")


def fingerprint(*parts: bytes) -> str:
    """SHA-256 (hex) of length-prefixed parts, so that no two different lists of parts collide by joining."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


# -- dataclass <-> JSON value --------------------------------------------------------------------

_COLUMNAR: tuple[type, ...] = (RawObject, Split)


def to_value(item: Any) -> Any:
    """A dataclass tree as plain JSON values; tuples of listing entries and splits become columns."""
    if is_dataclass(item) and not isinstance(item, type):
        return {f.name: to_value(getattr(item, f.name)) for f in fields(item)}
    if isinstance(item, Enum):
        return item.value
    if isinstance(item, tuple | list):
        kind: Any = type(item[0]) if item else None
        if kind in _COLUMNAR:
            names = [f.name for f in fields(kind)]
            return {name: [to_value(getattr(i, name)) for i in item] for name in names}
        if kind in (int, str) and all(type(i) is kind for i in item):
            return list(item)  # records of each object: as long as the listing
        return [to_value(i) for i in item]
    if item is None or isinstance(item, str | int | float | bool):
        return item
    raise TypeError(f"no JSON form for {type(item).__name__}")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def from_value(kind: Any, value: Any, path: str = "$", *, older: bool = False) -> Any:
    """The inverse of ``to_value``; raises ``_Mismatch`` with the path of the first wrong value.

    ``older``: the value may lack what has a default now.
    """
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        options = get_args(kind)
        if value is None and NoneType in options:
            return None
        (only,) = [o for o in options if o is not NoneType]
        return from_value(only, value, path, older=older)
    if origin is tuple:
        return _tuple_from(get_args(kind), value, path, older)
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass_from(kind, value, path, older)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            raise _Mismatch(f"{path} is {value!r}, not one of {', '.join(e.value for e in kind)}") from None
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise _Mismatch(f"{path} is {type(value).__name__}, expected {kind.__name__}")
    return value


def _tuple_from(args: tuple[Any, ...], value: Any, path: str, older: bool) -> tuple[Any, ...]:  # noqa: FBT001
    if len(args) == 2 and args[1] is Ellipsis:
        if args[0] in _COLUMNAR and isinstance(value, dict):
            return _columns_from(args[0], value, path)
        if not isinstance(value, list):
            raise _Mismatch(f"{path} is {type(value).__name__}, expected a list")
        if args[0] in (str, int):  # the long ones: no path formatting for each element
            if not all(type(v) is args[0] for v in value):
                raise _Mismatch(f"{path} holds something that is not {args[0].__name__}")
            return tuple(value)
        return tuple(from_value(args[0], v, f"{path}[{i}]", older=older) for i, v in enumerate(value))
    if not isinstance(value, list) or len(value) != len(args):
        raise _Mismatch(f"{path} is not a list of {len(args)} values")
    pairs = enumerate(zip(args, value, strict=True))
    return tuple(from_value(a, v, f"{path}[{i}]", older=older) for i, (a, v) in pairs)


def _columns_from(kind: type, value: dict[str, Any], path: str) -> tuple[Any, ...]:
    hints = _hints(kind)
    if set(value) != set(hints) or not all(isinstance(v, list) for v in value.values()):
        raise _Mismatch(f"{path} does not have the columns {', '.join(hints)}")
    if len({len(v) for v in value.values()}) > 1:
        raise _Mismatch(f"{path} has columns of unequal length")
    columns = []
    for name, hint in hints.items():
        if hint in (str, int, bool) and not all(type(v) is hint for v in value[name]):
            raise _Mismatch(f"{path}.{name} holds something that is not {hint.__name__}")
        plain = hint in (str, int, bool)
        columns.append(value[name] if plain else [from_value(hint, v, f"{path}.{name}") for v in value[name]])
    return tuple(kind(*row) for row in zip(*columns, strict=True))


def _dataclass_from(kind: type, value: Any, path: str, older: bool) -> Any:  # noqa: FBT001
    if not isinstance(value, dict):
        raise _Mismatch(f"{path} is {type(value).__name__}, expected an object")
    hints = _hints(kind)
    spared = _defaulted(kind) if older else frozenset()
    if not set(hints) - spared <= set(value) <= set(hints):
        unknown, missing = sorted(set(value) - set(hints)), sorted(set(hints) - set(value))
        raise _Mismatch(f"{path} has unknown keys {unknown} and lacks {missing}")
    given = {name: hint for name, hint in hints.items() if name in value}
    return kind(
        **{name: from_value(hint, value[name], f"{path}.{name}", older=older) for name, hint in given.items()}
    )


@cache
def _defaulted(kind: type) -> frozenset[str]:
    found = fields(kind)
    return frozenset(f.name for f in found if f.default is not MISSING or f.default_factory is not MISSING)


# -- documents ---------------------------------------------------------------------------------


def _write(kind: str, item: object) -> bytes:
    return canonical_json({"briquette": kind, "format_version": FORMAT_VERSION, kind: to_value(item)})


def _read(
    kind: str,
    of: type[T],
    data: bytes,
    error: type[BriquetteError],
    where: str,
    hint: str,
    read: tuple[int, ...] = (FORMAT_VERSION,),
) -> T:
    what = where or f"this {kind}"
    try:
        document = json.loads(data)
        if not isinstance(document, dict) or document.get("briquette") != kind:
            raise _Mismatch(f"it is not a briquette {kind}")
        version = document.get("format_version")
        if type(version) is int and version > FORMAT_VERSION:
            raise UpgradeNeeded(
                f"{what} was written by a newer briquette (format_version {version}; this one reads up to "
                f"{FORMAT_VERSION}).",
                hint="Upgrade briquette here; nothing was changed.",
            )
        if version not in read:
            raise _Mismatch(f"its format_version is {version!r}, not {FORMAT_VERSION}")
        return from_value(of, document.get(kind), older=version < FORMAT_VERSION)  # type: ignore[no-any-return]
    except (ValueError, RecursionError) as cause:
        raise error(f"{what} cannot be read: it is not JSON ({type(cause).__name__}).", hint=hint) from cause
    except _Mismatch as cause:
        raise error(f"{what} cannot be read: {cause}.", hint=hint) from None


def plan_to_bytes(plan: Plan) -> bytes:
    """A plan as canonical JSON."""
    return _write("plan", plan)


def plan_from_bytes(data: bytes, where: str = "") -> Plan:
    """The plan in ``data``, checked against its own content hash; raises ``PlanError``."""
    hint = "Make it again with `briquette plan --out`."
    plan = _read("plan", Plan, data, PlanError, where, hint)
    if plan_id(plan) != plan.plan_id:
        raise PlanError(
            f"{where or 'this plan'} was altered: its content hash is not its plan_id.", hint=hint
        )
    for why in _escapes(plan):
        raise PlanError(f"{where or 'this plan'} cannot be trusted: {why}.", hint=hint)
    return plan


_ROOT = re.compile(r"/.*|(?:s3|memory)://[^/@:]+", re.DOTALL)
_UPWARD = re.compile(r"(?:\A|/)\.{1,2}(?:/|\Z)|\x00")
_STEP = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)|\x00")


def _escapes(plan: Plan) -> Iterator[str]:
    """Why a plan from elsewhere would leave its own places: its hash proves nothing about its author."""
    for name, place in (("raw", plan.raw), ("output", plan.output)):
        if not _ROOT.fullmatch(place.url):
            yield f"its {name} place is in no store that it may name"
        if place.prefix and (not place.prefix.endswith("/") or _STEP.search(place.prefix[:-1])):
            yield f"the prefix {place.prefix!r} of its {name} place is none"
    for item in plan.listing:
        if item.refused:
            continue  # nobody opens it
        if plan.stage.name == COMPACTION.name and not item.key.startswith(plan.raw.prefix):
            yield f"it reads {item.key!r}, outside of {plan.raw}"
        if _UPWARD.search(item.key):  # an empty segment is a name like any other on S3
            yield f"it reads {item.key!r}, whose path has a '.' or '..' segment"


def manifest_to_bytes(manifest: Manifest) -> bytes:
    """A manifest as canonical JSON."""
    return _write("manifest", manifest)


def manifest_from_bytes(data: bytes, where: str = "") -> Manifest:
    """The manifest in ``data``, also of an older version; ``VerificationFailed``, ``UpgradeNeeded``."""
    hint = "Put the manifest back from a backup, or publish the dataset again."
    what = where or "_manifest.json"
    every = tuple(range(1, FORMAT_VERSION + 1))
    return _read("manifest", Manifest, data, VerificationFailed, what, hint, read=every)


# -- fingerprints ------------------------------------------------------------------------------


def spec_fingerprint(spec: CompactionSpec) -> str:
    """Identity of everything that can change the output bytes."""
    return fingerprint(b"spec", canonical_json(to_value(spec)))


def listing_bytes(listing: Iterable[RawObject]) -> bytes:
    """What the listed objects are, as bytes: keys hold no control character, or are refused and escaped."""
    return "".join(
        f"\1{json.dumps(o.key)}\0{o.size_bytes}\0{o.etag}\0{o.refused}\n"
        if o.refused
        else f"{o.key}\0{o.size_bytes}\0{o.sha256 or o.etag}\n"
        for o in listing
    ).encode()


def input_fingerprint(spec_print: str, listing: Iterable[RawObject], expected: object) -> str:
    """Equal when the same raw objects are compacted by the same spec: then there is nothing to do (C14)."""
    return fingerprint(b"input", spec_print.encode(), listing_bytes(listing), canonical_json(expected))


def split_fingerprint(
    spec_print: str, objects: Iterable[RawObject], byte_range: tuple[int, int] | None
) -> str:
    """Equal when a split would decode the same bytes by the same spec."""
    return fingerprint(b"split", spec_print.encode(), listing_bytes(objects), repr(byte_range).encode())


def plan_id(plan: Plan) -> str:
    """Content hash of a plan (of all of it but the hash itself)."""
    apart = ("plan_id", "listing", "fresh")  # what is fresh is a matter of when the listing was made
    value = {f.name: getattr(plan, f.name) for f in fields(Plan) if f.name not in apart}
    document: Mapping[str, Any] = {name: to_value(v) for name, v in value.items()}
    splittable = "".join("1" if o.splittable else "0" for o in plan.listing).encode()
    pins = "".join(f"{o.etag}\n" for o in plan.listing if o.sha256).encode()
    return fingerprint(b"plan", listing_bytes(plan.listing), pins, splittable, canonical_json(document))

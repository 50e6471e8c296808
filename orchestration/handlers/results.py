"""The results of many days: collected from where the Map wrote them, and joined by what their indicators did.

Step Functions holds at most 256 KiB between two states, so what is handed on is cut to fit, the least
important first; the Map's own files in the artifacts keep everything. docs/flow.md is the contract.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from briquette.aws.environment import environment_name
from briquette.aws.telemetry import log
from briquette.errors import NotFound
from briquette.storage.opening import open_object, open_store
from orchestration.handlers import arguments
from orchestration.handlers.preflight import IDEMPOTENT_SKIP
from orchestration.handlers.request import Request, read_request
from orchestration.handlers.settings import settings_from

MOST_BYTES = 180_000  # of the days that are handed on; the summary adds to them
MOST_CAUSE = 300
DAYS_AT_ONCE = 40  # of one run of the indicators, so that it stays within its time limit
FAILED = "FAILED"
_LABELS = re.compile(r"^(?:[A-Z][a-z]+(?: [A-Z][a-z]+)+: [^;]*; *)+")  # Glue's, before what the job said
_CODE = re.compile(r"^(?:[A-Za-z0-9_.]+: )?(DQ_FAILED|NO_RAW_DATA|NO_INPUT_DATA):")
_NAME = re.compile(r"^(?:error: )?(?:[a-z0-9_]+[.])*([A-Z][A-Za-z0-9]+): ")
Document = dict[str, Any]


def handler(event: Mapping[str, Any], context: object) -> Document:  # noqa: ARG001 - Lambda's signature
    """The Lambda: ``collect`` after the Map, ``settle`` after a run of the indicators."""
    if "settle" in event:
        answer = settled(event)
        if answer["stale"]:
            correlation = str(event.get("correlationId") or "")
            log("WARNING", "indicators are stale", correlation, stale=answer["stale"])
        return answer
    return collected(event, os.environ)


# -- after the Map ---------------------------------------------------------------------------------


def collected(event: Mapping[str, Any], env: Mapping[str, str]) -> Document:
    """Each wanted day's result in their order, and the runs of the indicators that are to follow.

    ``collect`` is the Map's ``ResultWriterDetails``. A day whose child execution failed, or of which there is
    no result, is FAILED like any other.
    """
    where = event["collect"]
    found = {entry["day"]["ds"]: entry for entry in _results(where["Bucket"], where["Key"])}
    entries = [
        found.get(ds) or _failed(ds, "States.Runtime", "The day left no result.") for ds in event["wanted"]
    ]
    return {"days": fitting(entries), "chunks": chunks_of(entries, event, env)}


def _results(bucket: str, key: str) -> Iterator[Document]:
    store = open_store(f"s3://{bucket}")
    files = json.loads(store.get(key))["ResultFiles"]
    for kind in ("SUCCEEDED", "FAILED", "PENDING"):
        for file in files.get(kind) or ():
            for child in json.loads(store.get(file["Key"])):
                if kind == "SUCCEEDED":
                    yield json.loads(child["Output"])
                else:
                    ds = json.loads(child["Input"])["ds"]
                    cause = child.get("Cause") or f"Its execution {child.get('Name', '')} did not end."
                    yield _failed(ds, child.get("Error") or "States.Runtime", cause)


def _failed(ds: str, error: str, cause: str, step: str = "days") -> Document:
    day = {"ds": ds, "status": FAILED, "engine": "none", "fallback": False, "rows": 0, "bytes": 0, "files": 0}
    return {
        "day": day | {"error": error, "cause": cause[:MOST_CAUSE], "step": step},
        "glueRunIds": [],
        "transformed": False,
        "catalogArgs": {},
    }


def chunks_of(
    entries: Sequence[Document], event: Mapping[str, Any], env: Mapping[str, str]
) -> list[Document]:
    """One run of the indicators for each ``DAYS_AT_ONCE`` days, in ascending order.

    From the first day that went through its transform on, every published day is among them, those too that
    were done already: they read the days before, and a run that finds nothing changed writes nothing.
    """
    settings = settings_from(env)
    if event["request"].get("table_name") == arguments.INDICATORS:
        return []
    asked = read_request(
        {**event["request"], "ds": event["wanted"][0]}, environment=environment_name(env), max_days=1
    )
    days = [entry["day"] for entry in entries]
    made = [day["ds"] for day in days if day["status"] in ("PUBLISHED", "UNCHANGED")]
    skipped = [day["ds"] for day in days if day.get("reason") == IDEMPOTENT_SKIP]
    first = min(made, default=None if not asked.repair_stale else "")
    if first is None:
        return []
    ordered = sorted(ds for ds in (*made, *skipped) if ds >= first)
    pieces = [ordered[i : i + DAYS_AT_ONCE] for i in range(0, len(ordered), DAYS_AT_ONCE)]
    return [
        _chunk(asked, settings, piece, str(event["execution"]), last=piece is pieces[-1]) for piece in pieces
    ]


def _chunk(asked: Request, settings: Any, days: Sequence[str], execution: str, *, last: bool) -> Document:
    shared = arguments.glue_args(asked, settings, days[0])
    words = arguments.indicators_args(asked, settings, shared)
    uri = arguments.artifact_uri(
        settings, asked.domain, asked.table_name, "_runs", "indicators", f"{execution}-{days[0]}.json"
    )
    words |= {"--days": ",".join(days), "--result_uri": uri}
    if asked.repair_stale and last:  # the days after it, once all that were asked for are done
        words["--repair_stale"] = "true"
    return {"days": list(days), "result_uri": uri, "indicators_args": words}


# -- after a run of the indicators -----------------------------------------------------------------


def settled(event: Mapping[str, Any]) -> Document:
    """The days with what the run says of them in its result document, and the stale days that it names.

    A day that the document does not name was not reached: it fails by what ended the run.
    """
    chunk, run = event["settle"], event.get("run") or {}
    said = _document(chunk["result_uri"])
    told = {day["ds"]: day for day in said.get("days", ())}
    error, cause = named(str(run.get("error") or "States.Runtime"), str(run.get("cause") or ""))
    entries: list[Document] = []
    for entry in event["days"]:
        ds = entry["day"]["ds"]
        if ds in chunk["days"]:
            unreached = {
                "error": error,
                "cause": cause or "The run of the indicators left no result for this day.",
            }
            entry = {**entry, "day": _joined(entry["day"], told.get(ds, {"status": FAILED, **unreached}))}
            if run.get("id") and ds == chunk["days"][0]:
                entry["glueRunIds"] = [*entry.get("glueRunIds", ()), run["id"]]
        entries.append(entry)
    extra = [_repaired(day) for ds, day in sorted(told.items()) if day.get("repaired")]
    entries += [entry for entry in extra if entry["day"]["ds"] not in {e["day"]["ds"] for e in entries}]
    return {"days": fitting(entries), "stale": said.get("stale", [])[:DAYS_AT_ONCE]}


def _document(uri: str) -> Document:
    store, key = open_object(uri)
    try:
        found: Document = json.loads(store.get(key))
    except NotFound:
        return {}
    return found


def _joined(day: Document, told: Mapping[str, Any]) -> Document:
    if told["status"] == FAILED:
        error, cause = named(str(told.get("error")), str(told.get("cause") or ""))
        return {**day, "status": FAILED, "error": error, "cause": cause, "step": "indicators"}
    joined = {**day, "indicators": told["status"]}
    if day["status"] == "SKIPPED" and told["status"] == "PUBLISHED":  # done, until a day before it changed
        joined |= {"status": "UNCHANGED", "reason": "its indicators had not read the days before as they are"}
    return joined


def _repaired(told: Mapping[str, Any]) -> Document:
    """A day that nobody asked for, and that was stale."""
    day = {"ds": told["ds"], "status": "UNCHANGED", "engine": "none", "fallback": False}
    day |= {"rows": 0, "bytes": 0, "files": 0, "reason": "its indicators were stale"}
    return {"day": _joined(day, told), "glueRunIds": [], "transformed": False, "catalogArgs": {}}


def named(error: str, cause: str) -> tuple[str, str]:
    """An error's own name and what it says, out of what Glue makes of it.

    >>> named("States.TaskFailed", '{"ErrorMessage": "Error Category: X; StoreError: GET failed."}')
    ('StoreError', 'StoreError: GET failed.')
    """
    told: Any = {}
    if cause.startswith("{") and cause.endswith("}"):
        try:
            told = json.loads(cause)
        except ValueError:
            told = {}
    text = next((told[n] for n in ("ErrorMessage", "errorMessage") if isinstance(told.get(n), str)), cause)
    plain = _LABELS.sub("", text)
    code, name = _CODE.match(plain), _NAME.match(plain)
    if code:
        return code[1], plain[:MOST_CAUSE]
    if name and error == "States.TaskFailed":
        return name[1], plain[:MOST_CAUSE]
    return error, text[:MOST_CAUSE]


# -- what fits -------------------------------------------------------------------------------------


def fitting(entries: Sequence[Document]) -> list[Document]:
    """The entries, cut until they fit between two states: what any day has to say is kept longest."""
    kept = list(entries)
    for cut in _CUTS:
        if len(json.dumps(kept, ensure_ascii=False).encode()) <= MOST_BYTES:
            break
        kept = [cut(entry, at) for at, entry in enumerate(kept)]
    return kept


def _without_repeats(entry: Document, at: int) -> Document:
    return entry if at == 0 else {**entry, "catalogArgs": {}}


def _without_runs(entry: Document, at: int) -> Document:  # noqa: ARG001 - one of ``_CUTS``
    return {**entry, "glueRunIds": []}


def _shorter(most: int) -> Callable[[Document, int], Document]:
    def cut(entry: Document, at: int) -> Document:  # noqa: ARG001 - likewise
        day = {n: v[:most] if n in ("cause", "reason") else v for n, v in entry["day"].items()}
        return {**entry, "day": day}

    return cut


_CUTS = (_without_repeats, _without_runs, _shorter(80), _shorter(20))

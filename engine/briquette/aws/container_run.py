"""One run in this container: the engine's story, told as log lines, metrics, a document and an exit code."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from briquette import cancellation
from briquette.aws.container_command import Command, write
from briquette.aws.environment import environment_name
from briquette.aws.telemetry import log, put_metrics
from briquette.compaction.result import CompactionResult
from briquette.compaction.run import run_plan
from briquette.errors import EXIT_EMPTY, EXIT_OK, EXIT_RETRYABLE, BriquetteError, Interrupted
from briquette.model import Partition, Plan, Status

ENGINE = "dask"
Document = dict[str, Any]


def run(told: Callable[[], Command]) -> int:
    """Run what ``told`` says; returns the engine's exit code, or 143 when it was stopped."""
    started = time.monotonic()
    command: Command | None = None
    plan: Plan | None = None
    try:
        command = told()
        plan = command.plan()
        log("INFO", "compacting", correlation(plan.partition), plan_id=plan.plan_id, output=str(plan.output))
        result = run_plan(plan, command.options)
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - whatever it was has to be said
        with cancellation.finishing():  # how it ended is still to be said
            return _failed(error, command, plan, _since(started))
    _say_stopped(correlation(plan.partition), published=True)
    with cancellation.finishing():
        _succeeded(result, command)
    return EXIT_EMPTY if result.status is Status.EMPTY else EXIT_OK


def correlation(partition: Partition) -> str:
    """``market:prices:2025-09-09``."""
    return ":".join(word for word in (partition.domain, partition.table, partition.ds) if word)


def _succeeded(result: CompactionResult, command: Command) -> None:
    document = result.to_dict() | {"engine": ENGINE, "error": None}
    outputs = document["outputs"]
    log("INFO", "compacted", correlation(result.partition), status=result.status.value, rows=document["rows"])
    put_metrics(
        {
            "InputFiles": result.raw_objects,
            "InputBytes": result.raw_bytes,
            "Rows": document["rows"],
            "RejectedRecords": result.rejects,
            "OutputFiles": outputs["parts"],
            "OutputBytes": outputs["bytes"],
            "DurationMs": round(result.seconds * 1_000),
        },
        environment=environment_name(os.environ),
        table=_table(result.partition),
        ds=result.partition.ds,
        status=result.status.value,
    )
    _write_result(command, document)


def _failed(error: BaseException, command: Command | None, plan: Plan | None, ms: int) -> int:
    stopped = isinstance(error, Interrupted | KeyboardInterrupt)
    code = cancellation.EXIT_STOPPED if stopped else _exit_code(error)
    who = plan.partition if plan else command.target.partition if command and command.target else None
    said: Document = {
        "name": type(error).__name__,
        "message": error.message if isinstance(error, BriquetteError) else str(error),
        "hint": error.hint if isinstance(error, BriquetteError) else "",
        "exit_code": code,
    }
    _say_stopped(correlation(who) if who else "", published=False)
    if not isinstance(error, BriquetteError):
        said["traceback"] = "".join(traceback.format_exception(error))[-4_000:]
    log("WARNING" if stopped else "ERROR", "compaction ended", correlation(who) if who else "", error=said)
    if who:
        environment, table = environment_name(os.environ), _table(who)
        put_metrics({"DurationMs": ms}, environment=environment, table=table, ds=who.ds, status="FAILED")
    if command:
        document = {
            "status": "FAILED",
            "engine": ENGINE,
            "plan_id": plan.plan_id if plan else "",
            "error": said,
        }
        _write_result(command, document)
    return code


def _say_stopped(correlation_id: str, *, published: bool) -> None:
    """One line in the log, if the container was told to stop at all."""
    if cancellation.asked():
        log("WARNING", "told to stop", correlation_id, published=published)


def _write_result(command: Command, document: Document) -> None:
    """Leave the document; where that fails the exit code still says how the run ended."""
    if not command.result_uri:
        return
    try:
        write(command.result_uri, json.dumps(document, ensure_ascii=False).encode())
    except BriquetteError as error:
        with suppress(OSError):
            log("ERROR", "the result document could not be written", uri=command.result_uri, error=str(error))


def _exit_code(error: BaseException) -> int:
    return error.exit_code if isinstance(error, BriquetteError) else EXIT_RETRYABLE


def _table(partition: Partition) -> str:
    return ".".join(word for word in (partition.domain, partition.table) if word)


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1_000)

"""What a command prints: log lines, the document or text on stdout, the error that ends it."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from briquette.cli.options import Common, choice
from briquette.cli.process_setup import BEGAN, hide_pandas_from_pyarrow

_common = Common()  # the options of this invocation; the error that ends it needs it


def begin(common: Common, *, pandas: bool = False) -> None:
    """Set how this process prints and logs, and import pyarrow; ``pandas``: the command makes frames."""
    configure_output(common)
    if not pandas:
        hide_pandas_from_pyarrow()


def configure_output(common: Common) -> None:
    """Set how this process prints and logs."""
    global _common  # noqa: PLW0603 - one command per process
    from briquette.logs import configure_logging

    _common = common
    configure_logging(choice("log-format", common.log_format, ("text", "json")))


def say(document: Mapping[str, Any], text: str) -> None:
    """Print the document under ``--json``, else the text."""
    if _common.json_output:
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    elif not _common.quiet and text:
        sys.stdout.write(text.rstrip("\n") + "\n")


def warn(warnings: Iterable[str]) -> None:
    """Print what a person should know on stderr, whatever is printed on stdout."""
    if _common.log_format == "json":
        for warning in warnings:
            logging.getLogger("briquette").warning("%s", warning)
        return
    for warning in warnings:
        sys.stderr.write(f"warning: {_printable(warning)}\n")


def _printable(text: str) -> str:
    # Keys come from buckets: what cannot be printed must not reach a terminal or forge a log line.
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def fail(name: str, message: str, hint: str, exit_code: int) -> None:
    """Print an error as this invocation's options say, and exit."""
    if _wants("--json", given=_common.json_output):
        error = {"name": name, "message": message, "hint": hint}
        document = {"status": "FAILED", "error": error, "exit_code": exit_code}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    if not logs_error(name, message, hint, exit_code):
        following = f"  next: {hint}\n" if hint else ""
        sys.stderr.write(f"error: {_printable(f'{name}: {message}')}\n{following}")
    sys.exit(exit_code)


def logs_error(name: str, message: str, hint: str, exit_code: int) -> bool:
    """Log an error where stderr is for JSON lines; whether it is."""
    said = " ".join(sys.argv)
    if (
        not _wants("--log-format=json", given=_common.log_format == "json")
        and "--log-format json" not in said
    ):
        return False
    from briquette.logs import configure_logging

    configure_logging("json")
    fields = {"error": {"name": name, "message": message, "hint": hint, "exit_code": exit_code}}
    logging.getLogger("briquette").error("%s: %s", name, message, extra={"fields": fields})
    return True


def _wants(option: str, *, given: bool) -> bool:
    """Whether an option was given, also where the command line was so wrong that nobody could read it."""
    return given or option in sys.argv


def elapsed() -> float:
    """Seconds since this process began."""
    return time.monotonic() - BEGAN

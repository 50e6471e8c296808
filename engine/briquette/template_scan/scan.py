"""The template scan: JSON Lines and CSV into Arrow columns by predicting each line instead of parsing it.

The records of a raw object come from one writer, so the bytes between their values repeat. They are learnt
from the first line; each next line is a few comparisons of eight bytes and the parsing of its values. A line
that deviates in anything (escape, unknown or missing key, other order, a value that needs care) is not
guessed at: its byte range is reported, and the strict reader decides. What is accepted is what it would say.

    python -m briquette.template_scan.scan --warm        compile the kernel once, e.g. while an image is built
"""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np

from briquette import accelerators
from briquette.model import Schema
from briquette.template_scan.columns import columns_of
from briquette.template_scan.compiler import native
from briquette.template_scan.driver import MAX_BUFFER_BYTES, CellsRun, LinesRun, Scan
from briquette.template_scan.template import program_of_header

__all__ = [
    "LinesRun",
    "Scan",
    "available",
    "json_lines_in_turn",
    "scan_csv_rows",
    "scan_json_lines",
    "warm",
    "worthwhile",
]

Buffer = bytes | memoryview | Any
Buffers = Buffer | list[Buffer]
NUMBER_CHARS: Final = 128  # no number that the scan takes is longer

# What the scan saves against pyarrow.json (110 MB/s a core), and what it costs to have the kernel, mostly the
# import of llvmlite. pyarrow.csv and its conversions are no faster.
_SAVED_SECONDS_PER_BYTE: Final = 1 / 110e6 - 1 / 900e6
_LOAD_SECONDS: Final = 0.05
_COMPILE_SECONDS: Final = 12.0


def available() -> bool:
    """Whether the scan can run here; everything works without it, only slower."""
    return native.available()


def worthwhile(total_bytes: int) -> bool:
    """Whether the scan of so many bytes repays getting the kernel into this process.

    ``BRIQUETTE_SCAN=on|off`` decides instead (``auto`` is the default).
    """
    wish = accelerators.wish(accelerators.Accelerator.SCAN)
    if wish == "off" or not available():
        return False
    if wish == "on" or native.is_loaded():
        return True
    cost_seconds = _LOAD_SECONDS if native.is_compiled() else _COMPILE_SECONDS
    return total_bytes * _SAVED_SECONDS_PER_BYTE > cost_seconds


def warm() -> None:
    """Compile the kernel (about ten seconds, once for a machine and version) or load it from the cache."""
    native.entry()


def scan_json_lines(buffer: Buffers, schema: Schema, *, max_deviating_ratio: float = 0.25) -> Scan | None:
    """Scan concatenated raw objects, each ending in a newline; or several such buffers, as if joined by one.

    None when the scan is of no use: it cannot run here, the schema holds a type that it does not do (json,
    decimal, binary, lists inside of lists), no line taught a template, or more than ``max_deviating_ratio``
    of the lines deviate; with 0 it stops at the first that does.

    Accepted lines are complete records *if they begin one*: a line inside a record that spans lines, or
    inside an array, looks the same. Both leave deviating lines around it that are no complete record for
    themselves (``[`` or ``{"a":``); the caller reads such an object as a whole by the strict path.
    """
    columns = columns_of(schema)
    memories = _memories(buffer)
    call = native.entry_or_none()
    if columns is None or call is None or memories is None:
        return None
    return LinesRun(call, _size(memories), columns, max_deviating_ratio).whole(*memories)


def json_lines_in_turn(total_bytes: int, schema: Schema) -> LinesRun | None:
    """A scan that is given buffers one after the other (``take``), of about ``total_bytes`` together.

    None when the scan is of no use, as for ``scan_json_lines``.
    """
    columns = columns_of(schema)
    call = native.entry_or_none()
    if columns is None or call is None:
        return None
    return LinesRun(call, min(total_bytes, MAX_BUFFER_BYTES), columns, 0.0)


def scan_csv_rows(
    buffer: Buffers,
    schema: Schema,
    names: tuple[str, ...],
    delimiter: bytes,
    *,
    max_deviating_ratio: float = 0.25,
) -> Scan | None:
    """Scan concatenated CSV objects without their headers, all of which have these names in this order.

    None when the scan is of no use: as for JSON, or there is a list or struct, a column is unknown, a
    missing one is not nullable, or the schema's ``null_values`` are others than the empty text.

    An accepted row is a whole record *if it begins one*: lines inside a quoted field look the same. The line
    on which such a record begins is always reported, so nothing is in doubt where nothing deviates.
    """
    columns = columns_of(schema)
    if columns is None or schema.null_values != ("",):
        return None
    program = program_of_header(names, columns)
    memories = _memories(buffer)
    call = native.entry_or_none()
    if program is None or call is None or memories is None:
        return None
    run = CellsRun(call, _size(memories), columns, max_deviating_ratio, program, delimiter[0])
    return run.whole(*memories)


def _memories(buffer: Buffers) -> list[Any] | None:
    buffers = buffer if isinstance(buffer, list) else [buffer]
    memories = [np.frombuffer(one, np.uint8) for one in buffers]
    return memories if _size(memories) <= MAX_BUFFER_BYTES else None


def _size(memories: list[Any]) -> int:
    return int(sum(memory.size + 1 for memory in memories) - 1)


def main(arguments: list[str]) -> int:
    """Compile the kernel; returns an exit code."""
    if arguments != ["--warm"]:
        sys.stderr.write("usage: python -m briquette.template_scan.scan --warm\n")
        return 2
    if not available():
        sys.stderr.write("The template scan needs numba: pip install 'briquette[fast]'.\n")
        return 2
    warm()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

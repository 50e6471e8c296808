"""The kernel without start-up, on warm memory and one core: what each step of a split costs.

    python -m benchmarks.steady [--scale 0.2]

Decode, digest, encode and write of one split at a time, of about the size that a plan gives it and in a
process set up as the command's is, after one round that loads and compiles everything. CPU seconds of all
threads, the best of several rounds for each step: others use these machines too. Beside them stands what of
it is libzstd and SHA-256 alone, on the same bytes: what no change of ours can save.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import NUMBERS
from benchmarks.corpus import WORKLOADS, raw_files
from briquette.cli.process_setup import set_up
from briquette.decoding.decode import decode_objects
from briquette.encoding.row_digest import rows_digest
from briquette.encoding.row_groups import LEVELS, ROWS_PER_PAGE, encode
from briquette.planning.spec import spec_of
from briquette.schemas.declared import load_table
from briquette.template_scan import scan

ROUNDS = 5
STEPS = ("decode", "digest", "encode", "write")
FLOOR = ("zstd", "sha256")  # of encode; of digest, and of encode once more for the row groups
T = TypeVar("T")


def steady_state(scale: float = 0.2, workload: str = "large") -> dict[str, Any]:
    """Seconds and shares of each step, and raw megabytes for each CPU second of all of them."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # Arrow's
    import pyarrow as pa

    pa.set_cpu_count(1)
    spec = spec_of(load_table("market.prices"), {})
    bodies = [(file.name, file.text) for file in raw_files(WORKLOADS[workload], scale)]
    size_bytes = sum(len(text) for _, text in bodies)
    scan.warm()
    codec = pa.Codec("zstd", compression_level=LEVELS["zstd"])
    best = dict.fromkeys((*STEPS, *FLOOR), float("inf"))
    with tempfile.TemporaryDirectory(prefix="briquette-steady-") as folder:
        target = Path(folder) / "row-groups"
        for _ in range(ROUNDS):
            spent = dict.fromkeys(best, 0.0)
            for split in _splits(bodies, spec.split_bytes):
                table = _timed(spent, "decode", decode_objects, split, spec).table
                _timed(spent, "digest", rows_digest, table)
                groups = _timed(spent, "encode", encode, table, spec)
                pieces = [group.body.data for group in groups if group.body.data is not None]
                _timed(spent, "write", target.write_bytes, b"".join(pieces))
                columns = [
                    memoryview(column.chunk(0).buffers()[1]) for column in table.select(NUMBERS).columns
                ]
                _timed(spent, "zstd", _compress, codec, columns)
                _timed(spent, "sha256", _hash, [*columns, *pieces])
            best = {step: min(best[step], spent[step]) for step in best}
    total = sum(best[step] for step in STEPS)
    bound = max(STEPS, key=lambda step: best[step])
    return {
        "workload": workload,
        "bytes": size_bytes,
        "cpu_seconds": {step: best[step] for step in STEPS},
        "floor_cpu_seconds": {step: best[step] for step in FLOOR},
        "floor_shares": {step: best[step] / total for step in FLOOR},
        "shares": {step: best[step] / total for step in STEPS},
        "mb_per_core_second": size_bytes / 1e6 / total,
        "mb_per_core_second_of_step": {step: size_bytes / 1e6 / max(best[step], 1e-9) for step in STEPS},
        "bound_by": bound,
    }


def _splits(bodies: Sequence[tuple[str, bytes]], split_bytes: int) -> Iterator[list[tuple[str, bytes]]]:
    split: list[tuple[str, bytes]] = []
    for name, body in bodies:
        if split and sum(len(b) for _, b in split) + len(body) > split_bytes:
            yield split
            split = []
        split.append((name, body))
    if split:
        yield split


def _compress(codec: Any, columns: Sequence[memoryview]) -> None:
    """Columns of numbers as pages of the size that we write, without the pages."""
    page_bytes = 8 * ROWS_PER_PAGE
    for column in columns:
        for at in range(0, len(column), page_bytes):
            codec.compress(column[at : at + page_bytes])


def _hash(bodies: Sequence[bytes | memoryview]) -> None:
    for body in bodies:
        hashlib.sha256(body).digest()


def _timed(spent: dict[str, float], step: str, work: Callable[..., T], *arguments: Any) -> T:
    started = time.process_time()
    result = work(*arguments)
    spent[step] += time.process_time() - started
    return result


def main() -> None:
    """Print the steps of the kernel as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--scale", type=float, default=0.2)
    parser.add_argument("--workload", choices=("large", "minute", "minute-csv", "minute-gz"), default="large")
    options = parser.parse_args()
    set_up()
    print(json.dumps(steady_state(options.scale, options.workload), indent=1))


if __name__ == "__main__":
    main()

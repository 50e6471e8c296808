"""Coverage-guided fuzzing of every reader of bytes that a stranger may have written, with atheris.

    python -m tests.reliability.fuzz_readers [--seconds 60] [--runs N] [--readers json,csv] [--keep FOLDER]

runs each reader in a process of its own, two at a time: our modules are instrumented, inputs are mutated
from good ones, one input may take five seconds, and the process may take 1 GiB more than it begins with. An
exception that is no ``BriquetteError``, a hang or a lack of memory ends it, with the input in a file.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
READERS = (
    *("json", "nested", "csv", "tsv", "parquet", "gzip", "zstd", "bz2", "xz", "schema", "plan", "manifest"),
)
SEED, MAX_BYTES, MEMORY_MIB, ONE_INPUT_SECONDS, AT_ONCE = 11, 8_192, 1_024, 5, 2
COMPRESSED = ("gzip", "zstd", "bz2", "xz")
_DONE = re.compile(r"Done (\d+) runs in (\d+) second")
_COVERED = re.compile(r"(?:cov|ft): (\d+)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of fuzzing one reader."""

    reader: str
    runs: int
    features: int  # places of our code that the inputs reached, as libFuzzer counts them
    problem: str = ""


def fuzz(reader: str, folder: Path, *, seconds: int, runs: int) -> Outcome:
    """Fuzz one reader in a child process; a finding is left in ``folder``."""
    asked = ("--child", reader, "--seconds", str(seconds), "--runs", str(runs), "--keep", str(folder))
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability.fuzz_readers", *asked],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 240,
    )
    ended = _DONE.search(done.stderr)
    features = [int(found) for found in _COVERED.findall(done.stderr)]
    problem = (
        "" if done.returncode == 0 and ended else (done.stdout[-2_000:] + done.stderr[-2_000:]) or "no word"
    )
    return Outcome(reader, int(ended[1]) if ended else 0, max(features, default=0), problem)


# -- the child -----------------------------------------------------------------------------------


def _child(reader: str, folder: Path, *, seconds: int, runs: int) -> None:
    import atheris

    # numba compiles the template scan from its bytecode, which must then be as it was written.
    kernel = (ROOT / "engine/briquette/template_scan").rglob("*.py")
    plain = [".".join(path.relative_to(ROOT / "engine").with_suffix("").parts) for path in kernel]
    with atheris.instrument_imports(include=["briquette"], exclude=plain):
        from tests.reliability import parsers
    from tests.reliability.fuzz_seeds import seeds_of

    corpus = folder / "corpus" / reader
    corpus.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(seeds_of(reader)):
        (corpus / f"seed-{i}").write_bytes(seed)
        parsers.read(
            reader if reader in READERS else "json", seed
        )  # libraries and their threads take their space before the limit
    parsers.limit_memory(MEMORY_MIB)

    def one(data: bytes) -> None:
        if reader == "broken":  # for the test that asks whether a defect would be found
            len(data) // (data[:1] != b"!")
            return
        parsers.read(reader, data)

    flags = {
        "max_total_time": seconds,
        "runs": runs,
        "seed": SEED,
        "timeout": ONE_INPUT_SECONDS,
        "max_len": MAX_BYTES,
        "rss_limit_mb": 4 * MEMORY_MIB,
        "artifact_prefix": f"{folder}/{reader}-",
        "print_final_stats": 1,
    }
    more: dict[str, Any] = {"custom_mutator": _text_mutator(reader)} if reader in COMPRESSED else {}
    atheris.Setup([sys.argv[0], *(f"-{k}={v}" for k, v in flags.items() if v), str(corpus)], one, **more)
    atheris.Fuzz()


def _text_mutator(reader: str) -> Any:
    """Mutate the text inside of a stream as often as the stream: its checksum would keep all others out."""
    import random

    import atheris

    from briquette.decoding.text.object_text import decompress
    from briquette.errors import BriquetteError
    from tests.reliability.fuzz_seeds import compress
    from tests.reliability.parsers import SMALL

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        if random.Random(seed).random() < 0.5:
            return bytes(atheris.Mutate(data, max_size))
        try:
            text = decompress("x", data, SMALL)[:max_size]
        except BriquetteError:
            return bytes(atheris.Mutate(data, max_size))
        return compress(reader, bytes(atheris.Mutate(text, max_size)))[:max_size]

    return mutate


def main() -> int:
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parse.add_argument("--seconds", type=int, default=60, help="for each reader")
    parse.add_argument("--runs", type=int, default=0, help="inputs for each reader; 0: until the time is up")
    parse.add_argument("--readers", default=",".join(READERS))
    parse.add_argument("--keep", type=Path, default=None, help="where corpus and findings stay")
    parse.add_argument("--child", default="", help=argparse.SUPPRESS)
    given = parse.parse_args()
    if given.child:
        _child(given.child, given.keep, seconds=given.seconds, runs=given.runs)
        return 0
    folder = given.keep or Path(tempfile.mkdtemp(prefix="briquette-fuzz-"))
    names = given.readers.split(",")
    with ThreadPoolExecutor(AT_ONCE) as threads:
        outcomes = list(threads.map(lambda n: fuzz(n, folder, seconds=given.seconds, runs=given.runs), names))
    for outcome in outcomes:
        said = "FOUND" if outcome.problem else "well "
        counts = f"{outcome.runs:>10,} inputs {outcome.features:>7,} features"
        sys.stdout.write(f"{said} {outcome.reader:<9}{counts}\n{outcome.problem}")
    sys.stdout.write(f"corpus and findings: {folder}\n")
    return int(any(outcome.problem for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())

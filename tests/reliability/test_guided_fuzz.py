"""Inputs that coverage leads to: no reader crashes, hangs or fills the memory. `make fuzz` goes on."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.reliability import fuzz_readers, parsers
from tests.reliability.fuzz_readers import AT_ONCE, READERS, fuzz
from tests.reliability.fuzz_seeds import seeds_of

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python or machine"
    ),
]


def assert_well(names: tuple[str, ...], folder: Path, *, seconds: int, runs: int) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        outcomes = list(threads.map(lambda name: fuzz(name, folder, seconds=seconds, runs=runs), names))
    for outcome in outcomes:
        assert outcome.problem == "", f"{outcome.reader}: {outcome.problem}"
        # Fewer mean that nothing of ours was instrumented or that the seeds were not read.
        assert outcome.features > 50, outcome
        assert outcome.runs > 50, outcome


def test_no_reader_breaks_on_inputs_that_coverage_leads_to(tmp_path: Path) -> None:
    """The same seed and number of inputs each time; other compressions differ from gzip in one function."""
    names = tuple(name for name in READERS if name not in ("tsv", "zstd", "bz2", "xz"))
    assert_well(names, tmp_path, seconds=20, runs=300)


@pytest.mark.slow
def test_no_reader_breaks_in_twenty_seconds_each(tmp_path: Path) -> None:
    assert_well(READERS, tmp_path, seconds=20, runs=0)


def test_the_fuzzer_finds_a_reader_that_crashes(tmp_path: Path) -> None:
    """A harness that swallows what it should find would be well for ever."""
    outcome = fuzz("broken", tmp_path, seconds=20, runs=20_000)
    assert "ZeroDivisionError" in outcome.problem
    assert list(tmp_path.glob("broken-crash-*"))


def test_every_reader_is_fuzzed_from_good_files() -> None:
    assert set(READERS) == set(parsers.PARSERS)
    for name in fuzz_readers.READERS:
        assert any(parsers.read(name, seed) == "" for seed in seeds_of(name)), name

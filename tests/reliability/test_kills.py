"""The command itself under SIGKILL, at moments that a seed draws: old or new, and the next run repairs it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from briquette.model import Status
from briquette.planning.target import dataset_location
from briquette.publishing.verify import verify_dataset
from briquette.storage.opening import open_store
from tests.invariants import visible_files
from tests.reliability.editions import Bodies, a_lister_reads, a_manifest_reader_reads
from tests.reliability.small_days import SCHEMA, published_rows, write_day

pytestmark = pytest.mark.timeout(900)

SPEC = ("--codec", "none", "--target-file-mb", "1", "--quiet")


def compacted(root: Path, day: str, **more: Any) -> Any:
    import briquette

    return briquette.compact(
        input=root / day, output=root / "out", schema=SCHEMA, codec="none", target_file_mb=1, **more
    )


@pytest.mark.parametrize(
    ("kills", "seed"), [(8, 1), pytest.param(200, 2, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_a_killed_command_leaves_old_or_new_and_the_next_run_ends_well(
    tmp_path: Path, kills: int, seed: int
) -> None:
    draw, seen = random.Random(seed), Counter[str]()
    store = open_store(str(tmp_path))
    rows = {day: write_day(store, f"{day}/", shift=i * 7) for i, day in enumerate(("a", "b"))}
    schema = tmp_path / "schema.toml"
    from briquette.schemas.declared import dump_schema

    schema.write_text(dump_schema(SCHEMA, comments={}))
    bodies: dict[str, Bodies] = {}
    place = dataset_location(str(tmp_path / "out"))
    output_store = open_store(place.url)
    for day in ("b", "a"):
        compacted(tmp_path, day)
        listed = a_lister_reads(output_store, place)
        assert isinstance(listed, tuple)
        bodies[day] = listed
    whole = _timed(tmp_path, "b", schema)  # how long nobody kills it; b is published now
    now, then = "b", "a"
    for _ in range(4 * kills):
        if seen["killed"] == kills:
            break
        begun = subprocess.Popen(_command(tmp_path, then, schema), stderr=subprocess.DEVNULL)
        if draw.random() < 0.5:
            time.sleep(draw.random() * whole)
        else:  # as soon as it begins to write, and a moment
            _wait_for_writing(tmp_path, begun)
            time.sleep(draw.random() * 0.03)
        begun.send_signal(signal.SIGKILL)
        begun.wait()
        seen["killed" if begun.returncode == -signal.SIGKILL else "came too late"] += 1
        listed, pinned = a_lister_reads(output_store, place), a_manifest_reader_reads(output_store, place)
        assert listed == pinned
        assert listed in (bodies[now], bodies[then]), "neither the old dataset nor the new one"
        assert verify_dataset(output_store, place) == []
        seen["old" if listed == bodies[now] else "new"] += 1
        again = compacted(tmp_path, then)
        assert again.status in (Status.PUBLISHED, Status.UNCHANGED)
        assert a_lister_reads(output_store, place) == bodies[then]
        assert published_rows(str(tmp_path / "out")) == rows[then]
        assert visible_files(tmp_path / "out") == [f"part-{i:05d}.parquet" for i in range(len(bodies[then]))]
        assert verify_dataset(output_store, place) == []
        now, then = then, now
    assert seen["killed"] == kills, f"it was hardly ever killed: {seen}"
    if kills >= 100:
        assert min(seen["old"], seen["new"]) > 5, f"the moments were badly chosen: {seen}"


def _command(root: Path, day: str, schema: Path) -> list[str]:
    here = [
        sys.executable,
        "-m",
        "briquette.cli.main",
        "compact",
        "--input",
        str(root / day),
        "--schema",
        str(schema),
    ]
    return [*here, "--output", str(root / "out"), *SPEC]


def _timed(root: Path, day: str, schema: Path) -> float:
    started = time.monotonic()
    subprocess.run(_command(root, day, schema), check=True, capture_output=True)
    return time.monotonic() - started


def _wait_for_writing(root: Path, begun: subprocess.Popen[bytes]) -> None:
    while begun.poll() is None and not list(root.glob(".out.briquette-*")):
        time.sleep(0.001)

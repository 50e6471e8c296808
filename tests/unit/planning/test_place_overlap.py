"""C1.5: places that overlap are refused before anything is read, however they are spelled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from briquette import compact
from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.plan_summary import plan_summary
from briquette.compaction.run import run_plan
from briquette.errors import PlacesOverlap
from briquette.model import CompactionSpec, Field, Location, Partition, RawObject, Schema, Status
from briquette.pipeline.indicators import IndicatorsOptions, indicators_day, places
from briquette.pipeline.transform import transform
from briquette.planning.place_overlap import check_apart, check_not_published
from briquette.planning.plan import plan_partition
from briquette.planning.target import Target, anywhere, day_prefix, resolve_target
from briquette.publishing.snapshot import observe
from briquette.storage.interface import Store
from briquette.storage.opening import open_store
from briquette.storage.urls import parse_url

SCHEMA = Schema((Field("a", "int64"),))
SERIAL = RunOptions(executor="serial")

# How an output may be spelled from a folder that holds `in/`, the input, and `also`, a link to it.
UNSAFE = [
    "{root}/in",
    "{root}/in/",
    "{root}/in//",
    "{root}/./in",
    "{root}/in/../in",
    "{root}/in/out",
    "{root}/in/deep/er/out",
    "{root}/in/ds=2025-09-09",
    "{root}/in/_hidden/../out",
    "{root}",
    "{root}/",
    "{root}/also",
    "{root}/also/out",
    "{root}/away/back",
    "{root}/away/back/out",
    "file://{root}/in/out",
    "file://localhost{root}/in",
    "file:{root}/in",
    "file://{root}/%69n/out",
]
SAFE = [
    "{root}/in-compacted",
    "{root}/in2",
    "{root}/i",
    "{root}/in/_out",
    "{root}/in/.out/deep",
    "{root}/in/_out/ds=2025-09-09",
    "{root}/ds=2025-09-09",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.json").write_text('{"a": 1}\n')
    (tmp_path / "also").symlink_to("in")
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "back").symlink_to(tmp_path / "in")
    return tmp_path


@pytest.mark.parametrize("spelling", UNSAFE)
def test_places_that_overlap_are_refused_on_disk(root: Path, spelling: str) -> None:
    output = spelling.format(root=root)
    before = sorted(root.rglob("*"))
    for force in (False, True):
        with pytest.raises(PlacesOverlap) as caught:
            compact(input=root / "in", output=output, options=RunOptions(executor="serial", force=force))
        assert "--force" not in str(caught.value)
        assert caught.value.exit_code == 2
    with pytest.raises(PlacesOverlap):
        compact(input=root / "also", output=output, schema=SCHEMA)
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("spelling", SAFE)
def test_places_that_lie_apart_are_published_and_a_second_run_reads_the_same(
    root: Path, spelling: str
) -> None:
    wanted = [(Status.PUBLISHED, 1), (Status.UNCHANGED, 1)]
    where = {"input": root / "in", "output": spelling.format(root=root), "options": SERIAL}
    found = [compact(**where) for _ in wanted]
    assert [(f.status, f.raw_objects) for f in found] == wanted


def test_a_link_at_any_segment_of_an_output_that_is_not_there_yet_is_followed(root: Path) -> None:
    (root / "loop").symlink_to(root / "away")
    for output in ("loop/back/not/yet", "also/a/b/c"):
        with pytest.raises(PlacesOverlap):
            check_apart(Location(str(root / "in")), Location(str(root / output)))
    (root / "in" / "out-link").symlink_to(root / "away")  # a link in the input is read as a folder of it
    with pytest.raises(PlacesOverlap):
        check_apart(Location(str(root / "in")), Location(str(root / "in" / "out-link" / "new")))


def test_prefixes_of_one_disk_store_are_compared_too(root: Path) -> None:
    check_apart(Location(str(root), "in/"), Location(str(root), "in-2/ds=2025-09-09/"))
    for read, written in (("in/", "in/ds=1/"), ("in/", "in/"), ("in/a/", "in/"), ("", "x/")):
        with pytest.raises(PlacesOverlap):
            check_apart(Location(str(root), read), Location(str(root), written))


def test_an_input_in_a_folder_of_the_output_is_refused_on_disk_under_any_name(root: Path) -> None:
    """There the whole folder is exchanged, so raw files in it would be other files after each run."""
    (root / "out" / "_raw").mkdir(parents=True)
    with pytest.raises(PlacesOverlap):
        check_apart(Location(str(root / "out" / "_raw")), Location(str(root / "out")))


@pytest.mark.parametrize("folder", ["_rejects", "_staging", "_versions"])
@pytest.mark.parametrize("url", ["s3://b", "memory://m", "/data"])
def test_the_folders_in_which_runs_keep_their_own_files_are_no_inputs_of_the_same_dataset(
    url: str, folder: str
) -> None:
    day = Location(url, "t/ds=2025-09-09/")
    for read in (f"t/{folder}/", f"t/{folder}/ds=2025-09-09/", f"t/{folder}/ds=2025-09-09/deeper/"):
        with pytest.raises(PlacesOverlap, match="keep files of their own"):
            check_apart(Location(url, read), day)
    check_apart(Location(url, f"t/{folder}/ds=2025-09-08/"), day)  # another day's rejects, to be mended
    check_apart(Location(url, f"other/{folder}/"), day)


@pytest.mark.parametrize("scheme", ["s3", "s3a", "memory"])
@pytest.mark.parametrize(
    ("read", "written", "apart"),
    [
        ("b", "b", False),
        ("b/", "b", False),
        ("b", "b/", False),
        ("b", "b/out", False),
        ("b/x", "b", False),
        ("b/x", "b/x//", False),
        ("b/x", "b/x/y", False),
        ("b/x/y", "b/x", False),
        ("b/x", "b/x/_y", True),
        ("b", "b/_y", True),
        ("b/x/_y", "b/x", True),  # nothing there is replaced, and nothing written there is read
        ("b/x", "b/xy", True),
        ("b/x", "b/x y", True),
        ("b/x", "c/x", True),
        ("b/%78", "b/x", True),  # a key is no URL: nothing in it is an escape
    ],
)
def test_prefixes_of_buckets(scheme: str, read: str, written: str, apart: bool) -> None:
    if apart:
        anywhere(input_url=f"{scheme}://{read}", output_url=f"{scheme}://{written}")
        return
    with pytest.raises(PlacesOverlap):
        anywhere(input_url=f"{scheme}://{read}", output_url=f"{scheme}://{written}")


def test_nothing_is_asked_of_a_store_before_places_are_compared(store: Store, store_url: str) -> None:
    with pytest.raises(PlacesOverlap):
        compact(input=f"{store_url}/in", output=f"{store_url}/in/out")
    assert store.requests.as_dict() == {}


def test_every_way_to_name_a_target_is_checked(root: Path) -> None:
    raw = str(root / "in")
    for curated in (raw, f"{raw}/", f"{raw}/curated"):
        with pytest.raises(PlacesOverlap):
            day_prefix(raw=raw, curated=curated, ds="2025-09-09")
    daily: dict[str, Any] = {
        "domain": "market",
        "table": "prices",
        "interval": "1d",
        "data_source": "x",
        "ds": "2025-09-09",
    }
    # The pipeline's own layout keeps them apart.
    one_root = resolve_target(Partition(**daily), raw=raw, curated=raw)
    assert one_root.output.prefix == "market/prices/compacted/ds=2025-09-09/"
    inside = str(parse_url(f"{one_root.raw.url}/{one_root.raw.prefix}"))
    with pytest.raises(PlacesOverlap):
        resolve_target(Partition(**daily), raw=raw, curated=inside)


def test_plans_made_by_hand_or_elsewhere_are_checked_where_they_are_run(root: Path) -> None:
    place = Location(str(root / "in"))
    plan = plan_partition(Partition(), place, place, CompactionSpec(SCHEMA), [RawObject("x.json", 9, "e")])
    with pytest.raises(PlacesOverlap):
        run_plan(plan, SERIAL)
    with pytest.raises(PlacesOverlap):
        make_plan(Target(Partition(), place, place), CompactionSpec(SCHEMA), SERIAL)


def test_later_stages_refuse_to_read_what_they_write(root: Path) -> None:
    day = root / "t" / "ds=2025-09-09"
    for output in (day, root / "t" / "ds=2025-09-09" / "ds=2025-09-09"):
        with pytest.raises(PlacesOverlap):
            transform(input=day, output=output)
    aside = root / "t" / "quarantine" / "ds=2025-09-09"
    with pytest.raises(PlacesOverlap):  # what fails the checks would replace what is read
        transform(input=aside, output=day)
    prices = Location(str(root), "prices/")
    for output in ("prices/", "prices/ds=2025-09-08/"):
        target = places(prices, Location(str(root), output), domain="market", ds="2025-09-09")
        with pytest.raises(PlacesOverlap):
            indicators_day(target, IndicatorsOptions())
    check_apart(prices, Location(str(root), "prices/indicators/ds=2025-09-09/"), folders="ds=")


@pytest.mark.parametrize("link", ["symbolic folder", "symbolic file", "hard"])
def test_a_published_file_that_the_input_links_to_is_no_input(root: Path, link: str) -> None:
    raw, out = root / "in", root / "out"
    target = anywhere(input_url=str(raw), output_url=str(out))
    spec = resolve_spec(target, SCHEMA, {})
    compact(input=raw, output=out, schema=SCHEMA, options=SERIAL)
    if link == "symbolic folder":
        (raw / "back").symlink_to(out)
    elif link == "symbolic file":
        (raw / "back.parquet").symlink_to(out / "part-00000.parquet")
    else:
        os.link(out / "part-00000.parquet", raw / "back.parquet")
    plan = make_plan(target, spec, SERIAL)
    assert len(plan.listing) == 2
    for act in (lambda: run_plan(plan, SERIAL), lambda: plan_summary(plan)):
        with pytest.raises(PlacesOverlap, match="one file"):
            act()


def test_a_copy_of_a_published_file_is_an_input_like_any_other(root: Path) -> None:
    out = root / "out"
    compact(input=root / "in", output=out, schema=SCHEMA, options=SERIAL)
    shutil.copy2(out / "part-00000.parquet", root / "in" / "copy.parquet")
    listing = [RawObject(s.key, s.size_bytes, s.etag) for s in open_store(str(root / "in")).list("")]
    seen = observe(open_store(str(out)), Location(str(out)))
    check_not_published(Location(str(root / "in")), listing, Location(str(out)), seen.visible)


MOUNTED = """
import subprocess, sys
from pathlib import Path
from briquette.planning.place_overlap import check_apart
from briquette.errors import PlacesOverlap
from briquette.model import Location

root = Path(sys.argv[1])
for name in ("in/sub", "elsewhere a", "elsewhere b"):
    (root / name).mkdir(parents=True)
subprocess.run(["mount", "--bind", root / "in", root / "elsewhere a"], check=True)
subprocess.run(["mount", "--bind", root / "in/sub", root / "elsewhere b"], check=True)

def refused(read, written):
    try:
        check_apart(Location(str(root / read)), Location(str(root / written)))
    except PlacesOverlap:
        return True
    return False

pairs = [("in", "elsewhere a"), ("in", "elsewhere a/out"), ("elsewhere a", "in/out"), ("in", "elsewhere b"),
         ("in", "elsewhere b/out"), ("elsewhere b", "in/sub/out"), ("elsewhere b", "elsewhere a/sub"),
         ("in", "elsewhere a/_out"), ("elsewhere b", "in/other"), ("elsewhere b", "out")]
print([refused(*pair) for pair in pairs])
"""


def test_a_place_mounted_twice_is_one_place(tmp_path: Path) -> None:
    alone = ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount anything")
    done = subprocess.run(
        [*alone, sys.executable, "-c", MOUNTED, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "mount:" in done.stderr:
        pytest.skip(f"no bind mount here: {done.stderr.splitlines()[0]}")
    assert done.stdout.strip() == str([True] * 7 + [False] * 3), done.stderr

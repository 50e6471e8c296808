"""C16: a dataset is its bytes. A copy, a restore or a promotion reads and verifies like the dataset."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import pytest

from briquette import compact, read
from briquette.cli.text import inspection_text, verdict_text
from briquette.compaction.new_plan import make_plan, resolve_spec
from briquette.compaction.options import RunOptions
from briquette.compaction.plan_summary import plan_summary
from briquette.datasets.inspect import inspect
from briquette.datasets.verify import verify
from briquette.errors import OutputOccupied, SnapshotChanged, SourceChanged, UpgradeNeeded, VerificationFailed
from briquette.model import RawObject, Status
from briquette.pipeline.indicators import IndicatorsOptions, indicators
from briquette.pipeline.transform import transform
from briquette.planning.target import anywhere, dataset_location
from briquette.publishing import identity
from briquette.publishing.snapshot import read_manifest
from briquette.storage.local import directory_swap
from briquette.storage.local import files as local_files
from briquette.storage.local import store as local_store
from briquette.storage.opening import open_store
from briquette.storage.s3 import plain as s3_plain
from briquette.storage.urls import parse_url
from tests.flow.price_days import publish_history
from tests.flow.test_compaction import SCHEMA, crumbs, land, lines, row
from tests.flow.test_transform import DS, MARKET, bar, compacted
from tests.invariants import stands
from tests.servers import Bucket, new_bucket, promote

SERIAL = RunOptions(executor="serial")
SPEC: dict[str, Any] = {
    "schema": SCHEMA,
    "target_file_mb": 0.0625,
    "codec": "none",
    "options": SERIAL,
    "split_bytes": 100_000,
    "split_objects": 10,
}


ROWS = 10_000


def large() -> dict[str, bytes]:
    """Four raw objects, each a split, that become several parts."""
    return {f"o{i}.json": lines(row(i * 2_500 + j) for j in range(2_500)) for i in range(4)}


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: no file was hashed before."""
    monkeypatch.setattr(identity, "_KNOWN", {})


@pytest.fixture(params=["disk", "s3", "s3 without metadata", "memory"])
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Callable[[], str]]:
    """The URL of an empty place, and a function that copies all of it to another and says where."""
    if request.param == "disk":
        (tmp_path / "here").mkdir()

        def copied() -> str:
            shutil.copytree(tmp_path / "here", tmp_path / "there")
            return str(tmp_path / "there")

        return str(tmp_path / "here"), copied
    if request.param == "memory":
        here, there = (open_store(f"memory://{name}-{abs(hash(tmp_path))}") for name in ("here", "there"))

        def put_again() -> str:
            for stored in here.list(""):
                there.put(stored.key, here.get(stored.key))
            return there.url

        return here.url, put_again
    s3 = request.getfixturevalue("s3")

    def promoted() -> str:
        other = new_bucket(s3.endpoint)
        promote(s3, other, metadata=request.param == "s3")
        return other.url

    return s3.url, promoted


def put_all(url: str, files: dict[str, bytes]) -> None:
    place = parse_url(url)
    for name, body in files.items():
        open_store(place.url).put(place.prefix + name, body)


def requests(url: str) -> dict[str, int]:
    return open_store(parse_url(url).url).requests.as_dict()


# -- a published dataset -----------------------------------------------------------------------------


def test_a_copy_verifies_reads_and_inspects_like_the_dataset(
    copy: tuple[str, Callable[[], str]],
) -> None:
    here, make = copy
    put_all(f"{here}/raw", large() | {"zz.json": b"bad\n"})
    assert len(compact(input=f"{here}/raw", output=f"{here}/t/ds=2025-01-02", **SPEC).manifest.files) > 1
    there = f"{make()}/t/ds=2025-01-02"
    verdict = verify(there)
    assert (verdict.problems, verdict.copied) == ((), True)
    assert "it is a copy: its etags are not those of the manifest" in verdict_text(verdict)
    assert not verify(f"{here}/t/ds=2025-01-02").copied
    found = inspect(there)
    assert found["copy"]
    assert sum(group["rows"] for group in found["row_groups"]) == ROWS
    assert "a copy" in inspection_text(found)
    if not there.startswith("memory"):
        with dask.config.set(scheduler="threads"):
            assert read(there)["id"].compute().tolist() == list(range(ROWS))


def test_a_run_over_a_copy_is_unchanged_and_leaves_a_manifest_that_fits(
    copy: tuple[str, Callable[[], str]],
) -> None:
    """The raw objects stay where they are: only the dataset was copied."""
    here, make = copy
    put_all(f"{here}/raw", crumbs(30))
    compact(input=f"{here}/raw", output=f"{here}/t/ds=2025-01-02", **SPEC)
    there = f"{make()}/t/ds=2025-01-02"
    again = compact(input=f"{here}/raw", output=there, **SPEC)
    assert again.status is Status.UNCHANGED
    assert "copy" in again.message
    assert (verify(there).problems, verify(there).copied) == ((), False)
    before = requests(there)
    third = compact(input=f"{here}/raw", output=there, **SPEC)
    assert (third.status, third.message) == (Status.UNCHANGED, "")
    writes = {verb for verb, count in requests(there).items() if count > before.get(verb, 0)}
    assert writes <= {"LIST", "GET", "HASH", "HEAD"}


def test_a_run_over_a_copy_that_may_not_be_written_to_is_unchanged_all_the_same(tmp_path: Path) -> None:
    land(tmp_path / "raw", crumbs(3))
    compact(input=tmp_path / "raw", output=tmp_path / "out", **SPEC)
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    store = open_store(str(tmp_path / "copy"))

    def no_writes(verb: str, _: str) -> None:
        if verb in ("STAGE", "PUT"):
            raise (
                OutputOccupied("never asked")
                if verb == "PUT"
                else store.failed("write", "x", OSError(30, ""))
            )

    store.requests.before = no_writes
    try:
        assert compact(input=tmp_path / "raw", output=tmp_path / "copy", **SPEC).status is Status.UNCHANGED
    finally:
        store.requests.before = None


def test_a_copy_with_one_other_byte_is_no_copy_and_a_run_mends_it(
    copy: tuple[str, Callable[[], str]],
) -> None:
    here, make = copy
    put_all(f"{here}/raw", large())
    made = compact(input=f"{here}/raw", output=f"{here}/t/ds=2025-01-02", **SPEC)
    there = f"{make()}/t/ds=2025-01-02"
    store = open_store(dataset_location(there).url)
    key = made.manifest.files[1].key
    body = bytearray(store.get(key))
    body[9] ^= 1
    store.put(key, bytes(body))
    verdict = verify(there)
    assert not verdict.ok
    assert [p for p in verdict.problems if key in p and "SHA-256" in p]
    if not there.startswith("memory"):
        with pytest.raises(SnapshotChanged, match="not what its manifest says") as caught:
            read(there).compute(scheduler="synchronous")
        assert "briquette verify" in caught.value.hint
    if not there.startswith("s3"):  # there nobody could have marked the part as ours
        again = compact(input=f"{here}/raw", output=there, **SPEC)
        assert (again.status, again.manifest.content_digest) == (
            Status.PUBLISHED,
            made.manifest.content_digest,
        )
        assert "made again" in again.why
        assert verify(there).ok


def test_finished_row_groups_of_a_copy_are_taken_over_and_proved_by_their_bytes(
    copy: tuple[str, Callable[[], str]],
) -> None:
    here, make = copy
    put_all(f"{here}/raw", large())
    compact(input=f"{here}/raw", output=f"{here}/t/ds=2025-01-02", **SPEC)
    there = f"{make()}/t/ds=2025-01-02"
    put_all(f"{here}/raw", {"p.json": lines([row(ROWS)])})
    late = compact(input=f"{here}/raw", output=there, **SPEC)
    assert (late.status, late.manifest.rows) == (Status.PUBLISHED, ROWS + 1)
    assert 0 < late.splits_reused < late.splits
    assert "5 objects" in late.why
    assert verify(there, deep=True, options=SERIAL).ok


def test_a_versioned_copy_is_read_and_unchanged_too(copy: tuple[str, Callable[[], str]]) -> None:
    here, make = copy
    put_all(f"{here}/raw", crumbs(30))
    compact(input=f"{here}/raw", output=f"{here}/t/ds=2025-01-02", publish="versioned", **SPEC)
    there = f"{make()}/t/ds=2025-01-02"
    verdict = verify(there)
    assert (verdict.problems, verdict.copied) == ((), True)
    again = compact(input=f"{here}/raw", output=there, publish="versioned", **SPEC)
    assert again.status is Status.UNCHANGED
    assert not verify(there).copied


def test_a_part_is_hashed_once_in_a_process_and_not_where_the_store_says_its_hash(
    copy: tuple[str, Callable[[], str]], request: pytest.FixtureRequest
) -> None:
    here, make = copy
    put_all(f"{here}/raw", crumbs(3))
    made = compact(input=f"{here}/raw", output=f"{here}/t/ds=2025-01-02", **SPEC)
    store = open_store(dataset_location(f"{make()}/t/ds=2025-01-02").url)
    (file,) = made.manifest.files
    now = store.stat(file.key)
    assert now is not None
    asked: list[str] = []
    store.requests.before = lambda verb, _: asked.append(verb)
    try:
        for _ in range(3):
            assert identity.match(store, file, replace(now, fresh=False)) is identity.Match.COPY
    finally:
        store.requests.before = None
    told = request.node.callspec.id == "s3"
    assert [verb for verb in asked if verb in ("GET", "HASH")] == ([] if told else asked[-1:])


def test_a_lambda_s_store_hashes_in_ranges_and_tells_a_change(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_plain, "HASH_BYTES", 7)
    store, plain = open_store(s3.url), s3_plain.PlainS3Store(s3.name)
    body = bytes(range(30))
    stored = store.put("x", body)
    item = RawObject("x", stored.size_bytes, stored.etag)
    assert plain.sha256(item) == store.sha256(item) == hashlib.sha256(body).hexdigest()
    assert plain.requests["GET"] == 5
    store.put("x", body[::-1])
    for one in (plain, store):
        with pytest.raises(SourceChanged):
            one.sha256(item)


# -- the raw side ------------------------------------------------------------------------------------


def test_raw_objects_that_were_copied_are_read_again_and_the_run_says_why(tmp_path: Path) -> None:
    land(tmp_path / "raw", crumbs(30))
    first = compact(input=tmp_path / "raw", output=tmp_path / "out", **SPEC)
    shutil.copytree(tmp_path / "raw", tmp_path / "again", copy_function=shutil.copy2)
    shutil.rmtree(tmp_path / "raw")
    (tmp_path / "again").rename(tmp_path / "raw")
    target = anywhere(input_url=str(tmp_path / "raw"), output_url=str(tmp_path / "out"))
    summary = plan_summary(make_plan(target, resolve_spec(target, SCHEMA, {}), SERIAL))
    assert (summary["state"], "spec differs" in summary["why"]) == ("CHANGED", True)
    again = compact(input=tmp_path / "raw", output=tmp_path / "out", **SPEC)
    assert (again.status, again.manifest.content_digest) == (
        Status.PUBLISHED,
        first.manifest.content_digest,
    )
    assert "copied or restored" in again.why
    assert again.to_dict()["why"] == again.why


def test_a_deep_check_of_copied_raw_objects_compares_rows_and_not_etags(tmp_path: Path) -> None:
    land(tmp_path / "raw", crumbs(30))
    compact(input=tmp_path / "raw", output=tmp_path / "out", **SPEC)
    shutil.copytree(tmp_path / "raw", tmp_path / "again")
    shutil.rmtree(tmp_path / "raw")
    (tmp_path / "again").rename(tmp_path / "raw")
    verdict = verify(str(tmp_path / "out"), deep=True, options=SERIAL)
    assert verdict.ok
    assert any("copied, restored or corrected" in note for note in verdict.notes)
    (tmp_path / "raw" / "o0001.json").write_bytes(crumbs(30)["o0001.json"].replace(b"0.75", b"0.76"))
    assert not verify(str(tmp_path / "out"), deep=True, options=SERIAL).ok


def coarse(stat: os.stat_result) -> str:
    """As on a file system whose clock ticks once in a long time."""
    return f"{stat.st_ino:x}"


def test_an_edit_of_the_same_size_within_a_tick_is_not_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = crumbs(120)
    land(tmp_path / "raw", files)
    for module in (local_files, local_store, directory_swap):
        monkeypatch.setattr(module, "file_etag", coarse)
    first = compact(input=tmp_path / "raw", output=tmp_path / "out", **SPEC)
    assert len(first.manifest.fresh) == 120
    assert compact(input=tmp_path / "raw", output=tmp_path / "out", **SPEC).status is Status.UNCHANGED
    edited = files["o0001.json"].replace(b"0.75", b"0.76")
    assert len(edited) == len(files["o0001.json"])
    (tmp_path / "raw" / "o0001.json").write_bytes(edited)
    again = compact(input=tmp_path / "raw", output=tmp_path / "out", **SPEC)
    assert (again.status, again.input_fingerprint) == (Status.PUBLISHED, first.input_fingerprint)
    assert "o0001.json" in again.why
    assert 0 < again.splits_reused < again.splits
    assert verify(str(tmp_path / "out"), deep=True, options=SERIAL).ok


def test_a_run_at_once_and_one_much_later_are_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(tmp_path / "raw", crumbs(30))
    where: dict[str, Any] = {"input": tmp_path / "raw", "output": tmp_path / "out", **SPEC}
    first = compact(**where)
    assert len(first.manifest.fresh) == 30
    assert compact(**where).status is Status.UNCHANGED
    monkeypatch.setattr(local_files, "FRESH_NS", -(10**18))  # by now nothing is fresh
    assert compact(**where).status is Status.UNCHANGED
    assert compact(**where | {"codec": "gzip"}).manifest.fresh == ()


def test_an_edit_that_sets_the_time_back_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_files, "FRESH_NS", -(10**18))  # as if all this took long
    files = crumbs(30)
    land(tmp_path / "raw", files)
    where: dict[str, Any] = {"input": tmp_path / "raw", "output": tmp_path / "out", **SPEC}
    compact(**where)
    path = tmp_path / "raw" / "o0001.json"
    times = path.stat()
    path.write_bytes(files["o0001.json"].replace(b"0.75", b"0.76"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert compact(**where).status is Status.PUBLISHED
    assert verify(str(tmp_path / "out"), deep=True, options=SERIAL).ok


# -- later stages ------------------------------------------------------------------------------------


def test_a_transform_reads_a_copied_compaction_and_is_unchanged_over_a_copied_day(
    copy: tuple[str, Callable[[], str]],
) -> None:
    here, make = copy
    where = compacted(here, [bar("A"), bar("B")])
    made = transform(**where, options=SERIAL)
    there = make()
    moved = where | {"raw": f"{there}/raw", "curated": f"{there}/curated"}
    again = transform(**moved, options=SERIAL)
    assert (again.status, again.compaction.input_fingerprint) == (
        Status.UNCHANGED,
        made.compaction.input_fingerprint,
    )
    assert verify(f"{there}/curated/market/prices/ds={DS}").ok


def test_a_transform_refuses_parts_that_are_not_those_of_the_copied_manifest(tmp_path: Path) -> None:
    where = compacted(str(tmp_path), [bar("A"), bar("B")])
    folder = tmp_path / "curated" / "market" / "prices" / "compacted" / f"ds={MARKET['ds']}"
    body = bytearray((folder / "part-00000.parquet").read_bytes())
    body[9] ^= 1
    (folder / "part-00000.parquet").write_bytes(body)
    with pytest.raises(SourceChanged, match="not those of their manifest"):
        transform(**where, options=SERIAL)


@pytest.mark.parametrize("mode", ["in_place", "versioned"])
def test_indicators_read_copied_days(copy: tuple[str, Callable[[], str]], tmp_path: Path, mode: str) -> None:
    here, make = copy
    days = publish_history(f"{here}/curated", tmp_path / "scratch", 3, publish=mode)
    options = IndicatorsOptions(run=SERIAL)
    made = indicators(curated=f"{here}/curated", domain="market", ds=days[-1], options=options)
    there = make()
    again = indicators(curated=f"{there}/curated", domain="market", ds=days[-1], options=options)
    assert (made.status, again.status) == (Status.PUBLISHED, Status.UNCHANGED)
    assert again.run.input_fingerprint == made.run.input_fingerprint
    shutil.rmtree(tmp_path / "scratch")


# -- whose manifest it is ----------------------------------------------------------------------------


def newer(url: str) -> bytes:
    place = dataset_location(url)
    store = open_store(place.url)
    key = f"{place.prefix}_manifest.json"
    document = json.loads(store.get(key))
    document["format_version"] += 1
    document["manifest"]["of tomorrow"] = True
    body = json.dumps(document).encode()
    store.put(key, body)
    return body


def test_a_manifest_of_a_newer_version_is_never_replaced(store_url: str) -> None:
    put_all(f"{store_url}/raw", crumbs(3))
    where: dict[str, Any] = {"input": f"{store_url}/raw", "output": f"{store_url}/out", **SPEC}
    compact(**where)
    body = newer(where["output"])
    for options in (SERIAL, RunOptions(executor="serial", force=True)):
        with pytest.raises(UpgradeNeeded, match="newer briquette") as caught:
            compact(**where | {"options": options})
        assert "--force" not in str(caught.value)
        assert "Upgrade" in caught.value.hint
    with pytest.raises(UpgradeNeeded):
        verify(where["output"])
    place = parse_url(where["output"])
    assert open_store(place.url).get(f"{place.prefix}_manifest.json") == body


@pytest.mark.parametrize("body", [b'{"entries": []}', b"[1]", b"not JSON at all", b"\0" * 40])
def test_a_manifest_of_another_program_is_never_replaced(store_url: str, body: bytes) -> None:
    put_all(f"{store_url}/raw", crumbs(3))
    put_all(f"{store_url}/out", {"_manifest.json": body})
    for force in (False, True):
        options = RunOptions(executor="serial", force=force)
        with pytest.raises(VerificationFailed, match="Nothing says that briquette wrote it") as caught:
            compact(input=f"{store_url}/raw", output=f"{store_url}/out", **SPEC | {"options": options})
        assert "--force" not in str(caught.value)
    place = parse_url(f"{store_url}/out")
    assert open_store(place.url).get(f"{place.prefix}_manifest.json") == body


def test_a_damaged_manifest_of_ours_is_replaced_where_the_message_offers_it(store_url: str) -> None:
    put_all(f"{store_url}/raw", crumbs(3))
    where: dict[str, Any] = {"input": f"{store_url}/raw", "output": f"{store_url}/out", **SPEC}
    compact(**where)
    place = parse_url(where["output"])
    store, key = open_store(place.url), f"{place.prefix}_manifest.json"
    store.put(key, store.get(key)[:200])
    with pytest.raises(VerificationFailed) as caught:
        compact(**where)
    assert "--force" in caught.value.hint
    forced = where | {"options": RunOptions(executor="serial", force=True)}
    assert compact(**forced).status is Status.PUBLISHED
    assert verify(where["output"]).ok


def test_a_manifest_of_the_version_before_is_read(tmp_path: Path) -> None:
    land(tmp_path / "raw", crumbs(3))
    compact(input=tmp_path / "raw", output=tmp_path / "out", **SPEC)
    path = tmp_path / "out" / "_manifest.json"
    document = json.loads(path.read_bytes())
    document["format_version"] = 1
    for name in ("fresh", "warnings"):
        del document["manifest"][name]
    path.write_text(json.dumps(document))
    place = dataset_location(str(tmp_path / "out"))
    found = read_manifest(open_store(place.url), place)
    assert found is not None
    assert (found[0].rows, found[0].fresh, found[0].warnings) == (9, (), ())
    assert verify(str(tmp_path / "out")).ok
    assert stands(open_store(place.url), place)


def test_foreign_parquet_is_refused_with_and_without_force_and_no_message_offers_it(store_url: str) -> None:
    """A schema of one column over foreign Parquet erased the others for good."""
    put_all(f"{store_url}/raw", crumbs(3))
    for name in ("a.parquet", "part-00000.parquet", "sub/b.parquet"):
        put_all(f"{store_url}/{name[0]}", {name: b"theirs"})
        for force in (False, True):
            options = RunOptions(executor="serial", force=force)
            with pytest.raises(OutputOccupied, match="briquette did not publish") as caught:
                compact(
                    input=f"{store_url}/raw", output=f"{store_url}/{name[0]}", **SPEC | {"options": options}
                )
            assert "--force" not in str(caught.value)
        place = parse_url(f"{store_url}/{name[0]}")
        assert open_store(place.url).get(place.prefix + name) == b"theirs"


def test_what_verify_recommends_works(tmp_path: Path) -> None:
    land(tmp_path / "raw", large())
    where: dict[str, Any] = {"input": tmp_path / "raw", "output": tmp_path / "out", **SPEC}
    compact(**where)
    part = tmp_path / "out" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    (tmp_path / "out" / "theirs.parquet").write_bytes(b"x")
    said = verdict_text(verify(str(tmp_path / "out")))
    assert "move the files away that the manifest does not name" in said
    forced = where | {"options": RunOptions(executor="serial", force=True)}
    with pytest.raises(OutputOccupied):
        compact(**forced)
    (tmp_path / "out" / "theirs.parquet").unlink()
    assert "next: publish it again with `briquette compact --force`." in verdict_text(
        verify(str(tmp_path / "out"))
    )
    assert compact(**forced).status is Status.PUBLISHED
    assert verify(str(tmp_path / "out")).ok

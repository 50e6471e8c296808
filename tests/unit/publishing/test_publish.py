"""Publishing: what readers see while it happens, when it dies half-way, and when two do it at once."""

from __future__ import annotations

import io
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from briquette.errors import (
    NotFound,
    OutputOccupied,
    PartitionConflict,
    PreconditionFailed,
    PublishConflict,
    StoreError,
    VerificationFailed,
)
from briquette.model import (
    CompactionSpec,
    Field,
    Location,
    Manifest,
    Partition,
    Piece,
    PublishedFile,
    PublishMode,
    Schema,
)
from briquette.parquet.splice import SplicedPart, cut, splice
from briquette.publishing.clean_up import janitor
from briquette.publishing.publish import NewDataset, publish, remove_dataset, staging_prefix, write_rejects
from briquette.publishing.snapshot import Snapshot, observe, read_manifest
from briquette.publishing.verify import verify_dataset
from briquette.storage.interface import WRITE_VERBS, Store
from briquette.storage.opening import open_store
from tests.faults import FaultyWire
from tests.invariants import stands
from tests.servers import Bucket

DS = "prices/compacted/ds=2025-09-09/"
OLD, NEW = 1, 2
IN_PLACE, VERSIONED = PublishMode.IN_PLACE, PublishMode.VERSIONED


def part(version: int, index: int, rows: int = 3) -> SplicedPart:
    """A real Parquet part whose every row says which version and part it is."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"version": [version] * rows, "part": [index] * rows}), buffer)
    return splice(cut(buffer.getvalue()))


PRICES = Partition("market", "prices", "1d", "yahoo", "2025-09-09")


@dataclass(frozen=True)
class Edition:
    """One version of a dataset, ready to be published."""

    version: int
    parts: tuple[SplicedPart, ...]
    rejects: bytes = b""
    partition: Partition = PRICES

    @property
    def plan_id(self) -> str:
        return f"{self.version:064x}"

    def manifest(self, files: tuple[PublishedFile, ...], rejects_file: PublishedFile | None) -> Manifest:
        rows, rejects = sum(f.rows for f in files), rejects_file.rows if rejects_file else 0
        return Manifest(
            partition=self.partition,
            plan_id=self.plan_id,
            input_fingerprint=f"inputs of {self.version}",
            spec=CompactionSpec(Schema((Field("version", "int64"), Field("part", "int64")))),
            content_digest="",
            records=rows + rejects,
            rows=rows,
            rejects=rejects,
            duplicates=0,
            input_objects=0,
            input_bytes=0,
            raw=Location("/raw"),
            files=files,
            rejects_file=rejects_file,
            splits=(),
            extra_fields=(),
            duplicate_json_keys=0,
            writer="test",
        )

    def publish(
        self,
        store: Store,
        output: Location,
        *,
        seen: Snapshot | None = None,
        mode: PublishMode = IN_PLACE,
        force: bool = False,
        unsafe_store: bool = False,
    ) -> Manifest:
        seen = seen or observe(store, output, force=force)
        return publish(store, seen, self.dataset(mode), unsafe_store=unsafe_store)

    def dataset(self, mode: PublishMode = IN_PLACE) -> NewDataset:
        return NewDataset(self.plan_id, self.parts, self.manifest, self.rejects, mode)


def edition(version: int, parts: int = 1, rejects: bytes = b"") -> Edition:
    return Edition(version, tuple(part(version, i) for i in range(parts)), rejects)


def versions_in(body: bytes) -> set[int]:
    return set(pq.read_table(io.BytesIO(body)).column("version").to_pylist())


def a_lister_sees(store: Store, output: Location) -> list[set[int]]:
    """Versions in each visible file, for a reader that lists and knows no manifest."""
    below = [s.key.removeprefix(output.prefix) for s in store.list(output.prefix)]
    visible = [k for k in below if not any(s[0] in "_." for s in k.split("/"))]
    return [versions_in(store.get(output.prefix + k)) for k in visible]


def a_manifest_reader_sees(store: Store, output: Location) -> list[set[int]] | str:
    """Versions in each pinned file, or "error" where a pin does not hold."""
    found = read_manifest(store, output)
    if found is None:
        return []
    try:
        return [versions_in(store.get(f.key, etag=f.etag)) for f in found[0].files]
    except (NotFound, PreconditionFailed):
        return "error"


def visible_keys(store: Store, output: Location) -> list[str]:
    return [
        s.key
        for s in store.list(output.prefix)
        if not s.key.removeprefix(output.prefix).startswith(("_", "."))
    ]


def at(store: Store, prefix: str = DS) -> Location:
    return Location(store.url, prefix)


# -- the plain case ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [IN_PLACE, VERSIONED])
@pytest.mark.parametrize("parts", [1, 3])
def test_what_is_published_is_what_the_manifest_says(store: Store, parts: int, mode: PublishMode) -> None:
    output = at(store)
    manifest = edition(OLD, parts, rejects=b'{"reject":1}\n').publish(store, output, mode=mode)
    assert read_manifest(store, output) is not None
    assert verify_dataset(store, output) == []
    assert a_manifest_reader_sees(store, output) == [{OLD}] * parts
    assert [f.key.rpartition("/")[2] for f in manifest.files] == [
        f"part-{i:05d}.parquet" for i in range(parts)
    ]
    assert manifest.rejects_file is not None
    assert manifest.rejects_file.key == "prices/compacted/_rejects/ds=2025-09-09/0000000000000000.jsonl"
    assert store.get(manifest.rejects_file.key) == b'{"reject":1}\n'
    if mode is IN_PLACE:
        assert visible_keys(store, output) == [f.key for f in manifest.files]
    else:
        assert visible_keys(store, output) == []


@pytest.mark.parametrize(
    "modes", [(IN_PLACE, IN_PLACE), (IN_PLACE, VERSIONED), (VERSIONED, IN_PLACE), (VERSIONED, VERSIONED)]
)
@pytest.mark.parametrize("counts", [(3, 1), (1, 3)])
def test_publishing_again_leaves_only_the_new_dataset(
    store: Store, counts: tuple[int, int], modes: tuple[PublishMode, PublishMode]
) -> None:
    output = at(store)
    edition(OLD, counts[0], rejects=b"old\n").publish(store, output, mode=modes[0])
    new = replace(edition(NEW, counts[1]), version=NEW << 200)  # another plan: its hidden names differ
    manifest = new.publish(store, output, mode=modes[1])
    assert verify_dataset(store, output) == []
    assert a_manifest_reader_sees(store, output) == [{NEW}] * counts[1]
    assert a_lister_sees(store, output) == ([{NEW}] * counts[1] if modes[1] is IN_PLACE else [])
    assert manifest.rejects_file is None
    # A version before this one can be put back, and its manifest names its reject file.
    assert bool(list(store.list("prices/compacted/_rejects/"))) == (modes[0] is VERSIONED)
    assert list(store.list("prices/compacted/_staging/")) == []


def test_publishing_the_same_again_writes_the_same_bytes(store: Store) -> None:
    output = at(store)
    first = edition(OLD, 2).publish(store, output)
    again = edition(OLD, 2).publish(store, output)
    assert [f.sha256 for f in first.files] == [f.sha256 for f in again.files]
    assert verify_dataset(store, output) == []


def test_staged_row_groups_are_spliced_in_and_then_removed(store: Store) -> None:
    output = at(store)
    plain = edition(OLD, 2)
    key = staging_prefix(output, plain.plan_id) + "split-000000-000000"
    assert key.startswith("prices/compacted/_staging/ds=2025-09-09/")
    staged = []
    for i, one in enumerate(plain.parts):
        head, body, tail = one.pieces
        assert body.data is not None
        stored = store.put(f"{key[:-1]}{i}", b"before" + body.data, durable=False)
        place = Piece(body.size_bytes, key=stored.key, offset=6, etag=stored.etag)
        staged.append(replace(one, pieces=(head, place, tail)))
    replace(plain, parts=tuple(staged)).publish(store, output)
    assert verify_dataset(store, output) == []
    assert [store.get(f"{DS}part-0000{i}.parquet") for i in (0, 1)] == [p.to_bytes() for p in plain.parts]
    assert [s.key for s in store.list("prices/") if "_staging" in s.key] == []


def test_a_staged_row_group_with_other_bytes_is_never_published(store: Store) -> None:
    output = at(store)
    plain = edition(OLD)
    head, body, tail = plain.parts[0].pieces
    assert body.data is not None
    stored = store.put("prices/compacted/_staging/x", bytes(body.size_bytes))
    place = Piece(body.size_bytes, key=stored.key, etag=stored.etag)
    with pytest.raises(VerificationFailed, match="staged row group"):
        # Its pieces were hashed when it was made.
        replace(plain, parts=(replace(plain.parts[0], pieces=(head, place, tail)),)).publish(store, output)
    assert list(store.list(DS)) == []


def test_a_part_whose_footer_says_otherwise_is_never_published(store: Store) -> None:
    wrong = replace(edition(OLD), parts=(replace(part(OLD, 0), group_rows=(4,)),))
    with pytest.raises(VerificationFailed, match="row groups"):
        wrong.publish(store, at(store))
    assert store.requests.writes == 0


def test_a_manifest_that_cannot_be_built_stops_the_run_before_anything_is_visible(store: Store) -> None:
    output = at(store)
    edition(OLD, 2).publish(store, output)
    new = edition(NEW, 2)

    def refuse(files: tuple[PublishedFile, ...], rejects_file: PublishedFile | None) -> Manifest:
        raise VerificationFailed("the sums differ")

    with pytest.raises(VerificationFailed):
        publish(store, observe(store, output), NewDataset("2" * 64, new.parts, refuse))
    assert verify_dataset(store, output) == []
    assert a_lister_sees(store, output) == [{OLD}, {OLD}]


# -- crashes -------------------------------------------------------------------------------------


class CrashError(BaseException):
    """The run dies here; nothing of it may act afterwards."""


def die_before_write(number: int) -> Callable[[str, str], None]:
    """A hook that ends the run ahead of its write ``number`` and everything after."""
    writes = iter(range(1, 1_000_000))
    dead = threading.Event()

    def before(verb: str, key: str) -> None:
        if dead.is_set() or (verb in WRITE_VERBS and next(writes) == number):
            dead.set()
            raise CrashError(f"before {verb} {key}")

    return before


def crashes(store: Store, new: Edition, prior: Edition | None, mode: PublishMode) -> Iterator[Location]:
    """Output places at which publishing ``new`` over ``prior`` died, before every single write in turn."""
    for number in range(1, 100):
        output = at(store, f"t{number}/{DS}")
        if prior is not None:
            prior.publish(store, output, mode=mode)
        seen = observe(store, output)
        store.requests.before = die_before_write(number)
        try:
            new.publish(store, output, seen=seen, mode=mode)
        except CrashError:
            store.requests.before = None
            yield output
        else:
            store.requests.before = None
            assert number > 3, "there were hardly any writes to die before"
            return
    raise AssertionError("it never came to an end")


PRIORS = {"nothing": None, "the same": (NEW, 3), "fewer parts": (OLD, 2), "more parts": (OLD, 4)}


@pytest.mark.parametrize("mode", [IN_PLACE, VERSIONED])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("parts", [1, 3])
def test_a_crash_before_any_write_leaves_old_or_new_and_a_re_run_repairs(
    store: Store, parts: int, prior: str, mode: PublishMode
) -> None:
    before = edition(*PRIORS[prior]) if PRIORS[prior] else None  # type: ignore[misc]
    if before is not None and parts == 1:
        before = replace(before, parts=before.parts[:1])
    new = edition(NEW, parts, rejects=b"reject\n")
    old_view = [{before.version}] * len(before.parts) if before else []
    new_view = [{NEW}] * parts
    count = 0
    for output in crashes(store, new, before, mode):
        count += 1
        by_manifest, by_listing = a_manifest_reader_sees(store, output), a_lister_sees(store, output)
        on_disk = store.url.startswith("/")
        if on_disk or mode is VERSIONED:
            assert by_manifest in (old_view, new_view), "a manifest reader is never in trouble"
        else:
            assert by_manifest in (old_view, new_view, "error"), "a manifest reader never sees a mixture"
        if mode is IN_PLACE and (on_disk or parts == 1):
            assert by_listing in (old_view, new_view), "whoever lists sees old or new, whole"
        new.publish(store, output, mode=mode)
        assert verify_dataset(store, output) == []
        assert a_manifest_reader_sees(store, output) == new_view
        assert a_lister_sees(store, output) == (new_view if mode is IN_PLACE else [])
        assert stands(store, output)
    assert count >= 3


def test_a_run_with_other_inputs_also_repairs_what_a_crash_left(store: Store) -> None:
    for output in crashes(store, edition(NEW, 3), edition(OLD, 2), IN_PLACE):
        edition(3, 1).publish(store, output)
        assert verify_dataset(store, output) == []
        assert a_lister_sees(store, output) == [{3}]


def test_a_run_that_is_killed_leaves_nothing_that_the_next_does_not_clear(tmp_path: Path) -> None:
    for number in range(1, 100):
        root = tmp_path / str(number)
        store, output = open_store(str(root)), Location(str(root), DS)
        edition(OLD, 2).publish(store, output)
        seen = observe(store, output)
        new = edition(NEW, 3, rejects=b"r\n")
        child = os.fork()
        if child == 0:
            try:
                store.requests.before = die_at_once_before_write(number)
                new.publish(store, output, seen=seen)
                os._exit(0)
            finally:
                os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert a_manifest_reader_sees(store, output) in ([{OLD}] * 2, [{NEW}] * 3)
        assert a_lister_sees(store, output) in ([{OLD}] * 2, [{NEW}] * 3)
        new.publish(store, output)
        assert verify_dataset(store, output) == []
        janitor(store, output, older_than_seconds=-1)
        files = sorted(str(p.relative_to(root / "prices/compacted")) for p in root.rglob("*") if p.is_file())
        assert files == [
            "_rejects/ds=2025-09-09/0000000000000000.jsonl",
            "ds=2025-09-09/_manifest.json",
            *(f"ds=2025-09-09/part-0000{i}.parquet" for i in range(3)),
        ]
        if status == 0:
            assert number > 5
            return
        assert status == 9
    raise AssertionError("it never came to an end")


def die_at_once_before_write(number: int) -> Callable[[str, str], None]:
    writes = iter(range(1, 1_000_000))

    def before(verb: str, key: str) -> None:
        if verb in WRITE_VERBS and next(writes) == number:
            os._exit(9)

    return before


# -- races ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [IN_PLACE, VERSIONED])
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("over", ["nothing", "an old dataset"])
def test_of_two_runs_that_saw_the_same_exactly_one_publishes(
    store: Store, over: str, parts: int, mode: PublishMode
) -> None:
    for round_ in range(3):
        output = at(store, f"r{round_}/{DS}")
        if over != "nothing":
            edition(OLD, 2).publish(store, output, mode=mode)
        seen = observe(store, output)
        barrier = threading.Barrier(2)

        def run(
            version: int,
            output: Location = output,
            seen: Snapshot = seen,
            barrier: threading.Barrier = barrier,
        ) -> int | None:
            new = edition(version, parts)
            barrier.wait()
            try:
                new.publish(store, output, seen=seen, mode=mode)
            except PublishConflict:
                return None
            return version

        with ThreadPoolExecutor(2) as threads:
            winners = [v for v in threads.map(run, (5, 6)) if v is not None]
        assert len(winners) == 1
        assert verify_dataset(store, output) == []
        assert a_manifest_reader_sees(store, output) == [{winners[0]}] * parts


def test_a_run_whose_partition_was_published_meanwhile_is_refused(store: Store) -> None:
    output = at(store)
    seen = observe(store, output)
    edition(OLD, 2).publish(store, output)
    with pytest.raises(PublishConflict, match="another run"):
        edition(NEW, 2).publish(store, output, seen=seen)
    assert verify_dataset(store, output) == []


# -- whose files are these -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["part-00000-c000.snappy.parquet", "part-00000.parquet", "notes.txt", "sub/part-00000.parquet"]
)
def test_files_that_nobody_published_are_never_replaced_silently(store: Store, name: str) -> None:
    output = at(store)
    store.put(f"{DS}_SUCCESS", b"")
    store.put(DS + name, b"theirs")
    for force in (False, True):
        with pytest.raises(OutputOccupied, match="briquette did not publish") as caught:
            edition(NEW).publish(store, output, force=force)
        assert "--force" not in str(caught.value)
    assert store.get(DS + name) == b"theirs"
    assert read_manifest(store, output) is None


def test_hidden_files_of_others_stay(store: Store) -> None:
    output = at(store)
    store.put(f"{DS}_SUCCESS", b"done")
    store.put(f"{DS}_delta_log/0.json", b"{}")
    edition(OLD, 2).publish(store, output)
    edition(NEW, 1).publish(store, output)
    assert store.get(f"{DS}_SUCCESS") == b"done"
    assert store.get(f"{DS}_delta_log/0.json") == b"{}"
    assert verify_dataset(store, output) == []


def test_another_partitions_dataset_is_never_replaced(store: Store) -> None:
    output = at(store)
    edition(OLD).publish(store, output)
    other = replace(edition(NEW), partition=Partition("market", "prices", "1h", "yahoo", "2025-09-09"))
    with pytest.raises(PartitionConflict, match="1d"):
        other.publish(store, output)
    assert a_lister_sees(store, output) == [{OLD}]


def test_an_unreadable_manifest_is_an_error_until_force(store: Store) -> None:
    output = at(store)
    edition(OLD).publish(store, output)
    store.put(f"{DS}_manifest.json", b"{broken")
    with pytest.raises(VerificationFailed, match="--force"):
        read_manifest(store, output)
    with pytest.raises(VerificationFailed):
        observe(store, output)
    edition(NEW).publish(store, output, seen=observe(store, output, force=True), force=True)
    assert verify_dataset(store, output) == []


# -- outputs without ds= -------------------------------------------------------------------------


def test_any_place_can_be_an_output_and_hides_its_own_files_inside(store: Store) -> None:
    output = at(store, "" if store.url.startswith("/") else "some/place/")
    for version, parts in ((OLD, 2), (NEW, 3)):
        edition(version, parts, rejects=b"r\n").publish(store, output)
        assert verify_dataset(store, output) == []
        assert a_lister_sees(store, output) == [{version}] * parts
        assert store.get(f"{output.prefix}_rejects/0000000000000000.jsonl") == b"r\n"
    if store.url.startswith("/"):
        assert [p.name for p in Path(store.url).parent.iterdir()] == ["store"], "nothing is left beside it"


def test_a_swapped_directory_keeps_its_rights(tmp_path: Path) -> None:
    store, output = open_store(str(tmp_path)), Location(str(tmp_path), DS)
    edition(OLD).publish(store, output)
    (tmp_path / DS).chmod(0o2751)
    edition(NEW).publish(store, output)
    assert stat.S_IMODE((tmp_path / DS).stat().st_mode) == 0o2751


@pytest.mark.parametrize("mode", [IN_PLACE, VERSIONED])
def test_a_dataset_that_lost_a_part_is_not_intact(store: Store, mode: PublishMode) -> None:
    output = at(store)
    assert not stands(store, output)
    manifest = edition(OLD, 2).publish(store, output, mode=mode)
    store.put(f"{DS}notes.txt", b"of somebody else")
    assert stands(store, output)
    store.delete(manifest.files[1].key)
    assert not stands(store, output)


def test_a_linked_ds_folder_is_replaced_file_by_file(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "prices/compacted").mkdir(parents=True)
    (tmp_path / DS).symlink_to(tmp_path / "elsewhere")
    store.requests.reset()
    for version, parts in ((OLD, 3), (NEW, 2)):
        edition(version, parts).publish(store, Location(str(tmp_path), DS))
        assert verify_dataset(store, Location(str(tmp_path), DS)) == []
    assert sorted(p.name for p in (tmp_path / "elsewhere").iterdir()) == [
        "_manifest.json",
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    assert (tmp_path / DS).is_symlink()
    assert store.requests["SWAP"] == 0


def test_a_file_dropped_into_the_directory_at_the_last_moment_is_not_lost(tmp_path: Path) -> None:
    store, output = open_store(str(tmp_path)), Location(str(tmp_path), DS)
    edition(OLD, 2).publish(store, output)

    def drop(verb: str, key: str) -> None:
        if verb == "SWAP":
            (tmp_path / DS / "late.txt").write_text("mine")

    store.requests.before = drop
    edition(NEW, 2).publish(store, output)
    store.requests.before = None
    assert (tmp_path / DS / "late.txt").read_text() == "mine"
    assert a_manifest_reader_sees(store, output) == [{NEW}, {NEW}]


def test_an_open_file_of_the_old_dataset_stays_readable(tmp_path: Path) -> None:
    store, output = open_store(str(tmp_path)), Location(str(tmp_path), DS)
    edition(OLD).publish(store, output)
    with (tmp_path / DS / "part-00000.parquet").open("rb") as old:
        edition(NEW).publish(store, output)
        assert versions_in(old.read()) == {OLD}


# -- rejects, removal, verification, cleaning ----------------------------------------------------


def test_rejects_are_written_once_and_kept_when_the_run_fails(store: Store) -> None:
    output = at(store)
    assert write_rejects(store, output, "a" * 64, b"") is None
    first = write_rejects(store, output, "a" * 64, b"one\ntwo\n")
    again = write_rejects(store, output, "a" * 64, b"one\ntwo\n")
    assert first == again
    assert first is not None
    assert (first.rows, first.size_bytes) == (2, 8)
    assert (
        store.get("prices/compacted/_rejects/ds=2025-09-09/aaaaaaaaaaaaaaaa.jsonl", etag=first.etag)
        == b"one\ntwo\n"
    )


@pytest.mark.parametrize("mode", [IN_PLACE, VERSIONED])
def test_removing_a_dataset_takes_exactly_what_its_manifest_names(store: Store, mode: PublishMode) -> None:
    output = at(store)
    store.put(f"{DS}_SUCCESS", b"")
    neighbour = at(store, DS.replace("09-09", "09-10"))
    edition(OLD, 1).publish(store, neighbour)
    edition(OLD, 2, rejects=b"r\n").publish(store, output, mode=mode)
    remove_dataset(store, observe(store, output))
    left = [s.key for s in store.list("")]
    assert left == [
        f"{DS}_SUCCESS",
        f"{neighbour.prefix}_manifest.json",
        f"{neighbour.prefix}part-00000.parquet",
    ]


def test_removing_what_was_published_again_meanwhile_is_refused(store: Store) -> None:
    output = at(store)
    edition(OLD, 2).publish(store, output)
    old = observe(store, output)
    edition(NEW, 2).publish(store, output)
    with pytest.raises(PublishConflict):
        remove_dataset(store, old)
    assert verify_dataset(store, output) == []


def test_a_removal_that_died_is_finished_by_the_next(store: Store) -> None:
    for number in range(1, 50):
        output = at(store, f"t{number}/{DS}")
        edition(OLD, 3).publish(store, output)
        store.requests.before = die_before_write(number)
        try:
            remove_dataset(store, observe(store, output))
        except CrashError:
            store.requests.before = None
            remove_dataset(store, observe(store, output))
            assert list(store.list(output.prefix)) == []
        else:
            store.requests.before = None
            assert number > 1
            return
    raise AssertionError("it never came to an end")


def test_verification_names_the_file_and_what_is_wrong(store: Store) -> None:
    output = at(store)
    assert verify_dataset(store, output) == [f"{DS}_manifest.json: there is no manifest"]
    edition(OLD, 3, rejects=b"r\n").publish(store, output)
    body = store.get(f"{DS}part-00000.parquet")
    store.put(f"{DS}part-00000.parquet", body[:40] + bytes([body[40] ^ 1]) + body[41:])
    store.delete(f"{DS}part-00001.parquet")
    store.put(f"{DS}part-00002.parquet", b"short")
    store.put(f"{DS}part-00003.parquet", body)
    told = "\n".join(verify_dataset(store, output))
    assert "part-00000.parquet: its SHA-256 is" in told
    assert "part-00001.parquet: the part is missing" in told
    assert "part-00002.parquet: it has 5 bytes" in told
    assert "part-00003.parquet: readers see it, the manifest does not name it" in told
    assert verify_dataset(store, output, read_parts=False) != []


def test_the_janitor_takes_expired_staging_and_old_versions_only(store: Store) -> None:
    output = at(store)
    for version in (OLD, NEW):
        edition(version, 2).publish(store, output, mode=VERSIONED)
    keys = {
        "expired": staging_prefix(output, "a" * 64) + "split-000001-000000",
        "not ours": staging_prefix(output, "a" * 64) + "something.txt",
        "another day's": staging_prefix(at(store, DS.replace("09-09", "09-10")), "a" * 64)
        + "split-000001-000000",
    }
    for key in keys.values():
        store.put(key, b"x")
    write_rejects(store, output, "b" * 64, b"of a run that failed\n")
    assert janitor(store, output) == 0, "nothing is a day old"
    assert janitor(store, output, older_than_seconds=-3_600) == 4, "a staged object, two old parts, rejects"
    assert store.stat(keys["expired"]) is None
    assert store.stat(keys["not ours"]) is not None
    assert store.stat(keys["another day's"]) is not None
    assert verify_dataset(store, output) == []
    assert a_manifest_reader_sees(store, output) == [{NEW}, {NEW}]


def test_readers_of_the_version_before_are_not_cut_off(tmp_path: Path) -> None:
    store, output = open_store(str(tmp_path)), Location(str(tmp_path), DS)

    def published_days_ago(version: int, days: int) -> Manifest:
        manifest = edition(version).publish(store, output, mode=VERSIONED)
        then = time.time() - days * 86_400
        for file in tmp_path.rglob("*.*"):
            if file.is_file() and file.stat().st_mtime > time.time() - 3_600:
                os.utime(file, (then, then))
        return manifest

    first, second = published_days_ago(1, 9), published_days_ago(2, 5)
    third = edition(3).publish(store, output, mode=VERSIONED)
    assert [store.stat(m.files[0].key) is not None for m in (first, second, third)] == [False, True, True]
    fourth = edition(4).publish(store, output, mode=VERSIONED)
    assert store.stat(second.files[0].key) is not None, "it was replaced a moment ago"
    assert verify_dataset(store, output) == []
    assert fourth.files != third.files


# -- trouble with S3 ------------------------------------------------------------------------------


def test_an_error_of_the_store_in_the_middle_is_repaired_by_the_next_run(
    faulty_s3: tuple[Bucket, FaultyWire],
) -> None:
    from tests.faults import Fault

    bucket, wire = faulty_s3
    store, output = open_store(bucket.url), Location(bucket.url, DS)
    edition(OLD, 3).publish(store, output)
    wire.break_(Fault("DeleteObject", status=403, code="AccessDenied"))
    with pytest.raises(StoreError, match="AccessDenied"):
        edition(NEW, 2).publish(store, output)
    assert a_manifest_reader_sees(store, output) == "error"
    assert not stands(store, output)
    edition(NEW, 2).publish(store, output)
    assert verify_dataset(store, output) == []


def test_large_parts_are_copied_inside_s3_and_published_by_one_completion(s3: Bucket) -> None:
    store, output = open_store(s3.url), Location(s3.url, DS)
    buffer = io.BytesIO()
    noise = pa.array(os.urandom(12) for _ in range(700_000))
    pq.write_table(pa.table({"noise": noise}), buffer, compression="none", use_dictionary=False)
    whole = splice(cut(buffer.getvalue()))
    head, *bodies, tail = whole.pieces
    staged: list[Piece] = []
    for i, body in enumerate(bodies):
        assert body.data is not None
        stored = store.put(f"{staging_prefix(output, '2' * 64)}split-{i:06d}-000000", body.data)
        staged.append(Piece(body.size_bytes, key=stored.key, etag=stored.etag))
    big = replace(whole, pieces=(head, *staged, tail))
    assert big.size_bytes > 10 << 20
    edition(OLD, 1).publish(store, output)
    store.requests.reset()
    replace(edition(NEW), parts=(big, part(NEW, 1))).publish(store, output, unsafe_store=True)
    assert store.requests["COMPLETE"] == 1
    assert store.requests["COPY"] >= 1
    assert verify_dataset(store, output) == []


# -- keys in the manifest ------------------------------------------------------------------------


def test_a_dataset_stays_true_through_another_root(tmp_path: Path) -> None:
    edition(OLD, 2, rejects=b"r\n").publish(open_store(str(tmp_path)), Location(str(tmp_path), DS))
    root = str(tmp_path / "prices/compacted")
    nearer, output = open_store(root), Location(root, "ds=2025-09-09/")
    assert verify_dataset(nearer, output) == []
    assert a_manifest_reader_sees(nearer, output) == [{OLD}, {OLD}]
    edition(NEW).publish(nearer, output)
    assert verify_dataset(open_store(str(tmp_path)), Location(str(tmp_path), DS)) == []


def test_a_manifest_that_names_files_outside_its_tree_is_not_believed(store: Store) -> None:
    output = at(store)
    edition(OLD).publish(store, output)
    body = store.get(f"{DS}_manifest.json")
    store.put("prices/precious", b"mine")
    store.put(f"{DS}_manifest.json", body.replace(b"ds=2025-09-09/part-00000.parquet", b"../precious"))
    for act in (lambda: read_manifest(store, output), lambda: observe(store, output)):
        with pytest.raises(VerificationFailed, match="cannot be trusted"):
            act()
    told = verify_dataset(store, output)
    assert len(told) == 1, "what it names is not looked at"
    assert f"{DS}_manifest.json cannot be trusted" in told[0]
    assert store.get("prices/precious") == b"mine"


def test_a_versioned_dataset_can_be_rolled_back_by_its_manifest_with_its_rejects(store: Store) -> None:
    output = at(store)
    before = replace(edition(OLD), rejects=b'{"key": "a"}\n')
    before.publish(store, output, mode=PublishMode.VERSIONED)
    key = f"{output.prefix}_manifest.json"
    kept = store.get(key)
    new = replace(edition(NEW, rejects=b'{"key": "b"}\n'), version=NEW << 200)
    new.publish(store, output, mode=PublishMode.VERSIONED)
    store.put(key, kept)
    assert verify_dataset(store, output) == []
    found = read_manifest(store, output)
    assert found is not None
    assert found[0].rejects_file is not None
    assert store.get(found[0].rejects_file.key) == b'{"key": "a"}\n'

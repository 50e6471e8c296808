"""Names, limits and messages of publishing, exactly: found by changing it and seeing no test fail."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from briquette.errors import (
    OutputOccupied,
    PartitionConflict,
    PublishConflict,
    SnapshotChanged,
    StoreError,
    UnsafePath,
    VerificationFailed,
)
from briquette.model import Location, Partition, Piece, PublishMode
from briquette.parquet.splice import SplicedPart
from briquette.planning.layout import Layout, is_hidden, is_part_name, part_name
from briquette.publishing import clean_up as removing
from briquette.publishing import part_hashes as part_steps
from briquette.publishing import publish as publishing
from briquette.publishing.clean_up import janitor
from briquette.publishing.identity import Standing
from briquette.publishing.part_hashes import PartHashes, check_footers, published, read_range
from briquette.publishing.publish import remove_dataset, write_rejects
from briquette.publishing.snapshot import observe, read_manifest, refuse_strangers
from briquette.publishing.verify import verify_dataset
from briquette.storage.interface import ANY, Store, Stored
from briquette.storage.memory import MemoryStore
from briquette.storage.opening import open_store
from tests.unit.publishing.test_publish import (
    DS,
    IN_PLACE,
    NEW,
    OLD,
    PRICES,
    VERSIONED,
    Edition,
    at,
    edition,
    part,
)

DAY = 86_400.0
ABOVE, SEGMENT = "prices/compacted/", "ds=2025-09-09/"


class Clock:
    """The store's clock, set by hand."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def time(self) -> float:
        return self.seconds


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore("memory://curated")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of memory stores and of publishing."""
    made = Clock(1_000_000.0)
    monkeypatch.setattr("briquette.storage.memory.time", made)
    monkeypatch.setattr(removing, "time", made)
    return made


def keys(store: MemoryStore, prefix: str = "") -> list[str]:
    return [s.key for s in store.list(prefix)]


# -- names ---------------------------------------------------------------------------------------


def test_the_names_of_a_dataset() -> None:
    layout = Layout.of(Location("memory://x", DS))
    plan_id, content = "0123456789abcdef" * 4, "fedcba9876543210" * 4
    assert layout.manifest_key == f"{DS}_manifest.json"
    assert layout.part_key(7) == f"{DS}part-00007.parquet"
    assert layout.staging(plan_id) == f"{ABOVE}_staging/{SEGMENT}0123456789abcdef/"
    assert layout.version(plan_id, content) == f"{ABOVE}_versions/{SEGMENT}0123456789abcdef-fedcba9876543210/"
    assert layout.rejects_key(plan_id) == f"{ABOVE}_rejects/{SEGMENT}0123456789abcdef.jsonl"
    assert Layout.of(Location("x", "ds=1/")) == Layout("ds=1/", "", "ds=1/")
    assert Layout.of(Location("x", "a/b/")) == Layout("a/b/", "a/b/", "")
    assert Layout.of(Location("x", "")) == Layout("", "", "")
    assert publishing.staging_prefix(Location("x", DS), plan_id) == layout.staging(plan_id)


@pytest.mark.parametrize(
    ("path", "hidden"),
    [("a", False), ("_a", True), (".a", True), ("a/_b", True), ("_a/b", True), ("a_/b.c", False)],
)
def test_a_path_is_hidden_by_any_of_its_segments(path: str, hidden: bool) -> None:
    assert is_hidden(path) is hidden


def test_a_part_name_has_five_digits_or_more() -> None:
    assert (part_name(0), part_name(123_456)) == ("part-00000.parquet", "part-123456.parquet")
    for name in ("part-00000.parquet", "part-123456.parquet"):
        assert is_part_name(name)
    for name in (
        "part-0000.parquet",
        "part-00000-c000.parquet",
        "part-00000.parquet.gz",
        "x/part-00000.parquet",
    ):
        assert not is_part_name(name)


def test_a_layout_cannot_be_changed() -> None:
    layout = Layout("a/", "", "a/")
    with pytest.raises(dataclasses.FrozenInstanceError):
        layout.above = "x"  # type: ignore[misc]
    assert not hasattr(layout, "__dict__")


def test_a_snapshot_cannot_be_changed(memory: MemoryStore) -> None:
    seen = observe(memory, at(memory))
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen.manifest_etag = "x"  # type: ignore[misc]
    assert not hasattr(seen, "__dict__")
    assert (seen.manifest_modified_seconds, seen.elsewhere, seen.is_complete) == (0.0, (), False)


# -- metadata and pins ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [IN_PLACE, VERSIONED])
def test_every_object_says_which_plan_made_it_of_which_bytes(memory: MemoryStore, mode: PublishMode) -> None:
    new = replace(edition(NEW, 2, b"r\n"), version=NEW << 200)
    manifest = new.publish(memory, at(memory), mode=mode)
    for i, file in enumerate(manifest.files):
        stored, body = memory.stat(file.key), memory.get(file.key)
        assert stored is not None
        sha256 = hashlib.sha256(body).hexdigest()
        assert stored.metadata == {"briquette-plan": new.plan_id, "briquette-sha256": sha256}
        assert (file.sha256, file.size_bytes, file.etag) == (sha256, len(body), stored.etag)
        assert (file.rows, file.row_groups) == (3, 1)
        assert body == new.parts[i].to_bytes()
    for key in (f"{DS}_manifest.json", f"{ABOVE}_rejects/{SEGMENT}{new.plan_id[:16]}.jsonl"):
        stored = memory.stat(key)
        assert stored is not None
        assert stored.metadata == {"briquette-plan": new.plan_id}
    if mode is VERSIONED:
        content = hashlib.sha256("\n".join(f.sha256 for f in manifest.files).encode()).hexdigest()
        assert manifest.files[0].key.split("/")[-2] == f"{new.plan_id[:16]}-{content[:16]}"


def test_rejects_that_are_there_are_not_written_again(memory: MemoryStore) -> None:
    output = at(memory)
    first = write_rejects(memory, output, "a" * 64, b"one\ntwo\n")
    assert first is not None
    assert (first.rows, first.row_groups, first.size_bytes) == (2, 0, 8)
    assert first.sha256 == hashlib.sha256(b"one\ntwo\n").hexdigest()
    memory.requests.reset()
    assert write_rejects(memory, output, "a" * 64, b"one\ntwo\n") == first
    assert memory.requests.writes == 0
    for other in (b"ONE\ntwo\n", b"one\ntwo\nthree\n", b"one\n"):
        changed = write_rejects(memory, output, "a" * 64, other)
        assert changed is not None
        assert memory.get(changed.key, etag=changed.etag) == other


def test_rejects_that_vanish_while_they_are_compared_are_written() -> None:
    class Vanishing(MemoryStore):
        def get(self, key: str, **range_: object) -> bytes:  # type: ignore[override]
            raise self.missing(key)

    store = Vanishing("memory://x")
    for _ in range(2):
        write_rejects(store, at(store), "a" * 64, b"one\n")
    assert store.requests["PUT"] == 2


# -- parts before they are visible ---------------------------------------------------------------


def started(store: Store, parts: list[SplicedPart]) -> PartHashes:
    hashes = PartHashes(store, parts)
    hashes.start()
    return hashes


def test_hashes_are_a_sequence(memory: MemoryStore) -> None:
    three = [part(OLD, i) for i in range(3)]
    wanted = [hashlib.sha256(p.to_bytes()).hexdigest() for p in three]
    hashes = started(memory, three)
    assert (len(hashes), hashes[1], hashes[1:], list(hashes)) == (3, wanted[1], wanted[1:], wanted)
    hashes.close()


def test_a_staged_body_is_hashed_in_blocks(memory: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_steps, "BLOCK_BYTES", 7)
    plain = part(OLD, 0)
    head, body, tail = plain.pieces
    assert body.data is not None
    stored = memory.put("x", b"abc" + body.data + b"xyz")
    place = Piece(body.size_bytes, key="x", offset=3, etag=stored.etag)
    staged = replace(plain, pieces=(head, place, tail))
    whole = hashlib.sha256(plain.to_bytes()).hexdigest()
    assert started(memory, [staged])[0] == whole
    head_sha256, _, tail_sha256 = plain.sha256s
    unsaid = replace(staged, sha256s=(head_sha256, "", tail_sha256))
    assert started(memory, [unsaid])[0] == whole
    other = replace(staged, sha256s=(head_sha256, "0" * 64, tail_sha256))
    with pytest.raises(VerificationFailed, match="memory://curated/x is not what was made"):
        started(memory, [other])[0]
    for off in (-1, 1):
        with pytest.raises(VerificationFailed, match="its footer was made for"):
            started(memory, [replace(plain, size_bytes=plain.size_bytes + off)])[0]
    for offset, length in (
        (0, 4),
        (2, 9),
        (4, body.size_bytes),
        (10, plain.size_bytes),
        (plain.size_bytes, 1),
    ):
        found = read_range(memory, staged.pieces, offset, length)
        assert found == plain.to_bytes()[offset : offset + length]


def test_a_staged_body_of_a_mebibyte_is_read_by_one_request(memory: MemoryStore) -> None:
    stored = memory.put("x", bytes(1 << 20))
    whole = SplicedPart((Piece(1 << 20, key="x", etag=stored.etag),), 1 << 20, (1,))
    assert started(memory, [whole])[0] == hashlib.sha256(bytes(1 << 20)).hexdigest()
    assert memory.requests["GET"] == 1


@pytest.mark.parametrize("index", range(3))
def test_every_piece_is_compared_with_what_was_made(memory: MemoryStore, index: int) -> None:
    plain = part(OLD, 0)
    wrong = tuple("0" * 64 if i == index else h for i, h in enumerate(plain.sha256s))
    with pytest.raises(VerificationFailed, match="A piece of a part is not what was made"):
        started(memory, [replace(plain, sha256s=wrong)])[0]


@pytest.mark.parametrize("made", [(4,), (2,), (), (3, 0), (1, 2)])
def test_a_footer_with_other_counts_is_a_defect(memory: MemoryStore, made: tuple[int, ...]) -> None:
    with pytest.raises(VerificationFailed, match="its footer says 3 rows in 1 row groups, expected"):
        check_footers(memory, [part(OLD, 0), replace(part(OLD, 1), group_rows=made)])
    check_footers(memory, [part(OLD, 0), part(OLD, 1)])


@pytest.mark.parametrize("off", [-1, 1])
def test_a_store_that_kept_another_size_is_told(off: int) -> None:
    one = part(OLD, 0)
    with pytest.raises(VerificationFailed, match="were written"):
        published(Stored("k", one.size_bytes + off, "e"), one, "")


# -- races and strangers -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["domain", "table", "interval", "data_source", "ds"])
def test_the_partition_is_compared_name_by_name(memory: MemoryStore, name: str) -> None:
    output = at(memory)
    edition(OLD).publish(memory, output)
    other = Edition(NEW, edition(NEW).parts, b"", replace(PRICES, **{name: "other"}))
    with pytest.raises(PartitionConflict, match=f"holds {name} '{getattr(PRICES, name)}'") as caught:
        other.publish(memory, output)
    assert "'other'" in caught.value.message
    Edition(NEW, edition(NEW).parts, b"", replace(PRICES, **{name: ""})).publish(memory, output)
    Edition(NEW, edition(NEW).parts, b"", Partition("", "", "", "", "")).publish(memory, output)
    edition(OLD).publish(memory, output)


@pytest.mark.parametrize("verb_key", ["_manifest.json", "part-00000.parquet"])
def test_a_visible_file_that_appears_meanwhile_is_a_conflict_in_place(
    memory: MemoryStore, verb_key: str
) -> None:
    output = at(memory)
    edition(OLD, 2).publish(memory, output)

    def drop(name: str) -> None:
        def before(verb: str, key: str) -> None:
            if verb == "PUT" and key == DS + verb_key:
                memory.requests.before = None
                memory.put(DS + name, b"theirs")

        memory.requests.before = before

    drop("_hidden")
    edition(NEW, 2).publish(memory, output)
    drop("late.parquet")
    with pytest.raises(PublishConflict, match="changed by another run"):
        edition(OLD, 2).publish(memory, output)


@pytest.mark.parametrize(
    ("count", "said"), [(1, "a0, which"), (2, "a0 and 1 more, which"), (4, "a0 and 3 more,")]
)
def test_strangers_are_counted(memory: MemoryStore, count: int, said: str) -> None:
    for i in range(count):
        memory.put(f"{DS}a{i}", b"")
    seen = observe(memory, at(memory))
    with pytest.raises(OutputOccupied, match=said) as caught:
        refuse_strangers(seen)
    assert "--force" not in str(caught.value)
    assert "by hand" in caught.value.hint


def test_a_part_name_alone_does_not_make_a_file_ours(memory: MemoryStore) -> None:
    memory.put(f"{DS}part-00000.parquet", b"", ANY, {"briquette-plan": "p"})
    memory.put(f"{DS}part-00001.parquet", b"")
    memory.put(f"{DS}other.parquet", b"", ANY, {"briquette-plan": "p"})
    assert observe(memory, at(memory)).ours == {f"{DS}part-00000.parquet"}


class Restless(MemoryStore):
    """A store whose manifest is replaced whenever somebody has looked where it is."""

    times = 0

    def get(self, key: str, **range_: object) -> bytes:  # type: ignore[override]
        if key.endswith("_manifest.json") and self.times:
            self.times -= 1
            raise self.missing(key) if self.times % 2 else self.refused("GET", key, "etag")
        return super().get(key, **range_)  # type: ignore[arg-type]


def test_a_manifest_that_is_replaced_while_it_is_read_is_read_again_four_times() -> None:
    store = Restless("memory://x")
    edition(OLD).publish(store, at(store))
    for look in (lambda: read_manifest(store, at(store)), lambda: observe(store, at(store))):
        store.times = 4
        assert look() is not None
        store.times = 5
        with pytest.raises(SnapshotChanged, match="replaced 5 times"):
            look()
        assert store.times == 0


def test_an_output_whose_part_names_are_too_long_is_refused_before_anything_is_asked(
    memory: MemoryStore,
) -> None:
    with pytest.raises(UnsafePath):
        edition(OLD).publish(memory, at(memory, "a" * 1_010 + "/"), seen=None)
    assert memory.requests.writes == 0


# -- versions ------------------------------------------------------------------------------------


def test_parts_of_a_version_that_are_there_already_are_taken_if_they_are_these(memory: MemoryStore) -> None:
    output = at(memory)
    first = edition(OLD, 2).publish(memory, output, mode=VERSIONED)
    again = edition(OLD, 2).publish(memory, output, mode=VERSIONED)
    assert again.files == first.files
    for file in first.files:  # written by somebody who says no hash: the bytes are hashed
        memory.put(file.key, memory.get(file.key))
    edition(OLD, 2).publish(memory, output, mode=VERSIONED)
    assert verify_dataset(memory, output) == []
    body = memory.get(first.files[0].key)
    for wrong in (body[:-1], body[:40] + b"x" + body[41:], body + b"x"):
        memory.put(first.files[0].key, wrong)
        with pytest.raises(VerificationFailed, match="other bytes than its name says"):
            edition(OLD, 2).publish(memory, output, mode=VERSIONED)
    true = first.files[0].sha256
    for wrong, sha256 in ((body[:-1], true), (body + b"x", true), (body, "0" * 64), (body, "f" * 64)):
        memory.put(first.files[0].key, wrong, ANY, {"briquette-sha256": sha256})
        with pytest.raises(VerificationFailed, match="other bytes than its name says"):
            edition(OLD, 2).publish(memory, output, mode=VERSIONED)


def test_a_versioned_dataset_replaces_visible_parts_of_ours_and_nothing_else(memory: MemoryStore) -> None:
    output = at(memory)
    edition(OLD, 2).publish(memory, output)
    seen = observe(memory, output)
    memory.put(f"{DS}theirs.parquet", b"x")
    edition(NEW, 1).publish(memory, output, mode=VERSIONED, seen=seen)
    assert keys(memory, DS) == [f"{DS}_manifest.json", f"{DS}theirs.parquet"]


@pytest.mark.parametrize("change", ["etag", "size", "gone"])
def test_a_version_that_changed_does_not_stand(memory: MemoryStore, change: str) -> None:
    output = at(memory)
    manifest = edition(OLD, 2).publish(memory, output, mode=VERSIONED)
    seen = observe(memory, output)
    standing = seen.standing(memory)
    assert standing == Standing(manifest.files, copied=False)
    key = manifest.files[1].key
    if change == "gone":
        memory.delete(key)
    else:
        body = memory.get(key)
        memory.put(key, body + b"x" if change == "size" else body[:-1] + b"x")
    assert observe(memory, output).standing(memory) is None
    new = edition(OLD, 2)
    assert new.publish(memory, at(memory, "other/ds=1/"), mode=IN_PLACE)


# -- what is cleared -----------------------------------------------------------------------------


def test_a_publish_clears_its_own_staging_only(memory: MemoryStore) -> None:
    new = replace(edition(NEW), version=NEW << 200)
    mine = publishing.staging_prefix(at(memory), new.plan_id)
    memory.put(f"{mine}anything", b"")
    memory.put(f"{ABOVE}_staging/{SEGMENT}{'f' * 16}/split-000000-000000", b"")
    new.publish(memory, at(memory))
    assert keys(memory, f"{ABOVE}_staging/") == [f"{ABOVE}_staging/{SEGMENT}{'f' * 16}/split-000000-000000"]


def test_rejects_of_the_manifest_before_go_unless_they_are_these(memory: MemoryStore) -> None:
    output = at(memory)
    one, two = (replace(edition(v, 1, b"r\n"), version=v << 200) for v in (OLD, NEW))
    folder = f"{ABOVE}_rejects/{SEGMENT}"
    one.publish(memory, output)
    one.publish(memory, output)
    assert keys(memory, folder) == [f"{folder}{one.plan_id[:16]}.jsonl"]
    two.publish(memory, output)
    assert keys(memory, folder) == [f"{folder}{two.plan_id[:16]}.jsonl"]
    replace(one, rejects=b"").publish(memory, output)
    assert keys(memory, folder) == []


def test_rejects_written_again_by_another_run_stay(memory: MemoryStore) -> None:
    output = at(memory)
    one = replace(edition(OLD, 1, b"r\n"), version=OLD << 200)
    manifest = one.publish(memory, output)
    assert manifest.rejects_file is not None
    memory.put(manifest.rejects_file.key, b"newer\n")
    replace(edition(NEW), version=NEW << 200).publish(memory, output)
    assert memory.get(manifest.rejects_file.key) == b"newer\n"


@pytest.mark.parametrize("mode", [IN_PLACE, VERSIONED])
def test_a_store_that_fails_while_it_is_cleaned_does_not_fail_the_run(
    memory: MemoryStore, mode: PublishMode
) -> None:
    output = at(memory)
    one = replace(edition(OLD), version=OLD << 200)
    memory.put(publishing.staging_prefix(output, one.plan_id) + "x", b"")

    def before(verb: str, key: str) -> None:
        if verb == "DELETE":
            raise StoreError("no", hint="")

    memory.requests.before = before
    one.publish(memory, output, mode=mode)
    memory.requests.before = None
    assert verify_dataset(memory, output) == []


def test_old_versions_go_when_the_one_after_them_has_stood_for_a_day(
    memory: MemoryStore, clock: Clock
) -> None:
    output = at(memory)

    def run(version: int, mode: PublishMode = VERSIONED) -> str:
        new = replace(edition(version, 1, b"r\n"), version=version << 200)
        return new.publish(memory, output, mode=mode).files[0].key.split("/")[-2][:4]

    def standing() -> tuple[int, int]:
        return len(keys(memory, f"{ABOVE}_versions/")), len(keys(memory, f"{ABOVE}_rejects/"))

    run(1)
    clock.seconds += DAY
    run(2)
    assert standing() == (2, 2)
    clock.seconds += DAY
    run(3)
    assert standing() == (3, 3), "the second has stood for a day, not longer"
    clock.seconds += DAY + 1
    run(4)
    assert standing() == (2, 2), "this one and the one before it"
    clock.seconds += DAY + 1
    run(5, IN_PLACE)
    assert standing() == (2, 3), "a run in place leaves versions to the janitor"


@pytest.mark.parametrize(("age", "gone"), [(DAY, 0), (DAY + 1, 1)])
def test_the_janitor_takes_what_is_older_than_a_day(
    memory: MemoryStore, clock: Clock, age: float, gone: int
) -> None:
    output = at(memory)
    memory.put(publishing.staging_prefix(output, "a" * 64) + "split-000001-000000", b"x")
    memory.put(publishing.staging_prefix(output, "a" * 64) + "split-000001-00000", b"x")
    memory.put(publishing.staging_prefix(output, "a" * 64) + "x/split-000001-000000", b"x")
    now = clock.seconds + age
    assert janitor(memory, output, now_seconds=now) == gone
    clock.seconds = now
    memory.put(publishing.staging_prefix(output, "a" * 64) + "split-000001-000000", b"x")
    assert janitor(memory, output) == 0
    assert janitor(memory, output, older_than_seconds=10, now_seconds=now + 10) == 0
    assert janitor(memory, output, older_than_seconds=10, now_seconds=now + 11) == 1
    assert janitor(memory, output, older_than_seconds=0, now_seconds=0) == 0, "zero is a time too"


def test_the_janitor_leaves_versions_until_the_switch_from_them_is_old(
    memory: MemoryStore, clock: Clock
) -> None:
    output = at(memory)
    one, two = (replace(edition(v, 2, b"r\n"), version=v << 200) for v in (OLD, NEW))
    one.publish(memory, output, mode=VERSIONED)
    clock.seconds += 2 * DAY
    two.publish(memory, output, mode=VERSIONED)
    clock.seconds += DAY
    assert janitor(memory, output) == 1, "the old rejects"
    clock.seconds += 1
    assert janitor(memory, output) == 2, "the old version"
    assert verify_dataset(memory, output) == []
    remove_dataset(memory, observe(memory, output))
    one.publish(memory, output, mode=VERSIONED)
    memory.delete(f"{DS}_manifest.json")
    clock.seconds += DAY + 1
    assert janitor(memory, output) == 3, "no manifest: two parts and the rejects"


def test_the_janitor_does_not_count_what_was_written_anew(memory: MemoryStore, clock: Clock) -> None:
    key = publishing.staging_prefix(at(memory), "a" * 64) + "split-000001-000000"
    memory.put(key, b"x")
    clock.seconds += 2 * DAY

    def before(verb: str, asked: str) -> None:
        if verb == "DELETE":
            memory.requests.before = None
            memory.put(key, b"anew")

    memory.requests.before = before
    assert janitor(memory, at(memory)) == 0
    assert memory.get(key) == b"anew"


# -- removal -------------------------------------------------------------------------------------


def test_a_removal_needs_what_was_seen(memory: MemoryStore) -> None:
    output = at(memory)
    edition(OLD).publish(memory, output)
    seen = observe(memory, output)
    edition(OLD, 2, b"r\n").publish(memory, output)
    before = keys(memory)
    with pytest.raises(PublishConflict):
        remove_dataset(memory, seen)
    assert keys(memory) == before
    memory.put(f"{DS}theirs", b"x")
    remove_dataset(memory, observe(memory, output))
    assert keys(memory) == [f"{DS}theirs"]
    remove_dataset(memory, observe(memory, output))
    assert keys(memory) == [f"{DS}theirs"]


def test_a_removal_of_what_is_removed_or_replaced_already_is_refused(memory: MemoryStore) -> None:
    output = at(memory)
    edition(OLD).publish(memory, output)
    seen = observe(memory, output)
    before = keys(memory)
    for etag in ("", "zzz"):  # before and behind every etag of this store
        with pytest.raises(PublishConflict):
            remove_dataset(memory, replace(seen, manifest_etag=etag))
    assert keys(memory) == before
    remove_dataset(memory, seen)
    with pytest.raises(PublishConflict):
        remove_dataset(memory, seen)


def test_a_removal_deletes_only_what_it_saw(memory: MemoryStore) -> None:
    output = at(memory)
    edition(OLD).publish(memory, output)
    seen = observe(memory, output)
    memory.put(f"{DS}part-00000.parquet", b"anew")
    with pytest.raises(PublishConflict):
        remove_dataset(memory, seen)
    assert memory.get(f"{DS}part-00000.parquet") == b"anew"


def test_a_removal_on_disk_takes_the_directory_only_when_it_is_empty(tmp_path: Path) -> None:
    store, output = open_store(str(tmp_path)), Location(str(tmp_path), DS)
    for hidden in (False, True):
        edition(OLD, 2).publish(store, output)
        if hidden:
            (tmp_path / DS / "_SUCCESS").write_bytes(b"")
        remove_dataset(store, observe(store, output))
        assert (tmp_path / DS).exists() is hidden
    assert [p.name for p in (tmp_path / DS).iterdir()] == ["_SUCCESS"]
    assert [p.name for p in (tmp_path / ABOVE).iterdir() if p.name != "_staging"] == [SEGMENT[:-1]]
    (tmp_path / DS / "theirs.parquet").write_bytes(b"x")
    with pytest.raises(OutputOccupied):
        remove_dataset(store, observe(store, output))


# -- verification --------------------------------------------------------------------------------


def told(store: MemoryStore, first_part: dict[str, int] | None = None, **changes: int) -> list[str]:
    """What is said of a dataset whose manifest was written with these changes."""
    output = at(store)
    edition(OLD, 2, b"r\n").publish(store, output)
    found = read_manifest(store, output)
    assert found is not None
    first, second = found[0].files
    wrong = replace(found[0], files=(replace(first, **(first_part or {})), second), **changes)
    store.put(f"{DS}_manifest.json", Layout.of(output).manifest_body(wrong))
    return verify_dataset(store, output)


def test_sums_that_differ_are_told(memory: MemoryStore) -> None:
    key = f"{DS}_manifest.json"
    assert told(memory) == []
    assert told(memory, rows=7, records=8) == [f"{key}: its parts have 6 rows together, it says 7"]
    assert told(memory, records=8) == [f"{key}: 8 records became 7 rows, rejects, duplicates"]
    assert told(memory, records=9, duplicates=2) == []
    assert told(memory, records=6) == [f"{key}: 6 records became 7 rows, rejects, duplicates"]


def test_counts_are_compared_by_value_also_when_they_are_large(memory: MemoryStore) -> None:
    output = at(memory)
    large = replace(
        edition(OLD), parts=(part(OLD, 0, rows=700), part(OLD, 1, rows=300)), rejects=b"r\n" * 400
    )
    manifest = large.publish(memory, output)
    assert (manifest.records, manifest.rows, manifest.rejects) == (1_400, 1_000, 400)
    assert verify_dataset(memory, output) == []


def test_every_pin_is_compared(memory: MemoryStore) -> None:
    output = at(memory)
    manifest = edition(OLD, 2, b"r\n").publish(memory, output)
    assert manifest.rejects_file is not None
    one = manifest.files[0]
    body = memory.get(one.key)
    memory.put(one.key, body)  # the same bytes are the same part, whatever their etag
    assert verify_dataset(memory, output) == []
    again = memory.put(one.key, body[:-1] + b"x")
    wanted = f"{one.key}: it has etag {again.etag} and other bytes, the manifest says {one.etag}"
    assert verify_dataset(memory, output, read_parts=False) == [wanted]
    memory.put(one.key, body + b"x")
    memory.delete(manifest.rejects_file.key)
    assert verify_dataset(memory, output, read_parts=False) == [
        f"{one.key}: it has {len(body) + 1} bytes, the manifest says {len(body)}",
        f"{manifest.rejects_file.key}: the reject file is missing",
    ]


@pytest.mark.parametrize(("change", "wrong"), [({"row_groups": 2}, "3 in 2"), ({"rows": 4}, "4 in 1")])
def test_the_footer_is_compared_with_the_manifest(
    memory: MemoryStore, change: dict[str, int], wrong: str
) -> None:
    sentences = told(memory, change)
    assert sentences[0].endswith(f"its footer has 3 rows in 1 row groups, the manifest says {wrong}")
    assert len(sentences) == 1 + ("rows" in change)


def test_a_file_that_is_replaced_while_it_is_read_is_told(memory: MemoryStore) -> None:
    output = at(memory)
    manifest = edition(OLD).publish(memory, output)
    key = manifest.files[0].key

    def before(verb: str, asked: str) -> None:
        if verb == "GET" and asked == key:
            memory.requests.before = None
            memory.put(key, b"anew")

    memory.requests.before = before
    assert verify_dataset(memory, output) == [f"{key}: it was replaced while it was read"]

"""Publishing key by key: runs that get in each other's way between the claim and the manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from briquette.errors import PublishConflict
from briquette.model import Location
from briquette.planning.layout import PLAN, Layout
from briquette.publishing.key_by_key import CLAIM
from briquette.publishing.publish import remove_dataset
from briquette.publishing.snapshot import observe, read_manifest
from briquette.publishing.verify import verify_dataset
from briquette.storage.interface import Store
from briquette.storage.memory import MemoryStore
from briquette.storage.opening import open_store
from tests.reliability.editions import ContentEtagStore
from tests.unit.publishing.test_publish import (
    DS,
    NEW,
    OLD,
    a_lister_sees,
    a_manifest_reader_sees,
    at,
    edition,
    visible_keys,
)

MANIFEST, FIRST, SECOND, THIRD = (
    DS + name for name in ("_manifest.json", *(f"part-0000{i}.parquet" for i in range(3)))
)
LATE = 7  # the edition of a run that was taken over and does not know it yet


@pytest.fixture(params=[MemoryStore, ContentEtagStore], ids=["etag of the write", "etag of the bytes"])
def keyed(request: pytest.FixtureRequest) -> MemoryStore:
    """Stores that publish key by key; S3's etags are those of the bytes."""
    made = request.param("memory://in-place")
    assert isinstance(made, MemoryStore)
    return made


def ahead_of(store: Store, verb: str, key: str, act: Callable[[], object], number: int = 1) -> None:
    """Have ``act`` done once, ahead of the request ``number`` of this kind."""
    left = iter(range(number - 1, -1, -1))

    def before(asked: str, of: str) -> None:
        if (asked, of) == (verb, key) and next(left) == 0:
            store.requests.before = None
            act()

    store.requests.before = before


def late_write(store: Store, key: str, version: int = LATE) -> Callable[[], object]:
    """What a run of ours does that claimed, stalled, was taken over, and now goes on."""
    body = edition(version).parts[0].to_bytes()
    return lambda: store.put(key, body, metadata={PLAN: edition(version).plan_id})


def test_what_a_run_that_was_taken_over_writes_ahead_of_us_is_written_over(keyed: MemoryStore) -> None:
    output = at(keyed)
    edition(OLD, 2).publish(keyed, output)
    ahead_of(keyed, "PUT", FIRST, late_write(keyed, FIRST))
    edition(NEW, 2).publish(keyed, output)
    assert keyed.requests.before is None
    assert verify_dataset(keyed, output) == []
    assert a_lister_sees(keyed, output) == [{NEW}, {NEW}]


def test_what_a_run_that_was_taken_over_writes_behind_us_is_written_over(keyed: MemoryStore) -> None:
    output = at(keyed)
    edition(OLD, 2).publish(keyed, output)
    ahead_of(keyed, "PUT", SECOND, late_write(keyed, FIRST))
    edition(NEW, 2).publish(keyed, output)
    assert keyed.requests.before is None
    assert verify_dataset(keyed, output) == []
    assert a_lister_sees(keyed, output) == [{NEW}, {NEW}]


def test_a_part_that_a_run_that_was_taken_over_deletes_is_written_again(keyed: MemoryStore) -> None:
    output = at(keyed)
    edition(OLD, 2).publish(keyed, output)
    ahead_of(keyed, "PUT", SECOND, lambda: keyed.delete(FIRST))
    edition(NEW, 2).publish(keyed, output)
    assert keyed.requests.before is None
    assert verify_dataset(keyed, output) == []
    assert a_lister_sees(keyed, output) == [{NEW}, {NEW}]


@pytest.mark.parametrize("key", [SECOND, THIRD, f"{DS}part-00003.parquet"])
def test_a_surplus_part_goes_even_if_it_is_written_while_it_is_deleted(keyed: MemoryStore, key: str) -> None:
    output = at(keyed)
    edition(OLD, 3).publish(keyed, output)
    ahead_of(keyed, "DELETE", SECOND, late_write(keyed, key))
    edition(NEW, 1).publish(keyed, output)
    assert keyed.requests.before is None
    assert visible_keys(keyed, output) == [FIRST]
    assert verify_dataset(keyed, output) == []


def test_what_is_written_while_it_is_mended_is_mended_in_the_next_round(keyed: MemoryStore) -> None:
    output = at(keyed)
    edition(OLD, 2).publish(keyed, output)

    def write_and_once_more() -> None:
        late_write(keyed, FIRST)()
        ahead_of(keyed, "PUT", FIRST, late_write(keyed, FIRST, LATE + 1))

    ahead_of(keyed, "PUT", SECOND, write_and_once_more)
    edition(NEW, 2).publish(keyed, output)
    assert keyed.requests.before is None
    assert verify_dataset(keyed, output) == []
    assert a_lister_sees(keyed, output) == [{NEW}, {NEW}]


def test_a_run_whose_parts_are_written_over_in_every_round_gives_up_after_five(keyed: MemoryStore) -> None:
    output = at(keyed)
    edition(OLD, 2).publish(keyed, output)
    seen = observe(keyed, output)
    rounds = []

    def before(verb: str, key: str) -> None:
        if (verb, key) == ("LIST", DS):
            rounds.append(key)
            keyed.requests.before = None
            late_write(keyed, FIRST, LATE + len(rounds))()
            keyed.requests.before = before

    keyed.requests.before = before
    with pytest.raises(PublishConflict, match="changed by another run"):
        edition(NEW, 2).publish(keyed, output, seen=seen)
    keyed.requests.before = None
    assert len(rounds) == 5
    assert keyed.get(MANIFEST) == seen.manifest_body + CLAIM, "the manifest was not ours to write"
    edition(NEW, 2).publish(keyed, output)
    assert verify_dataset(keyed, output) == []


def test_after_the_manifest_a_late_write_is_undone_or_the_run_says_that_its_pins_do_not_hold() -> None:
    for store in (MemoryStore("memory://a"), ContentEtagStore("memory://b")):
        output = at(store)
        edition(OLD, 2).publish(store, output)
        ahead_of(store, "PUT", MANIFEST, late_write(store, FIRST), number=2)
        if isinstance(store, ContentEtagStore):
            edition(NEW, 2).publish(store, output)  # the same bytes have the same etag: nothing is lost
            assert a_manifest_reader_sees(store, output) == [{NEW}, {NEW}]
        else:
            with pytest.raises(PublishConflict):
                edition(NEW, 2).publish(store, output)
            assert a_manifest_reader_sees(store, output) == "error", "never a mixture"
        assert a_lister_sees(store, output) == [{NEW}, {NEW}]
        edition(NEW, 2).publish(store, output)
        assert verify_dataset(store, output) == []


def test_a_run_whose_claim_was_taken_mends_nothing(keyed: MemoryStore) -> None:
    output = at(keyed)
    edition(OLD, 2).publish(keyed, output)
    seen = observe(keyed, output)

    def take_over() -> None:
        late_write(keyed, FIRST)()
        keyed.put(MANIFEST, keyed.get(MANIFEST) + CLAIM)

    ahead_of(keyed, "PUT", SECOND, take_over)
    with pytest.raises(PublishConflict):
        edition(NEW, 2).publish(keyed, output, seen=seen)
    assert a_lister_sees(keyed, output)[0] == {LATE}
    assert keyed.get(MANIFEST) == seen.manifest_body + CLAIM + CLAIM


def test_a_run_whose_claim_is_gone_mends_nothing(keyed: MemoryStore) -> None:
    output = at(keyed)
    edition(OLD, 2).publish(keyed, output)

    def remove() -> None:
        keyed.delete(MANIFEST)
        keyed.delete(FIRST)

    ahead_of(keyed, "PUT", SECOND, remove)
    with pytest.raises(PublishConflict):
        edition(NEW, 2).publish(keyed, output)
    assert FIRST not in visible_keys(keyed, output)


def test_a_first_publish_of_one_part_has_no_claim_and_mends_nothing(keyed: MemoryStore) -> None:
    output = at(keyed)
    seen = observe(keyed, output)
    # From the part on, the next request of the run is the listing of what stands.
    ahead_of(keyed, "LIST", DS, late_write(keyed, FIRST))
    with pytest.raises(PublishConflict):
        edition(NEW).publish(keyed, output, seen=seen)
    assert a_lister_sees(keyed, output) == [{LATE}]
    assert keyed.stat(MANIFEST) is None


def test_a_file_that_no_run_of_ours_wrote_is_not_mended_away(keyed: MemoryStore) -> None:
    output = at(keyed)
    edition(OLD, 2).publish(keyed, output)
    ahead_of(keyed, "PUT", SECOND, lambda: keyed.put(FIRST, b"theirs"))
    with pytest.raises(PublishConflict):
        edition(NEW, 2).publish(keyed, output)
    assert keyed.get(FIRST) == b"theirs"


def test_the_claim_of_a_first_run_that_died_is_no_dataset_and_no_obstacle(keyed: MemoryStore) -> None:
    output = at(keyed)
    keyed.put(MANIFEST, CLAIM)
    assert read_manifest(keyed, output) is None
    assert verify_dataset(keyed, output) == [f"{MANIFEST}: there is no manifest"]
    seen = observe(keyed, output)
    assert (seen.manifest, seen.manifest_body, seen.standing(keyed)) == (None, CLAIM, None)
    assert seen.manifest_etag, "the next run replaces exactly this claim"
    edition(NEW, 2).publish(keyed, output, seen=seen)
    assert verify_dataset(keyed, output) == []
    with pytest.raises(PublishConflict):
        edition(OLD, 2).publish(keyed, output, seen=seen)


# -- the loser's leavings ------------------------------------------------------------------------


def loses(store: MemoryStore, winner: Callable[[], object], parts: int = 3) -> None:
    """Publish three parts where nothing was, and lose at the manifest, ahead of which ``winner`` acts."""
    output = at(store)
    seen = observe(store, output)
    ahead_of(store, "PUT", MANIFEST, winner, number=2)
    with pytest.raises(PublishConflict):
        edition(NEW, parts).publish(store, output, seen=seen)
    assert store.requests.before is None


def test_who_loses_takes_back_what_the_winner_does_not_name(keyed: MemoryStore) -> None:
    layout = Layout.of(at(keyed))

    def win_with_the_first_part_as_it_is() -> None:
        stored = keyed.stat(FIRST)
        assert stored is not None
        one = edition(NEW).parts[0]
        from briquette.publishing.part_hashes import published

        manifest = edition(LATE).manifest((published(stored, one, "00" * 32),), None)
        keyed.put(MANIFEST, layout.manifest_body(manifest))
        keyed.put(THIRD, b"written again by somebody", metadata={PLAN: "x"})

    loses(keyed, win_with_the_first_part_as_it_is)
    assert visible_keys(keyed, at(keyed)) == [FIRST, THIRD]
    assert keyed.get(THIRD) == b"written again by somebody"


def test_who_loses_to_a_run_that_is_still_at_work_leaves_everything_to_it(keyed: MemoryStore) -> None:
    layout = Layout.of(at(keyed))
    claimed = layout.manifest_body(edition(LATE).manifest((), None)) + CLAIM
    loses(keyed, lambda: keyed.put(MANIFEST, claimed))
    assert visible_keys(keyed, at(keyed)) == [FIRST, SECOND, THIRD]


def test_who_loses_to_a_removal_leaves_everything_to_the_next_run(keyed: MemoryStore) -> None:
    loses(keyed, lambda: keyed.delete(MANIFEST))
    assert visible_keys(keyed, at(keyed)) == [FIRST, SECOND, THIRD]
    edition(OLD).publish(keyed, at(keyed))
    assert verify_dataset(keyed, at(keyed)) == []


# -- where a directory cannot be swapped ---------------------------------------------------------


def test_a_dataset_in_a_linked_folder_is_removed_file_by_file(tmp_path: Path) -> None:
    store, output = open_store(str(tmp_path)), Location(str(tmp_path), DS)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "prices/compacted").mkdir(parents=True)
    (tmp_path / DS).symlink_to(tmp_path / "elsewhere")
    replace(edition(OLD, 2), rejects=b"r\n").publish(store, output)
    (tmp_path / "elsewhere/_theirs").write_bytes(b"x")
    remove_dataset(store, observe(store, output))
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == ["_theirs"]
    assert (tmp_path / DS).is_symlink()
    assert list((tmp_path / "prices/compacted/_rejects").rglob("*.jsonl")) == []

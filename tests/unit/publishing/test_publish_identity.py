"""Branches of what is published, and of what it is taken for, that need no copy of a whole dataset."""

from __future__ import annotations

from dataclasses import replace

import pytest

from briquette import compact
from briquette.errors import VerificationFailed
from briquette.model import Field, RawObject, Schema, Status
from briquette.planning.layout import PLAN
from briquette.planning.plan import warnings_of
from briquette.planning.target import dataset_location
from briquette.publishing.identity import Match, match, sha256_now
from briquette.publishing.key_by_key import CLAIM
from briquette.publishing.publish import renew_manifest
from briquette.publishing.snapshot import Snapshot, observe
from briquette.storage.interface import Store, Stored
from briquette.storage.opening import open_store

SCHEMA = Schema((Field("id", "int64"),))


def publish(name: str, *ids: int, mode: str = "in_place") -> tuple[Store, Snapshot]:
    """A dataset of these ids in a memory of that name, and what is seen of it."""
    store = open_store(f"memory://{name}")
    store.put("raw/a.json", b"".join(b'{"id":%d}\n' % i for i in ids))
    done = compact(input=f"memory://{name}/raw", output=f"memory://{name}/out", schema=SCHEMA, publish=mode)
    assert done.status is Status.PUBLISHED
    return store, observe(store, dataset_location(f"memory://{name}/out"))


def test_keys_of_folders_are_told_in_one_sentence() -> None:
    names = [f"k{n}=1/" for n in range(9)]
    listing = [RawObject(f"in/{''.join(names)}a.json", 1, ""), RawObject("in/k0=2/b.json", 1, "")]
    (sentence,) = warnings_of(listing, "in/")
    assert "k0 (2 values)" in sentence
    assert " and " in sentence
    assert warnings_of([RawObject("in/a=b.json", 1, "")], "in/") == ()


def test_nothing_published_is_not_complete() -> None:
    store = open_store("memory://publish-identity-none")
    seen = observe(store, dataset_location("memory://publish-identity-none/out"))
    assert (seen.manifest, seen.is_complete, seen.standing(store)) == (None, False, None)


def test_a_damaged_manifest_that_bears_a_runs_mark_may_be_replaced() -> None:
    store, seen = publish("publish-identity-mark", 1)
    assert seen.manifest is not None
    key = "out/_manifest.json"
    for file in seen.manifest.files:
        store.delete(file.key)
    store.put(key, b"\x00damaged", metadata={PLAN: "0123"})
    with pytest.raises(VerificationFailed, match="--force"):
        observe(store, dataset_location("memory://publish-identity-mark/out"))
    store.put(key, b"\x00damaged")
    with pytest.raises(VerificationFailed, match="Nothing says that briquette wrote it"):
        observe(store, dataset_location("memory://publish-identity-mark/out"))


def test_a_version_removes_the_visible_parts_before_it() -> None:
    name = "publish-identity-versioned"
    publish(name, 1)
    _, seen = publish(name, 2, mode="versioned")
    assert seen.visible == ()


def test_what_is_gone_or_changes_while_it_is_hashed_is_no_copy() -> None:
    store, seen = publish("publish-identity-gone", 1)
    assert seen.manifest is not None
    (file,) = seen.manifest.files
    assert match(store, file, None) is Match.MISSING
    assert match(store, file, Stored(file.key, file.size_bytes, '"changed"')) is Match.OTHER
    assert sha256_now(store, Stored("out/none", 3, '"x"')) == ""


def test_a_claimed_manifest_is_not_renewed() -> None:
    store, seen = publish("publish-identity-claim", 1)
    assert seen.manifest is not None
    claimed = replace(seen, manifest_body=seen.manifest_body + CLAIM)
    before = store.requests.writes
    assert renew_manifest(store, claimed, seen.manifest.files) == seen.manifest
    assert store.requests.writes == before

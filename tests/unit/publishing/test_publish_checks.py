"""Checks around a publish: hashes of parts, stores in trouble, and published bytes that are taken over."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from briquette.errors import StoreError, VerificationFailed
from briquette.model import Location, Piece
from briquette.parquet.splice import SplicedPart
from briquette.publishing.part_hashes import PartHashes, require_hash
from briquette.publishing.verify import require_as_published, verify_dataset
from briquette.storage.opening import open_store
from tests.reliability.editions import DS, edition

BODY = b"the bytes of a part"
PART = SplicedPart((Piece(len(BODY), BODY),), len(BODY), (1,), (hashlib.sha256(BODY).hexdigest(),))


def test_a_part_of_another_size_than_its_footer_was_made_for_is_refused(tmp_path: Path) -> None:
    hashes = PartHashes(open_store(str(tmp_path)), [replace(PART, size_bytes=len(BODY) + 1)])
    hashes.start()
    with pytest.raises(VerificationFailed, match=f"has {len(BODY)} bytes, its footer was made for"):
        _ = hashes[0]
    hashes.close()


def test_a_part_that_was_hashed_as_it_was_written_is_not_hashed_again_from_memory(tmp_path: Path) -> None:
    written = tmp_path / "part"
    written.write_bytes(b"X" + BODY[1:])  # what lies there decides, not what was to be written
    hashes = PartHashes(open_store(str(tmp_path)), [PART])
    hashes.written(0, str(written))
    hashes.start()
    with pytest.raises(VerificationFailed, match="is not what was made"):
        _ = hashes[0]
    hashes.close()


def test_a_published_part_is_taken_over_only_with_the_bytes_that_were_published(tmp_path: Path) -> None:
    store, output = open_store(str(tmp_path)), Location(str(tmp_path), DS)
    (file,) = edition(1).publish(store, output).files
    require_as_published(store, file)
    path = tmp_path / file.key
    times = path.stat()
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    with path.open("r+b") as same_file:
        same_file.write(body)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # a disk that loses a bit changes no time
    with pytest.raises(VerificationFailed, match=r"part-00000\.parquet"):
        require_as_published(store, file)


def test_only_a_disk_is_asked_again_for_what_it_has_published() -> None:
    store, output = open_store("memory://taken-over"), Location("memory://taken-over", DS)
    (file,) = edition(1).publish(store, output).files
    require_as_published(store, replace(file, sha256=hashlib.sha256(b"").hexdigest()))


class Waiting:
    """A part that waits for its name: its bytes, or None where they are with the store."""

    key = "part"

    def __init__(self, body: bytes | None) -> None:
        self.body = body

    def read_back(self) -> Iterator[bytes] | None:
        return None if self.body is None else iter([self.body])


@pytest.mark.parametrize("body", [None, BODY])
def test_a_part_that_waits_with_its_bytes_or_with_the_store_is_taken(body: bytes | None) -> None:
    require_hash(Waiting(body), hashlib.sha256(BODY).hexdigest())  # type: ignore[arg-type]


def test_a_part_that_waits_with_other_bytes_is_refused() -> None:
    with pytest.raises(VerificationFailed, match="written with other bytes than were hashed"):
        require_hash(Waiting(BODY[:-1]), hashlib.sha256(BODY).hexdigest())  # type: ignore[arg-type]


def test_a_store_in_trouble_is_an_error_and_no_verdict_on_the_dataset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = open_store("memory://in-trouble")
    output = Location("memory://in-trouble", DS)
    edition(1).publish(store, output)
    assert verify_dataset(store, output) == []

    def down(*_: object, **__: object) -> bytes:
        raise StoreError("GET failed 7 times.", hint="Run it again later.")

    monkeypatch.setattr(store, "get", down)
    with pytest.raises(StoreError, match="7 times"):
        verify_dataset(store, output)

"""A table's schema fingerprint in a store: ``latest.json``, and ``previous.json`` from before its change.

Several days of a table may be transformed at once, so each write is conditional on what was seen. Then a
change is never lost between two writers: whoever finds another's write in its way begins again and compares
with what is there now.
"""

from __future__ import annotations

from briquette.errors import NotFound, PreconditionFailed, PublishConflict
from briquette.model import Schema
from briquette.prices.fingerprint import fingerprint_document, hash_of
from briquette.storage.interface import IF_ABSENT, Condition, Store, Stored, if_match
from briquette.storage.opening import open_store
from briquette.storage.urls import parse_object_url

PREVIOUS = "previous.json"
ATTEMPTS = 10


def record_schema(url: str, schema: Schema, codec: str) -> bool:
    """Make the schema the latest one at ``url`` (…/latest.json); True if it was another before, or none.

    Nothing is written where the hash is the same. Raises ``PublishConflict`` when others keep writing.
    """
    place, name = parse_object_url(url)
    document = fingerprint_document(schema, codec)
    return record_document(
        open_store(place.url), place.prefix + name, place.prefix + PREVIOUS, document, where=url
    )


def record_document(store: Store, latest: str, previous: str, document: bytes, where: str = "") -> bool:
    """``record_schema`` for the two keys of a store."""
    raced = False
    for _ in range(ATTEMPTS):
        try:
            return _record(store, latest, previous, document) or raced
        except (PreconditionFailed, NotFound):
            raced = True  # another writer was faster, or our own reply was lost: compare with what is there
    raise PublishConflict(
        f"{where or latest} was replaced {ATTEMPTS} times while the schema was recorded.",
        hint="Run it again: the rows are published, only the record of their schema is missing.",
    )


def _record(store: Store, latest: str, previous: str, document: bytes) -> bool:
    before = store.stat(previous)  # ahead of latest, so that a change of latest in between is noticed
    now = store.stat(latest)
    if now is None:
        store.put(latest, document, IF_ABSENT)
        return True
    body = store.get(latest, etag=now.etag)
    if hash_of(body) == hash_of(document):
        return False
    if before is None or store.get(previous, etag=before.etag) != body:
        store.put(previous, body, _still(before))
    store.put(latest, document, if_match(now.etag))
    return True


def _still(seen: Stored | None) -> Condition:
    return if_match(seen.etag) if seen else IF_ABSENT

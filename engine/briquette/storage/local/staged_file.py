"""A finished file on local disk that waits under a hidden name for its place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from briquette.errors import VerificationFailed
from briquette.storage.interface import ANY, Condition, Stored
from briquette.storage.local.directory_lock import locked_directory
from briquette.storage.local.files import file_etag, read_blocks, sync_folder

if TYPE_CHECKING:
    from briquette.storage.local.store import LocalStore

_BLOCK_BYTES = 4 << 20


class LocalStaged:
    """A finished hidden file that waits for its name."""

    multipart = False

    def __init__(
        self,
        store: LocalStore,
        key: str,
        path: str,
        temporary: str,
        size_bytes: int,
        metadata: Mapping[str, str],
        durable: bool,  # noqa: FBT001 - made in one place
    ) -> None:
        self.key = key
        self.size_bytes = size_bytes
        self._store, self._path, self._temporary = store, path, temporary
        self._metadata, self._durable = metadata, durable
        self._etag = file_etag(os.stat(temporary))

    def read_back(self) -> Iterator[bytes]:
        return read_blocks(self._temporary, 0, self.size_bytes + 1, _BLOCK_BYTES)

    def commit(self, condition: Condition) -> Stored:
        self._store.requests.note("PUT", self.key)
        folder = os.path.dirname(self._path)
        try:
            etag = file_etag(os.stat(self._temporary))
            if etag != self._etag:
                raise VerificationFailed(
                    f"{self._temporary}, written for {self.key}, was changed by somebody else.",
                    hint="Nothing was published under this name; run it again.",
                )
            held = os.open(self._temporary, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._take(condition, folder)
                etag = file_etag(os.fstat(held))  # a file that takes a name has another ctime
            finally:
                os.close(held)
            if self._durable:
                sync_folder(folder)
        except OSError as error:
            raise self._store.failed("write", self.key, error) from error
        finally:
            self.abort()
        return Stored(self.key, self.size_bytes, etag, self._metadata)

    def _take(self, condition: Condition, folder: str) -> None:
        if condition == ANY:
            os.replace(self._temporary, self._path)
            return
        with locked_directory(folder):
            now = self._store.etag_now(self._path)
            if (condition.absent and now) or (condition.etag and now != condition.etag):
                raise self._store.refused("PUT", self.key, str(condition))
            self._take_name(absent=condition.absent)
            self.abort()  # one name less is another ctime, and whoever has the lock next may look at it

    def _take_name(self, *, absent: bool) -> None:
        if not absent:
            os.replace(self._temporary, self._path)
            return
        try:
            os.link(self._temporary, self._path)  # unlike a rename it never replaces, lock or no lock
        except FileExistsError:
            raise self._store.refused("PUT", self.key, "nothing at the key") from None
        except OSError:  # no hard links here: the lock has to do
            os.replace(self._temporary, self._path)

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)

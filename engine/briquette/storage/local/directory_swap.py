"""A directory built out of sight that takes a live directory's place in one step of the kernel.

``renameat2(RENAME_EXCHANGE)`` makes any number of files change together: whoever lists or opens the live
directory finds the old files or the new ones. Where kernel or file system cannot do that,
``SwapUnavailable`` is raised with nothing changed, and files are replaced one by one instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from briquette.errors import PreconditionFailed, VerificationFailed
from briquette.model import Piece
from briquette.storage.interface import Stored, SwapUnavailable, check_writable
from briquette.storage.local.directory_lock import locked_directory, try_lock
from briquette.storage.local.files import TEMPORARY, clear_temporary, file_etag, make_folders, sync_folder

if TYPE_CHECKING:
    from briquette.storage.local.store import LocalStore

_ATTEMPTS = 20
_EXCHANGE = 2
_AT_FDCWD = -100
_CANNOT = (
    errno.ENOSYS,
    errno.EINVAL,
    errno.ENOTSUP,
    errno.EXDEV,  # another file system, or a bind mount between
    errno.EBUSY,  # the live directory is a mount point
    errno.EPERM,
    errno.EACCES,
    errno.EROFS,
)


class LocalDirectories:
    """What a store on disk can do with its directories; see ``Directories``."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self.root = store.root

    def begin_next(self, live: str, workshop: str, begins: str) -> SwapDirectory:
        """See ``Directories``."""
        return SwapDirectory(self._store, live, workshop, begins)

    def clear_dead(self, live: str, workshop: str, begins: str, is_ours: Callable[[str], bool]) -> None:
        """See ``Directories``."""
        clear_dead(self._store, live, workshop, begins, is_ours=is_ours)

    def clear_temporary(self, prefix: str, before_seconds: float) -> int:
        """See ``Directories``."""
        return clear_temporary(os.path.join(self.root, prefix), before_seconds)


class SwapDirectory:
    """The next state of the directory ``live``, under a hidden name on the same file system.

    ``workshop`` is the path of the folder it is built in and ``prefix`` how its name begins; its lock is
    held while it is built, so that ``clear_dead`` can tell a dead run's leavings from a living run's work.
    """

    def __init__(self, store: LocalStore, live: str, workshop: str, prefix: str) -> None:
        self._store = store
        self._added: dict[str, tuple[int, str]] = {}
        self.live_prefix = live
        self.live = store.writable_path(live.rstrip("/")) if live else os.path.realpath(store.root)
        store.requests.note("STAGE", live)
        above = os.path.dirname(self.live)
        try:
            make_folders(above, store.root)
            if os.path.islink(self.live):
                raise SwapUnavailable(f"{self.live} is a symbolic link")
            self.path, self._held = self._make_locked(workshop, prefix)
        except OSError as error:
            raise self._explained(error) from error
        if os.stat(above).st_dev != os.stat(self.path).st_dev or not os.access(above, os.W_OK | os.R_OK):
            self.clear(lambda _: False)
            raise SwapUnavailable(f"{self.live} and its neighbours lie on two file systems")

    def _make_locked(self, workshop: str, prefix: str) -> tuple[str, int]:
        """An empty directory and a descriptor that holds its lock.

        Other runs clear away what is empty or unlocked, so it may vanish before it is locked.
        """
        for _ in range(_ATTEMPTS):
            path = os.path.join(workshop, f"{prefix}{secrets.token_hex(8)}")
            try:
                make_folders(workshop, self._store.root)
                os.mkdir(path)
            except FileNotFoundError:
                continue
            held = try_lock(path)
            if held is not None:
                return path, held
        raise SwapUnavailable(f"{workshop} is cleared away again and again")

    def path_of(self, name: str) -> str:
        """Where a file of the next state lies until the exchange."""
        return os.path.join(self.path, name)

    def add(self, name: str, pieces: Iterable[Piece], metadata: Callable[[], Mapping[str, str]]) -> Stored:
        """Write one file of the next state; it is stored under its live key from the exchange on.

        ``metadata`` is asked for when the bytes are written.
        """
        key = check_writable(self.live_prefix + name)
        self._store.requests.note("STAGE", key)
        path = self.path_of(name)
        try:
            known = self._store.write_file(path, pieces, metadata, durable=True)
            found = os.stat(path)
        except OSError as error:
            raise self._store.failed("write", key, error) from error
        self._added[path] = (found.st_size, file_etag(found))
        return Stored(key, found.st_size, file_etag(found), dict(known), found.st_mtime)

    def exchange(self, expected: Mapping[str, str], shown: Callable[[], Mapping[str, str]]) -> None:
        """Become the live directory, if ``shown()`` (etags by key) is still ``expected`` under the locks.

        Hidden files of the live directory come along. Raises ``PreconditionFailed`` or
        ``SwapUnavailable``; either way nothing visible has changed.
        """
        above = os.path.dirname(self.live)
        try:
            sync_folder(self.path)
            self._require_as_written()
            with locked_directory(above):
                if not os.path.isdir(self.live):
                    self._require(expected, {})
                    self._note()
                    os.rename(self.path, self.live)
                else:
                    with locked_directory(self.live):
                        self._require(expected, shown())
                        self._carry_over()
                        self._keep_rights()
                        self._note()
                        _exchange(self.path, self.live)
                for folder in dict.fromkeys((above, os.path.dirname(self.path))):  # often the same
                    sync_folder(folder)
        except OSError as error:
            raise self._explained(error) from error

    def _require_as_written(self) -> None:
        for path, known in self._added.items():
            now = os.stat(path)
            if (now.st_size, file_etag(now)) != known:
                raise VerificationFailed(
                    f"{path} was changed after it was written and before it was published.",
                    hint="Nothing was published; run it again, and find out who writes there.",
                )

    def _note(self) -> None:
        self._store.requests.note("SWAP", self.live_prefix)

    def _require(self, expected: Mapping[str, str], shown: Mapping[str, str]) -> None:
        if dict(expected) != dict(shown):
            raise PreconditionFailed(
                f"{self.live} holds other files than this run saw.", hint="Look again before publishing."
            )

    def _carry_over(self) -> None:
        """Link the live directory's hidden files here, so that neither state is ever without them."""
        for path in hidden_files(self.live):
            target = os.path.join(self.path, path)
            if not os.path.lexists(target):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.link(os.path.join(self.live, path), target, follow_symlinks=False)

    def _keep_rights(self) -> None:
        """Whoever may read the live directory may read the next one."""
        now = os.stat(self.live)
        with contextlib.suppress(PermissionError):
            os.chown(self.path, now.st_uid, now.st_gid)
        os.chmod(self.path, stat.S_IMODE(now.st_mode))

    def clear(self, is_replaced: Callable[[str], bool]) -> None:
        """Remove what has the hidden name now: a next state given up, or after the exchange the old one.

        Only names that ``is_replaced`` knows and files that live on elsewhere are deleted; a file that
        somebody dropped into the old directory at the last moment is moved to the live one. A disk that
        fails here fails no run: what stays is hidden, and the next run clears it.
        """
        try:
            with contextlib.suppress(OSError):
                _clear(self._store, self.path, self.live, is_replaced)
        finally:
            if self._held >= 0:
                os.close(self._held)
                self._held = -1

    def _explained(self, error: OSError) -> Exception:
        if error.errno in _CANNOT:
            return SwapUnavailable(str(error))
        return self._store.failed("write", self.live_prefix, error)


def clear_dead(
    store: LocalStore, live: str, workshop: str, prefix: str, is_ours: Callable[[str], bool]
) -> None:
    """Remove directories that runs began and did not live to finish or to clear.

    ``is_ours`` tells the names that only this engine gives; other files are kept.
    """
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(workshop)):
            path = os.path.join(workshop, name)
            if not name.startswith(prefix) or not os.path.isdir(path):
                continue
            held = try_lock(path)
            if held is None:
                continue  # somebody is building it
            try:
                _clear(store, path, os.path.join(store.root, live.rstrip("/")), is_ours)
            finally:
                os.close(held)


def hidden_files(folder: str) -> Iterator[str]:
    """Relative paths of files with a hidden segment, without the manifest's and our temporary names."""
    for path in _files(folder):
        segments = path.split(os.sep)
        hidden = any(s[0] in "_." for s in segments)
        if hidden and path != "_manifest.json" and not segments[-1].startswith(TEMPORARY):
            yield path


def _files(folder: str) -> list[str]:
    return [
        os.path.relpath(os.path.join(where, name), folder)
        for where, _, names in os.walk(folder)
        for name in names
    ]


def _clear(store: LocalStore, folder: str, live: str, is_replaced: Callable[[str], bool]) -> None:
    if not os.path.isdir(folder):
        return
    store.requests.note("DELETE", os.path.relpath(folder, store.root))
    for path in _files(folder):
        old, kept = os.path.join(folder, path), os.path.join(live, path)
        if is_replaced(path) or os.path.basename(path).startswith(TEMPORARY) or _same_file(old, kept):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(old)
        elif not os.path.lexists(kept) and os.path.isdir(os.path.dirname(kept)):
            os.rename(old, kept)
    for where, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # what is not empty holds something that is not ours
            os.rmdir(where)


def _same_file(left: str, right: str) -> bool:
    try:
        return os.path.samestat(os.lstat(left), os.lstat(right))
    except FileNotFoundError:
        return False


def _exchange(left: str, right: str) -> None:
    swap = getattr(_libc(), "renameat2", None)
    if swap is None:
        raise OSError(errno.ENOSYS, "the C library has no renameat2")
    if swap(_AT_FDCWD, os.fsencode(left), _AT_FDCWD, os.fsencode(right), _EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), right)


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)

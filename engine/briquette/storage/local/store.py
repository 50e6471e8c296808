"""Local disk as an object store: whole files that appear by link or rename, pinned by mtime and inode."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from operator import attrgetter
from types import MappingProxyType
from typing import IO

from briquette.errors import AccessDenied, NoSpace, StoreError, StoreRefused, UnsafePath
from briquette.model import Piece, RawObject
from briquette.storage.interface import (
    ANY,
    HASH_BYTES,
    NO_METADATA,
    Condition,
    Directories,
    Store,
    Stored,
    check_readable,
    check_writable,
)
from briquette.storage.local.directory_lock import locked_directory
from briquette.storage.local.files import (
    TEMPORARY,
    copy_range,
    file_etag,
    is_fresh,
    make_folders,
    read_metadata,
    read_range,
    write_all,
    write_metadata,
)
from briquette.storage.local.staged_file import LocalStaged

SMALL_BYTES = 16 << 10  # reading so many takes the kernel no longer than opening the file
_READ = os.O_RDONLY | os.O_CLOEXEC
_TURN, _WAITED_SECONDS = 1_024, 150e-6  # small files a thread reads in a row; for one that is not cached
_BROKEN_NAME = "its name is not UTF-8"
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_SUCH_PLACE = (*_ABSENT, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG)  # where it should be written
_NONE: Mapping[str, str] = MappingProxyType({})
_Found = list[Stored]  # `list` is a verb inside the class


class LocalStore(Store):
    """Files under ``root``; keys are their relative paths."""

    metadata_follows_bytes = False
    checks_its_bytes = False

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.root = root
        self._above = os.path.join(root, "")
        self._turn = threading.Lock()
        self._waits = False

    # -- reading -------------------------------------------------------------------------------

    def list(self, prefix: str) -> Iterator[Stored]:
        """Every file whose key starts with ``prefix``, sorted by key; a missing folder is empty."""
        self.requests.note("LIST", prefix)
        folder, _, name = prefix.rpartition("/")
        if folder:
            check_readable(folder)
        found: _Found = []
        try:
            above = f"{folder}/" if folder else ""
            self._walk(os.path.join(self.root, folder), above, name, found, (), time.time_ns())
        except OSError as error:
            raise self.failed("list", prefix, error) from error
        # Python compares strings by code point, which is the order of their UTF-8 bytes.
        found.sort(key=attrgetter("key"))
        return iter(found)

    def _walk(
        self,
        folder: str,
        prefix: str,
        name: str,
        found: _Found,
        above: tuple[str, ...],
        now_ns: int,
    ) -> None:
        try:
            entries = os.scandir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:  # thousands of times: the common case first, and nothing twice
                own = entry.name
                if (name and not own.startswith(name)) or (own[0] == "." and own.startswith(TEMPORARY)):
                    continue
                key = prefix + own
                try:
                    if not own.isascii() and not _is_utf8(own):
                        self._note_broken_name(entry, key, found)
                    elif entry.is_file():
                        s = entry.stat()
                        fresh = is_fresh(s, now_ns)
                        found.append(Stored(key, s.st_size, file_etag(s), _NONE, s.st_mtime, fresh=fresh))
                    elif entry.is_dir():
                        self._enter(entry, key, found, above, now_ns)
                except FileNotFoundError:
                    continue  # removed while we listed: as if we had come later

    def _note_broken_name(self, entry: os.DirEntry[str], key: str, found: _Found) -> None:
        """A name that is no text: told of readably, never opened; of a folder all that lies below."""
        readable = key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        if entry.is_file():
            s = entry.stat()
            found.append(Stored(readable, s.st_size, file_etag(s), _NONE, s.st_mtime, refused=_BROKEN_NAME))
        elif entry.is_dir(follow_symlinks=False):
            with os.scandir(entry.path) as entries:
                for below in entries:
                    self._note_broken_name(below, f"{key}/{below.name}", found)

    def _enter(
        self, entry: os.DirEntry[str], key: str, found: _Found, above: tuple[str, ...], now_ns: int
    ) -> None:
        if entry.is_symlink():
            real, here = os.path.realpath(entry.path), os.path.realpath(os.path.dirname(entry.path))
            if any(f"{one}/".startswith(f"{real}/") for one in (*above, here)):
                return  # a loop: what lies there is listed already
            above = (*above, real)
        self._walk(entry.path, f"{key}/", "", found, above, now_ns)

    def stat(self, key: str) -> Stored | None:
        self.requests.note("HEAD", key)
        path, now_ns = self.path(key), time.time_ns()
        try:
            found = os.stat(path)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise self.failed("look at", key, error) from error
        if not _is_file(found):
            return None
        known, fresh = read_metadata(path), is_fresh(found, now_ns)
        return Stored(key, found.st_size, file_etag(found), known, found.st_mtime, fresh=fresh)

    def get(self, key: str, *, etag: str = "", start: int = 0, length: int | None = None) -> bytes:
        """Bytes of one state of the file; ``PreconditionFailed`` if it is or becomes another meanwhile."""
        self.requests.note("GET", key)
        try:
            fd = os.open(self.path(key), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self.failed("read", key, error) from error
        try:
            before = os.fstat(fd)
            if not _is_file(before):
                raise self.missing(key)
            if etag and file_etag(before) != etag:
                raise self.refused("GET", key, f"etag {etag}")
            wanted = max(0, before.st_size - start)
            body = read_range(fd, start, wanted if length is None else min(length, wanted))
            self._require_still(fd, key, before)
            return body
        except OSError as error:
            raise self.failed("read", key, error) from error
        finally:
            os.close(fd)

    def get_many(self, objects: Sequence[RawObject]) -> Iterator[bytes]:
        """The bodies in order, each pinned by size and etag; small files are read by one thread at a time.

        Their short system calls each give the interpreter away: two threads took twice as long as one.
        Where it is the files that are waited for, threads go on side by side.
        """
        for is_small, run in groupby(objects, lambda item: item.size_bytes < SMALL_BYTES):
            if not is_small:
                yield from map(self.get_pinned, run)
            while some := tuple(islice(run, _TURN)):
                with contextlib.nullcontext() if self._waits else self._turn:
                    began = time.monotonic()
                    bodies = [self.get_pinned(item) for item in some]
                    self._waits |= time.monotonic() - began > _WAITED_SECONDS * len(some)
                yield from bodies

    def get_pinned(self, item: RawObject) -> bytes:
        """A raw object in four system calls: thousands of small ones are mostly that."""
        key, size = item.key, item.size_bytes
        self.requests.note("GET", key)
        try:
            fd = os.open(self._above + check_readable(key), _READ)
            try:
                body = os.read(fd, size)
                if len(body) < size:
                    body += read_range(fd, len(body), size - len(body))
                after = os.fstat(fd)  # whoever wrote it before or while it was read has left a mark by now
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno in _ABSENT:
                raise self.changed(item) from error
            raise self.failed("read", key, error) from error
        if file_etag(after) != item.etag or not len(body) == after.st_size == size:
            raise self.changed(item)
        return body

    def open_chunks(
        self, item: RawObject, chunk_bytes: int, *, start: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        """The object in chunks of ``chunk_bytes``, one open file; ``SourceChanged`` if it is another."""
        self.requests.note("GET", item.key)
        yield from self._chunks(item, chunk_bytes, start, length)

    def sha256(self, item: RawObject) -> str:
        """See ``Store``; no request, as what is hashed is most often read next, or was just written."""
        self.requests.note("HASH", item.key)
        digest = hashlib.sha256()
        for chunk in self._chunks(item, HASH_BYTES, 0, None):
            digest.update(chunk)
        return digest.hexdigest()

    def _chunks(self, item: RawObject, chunk_bytes: int, start: int, length: int | None) -> Iterator[bytes]:
        try:
            fd = os.open(self.path(item.key), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _ABSENT:
                raise self.changed(item) from error
            raise self.failed("read", item.key, error) from error
        try:
            stop = item.size_bytes if length is None else min(item.size_bytes, start + length)
            for at in range(start, max(stop, start + 1), chunk_bytes):
                now = os.fstat(fd)
                chunk = read_range(fd, at, min(chunk_bytes, stop - at))
                after = os.fstat(fd)
                if {file_etag(now), file_etag(after)} != {item.etag} or after.st_size != item.size_bytes:
                    raise self.changed(item)
                if chunk:
                    yield chunk
        except OSError as error:
            raise self.failed("read", item.key, error) from error
        finally:
            os.close(fd)

    def open_file(self, key: str, changed: Exception) -> tuple[IO[bytes], Stored]:
        """See ``Store``: an open file stays what it is when another takes its name."""
        self.requests.note("GET", key)
        try:
            handle = open(self.path(key), "rb")  # noqa: SIM115 - the caller closes it
        except OSError as error:
            if error.errno in _ABSENT:
                raise changed from None
            raise self.failed("read", key, error) from error
        found = os.fstat(handle.fileno())
        return handle, Stored(key, found.st_size, file_etag(found))

    def _require_still(self, fd: int, key: str, before: os.stat_result) -> None:
        after = os.fstat(fd)
        if (file_etag(after), after.st_size) != (file_etag(before), before.st_size):
            raise self.refused("GET", key, "that nobody writes it while it is read")

    # -- writing -------------------------------------------------------------------------------

    def put(
        self,
        key: str,
        data: bytes,
        condition: Condition = ANY,
        metadata: Mapping[str, str] = NO_METADATA,
        *,
        durable: bool = True,
    ) -> Stored:
        """Write a whole file in one visible step; ``durable=False`` leaves it to the kernel's cache."""
        return self.stage(key, (Piece(len(data), data),), metadata, durable=durable).commit(condition)

    def stage(
        self,
        key: str,
        pieces: Sequence[Piece],
        metadata: Mapping[str, str] = NO_METADATA,
        *,
        durable: bool = True,
    ) -> LocalStaged:
        """The finished file under a hidden name beside its place; ranges are copied inside the kernel."""
        path = self.writable_path(check_writable(key))
        self.requests.note("STAGE", key)
        temporary = os.path.join(os.path.dirname(path), f"{TEMPORARY}{secrets.token_hex(8)}")
        try:
            for last in (False, False, False, True):
                try:
                    make_folders(os.path.dirname(path), self.root)
                    self.write_file(temporary, pieces, lambda: metadata, durable=durable)
                    break
                except FileNotFoundError:  # another run removed the folder while it was empty
                    if last:
                        raise
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            if isinstance(error, OSError):
                raise self.failed("write", key, error) from error
            raise
        return LocalStaged(
            self, key, path, temporary, sum(p.size_bytes for p in pieces), dict(metadata), durable
        )

    def write_file(
        self,
        path: str,
        pieces: Iterable[Piece],
        metadata: Callable[[], Mapping[str, str]],
        *,
        durable: bool,
    ) -> Mapping[str, str]:
        """A new file at an absolute path from inline bytes and ranges of this store's files.

        ``metadata`` is asked for when the bytes are written, and returned.
        """
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            for piece in pieces:
                if piece.data is not None:
                    write_all(fd, piece.data)
                else:
                    self._copy_range(piece, fd)
            known = metadata()
            if known:
                write_metadata(fd, known)
            if durable:
                os.fsync(fd)
            return known
        finally:
            os.close(fd)

    def _copy_range(self, piece: Piece, target: int) -> None:
        try:
            source = os.open(self.path(piece.key), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self.failed("read", piece.key, error) from error
        try:
            before = os.fstat(source)
            if file_etag(before) != piece.etag:
                raise self.refused("GET", piece.key, f"etag {piece.etag}")
            copied = copy_range(source, piece.offset, piece.size_bytes, target)
            self._require_still(source, piece.key, before)
            if copied != piece.size_bytes:
                raise StoreError(
                    f"{self.root}/{piece.key} is {piece.size_bytes - copied:,} bytes too short.",
                    hint="Staged bytes are missing; run it again.",
                )
        finally:
            os.close(source)

    def delete(self, key: str, condition: Condition = ANY) -> None:
        """Remove a file; one that is not there is removed already."""
        path = self.writable_path(check_writable(key))
        self.requests.note("DELETE", key)
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            return
        try:
            with locked_directory(folder):
                if condition.etag and os.path.lexists(path) and self.etag_now(path) != condition.etag:
                    raise self.refused("DELETE", key, str(condition))
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            self._drop_empty_staging(folder)
        except OSError as error:
            raise self.failed("delete", key, error) from error

    @property
    def directories(self) -> Directories:
        """See ``Store``."""
        from briquette.storage.local.directory_swap import LocalDirectories

        return LocalDirectories(self)

    def _drop_empty_staging(self, folder: str) -> None:
        """A store has no folders, so those that staging needed go with its last object."""
        while "/_staging" in folder.removeprefix(self.root):
            try:
                os.rmdir(folder)
            except OSError:
                return
            folder = os.path.dirname(folder)

    # -- paths ---------------------------------------------------------------------------------

    def why_nothing(self, prefix: str) -> tuple[str, str]:
        """See ``Store``."""
        path = os.path.join(self.root, prefix).rstrip("/") or "/"
        if os.path.isfile(path):
            return f"{path} is a file, not a folder.", (
                "Pass its folder, whose files are all read; for this one alone, give it a folder."
            )
        if not os.path.isdir(self.root):
            return f"{self.root} does not exist.", "Check the path."
        return "", ""

    def path(self, key: str) -> str:
        return self._above + check_readable(key)  # which is relative

    def writable_path(self, key: str) -> str:
        """The path of a key, which no symbolic link may lead out of the root."""
        path = os.path.join(self.root, key)
        root, folder = os.path.realpath(self.root), os.path.realpath(os.path.dirname(path))
        if folder != root and not folder.startswith(f"{root.rstrip('/')}/"):
            raise UnsafePath(
                f"{path} leads out of {self.root} to {folder} through a symbolic link; nothing was written.",
                hint="Remove the link, or give the real directory as the output.",
            )
        return path

    def etag_now(self, path: str) -> str:
        """The etag of what lies at ``path``, "" for nothing."""
        try:
            return file_etag(os.stat(path))
        except FileNotFoundError:
            return ""

    def failed(self, verb: str, key: str, error: OSError) -> StoreError:
        if error.errno in _ABSENT and verb != "write":
            return self.missing(key)
        what = f"Could not {verb} {os.path.join(self.root, key)}: {error.strerror or error}."
        if error.errno in _FULL:
            return NoSpace(what, hint="Free some space, then run it again.")
        if error.errno in _FORBIDDEN:
            return AccessDenied(what, hint="Give this user the rights, or choose another place.")
        if error.errno in _NO_SUCH_PLACE:
            return StoreRefused(what, hint="Check the path: each part of it but the last is a folder.")
        return StoreError(what, hint="Check the disk, then run it again.")


def _is_file(stat: os.stat_result) -> bool:
    return (stat.st_mode & 0o170000) == 0o100000


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True

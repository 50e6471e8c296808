"""Exclusive locks on directories, which vanish with the process that holds them."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

LOCK_FILE = ".briquette-lock"  # only where a file system cannot lock a directory itself


@contextmanager
def locked_directory(folder: str) -> Iterator[None]:
    """Hold the lock of the directory that ``folder`` names while in the block; waits for it.

    A directory may be swapped for another while we wait, so the name is looked up again under the lock.
    Raises ``FileNotFoundError`` when there is no such directory.
    """
    while True:
        fd = _open_lock(folder)
        try:
            _flock(fd, fcntl.LOCK_EX)
            if _still_named(fd, folder):
                yield
                return
        finally:
            os.close(fd)


def try_lock(folder: str) -> int | None:
    """A descriptor that holds the directory's lock until it is closed; None when it is taken or gone."""
    try:
        fd = _open_lock(folder)
    except FileNotFoundError:
        return None
    try:
        _flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    if not _still_named(fd, folder):
        os.close(fd)
        return None
    return fd


def _open_lock(folder: str) -> int:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)
    except BlockingIOError:
        pass  # locked by another: so it can be locked
    except OSError as error:
        os.close(fd)
        if error.errno not in (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP):
            raise
        # NFS turns flock into a range lock, which wants a file that is open for writing.
        return os.open(os.path.join(folder, LOCK_FILE), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    return fd


def _flock(fd: int, operation: int) -> None:
    fcntl.flock(fd, operation)


def _still_named(fd: int, folder: str) -> bool:
    held = os.fstat(fd)
    for path in (folder, os.path.join(folder, LOCK_FILE)):
        try:
            named = os.stat(path)
        except FileNotFoundError:
            continue
        if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino):
            return True
    return False

"""What the disk store does with descriptors: etags, whole reads and writes, kernel copies, folders."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping

TEMPORARY = ".briquette-"  # files under this name are never listed: nobody has committed them
_ATTRIBUTE = "user.briquette"  # where metadata lies, on file systems that keep extended attributes
_COPY_BYTES = 1 << 30
FRESH_NS = 2_000_000_000  # the coarsest clock of a file system: FAT counts in steps of two seconds


def file_etag(stat: os.stat_result) -> str:
    """An etag for one state of a file: it changes with every write and every replacement.

    Whoever sets the time of a file back changes its ctime. Only what follows within a tick of the clock can
    leave all three as they were (``is_fresh``).
    """
    return f"{stat.st_mtime_ns:x}-{stat.st_ctime_ns:x}-{stat.st_ino:x}"


def is_fresh(stat: os.stat_result, now_ns: int) -> bool:
    """Whether a file changed so shortly before ``now_ns`` that it may change again and keep its etag."""
    return stat.st_ctime_ns > now_ns - FRESH_NS


def read_range(fd: int, start: int, length: int) -> bytes:
    """Up to ``length`` bytes from ``start``; fewer only where the file ends."""
    body = os.pread(fd, length, start)
    if len(body) == length or not body:
        return body
    found = [body]  # the kernel gives at most 2 GiB at once
    at = len(body)
    while at < length and (body := os.pread(fd, length - at, start + at)):
        found.append(body)
        at += len(body)
    return b"".join(found)


def read_blocks(path: str, start: int, length: int, block_bytes: int) -> Iterator[bytes]:
    """A range of the file at ``path`` in blocks; it ends early where the file does."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        stop = start + length
        while start < stop and (block := os.pread(fd, min(block_bytes, stop - start), start)):
            start += len(block)
            yield block
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def copy_range(source: int, offset: int, size: int, target: int) -> int:
    """Copy a range to the end of ``target``; shares blocks where the file system can."""
    done = 0
    try:
        while done < size and (
            n := os.copy_file_range(source, target, min(size - done, _COPY_BYTES), offset + done)
        ):
            done += n
    except (OSError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        while done < size and (chunk := os.pread(source, min(size - done, 1 << 22), offset + done)):
            write_all(target, chunk)
            done += len(chunk)
    return done


def write_metadata(fd: int, metadata: Mapping[str, str]) -> None:
    """Keep an object's metadata with the file, where the file system can."""
    # Extended attributes are a help, not a need: on disk nothing is decided by metadata alone.
    with contextlib.suppress(OSError, AttributeError):
        os.setxattr(fd, _ATTRIBUTE, json.dumps(dict(metadata)).encode())


def read_metadata(path: str) -> dict[str, str]:
    """The metadata that ``write_metadata`` kept; empty where there is none."""
    try:
        found = json.loads(os.getxattr(path, _ATTRIBUTE))
    except (OSError, AttributeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def sync_folder(folder: str) -> None:
    """Make the names in a folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):  # some network mounts refuse
            raise
    finally:
        os.close(fd)


def make_folders(folder: str, root: str) -> None:
    """Make a folder and those above it durably."""
    if os.path.isdir(folder):
        return
    above = os.path.dirname(folder)
    if above != folder:
        make_folders(above, root)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder)
    if folder.startswith(root):
        sync_folder(above)


def clear_temporary(root: str, before_seconds: float) -> int:
    """Remove what killed processes were writing below ``root`` before that time; returns how many files."""
    removed = 0
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                if name.startswith(TEMPORARY) and os.lstat(path).st_mtime < before_seconds:
                    os.unlink(path)
                    removed += 1
    return removed

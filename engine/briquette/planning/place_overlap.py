"""Whether what a run reads and what it writes lie apart, however the two places are spelled.

A run that publishes among its own inputs reads its output the next time, and all rows are there twice; one
that reads what it replaces loses it. So places that overlap are refused before anything is read. On disk a
place has many names: links, ``..``, bind mounts, another case of letters. Each is compared in all the ways in
which it can be told: as written, with its links followed, by its place in its file system, and by the
identity of the folders above it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence

from briquette.errors import PlacesOverlap
from briquette.model import Location, RawObject
from briquette.planning.layout import Layout, is_hidden
from briquette.storage.interface import Stored
from briquette.storage.urls import is_remote

Segments = tuple[str, ...]
Realm = str | tuple[int, int]  # a store, the names of this machine, a file system, or one folder of one

_MOUNTS = "/proc/self/mountinfo"
_OCTAL = re.compile(r"\\([0-7]{3})")


def check_apart(read: Location, written: Location, *, folders: str = "") -> None:
    """Raise ``PlacesOverlap`` if a run from ``read`` to ``written`` would meet itself.

    An output below a hidden name of the input is apart, as such names are no inputs (C1.2). On S3 an input
    below a hidden name of the output is too; on disk it is not, because there the output's folder is
    replaced as a whole. ``folders``: only folders of ``read`` whose names begin so are read.
    """
    layout = Layout.of(written)
    live = Location(written.url, layout.live)
    for path in _ways_inside(live, read):
        if not path:
            raise _overlap(read, written, "are the same place")
        if not is_hidden("/".join(path)) and path[0].startswith(folders):
            raise _overlap(read, written, "overlap: the output lies inside the input")
    replaced_whole = not is_remote(written)
    for path in _ways_inside(read, live):
        if replaced_whole or not is_hidden("/".join(path)):
            raise _overlap(read, written, "overlap: the input lies inside the output")
    for prefix in (layout.all_staging, layout.all_versions, layout.all_rejects):
        own = Location(written.url, prefix)
        visible = [i for i in _ways_inside(own, read) if not i or not is_hidden("/".join(i))]
        inside = next(_ways_inside(read, own), None) is not None
        if inside or any(not i or i[0].startswith(folders) for i in visible):
            raise _overlap(read, written, f"overlap: runs keep files of their own in {own}")


def check_not_published(
    read: Location, listing: Sequence[RawObject], written: Location, visible: Iterable[Stored]
) -> None:
    """Raise ``PlacesOverlap`` if a listed file on disk *is* a published one, by a link in the input."""
    if is_remote(read) or is_remote(written):
        return
    published = {stored.etag: stored.key for stored in visible}
    for item in listing:
        key = published.get(item.etag)
        if key is not None and _same_file(os.path.join(read.url, item.key), os.path.join(written.url, key)):
            raise _overlap(read, written, f"overlap: {item.key} and the published {key} are one file")


def _overlap(read: Location, written: Location, how: str) -> PlacesOverlap:
    return PlacesOverlap(
        f"The input {read} and the output {written} {how}. A run would read what a run has published, or "
        "replace what it reads; nothing was read or written.",
        hint=f"Publish to a place of its own, for instance {str(read).rstrip('/')}-compacted, "
        'or below a name in the input that begins with "_", which is never read.',
    )


def _ways_inside(one: Location, other: Location) -> Iterator[Segments]:
    """The path of ``one`` below ``other``, in each way of naming by which it is there; empty where equal."""
    above = tuple(_names(other))
    for realm, path in _names(one):
        for other_realm, start in above:
            if realm == other_realm and path[: len(start)] == start:
                yield path[len(start) :]


def _names(place: Location) -> Iterator[tuple[Realm, Segments]]:
    prefix = place.prefix.rstrip("/")
    if is_remote(place):
        yield place.url, _segments(prefix)
        return
    path = os.path.join(place.url, prefix)
    real = os.path.realpath(path)
    for spelled in dict.fromkeys((os.path.abspath(path), real)):
        yield "/", _segments(spelled)
    yield from _in_its_file_system(real)
    folder, rest = real, Segments()
    while True:
        try:
            found = os.stat(folder)
        except OSError:
            pass
        else:
            yield (found.st_dev, found.st_ino), rest
        above, name = os.path.split(folder)
        if above == folder:
            return
        folder, rest = above, (name, *rest)


def _in_its_file_system(path: str) -> Iterator[tuple[Realm, Segments]]:
    """Where a path lies on its device: what is mounted at two places has one such name (Linux)."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as table:
            lines = [line.split(" ") for line in table]
    except OSError:
        return
    # Number, parent, device, folder of the device, where it is mounted; of two there the later is seen.
    mounts = [(_plain(line[4]), line[2], _plain(line[3])) for line in lines if len(line) > 4]
    here = [m for m in mounts if f"{path}/".startswith(f"{m[0].rstrip('/')}/")]
    if here:
        point, device, root = max(reversed(here), key=lambda mount: len(mount[0]))
        yield f"device {device}", (*_segments(root), *_segments(path[len(point) :]))


def _plain(field: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), field)


def _segments(path: str) -> Segments:
    return tuple(s for s in path.split("/") if s)


def _same_file(left: str, right: str) -> bool:
    try:
        return os.path.samefile(left, right)
    except OSError:
        return False

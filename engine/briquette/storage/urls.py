"""URLs of places and of objects: the one reader of them, and what joins and splits places.

A URL is a path, ``file://``, ``s3://bucket/prefix`` (or ``s3a://``) or ``memory://name/prefix``.
"""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit

from briquette.errors import UnsafePath, UsageError
from briquette.model import Location
from briquette.storage.interface import check_writable

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


def parse_url(url: str) -> Location:
    """A path, ``file://``, ``s3://bucket/prefix`` or ``memory://name/prefix`` as store + prefix.

    >>> parse_url("s3://curated/market/prices")
    Location(url='s3://curated', prefix='market/prices/')
    >>> parse_url("file:///data/raw/"), parse_url("file://localhost/data/raw%201")
    (Location(url='/data/raw', prefix=''), Location(url='/data/raw 1', prefix=''))
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "file" or url.startswith("file:/"):
        return Location(_path_of_file_url(url))
    if not separator:
        if not url or "\x00" in url:
            raise UnsafePath(f"{url!r} is not a path.", hint="Give a directory, file:// or s3:// URL.")
        return Location(os.path.abspath(os.path.expanduser(url)))
    if scheme in ("s3", "s3a", "memory"):
        root, _, prefix = rest.partition("/")
        prefix = prefix.rstrip("/")
        if not root:
            raise UsageError(f"{url} has no bucket.", hint="Write s3://bucket/prefix.")
        if "@" in root or ":" in root:  # never repeated: it may hold a credential
            raise UsageError(
                f"a {scheme}:// URL does not name a bucket and may hold a credential.",
                hint="Write s3://bucket/prefix, and give credentials by the AWS environment.",
            )
        if scheme != "memory" and not _BUCKET.fullmatch(root):  # a client would panic at some of them
            raise UsageError(
                f"{url!r}: {root!r} is not a bucket's name.",
                hint="A bucket has letters, digits, '.', '_' and '-' only.",
            )
        if prefix:
            check_writable(prefix)
        return Location(
            f"{'memory' if scheme == 'memory' else 's3'}://{root}", f"{prefix}/" if prefix else ""
        )
    raise UsageError(f"{url} has the unknown scheme {scheme}://.", hint="Use a path, file:// or s3://.")


def parse_object_url(url: str) -> tuple[Location, str]:
    """The URL of one object as the place it lies in and its name there: its key is prefix + name.

    >>> parse_object_url("s3://artifacts/market/prices/plan.json")
    (Location(url='s3://artifacts', prefix='market/prices/'), 'plan.json')
    >>> parse_object_url("/plan.json"), parse_object_url("file:///plans/the%20day.json")
    ((Location(url='/', prefix=''), 'plan.json'), (Location(url='/plans', prefix=''), 'the day.json'))
    """
    place = parse_url(url)
    path = place.prefix.rstrip("/") if is_remote(place) else place.url
    folder, _, name = path.rpartition("/")
    if not name or re.search(r"(?:\A|/)\.{0,2}\Z", url):
        raise UsageError(f"{url!r} names no object.", hint="Write the object's whole URL, with its name.")
    if is_remote(place):
        return Location(place.url, f"{folder}/" if folder else ""), name
    return Location(folder or "/"), name


def is_remote(place: Location) -> bool:
    """Whether a place is in a store that has no paths: S3 or memory.

    >>> is_remote(parse_url("s3://raw/prices")), is_remote(parse_url("file:///data"))
    (True, False)
    """
    return "://" in place.url


def bucket_of(url: str) -> str:
    """The bucket of an S3 URL, "" of any other.

    >>> bucket_of("s3://raw/prices"), bucket_of("/data/raw")
    ('raw', '')
    """
    root = parse_url(url).url if url else ""
    return root.removeprefix("s3://") if root.startswith("s3://") else ""


def below(base: Location, *segments: str) -> Location:
    """The place ``segments`` below ``base``.

    >>> str(below(Location("s3://b", "a/"), "ds=2025-01-02"))
    's3://b/a/ds=2025-01-02/'
    """
    return Location(base.url, base.prefix + "".join(f"{s.strip('/')}/" for s in segments if s.strip("/")))


def above(place: Location) -> tuple[Location, str]:
    """The place above the last segment of a prefix, and that segment; ("" where the prefix is empty).

    >>> above(Location("s3://b", "prices/ds=2025-01-02/"))
    (Location(url='s3://b', prefix='prices/'), 'ds=2025-01-02')
    >>> above(Location("s3://b"))
    (Location(url='s3://b', prefix=''), '')
    """
    folder, _, last = place.prefix.rstrip("/").rpartition("/")
    return Location(place.url, f"{folder}/" if folder else ""), last


def _path_of_file_url(url: str) -> str:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost"):
        raise UsageError(f"{url} names a host.", hint="Write file:///absolute/path.")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise UsageError(f"{url} holds a '?' or '#'.", hint="Write %3F or %23, or give the plain path.")
    if not path.startswith("/") or "\x00" in path:
        raise UsageError(f"{url} names no absolute path.", hint="Write file:///absolute/path.")
    return os.path.abspath(path)

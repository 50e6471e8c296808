"""A first contact with a cluster: whoever does not listen is named at once, instead of after minutes."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from briquette.errors import UsageError, WorkerLost

KNOCK_SECONDS = 3.0


def knock(address: str, what: str, option: str) -> None:
    """Raise ``WorkerLost`` where nothing listens at an address (``host:port``, or behind a scheme and ``://``).

    ``what`` is the kind of cluster, ``option`` the one that named it. ``UsageError`` where it is no address.
    """
    place = address.rpartition("://")[2]
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise UsageError(f"{address!r} is no address of a {what}.", hint=f"Pass {option} with host:port.")
    try:
        socket.create_connection((host, port), KNOCK_SECONDS).close()
    except OSError as cause:
        raise WorkerLost(
            f"there is no {what} to be reached at {address}: {cause.strerror or cause}.",
            hint=f"Check the address and that it runs; without {option} the work is done here.",
        ) from cause

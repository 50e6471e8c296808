"""An S3 endpoint for measurements: raw objects straight from a folder, every other bucket from a MiniStack.

    python -m benchmarks.raw_server RAW_FOLDER UPSTREAM_PORT LATENCY_MS   prints its port, ends with its input

Ten thousand GETs of a real server in Python would take longer than the work that is measured. This server
answers GET, HEAD and ListObjectsV2 of the bucket ``raw`` from files, with real ranges and etags, and passes
the rest on as it is. The latency is waited out before each answer; requests of other connections go on
meanwhile. Its own CPU time stands beside the results: it takes it from the cores of whoever is measured, so
raw objects are served without streams, on uvloop where that is installed.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from bisect import bisect_right
from email.utils import formatdate
from hashlib import md5
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

RAW_BUCKET = "raw"
PAGE_KEYS = 1_000
SMALL_BYTES, KEPT_BYTES = 1 << 16, 1 << 26
END_OF_HEAD = b"\r\n\r\n"
_RANGE = re.compile(rb"\r\nrange: *bytes=(\d*)-(\d*)", re.IGNORECASE)


class RawServer:
    """The raw files of a folder, by key, and what is in front of them."""

    def __init__(self, folder: Path, upstream_port: int, latency_seconds: float) -> None:
        self.folder, self.upstream_port, self.latency_seconds = folder, upstream_port, latency_seconds
        found = sorted((p.relative_to(folder).as_posix(), p.stat()) for p in folder.rglob("*") if p.is_file())
        self.keys = [key for key, _ in found]
        self.sizes = {key: stat.st_size for key, stat in found}
        self.kept: dict[str, bytes] = {}  # small bodies, so that no GET opens a file
        self.etags: dict[str, str] = {}
        room = KEPT_BYTES
        for key in self.keys:
            body = _content(f"{folder}/{key}")
            # As S3 gives it: a client on plain http compares it with what it got, and asks again otherwise.
            self.etags[key] = md5(body, usedforsecurity=False).hexdigest()
            if len(body) <= min(SMALL_BYTES, room):
                self.kept[key] = body
                room -= len(body)
        self.modified = formatdate(usegmt=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client connection that asked for another bucket than raw, request after request."""
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while True:
                head = await reader.readuntil(END_OF_HEAD)
                if self.latency_seconds:
                    await asyncio.sleep(self.latency_seconds)
                method, target, bucket, key = _asked(head)
                if bucket == RAW_BUCKET:
                    writer.write(self.answer(method, target, key, head))
                else:
                    upstream = upstream or await asyncio.open_connection("127.0.0.1", self.upstream_port)
                    await _forward(head, method, reader, writer, upstream)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for open_writer in (writer, *(upstream[1:] if upstream else ())):
                open_writer.close()

    def answer(self, method: str, target: str, key: str, head: bytes) -> bytes:
        """The whole answer to a request for the raw bucket."""
        if method not in ("GET", "HEAD"):
            return _reply("405 Method Not Allowed", b"")
        if not key:
            query = parse_qs(urlsplit(target).query, keep_blank_values=True)
            page = self.listing({name: values[0] for name, values in query.items()})
            return _reply("200 OK", page, "Content-Type: application/xml\r\n")
        if key not in self.sizes:
            missing = b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"
            return _reply("404 Not Found", b"" if method == "HEAD" else missing)
        size = self.sizes[key]
        more = (
            f'ETag: "{self.etags[key]}"\r\nLast-Modified: {self.modified}\r\nAccept-Ranges: bytes\r\n'
            "Content-Type: application/octet-stream\r\n"
        )
        if method == "HEAD":
            return _reply("200 OK", b"", more, length=size)
        body = self.kept.get(key) or _content(f"{self.folder}/{key}")
        asked = _RANGE.search(head)
        if not asked:
            return _reply("200 OK", body, more)
        first, last = asked[1], asked[2]
        start = int(first) if first else max(0, size - int(last))
        stop = min(int(last) + 1, size) if first and last else size
        if start >= size:
            return _reply("416 Range Not Satisfiable", b"<Error><Code>InvalidRange</Code></Error>")
        more += f"Content-Range: bytes {start}-{stop - 1}/{size}\r\n"
        return _reply("206 Partial Content", body[start:stop], more)

    def listing(self, query: dict[str, str]) -> bytes:
        """One page of ListObjectsV2."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after") or ""
        most = min(int(query.get("max-keys", PAGE_KEYS)), PAGE_KEYS)
        contents: list[str] = []
        folders: dict[str, None] = {}
        last, truncated = "", False
        for key in self.keys[bisect_right(self.keys, after) :]:
            if not key.startswith(prefix) or (
                after and delimiter and after.endswith(delimiter) and key.startswith(after)
            ):
                continue
            inner = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            folder = prefix + inner[0] + delimiter if inner[1] else ""
            if folder and folder in folders:
                continue
            if len(contents) + len(folders) == most:
                truncated = True
                break
            last = folder or key
            if folder:
                folders[folder] = None
            else:
                contents.append(
                    f"<Contents><Key>{escape(key)}</Key><LastModified>2025-09-09T00:00:00.000Z</LastModified>"
                    f"<ETag>&quot;{self.etags[key]}&quot;</ETag><Size>{self.sizes[key]}</Size>"
                    "<StorageClass>STANDARD</StorageClass></Contents>"
                )
        common = "".join(f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in folders)
        token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if truncated else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{RAW_BUCKET}</Name><Prefix>{escape(prefix)}</Prefix><MaxKeys>{most}</MaxKeys>"
            f"<KeyCount>{len(contents) + len(folders)}</KeyCount>"
            f"<IsTruncated>{str(truncated).lower()}</IsTruncated>"
            f"{token}{''.join(contents)}{common}</ListBucketResult>"
        ).encode()


class Connection(asyncio.Protocol):
    """One client connection, as long as it asks for raw objects only; then streams take it over."""

    def __init__(self, server: RawServer, loop: asyncio.AbstractEventLoop) -> None:
        self.server, self.loop = server, loop
        self.received = b""
        self.answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """A client waits for its answer before it asks again, so a whole head is nearly always one block."""
        self.received += data
        if not self.answering:
            self.take()

    def take(self) -> None:
        """Begin on the first whole request that has been received."""
        head, end, rest = self.received.partition(END_OF_HEAD)
        if not end:
            return
        method, target, bucket, key = _asked(head)
        if bucket != RAW_BUCKET:
            self.hand_over()
            return
        self.received, self.answering = rest, True
        if self.server.latency_seconds:
            self.loop.call_later(self.server.latency_seconds, self.answer, method, target, key, head)
        else:
            self.answer(method, target, key, head)

    def answer(self, method: str, target: str, key: str, head: bytes) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(self.server.answer(method, target, key, head))
        self.answering = False
        if self.received:
            self.take()

    def hand_over(self) -> None:
        reader = asyncio.StreamReader(limit=1 << 18, loop=self.loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self.loop)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        reader.feed_data(self.received)
        writer = asyncio.StreamWriter(self.transport, protocol, reader, self.loop)
        task = self.loop.create_task(self.server.serve(reader, writer))
        _SERVED.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(_SERVED.discard)


_SERVED: set[asyncio.Task[None]] = set()


def _asked(head: bytes) -> tuple[str, str, str, str]:
    """Method, target, bucket and key of a request."""
    method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    path = target.partition("?")[0]
    bucket, _, key = (unquote(path) if "%" in path else path)[1:].partition("/")
    return method, target, bucket, key


def _content(path: str) -> bytes:
    """A whole file; `Path.read_bytes` and its buffer take three times as long for a small one."""
    handle = os.open(path, os.O_RDONLY)
    try:
        blocks = [os.read(handle, 1 << 20)]
        while len(blocks[-1]) == 1 << 20:
            blocks.append(os.read(handle, 1 << 20))
    finally:
        os.close(handle)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def _reply(status: str, body: bytes, headers: str = "", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {size}\r\n\r\n".encode() + body


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def _forward(
    head: bytes,
    method: str,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Pass one request on and its answer back, both with their bodies."""
    server_reader, server_writer = upstream
    headers = _headers(head)
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:")]
        head = b"\r\n".join(lines)
    server_writer.write(head)
    await _copy_body(headers, reader, server_writer)
    await server_writer.drain()
    answer = await server_reader.readuntil(END_OF_HEAD)
    writer.write(answer)
    status = answer.split(b" ", 2)[1]
    if method != "HEAD" and status not in (b"204", b"304"):
        await _copy_body(_headers(answer), server_reader, writer)


async def _copy_body(
    headers: dict[str, str], source: asyncio.StreamReader, sink: asyncio.StreamWriter
) -> None:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            line = await source.readuntil(b"\r\n")
            sink.write(line)
            size = int(line.split(b";")[0], 16)
            sink.write(await source.readexactly(size + 2))
            await sink.drain()
            if size == 0:
                return
    left = int(headers.get("content-length") or 0)
    while left:
        block = await source.readexactly(min(left, 1 << 18))
        left -= len(block)
        sink.write(block)
        await sink.drain()


async def _run(folder: Path, upstream_port: int, latency_ms: float) -> None:
    raw_server = RawServer(folder, upstream_port, latency_ms / 1_000)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(raw_server, loop), "127.0.0.1", 0, backlog=1_024)
    print(server.sockets[0].getsockname()[1], flush=True)
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
    await server.serve_forever()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return cast("asyncio.AbstractEventLoop", uvloop.new_event_loop())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(_run(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))

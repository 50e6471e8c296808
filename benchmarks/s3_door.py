"""An S3 endpoint for measurements: raw objects straight from a folder, every other bucket from a MiniStack.

    python -m benchmarks.s3_door RAW_FOLDER UPSTREAM_PORT LATENCY_MS      prints its port, ends with its input

Ten thousand GETs of a real server in Python would take longer than the work that is measured. This door
answers GET, HEAD and ListObjectsV2 of the bucket ``raw`` from files, with real ranges and etags, and passes
the rest on as it is. The latency is waited out before each answer; requests of other connections go on
meanwhile. Its own CPU time stands beside the results.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from bisect import bisect_right
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

RAW_BUCKET = "raw"
PAGE_KEYS = 1_000


class Door:
    """The raw files of a folder, by key, and what is in front of them."""

    def __init__(self, folder: Path, upstream_port: int, latency_seconds: float) -> None:
        self.folder, self.upstream_port, self.latency_seconds = folder, upstream_port, latency_seconds
        found = sorted((p.relative_to(folder).as_posix(), p.stat()) for p in folder.rglob("*") if p.is_file())
        self.keys = [key for key, _ in found]
        self.sizes = {key: stat.st_size for key, stat in found}
        self.modified = formatdate(usegmt=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client connection, request after request."""
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if self.latency_seconds:
                    await asyncio.sleep(self.latency_seconds)
                method, target, _ = head.split(b" ", 2)
                bucket, _, key = unquote(urlsplit(target.decode()).path)[1:].partition("/")
                if bucket == RAW_BUCKET:
                    writer.write(self.answer(method.decode(), target.decode(), key, _headers(head)))
                else:
                    upstream = upstream or await asyncio.open_connection("127.0.0.1", self.upstream_port)
                    await _forward(head, method, reader, writer, upstream)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for open_writer in (writer, *(upstream[1:] if upstream else ())):
                open_writer.close()

    def answer(self, method: str, target: str, key: str, headers: dict[str, str]) -> bytes:
        """The whole answer to a request for the raw bucket."""
        if method not in ("GET", "HEAD"):
            return _reply("405 Method Not Allowed", b"")
        if not key:
            query = parse_qs(urlsplit(target).query, keep_blank_values=True)
            page = self.listing({name: values[0] for name, values in query.items()})
            return _reply("200 OK", page, [("Content-Type", "application/xml")])
        if key not in self.sizes:
            missing = b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"
            return _reply("404 Not Found", b"" if method == "HEAD" else missing)
        size = self.sizes[key]
        more = [
            ("ETag", f'"{size:032x}"'),
            ("Last-Modified", self.modified),
            ("Accept-Ranges", "bytes"),
            ("Content-Type", "application/octet-stream"),
        ]
        if method == "HEAD":
            return _reply("200 OK", b"", more, length=size)
        body = (self.folder / key).read_bytes()
        if not headers.get("range"):
            return _reply("200 OK", body, more)
        first, _, last = headers["range"].removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, size - int(last))
        stop = min(int(last) + 1, size) if first and last else size
        if start >= size:
            return _reply("416 Range Not Satisfiable", b"<Error><Code>InvalidRange</Code></Error>")
        more.append(("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
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
                    f"<ETag>&quot;{self.sizes[key]:032x}&quot;</ETag><Size>{self.sizes[key]}</Size>"
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


def _reply(
    status: str, body: bytes, headers: list[tuple[str, str]] | None = None, length: int | None = None
) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers or [])]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def _forward(
    head: bytes,
    method: bytes,
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
    answer = await server_reader.readuntil(b"\r\n\r\n")
    writer.write(answer)
    status = answer.split(b" ", 2)[1]
    if method != b"HEAD" and status not in (b"204", b"304"):
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
    door = Door(folder, upstream_port, latency_ms / 1_000)
    server = await asyncio.start_server(door.serve, "127.0.0.1", 0, backlog=1_024)
    print(server.sockets[0].getsockname()[1], flush=True)
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))

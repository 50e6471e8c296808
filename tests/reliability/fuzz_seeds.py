"""Good files of every kind that a reader knows, for fuzzers to begin with."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq

LINES = b"".join(b'{"a": %d, "b": "text %d", "c": %d.5}\n' % (i, i, i) for i in range(8))
JSON = (
    LINES,
    b'[{"a": 1}, {"b": "x\\u00e9\\ud83d\\ude00", "c": -1.5e-3}, null, [1, {"a": true}]]',
    b'\xef\xbb\xbf{\n  "a": 9223372036854775807,\n  "b": "\\"",\n  "c": NaN\n}\n{"a": 1, "a": 2} garbage {',
)
NESTED = (
    b'{"a": [1.5, null], "b": {"c": "x", "d": 1, "e": ["y"]}, "f": [{"g": true, "h": "2025-09-09"}]}\n'
    b'{"a": [], "b": null, "f": [null]}\n{"a": null, "b": {"c": null, "d": 2, "e": []}, "f": []}\n' * 3,
    b'{"a": [1e400, "2"], "b": {"d": 300, "i": 1}}\n{"f": [{"h": 1}]}\n{"a": [[1]]}\n',
)
CSV = (
    b'a,b,c\r\n1,"x ""1"\r\n",1.5\r\n\r\n2,y,\r\n',
    b'c,b,a,more\n1e3,,007,z\n"","open',
)
TABLES = (
    b'name = "m.p"\nunique_key = ["a"]\n[columns]\na = "int64 not null"\nb = "list<struct<x: string>>"\n',
    b"""max_reject_ratio = 0.5
extra_fields = "rescue"
null_values = ["", "NA"]
[columns]
a = "decimal(10, 2)"
t = "timestamp[us, UTC]"
j = "json"
d = "date"
""",
)


def compress(kind: str, text: bytes) -> bytes:
    if kind == "gzip":
        return gzip.compress(text, mtime=0)
    if kind == "bz2":
        return bz2.compress(text)
    if kind == "xz":
        return lzma.compress(text)
    return bytes(pa.compress(text, codec="zstd", asbytes=True))


def parquet_files() -> tuple[bytes, ...]:
    made = []
    for compression, version in (("snappy", "1.0"), ("zstd", "2.0")):
        out = io.BytesIO()
        count = range(60)
        columns = {"a": [*count], "b": [str(i % 7) for i in count], "c": [i / 7 for i in count]}
        pq.write_table(
            pa.table(columns), out, row_group_size=25, compression=compression, data_page_version=version
        )
        made.append(out.getvalue())
    return tuple(made)


@cache
def documents() -> tuple[bytes, bytes]:
    """A plan and a manifest, of a day compacted in memory."""
    import briquette
    from briquette.compaction.new_plan import make_plan, resolve_spec
    from briquette.compaction.options import RunOptions
    from briquette.planning.target import resolve_target
    from briquette.serialization import manifest_to_bytes, plan_to_bytes
    from briquette.storage.opening import open_store
    from tests.reliability.parsers import SPEC

    url = "memory://fuzz-seeds"
    store = open_store(url)
    store.put("raw/a.json", LINES)
    store.put("raw/b.json", b'{"a": "no number"}\n')
    target = resolve_target(input_url=f"{url}/raw", output_url=f"{url}/out")
    plan = make_plan(target, resolve_spec(target, SPEC.schema, {"max_reject_ratio": 1.0}), RunOptions())
    made = briquette.compact(
        input=f"{url}/raw",
        output=f"{url}/out",
        schema=SPEC.schema,
        max_reject_ratio=1.0,
        options=RunOptions(executor="serial"),
    )
    assert made.manifest is not None
    return plan_to_bytes(plan), manifest_to_bytes(made.manifest)


def seeds_of(reader: str) -> tuple[bytes, ...]:
    """Good and nearly good files for ``reader``."""
    if reader in ("json", "broken"):
        return JSON
    if reader == "nested":
        return NESTED
    if reader in ("csv", "tsv"):
        return CSV if reader == "csv" else tuple(text.replace(b",", b"\t") for text in CSV)
    if reader == "parquet":
        return parquet_files()
    if reader == "schema":
        return TABLES
    if reader in ("plan", "manifest"):
        return (documents()[reader == "manifest"],)
    return tuple(compress(reader, text) for text in JSON)

"""Arrow rows -> finished Parquet row groups: the only place that chooses Parquet options.

The bytes depend on the rows, the spec and the library version, never on how the rows arrived: chunks are
joined, and dictionaries put in order of first appearance, before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from briquette.encoding.column_encodings import (
    DICTIONARY_LIMIT_BYTES,
    Encodings,
    canonical,
    choose_encodings,
    part_of,
)
from briquette.errors import ConfigError
from briquette.model import CompactionSpec, RowGroup
from briquette.parquet.splice import added_bytes, cut, most_added_bytes

CODECS = {"zstd": "ZSTD", "snappy": "SNAPPY", "gzip": "GZIP", "lz4": "LZ4_RAW", "none": "NONE"}

# zstd picks its tables by page size: at level 2, pages of 120 kB of doubles come out 4 to 10 % smaller than
# pages of 240 kB at level 1 and take as long; level 3 takes a third more time and gains nothing.
# 15,000 rows are also few enough for a page index to skip most of a row group.
ROWS_PER_PAGE = 15_000
LEVELS = {"zstd": 2, "gzip": 4}  # gzip: level 6 takes twice the time for 0.5 % of the size

# A part misses its target by up to half a row group: a twelfth of it leaves room below 5 % for the footer.
ROW_GROUPS_PER_PART = 12
SMALLEST_LIMIT_BYTES = 4 << 10  # smaller row groups would be mostly footer
MOST_ROWS = 1 << 24  # of a row group, however small they are; the writer itself would cut at 2**26
_FILL_PERCENT = 90  # of the limit is aimed at where rows are cut: neighbours differ in size


def encode(table: pa.Table, spec: CompactionSpec) -> tuple[RowGroup, ...]:
    """The rows as one row group, or several where one would pass a twelfth of the target size.

    No rows give no row group. Raises ``ConfigError`` for a codec that is none of ``CODECS``.
    """
    if spec.codec not in CODECS:
        raise ConfigError(f"codec {spec.codec!r} is unknown.", hint=f"Choose one of {', '.join(CODECS)}.")
    if table.num_rows == 0:
        return ()
    writer = _Writer(spec.codec)
    rows = canonical(table)
    encodings = choose_encodings(rows, writer.measure)
    limit = max(spec.target_part_bytes // ROW_GROUPS_PER_PART, SMALLEST_LIMIT_BYTES)
    return tuple(_row_groups(rows, encodings, writer, limit))


class _Writer:
    """The options that every row group shares."""

    def __init__(self, codec: str) -> None:
        self._codec = codec

    def write(self, table: pa.Table, encodings: Encodings) -> memoryview:
        """A Parquet file of one row group."""
        out = pa.BufferOutputStream()
        pq.write_table(
            table,
            out,
            row_group_size=table.num_rows,
            compression=CODECS[self._codec],
            compression_level=LEVELS.get(self._codec),
            use_dictionary=sorted(encodings.dictionary),
            dictionary_pagesize_limit=DICTIONARY_LIMIT_BYTES,
            column_encoding=dict.fromkeys(sorted(encodings.delta), "DELTA_BINARY_PACKED") or None,
            store_decimal_as_integer=True,
            store_schema=False,  # Parquet's own types give every declared type back
            write_statistics=True,
            write_page_index=True,
            max_rows_per_page=ROWS_PER_PAGE,
        )
        return memoryview(out.getvalue())

    def measure(self, table: pa.Table, encodings: Encodings) -> dict[str, int]:
        """Encoded bytes of each leaf column."""
        group = pq.read_metadata(pa.BufferReader(self.write(table, encodings))).row_group(0)
        columns = (group.column(i) for i in range(group.num_columns))
        return {c.path_in_schema: c.total_compressed_size for c in columns}


def _row_groups(rows: pa.Table, encodings: Encodings, writer: _Writer, limit: int) -> Iterator[RowGroup]:
    """Cut where the limit is reached; each row group's size corrects the guess for the next one."""
    at, size = 0, min(rows.num_rows, MOST_ROWS)
    while at < rows.num_rows:
        size = min(size, rows.num_rows - at)
        part = rows if size == rows.num_rows else part_of(rows, at, size)
        (group,) = cut(writer.write(part, encodings))
        if part is rows and most_added_bytes(group) <= limit:
            yield group
            return
        added = added_bytes(group)
        fits = max(size * limit * _FILL_PERCENT // (added * 100), 1)
        if added > limit and size > 1 and 2 * (added - group.size_bytes) < limit:
            size = min(fits, size - 1)
            continue
        yield group
        at += size
        size = min(fits, MOST_ROWS)

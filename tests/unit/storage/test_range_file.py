"""A file of ranges reads like the bytes it stands for, and asks for no byte that is not there."""

from __future__ import annotations

import io
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from briquette.storage.range_file import RangeFile

BODY = bytes(range(100))


def over(body: bytes) -> RangeFile:
    def read(start: int, stop: int) -> bytes:
        assert 0 <= start < stop <= len(body)
        return body[start:stop]

    return RangeFile(len(body), read)


steps = st.one_of(
    st.tuples(st.just("read"), st.integers(-1, 120)),
    st.tuples(st.just("readinto"), st.integers(0, 120)),
    st.tuples(st.just("set"), st.integers(0, 150)),
    st.tuples(st.just("cur"), st.integers(0, 50)),
    st.tuples(st.just("end"), st.integers(-100, 20)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=12), st.booleans())
def test_it_reads_what_bytes_in_memory_read(taken: list[tuple[str, int]], buffered: bool) -> None:
    plain = io.BytesIO(BODY)
    ranges = io.BufferedReader(over(BODY), 16) if buffered else over(BODY)
    places = {"set": os.SEEK_SET, "cur": os.SEEK_CUR, "end": os.SEEK_END}
    for what, number in taken:
        if what in places:
            assert ranges.seek(number, places[what]) == plain.seek(number, places[what])
        elif what == "readinto":
            left, right = bytearray(number), bytearray(number)
            assert ranges.readinto(left) == plain.readinto(right)
            assert left == right
        else:
            assert ranges.read(number) == plain.read(number)
        assert ranges.tell() == plain.tell()
    assert ranges.read() == plain.read()


def test_it_is_a_file_for_pyarrow_and_fetches_only_what_is_read() -> None:
    sink = io.BytesIO()
    table = pa.table({"a": list(range(100_000)), "b": [str(i) for i in range(100_000)]})
    pq.write_table(table, sink, row_group_size=1_000)
    body, fetched = sink.getvalue(), []

    def read(start: int, stop: int) -> bytes:
        fetched.append(stop - start)
        return body[start:stop]

    file = pq.ParquetFile(pa.PythonFile(RangeFile(len(body), read), mode="r"))
    assert file.read_row_group(7) == table.slice(7_000, 1_000)
    assert sum(fetched) < len(body) / 2


def test_what_the_function_raises_the_read_raises() -> None:
    def read(start: int, stop: int) -> bytes:
        raise ConnectionError(f"{start}-{stop}")

    file = RangeFile(10, read)
    assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
    file.seek(3)
    with pytest.raises(ConnectionError, match="3-5"):
        file.read(2)

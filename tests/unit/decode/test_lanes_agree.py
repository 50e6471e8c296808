"""The fast lanes, the stream and the byte ranges answer exactly as the record readers do."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import decode
from engine.decode import Decoded, decode_objects, decode_range, decode_records_only, decode_stream
from engine.decoding.json_records import JsonReader
from engine.model import CompactionSpec

from . import generators as g


def facts(decoded: Decoded) -> Any:
    return (
        decoded.table.schema,
        _comparable(decoded.table),
        decoded.rejects,
        decoded.object_records,
        decoded.extra_fields,
        decoded.duplicate_json_keys,
        decoded.decoded_bytes,
    )


def _comparable(table: pa.Table) -> str:
    """Rows as text: NaN equals NaN there, and -0.0 differs from 0.0."""
    columns = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in table.columns]
    return repr([c.to_pylist() for c in columns])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_fast_lanes_equal_the_record_readers(data: st.DataObject) -> None:
    spec = data.draw(g.specs())
    objects = data.draw(g.objects(spec.schema))
    fast = g.outcome(lambda: facts(decode_objects(objects, spec)))
    assert fast == g.outcome(lambda: facts(decode_records_only(objects, spec)))

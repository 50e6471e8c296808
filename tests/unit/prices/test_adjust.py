"""Adjustment: each rule by hand, and all rows against a reference that goes row by row."""

from __future__ import annotations

import math
import struct
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from briquette.errors import InputError
from briquette.model import Field, Schema
from briquette.prices.adjust import adjust, adjusted_schema
from briquette.schemas.declared import arrow_schema

NAN, INF = math.nan, math.inf
NAMES = ("open", "high", "low", "close", "adjusted_close", "volume")


def bars(*rows: tuple[float | None, ...]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    return pa.table({n: pa.array(c, pa.float64()) for n, c in zip(NAMES, columns, strict=True)})


def one(**values: float | None) -> dict:
    bar = {"open": 8.0, "high": 16.0, "low": 4.0, "close": 10.0, "adjusted_close": 5.0, "volume": 100.0}
    return adjust(bars(tuple((bar | values)[n] for n in NAMES))).to_pylist()[0]


def test_a_two_for_one_split_halves_prices_and_doubles_the_volume():
    made = one()
    assert [made[n] for n in NAMES] == [4.0, 8.0, 2.0, 5.0, 5.0, 200.0]
    assert made["adjustment_factor"] == 0.5
    assert [made[f"raw_{n}"] for n in ("open", "high", "low", "close", "volume")] == [8, 16, 4, 10, 100]


@pytest.mark.parametrize("close", [0.0, -0.0, None, NAN, INF])
def test_without_a_usable_close_the_factor_is_one_and_the_close_is_the_adjusted_close(close):
    made = one(close=close)
    assert (made["adjustment_factor"], made["open"], made["volume"]) == (1.0, 8.0, 100.0)
    assert made["close"] == 5.0


@pytest.mark.parametrize("adjusted", [None, NAN, INF, -INF])
def test_without_a_usable_adjusted_close_everything_stays(adjusted):
    made = one(adjusted_close=adjusted)
    assert [made[n] for n in ("open", "high", "low", "close", "volume")] == [8, 16, 4, 10, 100]
    assert made["adjustment_factor"] == 1.0


def test_a_gap_in_one_price_stays_a_gap_there_only():
    made = one(open=None, high=NAN)
    assert made["open"] is None
    assert math.isnan(made["high"])
    assert made["low"] == 2.0


def test_at_an_adjusted_close_of_zero_the_volume_is_not_known():
    made = one(adjusted_close=0.0)
    assert (made["adjustment_factor"], made["close"], made["open"], made["volume"]) == (0.0, 0.0, 0.0, None)
    assert made["raw_volume"] == 100.0


def test_a_quotient_beyond_all_numbers_is_no_factor():
    made = one(close=1e-300, adjusted_close=1e300)
    assert (made["adjustment_factor"], made["close"], made["open"]) == (1.0, 1e300, 8.0)


def test_a_negative_close_is_quality_s_business_and_adjusted_like_any_other():
    assert one(close=-10.0)["adjustment_factor"] == -0.5


def test_without_the_column_adjusted_close_the_factor_is_one():
    made = adjust(bars((8.0, 16.0, 4.0, 10.0, 5.0, 100.0)).drop_columns("adjusted_close"))
    assert made.column("adjustment_factor").to_pylist() == [1.0]
    assert made.column("close").to_pylist() == [10.0]


def test_columns_keep_their_order_and_others_pass_through_without_ds():
    table = pa.table(
        {"ds": ["x"], "volume": [10], "symbol": ["A"], "close": [Decimal("2.50")], "adjusted_close": [5.0]}
    )
    made = adjust(table)
    assert made.column_names == [
        "volume",
        "symbol",
        "close",
        "adjusted_close",
        "raw_close",
        "raw_volume",
        "adjustment_factor",
    ]
    assert made.to_pylist()[0] == {
        "volume": 5.0,
        "symbol": "A",
        "close": 5.0,
        "adjusted_close": 5.0,
        "raw_close": Decimal("2.50"),
        "raw_volume": 10,
        "adjustment_factor": 2.0,
    }


def test_the_declared_columns_are_those_of_the_rows():
    source = Schema(
        (
            Field("symbol", "string", nullable=False),
            Field("ds", "string"),
            Field("timestamp", "timestamp[us, UTC]", nullable=False),
            Field("close", "decimal(10, 2)", nullable=False),
            Field("volume", "int64"),
            Field("note", "list<string>"),
        )
    )
    made = adjust(arrow_schema(source).empty_table())
    assert made.schema.equals(arrow_schema(adjusted_schema(source)))


@pytest.mark.parametrize("name", ["raw_close", "adjustment_factor"])
def test_rows_that_are_adjusted_already_are_refused(name):
    with pytest.raises(InputError, match=name):
        adjusted_schema(Schema((Field("close", "float64"), Field(name, "float64"))))


@pytest.mark.parametrize("name", ["open", "close", "adjusted_close", "volume"])
def test_a_text_cannot_be_adjusted(name):
    with pytest.raises(InputError, match=f"{name} has the type string"):
        adjusted_schema(Schema((Field(name, "string"),)))


# -- property ----------------------------------------------------------------------------------------


def slowly(row: tuple[float | None, ...]) -> tuple[float | None, ...]:
    """open, high, low, close, volume and the factor of one bar, one case after the other."""
    first, high, low, close, target, volume = row
    factor = 1.0
    known = target is not None and math.isfinite(target)
    if known and close is not None and math.isfinite(close) and close != 0:
        try:
            quotient = target / close
        except OverflowError:
            quotient = INF
        factor = quotient if math.isfinite(quotient) else 1.0
    times = [None if p is None else p * factor for p in (first, high, low)]
    if volume is not None:
        volume = None if factor == 0 else _divided(volume, factor)
    return (*times, target if known else close, volume, factor)


def _divided(left: float, right: float) -> float:
    try:
        return left / right
    except OverflowError:
        return math.copysign(INF, left) * math.copysign(1.0, right)


def _bits(value: float | None) -> bytes | None:
    """Equal for equal numbers, signs of zero included, and for any two NaNs."""
    return None if value is None else b"NaN" if math.isnan(value) else struct.pack("<d", value)


cell = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, -0.0, 1.0, 1e308, 5e-324]))


@given(st.lists(st.tuples(*[cell] * 6), max_size=20))
def test_every_row_is_what_the_slow_reference_says(rows):
    made = adjust(bars(*rows))
    columns = ("open", "high", "low", "close", "volume", "adjustment_factor")
    found = [tuple(_bits(r[c]) for c in columns) for r in made.to_pylist()]
    assert found == [tuple(map(_bits, slowly(r))) for r in rows]
    for name in ("open", "high", "low", "close", "volume"):
        raw = [_bits(v) for v in made.column(f"raw_{name}").to_pylist()]
        assert raw == [_bits(r[NAMES.index(name)]) for r in rows]

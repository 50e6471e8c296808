"""Data quality: each rule by hand, all of them against a slow reading, and no matter how rows are cut."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from briquette.errors import InputError
from briquette.prices.quality import (
    Quality,
    Thresholds,
    count,
    findings_from_bytes,
    findings_to_bytes,
    judge,
    merge,
)

NAN, INF = math.nan, math.inf


def prices(*rows: tuple[str | None, float | None, float | None]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [(), (), ()]
    return pa.table(
        {
            "symbol": pa.array(columns[0], pa.string()),
            "close": pa.array(columns[1], pa.float64()),
            "adjusted_close": pa.array(columns[2], pa.float64()),
        }
    )


def verdict(*tables: pa.Table, **thresholds: float) -> Quality:
    return judge([findings_to_bytes(count(t)) for t in tables], Thresholds(**thresholds))


def test_a_null_symbol_and_a_negative_close_and_adjusted_close_count_once_each():
    found = verdict(prices((None, -1.0, -2.0), ("A", 1.0, -0.5), ("B", 1.0, 1.0)))
    assert (found.null_symbols, found.negatives) == (1, (("close", 1), ("adjusted_close", 2)))
    assert found.critical == 4


def test_nan_null_zero_and_minus_zero_are_not_negative_but_minus_infinity_is():
    found = verdict(prices(("A", NAN, None), ("B", 0.0, -0.0), ("C", -INF, INF)))
    assert found.negatives == (("close", 1),)


def test_a_column_price_is_asked_too_and_a_text_is_not_a_number():
    table = prices(("A", 1.0, 1.0)).append_column("price", pa.array([-3]))
    assert verdict(table).negatives == (("price", 1),)
    assert verdict(table.set_column(1, "close", pa.array(["-1"]))).negatives == (("price", 1),)


def test_a_negative_decimal_counts():
    table = prices(("A", 1.0, 1.0)).set_column(1, "close", pa.array([Decimal("-0.01")]))
    assert verdict(table).negatives == (("close", 1),)


@pytest.mark.parametrize(
    ("bad", "rate", "passed"), [(5, 5.0, True), (6, 6.0, False), (0, 0.0, True), (100, 100.0, False)]
)
def test_the_rate_is_in_per_cent_and_may_reach_the_limit(bad, rate, passed):
    found = verdict(prices(*[("A", -1.0 if i < bad else 1.0, 1.0) for i in range(100)]))
    assert (found.critical_error_rate, found.passed) == (rate, passed)


def test_a_row_with_several_errors_counts_several_times_so_the_rate_can_pass_a_hundred():
    assert verdict(prices((None, -1.0, -1.0))).critical_error_rate == 300.0


def test_keys_that_occur_twice_or_more_are_counted_once_each_across_splits():
    first = prices(("A", 1.0, 1.0), ("A", 1.0, 1.0), ("B", 1.0, 1.0))
    second = prices(("B", 1.0, 1.0), ("C", 1.0, 1.0), ("A", 1.0, 1.0))
    assert verdict(first).duplicate_keys == 1
    assert verdict(first, second).duplicate_keys == 2


def test_null_is_a_key_as_in_a_group_by():
    assert verdict(prices((None, 1.0, 1.0)), prices((None, 1.0, 1.0))).duplicate_keys == 1


def test_the_column_id_is_the_key_where_there_is_one():
    table = prices(("A", 1.0, 1.0), ("A", 2.0, 2.0)).append_column("id", pa.array([1, 2]))
    assert verdict(table).duplicate_keys == 0
    assert verdict(table, table).duplicate_keys == 2


def test_an_id_that_cannot_be_compared_is_an_error_with_a_hint():
    table = prices(("A", 1.0, 1.0)).append_column("id", pa.array([[1]]))
    with pytest.raises(InputError, match="list<"):
        count(table)


def test_a_dictionary_in_one_split_and_plain_text_in_the_next_are_the_same_keys():
    plain = prices(("A", 1.0, 1.0), (None, 1.0, 1.0))
    coded = plain.set_column(0, "symbol", plain.column("symbol").dictionary_encode())
    assert verdict(plain, coded).duplicate_keys == 2
    assert verdict(coded).null_symbols == 1


def test_few_records_are_one_warning_and_columns_of_money_that_are_no_decimals_one_each():
    table = prices(("A", 1.0, 1.0))
    table = table.append_column("price", pa.array([1.0])).append_column("amount", pa.array([Decimal("1.5")]))
    found = verdict(table, expected_min_records=2)
    assert (found.too_few_records, found.not_decimal, found.warnings) == (True, ("price",), 2)
    assert verdict(table, expected_min_records=1).warnings == 1


def test_no_rows_have_no_errors():
    assert judge([], Thresholds(0)).passed
    empty = verdict(prices())
    assert (empty.records, empty.critical_error_rate, empty.passed) == (0, 0.0, True)


# -- properties --------------------------------------------------------------------------------------

numbers = st.one_of(st.none(), st.floats(), st.sampled_from([-0.0, 0.0, -1.0, 1.0]))
rows = st.lists(st.tuples(st.one_of(st.none(), st.sampled_from("ABCDE")), numbers, numbers), max_size=30)


def slowly(rows) -> tuple[int, int, int]:
    """Null symbols, values below zero, and keys that occur more than once, one row after the other."""
    nulls = sum(symbol is None for symbol, _, _ in rows)
    negative = sum(value is not None and value < 0 for row in rows for value in row[1:])
    return nulls, negative, sum(n > 1 for n in Counter(row[0] for row in rows).values())


@given(rows)
def test_the_counts_are_those_of_a_slow_reading(rows):
    found = verdict(prices(*rows))
    assert (found.null_symbols, sum(n for _, n in found.negatives), found.duplicate_keys) == slowly(rows)


@given(rows, st.lists(st.integers(0, 30), max_size=5))
def test_the_verdict_does_not_depend_on_how_the_rows_are_cut(rows, cuts):
    edges = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    pieces = [prices(*rows[a:b]) for a, b in itertools.pairwise(edges)]
    whole = verdict(prices(*rows))
    assert verdict(*pieces) == whole
    # Several blocks of one split travel as one text of bytes.
    joined = b"".join(findings_to_bytes(count(p)) for p in pieces)
    assert judge([joined], Thresholds()) == whole


@given(rows)
def test_findings_come_back_from_bytes_as_they_were(rows):
    made = count(prices(*rows))
    (back,) = findings_from_bytes(findings_to_bytes(made))
    assert back.keys.equals(made.keys)
    assert merge([back]).negatives == made.negatives

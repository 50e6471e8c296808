"""A panel of bars: sessions x symbols, one array for each price column, built without a loop over symbols.

A *record* is a row of the price table; a *bar* is a record with a close. A symbol's windows count its own
bars, so ``own_bars`` moves each symbol's bars together to the bottom: a gap does not shift a window.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from briquette.errors import SchemaError
from briquette.prices.windows import Floats, change, lagged, ratio

Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

PRICE_COLUMNS = ("open", "high", "low", "close", "volume")
# The first of these that the table has is used.
VWAP_COLUMNS = ("vwap", "vwap_d")
MARKET_RETURN_COLUMNS = ("market_return", "market_return_1d", "benchmark_return")
MARKET_CLOSE_COLUMNS = ("market_close", "benchmark_close", "sp500_close", "spy_close")

# A market return beyond this is taken for a percentage, as upstream does.
LARGEST_FRACTION = 10.0


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars of S sessions (ascending) and N symbols (sorted by bytes): [S x N] arrays, NaN where missing."""

    sessions: tuple[date, ...]
    symbols: pa.Array
    present: Bools  # there is a record, with or without a close
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    vwap: Floats | None = None
    market_return: Floats | None = None
    market_close: Floats | None = None

    def __post_init__(self) -> None:
        shape = (len(self.sessions), len(self.symbols))
        for name, values in self.arrays():
            if values.shape != shape:
                raise SchemaError(f"panel column {name} has shape {values.shape}, not {shape}.")
        if any(a >= b for a, b in zip(self.sessions, self.sessions[1:], strict=False)):
            raise SchemaError(
                "the sessions of a panel are not in ascending order.", hint="Sort the days; each once."
            )

    def arrays(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """The columns that are there, by name."""
        for name in ("present", *PRICE_COLUMNS, "vwap", "market_return", "market_close"):
            values = getattr(self, name)
            if values is not None:
                yield name, values

    def block(self, start: int, stop: int) -> Panel:
        """The symbols from ``start`` up to ``stop``; views, no copies."""
        columns: dict[str, Any] = {name: values[:, start:stop] for name, values in self.arrays()}
        return Panel(self.sessions, self.symbols.slice(start, max(stop - start, 0)), **columns)

    def blocks(self, symbols: int) -> Iterator[Panel]:
        """The panel in blocks of so many symbols."""
        for start in range(0, len(self.symbols), symbols):
            yield self.block(start, min(start + symbols, len(self.symbols)))

    def of_last_session(self) -> Panel:
        """Only the symbols that have a record on the last session."""
        if not self.sessions or self.present[-1].all():
            return self
        kept = np.flatnonzero(self.present[-1])
        columns: dict[str, Any] = {name: values[:, kept] for name, values in self.arrays()}
        return Panel(self.sessions, self.symbols.take(pa.array(kept)), **columns)


@dataclass(frozen=True, slots=True)
class Placed:
    """A panel, and the records that could not be placed in it once."""

    panel: Panel
    duplicates: tuple[tuple[date, str], ...]  # (session, symbol) of every record after the first
    without_symbol: int


def panel_from_columns(
    sessions: Sequence[date],
    symbols: pa.Array,
    session_index: Indices,
    symbol_index: Indices,
    columns: Mapping[str, Floats],
) -> Placed:
    """Place records at (session_index, symbol_index); a negative symbol index means no symbol.

    Of duplicates the last record stands in the panel; a value that is not finite is missing.
    """
    missing = [name for name in PRICE_COLUMNS if name not in columns]
    if missing:
        raise SchemaError(f"the prices lack {', '.join(missing)}.", hint="Indicators need all five columns.")
    shape = (len(sessions), len(symbols))
    placed = symbol_index >= 0
    cell = session_index * shape[1] + symbol_index
    if not placed.all():
        cell = cell[placed]
    flat = np.zeros(shape[0] * shape[1], dtype=np.bool_)
    flat[cell] = True
    arrays: dict[str, Any] = {}
    for name, source in _sources(columns):
        values = columns[source] if placed.all() else columns[source][placed]
        spread = np.full(len(flat), np.nan)
        spread[cell] = np.where(np.isfinite(values), values, np.nan)
        arrays[name] = spread.reshape(shape)
    return Placed(
        Panel(tuple(sessions), symbols, flat.reshape(shape), **arrays),
        _duplicates(cell, int(flat.sum()), sessions, symbols),
        int((~placed).sum()),
    )


def _sources(columns: Mapping[str, Floats]) -> Iterator[tuple[str, str]]:
    yield from ((name, name) for name in PRICE_COLUMNS)
    returns = next((c for c in MARKET_RETURN_COLUMNS if c in columns), None)
    closes = next((c for c in MARKET_CLOSE_COLUMNS if c in columns), None)
    vwap = next((c for c in VWAP_COLUMNS if c in columns), None)
    if vwap:
        yield "vwap", vwap
    if returns:
        yield "market_return", returns
    elif closes:
        yield "market_close", closes


def _duplicates(
    cell: Indices, cells: int, sessions: Sequence[date], symbols: pa.Array
) -> tuple[tuple[date, str], ...]:
    if cells == len(cell):
        return ()
    ordered = np.sort(cell)
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    return tuple((sessions[c // len(symbols)], symbols[c % len(symbols)].as_py()) for c in again.tolist())


def panel_from_tables(days: Sequence[tuple[date, pa.Table]], *, only_last_session: bool = False) -> Placed:
    """One table for each session, with a symbol column and the price columns in any order.

    ``only_last_session`` leaves out the symbols that have no record on the last session: they get no row
    in the indicators, so their history need not be held.
    """
    optional = (*VWAP_COLUMNS, *MARKET_RETURN_COLUMNS, *MARKET_CLOSE_COLUMNS)
    tables = [table for _, table in days]
    for session, table in days:
        lacking = [name for name in ("symbol", *PRICE_COLUMNS) if name not in table.column_names]
        if lacking:
            raise SchemaError(
                f"the prices of {session} lack {', '.join(lacking)}.", hint="Run the transform of that day."
            )
    named = [_texts(table.column("symbol")) for table in tables]
    symbols = _sorted_symbols(named[-1:] if only_last_session else named)
    indices = [_places(texts, symbols) for texts in named]
    kept = [index >= 0 for index in indices] if only_last_session else [None] * len(tables)
    columns = {
        name: _joined(
            [_floats(t.column(name)) if name in t.column_names else np.full(len(t), np.nan) for t in tables],
            kept,
        )
        for name in (*PRICE_COLUMNS, *optional)
        if name in PRICE_COLUMNS or any(name in t.column_names for t in tables)
    }
    rows = [np.full(len(table), i, dtype=np.int64) for i, table in enumerate(tables)]
    placed = panel_from_columns(
        [session for session, _ in days], symbols, _joined(rows, kept), _joined(indices, kept), columns
    )
    return Placed(placed.panel, placed.duplicates, sum(texts.null_count for texts in named))


def _joined(pieces: Sequence[npt.NDArray[Any]], kept: Sequence[Bools | None]) -> npt.NDArray[Any]:
    if not pieces:
        return np.empty(0, dtype=np.int64)
    return np.concatenate([p if k is None else p[k] for p, k in zip(pieces, kept, strict=True)])


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.large_string())


def _sorted_symbols(named: Sequence[pa.ChunkedArray]) -> pa.Array:
    chunks = [pc.unique(texts).drop_null() for texts in named]
    found = pc.unique(pa.chunked_array(chunks, type=pa.large_string()))
    return found.take(pc.sort_indices(found)).cast(pa.string())


def _places(texts: pa.ChunkedArray, symbols: pa.Array) -> Indices:
    found = pc.index_in(texts, value_set=symbols.cast(pa.large_string()), skip_nulls=True)
    places: Indices = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    return places


def _floats(column: pa.ChunkedArray) -> Floats:
    values: Floats = column.cast(pa.float64()).to_numpy()
    return values


# -- own bars --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bars:
    """Each symbol's bars moved together: the newest in the last row, NaN above the first one."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    vwap: Floats | None
    market_return: Floats | None
    order: Indices | None  # row of the panel that stands in each row; None where nothing moved

    def __len__(self) -> int:
        return len(self.close)

    def in_sessions(self, values: Floats) -> Floats:
        """Values by bar put back to the sessions of those bars."""
        if self.order is None:
            return values
        result = np.empty_like(values)
        np.put_along_axis(result, self.order, values, axis=0)
        return result


def own_bars(panel: Panel) -> Bars:
    """The bars of each symbol without the sessions it did not trade."""
    is_bar = panel.present & ~np.isnan(panel.close)
    columns = {name: values for name, values in panel.arrays() if name != "present"}
    order: Indices | None = None
    if is_bar.all():
        columns = {name: np.ascontiguousarray(values) for name, values in columns.items()}
    else:
        order = np.argsort(is_bar, axis=0, kind="stable")  # what is no bar first, all else in its order
        absent = ~np.take_along_axis(is_bar, order, axis=0)
        columns = {name: np.take_along_axis(values, order, axis=0) for name, values in columns.items()}
        for values in columns.values():
            values[absent] = np.nan
    return Bars(
        **{name: columns[name] for name in PRICE_COLUMNS},
        vwap=columns.get("vwap"),
        market_return=_market_return(columns),
        order=order,
    )


def _market_return(columns: Mapping[str, Floats]) -> Floats | None:
    if "market_return" in columns:
        returns = columns["market_return"]
        in_percent = np.fmax.reduce(np.abs(returns), axis=0, initial=0.0) > LARGEST_FRACTION
        return np.where(in_percent, returns / 100.0, returns)
    if "market_close" in columns:
        closes = columns["market_close"]
        # Over the symbol's own bars, so that a gap spans the same days in both returns.
        return ratio(change(closes, 1, len(closes)), lagged(closes, 1, len(closes)))
    return None

"""The two sets of indicators: names, types, order, and what each column needs and may hold.

Set A is what the pipeline published first (27 columns with the partition column), set B what replaced it
(60, and three of bookkeeping). ``ds`` is the partition column: it stands in the path, not in the file. The
order is the one in which the pipeline writes the columns, because schema fingerprints depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from briquette.errors import UsageError
from briquette.prices.windows import span, warm_up, wilder

# OBV and ADI add up over so many of a symbol's own bars: they must not depend on where a window starts.
ACCUMULATION_SESSIONS = 250

SEED_INFLUENCE = 1e-9

TWELVE_FOUR = pa.decimal128(12, 4)
EIGHT_FOUR = pa.decimal128(8, 4)
TEN_SIX = pa.decimal128(10, 6)
SIX_FOUR = pa.decimal128(6, 4)
SIX_TWO = pa.decimal128(6, 2)
FIVE_TWO = pa.decimal128(5, 2)
FLOAT = pa.float32()
DOUBLE = pa.float64()
BIGINT = pa.int64()
SMALLINT = pa.int16()
INSTANT = pa.timestamp("us", tz="UTC")

IDENTITY = frozenset(("date", "symbol"))
QUALITY = frozenset(("is_validated", "quality_score"))
BOOKKEEPING = frozenset(("batch_id", "created_at", "updated_at"))


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its type, the bars behind its finite windows, its smoothings, the values it can have."""

    name: str
    type: pa.DataType
    bars: int = 1  # own bars, today's included, that its finite windows touch
    alphas: tuple[float, ...] = ()  # smoothings one after another
    least: float | None = None  # what lies outside is impossible: null, and a violation
    most: float | None = None

    @property
    def is_checked(self) -> bool:
        """Whether some values of it are impossible."""
        return self.least is not None or self.most is not None

    def bars_needed(self, seed_influence: float = SEED_INFLUENCE) -> int:
        """Own bars after which neither a window nor a seed changes the value any more."""
        return self.bars + warm_up(self.alphas, seed_influence)


@dataclass(frozen=True, slots=True)
class IndicatorSet:
    """A named set of columns in the order of the file."""

    name: str
    columns: tuple[Column, ...]

    @property
    def indicators(self) -> tuple[Column, ...]:
        """The columns that are computed from bars."""
        apart = IDENTITY | QUALITY | BOOKKEEPING
        return tuple(column for column in self.columns if column.name not in apart)

    @property
    def checked(self) -> tuple[Column, ...]:
        """The columns whose impossible values count against the quality score."""
        return tuple(column for column in self.columns if column.is_checked)

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the file."""
        required = IDENTITY | QUALITY | {"batch_id"}
        return pa.schema([pa.field(c.name, c.type, nullable=c.name not in required) for c in self.columns])


def sessions_needed(chosen: IndicatorSet, seed_influence: float = SEED_INFLUENCE) -> int:
    """Sessions to read, the day's own included, so that no value depends on where reading starts.

    ``seed_influence`` is the weight that a recursion's seed may still have. The slowest one decides: the
    exponential mean over 60 bars of set B forgets to 1e-9 in 622 bars, to 1e-6 in 415.
    """
    return max(column.bars_needed(seed_influence) for column in chosen.columns)


def indicator_set(name: str) -> IndicatorSet:
    """Set ``A`` or ``B``."""
    for chosen in (SET_A, SET_B):
        if chosen.name == name.upper():
            return chosen
    raise UsageError(f"there is no indicator set {name!r}.", hint="Choose A or B.")


def _price(name: str, bars: int = 1, alphas: tuple[float, ...] = ()) -> Column:
    return Column(name, TWELVE_FOUR, bars, alphas, least=0.0)


def _percent(
    name: str, kind: pa.DataType, bars: int, alphas: tuple[float, ...] = (), *, below_zero: bool = False
) -> Column:
    least, most = (-100.0, 0.0) if below_zero else (0.0, 100.0)
    return Column(name, kind, bars, alphas, least, most)


def _volatility(name: str, kind: pa.DataType, bars: int) -> Column:
    return Column(name, kind, bars, least=0.0)


def _columns(*groups: Iterable[Column]) -> tuple[Column, ...]:
    return tuple(column for group in groups for column in group)


_W14 = (wilder(14),)
_MACD = (span(26),)  # the slower of its two means; the faster one has forgotten long before
_SIGNAL = (span(26), span(9))

SET_A = IndicatorSet(
    "A",
    _columns(
        (Column("symbol", pa.string()), Column("date", pa.date32())),
        (Column(name, DOUBLE) for name in ("open", "high", "low", "close", "volume")),
        (_price(f"sma_{n}", n) for n in (20, 50, 200)),
        (_price(f"ema_{n}", 1, (span(n),)) for n in (12, 26)),
        (
            _percent("rsi_14", FIVE_TWO, 2, _W14),
            Column("macd", TEN_SIX, 1, _MACD),
            Column("macd_signal", TEN_SIX, 1, _SIGNAL),
            Column("macd_histogram", TEN_SIX, 1, _SIGNAL),
            _price("bollinger_upper", 20),
            _price("bollinger_middle", 20),
            Column("bollinger_lower", TWELVE_FOUR, 20),
            _percent("williams_r", SIX_TWO, 14, below_zero=True),
            _percent("stochastic_k", FIVE_TWO, 14),
            _percent("stochastic_d", FIVE_TWO, 16),
            Column("atr_14", EIGHT_FOUR, 1, _W14, least=0.0),
            _percent("adx_14", FIVE_TWO, 2, (*_W14, *_W14)),
            Column("obv", BIGINT, ACCUMULATION_SESSIONS + 1),
            _volatility("realized_volatility_20d", SIX_FOUR, 21),
        ),
    ),
)

SET_B = IndicatorSet(
    "B",
    _columns(
        (Column("date", pa.date32()), Column("symbol", pa.string())),
        (_price(f"sma_{n}", n) for n in (20, 60, 120)),
        (_price(f"ema_{n}", 1, (span(n),)) for n in (20, 60)),
        (Column(f"return_{n}d", FLOAT, n + 1) for n in (1, 5, 20)),
        (
            Column("log_return_1d", FLOAT, 2),
            _price("envelope_mid_20_3", 20),
            _price("envelope_upper_20_3", 20),
            _price("envelope_lower_20_3", 20),
            _percent("rsi_14", DOUBLE, 2, _W14),
            _percent("rsi_ema6", DOUBLE, 2, (*_W14, span(6))),
            Column("macd_12_26", TEN_SIX, 1, _MACD),
            Column("macd_signal_9", TEN_SIX, 1, _SIGNAL),
            Column("macd_hist_12_26_9", TEN_SIX, 1, _SIGNAL),
            Column("macd_pct_12_26", FLOAT, 1, _MACD),
            _price("bollinger_middle_20_2", 20),
            _price("bollinger_upper_20_2", 20),
            Column("bollinger_lower_20_2", TWELVE_FOUR, 20),  # below zero for a wild penny stock: legitimate
            Column("bb_width_20_2", FLOAT, 20, least=0.0),
            Column("bb_percent_b_20_2", FLOAT, 20),  # outside 0..1 is a breakout, not an error
            _percent("williams_r_14", FLOAT, 14, below_zero=True),
            _percent("slow_k_14_3", FLOAT, 16),
            _percent("slow_d_14_3", FLOAT, 18),
            _price("ichimoku_tenkan", 9),
            _price("ichimoku_kijun", 26),
            _price("ichimoku_senkou_a", 52),
            _price("ichimoku_senkou_b", 78),
            Column("ichimoku_chikou", TWELVE_FOUR, 1),  # the close 26 bars later: null on its own day
            Column("atr_14", EIGHT_FOUR, 1, _W14, least=0.0),
            Column("atrp_14", FLOAT, 1, _W14, least=0.0),
            _percent("adx_14", FLOAT, 2, (*_W14, *_W14)),
            _percent("plus_di_14", FLOAT, 1, _W14),
            _percent("minus_di_14", FLOAT, 1, _W14),
            Column("cci_20", FLOAT, 20),
            Column("cci_signal_10", FLOAT, 20, (span(10),)),
            Column("obv", BIGINT, ACCUMULATION_SESSIONS + 1),
            Column("cmf_20", FLOAT, 20, least=-1.0, most=1.0),
            Column("adi", BIGINT, ACCUMULATION_SESSIONS),
            _percent("mfi_14", FLOAT, 15),
        ),
        (Column(f"roc_{n}", FLOAT, n + 1) for n in (6, 12, 20)),
        (_volatility(f"realized_vol_{n}d", FLOAT, n + 1) for n in (10, 20, 60)),
        (
            _volatility("realized_vol_20d_ann", FLOAT, 21),
            _volatility("parkinson_vol_20", FLOAT, 20),
            _volatility("gk_vol_20", FLOAT, 20),
            Column("vwap_d", TWELVE_FOUR, 1),
            Column("rvol_20", FLOAT, 20, least=0.0),
            Column("beta_60", FLOAT, 61),  # any slope is possible
            Column("corr_mkt_60", FLOAT, 61, least=-1.0, most=1.0),
            Column("is_validated", SMALLINT),
            Column("quality_score", SMALLINT),
            Column("batch_id", BIGINT),
            Column("created_at", INSTANT),
            Column("updated_at", INSTANT),
        ),
    ),
)

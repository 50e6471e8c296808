"""The indicators once more, bar by bar in plain Python from their formulas: slow, and apart from the engine.

A bar is (open, high, low, close, volume, vwap, market return) with None for what is missing. Every function
gives the value of the newest bar, or None.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from statistics import fmean, pstdev, stdev

Bar = tuple[float | None, ...]
OPEN, HIGH, LOW, CLOSE, VOLUME, VWAP, MARKET = range(7)


def column(bars: Sequence[Bar], i: int) -> list[float | None]:
    return [bar[i] for bar in bars]


def last(values: Sequence[float | None], count: int, ago: int = 0) -> list[float] | None:
    """The ``count`` values that end ``ago`` before the newest; None unless all of them are there."""
    stop = len(values) - ago
    found = list(values[max(stop - count, 0) : max(stop, 0)])
    return found if len(found) == count and None not in found else None


def mean(values, count, ago=0):
    found = last(values, count, ago)
    return None if found is None else fmean(found)


def divided(above, below):
    return None if above is None or below is None or below == 0 else above / below


def times(factor, value):
    return None if value is None else factor * value


def per_bar(formula: Callable, bars: Sequence) -> list[float | None]:
    """A formula on every bar: what was known then."""
    return [formula(bars[: i + 1]) for i in range(len(bars))]


def smoothed(values: Sequence[float | None], weight: float) -> list[float | None]:
    state, states = None, []
    for value in values:
        if value is not None:
            state = value if state is None else weight * value + (1 - weight) * state
        states.append(state)
    return states


def newest(values):
    return values[-1] if values else None


def typical(bar: Bar):
    parts = (bar[HIGH], bar[LOW], bar[CLOSE])
    return None if None in parts else float(sum(map(Fraction, parts)) / 3)


def middle(bars, count, ago=0):
    high, low = last(column(bars, HIGH), count, ago), last(column(bars, LOW), count, ago)
    return None if high is None or low is None else (max(high) + min(low)) / 2


def fast_k(bars):
    high, low = last(column(bars, HIGH), 14), last(column(bars, LOW), 14)
    if high is None or low is None:
        return None
    return times(100, divided(bars[-1][CLOSE] - min(low), max(high) - min(low)))


def williams(bars):
    high, low = last(column(bars, HIGH), 14), last(column(bars, LOW), 14)
    if high is None or low is None:
        return None
    return times(-100, divided(max(high) - bars[-1][CLOSE], max(high) - min(low)))


def rsi_series(bars):
    closes = column(bars, CLOSE)
    steps = [None] + [b - a for a, b in itertools.pairwise(closes)]
    gains = smoothed([None if s is None else max(s, 0) for s in steps], 1 / 14)
    losses = smoothed([None if s is None else max(-s, 0) for s in steps], 1 / 14)
    return [
        None if g is None or g + loss == 0 else 100 - 100 / (1 + g / loss) if loss else 100.0
        for g, loss in zip(gains, losses, strict=True)
    ]


def range_series(bars):
    ranges = []
    for i, (_, high, low, *_rest) in enumerate(bars):
        if high is None or low is None:
            ranges.append(None)
        elif i == 0:
            ranges.append(high - low)
        else:
            before = bars[i - 1][CLOSE]
            ranges.append(max(high, before) - min(low, before))
    return ranges


def direction_series(bars):
    """(+DI, -DI, ADX) of every bar."""
    ups, downs, ranges = [], [], range_series(bars)
    for i, bar in enumerate(bars):
        before = bars[i - 1] if i else bar
        if None in (bar[HIGH], bar[LOW], before[HIGH], before[LOW]):
            up = down = ranges[i] = None
        else:
            rise, fall = bar[HIGH] - before[HIGH], before[LOW] - bar[LOW]
            up = rise if rise > fall and rise > 0 else 0.0
            down = fall if fall > rise and fall > 0 else 0.0
        ups.append(up)
        downs.append(down)
    scale = smoothed(ranges, 1 / 14)
    plus = [times(100, divided(u, s)) for u, s in zip(smoothed(ups, 1 / 14), scale, strict=True)]
    minus = [times(100, divided(d, s)) for d, s in zip(smoothed(downs, 1 / 14), scale, strict=True)]
    index = [
        None if p is None or p + m == 0 else 100 * abs(p - m) / (p + m)
        for p, m in zip(plus, minus, strict=True)
    ]
    return plus, minus, smoothed(index, 1 / 14)


def cci(bars):
    found = last([typical(bar) for bar in bars[-20:]], 20)
    if found is None:
        return None
    centre = fmean(found)
    usual = fmean(abs(value - centre) for value in found)
    return None if usual <= 1e-12 * centre else (found[-1] - centre) / (0.015 * usual)


def money_flow_volume(bar: Bar):
    _, high, low, close, volume, *_ = bar
    if None in (high, low, volume):
        return None
    return 0.0 if high == low else ((close - low) - (high - close)) / (high - low) * volume


def money_flow_index(bars):
    if len(bars) < 15:
        return None
    gained = lost = 0.0
    for before, bar in zip(bars[-15:], bars[-14:], strict=False):
        now, then = typical(bar), typical(before)
        if None in (now, then, bar[VOLUME]):
            return None
        if abs(now - then) > 1e-12 * now:
            if now > then:
                gained += now * bar[VOLUME]
            else:
                lost += now * bar[VOLUME]
    return times(100, divided(gained, gained + lost))


def on_balance_volume(bars):
    total = 0.0
    for before, bar in list(itertools.pairwise(bars))[-250:]:
        sign = (bar[CLOSE] > before[CLOSE]) - (bar[CLOSE] < before[CLOSE])
        total += sign * (bar[VOLUME] or 0.0)
    return total


def change(bars, count):
    found = last(column(bars, CLOSE), 1, count)
    return None if found is None else times(100, divided(bars[-1][CLOSE] - found[0], found[0]))


def log_returns(bars, count):
    found = last(column(bars, CLOSE), count + 1)
    return None if found is None else [math.log(b / a) for a, b in itertools.pairwise(found)]


def deviation(of, values):
    return None if values is None else of(values)


def parkinson(bars):
    high, low = last(column(bars, HIGH), 20), last(column(bars, LOW), 20)
    if high is None or low is None:
        return None
    squares = [math.log(h / x) ** 2 for h, x in zip(high, low, strict=True)]
    return 100 * math.sqrt(252 * fmean(squares) / (4 * math.log(2)))


def garman_klass(bars):
    columns = [last(column(bars, i), 20) for i in (OPEN, HIGH, LOW, CLOSE)]
    if None in columns:
        return None
    terms = [
        math.log(h / x) ** 2 / 2 - (2 * math.log(2) - 1) * math.log(c / o) ** 2
        for o, h, x, c in zip(*columns, strict=True)
    ]
    variance = 252 * fmean(terms)
    return math.copysign(100 * math.sqrt(abs(variance)), variance)


def market_pairs(bars):
    pairs = []
    for before, bar in list(itertools.pairwise(bars))[-60:]:
        if bar[MARKET] is not None:
            pairs.append((bar[MARKET], bar[CLOSE] / before[CLOSE] - 1))
    return pairs


def beta_and_correlation(bars):
    pairs = market_pairs(bars)
    if len(pairs) < 30:
        return None, None
    xs, ys = zip(*pairs, strict=True)
    x, y = fmean(xs), fmean(ys)
    together = math.fsum((a - x) * (b - y) for a, b in pairs)
    market, own = math.fsum((a - x) ** 2 for a in xs), math.fsum((b - y) ** 2 for b in ys)
    return divided(together, market), divided(together, math.sqrt(market * own))


def set_b(bars: Sequence[Bar]) -> dict[str, float | None]:
    closes, volumes = column(bars, CLOSE), column(bars, VOLUME)
    close = closes[-1]
    found = last(closes, 20)
    sma = mean(closes, 20)
    width = None if found is None else 2 * pstdev(found)
    fast, slow = smoothed(closes, 2 / 13), smoothed(closes, 2 / 27)
    line = [f - s for f, s in zip(fast, slow, strict=True)]
    signal = smoothed(line, 2 / 10)[-1]
    rsi = rsi_series(bars)
    tail = bars[-40:]
    ks = per_bar(fast_k, tail)
    slow_ks = [mean(ks[: i + 1], 3) for i in range(len(ks))]
    plus, minus, adx = direction_series(bars)
    atr = smoothed(range_series(bars), 1 / 14)[-1]
    flows = [money_flow_volume(bar) for bar in bars]
    recent_flows, recent_volume = last(flows, 20), last(volumes, 20)
    earlier = (middle(bars, 9, 26), middle(bars, 26, 26))
    beta, correlation = beta_and_correlation(bars)
    month = deviation(stdev, log_returns(bars, 20))
    step = log_returns(bars, 1)
    return {
        **{f"sma_{n}": mean(closes, n) for n in (20, 60, 120)},
        **{f"ema_{n}": smoothed(closes, 2 / (n + 1))[-1] for n in (20, 60)},
        **{f"return_{n}d": change(bars, n) for n in (1, 5, 20)},
        "log_return_1d": None if step is None else step[0],
        "envelope_mid_20_3": sma,
        "envelope_upper_20_3": times(1.03, sma),
        "envelope_lower_20_3": times(0.97, sma),
        "rsi_14": rsi[-1],
        "rsi_ema6": smoothed(rsi, 2 / 7)[-1],
        "macd_12_26": line[-1],
        "macd_signal_9": signal,
        "macd_hist_12_26_9": line[-1] - signal,
        "macd_pct_12_26": 100 * line[-1] / close,
        "bollinger_middle_20_2": sma,
        "bollinger_upper_20_2": None if sma is None else sma + width,
        "bollinger_lower_20_2": None if sma is None else sma - width,
        "bb_width_20_2": None if sma is None else 100 * 2 * width / sma,
        "bb_percent_b_20_2": None if sma is None else divided(close - (sma - width), 2 * width),
        "williams_r_14": williams(bars),
        "slow_k_14_3": slow_ks[-1],
        "slow_d_14_3": mean(slow_ks, 3),
        "ichimoku_tenkan": middle(bars, 9),
        "ichimoku_kijun": middle(bars, 26),
        "ichimoku_senkou_a": None if None in earlier else sum(earlier) / 2,
        "ichimoku_senkou_b": middle(bars, 52, 26),
        "ichimoku_chikou": None,
        "atr_14": atr,
        "atrp_14": times(100 / close, atr),
        "adx_14": adx[-1],
        "plus_di_14": plus[-1],
        "minus_di_14": minus[-1],
        "cci_20": cci(bars),
        "cci_signal_10": smoothed(per_bar(cci, bars), 2 / 11)[-1],
        "obv": on_balance_volume(bars),
        "cmf_20": None
        if recent_flows is None or recent_volume is None
        else divided(math.fsum(recent_flows), math.fsum(recent_volume)),
        "adi": math.fsum(flow or 0.0 for flow in flows[-250:]),
        "mfi_14": money_flow_index(bars),
        **{f"roc_{n}": change(bars, n) for n in (6, 12, 20)},
        **{f"realized_vol_{n}d": times(100, deviation(stdev, log_returns(bars, n))) for n in (10, 20, 60)},
        "realized_vol_20d_ann": times(100 * math.sqrt(252), month),
        "parkinson_vol_20": parkinson(bars),
        "gk_vol_20": garman_klass(bars),
        "vwap_d": bars[-1][VWAP],
        "rvol_20": None if volumes[-1] is None else divided(volumes[-1], mean(volumes, 20)),
        "beta_60": beta,
        "corr_mkt_60": correlation,
    }


def set_a(bars: Sequence[Bar]) -> dict[str, float | None]:
    b, closes = set_b(bars), column(bars, CLOSE)
    ks = per_bar(fast_k, bars[-40:])
    return {
        **dict(zip(("open", "high", "low", "close", "volume"), bars[-1], strict=False)),
        **{f"sma_{n}": mean(closes, n) for n in (20, 50, 200)},
        **{f"ema_{n}": smoothed(closes, 2 / (n + 1))[-1] for n in (12, 26)},
        "rsi_14": b["rsi_14"],
        "macd": b["macd_12_26"],
        "macd_signal": b["macd_signal_9"],
        "macd_histogram": b["macd_hist_12_26_9"],
        "bollinger_upper": b["bollinger_upper_20_2"],
        "bollinger_middle": b["bollinger_middle_20_2"],
        "bollinger_lower": b["bollinger_lower_20_2"],
        "williams_r": b["williams_r_14"],
        "stochastic_k": ks[-1],
        "stochastic_d": mean(ks, 3),
        "atr_14": b["atr_14"],
        "adx_14": b["adx_14"],
        "obv": b["obv"],
        "realized_volatility_20d": deviation(pstdev, log_returns(bars, 20)),
    }

"""The results as one HTML page: tables and drawings inside it, no script, no other file, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from benchmarks.bounds import why_missed
from benchmarks.figures import memory_text
from benchmarks.peers import PEERS
from benchmarks.targets import asked

US = "briquette"
WIDTH = 760

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --paper: #fbfaf7; --soft: #6a7482; --line: #dcd8cf;
  --us: #b8492c; --them: #8aa0b6; --base: #c9c4b8; --good: #2c7a4b; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e6e1; --paper: #16191d; --soft: #98a2ae;
  --line: #333a42;
  --us: #ee7f5b; --them: #6f879f; --base: #4d5560; --good: #6fcf97; --bad: #ff8a80; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.9rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .2rem; }
p { margin: .3rem 0 .8rem; color: var(--soft); max-width: 46rem; }
svg { width: 100%; min-width: 34rem; height: auto; display: block; }
svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
svg .soft { fill: var(--soft); } .us { fill: var(--us); } .them { fill: var(--them); }
.base { fill: var(--base); }
.line { fill: none; stroke: var(--us); stroke-width: 2.5; } .axis { stroke: var(--line); }
.wide { overflow-x: auto; }
.bar { display: grid; grid-template-columns: 13rem minmax(0, 1fr); gap: .7rem; align-items: center;
  font-size: .85rem; line-height: 1.6; }
.bar > :first-child { text-align: right; } .track { display: flex; align-items: center; gap: .5rem; }
.track i { height: 1rem; border-radius: 2px; width: calc((100% - 12.5rem) * var(--share)); min-width: 2px; }
.track i.us { background: var(--us); } .track i.them { background: var(--them); }
.track i.base { background: var(--base); } .track span { color: var(--soft); overflow-wrap: anywhere; }
.track i + span { white-space: nowrap; }
table { border-collapse: collapse; font-size: .9rem; width: 100%; margin: .6rem 0; }
th, td { text-align: right; padding: .28rem .6rem; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; }
th { color: var(--soft); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
td:last-child { white-space: normal; overflow-wrap: anywhere; max-width: 16rem; min-width: 3.6rem; }
.words th:nth-child(2), .words td:nth-child(2) { text-align: left; }
.words td:nth-child(-n+2) { white-space: normal; }
.met { color: var(--good); font-weight: 600; } .missed { color: var(--bad); font-weight: 600; }
@media (max-width: 40rem) { body { margin: 1.5rem auto; padding: 0 .9rem; }
  .bar { grid-template-columns: 1fr; gap: 0; margin-bottom: .35rem; }
  .bar > :first-child { text-align: left; } th, td { padding: .28rem .3rem; }
  .words { font-size: .82rem; } td:first-child { white-space: normal; } }
"""


def html(document: dict[str, Any]) -> str:
    """The whole page."""
    where = document["machine"]
    head = (
        f"{where['cpu']}, {where['cores']} cores, {memory_text(where['memory'])}, "
        f"Python {where['python']}, commit {document['commit']}. "
        f"{document['rounds']} alternating rounds, medians, start-up included. A ratio "
        "is a peer's time over briquette's in the same round: above 1, briquette is faster."
    )
    parts = [f"<h1>briquette and its peers</h1><p>{escape(document['date'])} · {escape(head)}</p>"]
    parts += [_targets(document)]
    parts += [f"<p>{escape(sentence)}</p>" for sentence in why_missed(document)]
    parts += [_workload(workload) for workload in document["workloads"]]
    probes = document.get("probes")
    if probes:
        parts += [_steady(probes["steady"]), _curve(probes["cost_curve"])]
        parts += [_scaling(scaling) for scaling in probes["scaling"]]
        parts += [_memory(probes["memory"])]
    if document.get("costs", {}).get("rows"):
        parts.append(_costs(document["costs"]))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>briquette benchmarks, {escape(document['date'])}</title><style>{_STYLE}</style></head>\n"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table; cells are HTML already."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    inside = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="wide"><table class="{kind}">{inside}</table></div>'


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _targets(document: dict[str, Any]) -> str:
    rows, others = asked(document), len(document.get("targets", []))
    verdicts = {
        True: '<span class="met">met</span>',
        False: '<span class="missed">missed</span>',
        None: "open",
    }
    body = [
        (
            escape(row["what"]),
            escape(row["against"] + (f" ({PEERS[row['peer']].title})" if row["peer"] in PEERS else "")),
            ("≤ " if row["at_most"] else "≥ ") + f"{row['target']:g}",
            _number(row["measured"]),
            verdicts[row["met"]],
        )
        for row in rows
    ]
    if not body:
        return ""
    left = others - len(rows)
    rest = f"<p>{left} of {others} targets are about what this run left out.</p>" if left else ""
    table = _table(("what", "against", "target", "measured", ""), body, kind="words")
    return f"<h2>Targets</h2>{table}{rest}"


def workload_title(workload: dict[str, Any]) -> str:
    """A workload's name with its store, where that is not the disk."""
    if workload.get("store") != "s3":
        return str(workload["workload"])
    return f"{workload['workload']} on S3, {workload['latency_ms']:g} ms for each request"


def _workload(workload: dict[str, Any]) -> str:
    told = workload["input"]
    about = (
        f"{workload['about']} · {told['files']:,} files, {told['bytes'] / 1e6:,.1f} MB, {told['rows']:,} rows"
    )
    peers = workload["peers"]
    order = sorted(
        peers, key=lambda name: (peers[name]["wall_seconds"] is None, peers[name]["wall_seconds"] or 0)
    )
    rows = [
        (
            escape(PEERS[name].title + (" (baseline)" if PEERS[name].baseline else "")),
            _number(peers[name]["wall_ratio"]),
            _number(peers[name]["cpu_ratio"]),
            _number(_per(peers[name]["peak_bytes"], 1e6), 0),
            _number(_per(peers[name]["output_bytes"], 1e6)),
            _number(peers[name]["output_files"], 0),
            escape(peers[name]["wrong"][:90]) or "equal",
        )
        for name in order
    ]
    header = ("peer", "ratio", "CPU ratio", "peak MB", "output MB", "files", "rows")
    title = f"<h2>{escape(workload_title(workload))}</h2><p>{escape(about)}</p>"
    return title + _bars(peers, order) + _table(header, rows) + _servers(workload)


def _servers(workload: dict[str, Any]) -> str:
    if workload.get("store") != "s3":
        return ""
    ours = workload["peers"].get(US, {})
    server, raw_server = ours.get("server_cpu_seconds"), ours.get("raw_server_cpu_seconds")
    return (
        f"<p>In a run of briquette the S3 server took {_number(server)} CPU s, "
        f"the server of raw objects {_number(raw_server)}.</p>"
    )


def _per(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _bars(peers: dict[str, Any], order: Sequence[str]) -> str:
    """One bar for each peer, longer is slower; a bar beyond ten times ours is cut and says so.

    Boxes of HTML and not a drawing: on a phone the names stand above the bars, at the size of other text.
    """
    known = [peers[name]["wall_seconds"] for name in order if peers[name]["wall_seconds"] is not None]
    ours = peers.get(US, {}).get("wall_seconds")
    most = max(known, default=0.0)
    limit = min(most, 10 * ours) if ours else most
    lines = []
    for name in order:
        seconds, ratio = peers[name]["wall_seconds"], peers[name]["wall_ratio"]
        kind = "us" if name == US else "base" if PEERS[name].baseline else "them"
        bar = ""
        if seconds is None:
            text = escape(peers[name]["wrong"][:90] or "no time")
        else:
            text = f"{seconds:.2f} s" + ("" if name == US or ratio is None else f" · {ratio:.2f}x")
            text += " (bar cut)" if seconds > limit else ""
            bar = f'<i class="{kind}" style="--share:{min(seconds, limit) / (limit or 1):.4f}"></i>'
        lines.append(
            f'<div class="bar"><span>{escape(PEERS[name].title)}</span>'
            f'<span class="track">{bar}<span>{text}</span></span></div>'
        )
    return f'<div role="img" aria-label="Wall time of each peer">{"".join(lines)}</div>'


def _svg(height: float, body: str, title: str) -> str:
    drawing = f'<svg viewBox="0 0 {WIDTH} {height}" role="img"><title>{escape(title)}</title>{body}</svg>'
    return f'<div class="wide">{drawing}</div>'


def _steady(steady: dict[str, Any]) -> str:
    x, bars = 0.0, []
    shades = {"decode": 1.0, "digest": 0.72, "encode": 0.5, "write": 0.3}
    for step, share in steady["shares"].items():
        width = share * WIDTH
        bars.append(
            f'<rect class="us" opacity="{shades[step]}" x="{x:.1f}" y="0" width="{width:.1f}" height="22"/>'
        )
        if width > 60:
            bars.append(f'<text x="{x + 4:.1f}" y="40">{step} {share:.0%}</text>')
        x += width
    text = (
        f"{steady['mb_per_core_second']:,.0f} MB/s of raw JSON on one core without start-up, "
        f"bound by {steady['bound_by']}; shares of CPU time:"
    )
    return f"<h2>Steady state</h2><p>{escape(text)}</p>" + _svg(48, "".join(bars), "Share of each step")


def _curve(curve: dict[str, Any]) -> str:
    points = curve["points"]
    series = [(f"{p['bytes'] / 1e6:,.0f} MB", p["cpu_ns_per_byte_after_start"]) for p in points]
    text = (
        f"CPU nanoseconds for each raw byte, without the {curve['start_cpu_seconds']:.2f} s of a run of one "
        f"record; largest distance from the median: {_number(_per(curve['spread'], 0.01), 0)} %."
    )
    return f"<h2>Cost by size</h2><p>{escape(text)}</p>" + _line(series, "ns/byte")


def _scaling(scaling: dict[str, Any]) -> str:
    series = [(f"{n} worker{'s' * (n != '1')}", s) for n, s in scaling["seconds"].items()]
    text = f"Our own seconds: {scaling['speed_up']:.2f} times as fast with two workers."
    return f"<h2>Scaling, {escape(scaling['workload'])}</h2><p>{text}</p>" + _line(series, "s")


def _line(series: Sequence[tuple[str, float]], unit: str) -> str:
    """Points joined by a line, from zero."""
    high, bottom = 150, 170
    most = max([value for _, value in series], default=1.0) or 1.0
    step = (WIDTH - 140) / max(len(series) - 1, 1)
    spots = [(70 + i * step, bottom - high * max(value, 0) / most) for i, (_, value) in enumerate(series)]
    marks = "".join(
        f'<circle class="us" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        f'<text x="{x:.1f}" y="{y - 10:.1f}" text-anchor="middle">{value:.2f} {unit}</text>'
        f'<text class="soft" x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{escape(label)}</text>'
        for (x, y), (label, value) in zip(spots, series, strict=True)
    )
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    axis = f'<line class="axis" x1="40" x2="{WIDTH - 40}" y1="{bottom}" y2="{bottom}"/>'
    body = f'<g transform="translate(0 20)">{axis}<polyline class="line" points="{path}"/>{marks}</g>'
    return _svg(bottom + 50, body, unit)


def _memory(rows: Sequence[dict[str, Any]]) -> str:
    body = [
        (
            f"{row['bytes'] / 1e6:,.0f} MB",
            _number(row["peak_bytes"] / 1e6, 0),
            _number(row["projected_bytes"] / 1e6, 0),
            _number(row["peak_over_projection"]),
            _number(row["limited_peak_bytes"] / 1e6, 0),
            _number(row["limit_bytes"] / 1e6, 0),
        )
        for row in rows
    ]
    header = ("input", "peak MB", "projected MB", "ratio", "peak MB, limited", "--memory-limit MB")
    return "<h2>Memory</h2>" + _table(header, body)


def _costs(costs: dict[str, Any]) -> str:
    body = [
        (
            escape(f"{PEERS[row['peer']].title}, {row['machine']}"),
            f"${row['per_terabyte']['dollars']:,.2f}",
            f"${row['per_terabyte']['request_dollars']:,.2f}",
            "-"
            if row["dollars_per_1000_partitions"] is None
            else f"${row['dollars_per_1000_partitions']:,.2f}",
        )
        for row in costs["rows"]
    ]
    text = f"List prices of {costs['prices_as_of']}; the formula is in benchmarks/costs.py."
    header = ("where", "per TB", "of it requests", "per 1,000 partitions")
    return f"<h2>Dollars</h2><p>{escape(text)}</p>" + _table(header, body)

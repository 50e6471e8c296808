"""A realistic raw day on local disk, and the whole main job run on it for somebody new."""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from briquette.errors import UsageError

DS = "2025-09-09"
DOMAIN, TABLE, INTERVAL, DATA_SOURCE = "market", "prices", "1d", "yahoo_finance"
DAY_PREFIX = f"{DOMAIN}/{TABLE}/interval={INTERVAL}/data_source={DATA_SOURCE}/year=2025/month=09/day=09"
MARKER = ".briquette-demo"
KNOWN = ("AAPL", "AMZN", "BF.B", "BRK.B", "GOOG", "GOOGL", "JPM", "META", "MSFT", "NVDA", "RDS-A", "TSLA")
JSON_KEYS = ("symbol", "timestamp", "adjusted_close", "open", "high", "low", "close", "volume")
CSV_KEYS = ("symbol", "timestamp", "open", "high", "low", "close", "adjusted_close", "volume")


@dataclass(frozen=True, slots=True)
class RawFile:
    """One file of a raw day: its name, its bytes, and how many records they hold, good or bad."""

    name: str
    symbol: str
    data: bytes
    records: int


def symbols(count: int) -> tuple[str, ...]:
    """Tickers, sorted: a few that everybody knows, then invented ones of three and four letters."""
    rng = random.Random(count)  # noqa: S311 - a corpus, not a secret
    found = set(KNOWN[:count])
    while len(found) < count:
        found.add("".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=rng.choice((3, 4, 4, 5)))))
    return tuple(sorted(found))


def raw_day(count: int, seed: int = 1) -> Iterator[RawFile]:
    """The files of one day as ingestion writes them: JSON Lines, CSV in another order, .gz; five are bad."""
    rng = random.Random(seed)  # noqa: S311
    for i, symbol in enumerate(symbols(count)):
        record = _record(symbol, rng)
        kind = rng.random()
        if i in _SPOIL:
            yield RawFile(f"{symbol}.json", symbol, _SPOIL[i](_json(record)), 1)
        elif kind < 0.15:
            yield RawFile(f"{symbol}.csv", symbol, _csv(record), 1)
        elif kind < 0.30:
            yield RawFile(f"{symbol}.json.gz", symbol, gzip.compress(_json(record), 6, mtime=0), 1)
        else:
            yield RawFile(f"{symbol}.json", symbol, _json(record), 1)


def _record(symbol: str, rng: random.Random) -> dict[str, Any]:
    price = math.exp(rng.uniform(1, 6.5))
    open_, close = (round(price * (1 + rng.gauss(0, 0.01)), 4) for _ in range(2))
    high = round(max(open_, close) * (1 + abs(rng.gauss(0, 0.005))), 4)
    low = round(min(open_, close) * (1 - abs(rng.gauss(0, 0.005))), 4)
    volume = float(int(math.exp(rng.uniform(7, 18))))
    if rng.random() < 0.002:  # a halted stock: ingestion lets the gap through as a bare NaN
        open_ = high = low = volume = math.nan
    stamp = f"{DS}T00:00:00" + rng.choice(("", "", "-04:00", "+00:00"))
    adjusted = None if rng.random() < 0.05 else round(close * 0.98, 4)
    values = (symbol, stamp, adjusted, open_, high, low, close, volume)
    return dict(zip(JSON_KEYS, values, strict=True))


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def _csv(record: dict[str, Any]) -> bytes:
    def cell(value: Any) -> str:
        return "" if value is None else f"{value:g}" if isinstance(value, float) else value

    return f"{','.join(CSV_KEYS)}\n{','.join(cell(record[k]) for k in CSV_KEYS)}\n".encode()


# Every few hundred files one that a real feed could have written wrong.
_SPOIL: dict[int, Callable[[bytes], bytes]] = {
    37: lambda line: line[: len(line) // 2] + b"\n",  # cut while it was written
    404: lambda line: line.replace(b'"open": ', b'"open": "n/a", "was": ', 1),
    1_217: lambda line: line.replace(b'"symbol": "', b'"symbol": "\xff', 1),  # not UTF-8
    2_718: lambda line: line.replace(f"{DS}T".encode(), b"2025-13-09T", 1),
    3_141: lambda _: b"<html>429 Too Many Requests</html>\n",
}


def write_raw_day(root: Path, count: int) -> tuple[int, int]:
    """Write the day below ``root`` with its ``_batch.manifest.json``; returns files and bytes."""
    folder = root / DAY_PREFIX
    folder.mkdir(parents=True)
    entries, size = [], 0
    for file in raw_day(count):
        (folder / file.name).write_bytes(file.data)
        entries.append({"symbol": file.symbol, "key": f"{DAY_PREFIX}/{file.name}", "records": file.records})
        size += len(file.data)
    manifest = {
        "environment": "demo",
        "domain": DOMAIN,
        "table_name": TABLE,
        "data_source": DATA_SOURCE,
        "interval": INTERVAL,
        "ds": DS,
        "generated_at": f"{DS}T22:00:00+00:00",
        "objects": entries,
        "batch_id": "demo-0001",
    }
    (folder / "_batch.manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return len(entries), size


def _fresh(folder: Path) -> None:
    """Empty the demo's own folder; anything else is left alone."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise UsageError(f"{folder} exists and is not a demo folder.", hint="Pass another --dir.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()


def run_demo(folder: Path, count: int, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Make, compact, verify and show; returns the documents of the steps. Local disk, no account."""
    from briquette.cli.text import result_text, size_text, verdict_text
    from briquette.compaction.api import compact
    from briquette.compaction.options import RunOptions
    from briquette.datasets.read import read
    from briquette.datasets.verify import verify

    _fresh(folder)
    raw, curated = folder / "raw", folder / "curated"
    started = time.monotonic()
    files, size = write_raw_day(raw, count)
    seconds = time.monotonic() - started
    say(f"1. A raw day: {files:,} files, {size_text(size)}, in {seconds:.1f} s (JSON Lines, CSV, .gz)")
    say(f"  {raw / DAY_PREFIX}\n")

    where: dict[str, Any] = {"raw": raw, "curated": curated, "domain": DOMAIN, "table": TABLE}
    names: dict[str, Any] = {"interval": INTERVAL, "data_source": DATA_SOURCE, "ds": DS}
    names["options"] = RunOptions(executor="dask")  # whatever the size of the day, so that it is seen
    first = compact(**where, **names)
    say(f"2. Compacted\n{result_text(first)}\n")
    again = compact(**where, **names)
    say(f"3. Run again: {again.status.value} in {again.seconds:.2f} s, nothing was written\n")

    verdict = verify(str(first.output), deep=True)
    say(f"4. Verified\n{verdict_text(verdict)}\n")

    frame = read(curated / DOMAIN / TABLE / "compacted", DS)
    say(f"5. Read back as a Dask DataFrame\n{frame.head(5).to_string(index=False)}\n")

    assert first.manifest is not None
    rejected = first.manifest.rejects_file
    if rejected:
        lines = (Path(first.output.url) / rejected.key).read_text(encoding="utf-8").splitlines()
        shown = "\n".join(_reject_text(json.loads(line)) for line in lines)
        say(f"6. Set aside with key, position, reason and text, not lost\n{shown}\n")
    dataset = str(first.output).rstrip("/")
    say(f"The dataset lies in {dataset}\nLook closer: {_command()} inspect {dataset}")
    return {
        "raw": {"files": files, "bytes": size, "folder": str(raw / DAY_PREFIX)},
        "compact": first.to_dict(),
        "again": again.to_dict(),
        "verify": {"ok": verdict.ok, "problems": list(verdict.problems)},
        "dataset": dataset,
    }


def _reject_text(line: dict[str, Any]) -> str:
    raw = str(line.get("raw") or line.get("raw_base64"))
    cut = raw if len(raw) < 60 else f"{raw[:57]}..."
    return f"  {str(line['key']).rpartition('/')[2]:<12} {line['reason']}\n  {'':<12} {cut}"


def _command() -> str:
    """How the reader can call briquette: by its path when its environment is not activated."""
    import sys

    own = Path(sys.executable).with_name("briquette")
    if os.environ.get("VIRTUAL_ENV") or not own.exists():
        return "briquette"
    return os.path.relpath(own)

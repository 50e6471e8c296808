"""A day of the pipeline on a real S3 server, and the variables with which a Lambda finds it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from briquette import compact
from briquette.compaction.options import RunOptions
from briquette.compaction.result import CompactionResult
from briquette.pipeline.indicators import IndicatorsOptions, indicators
from briquette.pipeline.transform import transform
from briquette.planning.plan import BATCH_MANIFEST_NAME
from briquette.storage.opening import open_store
from tests.orchestration.synthesis import Assembly, synthesise
from tests.servers import Bucket

DS = "2025-09-09"
WORDS = {"domain": "market", "table": "prices", "interval": "1d", "data_source": "yahoo_finance"}
PREFIX = "market/prices/interval=1d/data_source=yahoo_finance/year=2025/month=09/day=09/"
EVENT = {
    "domain": "market",
    "table_name": "prices",
    "interval": "1d",
    "data_source": "yahoo_finance",
    "file_type": "json",
}


@dataclass(frozen=True)
class Account:
    """Three places in one bucket would hide mistakes, so raw, curated and artifacts are three prefixes."""

    bucket: Bucket

    @property
    def env(self) -> dict[str, str]:
        return {
            "ENVIRONMENT": "dev",
            "BRIQUETTE_RAW_URL": f"{self.bucket.url}/raw",
            "BRIQUETTE_CURATED_URL": f"{self.bucket.url}/curated",
            "BRIQUETTE_ARTIFACTS_URL": f"{self.bucket.url}/artifacts",
        }

    @property
    def store(self) -> Any:
        return open_store(self.bucket.url)

    def land(self, *symbols: str, ds: str = DS, close: float = 10.0, **words: str) -> None:
        """Land one object of one record for each symbol."""
        names = WORDS | words
        year, month, day = ds.split("-")
        prefix = (
            f"raw/{names['domain']}/{names['table']}/interval={names['interval']}/"
            f"data_source={names['data_source']}/year={year}/month={month}/day={day}/"
        )
        for symbol in symbols:
            record = {"symbol": symbol, "timestamp": f"{ds}T00:00:00", "adjusted_close": close}
            record |= {"open": close, "high": close, "low": close, "close": close, "volume": 5.0}
            self.store.put(f"{prefix}{symbol}.json", json.dumps(record).encode() + b"\n")
        self.store.put(f"{prefix}{BATCH_MANIFEST_NAME}", b'{"objects": []}')

    def compact(self, ds: str = DS, **more: Any) -> CompactionResult:
        return compact(
            raw=f"{self.bucket.url}/raw",
            curated=f"{self.bucket.url}/curated",
            ds=ds,
            options=RunOptions(executor="serial"),
            **{**WORDS, **more},
        )

    def transform(self, ds: str = DS) -> None:
        transform(
            raw=f"{self.bucket.url}/raw",
            curated=f"{self.bucket.url}/curated",
            ds=ds,
            options=RunOptions(executor="serial"),
            **WORDS,
        )

    def compute_indicators(self, ds: str = DS) -> None:
        options = IndicatorsOptions(run=RunOptions(executor="serial"))
        indicators(curated=f"{self.bucket.url}/curated", domain="market", ds=ds, options=options)

    def publish_everything(self, ds: str = DS) -> None:
        self.compact(ds)
        self.transform(ds)
        self.compute_indicators(ds)

    def keys(self, prefix: str) -> list[str]:
        return [s.key for s in self.store.list(prefix)]


@pytest.fixture
def account(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> Account:
    """Empty places; the process has the variables of a Lambda."""
    found = Account(s3)
    for name, value in found.env.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture(scope="session")
def assembly(tmp_path_factory) -> Assembly:
    """The templates of every environment; who asks for them is in the xdist group "cdk"."""
    return synthesise(tmp_path_factory.mktemp("synth"))

"""The indicators job on Spark publishes the bytes of a local run, from the arguments of preflight."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from briquette.aws.glue_runtime import run_script
from briquette.compaction.options import RunOptions
from briquette.pipeline.indicators import IndicatorsOptions, indicators
from glue_wrappers import indicators_job
from tests.flow.price_days import SYMBOLS, bars, publish_day, publish_history

DAYS = 40


@pytest.fixture
def job(spark, capfd):
    """Run the job's own code in the shared session: its exit code (0 without one), last line and stderr."""

    def run(curated: Path, output: Path, ds: str, **more: object):
        words = {
            "JOB_NAME": "dev-market-indicators-etl",
            "environment": "dev",
            "prices_curated_bucket": curated,
            "prices_prefix": "market/prices/",
            "output_bucket": output,
            "output_prefix": "market/indicators/",
            "schema_fingerprint_s3_uri": output / "_schema/latest.json",
            "codec": "zstd",
            "target_file_mb": 256,
            "lookback_days": 252,
            "ds": ds,
            **more,
        }
        code = 0
        capfd.readouterr()
        try:
            pairs = [text for name, value in words.items() for text in (f"--{name}", str(value))]
            run_script(indicators_job.ARGUMENTS, indicators_job.compute, pairs)
        except SystemExit as end:
            code = end.code
        said = capfd.readouterr()
        return code, json.loads(said.out.splitlines()[-1]) if code == 0 else None, said.err

    return run


@pytest.mark.parametrize("set_name", ["A", "B"])
def test_spark_and_dask_publish_the_same_bytes(job, tmp_path, set_name):
    curated = tmp_path / "curated"
    days = publish_history(str(curated), tmp_path, DAYS)
    code, document, _ = job(curated, tmp_path / "spark", days[-1], indicator_set=set_name)
    assert (code, document["status"], document["executor"]) == (0, "PUBLISHED", "spark")
    options = IndicatorsOptions(set_name=set_name, run=RunOptions(executor="dask"))
    local = indicators(curated=curated, domain="market", ds=days[-1], options=options)
    assert [f["sha256"] for f in document["outputs"]["files"]] == [f.sha256 for f in local.run.manifest.files]
    assert document["rows"] == len(SYMBOLS)
    assert document["sessions"] == DAYS
    assert (tmp_path / "spark/_schema/latest.json").is_file()
    code, document, _ = job(curated, tmp_path / "spark", days[-1], indicator_set=set_name)
    assert (code, document["status"]) == (0, "UNCHANGED")


def test_a_failure_of_quality_on_spark_goes_to_quarantine(job, tmp_path):
    curated = tmp_path / "curated"
    days = publish_history(str(curated), tmp_path, 3)
    table = dict(bars(days))[days[-1]]
    other = table.slice(1, 1).set_column(table.column_names.index("close"), "close", [[1.5]])
    publish_day(str(curated), days[-1], pa.concat_tables([table.slice(0, 3), other]), tmp_path)
    code, _, err = job(curated, tmp_path / "out", days[-1], duplicates="fail")
    assert code == 5
    assert "DataQualityFailed: DQ_FAILED: " in err
    assert (tmp_path / f"out/market/indicators/quarantine/ds={days[-1]}/part-00000.parquet").is_file()
    assert not (tmp_path / f"out/market/indicators/ds={days[-1]}").exists()


def test_a_day_without_prices_and_a_prefix_without_a_table_are_clear_errors(job, tmp_path):
    curated = tmp_path / "curated"
    days = publish_history(str(curated), tmp_path, 1)
    code, _, err = job(curated, tmp_path / "out", "2023-12-29")
    assert code == 3
    assert "NO_INPUT_DATA" in err
    code, _, err = job(curated, tmp_path / "out", days[0], prices_prefix="prices/")
    assert code == 2
    assert "<domain>/<table>/" in err

"""The transform job on plain Spark: the bytes of every other executor, quality's errors, Spark's types."""

from __future__ import annotations

import hashlib
import json

import pytest

from briquette.aws.glue_runtime import run_script
from briquette.cli.demo import DATA_SOURCE, DOMAIN, DS, INTERVAL, TABLE
from briquette.compaction.api import compact
from briquette.compaction.options import RunOptions
from briquette.model import Field, Partition, Schema
from briquette.pipeline.transform import TransformOptions, transform, transform_day
from briquette.pipeline.transform_source import places_of
from briquette.planning.target import resolve_target
from briquette.prices.fingerprint import columns_hash, columns_of, simple_string
from briquette.schemas.declared import arrow_type
from briquette.storage.opening import open_store
from glue_wrappers import transform_job
from tests.invariants import assert_only_parts_are_visible
from tests.servers import environment
from tests.spark.local import glue_arguments, run_python, spark_conf

NAMES = {"domain": DOMAIN, "table": TABLE, "interval": INTERVAL, "data_source": DATA_SOURCE, "ds": DS}
PREFIX = f"{DOMAIN}/{TABLE}/"
OUT = f"{PREFIX}ds={DS}/"
SMALL = 0.0625  # MiB of a part, so that the day has several parts and splits


def arguments(raw: object, curated: object, **others: object) -> list[str]:
    """The command line of the job as Step Functions passes it; None leaves a name out."""
    words = {
        "JOB_NAME": "test-daily-prices-data-etl",
        "environment": "test",
        "curated_bucket": curated,
        "curated_prefix": PREFIX,
        "schema_fingerprint_s3_uri": f"{curated}/_schema/latest.json",
        "expected_min_records": "100",
        "max_critical_error_rate": "5.0",
        **others,
    }
    return glue_arguments(raw, curated, **words)


@pytest.fixture
def job(spark, capfd):
    """Run the job's own code in the shared session: its exit code (0 without one), document and stderr."""

    def run(*more: str, **words: object):
        code = 0
        capfd.readouterr()
        try:
            run_script(transform_job.ARGUMENTS, transform_job.transform, [*arguments(**words), *more])
        except SystemExit as end:
            code = end.code
        said = capfd.readouterr()
        return code, json.loads(said.out.splitlines()[-1]) if code == 0 else None, said

    return run


@pytest.fixture
def curated(raw_day, tmp_path):
    """A curated root with the compacted day."""
    compact(raw=raw_day, curated=tmp_path / "curated", **NAMES)
    return tmp_path / "curated"


def test_spark_publishes_the_bytes_of_a_serial_run_and_of_threads(raw_day, s3, tmp_path):
    # On S3 an etag depends on nothing but the bytes, so the manifests can be equal as well.
    root, store = f"{s3.url}/curated", open_store(s3.url)
    compact(raw=raw_day, curated=root, target_file_mb=SMALL, split_bytes=1 << 14, **NAMES)

    def published() -> dict[str, str]:
        keys = [s.key for s in store.list(f"curated/{OUT}")]
        made = {k: hashlib.sha256(store.get(k)).hexdigest() for k in keys}
        for key in keys:
            store.delete(key)
        return made

    # The workers of the shared session began without the bucket's credentials, so this is one of its own.
    words = arguments(raw_day, root, target_file_mb=str(SMALL))
    ended = run_python(
        ["-m", "glue_wrappers.transform_job", *words],
        folder=tmp_path,
        variables=environment(s3.endpoint) | spark_conf(tmp_path / "conf", **{"spark.master": "local[2]"}),
    )
    assert ended.code == 0, ended.err
    assert (ended.document["executor"], ended.document["source"]) == ("spark", "compacted")
    made = {"spark": published()}
    for name, options in {
        "serial": RunOptions(executor="serial"),
        "threads": RunOptions(executor="dask", threads=2),
    }.items():
        transform(raw=raw_day, curated=root, target_file_mb=SMALL, codec="zstd", options=options, **NAMES)
        made[name] = published()
    assert len(made["spark"]) >= 2
    assert made["spark"] == made["serial"] == made["threads"]


def test_many_splits_on_spark_give_the_parts_of_a_serial_run(executor, raw_day, tmp_path):
    compact(raw=raw_day, curated=tmp_path, target_file_mb=SMALL, split_bytes=1 << 14, **NAMES)
    target = resolve_target(Partition(**NAMES), raw=str(raw_day), curated=str(tmp_path))
    made = []
    for chosen in (None, executor):
        run = RunOptions(executor="serial", force=True)
        options = TransformOptions(run=run, spec_overrides={"split_bytes": 1 << 13, "target_file_mb": SMALL})
        result = transform_day(places_of(target), options, executor=chosen)
        assert result.compaction.splits > 3
        files = result.compaction.manifest.files
        made.append((result.quality, result.compaction.manifest.content_digest, [f.sha256 for f in files]))
    assert made[0] == made[1]


def test_the_module_is_a_script_that_says_unchanged_the_second_time(raw_day, curated, tmp_path):
    command = ["-m", "glue_wrappers.transform_job", *arguments(raw_day, curated)]
    ended = run_python(command, folder=tmp_path)
    assert ended.code == 0, ended.err
    assert (ended.document["status"], ended.document["stage"]) == ("PUBLISHED", "transform")
    assert "quality: 0 critical errors" in ended.out
    assert_only_parts_are_visible(curated / OUT)


def test_running_again_is_unchanged_and_force_writes_again(job, raw_day, curated):
    for expected, more in (("PUBLISHED", ()), ("UNCHANGED", ()), ("PUBLISHED", ("--force", "true"))):
        code, document, _ = job(*more, raw=raw_day, curated=curated)
        assert (code, document["status"]) == (0, expected)


def test_too_many_critical_errors_end_the_job_and_fill_the_quarantine(job, tmp_path):
    raw, root = tmp_path / "raw", tmp_path / "curated"
    day = f"{PREFIX}interval={INTERVAL}/data_source={DATA_SOURCE}/year=2025/month=09/day=09"
    (raw / day).mkdir(parents=True)
    record = {"symbol": "A", "timestamp": f"{DS}T00:00:00", "adjusted_close": 1.0, "close": -1.0}
    (raw / day / "A.json").write_text(json.dumps(record) + "\n")
    compact(raw=raw, curated=root, **NAMES)
    code, _, said = job(raw=raw, curated=root)
    assert code == 5
    assert "DataQualityFailed: DQ_FAILED: 1 critical errors in 1 records, 100.00 %" in said.err
    assert list((root / PREFIX / "quarantine" / f"ds={DS}").glob("part-*.parquet"))
    assert not (root / OUT).exists()


def test_nothing_to_read_is_nothing_to_do(job, tmp_path):
    (tmp_path / "raw").mkdir()
    code, _, said = job(raw=tmp_path / "raw", curated=tmp_path / "curated")
    assert code == 3
    assert "NoRawData: NO_RAW_DATA: " in said.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ({"curated_prefix": None}, 2, "lack --curated_prefix."),
        ({"expected_min_records": "many"}, 2, "--expected_min_records is 'many'"),
        ({"max_critical_error_rate": "nan"}, 2, "--max_critical_error_rate is 'nan'"),
        ({"file_type": "xml"}, 4, "Unsupported file_type 'xml'"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(job, raw_day, curated, words, code, said):
    ended, _, output = job(raw=raw_day, curated=curated, **words)
    assert ended == code
    assert said in output.err


# -- Spark's own words for types ---------------------------------------------------------------------


def test_the_fingerprint_is_that_of_spark_s_schema_of_the_published_files(job, spark, raw_day, curated):
    job(raw=raw_day, curated=curated)
    fields = spark.read.parquet(str(curated / OUT)).schema.fields
    columns = [{"name": f.name, "type": f.dataType.simpleString()} for f in fields]
    recorded = json.loads((curated / "_schema" / "latest.json").read_text())
    assert recorded["columns"] == columns
    assert recorded["hash"] == columns_hash(columns)
    assert recorded["codec"] == "zstd"


WORDS = (
    "string",
    "json",
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float32",
    "float64",
    "date",
    "binary",
    "timestamp[s, UTC]",
    "timestamp[ms, UTC]",
    "timestamp[us, UTC]",
    "timestamp[us]",
    "timestamp[ns, UTC]",
    "timestamp[ns]",
    "decimal(5, 2)",
    "decimal(38, 9)",
    "list<string>",
    "struct<a: int64, b: list<struct<c: decimal(10, 2)>>>",
    'struct<"odd name": float64>',
)


def test_every_type_word_has_the_name_that_spark_gives_it(spark, tmp_path):
    import pyarrow as pa

    from briquette.encoding.row_groups import encode
    from briquette.model import CompactionSpec
    from briquette.parquet.splice import splice

    schema = Schema(tuple(Field(f"c{i}", word) for i, word in enumerate(WORDS)))
    table = pa.table({f.name: pa.nulls(1, arrow_type(f.type)) for f in schema.fields})
    (tmp_path / "all.parquet").write_bytes(splice(encode(table, CompactionSpec(schema))).to_bytes())
    spark.conf.set("spark.sql.legacy.parquet.nanosAsLong", "true")
    try:
        read = spark.read.parquet(str(tmp_path / "all.parquet")).schema
    finally:
        spark.conf.unset("spark.sql.legacy.parquet.nanosAsLong")
    assert [f.dataType.simpleString() for f in read.fields] == [simple_string(w) for w in WORDS]
    assert columns_of(schema) == [{"name": f.name, "type": f.dataType.simpleString()} for f in read.fields]

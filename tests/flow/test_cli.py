"""The command as a person or a scheduler calls it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from briquette.cli.demo import DATA_SOURCE, DOMAIN, DS, INTERVAL, TABLE, write_raw_day
from briquette.storage.opening import open_store
from tests.flow.test_compaction import crumbs, land, lines, row

NAMES = (
    "--domain",
    DOMAIN,
    "--table",
    TABLE,
    "--interval",
    INTERVAL,
    "--data-source",
    DATA_SOURCE,
    "--ds",
    DS,
)
SCHEMA = '[columns]\nid = "int64"\nname = "string"\nprice = "float64"\n'
ROOT = Path(__file__).parents[2]


def briquette(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "briquette", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=120, check=False
    )


def document(done: subprocess.CompletedProcess[str]) -> dict:
    """The one document on stdout; anything else there would not parse."""
    return json.loads(done.stdout)


@pytest.fixture(params=["disk", "s3"])
def base(request, tmp_path) -> str:
    """Where a raw day of the pipeline's layout lies under raw/, on disk and in a bucket."""
    write_raw_day(tmp_path / "raw", 400)
    if request.param == "disk":
        return str(tmp_path)
    url = request.getfixturevalue("s3").url
    store = open_store(url)
    for file in sorted((tmp_path / "raw").rglob("*.*")):
        if file.is_file():
            store.put(str(file.relative_to(tmp_path)), file.read_bytes())
    return url


def test_plan_compact_inspect_verify_and_compact_again(base, tmp_path):
    where = ("--raw", f"{base}/raw", "--curated", f"{base}/curated", *NAMES)
    dataset = f"{base}/curated/market/prices/compacted/ds={DS}"

    planned = briquette("plan", *where, "--json", "--out", tmp_path / "plan.json")
    assert planned.returncode == 0, planned.stderr
    plan = document(planned)
    assert (plan["state"], plan["inputs"]["objects"]) == ("NEW", 400)

    made = briquette("compact", "--plan", tmp_path / "plan.json", "--json")
    assert made.returncode == 0, made.stderr
    result = document(made)
    assert result["status"] == "PUBLISHED"
    assert result["plan_id"] == plan["plan_id"]
    assert (result["rows"], result["rejects"]) == (399, 1)
    assert result["outputs"]["parts"] == len(result["outputs"]["files"]) == 1

    again = briquette("compact", *where, "--json")
    assert (again.returncode, document(again)["status"]) == (0, "UNCHANGED")
    assert document(briquette("plan", *where, "--json"))["state"] == "UNCHANGED"

    seen = document(briquette("inspect", dataset, "--json"))
    assert seen["manifest"]["rows"] == 399
    assert seen["files"][0]["sha256"] == result["outputs"]["files"][0]["sha256"]
    assert [c["name"] for c in seen["columns"]][:2] == ["symbol", "timestamp"]
    one = document(briquette("inspect", f"{dataset}/part-00000.parquet", "--json"))
    assert one["files"][0]["sha256"] == seen["files"][0]["sha256"]

    for words in ((dataset,), (*where, "--deep")):
        verified = briquette("verify", *words, "--json")
        assert verified.returncode == 0, verified.stderr
        assert document(verified)["ok"] is True


def test_infer_writes_a_schema_that_compacts_the_same_data_without_rejects(base, tmp_path):
    day = "raw/market/prices/interval=1d/data_source=yahoo_finance/year=2025/month=09/day=09"
    inferred = briquette("infer", "--input", f"{base}/{day}", "--out", tmp_path / "s.toml")
    assert inferred.returncode == 0, inferred.stderr
    assert "timestamp[us, UTC]" in (tmp_path / "s.toml").read_text()
    made = briquette(
        *("compact", "--input", f"{base}/{day}", "--output", f"{base}/out"),
        *("--schema", tmp_path / "s.toml", "--json"),
    )
    assert made.returncode == 0, made.stderr
    assert document(made)["rows"] == 399


def test_doctor_says_what_a_store_honours(base):
    done = briquette("doctor", "--raw", f"{base}/raw", "--curated", f"{base}/curated", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = document(done)
    assert found["libraries"]["pyarrow"]
    assert all(found["stores"][1]["honours"].values())


def test_doctor_fails_for_a_store_that_is_not_there(s3):
    done = briquette("doctor", "--curated", "s3://no-such-bucket-of-ours/x", "--json")
    assert done.returncode == 1
    assert document(done)["ok"] is False


def test_the_demo_runs_from_nothing(tmp_path):
    done = briquette("demo", "--dir", tmp_path / "demo", "--symbols", "300")
    assert done.returncode == 0, done.stderr
    assert "PUBLISHED" in done.stdout
    assert "every row compared" in done.stdout
    assert (tmp_path / "demo/curated/market/prices/compacted" / f"ds={DS}" / "part-00000.parquet").exists()
    assert briquette("demo", "--dir", tmp_path / "demo", "--symbols", "300", "--quiet").returncode == 0


def test_the_demo_leaves_a_folder_that_is_not_its_own_alone(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    done = briquette("demo", "--dir", tmp_path)
    assert done.returncode == 2
    assert (tmp_path / "precious.txt").read_text() == "mine"


def generic(tmp_path: Path, files: dict[str, bytes]) -> tuple[object, ...]:
    land(tmp_path / "raw", files)
    (tmp_path / "schema.toml").write_text(SCHEMA)
    places = ("--input", tmp_path / "raw", "--output", tmp_path / "out")
    return (*places, "--schema", tmp_path / "schema.toml")


@pytest.mark.parametrize(
    ("files", "words", "code", "name"),
    [
        ({}, (), 3, None),
        ({"a.json": b""}, (), 3, None),
        ({}, ("--on-empty", "fail"), 4, "EmptyInput"),
        ({"a.json.gz": b"\x1f\x8b\x08\x00cut"}, (), 4, "CorruptObject"),
        ({"a.txt": b"what is this"}, (), 4, "UnsupportedFormat"),
        ({"a.json": b"bad\n"}, (), 5, "RejectLimitExceeded"),
        ({"a.json": lines([row(1)])}, ("--codec", "lzma"), 2, "UsageError"),
        ({"a.json": lines([row(1)])}, ("--schema", "no-such.toml"), 2, "SchemaError"),
        ({"a.json": lines([row(1)])}, ("--memory-limit", "lots"), 2, "UsageError"),
        ({"a.json": lines([row(1)])}, ("--scheduler", "tcp://127.0.0.1:1"), 1, "WorkerLost"),
    ],
)
def test_the_exit_code_says_who_should_act(files, words, code, name, tmp_path, monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1s")
    done = briquette("compact", *generic(tmp_path, files), *words, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    said = document(done)
    if name is None:
        assert said["status"] == "EMPTY"
    else:
        assert said["error"]["name"] == name
        assert name in done.stderr
        assert "Traceback" not in done.stderr


DEEP = b'{"id": 1, "name": "a", "x": ' + b"[" * 150 + b"]" * 150 + b"}\n"
LONG = b'{"id": 2, "name": "%s"}\n' % (b"b" * 5_000)
MANY = b'{"id": 3, "name": "c", "x": %s}\n' % (b"7" * 2_000)
FINE = b'{"id": 4, "name": "d"}\n' * 97


@pytest.mark.parametrize("by", ["option", "file", "inferred"])
def test_a_record_over_a_limit_is_a_reject_and_the_limit_that_it_names_can_be_raised(by, tmp_path):
    land(tmp_path / "in", {"a.json": FINE + DEEP + LONG + MANY})
    schema = tmp_path / "s.toml"
    schema.write_text(SCHEMA)
    run = ("compact", "--input", tmp_path / "in", "--output", tmp_path / "out", "--json")
    run = (*run, "--max-reject-ratio", "1")  # the long record is most of the text
    run = run if by == "inferred" else (*run, "--schema", schema)
    low = "record_bytes = 4096\n"
    schema.write_text("[limits]\n" + low + "\n" + SCHEMA)
    first = document(briquette(*run, *(("--limits", "record_bytes=4KiB") if by == "inferred" else ())))
    assert (first["rows"], first["rejects"]) == (97, 3)
    (file,) = (tmp_path / "out" / "_rejects").iterdir()
    rejects = file.read_text()
    for name in ("limits.depth", "limits.record_bytes", "limits.number_digits"):
        assert rejects.count(name) == 1
    if by == "file":
        schema.write_text("[limits]\ndepth = 200\nnumber_digits = 3000\n" + SCHEMA)
        raised = briquette(*run)
    else:
        raised = briquette(*run, "--limits", "depth=200, record_bytes=1MiB, number_digits=3000")
    assert (document(raised)["rows"], document(raised)["rejects"]) == (100, 0)


def test_a_limit_of_the_whole_object_names_the_setting_that_raises_it(tmp_path):
    land(tmp_path / "in", {"a.json": FINE})
    schema = tmp_path / "s.toml"
    schema.write_text(SCHEMA)
    run = ("compact", "--input", tmp_path / "in", "--output", tmp_path / "out", "--schema", schema)
    refused = briquette(*run, "--limits", "object_bytes=1kB")
    assert refused.returncode == 4
    assert "--limits object_bytes=N" in refused.stderr
    assert briquette(*run, "--limits", "object_bytes=9kB").returncode == 0


@pytest.mark.parametrize("limits", ["depth=0", "depth=301", "depth=x", "deep=3", "depth", "record_bytes=-1"])
def test_a_limit_that_cannot_be_is_usage(limits, tmp_path):
    land(tmp_path / "in", {"a.json": FINE})
    done = briquette("compact", "--input", tmp_path / "in", "--output", tmp_path / "out", "--limits", limits)
    assert done.returncode == 2
    assert "limit" in done.stderr or "size" in done.stderr


def test_an_unknown_option_or_command_is_usage(tmp_path):
    assert briquette("compact", "--colour", "red").returncode == 2
    assert briquette("compress").returncode == 2
    assert briquette("compact").returncode == 2


def test_quiet_prints_nothing_and_errors_go_to_stderr(tmp_path):
    done = briquette("compact", *generic(tmp_path, crumbs(3)), "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    failed = briquette(
        "compact", "--input", tmp_path / "raw", "--output", tmp_path / "out", "--schema", "x.toml"
    )
    assert failed.stdout == ""
    assert "next:" in failed.stderr


def test_an_environment_gives_the_places_and_sizes(tmp_path, monkeypatch):
    write_raw_day(tmp_path / "raw", 20)
    monkeypatch.setenv("BRIQUETTE_RAW_URL", str(tmp_path / "raw"))
    monkeypatch.setenv("BRIQUETTE_CURATED_URL", str(tmp_path / "curated"))
    done = briquette("compact", "--env", "dev", *NAMES, "--json")
    assert done.returncode == 0, done.stderr
    assert document(done)["output"].endswith(f"curated/market/prices/compacted/ds={DS}/")


def test_a_hostile_key_cannot_forge_a_log_line(tmp_path):
    words = generic(tmp_path, {"a.json": lines([row(1)])})
    (tmp_path / "raw" / "x\nERROR all is lost.json").write_bytes(b"{}")
    done = briquette("compact", *words)
    assert done.returncode == 5
    assert "x\\nERROR all is lost.json" in done.stderr
    assert "\nERROR all" not in done.stderr


def test_every_command_and_option_has_help_and_is_in_the_docs():
    from scripts.cli_docs import PAGE, page

    assert PAGE.read_text(encoding="utf-8") == page()
    assert "| None |" not in page()
    assert "|  |" not in page()


def test_help_and_version_load_nothing_heavy():
    code = (
        "import sys; sys.argv = ['briquette', '--help']\n"
        "from briquette.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*[m for m in ('pyarrow', 'dask', 'boto3', 'numpy', 'pandas', 'obstore') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == ""

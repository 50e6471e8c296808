"""What the start of a command leaves out: imports that most days do not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from briquette.storage.opening import open_store
from tests.servers import Bucket

UNNEEDED = (
    "pandas",
    "numba",
    "dask",
    "rich",
    "pyarrow.csv",
    "pyarrow.dataset",
)
PROGRAM = f"""
import sys
from briquette.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(*[name for name in {UNNEEDED!r} if name in sys.modules], file=sys.stderr)
"""
RECORDS = {
    "json": '{"symbol": "%s", "timestamp": "2025-09-09T00:00:00Z", "close": %s}\n',
    "csv": "%s,2025-09-09T00:00:00Z,%s\n",
}
HEADERS = {"json": "", "csv": "symbol,timestamp,close\n"}


@pytest.mark.parametrize(("form", "close"), [("json", "1.5"), ("json", "null"), ("csv", "1.5"), ("csv", "")])
def test_a_plain_day_is_compacted_without_the_imports_that_others_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, close: str
) -> None:
    monkeypatch.setenv("BRIQUETTE_SCAN", "on")
    for i in range(10):
        text = "".join(RECORDS[form] % (f"S{i}", close if n % 3 else "2") for n in range(1_000))
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / "raw" / f"{i}.{form}").write_text(HEADERS[form] + text)
    ends = ["--input", str(tmp_path / "raw"), "--output", str(tmp_path / "out")]
    arguments = ["compact", *ends, "--schema", "market.prices", "--json"]
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True
    )
    assert '"PUBLISHED"' in told.stdout
    assert told.stderr.split() == []


@pytest.mark.skipif(sys.platform != "linux", reason="only there")
def test_a_day_on_s3_is_compacted_without_another_client(s3: Bucket) -> None:
    """Only a removal needs boto3, and only the probe of a store that is not AWS removes what it wrote."""
    store = open_store(s3.url)
    for i in range(30):
        store.put(f"raw/{i}.json", (RECORDS["json"] % (f"S{i}", i)).encode())
    ends = ["--input", f"{s3.url}/raw", "--output", f"{s3.url}/out", "--unsafe-store"]
    program = PROGRAM.replace(repr(UNNEEDED), repr((*UNNEEDED, "boto3", "http.client")))
    told = subprocess.run(
        [sys.executable, "-c", program, "compact", *ends, "--schema", "market.prices", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"PUBLISHED"' in told.stdout
    assert told.stderr.split() == []

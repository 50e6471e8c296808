"""The operations guide's commands, run as they are written."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import boto3
import pytest

from tests.servers import environment, ministack
from tests.spark.installs import uv

GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"
AWS_CLI = Path(__file__).with_name("aws_cli.py")


def blocks(kind: str) -> list[str]:
    """The commands of the guide's blocks of one kind, in order."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_commands_for_a_machine_with_the_data_on_disk_run_as_written(tmp_path):
    found = blocks("sh")
    assert len(found) >= 9
    script = "\n".join(f"echo '## block {i}'\n{block}" for i, block in enumerate(found))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    told = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    said = told.stdout
    assert "UNCHANGED" in said
    assert "exit code 4, the published day stays" in said
    assert "exit code 3: nothing to do" in said
    assert "same rows" in said
    assert '"reason":' in said
    assert said.rstrip().endswith("OK") or "OK" in said.rpartition("## block")[2]


def test_every_command_for_aws_names_only_what_the_stacks_create():
    text = "\n".join(blocks("sh aws"))
    assert text.count("start-execution") == 5
    assert set(re.findall(r"dev-[a-z-]+", text)) == {
        "dev-daily-prices-data-processing",
        "dev-daily-prices-trigger",
        "dev-data-platform-raw",
        "dev-trigger-dead-letters",
    }


# -- the blocks for AWS, by AWS's own command line against a local server ---------------------------------

# Version 2 of the command line, which has `logs tail`, is in no package: the same events by another command.
_SHELL = """
aws() {
  if [ "$1 $2" = "logs tail" ]; then set -- logs filter-log-events --log-group-name "$3"; fi
  "$AWS_PYTHON" -S "$AWS_CLI" ask "$AWS_CLI_SOCKET" --endpoint-url "$AWS_ENDPOINT_URL" "$@"
}
"""
_WAITING = {
    "StartAt": "Done",
    "States": {"Done": {"Type": "Fail", "Error": "CorruptObject", "Cause": "MSFT.json"}},
}
_MAP = {
    "StartAt": "Days",
    "States": {
        "Days": {
            "Type": "Map",
            "Label": "Day",
            "Items": [{"ds": "2025-09-09"}],
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                **_WAITING,
            },
            "End": True,
        }
    },
    "QueryLanguage": "JSONata",
}
_ROLE = "arn:aws:iam::000000000000:role/any"


def _command_line() -> Path:
    """AWS's command line, version 1, in a folder of its own: it pins a botocore that fits no lock of ours."""
    folder = Path(sys.prefix) / "share" / "awscli-1.46.3"
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}-{os.getpid()}")
        uv("pip", "install", "--python", sys.executable, "--target", str(partial), "awscli==1.46.3")
        partial.rename(folder)
    return folder


@pytest.fixture
def command_line(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables with which the blocks' `aws` finds AWS's command line, which is loaded once."""
    path = str(tmp_path / "aws.socket")
    server = subprocess.Popen(
        [sys.executable, str(AWS_CLI), "serve", path],
        env={**os.environ, "PYTHONPATH": str(_command_line())},
    )
    until = time.monotonic() + 60
    while not os.path.exists(path) and server.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    yield {"AWS_PYTHON": sys.executable, "AWS_CLI": str(AWS_CLI), "AWS_CLI_SOCKET": path}
    server.terminate()
    server.wait(20)


def _deploy(endpoint: str, raw_key: str) -> None:
    """What the blocks name, as small as can be: a machine that fails, buckets, log groups, a letter."""
    client = partial(boto3.client, endpoint_url=endpoint)
    for bucket in ("raw", "curated", "artifacts"):
        client("s3").create_bucket(Bucket=f"dev-data-platform-{bucket}")
    client("s3").put_bucket_versioning(
        Bucket="dev-data-platform-raw", VersioningConfiguration={"Status": "Enabled"}
    )
    for body in (b"before", b"after"):
        client("s3").put_object(Bucket="dev-data-platform-raw", Key=raw_key, Body=body)
    machine = client("stepfunctions").create_state_machine(
        name="dev-daily-prices-data-processing", definition=json.dumps(_MAP), roleArn=_ROLE, type="STANDARD"
    )["stateMachineArn"]
    client("stepfunctions").start_execution(stateMachineArn=machine, name="earlier", input="{}")
    for group in ("/briquette/dev/compaction", "/aws-glue/jobs/error"):
        client("logs").create_log_group(logGroupName=group)
    queue = client("sqs").create_queue(QueueName="dev-trigger-dead-letters")["QueueUrl"]
    client("sqs").send_message(
        QueueUrl=queue, MessageBody=json.dumps({"detail": {"object": {"key": raw_key}}})
    )
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("trigger.py", "def handler(event, context):\n    return event['detail']\n")
    client("lambda").create_function(
        FunctionName="dev-daily-prices-trigger",
        Runtime="python3.13",
        Role=_ROLE,
        Handler="trigger.handler",
        Code={"ZipFile": zipped.getvalue()},
    )


@pytest.mark.timeout(400)
def test_the_commands_for_aws_run_as_written(tmp_path, monkeypatch, command_line):
    key = "market/prices/interval=1d/data_source=yahoo_finance/year=2025/month=09/day=09/MSFT.json"
    with ministack(tmp_path) as endpoint:
        for name, value in environment(endpoint).items():
            monkeypatch.setenv(name, value)
        _deploy(endpoint, key)
        found = blocks("sh aws")
        assert len(found) >= 9
        script = _SHELL + "\n".join(f"echo '## block {i}'\n{block}" for i, block in enumerate(found))
        told = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env={
                **os.environ,
                **environment(endpoint),
                **command_line,
                "AWS_PAGER": "",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=380,
        )
        assert told.returncode == 0, told.stdout + told.stderr
        restored = boto3.client("s3", endpoint_url=endpoint).get_object(
            Bucket="dev-data-platform-raw", Key=key
        )
        assert restored["Body"].read() == b"before"
    assert json.loads((tmp_path / "answer.json").read_text())["object"]["key"] == key
    assert "FAILED" in told.stdout


def test_every_log_group_and_queue_that_the_guide_names_is_one_of_the_stacks():
    text = GUIDE.read_text(encoding="utf-8")
    snapshot = (Path(__file__).parent / "snapshots" / "dev.json").read_text()
    named = set(re.findall(r"aws logs (?:tail|filter-log-events --log-group-name) (/briquette/\S+)", text))
    assert named
    for name in {*named, "dev-trigger-dead-letters", "dev-undelivered-alerts", "dev-daily-prices-trigger"}:
        assert f'"{name}"' in snapshot, f"{name} is in no template"

"""The flow's text: what can be known of it without running it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonata
import pytest

from briquette.settings.environments import load_environment
from glue_wrappers import compaction_job, indicators_job, transform_job
from orchestration.flow import FILE, SUBSTITUTIONS, definition, names_in, substituted
from orchestration.handlers import arguments
from orchestration.handlers.request import read_request
from tests.needs import needs_node

VALIDATOR = "asl-validator@4.0.0"
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
VALUES = {name: "a,b" for name, _ in SUBSTITUTIONS}
FLOW: dict[str, Any] = json.loads(substituted(definition(), VALUES))
DAY: dict[str, Any] = FLOW["States"]["EachDay"]["ItemProcessor"]
LEVELS = pytest.mark.parametrize("level", [FLOW, DAY], ids=["flow", "day"])

# statelint 3.1 knows these fields only as JSONPath states have them. AWS takes expressions in JSONata states,
# and a Label on a Distributed Map: states-language.net's own tool is behind its own text.
BEHIND = (
    r"States\.EachDay\.MaxConcurrency is \"\{% .* but should be numeric",
    r"Field \"Label\" not allowed in State Machine\.States\.EachDay",
    r"\.TimeoutSeconds is \"\{% .* but should be an Integer",
)
RETRIED = {
    "lambda:invoke": {
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.TooManyRequestsException",
    },
    "ecs:runTask.sync": {"ECS.AmazonECSException", "ECS.ServerException", "AmazonECS.Unknown"},
    "glue:startJobRun.sync": {
        "Glue.ConcurrentRunsExceededException",
        "Glue.InternalServiceException",
        "Glue.ThrottlingException",
    },
}


def tasks() -> Iterator[tuple[str, dict[str, Any]]]:
    for level in (FLOW, DAY):
        yield from ((name, state) for name, state in level["States"].items() if state["Type"] == "Task")


def next_of(state: dict[str, Any]) -> list[str]:
    """The states that may follow."""
    places = [state, *state.get("Choices", ()), *state.get("Catch", ())]
    return [place[word] for place in places for word in ("Next", "Default") if word in place]


def expressions(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.startswith("{%"):
        yield value[2:-2]
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from expressions(inner)


# -- other people's checks -----------------------------------------------------------------------


def test_statelint_finds_nothing_but_what_it_does_not_know_yet():
    statelint = Path(sys.executable).with_name("statelint")
    ended = subprocess.run([statelint, FILE], capture_output=True, text=True, check=False)
    found = [line.strip() for line in ended.stdout.splitlines() if not re.match(r"\d+ errors?:", line)]
    assert [line for line in found if line and not any(re.search(known, line) for known in BEHIND)] == []


@needs_node()
def test_asl_validator_finds_nothing():
    folder = Path(sys.prefix) / "share" / VALIDATOR.replace("@", "-")
    program = folder / "node_modules/.bin/asl-validator"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", VALIDATOR]
        # Node.js brings certificates of its own; a company's lie in the system's store.
        known = {"NODE_EXTRA_CA_CERTS": str(SYSTEM_CERTIFICATES)} if SYSTEM_CERTIFICATES.is_file() else {}
        try:
            installed = subprocess.run(
                [*command, "--prefer-offline", "--fetch-retries=1"],
                capture_output=True,
                text=True,
                check=False,
                cwd=folder,
                env={**known, **os.environ},
                timeout=90,
            )
            reason = installed.stderr.strip()[-300:] if installed.returncode else ""
        except subprocess.TimeoutExpired:
            reason = "it did not end in 90 s"
        if reason:
            reason = f"npm cannot install {VALIDATOR}: {reason}"
            pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    ended = subprocess.run([program, "--json-path", FILE], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


# -- shape ---------------------------------------------------------------------------------------


def test_the_names_in_the_text_are_those_that_a_deployment_is_told_to_give():
    assert names_in(definition()) == {name for name, _ in SUBSTITUTIONS}


# The two ways back: a plan that changed is made again, at most twice; a run for each chunk of days.
BACK = {("PlanLater", "PreflightDay"), ("Settle", "MoreIndicators")}


@LEVELS
def test_every_path_ends_and_every_state_is_on_one(level):
    states, seen = level["States"], set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a loop: {' -> '.join((*path, name))}"
        following = next_of(states[name])
        ends = states[name]["Type"] in ("Succeed", "Fail") or states[name].get("End", False)
        assert bool(following) != ends, f"{name} neither ends nor goes on, or both"
        seen.add(name)
        for after in following:
            if (name, after) not in BACK:
                walk(after, (*path, name))

    walk(level["StartAt"], ())
    assert seen == set(states)


@LEVELS
def test_every_choice_has_a_default(level):
    assert all("Default" in s for s in level["States"].values() if s["Type"] == "Choice")


@pytest.mark.parametrize(
    ("name", "task"), [*tasks()], ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_task_is_bounded_retried_with_jitter_and_caught(name, task):
    assert task["TimeoutSeconds"]
    for retry in task["Retry"]:
        assert retry["JitterStrategy"] == "FULL"
        assert retry["MaxDelaySeconds"] >= retry["IntervalSeconds"]
        assert "States.ALL" not in retry["ErrorEquals"], "a refusal is not worth a second try"
    assert task["Catch"][-1]["ErrorEquals"] == ["States.ALL"]


@pytest.mark.parametrize("service", RETRIED)
def test_what_aws_calls_transient_is_retried(service):
    concerned = [task for _, task in tasks() if task["Resource"] == f"arn:aws:states:::{service}"]
    assert concerned
    for task in concerned:
        assert RETRIED[service] <= {error for retry in task["Retry"] for error in retry["ErrorEquals"]}


@LEVELS
def test_every_variable_has_a_value_from_the_first_state_on(level):
    """JSONata that finds nothing is an error; children of a Distributed Map see none of their parent's."""
    states = {name: state for name, state in level["States"].items() if name != "EachDay"}
    given = set(states[level["StartAt"]]["Assign"])
    whole = " ".join(expressions(states))
    own = set(re.findall(r"\$(\w+) *:=", whole)) | {"value", "name", "chunk", "at"}
    used = set(re.findall(r"\$([a-zA-Z]\w*)(?!\w*\()", whole)) - {"states"}
    assert used - own <= given, used - own - given
    assert {name for state in states.values() for name in state.get("Assign", ())} <= given


def test_a_day_that_fails_ends_as_a_result_and_not_as_a_failed_child():
    assert {name for name, state in DAY["States"].items() if state["Type"] == "Fail"} == set()
    assert {name for name, state in DAY["States"].items() if state.get("End")} == {"DayResult"}


def test_both_ways_back_are_bounded():
    """Each passes a state that counts up, or takes one away, and a choice that ends it."""
    changed = DAY["States"]["PlanChanged"]
    (again,) = changed["Choices"]
    assert (again["Condition"], again["Assign"]["attempt"]) == ("{% $attempt < 3 %}", "{% $attempt + 1 %}")
    assert (again["Next"], changed["Default"]) == ("PlanLater", "DayFailed")
    assert FLOW["States"]["Settle"]["Assign"]["chunks"] == (
        "{% [$filter($chunks, function($chunk, $at) { $at > 0 })] %}"
    )
    assert FLOW["States"]["MoreIndicators"]["Choices"][0]["Condition"] == "{% $count($chunks) > 0 %}"


def test_a_child_that_fails_does_not_end_the_map_and_its_results_go_to_the_store():
    day = FLOW["States"]["EachDay"]
    assert day["ToleratedFailurePercentage"] == 100
    assert day["ResultWriter"]["Resource"] == "arn:aws:states:::s3:putObject"


def test_the_map_is_distributed_and_bounded_by_the_settings():
    assert DAY["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    assert "settings.maxConcurrency" in FLOW["States"]["EachDay"]["MaxConcurrency"]


# -- what a failed day says ------------------------------------------------------------------------

REAL = "Error Category: UNCLASSIFIED_ERROR; Failed Line Number: 151; "
LABELLED = (
    "Error Category: RESOURCE_NOT_FOUND_ERROR; Failed Line Number: 7; Spark Error Class: PATH_NOT_FOUND; "
)


def told(error: str, cause: str, exit_code: int = -1, state: str = "DayFailed") -> dict[str, str]:
    """What a state of the flow makes of an error and its cause."""
    level = DAY if state == "DayFailed" else FLOW
    text = level["States"][state]["Assign"]["failure"]
    frame = {"failure": {"error": error, "cause": cause, "step": "transform"}, "exitCode": exit_code}
    expression = jsonata.Jsonata(text.removeprefix("{%").removesuffix("%}"))
    expression.register_lambda("parse", json.loads)  # Step Functions' own
    environment = expression.create_frame()
    for name, value in frame.items():
        environment.bind(name, value)
    return dict(expression.evaluate(None, environment))


@pytest.mark.parametrize(
    "labels", ["", REAL, LABELLED, "Error Category: INVALID_ARGUMENT_ERROR; ", "error: "]
)
@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("CorruptObject: s3://raw/Failed Name: x; y.json is cut.", "CorruptObject"),
        ("briquette.errors.CorruptObject: AAPL.json.gz is cut.", "CorruptObject"),
        ("SourceChanged: DQ_FAILED.json changed; Plan Id: 3; List again.", "SourceChanged"),
        ("DataQualityFailed: DQ_FAILED: 7.5 % of the records", "DQ_FAILED"),
        ("briquette.errors.NoPrices: NO_INPUT_DATA: nothing before 2025-01-06", "NO_INPUT_DATA"),
        ("DQ_FAILED: duplicate key", "DQ_FAILED"),
        ("AnalysisException: [PATH_NOT_FOUND] Path does not exist", "AnalysisException"),
        ("ModuleNotFoundError: No module named 'engine'", "ModuleNotFoundError"),
        ("Py4JJavaError: An error occurred while calling o91.parquet.", "Py4JJavaError"),
    ],
)
def test_a_glue_runs_error_is_named_as_the_job_named_it(labels, said, name):
    run = {"JobName": "transform", "JobRunState": "FAILED", "ErrorMessage": labels + said}
    failure = told("States.TaskFailed", json.dumps(run))
    assert (failure["error"], failure["step"]) == (name, "transform")
    assert failure["cause"].removeprefix("error: ") == said


@pytest.mark.parametrize(
    "said",
    [
        REAL + "An error occurred while calling o91.parquet. Java heap space",
        "Command failed with exit code 10",
    ],
)
def test_a_glue_runs_error_without_a_name_is_told_whole(said):
    failure = told("States.TaskFailed", json.dumps({"ErrorMessage": said}))
    assert (failure["error"], failure["cause"]) == ("States.TaskFailed", said)


@pytest.mark.parametrize(
    "said",
    [
        "Error Category: OUT_OF_MEMORY_ERROR; the driver ran out of memory",
        REAL + "An error occurred while calling o91.parquet. java.lang.OutOfMemoryError: Java heap space",
    ],
)
def test_a_lack_of_memory_is_called_that(said):
    failure = told("States.TaskFailed", json.dumps({"ErrorMessage": said, "Id": "jr_1"}))
    assert (failure["error"], failure["run"]) == ("OutOfMemory", "jr_1")


def test_an_error_that_aws_names_itself_keeps_its_name():
    failure = told("Glue.EntityNotFoundException", "Job Name: none; Kind: of such a job")
    assert failure["error"] == "Glue.EntityNotFoundException"


def test_the_launcher_says_what_glue_would_say():
    program = (
        "from tests.orchestration.launcher import error_message as e;"
        "print(e('x\\nerror: CorruptObject: A is cut.\\n  next: Mend it.\\n', 'a\\nrun_script(b)'));"
        "print(e('Traceback\\npy4j.protocol.Py4JJavaError: oh', ''))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=FILE.parents[1],
        env={**os.environ, "FLOW_LAB": "/nowhere", "GATEWAY_PORT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.splitlines() == [
        "Error Category: UNCLASSIFIED_ERROR; Failed Line Number: 2; CorruptObject: A is cut. Mend it.",
        "Error Category: UNCLASSIFIED_ERROR; Failed Line Number: 1; py4j.protocol.Py4JJavaError: oh",
    ], ended.stderr


# -- arguments -----------------------------------------------------------------------------------


def all_arguments(*, reprocess: bool) -> dict[str, dict[str, str]]:
    event = {"domain": "market", "table_name": "prices", "interval": "1d", "data_source": "y"}
    event |= {"ds": "2025-01-06", "reprocess": reprocess}
    settings = load_environment("dev", env={})
    request = read_request(event, environment="dev", max_days=1)
    shared = arguments.glue_args(request, settings, "2025-01-06")
    return {
        "compaction_args": arguments.compaction_args(request, shared, "s3://a/plan.json", "s3://a/run.json"),
        "transform_args": arguments.transform_args(request, shared),
        "indicators_args": arguments.indicators_args(request, settings, shared),
    }


@pytest.mark.parametrize("reprocess", [False, True], ids=["first", "again"])
@pytest.mark.parametrize(
    ("state", "script"),
    [("CompactOnGlue", compaction_job), ("Transform", transform_job), ("Indicators", indicators_job)],
    ids=["compaction", "transform", "indicators"],
)
def test_the_arguments_of_a_glue_state_are_those_that_its_script_declares(state, script, reprocess):
    task = DAY["States"].get(state) or FLOW["States"][state]
    passed = re.search(r"\$(?:work|chunks\[0\])\.(\w+)", task["Arguments"]["Arguments"])
    assert passed
    given = all_arguments(reprocess=reprocess)[passed[1]]
    declared = {f"--{argument.name}" for argument in script.ARGUMENTS}
    required = {f"--{argument.name}" for argument in script.ARGUMENTS if argument.required}
    assert set(given) <= declared
    assert required - {"--JOB_NAME"} <= set(given)
    assert all(isinstance(value, str) for value in given.values())


# -- the interpreter -----------------------------------------------------------------------------


@pytest.mark.parametrize("gone", ["_run_distributed_map", "_execute_task", "_call_lambda"])
def test_a_ministack_that_is_built_otherwise_ends_the_launcher_with_what_to_mend(gone, tmp_path):
    program = (
        f"import ministack.services.stepfunctions as s; del s.{gone}; import tests.orchestration.launcher"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=FILE.parents[1],
        env={**os.environ, "FLOW_LAB": str(tmp_path), "GATEWAY_PORT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert f"ministack.services.stepfunctions.{gone}" in ended.stderr
    assert "mend the launcher" in ended.stderr


def test_glue_is_not_tried_for_what_it_would_be_refused_alike() -> None:
    from briquette import errors

    refusals = {
        errors.EXIT_USAGE,
        errors.EXIT_BAD_INPUT,
        errors.EXIT_DATA_QUALITY,
        errors.EXIT_REFUSED,
    }
    assert min(refusals) >= 2
    assert max(refusals) < 128
    [told_of] = [c for c in DAY["States"]["DaskEnded"]["Choices"] if c["Next"] == "ReadRefusal"]
    assert "$exitCode >= 1 and $exitCode < 128" in told_of["Condition"]
    choices = DAY["States"]["DaskRefused"]["Choices"]
    [refused] = [n for n, c in enumerate(choices) if c["Next"] == "DayFailed"]
    [fallback] = [n for n, c in enumerate(choices) if c["Next"] == "CompactOnGlue"]
    assert "$exitCode >= 2 and $exitCode < 128" in choices[refused]["Condition"]
    assert refused < fallback

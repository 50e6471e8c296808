"""MiniStack with the three bindings that it lacks: ECS tasks, Glue jobs and JSONata where AWS allows it.

``python -m tests.orchestration.launcher`` is MiniStack, and listens as MiniStack does. In its Step Functions

- ``ecs:runTask.sync`` runs ``briquette.aws.container`` in a process of its own; an exit code other than 0 is
  ``States.TaskFailed`` with the task's description as the cause, as on AWS;
- ``glue:startJobRun.sync`` runs the job's script from S3, real PySpark, and waits for the run's end; the runs
  take turns in one JVM, as its start is most of what a small run takes;
- a Distributed Map takes ``Items``, ``ItemSelector``, ``MaxConcurrency``, ``Assign`` and ``Output`` in
  JSONata (MiniStack 1.5 reads them as JSONPath), and its children see no variable of their parent, as on AWS;
  its ``ResultWriter`` leaves files and a manifest, which MiniStack passes over;
- ``TimeoutSeconds`` may be an expression; ``aws-sdk:s3:getObject`` answers with the body as text;
- a Lambda's error keeps the name of its class, which Retry and Catch match on.

FLOW_LAB names a folder: ``trace.jsonl`` says what was called, ``faults/<ds>.json`` what is to go wrong.
All of this touches private names of MiniStack. Each is looked up at import, so that an upgrade fails loudly.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import botocore.session
import botocore.validate
import ministack.app
import ministack.core.lambda_runtime as runtime
import ministack.services.lambda_svc as lambdas
import ministack.services.stepfunctions as states
from ministack.services import glue

from tests.servers import environment
from tests.spark.jvm import Jvm, jvm
from tests.spark.local import environment as spark_environment
from tests.spark.local import spark_conf

WRITTEN_FOR = "1.5.33"
ROOT = Path(__file__).resolve().parents[2]
CONTAINER = "engine"
SEPARATOR = "\x1f"
RESULTS_IN_A_FILE = 2  # AWS writes many into one; few, so that there is more than one file


def private(module: ModuleType, name: str, parameters: str = "") -> Any:
    """A private name of MiniStack with the parameters that it had; without it the program ends."""
    found = getattr(module, name, None)
    code = getattr(found, "__code__", None)
    has = " ".join(code.co_varnames[: code.co_argcount]) if code and parameters else parameters
    if found is None or has != parameters:
        sys.exit(
            f"tests/orchestration/launcher.py needs {module.__name__}.{name}({parameters}) of MiniStack "
            f"{WRITTEN_FOR}, and this one has {'it with (' + has + ')' if found else 'no such name'}. "
            "Read what replaced it, then mend the launcher."
        )
    return found


Failure = private(states, "_ExecutionError")
_dispatch = private(states, "_SERVICE_DISPATCH")
_execute_task = private(states, "_execute_task", "state_def raw_input execution ctx")
_execute_map = private(states, "_run_distributed_map", "state_def raw_input effective iterator execution ctx")
_call_lambda = private(states, "_call_lambda", "func_ref event")
_field = private(states, "_jsonata_state_field", "state_def field expected raw_input ctx")
_template = private(states, "_apply_jsonata_template", "value raw_input ctx result error_output")
_output = private(states, "_apply_jsonata_output", "state_def raw_input ctx result error_output default")
_assign = private(states, "_apply_state_assign", "state_def raw_input ctx result error_output")
_next = private(states, "_next_or_end", "state_def")
_start_job_run = private(glue, "_start_job_run", "data")
_job_runs = private(glue, "_job_runs")
_map_runs = private(states, "_map_runs")
_executions = private(states, "_executions")
private(glue, "_execute_subprocess", "run job args resolved")
private(glue, "_is_spark_job", "job")
_worker_script = private(runtime, "_PYTHON_WORKER_SCRIPT")
private(lambdas, "_execute_function_with_config_scope")
private(ministack.app, "main")

LAB = Path(os.environ["FLOW_LAB"])
ENDPOINT = f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"
_lock = threading.Lock()
_one_run = threading.Lock()  # a JVM has one Spark context at a time
_open = contextlib.ExitStack()


# -- what the tests are told, and what they ask for -------------------------------------------------


def trace(**said: Any) -> None:
    with _lock, (LAB / "trace.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(said) + "\n")


def next_fault(ds: str, service: str) -> dict[str, Any]:
    """The next thing that is to go wrong with a service for a day; each happens once."""
    file = LAB / "faults" / f"{ds}.json"
    with _lock:
        waiting = json.loads(file.read_text()) if file.exists() else []
        for fault in waiting:
            if fault["service"] == service:
                waiting.remove(fault)
                file.write_text(json.dumps(waiting))
                return fault
    return {}


def raise_if_asked(fault: dict[str, Any]) -> None:
    if "error" in fault:
        raise Failure(fault["error"], fault.get("cause", "as a test asked"))


# -- ECS -----------------------------------------------------------------------------------------


def run_task(resource: str, asked: dict[str, Any]) -> dict[str, Any]:
    """``ecs:runTask.sync``: the container's command in a process, described as ECS describes a task."""
    assert resource.endswith(".sync"), resource
    check_request("ecs", "RunTask", lower_first(asked))
    (told,) = asked["Overrides"]["ContainerOverrides"]
    command = [str(word) for word in told["Command"]]
    ds = command[command.index("--result-uri") + 1].split("/")[-2]
    fault = next_fault(ds, "ecs")
    trace(service="ecs", ds=ds, command=command, asked=asked, fault=fault)
    raise_if_asked(fault)
    client = boto3.client("s3", endpoint_url=ENDPOINT)
    if "before" in fault:  # what somebody else does between preflight and the compaction
        client.put_object(**fault["before"])
    python = ["-m", "briquette.aws.container"] if "kill" not in fault else ["-c", DYING, fault["kill"]]
    ended = subprocess.run(
        [sys.executable, *python, *command],
        cwd=LAB,
        env={**clean_environment(), **environment(ENDPOINT), "PYTHONPATH": str(ROOT), "ENVIRONMENT": "dev"},
        capture_output=True,
        text=True,
        check=False,
    )
    (LAB / f"ecs-{ds}-{time.monotonic_ns()}.log").write_text(ended.stdout + ended.stderr)
    code = ended.returncode if ended.returncode >= 0 else 128 - ended.returncode
    trace(service="ecs", ds=ds, exit_code=code)
    if "put" in fault:  # what somebody else does between the compaction and the guard
        client.put_object(**fault["put"])
    for key in fault.get("delete", ()):
        client.delete_object(**key)
    task = {
        "TaskArn": f"arn:aws:ecs:us-east-1:000000000000:task/lab/{time.monotonic_ns():032x}",
        "ClusterArn": asked["Cluster"],
        "TaskDefinitionArn": asked["TaskDefinition"],
        "CapacityProviderName": asked["CapacityProviderStrategy"][0]["CapacityProvider"],
        "LastStatus": "STOPPED",
        "StopCode": "EssentialContainerExited",
        "StoppedReason": "Essential container in task exited",
        "Containers": [{"Name": told["Name"], "LastStatus": "STOPPED", "ExitCode": code}],
    }
    if code:
        raise Failure("States.TaskFailed", json.dumps(task))
    return task


# The container, which dies by SIGKILL at its first request of the verb in argv[1]: nothing is cleaned up.
DYING = """
import os, runpy, signal, sys
import briquette.storage.interface
verb, note = sys.argv.pop(1), briquette.storage.interface.Requests.note
def dying(self, asked, key):
    note(self, asked, key)
    if asked == verb:
        os.kill(os.getpid(), signal.SIGKILL)
briquette.storage.interface.Requests.note = dying
runpy.run_module("briquette.aws.container", run_name="__main__", alter_sys=True)
"""


def clean_environment() -> dict[str, str]:
    skipped = ("AWS_", "PYSPARK_", "SPARK_", "BRIQUETTE_", "GATEWAY_", "FLOW_LAB", "SFN_")
    return {name: value for name, value in os.environ.items() if not name.startswith(skipped)}


def lower_first(value: Any) -> Any:
    """Step Functions writes ECS's members with a capital; the service's own model has them without."""
    if isinstance(value, dict):
        return {name[0].lower() + name[1:]: lower_first(inner) for name, inner in value.items()}
    return [lower_first(inner) for inner in value] if isinstance(value, list) else value


_models = botocore.session.get_session()


def check_request(service: str, operation: str, asked: dict[str, Any]) -> None:
    """AWS's own description of the request: unknown names and wrong types fail the state."""
    shape = _models.get_service_model(service).operation_model(operation).input_shape
    report = botocore.validate.ParamValidator().validate(asked, shape)
    if report.has_errors():
        raise Failure("States.Runtime", report.generate_report())


# -- Glue ----------------------------------------------------------------------------------------


def run_job(resource: str, asked: dict[str, Any]) -> dict[str, Any]:
    """``glue:startJobRun.sync``: start the run, wait for its end, and raise unless it succeeded."""
    assert resource.endswith(".sync"), resource
    check_request("glue", "StartJobRun", asked)
    name, ds = asked["JobName"], asked["Arguments"]["--ds"]
    fault = next_fault(ds, name)
    trace(service="glue", ds=ds, job=name, arguments=asked["Arguments"], fault=fault)
    raise_if_asked(fault)
    status, _, body = _start_job_run(asked)
    answer = json.loads(body)
    if status >= 400:
        raise Failure("Glue." + answer["__type"].rpartition("#")[2], answer.get("message", ""))
    while True:
        run = next(run for run in _job_runs[name] if run["Id"] == answer["JobRunId"])
        if run["JobRunState"] not in ("STARTING", "RUNNING"):
            break
        time.sleep(0.1)
    trace(service="glue", ds=ds, job=name, state=run["JobRunState"])
    if run["JobRunState"] != "SUCCEEDED":
        raise Failure("States.TaskFailed", json.dumps(run))
    return dict(run)


def spark_variables() -> dict[str, str]:
    """The environment of a Glue run and of its JVM."""
    return {
        **clean_environment(),
        **spark_environment(),
        **spark_conf(LAB / "spark"),
        **environment(ENDPOINT),
    }


@functools.cache
def spark_jvm() -> Jvm:
    """The JVM of all runs of Glue jobs; it ends with this process, as its standard input closes then."""
    return _open.enter_context(jvm(LAB / "jvm", spark_variables()))


def run_script(run: dict[str, Any], job: dict[str, Any], arguments: dict[str, str], script: str) -> None:
    """The job's script as Glue starts it, on plain Spark; what it raises is the run's error message."""
    words = {"--JOB_NAME": run["JobName"], **arguments}
    with _one_run:
        ended = subprocess.run(
            [sys.executable, script, *(word for pair in words.items() for word in pair)],
            cwd=LAB,
            env={**spark_variables(), **spark_jvm().variables},
            capture_output=True,
            text=True,
            check=False,
        )
        spark_jvm().clear()
    (LAB / f"{run['JobName']}-{run['Id']}.log").write_text(ended.stdout + ended.stderr)
    if ended.returncode:
        run["ErrorMessage"] = error_message(ended.stderr, Path(script).read_text(encoding="utf-8"))
    run["JobRunState"] = "FAILED" if ended.returncode else "SUCCEEDED"


def error_message(stderr: str, script: str) -> str:
    """What Glue makes of a job's last words: labels, then the exception's own line.

    On Glue the script raises; here it says the same as ``error: Name: message`` and ``next: hint``.
    """
    lines = stderr.splitlines()
    at = next((n for n, line in enumerate(lines) if line.startswith("error: ")), None)
    if at is None:
        said = lines[-1] if lines else "SystemExit: 1"
    else:
        hint = lines[at + 1].partition("next: ")[2] if len(lines) > at + 1 else ""
        said = f"{lines[at].removeprefix('error: ')} {hint}".strip()
    last = [n for n, line in enumerate(script.splitlines(), 1) if "run_script(" in line]
    return f"Error Category: UNCLASSIFIED_ERROR; Failed Line Number: {last[-1] if last else 1}; {said}"


# -- Step Functions ------------------------------------------------------------------------------


def task_with_expressions(state: Any, given: Any, execution: Any, context: Any) -> Any:
    """A Task whose ``TimeoutSeconds`` may be JSONata; every task is in the trace, by its state's name."""
    trace(state=context["State"]["Name"], execution=execution["executionArn"])
    if isinstance(state.get("TimeoutSeconds"), str):
        seconds = _field(state, "TimeoutSeconds", "number", given, context)
        state = {**state, "TimeoutSeconds": seconds}
    return _execute_task(state, given, execution, context)


def distributed_map(
    state: Any, given: Any, effective: Any, iterator: Any, execution: Any, context: Any
) -> Any:
    """A Distributed Map in JSONata: evaluate its fields, then let MiniStack run the children."""
    items = _field(state, "Items", "array", given, context)
    selected = []
    for index, item in enumerate(items):
        inner = copy.deepcopy(context) | {"Map": {"Item": {"Index": index, "Value": item}}}
        selected.append(_template(state["ItemSelector"], given, inner))
    plain = {
        "MaxConcurrency": _field(state, "MaxConcurrency", "number", given, context),
        "Label": state["Label"],
        "ToleratedFailurePercentage": state["ToleratedFailurePercentage"],
        "End": True,
    }
    alone = {**context, "variables": {}}
    before = set(_map_runs)
    _execute_map(plain, given, selected, iterator, execution, alone)
    (run,) = [
        arn for arn in set(_map_runs) - before if _map_runs[arn]["executionArn"] == execution["executionArn"]
    ]
    results = written(run, _template(state["ResultWriter"]["Arguments"], given, context))
    output = _output(state, given, context, result=results, default=results)
    _assign(state, given, context, result=results)
    return output, _next(state)


def written(run: str, place: dict[str, str]) -> dict[str, Any]:
    """What a ResultWriter leaves of a Map Run's children, and what the state's result is then."""
    client = boto3.client("s3", endpoint_url=ENDPOINT)
    folder = f"{place['Prefix']}/{run.rpartition(':')[2]}"
    files: dict[str, list[dict[str, Any]]] = {"FAILED": [], "PENDING": [], "SUCCEEDED": []}
    for status in ("SUCCEEDED", "FAILED"):
        mine = [child for child in _executions.values() if child.get("mapRunArn") == run]
        told = [
            {
                "ExecutionArn": child["executionArn"],
                "Input": child["input"],
                "Name": child["name"],
                "Status": status,
                **({"Output": child["output"]} if status == "SUCCEEDED" else {}),
                **({"Error": child["error"], "Cause": child["cause"]} if status == "FAILED" else {}),
            }
            for child in mine
            if child["status"] == status
        ]
        for number, start in enumerate(range(0, len(told), RESULTS_IN_A_FILE)):
            key = f"{folder}/{status}_{number}.json"
            body = json.dumps(told[start : start + RESULTS_IN_A_FILE]).encode()
            client.put_object(Bucket=place["Bucket"], Key=key, Body=body)
            files[status].append({"Key": key, "Size": len(body)})
    manifest = {"DestinationBucket": place["Bucket"], "MapRunArn": run, "ResultFiles": files}
    key = f"{folder}/manifest.json"
    client.put_object(Bucket=place["Bucket"], Key=key, Body=json.dumps(manifest).encode())
    return {"MapRunArn": run, "ResultWriterDetails": {"Bucket": place["Bucket"], "Key": key}}


def get_object(resource: str, asked: dict[str, Any]) -> dict[str, Any]:
    """``aws-sdk:s3:getObject``: the body as a string."""
    client = boto3.client("s3", endpoint_url=ENDPOINT)
    try:
        return {"Body": client.get_object(**asked)["Body"].read().decode()}
    except client.exceptions.NoSuchKey as error:
        raise Failure("S3.NoSuchKeyException", str(error)) from error


def call_lambda(function: str, event: Any) -> Any:
    """A Lambda, whose error is named as its class; faults for it are asked for by its name."""
    fault = next_fault(str(event.get("ds", "")), str(function).rpartition(":")[2])
    raise_if_asked(fault)
    try:
        return _call_lambda(function, event)
    except Failure as error:
        said = json.loads(error.cause)
        name, marked, message = said.get("errorMessage", "").partition(SEPARATOR)
        if not marked:
            raise
        raise Failure(name, json.dumps({"errorMessage": message, "errorType": name})) from None


def bind() -> None:
    """Put the bindings in place."""
    _dispatch["arn:aws:states:::ecs:runTask"] = run_task
    _dispatch["arn:aws:states:::glue:startJobRun"] = run_job
    _dispatch["arn:aws:states:::aws-sdk:s3:getObject"] = get_object
    states._execute_task = task_with_expressions
    states._run_distributed_map = distributed_map
    states._call_lambda = call_lambda
    glue._is_spark_job = lambda job: False
    glue._execute_subprocess = run_script
    told = '"error": str(e), "trace"'
    if told not in _worker_script:
        sys.exit(f"MiniStack's Lambda worker no longer says {told}: tests/orchestration/launcher.py")
    named = f'"error": type(e).__name__ + {SEPARATOR!r} + str(e), "trace"'
    runtime._PYTHON_WORKER_SCRIPT = _worker_script.replace(told, named)


if __name__ == "__main__":
    os.environ.update(environment(ENDPOINT))
    os.environ.pop("PYTHONPATH", None)  # the Lambdas have what is in their zip
    bind()
    sys.argv = sys.argv[:1]
    ministack.app.main()

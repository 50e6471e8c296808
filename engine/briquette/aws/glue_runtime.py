"""One run of a Glue job: arguments, session, commit, the result in one line, errors for the person on call.

Where ``awsglue`` can be imported it is a Glue run: GlueContext, Job.init, and Job.commit when the work ended
well. Elsewhere the same script runs on plain Spark, where there is nothing to commit.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from briquette.aws.glue_arguments import Argument, Arguments, parse_arguments
from briquette.errors import BriquetteError, UsageError
from briquette.executors.spark import SparkExecutor

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JOB_NAME = Argument("JOB_NAME", required=True)


@dataclass(frozen=True, slots=True)
class GlueRun:
    """What a job's work gets: its arguments, the Spark session, and the executor over it."""

    arguments: Arguments
    session: SparkSession

    @property
    def executor(self) -> SparkExecutor:
        """The executor that runs splits in this session."""
        return SparkExecutor(self.session.sparkContext)


def log(text: str) -> None:
    """One line in the job's log, at once."""
    print(text, flush=True)


def run_script(
    wanted: Sequence[Argument],
    work: Callable[[GlueRun], Mapping[str, Any]],
    argv: Sequence[str] | None = None,
) -> None:
    """Run ``work`` as a Glue job; what it returns is printed as the last line, in JSON.

    An error leaves the job uncommitted and is printed as ``Name: message`` and ``next: hint``. On Glue it is
    raised then, because Glue shows the exception as the run's error message; elsewhere it becomes the exit
    code of ``briquette.errors``.
    """
    from briquette.logs import configure_logging

    configure_logging("text")
    try:
        arguments = parse_arguments(sys.argv[1:] if argv is None else argv, wanted)
        if arguments.ignored:
            log(f"ignored arguments that this job does not know: {', '.join(arguments.ignored)}")
        with opened(arguments) as run:
            result = work(run)
        log(json.dumps(result, ensure_ascii=False, separators=(",", ":")))
    except BriquetteError as error:
        _print_error(error)
        if on_glue():
            raise
        sys.exit(error.exit_code)


def on_glue() -> bool:
    """Whether this is Glue's own Python, or one made to look like it."""
    return importlib.util.find_spec("awsglue") is not None


@contextmanager
def opened(arguments: Arguments) -> Iterator[GlueRun]:
    """The session of a run; leaving without an error commits the Glue job."""
    if not on_glue():
        yield GlueRun(arguments, _plain_session(arguments["JOB_NAME"]))
        log("plain Spark: no Glue job to commit")
        return
    from awsglue.context import GlueContext
    from awsglue.job import Job
    from pyspark import SparkContext

    try:
        context = GlueContext(SparkContext.getOrCreate())
    except TypeError as cause:  # py4j: 'JavaPackage' object is not callable
        raise UsageError(
            f"the package awsglue is installed, but Glue's Java classes are not ({cause}).",
            hint="Run on Glue, or without the package awsglue.",
        ) from cause
    job = Job(context)
    job.init(arguments["JOB_NAME"], dict(arguments.resolved))
    yield GlueRun(arguments, context.spark_session)
    job.commit()


def _plain_session(name: str) -> SparkSession:
    """The active session, or a new one whose workers run this very Python."""
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder: Any = SparkSession.builder
    return builder.appName(name).config("spark.ui.enabled", "false").getOrCreate()  # type: ignore[no-any-return]


def _print_error(error: BriquetteError) -> None:
    # Keys come from buckets: what cannot be printed must not forge a line of the log.
    printable = "".join(c if c.isprintable() else repr(c)[1:-1] for c in f"{error.name}: {error.message}")
    hint = f"  next: {error.hint}\n" if error.hint else ""
    sys.stdout.flush()
    sys.stderr.write(f"error: {printable}\n{hint}")
    sys.stderr.flush()

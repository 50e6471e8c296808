"""Mutation testing of plan, splice and publish: a seeded sample of mutants, each run against its unit tests.

Cosmic Ray makes the mutants; this drives them, because a run of all of them takes hours. Nothing in the
checkout is mutated: everything happens in a copy. Libraries are imported once, and each mutant gets a fork
of that, so that it costs its tests and not their imports. Hypothesis draws the same examples every time.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("engine", "config", "tests", "pyproject.toml")
RESULTS = ROOT / "build" / "mutation"


@dataclass(frozen=True, slots=True)
class Group:
    """Modules that one set of tests answers for; ``tests`` are arguments of pytest."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    imports: tuple[str, ...]  # libraries to import ahead; nothing of this project


GROUPS = {
    "plan": Group(
        ("engine/briquette/planning/plan.py",),
        ("tests/unit/planning/test_plan_mutants.py", "tests/unit/planning/test_plan.py"),
        ("hypothesis",),
    ),
    "splice": Group(
        ("engine/briquette/parquet/splice.py", "engine/briquette/parquet/footer.py"),
        ("tests/unit/parquet/test_splice_mutants.py", "tests/unit/parquet/test_splice.py"),
        ("hypothesis", "numpy", "pyarrow.parquet"),
    ),
    "publish": Group(
        ("engine/briquette/publishing",),
        # Without a server: it would have to be started anew for each mutant.
        (
            "tests/unit/publishing/test_publish_mutants.py",
            "tests/unit/publishing/test_publish_in_place.py",
            "tests/unit/publishing/test_publish_probe.py",
            "tests/unit/publishing/test_publish.py",
            "-k",
            "not s3 and not ignores_conditions and not error_of_the_store",
        ),
        ("pyarrow.parquet", "boto3"),
    ),
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change to one module: the operator's name, and which of its places in the module."""

    module: str
    operator: str
    occurrence: int
    line: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutant: killed, timeout (which counts as killed) or survived."""

    mutant: Mutant
    told: str
    seconds: float
    change: str


def mutants_of(module: str) -> Iterator[Mutant]:
    """Every mutant of a module but those inside annotations, which are never evaluated."""
    plugins = importlib.import_module("cosmic_ray.plugins")
    trees = importlib.import_module("cosmic_ray.ast")
    source = (ROOT / module).read_text(encoding="utf-8")
    silent = tuple(_annotations(ast.parse(source)))
    tree = trees.get_ast(source)
    for name in sorted(plugins.operator_names()):
        operator_class = plugins.get_operator(name)
        if operator_class.arguments():
            continue
        operator = operator_class()
        places = (p for node in trees.ast_nodes(tree) for p in operator.mutation_positions(node))
        for occurrence, (start, _) in enumerate(places):
            if not any(begin <= tuple(start) < end for begin, end in silent):
                yield Mutant(module, name, occurrence, start[0])


def _annotations(tree: ast.Module) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            found = getattr(node, name, None)
            if isinstance(found, ast.expr):
                end = found.end_lineno or found.lineno, found.end_col_offset or 0
                yield (found.lineno, found.col_offset), end


def mutated(mutant: Mutant, source: str) -> str:
    """The module's source with this one change."""
    plugins = importlib.import_module("cosmic_ray.plugins")
    mutating = importlib.import_module("cosmic_ray.mutating")
    code = mutating.mutate_code(source, plugins.get_operator(mutant.operator)(), mutant.occurrence)
    if code is None or code == source:
        raise ValueError(f"{mutant} changes nothing")
    return str(code)


def run_tests(tests: tuple[str, ...], timeout_seconds: float) -> str:
    """Run pytest in a fork of this process, in the working directory: passed, killed or timeout."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setsid()
            silence = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(silence, stream)
            pytest = importlib.import_module("pytest")
            imported = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
            code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-W", imported, *tests]))
        finally:
            os._exit(code)
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "passed" if status == 0 else "killed"
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def run_group(group: Group, sample: int, seed: int, lines: Path, *, again: bool) -> list[Outcome]:
    """Sample the mutants of a group and run each; outcomes are also written to ``lines`` as they come.

    ``again`` takes over the outcome of each mutant that the last run killed.
    """
    for name in (*group.imports, "pytest"):
        importlib.import_module(name)
    settle_hypothesis()
    modules = [
        str(p.relative_to(ROOT))
        for m in group.modules
        for p in ([ROOT / m] if m.endswith(".py") else sorted((ROOT / m).glob("*.py")))
    ]
    everything = [mutant for module in modules for mutant in mutants_of(module)]
    # Drawn in the order of a shuffle, so that a larger sample contains a smaller one.
    chosen = random.Random(seed).sample(everything, len(everything))[:sample]  # noqa: S311
    began = time.monotonic()
    if run_tests(group.tests, 600) != "passed":
        raise SystemExit("The tests fail without any mutation: mend that first.")
    limit = 3 * (time.monotonic() - began) + 5
    print(f"{len(everything)} mutants, {len(chosen)} of them sampled with seed {seed}, {limit:.0f} s each")
    before = _outcomes(lines) if again else {}
    outcomes = []
    with lines.open("w", encoding="utf-8") as out:
        for mutant in chosen:
            known = before.get(mutant)
            done = known is not None and known.told != "survived"
            outcomes.append(known if done and known else run_mutant(mutant, group.tests, limit))
            out.write(json.dumps(asdict(outcomes[-1])) + "\n")
            out.flush()
    return outcomes


def _outcomes(lines: Path) -> dict[Mutant, Outcome]:
    found = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    told = [Outcome(**{**one, "mutant": Mutant(**one["mutant"])}) for one in found]
    return {outcome.mutant: outcome for outcome in told}


def settle_hypothesis() -> None:
    """The same examples in every run, none remembered, none shrunk: only whether they pass matters."""
    hypothesis = importlib.import_module("hypothesis")
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutate", derandomize=True, database=None, phases=phases)
    hypothesis.settings.load_profile("mutate")


def run_mutant(mutant: Mutant, tests: tuple[str, ...], limit_seconds: float) -> Outcome:
    """Write the mutant into the working directory's copy, run the tests, put the module back."""
    path = Path(mutant.module)
    source = path.read_text(encoding="utf-8")
    changed = mutated(mutant, source)
    began = time.monotonic()
    path.write_text(changed, encoding="utf-8")
    try:
        told = run_tests(tests, limit_seconds)
    finally:
        path.write_text(source, encoding="utf-8")
    difference = difflib.unified_diff(source.splitlines(), changed.splitlines(), lineterm="", n=0)
    change = "\n".join(d for d in difference if d[:2] not in ("--", "++", "@@"))
    seconds = round(time.monotonic() - began, 2)
    return Outcome(mutant, "survived" if told == "passed" else told, seconds, change)


def main() -> None:
    """Run the groups asked for, print the survivors and the scores; fails under ``--least`` percent."""
    parser = argparse.ArgumentParser(description="Mutation score of a seeded sample of mutants.")
    parser.add_argument("groups", nargs="*", default=sorted(GROUPS), choices=[*GROUPS], metavar="GROUP")
    parser.add_argument("--sample", type=int, default=100, help="mutants of each group")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=float, default=85.0, help="fail below this score, in percent")
    parser.add_argument("--again", action="store_true", help="only those that survived the last time")
    parser.add_argument("--tools", default="", help="folder that holds cosmic-ray, if .venv does not")
    given = parser.parse_args()
    sys.dont_write_bytecode = True  # a mutant of the same size in the same second would be taken for its twin
    sys.path[:] = [p for p in sys.path if p and Path(p).resolve() not in (ROOT, ROOT / "scripts")]
    # Last: what .venv has is used as it is. Absolute: the mutants run in another directory.
    sys.path += [str(Path(given.tools).resolve())] if given.tools else []
    RESULTS.mkdir(parents=True, exist_ok=True)
    low = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        for name in COPIED:
            copy = Path(scratch) / name
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copy)
        os.chdir(scratch)
        for name in given.groups:
            score = report(name, given)
            if score < given.least:
                low.append(f"{name} {score:.1f} %")
    if low:
        raise SystemExit(f"Below {given.least} %: {', '.join(low)}. See docs/mutation.md.")


def report(name: str, given: argparse.Namespace) -> float:
    """Run one group and print what survived; returns the score in percent."""
    group = GROUPS[name]
    print(f"== {name}: {', '.join(group.modules)}", flush=True)
    lines = RESULTS / f"{name}-seed-{given.seed}.jsonl"
    outcomes = run_group(group, given.sample, given.seed, lines, again=given.again)
    for outcome in outcomes:
        if outcome.told == "survived":
            mutant = outcome.mutant
            print(f"survived: {mutant.module}:{mutant.line} {mutant.operator} {mutant.occurrence}")
            print(outcome.change)
    count = Counter(outcome.told for outcome in outcomes)
    score = 100 * (1 - count["survived"] / len(outcomes))
    seconds = sum(outcome.seconds for outcome in outcomes)
    print(f"{name}: {score:.1f} % of {len(outcomes)} ({dict(count)}) in {seconds:.0f} s", flush=True)
    return score


if __name__ == "__main__":
    main()

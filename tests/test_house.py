"""The house rules, checked on the source: who imports what, how long modules are, how they speak.

The tables at the top are the rules; docs and comments refer to them. A new module under one of the packages
must be placed in ROOMS: imports point upwards in that table, so whoever reads a room need only know those
above it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("engine", "glue_wrappers", "orchestration", "config", "benchmarks")


@dataclass(frozen=True, slots=True)
class Room:
    """Modules that may import the same things: ``may_import`` names rooms, ``libraries`` third parties."""

    name: str
    modules: tuple[str, ...]  # exact names or globs; the most exact match wins
    may_import: tuple[str, ...]
    libraries: tuple[str, ...]
    why: str


KERNEL = ("nouns", "text", "schema", "bytes", "scan", "kernel")
LIBRARY = (*KERNEL, "plan", "store", "places", "publish", "again", "split", "executors", "read", "story")

ROOMS = (
    Room(
        "nouns",
        ("briquette.model", "briquette.errors", "briquette.value"),
        may_import=(),
        libraries=(),
        why="everybody speaks in them, so they must cost nothing and know nobody",
    ),
    Room(
        "spare",
        ("briquette.idle_threads",),
        may_import=(),
        libraries=(),
        why="executors lend idle threads, the kernel borrows them, and neither knows the other",
    ),
    Room(
        "text",
        (
            "briquette.schemas.limits",
            "briquette.serialization",
            "briquette.schemas.types",
            "briquette.compaction.result",
            "briquette.prices.fingerprint",
        ),
        may_import=("nouns", "text"),
        libraries=(),
        why="values to text and back; a Lambda handler reads manifests and names columns with it",
    ),
    Room(
        "schema",
        ("briquette.schemas.declared",),
        may_import=("nouns", "text"),
        libraries=("pyarrow",),
        why="the one place where a declared type becomes an Arrow type",
    ),
    Room(
        "plan",
        ("briquette.planning.plan", "briquette.planning.spec"),
        may_import=("nouns", "text", "schema"),
        libraries=(),
        why="a plan is a value: listing and spec in, document out, no I/O",
    ),
    Room(
        "bytes",
        (
            "briquette.parquet.thrift",
            "briquette.parquet.footer",
            "briquette.parquet.splice",
            "briquette.parquet.packing",
            "briquette.parquet.column_join",
        ),
        may_import=("nouns",),
        libraries=(),
        why="surgery on finished Parquet bytes needs no Parquet library, so no library can change them",
    ),
    Room(
        "scan",
        ("briquette.template_scan.scan", "engine.scan_*", "briquette.template_scan.*"),
        may_import=("nouns", "text", "schema"),
        libraries=("llvmlite", "numba", "numpy", "pyarrow"),
        why="the template scan, the only door to the compiler",
    ),
    Room(
        "kernel",
        (
            "briquette.decoding.decode",
            "engine.decode_*",
            "briquette.decoding.*",
            "briquette.encoding.row_groups",
            "engine.encode_*",
            "briquette.encoding.row_digest",
            "briquette.compaction.unique_keys",
            "briquette.vectors",
            "briquette.inference.column_profile",
            "briquette.inference.infer",
            "briquette.inference.number_clash",
            "briquette.inference.hints",
            "briquette.inference.known_lines",
        ),
        may_import=("nouns", "text", "schema", "bytes", "scan", "spare"),
        libraries=("isal", "numpy", "pyarrow"),
        why="bytes to rows to bytes: pure, so every executor gets the same result",
    ),
    Room(
        "store",
        ("briquette.storage.interface", "briquette.storage.*"),
        may_import=("nouns",),
        libraries=("boto3", "botocore", "obstore"),
        why="the door to objects; the rest of the house speaks in keys and verbs",
    ),
    Room(
        "places",
        (
            "briquette.planning.target",
            "briquette.planning.place_overlap",
            "briquette.planning.listing",
            "briquette.planning.table_formats",
            "briquette.planning.layout",
        ),
        may_import=("nouns", "text", "plan", "store"),
        libraries=(),
        why="what a command means by its target, and what lies there",
    ),
    Room(
        "publish",
        ("briquette.publishing.publish", "briquette.publishing.*", "briquette.pipeline.lookback"),
        may_import=("nouns", "text", "bytes", "store", "places"),
        libraries=(),
        why="the protocol of visibility, and what is published; Lambdas ask both, so no Arrow here",
    ),
    Room(
        "again",
        ("briquette.compaction.unchanged",),
        may_import=("nouns", "text", "plan", "store", "places", "publish"),
        libraries=(),
        why="what a run finds when it comes again; preflight asks the same, so no Arrow here",
    ),
    Room(
        "split",
        ("briquette.compaction.split",),
        may_import=(*KERNEL, "plan", "store"),
        libraries=("pyarrow",),
        why="the work of one worker on one split: open the door, run the kernel",
    ),
    Room(
        "executors",
        ("briquette.executors.*",),
        may_import=("nouns", "spare"),
        libraries=("dask", "distributed", "ray"),
        why="each maps a function over splits and does not know what it does: the doors to Dask and Ray",
    ),
    Room(
        "read",
        ("engine.read", "briquette.datasets.read"),
        may_import=("nouns", "text", "schema", "store", "places", "publish"),
        libraries=("dask", "pandas", "pyarrow"),
        why="a published dataset as a frame: the door to Dask's DataFrame",
    ),
    Room(
        "prices",
        ("briquette.prices", "briquette.prices.*"),
        may_import=("nouns", "text", "prices"),
        libraries=("numpy", "pyarrow"),
        why="pure functions of the price tables",
    ),
    Room(
        "story",
        (
            "briquette.compaction.prefetch",
            "engine.compact",
            "briquette.compaction.run",
            "briquette.compaction.assembly",
            "briquette.datasets.verify",
            "briquette.pipeline.backfill",
            "briquette.pipeline.run_day",
            "briquette.pipeline.indicators",
            "briquette.pipeline.indicators_days",
            "briquette.pipeline.schema_record",
            "briquette.pipeline.price_sessions",
            "briquette.compaction.undeclared_schema",
            "briquette.pipeline.transform",
            "briquette.pipeline.transform_duplicates",
            "briquette.pipeline.transform_source",
        ),
        may_import=(*(room for room in LIBRARY if room != "story"), "prices"),
        libraries=("numpy", "pyarrow"),
        why="list, plan, map, pack, verify, publish; it picks an executor by name and never sees Dask",
    ),
    Room(
        "front door",
        ("engine",),
        may_import=("story", "read"),
        libraries=(),
        why="`from briquette import compact, read`, fetched on first use",
    ),
    Room(
        "settings",
        ("config", "config.*"),
        may_import=("nouns",),
        libraries=(),
        why="environments as data; handlers and stacks read them, so the loader is stdlib only",
    ),
    Room(
        "benchmarks",
        ("benchmarks", "benchmarks.*"),
        may_import=("*",),
        libraries=("*",),
        why="peers are measured side by side; nothing but the command line may depend on it",
    ),
    Room(
        "command line",
        (
            "briquette.cli.main",
            "engine.cli_*",
            "briquette.cli.commands.*",
            "briquette.cli.demo",
            "briquette.cli.doctor",
            "briquette.datasets.inspect",
            "briquette.cli.options",
            "briquette.cli.text",
        ),
        may_import=(*LIBRARY, "front door", "prices", "settings", "benchmarks"),
        libraries=("click", "numpy", "pyarrow", "rich", "typer"),
        why="thin: parse, one call, print; the only door to the terminal",
    ),
    Room(
        "glue",
        ("glue_wrappers", "glue_wrappers.*"),
        may_import=("*",),
        libraries=("awsglue", "boto3", "py4j", "pyarrow", "pyspark"),
        why="the same plan and kernel on Spark: the door to Spark and to the Glue runtime",
    ),
    Room(
        "handlers",
        ("orchestration.handlers", "orchestration.handlers.*"),
        may_import=("nouns", "text", "schema", "plan", "store", "places", "publish", "again", "settings"),
        libraries=("boto3", "botocore"),
        why="Lambdas: what they import is their cold start",
    ),
    Room(
        "alarms",
        ("orchestration", "orchestration.alarms", "orchestration.flow*"),
        may_import=("nouns", "settings"),
        libraries=(),
        why="alarms and the flow are data; stacks and tests render them",
    ),
    Room(
        "stacks",
        ("orchestration.*",),
        may_import=("nouns", "settings", "alarms"),
        libraries=("aws_cdk", "cdk_nag", "constructs", "jsii", "packaging"),
        why="the door to the CDK; glue_parameters says with which arguments a Glue job runs",
    ),
    Room(
        "container",
        ("orchestration.container", "orchestration.container.*"),
        may_import=("*",),
        libraries=("boto3",),
        why="what runs inside the Fargate task: the command line with a result file",
    ),
)

# Importing these must load nothing of HEAVY, not even through others: they answer before that could load.
LIGHT = (
    "engine",
    "briquette.cli.main",
    "briquette.pipeline.lookback",
    "briquette.model",
    "briquette.planning.plan",
    "briquette.publishing.publish",
    "briquette.schemas.declared",
    "briquette.planning.spec",
    "briquette.storage.interface",
    "briquette.serialization",
    "briquette.settings.environments",
    "orchestration.alarms",
    "orchestration.handlers.*",
)
HEAVY = (
    "boto3",
    "botocore",
    "dask",
    "distributed",
    "fsspec",
    "llvmlite",
    "numba",
    "obstore",
    "pandas",
    "pyarrow",
    "s3fs",
)

# Output bytes may depend on nothing but their input (C11).
PURE_ROOMS = ("nouns", "text", "schema", "plan", "bytes", "scan", "kernel", "prices")
IMPURE_IMPORTS = ("getpass", "platform", "random", "secrets", "socket", "time", "uuid")
IMPURE_ALLOWED = {
    (
        "briquette.template_scan.compiler.native",
        "platform",
    ): "names the cached machine code, which gives the same rows everywhere",
}
IMPURE_CALLS = ("now", "today", "utcnow", "urandom", "getpid", "gethostname")

MOST_LINES = 450
LONGER: dict[str, tuple[int, str]] = {}  # module: its own limit and the reason for it

# One word per thing; these name nothing.
EMPTY_WORDS = frozenset(
    ["job", "jobs", "process", "handle", "data", "info", "manager", "util", "utils", "helper", "helpers"]
)
WORDS_ALLOWED = {
    "glue_wrappers.*_job": "a Glue job is what AWS calls it",
    "briquette.errors.DataQualityFailed": "the pipeline's error code DQ_FAILED, spelled out",
    "briquette.errors.NoRawData": "the pipeline's error code NO_RAW_DATA",
}


@dataclass(frozen=True, slots=True)
class Module:
    """One source file: dotted name and syntax tree."""

    name: str
    source: str
    is_package: bool = False

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)


# -- the rules: a module in, sentences about what is wrong out --------------------------------------


def room_of(name: str) -> Room | None:
    matches = [(p, room) for room in ROOMS for p in room.modules if fnmatchcase(name, p) or f"{name}.*" == p]
    return max(matches, key=lambda m: (m[0] == name, len(m[0])))[1] if matches else None


def imported(module: Module) -> Iterator[tuple[int, str]]:
    """Every import in the module, at any depth and also for types only: (line, dotted name)."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.name.split(".")
                keep = len(parents) - node.level + module.is_package
                base = ".".join([*parents[:keep], *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def breaks_the_import_table(module: Module, known: frozenset[str]) -> Iterator[str]:
    room = room_of(module.name)
    if room is None:
        yield (
            f"{module.name} has no room. Add it to a row of ROOMS in tests/test_house.py, "
            f"or a new row below the rooms it imports."
        )
        return
    for line, name in imported(module):
        top = name.partition(".")[0]
        at = f"{module.name}, line {line}:"
        if top in PACKAGES:
            target = name if name in known else name.rpartition(".")[0] or name
            other = room_of(target)
            if target == top == "engine" or other is None or other is room:
                continue  # `from briquette import __version__`; a module that is not placed says so itself
            if other.name not in room.may_import and "*" not in room.may_import:
                yield f'{at} "{room.name}" may not import {target} ("{other.name}"), because: {room.why}.'
        elif top not in sys.stdlib_module_names and top not in room.libraries and "*" not in room.libraries:
            doors = [r.name for r in ROOMS if top in r.libraries] or ["no room yet"]
            yield f'{at} {top} has its door in {", ".join(doors)}, not in "{room.name}": {room.why}.'


def is_impure(module: Module) -> Iterator[str]:
    room = room_of(module.name)
    if room is None or room.name not in PURE_ROOMS:
        return
    for line, name in imported(module):
        top = name.partition(".")[0]
        if top in IMPURE_IMPORTS and (module.name, top) not in IMPURE_ALLOWED:
            yield f"{module.name}, line {line}: imports {name}, but output may depend on input only (C11)."
    for node in ast.walk(module.tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in IMPURE_CALLS
        ):
            yield f"{module.name}, line {node.lineno}: calls {node.func.attr}(), which differs between runs."


def is_too_long(module: Module) -> Iterator[str]:
    most, _ = LONGER.get(module.name, (MOST_LINES, ""))
    lines = module.source.count("\n")
    if lines > most:
        yield f"{module.name} has {lines} lines, more than {most}: find the seam (or see LONGER)."


def lacks_docstrings(module: Module) -> Iterator[str]:
    if not ast.get_docstring(module.tree):
        yield f"{module.name} does not say what it is for."
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            overload = any("overload" in ast.unparse(d) for d in node.decorator_list)
            if not node.name.startswith("_") and not overload and not ast.get_docstring(node):
                yield f"{module.name}.{node.name} has no docstring."


def has_an_empty_word(module: Module) -> Iterator[str]:
    last = module.name.rpartition(".")[2]
    if not any(fnmatchcase(module.name, pattern) for pattern in WORDS_ALLOWED):
        for word in sorted(EMPTY_WORDS.intersection(last.split("_"))):
            yield f'{module.name}: "{word}" names nothing; say what the thing is.'
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
            if f"{module.name}.{node.name}" in WORDS_ALLOWED:
                continue
            words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.name).lower().split("_")
            for word in sorted(EMPTY_WORDS.intersection(words)):
                yield f'{module.name}.{node.name}: "{word}" names nothing; say what the thing is.'


# -- the house as it stands --------------------------------------------------------------------------


def modules() -> tuple[Module, ...]:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            found.append(Module(name, path.read_text(encoding="utf-8"), is_package))
    return tuple(found)


HOUSE = modules()
KNOWN = frozenset(m.name for m in HOUSE)


def test_imports_point_to_the_nouns_and_heavy_libraries_have_one_door() -> None:
    wrong = [sentence for m in HOUSE for sentence in breaks_the_import_table(m, KNOWN)]
    assert not wrong, "\n".join(wrong)


def test_rooms_only_look_up() -> None:
    above: list[str] = []
    for room in ROOMS:
        if "*" not in room.may_import:
            below = [r for r in room.may_import if r not in (*above, room.name)]
            assert not below, f'"{room.name}" is above {below} in ROOMS'
        above.append(room.name)


def test_the_kernel_knows_no_clock_host_or_chance() -> None:
    wrong = [sentence for m in HOUSE for sentence in is_impure(m)]
    assert not wrong, "\n".join(wrong)


def test_modules_stay_short() -> None:
    wrong = [sentence for m in HOUSE for sentence in is_too_long(m)]
    assert not wrong, "\n".join(wrong)


def test_every_public_function_and_class_says_what_it_is() -> None:
    wrong = [sentence for m in HOUSE if m.name.startswith("engine") for sentence in lacks_docstrings(m)]
    assert not wrong, "\n".join(wrong)


def test_names_say_what_a_thing_is() -> None:
    wrong = [sentence for m in HOUSE for sentence in has_an_empty_word(m)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", sorted(n for n in KNOWN if any(fnmatchcase(n, p) for p in LIGHT)))
def test_light_modules_load_nothing_heavy(name: str) -> None:
    code = f"import sys, {name}; print(*sorted({set(HEAVY)!r} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert told.stdout.split() == [], f"import {name} loads {told.stdout}: import it where it is used"


def test_no_tracked_file_names_a_machine_or_a_registry() -> None:
    hosts = (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("deb", "debian", "org"),
        ("golang", "org"),
    )
    # Where this checkout, its Python and its user happen to lie, and where users' homes lie anywhere.
    own = (ROOT.parent, ROOT, Path.home(), sys.base_prefix)
    folders = {*map(str, own), "/root", "/home"} - {"/", "/usr"}
    wanted = re.compile(
        "|".join(
            [
                *(re.escape(".".join(h)) for h in hosts),
                *(rf"(?<![\w.$}}*:/-]){re.escape(f)}/" for f in sorted(folders)),
            ]
        ).encode()
    )
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    assert files
    wrong = [
        f"{path.relative_to(ROOT)}: {hit.group().decode()}"
        for path in files
        if path.is_file() and (hit := wanted.search(path.read_bytes()))
    ]
    assert not wrong, "\n".join(wrong)


# -- the rules themselves can fail -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("briquette.planning.plan", "import pyarrow as pa", '"plan"'),
        (
            "briquette.planning.plan",
            "def f():\n    from briquette.storage.interface import open_store",
            "may not import briquette.storage.interface",
        ),
        (
            "briquette.compaction.run",
            "def f():\n    import dask.dataframe",
            "has its door in executors, read",
        ),
        ("briquette.parquet.splice", "import fastparquet", "no room yet"),
        (
            "briquette.storage.s3.store",
            "from ..publish import publish",
            "may not import briquette.publishing.publish",
        ),
        ("briquette.model", "from . import errors, store", "may not import briquette.storage.interface"),
        ("orchestration.handlers.guard", "import pyarrow.parquet", "cold start"),
        ("engine.novelty", "", "has no room"),
    ],
)
def test_a_wrong_import_is_named_with_its_reason(name: str, source: str, said: str) -> None:
    known = frozenset(
        {"briquette.storage.interface", "briquette.publishing.publish", "briquette.errors", "briquette.model"}
    )
    assert said in "\n".join(breaks_the_import_table(Module(name, source), known))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("briquette.planning.plan", "import json\nfrom engine import wire\nfrom briquette.model import Plan"),
        ("briquette.template_scan.kernel.lines", "from numba import njit"),
        ("briquette.executors.dask", "def f():\n    from distributed import Client"),
        (
            "glue_wrappers.compaction_job",
            "from awsglue.job import Job\nfrom briquette.compaction.split import compact_split",
        ),
    ],
)
def test_a_right_import_passes(name: str, source: str) -> None:
    assert not list(breaks_the_import_table(Module(name, source), frozenset({"briquette.serialization"})))


@pytest.mark.parametrize(
    ("rule", "module"),
    [
        (is_impure, Module("briquette.encoding.row_groups", "import uuid")),
        (is_impure, Module("briquette.decoding.json", "from datetime import datetime\nNOW = datetime.now()")),
        (is_too_long, Module("briquette.planning.plan", "x = 1\n" * (MOST_LINES + 1))),
        (lacks_docstrings, Module("briquette.planning.plan", '"""Plans."""\ndef plan(): ...')),
        (lacks_docstrings, Module("briquette.planning.plan", "x = 1")),
        (has_an_empty_word, Module("engine.split_utils", '"""x"""')),
        (has_an_empty_word, Module("briquette.planning.plan", "class PlanManager: ...")),
    ],
)
def test_a_broken_rule_is_noticed(rule, module: Module) -> None:
    assert list(rule(module))


def test_purity_is_asked_of_the_kernel_only() -> None:
    assert not list(is_impure(Module("briquette.storage.memory", "import time")))

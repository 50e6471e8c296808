"""The house rules that no tool knows: pure rooms, short modules, docstrings, names, nothing of one machine.

Who may import what is in pyproject.toml, [tool.importlinter]; ``make house`` runs both.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Importing these must load nothing of HEAVY, not even through others: they answer before that could load.
LIGHT = (
    "briquette",
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
PURE = (
    "briquette.model",
    "briquette.serialization",
    *(
        f"briquette.{room}"
        for room in (
            "schemas",
            "parquet",
            "template_scan",
            "encoding",
            "decoding",
            "inference",
            "planning.plan",
            "planning.spec",
            "prices",
        )
    ),
)
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
    "briquette.cli.process_setup": "settings of this process of the operating system",
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


def is_impure(module: Module) -> Iterator[str]:
    if not any(f"{module.name}.".startswith(f"{pure}.") for pure in PURE):
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
    for root, package in (
        ("engine", "briquette"),
        (".", "glue_wrappers"),
        (".", "orchestration"),
        (".", "benchmarks"),
    ):
        for path in sorted((ROOT / root / package).rglob("*.py")):
            parts = path.relative_to(ROOT / root).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            found.append(Module(name, path.read_text(encoding="utf-8"), is_package))
    return tuple(found)


HOUSE = modules()
KNOWN = frozenset(m.name for m in HOUSE)


def test_the_kernel_knows_no_clock_host_or_chance() -> None:
    wrong = [sentence for m in HOUSE for sentence in is_impure(m)]
    assert not wrong, "\n".join(wrong)


def test_modules_stay_short() -> None:
    wrong = [sentence for m in HOUSE for sentence in is_too_long(m)]
    assert not wrong, "\n".join(wrong)


def test_every_public_function_and_class_says_what_it_is() -> None:
    wrong = [sentence for m in HOUSE if m.name.startswith("briquette") for sentence in lacks_docstrings(m)]
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
    ("file", "line", "said"),
    [
        ("planning/plan.py", "import briquette.publishing.publish", "planning is not allowed to import"),
        ("planning/plan.py", "import pyarrow", "briquette.planning.plan -> pyarrow"),
        ("compaction/run.py", "def f():\n    import dask.dataframe", "briquette.compaction.run -> dask"),
        ("schemas/types.py", "from briquette.schemas import declared", "No cycles are allowed"),
        ("novelty.py", "", "novelty"),
    ],
)
def test_a_wrong_import_is_refused(tmp_path: Path, file: str, line: str, said: str) -> None:
    shutil.copytree(ROOT / "engine/briquette", tmp_path / "briquette")
    (tmp_path / "orchestration/handlers").mkdir(parents=True)
    for folder in ("orchestration", "orchestration/handlers"):
        (tmp_path / folder / "__init__.py").touch()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    changed = tmp_path / "briquette" / file
    changed.write_text((changed.read_text(encoding="utf-8") if changed.exists() else "") + f"\n{line}\n")
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from importlinter.cli import lint_imports\n"
        "sys.exit(lint_imports())"
    )
    told = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert told.returncode != 0
    assert said in told.stdout + told.stderr


@pytest.mark.parametrize(
    ("rule", "module"),
    [
        (is_impure, Module("briquette.encoding.row_groups", "import uuid")),
        (
            is_impure,
            Module("briquette.decoding.json_objects", "from datetime import datetime\nNOW = datetime.now()"),
        ),
        (is_too_long, Module("briquette.planning.plan", "x = 1\n" * (MOST_LINES + 1))),
        (lacks_docstrings, Module("briquette.planning.plan", '"""Plans."""\ndef plan(): ...')),
        (lacks_docstrings, Module("briquette.planning.plan", "x = 1")),
        (has_an_empty_word, Module("briquette.split_utils", '"""x"""')),
        (has_an_empty_word, Module("briquette.planning.plan", "class PlanManager: ...")),
    ],
)
def test_a_broken_rule_is_noticed(rule, module: Module) -> None:
    assert list(rule(module))


def test_purity_is_asked_of_the_kernel_only() -> None:
    assert not list(is_impure(Module("briquette.storage.memory", "import time")))

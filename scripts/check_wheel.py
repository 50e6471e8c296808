"""Build the wheel and use it outside this checkout: what an installed briquette needs must be inside.

``briquette`` is its only name at top level, and the source distribution builds the same wheel.

The wheel is unpacked into a temporary folder that comes first on sys.path: dependencies are those of the
environment this runs in, but briquette's own files can only come from the wheel.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "briquette"
SOURCES = {"engine/briquette": "briquette", "config": "briquette/config"}  # in the checkout, in the wheel
DATA_SUFFIXES = (".toml", ".json", ".md")  # what the code reads beside itself at run time

INSIDE = """
import importlib, importlib.metadata, pathlib, sys
from importlib import resources
here = pathlib.Path.cwd()
[command] = [e for e in importlib.metadata.distribution("briquette").entry_points if e.name == "briquette"]
main = command.load()
source = sys.modules[main.__module__].__file__
assert pathlib.Path(source).is_relative_to(here), f"{{source}} is not the wheel's"
ours = resources.files("briquette")
for folder in ("environments", "tables"):
    assert any(f.name.endswith(".toml") for f in (ours / "config" / folder).iterdir()), folder
assert (ours / "SPEC.md").is_file()
# Every module must be importable, of the wheel alone: an editable checkout may stand on the path behind it.
checkout = pathlib.Path({root!r})
sys.path[:] = [e for e in sys.path if pathlib.Path(e).resolve() not in (checkout, checkout / "engine")]
for file in sorted((here / "briquette").rglob("*.py")):
    if file.name not in ("__init__.py", "__main__.py"):
        module = importlib.import_module(".".join(file.relative_to(here).with_suffix("").parts))
        assert pathlib.Path(module.__file__) == file, f"{{module.__file__}} is not the wheel's"
ours = [m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)]
strays = [f for f in ours if checkout in pathlib.Path(f).parents and "site-packages" not in f]
assert not strays, f"the wheel needs files of the checkout: {{strays}}"
sys.argv = ["briquette", "--version"]
sys.exit(main())
"""


def main() -> None:
    """Fail with the missing names, or say what was checked."""
    with tempfile.TemporaryDirectory() as scratch:
        wheel = build(Path(scratch))
        inside = set(zipfile.ZipFile(wheel).namelist())
        missing = sorted(wanted() - inside)
        if missing:
            sys.exit(f"{wheel.name} lacks {', '.join(missing)}. See [tool.hatch.build] in pyproject.toml.")
        ours = (f"{PACKAGE}/", f"{PACKAGE}-")
        strangers = sorted(name for name in inside if not name.startswith(ours))
        if strangers:
            sys.exit(f"{wheel.name} would install {', '.join(strangers)} at top level.")
        differing = sorted(contents(wheel) ^ contents(rebuilt(Path(scratch) / "sdist")))
        if differing:
            sys.exit(f"the source distribution builds another wheel: {', '.join(n for n, _ in differing)}.")
        site = Path(scratch) / "site"
        zipfile.ZipFile(wheel).extractall(site)
        run_inside(site, [sys.executable, "-c", INSIDE.format(root=str(ROOT))])
        commands = [line for line in entry_points(site) if line.startswith("briquette")]
        print(f"{wheel.name}: {len(inside)} files, {wheel.stat().st_size:,} bytes, {commands[0]}")


def build(scratch: Path, source: Path = ROOT) -> Path:
    """The wheel of this checkout, or of another source, built into ``scratch``."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(scratch), str(source)], check=True)
    return next(scratch.glob("*.whl"))


def rebuilt(folder: Path) -> Path:
    """The wheel that the source distribution of this checkout builds, in a folder of its own."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    tools = folder / "tools"
    subprocess.run([*pip, "install", "--target", str(tools), "hatchling>=1.27,<2"], check=True)
    hatchling = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(tools)}
    subprocess.run(hatchling, cwd=ROOT, env=environment, check=True, capture_output=True)
    (archive,) = folder.glob("*.tar.gz")
    return build(folder, archive)


def contents(wheel: Path) -> set[tuple[str, bytes]]:
    """Names and bytes of the files in a wheel; what lists and describes them (dist-info) repeats them."""
    with zipfile.ZipFile(wheel) as opened:
        return {(n, opened.read(n)) for n in opened.namelist() if not n.endswith("/RECORD")}


def wanted() -> set[str]:
    """Tracked modules and data of the packages, as wheel paths."""
    found = set()
    for source, place in SOURCES.items():
        git = ["git", "-C", str(ROOT / source), "ls-files"]
        listed = subprocess.run(git, check=True, capture_output=True, text=True).stdout.split()
        found |= {f"{place}/{name}" for name in listed if name.endswith((".py", *DATA_SUFFIXES))}
    return found


def entry_points(site: Path) -> list[str]:
    """Lines of the wheel's own entry_points.txt."""
    return next(site.glob("*.dist-info/entry_points.txt")).read_text(encoding="utf-8").splitlines()


def run_inside(site: Path, command: list[str]) -> None:
    """Run with the unpacked wheel, and not this checkout, first on the path."""
    silent = {
        f"JSII_SILENCE_WARNING_{what}": "1" for what in ("DEPRECATED_NODE_VERSION", "UNTESTED_NODE_VERSION")
    }
    silent["JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION"] = "18,19,20,21,23"
    environment = {**os.environ, **silent, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    subprocess.run(command, cwd=site, env=environment, check=True)


if __name__ == "__main__":
    main()

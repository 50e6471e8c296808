"""Run the tests of the readers, of inference and the conformance suite on the other Pythons of this machine.

Each interpreter gets an environment of its own under build/pythons, made from the lock and kept for the next
run. One that is not there is skipped with the reason; in CI the first kind, Debian 12's, must be there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = "requirements-dev.lock"
# What a Python's own `re`, `json`, numbers, text and bytecode decide.
TESTS = (
    "tests/conformance",
    "tests/unit/decoding",
    "tests/unit/inference/test_infer.py",
    "tests/unit/inference/test_infer_warnings.py",
    "tests/unit/schemas/test_declared.py",
    "tests/unit/inference/test_known_lines.py",
)
# About documents, and about Parquet objects, which pyarrow reads: the same library on every Python. That they
# are read at all is told by the conformance cases.
NOT_THESE = (
    "tests/conformance/test_spec.py",
    "tests/unit/decoding/test_parquet_files.py",
    "tests/unit/decoding/test_parquet_types.py",
)
# What only repeats what the others show.
LEFT_OUT = "not (a_million_keys or every-executor)"

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A range of Python versions to try: ``first`` is in it, ``beyond`` is not."""

    first: Version
    beyond: Version
    why: str
    required: bool = False  # in CI
    packages: tuple[str, ...] = ()  # that Debian has it in

    def __str__(self) -> str:
        last = f"{self.beyond[0]}.{self.beyond[1]}.{self.beyond[2] - 1}" if self.beyond[2] else "newest"
        return f"Python {'.'.join(map(str, self.first))} to {last}"

    def holds(self, version: Version) -> bool:
        """Whether a version is in the range."""
        return self.first <= version < self.beyond


WANTED = (
    Wanted(
        (3, 11, 0),
        (3, 11, 5),
        "Debian 12's own; its re matches possessive groups wrongly (cpython issue 106052)",
        required=True,
        packages=("python3.11", "python3.11-venv"),
    ),
    Wanted((3, 11, 5), (3, 12, 0), "the 3.11 with a mended re"),
    Wanted((3, 12, 0), (3, 13, 0), "the next minor version"),
    Wanted((3, 13, 0), (3, 14, 0), "the one after that"),
)


def main() -> int:
    """Exit code 1 where a test failed, or where CI lacks an interpreter that it must have."""
    failed = False
    for wanted in WANTED:
        if wanted.holds(sys.version_info[:3]):
            print(f"{wanted}: `make test` runs on it ({sys.executable})", flush=True)
            continue
        found = find(wanted, candidates()) or installed(wanted)
        if found is None:
            failed |= missing(wanted)
            continue
        failed |= not passes(*found)
    return int(failed)


# -- which interpreters there are ------------------------------------------------------------------


def candidates() -> Iterator[Path]:
    """Interpreters that may be on this machine; ``PYTHONS``, paths parted by colons, come first."""
    yield from map(Path, filter(None, os.environ.get("PYTHONS", "").split(os.pathsep)))
    for minor in (11, 12, 13):
        yield Path(f"/usr/bin/python3.{minor}")
        yield from (Path(folder, f"python3.{minor}") for folder in os.get_exec_path())
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for versions in (pyenv / "versions", Path.home() / ".local/share/uv/python"):
        yield from sorted(versions.glob("*/bin/python3"))


def find(wanted: Wanted, paths: Iterable[Path]) -> tuple[Version, Path] | None:
    """The first interpreter of the range, with its version; one that lies in an environment is none."""
    for path in paths:
        version = version_of(path)
        if version and wanted.holds(version):
            return version, path
    return None


def version_of(path: Path) -> Version | None:
    """The version of an interpreter; None where it does not run, or belongs to a virtual environment."""
    if not os.access(path, os.X_OK):
        return None
    ask = "import sys; print(*sys.version_info[:3], sys.prefix == sys.base_prefix)"
    try:
        told = subprocess.run([path, "-c", ask], capture_output=True, text=True, timeout=60, check=True)
        major, minor, micro, own = told.stdout.split()
        return (int(major), int(minor), int(micro)) if own == "True" else None
    except (OSError, ValueError, subprocess.SubprocessError):  # for instance a shim of another version
        return None


def installed(wanted: Wanted) -> tuple[Version, Path] | None:
    """What Debian's package manager brings; only in CI, where this process may install it."""
    apt = shutil.which("apt-get")
    if not (wanted.packages and os.environ.get("CI") and apt and os.geteuid() == 0):
        return None
    print(f"{wanted}: installing {' '.join(wanted.packages)}", flush=True)
    for command in ([apt, "-qq", "update"], [apt, "-qq", "install", "-y", *wanted.packages]):
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    return find(wanted, candidates())


def missing(wanted: Wanted) -> bool:
    """Say that a range was not tried; True where that is a failure."""
    fatal = wanted.required and bool(os.environ.get("CI"))
    how = f" (on Debian 12: apt-get install {' '.join(wanted.packages)})" if wanted.packages else ""
    print(
        f"{wanted}: {'MISSING, and CI must try it' if fatal else 'skipped, not on this machine'}: "
        f"{wanted.why}{how}",
        flush=True,
    )
    return fatal


# -- one interpreter -------------------------------------------------------------------------------


def passes(version: Version, path: Path, run: Callable[..., int] = subprocess.call) -> bool:
    """Whether the tests pass on an interpreter; its environment is made where the lock has changed."""
    name = ".".join(map(str, version))
    began = time.monotonic()
    venv = ROOT / "build" / "pythons" / name
    if not prepared(venv, path, run):
        print(f"{name} {path}: its environment could not be made", flush=True)
        return False
    made = time.monotonic()
    print(f"{name} {path}", flush=True)
    workers = os.environ.get("WORKERS", "2")
    command = [venv / "bin/python", "-m", "pytest", "-q", "-n", workers, "--dist", "loadgroup"]
    command += ["-p", "no:cacheprovider", "-m", "not slow and not aws and not spark", "-k", LEFT_OUT]
    command += [*TESTS, *(f"--ignore={name}" for name in NOT_THESE)]
    good = run(command, cwd=ROOT) == 0
    took = f"environment {made - began:.0f} s, tests {time.monotonic() - made:.0f} s"
    print(f"{name} {path}: {'passed' if good else 'FAILED'} ({took})", flush=True)
    return good


def prepared(venv: Path, python: Path, run: Callable[..., int]) -> bool:
    """Make the environment, unless it was made from this very lock."""
    stamp, state = venv / ".briquette", lock_state(python)
    if stamp.is_file() and stamp.read_text() == state:
        return True
    environment = {**os.environ, "VENV": str(venv.relative_to(ROOT)), "PYTHON": str(python)}
    if run(["sh", "scripts/setup.sh", LOCK], cwd=ROOT, env=environment) != 0:
        return False
    run([venv / "bin/python", "scripts/warm.py"], cwd=ROOT)
    stamp.write_text(state)
    return True


def lock_state(python: Path) -> str:
    """What an environment is made of: it is made anew when this changes."""
    digest = hashlib.sha256(str(python.resolve()).encode())
    for name in ("pyproject.toml", LOCK, "scripts/setup.sh"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())

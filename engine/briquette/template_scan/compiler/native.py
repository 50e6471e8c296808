"""From the kernel's source to a function that can be called: compiled once for a machine, then loaded.

numba takes seconds to import and to compile, so its result is kept: an object file, which llvmlite links in
each process. The file's name is a hash of the kernel's source, the compiler's version and the kind of
machine. It is compiled for the common part of all processors of that kind (a loss of about 5 %): a container
runs where it was not built.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import re
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

_SYMBOL: Final = "briquette_scan"
_SCAN: Final = Path(__file__).parent.parent
_SOURCES: Final = (
    _SCAN / "abi.py",
    *sorted((_SCAN / "kernel").glob("*.py")),
    *sorted((_SCAN / "compiler").glob("*.py")),
)
_C_LIBRARY: Final = frozenset({"memcpy", "memmove", "memset", "memcmp", "bcmp"})
_PROTOTYPE: Final = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(ctypes.c_void_p), ctypes.c_int64
)
_WRAPPER: Final = re.compile(r"^define [^\n]*@cfunc\..*?^}\n", re.MULTILINE | re.DOTALL)
_DECLARATION: Final = re.compile(r"^declare [^\n]*@(?!llvm\.)([\w.$]+)\([^\n]*\n", re.MULTILINE)
_lock = threading.Lock()
_loaded: list[tuple[Any, Callable[[int], int]]] = []
_failed: list[Exception] = []


def available() -> bool:
    """Whether the compiled scan can run here: numba is there, the machine little-endian, no try failed."""
    if _loaded:  # asked for each run of lines, and the import system answers in 0.2 ms
        return True
    return not _failed and sys.byteorder == "little" and importlib.util.find_spec("numba") is not None


def is_loaded() -> bool:
    """Whether this process has the kernel already."""
    return bool(_loaded)


def is_compiled() -> bool:
    """Whether this process can have the kernel without compiling it."""
    return bool(_loaded) or _cached_file() is not None


def entry() -> Callable[[int], int]:
    """The kernel: takes the address of a block, returns a status; runs without the interpreter lock."""
    if not _loaded:
        with _lock:
            if not _loaded:
                _loaded.append(_load())
    return _loaded[0][1]


def entry_or_none() -> Callable[[int], int] | None:
    """The kernel, or None with one warning where the compiler does not do its work here."""
    if not available():
        return None
    try:
        return entry()
    except Exception as error:  # noqa: BLE001  # whatever a compiler says: the scan is only faster, never needed
        _failed.append(error)
        warnings.warn(
            f"The template scan is off, because its kernel could not be compiled: {error!r}. "
            "Rows are the same without it.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def _load() -> tuple[Any, Callable[[int], int]]:
    checked = os.environ.get("BRIQUETTE_SCAN_CHECKED") == "1"
    path = None if checked else _cached_file()
    code = None if path is None else _verified(path)
    if code is None:
        code = _compile()
        if not checked:
            _store(code)
    return _link(code)


def _compile() -> bytes:
    """The kernel as a relocatable object that needs nothing but the C library."""
    import llvmlite.binding as llvm
    from numba import cfunc

    from briquette.template_scan.kernel import intrinsics, lines

    options = {name: value for name, value in intrinsics.OPTIONS.items() if name != "nogil"}
    # numba's wrapper asks the interpreter to report errors; the function inside it returns them.
    text = _WRAPPER.sub("", cfunc(lines.SIGNATURE, **options)(lines.scan_entry).inspect_llvm())
    body = _DECLARATION.sub("", text)
    wanted = {name for name in _DECLARATION.findall(text) if f"@{name}(" in body} - _C_LIBRARY
    if wanted:
        raise RuntimeError(f"the compiled scan asks for {sorted(wanted)}, which only numba can give")
    module = llvm.parse_assembly(text)
    for function in module.functions:
        if "scan_entry" in function.name:
            function.name = _SYMBOL
        elif not function.is_declaration:
            function.linkage = "internal"  # called directly, not through a table
    return bytes(_target_machine(llvm).emit_object(module))


def _link(code: bytes) -> tuple[Any, Callable[[int], int]]:
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine(llvm))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    function = _PROTOTYPE(engine.get_function_address(_SYMBOL))

    def call(address: int) -> int:
        status, raised = ctypes.c_int64(), ctypes.c_void_p()
        if function(ctypes.byref(status), ctypes.byref(raised), address) != 0:
            raise IndexError("the scan would have left its memory")  # only the checked build can say so
        return status.value

    return engine, call


def _target_machine(llvm: Any) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    cpu = {"x86_64": "x86-64", "AMD64": "x86-64"}.get(platform.machine(), "generic")
    return target.create_target_machine(cpu=cpu, opt=3, reloc="pic", codemodel="jitdefault", jit=True)


# -- the cached object -----------------------------------------------------------------------------


@functools.cache
def _name() -> str:
    digest = hashlib.sha256()
    for source in _SOURCES:
        digest.update(source.read_bytes())
    for package in ("numba", "llvmlite"):
        digest.update(f"{_release(package)}\n".encode())
    digest.update(f"{platform.system()} {platform.machine()}\n".encode())
    return f"scan-{digest.hexdigest()[:20]}.o"


def _release(package: str) -> str:
    """Name and version of an installed package; importlib.metadata would take 20 ms to say it."""
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin is not None:
        for name in os.listdir(Path(spec.origin).parent.parent):
            if name.startswith(f"{package}-") and name.endswith(".dist-info"):
                return name.removesuffix(".dist-info")
    from importlib.metadata import version

    return f"{package}-{version(package)}"


def _folders() -> tuple[Path, ...]:
    stated = os.environ.get("BRIQUETTE_SCAN_CACHE")
    if stated:
        return (Path(stated),)
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(__file__).parent / "__pycache__", user / "briquette")


def _cached_file() -> Path | None:
    for folder in _folders():
        path = folder / _name()
        try:
            facts = path.stat()
        except OSError:
            continue
        # Machine code is run as it stands: only from a file that nobody else could have put there.
        if facts.st_uid in {0, os.getuid()} and not facts.st_mode & 0o022 and os.access(path, os.R_OK):
            return path
    return None


def _verified(path: Path) -> bytes | None:
    """The object, if the digest in front of it says that it is whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    code = content[32:]
    return code if hashlib.sha256(code).digest() == content[:32] else None


def _store(code: bytes) -> None:
    """Keep the object in the first folder that takes it; without one the next process compiles again."""
    import tempfile  # with random and shutil, which a process that finds the object does not need

    for folder in _folders():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=folder, prefix="scan-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(hashlib.sha256(code).digest() + code)
                os.chmod(temporary, 0o644)  # a container is built by one user and run by another
                os.replace(temporary, folder / _name())
            except OSError:
                os.unlink(temporary)
                raise
        except OSError:
            continue
        return

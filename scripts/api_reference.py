"""Build the API reference from the docstrings of the names in ``briquette.__all__``; `make api` calls this.

Strict: a warning of mkdocs or of the docstring reader is an error, and so are a public function that does not
say what it returns and raises, a public name that type checkers do not see, and a page that would
load anything from elsewhere.
"""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import briquette

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = ROOT / "docs" / "api" / "mkdocs.yml"
PAGES = ROOT / "build" / "api-pages"
SITE = ROOT / "build" / "api"

HEADS = {
    "index.md": "# Functions\n\nEverything here is `from briquette import …`; version {version}. "
    "How to use it: docs/guide.md. What holds of its results: engine/SPEC.md.\n",
    "types.md": "# Types\n\nWhat the functions take and return.\n",
    "errors.md": "# Errors\n\nEach says what went wrong, where and what to do next, and carries the exit "
    "code of the command line.\n",
}
# What a browser would fetch from another host; links that a reader may follow are none.
FETCHED = re.compile(rb"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["'](?:https?:)?//[^"']*""")
IMPORTED = re.compile(rb"""(?:@import\s*|url\()\s*["']?(?:https?:)?//[^"')]*""")


def main() -> int:
    """Write the pages, build the site; exit code 1, and what is wrong on stderr, where a check fails."""
    pages = pages_of({name: getattr(briquette, name) for name in briquette.__all__})
    wrong = [
        sentence for name in briquette.__all__ for sentence in says_too_little(name, getattr(briquette, name))
    ]
    if not wrong:
        shutil.rmtree(PAGES, ignore_errors=True)
        PAGES.mkdir(parents=True)
        for page, text in pages.items():
            (PAGES / page).write_text(text, encoding="utf-8")
        build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean", "-f", str(CONFIGURATION)]
        # Not --quiet: what it does not show, mkdocs does not count as a warning either.
        built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
        if built.returncode != 0:
            sys.stderr.write(built.stderr)
            return 1
        wrong = [*missing_from(SITE, briquette.__all__), *loads_from_elsewhere(SITE)]
    for sentence in wrong:
        print(f"api: {sentence}", file=sys.stderr)
    if not wrong:
        print(f"{SITE.relative_to(ROOT)}/index.html: {len(briquette.__all__)} public names")
    return int(bool(wrong))


def pages_of(public: dict[str, object]) -> dict[str, str]:
    """The Markdown pages, by file name: functions, types and errors, in the order of their names."""
    pages = {page: [head.format(version=briquette.__version__)] for page, head in HEADS.items()}
    for name, thing in sorted(public.items()):
        if name != "__version__":
            pages[page_of(thing)].append(directive(name, thing))
    return {page: "\n".join(parts) for page, parts in pages.items() if len(parts) > 1}


def page_of(thing: object) -> str:
    """The page that a public object belongs on."""
    if isinstance(thing, type):
        return "errors.md" if issubclass(thing, BaseException) else "types.md"
    if isinstance(thing, ModuleType):
        return "errors.md" if thing.__name__.endswith(".errors") else "types.md"
    return "index.md" if callable(thing) else "types.md"


def directive(name: str, thing: object) -> str:
    """What mkdocstrings replaces by the docstring: found as type checkers find it, by the static exports."""
    options = "    options:\n      show_submodules: false\n" if isinstance(thing, ModuleType) else ""
    return f"::: briquette.{name}\n{options}"


def says_too_little(name: str, thing: object) -> Iterator[str]:
    """What the docstring of a public name lacks: that it is there, and what a function returns and raises.

    A function that is annotated to return a public type says what it returns: the type has its own entry.
    """
    text = inspect.getdoc(thing) or ""
    if name == "__version__":
        return
    if not text:
        yield f"briquette.{name} has no docstring."
    elif inspect.isfunction(thing):
        returned = str(inspect.signature(thing).return_annotation)
        for verb in ("return", "raise")[returned in briquette.__all__ :]:
            if not re.search(rf"\b{verb}s?\b", text, re.IGNORECASE):
                yield f"briquette.{name} does not say what it {verb}s."


def missing_from(site: Path, names: list[str]) -> Iterator[str]:
    """Public names without an entry of their own in the site."""
    made = "".join(page.read_text(encoding="utf-8") for page in site.glob("*.html"))
    for name in names:
        if name != "__version__" and f'id="briquette.{name}"' not in made:
            yield f"briquette.{name} is in __all__ and has no entry."


def loads_from_elsewhere(site: Path) -> Iterator[str]:
    """Addresses of other hosts that a page or a style sheet would load."""
    for file in sorted(site.rglob("*")):
        if file.suffix in (".html", ".css"):
            for hit in (*FETCHED.findall(data := file.read_bytes()), *IMPORTED.findall(data)):
                yield f"{file.relative_to(site)} loads from elsewhere: {hit.decode(errors='replace')}"


if __name__ == "__main__":
    sys.exit(main())

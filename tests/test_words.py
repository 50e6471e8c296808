"""User messages and pages use the field's words: no word that only somebody who wrote the code understands.

What a person reads is every string constant that is a phrase (it has a blank), every string in an error, a
log call, a warning, a help text or a hint, and the docstring of a command, which is its help. Names and
docstrings of the code are not looked at here. docs/glossary.md says what each word of our own means.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
INSTEAD = {
    r"nouns?": "data type",
    r"spare": "idle thread",
    r"ahead": "prefetch, or before",
    # "The stream ends early" is plain English; "parts written early" was a name of our own.
    r"early (?:parts?|reads?)|(?:read|written|made|begun) early": "prefetch, or while later splits are made",
    r"beside": "next to, as well as; of columns: join",
    r"wires?": "serialization, connection",
    r"doors?": "server or interface",
    r"type ?words?|words? of (?:the|a|one) (?:type|target|partition|column)s?": "type, name, argument",
    r"areas?": "output buffer",
    r"evidence": "column profile",
    r"skim(?:s|med|ming)?": "known lines",
    r"speech|spoken": "output",
    r"settling": "process set-up",
    r"surroundings": "settings",
    r"[Mm]end(?:s|ed|ing)?": "fix, repair",
    r"stor(?:y|ies)": "run, what happened",
    r"rooms?": "package",
    r"house": "architecture, layers",
    r"lanes?": "reader (docs/glossary.md explains the word for those who read code)",
}
UNWANTED = {re.compile(rf"\b(?:{word})\b", re.IGNORECASE): instead for word, instead in INSTEAD.items()}
SPEAKING = {
    *("option", "Option", "Argument", "Typer", "warn", "fail", "say", "print"),
    *("debug", "info", "warning", "error", "exception", "critical", "log"),
}
SPOKEN_KEYWORDS = {"hint", "help", "why", "message", "meaning"}


def read_by_people(source: str) -> Iterator[tuple[int, str]]:
    """The line and text of each string of a module that a person may read."""
    tree = ast.parse(source)
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    spoken: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any(
            "command(" in ast.unparse(d) for d in node.decorator_list
        ):
            yield node.lineno, ast.get_docstring(node) or ""
        if isinstance(node, ast.Raise) and node.exc:
            spoken |= {id(inner) for inner in ast.walk(node.exc)}
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            said = [k.value for k in node.keywords if k.arg in SPOKEN_KEYWORDS]
            said += node.args if name in SPEAKING else []
            spoken |= {id(inner) for part in said for inner in ast.walk(part)}
    for node in ast.walk(tree):  # breadth first: an f-string comes before its parts
        text = ""
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
            silent |= {id(part) for part in node.values if isinstance(part, ast.Constant)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        if text and id(node) not in silent and (" " in text.strip() or id(node) in spoken):
            yield node.lineno, text


def unwanted(lines: Iterator[tuple[int, str]], allowed: Collection[str] = ()) -> list[str]:
    """What to say instead of each unwanted word, with its line."""
    return [
        f"line {line}: {found.group()!r} in {text!r}: say {instead!r}"
        for line, text in lines
        for word, instead in UNWANTED.items()
        if (found := word.search(text)) and found.group().lower() not in allowed
    ]


def tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_messages_use_the_fields_words():
    modules = tracked("engine/briquette/*.py", "glue_wrappers/*.py", "orchestration/*.py")
    found = {name: unwanted(read_by_people((ROOT / name).read_text("utf-8"))) for name in modules}
    assert {name: words for name, words in found.items() if words} == {}


def prose(page: str) -> Iterator[tuple[int, str]]:
    """The lines of a page without what is in backticks, in code blocks and in the addresses of links."""
    code = False
    for at, line in enumerate(page.splitlines(), 1):
        code ^= line.startswith("```")
        if not code:
            yield at, re.sub(r"`[^`]*`|\]\([^)]*\)", "", line)


# In a page "ahead" and "beside" are plain English, and the glossary explains "lane".
PLAIN = {"ahead", "beside", "lane", "lanes"}
HISTORY = ("docs/decisions/", "docs/glossary.md")


def test_pages_use_the_fields_words():
    pages = tracked("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "benchmarks/README.md")
    pages = [name for name in pages if not name.startswith(HISTORY)]
    found = {name: unwanted(prose((ROOT / name).read_text("utf-8")), PLAIN) for name in pages}
    assert {name: words for name, words in found.items() if words} == {}


@pytest.mark.parametrize(
    "source",
    [
        'raise UsageError(f"the wire of {name} is cut.")',
        'raise UsageError("the file is cut.", hint="Mend it.")',
        'def f():\n    return StoreError("x", hint="Mend" if x else "")',
        'logger.info("settling")',
        'log.warning("%s is spare", name)',
        'x = option("Run", "What is read ahead.")',
        'warnings.warn("skimmed")',
        'def f():\n    """Return a remark."""\n    return f"numbers beside {other}"',
        '@app.command()\ndef look():\n    """Tell the whole story."""',
        'x = field(meaning="evidence")',
        'def f(a, b):\n    return f"{a} beside {b}"',
    ],
)
def test_an_unwanted_word_is_found(source):
    found = unwanted(read_by_people(source))
    assert len(found) == 1, found
    assert "say " in found[0]


@pytest.mark.parametrize(
    "source",
    [
        'def f():\n    """The spare wire beside the door."""',
        "import wires\nwires.open(ahead=True)",
        'raise CorruptObject("the stream ends early")',
        'x = {"spare": 1}',
        'raise NoSpace("the warehouse recommends amending the inventory")',
    ],
)
def test_plain_english_names_and_docstrings_are_left_alone(source):
    assert unwanted(read_by_people(source)) == []


def test_a_page_is_read_without_its_code():
    assert unwanted(prose("The `wires` of\n```\nmend it\n```\n[a](https://example.org/room)")) == []
    assert len(unwanted(prose("Told in the old house.\n"))) == 1

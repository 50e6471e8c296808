"""For the reference that mkdocstrings makes: an example in a docstring (``>>>``) becomes a block of code.

Markdown knows no doctests and would take ``[('a', 1)]`` in an answer for the name of something to link to.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^(?P<indent> *)>>> .*(?:\n(?P=indent)(?! *$).+)*", re.MULTILINE)


class DocstringExamples(griffe.Extension):
    """What griffe calls for each object that it has read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Put fences around the examples of an object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """A docstring with each run of examples, up to the next empty line, as a block of code."""
    return _EXAMPLE.sub(lambda found: f"```pycon\n{_without_directives(found[0])}\n```", text)


def _without_directives(example: str) -> str:
    return re.sub(r" *# doctest: .*$", "", example, flags=re.MULTILINE)

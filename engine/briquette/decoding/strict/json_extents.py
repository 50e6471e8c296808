"""Where a JSON record ends that is malformed or too long: by its tokens, and by the shape of its neighbours.

SPEC.md C6.3 and C6.6 say the rules. They look at nothing before the record but the white space that its own
line begins with, and never past a line that begins with "{", so that blocks and byte ranges agree.
"""

from __future__ import annotations

import re

SPACE = " \t\n\r"
MOST_INDENT = 256  # characters: what is indented further is not looked for

# A string ends with its quote; with its line where the next one begins like JSON and not like more text.
_STRING = r'"[^"\\\n]*(?>(?:\\[^\n]?|\n[ \t\r\n]*(?!["{}\[\] \t\r\n]))[^"\\\n]*)*(?:(")|(?=\n)|\Z)'
_LINE = r"\n[ \t]*(?:\}[ \t]*(?:,[ \t]*)?)?\{"  # that may begin the next record
_TOKEN = re.compile(rf"{_STRING}|{_LINE}|[][{{}}]")
_LOOSE_TOKEN = re.compile(rf"{_STRING}|{_LINE}|[][{{}},\n]")
# What most malformed records are, at once: one line, strings that are followed as they should be, no nesting
# but of texts and bare words in a list, or in an object behind a colon.
_PLAIN = r'[^"{}\[\]\n]*'
_SOUND_STRING = r'"[^"\\\n]*(?>\\[^\n][^"\\\n]*)*"(?=[ \t\r\n,:\]}"\[{])'
_INSIDE_FLAT = rf"(?>{_PLAIN}(?>{_SOUND_STRING}{_PLAIN})*)"
_NESTED = rf"\[{_INSIDE_FLAT}\]|(?:(?<=:)|(?<=: ))\{{{_INSIDE_FLAT}\}}"
_FLAT = re.compile(rf"\{{(?>{_PLAIN}(?>(?>{_SOUND_STRING}|{_NESTED}){_PLAIN})*)\}}")
_KEYS = re.compile(
    r'\{[ \t\r\n]*("[^"\\\n]*")(?:[ \t\r\n]*:[ \t\r\n]*(?:"[^"\\\n]*"|[^][{}",\n]*),[ \t\r\n]*("[^"\\\n]*"))?'
)
_KEYS_CHARS = 256  # in which the first two keys of a record must stand to be known again
_STRAY = re.compile(r"[}\],][ \t\r}\],]*")
_STRAY_BRACES = re.compile(r"\}[ \t\r}]*")  # in an array
_AFTER_STRING = frozenset(' \t\r\n,:]}"[{')
_STRUCTURE = SPACE + ",:{}[]"
_BEHIND_ELEMENT = re.compile(r"[],{\n]")
_PAIR = {"}": "{", "]": "["}


class Undecided(Exception):
    """The text at hand does not decide it, and more follows."""


class Indent:
    """The white space that the line of a place begins with, known from the text that came before the place.

    None where it is longer than MOST_INDENT.
    """

    def __init__(self) -> None:
        self.value: str | None = ""
        self._open = True  # nothing but white space on the line so far

    def pass_over(self, text: str) -> None:
        """Go on by ``text``."""
        line = text.rfind("\n") + 1
        if line:
            self.value, self._open = "", True
        if self._open and self.value is not None:
            rest = text[line : line + MOST_INDENT + 1].lstrip(" \t")
            more = min(len(text) - line, MOST_INDENT + 1) - len(rest)
            self._open = not rest and more == len(text) - line
            self.value += text[line : line + more]
            if len(self.value) > MOST_INDENT:
                self.value = None


def malformed_end(text: str, at: int, indent: str | None, *, array: bool, final: bool) -> int:
    """Behind the malformed record that begins at ``at``; white space may stand before that place.

    ``array`` says that it is an element of an array of records. Raises Undecided, unless the text is
    ``final``.
    """
    first = text[at]
    if first == "{" or (first == "[" and array):
        flat = _FLAT.match(text, at)
        end = flat.end() if flat else _Extent(text, at, indent, loose=False, final=final).find()
        if not array:
            return end
        behind = _BEHIND_ELEMENT.search(text, end)
        return behind.start() if behind else _or_end(text, final=final)
    stray = (_STRAY_BRACES if array else _STRAY).match(text, at)
    if stray and (stray.end() == len(text) or text[stray.end()] == "{"):
        return stray.end() if stray.end() < len(text) else _or_end(text, final=final)
    if array:
        return _Extent(text, at, indent, loose=True, final=final).find()
    line = text.find("\n", at)
    return line if line >= 0 else _or_end(text, final=final)


def _or_end(text: str, *, final: bool) -> int:
    if not final:
        raise Undecided
    return len(text)


class _Extent:
    """Follows the brackets of one record. ``loose``: it begins with none, and ends where an element does."""

    def __init__(self, text: str, at: int, indent: str | None, *, loose: bool, final: bool) -> None:
        self._text = text
        self._at = at
        self._indent = indent
        self._loose = loose
        self._final = final
        self._open: list[str] = []
        self._count = {"{": 0, "[": 0}
        self._keys: tuple[str, str | None] | None = None

    def find(self) -> int:
        text, at = self._text, self._at
        search = (_LOOSE_TOKEN if self._loose else _TOKEN).search
        while (token := search(text, at)) is not None:
            start, at = token.span()
            if text[start] == '"':
                if at == len(text) and not self._final:
                    break
                if token.lastindex is None:
                    end = self._structure(start + 1, at)
                elif at < len(text) and text[at] not in _AFTER_STRING:
                    # With more text behind it this quote opens a string: one is missing before it.
                    at -= 1
                    end = self._structure(start + 1, at)
                else:
                    continue
            elif at - start > 1:
                end = self._line(start, at)
            else:
                end = self._step(text[start], start)
            if end is not None:
                return end
        return _or_end(text, final=self._final)

    def _structure(self, start: int, stop: int) -> int | None:
        """Steps over the brackets and commas at the end of what was taken for a string."""
        inside = self._text[start:stop]
        for i in range(len(inside.rstrip(_STRUCTURE)), len(inside)):
            end = self._step(inside[i], start + i) if inside[i] not in " \t\r:" else None
            if end is not None:
                return end
        return None

    def _line(self, start: int, stop: int) -> int | None:
        """A line that begins with "{", perhaps behind "}" and a comma."""
        if self._loose and not self._open:
            return start
        lead = self._text[start + 1 : stop - 1]
        before, brace, _ = lead.partition("}")
        if not lead or before == self._indent:
            return start + 1 + len(before) + 1 if brace else start
        end = self._step("}", start + 1 + len(before)) if brace else None
        return self._step("{", stop - 1) if end is None else end

    def _step(self, char: str, at: int) -> int | None:
        """Takes note of a bracket; answers where the record ends if it ends by it."""
        if char in "{[":
            if char == "{" and self._open and self._open[-1] == "{" and self._begins_record(at):
                return at
            self._open.append(char)
            self._count[char] += 1
        elif char in "}]":
            if not self._open and self._loose and char == "]":
                return at
            return self._close(_PAIR[char], at)
        elif self._loose and not self._open:
            return at  # a comma or a line end
        return None

    def _begins_record(self, at: int) -> bool:
        """Whether a "{" that no object may hold there begins with the keys that this record begins with."""
        text = self._text
        before = at - 1
        while text[before] in SPACE:
            before -= 1
        if self._loose or text[before] == ":":
            return False
        if self._keys is None:
            self._keys = self._first_keys(self._at)
        first, second = self._keys
        found = self._first_keys(at) if first else self._keys
        return first != "" and found[0] == first and second in (None, found[1])

    def _first_keys(self, at: int) -> tuple[str, str | None]:
        """The first two keys of the object that begins at ``at``, as far as they can be seen."""
        found = _KEYS.match(self._text, at, at + _KEYS_CHARS)
        return (found[1], found[2]) if found else ("", None)

    def _close(self, opener: str, at: int) -> int | None:
        if not self._count[opener]:
            return None
        while True:
            last = self._open.pop()
            self._count[last] -= 1
            if last == opener:
                break
        return at + 1 if not self._open and not self._loose else None


# -- too long to hold ---------------------------------------------------------------------------


_OUTSIDE = re.compile(r'["{}\[\]\n,]')
_INSIDE = re.compile(r'["\\\n]')


class Skip:
    """The way to the end of a record that is too long to be held, by a rule that needs no memory.

    ``whole`` says that it goes to the end of the text.
    """

    def __init__(self, first: str, indent: str | None, *, array: bool, whole: bool) -> None:
        self._bracket = first in "{["
        self._indent = indent
        self._array = array
        self._whole = whole
        self._depth = 0
        self._in_string = False

    def find(self, text: str, at: int, *, final: bool) -> tuple[int, bool]:
        """How far ``text`` from ``at`` on belongs to the record, and whether it ends there."""
        if self._whole:
            return len(text), final
        while (token := (_INSIDE if self._in_string else _OUTSIDE).search(text, at)) is not None:
            at = token.end()
            char = token[0]
            if char == "\\":
                at += text[at : at + 1] != "\n"
                if at > len(text):
                    return (len(text), True) if final else (len(text) - 1, False)
            elif char == '"':
                self._in_string = not self._in_string
            elif char == "\n":
                self._in_string = False
                ends = self._line(text, at, final=final)
                if ends or ends is None:
                    return at - 1, ends is not None
            elif self._ends_by(char):
                return (at, True) if self._bracket else (at - 1, True)
        return len(text), final

    def _line(self, text: str, at: int, *, final: bool) -> bool | None:
        """Whether the record ends with the line before ``at``; None where more text must say it."""
        if not self._bracket and not (self._array and self._depth):
            return True
        shapes = ["{"] if self._indent is None else ["{", self._indent + "{"]
        if not final and any(s.startswith(text[at:]) for s in shapes):
            return None
        return any(text.startswith(s, at) for s in shapes)

    def _ends_by(self, char: str) -> bool:
        if char == ",":
            return self._array and not self._bracket and not self._depth
        if char in "{[":
            self._depth += 1
        elif self._depth:
            self._depth -= 1
            return self._bracket and not self._depth
        else:
            return self._array and char == "]"
        return False

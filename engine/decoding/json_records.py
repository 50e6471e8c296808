"""The strict reader of JSON records: the one meaning of a JSON object's text.

A text is a sequence of JSON values, or one array of them. The standard library's scanner parses each value
with hooks that keep numbers as their literal text; everything the scanner does not decide (where a malformed
record ends, duplicated keys, limits) is decided here, and does not depend on its messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterator
from enum import Enum
from typing import Any, NamedTuple

from engine.decoding.text import BOM
from engine.decoding.values import NotFinite, Number
from engine.errors import LimitExceeded
from engine.model import Limits

BAD_JSON = "not valid JSON"
BAD_UTF8 = "not valid UTF-8"
BAD_SURROGATE = "a string holds half of a surrogate pair"
NOT_AN_OBJECT = "not a JSON object"
EMPTY_ELEMENT = "an array element is missing"
NOT_CLOSED = "array is not closed"
AFTER_ARRAY = "text after the array"

# The scanner's errors count the lines before them, so a long text is read through a window.
WINDOW_BYTES = 1 << 18

_SPACE = re.compile(r"[ \t\n\r]*")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # how such bytes appear after decoding with surrogateescape
_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\Z)'
_BRACES = re.compile(_STRING + r"|[{}]", re.DOTALL)
_NESTING = re.compile(_STRING + r"|[][{}]", re.DOTALL)
_ELEMENT_END = re.compile(r"[],\n]")
_NEXT_ELEMENT = re.compile(r"[],]|\n(?=\{)")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
# While more text may follow, an error so near to the end may only mean that a token is cut.
_TOKEN_MARGIN = 64


class Record(NamedTuple):
    """One record: ``value`` is its members, or None with a ``reason``."""

    offset: int  # bytes from the beginning of the object's text, BOM included
    size: int  # bytes
    value: dict[str, Any] | None
    reason: str
    duplicate_keys: bool


class _State(Enum):
    START = 0
    SEQUENCE = 1
    ELEMENT = 2  # in an array, before an element
    SEPARATOR = 3  # in an array, behind an element
    AFTER = 4  # behind the array


class _LimitError(Exception):
    """Raised inside the scanner's hooks, which do not know where they are."""


class _NeedMoreError(Exception):
    """The text at hand does not decide how the record goes on."""


class _Hooks:
    """What the scanner calls: literals keep their text; keys and digits are counted."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.duplicates = False

    def number(self, literal: str) -> Number:
        limit = self.limits.number_digits
        if len(literal) > limit and sum(c.isdigit() for c in literal) > limit:
            raise _LimitError(f"a number of more than {limit} digits")
        return Number(literal)

    def members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) > self.limits.columns:
            raise _LimitError(f"a JSON object of more than {self.limits.columns} keys")
        found = dict(pairs)
        if len(found) != len(pairs):
            self.duplicates = True
        return found


class _Window:
    """Decoded text in which a place can be given back as a byte offset."""

    def __init__(self, raw: bytes, base: int, *, final: bool) -> None:
        try:
            self.text, self.dirty = raw.decode(), False
        except UnicodeDecodeError:
            self.text, self.dirty = raw.decode("utf-8", "surrogateescape"), True
        self.final = final
        self._plain = len(self.text) == len(raw)  # one byte per character
        self._base = base
        self._chars = self._bytes = 0

    def offset(self, at: int) -> int:
        """The byte offset of character ``at``; places asked for lie near one another, so this is cheap."""
        if self._plain:
            return self._base + at
        low, high = min(at, self._chars), max(at, self._chars)
        step = len(self.text[low:high].encode("utf-8", "surrogateescape"))
        self._bytes += step if at >= self._chars else -step
        self._chars = at
        return self._base + self._bytes


class JsonReader:
    """Reads the records of one object's text, in one go or piece by piece.

    ``base_offset`` is where the text starts in the object; ``sequence`` says that it is a run of lines from
    the midst of a sequence of values, so that a "[" does not open an array of records. Raises LimitExceeded.
    """

    def __init__(self, key: str, limits: Limits, *, base_offset: int = 0, sequence: bool = False) -> None:
        self._key = key
        self._limits = limits
        self._offset = base_offset
        self._state = _State.SEQUENCE if sequence else _State.START
        self._first = True  # of an array's elements
        self._cut = False  # the last element was cut off by the end of the text
        self._at = 0  # how far the window is decided
        self._hooks = _Hooks(limits)
        self._scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(
            parse_int=self._hooks.number,
            parse_float=self._hooks.number,
            parse_constant=NotFinite,
            object_pairs_hook=self._hooks.members,
        ).scan_once  # type: ignore[attr-defined]

    def read(self, text: bytes, *, window_bytes: int = WINDOW_BYTES) -> Iterator[Record]:
        """All records of a whole text."""
        done, size = 0, window_bytes
        while True:
            final = done + size >= len(text)
            consumed = yield from self.read_piece(text[done : done + size], final=final)
            if final:
                return
            done += consumed
            size = window_bytes if consumed else size * 4

    def read_piece(self, raw: bytes, *, final: bool) -> Generator[Record, None, int]:
        """The records that a piece decides; returns how many bytes of it need not come again."""
        bom = len(BOM) if self._state is _State.START and self._offset == 0 and raw.startswith(BOM) else 0
        if not final and len(raw) <= len(BOM):
            return 0
        window = _Window(raw[bom:], self._offset + bom, final=final)
        self._at = 0
        try:
            while (record := self._next(window)) is not None:
                yield record
        except _NeedMoreError:
            pending = window.offset(len(window.text)) - window.offset(self._at)
            if pending > self._limits.record_bytes:
                raise self._too_long() from None
        begin, self._offset = self._offset, window.offset(self._at)
        return self._offset - begin

    # -- from record to record -----------------------------------------------------------------

    def _next(self, window: _Window) -> Record | None:
        """The next record, with ``_at`` behind it; None where the text ends."""
        text = window.text
        while True:
            space = _SPACE.match(text, self._at)
            at = self._at = space.end() if space else self._at
            if at == len(text):
                return self._end(window)
            char = text[at]
            if self._state is _State.SEQUENCE:
                return self._value(window, at)
            if self._state is _State.START:
                self._state = _State.ELEMENT if char == "[" else _State.SEQUENCE
                self._at += char == "["
            elif self._state is _State.AFTER:
                return self._text_after_array(window, at)
            elif char == "," and self._state is _State.SEPARATOR:
                self._state, self._first, self._at = _State.ELEMENT, False, at + 1
            elif char == "]" and (self._first or self._state is _State.SEPARATOR):
                self._state, self._at = _State.AFTER, at + 1
            elif char in ",]":
                self._state = _State.ELEMENT if char == "," else _State.AFTER
                self._first, self._at = False, at + 1
                return Record(window.offset(at), 0, None, EMPTY_ELEMENT, False)
            else:
                record = self._value(window, at)
                self._state, self._first = _State.SEPARATOR, False
                return record

    def _end(self, window: _Window) -> Record | None:
        open_array = self._state in (_State.ELEMENT, _State.SEPARATOR) and not self._cut
        if not window.final or not open_array:
            return None
        self._state = _State.AFTER
        return Record(window.offset(self._at), 0, None, NOT_CLOSED, False)

    def _text_after_array(self, window: _Window, at: int) -> Record:
        if not window.final:
            raise _NeedMoreError
        self._at = len(window.text)
        return self._reject(window, at, len(window.text.rstrip(" \t\n\r")), AFTER_ARRAY)

    # -- one value -----------------------------------------------------------------------------

    def _value(self, window: _Window, at: int) -> Record:
        text = window.text
        self._hooks.duplicates = False
        try:
            value, end = self._scan(text, at)
        except (json.JSONDecodeError, StopIteration) as error:
            return self._malformed(window, at, self._reached(window, at, error), BAD_JSON)
        except _LimitError as error:
            raise self._limit(str(error), "that") from None
        except RecursionError:
            raise self._too_deep() from None
        if end == len(text) and not window.final and text[at] not in '{["':
            raise _NeedMoreError  # 12 may become 123
        self._check_depth(text, at, end)
        if window.dirty and _NOT_UTF8.search(text, at, end):
            return self._malformed(window, at, end, BAD_UTF8)
        if text.find("\\u", at, end) >= 0 and _has_lone_surrogate(value, text, at, end):
            return self._malformed(window, at, end, BAD_SURROGATE)
        self._at = end
        if not isinstance(value, dict):
            return self._reject(window, at, end, NOT_AN_OBJECT)
        offset = window.offset(at)
        size = window.offset(end) - offset
        if size > self._limits.record_bytes:
            raise self._too_long()
        return Record(offset, size, value, "", self._hooks.duplicates)

    def _reached(self, window: _Window, at: int, error: json.JSONDecodeError | StopIteration) -> int:
        """How far the scanner came; raises _NeedMoreError where only the end of the window stopped it."""
        end = len(window.text)
        reached = error.pos if isinstance(error, json.JSONDecodeError) else int(error.value)
        in_string = isinstance(error, json.JSONDecodeError) and error.msg.startswith("Unterminated")
        self._check_depth(window.text, at, reached)
        if not window.final and (in_string or end - reached < _TOKEN_MARGIN):
            raise _NeedMoreError
        return end if in_string else reached

    def _malformed(self, window: _Window, at: int, reached: int, reason: str) -> Record:
        """A reject with its extent by the lexical rule; moves to where reading goes on."""
        text, array = window.text, self._state is not _State.SEQUENCE
        if text[at] == "{":
            end = _lexical_end(window, at)
        else:
            found = _ELEMENT_END.search(text, at) if array else None
            end = found.start() if found else _or_end(window, -1 if array else text.find("\n", at))
        if window.offset(reached) - window.offset(at) > self._limits.record_bytes:
            raise self._too_long()
        goes_on = end
        if array:
            space = _SPACE.match(text, end)
            goes_on = space.end() if space else end
            if text[goes_on : goes_on + 1] not in (",", "]") and text[goes_on - 1 : goes_on + 1] != "\n{":
                found = _NEXT_ELEMENT.search(text, end)
                goes_on = _or_end(window, found.start() if found else -1)
            self._cut = goes_on == len(text)
        self._at = goes_on
        return self._reject(window, at, len(text[at:end].rstrip(" \t\n\r")) + at, reason)

    def _reject(self, window: _Window, at: int, end: int, reason: str) -> Record:
        offset = window.offset(at)
        size = window.offset(end) - offset
        if size > self._limits.record_bytes:
            raise self._too_long()
        return Record(offset, size, None, reason, False)

    # -- limits --------------------------------------------------------------------------------

    def _check_depth(self, text: str, at: int, end: int) -> None:
        limit = self._limits.depth
        if end - at > limit and text.count("{", at, end) + text.count("[", at, end) > limit:
            depth = 0
            for token in _NESTING.finditer(text, at, end):
                depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
                if depth > limit:
                    raise self._too_deep()

    def _too_deep(self) -> LimitExceeded:
        return self._limit(f"JSON nested deeper than {self._limits.depth} levels", "such depth")

    def _too_long(self) -> LimitExceeded:
        return self._limit(f"a record of more than {self._limits.record_bytes} bytes", "that length")

    def _limit(self, what: str, why: str) -> LimitExceeded:
        return LimitExceeded(
            f"{self._key} holds {what}, after byte {self._offset}.",
            hint=f"Raise the limit if {why} is right; otherwise move the object away.",
        )


def _or_end(window: _Window, found: int) -> int:
    if found >= 0:
        return found
    if not window.final:
        raise _NeedMoreError
    return len(window.text)


def _lexical_end(window: _Window, at: int) -> int:
    """Behind the brace that closes the one at ``at``, but never past a line that begins with a brace."""
    text = window.text
    next_line = text.find("\n{", at)
    depth = 0
    for token in _BRACES.finditer(text, at, next_line if next_line >= 0 else len(text)):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0 and token[0] == "}":
            return token.end()
    return _or_end(window, next_line)


def _has_lone_surrogate(value: object, text: str, at: int, end: int) -> bool:
    if not _SURROGATE_ESCAPE.search(text, at, end):
        return False
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False

"""The strict reader of JSON records: the one meaning of a JSON object's text.

A text is a sequence of JSON values, or one array of them. The standard library's scanner parses each value
with hooks that keep numbers as their literal text; everything the scanner does not decide (where a malformed
record ends, duplicated keys, limits) is decided here and in ``json_extents``, and does not depend on its
messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterator
from enum import Enum
from itertools import accumulate
from typing import Any, NamedTuple

from briquette.decoding.rows.values import NotFinite, Number
from briquette.decoding.strict.json_extents import SPACE, Indent, Skip, Undecided, malformed_end
from briquette.decoding.text.object_text import BOM
from briquette.model import Limits

BAD_JSON = "not valid JSON"
BAD_UTF8 = "not valid UTF-8"
BAD_SURROGATE = "a string holds half of a surrogate pair"
NOT_AN_OBJECT = "not a JSON object"
EMPTY_ELEMENT = "an array element is missing"
NOT_CLOSED = "array is not closed"
AFTER_ARRAY = "text after the array"

# The scanner's errors count the lines before them, so a long text is read through a window.
WINDOW_BYTES = 1 << 14
SHOWN_BYTES = 4_096  # of a record that is too long to be held

_SPACE = re.compile(r"[ \t\n\r]*")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # how such bytes appear after decoding with surrogateescape
_NOT_BRACKETS = re.compile(r'[^][{}"]+|"[^"\\]*(?>\\.[^"\\]*)*(?:"|\Z)', re.DOTALL)
_STEP = {"{": 1, "[": 1, "}": -1, "]": -1}
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
# While more text may follow, an error so near to the end may only mean that a token is cut.
_TOKEN_MARGIN = 64
_UNDECIDED_BYTES = 1_024  # how far behind its end a record may need text to be decided


class Record(NamedTuple):
    """One record: ``value`` is its members, or None with a ``reason``."""

    offset: int  # bytes from the beginning of the object's text, BOM included
    size: int  # bytes
    value: dict[str, Any] | None
    reason: str
    duplicate_keys: bool
    raw: bytes | None = None  # what is set aside, where that is not its whole text


class _State(Enum):
    START = 0
    SEQUENCE = 1
    ELEMENT = 2  # in an array, before an element
    SEPARATOR = 3  # in an array, behind an element
    AFTER = 4  # behind the array


class _Hooks:
    """What the scanner calls: literals keep their text; keys and digits are counted."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.duplicates = False
        self.problem = ""  # the first limit that the value passes

    def number(self, literal: str) -> Number:
        limit = self.limits.number_digits
        if len(literal) > limit and sum(c.isdigit() for c in literal) > limit:
            self.problem = self.problem or f"a number of more than {limit} digits (limits.number_digits)"
        return Number(literal)

    def members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) > self.limits.columns:
            self.problem = (
                self.problem or f"a JSON object of more than {self.limits.columns} keys (limits.columns)"
            )
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
    the midst of a sequence of values, so that a "[" does not open an array of records. Never raises: a record
    that passes a limit is a reject like any other.
    """

    def __init__(self, limits: Limits, *, base_offset: int = 0, sequence: bool = False) -> None:
        self._limits = limits
        self._offset = base_offset
        self._state = _State.SEQUENCE if sequence else _State.START
        self._first = True  # of an array's elements
        self._cut = False  # nothing but white space came behind an element that is a reject
        self._at = 0  # how far the window is decided
        self._indent = Indent()
        self._indent_at = 0  # how far the indentation is known in the window
        self._skipping: _Skipped | None = None
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
            if consumed < size // 2:  # long records: as little of them as may be is read twice
                size *= 4
            elif consumed > size - size // 16:
                size = max(size // 2, window_bytes)

    def read_piece(self, raw: bytes, *, final: bool) -> Generator[Record, None, int]:
        """The records that a piece decides; returns how many bytes of it need not come again."""
        bom = len(BOM) if self._state is _State.START and self._offset == 0 and raw.startswith(BOM) else 0
        if not final and len(raw) <= len(BOM):
            return 0
        window = _Window(raw[bom:], self._offset + bom, final=final)
        self._at = self._indent_at = 0
        while True:
            try:
                record = self._next(window)
            except Undecided:
                end = window.offset(len(window.text.rstrip(SPACE)))
                if end - window.offset(self._at) <= self._limits.record_bytes + _UNDECIDED_BYTES:
                    break
                record = self._skip(window, self._at)
            if record is None:
                break
            yield record
        self._indentation(window.text, self._at)
        begin, self._offset = self._offset, window.offset(self._at)
        return self._offset - begin

    # -- from record to record -----------------------------------------------------------------

    def _next(self, window: _Window) -> Record | None:
        """The next record, with ``_at`` behind it; None where the text ends."""
        text = window.text
        if self._skipping is not None:
            return self._skipped(window, self._skipping)
        while True:
            space = _SPACE.match(text, self._at)
            at = self._at = space.end() if space else self._at
            if at == len(text):
                return self._end(window)
            char, self._cut = text[at], False
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
                if _comma_follows(window, at + 1):
                    self._state, self._first, self._at = _State.SEPARATOR, False, at + 1
                    return self._reject(window, at, at + 1, BAD_JSON)
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

    def _text_after_array(self, window: _Window, at: int) -> Record | None:
        if not window.final:
            raise Undecided
        self._at = len(window.text)
        return self._reject(window, at, self._at, AFTER_ARRAY)

    # -- one value -----------------------------------------------------------------------------

    def _value(self, window: _Window, at: int) -> Record | None:
        text = window.text
        self._hooks.duplicates, self._hooks.problem = False, ""
        try:
            value, end = self._scan(text, at)
        except (json.JSONDecodeError, StopIteration) as error:
            reached = self._reached(window, error)
            deep = self._too_deep(text, at, reached)
            return self._malformed(window, at, self._deep_reason() if deep else BAD_JSON)
        except RecursionError:
            return self._malformed(window, at, self._deep_reason())
        if text[at] not in '{["' or (self._in_array and text[at] == '"'):
            if end == len(text) and not window.final:
                raise Undecided  # 12 may become 123
            if self._in_array and not _ends_element(window, end):
                return self._malformed(window, at, BAD_JSON)
        if self._too_deep(text, at, end, value):
            return self._malformed(window, at, self._deep_reason())
        reason = self._hooks.problem
        if window.dirty and _NOT_UTF8.search(text, at, end):
            reason = BAD_UTF8
        elif text.find("\\u", at, end) >= 0 and _has_lone_surrogate(value, text, at, end):
            reason = BAD_SURROGATE
        elif not reason and not isinstance(value, dict):
            reason = NOT_AN_OBJECT
        self._at = end
        if reason:
            return self._reject(window, at, end, reason)
        offset = window.offset(at)
        size = window.offset(end) - offset
        if size > self._limits.record_bytes:
            return self._skip(window, at)
        return Record(offset, size, value, "", self._hooks.duplicates)

    @property
    def _in_array(self) -> bool:
        return self._state is not _State.SEQUENCE

    def _reached(self, window: _Window, error: json.JSONDecodeError | StopIteration) -> int:
        """How far the scanner came; raises Undecided where only the end of the window stopped it."""
        end = len(window.text)
        reached = error.pos if isinstance(error, json.JSONDecodeError) else int(error.value)
        in_string = isinstance(error, json.JSONDecodeError) and error.msg.startswith("Unterminated")
        if not window.final and (in_string or end - reached < _TOKEN_MARGIN):
            raise Undecided
        return reached

    def _malformed(self, window: _Window, at: int, reason: str) -> Record | None:
        """A reject whose extent is found by its tokens; moves to where reading goes on."""
        indent = self._indentation(window.text, at)
        end = malformed_end(window.text, at, indent, array=self._in_array, final=window.final)
        self._at = end
        record = self._reject(window, at, end, reason)
        self._cut = True
        return record

    def _indentation(self, text: str, at: int) -> str | None:
        """The white space that the line of ``at`` begins with."""
        self._indent.pass_over(text[self._indent_at : at])
        self._indent_at = at
        return self._indent.value

    def _reject(self, window: _Window, at: int, end: int, reason: str) -> Record | None:
        offset = window.offset(at)
        size = window.offset(at + len(window.text[at:end].rstrip(SPACE))) - offset
        if size > self._limits.record_bytes:
            return self._skip(window, at)
        return Record(offset, size, None, reason, False)

    # -- limits --------------------------------------------------------------------------------

    def _too_deep(self, text: str, at: int, end: int, value: object = None) -> bool:
        """Whether the text from ``at`` to ``end`` nests deeper than it may; ``value`` is what it means."""
        limit = self._limits.depth
        if end - at <= limit or text.count("{", at, end) + text.count("[", at, end) <= limit:
            return False
        if value is not None and not self._hooks.duplicates:
            return _deeper_than(limit, value)
        brackets = _NOT_BRACKETS.sub("", text[at:end])
        return max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > limit

    def _deep_reason(self) -> str:
        return f"JSON nested deeper than {self._limits.depth} levels (limits.depth)"

    # -- records that are too long to be held ----------------------------------------------------

    def _skip(self, window: _Window, at: int) -> Record | None:
        """Begin to pass over the record at ``at``; answers it if it ends in the window."""
        text = window.text
        head = text[at : at + SHOWN_BYTES].encode("utf-8", "surrogateescape")
        whole = self._state is _State.AFTER
        rule = Skip(text[at], self._indentation(text, at), array=self._in_array, whole=whole)
        self._at = at
        self._skipping = _Skipped(rule, window.offset(at), shown_head(head, self._limits.record_bytes))
        return self._skipped(window, self._skipping)

    def _skipped(self, window: _Window, skipped: _Skipped) -> Record | None:
        text, at = window.text, self._at
        self._at, ends = skipped.rule.find(text, at, final=window.final)
        inner = len(text[at : self._at].rstrip(SPACE))
        if inner:
            skipped.stop = window.offset(at + inner)
        if not ends:
            return None
        self._skipping = None
        self._cut = True
        if self._in_array and self._state is not _State.AFTER:
            self._state, self._first = _State.SEPARATOR, False
        size = skipped.stop - skipped.offset
        reason = too_long_reason(size, self._limits.record_bytes)
        return Record(skipped.offset, size, None, reason, False, skipped.head)


class _Skipped:
    """A record that is being passed over."""

    def __init__(self, rule: Skip, offset: int, head: bytes) -> None:
        self.rule = rule
        self.offset = self.stop = offset
        self.head = head


def _deeper_than(limit: int, value: object) -> bool:
    """Whether lists and objects in ``value``, itself included, nest deeper than that."""
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        inner = [v.values() if type(v) is dict else v for v in level]
        level = [child for v in inner for child in v if type(child) is dict or type(child) is list]
        if not level:
            return False
    return True


def _comma_follows(window: _Window, at: int) -> bool:
    space = _SPACE.match(window.text, at)
    behind = space.end() if space else at
    if behind == len(window.text) and not window.final:
        raise Undecided
    return window.text.startswith(",", behind)


def _ends_element(window: _Window, at: int) -> bool:
    """Whether an element may end at ``at``: spaces, then a comma, a bracket or a line end."""
    text = window.text
    while at < len(text) and text[at] in " \t\r":
        at += 1
    if at == len(text) and not window.final:
        raise Undecided
    return text[at : at + 1] in ("", ",", "]", "{", "[", "\n")


def too_long_reason(size: int, limit: int) -> str:
    """Why a record of so many bytes is refused."""
    return f"a record of {size} bytes, more than {limit} (limits.record_bytes)"


def shown_head(text: bytes, limit: int) -> bytes:
    """What is set aside of a record that is longer than the limit, without a character cut off at its end."""
    text = text[: min(SHOWN_BYTES, limit)]
    for size in (1, 2, 3):
        if len(text) >= size and text[-size] >= 0xC0:
            width = 2 if text[-size] < 0xE0 else 3 if text[-size] < 0xF0 else 4
            return text[:-size] if width > size else text
    return text


def _has_lone_surrogate(value: object, text: str, at: int, end: int) -> bool:
    if not _SURROGATE_ESCAPE.search(text, at, end):
        return False
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False

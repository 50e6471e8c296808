"""What values have in common, so that a class of them is made quickly: a run makes fifty before it works."""

from __future__ import annotations

from typing import Any


class Value:
    """Base of frozen dataclasses made with ``eq=False, repr=False``: equal, hashed and shown by their fields.

    The methods are those that ``dataclass`` would write, once for all classes: it compiles them for each,
    0.3 of the 0.5 ms that a class takes (docs/decisions/0005).
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return _fields(self) == _fields(other)

    def __hash__(self) -> int:
        return hash(_fields(self))

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={value!r}" for name, value in zip(_names(self), _fields(self), strict=True)
        )
        return f"{self.__class__.__qualname__}({shown})"


def _names(value: Any) -> tuple[str, ...]:
    return tuple(
        value.__dataclass_fields__
    )  # no annotation above: briquette.serialization takes those for fields


def _fields(value: Any) -> tuple[Any, ...]:
    return tuple([getattr(value, name) for name in value.__dataclass_fields__])

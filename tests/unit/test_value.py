"""Values: equal, hashed and shown as ``dataclass`` itself would have it."""

from __future__ import annotations

import ast
import pickle
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest

from briquette.model import Field, Location, Piece, RowGroup, Schema, SplitResult
from briquette.value import Value

ENGINE = Path(__file__).resolve().parents[2] / "engine"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ours(Value):
    """Without the methods of its own that the next one has."""

    number: float
    names: tuple[str, ...] = ()
    inner: object = None


@dataclass(frozen=True, slots=True)
class Theirs:
    number: float
    names: tuple[str, ...] = ()
    inner: object = None


NAN = float("nan")
CASES = [
    (1,),
    (1.0,),
    (2,),
    (1, ("a",)),
    (1, ("a", "b")),
    (NAN,),
    (0.0,),
    (-0.0,),
    (1, (), "x"),
    (1, (), (NAN,)),
]


@pytest.mark.parametrize("left", CASES)
@pytest.mark.parametrize("right", CASES)
def test_equality_and_hash_are_those_of_a_dataclass(left, right):
    assert (Ours(*left) == Ours(*right)) == (Theirs(*left) == Theirs(*right))
    assert (Ours(*left) != Ours(*right)) == (Theirs(*left) != Theirs(*right))
    assert hash(Ours(*left)) == hash(Theirs(*left))


def test_nothing_equals_a_value_of_another_class():
    @dataclass(frozen=True, slots=True, eq=False, repr=False)
    class Other(Ours):
        pass

    assert Ours(1) != Other(1)
    assert Other(1) != Ours(1)
    assert Ours(1) != (1, (), None)
    assert Ours(1).__eq__(1) is NotImplemented


@pytest.mark.parametrize("case", CASES)
def test_it_is_shown_as_a_dataclass_is(case):
    assert repr(Ours(*case)) == repr(Theirs(*case)).replace("Theirs", "Ours")
    nested = Ours(1, inner=Ours(*case))
    assert repr(nested) == repr(Theirs(1, inner=Theirs(*case))).replace("Theirs", "Ours")


def test_what_is_hashed_must_be_hashable():
    with pytest.raises(TypeError, match="unhashable"):
        hash(Ours(1, inner=[]))


def test_values_are_frozen_small_and_travel():
    group = RowGroup(Piece(3, b"abc"), b"f", (b"",), (b"",), 1, "00")
    result = SplitResult(0, 1, 1, 0, (), (group,), "", (1,), (), 0, 0, 0)
    for value in (Location("s3://b", "p/"), Schema((Field("a", "int64"),)), group, result):
        assert pickle.loads(pickle.dumps(value)) == value
        assert replace(value) == value
        assert not hasattr(value, "__dict__")
        with pytest.raises(AttributeError):
            setattr(value, fields(value)[0].name, None)


def test_who_leaves_the_methods_out_inherits_them():
    """A dataclass with ``eq=False`` and another base would be equal to nothing but itself."""
    found = 0
    for path in sorted(ENGINE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            options = {
                k.arg: k.value for d in node.decorator_list if isinstance(d, ast.Call) for k in d.keywords
            }
            left_out = {name for name in ("eq", "repr") if name in options}
            if left_out:
                found += 1
                where = f"{path.relative_to(ENGINE)}: {node.name}"
                assert left_out == {"eq", "repr"}, where
                assert [b.id for b in node.bases if isinstance(b, ast.Name)] == ["Value"], where
                assert "frozen" in options, where
    assert found > 50

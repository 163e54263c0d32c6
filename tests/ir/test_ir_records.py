"""ir.records beside the standard library's dataclasses: the same classes, the same behaviour."""
from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any, ClassVar

import pytest

from ir import records


def classes(module: Any) -> list[Any]:
    @module.dataclass(frozen=True)
    class Point:
        """A point."""

        x: int
        y: float = 2.0
        known: ClassVar[int] = 3

        @property
        def sum(self) -> float:
            return self.x + self.y

    @module.dataclass
    class Counter:
        name: str
        note: str = ""
        counts: dict[str, int] = module.field(default_factory=dict)

    @module.dataclass(frozen=True, eq=False, repr=False)
    class Same:
        x: int = 1

        def __repr__(self) -> str:
            return f"<{self.x}>"

    @module.dataclass(frozen=True)
    class Checked:
        x: int

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError(f"{self.x} is negative")

    @module.dataclass(frozen=True)
    class Nothing:
        name = "nothing"

    return [Point, Counter, Same, Checked, Nothing]


OURS, THEIRS = classes(records), classes(dataclasses)
EACH = pytest.mark.parametrize("kinds", [OURS, THEIRS], ids=["ours", "standard"])


@EACH
def test_arguments_and_defaults(kinds: list[Any]) -> None:
    point, counter, same, checked, nothing = kinds
    assert (point(1).x, point(1).y, point(x=1, y=5).sum) == (1, 2.0, 6)
    assert (point.y, point.known) == (2.0, 3)
    assert counter("a").counts is not counter("a").counts and not hasattr(counter, "counts")
    assert counter("a", counts={"b": 1}).counts["b"] == 1
    assert same().x == 1 and nothing().name == "nothing"
    for wrong in (lambda: point(), lambda: point(1, 2, 3), lambda: point(1, z=2),
                  lambda: nothing(1)):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(ValueError, match="-1 is negative"):
        checked(-1)


@EACH
def test_equality_hash_and_repr(kinds: list[Any]) -> None:
    point, counter, same, checked, nothing = kinds
    assert point(1) == point(1, 2.0) != point(2) and hash(point(1)) == hash(point(1))
    assert point(1) != (1, 2.0) and checked(1) == checked(1) != checked(2)
    assert len({point(1), point(1), checked(1), nothing(), nothing()}) == 3
    assert counter("a", note="x") == counter("a", "x", {}) != counter("a")
    assert same() != same() and len({same(), same()}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(counter("a"))
    assert [repr(r).partition("<locals>.")[2] for r in (point(1), counter("a", note="x"),
                                                        nothing())] == [
        "Point(x=1, y=2.0)", "Counter(name='a', note='x', counts={})", "Nothing()"]
    assert repr(same()) == "<1>"


@EACH
def test_frozen(kinds: list[Any]) -> None:
    point, counter, *_ = kinds
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        point(1).x = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'x'"):
        del point(1).x
    one = counter("a")
    one.name = "b"
    assert one.name == "b"


@EACH
def test_what_the_standard_library_makes_of_them(kinds: list[Any]) -> None:
    point, counter, *_, nothing = kinds
    for kind in kinds:
        assert dataclasses.is_dataclass(kind) and dataclasses.is_dataclass(kind.__new__(kind))
    assert [f.name for f in dataclasses.fields(point)] == ["x", "y"] == list(point.__match_args__)
    assert dataclasses.asdict(counter("a")) == {"name": "a", "note": "", "counts": {}}
    assert dataclasses.fields(nothing) == () and point.__dataclass_params__.frozen
    assert not counter.__dataclass_params__.frozen
    for replace in (records.replace, dataclasses.replace):
        assert replace(point(1), y=3) == point(1, 3)
        with pytest.raises(TypeError):
            replace(point(1), z=3)
    match point(1, 7):
        case point(x, y):
            assert (x, y) == (1, 7)
    assert copy.copy(point(3)) == copy.deepcopy(point(3)) == point(3)


@records.dataclass(frozen=True)
class Kept:
    x: int


def test_pickling() -> None:
    assert pickle.loads(pickle.dumps(Kept(4))) == Kept(4)


def test_fields_are_not_inherited() -> None:
    with pytest.raises(TypeError, match="More would inherit fields: use dataclasses"):
        @records.dataclass(frozen=True)
        class More(Kept):
            y: int = 0

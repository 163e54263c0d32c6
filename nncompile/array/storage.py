"""The storage that an array and its views share, and what it means to change one of them in place.

x[0] = y changes x, every view of x, and whatever x is a view of. The IR has no mutation, so a
change makes another value: a Storage holds the value that an array and its views share, and each of
them is that value after some view ops, which only move elements.

    x            storage.value                     view ops ()
    x.T[0]       slice(transpose(storage.value))   view ops (transpose, slice)

A write into a view goes through its ops backwards, which makes the storage's next value; the other
views apply their own ops to it when they are next used. A value that nobody uses again is
dead code in the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

import numpy as np

from ir import DTYPES, DimExpr, Error, NDArray, Value, same
from ir.ops import Attrs, with_trait
from nncompile.array.dispatch import current
from nncompile.array.tape import Payload, bare

ViewOp = tuple[str, Mapping[str, Any]]           # the name of an op, and its attributes

VIEWS = with_trait("view")
_PERHAPS_SHARED = (
    "this array came from reshape, flatten, contiguous or an index in an array, or they made "
    "another from it, and one of the two was changed in place since: whether it was a copy depends "
    "on the memory it had. Use clone() for a copy, view() for a view")


def numbers_to_change(array: Any) -> NDArray:
    """Returns the numbers of an array, to be changed where they are; that counts as a change of it.

    Those that it only reads, as zeros(3) does, become its own first.
    """
    numbers: NDArray = bare(array._payload)
    if not array._in_memory or not numbers.flags.writeable:
        array._in_memory = True
        array._payload = numbers = numbers.copy()
    array._storage.version += 1                  # what a backward reads is another value now
    return numbers


class Storage:
    """The value that an array and its views share."""

    def __init__(self, value: Payload, in_memory: bool) -> None:
        self.value = value
        self.version = 0                         # how often it was changed
        self.made_in = current.get().number      # the dispatcher that made it
        self.in_memory = in_memory               # whether changes go into the ndarray itself
        self.history: list[tuple[Payload, tuple[ViewOp, ...]]] = []  # values before each change
        self.lost = ""                           # why the value is unknown, or ""
        self.perhaps: WeakSet[Storage] | None = None     # what may share memory with it

    def seen(self, ops: tuple[ViewOp, ...], value: Payload | None = None) -> Payload:
        """Returns the value after these view ops.

        value: the same value, as a leaf of the tape.
        Raises Error where the value is not known any more.
        """
        if self.lost:
            raise Error(self.lost)
        value = self.value if value is None else value
        for old, changed in reversed(self.history):
            if not _apart(changed, ops):
                break
            value = old
        for name, attrs in ops:
            value = _do(name, value, **attrs)
        return value

    def change(self, value: Payload, ops: tuple[ViewOp, ...]) -> None:
        """Replaces the shared value by one that differs only in the elements behind these view ops.

        Storages that may share memory with this one, which torch would decide by strides, lose
        theirs.
        """
        if isinstance(value, Value):
            self.history.append((self.value, ops))
        self.value = self._kept(value) if isinstance(value, np.ndarray) else value
        self.version += 1
        if self.perhaps is None:
            return
        for other in self._related() - {self}:
            other.lost = _PERHAPS_SHARED
            other.version += 1

    def _kept(self, value: NDArray) -> Payload:
        """Returns the numbers in the old memory where it is kept and writable, otherwise a copy."""
        if not self.in_memory or not isinstance(self.value, np.ndarray):
            return current.get().copied(value)
        if not self.value.flags.writeable:
            return current.get().copied(value)
        self.value[...] = value
        return self.value

    def relate(self, other: Storage) -> None:
        """Records that the two may share memory, so that a change of one makes the other unknown.
        """
        for one, another in ((self, other), (other, self)):
            if one.perhaps is None:
                one.perhaps = WeakSet()
            one.perhaps.add(another)

    def _related(self) -> set[Storage]:
        found, rest = {self}, [self]
        while rest:
            new = {*(rest.pop().perhaps or ())} - found
            found |= new
            rest += new
        return found


def _apart(first: tuple[ViewOp, ...], second: tuple[ViewOp, ...]) -> bool:
    """Returns whether two views certainly have no element in common.

    It recognises two slices of one view, such as the parts that chunk gives.
    """
    try:
        for (name, attrs), (other, others) in zip(first, second, strict=False):
            if name == other == "slice" and _disjoint(attrs, others):
                return True
            if name != other or not all(same(attrs[key], others[key]) for key in attrs):
                return False
    except Error:                                # two symbolic sizes do not compare
        return False
    return False


def _disjoint(first: Attrs, second: Attrs) -> bool:
    """Returns whether two slices are disjoint. Raises Error where symbolic sizes leave it open."""
    if first["axis"] != second["axis"] or not first["step"] == second["step"] == 1:
        return False
    return bool(first["stop"] <= second["start"] or second["stop"] <= first["start"])


def before(value: Payload, ops: tuple[ViewOp, ...], part: Payload) -> Payload:
    """Returns the value that the view ops turn into `part`, and that elsewhere equals `value`."""
    wholes = [value]
    for name, attrs in ops:
        wholes.append(_do(name, wholes[-1], **attrs))
    for whole, (name, attrs) in zip(wholes[-2::-1], ops[::-1], strict=True):
        part = _BACKWARDS[name](whole, part, attrs)
    return part


def _do(name: str, *operands: Any, **attrs: Any) -> Payload:
    return current.get().op(name, operands, attrs)


def _shape_of(value: Payload) -> tuple[Any, ...]:
    return value.type.shape if isinstance(value, Value) else value.shape


# -- each view op backwards: the operand of the op, changed so that the op gives the part ----------

def _unmoved(whole: Payload, part: Payload, attrs: Attrs) -> Payload:
    return part


def _unreshaped(whole: Payload, part: Payload, attrs: Attrs) -> Payload:
    return _do("reshape", part, shape=_shape_of(whole))


def _untransposed(whole: Payload, part: Payload, attrs: Attrs) -> Payload:
    return _do("transpose", part, axes=tuple(map(int, np.argsort(attrs["axes"]))))


def _unexpanded(whole: Payload, part: Payload, attrs: Attrs) -> Payload:
    """Inverts expand. Raises Error where an element of the whole has several places in the part."""
    old, new = _shape_of(whole), attrs["shape"]
    if not same(new, (*[1] * (len(new) - len(old)), *old)):
        raise Error("an expanded array has one element in several places, so it cannot be changed "
                    "in place: clone() it first")
    return _do("reshape", part, shape=_shape_of(whole))


def _unsliced(whole: Payload, part: Payload, attrs: Attrs) -> Payload:
    axis, start, stop = attrs["axis"], attrs["start"], attrs["stop"]
    if attrs.get("step", 1) != 1:
        return _with_every(whole, part, attrs)
    size = _shape_of(whole)[axis]
    beside = [_do("slice", whole, axis=axis, start=a, stop=b, step=1)
              for a, b in ((0, start), (stop, size)) if not same(a, b)]
    if same(start, 0):
        return _do("concat", part, *beside, axis=axis) if beside else part
    return _do("concat", beside[0], part, *beside[1:], axis=axis)


def _with_every(whole: Payload, part: Payload, attrs: Attrs) -> Payload:
    """Inverts a slice with a step: selects between the whole and the part spread out."""
    axis, size = attrs["axis"], _shape_of(whole)[attrs["axis"]]
    if isinstance(size, DimExpr):
        raise Error(f"every {attrs['step']}. element of an axis of {size} cannot be changed in "
                    "place while its size is not known")
    positions = np.arange(size)[attrs["start"]:attrs["stop"] if attrs["stop"] >= 0 else None:
                             attrs["step"]]
    if not len(positions):
        return whole
    source, there = np.zeros(size, np.int64), np.zeros(size, DTYPES["bool"])
    source[positions], there[positions] = np.arange(len(positions)), True
    rank = len(_shape_of(whole))
    column = there.reshape([-1 if i == axis else 1 for i in range(rank)])
    return _do("where", column, _do("take", part, source, axis=axis), whole)


_BACKWARDS = {
    "identity": _unmoved, "detach": _unmoved, "dropout": _unmoved,
    "reshape": _unreshaped, "transpose": _untransposed,
    "expand": _unexpanded, "slice": _unsliced,
}

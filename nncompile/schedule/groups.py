"""Elementwise steps of equal shape become one step with several results: a group.

    in3 [64] = elementwise(h1 [64], in3 [64]) {op = add}
    in2 [64] = elementwise(in3 [64], in2 [64]) {op = mul}
    -->
    in3 [64], in2 [64] = group(h1 [64], in3 [64], in2 [64])
                         {t0 = add(r0, r1), t1 = mul(t0, r2), return t0, t1}

So the update of a parameter reads and writes its arrays once, and what is computed on the way stays
in registers. It is the same arithmetic in the same order.

A step joins an earlier one if both work on elements at the same places, and if no step between them
would then read or write something else than before. Each of them keeps its result in memory only if
a step outside of the group reads it.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ir.types import same
from nncompile.schedule import geometry
from nncompile.schedule.memory import same_layout
from nncompile.schedule.ops import may_fail
from nncompile.schedule.program import ElementOp, Group, Operand, Place, Step, View

MOST_OPS = 48                  # lines of a group, and its operands: more do not fit in registers
MOST_OPERANDS = 24
# A step is moved over at most so many others: so far that the derivative of an activation is
# computed beside it in each layer of a network, and not in its last layers alone.
_DISTANCE = 128


def group_elementwise(steps: Sequence[Step]) -> list[Step]:
    """Returns the steps, of which elementwise ones are grouped where that is possible."""
    places = [_Together([_Member(step)]) for step in steps]
    before = len(places) + 1
    while len(places) < before:
        before = len(places)
        places = _joined(places)
    uses = Counter(place for step in steps for place in _touched(step))
    return [_made([member.step for member in place.members], uses) for place in places]


class _Member:
    """A step, and what decides which steps it may be together with.

    joins:   whether it is an elementwise step of a form that a group's kernel has.
    written: the places that it writes; read: those that it reads.
    dims:    the shape that it works on, without axes of size 1; result, and reads, by their places,
             are its views in that shape.
    whole:   the places of which it writes or reads an element for each one of its result. Steps
             that have none of them in common would not read less if they were one.
    """

    def __init__(self, step: Step) -> None:
        self.step, self.fails = step, may_fail(step)
        self.written = {view.place for view in step.results}
        self.read = {view.place for view in step.reads}
        self.joins = step.kind == "elementwise" and not self.fails and _is_plain(step)
        if self.joins:
            self.result = _squeezed(step.result, step)
            self.dims = self.result.shape
            self.reads = [_squeezed(view, step) for view in step.reads]
            self.whole = self.written | {view.place for view in self.reads
                                         if same(view.strides, self.result.strides)}


def _is_plain(step: Step) -> bool:
    """Whether its result is contiguous, and each operand too, or one number, along a row."""
    if not step.result.is_contiguous:
        return False
    _, (_, *strides) = geometry.elementwise(step)
    return all(not own or same(own[-1], 0) or same(own[-1], 1) for own in strides)


class _Together:
    """The members of a group, or one step, and what they all write and read, as of a member."""

    def __init__(self, members: list[_Member]) -> None:
        self.members, first = members, members[0]
        self.joins, self.fails = first.joins, first.fails
        self.written, self.read = set(first.written), set(first.read)
        self.whole = set(first.whole) if first.joins else set()
        self.writes_state = first.step.result.place.kind == "input"

    def take(self, other: _Together) -> None:
        """Adds the members of another one, which may join."""
        self.members += other.members
        self.written |= other.written
        self.read |= other.read
        self.whole |= other.whole
        self.writes_state |= other.writes_state

    def stays_behind(self, earlier: _Together) -> bool:
        """Whether it has to stay behind an earlier one.

        What writes a state stays behind all that may find a wrong number: see states.py.
        """
        return (not self.written.isdisjoint(earlier.written)
                or not self.written.isdisjoint(earlier.read)
                or not self.read.isdisjoint(earlier.written)
                or (earlier.fails and self.writes_state))

    def may_join(self, other: _Together) -> bool:
        """Whether all its members work on the elements that the other has at hand."""
        if not other.joins or self.whole.isdisjoint(other.whole):
            return False
        together = list(other.members)
        for member in self.members:
            if not _joins(member, together):
                return False
            together.append(member)
        return True


def _joined(places: Sequence[_Together]) -> list[_Together]:
    """The places, of which those are one that can be."""
    current: list[_Together] = []
    for place in places:
        found = _group_for(place, current)
        if found is None:
            current.append(place)
        else:
            found.take(place)
    return current


def _group_for(place: _Together, places: Sequence[_Together]) -> _Together | None:
    """The group that a step or a group joins: the earliest that it can be moved to."""
    if not place.joins:
        return None
    found = None
    for other in reversed(places[-_DISTANCE:]):
        if place.may_join(other):
            found = other
        if place.stays_behind(other):
            break
    return found


def _joins(member: _Member, others: Sequence[_Member]) -> bool:
    """Whether the step works on the elements that a group has at hand."""
    if not same(member.dims, others[0].dims):
        return False
    written = {other.result.place: other.result for other in others}
    place = member.result.place
    if place in written:
        return False
    read = [view for other in others for view in other.reads if view.place == place]
    mine = [view for view in member.reads if view.place in written]
    return (all(same_layout(view, member.result) for view in read)
            and all(same_layout(view, written[view.place]) for view in mine)
            and _fits([*others, member]))


def _fits(members: Sequence[_Member]) -> bool:
    operands = {(view.place, view.offset) for m in members for view in m.reads}
    return (sum(1 + len(m.step.then) for m in members) <= MOST_OPS
            and len(operands) <= MOST_OPERANDS
            and len({m.result.dtype for m in members} & {"f64", "i64"}) < 2)


def _squeezed(view: View, step: Step) -> View:
    """A view in the shape of the step's result, without axes of size 1."""
    wide = view.broadcast_to(step.result.shape)
    kept = [(d, s) for d, s in zip(wide.shape, wide.strides, strict=True) if not same(d, 1)]
    if len(kept) == len(wide.shape):
        return wide
    return wide.laid_out([d for d, _ in kept], [s for _, s in kept])


def _touched(step: Step) -> set[Place]:
    """The places that it writes or reads."""
    return {view.place for view in (*step.results, *step.reads)}


def group_of(step: Step) -> Step | None:
    """Returns the step as a group, or None where it is no elementwise step that can be in one."""
    if step.kind == "group":
        return step
    return _grouped([step], Counter()) if _Member(step).joins else None


def _made(members: Sequence[Step], uses: Counter[Place]) -> Step:
    """The step that computes all members. uses: how many of all steps touch each place."""
    return members[0] if len(members) == 1 else _grouped(members, uses)


def _grouped(members: Sequence[Step], uses: Counter[Place]) -> Step:
    """The group of all members, of which each, or the last one at least, has a result."""
    own = Counter(place for member in members for place in _touched(member))
    lines = _Lines()
    for member in members:
        lines.add(member)
    kept = [m for m in members
            if uses[m.result.place] > own[m.result.place] or m.result.place.kind != "buffer"]
    kept = kept or [members[-1]]
    results = [_squeezed(m.result, m) for m in kept]
    outputs = tuple(lines.computed[m.result.place] for m in kept)
    group = Group(tuple(lines.ops), outputs, tuple(m.node for m in members),
                  tuple(m.node for m in kept))
    return Step("group", results[0], tuple(lines.operands), {"group": group}, (), kept[0].node,
                also=tuple(results[1:]))


class _Lines:
    """The lines of a group, its operands, and which line has computed the value of a place."""

    def __init__(self) -> None:
        self.ops: list[ElementOp] = []
        self.operands: list[Operand] = []
        self.computed: dict[Place, int] = {}
        self._names: dict[tuple[object, ...], str] = {}

    def add(self, step: Step) -> None:
        source, dtype = geometry.source_dtype(step), step.result.dtype
        op = step.attrs["op"]
        dtypes = ["bool", dtype, dtype] if op == "where" else [source] * len(step.operands)
        self._line(op, [self._name(o, step, d)
                        for o, d in zip(step.operands, dtypes, strict=True)], source, dtype)
        for op, others in step.then:
            value = f"t{len(self.ops) - 1}"
            self._line(op, [value, *(self._name(o, step, dtype) for o in others)], dtype, dtype)
        self.computed[step.result.place] = len(self.ops) - 1

    def _line(self, op: str, operands: Sequence[str], source: str, dtype: str) -> None:
        self.ops.append(ElementOp(op, tuple(operands), source, dtype))

    def _name(self, operand: Operand, step: Step, dtype: str) -> str:
        """The line that has computed an operand, or the operand of the group that it becomes."""
        if isinstance(operand, View) and operand.place in self.computed:
            return f"t{self.computed[operand.place]}"
        view = _squeezed(operand, step) if isinstance(operand, View) else None
        key = ((view.place, view.dtype, view.strides, view.offset) if view else
               (repr(operand), dtype))
        if key not in self._names:
            self._names[key] = f"r{len(self.operands)}"
            self.operands.append(view or operand)
        return self._names[key]

"""Whether a value is kept in memory for the steps that read it, or computed again by each of them.

    h4 [B, 8], h5 [B, 8] = group(h0 [B, 8], h3 [8]) {t0 = sub(r0, r1), t1 = mul(t0, t0), ...}
    h9 [B, 8]            = group(h4 [B, 8], h7 [8]) {t0 = mul(r0, r1), ...}
    -->
    h5 [B, 8]  = group(h0 [B, 8], h3 [8]) {t0 = sub(r0, r1), t1 = mul(t0, t0), ...}
    h9 [B, 8]  = group(h7 [8], h0 [B, 8], h3 [8]) {t0 = sub(r1, r2), t1 = mul(t0, r0), ...}

That is a question for what the forward of a training step computes and its gradients read, and for
whatever else one group of elementwise steps computes and another one reads. It is decided by cost,
in bytes for each element:

    to keep it           the bytes of an element, once if nothing but groups reads it, because then
                         it is not written otherwise; and once for each group that reads it
    to compute it again  for each group that reads it OPERATION bytes for each operation, and the
                         bytes of an element of each operand that the group does not read anyway

Where a group could end the product before it with one of the two alone, the other costs that the
product's result is written and read.

What other steps compute or read, as products and reductions, is always kept.

It is the same arithmetic, in the same order: bits do not depend on what is decided.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from ir.records import replace
from ir.types import DTYPES, product, same
from nncompile.schedule.cost import op_cost
from nncompile.schedule.groups import MOST_OPERANDS, MOST_OPS, group_of
from nncompile.schedule.memory import same_layout
from nncompile.schedule.product_ends import may_end
from nncompile.schedule.program import Choice, ElementOp, Group, Operand, Place, Step, View

# Bytes that are moved in the time of an operation. A core of a Zen 4 makes 58 thousand million
# operations on float32 a second, and reads 114, 59 and 31 of bytes from L2, L3 and memory.
OPERATION = 1
_GROUPED = ("elementwise", "group")
_SMALL = 4096                                    # elements: below that a call costs more than them


def keep_or_compute_again(steps: Sequence[Step]) -> tuple[list[Step], list[Choice]]:
    """Returns the steps, of which groups compute values again where that costs less; the choices.

    steps: elementwise ones are grouped already.
    """
    current = _Steps(steps)
    for number in range(len(steps)):
        current.choose(number)
    return [step for step in current.steps if step is not None], current.choices


class _Reader(NamedTuple):
    """A group that could compute a value again, as `after` does.

    kept, again: the bytes of an element that it reads with the value in memory, and without.
    """

    number: int
    after: Step
    kept: int
    again: int


class _Steps:
    """Steps in their order, where each may be taken away, and which of them touch a place."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps: list[Step | None] = list(steps)
        self.choices: list[Choice] = []
        self._groups: dict[Step, Step | None] = {}
        self._writers: defaultdict[Place, set[int]] = defaultdict(set)
        self._readers: defaultdict[Place, set[int]] = defaultdict(set)
        for number, step in enumerate(steps):
            self._note(number, step)

    def _note(self, number: int, step: Step) -> None:
        for places, views in ((self._writers, step.results), (self._readers, step.reads)):
            for view in views:
                places[view.place].add(number)

    def _put(self, number: int, step: Step | None) -> None:
        """Puts another step, or none, in the place of one."""
        if old := self.steps[number]:
            for view in (*old.results, *old.reads):
                self._writers[view.place].discard(number)
                self._readers[view.place].discard(number)
        self.steps[number] = step
        if step is not None:
            self._note(number, step)

    # -- values of groups --------------------------------------------------------------------------

    def choose(self, number: int) -> None:
        """Decides of each value that a group computes."""
        step = self.steps[number]
        if step is None or step.kind not in _GROUPED or _is_small(step.result):
            return
        for place in [view.place for view in step.results if view.place.kind == "buffer"]:
            if (self._writers[place] == {number} and min(self._readers[place], default=0) > number
                    and any(self._is_grouped(reader) for reader in self._readers[place])
                    and (made := self._group(number)) is not None):
                self._choose(number, made, place)

    def _is_grouped(self, number: int) -> bool:
        step = self.steps[number]
        return step is not None and step.kind in _GROUPED

    def _group(self, number: int) -> Step | None:
        """The step of this number as a group, if it can be one."""
        step = self.steps[number]
        if step is None or step.kind not in _GROUPED:
            return None
        if step not in self._groups:
            self._groups[step] = group_of(step)
        return self._groups[step]

    def _choose(self, number: int, made: Step, place: Place) -> None:
        """Decides of one value."""
        k = [view.place for view in made.results].index(place)
        view, group = made.results[k], made.attrs["group"]
        lines = _needed(group, [group.outputs[k]])
        readers = [found for reader in sorted(self._readers[place])
                   if (found := self._reader(number, reader, made, k, lines))]
        if not readers:
            return
        alone = len(readers) == len(self._readers[place])
        ops = sum(op_cost(group.ops[line].op) for line in lines) * len(readers)
        keeping = _bytes(view) * alone + sum(reader.kept for reader in readers)
        again = ops * OPERATION + sum(reader.again for reader in readers)
        kept = again >= keeping or any(
            len(reader.after.attrs["group"].ops) > MOST_OPS
            or len(reader.after.operands) > MOST_OPERANDS for reader in readers)
        elements = product(view.shape)
        self.choices.append(Choice(group.made[k], kept, elements * ops, elements * keeping,
                                   elements * again))
        if kept:
            return
        for reader in readers:
            self._put(reader.number, reader.after)
        if alone:
            self._put(number, _without(made, k))

    def _reader(self, number: int, reader: int, made: Step, k: int, lines: Sequence[int]
                ) -> _Reader | None:
        """What it would cost a step to compute a value again, if it is a group that can."""
        view, used, group = made.results[k], _operands(made, lines), self._group(reader)
        if group is None or not same(group.result.shape, view.shape):
            return None
        if not all(same_layout(own, view) for own in group.views if own.place == view.place):
            return None
        if any(number <= writer <= reader for own in used for writer in self._writers[own.place]
               if not _is_in(own, group.views) or writer != reader):
            return None
        after = _computing(group, made, view.place, lines)
        more = sum(_bytes(own) for own in used
                   if not _is_in(own, group.views) and same(own.strides, view.strides))
        passes = 2 * sum(map(_bytes, self._products(group)[:1]))
        return _Reader(reader, after, _bytes(view) + passes * (not may_end(group)),
                       more + passes * (not may_end(after)))

    def _products(self, group: Step) -> list[View]:
        """The operands of a group that are results of products, and that nothing else reads."""
        return [view for view in group.views if len(self._readers[view.place]) == 1
                and view.place.kind == "buffer" and any(
                    step is not None and step.kind == "matmul" and "group" not in step.attrs
                    for step in map(self.steps.__getitem__, self._writers[view.place]))]


def _is_small(view: View) -> bool:
    elements = product(view.shape)
    return isinstance(elements, int) and elements < _SMALL


def _bytes(view: View) -> int:
    """The bytes of an element."""
    return DTYPES[view.dtype].itemsize


def _is_in(view: View, views: Sequence[View]) -> bool:
    return any(own.place == view.place and same_layout(own, view) for own in views)


def _needed(group: Group, wanted: Sequence[int]) -> list[int]:
    """The lines that these lines are computed from, and they themselves, in order."""
    found: set[int] = set()
    rest = list(wanted)
    while rest:
        line = rest.pop()
        if line not in found:
            found.add(line)
            rest += [int(o[1:]) for o in group.ops[line].operands if o[0] == "t"]
    return sorted(found)


def _operands(made: Step, lines: Sequence[int]) -> list[View]:
    """The arrays that these lines of a group read."""
    names = {o for line in lines for o in made.attrs["group"].ops[line].operands if o[0] == "r"}
    return [o for i, o in enumerate(made.operands) if f"r{i}" in names and isinstance(o, View)]


def _computing(reader: Step, made: Step, place: Place, lines: Sequence[int]) -> Step:
    """The group that computes the last of these lines of another one first, and not reads it."""
    own, other = reader.attrs["group"], made.attrs["group"]
    operands: list[Operand] = []
    named: dict[str, str] = {}
    for i, operand in enumerate(reader.operands):
        if isinstance(operand, View) and operand.place == place:
            named[f"r{i}"] = f"t{len(lines) - 1}"        # the last line of them
        else:
            named[f"r{i}"] = f"r{len(operands)}"
            operands.append(operand)
    named |= {f"t{i}": f"t{len(lines) + i}" for i in range(len(own.ops))}
    first = {f"t{line}": f"t{i}" for i, line in enumerate(lines)}
    for i, operand in enumerate(made.operands):
        if not any(f"r{i}" in other.ops[line].operands for line in lines):
            continue
        known = [j for j, o in enumerate(operands)
                 if isinstance(o, View) and isinstance(operand, View) and _is_in(o, [operand])]
        first[f"r{i}"] = f"r{known[0] if known else len(operands)}"
        operands += [] if known else [operand]
    before = [_renamed(other.ops[line], first) for line in lines]
    group = Group((*before, *(_renamed(op, named) for op in own.ops)),
                  tuple(len(lines) + i for i in own.outputs), own.nodes, own.made)
    return replace(reader, operands=tuple(operands), attrs={**reader.attrs, "group": group})


def _without(made: Step, k: int) -> Step | None:
    """The group without result number k, and without the lines that are needed for nothing else."""
    group = made.attrs["group"]
    outputs = [line for i, line in enumerate(group.outputs) if i != k]
    if not outputs:
        return None
    results = [view for i, view in enumerate(made.results) if i != k]
    nodes = [node for i, node in enumerate(group.made) if i != k]
    lines = _needed(group, outputs)
    used = _numbers(group, lines)
    named = {f"t{line}": f"t{i}" for i, line in enumerate(lines)}
    named |= {f"r{old}": f"r{new}" for new, old in enumerate(used)}
    left = Group(tuple(_renamed(group.ops[line], named) for line in lines),
                 tuple(lines.index(line) for line in outputs), group.nodes, tuple(nodes))
    return replace(made, result=results[0], also=tuple(results[1:]), node=nodes[0],
                   operands=tuple(made.operands[i] for i in used),
                   attrs={**made.attrs, "group": left})


def _numbers(group: Group, lines: Sequence[int]) -> list[int]:
    return sorted({int(o[1:]) for line in lines for o in group.ops[line].operands if o[0] == "r"})


def _renamed(op: ElementOp, named: dict[str, str]) -> ElementOp:
    return op._replace(operands=tuple(named[o] for o in op.operands))

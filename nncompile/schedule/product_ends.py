"""A group of elementwise steps becomes the end of the product whose result it reads.

    b7 [64, 17]              = matmul(b5 [64, B], in0 [B, 17])
    in3 [64, 17], in4 [...]  = group(b7 [64, 17], in3 [64, 17], in4 [64, 17])
                               {t0 = mul(r0, 0.1), t1 = add(r1, t0), ...}
    -->
    in3 [64, 17], in4 [...]  = matmul(b5 [64, B], in0 [B, 17]) {t0 = mul(p, 0.1), t1 = add(r0, t0),
                               ...} then group(in3 [64, 17], in4 [64, 17])

So the gradient of a weight is never in memory as a whole: each tile of it updates its part of the
weight and of the optimizer's states at once, where the update is short, as those of SGD are. The
derivative of an activation is applied in the same way to the gradient behind it. It is the same
arithmetic in the same order.

The group is made earlier, where the product is, if no step between them minds; or else the product
is made later.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence, Set

from ir.records import replace
from ir.types import FLOATS, TensorType, same
from nncompile.schedule.cost import op_cost
from nncompile.schedule.groups import group_of
from nncompile.schedule.memory import same_layout
from nncompile.schedule.ops import may_fail
from nncompile.schedule.program import ElementOp, Group, Operand, Place, Step, View, contiguous

# A longer group, or one with a quotient or a root, is quicker by itself: with those of Adam at the
# end of products, steps of 30 us to 40 ms took 1.01 to 1.04 times as long on a Zen 4.
_MOST_OPS = 10


def part_updates(steps: Sequence[Step], buffers: dict[Place, TensorType]) -> list[Step]:
    """Returns the steps, of which products that end within the update of a state end before it.

        b9 [64, 17]  = elementwise(in4 [64, 17], 0.9) {op = mul}
        in4 [64, 17] = matmul(b5 [64, B], in0 [B, 17]) then mul(in1 []), add(b9)
        in3 [64, 17] = elementwise(in4 [64, 17], ...) ...

    So the whole update can be one group, the end of the product: with momentum or a decay of the
    weights its arrays would be read and written by a pass before and a pass behind the product.
    buffers: is extended by those of the products' own results.
    """
    states = {step.result.place for step in steps if step.result.place.kind == "input"}
    read = {view.place for step in steps if step.kind == "elementwise" for view in step.reads}
    parted: list[Step] = []
    for step in steps:
        ends = step.kind == "matmul" and bool(step.then)
        before = _makers(step, parted, steps, states) if ends else []
        if not before and not (ends and step.result.place in states & read):
            parted.append(step)
            continue
        place = Place("buffer", len(buffers))
        buffers[place] = TensorType(step.result.dtype, step.result.shape)
        product = contiguous(place, buffers[place])
        (op, operands), *rest = step.then
        parted = [each for each in parted if each not in before]
        parted += [replace(step, result=product, then=()), *before,
                   Step("elementwise", step.result, (product, *operands), {"op": op}, tuple(rest),
                        step.node)]
    return parted


def _makers(product: Step, before: Sequence[Step], steps: Sequence[Step], states: Set[Place]
            ) -> list[Step]:
    """The elementwise steps of states that make what a product ends with, if it can be behind it.
    """
    wanted = {view.place for view in product.reads[len(product.views):]
              if view.place.kind == "buffer"}
    found: list[Step] = []
    written: set[Place] = set()
    for step in reversed(before):
        places = {view.place for view in step.reads}
        if (step.kind == "elementwise" and step.result.place in wanted
                and not states.isdisjoint(places) and written.isdisjoint(places)
                and not any(step.result.place == view.place
                            for other in steps if other is not product for view in other.reads)):
            found.append(step)
        else:
            written |= {view.place for view in step.results}
    return found[::-1]


def end_products(steps: Sequence[Step]) -> list[Step]:
    """Returns the steps, of which groups are part of a product where that is possible."""
    order = _Order(steps)
    for number, step in enumerate(steps):
        group = group_of(step)
        if group is None:
            continue
        for found in order.products(group):
            product = order.steps[found]
            place = order.place(found, number, group) if product and _fits(product, group) else None
            if product is not None and place is not None:
                order.join(found, number, place, _joined(product, group))
                break
    return [step for step in order.steps if step is not None]


class _Order:
    """Steps in their order, where each may be taken away, and which of them touch a place."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps: list[Step | None] = list(steps)
        self._writers: dict[Place, set[int]] = defaultdict(set)
        self._readers: dict[Place, set[int]] = defaultdict(set)
        self._fails = [number for number, step in enumerate(steps) if may_fail(step)]
        for number, step in enumerate(steps):
            self._note(number, step)

    def products(self, group: Step) -> list[int]:
        """Returns the products whose results the group reads, and nothing else does."""
        found = []
        for view in group.views:
            writers, readers = self._writers[view.place], self._readers[view.place]
            if (view.place.kind == "buffer" and len(writers) == len(readers) == 1
                    and same_layout(view, group.result.moved(view.place))):
                [maker] = writers
                step = self.steps[maker]
                found += [maker] if step is not None and step.kind == "matmul" else []
        return found

    def place(self, product: int, number: int, group: Step) -> int | None:
        """Returns where both may be made: where one of them is, or None if a step between minds."""
        read, written = ({view.place for view in views} for views in (group.reads, group.results))

        def between(numbers: Iterable[int]) -> bool:
            return any(product < each < number for each in numbers)

        touched = [self._writers[place] for place in read | written]
        touched += [self._readers[place] for place in written]
        writes_state = any(place.kind == "input" for place in written)
        if not any(map(between, touched)) and not (writes_state and between(self._fails)):
            return product
        step = self.steps[product]
        moves = step is not None and not any(
            between(self._writers[view.place]) for view in step.reads)
        return number if moves else None

    def join(self, product: int, number: int, place: int, joined: Step) -> None:
        """Puts the product that ends with the group in this place."""
        for each in (product, number):
            if step := self.steps[each]:
                for view in (*step.results, *step.reads):
                    self._writers[view.place].discard(each)
                    self._readers[view.place].discard(each)
            self.steps[each] = None
        self.steps[place] = joined
        self._note(place, joined)

    def _note(self, number: int, step: Step) -> None:
        for places, views in ((self._writers, step.results), (self._readers, step.reads)):
            for view in views:
                places[view.place].add(number)


def _fits(product: Step, group: Step) -> bool:
    """Whether a product's kernel can do what the group does with its result."""
    y, written = product.result, {view.place for view in group.results}
    return (
        "group" not in product.attrs and y.dtype == group.result.dtype
        and same(y.shape, group.result.shape) and may_end(group)
        # Other tiles read again what the product multiplies.
        and not any(view.place in written for view in product.views))


def may_end(group: Step) -> bool:
    """Returns whether a group is one that products can end with."""
    y, lines = group.result, group.attrs["group"].ops
    return (
        y.dtype in FLOATS and len(y.shape) == 2 and not same(y.shape[1], 1)
        and len(lines) <= _MOST_OPS and all(op_cost(line.op) == 1 for line in lines)
        and all({line.source, line.dtype} <= {y.dtype, "bool"} for line in lines)
        and all(view.dtype == y.dtype for view in (*group.results, *group.reads)))


def _joined(product: Step, group: Step) -> Step:
    """The product that ends with the group, behind the ops that it ended with before."""
    y, made = product.result, group.attrs["group"]
    operands: list[Operand] = []
    lines: list[ElementOp] = []
    value = "p"
    for op, others in product.then:
        names = [f"r{len(operands) + i}" for i in range(len(others))]
        operands += [o.broadcast_to(y.shape) if isinstance(o, View) else o for o in others]
        lines.append(ElementOp(op, (value, *names), y.dtype, y.dtype))
        value = f"t{len(lines) - 1}"
    named = {f"t{i}": f"t{len(lines) + i}" for i in range(len(made.ops))}
    for i, operand in enumerate(group.operands):
        if isinstance(operand, View) and operand.place == y.place:
            named[f"r{i}"] = value
        else:
            named[f"r{i}"] = f"r{len(operands)}"
            operands.append(operand)
    outputs = tuple(len(lines) + i for i in made.outputs)
    lines += [line._replace(operands=tuple(named[o] for o in line.operands)) for line in made.ops]
    nodes = dict.fromkeys((product.node, *made.nodes))       # one that was parted has been both
    whole = Group(tuple(lines), outputs, tuple(nodes), made.made)
    return replace(product, result=group.result, also=group.also,
                   then=(("group", tuple(operands)),), attrs={**product.attrs, "group": whole})

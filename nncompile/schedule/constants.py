"""The constants of a program: how each weight is stored, decided once for every target."""
from __future__ import annotations

from collections.abc import Sequence

from ir.graph import Value
from ir.records import dataclass, replace
from nncompile.schedule.names import fixed
from nncompile.schedule.program import Constant, Operand, Place, Step, View


@dataclass(frozen=True)
class TargetTraits:
    """What scheduling knows about a target.

    vectors: kernels read contiguous numbers as vectors: they also work down columns, where an axis
             is not the last one, and write rows that lie apart.
    weight:  the layout in which a linear reads its weight [N, K].
    column:  the same for a linear with one output, N = 1.
    """

    vectors: bool = True
    weight: str = "panels"
    column: str = "rows"


VECTOR_TRAITS = TargetTraits()


def store_constants(steps: Sequence[Step], values: Sequence[Value], traits: TargetTraits
                    ) -> tuple[tuple[Step, ...], tuple[Constant, ...], list[Value]]:
    """Returns the steps, the constants of the program, and the values that these are made of.

    In the steps given, Place("constant", i) is number i of `values`; in those returned it is the
    number of a constant. The `sources` of a constant are numbers of the values returned.
    """
    store = _Store(values, traits)
    stored = tuple(map(store.step, steps))
    return stored, tuple(store.constants), list(store.sources)


class _Store:
    """Constants and sources in the order in which steps first read them."""

    def __init__(self, values: Sequence[Value], traits: TargetTraits) -> None:
        self.values, self.traits = values, traits
        self.constants: dict[Constant, Place] = {}
        self.sources: dict[Value, int] = {}

    def step(self, step: Step) -> Step:
        if all(view.place.kind != "constant" for view in step.reads):
            return step
        operands = self.linear(step) if step.kind == "linear" else self.rows(step.operands)
        then = tuple((op, self.rows(others)) for op, others in step.then)
        return replace(step, operands=operands, then=then)

    def linear(self, step: Step) -> tuple[Operand, ...]:
        """Panels contain the bias; of any other layout the bias stays an operand of its own."""
        given, weight, *bias = step.views
        x, = self.rows([given])                  # such as a token that every row of a batch has
        layout = self.traits.column if weight.shape[0] == 1 else self.traits.weight
        if layout == "panels":
            return x, self.stored(layout, weight, *bias)
        return x, self.stored(layout, weight), *self.rows(bias)

    def rows(self, operands: Sequence[Operand]) -> tuple[Operand, ...]:
        return tuple(self.stored("rows", o) if isinstance(o, View) and o.place.kind == "constant"
                     else o for o in operands)

    def stored(self, layout: str, view: View, *further: View) -> View:
        values = [self.values[v.place.number] for v in (view, *further)]
        sources = tuple(self.sources.setdefault(v, len(self.sources)) for v in values)
        type_ = values[0].type
        constant = Constant(layout, type_.dtype, tuple(fixed(type_.shape)), sources)
        return view.moved(self.constants.setdefault(
            constant, Place("constant", len(self.constants))))

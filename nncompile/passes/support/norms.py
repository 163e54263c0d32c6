"""The parts of a norm written by hand: x / sqrt(mean(x * x) + eps) * weight."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ir import Node, Value
from ir.graph import Operand
from ir.types import product, same
from nncompile.passes.support.patterns import See, both_ways, is_close

LEAST_EPS = 2.0**-126                            # a smaller one is nothing, in float32
DEPTH = 4                                        # products of products, at most so deep


@dataclass(frozen=True)
class Norm:
    """x / sqrt(mean(x * x) + eps) * weight; a weight or none."""

    x: Value
    axes: tuple[int, ...]
    eps: float
    weight: tuple[Value, ...]

    @property
    def attrs(self) -> dict[str, Any]:
        return {"axes": self.axes, "eps": self.eps}


@dataclass(frozen=True)
class Fraction:
    """The factors of a product above the line and below it."""

    above: tuple[Operand, ...]
    below: tuple[Operand, ...] = ()


def norm(node: Node, see: See) -> Norm | None:
    """What the node is, if it is a norm over the last axes; its factors may be in any order."""
    factors = fraction(node.result, see, None)
    for root, argument in roots(factors, see):
        for x, axes, eps in deviations(argument, factors, see):
            weight = others(fraction(node.result, see, x), root, x)
            if weight is not None and x.type == node.result.type and fits(weight, x, axes):
                return Norm(x, axes, eps, weight)
    return None


def fraction(operand: Operand, see: See, stop: Value | None, depth: int = DEPTH) -> Fraction:
    """The factors of a value, which are not taken apart at `stop`."""
    node = None if operand is stop or not depth else see(operand)
    match node:
        case Node(op="mul", inputs=(a, b)):
            first, second = (fraction(o, see, stop, depth - 1) for o in (a, b))
            return Fraction(first.above + second.above, first.below + second.below)
        case Node(op="div", inputs=(a, b)):
            first = fraction(a, see, stop, depth - 1)
            return Fraction(first.above, (*first.below, b))
    return Fraction(() if operand == 1.0 else (operand,))


def roots(factors: Fraction, see: See) -> Iterator[tuple[Operand, Operand]]:
    """The factors that divide by the root of something, and that."""
    for operand in factors.above:
        match see(operand):
            case Node(op="rsqrt", inputs=(argument,)) | Node(op="pow", inputs=(argument, -0.5)):
                yield operand, argument
    for operand in factors.below:
        match see(operand):
            case Node(op="sqrt", inputs=(argument,)) | Node(op="pow", inputs=(argument, 0.5)):
                yield operand, argument


def deviations(argument: Operand, factors: Fraction, see: See
               ) -> Iterator[tuple[Value, tuple[int, ...], float]]:
    """Each x with its axes and eps for which the argument is mean(x * x) + eps."""
    match see(argument):
        case Node(op="add", inputs=inputs):
            sums = both_ways(inputs)
        case _:
            return
    for squares, eps in sums:
        if not isinstance(eps, float) or not LEAST_EPS <= eps < float("inf"):
            continue
        if (averaged := mean_of(squares, see)) is not None:
            x = square_of(averaged[0], see)
            if x is not None:
                yield x, averaged[1], eps
        for c in factors.above:
            axes = difference_of_moments(squares, c, see)
            if isinstance(c, Value) and axes is not None:
                yield c, axes, eps


def difference_of_moments(operand: Operand, c: Operand, see: See) -> tuple[int, ...] | None:
    """The axes where the operand is mean(x * x) - mean(x) * mean(x) and c is x - mean(x)."""
    match see(operand), centred(c, see):
        case Node(op="sub", inputs=(squares, square)), (x, axes):
            averaged, mean = mean_of(squares, see), square_of(square, see)
            if averaged is not None and averaged[1] == axes and mean is not None \
                    and square_of(averaged[0], see) is x and mean_of(mean, see) == (x, axes):
                return axes
    return None


def centred(operand: Operand, see: See) -> tuple[Value, tuple[int, ...]] | None:
    """x and the axes where the operand is x - mean(x)."""
    match see(operand):
        case Node(op="sub", inputs=(Value() as x, mean)):
            averaged = mean_of(mean, see)
            if averaged is not None and averaged[0] is x:
                return x, averaged[1]
    return None


def mean_of(operand: Operand, see: See) -> tuple[Value, tuple[int, ...]] | None:
    """x and the axes where the operand is its mean over them, or its sum times one over their
    size; the axes stay, with size 1."""
    match see(operand):
        case Node(op="mean", inputs=(Value() as x,), attrs={"axes": axes, "keepdims": True}):
            return x, tuple(axes)
        case Node(op="mul", inputs=inputs):
            for total, factor in both_ways(inputs):
                match see(total):
                    case Node(op="sum", inputs=(Value() as x,),
                              attrs={"axes": axes, "keepdims": True}):
                        size = product(x.type.shape[axis] for axis in axes)
                        if isinstance(factor, float) and isinstance(size, int) \
                                and is_close(factor * size, 1.0):
                            return x, tuple(axes)
    return None


def square_of(operand: Operand, see: See) -> Value | None:
    match see(operand):
        case Node(op="mul", inputs=(Value() as x, other)) if other is x:
            return x
        case Node(op="pow", inputs=(Value() as x, 2.0)):
            return x
    return None


def others(factors: Fraction, root: Operand, x: Value) -> tuple[Value, ...] | None:
    """The values beside x and the root, if these are there once and nothing else is below."""
    everything = factors.above + factors.below
    if [o for o in factors.below if o is not root] or any(
            sum(o is part for o in everything) != 1 for part in (root, x)):
        return None
    rest = tuple(o for o in factors.above if o is not root and o is not x)
    values = tuple(o for o in rest if isinstance(o, Value))
    return values if len(values) == len(rest) else None


def fits(weight: tuple[Value, ...], x: Value, axes: tuple[int, ...]) -> bool:
    """Whether a norm over these axes of x can have this weight, or none."""
    last = tuple(range(x.type.ndim - len(axes), x.type.ndim))
    shape = x.type.shape[x.type.ndim - len(axes):]
    return axes == last and len(weight) <= 1 and all(same(w.type.shape, shape) for w in weight)


def affine(node: Node, see: See, op: str, step: str, operands: int) -> Node | None:
    """The norm `op`, which has so many operands, with one more: what `step`, mul or add, joins to
    it here."""
    if node.op != step:
        return None
    for made, w in both_ways(node.inputs):
        match see(made):
            case Node(op=found, inputs=(Value() as x, *_) as inputs, attrs=attrs) if (
                    found == op and len(inputs) == operands and isinstance(w, Value)
                    and w is not made and x.type == node.result.type
                    and fits((w,), x, tuple(attrs["axes"]))):
                return Node(node.result, op, (*inputs, w), attrs, node.where)
    return None

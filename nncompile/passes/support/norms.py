"""The norms that people write by hand: x / sqrt(mean(x * x) + eps) * weight."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ir import Context, Node, Operand, Value, product, same
from ir.records import dataclass
from nncompile.passes.support.matching import both_ways, is_close

_LEAST_EPS = 2.0**-126                           # the smallest normal float32
ROOTS = ("rsqrt", "sqrt", "pow")                 # one of them is in every norm
_DEPTH = 4                                       # how many products within products are looked into

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Norm:
    """x / sqrt(mean(x * x) + eps) * weight, where `weight` holds one value or none."""

    x: Value
    axes: Axes
    eps: float
    weight: tuple[Value, ...]

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes of the op that computes it."""
        return {"axes": self.axes, "eps": self.eps}


@dataclass(frozen=True)
class _Fraction:
    """A product as a fraction: the factors of its numerator and of its denominator."""

    above: tuple[Operand, ...]
    below: tuple[Operand, ...] = ()


def norm(node: Node, context: Context) -> Norm | None:
    """Returns the norm over the last axes that the node computes, if it computes one.

    Its factors may be in any order.
    """
    factors = _fraction(node.result, context, None)
    for root, argument in _roots(factors, context):
        for x, axes, eps in _mean_squares(argument, factors, context):
            weight = _other_factors(_fraction(node.result, context, x), root, x)
            if weight is None or x.type != node.result.type:
                continue
            if _fits(weight, x, axes):
                return Norm(x, axes, eps, weight)
            context.leave(node, "is not made one norm of {}: a norm is over the last axes, and its "
                                "weight has their shape", x)
    return None


def _fraction(operand: Operand, context: Context, stop: Value | None, depth: int = _DEPTH
              ) -> _Fraction:
    """The factors of a value; `stop` is not taken apart."""
    node = None if operand is stop or not depth else context.producer(operand)
    match node:
        case Node(op="mul", inputs=(a, b)):
            first, second = (_fraction(o, context, stop, depth - 1) for o in (a, b))
            return _Fraction(first.above + second.above, first.below + second.below)
        case Node(op="div", inputs=(a, b)):
            first = _fraction(a, context, stop, depth - 1)
            return _Fraction(first.above, (*first.below, b))
    return _Fraction(() if operand == 1.0 else (operand,))


def _roots(factors: _Fraction, context: Context) -> Iterator[tuple[Operand, Operand]]:
    """Each factor that divides by the square root of something, and this something."""
    for operand in factors.above:
        match context.producer(operand):
            case Node(op="rsqrt", inputs=(argument,)) | Node(op="pow", inputs=(argument, -0.5)):
                yield operand, argument
    for operand in factors.below:
        match context.producer(operand):
            case Node(op="sqrt", inputs=(argument,)) | Node(op="pow", inputs=(argument, 0.5)):
                yield operand, argument


def _mean_squares(argument: Operand, factors: _Fraction, context: Context
                  ) -> Iterator[tuple[Value, Axes, float]]:
    """Each x with its axes and eps for which the argument is mean(x * x) + eps."""
    match context.producer(argument):
        case Node(op="add", inputs=inputs):
            sums = both_ways(inputs)
        case Node(op="mean", inputs=(squares,)) as mean if _square_of(squares, context) is not None:
            context.leave(mean, "is not made part of a norm: no eps is added, and a row of zeros "
                                "would be 0 / 0", squares)
            return
        case _:
            return
    for squares, eps in sums:
        if not isinstance(eps, float) or not _LEAST_EPS <= eps < float("inf"):
            continue
        if (averaged := _mean_of(squares, context)) is not None:
            x = _square_of(averaged[0], context)
            if x is not None:
                yield x, averaged[1], eps
        for c in factors.above:
            axes = _axes_of_variance(squares, c, context)
            if isinstance(c, Value) and axes is not None:
                yield c, axes, eps


def _axes_of_variance(operand: Operand, c: Operand, context: Context) -> Axes | None:
    """The axes where the operand is mean(x * x) - mean(x) * mean(x) and c is x - mean(x)."""
    found = centred(c, context)
    if found is not None and _is_difference(operand, found[0], found[1], context):
        return found[1]
    return None


def _is_difference(operand: Operand, x: Value, axes: Axes, context: Context) -> bool:
    """Whether the operand is mean(x * x) - mean(x) * mean(x), which may be limited to 0."""
    match context.producer(operand):
        case Node(op="maximum", inputs=(0.0, inner)) | Node(op="maximum", inputs=(inner, 0.0)) \
                | Node(op="relu", inputs=(inner,)):
            operand = inner
    match context.producer(operand):
        case Node(op="sub", inputs=(squares, square)):
            averaged, mean = _mean_of(squares, context), _square_of(square, context)
            return (averaged is not None and averaged[1] == axes and mean is not None
                    and _square_of(averaged[0], context) is x
                    and _mean_of(mean, context) == (x, axes))
    return False


def shifted_norm(node: Node, context: Context) -> tuple[Norm, Value] | None:
    """Returns a norm and its bias where the node is x * s + (bias - mean(x) * s).

    There s is weight / sqrt(variance + eps), as Keras and TensorFlow write it.
    """
    if node.op != "add":
        return None
    for scaled, shift in both_ways(node.inputs):
        match context.producer(scaled), context.producer(shift):
            case Node(op="mul", inputs=factors), Node(op="sub", inputs=(Value() as bias, product_)):
                for x, scale in both_ways(factors):
                    found = _norm_by_scale(x, scale, product_, context)
                    if found is not None and found.x.type == node.result.type \
                            and _fits((*found.weight, bias), found.x, found.axes, most=2):
                        return found, bias
    return None


def _norm_by_scale(x: Operand, scale: Operand, product_: Operand, context: Context
                   ) -> Norm | None:
    """The norm of x where the scale is weight / sqrt(variance of x + eps).

    product_: what has to be the mean times the scale.
    """
    match context.producer(product_):
        case Node(op="mul", inputs=inputs) if isinstance(x, Value) and isinstance(scale, Value):
            means = [_mean_of(mean, context) for mean, other in both_ways(inputs)
                     if other is scale]
        case _:
            return None
    axes = next((found[1] for found in means if found is not None and found[0] is x), None)
    if axes is None:
        return None
    factors = _fraction(scale, context, None)
    for root, argument in _roots(factors, context):
        match context.producer(argument):
            case Node(op="add", inputs=inputs):
                for variance, eps in both_ways(inputs):
                    rest = _other_factors(factors, root, x, with_x=False)
                    if isinstance(eps, float) and _LEAST_EPS <= eps < float("inf") \
                            and rest is not None and _is_variance(variance, x, axes, context):
                        return Norm(x, axes, eps, rest)
    return None


def _is_variance(operand: Operand, x: Value, axes: Axes, context: Context) -> bool:
    """Whether the operand is the variance of x over the axes."""
    if (averaged := _mean_of(operand, context)) is not None and averaged[1] == axes:
        square = _square_of(averaged[0], context)
        return square is not None and centred(square, context) == (x, axes)
    return _is_difference(operand, x, axes, context)


def centred(operand: Operand, context: Context) -> tuple[Value, Axes] | None:
    """Returns x and the axes where the operand is x - mean(x)."""
    match context.producer(operand):
        case Node(op="sub", inputs=(Value() as x, mean)):
            averaged = _mean_of(mean, context)
            if averaged is not None and averaged[0] is x:
                return x, averaged[1]
    return None


def _mean_of(operand: Operand, context: Context) -> tuple[Value, Axes] | None:
    """Returns x and the axes where the operand is the mean of x over them, its dims kept.

    A sum times one over the number of its elements is a mean too.
    """
    match context.producer(operand):
        case Node(op="mean", inputs=(Value() as x,), attrs={"axes": axes, "keepdims": True}):
            return x, tuple(axes)
        case Node(op="mul", inputs=inputs):
            for total, factor in both_ways(inputs):
                match context.producer(total):
                    case Node(op="sum", inputs=(Value() as x,),
                              attrs={"axes": axes, "keepdims": True}):
                        size = product(x.type.shape[axis] for axis in axes)
                        if isinstance(factor, float) and isinstance(size, int) \
                                and is_close(factor * size, 1.0, x.type.dtype):
                            return x, tuple(axes)
    return None


def _square_of(operand: Operand, context: Context) -> Value | None:
    """Returns x where the operand is x * x."""
    match context.producer(operand):
        case Node(op="mul", inputs=(Value() as x, other)) if other is x:
            return x
        case Node(op="pow", inputs=(Value() as x, 2.0)):
            return x
    return None


def _other_factors(factors: _Fraction, root: Operand, x: Value, with_x: bool = True
                   ) -> tuple[Value, ...] | None:
    """The factors beside x and the root.

    None where one of these two is not there exactly once (x not at all, without with_x), where a
    number is among the others, and where anything but the root is divided by.
    """
    everything = factors.above + factors.below
    if [o for o in factors.below if o is not root] or any(
            sum(o is part for o in everything) != count
            for part, count in ((root, 1), (x, int(with_x)))):
        return None
    rest = tuple(o for o in factors.above if o is not root and o is not x)
    values = tuple(o for o in rest if isinstance(o, Value))
    return values if len(values) == len(rest) else None


def _fits(weight: tuple[Value, ...], x: Value, axes: Axes, most: int = 1) -> bool:
    """Whether these are the last axes of x, and the weights, at most so many, have their shape."""
    last = tuple(range(x.type.ndim - len(axes), x.type.ndim))
    shape = x.type.shape[x.type.ndim - len(axes):]
    return axes == last and len(weight) <= most and all(same(w.type.shape, shape) for w in weight)


def with_operand(node: Node, context: Context, op: str, step: str, operands: int) -> Node | None:
    """Returns the norm `op` of `operands` operands with one more, which the node joins by `step`.

    `step` is "mul" for the weight of a norm, "add" for its bias.
    """
    if node.op != step:
        return None
    for normed, w in both_ways(node.inputs):
        match context.producer(normed):
            case Node(op=found, inputs=(Value() as x, *_) as inputs, attrs=attrs) if (
                    found == op and len(inputs) == operands and isinstance(w, Value)
                    and w is not normed and x.type == node.result.type
                    and _fits((w,), x, tuple(attrs["axes"]))):
                return Node(node.result, op, (*inputs, w), attrs, node.where)
    return None

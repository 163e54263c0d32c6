"""The gradients of the ops. One op is one row of GRADIENTS, or its reason in NO_GRADIENT.

A row has one rule for each operand, so that a gradient that nobody wants is never computed:

    rule(do, g, out, *operands, **attrs) -> the gradient of that operand

g is the gradient of the op's result, and out is the result. `do(op, *operands, **attrs)` evaluates
or records one op of the IR and returns its result, `do.type(x)` is the type of an array. Whether
these are values of a graph or arrays of numbers, a rule does not know. It uses nothing but ops, so
its own gradient can be taken; sizes may be symbolic. A parameter of a rule whose name begins with
`_` is used for its type alone: whoever calls it need not keep its numbers (`Gradient.reads`). A
plain number among the operands stays one.

Where a function has a kink or a jump, and at ties, the convention is torch's. The rules read the
results and operands that torch's do, so that what may be changed in place before the gradient is
computed is the same, too. At an infinity the gradient is the limit, as the ops' values are.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log, pi, prod, sqrt
from typing import Any, Protocol

from ir.ops.elementwise import SELU_ALPHA, SELU_SCALE
from ir.records import dataclass
from ir.types import Dim, Error, TensorType, product, same

_Rule = Callable[..., Any]

_VAR_POSITIONAL = 4                              # inspect.CO_VARARGS: it has *operands
_FAR = 40.0                                      # from here on gelu is x or 0 to the last bit
_FAR_EXP = 800.0                                 # exp(-800) is 0 in float64


class Do(Protocol):
    """How a rule computes: an ndarray is evaluated, a value of a graph recorded."""

    def __call__(self, op: str, *operands: Any, **attrs: Any) -> Any:
        """Returns the result of one op. Raises Error as the op does."""

    def type(self, operand: Any) -> TensorType:
        """Returns the type of an array or value, or of a TensorType in the place of one."""


@dataclass(frozen=True)
class Gradient:
    """The gradient of one op: a rule for each operand.

    rules: in the order of the operands; None where an operand has no gradient, as ids have none.
           The last one is for all further operands, too, where `many` says so: it takes the number
           of its operand as the keyword `number`.
    """

    name: str
    rules: tuple[_Rule | None, ...]
    many: bool = False

    def rule(self, number: int) -> _Rule | None:
        """Returns the rule of an operand; None where it has no gradient."""
        return self.rules[min(number, len(self.rules) - 1) if self.many else number]

    def reads(self, number: int, count: int) -> tuple[bool, tuple[int, ...]]:
        """Returns what the rule of an operand reads the numbers of, if the op has `count` operands.

        Whether the result, and which of the operands. Of the others it needs the types only.
        """
        rule = self.rule(number)
        if rule is None:
            return False, ()
        code = rule.__code__
        names = list(code.co_varnames[1:code.co_argcount])           # g, out, operands
        if code.co_flags & _VAR_POSITIONAL:
            rest = code.co_varnames[code.co_argcount + code.co_kwonlyargcount]
            names += [rest] * (count + 2 - len(names))
        read = [not name.startswith("_") for name in names]
        return read[1], tuple(i for i in range(count) if read[i + 2])

    def of(self, do: Do, number: int, g: Any, out: Any, operands: Sequence[Any],
           attrs: Mapping[str, Any]) -> Any:
        """Returns the gradient of one operand, which has the operand's type.

        This is the one place where a gradient is summed over the axes that broadcasting made.
        Raises Error for an operand that has no gradient.
        """
        rule = self.rule(number)
        if rule is None:
            raise Error(f"operand {number} of {self.name} has no gradient")
        which = {"number": number} if self.many else {}
        made = rule(do, g, out, *operands, **which, **attrs)
        return summed_to(do, made, do.type(operands[number]))


def summed_to(do: Do, g: Any, wanted: TensorType) -> Any:
    """Returns an array summed over the axes that broadcasting from the wanted shape made."""
    shape = do.type(g).shape
    if same(shape, wanted.shape):
        return g
    new = len(shape) - wanted.ndim
    axes = (*range(new), *(new + i for i, dim in enumerate(wanted.shape)
                           if same(dim, 1) and not same(shape[new + i], 1)))
    if axes:
        g = do("sum", g, axes=axes, keepdims=False)
    return _shaped(do, g, wanted.shape)


# -- what the rules share --------------------------------------------------------------------------

def _shaped(do: Do, x: Any, shape: Sequence[Dim]) -> Any:
    """Returns x in a shape of as many elements; x itself where it has it."""
    return x if same(do.type(x).shape, tuple(shape)) else do("reshape", x, shape=tuple(shape))


def _expanded(do: Do, x: Any, shape: Sequence[Dim]) -> Any:
    """Returns x broadcast to a shape; x itself where it has it."""
    return x if same(do.type(x).shape, tuple(shape)) else do("expand", x, shape=tuple(shape))


def _filled(do: Do, number: float, type_: TensorType) -> Any:
    """Returns an array of this type with one number everywhere."""
    return do("full", number, shape=type_.shape, dtype=type_.dtype)


def _within(do: Do, x: Any, bound: float) -> Any:
    """Returns x limited to [-bound, bound]; NaN stays."""
    return do("minimum", do("maximum", x, -bound), bound)


def _one_minus_square(do: Do, x: Any) -> Any:
    return do("sub", 1.0, do("mul", x, x))


def zero(do: Do, _g: Any, _out: Any, *_operands: Any) -> Any:
    """The rule of an operand of an elementwise op whose small changes do not change the result."""
    return _filled(do, 0.0, do.type(_g))


# -- elementwise: numbers --------------------------------------------------------------------------

def _same(do: Do, g: Any, _out: Any, *_operands: Any) -> Any:
    return g


def _minus(do: Do, g: Any, _out: Any, *_operands: Any) -> Any:
    return do("neg", g)


def _mul_0(do: Do, g: Any, _out: Any, _x: Any, y: Any) -> Any:
    return do("mul", g, y)


def _mul_1(do: Do, g: Any, _out: Any, x: Any, _y: Any) -> Any:
    return do("mul", g, x)


def _div_0(do: Do, g: Any, _out: Any, _x: Any, y: Any) -> Any:
    return do("div", g, y)


def _div_1(do: Do, g: Any, _out: Any, x: Any, y: Any) -> Any:
    return do("neg", do("mul", g, do("div", do("div", x, y), y)))


def _extreme_of_two(number: int, beyond: str) -> _Rule:
    """The rule of maximum or minimum: equal operands share the gradient.

    beyond: the comparison of an operand with the other one that says that it is not the result.
    A plain number is the bound of a clamp, whose gradient is undivided where x is at the bound, and
    0 for NaN.
    """
    def rule(do: Do, g: Any, _out: Any, x: Any, y: Any) -> Any:
        mine, other = (x, y) if number == 0 else (y, x)
        if isinstance(other, float):
            inside = {"lt": "ge", "gt": "le"}[beyond]
            return do("where", do(inside, mine, other), g, 0.0)
        shared = do("where", do("eq", mine, other), do("mul", g, 0.5), g)
        return do("where", do(beyond, mine, other), 0.0, shared)
    return rule


def _abs(do: Do, g: Any, _out: Any, x: Any) -> Any:
    return do("mul", g, do("sign", x))


def _remainder_1(do: Do, g: Any, _out: Any, x: Any, y: Any) -> Any:
    return do("neg", do("mul", g, do("floor_div", x, y)))


def _pow_0(do: Do, g: Any, _out: Any, x: Any, y: Any) -> Any:
    if isinstance(y, float) and y == 2:
        return do("mul", g, do("mul", x, 2.0))
    if isinstance(y, float):
        lower = _filled(do, 0.0, do.type(x)) if y == 0 else do("mul", do("pow", x, y - 1), y)
        return do("mul", g, lower)
    rate = do("mul", y, do("pow", x, do("sub", y, 1.0)))
    return do("where", do("eq", y, 0.0), 0.0, do("mul", g, rate))


def _pow_1(do: Do, g: Any, out: Any, x: Any, y: Any) -> Any:
    base = _filled(do, x, do.type(y)) if isinstance(x, float) else x
    rate = do("mul", out, do("log", base))
    flat = do("logical_and", do("eq", base, 0.0), do("ge", y, 0.0))
    return do("mul", g, do("where", flat, 0.0, rate))


def _copysign_0(do: Do, g: Any, out: Any, x: Any, _y: Any) -> Any:
    return do("mul", g, do("where", do("eq", x, 0.0), 0.0, do("div", out, x)))


def _atan2_0(do: Do, g: Any, _out: Any, y: Any, x: Any) -> Any:
    return do("mul", g, _over_squares(do, x, y, x))


def _atan2_1(do: Do, g: Any, _out: Any, y: Any, x: Any) -> Any:
    return do("neg", do("mul", g, _over_squares(do, y, y, x)))


def _over_squares(do: Do, of: Any, y: Any, x: Any) -> Any:
    """Returns of / (y^2 + x^2), and 0 where that would be 0 / 0 at the origin."""
    total = do("add", *(z * z if isinstance(z, float) else do("mul", z, z) for z in (y, x)))
    origin = do("eq", total, 0.0)
    return do("where", origin, 0.0, do("div", of, do("where", origin, 1.0, total)))


def _where_1(do: Do, g: Any, _out: Any, c: Any, _a: Any, _b: Any) -> Any:
    return do("where", c, g, 0.0)


def _where_2(do: Do, g: Any, _out: Any, c: Any, _a: Any, _b: Any) -> Any:
    return do("where", c, 0.0, g)


def _cast(do: Do, g: Any, _out: Any, _x: Any, *, dtype: str) -> Any:
    return do("cast", g, dtype=do.type(_x).dtype)


# -- elementwise: functions of floats --------------------------------------------------------------

def _exp(do: Do, g: Any, out: Any, _x: Any) -> Any:
    return do("mul", g, out)


def _expm1(do: Do, g: Any, out: Any, _x: Any) -> Any:
    return do("mul", g, do("add", out, 1.0))


def _exp2(do: Do, g: Any, out: Any, _x: Any) -> Any:
    return do("mul", g, do("mul", out, log(2)))


def _log(do: Do, g: Any, _out: Any, x: Any) -> Any:
    return do("div", g, x)


def _log1p(do: Do, g: Any, _out: Any, x: Any) -> Any:
    return do("div", g, do("add", x, 1.0))


def _log_of_base(base: float) -> _Rule:
    def rule(do: Do, g: Any, _out: Any, x: Any) -> Any:
        return do("div", g, do("mul", x, log(base)))
    return rule


def _sqrt(do: Do, g: Any, out: Any, _x: Any) -> Any:
    return do("div", g, do("mul", out, 2.0))


def _rsqrt(do: Do, g: Any, out: Any, _x: Any) -> Any:
    cube = do("mul", do("mul", out, out), out)
    return do("mul", do("mul", g, -0.5), cube)


def _sin(do: Do, g: Any, _out: Any, x: Any) -> Any:
    return do("mul", g, do("cos", x))


def _cos(do: Do, g: Any, _out: Any, x: Any) -> Any:
    return do("neg", do("mul", g, do("sin", x)))


def _tan(do: Do, g: Any, out: Any, _x: Any) -> Any:
    return do("mul", g, do("add", do("mul", out, out), 1.0))


def _asin(do: Do, g: Any, _out: Any, x: Any) -> Any:
    return do("mul", g, do("rsqrt", _one_minus_square(do, x)))


def _acos(do: Do, g: Any, _out: Any, x: Any) -> Any:
    return do("neg", do("mul", g, do("rsqrt", _one_minus_square(do, x))))


def _atan(do: Do, g: Any, _out: Any, x: Any) -> Any:
    return do("div", g, do("add", do("mul", x, x), 1.0))


def _sinh(do: Do, g: Any, _out: Any, x: Any) -> Any:
    return do("mul", g, do("cosh", x))


def _cosh(do: Do, g: Any, _out: Any, x: Any) -> Any:
    return do("mul", g, do("sinh", x))


def _tanh(do: Do, g: Any, out: Any, _x: Any) -> Any:
    return do("mul", g, _one_minus_square(do, out))


def _asinh(do: Do, g: Any, _out: Any, x: Any) -> Any:
    return do("mul", g, do("rsqrt", do("add", do("mul", x, x), 1.0)))


def _acosh(do: Do, g: Any, _out: Any, x: Any) -> Any:
    return do("mul", g, do("rsqrt", do("sub", do("mul", x, x), 1.0)))


def _atanh(do: Do, g: Any, _out: Any, x: Any) -> Any:
    return do("div", g, _one_minus_square(do, x))


def _of_erf(factor: float) -> _Rule:
    def rule(do: Do, g: Any, _out: Any, x: Any) -> Any:
        bell = do("exp", do("neg", do("mul", x, x)))
        return do("mul", g, do("mul", bell, factor))
    return rule


# -- activations -----------------------------------------------------------------------------------

def _sigmoid(do: Do, g: Any, out: Any, _x: Any) -> Any:
    return do("mul", g, do("mul", do("sub", 1.0, out), out))


def _relu(do: Do, g: Any, out: Any, _x: Any) -> Any:
    return do("where", do("le", out, 0.0), 0.0, g)


def _gelu(do: Do, g: Any, _out: Any, x: Any) -> Any:
    """Phi(x) + x phi(x); by erfc, because 1 + erf cancels on the negative side."""
    z = _within(do, x, _FAR)
    below = do("mul", do("erfc", do("mul", z, -sqrt(0.5))), 0.5)
    bell = do("mul", do("exp", do("mul", do("mul", z, z), -0.5)), 1 / sqrt(2 * pi))
    return do("mul", g, do("add", below, do("mul", z, bell)))


def _gelu_tanh(do: Do, g: Any, _out: Any, x: Any) -> Any:
    """It is s + x s (1 - s) du/dx, where gelu_tanh is x s and s = sigmoid(u)."""
    z, c = _within(do, x, _FAR), 2 * sqrt(2 / pi)
    square = do("mul", z, z)
    u = do("mul", z, do("add", do("mul", square, c * 0.044715), c))
    slope = do("add", do("mul", square, 3 * c * 0.044715), c)
    s = do("sigmoid", u)
    rest = do("mul", do("mul", z, do("sub", 1.0, s)), slope)
    return do("mul", g, do("mul", s, do("add", rest, 1.0)))


def _silu(do: Do, g: Any, _out: Any, x: Any) -> Any:
    """It is s (1 + x (1 - s)) with s = sigmoid(x)."""
    z = _within(do, x, _FAR_EXP)
    s = do("sigmoid", z)
    rest = do("add", do("mul", z, do("sub", 1.0, s)), 1.0)
    return do("mul", g, do("mul", s, rest))


def _mish(do: Do, g: Any, _out: Any, x: Any) -> Any:
    """It is t + x s (1 - t^2) with t = tanh(softplus(x)) and s = sigmoid(x)."""
    z = _within(do, x, _FAR_EXP)
    t, s = do("tanh", do("softplus", z, 1.0, _FAR)), do("sigmoid", z)
    rest = do("mul", do("mul", z, s), _one_minus_square(do, t))
    return do("mul", g, do("add", t, rest))


def _softplus_0(do: Do, g: Any, _out: Any, x: Any, beta: Any, threshold: Any) -> Any:
    z = do("mul", x, beta)
    return do("where", do("gt", z, threshold), g, do("mul", g, do("sigmoid", z)))


def _softplus_1(do: Do, g: Any, out: Any, x: Any, beta: Any, threshold: Any) -> Any:
    z = do("mul", x, beta)
    rate = do("div", do("sub", do("mul", x, do("sigmoid", z)), out), beta)
    return do("where", do("gt", z, threshold), 0.0, do("mul", g, rate))


def _not_above_zero(do: Do, x: Any) -> Any:
    """Returns x where exp(x) is used; elsewhere 0, so that nothing overflows there."""
    return do("minimum", x, 0.0)


def _elu_0(do: Do, g: Any, _out: Any, x: Any, alpha: Any) -> Any:
    rate = do("mul", do("exp", _not_above_zero(do, x)), alpha)
    return do("where", do("le", x, 0.0), do("mul", g, rate), g)


def _elu_1(do: Do, g: Any, _out: Any, x: Any, _alpha: Any) -> Any:
    return do("mul", g, do("expm1", _not_above_zero(do, x)))


def _celu_0(do: Do, g: Any, _out: Any, x: Any, alpha: Any) -> Any:
    below = do("le", x, 0.0)
    z = do("div", do("where", below, x, 0.0), alpha)
    return do("where", below, do("mul", g, do("exp", z)), g)


def _celu_1(do: Do, g: Any, _out: Any, x: Any, alpha: Any) -> Any:
    below = do("le", x, 0.0)
    z = do("div", do("where", below, x, 0.0), alpha)
    rate = do("sub", do("expm1", z), do("mul", z, do("exp", z)))
    return do("where", below, do("mul", g, rate), 0.0)


def _selu(do: Do, g: Any, _out: Any, x: Any) -> Any:
    rate = do("mul", do("exp", _not_above_zero(do, x)), SELU_ALPHA)
    rate = do("where", do("le", x, 0.0), rate, 1.0)
    return do("mul", g, do("mul", rate, SELU_SCALE))


def _leaky_relu_0(do: Do, g: Any, _out: Any, x: Any, slope: Any) -> Any:
    return do("where", do("gt", x, 0.0), g, do("mul", g, slope))


def _leaky_relu_1(do: Do, g: Any, _out: Any, x: Any, _slope: Any) -> Any:
    return do("where", do("gt", x, 0.0), 0.0, do("mul", g, x))


def _hardsigmoid(do: Do, g: Any, _out: Any, x: Any) -> Any:
    inside = do("logical_and", do("gt", x, -3.0), do("lt", x, 3.0))
    return do("where", inside, do("mul", g, 1 / 6), 0.0)


def _hardswish(do: Do, g: Any, _out: Any, x: Any) -> Any:
    between = do("mul", g, do("add", do("mul", x, 1 / 3), 0.5))
    lower = do("where", do("le", x, -3.0), 0.0, between)
    return do("where", do("ge", x, 3.0), g, lower)


def _shrink_0(do: Do, g: Any, _out: Any, x: Any, bound: Any) -> Any:
    return do("where", do("gt", do("abs", x), bound), g, 0.0)


def _softshrink_1(do: Do, g: Any, _out: Any, x: Any, bound: Any) -> Any:
    beyond = do("gt", do("abs", x), bound)
    return do("where", beyond, do("neg", do("mul", g, do("sign", x))), 0.0)


def _tanhshrink(do: Do, g: Any, _out: Any, x: Any) -> Any:
    t = do("tanh", x)
    return do("mul", g, do("mul", t, t))


def _log_sigmoid(do: Do, g: Any, _out: Any, x: Any) -> Any:
    return do("mul", g, do("sigmoid", do("neg", x)))


def _softsign(do: Do, g: Any, _out: Any, x: Any) -> Any:
    below = do("add", do("abs", x), 1.0)
    return do("div", do("div", g, below), below)


def _threshold_0(do: Do, g: Any, _out: Any, x: Any, bound: Any, _value: Any) -> Any:
    return do("where", do("le", x, bound), 0.0, g)


def _threshold_2(do: Do, g: Any, _out: Any, x: Any, bound: Any, _value: Any) -> Any:
    return do("where", do("le", x, bound), g, 0.0)


# -- products --------------------------------------------------------------------------------------

def _matrix(do: Do, x: Any) -> Any:
    """Returns x[..., K] with its leading axes made one."""
    shape = do.type(x).shape
    return _shaped(do, x, (product(shape[:-1]), shape[-1]))


def _transposed(do: Do, x: Any) -> Any:
    """Returns x with its last two axes exchanged."""
    rank = do.type(x).ndim
    return do("transpose", x, axes=(*range(rank - 2), rank - 1, rank - 2))


def _linear_0(do: Do, g: Any, _out: Any, _x: Any, w: Any, _b: Any = None) -> Any:
    return _shaped(do, do("matmul", _matrix(do, g), w), do.type(_x).shape)


def _linear_1(do: Do, g: Any, _out: Any, x: Any, _w: Any, _b: Any = None) -> Any:
    return do("matmul", _transposed(do, _matrix(do, g)), _matrix(do, x))


def _linear_2(do: Do, g: Any, _out: Any, _x: Any, _w: Any, _b: Any = None) -> Any:
    return do("sum", _matrix(do, g), axes=(0,), keepdims=False)


def _matmul_0(do: Do, g: Any, _out: Any, _x: Any, w: Any) -> Any:
    return do("matmul", g, _transposed(do, w))


def _matmul_1(do: Do, g: Any, _out: Any, x: Any, _w: Any) -> Any:
    if do.type(_w).ndim == 2:                    # a sum over the stack is a part of the product
        return do("matmul", _transposed(do, _matrix(do, x)), _matrix(do, g))
    return do("matmul", _transposed(do, x), g)


# -- rows ------------------------------------------------------------------------------------------

def _softmax(do: Do, g: Any, out: Any, _x: Any, *, axis: int, scale: float) -> Any:
    total = do("sum", do("mul", g, out), axes=(axis,), keepdims=True)
    made = do("mul", out, do("sub", g, total))
    return made if scale == 1 else do("mul", made, scale)


def _log_softmax(do: Do, g: Any, out: Any, _x: Any, *, axis: int) -> Any:
    total = do("sum", g, axes=(axis,), keepdims=True)
    return do("sub", g, do("mul", do("exp", out), total))


def _layer_norm_0(do: Do, g: Any, _out: Any, x: Any, w: Any = None, _b: Any = None, *,
                  axes: Sequence[int], eps: float) -> Any:
    """(g - mean(g) - y mean(g y)) / sqrt(variance + eps), y being the normalised rows."""
    def mean(z: Any) -> Any:
        return do("mean", z, axes=tuple(axes), keepdims=True)

    g = g if w is None else do("mul", g, w)
    c = do("sub", x, mean(x))
    c = do("sub", c, mean(c))                    # as its reference does, against rounding
    inverse = do("rsqrt", do("add", mean(do("mul", c, c)), eps))
    y = do("mul", c, inverse)
    across = do("mul", y, mean(do("mul", g, y)))
    return do("mul", do("sub", do("sub", g, mean(g)), across), inverse)


def _layer_norm_1(do: Do, g: Any, _out: Any, x: Any, _w: Any, _b: Any = None, *,
                  axes: Sequence[int], eps: float) -> Any:
    return do("mul", g, do("layer_norm", x, axes=tuple(axes), eps=eps))


def _layer_norm_2(do: Do, g: Any, _out: Any, _x: Any, _w: Any, _b: Any, *,
                  axes: Sequence[int], eps: float) -> Any:
    return g


def _rms_norm_0(do: Do, g: Any, _out: Any, x: Any, w: Any = None, *, axes: Sequence[int],
                eps: float) -> Any:
    """(g - y mean(g y)) / sqrt(mean(x^2) + eps), y being the normalised rows."""
    def mean(z: Any) -> Any:
        return do("mean", z, axes=tuple(axes), keepdims=True)

    g = g if w is None else do("mul", g, w)
    inverse = do("rsqrt", do("add", mean(do("mul", x, x)), eps))
    y = do("mul", x, inverse)
    across = do("mul", y, mean(do("mul", g, y)))
    return do("mul", do("sub", g, across), inverse)


def _rms_norm_1(do: Do, g: Any, _out: Any, x: Any, _w: Any, *, axes: Sequence[int], eps: float
                ) -> Any:
    return do("mul", g, do("rms_norm", x, axes=tuple(axes), eps=eps))


def _cumsum(do: Do, g: Any, _out: Any, _x: Any, *, axis: int) -> Any:
    return _reversed(do, do("cumsum", _reversed(do, g, axis), axis=axis), axis)


def _reversed(do: Do, x: Any, axis: int) -> Any:
    last = do.type(x).shape[axis] - 1
    return do("slice", x, axis=axis, start=last, stop=-1, step=-1)


# -- reductions ------------------------------------------------------------------------------------

def _kept(do: Do, x: Any, shape: Sequence[Dim], axes: Sequence[int], keepdims: bool) -> Any:
    """Returns a reduced array with axes of size 1 in the place of those that it was made without.
    """
    if keepdims:
        return x
    return _shaped(do, x, [1 if i in axes else dim for i, dim in enumerate(shape)])


def _sum(do: Do, g: Any, _out: Any, _x: Any, *, axes: Sequence[int], keepdims: bool) -> Any:
    shape = do.type(_x).shape
    return _expanded(do, _kept(do, g, shape, axes, keepdims), shape)


def _mean(do: Do, g: Any, _out: Any, _x: Any, *, axes: Sequence[int], keepdims: bool) -> Any:
    shape = do.type(_x).shape
    each = do("div", g, _count(do, [shape[axis] for axis in axes], do.type(g).dtype))
    return _expanded(do, _kept(do, each, shape, axes, keepdims), shape)


def _count(do: Do, sizes: Sequence[Dim], dtype: str) -> Any:
    """Returns the product of sizes: a number, or an array where it depends on a named size."""
    made: Any = float(prod(size for size in sizes if isinstance(size, int)))
    for size in sizes:
        if not isinstance(size, int):
            ones = do("full", 1.0, shape=(size,), dtype=dtype)
            made = do("mul", do("sum", ones, axes=(0,), keepdims=False), made)
    return made


def _extreme(do: Do, g: Any, out: Any, x: Any, *, axes: Sequence[int], keepdims: bool) -> Any:
    """Equal extremes share the gradient, as in torch's amax and its max of all elements."""
    x_type = do.type(x)
    g, out = (_kept(do, z, x_type.shape, axes, keepdims) for z in (g, out))
    chosen = do("eq", x, out)
    if len(axes) == x_type.ndim:                 # then NaN, too, is an element like any other
        both = do("logical_and", do("isnan", x), do("isnan", out))
        chosen = do("logical_or", chosen, both)
        ones = do("cast", chosen, dtype=x_type.dtype)
        each = do("div", g, do("sum", ones, axes=tuple(axes), keepdims=True))
        return do("where", chosen, each, 0.0)
    ones = do("cast", chosen, dtype=x_type.dtype)
    return do("div", do("mul", g, ones), do("sum", ones, axes=tuple(axes), keepdims=True))


def _prod(do: Do, g: Any, out: Any, x: Any, *, axes: Sequence[int], keepdims: bool) -> Any:
    """The product of the others: of those that are not 0, by division, times that of the zeros.

    The latter is written such that it has the right derivative, too, though its value is 0 or 1.
    """
    def reduced(op: str, z: Any) -> Any:
        return do(op, z, axes=tuple(axes), keepdims=True)

    x_type = do.type(x)
    g = _kept(do, g, x_type.shape, axes, keepdims)
    is_zero = do("eq", x, 0.0)
    count = reduced("sum", do("cast", is_zero, dtype=x_type.dtype))
    none, one, two = (do("eq", count, n) for n in (0.0, 1.0, 2.0))
    factors, zeros = do("where", is_zero, 1.0, x), do("where", is_zero, x, 0.0)
    whole, zeros_sum = reduced("prod", factors), reduced("sum", zeros)
    others_of_zero = do("where", two, do("sub", zeros_sum, x), 0.0)
    others_of_zero = do("where", one, 1.0, others_of_zero)
    others = do("where", none, 1.0, do("where", one, zeros_sum, 0.0))
    rate = do("mul", do("div", whole, factors), do("where", is_zero, others_of_zero, others))
    return do("mul", g, rate)


# -- by index --------------------------------------------------------------------------------------

def _scattered(do: Do, ids: Any, updates: Any, axis: int, size: Dim) -> Any:
    return do("scatter_add", ids, updates, axis=axis, size=size)


def _embedding(do: Do, g: Any, _out: Any, ids: Any, _w: Any) -> Any:
    table = do.type(_w).shape
    count = product(do.type(ids).shape)
    return _scattered(do, _shaped(do, ids, (count, 1)), _shaped(do, g, (count, table[1])), 0,
                      table[0])


def _take(do: Do, g: Any, _out: Any, _x: Any, ids: Any, *, axis: int) -> Any:
    shape, count = do.type(_x).shape, product(do.type(ids).shape)
    rest = shape[axis + 1:]
    return _scattered(do, _shaped(do, ids, (count, *[1] * len(rest))),
                      _shaped(do, g, (*shape[:axis], count, *rest)), axis, shape[axis])


def _take_along(do: Do, g: Any, _out: Any, _x: Any, ids: Any, *, axis: int) -> Any:
    shape = do.type(_x).shape
    g = _scattered(do, ids, g, axis, shape[axis])
    for other, size in enumerate(shape):         # there, the ids need not reach to the end
        g = _padded(do, g, other, 0, size - do.type(g).shape[other])
    return g


def _scatter_add_1(do: Do, g: Any, _out: Any, ids: Any, _x: Any, *, axis: int, size: Dim) -> Any:
    shape = do.type(_x).shape
    missing = len(shape) - do.type(ids).ndim
    ids = _shaped(do, ids, (*[1] * missing, *do.type(ids).shape))
    own = do.type(ids).shape
    if all(same(n, 1) for i, n in enumerate(own) if i != axis) and same(own[axis], shape[axis]):
        return do("take", g, _shaped(do, ids, own[axis:axis + 1]), axis=axis)
    return do("take_along", g, _expanded(do, ids, shape), axis=axis)


def _put_rows_1(do: Do, g: Any, _out: Any, ids: Any, _rows: Any, _x: Any) -> Any:
    """The gradient of the rows that count: the others read a row of zeros behind those of g."""
    ids = do("cast", ids, dtype="i64")
    count, size = do.type(ids).shape[0], do.type(_x).shape[0]
    high = do("size", dim=size)
    first = do("eq", do("first_equal", ids), do("iota", shape=(count,), axis=0, dtype="i64"))
    inside = do("logical_and", do("ge", ids, 0.0), do("lt", ids, high))
    counts = do("logical_and", first, inside)
    return do("take", _padded(do, g, 0, 0, 1), do("where", counts, ids, high), axis=0)


def _put_rows_2(do: Do, g: Any, _out: Any, ids: Any, _rows: Any, _x: Any) -> Any:
    rows = do.type(_rows)
    return do("put_rows", ids, do("full", 0.0, shape=rows.shape, dtype=rows.dtype), g)


def _embedding_bag_2(do: Do, g: Any, out: Any, ids: Any, offsets: Any, w: Any, weights: Any = None,
                     *, mode: str, include_last: bool, padding: int) -> Any:
    """Each row of the table gets the gradient of the bags that it is in, as often as it is there.

    The maximum of a bag gives the gradient to the first of equal numbers.
    """
    bags = _Bags(do, ids, offsets, include_last, padding)
    each = do("take", bags.with_none(g), bags.of_id, axis=0)
    if weights is not None:
        each = do("mul", each, _shaped(do, weights, (bags.count, 1)))
    if mode == "mean":
        each = do("div", each, do("take", bags.sizes(do.type(w).dtype), bags.of_id, axis=0))
    if mode == "max":
        rows = do("embedding", ids, w)
        each = do("where", bags.firsts(do("eq", rows, do("take", bags.with_none(out), bags.of_id,
                                                         axis=0))), each, 0.0)
    return _embedding(do, each, None, ids, w)


def _embedding_bag_3(do: Do, g: Any, _out: Any, ids: Any, offsets: Any, w: Any, _weights: Any, *,
                     mode: str, include_last: bool, padding: int) -> Any:
    bags = _Bags(do, ids, offsets, include_last, padding)
    each = do("take", bags.with_none(g), bags.of_id, axis=0)
    return do("sum", do("mul", each, do("embedding", ids, w)), axes=(1,), keepdims=False)


class _Bags:
    """Which bag each id is in. Ids that are left out are in one more bag, the last one.

    of_id: i64 [N], the number of the bag. count: N.
    """

    def __init__(self, do: Do, ids: Any, offsets: Any, include_last: bool, padding: int) -> None:
        self._do = do
        self.count = do.type(ids).shape[0]
        edges = do.type(offsets).shape[0]
        self._bags = edges - int(include_last)
        ones = do("full", 1.0, shape=(edges,), dtype="i64")
        begun = do("cumsum", do("scatter_add", offsets, ones, axis=0, size=self.count + 1), axis=0)
        begun = do("slice", begun, axis=0, start=0, stop=self.count, step=1)
        self.of_id = do("sub", begun, 1.0)
        self._starts = offsets
        if include_last:
            self._starts = do("slice", offsets, axis=0, start=0, stop=self._bags, step=1)
        if padding >= 0:
            none = do("iota", shape=(self._bags + 1,), axis=0, dtype="i64")
            none = do("slice", none, axis=0, start=self._bags, stop=self._bags + 1, step=1)
            self.of_id = do("where", do("eq", ids, float(padding)), none, self.of_id)

    def with_none(self, rows: Any) -> Any:
        """Returns rows of the bags, and zeros for the bag of what is left out."""
        return _padded(self._do, rows, 0, 0, 1)

    def sizes(self, dtype: str) -> Any:
        """Returns the number of ids in each bag, [bags + 1, 1]."""
        ones = self._do("full", 1.0, shape=(self.count,), dtype=dtype)
        counts = self._do("scatter_add", self.of_id, ones, axis=0, size=self._bags + 1)
        return _shaped(self._do, counts, (self._bags + 1, 1))

    def firsts(self, chosen: Any) -> Any:
        """Returns which of the chosen elements [N, D] are the first ones of their bag's column."""
        do = self._do
        hits = do("cast", chosen, dtype="i64")
        before = do("sub", do("cumsum", hits, axis=0), hits)
        at_start = do("take", _padded(do, before, 0, 0, 1), self._starts, axis=0)
        base = do("take", self.with_none(at_start), self.of_id, axis=0)
        return do("logical_and", chosen, do("eq", before, base))


# -- shapes ----------------------------------------------------------------------------------------

def _reshape(do: Do, g: Any, _out: Any, _x: Any, *, shape: Sequence[Dim]) -> Any:
    return _shaped(do, g, do.type(_x).shape)


def _view_same(do: Do, g: Any, _out: Any, _x: Any, **_attrs: Any) -> Any:
    return g


def _transpose(do: Do, g: Any, _out: Any, _x: Any, *, axes: Sequence[int]) -> Any:
    back = sorted(range(len(axes)), key=lambda i: axes[i])
    return do("transpose", g, axes=tuple(back))


def _slice(do: Do, g: Any, _out: Any, _x: Any, *, axis: int, start: Dim, stop: Dim, step: int
           ) -> Any:
    """Zeros beside and between the elements of g; a slice backwards is one of the reverse."""
    size = do.type(_x).shape[axis]
    if step < 0:
        return _reversed(do, _spread(do, g, axis, size - 1 - start, size, -step), axis)
    return _spread(do, g, axis, start, size, step)


def _spread(do: Do, g: Any, axis: int, start: Dim, size: Dim, step: int) -> Any:
    """Returns g at start, start + step, ... of an axis of this size, and 0 elsewhere."""
    shape = do.type(g).shape
    count = shape[axis]
    if isinstance(count, int) and count == 0:
        return do("full", 0.0, shape=(*shape[:axis], size, *shape[axis + 1:]),
                  dtype=do.type(g).dtype)
    if step > 1:
        apart = do("reshape", g, shape=(*shape[:axis + 1], 1, *shape[axis + 1:]))
        apart = _padded(do, apart, axis + 1, 0, step - 1)
        g = do("reshape", apart, shape=(*shape[:axis], count * step, *shape[axis + 1:]))
        if isinstance(count, int):
            count = (count - 1) * step + 1
            g = do("slice", g, axis=axis, start=0, stop=count, step=1)
        else:                                    # it may be 0, and what is behind may be too much
            return do("slice", _padded(do, g, axis, start, size), axis=axis, start=0, stop=size,
                      step=1)
    return _padded(do, g, axis, start, size - start - count)


def _padded(do: Do, x: Any, axis: int, low: Dim, high: Dim) -> Any:
    """Returns x with zeros around it along an axis; x itself where there are none."""
    if same(low, 0) and same(high, 0):
        return x
    rank = do.type(x).ndim
    lows, highs = (tuple(n if i == axis else 0 for i in range(rank)) for n in (low, high))
    return do("pad", x, low=lows, high=highs, value=0.0)


def _expand(do: Do, g: Any, _out: Any, _x: Any, *, shape: Sequence[Dim]) -> Any:
    return g                                     # which is summed as after any broadcasting


def _concat(do: Do, g: Any, _out: Any, *_operands: Any, number: int, axis: int) -> Any:
    sizes = [do.type(x).shape[axis] for x in _operands]
    start: Dim = 0
    for size in sizes[:number]:
        start = start + size
    return do("slice", g, axis=axis, start=start, stop=start + sizes[number], step=1)


def _pad(do: Do, g: Any, _out: Any, _x: Any, *, low: Sequence[Dim], high: Sequence[Dim],
         value: float) -> Any:
    for axis, (start, size) in enumerate(zip(low, do.type(_x).shape, strict=True)):
        if not same(do.type(g).shape[axis], size):
            g = do("slice", g, axis=axis, start=start, stop=start + size, step=1)
    return g


# -- the table -------------------------------------------------------------------------------------

def _row(name: str, *rules: _Rule | None, many: bool = False) -> Gradient:
    return Gradient(name, rules, many)


GRADIENTS: dict[str, Gradient] = {row.name: row for row in [
    # elementwise: numbers
    _row("add", _same, _same),
    _row("sub", _same, _minus),
    _row("mul", _mul_0, _mul_1),
    _row("maximum", _extreme_of_two(0, "lt"), _extreme_of_two(1, "lt")),
    _row("minimum", _extreme_of_two(0, "gt"), _extreme_of_two(1, "gt")),
    _row("neg", _minus),
    _row("abs", _abs),
    _row("sign", zero),
    _row("floor_div", zero, zero),
    _row("remainder", _same, _remainder_1),
    _row("pow", _pow_0, _pow_1),
    # elementwise: functions of floats
    _row("div", _div_0, _div_1),
    _row("copysign", _copysign_0, zero),
    _row("atan2", _atan2_0, _atan2_1),
    _row("exp", _exp),
    _row("expm1", _expm1),
    _row("exp2", _exp2),
    _row("log", _log),
    _row("log1p", _log1p),
    _row("log2", _log_of_base(2)),
    _row("log10", _log_of_base(10)),
    _row("sqrt", _sqrt),
    _row("rsqrt", _rsqrt),
    _row("sin", _sin),
    _row("cos", _cos),
    _row("tan", _tan),
    _row("asin", _asin),
    _row("acos", _acos),
    _row("atan", _atan),
    _row("sinh", _sinh),
    _row("cosh", _cosh),
    _row("tanh", _tanh),
    _row("asinh", _asinh),
    _row("acosh", _acosh),
    _row("atanh", _atanh),
    _row("erf", _of_erf(2 / sqrt(pi))),
    _row("erfc", _of_erf(-2 / sqrt(pi))),
    _row("floor", zero),
    _row("ceil", zero),
    _row("round", zero),
    _row("trunc", zero),
    # activations
    _row("sigmoid", _sigmoid),
    _row("relu", _relu),
    _row("gelu", _gelu),
    _row("gelu_tanh", _gelu_tanh),
    _row("silu", _silu),
    _row("mish", _mish),
    _row("softplus", _softplus_0, _softplus_1, zero),
    _row("elu", _elu_0, _elu_1),
    _row("celu", _celu_0, _celu_1),
    _row("selu", _selu),
    _row("leaky_relu", _leaky_relu_0, _leaky_relu_1),
    _row("hardsigmoid", _hardsigmoid),
    _row("hardswish", _hardswish),
    _row("hardshrink", _shrink_0, zero),
    _row("softshrink", _shrink_0, _softshrink_1),
    _row("tanhshrink", _tanhshrink),
    _row("log_sigmoid", _log_sigmoid),
    _row("softsign", _softsign),
    _row("threshold", _threshold_0, zero, _threshold_2),
    # choice and type
    _row("where", None, _where_1, _where_2),
    _row("cast", _cast),
    # products and rows
    _row("linear", _linear_0, _linear_1, _linear_2),
    _row("matmul", _matmul_0, _matmul_1),
    _row("softmax", _softmax),
    _row("log_softmax", _log_softmax),
    _row("layer_norm", _layer_norm_0, _layer_norm_1, _layer_norm_2),
    _row("rms_norm", _rms_norm_0, _rms_norm_1),
    _row("cumsum", _cumsum),
    # reductions
    _row("sum", _sum),
    _row("prod", _prod),
    _row("mean", _mean),
    _row("max", _extreme),
    _row("min", _extreme),
    # by index
    _row("embedding", None, _embedding),
    _row("embedding_bag", None, None, _embedding_bag_2, _embedding_bag_3),
    _row("take", _take, None),
    _row("take_along", _take_along, None),
    _row("scatter_add", None, _scatter_add_1),
    _row("put_rows", None, _put_rows_1, _put_rows_2),
    # shapes
    _row("identity", _view_same),
    _row("dropout", _view_same),
    _row("reshape", _reshape),
    _row("transpose", _transpose),
    _row("slice", _slice),
    _row("expand", _expand),
    _row("concat", _concat, many=True),
    _row("pad", _pad),
]}

_TRUTH = "its result is a bool"
_WHOLE = "its operands are integers"
_INDEX = "its result is an index"
_NOTHING = "it is made of nothing"
NO_GRADIENT: dict[str, str] = {                  # op: why it has none
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "isfinite",
                     "logical_and", "logical_or", "logical_xor", "logical_not", "any", "all"),
                    _TRUTH),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift"),
                    _WHOLE),
    **dict.fromkeys(("argmax", "argmin", "topk_ids", "tree_walk", "first_equal"), _INDEX),
    **dict.fromkeys(("iota", "full", "size", "uniform"), _NOTHING),
    "detach": "a value without its gradient is what it is for",
    "attention": "its parts have gradients, see composites.py",
}

"""Elementwise operators: arithmetic, functions, activations, comparisons, conversions."""
from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from ir import DTYPES, DimExpr, Error
from ir.types import FLOATS, extent
from nncompile.array import Array, apply
from nncompile.importers.onnx.node import Node
from nncompile.importers.onnx.operator import Operator, Rows
from nncompile.importers.sizes import Sizes, elementwise, remainder, truncated

_SELU_ALPHA, _SELU_GAMMA = 1.6732632423543772, 1.0507009873554805


def is_float(x: Array) -> bool:
    """Returns whether the elements are floats."""
    return x.type.dtype in FLOATS


def is_float32(value: float, number: float) -> bool:
    """Returns whether an attribute, which is a float32, is this number."""
    return bool(np.float32(value) == np.float32(number))


# -- rows that are much alike ----------------------------------------------------------------------

def _op(name: str, versions: tuple[int, ...], op: str) -> Operator:
    """Returns the row of an operator of one operand that is an op of the IR."""
    def unary(node: Node, x: Array) -> Array:
        return apply(op, x)
    return Operator(name, versions, unary)


def _binary(name: str, versions: tuple[int, ...], op: str,
            sizes: Callable[..., Any] | None = None) -> Operator:
    """Returns the row of an operator of two operands that is an op of the IR."""
    def binary(node: Node, a: Array, b: Array) -> Array:
        return apply(op, a, b)
    return Operator(name, versions, binary, sizes=_of_each(sizes))


def _of_each(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
    if function is None:
        return None
    return lambda node, *operands: elementwise(function, *operands)


def _folded(name: str, versions: tuple[int, ...], op: str,
            sizes: Callable[..., Any] | None = None) -> Operator:
    """Returns the row of an operator of any number of operands, combined from left to right."""
    def variadic(node: Node, *operands: Array) -> Array:
        return reduce(lambda a, b: apply(op, a, b), operands)

    def of_sizes(node: Node, *operands: Any) -> Any:
        assert sizes is not None
        return reduce(lambda a, b: elementwise(sizes, a, b), operands)
    return Operator(name, versions, variadic, sizes=of_sizes if sizes else None)


# -- arithmetic ------------------------------------------------------------------------------------

def _div(node: Node, a: Array, b: Array) -> Array:
    return apply("div", a, b) if is_float(a) else truncated_quotient(a, b)


def truncated_quotient(a: Array, b: Array) -> Array:
    """Returns the quotient of integers rounded towards 0."""
    floor = apply("floor_div", a, b)
    if a.type.dtype == "u8":
        return floor
    rest = apply("sub", a, apply("mul", floor, b))
    signs = apply("ne", apply("lt", a, 0.0), apply("lt", b, 0.0))
    up = apply("logical_and", apply("ne", rest, 0.0), signs)
    return apply("add", floor, apply("cast", up, dtype=a.type.dtype))


def _mod(node: Node, a: Array, b: Array) -> Array:
    like_c = node.flag("fmod")
    if not like_c:
        if is_float(a) and node.version < 28:
            raise Error("of floats it needs fmod=1")
        rest = apply("remainder", a, b)
        if not is_float(a):
            return rest
        return apply("where", apply("eq", rest, 0.0), apply("copysign", rest, b), rest)
    rest = apply("remainder", a, b)              # with the sign of b, and of a if it is 0
    signs = apply("ne", apply("lt", a, 0.0), apply("lt", rest, 0.0))
    wrong = apply("logical_and", apply("ne", rest, 0.0), signs)
    if is_float(a):                              # exact: both have the sign of a
        size = apply("remainder", apply("abs", a), apply("abs", b))
        return apply("where", wrong, apply("copysign", size, a), rest)
    return apply("where", wrong, apply("sub", rest, b), rest)


def _size_mod(node: Node, a: Any, b: Any) -> Any:
    if node.flag("fmod"):
        raise Error("fmod of sizes")
    return elementwise(remainder, a, b)


def _pow(node: Node, x: Array, exponent: Array) -> Array:
    if x.type.dtype == exponent.type.dtype:
        return x.pow(_number_of(exponent))
    if is_float(exponent) and not is_float(x):
        wide = apply("pow", apply("cast", x, dtype="f64"), apply("cast", exponent, dtype="f64"))
        return apply("cast", wide, dtype=x.type.dtype)
    return x.pow(_number_of(apply("cast", exponent, dtype=x.type.dtype)))


def _number_of(x: Array) -> Any:
    """Returns a known array without dimensions as a plain number, of which a power is a product."""
    known = x._as_operand()
    if not isinstance(known, np.ndarray) or known.ndim or (known < 0 and not is_float(x)):
        return x
    return known.item()


def _mean(node: Node, *operands: Array) -> Array:
    total = reduce(lambda a, b: apply("add", a, b), operands)
    return apply("div", total, float(len(operands)))


def _reciprocal(node: Node, x: Array) -> Array:
    return apply("div", 1.0, x)


def _sign(node: Node, x: Array) -> Array:
    sign = apply("sign", x)
    return apply("where", apply("isnan", x), x, sign) if is_float(x) else sign


def _clip(node: Node, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    if node.version < 11:
        ends: list[Any] = [node.float("min", None), node.float("max", None)]
    else:
        ends = [low, high]
    for op, end in zip(("maximum", "minimum"), ends, strict=True):
        if end is not None:
            x = apply(op, x, end.reshape(()) if isinstance(end, Array) else float(end))
    return x


def _size_abs(size: Any) -> Any:
    if extent(size)[0] >= 0:
        return size
    if isinstance(size, DimExpr):
        raise Error(f"whether {size} is negative is not known before run time")
    return -size


def _largest(a: Any, b: Any) -> Any:
    return a if a >= b else b


def _smallest(a: Any, b: Any) -> Any:
    return a if a <= b else b


# -- activations -----------------------------------------------------------------------------------

def _relu(node: Node, x: Array) -> Array:
    return apply("relu", x) if is_float(x) else apply("maximum", x, 0.0)


def _leaky_relu(node: Node, x: Array) -> Array:
    return apply("leaky_relu", x, float(node.float("alpha", 0.01)))


def _prelu(node: Node, x: Array, slope: Array) -> Array:
    if is_float(x):
        return apply("leaky_relu", x, slope)
    return apply("where", apply("lt", x, 0.0), apply("mul", x, slope), x)


def _elu(node: Node, x: Array) -> Array:
    return apply("elu", x, float(node.float("alpha", 1.0)))


def _celu(node: Node, x: Array) -> Array:
    return apply("celu", x, float(node.float("alpha", 1.0)))


def _selu(node: Node, x: Array) -> Array:
    alpha, gamma = node.float("alpha", _SELU_ALPHA), node.float("gamma", _SELU_GAMMA)
    if is_float32(alpha, _SELU_ALPHA) and is_float32(gamma, _SELU_GAMMA):
        return apply("selu", x)
    return apply("mul", apply("elu", x, float(alpha)), float(gamma))


def _gelu(node: Node, x: Array) -> Array:
    how = node.one_of("approximate", ("none", "tanh"), "none")
    return apply("gelu" if how == "none" else "gelu_tanh", x)


def _hard_sigmoid(node: Node, x: Array) -> Array:
    alpha, beta = node.float("alpha", 0.2), node.float("beta", 0.5)
    if is_float32(alpha, 1 / 6) and beta == 0.5:
        return apply("hardsigmoid", x)
    line = apply("add", apply("mul", x, float(alpha)), float(beta))
    return apply("minimum", apply("maximum", line, 0.0), 1.0)


def _softplus(node: Node, x: Array) -> Array:
    # from the threshold on, log(1 + exp(x)) is x in the type of x
    return apply("softplus", x, 1.0, 20.0 if x.type.dtype == "f32" else 40.0)


def swish(x: Array, alpha: float) -> Array:
    """Returns x * sigmoid(alpha * x)."""
    if alpha == 1:
        return apply("silu", x)
    return apply("mul", x, apply("sigmoid", apply("mul", x, float(alpha))))


def _swish(node: Node, x: Array) -> Array:
    return swish(x, node.float("alpha", 1.0))


def _swiglu(node: Node, a: Array, b: Array) -> Array:
    return apply("mul", swish(a, node.float("alpha", 1.0)), b)


def _thresholded_relu(node: Node, x: Array) -> Array:
    return apply("threshold", x, float(node.float("alpha", 1.0)), 0.0)


def _shrink(node: Node, x: Array) -> Array:
    bound, bias = float(node.float("lambd", 0.5)), float(node.float("bias", 0.0))
    wide = x if is_float(x) else apply("cast", x, dtype="f64")
    zero = apply("mul", wide, 0.0)
    result = apply("where", apply("lt", wide, -bound), apply("add", wide, bias),
                   apply("where", apply("gt", wide, bound), apply("sub", wide, bias), zero))
    return result if is_float(x) else apply("cast", result, dtype=x.type.dtype)


# -- truth, choice, types --------------------------------------------------------------------------

def _is_inf(node: Node, x: Array) -> Array:
    low, high = node.flag("detect_negative", True), node.flag("detect_positive", True)
    if low and high:
        return apply("isinf", x)
    if not low and not high:
        return apply("full", 0.0, shape=x.type.shape, dtype="bool")
    return apply("eq", x, float("-inf") if low else float("inf"))


def _bitwise_not(node: Node, x: Array) -> Array:
    return apply("bitwise_xor", x, 255.0 if x.type.dtype == "u8" else -1.0)


def _bit_shift(node: Node, x: Array, count: Array) -> Array:
    """Returns x shifted, by a count outside of its bits as opset 28 has it; 11 says nothing."""
    direction = node.one_of("direction", ("LEFT", "RIGHT"))
    return apply("left_shift" if direction == "LEFT" else "right_shift", x, count)


def _where(node: Node, condition: Array, x: Array, y: Array) -> Array:
    return apply("where", condition, x, y)


def _cast(node: Node, x: Array) -> Array:
    node.irrelevant("saturate", "round_mode")    # they are about float8
    return x._cast(node.dtype("to"))


def _cast_sizes(node: Node, sizes: Any) -> Any:
    node.irrelevant("saturate", "round_mode")
    dtype = node.dtype("to")
    if dtype == "bool":
        return elementwise(lambda size: bool(size != 0), sizes)
    if dtype not in ("i32", "i64"):
        raise Error("sizes as floats")
    return Sizes(sizes, dtype)


def _cast_like(node: Node, x: Array, target: Array) -> Array:
    node.irrelevant("saturate", "round_mode")
    return x._cast(target.type.dtype)


def _identity(node: Node, x: Array | Sizes | None) -> Any:
    return x


def _dropout(node: Node, x: Array, ratio: Any = None, training: Any = None) -> Any:
    """Returns x, or, in training mode, what the seed in the file says, as onnx.reference does."""
    seed = node.int("seed", None)
    if node.version < 12:
        node.irrelevant("ratio")                 # it is about training
    everything = apply("full", 1.0, shape=x.type.shape, dtype="bool")
    if training is None or not bool(training.reshape(()).item()):
        return x, everything
    share = 0.5 if ratio is None else float(ratio.reshape(()).item())
    if share == 0:
        return x, everything
    if seed is None:
        raise Error("it draws at random, and a model computes the same in every call")
    if any(isinstance(d, DimExpr) for d in x.type.shape):
        raise Error("it draws at random for a size that is known in a call only")
    drawn = np.random.RandomState(seed).uniform(0, 1.0, x.type.shape)
    kept = Array(drawn >= share)
    scale = np.asarray(1 / (1 - share), DTYPES[x.type.dtype])
    return apply("mul", apply("mul", kept._cast(x.type.dtype), x), float(scale)), kept


def _size_eq(a: Any, b: Any) -> bool:
    return bool(a == b)


_SINCE_6 = (6, 13)
_SINCE_7 = (7, 22)
_SINCE_9 = (9, 22)

ROWS: Rows = (
    _binary("Add", (7, 13, 14), "add", operator.add),
    _binary("Sub", (7, 13, 14), "sub", operator.sub),
    _binary("Mul", (7, 13, 14), "mul", operator.mul),
    Operator("Div", (7, 13, 14), _div,
             sizes=lambda node, a, b: elementwise(truncated, a, b)),
    Operator("Mod", (10, 13, 28), _mod, "fmod", sizes=_size_mod),
    Operator("Pow", (7, 12, 13, 15), _pow),
    Operator("Neg", _SINCE_6, lambda node, x: apply("neg", x),
             sizes=lambda node, a: elementwise(operator.neg, a)),
    Operator("Abs", _SINCE_6, lambda node, x: apply("abs", x),
             sizes=lambda node, a: elementwise(_size_abs, a)),
    _folded("Max", (6, 8, 12, 13), "maximum", _largest),
    _folded("Min", (6, 8, 12, 13), "minimum", _smallest),
    _folded("Sum", (6, 8, 13), "add", operator.add),
    Operator("Mean", (6, 8, 13), _mean),
    Operator("Reciprocal", _SINCE_6, _reciprocal),
    Operator("Sign", (9, 13), _sign),
    Operator("Clip", (6, 11, 12, 13), _clip, "min max"),
    *(_op(name, _SINCE_6, name.lower()) for name in (
        "Sqrt", "Exp", "Log", "Floor", "Ceil", "Sigmoid", "Tanh")),
    *(_op(name, _SINCE_7, name.lower()) for name in ("Sin", "Cos", "Tan", "Asin", "Acos", "Atan")),
    *(_op(name, _SINCE_9, name.lower()) for name in (
        "Sinh", "Cosh", "Asinh", "Acosh", "Atanh")),
    _op("Erf", (9, 13), "erf"),
    _op("Round", (11, 22), "round"),
    # activations
    Operator("Relu", (6, 13, 14), _relu),
    Operator("LeakyRelu", (6, 16), _leaky_relu, "alpha"),
    Operator("PRelu", (7, 9, 16), _prelu),
    Operator("Elu", (6, 22), _elu, "alpha"),
    Operator("Celu", (12, 28), _celu, "alpha"),
    Operator("Selu", (6, 22), _selu, "alpha gamma"),
    Operator("Gelu", (20,), _gelu, "approximate"),
    Operator("HardSigmoid", (6, 22), _hard_sigmoid, "alpha beta"),
    _op("HardSwish", (14, 22), "hardswish"),
    _op("Mish", (18, 22), "mish"),
    Operator("Softplus", (1, 22), _softplus),
    _op("Softsign", (1, 22), "softsign"),
    Operator("Swish", (24,), _swish, "alpha"),
    Operator("SwiGLU", (28,), _swiglu, "alpha"),
    Operator("ThresholdedRelu", (10, 22), _thresholded_relu, "alpha"),
    Operator("Shrink", (9,), _shrink, "bias lambd"),
    # truth, choice, types
    _binary("And", (7,), "logical_and"),
    _binary("Or", (7,), "logical_or"),
    _binary("Xor", (7,), "logical_xor"),
    _op("Not", (1,), "logical_not"),
    *(_binary(f"Bitwise{name}", (18,), f"bitwise_{name.lower()}") for name in ("And", "Or", "Xor")),
    Operator("BitwiseNot", (18,), _bitwise_not),
    Operator("BitShift", (11, 28), _bit_shift, "direction"),
    _binary("Equal", (7, 11, 13, 19), "eq", _size_eq),
    _binary("Less", (7, 9, 13), "lt", operator.lt),
    _binary("LessOrEqual", (12, 16), "le", operator.le),
    _binary("Greater", (7, 9, 13), "gt", operator.gt),
    _binary("GreaterOrEqual", (12, 16), "ge", operator.ge),
    _op("IsNaN", (9, 13, 20), "isnan"),
    Operator("IsInf", (10, 20), _is_inf, "detect_negative detect_positive"),
    Operator("Where", (9, 16), _where, moves="x y"),
    Operator("Cast", (6, 9, 13, 19, 21, 23, 24, 25, 28), _cast, "to saturate round_mode",
             sizes=_cast_sizes),
    Operator("CastLike", (15, 19, 21, 23, 24, 25), _cast_like, "saturate round_mode"),
    Operator("Identity", (1, 13, 14, 16, 19, 21, 23, 24, 25), _identity, lazy="x"),
    Operator("Dropout", (7, 10, 12, 13, 22), _dropout, "ratio seed", static="ratio training"),
)

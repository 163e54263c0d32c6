"""How ops are written in ONNX: what the column `onnx` of the table of counterparts is made of.

An entry is the name of an operator that takes the same operands and needs no attributes, or a
function of an OnnxNode and the attributes, which returns the name of the result. An op for which
ONNX has no operator is decomposed; so are those for which ONNX Runtime has none in float64.

Operators are those of opset 18 on; `OnnxNode.opset` is asked where a later one is better.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log, pi, sqrt
from typing import Any

import numpy as np

from ir import DTYPES, Dim, NDArray, Value, product, same
from ir.ops.elementwise import SELU_ALPHA, SELU_SCALE
from ir.records import dataclass
from ir.types import INTEGERS

Entry = str | Callable[..., str]

_ELEMENT_TYPES = {"f32": 1, "u8": 2, "i8": 3, "i32": 6, "i64": 7, "bool": 9, "f64": 11}
_NO_END = -2**63                                 # as the stop of a slice that goes backwards


@dataclass(frozen=True)
class OnnxNode:
    """A node of a graph while it is written as ONNX, where values are known by their names.

    inputs:   values and floats.
    name:     returns the name of a value.
    emit:     adds an ONNX node, `emit(kind, *names, **attrs)`, and returns the name of its result;
              of its second result with `second=True`.
    constant: returns the name of an array that is part of the model.
    sizes:    returns the name of a vector of sizes: of a constant if all of them are known.
    data:     returns the array of a parameter that may be written in another form; None for others.
    opset:    of the model.
    """

    inputs: Sequence[Any]
    result: Value
    name: Callable[[Value], str]
    emit: Callable[..., str]
    constant: Callable[[NDArray], str]
    sizes: Callable[[Sequence[Dim]], str]
    data: Callable[[Value], NDArray | None]
    opset: int

    def __getitem__(self, index: int) -> str:
        """The name of an operand; a plain number becomes a scalar of the arrays' dtype."""
        operand = self.inputs[index]
        return self.name(operand) if isinstance(operand, Value) else self.number(operand)

    @property
    def names(self) -> list[str]:
        """The names of all operands."""
        return [self[i] for i in range(len(self.inputs))]

    @property
    def dtype(self) -> str:
        """The dtype of the last operand that is an array, or of the result where none is."""
        arrays = [o for o in self.inputs if isinstance(o, Value)] or [self.result]
        return str(arrays[-1].type.dtype)

    @property
    def is_double(self) -> bool:
        """Whether the op computes in float64, for which ONNX Runtime lacks some operators."""
        return self.dtype == "f64"

    def number(self, value: float, dtype: str = "") -> str:
        """Returns the name of a scalar, of the operands' dtype if nothing else is said."""
        return self.constant(np.asarray(value, DTYPES[dtype or self.dtype]))

    def term(self, index: int) -> Term:
        """Returns an operand to compute with."""
        operand = self.inputs[index]
        dtype = operand.type.dtype if isinstance(operand, Value) else self.dtype
        return Term(self, self[index], dtype)

    @property
    def terms(self) -> list[Term]:
        """All operands, to compute with."""
        return [self.term(i) for i in range(len(self.inputs))]


class Term:
    """A value of the ONNX model, which computes as NumPy's arrays do by adding nodes to it."""

    def __init__(self, op: OnnxNode, name: str, dtype: str) -> None:
        self.op, self.name, self.dtype = op, name, dtype

    def apply(self, kind: str, *others: Any, dtype: str = "", **attrs: Any) -> Term:
        """Returns an operator of this and others, of this dtype if nothing else is said."""
        names = [self._named(other) for other in (self, *others)]
        return Term(self.op, self.op.emit(kind, *names, **attrs), dtype or self.dtype)

    def _named(self, other: Any) -> str:
        if isinstance(other, Term):
            return other.name
        return other if isinstance(other, str) else self.op.number(other, self.dtype)

    def _constant(self, value: float) -> Term:
        return Term(self.op, self.op.number(value, self.dtype), self.dtype)

    def __add__(self, other: Any) -> Term:
        return self.apply("Add", other)

    def __sub__(self, other: Any) -> Term:
        return self.apply("Sub", other)

    def __mul__(self, other: Any) -> Term:
        return self.apply("Mul", other)

    def __truediv__(self, other: Any) -> Term:
        return self.apply("Div", other)

    def __radd__(self, other: float) -> Term:
        return self._constant(other) + self

    def __rsub__(self, other: float) -> Term:
        return self._constant(other) - self

    def __rmul__(self, other: float) -> Term:
        return self._constant(other) * self

    def __rtruediv__(self, other: float) -> Term:
        return self._constant(other) / self

    def __neg__(self) -> Term:
        return self.apply("Neg")

    def __abs__(self) -> Term:
        return self.apply("Abs")

    def __lt__(self, other: Any) -> Term:
        return self.apply("Less", other, dtype="bool")

    def __gt__(self, other: Any) -> Term:
        return self.apply("Greater", other, dtype="bool")

    def __le__(self, other: Any) -> Term:
        return self.apply("LessOrEqual", other, dtype="bool")

    def __ge__(self, other: Any) -> Term:
        return self.apply("GreaterOrEqual", other, dtype="bool")

    def equals(self, other: Any) -> Term:
        """Returns where both are equal."""
        return self.apply("Equal", other, dtype="bool")

    def __and__(self, other: Term) -> Term:
        return self.apply("And", other)

    def __or__(self, other: Term) -> Term:
        return self.apply("Or", other)

    def __xor__(self, other: Term) -> Term:
        return self.apply("Xor", other)

    def __invert__(self) -> Term:
        return self.apply("Not")

    def exp(self) -> Term:
        """Returns e to the power of this."""
        return self.apply("Exp")

    def log(self) -> Term:
        """Returns the natural logarithm."""
        return self.apply("Log")

    def sqrt(self) -> Term:
        """Returns the square root."""
        return self.apply("Sqrt")

    def where(self, a: Any, b: Any) -> Term:
        """Returns a where this is true and b elsewhere; one of them is a Term."""
        chosen = a if isinstance(a, Term) else b
        return self.apply("Where", chosen._named(a), chosen._named(b), dtype=chosen.dtype)

    def cast(self, dtype: str) -> Term:
        """Returns this in another dtype."""
        return self.apply("Cast", dtype=dtype, to=_ELEMENT_TYPES[dtype])


# -- entries that are much alike -------------------------------------------------------------------

def operator(kind: str, **attrs: Any) -> Entry:
    """The same operands, and attributes that are always the same."""
    return lambda op: op.emit(kind, *op.names, **attrs)


def along(kind: str, **attrs: Any) -> Entry:
    """The same operands, and the axis is an attribute."""
    return lambda op, *, axis, **_: op.emit(kind, *op.names, axis=axis, **attrs)


def composed(first: str, *further: str) -> Entry:
    """An operator of the operands, and others of one operand behind it."""
    def write(op: OnnxNode) -> str:
        result = op.emit(first, *op.names)
        for kind in further:
            result = op.emit(kind, result)
        return result
    return write


def with_itself(outer: str, inner: str) -> Entry:
    """An operator of the operand and of what another makes of it."""
    return lambda op: op.emit(outer, op[0], op.emit(inner, op[0]))


def formula(function: Callable[..., Term]) -> Entry:
    """What a function computes of the operands as Terms."""
    return lambda op: function(*op.terms).name


def in_double(single: Entry, double: Callable[..., Term]) -> Entry:
    """An operator that ONNX Runtime has in float32, and what computes the same in float64."""
    def write(op: OnnxNode) -> str:
        if op.is_double:
            return double(*op.terms).name
        return op.emit(single, *op.names) if isinstance(single, str) else single(op)
    return write


def with_numbers(kind: str, other: Callable[..., Term], *names: str) -> Entry:
    """An operator with the second operand as attributes of these names, if it is a plain number.

    other: what computes the same of arrays, and in float64.
    """
    def write(op: OnnxNode) -> str:
        if op.is_double or not isinstance(op.inputs[1], float):
            return other(*op.terms).name
        return op.emit(kind, op[0], **dict.fromkeys(names, op.inputs[1]))
    return write


def narrow(entry: Entry, *dtypes: str) -> Entry:
    """An entry whose operator ONNX does not have for these dtypes: they go through int32.

    That is exact: what does not fit into 8 bits wraps around in the end as it would have before.
    """
    def write(op: OnnxNode, **attrs: Any) -> str:
        def call(node: OnnxNode) -> str:
            return node.emit(entry, *node.names) if isinstance(entry, str) else entry(node, **attrs)
        if op.dtype not in dtypes:
            return call(op)
        wide = [_in_int32(op, i) for i in range(len(op.inputs))]
        names = {value: name for value, name in wide if isinstance(value, Value)}
        result = _typed(op.result, "i32") if op.result.type.dtype == op.dtype else op.result
        node = OnnxNode([value for value, _ in wide], result, names.__getitem__, op.emit,
                        op.constant, op.sizes, op.data, op.opset)
        found = Term(op, call(node), result.type.dtype)
        return (found if result is op.result else found.cast(op.dtype)).name
    return write


def _in_int32(op: OnnxNode, index: int) -> tuple[Any, str]:
    """Returns an operand as one of int32, with its name; the condition of a `where` stays."""
    operand = op.inputs[index]
    if not isinstance(operand, Value):
        return operand, ""
    if operand.type.dtype != op.dtype or (len(op.inputs) == 3 and index == 0):
        return operand, op.name(operand)
    return _typed(operand, "i32"), op.term(index).cast("i32").name


def _typed(value: Value, dtype: str) -> Value:
    return Value(type(value.type)(dtype, value.type.shape))


# -- elementwise: numbers --------------------------------------------------------------------------

def sign(op: OnnxNode) -> str:
    """ONNX Runtime's Sign of NaN is NaN, and ours 0."""
    x = op.term(0)
    found = x.apply("Sign")
    return found.name if x.dtype in INTEGERS else _is_nan(x).where(0.0, found).name


def _is_nan(x: Term) -> Term:
    return x.apply("IsNaN", dtype="bool")


def floor_div(op: OnnxNode) -> str:
    """NumPy's way for floats: of the exact remainder. ONNX's Div of integers truncates."""
    x, y = op.terms
    if x.dtype in INTEGERS:
        return _floor_div_of_integers(op, x, y).name
    rest = x.apply("Mod", y, fmod=1)
    shifted = ~rest.equals(0.0) & ((rest < 0.0) ^ (y < 0.0))
    quotient = (x - rest) / y
    quotient = shifted.where(quotient - 1.0, quotient)
    whole = quotient.apply("Floor")
    whole = (quotient - whole > 0.5).where(whole + 1.0, whole)
    return y.equals(0.0).where(x / y, whole).name


def _floor_div_of_integers(op: OnnxNode, x: Term, y: Term) -> Term:
    if x.dtype == "u8":
        return x / y
    safe = _no_minus_one(op, y)
    quotient = x / safe
    rest = x - quotient * safe
    shifted = ~rest.equals(0) & ((rest < 0) ^ (safe < 0))
    quotient = shifted.where(quotient - 1, quotient)
    return quotient if safe is y else y.equals(-1).where(-x, quotient)


def _no_minus_one(op: OnnxNode, y: Term) -> Term:
    """A divisor with 1 in place of -1, by which a processor cannot divide the least integer."""
    plain = op.inputs[1]
    return y if isinstance(plain, float) and plain != -1 else y.equals(-1).where(1, y)


def remainder(op: OnnxNode) -> str:
    """ONNX's Mod has the sign of the divisor for integers only."""
    x, y = op.terms
    if x.dtype in INTEGERS:
        return x.apply("Mod", y if x.dtype == "u8" else _no_minus_one(op, y)).name
    rest = x.apply("Mod", y, fmod=1)
    shifted = ~rest.equals(0.0) & ((rest < 0.0) ^ (y < 0.0))
    return shifted.where(rest + y, rest).name


def power(op: OnnxNode) -> str:
    """ONNX Runtime's Pow of integers goes through double precision, and ours wraps around."""
    x, y = op.terms
    if x.dtype not in INTEGERS:
        return op.emit("Pow", x.name, y.name)
    exponent = op.inputs[1]
    if isinstance(exponent, float) and exponent >= 0:
        return _whole_power(x, int(exponent)).name
    bits = 8 * DTYPES[x.dtype].itemsize          # of an exponent, one more than most have
    negative, one = y < 0, abs(x).equals(1)
    y = negative.where(y.apply("Mod", 2), y)
    result = x * 0 + 1 + y * 0                       # the ones of both operands' common shape
    for _ in range(bits):
        result = y.apply("Mod", 2).equals(1).where(result * x, result)
        x, y = x * x, y / 2
    return (negative & ~one).where(0, result).name


def _whole_power(x: Term, exponent: int) -> Term:
    result = None
    while exponent:
        if exponent % 2:
            result = x if result is None else result * x
        exponent //= 2
        x = x * x if exponent else x
    return result if result is not None else x * 0 + 1


def left_shift(x: Term, count: Term) -> Term:
    """Returns x times a power of 2, without what does not fit; 0 for a count outside of the bits.

    ONNX's BitShift is for unsigned integers only.
    """
    inside = (count >= 0) & (count < _bits(x))
    return inside.where(x * _power_of_two(inside.where(count, 0)), 0)


def right_shift(x: Term, count: Term) -> Term:
    """Returns x divided by a power of 2 and rounded down; any count outside of the bits is as all.

    It is divided twice, because the highest power is no signed integer.
    """
    inside = (count >= 0) & (count < _bits(x))
    count = inside.where(count, _bits(x) - 1 + (x.dtype == "u8"))
    half = count / 2
    first, second = _power_of_two(half), _power_of_two(count - half)
    if x.dtype == "u8":
        return x / first / second
    negative = x < 0
    shifted = negative.where(-1 - x, x) / first / second
    return negative.where(-1 - shifted, shifted)


def _bits(x: Term) -> int:
    return 8 * DTYPES[x.dtype].itemsize


def _power_of_two(exponent: Term) -> Term:
    powers = np.array([1 << i for i in range(_bits(exponent))], np.uint64)
    table = exponent.op.constant(powers.astype(DTYPES[exponent.dtype]))
    index = exponent.cast("i64").name
    return Term(exponent.op, exponent.op.emit("Gather", table, index, axis=0), exponent.dtype)


# -- elementwise: floats ---------------------------------------------------------------------------

def copysign(x: Term, y: Term) -> Term:
    """Of zeros, the sign is that of the reciprocal."""
    negative = (y < 0.0) | (y.equals(0.0) & (1.0 / y < 0.0))
    return negative.where(-abs(x), abs(x))


def expm1(x: Term) -> Term:
    """Returns exp(x) - 1, near 0 as 2 t / (1 - t) with t = tanh(x / 2), which does not cancel."""
    t = (x * 0.5).apply("Tanh")
    return (abs(x) < 1.0).where(2.0 * t / (1.0 - t), x.exp() - 1.0)


def log1p(x: Term) -> Term:
    """Returns log(1 + x): log(u) x / (u - 1) with u = 1 + x takes back the rounding of u.

    Goldberg (1991), What every computer scientist should know about floating-point arithmetic.
    """
    u = 1.0 + x
    near = u.equals(1.0).where(x, u.log() * (x / (u - 1.0)))
    return (abs(x) < 1.0).where(near, u.log())


def exp2(x: Term) -> Term:
    """Returns 2 to the power of x."""
    return Term(x.op, x.op.emit("Pow", x.op.number(2.0, x.dtype), x.name), x.dtype)


def log2(x: Term) -> Term:
    """Returns the logarithm to the base 2."""
    return x.log() / log(2.0)


def log10(x: Term) -> Term:
    """Returns the logarithm to the base 10."""
    return x.log() / log(10.0)


def tan(x: Term) -> Term:
    """Returns sin(x) / cos(x)."""
    return x.apply("Sin") / x.apply("Cos")


def atan(x: Term) -> Term:
    """Returns the arc tangent: float32's, and one step of Newton's method, which cubes its error.
    """
    x = _is_nan(x).where(x, x.apply("Max", -1e300).apply("Min", 1e300))
    y = x.cast("f32").apply("Atan").cast(x.dtype)
    sin, cos = y.apply("Sin"), y.apply("Cos")
    return y - (sin - x * cos) / (cos + x * sin)


def atan2(y: Term, x: Term) -> Term:
    """Returns the angle of the point (x, y), also of zeros of either sign and of infinities."""
    one, half_turn = x._constant(1.0), x._constant(pi)
    far = x.apply("IsInf", dtype="bool") & y.apply("IsInf", dtype="bool")
    ratio = far.where(copysign(one, y), y) / far.where(copysign(one, x), x)
    angle = atan(ratio) if x.dtype == "f64" else ratio.apply("Atan")
    angle = y.equals(0.0).where(y, angle)
    left = (x < 0.0) | (x.equals(0.0) & (1.0 / x < 0.0))
    return left.where(angle + copysign(half_turn, y), angle)


def asin(x: Term) -> Term:
    """Returns the arc sine."""
    return atan(x / ((1.0 - x) * (1.0 + x)).sqrt())


def acos(x: Term) -> Term:
    """Returns the arc cosine."""
    return 2.0 * atan(((1.0 - x) / (1.0 + x)).sqrt())


def sinh(x: Term) -> Term:
    """Returns (exp(x) - exp(-x)) / 2; near 0 of expm1, which does not cancel."""
    small = expm1(x)
    half = (abs(x) * 0.5).exp()                      # exp(x) / 2 is finite where exp(x) is not
    large = 0.5 * half * half
    large = (x < 0.0).where(-large, large)
    near = 0.5 * (small + small / (small + 1.0))
    return (abs(x) < 20.0).where(near, large)


def cosh(x: Term) -> Term:
    """Returns (exp(x) + exp(-x)) / 2."""
    half = (abs(x) * 0.5).exp()
    return 0.5 * half * half + 0.5 / half / half


def asinh(x: Term) -> Term:
    """Returns log(x + sqrt(x^2 + 1)) with the sign of x."""
    z = abs(x)
    near = log1p(z + z * z / (1.0 + (z * z + 1.0).sqrt()))
    found = (z > 1e8).where(z.log() + log(2.0), near)
    return (x < 0.0).where(-found, found)


def acosh(x: Term) -> Term:
    """Returns log(x + sqrt(x^2 - 1)), NaN below 1."""
    t = x - 1.0
    return (x > 1e8).where(x.log() + log(2.0), log1p(t + t.sqrt() * (x + 1.0).sqrt()))


def atanh(x: Term) -> Term:
    """Returns log((1 + x) / (1 - x)) / 2."""
    return 0.5 * (log1p(x) - log1p(-x))


def erfc(x: Term) -> Term:
    """Returns 1 - erf(x), whose absolute error is that of erf."""
    return 1.0 - x.apply("Erf")


def trunc(x: Term) -> Term:
    """Returns x rounded towards 0."""
    return (x < 0.0).where(x.apply("Ceil"), x.apply("Floor"))


def gelu(op: OnnxNode) -> str:
    """Gelu is an operator since opset 20."""
    if op.opset >= 20:
        return op.emit("Gelu", op[0])
    x = op.term(0)
    return (0.5 * x * (1.0 + (x * sqrt(0.5)).apply("Erf"))).name


def gelu_tanh(op: OnnxNode) -> str:
    """Gelu is an operator since opset 20, and not in float64."""
    if op.opset >= 20 and not op.is_double:
        return op.emit("Gelu", op[0], approximate="tanh")
    x = op.term(0).apply("Max", -100.0)              # -0.0 here, and from here down
    cube = x + 0.044715 * (x * x * x)
    return (0.5 * x * (1.0 + (sqrt(2 / pi) * cube).apply("Tanh"))).name


def silu(x: Term) -> Term:
    """Returns x * sigmoid(x)."""
    x = x.apply("Max", -800.0)                       # -0.0 here, and from here down
    return x * x.apply("Sigmoid")


def mish(x: Term) -> Term:
    """Returns x tanh(log(1 + exp(x))), as a quotient of polynomials in exp(-|x|)."""
    x = x.apply("Max", -800.0)                       # -0.0 here, and from here down
    e = (-abs(x)).exp()
    above = (1.0 + 2.0 * e) / (1.0 + 2.0 * e + 2.0 * (e * e))
    below = e * (e + 2.0) / (e * (e + 2.0) + 2.0)
    return x * (x >= 0.0).where(above, below)


def softplus_of(x: Term) -> Term:
    """Returns log(1 + exp(x))."""
    if x.dtype != "f64":
        return x.apply("Softplus")
    return x.apply("Max", 0.0) + log1p((-abs(x)).exp())


def softplus(op: OnnxNode) -> str:
    """ONNX's Softplus knows no threshold: it becomes x where that is the nearest float."""
    _, beta, threshold = op.inputs
    if beta == 1.0 and isinstance(threshold, float) and threshold >= (40.0 if op.is_double
                                                                      else 17.0):
        return softplus_of(op.term(0)).name
    z = op.term(0) * op.term(1)
    return (z > op.term(2)).where(op.term(0), softplus_of(z) / op.term(1)).name


def log_sigmoid(x: Term) -> Term:
    """Returns -log(1 + exp(-x))."""
    return -softplus_of(-x)


def elu(x: Term, alpha: Term) -> Term:
    """Returns x, or alpha (exp(x) - 1) where x is negative."""
    return (x < 0.0).where(alpha * expm1(x), x)


def celu(x: Term, alpha: Term) -> Term:
    """Returns x, or alpha (exp(x / alpha) - 1) where x is negative."""
    return (x < 0.0).where(alpha * expm1(x / alpha), x)


def selu(x: Term) -> Term:
    """Returns scale * elu(x, alpha)."""
    return (x < 0.0).where(SELU_SCALE * SELU_ALPHA * expm1(x), SELU_SCALE * x)


def leaky_relu(op: OnnxNode) -> str:
    """ONNX's PRelu takes a slope that broadcasts to x, and not the other way."""
    x = op.inputs[0]
    if not op.is_double and isinstance(x, Value) and same(x.type, op.result.type):
        return op.emit("PRelu", *op.names)
    a, b = op.terms
    return (a > 0.0).where(a, b * a).name


def hardsigmoid(x: Term) -> Term:
    """Returns x / 6 + 1 / 2, limited to [0, 1]."""
    return (x + 3.0).apply("Max", 0.0).apply("Min", 6.0) / 6.0


def hardswish(x: Term) -> Term:
    """Returns x * hardsigmoid(x)."""
    return x.apply("Max", -3.0) * hardsigmoid(x)


def hardshrink(x: Term, bound: Term) -> Term:
    """Returns x, or 0 where |x| <= bound; ONNX's Shrink of NaN is 0."""
    return (abs(x) <= bound).where(0.0, x)


def softshrink(x: Term, bound: Term) -> Term:
    """Returns x moved towards 0 by bound, or 0 where |x| <= bound; ONNX's Shrink of NaN is 0."""
    return (abs(x) <= bound).where(0.0, x - (x < 0.0).where(-bound, bound))


def softsign(x: Term) -> Term:
    """Returns x / (1 + |x|)."""
    x = x.apply("Max", -1e30).apply("Min", 1e30)     # -1 and 1 here, and beyond
    return x / (1.0 + abs(x))


def threshold(x: Term, bound: Term, value: Term) -> Term:
    """Returns x, or value where x <= bound."""
    return (x <= bound).where(value, x)


def isfinite(x: Term) -> Term:
    """Returns where x is neither NaN nor an infinity."""
    return ~(_is_nan(x) | x.apply("IsInf", dtype="bool"))


def cast(op: OnnxNode, *, dtype: str) -> str:
    """Floats become int8 and uint8 through int32, whose low bits they have."""
    x = op.term(0)
    if x.dtype not in INTEGERS and dtype in ("i8", "u8"):
        x = x.cast("i32")
    return x.cast(dtype).name


# -- products and rows -----------------------------------------------------------------------------

def linear(op: OnnxNode) -> str:
    """Gemm takes matrices only."""
    x, weight, *bias = op.inputs
    if x.type.ndim == 2:
        return op.emit("Gemm", *op.names, transB=1)
    array = op.data(weight)                       # a constant can be packed
    transposed = (op.emit("Transpose", op[1], perm=[1, 0]) if array is None
                  else op.constant(array.T))
    product_ = op.emit("MatMul", op[0], transposed)
    return op.emit("Add", product_, op[2]) if bias else product_


def softmax(op: OnnxNode, *, axis: int, scale: float) -> str:
    """ONNX's Softmax has no scale."""
    x = op[0] if scale == 1 else op.emit("Mul", op[0], op.number(scale))
    return op.emit("Softmax", x, axis=axis)


def layer_norm(op: OnnxNode, *, axes: tuple[int, ...], eps: float) -> str:
    """ONNX's operator wants a weight, and its eps is a float32."""
    if op.is_double:
        return _layer_norm_in_double(op, axes, eps)
    names = op.names
    if len(names) == 1:
        shape = op.inputs[0].type.shape[axes[0]:]
        names = [*names, _everywhere(op, 1.0, shape)]
    return op.emit("LayerNormalization", *names, axis=axes[0], epsilon=eps)


def _layer_norm_in_double(op: OnnxNode, axes: tuple[int, ...], eps: float) -> str:
    x, *affine = op.terms
    centred = x - x.apply("ReduceMean", op.sizes(axes))
    variance = (centred * centred).apply("ReduceMean", op.sizes(axes))
    result = centred / (variance + eps).sqrt()
    result = result * affine[0] if affine else result
    return (result + affine[1] if affine[1:] else result).name


def _everywhere(op: OnnxNode, number: float, shape: Sequence[Dim]) -> str:
    """A number in every place of a shape."""
    if all(isinstance(size, int) for size in shape):
        return op.constant(np.full(tuple(shape), number, DTYPES[op.dtype])) 
    return op.emit("Expand", op.number(number), op.sizes(shape))


def rms_norm(op: OnnxNode, *, axes: tuple[int, ...], eps: float) -> str:
    """RMSNormalization is an operator since opset 23 only."""
    x, *weight = op.names
    square = op.emit("ReduceMean", op.emit("Mul", x, x), op.sizes(axes))
    normal = op.emit("Div", x, op.emit("Sqrt", op.emit("Add", square, op.number(eps))))
    return op.emit("Mul", normal, *weight) if weight else normal


def cumsum(op: OnnxNode, *, axis: int) -> str:
    """The axis is an operand."""
    return op.emit("CumSum", op[0], op.constant(np.asarray(axis)))


# -- reductions ------------------------------------------------------------------------------------

def reduction(kind: str) -> Entry:
    """The axes are an operand. Without any, ONNX would reduce over all."""
    def write(op: OnnxNode, *, axes: Sequence[int], keepdims: bool) -> str:
        if not axes:
            return op.emit("Identity", op[0])
        return op.emit(kind, op[0], op.sizes(axes), keepdims=int(keepdims))
    return write


def truth(kind: str) -> Entry:
    """ReduceMax takes bools since opset 20, and ONNX Runtime's none over an axis of size 0."""
    def write(op: OnnxNode, *, axes: Sequence[int], keepdims: bool) -> str:
        x, reduced = op.term(0), [op.inputs[0].type.shape[axis] for axis in axes]
        if not axes:
            return op.emit("Identity", x.name)
        if op.opset >= 20 and all(isinstance(size, int) and size > 0 for size in reduced):
            return x.apply(kind, op.sizes(axes), keepdims=int(keepdims)).name
        wanted = x if kind == "ReduceMax" else ~x
        count = wanted.cast("i64").apply("ReduceSum", op.sizes(axes), keepdims=int(keepdims))
        return (count > 0 if kind == "ReduceMax" else count.equals(0)).name
    return write


def arg_reduction(kind: str) -> Entry:
    """The axis is an attribute."""
    return lambda op, *, axis, keepdims: op.emit(kind, op[0], axis=axis, keepdims=int(keepdims))


def topk_ids(op: OnnxNode, *, axis: int, k: Dim, largest: bool, sorted: bool) -> str:
    """The indices are the second result of TopK; of equal elements it takes the first one."""
    return op.emit("TopK", op[0], op.sizes([k]), axis=axis, largest=int(largest), sorted=1,
                   second=True)


# -- by index --------------------------------------------------------------------------------------

def embedding_bag(op: OnnxNode, *, mode: str, include_last: bool, padding: int) -> str:
    """Every row is added to the row of its bag. What is in no bag goes to one more row, the last.

    The bag of an id is the number of bags that have begun up to it.
    """
    ids, offsets, table = op.inputs[:3]
    bags, width = op.result.type.shape
    count = ids.type.shape[0]
    begun = op.emit("ScatterND", _zeros(op, "i64", [count + 1]), _column(op, op[1], offsets),
                    _ones(op, "i64", [offsets.type.shape[0]]), reduction="add")
    bag = Term(op, op.emit("CumSum", begun, op.constant(np.asarray(0))), "i64") - 1
    bag = bag.apply("Slice", op.sizes([0]), op.sizes([count]))
    if padding >= 0:
        last = op.emit("Squeeze", op.sizes([bags]), op.sizes([0]))
        bag = Term(op, op[0], ids.type.dtype).equals(padding).where(last, bag)
    index = op.emit("Unsqueeze", bag.name, op.sizes([1]))
    dtype = table.type.dtype
    rows = Term(op, op.emit("Gather", op[2], op[0], axis=0), dtype)
    if len(op.inputs) == 4:
        rows = rows * op.emit("Unsqueeze", op[3], op.sizes([1]))
    first = -np.inf if mode == "max" else 0.0
    start = op.emit("Expand", op.number(first, dtype), op.sizes([bags + 1, width]))
    total = Term(op, start, dtype).apply("ScatterND", index, rows,
                                         reduction="max" if mode == "max" else "add")
    if mode != "sum":
        zeros = Term(op, _zeros(op, dtype, [bags + 1]), dtype)
        members = zeros.apply("ScatterND", index, _ones(op, dtype, [count]), reduction="add")
        members = members.apply("Unsqueeze", op.sizes([1]))
        total = (total / members.apply("Max", 1.0) if mode == "mean"
                 else members.equals(0.0).where(0.0, total))
    return total.apply("Slice", op.sizes([0]), op.sizes([bags])).name


def scatter_add(op: OnnxNode, *, axis: int, size: Dim) -> str:
    """The ids are expanded, because ScatterElements broadcasts nothing."""
    updates = op.inputs[1].type
    zeros = _zeros(op, updates.dtype, op.result.type.shape)
    ids = op[0]
    if not same(op.inputs[0].type.shape, updates.shape):
        ids = op.emit("Expand", ids, op.sizes(updates.shape))
    return op.emit("ScatterElements", zeros, ids, op[1], axis=axis, reduction="add")


def _column(op: OnnxNode, name: str, value: Value) -> str:
    return Term(op, op.emit("Unsqueeze", name, op.sizes([1])), value.type.dtype).cast("i64").name


def _zeros(op: OnnxNode, dtype: str, shape: Sequence[Dim]) -> str:
    return op.emit("Expand", op.number(0, dtype), op.sizes(shape))


def _ones(op: OnnxNode, dtype: str, shape: Sequence[Dim]) -> str:
    return op.emit("Expand", op.number(1, dtype), op.sizes(shape))


def tree_walk(op: OnnxNode, *, steps: int) -> str:
    """A gather of the nodes, of their columns and of their thresholds for each step."""
    x, (_, nodes, thresholds, roots) = op.inputs[0], op.names
    width = op.inputs[1].type.shape[1]
    shape = op.sizes(op.result.type.shape)
    at = Term(op, op.emit("Expand", roots, shape), "i32").cast("i64")
    feature, *links = (Term(op, op.emit("Gather", nodes, op.constant(np.asarray(k)), axis=1), "i32")
                       for k in range(width))
    for _ in range(steps):
        column = op.emit("Gather", feature.name, at.name, axis=0)
        value = Term(op, op.emit("GatherElements", op[0], column, axis=1), x.type.dtype)
        above, up_to, *missing = (Term(op, op.emit("Gather", link.name, at.name, axis=0), "i32")
                                 for link in links)
        below = value <= op.emit("Gather", thresholds, at.name, axis=0)
        at = below.where(up_to, above)
        at = (_is_nan(value).where(missing[0], at) if missing else at).cast("i64")
    return at.cast("i32").name


# -- shapes ----------------------------------------------------------------------------------------

def iota(op: OnnxNode, *, shape: Sequence[Dim], axis: int, dtype: str) -> str:
    """A constant, or a Range that is repeated to the shape."""
    if all(isinstance(size, int) for size in shape):
        known: Any = tuple(shape)
        return op.constant(np.indices(known, DTYPES[dtype], sparse=True)[axis]
                           + np.zeros(known, DTYPES[dtype]))
    count = op.emit("Squeeze", op.sizes([shape[axis]]), op.sizes([0]))
    numbers = Term(op, op.emit("Range", op.number(0, "i64"), count, op.number(1, "i64")), "i64")
    column = numbers.cast(dtype).apply("Reshape", op.sizes(
        [-1 if i == axis else 1 for i in range(len(shape))]))
    return column.apply("Expand", op.sizes(shape)).name


def full(op: OnnxNode, *, shape: Sequence[Dim], dtype: str) -> str:
    """A scalar that is repeated."""
    return op.emit("Expand", op[0], op.sizes(shape))


def reshape(op: OnnxNode, *, shape: Sequence[Dim]) -> str:
    """One size that is not known is what the others leave over, if they are not 0."""
    unknown = [i for i, size in enumerate(shape) if not isinstance(size, int)]
    if len(unknown) == 1 and product(s for s in shape if isinstance(s, int)) != 0:
        shape = [-1 if i == unknown[0] else size for i, size in enumerate(shape)]
    return op.emit("Reshape", op[0], op.sizes(shape), allowzero=1)


def transpose(op: OnnxNode, *, axes: Sequence[int]) -> str:
    """An empty list of axes would have no type."""
    return op.emit("Transpose", op[0], perm=list(axes)) if axes else op.emit("Identity", op[0])


def expand(op: OnnxNode, *, shape: Sequence[Dim]) -> str:
    """A size that is not known and that the operand has already is left to broadcasting."""
    own = op.inputs[0].type.shape
    given = (*[None] * (len(shape) - len(own)), *own)
    kept = [1 if not isinstance(size, int) and not isinstance(has, int) and has is not None
            else size for size, has in zip(shape, given, strict=True)]
    return op.emit("Expand", op[0], op.sizes(kept))


def slice_(op: OnnxNode, *, axis: int, start: Dim, stop: Dim, step: int) -> str:
    """Where a slice goes backwards, -1 is before the first element, and in ONNX the last one."""
    end: Dim = stop
    if isinstance(stop, int):
        end = stop if stop >= 0 else _NO_END
    elif step < 0:                               # counted from the end, it is never mistaken
        end = stop - op.inputs[0].type.shape[axis]
    bounds = [op.sizes([number]) for number in (start, end, axis, step)]
    return op.emit("Slice", op[0], *bounds)


def pad(op: OnnxNode, *, low: Sequence[Dim], high: Sequence[Dim], value: float) -> str:
    """The sizes and the number are operands."""
    return op.emit("Pad", op[0], op.sizes([*low, *high]), op.number(value))

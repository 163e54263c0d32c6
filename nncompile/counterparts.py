"""The counterpart of each op in NumPy, torch, JAX and ONNX: one row for each op.

An entry for NumPy, torch or JAX is a Python expression, as a template of `str.format`: {0} and {1}
are operands, {all} stands for all operands, and {axis} for an attribute. An entry may also be a
function of the operands' texts and the attributes that returns the expression. An operand is a
name, or a plain number in parentheses. Expressions use the names `np`, `torch`, `F`
(torch.nn.functional), `jax` and `jnp`; those for NumPy also use `softmax` and `layer_norm`, which
NumPy lacks, and `ndtr`, SciPy's normal distribution function.

An entry for ONNX is the name of an operator of opset 20 that takes the same operands and needs no
attributes, or a function of an OnnxNode and the attributes that returns the name of the result.

This module imports none of these libraries but NumPy.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Literal

import numpy as np

from ir import DTYPES, Error, NDArray, Value
from ir.records import dataclass, replace

Language = Literal["numpy", "torch", "jax", "onnx"]


class NoCounterpart(Error):
    """An op that another library cannot compute, or for which no entry has been written."""


@dataclass(frozen=True)
class OnnxNode:
    """A node of a graph while it is written as ONNX, where values are known by their names.

    inputs:   values and floats.
    name:     returns the name of a value.
    emit:     adds an ONNX node, `emit(kind, *names, **attrs)`, and returns the name of its result.
    constant: returns the name of an array that is part of the model.
    shape:    returns the shape of a value; all sizes are known when a model is written.
    data:     returns the array of a parameter; None for what is computed.
    """

    inputs: Sequence[Any]
    result: Value
    name: Callable[[Value], str]
    emit: Callable[..., str]
    constant: Callable[[NDArray], str]
    shape: Callable[[Value], tuple[int, ...]]
    data: Callable[[Value], NDArray | None]

    def __getitem__(self, index: int) -> str:
        """The name of an operand; a plain number becomes a scalar of the arrays' dtype."""
        operand = self.inputs[index]
        if isinstance(operand, Value):
            return self.name(operand)
        arrays = [o for o in self.inputs if isinstance(o, Value)] or [self.result]
        return self.constant(np.asarray(operand, DTYPES[arrays[-1].type.dtype]))

    @property
    def names(self) -> list[str]:
        """The names of all operands."""
        return [self[i] for i in range(len(self.inputs))]


@dataclass(frozen=True)
class Missing:
    """The entry of a library that has no counterpart, and why."""

    why: str


Entry = str | Callable[..., str] | Missing
_NO_OPERATOR = Missing("ONNX has no such operator")
_NO_SHIFT = Missing("ONNX's BitShift is for unsigned integers alone")


@dataclass(frozen=True)
class Row:
    """The entries of one op."""

    numpy: Entry
    torch: Entry
    jax: Entry
    onnx: Entry


def counterpart(op: str, language: Language) -> str | Callable[..., str]:
    """Returns the entry of an op. Raises NoCounterpart where there is none."""
    entry = getattr(COUNTERPARTS[op], language) if op in COUNTERPARTS else Missing("it is new")
    if isinstance(entry, Missing):
        raise NoCounterpart(f"it has no counterpart of {op}: {entry.why}")
    return entry                                                         # type: ignore[no-any-return]


def expression(op: str, language: Language, operands: Sequence[str],
               attrs: Mapping[str, Any]) -> str:
    """Returns a node as an expression in Python. Raises NoCounterpart where there is none."""
    entry = counterpart(op, language)
    if callable(entry):
        return entry(*operands, **attrs)
    return entry.format(*operands, all=", ".join(operands), **attrs)


def literal(number: float) -> str:
    """Returns a plain number as an operand of an expression."""
    return f"({number!r})" if isfinite(number) else f"(float('{number}'))"


def _is_literal(operand: str) -> bool:
    """Returns whether an operand is a plain number: no name begins with a parenthesis."""
    return operand.startswith("(")


# -- rows that are much alike ----------------------------------------------------------------------

def _infix(operator: str, onnx: Entry) -> Row:
    """Returns the row of an operator between two operands, the same in NumPy, torch and JAX."""
    text = f"{{0}} {operator} {{1}}"
    return Row(text, text, text, onnx)


def _of_bits(operator: str, onnx: Entry) -> Row:
    """Returns the row of an operator between integers, whose plain numbers may not be floats."""
    def write(x: str, y: str) -> str:
        return f"{_whole(x)} {operator} {_whole(y)}"
    return Row(write, write, write, onnx)


def _whole(text: str) -> str:
    """Returns the text of an operand, of a plain number that of an integer."""
    return text if text.isidentifier() else f"({int(float(text.strip('()')))})"


def _function(numpy: str, onnx: Entry, torch: str = "") -> Row:
    """Returns the row of a function of the same name in NumPy, JAX and, by default, torch."""
    return Row(f"np.{numpy}({{all}})", f"torch.{torch or numpy}({{all}})",
               f"jnp.{numpy}({{all}})", onnx)


def _numpy_like(text: str, torch: Entry, onnx: Entry, jax: str = "") -> Row:
    """An expression in NumPy's functions and methods; in JAX the same if nothing else is said."""
    return Row(text, torch, jax or text.replace("np.", "jnp."), onnx)


def _reduction(name: str, onnx: str, torch: str = "") -> Row:
    text = f"{{0}}.{name}({{axes}}, keepdims={{keepdims}})"
    return Row(text, f"torch.{torch or name}({{0}}, {{axes}}, keepdim={{keepdims}})", text,
               lambda op, *, axes, keepdims: op.emit(
                   onnx, op[0], _integers(op, *axes), keepdims=int(keepdims)))


def _arg_reduction(name: str, onnx: str) -> Row:
    text = f"{{0}}.{name}({{axis}}, keepdims={{keepdims}})"
    return Row(text, f"torch.{name}({{0}}, {{axis}}, keepdim={{keepdims}})", text,
               lambda op, *, axis, keepdims: op.emit(
                   onnx, op[0], axis=axis, keepdims=int(keepdims)))


# -- Python, where a template is not enough --------------------------------------------------------

def _linear(x: str, w: str, b: str | None = None) -> str:
    return f"{x} @ {w}.T" if b is None else f"{x} @ {w}.T + {b}"


def _slice(x: str, *, axis: int, start: int, stop: int, step: int) -> str:
    if step != 1:
        raise NoCounterpart(f"it has no counterpart of a slice with the step {step}")
    return f"{x}[{':, ' * axis}{start}:{stop}]"


def _take(x: str, ids: str, *, axis: int) -> str:
    return f"{x}[{':, ' * axis}{ids}]"


def _scaled(x: str, scale: float) -> str:
    return x if scale == 1 else f"{x} * {scale}"


def _softmax(name: str) -> Entry:
    return lambda x, *, axis, scale: f"{name}({_scaled(x, scale)}, {axis})"


def _torch_extremum(name: str, bound: str) -> Entry:
    """torch.maximum takes no plain number."""
    def write(a: str, b: str) -> str:
        number, array = (a, b) if _is_literal(a) else (b, a)
        if _is_literal(number):
            return f"torch.clamp({array}, {bound}={number})"
        return f"torch.{name}({a}, {b})"
    return write


def _torch_leaky_relu(x: str, slope: str) -> str:
    if _is_literal(slope):
        return f"F.leaky_relu({x}, {slope})"
    return f"torch.where({x} > 0, {x}, {slope} * {x})"


def _torch_norm(name: str) -> Entry:
    def write(x: str, *affine: str, axes: tuple[int, ...], eps: float) -> str:
        operands = [x, f"{x}.shape[{axes[0]}:]", *affine]
        return f"F.{name}({', '.join(operands)}, eps={eps})"
    return write


def _torch_prod(x: str, *, axes: tuple[int, ...], keepdims: bool) -> str:
    """torch.prod takes one axis."""
    for axis in sorted(axes, reverse=True):
        x = f"torch.prod({x}, {axis}, keepdim={keepdims})"
    return x


def _torch_atan2(y: str, x: str) -> str:
    """Returns the call; its operands may not be plain numbers."""
    y, x = (own if own.isidentifier() else f"torch.full_like({other}, {own})"
            for own, other in ((y, x), (x, y)))
    return f"torch.atan2({y}, {x})"


def _torch_pad(x: str, *, low: Sequence[int], high: Sequence[int], value: float) -> str:
    """torch.nn.functional.pad begins with the last axis."""
    amounts = [n for pair in zip(reversed(low), reversed(high), strict=True) for n in pair]
    return f"F.pad({x}, {amounts}, value={value})"


def _torch_embedding_bag(ids: str, offsets: str, w: str, weights: str = "None", *, mode: str,
                         include_last: bool, padding: int) -> str:
    padding_idx = None if padding < 0 else padding
    return (f"F.embedding_bag({ids}, {w}, {offsets}, mode={mode!r}, per_sample_weights={weights}, "
            f"include_last_offset={include_last}, padding_idx={padding_idx})")


def _jax_layer_norm(x: str, *affine: str, axes: tuple[int, ...], eps: float) -> str:
    centred = f"({x} - {x}.mean({axes}, keepdims=True))"
    scale = f"jax.lax.rsqrt({x}.var({axes}, keepdims=True) + {eps})"
    return " + ".join([" * ".join([centred, scale, *affine[:1]]), *affine[1:]])


def _rms_norm(x: str, *weight: str, axes: tuple[int, ...], eps: float) -> str:
    size = f"(({x} * {x}).mean({axes}, keepdims=True) + {eps}) ** 0.5"
    return " * ".join([f"{x} / {size}", *weight])


def _pad(x: str, *, low: Sequence[int], high: Sequence[int], value: float) -> str:
    return f"np.pad({x}, {[*zip(low, high, strict=True)]}, constant_values={value})"


def _iota(module: str) -> Entry:
    def write(*, shape: Sequence[int], axis: int, dtype: str) -> str:
        row = [n if a == axis else 1 for a, n in enumerate(shape)]
        numbers = f"{module}.arange({shape[axis]}, dtype={module}.{DTYPES[dtype]})"
        return f"{module}.broadcast_to({numbers}.reshape({row}), {shape})"
    return write


def _full(module: str) -> Entry:
    def write(value: str, *, shape: Sequence[int], dtype: str) -> str:
        return f"{module}.full({shape}, {value}, dtype={module}.{DTYPES[dtype]})"
    return write


def _cast(x: str, *, dtype: str) -> str:
    return f"{x}.astype('{DTYPES[dtype]}')"


# -- ONNX ------------------------------------------------------------------------------------------

def _operator(kind: str, **attrs: Any) -> Entry:
    """The same operands, and attributes that are always the same."""
    return lambda op: op.emit(kind, *op.names, **attrs)


def _along(kind: str, **attrs: Any) -> Entry:
    """The same operands, and the axis is an attribute."""
    return lambda op, *, axis, **_: op.emit(kind, *op.names, axis=axis, **attrs)


def _composed(first: str, *further: str) -> Entry:
    """An operator of the operands, and others of one operand behind it."""
    def write(op: OnnxNode) -> str:
        result = op.emit(first, *op.names)
        for kind in further:
            result = op.emit(kind, result)
        return result
    return write


def _with_itself(outer: str, inner: str) -> Entry:
    """An operator of the operand and of what another makes of it."""
    return lambda op: op.emit(outer, op[0], op.emit(inner, op[0]))


def _with_numbers(kind: str, *names: str) -> Entry:
    """The second operand is a plain number, and an attribute by each of these names."""
    def write(op: OnnxNode) -> str:
        if not isinstance(op.inputs[1], float):
            raise NoCounterpart(f"ONNX's {kind} takes a plain number")
        return op.emit(kind, op[0], **dict.fromkeys(names, op.inputs[1]))
    return write


def _integers(op: OnnxNode, *values: int) -> str:
    return op.constant(np.array(values, np.int64))


def _scalar(op: OnnxNode, value: float) -> str:
    """A plain number of the result's dtype."""
    return op.constant(np.asarray(value, DTYPES[op.result.type.dtype]))


def _onnx_linear(op: OnnxNode) -> str:
    x, weight, *bias = op.inputs
    if x.type.ndim == 2:
        return op.emit("Gemm", *op.names, transB=1)
    array = op.data(weight)                       # a constant can be packed
    transposed = (op.emit("Transpose", op[1], perm=[1, 0]) if array is None
                  else op.constant(array.T))
    product = op.emit("MatMul", op[0], transposed)
    return op.emit("Add", product, op[2]) if bias else product


def _onnx_softmax(op: OnnxNode, *, axis: int, scale: float) -> str:
    x = op[0] if scale == 1 else op.emit("Mul", op[0], _scalar(op, scale))
    return op.emit("Softmax", x, axis=axis)


def _onnx_layer_norm(op: OnnxNode, *, axes: tuple[int, ...], eps: float) -> str:
    names = op.names
    if len(names) == 1:                           # ONNX wants a weight
        shape = op.shape(op.inputs[0])[axes[0]:]
        names = [*names, op.constant(np.ones(shape, DTYPES[op.result.type.dtype]))]
    return op.emit("LayerNormalization", *names, axis=axes[0], epsilon=eps)


def _onnx_rms_norm(op: OnnxNode, *, axes: tuple[int, ...], eps: float) -> str:
    x, *weight = op.names
    square = op.emit("ReduceMean", op.emit("Mul", x, x), _integers(op, *axes))
    normal = op.emit("Div", x, op.emit("Sqrt", op.emit("Add", square, _scalar(op, eps))))
    return op.emit("Mul", normal, *weight) if weight else normal


def _onnx_slice(op: OnnxNode, *, axis: int, start: int, stop: int, step: int) -> str:
    bounds = [_integers(op, n) for n in (start, stop if stop >= 0 else -2**63, axis, step)]
    return op.emit("Slice", op[0], *bounds)


def _onnx_cast(op: OnnxNode, *, dtype: str) -> str:
    return op.emit("CastLike", op[0], op.constant(np.zeros((), DTYPES[dtype])))


def _onnx_iota(op: OnnxNode, *, shape: Sequence[int], axis: int, dtype: str) -> str:
    return op.constant(np.indices(shape, DTYPES[dtype], sparse=True)[axis]
                       + np.zeros(shape, DTYPES[dtype]))


def _onnx_isfinite(op: OnnxNode) -> str:
    return op.emit("Not", op.emit("Or", op.emit("IsNaN", op[0]), op.emit("IsInf", op[0])))


def _onnx_pad(op: OnnxNode, *, low: Sequence[int], high: Sequence[int], value: float) -> str:
    return op.emit("Pad", op[0], _integers(op, *low, *high), _scalar(op, value))


def _onnx_softplus(op: OnnxNode) -> str:
    """ONNX's Softplus knows no threshold: it becomes x where that is the nearest float."""
    if op.inputs[1] != 1.0 or not isinstance(op.inputs[2], float) or op.inputs[2] < 17.0:
        raise NoCounterpart("ONNX's Softplus has neither a beta nor a threshold")
    return op.emit("Softplus", op[0])


# -- the table -------------------------------------------------------------------------------------

COUNTERPARTS: dict[str, Row] = {
    # elementwise: numbers of any type
    "add": _infix("+", "Add"),
    "sub": _infix("-", "Sub"),
    "mul": _infix("*", "Mul"),
    "maximum": _numpy_like("np.maximum({all})", _torch_extremum("maximum", "min"), "Max"),
    "minimum": _numpy_like("np.minimum({all})", _torch_extremum("minimum", "max"), "Min"),
    "neg": Row("-{0}", "-{0}", "-{0}", "Neg"),
    "abs": _function("abs", "Abs"),
    "sign": _function("sign", "Sign"),
    "floor_div": _infix("//", Missing("ONNX's Div rounds before a Floor could")),
    "remainder": _infix("%", Missing("ONNX's Mod of floats has the sign of the dividend")),
    "pow": _infix("**", "Pow"),
    # elementwise: integers
    "bitwise_and": _of_bits("&", "BitwiseAnd"),
    "bitwise_or": _of_bits("|", "BitwiseOr"),
    "bitwise_xor": _of_bits("^", "BitwiseXor"),
    "left_shift": _of_bits("<<", _NO_SHIFT),
    "right_shift": _of_bits(">>", _NO_SHIFT),
    # elementwise: floats
    "div": _infix("/", "Div"),
    "copysign": _function("copysign", _NO_OPERATOR),
    "atan2": Row("np.arctan2({all})", _torch_atan2, "jnp.arctan2({all})", _NO_OPERATOR),
    "exp": _function("exp", "Exp"),
    "expm1": _function("expm1", _NO_OPERATOR),
    "exp2": _function("exp2", _NO_OPERATOR),
    "log": _function("log", "Log"),
    "log1p": _function("log1p", _NO_OPERATOR),
    "log2": _function("log2", _NO_OPERATOR),
    "log10": _function("log10", _NO_OPERATOR),
    "sqrt": _function("sqrt", "Sqrt"),
    "rsqrt": _numpy_like("1 / np.sqrt({0})", "torch.rsqrt({0})", _composed("Sqrt", "Reciprocal"),
                         "jax.lax.rsqrt({0})"),
    "sin": _function("sin", "Sin"),
    "cos": _function("cos", "Cos"),
    "tan": _function("tan", "Tan"),
    "asin": _function("arcsin", "Asin", torch="asin"),
    "acos": _function("arccos", "Acos", torch="acos"),
    "atan": _function("arctan", "Atan", torch="atan"),
    "sinh": _function("sinh", "Sinh"),
    "cosh": _function("cosh", "Cosh"),
    "tanh": _function("tanh", "Tanh"),
    "asinh": _function("arcsinh", "Asinh", torch="asinh"),
    "acosh": _function("arccosh", "Acosh", torch="acosh"),
    "atanh": _function("arctanh", "Atanh", torch="atanh"),
    "erf": Row(Missing("NumPy has no erf"), "torch.erf({0})", "jax.lax.erf({0})", "Erf"),
    "erfc": Row(Missing("NumPy has no erfc"), "torch.erfc({0})", "jax.lax.erfc({0})", _NO_OPERATOR),
    "floor": _function("floor", "Floor"),
    "ceil": _function("ceil", "Ceil"),
    "round": _function("rint", "Round", torch="round"),
    "trunc": _function("trunc", _NO_OPERATOR),
    "sigmoid": _numpy_like("1 / (1 + np.exp(-{0}))", "torch.sigmoid({0})", "Sigmoid",
                           "jax.nn.sigmoid({0})"),
    "relu": _numpy_like("np.maximum({0}, 0)", "torch.relu({0})", "Relu", "jax.nn.relu({0})"),
    "gelu": Row("{0} * ndtr({0})", "F.gelu({0})", "jax.nn.gelu({0}, approximate=False)", "Gelu"),
    "gelu_tanh": _numpy_like("0.5 * {0} * (1 + np.tanh(0.7978845608028654"
                             " * ({0} + 0.044715 * {0} * {0} * {0})))",
                             "F.gelu({0}, approximate='tanh')",
                             _operator("Gelu", approximate="tanh"),
                             "jax.nn.gelu({0}, approximate=True)"),
    "silu": _numpy_like("{0} / (1 + np.exp(-{0}))", "F.silu({0})",
                        _with_itself("Mul", "Sigmoid"), "jax.nn.silu({0})"),
    "mish": _numpy_like("{0} * np.tanh(np.logaddexp({0}, 0))", "F.mish({0})", "Mish",
                        "jax.nn.mish({0})"),
    "softplus": _numpy_like("np.where({0} * {1} > {2}, {0}, np.logaddexp({0} * {1}, 0) / {1})",
                            "F.softplus({all})", _onnx_softplus),
    "elu": _numpy_like("np.where({0} < 0, {1} * np.expm1({0}), {0})", "F.elu({all})",
                       _with_numbers("Elu", "alpha"), "jax.nn.elu({all})"),
    "celu": _numpy_like("np.where({0} < 0, {1} * np.expm1({0} / {1}), {0})", "F.celu({all})",
                        _with_numbers("Celu", "alpha"), "jax.nn.celu({all})"),
    "selu": _numpy_like("1.0507009873554805 * np.where({0} < 0, 1.6732632423543772 * np.expm1({0}),"
                        " {0})", "F.selu({0})", "Selu", "jax.nn.selu({0})"),
    "leaky_relu": _numpy_like("np.where({0} > 0, {0}, {1} * {0})", _torch_leaky_relu, "PRelu"),
    "hardsigmoid": _numpy_like("np.clip({0} + 3, 0, 6) / 6", "F.hardsigmoid({0})",
                               _operator("HardSigmoid", alpha=1 / 6, beta=0.5),
                               "jax.nn.hard_sigmoid({0})"),
    "hardswish": _numpy_like("{0} * np.clip({0} + 3, 0, 6) / 6", "F.hardswish({0})", "HardSwish",
                             "jax.nn.hard_swish({0})"),
    "hardshrink": _numpy_like("np.where(np.abs({0}) <= {1}, 0, {0})", "F.hardshrink({all})",
                              _with_numbers("Shrink", "lambd")),
    "softshrink": _numpy_like("{0} - np.clip({0}, -{1}, {1})", "F.softshrink({all})",
                              _with_numbers("Shrink", "lambd", "bias")),
    "tanhshrink": _numpy_like("{0} - np.tanh({0})", "F.tanhshrink({0})",
                              _with_itself("Sub", "Tanh")),
    "log_sigmoid": _numpy_like("-np.logaddexp(-{0}, 0)", "F.logsigmoid({0})",
                               _composed("Neg", "Softplus", "Neg"), "jax.nn.log_sigmoid({0})"),
    "softsign": _numpy_like("{0} / (1 + np.abs({0}))", "F.softsign({0})", "Softsign",
                            "jax.nn.soft_sign({0})"),
    "threshold": _numpy_like("np.where({0} <= {1}, {2}, {0})", "F.threshold({all})",
                             lambda op: op.emit("Where", op.emit("LessOrEqual", op[0], op[1]),
                                                op[2], op[0])),
    # elementwise: truth
    "eq": _infix("==", "Equal"),
    "ne": _infix("!=", _composed("Equal", "Not")),
    "lt": _infix("<", "Less"),
    "le": _infix("<=", "LessOrEqual"),
    "gt": _infix(">", "Greater"),
    "ge": _infix(">=", "GreaterOrEqual"),
    "isnan": _function("isnan", "IsNaN"),
    "isinf": _function("isinf", "IsInf"),
    "isfinite": _function("isfinite", _onnx_isfinite),
    "logical_and": _function("logical_and", "And"),
    "logical_or": _function("logical_or", "Or"),
    "logical_xor": _function("logical_xor", "Xor"),
    "logical_not": _function("logical_not", "Not"),
    "where": _function("where", "Where"),
    "cast": Row(_cast, lambda x, *, dtype: f"{x}.to(torch.{DTYPES[dtype]})", _cast, _onnx_cast),
    # products and rows
    "linear": Row(_linear, "F.linear({all})", _linear, _onnx_linear),
    "matmul": _infix("@", "MatMul"),
    "softmax": Row(_softmax("softmax"), _softmax("torch.softmax"), _softmax("jax.nn.softmax"),
                   _onnx_softmax),
    "log_softmax": Row(Missing("NumPy has no log_softmax"), "torch.log_softmax({0}, {axis})",
                       "jax.nn.log_softmax({0}, {axis})", _along("LogSoftmax")),
    "layer_norm": Row("layer_norm({all}, axes={axes}, eps={eps})", _torch_norm("layer_norm"),
                      _jax_layer_norm, _onnx_layer_norm),
    "rms_norm": Row(_rms_norm, _torch_norm("rms_norm"), _rms_norm, _onnx_rms_norm),
    "cumsum": _numpy_like("np.cumsum({0}, {axis})", "torch.cumsum({0}, {axis})",
                          lambda op, *, axis: op.emit("CumSum", op[0], _integers(op, axis))),
    # reductions
    "sum": _reduction("sum", "ReduceSum"),
    "prod": replace(_reduction("prod", "ReduceProd"), torch=_torch_prod),
    "mean": _reduction("mean", "ReduceMean"),
    "max": _reduction("max", "ReduceMax", torch="amax"),
    "min": _reduction("min", "ReduceMin", torch="amin"),
    "any": _reduction("any", "ReduceMax"),
    "all": _reduction("all", "ReduceMin"),
    "argmax": _arg_reduction("argmax", "ArgMax"),
    "argmin": _arg_reduction("argmin", "ArgMin"),
    # by index
    "embedding": Row("{1}[{0}]", "F.embedding({all})", "jnp.take({1}, {0}, axis=0, mode='clip')",
                     lambda op: op.emit("Gather", op[1], op[0], axis=0)),
    "embedding_bag": Row(Missing("NumPy has no bags"), _torch_embedding_bag,
                         Missing("JAX has no bags"), _NO_OPERATOR),
    "take": Row(_take, _take, _take, _along("Gather")),
    "take_along": _numpy_like("np.take_along_axis({0}, {1}, {axis})",
                              "torch.gather({0}, {axis}, {1})", _along("GatherElements")),
    "topk_ids": Row(Missing("NumPy sorts the whole axis"),
                    "torch.topk({0}, {k}, {axis}, {largest}, {sorted}).indices",
                    Missing("JAX's top_k is for the last axis and the largest"),
                    Missing("the indices are the second result of ONNX's TopK")),
    # shapes
    "iota": Row(_iota("np"), _iota("torch"), _iota("jnp"), _onnx_iota),
    "full": Row(_full("np"), _full("torch"), _full("jnp"),
                lambda op, *, shape, dtype: op.emit("Expand", op[0], _integers(op, *shape))),
    "identity": Row("{0}", "{0}", "{0}", "Identity"),
    "dropout": Row("{0}", "{0}", "{0}", lambda op, *, p: op[0]),
    "reshape": _numpy_like("{0}.reshape({shape})", "{0}.reshape({shape})",
                           lambda op, *, shape: op.emit(
                               "Reshape", op[0], _integers(op, *shape), allowzero=1)),
    "transpose": _numpy_like("{0}.transpose({axes})", "{0}.permute({axes})",
                             lambda op, *, axes: op.emit("Transpose", op[0], perm=list(axes))),
    "slice": Row(_slice, _slice, _slice, _onnx_slice),
    "expand": _numpy_like("np.broadcast_to({0}, {shape})", "{0}.expand({shape})",
                          lambda op, *, shape: op.emit("Expand", op[0], _integers(op, *shape))),
    "concat": _numpy_like("np.concatenate([{all}], {axis})", "torch.cat([{all}], {axis})",
                          _along("Concat")),
    "pad": Row(_pad, _torch_pad, lambda *operands, **attrs: "j" + _pad(*operands, **attrs),
               _onnx_pad),
}

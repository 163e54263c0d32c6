"""The counterpart of each op in NumPy, torch, JAX and ONNX: one row for each op.

An entry for NumPy, torch or JAX is a Python expression, as a template of `str.format`: {0} and {1}
are operands, {all} stands for all operands, and {axis} for an attribute. An entry may also be a
function of the operands' texts and the attributes that returns the expression. An operand is a
name, or a plain number in parentheses. Expressions use the names `np`, `torch`, `F`
(torch.nn.functional), `jax` and `jnp`; those for NumPy also use `softmax` and `layer_norm`, which
NumPy lacks, and `ndtr`, SciPy's normal distribution function.

An entry for ONNX is one of `nncompile.onnx_operators`: the name of an operator, or a function
that writes one or several. Every op has one.

This module imports none of these libraries but NumPy.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Literal

from ir import DTYPES, Error
from ir.records import dataclass, replace
from nncompile import onnx_operators as onnx

Language = Literal["numpy", "torch", "jax", "onnx"]


class NoCounterpart(Error):
    """An op that another library cannot compute, or for which no entry has been written."""


@dataclass(frozen=True)
class Missing:
    """The entry of a library that has no counterpart, and why."""

    why: str


Entry = onnx.Entry | Missing


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

def _infix(operator: str, onnx_entry: Entry) -> Row:
    """Returns the row of an operator between two operands, the same in NumPy, torch and JAX."""
    text = f"{{0}} {operator} {{1}}"
    return Row(text, text, text, onnx_entry)


def _of_bits(operator: str, onnx_entry: Entry) -> Row:
    """Returns the row of an operator between integers, whose plain numbers may not be floats."""
    def write(x: str, y: str) -> str:
        return f"{_whole(x)} {operator} {_whole(y)}"
    return Row(write, write, write, onnx_entry)


def _whole(text: str) -> str:
    """Returns the text of an operand, of a plain number that of an integer."""
    return text if text.isidentifier() else f"({int(float(text.strip('()')))})"


def _function(numpy: str, onnx_entry: Entry, torch: str = "") -> Row:
    """Returns the row of a function of the same name in NumPy, JAX and, by default, torch."""
    return Row(f"np.{numpy}({{all}})", f"torch.{torch or numpy}({{all}})",
               f"jnp.{numpy}({{all}})", onnx_entry)


def _numpy_like(text: str, torch: Entry, onnx_entry: Entry, jax: str = "") -> Row:
    """An expression in NumPy's functions and methods; in JAX the same if nothing else is said."""
    return Row(text, torch, jax or text.replace("np.", "jnp."), onnx_entry)


def _reduction(name: str, operator: onnx.Entry, torch: str = "") -> Row:
    text = f"{{0}}.{name}({{axes}}, keepdims={{keepdims}})"
    return Row(text, f"torch.{torch or name}({{0}}, {{axes}}, keepdim={{keepdims}})", text,
               operator)


def _arg_reduction(name: str, kind: str) -> Row:
    text = f"{{0}}.{name}({{axis}}, keepdims={{keepdims}})"
    return Row(text, f"torch.{name}({{0}}, {{axis}}, keepdim={{keepdims}})", text,
               onnx.arg_reduction(kind))


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


def _torch_scatter_add(ids: str, x: str, *, axis: int, size: int) -> str:
    zeros = f"{x}.new_zeros((*{x}.shape[:{axis}], {size}, *{x}.shape[{axis + 1}:]))"
    return f"{zeros}.scatter_add({axis}, {ids}.expand({x}.shape).long(), {x})"


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


# -- the table -------------------------------------------------------------------------------------

_OWN_NUMBERS = "its random numbers are its own"
_SPARSE_STEPS = "it is in training steps alone, which are not exported"

COUNTERPARTS: dict[str, Row] = {
    # elementwise: numbers of any type
    "add": _infix("+", "Add"),
    "sub": _infix("-", "Sub"),
    "mul": _infix("*", "Mul"),
    "maximum": _numpy_like("np.maximum({all})", _torch_extremum("maximum", "min"), "Max"),
    "minimum": _numpy_like("np.minimum({all})", _torch_extremum("minimum", "max"), "Min"),
    "neg": Row("-{0}", "-{0}", "-{0}", onnx.narrow("Neg", "u8")),
    "abs": _function("abs", "Abs"),
    "sign": _function("sign", onnx.sign),
    "floor_div": _infix("//", onnx.floor_div),
    "remainder": _infix("%", onnx.remainder),
    "pow": _infix("**", onnx.power),
    # elementwise: integers
    "bitwise_and": _of_bits("&", "BitwiseAnd"),
    "bitwise_or": _of_bits("|", "BitwiseOr"),
    "bitwise_xor": _of_bits("^", "BitwiseXor"),
    "left_shift": _of_bits("<<", onnx.formula(onnx.left_shift)),
    "right_shift": _of_bits(">>", onnx.formula(onnx.right_shift)),
    # elementwise: floats
    "div": _infix("/", "Div"),
    "copysign": _function("copysign", onnx.formula(onnx.copysign)),
    "atan2": Row("np.arctan2({all})", _torch_atan2, "jnp.arctan2({all})",
                 onnx.formula(onnx.atan2)),
    "exp": _function("exp", "Exp"),
    "expm1": _function("expm1", onnx.formula(onnx.expm1)),
    "exp2": _function("exp2", onnx.formula(onnx.exp2)),
    "log": _function("log", "Log"),
    "log1p": _function("log1p", onnx.formula(onnx.log1p)),
    "log2": _function("log2", onnx.formula(onnx.log2)),
    "log10": _function("log10", onnx.formula(onnx.log10)),
    "sqrt": _function("sqrt", "Sqrt"),
    "rsqrt": _numpy_like("1 / np.sqrt({0})", "torch.rsqrt({0})",
                         onnx.composed("Sqrt", "Reciprocal"), "jax.lax.rsqrt({0})"),
    "sin": _function("sin", "Sin"),
    "cos": _function("cos", "Cos"),
    "tan": _function("tan", onnx.in_double("Tan", onnx.tan)),
    "asin": _function("arcsin", onnx.in_double("Asin", onnx.asin), torch="asin"),
    "acos": _function("arccos", onnx.in_double("Acos", onnx.acos), torch="acos"),
    "atan": _function("arctan", onnx.in_double("Atan", onnx.atan), torch="atan"),
    "sinh": _function("sinh", onnx.in_double("Sinh", onnx.sinh)),
    "cosh": _function("cosh", onnx.in_double("Cosh", onnx.cosh)),
    "tanh": _function("tanh", "Tanh"),
    "asinh": _function("arcsinh", onnx.in_double("Asinh", onnx.asinh), torch="asinh"),
    "acosh": _function("arccosh", onnx.in_double("Acosh", onnx.acosh), torch="acosh"),
    "atanh": _function("arctanh", onnx.in_double("Atanh", onnx.atanh), torch="atanh"),
    "erf": Row(Missing("NumPy has no erf"), "torch.erf({0})", "jax.lax.erf({0})", "Erf"),
    "erfc": Row(Missing("NumPy has no erfc"), "torch.erfc({0})", "jax.lax.erfc({0})",
                onnx.formula(onnx.erfc)),
    "floor": _function("floor", "Floor"),
    "ceil": _function("ceil", "Ceil"),
    "round": _function("rint", "Round", torch="round"),
    "trunc": _function("trunc", onnx.formula(onnx.trunc)),
    "sigmoid": _numpy_like("1 / (1 + np.exp(-{0}))", "torch.sigmoid({0})", "Sigmoid",
                           "jax.nn.sigmoid({0})"),
    "relu": _numpy_like("np.maximum({0}, 0)", "torch.relu({0})", "Relu", "jax.nn.relu({0})"),
    "gelu": Row("{0} * ndtr({0})", "F.gelu({0})", "jax.nn.gelu({0}, approximate=False)",
                onnx.gelu),
    "gelu_tanh": _numpy_like("0.5 * {0} * (1 + np.tanh(0.7978845608028654"
                             " * ({0} + 0.044715 * {0} * {0} * {0})))",
                             "F.gelu({0}, approximate='tanh')",
                             onnx.gelu_tanh,
                             "jax.nn.gelu({0}, approximate=True)"),
    "silu": _numpy_like("{0} / (1 + np.exp(-{0}))", "F.silu({0})",
                        onnx.in_double(onnx.with_itself("Mul", "Sigmoid"), onnx.silu),
                        "jax.nn.silu({0})"),
    "mish": _numpy_like("{0} * np.tanh(np.logaddexp({0}, 0))", "F.mish({0})",
                        onnx.in_double("Mish", onnx.mish),
                        "jax.nn.mish({0})"),
    "softplus": _numpy_like("np.where({0} * {1} > {2}, {0}, np.logaddexp({0} * {1}, 0) / {1})",
                            "F.softplus({all})", onnx.softplus),
    "elu": _numpy_like("np.where({0} < 0, {1} * np.expm1({0}), {0})", "F.elu({all})",
                       onnx.with_numbers("Elu", onnx.elu, "alpha"), "jax.nn.elu({all})"),
    "celu": _numpy_like("np.where({0} < 0, {1} * np.expm1({0} / {1}), {0})", "F.celu({all})",
                        onnx.with_numbers("Celu", onnx.celu, "alpha"), "jax.nn.celu({all})"),
    "selu": _numpy_like("1.0507009873554805 * np.where({0} < 0, 1.6732632423543772 * np.expm1({0}),"
                        " {0})", "F.selu({0})", onnx.in_double("Selu", onnx.selu),
                        "jax.nn.selu({0})"),
    "leaky_relu": _numpy_like("np.where({0} > 0, {0}, {1} * {0})", _torch_leaky_relu,
                              onnx.leaky_relu),
    "hardsigmoid": _numpy_like("np.clip({0} + 3, 0, 6) / 6", "F.hardsigmoid({0})",
                               onnx.in_double(onnx.operator("HardSigmoid", alpha=1 / 6, beta=0.5),
                                              onnx.hardsigmoid),
                               "jax.nn.hard_sigmoid({0})"),
    "hardswish": _numpy_like("{0} * np.clip({0} + 3, 0, 6) / 6", "F.hardswish({0})",
                             onnx.in_double("HardSwish", onnx.hardswish),
                             "jax.nn.hard_swish({0})"),
    "hardshrink": _numpy_like("np.where(np.abs({0}) <= {1}, 0, {0})", "F.hardshrink({all})",
                              onnx.formula(onnx.hardshrink)),
    "softshrink": _numpy_like("{0} - np.clip({0}, -{1}, {1})", "F.softshrink({all})",
                              onnx.formula(onnx.softshrink)),
    "tanhshrink": _numpy_like("{0} - np.tanh({0})", "F.tanhshrink({0})",
                              onnx.with_itself("Sub", "Tanh")),
    "log_sigmoid": _numpy_like("-np.logaddexp(-{0}, 0)", "F.logsigmoid({0})",
                               onnx.formula(onnx.log_sigmoid), "jax.nn.log_sigmoid({0})"),
    "softsign": _numpy_like("{0} / (1 + np.abs({0}))", "F.softsign({0})",
                            onnx.in_double("Softsign", onnx.softsign),
                            "jax.nn.soft_sign({0})"),
    "threshold": _numpy_like("np.where({0} <= {1}, {2}, {0})", "F.threshold({all})",
                             onnx.formula(onnx.threshold)),
    # elementwise: truth
    "eq": _infix("==", "Equal"),
    "ne": _infix("!=", onnx.composed("Equal", "Not")),
    "lt": _infix("<", onnx.narrow("Less", "bool")),
    "le": _infix("<=", onnx.narrow("LessOrEqual", "bool")),
    "gt": _infix(">", onnx.narrow("Greater", "bool")),
    "ge": _infix(">=", onnx.narrow("GreaterOrEqual", "bool")),
    "isnan": _function("isnan", "IsNaN"),
    "isinf": _function("isinf", "IsInf"),
    "isfinite": _function("isfinite", onnx.formula(onnx.isfinite)),
    "logical_and": _function("logical_and", "And"),
    "logical_or": _function("logical_or", "Or"),
    "logical_xor": _function("logical_xor", "Xor"),
    "logical_not": _function("logical_not", "Not"),
    "where": _function("where", onnx.narrow("Where", "bool")),
    "cast": Row(_cast, lambda x, *, dtype: f"{x}.to(torch.{DTYPES[dtype]})", _cast, onnx.cast),
    # products and rows
    "linear": Row(_linear, "F.linear({all})", _linear, onnx.linear),
    "matmul": _infix("@", "MatMul"),
    "softmax": Row(_softmax("softmax"), _softmax("torch.softmax"), _softmax("jax.nn.softmax"),
                   onnx.softmax),
    "log_softmax": Row(Missing("NumPy has no log_softmax"), "torch.log_softmax({0}, {axis})",
                       "jax.nn.log_softmax({0}, {axis})", onnx.along("LogSoftmax")),
    "layer_norm": Row("layer_norm({all}, axes={axes}, eps={eps})", _torch_norm("layer_norm"),
                      _jax_layer_norm, onnx.layer_norm),
    "rms_norm": Row(_rms_norm, _torch_norm("rms_norm"), _rms_norm, onnx.rms_norm),
    "cumsum": _numpy_like("np.cumsum({0}, {axis})", "torch.cumsum({0}, {axis})",
                          onnx.narrow(onnx.cumsum, "i8", "u8")),
    # reductions
    "sum": _reduction("sum", onnx.narrow(onnx.reduction("ReduceSum"), "i8", "u8")),
    "prod": replace(_reduction("prod", onnx.narrow(onnx.reduction("ReduceProd"), "i8", "u8")),
                    torch=_torch_prod),
    "mean": _reduction("mean", onnx.reduction("ReduceMean")),
    "max": _reduction("max", onnx.reduction("ReduceMax"), torch="amax"),
    "min": _reduction("min", onnx.reduction("ReduceMin"), torch="amin"),
    "any": _reduction("any", onnx.truth("ReduceMax")),
    "all": _reduction("all", onnx.truth("ReduceMin")),
    "argmax": _arg_reduction("argmax", "ArgMax"),
    "argmin": _arg_reduction("argmin", "ArgMin"),
    # by index
    "embedding": Row("{1}[{0}]", "F.embedding({all})", "jnp.take({1}, {0}, axis=0, mode='clip')",
                     lambda op: op.emit("Gather", op[1], op[0], axis=0)),
    "embedding_bag": Row(Missing("NumPy has no bags"), _torch_embedding_bag,
                         Missing("JAX has no bags"), onnx.embedding_bag),
    "take": Row(_take, _take, _take, onnx.along("Gather")),
    "take_along": _numpy_like("np.take_along_axis({0}, {1}, {axis})",
                              "torch.gather({0}, {axis}, {1})", onnx.along("GatherElements")),
    "topk_ids": Row(Missing("NumPy sorts the whole axis"),
                    "torch.topk({0}, {k}, {axis}, {largest}, {sorted}).indices",
                    Missing("JAX's top_k is for the last axis and the largest"),
                    onnx.narrow(onnx.topk_ids, "i8", "u8")),
    "scatter_add": Row(Missing("NumPy's add.at changes an array and returns nothing"),
                       _torch_scatter_add,
                       Missing("JAX adds at an index of all axes, which have to be made first"),
                       onnx.narrow(onnx.scatter_add, "i8", "u8")),
    "first_equal": Row("({0}[:, None] == {0}).argmax(1)",
                       "({0}[:, None] == {0}).long().argmax(1)",
                       "({0}[:, None] == {0}).argmax(1)", Missing(_SPARSE_STEPS)),
    "put_rows": Row(Missing("NumPy puts rows into an array and returns nothing"),
                    Missing("torch's index_copy takes any of the rows with equal ids"),
                    Missing("JAX takes any of the rows with equal ids"), Missing(_SPARSE_STEPS)),
    "tree_walk": Row(Missing("NumPy has no trees"), Missing("torch has no trees"),
                     Missing("JAX has no trees"), onnx.tree_walk),
    # shapes
    "iota": Row(_iota("np"), _iota("torch"), _iota("jnp"), onnx.iota),
    "full": Row(_full("np"), _full("torch"), _full("jnp"),
                onnx.full),
    "uniform": Row(Missing(_OWN_NUMBERS), Missing(_OWN_NUMBERS), Missing(_OWN_NUMBERS),
                   Missing(_OWN_NUMBERS)),
    "size": Row("np.asarray({dim})", "torch.tensor({dim})", "jnp.asarray({dim})",
                onnx.size),
    "identity": Row("{0}", "{0}", "{0}", "Identity"),
    "detach": Row("{0}", "{0}.detach()", "jax.lax.stop_gradient({0})", "Identity"),
    "dropout": Row("{0}", "{0}", "{0}", lambda op, *, p: op[0]),
    "reshape": _numpy_like("{0}.reshape({shape})", "{0}.reshape({shape})",
                           onnx.reshape),
    "transpose": _numpy_like("{0}.transpose({axes})", "{0}.permute({axes})",
                             onnx.transpose),
    "slice": Row(_slice, _slice, _slice, onnx.slice_),
    "expand": _numpy_like("np.broadcast_to({0}, {shape})", "{0}.expand({shape})",
                          onnx.expand),
    "concat": _numpy_like("np.concatenate([{all}], {axis})", "torch.cat([{all}], {axis})",
                          onnx.along("Concat")),
    "pad": Row(_pad, _torch_pad, lambda *operands, **attrs: "j" + _pad(*operands, **attrs),
               onnx.pad),
}

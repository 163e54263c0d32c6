"""The methods of Array as functions: `nncompile.exp(x)` is `x.exp()`.

They take Arrays and ndarrays, inside and outside of a forward; see nncompile.nn.calls.call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import numpy as np

from ir import Error, same
from nncompile.array import (
    Array,
    as_array,
    creation,
    describe,
    elementwise,
    products,
    random,
    selection,
)
from nncompile.array.chosen import Chosen
from nncompile.array.naming import explain, named
from nncompile.errors import InputError
from nncompile.nn.calls import from_outside
from nncompile.nn.functional import one_hot, pad

# What torch's functions take besides, and how a function here is given it.
_NEW = ("layout", "pin_memory", "memory_format", "requires_grad", "out", "size")


def _public(function: Callable[..., Any], *options: str, name: str = "") -> Callable[..., Any]:
    """Returns a function of Arrays as the public one, which takes some options of torch's besides.

    name: where torch has the function under another name, too.

    out: an array that takes the result. size: the sizes, by name. requires_grad is set on the
    result. layout, pin_memory, memory_format, sparse_grad: where and how torch keeps the memory,
    which has no meaning here.
    """
    plain, code = from_outside(function), function.__code__
    own = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    options = tuple(option for option in options if option not in own)

    @wraps(function)
    def public(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in options if name in kwargs}
        if "size" in given:
            args = (*args, given["size"])
        try:
            result = plain(*args, **kwargs)
        except (TypeError, Error) as error:
            explain(public, args, kwargs, error)
            raise
        if given.get("requires_grad"):
            result.requires_grad_()
        out = given.get("out")
        return result if out is None else _put_out(function.__name__, out, result)

    if name:
        public.__name__ = public.__qualname__ = name
    public._options = options  # type: ignore[attr-defined]
    return public


def _put_out(name: str, out: Any, result: Any) -> Any:
    """Writes the result, or each of several, into the array that was given for it.

    Raises InputError where it does not fit; an empty Array takes any shape, as in torch.
    """
    if isinstance(out, tuple | list):
        if not isinstance(result, tuple) or len(out) != len(result):
            raise InputError(f"{name}(out=...) got {len(out)} arrays for its results")
        for place, part in zip(out, result, strict=True):
            _put_out(name, place, part)
        return out
    if isinstance(out, np.ndarray) and not isinstance(result, tuple):
        Array(out)._become(f"{name}(out=...)", as_array(name, result))
        np.copyto(out, np.asarray(result), casting="unsafe")
        return out
    if not isinstance(out, Array) or isinstance(result, tuple):
        raise InputError(f"{name}(out=...) takes an array for each result, not {describe(out)}")
    value = as_array(name, result)
    if same(out.numel(), 0) and not same(value.numel(), 0):
        out.data = value._cast(out.type.dtype)
        return out
    return out._become(f"{name}(out=...)", value)


def _function(name: str, array_first: bool = True) -> Callable[..., Any]:
    """Returns the method of that name as a function whose first operand may be an ndarray.

    array_first: the first operand is not a number. torch's `out` may be given as None.
    """
    method = getattr(Array, name)

    @wraps(method)
    def function(input: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs and kwargs.get("out", 0) is None:
            del kwargs["out"]
        if isinstance(input, Chosen):
            return getattr(input, name)(*args, **kwargs)
        return method(as_array(name, input) if array_first else input, *args, **kwargs)

    function.__name__ = function.__qualname__ = name
    public = _public(function, "out", *_MORE.get(name, ()))
    public._input = True  # type: ignore[attr-defined]
    return public


# Options of single functions, about memory and gradients.
_MORE = {"gather": ("sparse_grad",)}


def _new(function: Callable[..., Any], name: str = "") -> Callable[..., Any]:
    """Returns a function that makes new arrays, with torch's options of these."""
    return _public(function, *_NEW, name=name)


def _joined(function: Callable[..., Any], name: str = "") -> Callable[..., Any]:
    return _public(function, "out", name=name)


_binary = partial(_function, array_first=False)


# elementwise functions of one array
exp, expm1, exp2 = _function("exp"), _function("expm1"), _function("exp2")
log, log1p, log2, log10 = map(_function, ("log", "log1p", "log2", "log10"))
sqrt, rsqrt, square = _function("sqrt"), _function("rsqrt"), _function("square")
reciprocal = _function("reciprocal")
sin, cos, tan = _function("sin"), _function("cos"), _function("tan")
asin, acos, atan = _function("asin"), _function("acos"), _function("atan")
sinh, cosh, tanh = _function("sinh"), _function("cosh"), _function("tanh")
asinh, acosh, atanh = _function("asinh"), _function("acosh"), _function("atanh")
arcsin, arccos, arctan = _function("arcsin"), _function("arccos"), _function("arctan")
arcsinh, arccosh, arctanh = _function("arcsinh"), _function("arccosh"), _function("arctanh")
fix = _function("fix")
sigmoid, erf, erfc, relu = map(_function, ("sigmoid", "erf", "erfc", "relu"))
neg, negative, positive = _function("neg"), _function("negative"), _function("positive")
abs, absolute, sign = _function("abs"), _function("absolute"), _function("sign")
floor, ceil, round, trunc = map(_function, ("floor", "ceil", "round", "trunc"))
isnan, isinf, isfinite = _function("isnan"), _function("isinf"), _function("isfinite")
nan_to_num, logical_not = _function("nan_to_num"), _function("logical_not")
clamp, clip, masked_fill = _function("clamp"), _function("clip"), _function("masked_fill")

# elementwise functions of two operands
add, sub, subtract = _binary("add"), _binary("sub"), _binary("subtract")
mul, multiply, pow = _binary("mul"), _binary("multiply"), _binary("pow")
div, divide, true_divide = _binary("div"), _binary("divide"), _binary("true_divide")
floor_divide, remainder = _binary("floor_divide"), _binary("remainder")
erfinv, lgamma, digamma = _function("erfinv"), _function("lgamma"), _function("digamma")
fmax, fmin, hypot = _function("fmax"), _function("fmin"), _function("hypot")
atan2, arctan2, heaviside = _function("atan2"), _function("arctan2"), _function("heaviside")
bitwise_and, bitwise_or = _binary("bitwise_and"), _binary("bitwise_or")
bitwise_xor, bitwise_not = _binary("bitwise_xor"), _function("bitwise_not")
bitwise_left_shift = _binary("bitwise_left_shift")
bitwise_right_shift = _binary("bitwise_right_shift")
xlogy, rsub = _binary("xlogy"), from_outside(elementwise.rsub)
fmod = _binary("fmod")
maximum, minimum = _binary("maximum"), _binary("minimum")
eq, ne, lt, le, gt, ge = map(_binary, ("eq", "ne", "lt", "le", "gt", "ge"))
not_equal, less, less_equal = _binary("not_equal"), _binary("less"), _binary("less_equal")
greater, greater_equal = _binary("greater"), _binary("greater_equal")
logical_and, logical_or = _binary("logical_and"), _binary("logical_or")
logical_xor = _binary("logical_xor")
where = _joined(elementwise.where)
clamp_min, clamp_max = _function("clamp_min"), _function("clamp_max")
frac, isclose, logaddexp = _function("frac"), _function("isclose"), _function("logaddexp")
copysign, lerp = _function("copysign"), _function("lerp")
addcmul, addcdiv = _function("addcmul"), _function("addcdiv")

# reductions
sum, mean, prod, norm = _function("sum"), _function("mean"), _function("prod"), _function("norm")
amax, amin, max, min = _function("amax"), _function("amin"), _function("max"), _function("min")
argmax, argmin, any, all = map(_function, ("argmax", "argmin", "any", "all"))
var, std, logsumexp = _function("var"), _function("std"), _function("logsumexp")
cumprod, diff = _function("cumprod"), _function("diff")
cumsum, topk, count_nonzero = _function("cumsum"), _function("topk"), _function("count_nonzero")
var_mean, std_mean = _function("var_mean"), _function("std_mean")
aminmax = _function("aminmax")
softmax, log_softmax = _function("softmax"), _function("log_softmax")

# shapes
reshape, flatten, ravel = _function("reshape"), _function("flatten"), _function("ravel")
unflatten, squeeze, unsqueeze = _function("unflatten"), _function("squeeze"), _function("unsqueeze")
transpose, swapaxes, swapdims = _function("transpose"), _function("swapaxes"), _function("swapdims")
permute, movedim, moveaxis, t = map(_function, ("permute", "movedim", "moveaxis", "t"))
broadcast_to, tile = _function("broadcast_to"), _function("tile")
repeat_interleave = _function("repeat_interleave")
flip, fliplr, flipud, roll = map(_function, ("flip", "fliplr", "flipud", "roll"))

# parts of an array, by index or by order
split, chunk, unbind = _function("split"), _function("chunk"), _function("unbind")
select, narrow, take = _function("select"), _function("narrow"), _function("take")
gather, index_select = _function("gather"), _function("index_select")
take_along_dim, tril, triu = _function("take_along_dim"), _function("tril"), _function("triu")
sort, argsort, diagonal = _function("sort"), _function("argsort"), _function("diagonal")
diag, diag_embed = _function("diag"), _function("diag_embed")
index_add = _function("index_add")
scatter, scatter_add = _function("scatter"), _function("scatter_add")
clone, detach = _function("clone"), _function("detach")

# results whose shape depends on numbers
nonzero, argwhere = _function("nonzero"), _function("argwhere")
masked_select, bincount = _function("masked_select"), _function("bincount")
unique, unique_consecutive = _function("unique"), _function("unique_consecutive")
searchsorted, bucketize = _joined(selection.searchsorted), _joined(selection.bucketize)

# products
matmul, mm, bmm, mv = map(_function, ("matmul", "mm", "bmm", "mv"))
dot, outer, addmm, baddbmm = map(_function, ("dot", "outer", "addmm", "baddbmm"))
tensordot = _function("tensordot")
einsum = _joined(products.einsum)

# new arrays, and joined arrays
zeros, ones = _new(creation.zeros), _new(creation.ones)
full, linspace = _new(creation.full), _new(creation.linspace)
zeros_like, ones_like = _new(creation.zeros_like), _new(creation.ones_like)
full_like, arange = _new(creation.full_like), _new(creation.arange)
empty, empty_like = _new(creation.empty), _new(creation.zeros_like, "empty_like")
eye, tensor = _new(creation.eye), named(creation.tensor, "tensor")
meshgrid, tril_indices = _joined(creation.meshgrid), _new(creation.tril_indices)
triu_indices = _new(creation.triu_indices)
broadcast_tensors = _joined(creation.broadcast_tensors)
as_tensor = named(creation.as_tensor, "as_tensor")
from_numpy = named(creation.from_numpy, "from_numpy")
cat, stack = _joined(creation.cat), _joined(creation.stack)
hstack, vstack = _joined(creation.hstack), _joined(creation.vstack)
row_stack, column_stack = _joined(creation.vstack, "row_stack"), _joined(creation.column_stack)
concat, concatenate = _joined(creation.cat, "concat"), _joined(creation.cat, "concatenate")

# random arrays
rand, randn = _new(random.rand), _new(random.randn)
rand_like, randn_like = _new(random.rand_like), _new(random.randn_like)
randint, randint_like = _new(random.randint), _new(random.randint_like)
randperm, normal = _new(random.randperm), _new(random.normal)
bernoulli, multinomial = _new(random.bernoulli), _new(random.multinomial)


def numel(input: Any) -> Any:
    """Returns the number of elements."""
    return as_array("numel", input).numel()


def _assert(condition: Any, message: Any) -> None:
    """Raises AssertionError with this message unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def is_tensor(obj: Any) -> Any:
    """Returns whether the object is an Array."""
    return isinstance(obj, Array)


def equal(input: Any, other: Any) -> Any:
    """Returns whether both have the same shape and elements. Raises Error as numpy() does."""
    a, b = as_array("equal", input), as_array("equal", other)
    return a.shape == b.shape and a.eq(b).all()._numbers("equal").item()


def allclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8,
             equal_nan: Any = False) -> Any:
    """Returns whether all elements are close; see Array.isclose. Raises Error as numpy() does."""
    close = as_array("allclose", input).isclose(other, rtol, atol, equal_nan)
    return close.all()._numbers("allclose").item()



numel, equal = named(numel, "numel"), named(equal, "equal")
allclose, is_tensor = named(allclose, "allclose"), named(is_tensor, "is_tensor")

__all__ = [
    "_assert", "abs", "absolute", "acos", "acosh", "add", "addcdiv", "addcmul", "addmm", "all",
    "allclose", "amax", "amin", "aminmax", "any", "arange", "arccos", "arccosh", "arcsin",
    "arcsinh", "arctan", "arctan2", "arctanh", "argmax", "argmin", "argsort", "argwhere",
    "as_tensor", "asin", "asinh", "atan", "atan2", "atanh", "baddbmm", "bernoulli", "bincount",
    "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "bmm", "broadcast_tensors", "broadcast_to", "bucketize", "cat", "ceil",
    "chunk", "clamp", "clamp_max", "clamp_min", "clip", "clone", "column_stack", "concat",
    "concatenate", "copysign", "cos", "cosh", "count_nonzero", "cumprod", "cumsum", "detach",
    "diag", "diag_embed", "diagonal", "diff", "digamma", "div", "divide", "dot", "einsum",
    "empty", "empty_like", "eq", "equal", "erf", "erfc", "erfinv", "exp", "exp2", "expm1",
    "eye", "fix", "flatten", "flip", "fliplr", "flipud", "floor", "floor_divide", "fmax",
    "fmin", "fmod", "frac", "from_numpy", "full", "full_like", "gather", "ge", "greater",
    "greater_equal", "gt", "heaviside", "hstack", "hypot", "index_add", "index_select",
    "is_tensor", "isclose", "isfinite", "isinf", "isnan", "le", "lerp", "less", "less_equal",
    "lgamma", "linspace", "log", "log1p", "log2", "log10", "log_softmax", "logaddexp",
    "logical_and", "logical_not", "logical_or", "logical_xor", "logsumexp", "lt", "masked_fill",
    "masked_select", "matmul", "max", "maximum", "mean", "meshgrid", "min", "minimum", "mm",
    "moveaxis", "movedim", "mul", "multinomial", "multiply", "mv", "nan_to_num", "narrow", "ne",
    "neg",     "negative", "nonzero", "norm", "normal", "not_equal", "numel", "one_hot", "ones",
    "ones_like", "outer", "pad", "permute", "positive", "pow", "prod", "rand", "rand_like",
    "randint", "randint_like", "randn", "randn_like", "randperm", "ravel", "reciprocal", "relu",
    "remainder", "repeat_interleave", "reshape", "roll", "round", "row_stack", "rsqrt", "rsub",
    "scatter", "scatter_add", "searchsorted", "select", "sigmoid", "sign", "sin", "sinh",
    "softmax", "sort", "split", "sqrt", "square", "squeeze", "stack", "std", "std_mean", "sub",
    "subtract", "sum", "swapaxes", "swapdims", "t", "take", "take_along_dim", "tan", "tanh",
    "tensor", "tensordot", "tile", "topk", "transpose", "tril", "tril_indices", "triu",
    "triu_indices", "true_divide", "trunc", "unbind", "unflatten", "unique",
    "unique_consecutive", "unsqueeze", "var", "var_mean", "vstack", "where", "xlogy", "zeros",
    "zeros_like",
]

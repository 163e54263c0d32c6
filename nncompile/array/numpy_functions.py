"""NumPy's own functions on Arrays: those that have a counterpart among Array's operations.

A function in neither table is computed by NumPy, on the numbers; while a model is traced these are
known in arrays that depend on no input.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from inspect import signature
from itertools import pairwise
from typing import Any

import numpy as np

from ir import Error
from nncompile.array.core import Core, apply, as_array
from nncompile.array.creation import cat, full_like, hstack, ones_like, stack, vstack, zeros_like
from nncompile.array.dispatch import OUTSIDE, current
from nncompile.array.dtypes import converted
from nncompile.array.elementwise import bounded, minus, plus, power, where
from nncompile.array.indexing import axis_of
from nncompile.array.products import Products as P
from nncompile.array.products import einsum
from nncompile.structure import mapped

_Function = Callable[..., Any]


def _matmul(x: Any, y: Any) -> Any:
    return P.matmul(as_array("matmul", x), y)


def _heaviside(x: Any, values: Any) -> Any:
    x = as_array("heaviside", x)
    return P.heaviside(x, full_like(x, values) if isinstance(values, int | float) else values)


_UFUNCS: Mapping[np.ufunc, _Function] = {
    np.add: plus, np.subtract: minus, np.multiply: P.mul, np.divide: P.div, np.matmul: _matmul,
    np.floor_divide: P.floor_divide, np.remainder: P.remainder, np.power: power,
    np.maximum: P.maximum, np.minimum: P.minimum,
    np.negative: P.neg, np.positive: P.positive, np.absolute: P.abs, np.sign: P.sign,
    np.square: P.square, np.reciprocal: P.reciprocal, np.sqrt: P.sqrt,
    np.exp: P.exp, np.expm1: P.expm1, np.exp2: P.exp2,
    np.log: P.log, np.log1p: P.log1p, np.log2: P.log2, np.log10: P.log10,
    np.sin: P.sin, np.cos: P.cos, np.tan: P.tan, np.sinh: P.sinh, np.cosh: P.cosh, np.tanh: P.tanh,
    np.arcsin: P.asin, np.arccos: P.acos, np.arctan: P.atan,
    np.arcsinh: P.asinh, np.arccosh: P.acosh, np.arctanh: P.atanh,
    np.floor: P.floor, np.ceil: P.ceil, np.trunc: P.trunc, np.rint: P.round,
    np.isnan: P.isnan, np.isinf: P.isinf, np.isfinite: P.isfinite,
    np.equal: P.eq, np.not_equal: P.ne, np.less: P.lt, np.less_equal: P.le,
    np.greater: P.gt, np.greater_equal: P.ge,
    np.logical_and: P.logical_and, np.logical_or: P.logical_or, np.logical_xor: P.logical_xor,
    np.logical_not: P.logical_not, np.bitwise_and: P.bitwise_and, np.bitwise_or: P.bitwise_or,
    np.bitwise_xor: P.bitwise_xor, np.invert: P.bitwise_not, np.logaddexp: P.logaddexp,
    np.copysign: P.copysign, np.left_shift: P.bitwise_left_shift,
    np.right_shift: P.bitwise_right_shift, np.arctan2: P.atan2, np.hypot: P.hypot,
    np.fmax: P.fmax, np.fmin: P.fmin, np.fmod: P.fmod, np.heaviside: _heaviside,
}


def _reduction(method: _Function) -> _Function:
    return lambda a, axis=None, keepdims=False: method(a, axis, keepdims)


def _spread(method: _Function) -> _Function:
    return lambda a, axis=None, ddof=0, keepdims=False: method(
        a, axis, keepdim=keepdims, correction=ddof)


def _cumsum(a: Any, axis: int | None = None) -> Any:
    return a.ravel().cumsum(0) if axis is None else a.cumsum(axis)


def _dot(a: Any, b: Any) -> Any:
    left, right = as_array("dot", a), as_array("dot", b)
    if max(left.ndim, right.ndim) > 2:
        raise Error("numpy.dot of more than two axes is not what matmul is: use matmul or einsum")
    return left.matmul(right)


def _flip(m: Any, axis: Any = None) -> Any:
    return m.flip(*range(m.ndim)) if axis is None else m.flip(axis)


def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    size = ary.size(axis)
    if np.ndim(indices_or_sections):
        edges = [0, *indices_or_sections, size]
        return list(ary.split([stop - start for start, stop in pairwise(edges)], axis))
    return list(ary.split([size // indices_or_sections] * indices_or_sections, axis))


def _take(a: Any, indices: Any, axis: int | None = None) -> Any:
    indices = np.asarray(indices) if isinstance(indices, list | int) else indices
    if axis is None:
        return a.take(indices)
    return a[(*[slice(None)] * axis_of(a.type, axis), indices)]


def _along(method: _Function) -> _Function:
    """Makes a function along the last axis by default, and of the flattened array for axis=None."""
    return lambda a, axis=-1: method(a.ravel(), -1) if axis is None else method(a, axis)


def _pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: float = 0) -> Any:
    if mode != "constant":
        raise Error(f"numpy.pad is here with mode 'constant', not {mode!r}: see nn.functional.pad")
    pairs = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)).tolist()
    if any(n < 0 for pair in pairs for n in pair):
        raise Error("numpy.pad adds elements, and takes none away")
    low, high = (tuple(pair[side] for pair in pairs) for side in (0, 1))
    number = converted(constant_values, array.dtype).item()
    return apply("pad", array, low=low, high=high, value=float(number))


def _length(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Computes numpy.linalg.norm of vectors, and of a whole array."""
    axes = x.ndim if axis is None else np.size(axis)
    if ord not in (None, "fro") and axes != 1:
        raise Error("numpy.linalg.norm of matrices is here with ord=None alone")
    return x.norm("fro" if ord is None else ord, axis, keepdims)


_FUNCTIONS: Mapping[_Function, _Function] = {
    np.all: _reduction(P.all), np.any: _reduction(P.any), np.sum: _reduction(P.sum),
    np.prod: _reduction(P.prod), np.mean: _reduction(P.mean),
    np.amax: _reduction(P.amax), np.amin: _reduction(P.amin),
    np.max: _reduction(P.amax), np.min: _reduction(P.amin),
    np.argmax: _reduction(P.argmax), np.argmin: _reduction(P.argmin),
    np.var: _spread(P.var), np.std: _spread(P.std), np.cumsum: _cumsum,
    np.where: where, np.clip: lambda a, a_min=None, a_max=None: bounded(a, a_min, a_max),
    np.round: lambda a, decimals=0: a.round(decimals=decimals),
    np.around: lambda a, decimals=0: a.round(decimals=decimals),
    np.concatenate: lambda arrays, axis=0: cat(arrays, axis),
    np.stack: lambda arrays, axis=0: stack(arrays, axis),
    np.hstack: lambda tup: hstack(tup), np.vstack: lambda tup: vstack(tup),
    np.split: _split, np.take: _take,
    np.take_along_axis: lambda arr, indices, axis: arr.take_along_dim(indices, axis),
    np.reshape: lambda a, shape: a.reshape(shape), np.ravel: lambda a: a.ravel(),
    np.transpose: lambda a, axes=None: a.T if axes is None else a.permute(axes),
    np.swapaxes: lambda a, axis1, axis2: a.transpose(axis1, axis2),
    np.moveaxis: lambda a, source, destination: a.movedim(source, destination),
    np.expand_dims: lambda a, axis: a.unsqueeze(operator.index(axis)),
    np.squeeze: lambda a, axis=None: a.squeeze(axis),
    np.broadcast_to: lambda array, shape: array.expand(shape),
    np.repeat: lambda a, repeats, axis=None: a.repeat_interleave(repeats, axis),
    np.tile: lambda A, reps: A.tile(reps), np.flip: _flip,
    np.roll: lambda a, shift, axis=None: a.roll(shift, axis),
    np.tril: lambda m, k=0: m.tril(k), np.triu: lambda m, k=0: m.triu(k),
    np.zeros_like: lambda a, dtype=None: zeros_like(a, dtype=dtype),
    np.ones_like: lambda a, dtype=None: ones_like(a, dtype=dtype),
    np.full_like: lambda a, fill_value, dtype=None: full_like(a, fill_value, dtype=dtype),
    np.sort: _along(lambda a, axis: a.sort(axis).values), np.argsort: _along(P.argsort),
    np.diagonal: P.diagonal, np.diag: lambda v, k=0: v.diag(k), np.pad: _pad,
    np.linalg.norm: _length,
    np.nan_to_num: lambda x, nan=0.0, posinf=None, neginf=None: x.nan_to_num(nan, posinf, neginf),
    np.diff: lambda x, n=1, axis=-1: x.diff(n, axis),
    np.isclose: lambda a, b, rtol=1e-5, atol=1e-8, equal_nan=False: as_array("isclose", a).isclose(
        b, rtol, atol, equal_nan),
    np.tensordot: lambda a, b, axes=2: as_array("tensordot", a).tensordot(b, axes),
    np.column_stack: lambda tup: cat([a.reshape(-1, 1) if a.ndim < 2 else a for a in tup], 1),
    np.shape: lambda a: a.shape, np.ndim: lambda a: a.ndim,
    np.einsum: einsum, np.dot: _dot, np.outer: lambda a, b: as_array("outer", a).outer(b),
}


def call_ufunc(ufunc: np.ufunc, method: str, inputs: Any, options: Any) -> Any:
    """Computes a NumPy ufunc on operands of which one is an Array.

    Raises Error where an ndarray would be changed in place while a model is traced.
    """
    if method == "__call__" and not options and ufunc in _UFUNCS:
        return _UFUNCS[ufunc](*inputs)
    if "out" in options and current.get() is not OUTSIDE:
        raise Error("an ndarray is not changed in place by an Array: write a = a + x, not a += x")
    return _outside(ufunc.__name__, getattr(ufunc, method), inputs, options)


def call_function(function: _Function, args: Any, kwargs: Any) -> Any:
    """Computes a NumPy function of which one argument is an Array."""
    ours = _FUNCTIONS.get(function)
    if ours is None or not _takes(ours, args, kwargs):
        return _outside(function.__name__, function, args, kwargs)
    first, *rest = args if args else [None]
    is_plain = isinstance(first, np.ndarray) and not isinstance(first, Core)
    return ours(as_array(function.__name__, first), *rest, **kwargs) if is_plain else ours(
        *args, **kwargs)


def _takes(function: _Function, args: Any, kwargs: Any) -> bool:
    try:
        signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _outside(name: str, function: _Function, args: Any, kwargs: Any) -> Any:
    """Computes any other NumPy function on the numbers.

    Raises Error in a trace where an array depends on an input.
    """
    what = (f"numpy.{name}, called in this way, is not an op of the IR (in a forward use the "
            "methods of Array and nn.functional): it")

    def numbers(leaf: Any) -> Any:
        return leaf._numbers(what) if isinstance(leaf, Core) else leaf

    return function(*mapped(numbers, args), **mapped(numbers, kwargs))

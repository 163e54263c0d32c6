"""New arrays made from a shape or from data, and joined arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ir import DTYPES, DimExpr, Error, same
from ir.float_mode import StandardFloats
from ir.types import INTEGERS, Dim, floor_div
from nncompile.array.array import Array, apply, arrays, constant, in_type
from nncompile.array.core import DType, check_device, data_of, describe, filled
from nncompile.array.dtypes import DEFAULT_FLOAT, Scalar, name_of, result_type, scalar_type
from nncompile.array.indexing import axis_of, flat
from nncompile.array.sizes import is_traced, size_of_graph
from nncompile.errors import InputError


def zeros(*sizes: Any, size: Any = None, dtype: DType = None, device: Any = None,
          requires_grad: bool = False) -> Array:
    """Returns zeros; float32 by default. The sizes are given one by one or as one sequence."""
    return full(flat(sizes, size), 0.0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones(*sizes: Any, size: Any = None, dtype: DType = None, device: Any = None,
         requires_grad: bool = False) -> Array:
    """Returns ones; float32 by default. The sizes are given one by one or as one sequence."""
    return full(flat(sizes, size), 1.0, dtype=dtype, device=device, requires_grad=requires_grad)


def full(size: Sequence[Any], fill_value: Scalar, *, dtype: DType = None, device: Any = None,
         requires_grad: bool = False) -> Array:
    """Returns an array with one number everywhere.

    The default dtype is the number's own: bool, int64 or float32.
    Raises Error where fill_value is not a number.
    """
    check_device(device)
    return filled(size, fill_value, dtype).requires_grad_(requires_grad)


def empty(*sizes: Any, size: Any = None, dtype: DType = None, device: Any = None,
          requires_grad: bool = False) -> Array:
    """Returns zeros, float32 by default: an array that is to be filled has defined contents here.
    """
    return zeros(*sizes, size=size, dtype=dtype, device=device, requires_grad=requires_grad)


def zeros_like(input: Any, *, dtype: DType = None, device: Any = None, requires_grad: bool = False
               ) -> Array:
    """Returns zeros in the shape and, by default, the dtype of the input."""
    return full_like(input, 0, dtype=dtype, device=device).requires_grad_(requires_grad)


def ones_like(input: Any, *, dtype: DType = None, device: Any = None, requires_grad: bool = False
              ) -> Array:
    """Returns ones in the shape and, by default, the dtype of the input."""
    return full_like(input, 1, dtype=dtype, device=device).requires_grad_(requires_grad)


def full_like(input: Any, fill_value: Scalar, *, dtype: DType = None, device: Any = None) -> Array:
    """Returns one number everywhere, in the shape and, by default, the dtype of the input."""
    [x] = arrays("full_like", input)
    return full(x.shape, fill_value, dtype=x.dtype if dtype is None else dtype, device=device)


def arange(start: Any, end: Any = None, step: Any = 1, *, dtype: DType = None, device: Any = None
           ) -> Array:
    """Returns the vector start, start + step, ... up to but not including `end`.

    arange(end) starts at 0. The default dtype is int64 where all arguments are integers, else
    float32. In a trace, start and end may be symbolic sizes if step is a whole number.
    Raises Error for a step of 0 or one that leads away from the end.
    """
    check_device(device)
    if end is None:
        start, end = 0, start
    given = [n for n in (start, end, step) if not isinstance(n, DimExpr)]
    name = result_type([*given, 0]) if dtype is None else name_of(dtype)
    if name == "bool":
        raise Error("arange makes numbers, not bools")
    if isinstance(start, DimExpr) or isinstance(end, DimExpr):
        numbers = apply("iota", shape=(_steps(start, end, step),), axis=0, dtype=name)
        numbers = numbers if step == 1 else numbers.mul(step)
        return numbers if same(start, 0) else numbers.add(start)
    if name in INTEGERS:                         # so torch counts: arange(0.0, 2.5, dtype=int64)
        start, end, step = int(start), int(end), int(step)
    count = math.ceil((end - start) / step) if step else -1
    if count < 0:
        raise Error(f"arange does not lead from {start} to {end} by steps of {step}")
    numbers = apply("iota", shape=(count,), axis=0, dtype="i64")
    if (start, step) == (0, 1):
        return numbers._cast(name)
    exact = "i64" if all(isinstance(n, int) for n in given) else "f64"
    return numbers._cast(exact).mul(step).add(start)._cast(name)


def _steps(start: Any, end: Any, step: Any) -> Dim:
    """Returns how many steps lead from one size to another. Raises Error for a step that is none.
    """
    if not isinstance(step, int) or isinstance(step, DimExpr) or step == 0:
        raise Error(f"arange from {start} to {end} takes a whole number as its step, not {step}")
    way = size_of_graph(end) - size_of_graph(start)
    return floor_div(way + step - 1, step) if step > 0 else floor_div(-way - step - 1, -step)


def linspace(start: float, end: float, steps: int, *, dtype: DType = None, device: Any = None
             ) -> Array:
    """Returns `steps` equally spaced numbers from start to end, both included; float32 by default.
    """
    check_device(device)
    return constant(np.linspace(start, end, steps), DEFAULT_FLOAT if dtype is None
                    else name_of(dtype))


def eye(n: Any, m: Any = None, *, dtype: DType = None, device: Any = None) -> Array:
    """Returns the identity matrix [n, m], m being n by default; float32 by default."""
    check_device(device)
    height, width = flat([n, n if m is None else m])
    rows = apply("iota", shape=(height, 1), axis=0, dtype="i64")
    columns = apply("iota", shape=(width,), axis=0, dtype="i64")
    return apply("eq", rows, columns)._cast(name_of(float if dtype is None else dtype))


def tensor(data: Any, *, dtype: DType = None, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> Array:
    """Returns an Array with a copy of the data: a number, nested lists, an ndarray or an Array.

    By default the dtype is the data's own; Python's floats become float32 and integers int64. The
    copy of an Array has no gradient, as in torch.
    """
    check_device(device)
    if isinstance(data, Array):
        copied = data.detach()._cast(data.type.dtype if dtype is None else name_of(dtype))._apart()
        return copied.requires_grad_(requires_grad)
    if _has_traced(data):
        return _of_sizes(data, scalar_type(_some_float(data)) if dtype is None else name_of(dtype))
    values = data_of(data)
    if dtype is None and not hasattr(data, "dtype"):
        kind = values.dtype.kind if values.size else "f"
        dtype = DTYPES[{"b": "bool", "i": "i64", "f": DEFAULT_FLOAT}.get(kind, DEFAULT_FLOAT)]
    kept = values.dtype if dtype is None else DTYPES[name_of(dtype)]
    with StandardFloats():
        return Array(np.array(values, kept)).requires_grad_(requires_grad)


def _has_traced(data: Any) -> bool:
    return is_traced(data) or (isinstance(data, list | tuple) and any(map(_has_traced, data)))


def _some_float(data: Any) -> Scalar:
    """A number of the category that the numbers in nested lists have."""
    if isinstance(data, list | tuple):
        return max(map(_some_float, data), key=lambda n: isinstance(n, float), default=0)
    return 1.0 if isinstance(data, float) else 1


def _of_sizes(data: Any, dtype: str) -> Array:
    """Returns nested lists of sizes and numbers as an Array."""
    if isinstance(data, list | tuple):
        return stack([_of_sizes(part, dtype) for part in data])
    value = in_type(data, dtype)
    return value if isinstance(value, Array) else constant(data, dtype)


def as_tensor(data: Any, dtype: DType = None, device: Any = None) -> Array:
    """Returns the data as an Array, without a copy where it is an Array or ndarray of that dtype.
    """
    if isinstance(data, np.ndarray):
        data = Array(data)
    if isinstance(data, Array):
        check_device(device)
        return data._cast(data.type.dtype if dtype is None else name_of(dtype))
    return tensor(data, dtype=dtype, device=device)


def from_numpy(ndarray: Any) -> Array:
    """Returns an Array that shares the ndarray's memory. Raises TypeError for anything else."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"from_numpy takes an ndarray, not {describe(ndarray)}")
    return Array(ndarray)


# -- joined ----------------------------------------------------------------------------------------

def _several(name: str, tensors: Any) -> list[Array]:
    """Returns the arrays in a tuple or list. Raises InputError where there is none."""
    if isinstance(tensors, Array | np.ndarray):
        raise TypeError(f"{name}() takes a tuple or list of arrays, not one array")
    if not tensors:
        raise InputError(f"{name} needs at least one array")
    return arrays(name, *tensors)


def cat(tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None) -> Array:
    """Returns the arrays concatenated along dim, in their common dtype.

    Their other sizes are equal; as in torch, empty vectors are passed over.
    Raises InputError where there is no array, and Error where the other sizes differ or an array
    has no dimensions.
    """
    given = _several("cat", tensors)
    dtype = result_type(given)
    # torch passes over empty vectors, whatever the rank of the others
    kept = [x for x in given if not same(x.shape, (0,))] or given[:1]
    position = axis_of(kept[0].type, dim if axis is None else axis)
    return apply("concat", *(x._cast(dtype) for x in kept), axis=position)


def stack(tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None) -> Array:
    """Returns arrays of one shape put together along a new dimension.

    Raises InputError where there is no array, and Error where the shapes differ.
    """
    given = _several("stack", tensors)
    if not all(same(a.shape, given[0].shape) for a in given):
        raise Error(f"stack needs arrays of one shape, got {', '.join(str(a.type) for a in given)}")
    position = axis_of(given[0].type, dim if axis is None else axis, extra=1)
    return cat([a.unsqueeze(position) for a in given], position)


def hstack(tensors: Sequence[Any]) -> Array:
    """Returns the arrays concatenated along the second dimension; vectors along their only one."""
    given = [x.reshape(1) if x.ndim == 0 else x for x in _several("hstack", tensors)]
    return cat(given, 0 if given[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Any]) -> Array:
    """Returns the arrays concatenated along the first dimension; vectors count as rows."""
    return cat([x.reshape(1, -1) if x.ndim < 2 else x for x in _several("vstack", tensors)])


def column_stack(tensors: Sequence[Any]) -> Array:
    """Returns the arrays concatenated along the second dimension; numbers and vectors are columns.
    """
    given = _several("column_stack", tensors)
    return cat([x.reshape(-1, 1) if x.ndim < 2 else x for x in given], 1)


def broadcast_tensors(*tensors: Any) -> tuple[Array, ...]:
    """Returns the arrays expanded to the shape that they broadcast to."""
    given = arrays("broadcast_tensors", *tensors)
    shape: tuple[Any, ...] = ()
    for x in given:
        shape = apply("add", *(apply("full", 0.0, shape=s, dtype="i64") for s in (shape, x.shape))
                      ).shape
    return tuple(x.expand(shape) for x in given)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Array, ...]:
    """Returns each vector expanded to the grid that the vectors span, one dimension for each.

    indexing: with "xy", the first two dimensions of the grid are swapped.
    Raises InputError where it is neither "ij" nor "xy".
    """
    if indexing not in ("ij", "xy"):
        raise InputError(f"meshgrid's indexing is 'ij' or 'xy', not {indexing!r}")
    vectors = arrays("meshgrid", *(tensors[0] if len(tensors) == 1 and isinstance(
        tensors[0], list | tuple) else tensors))
    order = list(range(len(vectors)))
    if indexing == "xy" and len(order) > 1:
        order[:2] = [1, 0]
    shape = [vectors[number].numel() for number in order]
    return tuple(v.reshape([-1 if number == position else 1 for number in order]).expand(shape)
                 for position, v in enumerate(vectors))


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: DType = None, device: Any = None
                 ) -> Array:
    """Returns the row and column indices [2, n] of a matrix's lower triangle; int64 by default."""
    check_device(device)
    return constant(np.stack(np.tril_indices(row, offset, col)),
                    "i64" if dtype is None else name_of(dtype))


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: DType = None, device: Any = None
                 ) -> Array:
    """Returns the row and column indices [2, n] of a matrix's upper triangle; int64 by default."""
    check_device(device)
    return constant(np.stack(np.triu_indices(row, offset, col)),
                    "i64" if dtype is None else name_of(dtype))

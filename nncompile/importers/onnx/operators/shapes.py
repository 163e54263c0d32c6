"""Shapes: new shapes of the same elements, parts of arrays, and arrays made of a shape."""
from __future__ import annotations

from math import ceil, isfinite
from typing import Any

import numpy as np

from ir import DTYPES, Error, NDArray
from ir.types import Dim, DimExpr, divide, extent, names_in, product, same
from nncompile.array import Array, apply
from nncompile.array.creation import cat
from nncompile.array.indexing import axes_of, axis_of, quotient
from nncompile.importers.onnx.node import Node
from nncompile.importers.onnx.operator import Operator, Rows
from nncompile.importers.recorder import importing
from nncompile.importers.sizes import (
    Known,
    dims,
    shape_of,
    size_in_graph,
    sizes_or_numbers,
    whole_numbers,
)

_IDENTITY = (1, 13, 14, 16, 19, 21, 23, 24, 25)
_SHAPES = (13, 21, 23, 24, 25)


# -- what a shape is -------------------------------------------------------------------------------

def _shape(node: Node, data: Known) -> Known:
    sizes = shape_of(data)
    start, end = node.int("start", 0), node.int("end", None)
    return sizes_or_numbers(_vector(sizes[start:end]))


def _size(node: Node, data: Known) -> Known:
    return sizes_or_numbers(_scalar(product(shape_of(data))))


def _vector(sizes: Any) -> NDArray:
    result = np.empty(len(sizes), object)
    result[:] = list(sizes)
    return result


def _scalar(size: Dim) -> NDArray:
    result = np.empty((), object)
    result[()] = size
    return result


# -- the same elements -----------------------------------------------------------------------------

def _reshape(node: Node, data: Array, shape: NDArray) -> Array:
    wanted, keep_zero = dims(shape), node.flag("allowzero")
    for axis, size in enumerate(wanted):
        if not keep_zero and same(size, 0):
            if axis >= data.ndim:
                raise Error(f"{wanted} keeps axis {axis} of {data.type}, which it lacks")
            wanted[axis] = data.type.shape[axis]
    wild = [axis for axis, size in enumerate(wanted) if same(size, -1)]
    if len(wild) > 1:
        raise Error(f"{wanted} has more than one -1")
    if wild:
        others = [size for axis, size in enumerate(wanted) if axis not in wild]
        fits = _fitting(data.type.shape, others)
        if fits is None:
            raise Error(f"no size fits for -1 in {wanted}, of the elements of {data.type}")
        wanted[wild[0]] = fits
    return _required(data, wanted).view(wanted)


def _required(data: Array, wanted: list[Dim]) -> Array:
    """Returns the array, of whose symbolic size a new shape may need that it is a multiple.

    [T, 8] has the shape [FloorDiv(T, 2), 16] where T is even, which calls are then held to.
    """
    shape = data.type.shape
    if same(product(shape), product(wanted)):
        return data
    for axis, size in enumerate(shape):
        others = product(d for i, d in enumerate(shape) if i != axis)
        fits = divide(product(wanted), others)
        if fits is None or not isinstance(size, DimExpr):
            continue
        if not isinstance(fits, DimExpr):
            raise Error(f"{data.type} has the shape {wanted} for {size} = {fits} alone\n"
                        f"do: shapes={{...}}, with {fits} for this size")
        if names_in(fits) == names_in(size):
            importing().require(size, "==", fits)
            return apply("slice", data, axis=axis, start=0, stop=fits, step=1)
    return data


def _fitting(shape: tuple[Dim, ...], others: list[Dim]) -> Dim | None:
    """Returns the size that the others leave; 0 if one of them is 0, which any size would fit."""
    if any(same(size, 0) for size in others):
        return 0 if any(same(size, 0) for size in shape) else None
    return quotient(shape, others)


def _flatten(node: Node, data: Array) -> Array:
    axis = axis_of(data.type, node.int("axis", 1), extra=1)
    if node.int("axis", 1) < 0:                  # counted from the end of the axes there are
        axis = axis - 1
    return data.view([product(data.type.shape[:axis]), product(data.type.shape[axis:])])


def _squeeze(node: Node, data: Array, axes: Any = None) -> Array:
    given = _axes(node, axes)
    if given is None:
        return data.view([d for d in data.type.shape if d != 1])
    gone = axes_of(data.type, given)
    if wrong := [a for a in gone if not same(data.type.shape[a], 1)]:
        size = data.type.shape[wrong[0]]
        raise Error(f"axis {wrong[0]} of {data.type} has the size {size}, not 1")
    return data.view([d for i, d in enumerate(data.type.shape) if i not in gone])


def _unsqueeze(node: Node, data: Array, axes: Any = None) -> Array:
    given = _axes(node, axes)
    if given is None:
        raise Error("it lacks its axes")
    places = [axis_of(data.type, a, extra=len(given)) for a in given]
    if len(set(places)) < len(places):
        raise Error(f"the axes {given} name one twice")
    rest = iter(data.type.shape)
    return data.view([1 if i in places else next(rest) for i in range(data.ndim + len(places))])


def _axes(node: Node, axes: Any) -> list[int] | None:
    """Returns the axes, which were an attribute before opset 13."""
    if node.version < 13:
        if axes is not None:
            raise Error("it has axes as an input, which came with opset 13")
        found: list[int] | None = node.ints("axes", None)
        return found
    return None if axes is None else whole_numbers(axes, "an axis")


def _transpose(node: Node, data: Array) -> Array:
    return data.permute(node.ints("perm", list(range(data.ndim))[::-1]))


# -- repeated elements -----------------------------------------------------------------------------

def _expand(node: Node, data: Array, shape: NDArray) -> Array:
    wanted = dims(shape)
    rank = max(len(wanted), data.ndim)
    padded = [1] * (rank - data.ndim) + list(data.type.shape)
    sizes = [1] * (rank - len(wanted)) + wanted
    target = [have if same(want, 1) else want for have, want in zip(padded, sizes, strict=True)]
    return data.expand(target) if data.ndim or target else data


def _tile(node: Node, data: Array, repeats: NDArray) -> Array:
    times = dims(repeats)
    if len(times) != data.ndim:
        raise Error(f"repeats has a number for each axis of {data.type}, not {times}")
    return data.repeat(times) if times else data


# -- parts -----------------------------------------------------------------------------------------

def _slice(node: Node, data: Array, starts: Any = None, ends: Any = None, axes: Any = None,
           steps: Any = None) -> Array:
    if node.version < 10:
        begin: list[Dim] = node.ints("starts")
        end: list[Dim] = node.ints("ends")
        along = node.ints("axes", list(range(len(begin))))
        by = [1] * len(begin)
    else:
        if starts is None or ends is None:
            raise Error("it lacks its starts and ends")
        begin, end = dims(starts), dims(ends)
        along = list(range(len(begin))) if axes is None else whole_numbers(axes, "an axis")
        by = [1] * len(begin) if steps is None else whole_numbers(steps, "a step")
    for first, last, axis, step in zip(begin, end, axes_of(data.type, along), by, strict=True):
        data = _sliced(data, axis, first, last, step)
    return data


def _sliced(x: Array, axis: int, first: Dim, last: Dim, step: int) -> Array:
    """Returns a part along one axis. Bounds beyond the ends are limited to them.

    Where the size is symbolic, a bound that is a number counts as one inside of the axis: a call
    for which it is not is refused.
    """
    size = x.type.shape[axis]
    if step == 0:
        raise Error("a step is 0")
    if step > 0:
        start = _limited(_from_zero(first, size), 0, size)
        stop = _limited(_from_zero(last, size), 0, size)
    else:
        start = _limited(_from_zero(first, size), -1, size - 1)
        stop = _limited(_from_zero(last, size), -1, size - 1)
    gap = stop - start if step > 0 else start - stop
    if extent(gap)[1] <= 0:                      # empty for every size
        start = stop = 0
        step = 1
    if same((start, stop, step), (0, size, 1)):
        return x
    return apply("slice", x, axis=axis, start=start, stop=stop, step=step)


_FAR = 2**31 - 1                                 # exporters write it, or more, for "up to the end"


def _from_zero(bound: Dim, size: Dim) -> Dim:
    """Returns a bound counted from the front; one far away stays there."""
    if isinstance(bound, int) and isinstance(size, DimExpr):
        if bound >= _FAR:
            return size
        if bound <= -_FAR:
            return -1
    return bound + size if extent(bound)[1] < 0 else bound


def _limited(bound: Dim, low: Dim, high: Dim) -> Dim:
    """Returns the bound, or the limit beyond which it is for every size."""
    if extent(bound - low)[1] <= 0:
        return low
    if extent(high - bound)[1] <= 0:
        return high
    if isinstance(bound, int) and isinstance(high, int):
        return min(max(bound, int(low)), high) if isinstance(low, int) else bound
    return bound


def _concat(node: Node, *inputs: Array) -> Array:
    axis = axis_of(inputs[0].type, node.int("axis"))
    return inputs[0] if len(inputs) == 1 else apply("concat", *inputs, axis=axis)


def _split(node: Node, data: Array, split: Any = None) -> Any:
    axis = axis_of(data.type, node.int("axis", 0))
    if node.version < 13:
        if split is not None:
            raise Error("it has sizes as an input, which came with opset 13")
        given = node.ints("split", None)
    else:
        given = None if split is None else dims(split)
    parts = node.int("num_outputs", None) if node.version >= 18 else None
    if given is not None and parts is not None:
        raise Error("it has both split and num_outputs")
    sizes = _even(data.type.shape[axis], parts or len(node.outputs), parts is not None
                  ) if given is None else given
    if len(sizes) < len(node.outputs):
        raise Error(f"it has {len(node.outputs)} outputs, and sizes for {len(sizes)}")
    return data.split(sizes, axis)


def _even(size: Dim, parts: int, last_smaller: bool) -> list[Dim]:
    """Returns the sizes of equal parts; the last one is smaller where that is allowed."""
    if isinstance(size, DimExpr) or size % parts == 0:
        return [size // parts] * parts
    part = -(-size // parts)
    if not last_smaller or part * (parts - 1) > size:
        raise Error(f"{size} elements do not divide into {parts} equal parts")
    return [*[part] * (parts - 1), size - part * (parts - 1)]


def _trilu(node: Node, x: Array, k: Any = None) -> Array:
    offset = 0 if k is None else whole_numbers(k, "k")[0]
    if x.ndim < 2:
        raise Error(f"it takes matrices, not {x.type}")
    rows = apply("iota", shape=(x.type.shape[-2], 1), axis=0, dtype="i64")
    columns = apply("iota", shape=(x.type.shape[-1],), axis=0, dtype="i64")
    edge = apply("add", rows, _number(offset))
    inside = apply("ge" if node.flag("upper", True) else "le", columns, edge)
    zero = Array(np.zeros((), x.dtype)) if x.type.dtype == "bool" else 0.0
    return apply("where", inside, x, zero)


def _number(value: int) -> float:
    """Returns a whole number as an operand; one that is far beyond any size is made nearer."""
    return float(min(max(value, -2**40), 2**40))


# -- blocks ----------------------------------------------------------------------------------------

def _depth_to_space(node: Node, x: Array) -> Array:
    block = node.int("blocksize")
    mode = node.one_of("mode", ("DCR", "CRD"), "DCR") if node.version >= 11 else "DCR"
    n, c, h, w = _images(x, block)
    depth = c // (block * block)
    if mode == "DCR":
        apart = x.view([n, block, block, depth, h, w]).permute(0, 3, 4, 1, 5, 2)
    else:
        apart = x.view([n, depth, block, block, h, w]).permute(0, 1, 4, 2, 5, 3)
    return apart.view([n, depth, h * block, w * block])


def _space_to_depth(node: Node, x: Array) -> Array:
    block = node.int("blocksize")
    mode = node.one_of("mode", ("DCR", "CRD"), "DCR") if node.version >= 28 else "DCR"
    n, c, h, w = _images(x, block)
    apart = x.view([n, c, h // block, block, w // block, block])
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return apart.permute(order).view([n, c * block * block, h // block, w // block])


def _images(x: Array, block: int) -> tuple[Any, ...]:
    if x.ndim != 4 or block <= 0:
        raise Error(f"it takes [N, C, H, W] and blocks of 1 or more, not {x.type} and {block}")
    return x.type.shape


# -- made of a shape -------------------------------------------------------------------------------

def _constant(node: Node) -> Known:
    given = [name for name in ("value", "value_float", "value_floats", "value_int", "value_ints")
             if node.has(name)]
    if len(given) != 1:
        raise Error("it has one value: a tensor, numbers or integers")
    match given[0]:
        case "value":
            return Array(node.tensor("value"))
        case "value_float":
            return Array(np.array(node.float("value_float"), np.float32))
        case "value_floats":
            return Array(np.array(node.floats("value_floats"), np.float32))
        case "value_int":
            return Array(np.array(node.int("value_int"), np.int64))
    return Array(np.array(node.ints("value_ints"), np.int64))


def _constant_of_shape(node: Node, shape: NDArray) -> Array:
    value = node.tensor("value", np.zeros(1, np.float32))
    if value.size != 1:
        raise Error("its value is one number")
    return Array(value.reshape(())).expand(dims(shape)) if shape.size else Array(value.reshape(()))


def _range(node: Node, start: NDArray, limit: NDArray, delta: NDArray) -> Array:
    node.irrelevant("stash_type")                # the bounds are exact here
    first, last, step = (a.reshape(-1).tolist() for a in (start, limit, delta))
    if not len(first) == len(last) == len(step) == 1:
        raise Error("its start, limit and delta are numbers")
    if any(isinstance(n, DimExpr) for n in (*first, *last, *step)):
        if not same(step[0], 1) or any(a.dtype.kind == "f" for a in (start, limit, delta)):
            raise Error(f"a range from {first[0]} to {last[0]} goes by steps of 1, not {step[0]}")
        numbers = apply("iota", shape=(last[0] - first[0],), axis=0, dtype="i64")
        return apply("add", numbers, size_in_graph(first[0])) if not same(first[0], 0) else numbers
    if step[0] == 0:
        raise Error("its delta is 0")
    if not all(map(isfinite, (first[0], last[0], step[0]))):
        raise Error(f"a range from {first[0]} to {last[0]} by {step[0]} has no end")
    count = max(ceil((last[0] - first[0]) / step[0]), 0) if start.dtype.kind == "f" else len(
        range(first[0], last[0], step[0]))
    dtype = next(name for name, kind in DTYPES.items() if kind == start.dtype)
    numbers = apply("iota", shape=(count,), axis=0, dtype=dtype)
    scaled = apply("mul", numbers, Array(np.asarray(delta.reshape(()), start.dtype)))
    return apply("add", scaled, Array(start.reshape(())))


def _eye_like(node: Node, x: Known) -> Array:
    shape, k = shape_of(x), node.int("k", 0)
    dtype = node.dtype("dtype", "f32" if not isinstance(x, Array) else x.type.dtype)
    if len(shape) != 2:
        raise Error(f"it takes a matrix, not an array with {len(shape)} axes")
    rows = apply("iota", shape=(shape[0], 1), axis=0, dtype="i64")
    columns = apply("iota", shape=(shape[1],), axis=0, dtype="i64")
    return apply("eq", apply("add", rows, _number(k)), columns)._cast(dtype)


# -- padding ---------------------------------------------------------------------------------------

def _pad(node: Node, data: Array, pads: Any = None, value: Any = None, axes: Any = None) -> Array:
    modes = ("constant", "reflect", "edge", "wrap")[:4 if node.version >= 19 else 3]
    mode = node.one_of("mode", modes, "constant")
    if node.version < 11:
        amounts: list[Dim] = node.ints("pads")
        filler: Any = Array(np.asarray(node.float("value", 0.0), data.dtype))
    else:
        if pads is None:
            raise Error("it lacks its pads")
        amounts = dims(pads)
        filler = Array(np.zeros((), data.dtype)) if value is None else value.reshape(())
    along = list(range(data.ndim)) if axes is None else list(
        axes_of(data.type, whole_numbers(axes, "an axis")))
    if len(amounts) != 2 * len(along):
        raise Error(f"its pads are two numbers for each of {len(along)} axes, not {amounts}")
    for axis, low, high in zip(along, amounts, amounts[len(along):], strict=False):
        data = _cropped(data, axis, low, high)
        low, high = (n if isinstance(n, DimExpr) else max(n, 0) for n in (low, high))
        if not same((low, high), (0, 0)):
            data = _padded(data, axis, low, high, mode, filler)
    return data


def _cropped(x: Array, axis: int, low: Dim, high: Dim) -> Array:
    """Returns x without the elements that negative pads take away."""
    start = -low if extent(low)[1] < 0 else 0
    stop = x.type.shape[axis] + high if extent(high)[1] < 0 else x.type.shape[axis]
    if same((start, stop), (0, x.type.shape[axis])):
        return x
    return apply("slice", x, axis=axis, start=start, stop=stop, step=1)


def _padded(x: Array, axis: int, low: Dim, high: Dim, mode: str, filler: Array) -> Array:
    if mode == "constant":
        return _framed(x, axis, low, high, filler)
    size = x.type.shape[axis]
    if isinstance(low, DimExpr) or isinstance(high, DimExpr):
        raise Error(f"mode={mode!r} needs pads that are numbers, not {low} and {high}")
    if not isinstance(size, DimExpr):
        if size == 0:
            raise Error(f"mode={mode!r} has nothing to repeat along axis {axis} of {x.type}")
        if low + high > 1 << 20:
            raise Error(f"its pads {low} and {high} are too large")
        how: Any = mode
        ids = np.pad(np.arange(size, dtype=np.int64), (low, high), how)
        return apply("take", x, Array(ids), axis=axis)
    return cat([*_edge(x, axis, low, mode, front=True), x,
                *_edge(x, axis, high, mode, front=False)], axis)


def _framed(x: Array, axis: int, low: Dim, high: Dim, filler: Array) -> Array:
    below, above = [0] * x.ndim, [0] * x.ndim
    known = filler._as_operand()
    if isinstance(known, np.ndarray) and (known.dtype.kind == "f" or abs(int(known)) < 2**53):
        sizes: Any = (below, above)
        sizes[0][axis], sizes[1][axis] = low, high
        return apply("pad", x, low=tuple(below), high=tuple(above), value=float(known))
    parts = [filler.expand([n if i == axis else d for i, d in enumerate(x.type.shape)])
             for n in (low, high)]
    return apply("concat", parts[0], x, parts[1], axis=axis)


def _edge(x: Array, axis: int, count: int, mode: str, front: bool) -> list[Array]:
    """Returns what lies before or behind an axis of a symbolic size, which is large enough."""
    size: Any = x.type.shape[axis]
    if count == 0:
        return []

    def part(start: Any, stop: Any) -> Array:
        return apply("slice", x, axis=axis, start=start, stop=stop, step=1)

    if mode == "edge":
        one = part(0, 1) if front else part(size - 1, size)
        return [one.expand([count if i == axis else d for i, d in enumerate(x.type.shape)])]
    if mode == "wrap":
        return [part(size - count, size) if front else part(0, count)]
    mirrored = part(1, count + 1) if front else part(size - 1 - count, size - 1)
    return [mirrored.flip(axis)]


ROWS: Rows = (
    Operator("Shape", (1, 13, 15, 19, 21, 23, 24, 25), _shape, "start end", lazy="data"),
    Operator("Size", (1, 13, 19, 21, 23, 24, 25), _size, lazy="data"),
    Operator("Reshape", (5, 13, 14, 19, 21, 23, 24, 25), _reshape, "allowzero", static="shape",
             moves="data"),
    Operator("Flatten", (1, 9, 11, *_SHAPES), _flatten, "axis", moves="data"),
    Operator("Squeeze", (1, 11, *_SHAPES), _squeeze, "axes", static="axes", moves="data"),
    Operator("Unsqueeze", (1, 11, *_SHAPES), _unsqueeze, "axes", static="axes", moves="data"),
    Operator("Transpose", (1, *_SHAPES), _transpose, "perm", moves="data"),
    Operator("Expand", (8, 13), _expand, static="shape", moves="data"),
    Operator("Tile", (6, 13), _tile, static="repeats", moves="data"),
    Operator("Slice", (1, 10, 11, 13), _slice, "starts ends axes",
             static="starts ends axes steps", moves="data"),
    Operator("Concat", (4, 11, 13), _concat, "axis", moves="inputs"),
    Operator("Split", (2, 11, 13, 18), _split, "axis split num_outputs", static="split",
             moves="data"),
    Operator("Trilu", (14,), _trilu, "upper", static="k"),
    Operator("DepthToSpace", (1, 11, 13, 28), _depth_to_space, "blocksize mode"),
    Operator("SpaceToDepth", (1, 13, 28), _space_to_depth, "blocksize mode"),
    Operator("Constant", (1, 9, 11, 12, 13, 19, 21, 23, 24, 25), _constant,
             "value value_float value_floats value_int value_ints"),
    Operator("ConstantOfShape", (9, 20, 21, 23, 24, 25), _constant_of_shape, "value",
             static="shape"),
    Operator("Range", (11, 27), _range, "stash_type", static="start limit delta"),
    Operator("EyeLike", (9, 22), _eye_like, "dtype k", lazy="x"),
    Operator("Pad", (2, 11, 13, 18, 19, 21, 23, 24, 25), _pad, "mode pads value",
             static="pads axes"),
)

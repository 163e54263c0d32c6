"""For each kind of step: which kernel it calls, and with which arguments.

STEPS has one function for each kind. To learn what an argument means, read the signature of the
kernel that the function names.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

from ir.ops import OPS
from ir.types import Dim, product, same
from nncompile.cpu import kernels
from nncompile.cpu.driver.values import (
    FAULT,
    Argument,
    Call,
    Number,
    Pointer,
    StepNumber,
    WholeSize,
)
from nncompile.schedule import Constant, Operand, Program, Step, View, geometry
from nncompile.schedule.names import fixed
from nncompile.schedule.strides import collapsed, row_major

_Arguments = list[Argument]

_SHORT_ROW = 256              # rows up to this length have a kernel for each length


def call_of(program: Program, step: Step, number: int) -> Call:
    """The kernel that a step calls, and its arguments; `number` is the number of the step."""
    return STEPS[step.kind](step, _Context(program, number))


class _Context:
    """What the functions below need besides the step itself."""

    def __init__(self, program: Program, number: int) -> None:
        self._program = program
        self.fault: _Arguments = [FAULT, StepNumber(number)]     # for a kernel that may report one

    def constant(self, view: View) -> Constant:
        return self._program.constants[view.place.number]


def _pointer(operand: Operand, dtype: str = "f32") -> Pointer:
    """Where an operand starts. A plain number is one element of `dtype` among the weights."""
    if isinstance(operand, View):
        return Pointer(operand.place, operand.dtype, operand.offset)
    return Pointer(Number(repr(operand), dtype), dtype)


def _linear(step: Step, context: _Context) -> Call:
    """Panels contain the bias; of a weight of one row it is added behind the product."""
    x, weight = step.views[:2]
    y = step.result.as_matrix() or step.result
    single = context.constant(weight).layout == "rows"
    chain, further = _product_chain(geometry.linear(step), step.result, single)
    operands = *_matrix(x), _pointer(weight), *_matrix(y)
    if single:
        return Call(kernels.dot(chain, 0, x.dtype), (*operands, *x.shape, *further))
    N, K = fixed(weight.shape)
    return Call(kernels.linear(chain, x.dtype), (*operands, x.shape[0], K, N, *further))


def _matmul(step: Step, _: _Context) -> Call:
    x, right, outer, strides, then = geometry.matmul(step)
    y, K = step.result, x.shape[-1]
    single = same(y.shape[-1], 1) and same(right.strides[-2], 1)      # of one column, a vector
    chain, further = _product_chain(then, y, single)
    rest = *outer, *(n for own in strides for n in own), *further
    if single:
        return Call(kernels.dot(chain, len(outer), y.dtype), (
            _pointer(x), x.strides[-2], _pointer(right), _pointer(y), y.strides[-2], y.shape[-2], K,
            *rest))
    chain, end = _product_group(step, chain)
    turned = step.attrs.get("turned", "")
    return Call(kernels.matmul(chain, len(outer), y.dtype, turned, end), (
        _pointer(x), x.strides[-1 if "x" in turned else -2],
        _pointer(right), right.strides[-1 if "w" in turned else -2],
        _pointer(y), y.strides[-2], y.shape[-2], K, y.shape[-1], *rest,
        *(n for view in step.also for n in (_pointer(view), view.strides[-2]))))


def _product_group(step: Step, chain: kernels.Chain
                   ) -> tuple[kernels.Chain, kernels.GroupEnd | None]:
    """The chain behind a product, or the group that it ends with, whose operands are the chain's.
    """
    group = step.attrs.get("group")
    if group is None:
        return chain, None
    [(_, kinds)] = chain
    return (), kernels.GroupEnd(group.ops, group.outputs, kinds)


def _product_chain(then: geometry.Chain, result: View, single: bool
                   ) -> tuple[kernels.Chain, _Arguments]:
    """The chain behind a product, perhaps with a single column, and its further arguments."""
    further: _Arguments = []
    chain = []
    for op, operands in then:
        kinds = ""
        for o, (row, column, *outer) in operands:
            wide = same(column, 1) or same(result.shape[-1], 1)
            kinds += "v" if wide and isinstance(o, View) and not single else "s"
            further += [_pointer(o, result.dtype), row, *outer]
        chain.append((op, kinds))
    return tuple(chain), further


def _elementwise(step: Step, context: _Context) -> Call:
    y, op, source = step.result, step.attrs["op"], geometry.source_dtype(step)
    dims, strides = geometry.elementwise(step)
    if not dims or not same(strides[0][-1], 1):                       # y itself has stride 1
        dims, strides = (*dims, 1), [(*s, 1) for s in strides]
    if op == "copy" and not step.then and step.views:
        turned = _unit_axis(strides[1])
        if turned is not None:
            return _transpose(step, dims, strides, turned)
    further: _Arguments = []
    chain = []
    dtype = source
    for name, operands in geometry.with_strides(
            [(op, step.operands), *step.then], strides[1:], len(dims)):
        kinds = ""
        for o, own in operands:
            kind = {"1": "v", "0": "s"}.get(str(own[-1]), "g")
            kinds += kind
            further += [_pointer(o, dtype), *(own[-1:] if kind == "g" else ()), *own[:-1]]
        chain.append((name, kinds))
        dtype = y.dtype                                               # of all ops but the first
    kernel = kernels.elementwise(tuple(chain), len(dims) - 1, y.dtype, source)
    if "fault" in kernel.arguments:
        further += context.fault
    return Call(kernel, (_pointer(y), dims[-1], *dims[:-1], *strides[0][:-1], *further))


def _group(step: Step, _: _Context) -> Call:
    group = step.attrs["group"]
    dtypes = kernels.group_dtypes(group.ops, len(step.operands))
    views = [*step.results, *step.reads]
    dims, found = collapsed(step.result.shape, [v.strides for v in views])
    if not dims:
        dims, found = (1,), [(1,)] * len(views)
    strides = iter(found)
    results: _Arguments = []
    for y in step.results:
        results += [_pointer(y), *next(strides)[:-1]]
    further: _Arguments = []
    kinds = ""
    for operand, dtype in zip(step.operands, dtypes, strict=True):
        own = next(strides) if isinstance(operand, View) else (0,) * len(dims)
        kinds += "s" if same(own[-1], 0) or not isinstance(operand, View) else "v"
        further += [_pointer(operand, dtype), *own[:-1]]
    kernel = kernels.group(group.ops, group.outputs, kinds, len(dims) - 1)
    return Call(kernel, (dims[-1], *dims[:-1], *results, *further))


def _row_group(step: Step, context: _Context) -> Call:
    """Operands are views of the matrix that has all rows; a stride of 0 tells what they lack."""
    group, columns = step.attrs["group"], _is_columns(step)
    dtypes = kernels.row_dtypes(group.ops, len(step.operands))
    further: _Arguments = []
    kinds = ""
    for operand, dtype in zip(step.operands, dtypes.values(), strict=True):
        outer, inner = operand.strides if isinstance(operand, View) else (0, 0)
        items, along = (inner, outer) if columns else (outer, inner)
        kind = "sknm"[2 * (not same(items, 0)) + (not same(along, 0))]
        apart = kind in ("mk" if columns else "mn")
        kinds += kind
        further += [_pointer(operand, dtype), *[outer] * apart]
    rows, length = reversed(step.views[0].shape) if columns else step.views[0].shape
    short = length if isinstance(length, int) and length <= _SHORT_ROW else 0
    kernel = kernels.row_group(group.ops, group.outputs, kinds, columns, short)
    if "fault" in kernel.arguments:
        further += context.fault
    return Call(kernel, (rows, length, *map(_pointer, step.results), *further))


def _unit_axis(strides: Sequence[Dim]) -> int | None:
    """The axis along which an operand is contiguous, if that is not the last one."""
    along = [axis for axis, stride in enumerate(strides) if same(stride, 1)]
    return along[-1] if along and along[-1] < len(strides) - 1 else None


def _transpose(step: Step, dims: Sequence[Dim], strides: Sequence[Sequence[Dim]],
               axis: int) -> Call:
    """A copy whose source is contiguous along this axis, and whose result along the last one."""
    outer = [a for a in range(len(dims) - 1) if a != axis]
    (y, x), (own, source) = (step.result, *step.views), strides
    return Call(kernels.transpose(len(outer), y.dtype), (
        _pointer(y), own[axis], _pointer(x), source[-1], dims[axis], dims[-1],
        *(dims[a] for a in outer), *(s[a] for s in strides for a in outer)))


def _softmax(step: Step, _: _Context) -> Call:
    (x,), y, scale = step.views, step.result, step.attrs.get("scale", 1.0)
    log, scaled = step.kind == "log_softmax", scale != 1.0
    further: _Arguments = [_pointer(scale, y.dtype)] if scaled else []
    if _is_columns(step):
        kernel = kernels.softmax_columns(scaled, len(x.shape) - 2, y.dtype, log)
        return Call(kernel, (*_columns(x, y), *further))
    return Call(kernels.softmax(scaled, y.dtype, log), (*_rows(x, y), *further))


def _layer_norm(step: Step, _: _Context) -> Call:
    weight, bias = len(step.views) > 1, len(step.views) > 2
    return Call(kernels.layer_norm(weight, bias, step.result.dtype), _norm(step))


def _rms_norm(step: Step, _: _Context) -> Call:
    return Call(kernels.rms_norm(len(step.views) > 1, step.result.dtype), _norm(step))


def _norm(step: Step) -> tuple[Argument, ...]:
    x, *affine = step.views
    return (*_matrix(x), *map(_pointer, affine), _pointer(step.attrs["eps"], x.dtype),
            *_matrix(step.result), *x.shape)


def _cumsum(step: Step, _: _Context) -> Call:
    (x,), y = step.views, step.result
    if _is_columns(step):
        return Call(kernels.cumsum_columns(len(x.shape) - 2, y.dtype), _columns(x, y))
    return Call(kernels.cumsum(y.dtype), _rows(x, y))


def _topk(step: Step, _: _Context) -> Call:
    (x,), y = step.views, step.result
    return Call(kernels.topk(step.attrs["largest"], x.dtype), (*_rows(x, y), y.shape[-1]))


def _reduce(step: Step, _: _Context) -> Call:
    (x,), y, op = step.views, step.result, step.attrs["op"]
    if _is_columns(step):
        kernel = kernels.reduce_columns(op, len(x.shape) - 2, y.dtype, x.dtype)
        return Call(kernel, _columns(x, y))
    kernel = (kernels.arg(op, x.dtype) if "arg_reduction" in OPS[op].traits else
              kernels.reduce(op, y.dtype, x.dtype))
    return Call(kernel, (*_matrix(x), _pointer(y), *x.shape))


def _take(step: Step, context: _Context) -> Call:
    """Copy whole rows of the operand, for each of the ids."""
    x, ids, outer, strides, sizes = geometry.gather(step)
    result = step.result.strides if step.kind == "embedding" else row_major((*outer, sizes[-1]))
    dims, strides = collapsed(outer, [result[:-1], *strides])
    return Call(kernels.take(ids.dtype, len(dims), x.dtype), (
        _pointer(step.result), _pointer(x), _pointer(ids), *sizes,
        *context.fault, *dims, *(n for s in strides for n in s)))


def _take_along(step: Step, context: _Context) -> Call:
    (x, ids), y, axis = step.views, step.result, step.attrs["axis"]
    own = [0 if a == axis else s for a, s in enumerate(x.strides)]
    dims, strides = collapsed(y.shape, [y.strides, own, ids.strides])
    if not dims:
        dims, strides = (1,), [(1,), (0,), (0,)]
    return Call(kernels.take_along(ids.dtype, len(dims) - 1, x.dtype), (
        *map(_pointer, (y, x, ids)),
        x.shape[axis], x.strides[axis], dims[-1], strides[1][-1], strides[2][-1],
        *context.fault, *dims[:-1], *(n for s in strides for n in s[:-1])))


def _scatter_add(step: Step, context: _Context) -> Call:
    ids, x, dims, strides, sizes = geometry.scatter(step)
    kernel = kernels.scatter_add(ids.dtype, len(dims), not same(sizes[-1], 1), x.dtype)
    return Call(kernel, (*map(_pointer, (step.result, x, ids)), *sizes, *context.fault, *dims,
                         *(n for s in strides for n in s)))


def _first_equal(step: Step, _: _Context) -> Call:
    ids, = step.views
    return Call(kernels.first_equal(ids.dtype), (_pointer(step.result), _pointer(ids),
                                                 ids.shape[0]))


def _put_rows(step: Step, _: _Context) -> Call:
    rows, ids, x = step.views
    return Call(kernels.put_rows(ids.dtype, x.dtype), (
        *map(_pointer, (step.result, x, rows, ids)), x.shape[0], ids.shape[0],
        product(x.shape[1:])))


def _embedding_bag(step: Step, context: _Context) -> Call:
    ids, offsets, table, *weights = step.views
    y, attrs = step.result, step.attrs
    kernel = kernels.embedding_bag(attrs["mode"], ids.dtype, bool(weights), y.dtype,
                                   offsets=offsets.dtype)
    return Call(kernel, (
        *map(_pointer, (ids, offsets, table)), *table.shape, *_matrix(y), y.shape[0], ids.shape[0],
        *map(_pointer, weights), attrs["padding"], *context.fault, int(attrs["include_last"])))


def _tree_walk(step: Step, _: _Context) -> Call:
    (x, *tables), y = step.views, step.result
    return Call(kernels.tree_walk(fixed(tables[0].shape)[1] == 4, x.dtype), (
        *_matrix(x), *map(_pointer, tables), _pointer(y), *y.shape, step.attrs["steps"]))


def _iota(step: Step, _: _Context) -> Call:
    return Call(kernels.iota(step.result.dtype), (_pointer(step.result), step.result.shape[0]))


def _size(step: Step, _: _Context) -> Call:
    return Call(kernels.number(), (_pointer(step.result), 1, WholeSize(step.attrs["dim"])))


def _uniform(step: Step, _: _Context) -> Call:
    [seed], y = step.views, step.result
    return Call(kernels.uniform(y.dtype), (
        _pointer(y), product(y.shape), _pointer(seed), step.attrs["stream"]))


def _rows(x: View, y: View) -> tuple[Argument, ...]:
    return (*_matrix(x), *_matrix(y), *x.shape)


def _is_columns(step: Step) -> bool:
    """Whether the step works along the last axis but one of its operand."""
    return bool(step.attrs.get("columns"))


def _columns(x: View, y: View) -> tuple[Argument, ...]:
    """The arguments of a kernel that works along columns.

    y has the dims of x, or, for a reduction, all of them but the last but one.
    """
    rows = [y.strides[-2]] if len(y.shape) == len(x.shape) else []
    outer = [v.strides[:len(x.shape) - 2] for v in (x, y)]
    return (_pointer(x), x.strides[-2], _pointer(y), *rows,
            *x.shape[-2:], *x.shape[:-2], *(n for s in outer for n in s))


def _matrix(operand: View) -> tuple[Argument, ...]:
    return _pointer(operand), operand.strides[0]


STEPS: dict[str, Callable[[Step, _Context], Call]] = {
    "linear": _linear, "matmul": _matmul, "elementwise": _elementwise, "group": _group,
    "row_group": _row_group, "softmax": _softmax, "log_softmax": _softmax,
    "layer_norm": _layer_norm, "rms_norm": _rms_norm, "cumsum": _cumsum,
    "topk_ids": _topk, "reduce": _reduce, "embedding": _take, "embedding_bag": _embedding_bag,
    "take": _take, "take_along": _take_along, "scatter_add": _scatter_add,
    "first_equal": _first_equal, "put_rows": _put_rows,
    "tree_walk": _tree_walk, "iota": _iota, "size": _size, "uniform": _uniform,
}

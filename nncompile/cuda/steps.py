"""One function for each kind of step: the kernels that it may run on, and their arguments."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ir.ops import OPS
from ir.types import Dim, product
from nncompile.cuda import kernels
from nncompile.cuda.kernels import Chain, Kernel
from nncompile.cuda.target import Target
from nncompile.schedule import Step, View, geometry
from nncompile.schedule.names import fixed
from nncompile.schedule.strides import collapsed


class Scalar(NamedTuple):
    """A number of the model, which a kernel takes as an argument of this dtype."""

    value: float
    dtype: str


# A View stands for the array that it lies in and for where in it the view begins, a str for a
# variable of the driver.
Argument = View | Scalar | Dim | str


@dataclass(frozen=True)
class Launch:
    """One kernel of a step.

    units: the number of blocks that it could use is the product of these quotients, each rounded
    up. where: it is taken where this size is at most this number; None is the last choice.
    """

    kernel: Kernel
    units: tuple[tuple[Dim, int], ...]
    arguments: Sequence[Argument]
    where: tuple[Dim, int] | None = None


def launches_of(step: Step, number: int, target: Target) -> list[Launch]:
    """Returns the launches that step number `number` chooses from."""
    return STEPS[step.kind](step, _Context(target, ["fault", number]))


class _Context(NamedTuple):
    """What the functions below need besides the step.

    fault: the arguments by which a kernel reports a wrong number among its data.
    """

    target: Target
    fault: list[Argument]


# -- products and chains ---------------------------------------------------------------------------

def _linear(step: Step, context: _Context) -> list[Launch]:
    x, weight = step.views[:2]
    N, K = fixed(weight.shape)
    rows = x.shape[0]
    chain, further = _chained(geometry.linear(step), x.dtype)
    return _products(context, x.dtype, chain, (), (rows, N), [
        x, x.strides[0], weight, N, step.result, N, rows, K, N, *further])


def _matmul(step: Step, context: _Context) -> list[Launch]:
    x, right, outer, strides, then = geometry.matmul(step)
    y = step.result
    M, K, N = y.shape[-2], x.shape[-1], y.shape[-1]
    chain, further = _chained(then, y.dtype)
    return _products(context, y.dtype, chain, outer, (M, N), [
        x, x.strides[-2], right, right.strides[-2], y, y.strides[-2], M, K, N,
        *outer, *(n for own in strides for n in own), *further])


def _chained(ops: geometry.Chain, dtype: str) -> tuple[Chain, list[Argument]]:
    """Returns the chain of these ops, and its further arguments, whose numbers have the dtype."""
    further: list[Argument] = []
    for _, operands in ops:
        for operand, strides in operands:
            further += (operand, *strides) if isinstance(operand, View) else (
                Scalar(operand, dtype),)
    chain = tuple((op, "".join("v" if isinstance(o, View) else "s" for o, _ in operands))
                  for op, operands in ops)
    return chain, further


def _products(context: _Context, dtype: str, then: Chain, outer: Sequence[Dim],
              shape: tuple[Dim, Dim], arguments: list[Argument]) -> list[Launch]:
    """Returns the kernels that `outer` products of M x N may run on.

    The choice depends on the number of rows and on the size of the products.
    """
    (M, N), matrices, target = shape, product(outer), context.target
    few, (small, large) = target.few[dtype], target.tiles[dtype]

    def launch(kernel: Kernel, rows: int, columns: int,
               where: tuple[Dim, int] | None = None) -> Launch:
        return Launch(kernel, ((M, rows), (N, columns), (matrices, 1)), arguments, where)

    of_few = kernels.few(then, len(outer), dtype, target), few.rows, few.lanes
    of_small, of_large = ((kernels.tiled(then, len(outer), dtype, target, t), t.rows, t.columns)
                          for t in (small, large))
    launches = []
    for size, most, choice in ((M, 4 * few.rows, of_few),
                               (product((M, N, matrices)), target.large, of_small)):
        if not isinstance(size, int):
            launches.append(launch(*choice, (size, most)))
        elif size <= most:
            return [*launches, launch(*choice)]
    return [*launches, launch(*of_large)]


def _elementwise(step: Step, context: _Context) -> list[Launch]:
    y, source = step.result, geometry.source_dtype(step)
    dims, strides = geometry.elementwise(step)
    if not dims:
        dims, strides = (1,), [(0,) for _ in strides]
    first, *then = geometry.with_strides(
        [(step.attrs["op"], step.operands), *step.then], strides[1:], len(dims))
    chain, own = _chained([first], source)
    behind, further = _chained(then, y.dtype)
    kernel = kernels.elementwise(chain + behind, len(dims), y.dtype, context.target, source)
    fault = context.fault if "fault" in kernel.arguments else []
    return [_by_element(kernel, dims, [y, *dims, *strides[0], *own, *further, *fault])]


def _by_element(kernel: Kernel, shape: Sequence[Dim], arguments: list[Argument]) -> Launch:
    return Launch(kernel, ((product(shape), kernel.threads),), arguments)


# -- rows ------------------------------------------------------------------------------------------

def _by_row(step: Step, context: _Context, kernel: Callable[[int], Kernel],
            arguments: list[Argument]) -> list[Launch]:
    """Returns a launch of one block for each row; the rows' length decides how large a block is."""
    (rows, length), (short, long) = step.views[0].shape, context.target.row_threads
    limit, units = context.target.row_length, ((rows, 1),)
    if isinstance(length, int):
        return [Launch(kernel(short if length <= limit else long), units, arguments)]
    return [Launch(kernel(short), units, arguments, (length, limit)),
            Launch(kernel(long), units, arguments)]


def _softmax(step: Step, context: _Context) -> list[Launch]:
    x, y, log = step.views[0], step.result, step.kind == "log_softmax"
    scale = Scalar(step.attrs.get("scale", 1.0), y.dtype)
    return _by_row(step, context, lambda threads: kernels.softmax(y.dtype, threads, log=log),
                   [*_between(x, y), scale])


def _layer_norm(step: Step, context: _Context) -> list[Launch]:
    weight, bias = len(step.views) > 1, len(step.views) > 2
    return _by_row(step, context, lambda threads: kernels.layer_norm(
        weight, bias, step.result.dtype, threads), _norm(step))


def _rms_norm(step: Step, context: _Context) -> list[Launch]:
    return _by_row(step, context, lambda threads: kernels.rms_norm(
        len(step.views) > 1, step.result.dtype, threads), _norm(step))


def _norm(step: Step) -> list[Argument]:
    x, *affine = step.views
    return [*_matrix(x), *affine, *_matrix(step.result), *x.shape,
            Scalar(step.attrs["eps"], x.dtype)]


def _cumsum(step: Step, context: _Context) -> list[Launch]:
    (x,), y = step.views, step.result
    return _by_row(step, context, lambda threads: kernels.cumsum(y.dtype, threads), _between(x, y))


def _topk(step: Step, context: _Context) -> list[Launch]:
    (x,), y, largest = step.views, step.result, step.attrs["largest"]
    return _by_row(step, context, lambda threads: kernels.topk(largest, x.dtype, threads),
                   [*_between(x, y), y.shape[-1]])


def _reduce(step: Step, context: _Context) -> list[Launch]:
    (x,), y, op = step.views, step.result, step.attrs["op"]

    def kernel(threads: int) -> Kernel:
        if "arg_reduction" in OPS[op].traits:
            return kernels.arg(op, x.dtype, threads)
        return kernels.reduce(op, y.dtype, threads, x.dtype)

    return _by_row(step, context, kernel, [*_matrix(x), y, *x.shape])


def _between(x: View, y: View) -> list[Argument]:
    return [*_matrix(x), *_matrix(y), *x.shape]


def _matrix(view: View) -> list[Argument]:
    return [view, view.strides[0]]


# -- by index --------------------------------------------------------------------------------------

def _take(step: Step, context: _Context) -> list[Launch]:
    """Rows of the operand by number; x is where the first row begins."""
    x, ids, outer, strides, sizes = geometry.gather(step)
    dims, strides = collapsed(outer, strides)
    kernel = kernels.take(ids.dtype, len(dims), x.dtype, context.target)
    return [_by_element(kernel, (*dims, sizes[-1]), [
        step.result, x, ids, *sizes, *context.fault, *dims, *(n for s in strides for n in s)])]


def _take_along(step: Step, context: _Context) -> list[Launch]:
    (x, ids), y, axis = step.views, step.result, step.attrs["axis"]
    own = [0 if a == axis else s for a, s in enumerate(x.strides)]
    dims, strides = collapsed(y.shape, [own, ids.strides])
    if not dims:
        dims, strides = (1,), [(0,), (0,)]
    kernel = kernels.take_along(ids.dtype, len(dims), x.dtype, context.target)
    return [_by_element(kernel, dims, [
        y, x, ids, x.shape[axis], x.strides[axis],
        *context.fault, *dims, *(n for s in strides for n in s)])]


def _scatter_add(step: Step, context: _Context) -> list[Launch]:
    ids, x, dims, strides, sizes = geometry.scatter(step)
    kernel = kernels.scatter_add(ids.dtype, len(dims), x.dtype, context.target)
    return [_by_element(kernel, (*dims, sizes[-1]), [
        step.result, x, ids, *sizes, *context.fault, *dims, *(n for s in strides for n in s)])]


def _first_equal(step: Step, context: _Context) -> list[Launch]:
    ids, = step.views
    kernel = kernels.first_equal(ids.dtype, context.target)
    return [_by_element(kernel, ids.shape, [step.result, ids, ids.shape[0]])]


def _put_rows(step: Step, context: _Context) -> list[Launch]:
    rows, ids, x = step.views
    kernel, width = kernels.put_rows(ids.dtype, x.dtype, context.target), product(x.shape[1:])
    return [_by_element(kernel, (width,), [step.result, x, rows, ids, x.shape[0], ids.shape[0],
                                           width])]


def _embedding_bag(step: Step, context: _Context) -> list[Launch]:
    ids, offsets, table, *weights = step.views
    y, attrs = step.result, step.attrs
    kernel = kernels.embedding_bag(attrs["mode"], ids.dtype, offsets.dtype, bool(weights), y.dtype,
                                   context.target)
    return [_by_element(kernel, y.shape, [
        ids, offsets, table, *table.shape, *_matrix(y), y.shape[0], ids.shape[0], *weights,
        attrs["padding"], *context.fault, int(attrs["include_last"])])]


def _tree_walk(step: Step, context: _Context) -> list[Launch]:
    (x, *tables), y = step.views, step.result
    kernel = kernels.tree_walk(tables[0].shape[1] == 4, x.dtype, context.target)
    return [_by_element(kernel, y.shape, [*_matrix(x), *tables, y, *y.shape, step.attrs["steps"]])]


def _iota(step: Step, context: _Context) -> list[Launch]:
    y = step.result
    return [_by_element(kernels.iota(y.dtype, context.target), y.shape, [y, y.shape[0]])]


def _size(step: Step, context: _Context) -> list[Launch]:
    y = step.result
    return [_by_element(kernels.number(context.target), (1,), [y, 1, step.attrs["dim"]])]


def _uniform(step: Step, context: _Context) -> list[Launch]:
    [seed], y = step.views, step.result
    count = product(y.shape)
    kernel = kernels.uniform(y.dtype, context.target)
    return [_by_element(kernel, (count,), [y, count, seed, step.attrs["stream"]])]


STEPS: dict[str, Callable[[Step, _Context], list[Launch]]] = {
    "linear": _linear, "matmul": _matmul, "elementwise": _elementwise, "softmax": _softmax,
    "log_softmax": _softmax, "layer_norm": _layer_norm, "rms_norm": _rms_norm, "cumsum": _cumsum,
    "topk_ids": _topk, "reduce": _reduce, "embedding": _take, "embedding_bag": _embedding_bag,
    "take": _take, "take_along": _take_along, "scatter_add": _scatter_add,
    "first_equal": _first_equal, "put_rows": _put_rows,
    "tree_walk": _tree_walk, "iota": _iota, "size": _size, "uniform": _uniform,
}

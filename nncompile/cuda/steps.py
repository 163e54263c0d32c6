"""One function for each kind of step: the kernels that it may run on, and their arguments as text.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ir.ops import OPS
from ir.types import Dim, product
from nncompile.cuda import kernels
from nncompile.cuda.kernels import Chain, Kernel
from nncompile.cuda.naming import Scope
from nncompile.schedule import Operand, Step, View
from nncompile.schedule.names import fixed
from nncompile.schedule.program import collapsed


@dataclass(frozen=True)
class Launch:
    """One kernel of a step.

    units: the text of the number of blocks that it could use. when: the text of the condition under
    which it is taken; "" is the last choice.
    """

    kernel: Kernel
    units: str
    arguments: list[str]
    when: str = ""


# -- products and chains ---------------------------------------------------------------------------

def _linear(w: Scope, step: Step) -> list[Launch]:
    x, weight, *bias = step.views
    N, K = fixed(weight.shape)
    rows = x.shape[0]
    then = ((("add", tuple(bias)),) if bias else ()) + step.then
    further = [o for _, operands in then for o in operands]
    columns = [_row_strides(o, step.result.shape) if isinstance(o, View) else () for o in further]
    arguments = [*w.array(x), w.number(x.strides[0]), *w.array(weight), str(N),
                 *w.array(step.result), str(N), w.number(rows), str(K), str(N)]
    for o, own in zip(further, columns, strict=True):
        arguments += w.operand(o, own, x.dtype)
    return _products(w, x.dtype, _chain_of(then), (), (rows, N), arguments)


def _row_strides(operand: View, shape: Sequence[Dim]) -> tuple[Dim, Dim]:
    """Returns the strides of a further operand of linear along rows and columns."""
    view = operand.broadcast_to(shape)
    rows, (strides,) = collapsed(view.shape[:-1], [view.strides[:-1]])
    return (strides[-1] if rows else 0), view.strides[-1]


def _chain_of(then: Sequence[tuple[str, tuple[Operand, ...]]]) -> Chain:
    return tuple((op, "".join("v" if isinstance(o, View) else "s" for o in operands))
                 for op, operands in then)


def _matmul(w: Scope, step: Step) -> list[Launch]:
    x, right = step.views
    y, lead = step.result, step.result.shape[:-2]
    x = x.broadcast_to((*lead, *x.shape[-2:]))
    right = right.broadcast_to((*lead, *right.shape[-2:]))
    views = [o.broadcast_to(y.shape) for o in step.reads[2:]]
    outer, strides = collapsed(lead, [v.strides[:-2] for v in (x, right, y, *views)])
    own, rest = strides[:3], iter(zip(views, strides[3:], strict=True))
    M, K, N = y.shape[-2], x.shape[-1], y.shape[-1]
    arguments = [*w.array(x), w.number(x.strides[-2]), *w.array(right),
                 w.number(right.strides[-2]), *w.array(y), w.number(y.strides[-2]),
                 *w.numbers((M, K, N)), *w.numbers(outer), *(n for s in own for n in w.numbers(s))]
    for o in (o for _, operands in step.then for o in operands):
        if isinstance(o, View):
            view, outers = next(rest)
            arguments += w.operand(o, (*view.strides[-2:], *outers), y.dtype)
        else:
            arguments += w.operand(o, (), y.dtype)
    return _products(w, y.dtype, _chain_of(step.then), outer, (M, N), arguments)


def _products(w: Scope, dtype: str, then: Chain, outer: Sequence[Dim], shape: tuple[Dim, Dim],
              arguments: list[str]) -> list[Launch]:
    """Returns the kernels that `outer` products of M x N may run on.

    The choice depends on the number of rows and on the size of the products.
    """
    (M, N), matrices, few = shape, product(outer), w.target.few[dtype]
    small, large = w.target.tiles[dtype]

    def launch(kernel: Kernel, rows: int, columns: int, when: str = "") -> Launch:
        down, right = (str(-(-d // s)) if isinstance(d, int) else f"ceil_div({w.number(d)}, {s})"
                       for d, s in ((M, rows), (N, columns)))
        factors = [f for f in (down, right, w.factor(matrices)) if f != "1"]
        return Launch(kernel, " * ".join(factors) or "1", arguments, when)

    of_few = kernels.few(then, len(outer), dtype, w.target), few.rows, few.lanes
    of_small, of_large = ((kernels.tiled(then, len(outer), dtype, w.target, t), t.rows, t.columns)
                          for t in (small, large))
    launches = []
    for size, most, choice in ((M, 4 * few.rows, of_few),
                               (product((M, N, matrices)), w.target.large, of_small)):
        if not isinstance(size, int):
            launches.append(launch(*choice, f"{w.number(size)} <= {most}"))
        elif size <= most:
            return [*launches, launch(*choice)]
    return [*launches, launch(*of_large)]


def _elementwise(w: Scope, step: Step) -> list[Launch]:
    y = step.result
    views = [o.broadcast_to(y.shape) for o in step.reads]
    dims, strides = collapsed(y.shape, [v.strides for v in (y, *views)])
    if not dims:
        dims, strides = (1,), [(0,) for _ in strides]
    rest = iter(strides[1:])
    steps = [(step.attrs["op"], step.operands), *step.then]
    source = _source_dtype(step)
    arguments = [*w.array(y), *w.numbers(dims), *w.numbers(strides[0])]
    for operands, dtype in ((operands, y.dtype if number else source)
                            for number, (_, operands) in enumerate(steps)):
        for o in operands:
            arguments += w.operand(o, next(rest) if isinstance(o, View) else (), dtype)
    kernel = kernels.elementwise(_chain_of(steps), len(dims), y.dtype, w.target, source)
    if "fault" in kernel.arguments:
        arguments += w.fault(step)
    return [_by_element(w, kernel, dims, arguments)]


def _source_dtype(step: Step) -> str:
    """Returns the dtype that a step reads; casts and comparisons have another than their result."""
    free = step.attrs["op"] == "where" or not step.views
    return step.result.dtype if free else step.views[0].dtype


def _by_element(w: Scope, kernel: Kernel, shape: Sequence[Dim], arguments: list[str]) -> Launch:
    return Launch(kernel, f"ceil_div({w.elements(shape)}, {kernel.threads})", arguments)


# -- rows ------------------------------------------------------------------------------------------

def _by_row(w: Scope, step: Step, kernel: Callable[[int], Kernel],
            arguments: list[str]) -> list[Launch]:
    """Returns a launch of one block for each row; the rows' length decides how large a block is."""
    (rows, length), (short, long) = step.views[0].shape, w.target.row_threads
    limit, units = w.target.row_length, w.number(rows)
    if isinstance(length, int):
        return [Launch(kernel(short if length <= limit else long), units, arguments)]
    return [Launch(kernel(short), units, arguments, f"{w.number(length)} <= {limit}"),
            Launch(kernel(long), units, arguments)]


def _softmax(w: Scope, step: Step) -> list[Launch]:
    x, y, log = step.views[0], step.result, step.kind == "log_softmax"
    scale = w.scalar(step.attrs.get("scale", 1.0), y.dtype)
    return _by_row(w, step, lambda threads: kernels.softmax(y.dtype, threads, log=log),
                   [*_between(w, x, y), scale])


def _layer_norm(w: Scope, step: Step) -> list[Launch]:
    weight, bias = len(step.views) > 1, len(step.views) > 2
    return _by_row(w, step, lambda threads: kernels.layer_norm(
        weight, bias, step.result.dtype, threads), _norm(w, step))


def _rms_norm(w: Scope, step: Step) -> list[Launch]:
    return _by_row(w, step, lambda threads: kernels.rms_norm(
        len(step.views) > 1, step.result.dtype, threads), _norm(w, step))


def _norm(w: Scope, step: Step) -> list[str]:
    x, *affine = step.views
    return [*_matrix(w, x), *(a for v in affine for a in w.array(v)), *_matrix(w, step.result),
            *w.numbers(x.shape), w.scalar(step.attrs["eps"], x.dtype)]


def _cumsum(w: Scope, step: Step) -> list[Launch]:
    (x,), y = step.views, step.result
    return _by_row(w, step, lambda threads: kernels.cumsum(y.dtype, threads), _between(w, x, y))


def _topk(w: Scope, step: Step) -> list[Launch]:
    (x,), y, largest = step.views, step.result, step.attrs["largest"]
    return _by_row(w, step, lambda threads: kernels.topk(largest, x.dtype, threads),
                   [*_between(w, x, y), w.number(y.shape[-1])])


def _reduce(w: Scope, step: Step) -> list[Launch]:
    (x,), op = step.views, step.attrs["op"]
    kernel = kernels.arg if "arg_reduction" in OPS[op].traits else kernels.reduce
    return _by_row(w, step, lambda threads: kernel(op, x.dtype, threads),
                   [*_matrix(w, x), *w.array(step.result), *w.numbers(x.shape)])


def _between(w: Scope, x: View, y: View) -> list[str]:
    return [*_matrix(w, x), *_matrix(w, y), *w.numbers(x.shape)]


def _matrix(w: Scope, view: View) -> list[str]:
    return [*w.array(view), w.number(view.strides[0])]


# -- by index --------------------------------------------------------------------------------------

def _embedding(w: Scope, step: Step) -> list[Launch]:
    ids, table = step.views
    N = table.shape[1]
    rows = replace(table, shape=ids.shape, strides=(0,) * len(ids.shape))
    return _gather(w, step, rows, ids, N, table.shape[0], table.strides[0])


def _take(w: Scope, step: Step) -> list[Launch]:
    """y[a, i, r] = x[a, ids[i], r], with the axis `axis` between a and r."""
    (x, ids), axis = step.views, step.attrs["axis"]
    lead = x.shape[:axis]
    outer = (*lead, *ids.shape)
    rows = replace(x, shape=outer, strides=(*x.strides[:axis], *[0] * len(ids.shape)))
    ids = replace(ids, shape=outer, strides=(*[0] * len(lead), *ids.strides))
    return _gather(w, step, rows, ids, product(x.shape[axis + 1:]), x.shape[axis], x.strides[axis])


def _gather(w: Scope, step: Step, x: View, ids: View, N: Dim, V: Dim, ldx: Dim) -> list[Launch]:
    """Returns the launch for rows of N elements out of V, `ldx` from one to the next.

    x is where the first row begins.
    """
    dims, strides = collapsed(ids.shape, [x.strides, ids.strides])
    kernel = kernels.take(ids.dtype, len(dims), x.dtype, w.target)
    return [_by_element(w, kernel, (*dims, N), [
        *w.array(step.result), *w.array(x), *w.array(ids), *w.numbers((V, ldx, N)),
        *w.fault(step), *w.numbers(dims), *(n for s in strides for n in w.numbers(s))])]


def _take_along(w: Scope, step: Step) -> list[Launch]:
    (x, ids), y, axis = step.views, step.result, step.attrs["axis"]
    own = [0 if a == axis else s for a, s in enumerate(x.strides)]
    dims, strides = collapsed(y.shape, [own, ids.strides])
    if not dims:
        dims, strides = (1,), [(0,), (0,)]
    kernel = kernels.take_along(ids.dtype, len(dims), x.dtype, w.target)
    return [_by_element(w, kernel, dims, [
        *w.array(y), *w.array(x), *w.array(ids), *w.numbers((x.shape[axis], x.strides[axis])),
        *w.fault(step), *w.numbers(dims), *(n for s in strides for n in w.numbers(s))])]


def _embedding_bag(w: Scope, step: Step) -> list[Launch]:
    ids, offsets, table, *weights = step.views
    y, attrs = step.result, step.attrs
    bags = y.shape[0]
    kernel = kernels.embedding_bag(attrs["mode"], ids.dtype, offsets.dtype, bool(weights), y.dtype,
                                   w.target)
    return [_by_element(w, kernel, y.shape, [
        *w.array(ids), *w.array(offsets), *w.array(table), *w.numbers(table.shape),
        *_matrix(w, y), *w.numbers((bags, ids.shape[0])), *(a for v in weights for a in w.array(v)),
        str(attrs["padding"]), *w.fault(step), str(int(attrs["include_last"]))])]


def _iota(w: Scope, step: Step) -> list[Launch]:
    y = step.result
    kernel = kernels.iota(y.dtype, w.target)
    return [_by_element(w, kernel, y.shape, [*w.array(y), w.number(y.shape[0])])]


STEPS: dict[str, Callable[[Scope, Step], list[Launch]]] = {
    "linear": _linear, "matmul": _matmul, "elementwise": _elementwise, "softmax": _softmax,
    "log_softmax": _softmax, "layer_norm": _layer_norm, "rms_norm": _rms_norm, "cumsum": _cumsum,
    "topk_ids": _topk, "reduce": _reduce, "embedding": _embedding, "embedding_bag": _embedding_bag,
    "take": _take, "take_along": _take_along, "iota": _iota,
}

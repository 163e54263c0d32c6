"""One function for each kind of step: the kernel it calls, and the text of its arguments."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from ir.types import INTEGERS, Dim, product, same
from nncompile.cpu import kernels
from nncompile.cpu.driver.naming import Scope
from nncompile.cpu.kernels import Kernel
from nncompile.schedule import Operand, Step, View
from nncompile.schedule.names import fixed
from nncompile.schedule.program import as_matrix, collapsed, row_major

Call: TypeAlias = tuple[Kernel, list[str]]


def linear(w: Scope, step: Step) -> Call:
    x, weight, *bias = step.views
    constants, rows = w.program.constants, x.shape[0]
    N, K = fixed(weight.shape)
    if N == 1:
        return dot_linear(w, step)
    b = constants[bias[0].place] if bias else None
    place = w.arena.linear(constants[weight.place], b, N, K, x.dtype)
    further, chain = [], []
    for op, operands in step.then:
        pairs = [row_operand(w, o, step.result) for o in operands]
        chain.append((op, "".join(kind for kind, _ in pairs)))
        further += [text for _, texts in pairs for text in texts]
    y = as_matrix(step.result) or step.result
    return kernels.linear(tuple(chain), x.dtype), [
        w.pointer(x), w.number(x.strides[0]), f"at(weights, {place})", *matrix(w, y),
        w.number(rows), str(K), str(N), *further]


def dot_linear(w: Scope, step: Step) -> Call:
    """A linear of one output: a product with one vector, to which the bias is added behind."""
    x, weight, *bias = step.views
    y = as_matrix(step.result) or step.result
    chain, further = [], []
    for op, operands in ((("add", tuple(bias)),) if bias else ()) + step.then:
        chain.append((op, "s" * len(operands)))
        for o in operands:
            texts = [w.pointer(o), "0"] if o in bias else row_operand(w, o, step.result)[1]
            further += texts
    return kernels.dot(tuple(chain), 0, x.dtype), [
        *matrix(w, x), w.pointer(weight), *matrix(w, y), *w.numbers(x.shape), *further]


def row_operand(w: Scope, operand: Operand, result: View) -> tuple[str, list[str]]:
    """A further operand of linear: its kind, its pointer, and the distance of its rows."""
    if not isinstance(operand, View):
        return "s", [w.pointer(operand, result.dtype), "0"]
    kind, stride = row_stride(operand, result.shape)
    return kind, [w.pointer(operand), w.number(stride)]


def row_stride(operand: View, shape: Sequence[Dim]) -> tuple[str, Dim]:
    view = operand.broadcast_to(shape)
    dims, (strides,) = collapsed(view.shape[:-1], [view.strides[:-1]])
    kind = "v" if same(view.strides[-1], 1) or same(shape[-1], 1) else "s"
    return kind, strides[-1] if dims else 0


def matmul(w: Scope, step: Step) -> Call:
    x, right = step.views
    y, lead = step.result, step.result.shape[:-2]
    x = x.broadcast_to((*lead, *x.shape[-2:]))
    right = right.broadcast_to((*lead, *right.shape[-2:]))
    views = [o.broadcast_to(y.shape) for o in step.reads[2:]]
    outer, strides = collapsed(lead, [v.strides[:-2] for v in (x, right, y, *views)])
    own, rest = strides[:3], iter(zip(views, strides[3:], strict=True))
    single = same(y.shape[-1], 1) and same(right.strides[-2], 1)      # of one column, a vector
    further, chain = [], []
    for op, operands in step.then:
        kinds = ""
        for o in operands:
            if isinstance(o, View):
                view, outers = next(rest)
                wide = same(view.strides[-1], 1) or same(y.shape[-1], 1)
                kinds += "v" if wide and not single else "s"
                further += [w.pointer(o), w.number(view.strides[-2]), *w.numbers(outers)]
            else:
                kinds += "s"
                further += [w.pointer(o, y.dtype), "0", *["0"] * len(outer)]
        chain.append((op, kinds))
    if single:
        return kernels.dot(tuple(chain), len(outer), y.dtype), [
            w.pointer(x), w.number(x.strides[-2]), w.pointer(right), w.pointer(y),
            *w.numbers((y.strides[-2], y.shape[-2], x.shape[-1])), *w.numbers(outer),
            *(n for s in own for n in w.numbers(s)), *further]
    return kernels.matmul(tuple(chain), len(outer), y.dtype), [
        w.pointer(x), w.number(x.strides[-2]), w.pointer(right), w.number(right.strides[-2]),
        w.pointer(y), w.number(y.strides[-2]), *w.numbers((y.shape[-2], x.shape[-1], y.shape[-1])),
        *w.numbers(outer), *(n for s in own for n in w.numbers(s)), *further]


def elementwise(w: Scope, step: Step) -> Call:
    y, source = step.result, source_dtype(step)
    views = [o.broadcast_to(y.shape) for o in step.reads]
    dims, strides = collapsed(y.shape, [v.strides for v in (y, *views)])
    if not dims or not same(strides[0][-1], 1):                       # y itself has stride 1
        dims, strides = (*dims, 1), [(*s, 1) for s in strides]
    if step.attrs["op"] == "copy" and not step.then and views:
        turned = unit_axis(strides[1])
        if turned is not None:
            return transpose(w, step, dims, strides, turned)
    rest = iter(strides[1:])
    chain, further = [], []
    for op, operands in [(step.attrs["op"], step.operands), *step.then]:
        kinds = ""
        for o in operands:
            own = next(rest) if isinstance(o, View) else (0,) * len(dims)
            kind = {"1": "v", "0": "s"}.get(str(own[-1]), "g")
            kinds += kind
            dtype = source if operands is step.operands and source else y.dtype
            further += [w.pointer(o, dtype), *w.numbers(own[-1:] if kind == "g" else ()),
                        *w.numbers(own[:-1])]
        chain.append((op, kinds))
    if y.dtype in INTEGERS and any(op in ("floor_div", "remainder") for op, _ in chain):
        further += w.fault(step)
    return kernels.elementwise(tuple(chain), len(dims) - 1, y.dtype, source), [
        w.pointer(y), w.number(dims[-1]), *w.numbers(dims[:-1]), *w.numbers(strides[0][:-1]),
        *further]


def unit_axis(strides: Sequence[Dim]) -> int | None:
    """The axis along which an operand lies number by number, if it is not the last one."""
    along = [axis for axis, stride in enumerate(strides) if same(stride, 1)]
    return along[-1] if along and along[-1] < len(strides) - 1 else None


def transpose(w: Scope, step: Step, dims: Sequence[Dim], strides: Sequence[Sequence[Dim]],
              axis: int) -> Call:
    """A copy of numbers that lie along this axis, to where they lie along the last."""
    outer = [a for a in range(len(dims) - 1) if a != axis]
    (y, x), (own, source) = (step.result, *step.views), strides
    return kernels.transpose(len(outer), y.dtype), [
        w.pointer(y), w.number(own[axis]), w.pointer(x), w.number(source[-1]),
        *w.numbers((dims[axis], dims[-1], *(dims[a] for a in outer))),
        *(w.number(s[a]) for s in strides for a in outer)]


def source_dtype(step: Step) -> str | None:
    """The dtype that a cast or a comparison reads, if it is another than it writes."""
    if step.attrs["op"] == "where" or not step.views or step.views[0].dtype == step.result.dtype:
        return None
    return step.views[0].dtype


def softmax(w: Scope, step: Step) -> Call:
    (x,), y, scale = step.views, step.result, step.attrs.get("scale", 1.0)
    log, scaled = step.kind == "log_softmax", scale != 1.0
    further = [w.pointer(scale, y.dtype)] if scaled else []
    if is_columns(step):
        kernel = kernels.softmax_columns(scaled, len(x.shape) - 2, y.dtype, log)
        return kernel, [*columns(w, x, y), *further]
    return kernels.softmax(scaled, y.dtype, log), [*rows(w, x, y), *further]


def layer_norm(w: Scope, step: Step) -> Call:
    weight, bias = len(step.views) > 1, len(step.views) > 2
    return kernels.layer_norm(weight, bias, step.result.dtype), norm(w, step)


def rms_norm(w: Scope, step: Step) -> Call:
    return kernels.rms_norm(len(step.views) > 1, step.result.dtype), norm(w, step)


def norm(w: Scope, step: Step) -> list[str]:
    x, *affine = step.views
    return [*matrix(w, x), *map(w.pointer, affine), w.pointer(step.attrs["eps"], x.dtype),
            *matrix(w, step.result), *w.numbers(x.shape)]


def cumsum(w: Scope, step: Step) -> Call:
    (x,), y = step.views, step.result
    if is_columns(step):
        return kernels.cumsum_columns(len(x.shape) - 2, y.dtype), columns(w, x, y)
    return kernels.cumsum(y.dtype), rows(w, x, y)


def topk(w: Scope, step: Step) -> Call:
    (x,), y = step.views, step.result
    return kernels.topk(step.attrs["largest"], x.dtype), [
        *rows(w, x, y), w.number(y.shape[-1])]


def reduce(w: Scope, step: Step) -> Call:
    (x,), op = step.views, step.attrs["op"]
    if is_columns(step):
        return kernels.reduce_columns(op, len(x.shape) - 2, x.dtype), columns(w, x, step.result)
    kernel = (kernels.arg if op in ("argmax", "argmin") else kernels.reduce)(op, x.dtype)
    return kernel, [*matrix(w, x), w.pointer(step.result), *w.numbers(x.shape)]


def embedding(w: Scope, step: Step) -> Call:
    ids, table = step.views
    outer = len(ids.shape)
    wide = replace(table, shape=(*ids.shape, table.shape[1]), strides=(*[0] * outer, 1))
    return gather(w, step, wide, ids, ids.shape, table.shape[0], table.strides[0])


def take(w: Scope, step: Step) -> Call:
    """y[a, i, r] = x[a, ids[i], r], with the axis `axis` between a and r."""
    (x, ids), axis = step.views, step.attrs["axis"]
    before, behind = len(x.shape[:axis]), len(ids.shape)
    outer = (*x.shape[:axis], *ids.shape)
    wide = replace(x, shape=(*outer, product(x.shape[axis + 1:])),
                   strides=(*x.strides[:axis], *[0] * behind, 1))
    ids = replace(ids, shape=outer, strides=(*[0] * before, *ids.strides))
    return gather(w, step, wide, ids, outer, x.shape[axis], x.strides[axis])


def gather(w: Scope, step: Step, x: View, ids: View, outer: Sequence[Dim], V: Dim,
           ldx: Dim) -> Call:
    """Whole rows of x, which are its last dim, for the ids of all outer places."""
    N = x.shape[-1]
    steps = (step.result.strides if step.kind == "embedding" else row_major((*outer, N)))[:-1]
    dims, strides = collapsed(outer, [steps, x.strides[:-1], ids.strides])
    return kernels.take(ids.dtype, len(dims), x.dtype), [
        w.pointer(step.result), w.pointer(x), w.pointer(ids), *w.numbers((V, ldx, N)),
        *w.fault(step), *w.numbers(dims), *(n for s in strides for n in w.numbers(s))]


def take_along(w: Scope, step: Step) -> Call:
    (x, ids), y, axis = step.views, step.result, step.attrs["axis"]
    own = [0 if a == axis else s for a, s in enumerate(x.strides)]
    dims, strides = collapsed(y.shape, [y.strides, own, ids.strides])
    if not dims:
        dims, strides = (1,), [(1,), (0,), (0,)]
    return kernels.take_along(ids.dtype, len(dims) - 1, x.dtype), [
        *map(w.pointer, (y, x, ids)),
        *w.numbers((x.shape[axis], x.strides[axis], dims[-1], strides[1][-1], strides[2][-1])),
        *w.fault(step), *w.numbers(dims[:-1]), *(n for s in strides for n in w.numbers(s[:-1]))]


def embedding_bag(w: Scope, step: Step) -> Call:
    ids, offsets, table, *weights = step.views
    y, attrs = step.result, step.attrs
    V, D = table.shape
    bags, last = y.shape[0], str(int(attrs["include_last"]))
    return kernels.embedding_bag(attrs["mode"], ids.dtype, bool(weights), y.dtype,
                                 offsets=offsets.dtype), [
        *map(w.pointer, (ids, offsets, table)), *w.numbers((V, D)), *matrix(w, y),
        *w.numbers((bags, ids.shape[0])), *map(w.pointer, weights), str(attrs["padding"]),
        *w.fault(step), last]


def iota(w: Scope, step: Step) -> Call:
    return kernels.iota(step.result.dtype), [w.pointer(step.result), w.number(step.result.shape[0])]


def rows(w: Scope, x: View, y: View) -> list[str]:
    return [*matrix(w, x), *matrix(w, y), *w.numbers(x.shape)]


def is_columns(step: Step) -> bool:
    """Whether the step's axis is the last but one of its operand."""
    return step.attrs.get("axis") == -2


def columns(w: Scope, x: View, y: View) -> list[str]:
    """y has the dims of x, or all but the last but one."""
    rows = [w.number(y.strides[-2])] if len(y.shape) == len(x.shape) else []
    outer = [v.strides[:len(x.shape) - 2] for v in (x, y)]
    return [w.pointer(x), w.number(x.strides[-2]), w.pointer(y), *rows,
            *w.numbers((*x.shape[-2:], *x.shape[:-2])), *(n for s in outer for n in w.numbers(s))]


def matrix(w: Scope, operand: View) -> list[str]:
    return [w.pointer(operand), w.number(operand.strides[0])]


EMITTERS: dict[str, Callable[[Scope, Step], Call]] = {
    "linear": linear, "matmul": matmul, "elementwise": elementwise, "softmax": softmax,
    "log_softmax": softmax, "layer_norm": layer_norm, "rms_norm": rms_norm, "cumsum": cumsum,
    "topk_ids": topk, "reduce": reduce, "embedding": embedding, "embedding_bag": embedding_bag,
    "take": take, "take_along": take_along, "iota": iota,
}

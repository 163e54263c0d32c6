"""One function for each kind of step: the kernel it calls, and what with."""
from __future__ import annotations

from collections.abc import Callable, Sequence

from ir.ops import OPS
from ir.records import replace
from ir.types import Dim, product, same
from nncompile.cpu import kernels
from nncompile.cpu.driver.values import FAULT, Argument, Call, Number, Pointer, StepNumber
from nncompile.schedule import Constant, Operand, Program, Step, View
from nncompile.schedule.names import fixed
from nncompile.schedule.program import as_matrix, collapsed, row_major

Arguments = list[Argument]


def call_of(program: Program, step: Step, number: int) -> Call:
    """The kernel of step number so many of a program, and its arguments."""
    return STEPS[step.kind](step, Context(program, number))


class Context:
    """What a step's arguments are made from besides the step itself."""

    def __init__(self, program: Program, number: int) -> None:
        self._program = program
        self.fault: Arguments = [FAULT, StepNumber(number)]      # for a kernel that may report one

    def constant(self, view: View) -> Constant:
        return self._program.constants[view.place.number]


def pointer(operand: Operand, dtype: str = "f32") -> Pointer:
    """Where an operand starts; a plain number is one of the dtype among the weights."""
    if isinstance(operand, View):
        return Pointer(operand.place, operand.dtype, operand.offset)
    return Pointer(Number(repr(operand), dtype), dtype)


def linear(step: Step, context: Context) -> Call:
    x, weight = step.views[:2]
    if context.constant(weight).layout == "rows":
        return dot_linear(step)
    N, K = fixed(weight.shape)
    further: Arguments = []
    chain = []
    for op, operands in step.then:
        found = [row_operand(o, step.result) for o in operands]
        chain.append((op, "".join(kind for kind, _ in found)))
        further += [argument for _, arguments in found for argument in arguments]
    y = as_matrix(step.result) or step.result
    return Call(kernels.linear(tuple(chain), x.dtype), (
        *matrix(x), pointer(weight), *matrix(y), x.shape[0], K, N, *further))


def dot_linear(step: Step) -> Call:
    """A linear with one output: a product with one vector, and the bias added behind it."""
    x, weight, *bias = step.views
    y = as_matrix(step.result) or step.result
    further: Arguments = []
    chain = []
    for op, operands in ((("add", tuple(bias)),) if bias else ()) + step.then:
        chain.append((op, "s" * len(operands)))
        for o in operands:
            further += [pointer(o), 0] if o in bias else row_operand(o, step.result)[1]
    return Call(kernels.dot(tuple(chain), 0, x.dtype), (
        *matrix(x), pointer(weight), *matrix(y), *x.shape, *further))


def row_operand(operand: Operand, result: View) -> tuple[str, Arguments]:
    """A further operand of linear: its kind, its pointer, and the distance of its rows."""
    if not isinstance(operand, View):
        return "s", [pointer(operand, result.dtype), 0]
    kind, stride = row_stride(operand, result.shape)
    return kind, [pointer(operand), stride]


def row_stride(operand: View, shape: Sequence[Dim]) -> tuple[str, Dim]:
    view = operand.broadcast_to(shape)
    dims, (strides,) = collapsed(view.shape[:-1], [view.strides[:-1]])
    kind = "v" if same(view.strides[-1], 1) or same(shape[-1], 1) else "s"
    return kind, strides[-1] if dims else 0


def matmul(step: Step, _: Context) -> Call:
    x, right = step.views
    y, lead = step.result, step.result.shape[:-2]
    x = x.broadcast_to((*lead, *x.shape[-2:]))
    right = right.broadcast_to((*lead, *right.shape[-2:]))
    views = [o.broadcast_to(y.shape) for o in step.reads[2:]]
    outer, strides = collapsed(lead, [v.strides[:-2] for v in (x, right, y, *views)])
    own, rest = strides[:3], iter(zip(views, strides[3:], strict=True))
    single = same(y.shape[-1], 1) and same(right.strides[-2], 1)      # of one column, a vector
    further: Arguments = []
    chain = []
    for op, operands in step.then:
        kinds = ""
        for o in operands:
            if isinstance(o, View):
                view, outers = next(rest)
                wide = same(view.strides[-1], 1) or same(y.shape[-1], 1)
                kinds += "v" if wide and not single else "s"
                further += [pointer(o), view.strides[-2], *outers]
            else:
                kinds += "s"
                further += [pointer(o, y.dtype), 0, *[0] * len(outer)]
        chain.append((op, kinds))
    if single:
        return Call(kernels.dot(tuple(chain), len(outer), y.dtype), (
            pointer(x), x.strides[-2], pointer(right), pointer(y),
            y.strides[-2], y.shape[-2], x.shape[-1], *outer,
            *(n for s in own for n in s), *further))
    return Call(kernels.matmul(tuple(chain), len(outer), y.dtype), (
        pointer(x), x.strides[-2], pointer(right), right.strides[-2],
        pointer(y), y.strides[-2], y.shape[-2], x.shape[-1], y.shape[-1],
        *outer, *(n for s in own for n in s), *further))


def elementwise(step: Step, context: Context) -> Call:
    y, source = step.result, source_dtype(step)
    views = [o.broadcast_to(y.shape) for o in step.reads]
    dims, strides = collapsed(y.shape, [v.strides for v in (y, *views)])
    if not dims or not same(strides[0][-1], 1):                       # y itself has stride 1
        dims, strides = (*dims, 1), [(*s, 1) for s in strides]
    if step.attrs["op"] == "copy" and not step.then and views:
        turned = unit_axis(strides[1])
        if turned is not None:
            return transpose(step, dims, strides, turned)
    rest = iter(strides[1:])
    further: Arguments = []
    chain = []
    for op, operands in [(step.attrs["op"], step.operands), *step.then]:
        kinds = ""
        for o in operands:
            own = next(rest) if isinstance(o, View) else (0,) * len(dims)
            kind = {"1": "v", "0": "s"}.get(str(own[-1]), "g")
            kinds += kind
            dtype = source if operands is step.operands and source else y.dtype
            further += [pointer(o, dtype), *(own[-1:] if kind == "g" else ()), *own[:-1]]
        chain.append((op, kinds))
    kernel = kernels.elementwise(tuple(chain), len(dims) - 1, y.dtype, source)
    if "fault" in kernel.arguments:
        further += context.fault
    return Call(kernel, (
        pointer(y), dims[-1], *dims[:-1], *strides[0][:-1], *further))


def unit_axis(strides: Sequence[Dim]) -> int | None:
    """The axis along which an operand lies number by number, if it is not the last one."""
    along = [axis for axis, stride in enumerate(strides) if same(stride, 1)]
    return along[-1] if along and along[-1] < len(strides) - 1 else None


def transpose(step: Step, dims: Sequence[Dim], strides: Sequence[Sequence[Dim]],
              axis: int) -> Call:
    """A copy of numbers that lie along this axis, to where they lie along the last."""
    outer = [a for a in range(len(dims) - 1) if a != axis]
    (y, x), (own, source) = (step.result, *step.views), strides
    return Call(kernels.transpose(len(outer), y.dtype), (
        pointer(y), own[axis], pointer(x), source[-1], dims[axis], dims[-1],
        *(dims[a] for a in outer), *(s[a] for s in strides for a in outer)))


def source_dtype(step: Step) -> str | None:
    """The dtype that a cast or a comparison reads, if it is another than it writes."""
    if step.attrs["op"] == "where" or not step.views or step.views[0].dtype == step.result.dtype:
        return None
    return step.views[0].dtype


def softmax(step: Step, _: Context) -> Call:
    (x,), y, scale = step.views, step.result, step.attrs.get("scale", 1.0)
    log, scaled = step.kind == "log_softmax", scale != 1.0
    further: Arguments = [pointer(scale, y.dtype)] if scaled else []
    if is_columns(step):
        kernel = kernels.softmax_columns(scaled, len(x.shape) - 2, y.dtype, log)
        return Call(kernel, (*columns(x, y), *further))
    return Call(kernels.softmax(scaled, y.dtype, log), (*rows(x, y), *further))


def layer_norm(step: Step, _: Context) -> Call:
    weight, bias = len(step.views) > 1, len(step.views) > 2
    return Call(kernels.layer_norm(weight, bias, step.result.dtype), norm(step))


def rms_norm(step: Step, _: Context) -> Call:
    return Call(kernels.rms_norm(len(step.views) > 1, step.result.dtype), norm(step))


def norm(step: Step) -> tuple[Argument, ...]:
    x, *affine = step.views
    return (*matrix(x), *map(pointer, affine), pointer(step.attrs["eps"], x.dtype),
            *matrix(step.result), *x.shape)


def cumsum(step: Step, _: Context) -> Call:
    (x,), y = step.views, step.result
    if is_columns(step):
        return Call(kernels.cumsum_columns(len(x.shape) - 2, y.dtype), columns(x, y))
    return Call(kernels.cumsum(y.dtype), rows(x, y))


def topk(step: Step, _: Context) -> Call:
    (x,), y = step.views, step.result
    return Call(kernels.topk(step.attrs["largest"], x.dtype), (*rows(x, y), y.shape[-1]))


def reduce(step: Step, _: Context) -> Call:
    (x,), op = step.views, step.attrs["op"]
    if is_columns(step):
        return Call(kernels.reduce_columns(op, len(x.shape) - 2, x.dtype),
                    columns(x, step.result))
    kernel = kernels.arg if "arg_reduction" in OPS[op].traits else kernels.reduce
    return Call(kernel(op, x.dtype), (*matrix(x), pointer(step.result), *x.shape))


def embedding(step: Step, context: Context) -> Call:
    ids, table = step.views
    outer = len(ids.shape)
    wide = replace(table, shape=(*ids.shape, table.shape[1]), strides=(*[0] * outer, 1))
    return gather(step, context, wide, ids, ids.shape, table.shape[0], table.strides[0])


def take(step: Step, context: Context) -> Call:
    """y[a, i, r] = x[a, ids[i], r], with the axis `axis` between a and r."""
    (x, ids), axis = step.views, step.attrs["axis"]
    before, behind = len(x.shape[:axis]), len(ids.shape)
    outer = (*x.shape[:axis], *ids.shape)
    wide = replace(x, shape=(*outer, product(x.shape[axis + 1:])),
                   strides=(*x.strides[:axis], *[0] * behind, 1))
    ids = replace(ids, shape=outer, strides=(*[0] * before, *ids.strides))
    return gather(step, context, wide, ids, outer, x.shape[axis], x.strides[axis])


def gather(step: Step, context: Context, x: View, ids: View, outer: Sequence[Dim], V: Dim,
           ldx: Dim) -> Call:
    """Whole rows of x, which are its last dim, for the ids of all outer places."""
    N = x.shape[-1]
    steps = (step.result.strides if step.kind == "embedding" else row_major((*outer, N)))[:-1]
    dims, strides = collapsed(outer, [steps, x.strides[:-1], ids.strides])
    return Call(kernels.take(ids.dtype, len(dims), x.dtype), (
        pointer(step.result), pointer(x), pointer(ids), V, ldx, N,
        *context.fault, *dims, *(n for s in strides for n in s)))


def take_along(step: Step, context: Context) -> Call:
    (x, ids), y, axis = step.views, step.result, step.attrs["axis"]
    own = [0 if a == axis else s for a, s in enumerate(x.strides)]
    dims, strides = collapsed(y.shape, [y.strides, own, ids.strides])
    if not dims:
        dims, strides = (1,), [(1,), (0,), (0,)]
    return Call(kernels.take_along(ids.dtype, len(dims) - 1, x.dtype), (
        *map(pointer, (y, x, ids)),
        x.shape[axis], x.strides[axis], dims[-1], strides[1][-1], strides[2][-1],
        *context.fault, *dims[:-1], *(n for s in strides for n in s[:-1])))


def embedding_bag(step: Step, context: Context) -> Call:
    ids, offsets, table, *weights = step.views
    y, attrs = step.result, step.attrs
    kernel = kernels.embedding_bag(attrs["mode"], ids.dtype, bool(weights), y.dtype,
                                   offsets=offsets.dtype)
    return Call(kernel, (
        *map(pointer, (ids, offsets, table)), *table.shape, *matrix(y), y.shape[0], ids.shape[0],
        *map(pointer, weights), attrs["padding"], *context.fault, int(attrs["include_last"])))


def iota(step: Step, _: Context) -> Call:
    return Call(kernels.iota(step.result.dtype), (pointer(step.result), step.result.shape[0]))


def rows(x: View, y: View) -> tuple[Argument, ...]:
    return (*matrix(x), *matrix(y), *x.shape)


def is_columns(step: Step) -> bool:
    """Whether the step works down the last axis but one of its operand."""
    return bool(step.attrs.get("columns"))


def columns(x: View, y: View) -> tuple[Argument, ...]:
    """y has the dims of x, or all but the last but one."""
    rows = [y.strides[-2]] if len(y.shape) == len(x.shape) else []
    outer = [v.strides[:len(x.shape) - 2] for v in (x, y)]
    return (pointer(x), x.strides[-2], pointer(y), *rows,
            *x.shape[-2:], *x.shape[:-2], *(n for s in outer for n in s))


def matrix(operand: View) -> tuple[Argument, ...]:
    return pointer(operand), operand.strides[0]


STEPS: dict[str, Callable[[Step, Context], Call]] = {
    "linear": linear, "matmul": matmul, "elementwise": elementwise, "softmax": softmax,
    "log_softmax": softmax, "layer_norm": layer_norm, "rms_norm": rms_norm, "cumsum": cumsum,
    "topk_ids": topk, "reduce": reduce, "embedding": embedding, "embedding_bag": embedding_bag,
    "take": take, "take_along": take_along, "iota": iota,
}

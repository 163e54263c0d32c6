"""How nodes become steps: a function for each way; ops.py says which op takes which.

A view needs no step. Every other node becomes one or more steps, and an operand that does not have
the strides that the step's kernel needs is copied before.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ir.graph import Node, Requirement, Value
from ir.ops import OPS
from ir.records import replace
from ir.types import Dim, TensorType, extent, product, same
from nncompile.schedule import geometry
from nncompile.schedule.program import Operand, Place, Step, View, contiguous
from nncompile.schedule.strides import collapsed, is_narrow, merged, row_major

Attrs = Mapping[str, Any]
Views = list[View]
Then = list[tuple[str, tuple[Operand, ...]]]
COPY = {"op": "copy"}


class Lowering:
    """Collects steps and buffers; `views` says where each value of the graph lives."""

    def __init__(self, views: dict[Value, View], outputs: dict[Value, Place],
                 vectors: bool = True, turns: bool = False) -> None:
        self.views, self.outputs, self.vectors, self.turns = views, outputs, vectors, turns
        self.buffers: dict[Place, TensorType] = {}
        self.steps: list[Step] = []
        self.requirements: list[tuple[str, Requirement]] = []
        self._copies: dict[View, View] = {}

    def require(self, node: Node, *dims: Dim) -> None:
        """Makes the program refuse calls in which one of these dims is negative."""
        self.requirements += [(node.op, Requirement(dim, ">=", 0, node.where))
                              for dim in dims if extent(dim)[0] < 0]

    def operand(self, operand: Value | float) -> Operand:
        """Returns where an operand lives, or the number that it is."""
        return self.views[operand] if isinstance(operand, Value) else operand

    def step(self, kind: str, node: Node, result: View, operands: Sequence[Operand],
             attrs: Attrs | None = None, then: Then | None = None) -> View:
        """Adds a step, and returns its result."""
        self.steps.append(Step(kind, result, tuple(operands), attrs or {}, tuple(then or ()), node))
        return result

    def result(self, node: Node) -> View:
        """Returns where a kernel writes the node's result: an output if it is one, or a buffer."""
        place = self.outputs.pop(node.result, None)
        return contiguous(place, node.result.type) if place else self.buffer(node.result.type)

    def buffer(self, type_: TensorType) -> View:
        """Returns a new buffer, as a contiguous view."""
        place = Place("buffer", len(self.buffers))
        self.buffers[place] = type_
        return contiguous(place, type_)

    def copied(self, node: Node, view: View) -> View:
        """Returns a copy in row-major order, which is made for the first that needs it."""
        if view not in self._copies:
            copy = self.buffer(TensorType(view.dtype, view.shape))
            self._copies[view] = self.step("elementwise", node, copy, [view], COPY)
        return self._copies[view]

    def contiguous(self, node: Node, view: View) -> View:
        """Returns the view itself if it is contiguous, or else a copy."""
        return view if view.is_contiguous else self.copied(node, view)

    def turned(self, node: Node, operand: Operand) -> Operand:
        """Returns the operand of an elementwise step, or a copy in the order of the result.

        It is copied if it has stride 1 along another axis than the last: a transpose works block by
        block, where the step would gather element by element.
        """
        if not isinstance(operand, View):
            return operand
        wide = operand.broadcast_to(node.result.type.shape)
        dims, (strides,) = collapsed(wide.shape, [wide.strides])
        if not dims or same(strides[-1], 0) or same(strides[-1], 1):
            return operand
        aside = any(same(s, 1) and not is_narrow(d) for d, s in zip(dims, strides, strict=True))
        return self.copied(node, operand) if aside else operand

    def broadcasting(self, node: Node, then: Then, dims: int) -> Then:
        """Returns the further operands of a product with the strides that its kernel needs.

        That is stride 1 or 0 along a row, and one stride for each of at most `dims` dims before;
        an operand with other strides is copied.
        """
        def readable(operand: Operand) -> Operand:
            if not isinstance(operand, View):
                return operand
            wide = operand.broadcast_to(node.result.type.shape)
            along = wide.strides[-1]
            if ((same(along, 0) or same(along, 1) or same(wide.shape[-1], 1))
                    and len(collapsed(wide.shape[:-1], [wide.strides[:-1]])[0]) <= dims):
                return operand
            return self.copied(node, wide)
        return [(op, tuple(map(readable, others))) for op, others in then]

    def matrix(self, node: Node, view: View, columns: int = 1) -> View:
        """Returns the operand as a matrix, whose columns are its last `columns` dims, merged.

        It is copied if its strides do not allow that.
        """
        found = view.as_matrix(columns)
        return found or self.copied(node, view).as_matrix(columns)       # type: ignore[return-value]


# -- ops that take the chain behind them: (lowering, node, operands, then) -> where the result is --

def elementwise(low: Lowering, node: Node, operands: list[Operand], then: Then) -> View:
    """One step; an operand whose unit stride is along another axis is transposed first."""
    if low.vectors:
        operands = [low.turned(node, o) for o in operands]
        then = [(op, tuple(low.turned(node, o) for o in others)) for op, others in then]
    return low.step("elementwise", node, low.result(node), operands, {"op": node.op}, then)


def linear(low: Lowering, node: Node, operands: Views, then: Then) -> View:
    """One product with a stored weight; a weight that is computed makes it a matmul."""
    x, w, *bias = operands
    if not all(_is_stored(o) for o in (w, *bias)):
        # The weight is computed at run time, so it cannot be packed: a product of two activations.
        then = [("add", tuple(bias)), *then] if bias else then
        return matmul(low, node, [x, w.permuted([1, 0])], then)
    then = low.broadcasting(node, then, dims=1)
    return low.step("linear", node, low.result(node), [low.matrix(node, x), w, *bias], {}, then)


def _is_stored(view: View) -> bool:
    """Whether the view is a whole constant; one that ends at a size is not known before a call."""
    return (view.place.kind == "constant" and view.is_contiguous
            and all(isinstance(dim, int) for dim in view.shape))


def matmul(low: Lowering, node: Node, operands: Views, then: Then) -> View:
    """One product of stacks of matrices, whose rows must have stride 1.

    Where the lowering turns products, the columns of an operand may have it instead; then the
    product is of a matrix that is stored as its transpose. A stack of matrices that are multiplied
    by the same one is a single matrix, if strides allow that.
    """
    x, w = operands
    turned, shape = "", node.result.type.shape
    if low.turns and not same(shape[-1], 1):
        turned = "".join(name for name, o in (("x", x), ("w", w))
                         if not same(o.strides[-1], 1) and same(o.strides[-2], 1))
    x = x if "x" in turned or same(x.strides[-1], 1) else low.copied(node, x)
    w = w if "w" in turned or same(w.strides[-1], 1) else low.copied(node, w)
    then = low.broadcasting(node, then, dims=len(shape) - 1)
    attrs = {"turned": turned} if turned else {}
    out = low.result(node)
    merged_stack = _merged_stack(x, w, then, shape) if "x" not in turned else None
    if merged_stack is None:
        return low.step("matmul", node, out, [x, w], attrs, then)
    rows, then = merged_stack
    low.step("matmul", node, out.contiguous_as((rows.shape[0], shape[-1])), [rows, w], attrs, then)
    return out


def _merged_stack(x: View, w: View, then: Then, shape: Sequence[Dim]) -> tuple[View, Then] | None:
    """Returns a stack of left operands as one matrix, and the chain with its operands likewise.

    None where each has a right operand of its own, and where strides do not allow it.
    """
    rows = [_as_rows(o.broadcast_to(shape)) for _, others in then for o in others
            if isinstance(o, View)]
    left, found = _as_rows(x), [view for view in rows if view is not None]
    if len(shape) < 3 or len(w.shape) > 2 or left is None or len(found) < len(rows):
        return None
    following = iter(found)
    return left, [(op, tuple(next(following) if isinstance(o, View) else o for o in others))
                  for op, others in then]


def _as_rows(view: View) -> View | None:
    """Returns the view with all dims but the last merged; None if strides do not allow that."""
    rows = merged(view.shape[:-1], view.strides[:-1])
    if rows is None:
        return None
    return view.laid_out((rows[0], view.shape[-1]), (rows[1], view.strides[-1]))


# -- ops that do not: (lowering, node, operands, attrs) -> where the result is ---------------------

def along_axis(low: Lowering, node: Node, operands: Views, attrs: Attrs) -> View:
    """One step that maps rows to rows, or columns to columns where the axis is not the last."""
    x, axis = operands[0], attrs["axis"]
    kept = {key: value for key, value in attrs.items() if key == "scale"}
    if low.vectors and not _is_row(x, [axis]):
        found = _as_columns(x.shape, [x.strides, row_major(x.shape)], [axis])
        if found:
            shape, (source, own) = found
            out = low.result(node)
            low.step(node.op, node, out.laid_out(shape, own), [x.laid_out(shape, source)],
                     kept | {"columns": True})
            return out
    return _along_axes(low, node, x, [axis], [], kept)


def norm(low: Lowering, node: Node, operands: Views, attrs: Attrs) -> View:
    """One step over rows, with weight and bias as vectors."""
    x, *affine = operands
    rows = [low.contiguous(node, v) for v in affine]
    rows = [replace(v, shape=(product(v.shape),), strides=(1,)) for v in rows]
    return _along_axes(low, node, x, list(attrs["axes"]), rows, {"eps": attrs["eps"]})


def topk_ids(low: Lowering, node: Node, operands: Views, attrs: Attrs) -> View:
    """One step over rows, whose result has k columns."""
    x, axis, k = operands[0], attrs["axis"], attrs["k"]
    low.require(node, k, x.shape[axis] - k)
    return _along_axes(low, node, x, [axis], [], {"largest": attrs["largest"]})


def _along_axes(low: Lowering, node: Node, x: View, axes: list[int], further: list[View],
                attrs: Attrs) -> View:
    """One step that maps rows to rows; the axes it works on are moved last before, and back after.
    """
    order = [a for a in range(len(x.shape)) if a not in axes] + axes
    back = [order.index(a) for a in range(len(order))]
    rows = low.matrix(node, x.permuted(order), len(axes))
    if order == sorted(order):
        made = low.result(node)
    else:
        made = low.buffer(TensorType(node.result.type.dtype,
                                     tuple(node.result.type.shape[a] for a in order)))
    out = made.as_matrix(len(axes))
    low.step(node.op, node, out, [rows, *further], attrs)                # type: ignore[arg-type]
    return made.permuted(back)


def _is_row(view: View, axes: Sequence[int]) -> bool:
    """Whether the axes can be merged to one of stride 1."""
    found = merged([view.shape[a] for a in axes], [view.strides[a] for a in axes])
    return found is not None and (same(found[0], 1) or same(found[1], 1))


def _as_columns(shape: Sequence[Dim], strides: Sequence[Sequence[Dim]], axes: Sequence[int]
                ) -> tuple[tuple[Dim, ...], list[tuple[Dim, ...]]] | None:
    """Returns arrays of one shape as (*outer, K, N): that shape, and the strides of each array.

    K merges the axes, and N is contiguous in every array. None where strides do not allow that,
    or where N is too small to be vectorised.
    """
    def collapsed_along(axes: Sequence[int]) -> tuple[tuple[Dim, ...], list[tuple[Dim, ...]]]:
        return collapsed([shape[a] for a in axes], [[own[a] for a in axes] for own in strides])
    down, inner = collapsed_along(axes)
    kept, others = collapsed_along([a for a in range(len(shape)) if a not in axes])
    if (len(down) > 1 or not kept or not all(same(own[-1], 1) for own in others)
            or is_narrow(kept[-1])):
        return None
    return ((*kept[:-1], *(down or (1,)), kept[-1]),
            [(*other[:-1], *(own or (0,)), 1) for own, other in zip(inner, others, strict=True)])


def reduction(low: Lowering, node: Node, operands: Views, attrs: Attrs) -> View:
    """Steps that reduce rows or columns to numbers.

    Axes that cannot be merged are reduced one group after another, rather than copied.
    """
    x, axes = operands[0], sorted(attrs.get("axes", (attrs.get("axis"),)))
    if "extreme" in OPS[node.op].traits:
        low.require(node, *(x.shape[a] - 1 for a in axes))               # nothing has no maximum
    out = low.result(node)
    if low.vectors:
        while not _is_arg(node) and (first := _apart(x, axes)):
            last, axes = axes[first:], axes[:first]
            kept = tuple(d for a, d in enumerate(x.shape) if a not in last)
            part = low.buffer(TensorType(node.result.type.dtype, kept))
            _reduce_to(low, node, x, last, part)
            x = part
    _reduce_to(low, node, x, axes, out)
    return out


def _is_arg(node: Node) -> bool:
    """Whether the result is an index; the kernel for that works on rows only."""
    return "arg_reduction" in OPS[node.op].traits


def _apart(x: View, axes: Sequence[int]) -> int:
    """The number of axes before those that can be merged to one; 0 if all of them can."""
    return next((i for i in range(len(axes)) if merged(
        [x.shape[a] for a in axes[i:]], [x.strides[a] for a in axes[i:]])), 0)


def _reduce_to(low: Lowering, node: Node, x: View, axes: list[int], out: View) -> None:
    """One step that reduces rows or columns of x to numbers, which are contiguous in `out`."""
    kept = [a for a in range(len(x.shape)) if a not in axes]
    if low.vectors and not _is_arg(node) and not _is_row(x, axes):
        compact = dict(zip(kept, row_major([x.shape[a] for a in kept]), strict=True))
        wide = [compact.get(a, 0) for a in range(len(x.shape))]
        if found := _as_columns(x.shape, [x.strides, wide], axes):
            shape, (down, own) = found
            y = out.laid_out((*shape[:-2], shape[-1]), (*own[:-2], 1))
            low.step("reduce", node, y, [x.laid_out(shape, down)], {"op": node.op, "columns": True})
            return
    rows = low.matrix(node, x.permuted([*kept, *axes]), len(axes))
    low.step("reduce", node, replace(out, shape=(rows.shape[0],), strides=(1,)), [rows],
             {"op": node.op})


def embedding(low: Lowering, node: Node, operands: Views, _: Attrs) -> View:
    """One step that copies rows of the table."""
    ids, table = operands
    return low.step("embedding", node, low.result(node), [ids, low.contiguous(node, table)])


def embedding_bag(low: Lowering, node: Node, operands: Views, attrs: Attrs) -> View:
    """One step that combines rows of the table."""
    return low.step("embedding_bag", node, low.result(node),
                    [low.contiguous(node, v) for v in operands], attrs)


def take(low: Lowering, node: Node, operands: Views, attrs: Attrs) -> View:
    """One step that copies rows, the dims behind the axis, or elements where there are none."""
    (x, ids), axis = operands, attrs["axis"]
    if axis == len(x.shape) - 1:
        ids = ids if ids.shape else replace(ids, shape=(1,), strides=(0,))
        shape, inner = (*x.shape[:axis], *ids.shape), len(ids.shape) - 1
        wide = replace(x, shape=(*x.shape[:axis], *[1] * inner, x.shape[axis]),
                       strides=(*x.strides[:axis], *[0] * inner, x.strides[axis]))
        out = low.result(node)
        low.step("take_along", node, out.contiguous_as(shape),
                 [wide, ids.broadcast_to(shape)], {"axis": len(shape) - 1})
        return out
    rest = collapsed(x.shape[axis + 1:], [x.strides[axis + 1:]])
    if len(rest[0]) > 1 or not all(same(s, 1) for s in rest[1][0]):
        x = low.copied(node, x)
    return low.step("take", node, low.result(node), [x, ids], attrs)


def take_along(low: Lowering, node: Node, operands: Views, attrs: Attrs) -> View:
    """One step that copies elements by index."""
    x, ids = operands
    low.require(node, *(n - m for a, (n, m) in enumerate(zip(x.shape, ids.shape, strict=True))
                        if a != attrs["axis"]))
    return low.step("take_along", node, low.result(node), [x, ids], attrs)


def scatter_add(low: Lowering, node: Node, operands: Views, attrs: Attrs) -> View:
    """Two steps: one fills the result with zeros, one adds the operand to it."""
    (ids, x), axis, out = operands, attrs["axis"], low.result(node)
    low.require(node, attrs["size"])
    ids = ids.broadcast_to(x.shape)
    if geometry.scatters_rows(ids, axis):
        rest = collapsed(x.shape[axis + 1:], [x.strides[axis + 1:]])
        if len(rest[0]) > 1 or not all(same(s, 1) for s in rest[1][0]):
            x = low.copied(node, x)
    low.step("elementwise", node, out, [0.0], COPY)
    return low.step("scatter_add", node, out, [ids, x], {"axis": axis})


def first_equal(low: Lowering, node: Node, operands: Views, _: Attrs) -> View:
    """Two steps: one empties a hash table of twice as many places, which lies behind the result."""
    count = node.result.type.shape[0]
    out = low.buffer(TensorType("i64", (count * 3,)))
    low.step("elementwise", node, out, [-1.0], COPY)
    low.step("first_equal", node, out, [low.contiguous(node, operands[0])])
    return replace(out, shape=(count,))


def put_rows(low: Lowering, node: Node, operands: Views, _: Attrs) -> View:
    """One step, which copies x first where it does not write into x."""
    ids, rows, x = (low.contiguous(node, o) for o in operands)
    return low.step("put_rows", node, low.result(node), [rows, ids, x])


def tree_walk(low: Lowering, node: Node, operands: Views, attrs: Attrs) -> View:
    """One step that walks all rows through all trees."""
    x, *tables = operands
    return low.step("tree_walk", node, low.result(node),
                    [low.matrix(node, x), *(low.contiguous(node, t) for t in tables)], attrs)


def iota(low: Lowering, node: Node, _: Views, attrs: Attrs) -> View:
    """One step that writes a row, seen along the other axes with stride 0."""
    type_, axis = node.result.type, attrs["axis"]
    low.require(node, *type_.shape)
    row = low.step("iota", node, low.buffer(TensorType(type_.dtype, (type_.shape[axis],))), [])
    return replace(row, shape=type_.shape, strides=tuple(int(a == axis) for a in range(type_.ndim)))


def uniform(low: Lowering, node: Node, operands: Views, attrs: Attrs) -> View:
    """One step that fills the result with random numbers."""
    low.require(node, *node.result.type.shape)
    return low.step("uniform", node, low.result(node), [low.contiguous(node, operands[0])],
                    {"stream": attrs["stream"]})


def size(low: Lowering, node: Node, _: Views, attrs: Attrs) -> View:
    """One step that writes a size of the call, also where a block has fewer rows than it."""
    return low.step("size", node, low.result(node), [], attrs)


def full(low: Lowering, node: Node, operands: list[Operand], _: Attrs) -> View:
    """One step that fills the result."""
    low.require(node, *node.result.type.shape)
    return low.step("elementwise", node, low.result(node), operands, COPY)


def pad(low: Lowering, node: Node, operands: Views, attrs: Attrs) -> View:
    """Two steps: one fills the result, one copies the operand into it."""
    out, x = low.result(node), operands[0]
    low.require(node, *attrs["low"], *attrs["high"])
    low.step("elementwise", node, out, [attrs["value"]], COPY)
    middle = out
    for axis, (start, size) in enumerate(zip(attrs["low"], x.shape, strict=True)):
        middle = middle.sliced(axis, start, size)
    low.step("elementwise", node, middle, [x], COPY)
    return out


def reshape(low: Lowering, node: Node, operands: Views, _: Attrs) -> View:
    """A view where strides allow it, or else a contiguous copy."""
    x, shape = operands[0], node.result.type.shape
    low.require(node, *shape)
    return x.reshaped(shape) or low.contiguous(node, x).contiguous_as(shape)


def transpose(low: Lowering, node: Node, operands: Views, attrs: Attrs) -> View:
    """A view with its axes in another order."""
    return operands[0].permuted(attrs["axes"])


def slice_(low: Lowering, node: Node, operands: Views, attrs: Attrs) -> View:
    """A view of a part of one axis."""
    x, axis, start, stop, step = operands[0], *(attrs[k] for k in ("axis", "start", "stop", "step"))
    size = x.shape[axis]
    if step > 0:
        low.require(node, start, stop - start, size - stop)
    else:
        low.require(node, stop + 1, start - stop, size - 1 - start)
    return x.sliced(axis, start, node.result.type.shape[axis], step)


def expand(low: Lowering, node: Node, operands: Views, _: Attrs) -> View:
    """A view with stride 0 along the new dims."""
    low.require(node, *node.result.type.shape)
    return operands[0].broadcast_to(node.result.type.shape)


def unchanged(low: Lowering, node: Node, operands: Views, _: Attrs) -> View:
    """The operand itself."""
    return operands[0]


def concat(low: Lowering, node: Node, operands: Views, attrs: Attrs) -> View:
    """One step an operand, which copies it to its place in the result."""
    out, axis = low.result(node), attrs["axis"]
    start: Dim = 0
    for x in operands:
        low.step("elementwise", node, out.sliced(axis, start, x.shape[axis]), [x], COPY)
        start = start + x.shape[axis]
    return out

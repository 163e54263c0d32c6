"""The sizes and strides that the kernels of every target are given.

A chain is a list of ops, each with its operands; `Chain` gives each operand its strides along the
axes that the step works on, which are 0 for a plain number.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence

from ir.types import Dim, product, same
from nncompile.schedule.program import Operand, Step, View
from nncompile.schedule.strides import collapsed

Strides = tuple[Dim, ...]
Chain = list[tuple[str, list[tuple[Operand, Strides]]]]
Ops = Sequence[tuple[str, Sequence[Operand]]]


def with_strides(ops: Ops, strides: Iterable[Strides], rank: int) -> Chain:
    """Returns the ops with the strides, of so many axes, of each View among their operands."""
    following = iter(strides)
    return [(op, [(o, next(following) if isinstance(o, View) else (0,) * rank) for o in operands])
            for op, operands in ops]


def elementwise(step: Step) -> tuple[Strides, list[Strides]]:
    """Returns the fewest dims, and along them the strides of the result and of all it reads."""
    shape = step.result.shape
    views = (step.result, *(view.broadcast_to(shape) for view in step.reads))
    return collapsed(shape, [view.strides for view in views])


def source_dtype(step: Step) -> str:
    """Returns the dtype that the first op reads; casts and comparisons write another."""
    free = step.attrs["op"] == "where" or not step.views
    return step.result.dtype if free else step.views[0].dtype


def linear(step: Step) -> Chain:
    """Returns the addition of a bias and the chain behind it, by rows and columns."""
    def strides(operand: View) -> Strides:
        view = operand.broadcast_to(step.result.shape)
        rows, (own,) = collapsed(view.shape[:-1], [view.strides[:-1]])
        return (own[-1] if rows else 0), view.strides[-1]

    bias = tuple(step.views[2:])
    return with_strides([("add", bias)] * bool(bias) + list(step.then),
                        map(strides, step.reads[2:]), 2)


def matmul(step: Step) -> tuple[View, View, Strides, list[Strides], Chain]:
    """Returns the geometry of a stack of products.

    These are the left and the right operand, broadcast to the stack; the outer dims; along them the
    strides of left, right and result; and the chain, by rows, columns and outer dims.
    """
    y, lead = step.result, step.result.shape[:-2]
    left, right = (v.broadcast_to((*lead, *v.shape[-2:])) for v in step.views)
    further = [view.broadcast_to(y.shape) for view in step.reads[2:]]
    outer, strides = collapsed(lead, [v.strides[:-2] for v in (left, right, y, *further)])
    own = [(*v.strides[-2:], *s) for v, s in zip(further, strides[3:], strict=True)]
    return left, right, outer, strides[:3], with_strides(step.then, own, 2 + len(outer))


def scatters_rows(ids: View, axis: int) -> bool:
    """Returns whether an index is one for all dims behind the axis, so that rows are added."""
    behind = zip(ids.shape[axis + 1:], ids.strides[axis + 1:], strict=True)
    return all(same(stride, 0) or same(dim, 1) for dim, stride in behind)


def scatter(step: Step) -> tuple[View, View, Strides, list[Strides], Strides]:
    """Returns the geometry of y[o, ids[o, n], :] += x[o, n, :], a scatter_add.

    These are the ids and x; the dims of o; along them the strides of y, x and ids; and the size of
    y's axis, its stride, the number of n, x's and the ids' stride along n, and the length of a row.
    """
    (ids, x), y, axis = step.views, step.result, step.attrs["axis"]
    behind = len(x.shape) if scatters_rows(ids, axis) else axis + 1
    dims, *strides = ((*dims[:axis], *dims[behind:])
                      for dims in (x.shape, y.strides, x.strides, ids.strides))
    outer, along = collapsed(dims, strides)
    return ids, x, outer, along, (
        y.shape[axis], y.strides[axis], x.shape[axis], x.strides[axis], ids.strides[axis],
        product(x.shape[axis + 1:behind]))


def gather(step: Step) -> tuple[View, View, Strides, list[Strides], Strides]:
    """Returns the geometry of y[a, i, :] = x[a, ids[i], :], a take or an embedding.

    These are x and the ids; the dims of a and i; along them the strides of x and of the ids; and
    how many rows there are to choose from, the stride from one to the next, and their length.
    """
    x, ids = step.views if step.kind == "take" else reversed(step.views)
    axis: int = step.attrs.get("axis", 0)
    return x, ids, (*x.shape[:axis], *ids.shape), [
        (*x.strides[:axis], *[0] * len(ids.shape)), (*[0] * axis, *ids.strides)], (
        x.shape[axis], x.strides[axis], product(x.shape[axis + 1:]))

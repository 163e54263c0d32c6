"""Removes copies: a step writes its result where it would be copied to.

    b0 [B, 8]     = linear(...)
    b1 [B, 8]     = elementwise(b0 [B, 8]) {op = copy}          b1 [B, 8]     = linear(...)
    b1 [B, 16]    = elementwise(in0 [B, 16]) {op = copy}  -->   b1 [B, 16]    = elementwise(in0 ...

So the parts of a concatenation, and the heads of attention, are computed in their final places.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ir.records import replace
from ir.types import Dim, TensorType, product, same
from nncompile.schedule.ops import KINDS
from nncompile.schedule.program import Place, Step, View
from nncompile.schedule.strides import collapsed, is_narrow


def write_directly(steps: Sequence[Step], buffers: Mapping[Place, TensorType]) -> list[Step]:
    """Returns the steps without copies of what one step writes and nothing but the copy reads."""
    current = list(steps)
    readers = Counter(view.place for step in steps for view in step.reads)
    for number in reversed(range(len(steps))):           # a copy of a copy is the first to go
        copy = current[number]
        alone = _is_copy(copy) and readers[copy.views[0].place] == 1
        maker = _only_maker(copy, current) if alone else None
        result = _destination(maker, copy) if maker and maker.result.place in buffers else None
        if maker and result:
            current = [replace(s, result=result) if s is maker else s
                       for s in current if s is not copy]
    return current


def _is_copy(step: Step) -> bool:
    return step.attrs.get("op") == "copy" and not step.then and len(step.views) == 1


def _only_maker(copy: Step, steps: Sequence[Step]) -> Step | None:
    """The one step that writes what the copy reads, if it may write there earlier than the copy.

    It may if no other step writes to that place, but copies of the same concatenation.
    """
    source, target = copy.views[0].place, copy.result.place
    makers = [s for s in steps if s.result.place == source]
    beside = [s for s in steps if s.result.place == target and s is not copy]
    if len(makers) != 1 or (beside and copy.node.op != "concat"):
        return None
    return makers[0]


def _destination(maker: Step, copy: Step) -> View | None:
    """Where the maker would write its result, or None if its kernel cannot write there."""
    target, made = copy.result, maker.result
    source = copy.views[0].broadcast_to(target.shape)
    dims, strides = collapsed(target.shape, [source.strides, target.strides])
    order, size = _memory_order(dims, strides[0])
    if (not KINDS[maker.kind].strided or len(order) < len(dims) or not made.is_contiguous
            or not same(size, product(made.shape)) or not same(source.offset, 0)):
        return None
    whole = replace(target, shape=tuple(dims[a] for a in order),
                    strides=tuple(strides[1][a] for a in order))
    result = whole.reshaped(made.shape)
    return result if result and _can_write(maker, result) else None


def _memory_order(dims: Sequence[Dim], strides: Sequence[Dim]) -> tuple[list[int], Dim]:
    """The axes from the largest stride to the smallest, and the number of elements.

    Axes that do not lie in memory without gaps are left out.
    """
    order: list[int] = []
    size: Dim = 1
    while inner := [a for a in range(len(dims)) if a not in order and same(strides[a], size)]:
        order.insert(0, inner[0])
        size = size * dims[inner[0]]
    return order, size


def _can_write(maker: Step, result: View) -> bool:
    """Whether the maker's kernel can write this view at full speed.

    Products write rows of any length; others need rows that can be vectorised.
    """
    if maker.kind == "linear":
        return result.as_matrix() is not None
    if maker.kind == "matmul":
        return same(result.strides[-1], 1) or same(result.shape[-1], 1)
    dims, (strides,) = collapsed(result.shape, [result.strides])
    return bool(dims) and same(strides[-1], 1) and not is_narrow(dims[-1])

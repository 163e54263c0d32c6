from __future__ import annotations

from dataclasses import dataclass, replace

from ir import Graph, Node, Value
from ir.graph import Operand
from ir.types import same
from nncompile.passes.support.epilogue import is_step
from nncompile.passes.support.patterns import Seen, made_of, replace_by_several

VIEWS = ("reshape", "transpose")


@dataclass(frozen=True)
class SinkViews:
    """Do elementwise work before a view, where it meets the node that made what is viewed.

        %0 = linear(%x, @w)
        %1 = reshape(%0) {shape = [B, 2, 4]}
        %2 = relu(%1)
        %3 = mul(%2, 0.5)
    -->
        %0 = linear(%x, @w)
        %1 = relu(%0)
        %2 = mul(%1, 0.5)
        %3 = reshape(%2) {shape = [B, 2, 4]}

    The view's operand is of use to nothing else, and a product or elementwise, so that the work can
    be fused with it: a view costs nothing wherever it is.  Further operands are numbers, viewed in
    the same way, of one element, or vectors along a last axis that a reshape keeps.

    Exact: the same operations on the same elements.
    """

    name = "sink_views"
    exact = True

    def __call__(self, graph: Graph) -> Graph:
        return replace_by_several(graph, sunk)


def sunk(node: Node, seen: Seen) -> list[Node] | None:
    if not is_step(node.op):
        return None
    for operand in node.inputs:
        view = seen.once(operand)
        if view is None or view.op not in VIEWS or not isinstance(x := view.inputs[0], Value):
            continue
        inputs = [before_view(o, view, x, seen) for o in node.inputs]
        known = tuple(o for o in inputs if o is not None)
        if len(known) == len(inputs) and can_take(seen.once(x)) \
                and node.result.type == view.result.type:
            work = made_of(node.op, *known, where=node.where)
            return [work, replace(view, result=node.result, inputs=(work.result,))]
    return None


def can_take(node: Node | None) -> bool:
    """Whether elementwise work can be fused with the node."""
    return node is not None and (node.op in ("linear", "matmul") or is_step(node.op))


def before_view(operand: Operand, view: Node, x: Value, seen: Seen) -> Operand | None:
    """What stands beside x for what stands beside the view of it, or None."""
    if isinstance(operand, float) or operand is view.result:
        return x if isinstance(operand, Value) else operand
    made = seen.made(operand)
    if made is not None and made.op == view.op \
            and same([*made.attrs.values()], [*view.attrs.values()]) \
            and isinstance(made.inputs[0], Value) and same(made.inputs[0].type.shape, x.type.shape):
        return made.inputs[0]
    shape = operand.type.shape
    one = all(same(d, 1) for d in shape) and len(shape) <= x.type.ndim
    along_last = view.op == "reshape" and len(shape) == 1 and x.type.ndim > 0 \
        and same(shape, x.type.shape[-1:]) and same(shape, view.result.type.shape[-1:])
    return operand if one or along_last else None

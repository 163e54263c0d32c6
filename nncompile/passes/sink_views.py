from __future__ import annotations

from typing import TypeGuard

from ir import Context, Graph, Node, Operand, Value, rewrite, same
from ir.records import dataclass, replace
from nncompile.passes.support.building import new_node
from nncompile.passes.support.epilogue import STEPS

_VIEWS = ("reshape", "transpose")


@dataclass(frozen=True)
class SinkViews:
    """Move views behind elementwise work, so that the work comes next to the node before the view.

        %0 = linear(%x, @w)
        %1 = reshape(%0) {shape = [B, 2, 4]}
        %2 = relu(%1)
        %3 = mul(%2, 0.5)
    -->
        %0 = linear(%x, @w)
        %1 = relu(%0)
        %2 = mul(%1, 0.5)
        %3 = reshape(%2) {shape = [B, 2, 4]}

    The work can then be fused with that node, while a view costs nothing wherever it is. So the
    node has to be a product or elementwise, and nothing else may use it or the view. Further
    operands of the work may be numbers, values viewed in the same way, values of one element, and
    vectors along the last axis where the view is a reshape that keeps it.

    Exact: the same operations on the same elements.
    """

    name = "sink_views"
    exact = True

    def __call__(self, graph: Graph) -> Graph:
        return rewrite(graph, _sunk, STEPS)


def _sunk(node: Node, context: Context) -> list[Node] | None:
    for operand in node.inputs:
        view = context.producer(operand)
        if view is None or view.op not in _VIEWS or not isinstance(x := view.inputs[0], Value):
            continue
        if not _can_fuse(made := context.producer(x)) or node.result.type != view.result.type:
            continue
        if not context.is_only_use(node, view) or not context.is_only_use(node, made):
            continue
        inputs = [_before_view(o, view, x, context) for o in node.inputs]
        known = tuple(o for o in inputs if o is not None)
        if len(known) == len(inputs):
            work = new_node(node.op, *known, where=node.where)
            return [work, replace(view, result=node.result, inputs=(work.result,))]
        context.leave(node, f"stays behind the {view.op} {{}}, and is not fused with {made.op}: "
                            "another operand has no such form before that view", view.result)
    return None


def _can_fuse(node: Node | None) -> TypeGuard[Node]:
    """Whether elementwise work can be fused with the node."""
    return node is not None and (node.op in ("linear", "matmul") or node.op in STEPS)


def _before_view(operand: Operand, view: Node, x: Value, context: Context) -> Operand | None:
    """The operand that stands beside x as this one stands beside the view of x, if there is one."""
    if isinstance(operand, float) or operand is view.result:
        return x if isinstance(operand, Value) else operand
    producer = context.producer(operand)
    if producer is not None and producer.op == view.op \
            and same([*producer.attrs.values()], [*view.attrs.values()]) \
            and isinstance(producer.inputs[0], Value) \
            and same(producer.inputs[0].type.shape, x.type.shape):
        return producer.inputs[0]
    shape = operand.type.shape
    one = all(same(d, 1) for d in shape) and len(shape) <= x.type.ndim
    along_last = view.op == "reshape" and len(shape) == 1 and x.type.ndim > 0 \
        and same(shape, x.type.shape[-1:]) and same(shape, view.result.type.shape[-1:])
    return operand if one or along_last else None

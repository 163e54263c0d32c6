from __future__ import annotations

from ir import Context, Graph, Node, Value, rewrite
from ir.graph import joined
from ir.records import dataclass

_EXTREMES = {"argmax": "max", "argmin": "min"}


@dataclass(frozen=True)
class UseMax:
    """Take the largest or smallest element itself, where its index is used for nothing else.

        %0 = argmax(%x) {axis = 1, keepdims = true}
        %1 = take_along(%x, %0) {axis = 1}
    -->
        %0 = max(%x) {axes = [1], keepdims = true}

    That is what `x.max(1).values` records.

    Bounded: where 0.0 and -0.0 are the largest, the result is 0.0, and not the first of them; the
    smallest is -0.0.
    """

    name = "use_max"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        return rewrite(graph, _extreme, ["take_along"])


def _extreme(node: Node, context: Context) -> Node | None:
    match node:
        case Node(op="take_along", inputs=(Value() as x, Value() as ids), attrs={"axis": along}):
            found = context.producer(ids)
        case _:
            return None
    match found:
        case Node(op="argmax" | "argmin", inputs=(searched,),
                  attrs={"axis": axis, "keepdims": True}) if searched is x and axis == along:
            pass
        case _:
            return None
    if not context.is_only_use(node, found):
        return None
    return Node(node.result, _EXTREMES[found.op], (x,), {"axes": (axis,), "keepdims": True},
                joined(found.where, node.where))

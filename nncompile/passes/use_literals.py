from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ir import Error, Graph, Node, Value, rewrite
from ir.graph import Operand, types_of
from ir.ops import OPS, infer
from ir.rewrite import Producer
from ir.types import MAX_WHOLE, NDArray


@dataclass(frozen=True)
class UseLiterals:
    """Read a plain number, not an array of it; and do not write out what broadcasts by itself.

        $0: f32[]                                # 0.5
        %0 = full(2.0) {shape = [B, 8], dtype = f32}
        %1 = expand(@b) {shape = [B, 8]}
        %2 = mul(%x, $0)
        %3 = add(%2, %0)
        %4 = add(%3, %1)
    -->
        %0 = mul(%x, 0.5)
        %1 = add(%0, 2.0)
        %2 = add(%1, @b)

    Constants only: a parameter may change.  A number stays an array where the result has its shape
    from it, and where the type is an integer's and it is too large for a literal.  So it does as an
    exponent: NumPy computes x^2 by another way than a power where 2 is a number.

    Exact.
    """

    name = "use_literals"
    exact = True

    def __call__(self, graph: Graph) -> Graph:
        numbers = {v: number for v in graph.params if v.kind == "constant" and v in graph.data
                   and (number := the_only(graph.data[v])) is not None}
        defined: dict[Operand, Node] = {}

        def rule(node: Node, _: Producer) -> Node | None:
            defined[node.result] = node
            return simpler_operands(node, numbers, defined)

        return rewrite(graph, rule)


def the_only(array: NDArray) -> float | None:
    """The number that every element of the array is, to the last bit; None where there is none."""
    if array.size == 0:
        return None
    elements = np.ascontiguousarray(array).reshape(-1)
    bits = elements.view(np.uint8).reshape(array.size, -1)
    if not (bits == bits[0]).all():
        return None
    if array.dtype.kind in "iu" and abs(int(elements[0])) > MAX_WHOLE:
        return None
    return float(elements[0])


def simpler_operands(node: Node, numbers: Mapping[Value, float], defined: Mapping[Operand, Node]
                     ) -> Node | None:
    """The node with operands simpler than one it has, if it is the same node with them."""
    if not OPS[node.op].elementwise or node.op == "pow" or "pow" in node.attrs.get("then", ()):
        return None
    for i, operand in enumerate(node.inputs):
        simpler = simpler_operand(operand, numbers, defined.get(operand))
        if simpler is None:
            continue
        inputs = (*node.inputs[:i], simpler, *node.inputs[i + 1:])
        try:
            if infer(node.op, types_of(inputs), node.attrs) == node.result.type:
                return replace(node, inputs=inputs)
        except Error:
            continue                             # only numbers then, or one the type has not
    return None


def simpler_operand(operand: Operand, numbers: Mapping[Value, float], made: Node | None
                    ) -> Operand | None:
    if isinstance(operand, Value) and operand in numbers:
        return numbers[operand]
    match made:
        case Node(op="full", inputs=(float(number),)):
            return number
        case Node(op="expand", inputs=(Value() as x,)):
            return x
    return None

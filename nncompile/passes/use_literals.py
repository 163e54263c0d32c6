from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ir import Context, Error, Graph, NDArray, Node, Operand, Value, rewrite
from ir.graph import types_of
from ir.ops import infer, with_trait
from ir.records import dataclass, replace
from ir.types import MAX_WHOLE


@dataclass(frozen=True)
class UseLiterals:
    """Use a plain number for an array of one number, and an operand for its broadcast.

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

    This is done for constants only: a parameter may change. A number stays an array where it gives
    the result its shape, and where it is an integer too large for a literal. It also stays as an
    exponent: NumPy computes x^2 in another way than a power where 2 is a number.

    Exact.
    """

    name = "use_literals"
    exact = True

    def __call__(self, graph: Graph) -> Graph:
        numbers = {v: number for v in graph.params if v.kind == "constant" and v in graph.data
                   and (number := _only_number(graph.data[v])) is not None}

        def simplify(node: Node, context: Context) -> Node | None:
            return _with_simpler_operand(node, numbers, context)

        return rewrite(graph, simplify, with_trait("elementwise") - {"pow"}, fused=True)


def _only_number(array: NDArray) -> float | None:
    """The number that all elements of the array are, to the last bit; None where there is none."""
    if array.size == 0:
        return None
    elements = np.ascontiguousarray(array).reshape(-1)
    bits = elements.view(np.uint8).reshape(array.size, -1)
    if not (bits == bits[0]).all():
        return None
    if array.dtype.kind in "iu" and abs(int(elements[0])) > MAX_WHOLE:
        return None
    return float(elements[0])


def _with_simpler_operand(node: Node, numbers: Mapping[Value, float], context: Context
                          ) -> Node | None:
    """The node with a simpler operand in place of one that it has, if its result stays the same."""
    if "pow" in node.attrs.get("then", ()):
        return None
    for i, operand in enumerate(node.inputs):
        simpler = _simpler(operand, numbers, context)
        if simpler is None:
            continue
        inputs = (*node.inputs[:i], simpler, *node.inputs[i + 1:])
        try:
            if infer(node.op, types_of(inputs), node.attrs) == node.result.type:
                return replace(node, inputs=inputs)
        except Error:
            continue                             # only numbers then, or one the type has not
    return None


def _simpler(operand: Operand, numbers: Mapping[Value, float], context: Context) -> Operand | None:
    """The number or the smaller value that can stand for the operand, if there is one."""
    if isinstance(operand, Value) and operand in numbers:
        return numbers[operand]
    match context.producer(operand):
        case Node(attrs={"then": _}):
            return None
        case Node(op="full", inputs=(float(number),)):
            return number
        case Node(op="expand", inputs=(Value() as x,)):
            return x
    return None

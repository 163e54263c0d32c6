from __future__ import annotations

from dataclasses import dataclass

from ir import Graph, Node, TensorType, Value, rewrite
from ir.graph import Operand
from ir.types import same
from nncompile.passes.support.epilogue import join_then


@dataclass(frozen=True)
class FuseLinear:
    """Do the elementwise work on a product while it is still in registers.

        %0 = linear(%x, @w, @b)
        %1 = gelu(%0)
        %2 = add(%r, %1)
    -->
        %0 = linear(%x, @w, @b) then gelu, add(%r)

    Only along a line: where %0 has another user, it is computed once and stored.

    Exact: the same operations in the same order.
    """

    steps: int = 16                              # the most behind one `then`
    name = "fuse_linear"
    exact = True

    def __call__(self, graph: Graph) -> Graph:
        return rewrite(graph, join_then(graph, fits_product, self.steps))


def fits_product(head: Node, further: tuple[Operand, ...]) -> bool:
    match head.op:
        case "linear":
            return all(fits_rows(o.type, head.result.type) for o in further if isinstance(o, Value))
        case "matmul":
            return True
    return False


def fits_rows(operand: TensorType, result: TensorType) -> bool:
    """Whether the operand of a step is one row for all rows, one number a row, or shaped as the
    result: a linear sees its result as rows of one matrix, whatever axes lie before the last.

    A [T, N] beside a result [B, T, N] is none of these.
    """
    if same(operand.shape, result.shape) or all(same(d, 1) for d in operand.shape[:-1]):
        return True
    return same(operand.shape, (*result.shape[:-1], 1))

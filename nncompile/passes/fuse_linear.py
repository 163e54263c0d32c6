from __future__ import annotations

from ir import Graph, Node, Operand, TensorType, Value, same
from ir.records import dataclass
from nncompile.passes.support.epilogue import fuse_steps


@dataclass(frozen=True)
class FuseLinear:
    """Fuse elementwise ops into the product before them, whose result is still in registers.

        %0 = linear(%x, @w, @b)
        %1 = gelu(%0)
        %2 = add(%r, %1)
    -->
        %0 = linear(%x, @w, @b) then gelu, add(%r)

    A product that has another user is not fused: it is computed once and stored.

    Exact: the same operations in the same order.
    """

    steps: int = 16                              # at most so many in one `then`
    name = "fuse_linear"
    exact = True

    def __call__(self, graph: Graph) -> Graph:
        return fuse_steps(graph, ("linear", "matmul"), _fits_product, self.steps)


def _fits_product(head: Node, further: tuple[Operand, ...]) -> bool:
    return head.op == "matmul" or all(
        _fits_rows(o.type, head.result.type) for o in further if isinstance(o, Value))


def _fits_rows(operand: TensorType, result: TensorType) -> bool:
    """Whether a linear's kernel can read the operand of a step.

    A linear computes its result as the rows of one matrix, whatever axes there are before the last.
    The operand may be one row for all rows, one number a row, or of the shape of the result; a
    [T, N] beside a result [B, T, N] is none of these.
    """
    if same(operand.shape, result.shape) or all(same(d, 1) for d in operand.shape[:-1]):
        return True
    return same(operand.shape, (*result.shape[:-1], 1))

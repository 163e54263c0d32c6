from __future__ import annotations

from ir import Context, Graph, Node, rewrite
from ir.records import dataclass
from nncompile.passes.support.building import NewNodes

_LANES = 16                     # float32 in the widest vectors


@dataclass(frozen=True)
class TransposeNarrow:
    """Compute a product of few columns as its transpose, if that takes fewer vectors.

        %1 = transpose(%g) {axes = [1, 0]}               # of g [B, 64]
        %2 = matmul(%1, %x)                              # [64, 17], of x [B, 17]
    -->
        %1 = transpose(%x) {axes = [1, 0]}
        %2 = matmul(%1, %g)                              # [17, 64]
        %3 = transpose(%2) {axes = [1, 0]}

    So the gradient of a weight with few inputs takes less time: a product computes its columns in
    whole vectors, of which 17 need two and 4 need one, and its rows one by one. Steps of MLPs with
    1 to 100 inputs took 0.75 to 1 times as long on a Zen 4.

    Bounded: the terms of each sum are added in another order.
    """

    rows: int = 32              # at least so many: what is saved has to pay for the last transpose
    most: float = 0.9           # of the vectors
    name = "transpose_narrow"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        return rewrite(graph, self._rule, once=True)

    def _rule(self, node: Node, context: Context) -> list[Node] | None:
        if node.op != "matmul":
            return None
        left = context.producer(node.inputs[0])
        shape = node.result.type.shape
        if left is None or left.op != "transpose" or tuple(left.attrs["axes"]) != (1, 0):
            return None
        if len(shape) != 2:
            return None
        M, N = shape
        if not (isinstance(M, int) and isinstance(N, int) and self.rows <= M
                and _vectors(N, M) <= self.most * _vectors(M, N)):
            return None
        new = NewNodes(node.where)
        x = new.add("transpose", node.inputs[1], axes=(1, 0))
        made = new.add("matmul", x, left.inputs[0])
        return [*new, Node(node.result, "transpose", (made,), {"axes": (1, 0)}, node.where)]


def _vectors(rows: int, columns: int) -> int:
    """The vectors of a matrix whose rows are padded to whole ones."""
    return rows * -(-columns // _LANES)

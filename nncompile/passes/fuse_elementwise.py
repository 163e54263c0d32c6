from __future__ import annotations

from dataclasses import dataclass

from ir import Graph, Node, rewrite
from ir.graph import Operand
from nncompile.passes.support.epilogue import is_step, join_then


@dataclass(frozen=True)
class FuseElementwise:
    """Read and write memory once for a chain of elementwise ops.

        %0 = mul(%x, 0.5)
        %1 = tanh(%0)
        %2 = add(%1, %x)
    -->
        %0 = mul(%x, 0.5) then tanh, add(%x)

    A step keeps the type of what it works on, so a chain ends where a broadcast grows it, and where
    it is compared or cast.  It ends too where its value is divided by: `then` works on the left.
    Where it is subtracted from a, it becomes `then neg, add(a)`, which is the same to the last bit.

    Exact: the same operations in the same order.
    """

    steps: int = 16                              # the most behind one `then`
    name = "fuse_elementwise"
    exact = True

    def __call__(self, graph: Graph) -> Graph:
        return rewrite(graph, join_then(graph, is_elementwise, self.steps))


def is_elementwise(head: Node, further: tuple[Operand, ...]) -> bool:
    return is_step(head.op)

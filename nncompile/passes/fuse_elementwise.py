from __future__ import annotations

from ir import Graph, Node, Operand
from ir.records import dataclass
from nncompile.passes.support.epilogue import STEPS, fuse_steps


@dataclass(frozen=True)
class FuseElementwise:
    """Fuse a chain of elementwise ops, so that it reads and writes memory once.

        %0 = mul(%x, 0.5)
        %1 = tanh(%0)
        %2 = add(%1, %x)
    -->
        %0 = mul(%x, 0.5) then tanh, add(%x)

    A step keeps the type of the value it works on. So a chain ends where a broadcast makes the
    value larger, and where it is compared or cast. It also ends where the value is a divisor,
    because a step works on its left operand. Where the value is subtracted from a, the step
    becomes `then neg, add(a)`, which is the same to the last bit.

    Exact: the same operations in the same order.
    """

    steps: int = 16                              # at most so many in one `then`
    name = "fuse_elementwise"
    exact = True

    def __call__(self, graph: Graph) -> Graph:
        return fuse_steps(graph, STEPS, _fits_any, self.steps)


def _fits_any(head: Node, further: tuple[Operand, ...]) -> bool:
    return True

"""The stages of a compilation: the traced graph, and the graph after each pass."""
from __future__ import annotations

from collections.abc import Sequence

from ir import Graph, Reason
from ir.records import dataclass
from nncompile.errors import InputError


@dataclass(frozen=True)
class PassRun:
    """The graph after a pass, the seconds that the pass took, and why it left nodes alone.

    The seconds are of the process in which the pass ran: see nncompile.plans.

    left: reasons about nodes of this graph that are nearly what the pass looks for. A later pass
          may have found them; `nncompile.inspect.reasons.standing` has those that still hold.
    """

    name: str
    graph: Graph
    seconds: float
    left: tuple[Reason, ...] = ()

    def __repr__(self) -> str:
        return (f"<PassRun {self.name}: {len(self.graph.nodes)} nodes, "
                f"{self.seconds * 1e3:.2f} ms, {len(self.left)} left alone>")


def graph_at(runs: Sequence[PassRun], stage: str) -> Graph:
    """Returns the graph of a stage: "traced", the name of a pass, or "fused" for the last graph.

    Raises InputError for another stage.
    """
    named = {run.name: run.graph for run in runs} | {"fused": runs[-1].graph}
    if not isinstance(stage, str) or stage not in named:
        raise InputError(f"there is no stage {stage!r}; there are {', '.join(named)}")
    return named[stage]

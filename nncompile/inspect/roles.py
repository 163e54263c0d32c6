"""What runs in each call, and what does not: views, and what loading the weights computes."""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ir import Error, Graph, Value
from ir.records import dataclass
from nncompile.schedule import Program, schedule

RUN, VIEW, AT_LOAD = "run", "view", "at load"


@dataclass(frozen=True)
class Roles:
    """The role of each result of a graph: RUN, VIEW or AT_LOAD.

    steps: how many kernels a call runs; a node may take several, and a copy is one too.
    trouble: why the graph cannot be scheduled, if it cannot. Then RUN is said of views as well.
    """

    of: Mapping[Value, str]
    steps: int | None
    trouble: str = ""

    def __str__(self) -> str:
        counts = Counter(self.of.values())
        said = [f"{counts[RUN]} run", f"{counts[VIEW]} view{'s' * (counts[VIEW] != 1)}",
                f"{counts[AT_LOAD]} at load"]
        whole = f"{len(self.of)} nodes: {', '.join(said)}"
        if self.steps is not None:
            return f"{whole}; {self.steps} steps"
        return f"{whole}; views are not known: {self.trouble}"


def roles(graph: Graph) -> Roles:
    """Returns the roles of a graph's results, as it would be scheduled for the CPU."""
    try:
        return roles_in(schedule(graph))
    except Error as error:
        at_load = graph.load_time_values
        return Roles({node.result: AT_LOAD if node.result in at_load else RUN
                      for node in graph.nodes}, None, str(error).splitlines()[0])


def roles_in(program: Program) -> Roles:
    """Returns the roles of the results of a program's graph."""
    at_load = program.graph.load_time_values
    run = {node.result for step in program.steps for node in step.nodes}
    return Roles({node.result: AT_LOAD if node.result in at_load else
                  RUN if node.result in run else VIEW for node in program.graph.nodes},
                 len(program.steps))

"""What a compiled model reports about itself: explain() and profile()."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ir.printer import name_values, print_call
from ir.records import dataclass
from ir.types import evaluate_dim
from nncompile.inspect.reasons import lines_of_reasons
from nncompile.inspect.stages import PassRun
from nncompile.schedule import Program
from nncompile.schedule.cost import products


def explain(runs: Sequence[PassRun], program: Program, notes: Iterable[str]) -> str:
    """Returns the passes with what they left, the steps and buffers, and the target's own notes."""
    first = runs[0].graph
    lines = [f"{first.name}: {len(first.nodes)} nodes traced, {len(program.steps)} steps run", "",
             "pass               nodes      ms"]
    for run in runs:
        lines.append(f"  {run.name:<16} {len(run.graph.nodes):5d} {run.seconds * 1e3:7.2f}")
    left = lines_of_reasons(runs)
    lines += ["", "left alone:", *(f"  {line}" for line in left)] if left else []
    return "\n".join([*lines, "", str(program), "", *notes])


@dataclass(frozen=True)
class Profile:
    """The time of each step of one call on one thread.

    seconds: of each step, the least of several runs; a step under a microsecond is mostly the cost
    of measuring. sizes: the named sizes of the call.
    """

    program: Program
    sizes: Mapping[str, int]
    seconds: Sequence[float]

    @property
    def total(self) -> float:
        """The seconds of all steps together."""
        return sum(self.seconds)

    def __str__(self) -> str:
        names = name_values(self.program.graph)
        lines = [f"{'us':>10} {'%':>6} {'GFLOP/s':>8}  step"]
        for step, seconds in zip(self.program.steps, self.seconds, strict=True):
            flops = evaluate_dim(products(step), self.sizes)
            rate = f"{flops / seconds / 1e9:8.1f}" if flops and seconds else " " * 8
            share = 100 * seconds / self.total if self.total else 0.0
            lines.append(f"{seconds * 1e6:10.1f} {share:6.1f} {rate}  {step.purpose}"
                         f"{names[step.node.result]} = {print_call(step.node, names)}")
        sizes = ", ".join(f"{name} = {size}" for name, size in self.sizes.items())
        return "\n".join([*lines, f"{self.total * 1e6:10.1f}  100.0 {'':8}  all, {sizes}"])

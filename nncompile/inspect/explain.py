"""What a compiled model reports about itself in words: explain()."""
from __future__ import annotations

from collections.abc import Iterable, Sequence

from nncompile.inspect.kept import lines_of_kept
from nncompile.inspect.reasons import lines_of_reasons
from nncompile.inspect.roles import roles_in
from nncompile.inspect.stages import PassRun
from nncompile.schedule import Program


def explain(runs: Sequence[PassRun], program: Program, notes: Iterable[str]) -> str:
    """Returns the passes with what they left, the steps and buffers, and the target's own notes.

    Of a training step also what it keeps from the forward for its gradients.
    """
    first = runs[0].graph
    lines = [f"{first.name}: {len(first.nodes)} nodes traced, {len(program.steps)} steps run",
             f"after the passes {roles_in(program)}", "",
             "pass               nodes      ms"]
    for run in runs:
        lines.append(f"  {run.name:<16} {len(run.graph.nodes):5d} {run.seconds * 1e3:7.2f}")
    left = lines_of_reasons(runs)
    lines += ["", "left alone:", *(f"  {line}" for line in left)] if left else []
    kept = lines_of_kept(program)
    lines += ["", *kept] if kept else []
    return "\n".join([*lines, "", str(program), "", *notes])

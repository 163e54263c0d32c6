"""What every importer returns."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ir
from ir.records import dataclass, field
from nncompile.structure import Nesting


@dataclass(frozen=True)
class Imported:
    """A graph with its data, and what it does not say of the model.

    nesting: how calls nest arrays, or None if they do not. names: each name of a state dict -> the
    name of the graph's parameter that it is, "" where the model does not use it. notes: where the
    result differs from the model's own, in words. check: compares a compiled model with the
    format's own reference, and raises CompileError where they differ.
    """

    graph: ir.Graph
    check: Callable[[Callable[..., Any]], None]
    nesting: Nesting | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

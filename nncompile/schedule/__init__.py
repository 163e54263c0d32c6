"""Fused graph -> Program: what is computed once, the order of steps, and where each value lives."""
from __future__ import annotations

from ir.graph import Graph
from nncompile.schedule.constants import VECTOR_TRAITS, TargetTraits
from nncompile.schedule.program import Constant, Operand, Place, Program, Step, View

__all__ = ["VECTOR_TRAITS", "Constant", "Operand", "Place", "Program", "Step", "TargetTraits",
           "View", "schedule"]


def schedule(graph: Graph, traits: TargetTraits = VECTOR_TRAITS) -> Program:
    """Plans a verified, fused graph: a node is prepared once, or a view, or one or more steps."""
    from nncompile.schedule.planning import planned  # which a graph whose plan is kept needs not

    return planned(graph, traits)

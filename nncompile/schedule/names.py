"""Names in the source that every target generates: of sizes, places, and lines of the graph.

A name of the user's is used only if it is a plain word that has no other meaning there.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from keyword import iskeyword

from ir.graph import Node, Value, named_sizes
from ir.ops import OPS
from ir.printer import print_call
from ir.types import Dim, DimExpr, Floored, Term, terms
from nncompile.schedule.program import Place, Program, Step

_COMMENT = 120        # the longest comment: that of a concatenation is repeated for each piece


def size_names(program: Program) -> dict[str, str]:
    """Returns a variable for each named size: its own name if that is plain, or S0, S1, ..."""
    plain = re.compile(r"[A-Z][A-Za-z]{0,15}")
    return {name: name if plain.fullmatch(name) and not iskeyword(name) else f"S{i}"
            for i, name in enumerate(named_sizes(program.graph))}


def place_names(program: Program, taken: Iterable[str]) -> dict[Place, str]:
    """Returns a variable for each input, output and slot, none of them `taken` or an op's name.

    An input has its own name if that is plain, or in0, in1, ...
    """
    used = {*taken, *OPS}
    names: dict[Place, str] = {}
    for i, (view, value) in enumerate(zip(program.inputs, program.graph.inputs, strict=True)):
        plain = re.fullmatch(r"[a-z][a-z_]{0,15}", value.name) and not iskeyword(value.name)
        name = value.name if plain and value.name not in used else f"in{i}"
        names[view.place] = name
        used.add(name)
    single = len(program.outputs) == 1 and "y" not in used
    return (names | {v.place: "y" if single else str(v.place) for v in program.outputs}
            | {place: str(place) for place in program.buffers})


def number_text(dim: Dim, names: Mapping[str, str]) -> str:
    """Returns a size as Python: B * 784, or 2 * T + 1."""
    if not isinstance(dim, DimExpr):
        return str(dim)
    parts = []
    for monomial, coefficient in _printed_terms(dim):
        factors = [_factor(factor, names) for factor in monomial]
        if abs(coefficient) != 1 or not factors:
            factors.append(str(abs(coefficient)))
        parts.append(("- " if coefficient < 0 else "+ ") + " * ".join(factors))
    first, *rest = parts
    return " ".join([first.removeprefix("+ ").replace("- ", "-"), *rest])


def _factor(factor: str, names: Mapping[str, str]) -> str:
    if isinstance(factor, Floored):
        return f"({factor_text(factor.numerator, names)} // {factor.divisor})"
    return names[factor]


def _printed_terms(dim: Dim) -> list[Term]:
    """Returns the terms of a size in the order of its text: 10 - T, not -T + 10."""
    return sorted(terms(dim), key=lambda term: term[1] < 0)


def sizes_in_order(dim: Dim) -> Iterable[str]:
    """Returns the named sizes of a size, in the order in which its text mentions them first."""
    return dict.fromkeys(
        name for monomial, _ in _printed_terms(dim) for factor in monomial
        for name in (sizes_in_order(factor.numerator) if isinstance(factor, Floored) else [factor]))


def factor_text(dim: Dim, names: Mapping[str, str]) -> str:
    """Returns a size as Python that may be an operand of * and //."""
    text = number_text(dim, names)
    return text if text.isidentifier() or text.isdecimal() else f"({text})"


def fixed(shape: Sequence[Dim]) -> list[int]:
    """Returns the shape of a constant, which has no named sizes, as integers."""
    return [dim.__index__() for dim in shape]


def comment(step: Step, values: Mapping[Value, str]) -> str:
    """Returns the lines of the graph that a step comes from, as a comment; long ones are shortened.
    """
    return "\n".join(_comment(step, node, values) for node in step.nodes)


def _comment(step: Step, node: Node, values: Mapping[Value, str]) -> str:
    what = f"{values[node.result]}: {node.result.type} = {print_call(node, values)}"
    text = f"# {step.purpose}{what}"
    return text if len(text) <= _COMMENT else text[:_COMMENT].rpartition(", ")[0] + ", ..."

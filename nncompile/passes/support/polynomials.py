"""Arithmetic written out as a polynomial, which is the same however it was written."""
from __future__ import annotations

from collections.abc import Iterable, Mapping

from ir import Node, Value
from ir.graph import Operand
from nncompile.passes.support.patterns import See, is_close

Polynomial = dict[tuple[int, int], float]        # {(1, 0): 0.5, (1, 1): 2.0} is x / 2 + 2 x t
X: Polynomial = {(1, 0): 1.0}
T: Polynomial = {(0, 1): 1.0}
ARITHMETIC = ("add", "sub", "mul", "div", "neg", "pow")
MOST_POWERS = 4                                  # of one term: what is looked for has 3
DEPTH = 8


def polynomial(operand: Operand, see: See, known: Mapping[Value, Polynomial], depth: int = DEPTH
               ) -> Polynomial | None:
    """The operand as a polynomial of those that are known, or None."""
    if isinstance(operand, float):
        return {(0, 0): operand}
    if operand in known or not depth:
        return known.get(operand)
    node = see(operand)
    if node is None or node.op not in ARITHMETIC:
        return None
    parts = [polynomial(o, see, known, depth - 1) for o in node.inputs]
    found = [part for part in parts if part is not None]
    return combined(node, found) if len(found) == len(parts) else None


def combined(node: Node, parts: list[Polynomial]) -> Polynomial | None:
    match node, parts:
        case Node(op="add"), [a, b]:
            return total([a, b])
        case Node(op="sub"), [a, b]:
            return total([a, scaled(b, -1.0)])
        case Node(op="neg"), [a]:
            return scaled(a, -1.0)
        case Node(op="mul"), [a, b]:
            return times(a, b)
        case Node(op="div", inputs=(_, float(c))), [a, _] if c != 0.0:
            return scaled(a, 1 / c)
        case Node(op="pow", inputs=(_, 2.0)), [a, _]:
            return times(a, a)
        case Node(op="pow", inputs=(_, 3.0)), [a, _]:
            square = times(a, a)
            return None if square is None else times(square, a)
    return None


def total(parts: Iterable[Polynomial]) -> Polynomial:
    result: Polynomial = {}
    for part in parts:
        for powers, factor in part.items():
            result[powers] = result.get(powers, 0.0) + factor
    return result


def scaled(a: Polynomial, c: float) -> Polynomial:
    return {powers: factor * c for powers, factor in a.items()}


def times(a: Polynomial, b: Polynomial) -> Polynomial | None:
    result = total({(i + k, j + m): f * g} for (i, j), f in a.items() for (k, m), g in b.items())
    return None if any(i + j > MOST_POWERS for i, j in result) else result


def is_polynomial(found: Polynomial | None, wanted: Polynomial) -> bool:
    """Whether the factors are the ones wanted, as closely as they can be written down."""
    if found is None:
        return False
    terms = {powers: factor for powers, factor in found.items() if factor != 0.0}
    return terms.keys() == wanted.keys() and all(is_close(terms[p], wanted[p]) for p in wanted)


def behind(node: Node, see: See, most: int = 16) -> list[Value]:
    """The values that the node's arithmetic begins from or goes through, the nearest first."""
    values: dict[Value, None] = {}
    waiting: list[Node] = [node]
    for at in waiting:
        for operand in at.inputs:
            if not isinstance(operand, Value) or operand in values or len(values) >= most:
                continue
            values[operand] = None
            made = see(operand)
            if made is not None and made.op in ARITHMETIC:
                waiting.append(made)
    return list(values)

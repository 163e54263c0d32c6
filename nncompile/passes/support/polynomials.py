"""Arithmetic as a polynomial, which is the same in whatever order it was written."""
from __future__ import annotations

from collections.abc import Iterable, Mapping

from ir import Context, Node, Operand, Value
from nncompile.passes.support.matching import is_close

Polynomial = dict[tuple[int, int], float]        # {(1, 0): 0.5, (1, 1): 2.0} is x / 2 + 2 x t
_ARITHMETIC = ("add", "sub", "mul", "div", "neg", "pow")
_MOST_POWERS = 4                                 # in one term; no known form has more than 3
_DEPTH = 8                                       # how many operations within operations are read
_MOST_VALUES = 16                                # how many values behind a node are looked at


def polynomial(operand: Operand, context: Context, x: Value, t: Value | None = None
               ) -> Polynomial | None:
    """Returns the operand as a polynomial in the values x and t, or None where it is none."""
    known = {x: {(1, 0): 1.0}} if t is None else {x: {(1, 0): 1.0}, t: {(0, 1): 1.0}}
    return _in_known(operand, context, known, _DEPTH)


def _in_known(operand: Operand, context: Context, known: Mapping[Value, Polynomial], depth: int
              ) -> Polynomial | None:
    if isinstance(operand, float):
        return {(0, 0): operand}
    if operand in known or not depth:
        return known.get(operand)
    node = context.producer(operand)
    if node is None or node.op not in _ARITHMETIC:
        return None
    parts = [_in_known(o, context, known, depth - 1) for o in node.inputs]
    found = [part for part in parts if part is not None]
    return _combined(node, found) if len(found) == len(parts) else None


def _combined(node: Node, parts: list[Polynomial]) -> Polynomial | None:
    """What the node computes of operands that are these polynomials."""
    match node, parts:
        case Node(op="add"), [a, b]:
            return _total([a, b])
        case Node(op="sub"), [a, b]:
            return _total([a, _scaled(b, -1.0)])
        case Node(op="neg"), [a]:
            return _scaled(a, -1.0)
        case Node(op="mul"), [a, b]:
            return _times(a, b)
        case Node(op="div", inputs=(_, float(c))), [a, _] if c != 0.0:
            return _scaled(a, 1 / c)
        case Node(op="pow", inputs=(_, 2.0)), [a, _]:
            return _times(a, a)
        case Node(op="pow", inputs=(_, 3.0)), [a, _]:
            square = _times(a, a)
            return None if square is None else _times(square, a)
    return None


def _total(parts: Iterable[Polynomial]) -> Polynomial:
    result: Polynomial = {}
    for part in parts:
        for powers, factor in part.items():
            result[powers] = result.get(powers, 0.0) + factor
    return result


def _scaled(a: Polynomial, c: float) -> Polynomial:
    return {powers: factor * c for powers, factor in a.items()}


def _times(a: Polynomial, b: Polynomial) -> Polynomial | None:
    """The product, or None where its powers are higher than those of any known form."""
    result = _total({(i + k, j + m): f * g} for (i, j), f in a.items() for (k, m), g in b.items())
    return None if any(i + j > _MOST_POWERS for i, j in result) else result


def is_polynomial(found: Polynomial | None, wanted: Polynomial, dtype: str) -> bool:
    """Returns whether the two have the same terms, with factors that are close; see `is_close`."""
    if found is None:
        return False
    terms = {powers: factor for powers, factor in found.items() if factor != 0.0}
    return terms.keys() == wanted.keys() and all(
        is_close(terms[p], wanted[p], dtype) for p in wanted)


def values_behind(node: Node, context: Context) -> list[Value]:
    """Returns the values that the node's arithmetic begins from or goes through, nearest first."""
    values: dict[Value, None] = {}
    waiting: list[Node] = [node]
    for current in waiting:
        for operand in current.inputs:
            if not isinstance(operand, Value) or operand in values or len(values) >= _MOST_VALUES:
                continue
            values[operand] = None
            producer = context.producer(operand)
            if producer is not None and producer.op in _ARITHMETIC:
                waiting.append(producer)
    return list(values)

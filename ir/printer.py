"""Graphs as text; `ir.parser` reads the text back.

    graph Block(%x: f32[B, 64]) -> f32[B, 64] {
      @fc.weight: f32[64, 64]                         a parameter; $0 is a constant, &w a state
      %0: f32[B, 64] = linear(%x, @fc.weight) then relu, mul(0.5)    # fc Linear  block.py:3
      return %0
    }

README.md has the grammar. Results are numbered when a graph is printed, in the order of its nodes.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ir.graph import SIGILS, Graph, Node, Operand, Value, Where
from ir.ops import split_then
from ir.types import Error

# Patterns of text that needs no quotes; anything else is printed as a JSON string.
WORD = r"[^\W0-9][\w.]*"
ORIGIN = r"[\w.:/\\<>()-]+(?:,? [\w.:/\\<>()-]+)*"    # the layer or the line of a node


def print_graph(graph: Graph, names: Mapping[Value, str] | None = None) -> str:
    """Returns the text of a graph.

    An illegal graph prints too; a value that it does not define is written %?.
    names: what its values are called, if not as `name_values` calls them; the text still parses.
    """
    names = name_values(graph) if names is None else names
    updates = graph.updates if len(graph.states) <= len(graph.outputs) else ()
    returned_values = graph.outputs[:len(graph.outputs) - len(updates)]
    inputs = ", ".join(f"{names[v]}: {v.type}" for v in graph.inputs if v.kind != "state")
    types = ", ".join(str(v.type) for v in returned_values)
    returned = ", ".join(names.get(v, "%?") for v in returned_values)
    lines = columns([f"{names[v]}:", str(v.type)] for v in (*graph.params, *graph.states))
    lines += columns([f"require {r}", *_print_where(r.where)] for r in graph.requirements)
    lines += columns([f"read {name_value(Value(r.type, 'parameter', r.name))}: {r.type}",
                      f'= "{r.digest}"', *_print_where(r.where)] for r in graph.readings)
    lines += columns([f"{names[n.result]}: {n.result.type}", f"= {print_call(n, names)}",
                      *_print_where(n.where)] for n in graph.nodes)
    lines += columns([names[state], f"= {names.get(new, '%?')}"] for state, new in updates)
    head = f"graph {_quoted(graph.name, WORD)}({inputs})" + f" -> {types}" * bool(types)
    return "\n  ".join([f"{head} {{", *lines, f"return {returned}".rstrip()]) + "\n}"


def name_values(graph: Graph) -> dict[Value, str]:
    """Returns what each value of a graph is called in its text.

    A result is called by the position of its node: %0, %1, ...
    """
    named = {v: name_value(v) for v in graph.inputs + graph.params}
    return named | {node.result: f"%{i}" for i, node in enumerate(graph.nodes)}


def name_value(value: Value) -> str:
    """Returns what an input, a state, a parameter or a constant is called in the text."""
    return SIGILS[value.kind] + _quoted(value.name, _plain_name(value))


def _plain_name(value: Value) -> str:
    """The pattern of names that need no quotes: an input's must not look like a result's number."""
    return r"(?![0-9]+$)[\w.]+" if SIGILS[value.kind] == "%" else r"[\w.]+"


def print_node(node: Node, names: Mapping[Value, str]) -> str:
    """Returns the line of one node, whose values are called as `names` says."""
    left = f"{names.get(node.result, '%?')}: {node.result.type} = {print_call(node, names)}"
    return " ".join([left, *_print_where(node.where)])


def print_call(node: Node, names: Mapping[Value, str]) -> str:
    """Returns the right-hand side of a node's line: `linear(%x, @w) then relu, add(%0)`."""
    def call(op: str, operands: Sequence[Operand]) -> str:
        inside = ", ".join(names.get(o, "%?") if isinstance(o, Value) else repr(o)
                           for o in operands)
        return f"{op}({inside})" if operands else op

    head, own, steps = _parts(node)
    then = ", ".join(call(*step) for step in steps)
    attrs = ", ".join(f"{k} = {_print_attr(v)}" for k, v in own.items())
    return call(node.op, head) + f" {{{attrs}}}" * bool(attrs) + f" then {then}" * bool(then)


def _parts(node: Node) -> tuple[Sequence[Operand], Mapping[str, Any],
                                Sequence[tuple[str, Sequence[Operand]]]]:
    """Operands and attributes of the op itself, and its `then` steps."""
    try:
        return split_then(node.op, node.inputs, node.attrs)
    except Error:                                # an illegal `then` prints like any attribute
        return node.inputs, node.attrs, []


def _print_where(where: Where) -> list[str]:
    if where == Where():
        return []
    layer = f" # {_quoted(where.layer, ORIGIN)}"
    return [layer, f" {_quoted(where.line, ORIGIN)}"] if where.line else [layer]


def _print_attr(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_print_attr, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(name: str, plain: str) -> str:
    """The name as it is, or as a JSON string in ASCII, so that nothing in it breaks a line."""
    if re.fullmatch(plain, name):
        return name
    import json  # which few graphs need
    return json.dumps(name)


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns lines with their cells in aligned columns.

    A cell of more than 120 characters does not widen its column.
    """
    rows = list(rows)
    widths = [max((len(row[i]) for row in rows if i < len(row) and len(row[i]) <= 120), default=0)
              for i in range(max(map(len, rows), default=0))]
    return [" ".join(map(str.ljust, row, widths)).rstrip() for row in rows]

"""What makes a graph legal: a value is defined once, before its use, with the type inferred."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ir.graph import Graph, Node, Value, named_sizes, types_of
from ir.ops import infer, normal
from ir.text import name_values, print_node
from ir.types import Array, DimExpr, Error, names_in, symbol_name, type_of


class VerifyError(Error):
    """A graph is not legal; says which rule it breaks and shows the node's line."""


def verify(graph: Graph, like: Graph | None = None) -> None:
    """Raise VerifyError unless the graph is legal.  Params may lack data, as after parsing.

    like: a graph that is legal, such as the one before a pass.  Data that it has too, and nodes if
    the inputs are the same, are not looked into again, only whether they stand where they may.
    """
    checked = set(like.nodes) if like is not None and like.inputs == graph.inputs else set()
    names = name_values(graph)
    declared = Counter((*graph.inputs, *graph.params))
    twice = [names[value] for value, count in declared.items() if count > 1]
    check(not twice, f"{graph.name} declares {', '.join(twice)} twice")
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    check(not twice, f"two values of {graph.name} are named {', '.join(twice)}")
    check_declared(graph, names, like.data if like is not None else {})
    sizes = named_sizes(graph).keys()
    defined: set[Value] = {*graph.inputs, *graph.params}
    for node in graph.nodes:
        try:
            check_operands(node, defined)
            if node not in checked:
                check_node(node)
                check_sizes(node.attrs.values(), sizes)
            check(node.result not in defined, "its result is defined twice")
        except Error as error:
            raise VerifyError(f"{error}\n  node: {print_node(node, names)}") from None
        defined.add(node.result)
    for value in graph.outputs:
        check(value in defined, f"{graph.name} returns {names.get(value, 'a value')}, "
                                "which it does not define")


def check_declared(graph: Graph, names: dict[Value, str], known: Mapping[Value, Array]) -> None:
    """Inputs have numbers and names as sizes, params numbers only, and data of their types, unless
    they are known to be."""
    for value in graph.inputs:
        check(value.kind == "input", f"the input {names[value]} is of the kind {value.kind!r}")
        for dim in value.type.shape:
            check(isinstance(dim, int) or symbol_name(dim) is not None,
                  f"{names[value]}: {value.type}: the size {dim} of an input is neither a number "
                  "nor a name")
    for value in graph.params:
        check(value.kind in ("parameter", "constant"),
              f"the param {names[value]} is of the kind {value.kind!r}")
        check(all(isinstance(dim, int) for dim in value.type.shape),
              f"{names[value]}: {value.type}: only inputs have symbolic sizes")
        if value in graph.data and known.get(value) is not graph.data[value]:
            check(type_of(graph.data[value]) == value.type,
                  f"{names[value]} is {value.type}, its data are {type_of(graph.data[value])}")


def check_operands(node: Node, defined: set[Value]) -> None:
    for operand in node.inputs:
        check(isinstance(operand, Value | float),
              f"an operand is a value or a float, not {type(operand).__name__}")
        check(not isinstance(operand, Value) or operand in defined,
              "it uses a value that is not defined before it")


def check_node(node: Node) -> None:
    """Attributes are in normal form, the type is the one inferred."""
    check(node.result.kind == "result", f"its result is of the kind {node.result.kind!r}")
    given, form = dict(node.attrs), normal(node.op, node.attrs)
    check(repr(given) == repr(form), f"its attributes are {given}, in normal form {form}")
    inferred = infer(node.op, types_of(node.inputs), node.attrs)
    check(inferred == node.result.type, f"{node.op} gives {inferred}, not {node.result.type}")


def check_sizes(values: Iterable[Any], known: Iterable[str]) -> None:
    for value in values:
        for dim in value if isinstance(value, tuple) else (value,):
            if isinstance(dim, DimExpr) and (unknown := names_in(dim).difference(known)):
                raise VerifyError(f"the size {min(unknown)} is not a size of any input")


def check(holds: bool, message: str) -> None:
    if not holds:
        raise VerifyError(message)

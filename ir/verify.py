"""What makes a graph legal: each value is defined once, before its use, with the inferred type."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ir.graph import RELATIONS, SIGILS, Graph, Node, Value, named_sizes, types_of
from ir.ops import infer_normal, normal
from ir.ops.references import check_trees
from ir.printer import name_value, name_values, print_node
from ir.types import DimExpr, Error, NDArray, names_in, symbol_name, type_of


class VerifyError(Error):
    """A graph is not legal; the message says which rule it breaks and shows the node's line."""


def verify(graph: Graph, like: Graph | None = None, *, built: bool = False) -> None:
    """Raises VerifyError unless the graph is legal. Params may lack data, as after parsing.

    like:  a graph that is known to be legal: the one before a pass. The types of its inputs and
           outputs have to be the same. Data that both have, and nodes if the inputs are the same,
           are only checked for being at a legal position.
    built: the nodes were made by a Builder, which has inferred their types: they are not inferred
           again.
    """
    checked = set(like.nodes) if like is not None and like.inputs == graph.inputs else set()
    if like is None or (graph.inputs, graph.params) != (like.inputs, like.params):
        _check_declared(graph)
    if like is not None:
        _check_signature(graph, like)
    _check_data(graph, like.data if like is not None else {})
    sizes = named_sizes(graph).keys()
    _check_requirements(graph, sizes)
    defined: set[Value] = {*graph.inputs, *graph.params}
    for node in graph.nodes:
        known = node in checked and node.op != "tree_walk"
        if not known or not defined.issuperset(node.values) or node.result in defined:
            try:
                _check_operands(node, defined, graph.data)
                if not built:
                    _check_node(node)
                _check_sizes(node.attrs.values(), sizes)
                _check(node.result not in defined, "its result is defined twice")
            except Error as error:
                line = print_node(node, name_values(graph))
                raise VerifyError(f"{error}\n  node: {line}") from None
        defined.add(node.result)
    for value in graph.outputs:
        if value not in defined:
            raise VerifyError(f"{graph.name} returns a value, which it does not define")


def _check_declared(graph: Graph) -> None:
    """Each value is declared once, under a name of its own.

    The sizes of inputs are numbers and names; those of params are numbers.
    """
    declared = Counter((*graph.inputs, *graph.params))
    twice = [name_value(value) for value, count in declared.items() if count > 1]
    _check(not twice, f"{graph.name} declares {', '.join(twice)} twice")
    names = Counter((SIGILS[value.kind], value.name) for value in declared)
    twice = [name_value(value) for value in declared if names[SIGILS[value.kind], value.name] > 1]
    _check(not twice, f"two values of {graph.name} are named {', '.join(dict.fromkeys(twice))}")
    _check_states(graph)
    for value in graph.inputs:
        if value.kind not in ("input", "state"):
            raise VerifyError(f"the input {name_value(value)} is of the kind {value.kind!r}")
        for dim in value.type.shape:
            if isinstance(dim, DimExpr) and symbol_name(dim) is None:
                raise VerifyError(f"{name_value(value)}: {value.type}: the size {dim} of an input "
                                  "is neither a number nor a name")
    for value in graph.params:
        if value.kind not in ("parameter", "constant"):
            raise VerifyError(f"the param {name_value(value)} is of the kind {value.kind!r}")
        if not all(isinstance(dim, int) for dim in value.type.shape):
            raise VerifyError(f"{name_value(value)}: {value.type}: only inputs have symbolic sizes")


def _check_states(graph: Graph) -> None:
    """The states are the last inputs, of known sizes, and there is a new value for each."""
    states = graph.states
    _check(graph.inputs[len(graph.inputs) - len(states):] == states,
           f"the states of {graph.name} are not its last inputs")
    _check(len(states) <= len(graph.outputs), f"{graph.name} has {len(states)} states and only "
           f"{len(graph.outputs)} outputs: each state needs a new value")
    for state, new in graph.updates:
        if not all(isinstance(dim, int) for dim in state.type.shape):
            raise VerifyError(f"{name_value(state)}: {state.type}: only inputs have symbolic sizes")
        if state.type != new.type:
            raise VerifyError(f"{name_value(state)} is {state.type}, its new value is {new.type}")


def _check_signature(graph: Graph, like: Graph) -> None:
    """The inputs and the outputs have the same types as those of the other graph.

    Both graphs take the same sizes.
    """
    required, expected = (_listed(each.requirements) for each in (graph, like))
    _check(required == expected, f"it requires {required}, not {expected}")
    read, expected = (_listed(r.name for r in each.readings) for each in (graph, like))
    _check(graph.readings == like.readings, f"it says that it read {read}, not {expected}")
    for what in ("inputs", "outputs"):
        wanted, got = ([v.type for v in getattr(each, what)] for each in (like, graph))
        if wanted != got:                        # a text of all types is longer than the check
            raise VerifyError(f"its {what} are {got}, not {wanted}")


def _check_requirements(graph: Graph, sizes: Iterable[str]) -> None:
    """Requirements compare sizes of the inputs, by a relation that there is."""
    for requirement in graph.requirements:
        _check(requirement.relation in RELATIONS, f"there is no relation {requirement.relation}")
        try:
            _check_sizes((requirement.left, requirement.right), sizes)
        except Error as error:
            raise VerifyError(f"{error}\n  require {requirement}") from None


def _check_data(graph: Graph, known: Mapping[Value, NDArray]) -> None:
    """Data have the types of their params; those that are `known` do."""
    for value in graph.params:
        data = graph.data.get(value)
        if data is not None and known.get(value) is not data and type_of(data) != value.type:
            raise VerifyError(f"{name_value(value)} is {value.type}, its data are {type_of(data)}")


def _check_operands(node: Node, defined: set[Value], data: Mapping[Value, NDArray]) -> None:
    """What the node uses is defined before it, and a walk leads to its end."""
    if not defined.issuperset(node.values):
        raise VerifyError("it uses a value that is not defined before it")
    if node.op == "tree_walk":
        _check_trees(node, data)


def _check_trees(node: Node, data: Mapping[Value, NDArray]) -> None:
    """The tables of a walk are constants, so that no step of it has to be checked in a call."""
    x, *tables = node.inputs
    if not all(isinstance(t, Value) and t.kind == "constant" for t in tables):
        raise VerifyError("the nodes, thresholds and roots of tree_walk have to be constants")
    nodes, _, roots = (data.get(t) for t in tables if isinstance(t, Value))
    columns = x.type.shape[1] if isinstance(x, Value) else 0
    if not isinstance(columns, int):
        raise VerifyError(f"tree_walk needs a number of columns, not {columns}")
    if nodes is not None and roots is not None:
        check_trees(nodes, roots, columns, node.attrs["steps"])


def _check_node(node: Node) -> None:
    """Operands are values or floats, attributes in normal form, and the type the inferred one."""
    for operand in node.inputs:
        if not isinstance(operand, (Value, float)):
            raise VerifyError(f"an operand is a value or a float, not {type(operand).__name__}")
    _check(node.result.kind == "result", f"its result is of the kind {node.result.kind!r}")
    given, form = dict(node.attrs), normal(node.op, node.attrs)
    if (given or form) and repr(given) != repr(form):
        raise VerifyError(f"its attributes are {given}, in normal form {form}")
    inferred = infer_normal(node.op, types_of(node.inputs), form)
    if inferred != node.result.type:
        raise VerifyError(f"{node.op} gives {inferred}, not {node.result.type}")


def _check_sizes(values: Iterable[Any], known: Iterable[str]) -> None:
    """Symbolic sizes are computed from sizes of the inputs."""
    for value in values:
        for dim in value if isinstance(value, tuple) else (value,):
            if isinstance(dim, DimExpr) and (unknown := names_in(dim).difference(known)):
                raise VerifyError(f"the size {min(unknown)} is not a size of any input")


def _listed(things: Iterable[object]) -> str:
    return ", ".join(map(str, things)) or "nothing"


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise VerifyError(message)

"""The gradient of a graph, as a graph: reverse-mode differentiation by the rules of the ops."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ir.composites import plain_nodes
from ir.graph import SIGILS, Graph, Node, Operand, Value, Where, types_of
from ir.ops import infer_normal, normal
from ir.printer import name_values
from ir.records import replace
from ir.types import FLOATS, DimExpr, Error, TensorType, same, symbol_name


def gradient(graph: Graph, of: Value | int = 0, wrt: Sequence[Value | str] = (),
             seed: str | None = None) -> Graph:
    """Returns a graph with the inputs and params of this one, that computes gradients, too.

    of:   the output to differentiate, or its number: a scalar of floats, unless there is a seed.
    wrt:  inputs, params or results, of floats; or their names, with or without the sigil.
    seed: the name of a further input, of the type of `of`: the gradient of something else with
          respect to `of`. The graph then computes products of this vector with the Jacobians.

    The outputs are those of the given graph, and behind them the gradients with respect to `wrt`,
    in order and each of the type of what it belongs to; zeros where `of` does not depend on that.

    A node with a `then`, or of a composite op, is taken apart. Where a value is used several times,
    the gradients that its uses give are added one after another, that of the last node first, and
    in a node that of the first operand first. A node that computes gradients has the layer and the
    line of the node that it belongs to, the layers marked as "backward". What was required of sizes
    is required still.

    Raises Error for an `of` that is no scalar and has no seed, or whose sizes no input can have,
    and for values of other types than floats or that are not the graph's.
    """
    target = graph.outputs[of] if isinstance(of, int) else of
    wanted = [_named(graph, value) for value in wrt]
    _check(graph, target, wanted, seed)
    forward = list(plain_nodes(graph.nodes))
    recorder = _Recorder()
    inputs = graph.inputs
    if seed is None:
        first = recorder("full", 1.0, shape=(), dtype=target.type.dtype)
    else:
        first = Value(target.type, "input", seed)
        inputs = (*inputs, first)
    found = _backward(recorder, forward, target, first, wanted)
    gradients = []
    for value in wanted:
        if value not in found:
            recorder.where = Where()
            shape, dtype = value.type.shape, value.type.dtype
            found[value] = recorder("full", 0.0, shape=shape, dtype=dtype)
        gradients.append(found[value])
    outputs = (*graph.outputs, *gradients)
    backward = _used(recorder.nodes, outputs)
    return replace(graph, name=f"{graph.name}_gradient", inputs=inputs,
                   nodes=(*forward, *backward), outputs=outputs)


def _named(graph: Graph, wanted: Value | str) -> Value:
    """Returns the value of a name, with its sigil or, if only one value has it, without."""
    if isinstance(wanted, Value):
        return wanted
    names = name_values(graph)
    found = [v for v, name in names.items() if name == wanted]
    found = found or [v for v in (*graph.inputs, *graph.params) if v.name == wanted]
    if len(found) != 1:
        raise Error(f"there are {len(found)} values named {wanted!r} in {graph.name}")
    return found[0]


def _check(graph: Graph, target: Value, wanted: Sequence[Value], seed: str | None) -> None:
    """Raises Error for values that the graph lacks, or of which there is no gradient."""
    names = name_values(graph)
    for value in (target, *wanted):
        if value not in names:
            raise Error(f"{SIGILS[value.kind]}{value.name} is no value of {graph.name}")
        if value.type.dtype not in FLOATS:
            raise Error(f"{names[value]} is {value.type}: gradients are of floats")
    if seed is None and not same(target.type.shape, ()):
        raise Error(f"{names[target]} is {target.type}, no scalar: its gradient needs a seed, the "
                    "name of a further input")
    if seed is not None and any(isinstance(dim, DimExpr) and symbol_name(dim) is None
                                for dim in target.type.shape):
        raise Error(f"{names[target]} is {target.type}: the sizes of a seed are numbers or names")
    if seed is not None and any(value.name == seed for value in graph.inputs):
        raise Error(f"{graph.name} has an input named {seed!r} already")


class _Recorder:
    """The `do` of the rules: it records each op as a node, but for one that it has already."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.where = Where()
        self._known: dict[object, Value] = {}

    def __call__(self, op: str, *operands: Operand, **attrs: Any) -> Value:
        attrs = normal(op, attrs)
        # by repr, because 0.0 == -0.0 and nan != nan
        call = (op, tuple(o if isinstance(o, Value) else repr(o) for o in operands), repr(attrs))
        if call not in self._known:
            result = Value(infer_normal(op, types_of(operands), attrs))
            self.nodes.append(Node(result, op, operands, attrs, self.where))
            self._known[call] = result
        return self._known[call]

    def type(self, operand: Value) -> TensorType:
        """Returns the type of a value."""
        return operand.type


def _backward(do: _Recorder, forward: Sequence[Node], target: Value, seed: Value,
              wanted: Sequence[Value]) -> dict[Value, Value]:
    """Records the gradients of all values between `wanted` and the target; returns them."""
    from ir.ops.gradients import GRADIENTS, NO_GRADIENT, zero  # which few programs need

    active = set(wanted)                         # what depends on the wanted values
    for node in forward:
        if node.op not in NO_GRADIENT and not active.isdisjoint(node.inputs):
            active.add(node.result)
    found = {target: seed}
    for node in reversed(forward):
        g = found.get(node.result)
        if g is None or node.result not in active or node.op in NO_GRADIENT:
            continue
        row, do.where = GRADIENTS[node.op], _behind(node.where)
        for number, operand in enumerate(node.inputs):
            if not isinstance(operand, Value) or operand not in active:
                continue
            if operand.type.dtype not in FLOATS or row.rule(number) in (None, zero):
                continue
            made = row.of(do, number, g, node.result, node.inputs, node.attrs)
            found[operand] = do("add", found[operand], made) if operand in found else made
    return found


def _behind(where: Where) -> Where:
    """Returns the origin of a node that belongs to a node of this origin."""
    layers = [f"{layer} backward" for layer in where.layer.split(", ") if layer]
    return Where(", ".join(layers) or "backward", where.line)


def _used(nodes: Sequence[Node], outputs: Sequence[Value]) -> list[Node]:
    """Returns the nodes that the outputs need."""
    live: set[Operand] = set(outputs)
    kept = []
    for node in reversed(nodes):
        if node.result in live:
            live.update(node.inputs)
            kept.append(node)
    return kept[::-1]

"""Hypothesis strategies: random graphs, legal by construction, and inputs for them.

    @given(graphs(), seeds)
    def test(graph, seed):
        ir.interpret(graph, feed(graph, seed, size=3))

A graph has one symbolic size, B.  It is grown a step at a time, half of the steps from the newest
value, so that chains come about, and half from any, so that values come to have several users.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ir import OPS, Builder, Error, Graph, TensorType, Value, Where
from ir.check import with_data
from ir.graph import Operand, types_of
from ir.ops import at_sizes, infer
from ir.types import DTYPES, Dim, symbol

B = symbol("B")
TABLE_ROWS = 4                                   # so the ids 0..3 are good for every embedding
LITERALS = (1.0, 0.5, 2.0, 0.1, -1.0, 3.0, 0.0, -0.0)
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e30, 88.0)
ELEMENTWISE = [OPS[name] for name in (
    "add", "sub", "mul", "div", "maximum", "minimum", "neg", "abs", "exp", "log", "sqrt", "tanh",
    "sigmoid", "relu", "gelu", "gelu_tanh")]     # those that every target computes
UNARY = [op.name for op in ELEMENTWISE if op.arity[0] == 1]
BINARY = [op.name for op in ELEMENTWISE if op.arity[0] == 2]

seeds = st.integers(0, 2**32 - 1)


@st.composite
def graphs(draw: st.DrawFn, max_steps: int = 12, dtype: str = "f32") -> Graph:
    """A graph of at most max_steps steps (a few of them are several nodes), with data for its
    parameters: up to three inputs, one to three outputs, dead nodes, parameters and constants."""
    g = Growth(draw, dtype)
    g.values.append(g.builder.declare("input", "x", g.type(B, g.choose(4, 1, 3, 6))))
    for name in "yz"[:g.choose(0, 1, 2)]:
        shape = g.choose(g.values[0].type.shape, (B, 2, 3), (4,), (3, 2), (B,))
        g.values.append(g.builder.declare("input", name, g.type(*shape)))
    if draw(st.booleans()):
        ids = TensorType(g.choose("i64", "i32"), (B,))
        g.ids.append(g.builder.declare("input", "ids", ids))
    for _ in range(g.draw(st.integers(1, max_steps))):
        g.choose(*STEPS)(g)
    others = draw(st.lists(st.sampled_from(g.values), max_size=2, unique=True))
    outputs = dict.fromkeys([g.values[-1], *others])
    return with_data(g.builder.build("random", list(outputs)), draw(seeds))


def feed(graph: Graph, seed: int, size: int, special: bool = False) -> list[np.ndarray]:
    """An array for each input with B = size; special: one element in four is an infinity, a NaN, a
    zero of either sign, tiny or huge."""
    random = np.random.default_rng(seed)
    arrays = []
    for value in graph.inputs:
        shape = at_sizes(value.type.shape, {"B": size})
        if value.type.dtype in ("i32", "i64"):
            array = random.integers(0, TABLE_ROWS, shape)
        else:
            array = random.standard_normal(shape) * random.choice([0.0, 1.0, 1.0, 30.0], shape)
        if special and array.dtype.kind == "f":
            array = np.where(random.random(shape) < 0.25, random.choice(SPECIAL, shape), array)
        arrays.append(array.astype(DTYPES[value.type.dtype]))
    return arrays


class Growth:
    """A graph under construction: what is in it, and the choices still to be drawn."""

    def __init__(self, draw: st.DrawFn, dtype: str) -> None:
        self.draw = draw
        self.dtype = dtype
        self.builder = Builder()
        self.values: list[Value] = []            # floating point, and no parameters
        self.params: list[Value] = []
        self.ids: list[Value] = []

    def choose(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def type(self, *shape: Dim) -> TensorType:
        return TensorType(self.dtype, shape)

    def pick(self, wanted: Callable[[TensorType], bool] = lambda _: True) -> Value:
        """A value of a type wanted.  The first input, [B, N] with N an int, is always to be had."""
        fitting = [v for v in self.values if wanted(v.type)]
        return self.choose(*fitting) if self.draw(st.booleans()) else fitting[-1]

    def param(self, *shape: Dim) -> Value:
        """A parameter or a constant, sometimes one that is in use already."""
        known = [p for p in self.params if p.type == self.type(*shape)]
        if known and self.draw(st.booleans()):
            return known[0]
        kind = self.choose("parameter", "parameter", "constant")
        self.params.append(
            self.builder.declare(kind, f"p{len(self.params)}", self.type(*shape)))
        return self.params[-1]

    def add(self, op: str, *inputs: Operand, **attrs: Any) -> Value:
        step = len(self.builder.nodes)
        where = Where(f"{step} Layer", f"model.py:{step}")
        self.values.append(self.builder.add(op, *inputs, where=where, **attrs))
        return self.values[-1]

    def partners(self, op: str, x: Value, **attrs: Any) -> list[Value]:
        """The values that op takes behind x."""
        def fits(y: Value) -> bool:
            try:
                infer(op, types_of([x, y]), attrs)
            except Error:
                return False
            return True

        return [y for y in self.values if fits(y)]


def has_axes(t: TensorType) -> bool:
    return t.ndim > 0


def has_features(t: TensorType) -> bool:
    return t.ndim > 0 and isinstance(t.shape[-1], int)


def is_matrix(t: TensorType) -> bool:
    return t.ndim >= 2


# -- steps: each adds what it is named after -------------------------------------------------------

def unary(g: Growth) -> None:
    g.add(g.choose(*UNARY), g.pick())


def binary(g: Growth) -> None:
    op, x = g.choose(*BINARY), g.pick()
    match g.choose("value", "literal", "parameter"):
        case "value":
            y: Operand = g.choose(*g.partners(op, x))
        case "literal":
            y = g.choose(*LITERALS)
        case _:
            y = parameter_beside(g, x)
    g.add(op, *g.choose((x, y), (y, x)))


def parameter_beside(g: Growth, x: Value) -> Value:
    """A parameter that broadcasts with x, as [N], [1, N], [T, 1], [] do; it may grow a 1 in x."""
    def size(dim: Dim) -> int:
        if not isinstance(dim, int):
            return 1
        return g.choose(1, 3) if dim == 1 else g.choose(dim, dim, 1)

    rank = g.draw(st.integers(0, x.type.ndim))
    return g.param(*map(size, x.type.shape[x.type.ndim - rank:]))


def identity(g: Growth) -> None:
    if g.draw(st.booleans()):
        g.add("identity", g.pick())
    else:
        g.add("dropout", g.pick(), p=0.5)


def linear(g: Growth) -> None:
    x = g.pick(has_features)
    inputs, outputs = x.type.shape[-1], g.choose(4, 1, 3)
    bias = [g.param(outputs)] if g.draw(st.booleans()) else []
    g.add("linear", x, g.param(outputs, inputs), *bias)


def product_with_parameter(g: Growth) -> None:
    """x @ w or x @ w.T, and often a bias behind it."""
    x = g.pick(lambda t: is_matrix(t) and has_features(t))
    inputs, outputs = x.type.shape[-1], g.choose(4, 1, 3)
    if g.draw(st.booleans()):
        weight = g.param(inputs, outputs)
    else:
        weight = g.builder.add("transpose", g.param(outputs, inputs), axes=(1, 0))
    product = g.add("matmul", x, weight)
    if g.draw(st.booleans()):
        b = g.param(outputs)
        g.add("add", *g.choose((product, b), (b, product)))


def product_of_values(g: Growth) -> None:
    x = g.pick(is_matrix)
    if partners := g.partners("matmul", x):
        g.add("matmul", x, g.choose(*partners))
    else:
        axes = (*range(x.type.ndim - 2), x.type.ndim - 1, x.type.ndim - 2)
        g.add("matmul", x, g.add("transpose", x, axes=axes))


def residual(g: Growth) -> None:
    """A linear with an activation, added to its own input or to what has its shape."""
    x = g.pick(has_features)
    features = x.type.shape[-1]
    inside = g.add("linear", x, g.param(features, features), g.param(features))
    inside = g.add(g.choose(*UNARY), inside)
    g.add("add", *g.choose((x, inside), (inside, x)))


def softmax(g: Growth) -> None:
    x = g.pick(has_axes)
    axis = g.draw(st.integers(0, x.type.ndim - 1))
    scaling = g.choose(None, "mul", "div")
    if scaling is not None:
        x = g.add(scaling, x, g.choose(0.125, 2.0, 3.0, -4.0))
    if g.draw(st.booleans()):
        g.add("softmax", x, axis=axis, scale=g.choose(1.0, 1.0, 0.25))
        return
    e = g.add("exp", g.add("sub", x, g.add("max", x, axes=(axis,), keepdims=True)))
    g.add("div", e, g.add("sum", e, axes=(axis,), keepdims=True))


def layer_norm(g: Growth) -> None:
    x = g.pick(has_features)
    rank = g.choose(1, 2) if x.type.ndim > 1 and isinstance(x.type.shape[-2], int) else 1
    axes = tuple(range(x.type.ndim))[-rank:]
    affine = [g.param(*x.type.shape[-rank:]) for _ in range(g.choose(0, 1, 2))]
    g.add("layer_norm", x, *affine, axes=axes, eps=1e-5)


def reduction(g: Growth) -> None:
    x = g.pick(has_axes)
    axes = g.draw(st.sets(st.integers(0, x.type.ndim - 1), min_size=1))
    g.add(g.choose("sum", "mean", "max"), x, axes=tuple(sorted(axes)),
          keepdims=g.draw(st.booleans()))


def reshape(g: Growth) -> None:
    x = g.pick(lambda t: 0 < t.ndim < 4)
    shape = x.type.shape
    i = g.draw(st.integers(0, len(shape) - 1))
    options = [shape, (*shape[:i], 1, *shape[i:])]
    if i > 0:
        options.append((*shape[:i - 1], shape[i - 1] * shape[i], *shape[i + 1:]))
    if isinstance(shape[i], int) and shape[i] in (4, 6):
        options.append((*shape[:i], 2, shape[i] // 2, *shape[i + 1:]))
    g.add("reshape", x, shape=g.choose(*options))


def transpose(g: Growth) -> None:
    x = g.pick(has_axes)
    g.add("transpose", x, axes=tuple(g.draw(st.permutations(range(x.type.ndim)))))


def slice_(g: Growth) -> None:
    x = g.pick(has_axes)
    axis = g.draw(st.integers(0, x.type.ndim - 1))
    start, stop = 0, x.type.shape[axis]
    if isinstance(stop, int) and g.draw(st.booleans()):
        start = g.draw(st.integers(0, stop - 1))
        stop = g.draw(st.integers(start + 1, stop))
    g.add("slice", x, axis=axis, start=start, stop=stop)


def concat(g: Growth) -> None:
    x = g.pick(has_axes)
    axis = g.draw(st.integers(0, x.type.ndim - 1))
    others = g.draw(st.lists(st.sampled_from(g.partners("concat", x, axis=axis)), max_size=2))
    g.add("concat", x, *others, axis=axis)


def embedding(g: Growth) -> None:
    if g.ids:
        g.add("embedding", g.ids[0], g.param(TABLE_ROWS, g.choose(4, 3)))


def again(g: Growth) -> None:
    """A node that is there already, for CSE to find."""
    if g.builder.nodes:
        node = g.choose(*g.builder.nodes)
        g.add(node.op, *node.inputs, **node.attrs)


STEPS = (
    unary, binary, linear, residual, product_with_parameter, softmax, identity,
    reshape, transpose, slice_, reduction, layer_norm, product_of_values, concat, embedding,
    binary, unary, again,
)

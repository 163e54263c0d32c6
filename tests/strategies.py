"""Hypothesis strategies: random graphs, legal by construction, and inputs for them.

    @given(graphs(), seeds)
    def test(graph, seed):
        ir.interpret(graph, feed(graph, seed, size=3))

A graph has one symbolic size, B. It is grown a step at a time, half of the steps from the newest
value, so that chains come about, and half from any, so that values come to have several users.

`graphs(wide=True)` draws from the whole table of ops and from every dtype, and what people write by
hand too. An op that jumps, as `lt` and `floor` do, is drawn for inputs only: behind a value that a
pass rounds otherwise, nothing could be said of it.
"""
from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ir import OPS, Builder, Error, Graph, TensorType, Value, Where, interpret
from ir.check import with_data
from ir.graph import Operand, types_of
from ir.ops import at_sizes, infer
from ir.records import replace
from ir.types import DTYPES, Dim, same, symbol

B = symbol("B")
TABLE_ROWS = 4                                   # so the ids 0..3 are good for every embedding
LITERALS = (1.0, 0.5, 2.0, 0.1, -1.0, 3.0, 0.0, -0.0)
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e30, 88.0)
UNARY = ["neg", "abs", "exp", "log", "sqrt", "tanh", "sigmoid", "relu", "gelu", "gelu_tanh"]
BINARY = ["add", "sub", "mul", "div", "maximum", "minimum"]

SMOOTH = ["expm1", "exp2", "sin", "cos", "atan", "erf", "erfc", "silu", "mish", "selu", "asinh",
          "hardsigmoid", "hardswish", "tanhshrink", "log_sigmoid", "softsign", "sinh", "cosh"]
TESTS = ["eq", "ne", "lt", "le", "gt", "ge"]
NUMBERED = {"softplus": (1.0, 20.0), "elu": (0.5,), "celu": (2.0,), "leaky_relu": (0.1,)}
BOUNDED_AT = {"hardshrink": (0.5,), "softshrink": (0.5,), "threshold": (0.5, 2.0)}
POWERS = (1.0, 2.0, 3.0, 0.5, -1.0)
INTEGERS = ("i64", "i32", "i8", "u8")


def jumps(arity: int) -> list[str]:
    """The elementwise ops of floats that are in none of the lists above: they may jump."""
    x, found = TensorType("f32", ()), []
    for op in OPS.values():
        if op.elementwise and op.arity == (arity, arity) and op.name not in {
                *UNARY, *BINARY, *SMOOTH, *NUMBERED, *BOUNDED_AT, "floor_div", "remainder", "cast"}:
            with suppress(Error):
                found += [op.name] if op.infer(*[x] * arity) == x else []
    return found


JUMPS, JUMPS_OF_TWO = jumps(1), jumps(2)

seeds = st.integers(0, 2**32 - 1)


@st.composite
def graphs(draw: st.DrawFn, max_steps: int = 12, dtype: str = "f32", wide: bool = False) -> Graph:
    """A graph of at most max_steps steps (a few of them are several nodes), with data for its
    parameters: up to three inputs, one to three outputs, dead nodes, parameters and constants.
    wide: of every op, and not only of those that every target has."""
    g = Growth(draw, dtype)
    g.values.append(g.builder.declare("input", "x", g.type(B, g.choose(4, 1, 3, 6))))
    for name in "yz"[:g.choose(0, 1, 2)]:
        shape = g.choose(g.values[0].type.shape, (B, 2, 3), (4,), (3, 2), (B,))
        g.values.append(g.builder.declare("input", name, g.type(*shape)))
    if draw(st.booleans()):
        ids = TensorType(g.choose("i64", "i32"), (B,))
        g.ids.append(g.builder.declare("input", "ids", ids))
    if wide:
        g.given = [*g.values]
        numbers = TensorType(g.choose(*INTEGERS), g.choose((B,), (4,), (B, 4)))
        g.others.append(g.builder.declare("input", "n", numbers))
    for _ in range(g.draw(st.integers(1, max_steps))):
        g.choose(*(STEPS + WIDE_STEPS if wide else STEPS))(g)
    others = draw(st.lists(st.sampled_from(g.values + g.others), max_size=2, unique=True))
    outputs = dict.fromkeys([g.values[-1], *others])
    return with_data(g.builder.build("random", list(outputs)), draw(seeds))


def feed(graph: Graph, seed: int, size: int, special: bool = False) -> list[np.ndarray]:
    """An array for each input with B = size; special: one element in four is an infinity, a NaN, a
    zero of either sign, tiny or huge."""
    random = np.random.default_rng(seed)
    arrays = []
    for value in graph.inputs:
        shape = at_sizes(value.type.shape, {"B": size})
        if value.name == "n":
            array = random.integers(0 if value.type.dtype == "u8" else -9, 10, shape)
        elif value.type.dtype in ("i32", "i64"):
            array = random.integers(0, TABLE_ROWS, shape)
        else:
            array = random.standard_normal(shape) * random.choice([0.0, 1.0, 1.0, 30.0], shape)
        if special and array.dtype.kind == "f":
            array = np.where(random.random(shape) < 0.25, random.choice(SPECIAL, shape), array)
        arrays.append(array.astype(DTYPES[value.type.dtype]))
    return arrays


def all_finite(graph: Graph, arrays: list[np.ndarray]) -> bool:
    """Whether every value of the graph is finite, and nothing is refused at this size."""
    inside = replace(graph, outputs=tuple(node.result for node in graph.nodes))
    try:
        found = interpret(inside, arrays)
    except Error:
        return False
    return all(np.isfinite(a).all() for a in found if a.dtype.kind == "f")


class Growth:
    """A graph under construction: what is in it, and the choices still to be drawn."""

    def __init__(self, draw: st.DrawFn, dtype: str) -> None:
        self.draw = draw
        self.dtype = dtype
        self.builder = Builder()
        self.values: list[Value] = []            # floating point, and no parameters
        self.params: list[Value] = []
        self.ids: list[Value] = []
        self.given: list[Value] = []             # of the values, the inputs
        self.others: list[Value] = []            # of the other types

    def choose(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def type(self, *shape: Dim) -> TensorType:
        return TensorType(self.dtype, shape)

    def pick(self, wanted: Callable[[TensorType], bool] = lambda _: True) -> Value:
        """A value of a type wanted. The first input, [B, N] with N an int, is always to be had."""
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
        result = self.builder.add(op, *inputs, where=where, **attrs)
        (self.values if result.type.dtype == self.dtype else self.others).append(result)
        return result

    def other(self, *dtypes: str) -> Value | None:
        """A value of one of these types, if there is one."""
        fitting = [v for v in self.others if v.type.dtype in dtypes]
        return self.choose(*fitting) if fitting else None

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
        g.add(g.choose("identity", "detach"), g.pick())
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


# -- steps of the wide graphs ----------------------------------------------------------------------

def smooth(g: Growth) -> None:
    for op in g.draw(st.lists(st.sampled_from(SMOOTH), min_size=1, max_size=3)):
        g.add(op, g.pick())


def rows(g: Growth) -> None:
    x = g.pick(has_features)
    axis = x.type.ndim - 1
    if g.draw(st.booleans()):
        g.add("log_softmax", x, axis=axis)
    else:
        weight = [g.param(x.type.shape[-1])] if g.draw(st.booleans()) else []
        g.add("rms_norm", x, *weight, axes=(axis,), eps=1e-5)


def numbered(g: Growth) -> None:
    op = g.choose(*NUMBERED)
    x = g.pick()
    numbers: tuple[Operand, ...] = NUMBERED[op]
    if g.draw(st.booleans()):
        numbers = (parameter_beside(g, x), *numbers[1:]) if op == "leaky_relu" else numbers
    g.add(op, x, *numbers)


def jumping(g: Growth) -> None:
    x = g.choose(*g.given)
    match g.choose("unary", "bounded", "divided", "two"):
        case "unary":
            for op in g.draw(st.lists(st.sampled_from(JUMPS), min_size=1, max_size=4)):
                g.add(op, x)
        case "bounded":
            op = g.choose(*BOUNDED_AT)
            g.add(op, x, *BOUNDED_AT[op])
        case "divided":
            g.add(g.choose("floor_div", "remainder"), x, g.choose(1.0, 3.0, -0.5))
        case _:
            op = g.choose(*JUMPS_OF_TWO)
            others = [v for v in g.given if v in g.partners(op, x)]
            g.add(op, x, g.choose(*POWERS if op == "pow" else (*LITERALS, *others)))


def comparison(g: Growth) -> None:
    x = g.choose(*g.given)
    if g.draw(st.booleans()):
        g.add(g.choose("isnan", "isinf", "isfinite"), x)
    else:
        y = g.choose(*LITERALS, *[v for v in g.given if v in g.partners("lt", x)])
        g.add(g.choose(*TESTS), *g.choose((x, y), (y, x)))


def logic(g: Growth) -> None:
    if (x := g.other("bool")) is None:
        return
    same_shape = [v for v in g.others if v.type == x.type]
    g.add("logical_not", x)
    g.add(g.choose("logical_and", "logical_or", "logical_xor", "eq"), x,
          g.choose(1.0, 0.0, *same_shape))
    if x.type.ndim:
        g.add(g.choose("any", "all"), x, axes=(0,), keepdims=g.draw(st.booleans()))


def choice(g: Growth) -> None:
    if (c := g.other("bool")) is None:
        return
    if g.draw(st.booleans()):
        c = g.add("logical_not", c)
    beside = [v for v in g.values if fits_together(c, v)]
    if beside:
        x = g.choose(*beside)
        others = [v for v in beside if v.type == x.type]
        y = g.choose(-np.inf, 0.0, -1e9, *others)
        g.add("where", c, *g.choose((x, y), (y, x)))


def fits_together(c: Value, x: Value) -> bool:
    try:
        infer("where", types_of([c, x, 0.0]), {})
    except Error:
        return False
    return True


def casting(g: Growth) -> None:
    """To another type and mostly back; of floats, of inputs only where it rounds."""
    match g.choose("float", "given", "other"):
        case "float":
            there = g.add("cast", g.pick(), dtype=g.choose("f64", g.dtype))
            g.add("cast", there, dtype=g.dtype)
        case "given":
            g.add("cast", g.choose(*g.given), dtype="bool")
        case _:
            x = g.choose(*g.others)
            g.add("cast", x, dtype=g.choose(g.dtype, g.dtype, "i64", "i32", "i8", "u8", "bool"))


def whole_numbers(g: Growth) -> None:
    if (x := g.other(*INTEGERS)) is None:
        return
    match g.choose("unary", "literal", "value"):
        case "unary":
            g.add(g.choose("neg", "abs", "sign"), x)
        case "literal":
            op = g.choose("add", "sub", "mul", "maximum", "minimum", "floor_div", "remainder",
                          "bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift")
            g.add(op, x, g.choose(1.0, 3.0, 2.0))
        case _:
            g.add(g.choose("add", "sub", "mul", *TESTS), x,
                  g.choose(*[v for v in g.others if v.type == x.type]))


def whole_sums(g: Growth) -> None:
    x = g.other(*INTEGERS)
    if x is not None and x.type.ndim:
        g.add(g.choose("sum", "prod"), x, axes=(0,), keepdims=g.draw(st.booleans()))
        g.add("cumsum", x, axis=0)


def wide_reduction(g: Growth) -> None:
    x = g.pick(has_axes)
    axis = g.draw(st.integers(0, x.type.ndim - 1))
    keepdims = g.draw(st.booleans())
    match g.choose("extreme", "place", "running", "mean"):
        case "extreme":
            g.add(g.choose("min", "prod"), x, axes=(axis,), keepdims=keepdims)
        case "place":
            x = g.given[0]
            last = x.type.ndim - 1
            ids = g.add(g.choose("argmax", "argmin"), x, axis=last, keepdims=keepdims)
            if keepdims:
                g.add("take_along", x, ids, axis=last)
        case "running":
            g.add("cumsum", x, axis=axis)
        case _:
            total = g.add("sum", x, axes=(axis,), keepdims=keepdims)
            g.add("div", total, g.choose(4.0, 2.0, 3.0, 6.0))


def by_index(g: Growth) -> None:
    wanted = [v for v in g.values if v.type.ndim and isinstance(v.type.shape[-1], int)
              and v.type.shape[-1] >= TABLE_ROWS]
    if not g.ids or not wanted:
        return
    x, [ids] = g.choose(*wanted), g.ids
    match g.choose("take", "along", "bag", "top", "scatter"):
        case "scatter":
            column = g.builder.add("reshape", ids, shape=(B, 1))
            fitting = [v for v in wanted if v.type.ndim == 2 and same(v.type.shape[0], B)]
            if fitting:
                g.add("scatter_add", column, g.choose(*fitting), axis=0, size=TABLE_ROWS)
        case "take":
            g.add("take", x, ids, axis=x.type.ndim - 1)
        case "along":
            rows = [v for v in wanted if v.type.ndim == 2]
            if rows:
                column = g.builder.add("reshape", ids, shape=(B, 1))
                fitting = [v for v in rows if same(v.type.shape[0], B)]
                if fitting:
                    g.add("take_along", g.choose(*fitting), column, axis=1)
        case "bag":
            offsets = g.builder.declare("constant", f"o{len(g.builder.nodes)}",
                                        TensorType(ids.type.dtype, (2,)))
            g.add("embedding_bag", ids, offsets, g.param(TABLE_ROWS, 3), include_last=False,
                  mode=g.choose("sum", "mean", "max"), padding=g.choose(-1, 1))
        case _:
            x = g.given[0]
            top = g.add("topk_ids", x, axis=1, k=1, largest=g.draw(st.booleans()), sorted=True)
            g.add("take_along", x, top, axis=1)


def rows_put(g: Growth) -> None:
    fitting = [v for v in g.values if v.type.ndim == 2 and same(v.type.shape[0], B)
               and isinstance(v.type.shape[1], int)]
    if g.ids and fitting:
        [ids], rows = g.ids, g.choose(*fitting)
        table = g.param(g.choose(1, TABLE_ROWS), rows.type.shape[1])
        g.add("put_rows", g.choose(ids, g.builder.add("first_equal", ids)), rows, table)


def shapes(g: Growth) -> None:
    x = g.pick(has_axes)
    shape = x.type.shape
    axis = g.draw(st.integers(0, len(shape) - 1))
    match g.choose("expand", "pad", "step", "full", "iota", "size", "uniform", "expanded"):
        case "expand":
            g.add("expand", x, shape=g.choose(shape, (2, *shape)))
        case "pad":
            low = [0] * len(shape)
            low[axis] = g.choose(0, 1, 2)
            g.add("pad", x, low=low, high=[0] * len(shape), value=g.choose(0.0, -1.0))
        case "step" if isinstance(shape[axis], int) and shape[axis] > 0:
            bounds = g.choose((0, shape[axis], 2), (shape[axis] - 1, -1, -1))
            g.add("slice", x, axis=axis, **dict(zip(("start", "stop", "step"), bounds,
                                                    strict=True)))
        case "full":
            full = g.builder.add("full", g.choose(2.0, 1.0, 0.0), shape=shape, dtype=g.dtype)
            g.add(g.choose("add", "mul", "sub"), x, full)
        case "iota":
            g.add("mul", x, g.add("iota", shape=shape, axis=axis, dtype=g.dtype))
        case "uniform":
            seed = g.builder.add("iota", shape=(2,), axis=0, dtype="i64")
            numbers = g.builder.add("uniform", seed, shape=shape, dtype=g.dtype, stream=3)
            g.add("mul", x, numbers)
        case "size":
            size = g.builder.add("size", dim=2 * shape[axis] + g.choose(0, 1))
            g.add(g.choose("sub", "mul"), x, g.builder.add("cast", size, dtype=g.dtype))
        case _:
            b = g.param(shape[-1]) if isinstance(shape[-1], int) else x
            g.add("add", x, g.builder.add("expand", b, shape=shape))


def around(g: Growth) -> None:
    """Elementwise work behind a view, and a view that undoes it."""
    x = g.pick(lambda t: t.ndim == 2)
    if not has_features(x.type):
        return
    x = g.add("linear", x, g.param(4, x.type.shape[-1]))
    shape = x.type.shape
    if g.draw(st.booleans()):
        y = g.add("transpose", x, axes=(1, 0))
    else:
        y = g.add("reshape", x, shape=(*shape[:-1], 2, 2))
    y = g.add(g.choose("relu", "tanh"), y)
    y = g.add("mul", y, g.choose(0.5, y))
    if y.type.ndim == 2:
        g.add("transpose", y, axes=(1, 0))
    else:
        g.add("reshape", y, shape=shape)


def negative(g: Growth) -> None:
    """Signs that meet other signs and sums."""
    x = g.pick()
    minus = g.add("neg", x)
    match g.choose("add", "sub", "mul", "abs"):
        case "abs":
            g.add("abs", minus)
        case op:
            y = g.choose(3.0, -1.0, x)
            g.add(op, *g.choose((minus, y), (y, minus)))


# -- steps as people write them by hand ------------------------------------------------------------

def product_of(g: Growth, *factors: Operand) -> Value:
    """The product of these in any order."""
    first, *rest = g.draw(st.permutations(factors))
    for factor in rest:
        first = g.add("mul", *g.choose((first, factor), (factor, first)))
    assert isinstance(first, Value)
    return first


def gelu_by_hand(g: Growth) -> None:
    x = g.pick()
    match g.choose("erf", "tanh", "silu", "sigmoid"):
        case "erf":
            inner = g.add(*g.choose(("div", x, 2.0**0.5), ("mul", x, 0.5**0.5)))
            outer = g.add("add", 1.0, g.add("erf", inner))
            product_of(g, 0.5, product_of(g, x, outer))
        case "tanh":
            cube = g.add("mul", x, g.add("mul", x, x))
            inner = g.add("add", x, g.add("mul", 0.044715, cube))
            t = g.add("tanh", g.add("mul", inner, (2 / np.pi) ** 0.5))
            product_of(g, 0.5, product_of(g, x, g.add("add", t, 1.0)))
        case "silu":
            below = g.add("add", g.add("exp", g.add("neg", x)), 1.0)
            g.add("div", g.choose(x, 1.0), below)
        case _:
            product_of(g, x, g.add("sigmoid", x))


def norm_by_hand(g: Growth) -> None:
    x = g.pick(has_features)
    axis, features = x.type.ndim - 1, x.type.shape[-1]
    c = x
    if g.draw(st.booleans()):
        c = g.add("sub", x, g.add("mean", x, axes=(axis,), keepdims=True))
    square = g.add("mean", g.add("mul", c, c), axes=(axis,), keepdims=True)
    inside = g.add("add", square, 0.01)
    weight = [g.param(features)] if g.draw(st.booleans()) else []
    if g.draw(st.booleans()):
        y = product_of(g, c, g.add("rsqrt", inside), *weight)
    else:
        y = g.add("div", c, g.add("sqrt", inside))
        y = g.add("mul", y, *weight) if weight else y
    if weight and g.draw(st.booleans()):
        g.add("add", y, g.param(features))


def log_softmax_by_hand(g: Growth) -> None:
    x = g.pick(has_axes)
    axis = x.type.ndim - 1
    top = g.add("max", x, axes=(axis,), keepdims=True)
    shifted = g.add("sub", x, top)
    total = g.add("sum", g.add("exp", shifted), axes=(axis,), keepdims=True)
    log = g.add("log", total)
    if g.draw(st.booleans()):
        result = g.add("sub", shifted, log)
    else:
        result = g.add("sub", x, g.add("add", log, top))
    # It may be 0 or nearly so, as it is rounded, and the log of that be anything: not to be drawn.
    g.values.remove(result)
    g.add("sub", result, 1.0)


def batch_norm(g: Growth) -> None:
    """A linear between scales and shifts of its features."""
    x = g.pick(has_features)
    features = x.type.shape[-1]
    if g.draw(st.booleans()):
        x = g.add("mul", x, g.param(features))
    bias = [g.param(4)] if g.draw(st.booleans()) else []
    x = g.add("linear", x, g.param(4, features), *bias)
    for op in g.draw(st.lists(st.sampled_from(["mul", "add", "sub"]), max_size=2)):
        x = g.add(op, x, g.param(*g.choose((4,), (1, 4))))
    if g.draw(st.booleans()):
        g.add("linear", x, g.param(3, 4))


def attention(g: Growth) -> None:
    """Several linears of one value, and mostly attention with them."""
    x = g.pick(lambda t: t.ndim >= 2 and has_features(t))
    q, k, v = (g.add("linear", x, g.param(4, x.type.shape[-1])) for _ in range(3))
    axes = (*range(x.type.ndim - 2), x.type.ndim - 1, x.type.ndim - 2)
    if g.draw(st.booleans()):
        q = g.add("mul", q, g.choose(0.5, 0.3))
    if g.draw(st.booleans()):
        k = g.add("mul", k, 0.5)
    if g.draw(st.integers(0, 3)) == 0:
        masks = [m for m in g.values if same(m.type.shape, x.type.shape[-2:-1])][:1]
        g.add("attention", q, k, v, *masks, scale=0.5, fill=-np.inf, seen=True, zeroed="none")
    scores = g.add("matmul", q, g.add("transpose", k, axes=axes))
    if g.draw(st.booleans()):
        scores = g.add(g.choose("mul", "div"), scores, 2.0)
    if g.draw(st.booleans()):
        side = scores.type.shape[-2:]
        rows = g.builder.add("iota", shape=(side[0], 1), axis=0, dtype="i64")
        seen = g.builder.add("ge", rows, g.builder.add("iota", shape=side[1:], axis=0, dtype="i64"))
        fill = g.choose(-np.inf, -1e9)
        scores = g.add("where", seen, *g.choose((scores, fill), (fill, scores)))
    elif g.draw(st.booleans()):
        scores = g.add("add", scores, g.choose(scores, g.builder.add("neg", scores)))
    weights = g.add("softmax", scores, axis=x.type.ndim - 1, scale=1.0)
    match g.choose("none", "none", "unseen", "nan"):
        case "unseen":
            largest = g.builder.add("max", scores, axes=(x.type.ndim - 1,), keepdims=True)
            weights = g.add("where", g.builder.add("eq", largest, -np.inf), 0.0, weights)
        case "nan":
            weights = g.add("where", g.builder.add("isnan", weights), 0.0, weights)
    g.add("matmul", weights, v)


WIDE_STEPS = (
    smooth, rows, numbered, jumping, comparison, logic, choice, casting, whole_numbers, whole_sums,
    wide_reduction, by_index, rows_put, shapes, around, negative, gelu_by_hand, norm_by_hand,
    log_softmax_by_hand, batch_norm, attention,
)

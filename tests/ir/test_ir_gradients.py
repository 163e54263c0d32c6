"""The gradients of the ops, each by itself: torch's autograd in double precision is the oracle."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ir.ops import OPS, evaluate
from ir.ops.gradients import GRADIENTS, NO_GRADIENT, Gradient, zero
from ir.types import DTYPES, FLOATS, NDArray, TensorType, type_of

torch = pytest.importorskip("torch")
F = torch.nn.functional


class Eager:
    """The `do` that evaluates each op at once."""

    def __call__(self, op: str, *operands: Any, **attrs: Any) -> NDArray:
        return evaluate(op, operands, attrs)

    def type(self, operand: NDArray | TensorType) -> TensorType:
        return operand if isinstance(operand, TensorType) else type_of(operand)


DO = Eager()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def normal(*shape: int, seed: int = 0) -> NDArray:
    return rng(seed).standard_normal(shape)


def between(low: float, high: float, *shape: int) -> NDArray:
    return rng(len(shape)).uniform(low, high, shape)


# -- the table -------------------------------------------------------------------------------------

def test_every_op_has_a_gradient_or_a_reason() -> None:
    assert GRADIENTS.keys() | NO_GRADIENT.keys() == OPS.keys()
    assert not GRADIENTS.keys() & NO_GRADIENT.keys()
    assert all(name == row.name for name, row in GRADIENTS.items())


def test_every_operand_has_a_rule() -> None:
    for name, row in GRADIENTS.items():
        most = OPS[name].arity[1]
        assert row.many == (most == float("inf")), name
        assert row.many or len(row.rules) == most, name


# -- torch's functions -----------------------------------------------------------------------------

def torch_function(name: str) -> Callable[..., Any]:
    special: dict[str, Callable[..., Any]] = {
        "sub": torch.sub, "neg": torch.neg, "mul": torch.mul, "where": torch.where,
        "cast": lambda x, dtype: x.to({"f32": torch.float32, "f64": torch.float64}[dtype]),
        "floor_div": lambda x, y: torch.div(x, y, rounding_mode="floor"),
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "leaky_relu": lambda x, slope: torch.where(x > 0, x, slope * x),
        "log_sigmoid": F.logsigmoid,
        "mean": lambda x, axes, keepdims: x.mean(axes, keepdims),
        "sum": lambda x, axes, keepdims: x.sum(axes, keepdims),
        "max": lambda x, axes, keepdims: x.amax(axes, keepdims),
        "min": lambda x, axes, keepdims: x.amin(axes, keepdims),
        "prod": torch_prod,
        "linear": F.linear,
        "softmax": lambda x, axis, scale: torch.softmax(x * scale, axis),
        "log_softmax": lambda x, axis: torch.log_softmax(x, axis),
        "layer_norm": lambda x, w=None, b=None, *, axes, eps: F.layer_norm(
            x, x.shape[axes[0]:], w, b, eps),
        "rms_norm": lambda x, w=None, *, axes, eps: F.rms_norm(x, x.shape[axes[0]:], w, eps),
        "cumsum": lambda x, axis: x.cumsum(axis),
        "identity": lambda x: x, "dropout": lambda x, p: F.dropout(x, p, training=False),
        "reshape": lambda x, shape: x.reshape(shape),
        "transpose": lambda x, axes: x.permute(axes),
        "slice": torch_slice,
        "expand": lambda x, shape: x.expand(shape),
        "concat": lambda *xs, axis: torch.cat(xs, axis),
        "pad": lambda x, low, high, value: F.pad(
            x, [n for pair in list(zip(low, high, strict=True))[::-1] for n in pair], value=value),
        "threshold": lambda x, b, v: torch.where(x <= b, v, x),
    }
    return special.get(name) or getattr(F, name, None) or getattr(torch, name)


def torch_prod(x: Any, axes: Sequence[int], keepdims: bool) -> Any:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdims)
    return x


def torch_slice(x: Any, axis: int, start: int, stop: int, step: int) -> Any:
    ids = torch.arange(start, stop, step) if start != stop else torch.arange(0)
    return x.index_select(axis, ids)


def torch_gradients(function: Callable[..., Any], operands: Sequence[Any], attrs: dict[str, Any],
                    g: NDArray) -> list[Any]:
    given = [torch.tensor(o, requires_grad=o.dtype.kind == "f") if isinstance(o, np.ndarray) else o
             for o in operands]
    out = function(*given, **attrs)
    out.backward(torch.tensor(g))
    return [o.grad.numpy() if isinstance(o, torch.Tensor) and o.grad is not None else None
            for o in given]


def our_gradient(row: Gradient, number: int, operands: Sequence[Any], attrs: dict[str, Any],
                 g: NDArray) -> NDArray:
    """The gradient of one operand, where what the rule says that it does not read is not there."""
    out = evaluate(row.name, operands, attrs)
    reads_out, read = row.reads(number, len(operands))
    given = [o if i in read or isinstance(o, float) else type_of(o) for i, o in enumerate(operands)]
    made = row.of(DO, number, g, out if reads_out else type_of(out), given, attrs)
    assert type_of(made) == type_of(operands[number])
    return made


# torch has 1 / 6 and 1 / alpha in float32, even in double precision
ROUNDED = {"hardsigmoid": 1e-7, "celu": 1e-6}


def check(name: str, operands: Sequence[Any], attrs: dict[str, Any] | None = None,
          function: Callable[..., Any] | None = None, tolerance: float = 1e-10) -> None:
    attrs = attrs or {}
    out = evaluate(name, operands, attrs)
    g = np.asarray(normal(*out.shape, seed=7), out.dtype)
    wanted = torch_gradients(function or torch_function(name), operands, attrs, g)
    row = GRADIENTS[name]
    for number, operand in enumerate(operands):
        if not isinstance(operand, np.ndarray) or operand.dtype.kind != "f":
            continue
        if row.rule(number) is None:
            continue
        expected = np.zeros(operand.shape) if wanted[number] is None else wanted[number]
        found = our_gradient(row, number, operands, attrs, g)
        of = max(tolerance, ROUNDED.get(name, 0))
        np.testing.assert_allclose(found, expected, of, of, err_msg=f"{name} {number}")


# -- elementwise -----------------------------------------------------------------------------------

DOMAINS = {**dict.fromkeys(("log", "log2", "log10", "sqrt", "rsqrt", "log1p"), (0.1, 4.0)),
           **dict.fromkeys(("asin", "acos", "atanh"), (-0.95, 0.95)), "acosh": (1.1, 4.0)}
UNARY = sorted(name for name, row in GRADIENTS.items()
               if OPS[name].elementwise and len(row.rules) == 1 and name != "cast")
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "floor_div", "remainder", "pow",
          "copysign", "atan2")
NUMBERED = {"softplus": (1.5, 2.0), "elu": (0.7,), "celu": (0.7,), "leaky_relu": (0.1,),
            "hardshrink": (0.5,), "softshrink": (0.5,), "threshold": (0.3, 2.0)}


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("shape", [(), (5,), (0,), (40, 3)])
def test_functions_of_one(name: str, shape: tuple[int, ...]) -> None:
    check(name, [np.asarray(between(*DOMAINS.get(name, (-4.0, 4.0)), *shape))])


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(("left", "right"), [
    ((4, 3), (4, 3)), ((4, 3), (3,)), ((3,), (4, 3)), ((4, 1), (1, 3)), ((), (2, 3)),
    ((2, 3), ()), ((1, 1), ()), ((0, 3), (1, 3)), ((2, 1, 3), (4, 1)),
])
def test_functions_of_two(name: str, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    low = 0.3 if name == "pow" else -3.0
    x = np.asarray(rng(1).uniform(low, 3, left))
    check(name, [x, np.asarray(rng(2).uniform(0.5, 2.5, right))])


@pytest.mark.parametrize("name", NUMBERED)
def test_functions_with_numbers(name: str) -> None:
    check(name, [normal(6, 7) * 2, *NUMBERED[name]])


@pytest.mark.parametrize("name", ["softplus", "elu", "celu", "leaky_relu", "threshold"])
def test_of_the_parameters_of_activations(name: str) -> None:
    """torch takes numbers there, so the oracle is what the function says, written with torch."""
    functions: dict[str, Callable[..., Any]] = {
        "softplus": lambda x, b, t: torch.where(x * b > t, x, torch.log1p(torch.exp(x * b)) / b),
        "elu": lambda x, a: torch.where(x < 0, a * torch.expm1(x), x),
        "celu": lambda x, a: torch.where(x < 0, a * torch.expm1(x / a), x),
        "leaky_relu": lambda x, s: torch.where(x > 0, x, s * x),
        "threshold": lambda x, b, v: torch.where(x <= b, v, x),
    }
    operands = [np.asarray(rng(i).uniform(0.5, 2.0, 5)) for i in range(len(NUMBERED[name]))]
    check(name, [normal(4, 5), *operands], function=functions[name])
    softshrink = [normal(4, 5), np.full((5,), 0.3)]
    check("softshrink", softshrink, function=lambda x, b: torch.where(
        x > b, x - b, torch.where(x < -b, x + b, 0.0)))


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 1e-3, 30.0, -30.0, 100.0,
                    -100.0, 1e30, -1e30, np.inf, -np.inf, np.nan])
# torch computes NaN there, and the limit is 0 or 1.
LIMITS = {"gelu", "gelu_tanh", "silu", "mish", "softsign", "hardswish"}


@pytest.mark.parametrize("name", UNARY)
def test_special_values(name: str) -> None:
    x = SPECIAL
    if name in LIMITS:
        x = x[np.abs(np.nan_to_num(x, nan=0, posinf=1e300, neginf=1e300)) < 1e20]
    with np.errstate(all="ignore"):
        check(name, [x])


@pytest.mark.parametrize("name", sorted(LIMITS))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_limits(name: str, dtype: Any) -> None:
    x = np.array([np.inf, -np.inf, 1e30, -1e30, np.nan], dtype)
    one = 0.0 if name == "softsign" else 1.0
    found = our_gradient(GRADIENTS[name], 0, [x], {}, np.ones(5, dtype))
    np.testing.assert_allclose(found, [one, 0, one, 0, np.nan], 1e-7, 1e-29)


@pytest.mark.parametrize("name", NUMBERED)
def test_special_values_with_numbers(name: str) -> None:
    numbers = NUMBERED[name]
    x = np.concatenate([SPECIAL, [numbers[-1], -numbers[-1], numbers[0], -numbers[0]]])
    check(name, [x, *numbers])


@pytest.mark.parametrize("name", BINARY)
def test_special_values_of_two(name: str) -> None:
    x, y = (np.ascontiguousarray(z) for z in np.meshgrid(SPECIAL, SPECIAL))
    check(name, [x.ravel(), y.ravel()])


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0, 3.0, 0.5, -1.0, -2.0, 1.5])
def test_powers(power: float) -> None:
    x = SPECIAL if power != 0.5 else np.maximum(SPECIAL, 0.5)  # torch has rsqrt of -0.0 there
    check("pow", [x, power])
    check("pow", [np.asarray([0.0, 2.0, -3.0]), np.full(3, power)])
    check("pow", [power, SPECIAL])


def test_a_number_is_the_bound_of_a_clamp() -> None:
    x = np.array([-1.0, 0.0, 0.5, 1.0, 2.0, np.nan, np.inf, -np.inf])
    check("maximum", [x, 0.5], function=lambda x, y: x.clamp(min=y))
    check("minimum", [x, 1.0], function=lambda x, y: x.clamp(max=y))
    check("minimum", [1.0, x], function=lambda y, x: x.clamp(max=y))
    low, ones = evaluate("maximum", [x, 0.5], {}), np.ones(8)
    g = our_gradient(GRADIENTS["minimum"], 0, [low, 1.0], {}, ones)
    g = our_gradient(GRADIENTS["maximum"], 0, [x, 0.5], {}, g)
    [wanted] = torch_gradients(lambda x: x.clamp(0.5, 1.0), [x], {}, ones)
    np.testing.assert_array_equal(g, wanted)


def test_where() -> None:
    c = rng(1).random((4, 3)) < 0.5
    check("where", [c, normal(4, 3), normal(3)])
    check("where", [c, 1.5, normal(4, 1)])
    check("where", [np.array([True, False]), np.array([1.0, np.nan]), np.array([np.nan, 2.0])])
    g = our_gradient(GRADIENTS["where"], 1, [c, normal(4, 3), 0.0], {}, np.full((4, 3), np.nan))
    assert (g[~c] == 0).all()


def test_cast() -> None:
    check("cast", [normal(3, 4)], {"dtype": "f32"}, tolerance=1e-6)
    check("cast", [normal(3, 4).astype("f4")], {"dtype": "f64"}, tolerance=1e-6)


# -- the others ------------------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "operands", "attrs"), [
    ("linear", [(5, 4), (3, 4)], {}),
    ("linear", [(5, 4), (3, 4), (3,)], {}),
    ("linear", [(2, 5, 4), (3, 4), (3,)], {}),
    ("linear", [(4,), (3, 4), (3,)], {}),
    ("linear", [(0, 4), (3, 4), (3,)], {}),
    ("linear", [(2, 0), (3, 0), (3,)], {}),
    ("matmul", [(5, 4), (4, 3)], {}),
    ("matmul", [(2, 5, 4), (2, 4, 3)], {}),
    ("matmul", [(2, 5, 4), (4, 3)], {}),
    ("matmul", [(5, 4), (2, 4, 3)], {}),
    ("matmul", [(2, 1, 5, 4), (3, 4, 3)], {}),
    ("matmul", [(0, 5, 4), (4, 3)], {}),
    ("softmax", [(3, 5)], {"axis": 1, "scale": 1.0}),
    ("softmax", [(3, 5, 2)], {"axis": 1, "scale": 0.5}),
    ("log_softmax", [(3, 5)], {"axis": 1}),
    ("log_softmax", [(3, 5)], {"axis": 0}),
    *(("layer_norm", [(3, 4, 5), *[shape] * n], {"axes": axes, "eps": 1e-5})
      for n in range(3) for axes, shape in [((2,), (5,)), ((1, 2), (4, 5))]),
    *(("rms_norm", [(3, 4, 5), *[shape] * n], {"axes": axes, "eps": 1e-5})
      for n in range(2) for axes, shape in [((2,), (5,)), ((1, 2), (4, 5))]),
    ("cumsum", [(3, 4)], {"axis": 0}),
    ("cumsum", [(3, 0)], {"axis": 1}),
    ("identity", [(3,)], {}),
    ("dropout", [(3,)], {"p": 0.5}),
    ("reshape", [(3, 4)], {"shape": (2, 6)}),
    ("transpose", [(3, 4, 5)], {"axes": (1, 2, 0)}),
    *(("slice", [(3, 7)], {"axis": 1, "start": start, "stop": stop, "step": step})
      for start, stop, step in [(0, 7, 1), (2, 5, 1), (0, 7, 2), (1, 7, 2), (1, 6, 3), (2, 7, 4),
                                (3, 3, 2), (6, -1, -1), (5, 1, -1), (6, -1, -2), (5, 0, -2),
                                (4, 4, -3), (6, 5, -3), (0, 7, 10)]),
    ("expand", [(3, 1)], {"shape": (2, 3, 4)}),
    ("expand", [()], {"shape": (2, 0)}),
    ("concat", [(2, 3), (2, 1), (2, 0), (2, 4)], {"axis": 1}),
    ("concat", [(2, 3)], {"axis": 0}),
    ("pad", [(2, 3)], {"low": (1, 0), "high": (0, 2), "value": 2.0}),
    *((op, [(2, 3, 4)], {"axes": axes, "keepdims": keepdims})
      for op in ("sum", "mean", "max", "min", "prod")
      for axes in [(1,), (0, 2), (0, 1, 2)] for keepdims in (False, True)),
    *((op, [()], {"axes": (), "keepdims": False}) for op in ("sum", "mean", "max", "prod")),
    ("sum", [(0, 3)], {"axes": (0,), "keepdims": False}),
    ("mean", [(0, 3)], {"axes": (1,), "keepdims": False}),
    ("prod", [(0, 3)], {"axes": (0,), "keepdims": False}),
])
def test_of_arrays(name: str, operands: Sequence[tuple[int, ...]], attrs: dict[str, Any]) -> None:
    check(name, [np.asarray(normal(*shape, seed=i)) for i, shape in enumerate(operands)], attrs)


def test_ties_share_the_gradient() -> None:
    x = np.array([[1.0, 2.0, 2.0, 0.0], [3.0, 3.0, 3.0, 3.0]])
    for axes in ((1,), (0,), (0, 1)):
        check("max", [x], {"axes": axes, "keepdims": False})
        check("min", [x], {"axes": axes, "keepdims": False})


def test_extremes_of_nan() -> None:
    x = np.array([[1.0, np.nan, 2.0], [3.0, 3.0, 1.0]])
    check("max", [x], {"axes": (1,), "keepdims": False})
    everything = {"axes": (0, 1), "keepdims": False}
    check("max", [x], everything, function=lambda x, axes, keepdims: x.max())
    check("min", [x], everything, function=lambda x, axes, keepdims: x.min())


@pytest.mark.parametrize("zeros", [[], [1], [0, 2], [0, 1, 2, 3]])
def test_products_with_zeros(zeros: list[int]) -> None:
    x = normal(3, 4)
    x[1, zeros] = 0.0
    check("prod", [x], {"axes": (1,), "keepdims": False})
    check("prod", [x], {"axes": (0, 1), "keepdims": True})


def test_rows_that_are_masked() -> None:
    x = np.array([[0.0, -np.inf, 1.0], [-np.inf] * 3, [np.nan, 1.0, 2.0]])
    check("softmax", [x], {"axis": 1, "scale": 1.0})
    check("log_softmax", [x], {"axis": 1})


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("level", [0.0, 1e6, -3.0])
def test_norms_of_constant_rows(name: str, level: float) -> None:
    """In float32, where the mean of equal numbers is rounded."""
    x = np.full((2, 37), level, "f4")
    g = normal(2, 37).astype("f4")
    attrs = {"axes": (1,), "eps": 1e-5}
    found = our_gradient(GRADIENTS[name], 0, [x], attrs, g)
    [wanted] = torch_gradients(torch_function(name), [x.astype("f8")], attrs, g.astype("f8"))
    np.testing.assert_allclose(found, wanted, 1e-3, np.abs(wanted).max() * 1e-5)


# -- by index --------------------------------------------------------------------------------------

def ids(size: int, *shape: int) -> NDArray:
    return rng(size).integers(0, size, shape)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,), (40,)])
def test_embedding(shape: tuple[int, ...]) -> None:
    check("embedding", [ids(6, *shape), normal(6, 4)], function=F.embedding)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,)])
def test_take(axis: int, shape: tuple[int, ...]) -> None:
    def function(x: Any, ids: Any, axis: int) -> Any:
        found = x.index_select(axis, ids.reshape(-1))
        return found.reshape(*x.shape[:axis], *ids.shape, *x.shape[axis + 1:])
    check("take", [normal(4, 3, 5), ids(3, *shape)], {"axis": axis}, function)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(4, 3, 5), (2, 3, 2), (4, 1, 5), (0, 3, 5)])
def test_take_along(axis: int, shape: tuple[int, ...]) -> None:
    check("take_along", [normal(4, 3, 5), ids(3, *shape)], {"axis": axis},
          lambda x, ids, axis: x.gather(axis, ids))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(4, 3, 5), (4, 1, 1), (3, 1), (1, 3, 1), (1, 1, 5), (5,), ()])
def test_scatter_add(axis: int, shape: tuple[int, ...]) -> None:
    def function(ids: Any, x: Any, axis: int, size: int) -> Any:
        zeros = x.new_zeros((*x.shape[:axis], size, *x.shape[axis + 1:]))
        return zeros.scatter_add(axis, ids.expand(x.shape), x)
    operands, attrs = [np.asarray(ids(3, *shape)), normal(4, 3, 5)], {"axis": axis, "size": 3}
    check("scatter_add", operands, attrs, function)
    expected = function(*map(torch.tensor, operands), **attrs).numpy()
    np.testing.assert_allclose(evaluate("scatter_add", operands, attrs), expected, 1e-12)


@pytest.mark.parametrize("index", [np.int64, np.int32])
@pytest.mark.parametrize("given", [[2, -1, 0, 2, 4, 2**20, 0], [], [4]])
def test_put_rows(given: list[int], index: type) -> None:
    def function(ids: Any, rows: Any, x: Any) -> Any:
        kept = [n for n, number in enumerate(given)
                if 0 <= number < 4 and number not in given[:n]]
        return x.index_copy(0, ids[kept].long(), rows[kept])
    operands = [np.array(given, index), normal(len(given), 3, 2), normal(4, 3, 2)]
    check("put_rows", operands, {}, function)
    np.testing.assert_array_equal(evaluate("put_rows", operands, {}),
                                  function(*map(torch.tensor, operands)).numpy())


@pytest.mark.parametrize("mode", ["sum", "mean", "max", "weighted"])
@pytest.mark.parametrize("padding", [-1, 2])
@pytest.mark.parametrize(("offsets", "include_last"), [
    ([0, 2, 2, 5], False), ([0, 2, 2, 5, 9], True), ([0, 3, 9], True), ([0], False),
    ([0, 9], False),
])
def test_embedding_bag(mode: str, padding: int, offsets: list[int], include_last: bool) -> None:
    table = normal(6, 4)
    table[3] = table[1]                          # a tie
    operands = [np.array([1, 2, 5, 1, 3, 0, 2, 2, 3]), np.array(offsets), table]
    operands += [normal(9, seed=3)] * (mode == "weighted")
    mode = mode.replace("weighted", "sum")

    def function(ids: Any, offsets: Any, w: Any, weights: Any = None, **_: Any) -> Any:
        return F.embedding_bag(ids, w, offsets, mode=mode, per_sample_weights=weights,
                               include_last_offset=include_last,
                               padding_idx=None if padding < 0 else padding)
    check("embedding_bag", operands,
          {"mode": mode, "include_last": include_last, "padding": padding}, function)


# -- float32 ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["sigmoid", "relu", "gelu", "gelu_tanh", "silu", "mish", "selu",
                                  "hardsigmoid", "hardswish", "tanhshrink", "log_sigmoid",
                                  "softsign", "tanh", "softplus", "elu", "celu", "leaky_relu"])
def test_activations_are_accurate_in_float32(name: str) -> None:
    """As near to the true value as a few units in the last place of 1."""
    x = np.concatenate([np.linspace(-20, 20, 4001), rng(3).standard_normal(4000)]).astype("f4")
    numbers = NUMBERED.get(name, ())
    g = np.ones(x.shape)
    [wanted, *_] = torch_gradients(torch_function(name), [x.astype("f8"), *numbers], {}, g)
    found = our_gradient(GRADIENTS[name], 0, [x, *numbers], {}, g.astype("f4"))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, 1e-6, 1e-6)


def test_the_rules_that_give_zeros() -> None:
    flat = {"sign", "floor_div", "floor", "ceil", "round", "trunc"}
    assert {name for name, row in GRADIENTS.items() if set(row.rules) == {zero}} == flat


def test_types() -> None:
    for dtype in FLOATS:
        x = normal(3).astype(DTYPES[dtype])
        for name in UNARY:
            g = our_gradient(GRADIENTS[name], 0, [np.abs(x) + 1], {}, x)
            assert g.dtype == x.dtype

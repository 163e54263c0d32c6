"""Functions of two operands in every pair of dtypes, and what else numbers do, as in torch."""
import itertools
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest

import nncompile
from ir import Error
from ir.types import DTYPES
from nncompile import Tensor, nn

torch = pytest.importorskip("torch", reason="the oracle is not installed")

NUMBERS = [True, False, 0, 1, 3, -2, 2.0, -1.5, float("nan")]
NAMES = ["add", "sub", "mul", "div", "floor_divide", "remainder", "pow", "maximum",
         "minimum", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or",
         "logical_xor", "copysign", "clamp_min", "clamp_max", "true_divide"]
SAME = {name: f"n.{name}(x, y)" for name in NAMES} | {       # evaluated with torch, and with us
    "div trunc": "n.div(x, y, rounding_mode='trunc')",
    "div floor": "n.div(x, y, rounding_mode='floor')",
    "add 2": "n.add(x, y, alpha=2)", "sub -3": "n.sub(x, y, alpha=-3)",
    "add True": "n.add(x, y, alpha=True)", "add 0.5": "n.add(x, y, alpha=0.5)",
    "addcmul": "n.addcmul(x, y, y, value=2)", "addcdiv": "n.addcdiv(x, y, y)",
    "where": "n.where(x > 0, x, y)", "clamp": "x.clamp(max=y)",
    "masked_fill": "x.masked_fill(x > 0, y)",
}


def operands(dtype):
    """The extremes of the type and small numbers; in the second no 0, and no -1 under the least."""
    kind = DTYPES[dtype]
    if kind.kind == "b":
        return np.array([0, 0, 1, 1, 0, 1, 1, 0], bool), np.array([0, 1, 1, 0, 1, 0, 1, 0], bool)
    if kind.kind == "f":
        return (np.array([0.0, -0.0, 1.5, -2.5, np.inf, -np.inf, np.nan, 7], kind),
                np.array([1.0, 2, -3, 0.5, -0.5, 3, 2, -2], kind))
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    minus = -1 if low < 0 else 2
    return (np.array([low, high, 0, 1, 7, low + 1, high - 1, 5], kind),
            np.array([high, 1, 2, 3, minus, minus, 7, 2 * minus], kind))


def outcome(text, library, x, y):
    """The result, or None where it is refused."""
    try:
        result = eval(text, {"n": library, "x": x, "y": y})
    except (RuntimeError, TypeError, Error, ZeroDivisionError):
        return None
    return np.asarray(result)


@pytest.mark.parametrize("name", SAME)
def test_two_operands(name):
    """Where torch has a result and we do not, the types together or the number are not there."""
    answered = 0
    for a, b in itertools.product(DTYPES, [*DTYPES, *NUMBERS]):
        x = operands(a)[0]
        for y in ([operands(b)[1], operands(b)[1][2]] if b in DTYPES else [b]):
            wanted = outcome(SAME[name], torch, torch.from_numpy(x.copy()),
                             torch.as_tensor(y) if isinstance(y, np.ndarray | np.generic) else y)
            got = outcome(SAME[name], nncompile, nncompile.tensor(x), nncompile.tensor(y)
                          if isinstance(y, np.ndarray | np.generic) else y)
            if wanted is None:
                continue
            if got is None:
                refused = {a, b} == {"i8", "u8"} or (a == "u8" and b == -2)
                assert refused or (name, a) == ("pow", "bool"), (a, b)
                continue
            answered += 1
            assert got.dtype == wanted.dtype, (a, b, y)
            if wanted.dtype.kind == "f":
                np.testing.assert_allclose(got, wanted, 1e-5, 1e-6, err_msg=f"{a} {b} {y}")
            else:
                np.testing.assert_array_equal(got, wanted, f"{a} {b} {y}")
    assert answered > 3


@pytest.mark.parametrize("dtype", ["i8", "i32", "i64"])
def test_the_least_integer_is_divided_by_minus_1(dtype):
    """It stays, as integers wrap; torch ends the process there."""
    least = np.array([np.iinfo(DTYPES[dtype]).min, 7, -7], DTYPES[dtype])
    for mode in ("trunc", "floor"):
        got = nncompile.div(nncompile.tensor(least), -1, rounding_mode=mode)
        np.testing.assert_array_equal(np.asarray(got), [least[0], -7, 7])


@pytest.mark.parametrize("mode", ["trunc", "floor"])
@pytest.mark.parametrize("dtype", ["i8", "u8", "i32", "i64"])
def test_a_quotient_of_integers_that_is_rounded_is_exact(dtype, mode):
    generator = np.random.default_rng(0)
    info = np.iinfo(DTYPES[dtype])
    x = generator.integers(info.min, info.max, 500, DTYPES[dtype], endpoint=True)
    y = generator.integers(info.min // 3, info.max // 3, 500, DTYPES[dtype])
    y[y == 0], x[:4] = 1, info.min

    class Model(nn.Module):
        def forward(self, x, y):
            return x.div(y, rounding_mode=mode), x.div(7, rounding_mode=mode), nncompile.div(
                -100 if info.min else 100, y, rounding_mode=mode)

    texts = Model().eval()
    keep = ~((x == info.min) & (y == -1))
    a, b = torch.from_numpy(x[keep]), torch.from_numpy(y[keep])
    wanted = (a.div(b, rounding_mode=mode), a.div(7, rounding_mode=mode),
              torch.div(torch.full_like(b, -100 if info.min else 100), b, rounding_mode=mode))
    for call in (texts, nncompile.compile(texts, f"{dtype}[N]", f"{dtype}[N]")):
        for got, expected in zip(call(x[keep], y[keep]), wanted, strict=True):
            np.testing.assert_array_equal(np.asarray(got), expected.numpy())
    with pytest.raises(Error, match="divided by zero"):
        nncompile.div(nncompile.tensor(x), nncompile.tensor(y * 0), rounding_mode=mode)


@pytest.mark.parametrize("dim", [(), [], None, 0, (0, 1)], ids=str)
@pytest.mark.parametrize("dtype", ["f32", "i64", "u8", "bool"])
def test_truth_along_dimensions(dtype, dim):
    x = np.array([[0, 1, 2], [0, 0, 3]]).astype(DTYPES[dtype])
    for name in ("any", "all"):
        wanted = getattr(torch.from_numpy(x), name)(dim).numpy()
        got = np.asarray(getattr(nncompile.tensor(x), name)(dim))
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)


SPECIAL = np.array([[np.nan, np.inf, -np.inf], [-0.0, 3.3e38, 1e-40]])
ONE = {
    "nan_to_num": (SPECIAL, "x.nan_to_num()"), "nan": (SPECIAL, "x.nan_to_num(1.5)"),
    "posinf": (SPECIAL, "n.nan_to_num(x, posinf=7, neginf=-1e3)"),
    "nan of integers": (np.arange(6), "x.nan_to_num(3)"),
    "cumprod": (np.arange(1, 8), "x.cumprod(0)"),
    "cumprod of floats": (np.linspace(0.5, 1.5, 77).reshape(7, 11), "n.cumprod(x, 1)"),
    "cumprod first": (np.linspace(0.5, 1.5, 77).reshape(7, 11), "x.cumprod(dim=-2)"),
    "cumprod of bools": (np.array([True, True, False, True]), "x.cumprod(0)"),
    "cumprod of nothing": (np.zeros((3, 0)), "x.cumprod(1)"),
    "cumprod as": (np.arange(1, 5), "x.cumprod(0, dtype=n.float64)"),
    "diff": (np.arange(12.0).reshape(3, 4) ** 2, "x.diff()"),
    "diff twice": (np.arange(12).reshape(3, 4) ** 2, "n.diff(x, n=2, dim=0)"),
    "diff too often": (np.arange(3), "x.diff(5)"),
    "diff of bools": (np.array([True, True, False, True]), "x.diff()"),
    "diff of bytes": (np.array([3, 1, 200], np.uint8), "x.diff()"),
    "diff with ends": (np.arange(6.0).reshape(2, 3), "x.diff(prepend=x[:, :1], append=x * 2)"),
    "unfold": (np.arange(30).reshape(3, 10), "x.unfold(1, 4, 3)"),
    "unfold first": (np.arange(30).reshape(10, 3), "x.unfold(0, 2, 1)"),
    "unfold last": (np.arange(60).reshape(3, 4, 5), "x.unfold(-2, 4, 2)"),
    "unfold whole": (np.arange(5), "x.unfold(0, 5, 1)"),
    "columns": (np.arange(5), "n.column_stack([x, x + 1, x.reshape(5, 1)])"),
    "columns of matrices": (np.arange(6).reshape(2, 3), "n.column_stack((x, x))"),
    "rows": (np.arange(5), "n.row_stack([x, x + 1])"),
}


@pytest.mark.parametrize("name", ONE)
def test_one_array(name):
    x, text = ONE[name]
    x = x.astype(np.float32) if x.dtype == np.float64 else x

    class Model(nn.Module):
        def forward(self, x):
            return eval(text, {"n": nncompile, "x": x})

    wanted = eval(text, {"n": torch, "x": torch.from_numpy(x.copy())}).numpy()
    model = Model().eval()
    for got in (model(x), nncompile.compile(model, str(nncompile.tensor(x).type))(x)):
        got = np.asarray(got)
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_allclose(got, wanted, 2e-6)


def test_windows_and_differences_of_a_named_size():
    class Model(nn.Module):
        def forward(self, x):
            return x.unfold(1, 3, 1), x.diff(dim=1), x.diff(dim=0)

    fast = nncompile.compile(Model().eval(), "f32[B, T]")
    for shape in ((4, 9), (1, 3), (2, 30)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        t = torch.from_numpy(x)
        for got, wanted in zip(fast(x), (t.unfold(1, 3, 1), t.diff(dim=1), t.diff(dim=0)),
                               strict=True):
            np.testing.assert_array_equal(got, wanted.numpy())


# -- in place --------------------------------------------------------------------------------------

INPLACE = [name for name in vars(torch.Tensor).keys() | set(dir(torch.Tensor))
           if name.endswith("_") and not name.startswith("_") and hasattr(Tensor, name[:-1])]
ARGUMENTS = {
    **dict.fromkeys(["squeeze", "unsqueeze", "cumsum", "cumprod"], (1,)),
    **dict.fromkeys(["transpose", "swapaxes", "swapdims"], (0, 1)),
    **dict.fromkeys(["clamp_min", "clamp_max", "pow", "remainder", "floor_divide",
                     "fmod"], (0.7,)),
    **dict.fromkeys(["eq", "ne", "lt", "le", "gt", "ge", "less", "less_equal", "greater",
                     "greater_equal", "not_equal"], (0.5,)),
    **dict.fromkeys(["add", "sub", "mul", "div", "true_divide", "subtract", "multiply", "divide",
                     "copysign"], (0.5,)),
    "clamp": (0.2, 0.6), "clip": (0.2, 0.6),
}
NEEDS_MORE = {"masked_fill", "scatter", "scatter_add", "index_add", "lerp", "addcmul", "addcdiv",
              "addmm", "baddbmm", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not",
              "bitwise_left_shift", "bitwise_right_shift", "atan2", "arctan2", "hypot", "xlogy",
              "heaviside",
              "logical_and", "logical_or", "logical_xor", "bernoulli", "requires_grad", "copy",
              "fill", "zero"}                           # tried in other tests


@pytest.mark.parametrize("name", sorted(INPLACE))
def test_every_method_has_its_form_in_place(name):
    assert hasattr(Tensor, name), name
    if name[:-1] in NEEDS_MORE:
        return
    x = np.linspace(0.1, 0.9, 6, dtype=np.float32).reshape(2, 3)
    if name in ("acosh_", "arccosh_"):
        x = x + 1
    arguments = ARGUMENTS.get(name[:-1], ())
    theirs, ours = torch.from_numpy(x.copy()), nncompile.tensor(x)
    before = ours
    wanted, got = getattr(theirs, name)(*arguments), getattr(ours, name)(*arguments)
    assert got is before
    np.testing.assert_allclose(np.asarray(got), wanted.numpy(), 2e-6)
    got[0], wanted[0] = 5, 5                             # it goes on as the same array
    np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), 2e-6)


def test_a_new_shape_in_place_shares_the_elements():
    class Model(nn.Module):
        def forward(self, x):
            y = x * 2
            view = y[1]
            y.unsqueeze_(0).transpose_(1, 2)
            y[0, 0] = 7.0
            return y, view

    model = Model().eval()
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    y = torch.from_numpy(x) * 2
    view = y[1]
    y.unsqueeze_(0).transpose_(1, 2)
    y[0, 0] = 7.0
    for call in (model, nncompile.compile(model, "f32[2, 3]")):
        for got, wanted in zip(call(x), (y, view), strict=True):
            np.testing.assert_array_equal(np.asarray(got), wanted.numpy())


# -- NumPy's reports -------------------------------------------------------------------------------

REPORTS = """
import warnings
import numpy as np
warnings.simplefilter("error")
import nncompile
import nncompile.nn.functional as F
from nncompile import nn
import ir

np.seterr(all="raise")
far = [np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, -1e-40, 0.0, -0.0, 1e30, 300.5]
def inputs():
    x = nncompile.tensor(np.array(far, np.float32))
    wide = nncompile.tensor(np.array([1e300, -1e300, 1e-320, np.nan]))
    rows, column = x.clone().reshape(1, 11), x.clone().reshape(11, 1)
    return x, wide, rows, column

done = refused = 0
for namespace in (nncompile, F, nncompile.Tensor):
    for name in sorted(dir(namespace)):
        if name.startswith("_") or name in ("compile", "bernoulli_", "trace"):
            continue
        function = getattr(namespace, name)
        for number in range(10):
            x, wide, rows, column = inputs()
            arguments = [(x,), (x, x), (x, 0.0), (x, 1e30), (x, x, x), (wide, wide), (x, 0),
                         (rows, 1), (rows, column), (rows, column, rows)][number]
            try:
                function(*arguments)
                done += 1
            except FloatingPointError as error:
                raise SystemExit(f"{name}{arguments}: {error!r}")
            except Warning as warning:
                if isinstance(warning, RuntimeWarning):
                    raise SystemExit(f"{name}{arguments}: {warning!r}")
            except Exception:
                refused += 1

x, wide, rows, column = inputs()
for dtype in (np.float32, np.int8, np.uint8, np.int32, np.int64, np.bool_):
    wide.to(dtype), x.to(dtype)
    x.to(dtype).fill_(1e30 if dtype == np.float32 else True)
nncompile.tensor([1e300, 1e-320]), nncompile.full((2,), 1e300), nncompile.randn(4)
nncompile.full((2,), 1e-320), nncompile.linspace(0, 1e300, 5)
x.masked_fill_(x > 0, 1e300)
x[0] = 1e300
x[1:3] = np.array([1e300, 1e-320])
nncompile.tensor(np.array(far, np.float32)).uniform_(0, 1e-44)
F.pad(x, (1, 1), value=1e300)

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)
        self.big = nn.Parameter([1e300] * 8)

    def forward(self, x):
        y = self.norm(self.layer(x)) * self.big
        return (y / 0).exp(), y.to(np.uint8), (y * 1e-30).log(), F.softmax(y * 1e30, -1)

model = Model().eval()
wide_state = {n: np.full(a.shape, 1e300) if a.ndim else np.asarray(a)
              for n, a in model.state_dict().items()}
model.load_state_dict(wide_state)
nn.init.constant_(model.big, 1e300)
model.double().float().half().bfloat16()
model(np.ones((2, 8), np.float32))
fast = nncompile.compile(model, "f32[B, 8]", check=False)
fast(np.ones((2, 8), np.float32)), fast(np.ones((2, 8), np.uint8))
fast.load_weights({n: np.asarray(a) for n, a in wide_state.items()})
graph = fast.ir()
ir.interpret(graph, [np.ones((2, 8), np.float32)]), ir.interpret(
    graph, [np.ones((2, 8), np.float32)], np.float64)
assert np.geterr()["over"] == "raise"
print(done > 300, refused > 0)
"""


@pytest.mark.parametrize("op", ["sum", "prod"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int32", "int64"])
def test_totals_of_integers_are_torchs_and_copy_no_array(op, dtype):
    numbers = np.random.default_rng(0).integers(0, 2, (3, 0, 2)).astype(dtype)
    more = np.random.default_rng(0).integers(0, 100, (4, 3, 5)).astype(dtype)
    for given in (numbers, more, more[0, 0, 0]):
        given = np.asarray(given)
        for dim in [None, *([0, -1, (0, 2), ()] if given.ndim and op == "sum" else [])]:
            ours = getattr(nncompile.from_numpy(given), op)(dim)
            theirs = torch.from_numpy(given)
            theirs = getattr(theirs, op)() if dim is None else getattr(theirs, op)(dim)
            assert ours.shape == theirs.shape and ours.dtype == theirs.numpy().dtype
            assert np.array_equal(ours.numpy(), theirs.numpy())
    large = nncompile.from_numpy(np.ones((1000, 1000), dtype))
    tracemalloc.start()
    getattr(large, op)(), getattr(large, op)(0)
    assert tracemalloc.get_traced_memory()[1] < 300_000
    tracemalloc.stop()


@pytest.mark.parametrize("jit", ["1", "0"])
def test_numpys_reports_do_not_reach_us(jit, monkeypatch):
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    done = subprocess.run([sys.executable, "-c", REPORTS], capture_output=True, text=True)
    assert done.stdout == "True True\n", (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("name", ["dropout1d", "dropout2d", "dropout3d"])
def test_dropouts_of_channels_take_the_shapes_that_torch_takes(name):
    """torch warns of some of them."""
    for shape in ((4,), (3, 4), (2, 3, 4), (2, 3, 4, 5), (1, 2, 3, 4, 5)):
        x = np.ones(shape, np.float32)
        for training in (False, True):
            text = f"n.nn.functional.{name}(x, 0.5, training={training})"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wanted = outcome(text, torch, torch.from_numpy(x), None)
            got = outcome(text, nncompile, nncompile.tensor(x), None)
            assert (got is None) == (wanted is None), (shape, training)
            if got is None:
                continue
            assert got.shape == wanted.shape and set(got.ravel().tolist()) <= {0.0, 1.0, 2.0}

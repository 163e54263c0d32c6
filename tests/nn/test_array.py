"""Array's methods beside torch's tensor methods, eager and traced, and beside NumPy's functions."""

import numpy as np
import pytest

import ir
from ir import Error
from nncompile import nn
from nncompile.array import Array
from nncompile.trace import trace


class Own(nn.Module):
    def __init__(self, function):
        self.function = function

    def forward(self, *args):
        return self.function(*args)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def exactly_as_traced(function, *arrays):
    """The eager result; the graph traced from a type with every size symbolic or example gives
    the same bits."""
    want = Own(function)(*arrays)
    got = ir.interpret(trace(Own(function), *arrays), list(arrays))
    for g, w in zip(got, want if isinstance(want, tuple | list) else [want], strict=True):
        assert g.dtype == w.dtype and g.shape == w.shape
        assert np.array_equal(g, w, equal_nan=True)
    return want


def unpacked(first, second, third):
    return first * second - third


METHODS = {
    "neg": lambda x: -x,
    "abs": lambda x: abs(x) + x.abs(),
    "exp": lambda x: x.exp(),
    "log": lambda x: x.log(),
    "sqrt": lambda x: x.sqrt(),
    "tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: x.sigmoid(),
    "relu": lambda x: x.relu(),
    "softmax": lambda x: x.softmax(-1) + x.softmax(dim=1),
    "square": lambda x: x**2,
    "root": lambda x: abs(x) ** 0.5,
    "scalars": lambda x: 2 / (1 - x * 3) + (x - 1.5) / 2 + (True + x),
    "add": lambda x: x + x[0] + x[:, :1, :1] - x[..., 0:1] * x[-1],
    "maximum": lambda x: x.maximum(x[0]).minimum(x[:, 0:1]),
    "matmul": lambda x: x @ x.transpose(-2, -1),
    "matmul vector": lambda x: x.matmul(x[0, 0]),
    "vector matmul": lambda x: x[0, 0, :3] @ x[0],
    "vector matmuls": lambda x: x[0, 0, :3] @ x,
    "dot": lambda x: x[0, 0] @ x[1, 1],
    "sum": lambda x: x.sum(),
    "sum dim": lambda x: x.sum(1) + x.sum(dim=-2),
    "sum dims": lambda x: x.sum((0, -1), keepdim=True),
    "sum none": lambda x: x.sum(dim=()),
    "mean": lambda x: x.mean(dim=(0, 2)) + x.mean(),
    "mean keep": lambda x: x.mean(1, True),
    "amax": lambda x: x.amax(-1) + x.amax(dim=(0, 2), keepdim=True).sum(),
    "reshape": lambda x: x.reshape(-1, 12),
    "reshape tuple": lambda x: x.reshape((x.shape[0] * 3, 4)),
    "view": lambda x: x.view(x.size(0), -1).view(-1),
    "flatten": lambda x: x.flatten(1),
    "flatten all": lambda x: x.flatten(),
    "flatten some": lambda x: x.flatten(-3, -2),
    "transpose": lambda x: x.transpose(0, -1),
    "permute": lambda x: x.permute(2, 0, 1).permute((1, 2, 0)).permute([-1, 0, 1]),
    "swapaxes": lambda x: x.swapaxes(1, 2).contiguous().detach(),
    "T": lambda x: x[0].T,
    "mT": lambda x: x.mT,
    "unsqueeze": lambda x: x.unsqueeze(0).unsqueeze(-1).unsqueeze(2),
    "squeeze": lambda x: x[:, :1].squeeze(1) + x[:, None].squeeze(1)[:, 0],
    "squeeze not": lambda x: x.squeeze(1),
    "index": lambda x: x[1, :, -1],
    "index last": lambda x: x[-1],
    "slice": lambda x: x[1:, 1:-1, :100],
    "slice start": lambda x: x[:, -2:, 3:],
    "slice empty": lambda x: x[:, 2:1],
    "None": lambda x: x[None, :, 0, None],
    "ellipsis": lambda x: x[..., 1:2, 0] + x[0, ...].sum(),
    "all": lambda x: x[:],
    "chunk": lambda x: x.chunk(2, dim=-1)[1],
    "chunk uneven": lambda x: x.chunk(2, 1)[1],
    "chunk too many": lambda x: sum(x.chunk(9, dim=1)),
    "split": lambda x: x.split(2, dim=1)[0],
    "split last": lambda x: x.split(2, 1)[-1],
    "split sizes": lambda x: x.split([1, 3], dim=2)[1],
    "unbind": lambda x: x.unbind(1)[2] + x.unbind(-1)[0].sum(),
    "loop": lambda x: sum(part for part in x[0]),
    "unpack": lambda x: unpacked(*x.transpose(0, 1)),
    "sizes": lambda x: x.reshape(x.shape[0], x.size(1) * x.size()[2] // 2, 2),
    "dim": lambda x: x * x.dim() + x.ndim,
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_methods_are_torchs(method):
    torch = pytest.importorskip("torch", reason="torch, the oracle of the methods, is missing")
    x = draw(5, 3, 4)
    want = method(torch.from_numpy(x)).numpy()
    got = exactly_as_traced(method, x)
    assert got.dtype == np.float32 and got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6)


NUMPY = {
    "binary": lambda x, y: np.add(x, y) - np.subtract(y, x) * np.multiply(x, 2) / np.divide(x, y),
    "ndarray left": lambda x, y: np.arange(4, dtype=np.float32) + x * np.ones((3, 1), np.float32),
    "ndarray matmul": lambda x, y: np.eye(3, dtype=np.float32) @ x,
    "numpy scalars": lambda x, y: np.float64(2) * x + y / np.sqrt(3) - np.int64(1) + np.array(0.5),
    "numpy scalar minus": lambda x, y: np.float32(2) - x,
    "extremes": lambda x, y: np.maximum(x, y) + np.minimum(1, x),
    "unary": lambda x, y: np.exp(x) + np.tanh(y) - np.negative(x) + np.absolute(x) + abs(y),
    "roots": lambda x, y: np.sqrt(np.absolute(x)) + np.log(np.abs(y)),
    "matmul": lambda x, y: np.matmul(x, np.ones((2, 4, 1), np.float32)),
    "power": lambda x, y: np.power(x, 2) + abs(y) ** np.float64(0.5),
    "sort": lambda x, y: np.sort(x) + np.sort(y, axis=0) - np.sort(x, axis=None)[:4],
    "argsort": lambda x, y: np.argsort(x, axis=0) * np.argsort(y).astype(np.float32),
    "diagonals": lambda x, y: np.diagonal(x) + np.diag(y) + np.diag(np.diagonal(x)),
    "pad": lambda x, y: np.pad(x, 1) + np.pad(y, ((2, 0), (1, 1)), constant_values=2.5),
    "norm": lambda x, y: np.linalg.norm(x) + np.linalg.norm(y, axis=1) + np.linalg.norm(
        x, 1, axis=0, keepdims=True).sum(),
    "others": lambda x, y: np.tensordot(x, y, axes=([1], [1])) + np.logaddexp(x, y)[:, :3],
    "signs": lambda x, y: np.copysign(x, y) + np.copysign(2.0, x),
    "choices": lambda x, y: np.where(np.isclose(x, y, atol=0.5), x, np.nan_to_num(y)),
    "columns": lambda x, y: np.column_stack([x[:, 0], y, np.concatenate([x, y], axis=1)]),
    "keywords": lambda x, y: x.sum(axis=0, keepdims=True) + y.mean(axis=(0, 1)),
}


@pytest.mark.parametrize("function", NUMPY.values(), ids=NUMPY)
def test_numpys_functions_are_ops(function):
    def on_three_rows(x, y):
        return function(x[:3], y[:3])

    x, y = draw(4, 4), draw(4, 4, seed=1)
    want = function(x[:3], y[:3])
    got = Own(on_three_rows)(x, y)
    graph = trace(Own(on_three_rows), "f32[4, 4]", "f32[4, 4]")
    assert np.array_equal(ir.interpret(graph, [x, y])[0], got)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


REFUSED = {
    "int16": (lambda x: x * np.arange(4, dtype=np.int16), "arrays of int16 are not supported"),
    "byte order": (lambda x: x + np.ones(4, ">f4"), "arrays of >f4 are not supported"),
    "shapes": (lambda x: x + x[:, :2], "cannot broadcast"),
    "matmul": (lambda x: x @ x[:, :3], "cannot multiply matrices"),
    "matmul scalar": (lambda x: x @ 3, "matmul takes arrays, not 3"),
    "matmul no dimensions": (lambda x: x @ x.sum(), "needs dimensions"),
    "text": (lambda x: x + "one", "takes arrays and real numbers, not 'one'"),
    "list": (lambda x: np.add(x, [1, 2, 3, 4]), "not an object of type list"),
    "None": (lambda x: None * x, "not None"),
    "complex": (lambda x: x * np.complex64(1j), "real numbers"),
    "in place": (lambda x: x.__iadd__(x[:, None]), "in place"),
    "in place type": (lambda x: x.long().__itruediv__(2), "cannot hold"),
    "in place left": (lambda x: np.ones(4, np.float32).__iadd__(x), "in place"),
    "assignment": (lambda x: x.__setitem__(0, x), "does not fit"),
    "reshape": (lambda x: x.reshape(3, 7), "cannot reshape"),
    "reshape wild": (lambda x: x.reshape(-1, 3, -1), "no single size"),
    "reshape wild uneven": (lambda x: x.reshape(-1, 5), "no single size"),
    "axis": (lambda x: x.sum(2), "no axis 2"),
    "axis below": (lambda x: x.sum(-3), "no axis -3"),
    "axis twice": (lambda x: x.sum((0, -2)), "twice"),
    "axis and dim": (lambda x: x.sum(0, axis=1), "both"),
    "permute": (lambda x: x.permute(0), "order of the axes"),
    "mT": (lambda x: x[0].mT, "mT needs a matrix"),
    "index": (lambda x: x[:, 4], "index 4 is out of range"),
    "index below": (lambda x: x[:, -5], "index -5 is out of range"),
    "index rank": (lambda x: x[0, 0, 0], "by 2 items at most"),
    "index twice": (lambda x: x[..., ...], "and one `...`"),
    "index array": (lambda x: x[:, [0, 4]], "4"),
    "index mask": (lambda x: x[True], "not by True"),
    "index floats": (lambda x: x[x], "indexed by integers, not by torch.float32"),
    "index float": (lambda x: x[:, 1.0], "not by 1.0"),
    "step": (lambda x: x[:, ::0], "cannot be 0"),
    "split": (lambda x: x.split([1, 2], dim=1), "do not add up"),
    "split size": (lambda x: x.split(0), "above 0"),
    "chunk": (lambda x: x.chunk(0), "above 0"),
}


@pytest.mark.parametrize("function, message", REFUSED.values(), ids=REFUSED)
def test_refused_eager_and_traced_alike(function, message):
    x = draw(6, 4)
    with pytest.raises(Error, match=message):
        Own(function)(x)
    with pytest.raises(Error, match=message):
        trace(Own(function), "f32[6, 4]")


OF_NUMBERS = {
    "ufunc": (lambda x: np.cbrt(x), "numpy.cbrt"),
    "operator": (lambda x: divmod(x, 2)[0], "numpy.divmod"),
    "reduce": (lambda x: np.add.reduce(x), "numpy.add"),
    "function": (lambda x: np.median(x), "numpy.median"),
    "options": (lambda x: np.sum(x, where=False), "numpy.sum"),
    "mask": (lambda x: x[x > 0], "selects as many elements as the data say"),
}


@pytest.mark.parametrize("function, message", OF_NUMBERS.values(), ids=OF_NUMBERS)
def test_what_needs_numbers_is_computed_and_is_refused_for_an_input_that_is_traced(
        function, message):
    x = draw(6, 4)
    np.testing.assert_array_equal(Own(function)(x), function(x))
    with pytest.raises(Error, match=f"{message}.*needs the numbers"):
        trace(Own(function), "f32[6, 4]")


def test_numbers_are_there_when_nothing_is_traced():
    def forward(x):
        assert (x > 0).tolist() == [True, False] and bool(x[0] > x[1]) and (x != 3).all()
        assert float(x[0]) == 1.0 and int(x[0]) == 1 and x[1].item() == -2 and x.data[0] == 1
        assert np.asarray(x).tolist() == [1, -2] and x.numpy() is x._payload and x[0] == 1
        assert repr(x) == "Array([ 1., -2.], dtype=float32)" and len(x) == 2 and x.numel() == 2
        if x[0] > 0:
            return x * 2
        return x

    assert Own(forward)(np.array([1, -2], np.float32)).tolist() == [2, -4]


def test_scalars_without_dimensions():
    x = np.array(2.0, np.float32)
    assert Own(lambda x: x * 2)(x).tolist() == 4 and Own(lambda x: x.flatten())(x).shape == (1,)
    assert Own(lambda x: x.sum() + x.mean())(x).dtype == np.float32
    with pytest.raises(TypeError, match="no len"):
        len(Array(x))


@pytest.mark.parametrize("size", [0, 1])
def test_no_size_is_special(size):
    x = draw(size, 3)
    for function in (lambda x: x.sum(0), lambda x: x @ x.T, lambda x: x.reshape(-1, 1),
                     lambda x: x.flatten(), lambda x: x[:, None] + x, lambda x: x.softmax(0)):
        exactly_as_traced(function, x)


def test_outside_of_a_forward():
    p = nn.Parameter([1.0, 2.0])
    assert isinstance(p * 2, Array) and (p * 2).numpy().tolist() == [2, 4]
    assert isinstance(np.ones(2, np.float32) + p, Array)
    assert type(nn.functional.relu(p)) is Array
    assert type(nn.functional.linear(np.ones((1, 2), np.float32), p[None])) is np.ndarray
    assert np.concatenate([p, p]).shape == (4,) and np.add.reduce(p) == 3
    with pytest.raises(Error, match="requires a gradient"):
        p += 1
    with pytest.raises(Error, match="float16"):
        Array(np.ones(2, np.float16))

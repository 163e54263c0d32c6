"""Array's methods and nncompile's functions beside torch's: numbers, types, shapes, and refusals.

Each expression runs on both: `x` is an array of the library `n`, which is torch or nncompile.
Ours runs eagerly and traced, and both give the same bits.
"""

import math

import numpy as np
import pytest

import ir
import nncompile
from ir import Error
from nncompile import nn
from nncompile.array import Array
from nncompile.trace import trace

torch = pytest.importorskip("torch", reason="torch, the oracle of the methods, is not installed")

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 1.0, -1.0, 0.5, 2.5, -3.5, 1e30]


class Own(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


def draw(*shape, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    if dtype == np.bool_:
        return rng.random(shape) < 0.5
    if np.issubdtype(dtype, np.integer):
        low = 0 if dtype == np.uint8 else -9
        return rng.integers(low, 10, shape).astype(dtype)
    return rng.normal(0, 2, shape).astype(dtype)


def flat(result):
    return list(result) if isinstance(result, tuple | list) else [result]


def as_numpy(value):
    return value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def agree(function, *arrays, rtol=3e-6, atol=2e-6):
    """The function on torch's tensors, on ours, and traced."""
    wanted = flat(function(torch, *(torch.from_numpy(a.copy()) for a in arrays)))
    model = Own(lambda *args: function(nncompile, *args))
    got = flat(model(*arrays))
    types = [f"{ir.type_of(a)}" for a in arrays]
    traced = ir.interpret(trace(model, *types), list(arrays))
    assert len(got) == len(wanted) == len(traced)
    for g, w, t in zip(got, map(as_numpy, wanted), traced, strict=True):
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        np.testing.assert_allclose(g, w, rtol, atol)
        assert g.dtype == t.dtype and np.array_equal(g, t, equal_nan=g.dtype.kind == "f")


UNARY = ["exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "reciprocal",
         "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh",
         "atanh", "sigmoid", "erf", "erfc", "neg", "abs", "sign", "square", "floor", "ceil",
         "round", "trunc", "isnan", "isinf", "isfinite", "logical_not", "relu", "nan_to_num"]


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_array(name):
    for x in (draw(3, 5), draw(0, 2), np.array(0.3), draw(70),
              np.array(SPECIAL, np.float32)):
        if name == "nan_to_num":
            x = x[np.isfinite(x) | np.isnan(x)] if x.ndim else x
        agree(lambda n, x: getattr(n, name)(x), x.astype(np.float32), rtol=1e-5)
        agree(lambda n, x: getattr(x, name)(), x.astype(np.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int32, np.int64])
def test_functions_of_integers_and_truths(name, dtype):
    x = draw(3, 4, dtype=dtype)
    try:
        getattr(torch.from_numpy(x), name)()
    except (RuntimeError, TypeError):
        with pytest.raises(Error):
            Own(lambda x: getattr(x, name)())(x)
    else:
        agree(lambda n, x: getattr(x, name)(), x, rtol=1e-5)


BINARY = {
    "add": lambda n, x, y: x + y, "sub": lambda n, x, y: x - y, "mul": lambda n, x, y: x * y,
    "div": lambda n, x, y: x / y, "maximum": lambda n, x, y: n.maximum(x, y),
    "minimum": lambda n, x, y: n.minimum(x, y), "eq": lambda n, x, y: x == y,
    "ne": lambda n, x, y: x != y, "lt": lambda n, x, y: x < y, "le": lambda n, x, y: x <= y,
    "gt": lambda n, x, y: x > y, "ge": lambda n, x, y: x >= y,
    "and": lambda n, x, y: n.logical_and(x, y), "or": lambda n, x, y: n.logical_or(x, y),
    "xor": lambda n, x, y: n.logical_xor(x, y), "where": lambda n, x, y: n.where(x > 1, x, y),
    "copysign": lambda n, x, y: n.copysign(x, y),
    "floor div": lambda n, x, y: x // y, "remainder": lambda n, x, y: x % y,
}
DTYPES = [np.bool_, np.uint8, np.int8, np.int32, np.int64, np.float32, np.float64]


@pytest.mark.parametrize("function", BINARY.values(), ids=BINARY)
@pytest.mark.parametrize("first", DTYPES)
def test_types_are_promoted_as_in_torch(function, first):
    for second in DTYPES:
        for shape in ((4,), ()):
            x, y = draw(3, 4, dtype=first), draw(*shape, dtype=second, seed=1)
            y = np.where(y == 0, np.ones((), second), y)
            if {first, second} == {np.uint8, np.int8} and shape:
                continue                                 # torch makes int16, which is not here
            try:
                function(torch, torch.from_numpy(x), torch.from_numpy(y))
            except (RuntimeError, NotImplementedError):
                with pytest.raises(Error):
                    Own(lambda x, y: function(nncompile, x, y))(x, y)
                continue
            agree(function, x, y)


SCALARS = {
    "ints": lambda n, x: [x + 2, 2 - x, x * 3, 7 / x, x / 4, x == 1, x > 2],
    "floats": lambda n, x: [x + 2.5, 0.5 - x, x * 1.5, x / 0.25, x >= 0.5],
    "truths": lambda n, x: [x + True, x * False, x == True],  # noqa: E712
    "powers": lambda n, x: [x**2, x**3, x**1, x**0, x**2.0, x**0.5, 2.0**x],
    "clamps": lambda n, x: [x.clamp(-1, 2), n.clamp(x, min=0), x.clamp(max=1.5), x.clip(-0.5, 0.5)],
    "whole": lambda n, x: [x // 2, x % 3, x // -2, x % -3, x // 0.5, x % 1.5],
    "where": lambda n, x: [n.where(x > 1, x, 0), n.where(x > 1, 1.5, x), n.where(x > 0, 1.0, 2.0)],
    "fill": lambda n, x: [x.masked_fill(x > 1, 3), n.masked_fill(x, x == 0, 1.5),
                          (x > 1).masked_fill(x > 2, 2)],
    "alpha": lambda n, x: [n.add(x, x, alpha=2), n.sub(x, 1, alpha=3)],
}


@pytest.mark.parametrize("function", SCALARS.values(), ids=SCALARS)
@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.float32, np.float64])
def test_plain_numbers_are_weak_as_in_torch(function, dtype):
    x = np.abs(draw(3, 4, dtype=dtype)) + np.ones((), dtype)
    agree(function, x, rtol=1e-5)


def test_numbers_of_numpy_are_weak_too():
    x = draw(3)
    for scale in (np.float64(0.3), np.array(0.3), np.int64(2), np.float32(2)):
        assert Own(lambda x, s=scale: x * s)(x).dtype == np.float32


SPECIALS = {
    "maximum": lambda n, x, y: [n.maximum(x, y), n.minimum(x, y)],
    "clamp": lambda n, x, y: [x.clamp(-1, 1), x.clamp(min=0), x.clamp(max=0)],
    "relu": lambda n, x, y: x.relu(),
    "compare": lambda n, x, y: [x < y, x == y, x != y],
    "arithmetic": lambda n, x, y: [x + y, x - y, x * y, x / y],
    # torch gives NaN for the remainder by a subnormal number
    "rest": lambda n, x, y: [x % n.where(y == 1e-40, 1.0, y), x // y],
    "pow": lambda n, x, y: [x**2, x**0.5, x**-1, x**3],
    "amax": lambda n, x, y: [x.amax(), y.amin(), (x + y).amax(0)],
    "argmax": lambda n, x, y: [x.argmax(), y.argmin()],
    "softmax": lambda n, x, y: [(x * 0).softmax(0), x.softmax(0)],
    "nan": lambda n, x, y: [x.sum(), x.mean(), x.prod(), x.cumsum(0)],
    "logsumexp": lambda n, x, y: [n.logsumexp(x, 0), x[1:2].logsumexp(0), x[2:3].logsumexp(0)],
}


@pytest.mark.parametrize("function", SPECIALS.values(), ids=SPECIALS)
def test_special_values(function):
    grid = np.array(np.meshgrid(SPECIAL, SPECIAL), np.float32).reshape(2, -1)
    agree(function, grid[0], grid[1], atol=0)


REDUCTIONS = {
    "sum": lambda n, x: [x.sum(), x.sum(0), x.sum(-1, keepdim=True), x.sum((0, 2)), x.sum(dim=())],
    "mean": lambda n, x: [x.mean(), n.mean(x, 1), x.mean((-1, 0), True)],
    "prod": lambda n, x: [x.prod(), x.prod(1), x.prod(-1, keepdim=True)],
    "amax": lambda n, x: [x.amax(), x.amax(0), x.amin((1, 2), True), n.amin(x, -1)],
    "max": lambda n, x: [x.max(), *x.max(1), *n.max(x, -1, keepdim=True), x.min(), *x.min(0)],
    "args": lambda n, x: [x.argmax(), x.argmax(1), x.argmin(-1, keepdim=True), x.argmax(0)],
    "var": lambda n, x: [x.var(), x.var(1), x.var(-1, unbiased=False), x.var((0, 1), correction=2),
                         n.var(x, 2, keepdim=True), x.var(0, correction=0), x.var(False)],
    "std": lambda n, x: [x.std(), x.std(1), x.std(-1, False, True), x.std((0, 2), correction=0)],
    "norm": lambda n, x: [x.norm(), x.norm(1, 0), x.norm(dim=-1), x.norm(math.inf, 1, True),
                          x.norm(0, 2), x.norm(3.0, (0, 1)), n.norm(x, -math.inf, 0)],
    "logsumexp": lambda n, x: [x.logsumexp(0), n.logsumexp(x, (1, 2), keepdim=True)],
    "any": lambda n, x: [(x > 1).any(), (x > 1).all(1), (x > 9).any(-1, True), x.any(0), n.all(x)],
    "cumsum": lambda n, x: [x.cumsum(0), n.cumsum(x, -1), (x > 0).cumsum(1)],
    "topk": lambda n, x: [*x.topk(2), *n.topk(x, 1, 0, largest=False), *x.topk(3, dim=1)],
    "dtype": lambda n, x: [x.sum(dtype=n.float64), x.mean(0, dtype=n.float64)],
    "softmax": lambda n, x: [x.softmax(-1), n.softmax(x, 0), x.log_softmax(1), (x * 30).softmax(2)],
    "count": lambda n, x: [n.count_nonzero(x > 0), (x > 0).sum(0)],
}


@pytest.mark.parametrize("function", REDUCTIONS.values(), ids=REDUCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reductions(function, dtype):
    agree(function, draw(3, 4, 5, dtype=dtype), rtol=1e-5)
    agree(function, draw(9, 8, 33, dtype=dtype, seed=2), rtol=1e-5)
    agree(function, draw(5, 8, 3, dtype=dtype, seed=3).transpose(2, 0, 1)[::-1], rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int32, np.int64])
def test_reductions_of_integers_and_truths(dtype):
    x = draw(3, 4, dtype=dtype)
    agree(lambda n, x: [x.sum(), x.sum(0), x.prod(1), x.cumsum(0), x.any(), x.all(1)], x)
    agree(lambda n, x: [x.amax(0), x.amin(), x.amax((0, 1))], x)
    if dtype != np.bool_:
        agree(lambda n, x: [x.argmax(), x.max(), x.max(1)[0]], x)
    for refused in ("mean", "var", "std", "norm"):
        with pytest.raises(Error, match="floats"):
            Own(lambda x, r=refused: getattr(x, r)())(x)


def test_reductions_of_nothing_and_of_one():
    agree(lambda n, x: [x.sum(), x.sum(0), x.sum(1), x.prod(0), x.mean(1)], draw(2, 0))
    agree(lambda n, x: [x.any(1), x.all(1)], draw(2, 0, dtype=np.bool_))
    agree(lambda n, x: [x.sum(), x.sum(0), x.mean(-1), x.amax(), x.softmax(0), x.cumsum(0)], draw())
    agree(lambda n, x: [x.std(0, unbiased=False), x.logsumexp(1)], draw(1, 3))
    with pytest.raises(Error, match="empty"):
        Own(lambda x: x.amax(1))(draw(2, 0))


SHAPES = {
    "unflatten": lambda n, x: [x.unflatten(1, (2, -1)), n.unflatten(x, -1, (5, 1))],
    "movedim": lambda n, x: [x.movedim(0, -1), n.movedim(x, (0, 1), (1, 2)), x.swapdims(0, 1)],
    "expand": lambda n, x: [x[:, :1].expand(-1, 6, -1), x.expand(2, -1, -1, -1),
                            x[0, 0, 0].expand(3), n.broadcast_to(x, (2, 3, 4, 5))],
    "repeat": lambda n, x: [x.repeat(2, 1, 3), x.repeat(2, 1, 1, 1), x[0].tile(2),
                            n.tile(x, (2, 2)), n.repeat_interleave(x, 2, 1),
                            n.repeat_interleave(x, 3)],
    "flip": lambda n, x: [x.flip(0), x.flip((0, -1)), n.flip(x, (1,)), n.fliplr(x), n.flipud(x)],
    "roll": lambda n, x: [x.roll(1, 0), x.roll((1, -2), (0, 2)), n.roll(x, 7), x.roll(-9, 1)],
    "split": lambda n, x: [*x.split(3, 1), *n.split(x, [1, 4], -1), *x.chunk(3, 2), *x.unbind(1)],
    "select": lambda n, x: [x.select(1, -1), x.narrow(2, 1, 3), n.ravel(x), x.mT, x[0].t()],
    "join": lambda n, x: [n.cat([x, x + 1], 1), n.stack([x, x], -1), n.hstack([x, x]),
                          n.vstack([x[0], x[1]]), n.concat((x, x), dim=-1)],
    "tri": lambda n, x: [x.tril(), x.triu(1), n.tril(x, -2), n.triu(x, -1), (x > 0).tril()],
    "squeeze": lambda n, x: [x[:, :1].squeeze(1), x[:1].squeeze(), n.unsqueeze(x, -1)],
    "as": lambda n, x: [x.view_as(x + 1), x[:, :1].expand_as(x), x.clone(), x.type_as(x > 0)],
}


@pytest.mark.parametrize("function", SHAPES.values(), ids=SHAPES)
def test_shapes(function):
    agree(function, draw(3, 4, 5))


INDICES = {
    "steps": lambda n, x: [x[::2], x[1::2, ::3], x[:, 1:9:2, -4:-1:2], x[5::2]],
    "list": lambda n, x: [x[[0, 2]], x[:, [1, 1, -1]], x[..., [4]]],
    "arrays": lambda n, x: [x[[0, 1], [2, 3]], x[:, [0, 1], [2, 3]], x[[0, 2], :, [1, 1]]],
    "matrix": lambda n, x: [x[:, [[0, 1], [2, 0]]], x[[[0], [2]], [1, 3]]],
    "mixed": lambda n, x: [x[None, [0, 1], 1:3], x[1, [0, 2]], x[[0, 1], None, ..., 0]],
    "newaxis": lambda n, x: [x[..., None, 1:2], x[None], x[:, None, ::2]],
}


@pytest.mark.parametrize("function", INDICES.values(), ids=INDICES)
def test_indices(function):
    agree(function, draw(3, 4, 5))


def test_indices_in_arrays():
    x, ids = draw(5, 4), np.array([3, 0, -1, 3])
    agree(lambda n, x, i: [x[i], x[:, i], x[i, i], x[i[:2]]], x, ids)
    agree(lambda n, x, i: [x[i[:1]], x[i.reshape(2, 2)]], x, ids.astype(np.int32))
    agree(lambda n, x, i: [n.take_along_dim(x, i.reshape(1, 4), 0)], x, ids)
    agree(lambda n, x, i: [n.index_select(x, 0, i), x.gather(1, i[None]), n.take(x, i)], x, ids % 4)
    outside = np.array([0, 5])
    for function in (lambda x, i: x[i], lambda x, i: x.index_select(0, i), lambda x, i: x[i, i],
                     lambda x, i: x.gather(0, i[:, None])):
        with pytest.raises(Error, match=r"5|-1"):
            Own(function)(x, outside)
        graph = trace(Own(function), "f32[5, 4]", "i64[K]")
        with pytest.raises(Error, match=r"5|-1"):
            ir.interpret(graph, [x, outside])


def test_steps_backwards_are_numpys():
    x = draw(4, 5)
    for index in [np.s_[::-1], np.s_[:, ::-2], np.s_[3:0:-1, 1:4], np.s_[1:3:-1]]:
        def forward(x, index=index):
            return x[index]
        want = x[index]
        assert np.array_equal(Own(forward)(x), want)
        assert np.array_equal(ir.interpret(trace(Own(forward), "f32[4, 5]"), [x])[0], want)
    graph = trace(Own(lambda x: (x.flip(0), x[::-1])), "f32[B, 5]")
    assert all(np.array_equal(y, x[::-1]) for y in ir.interpret(graph, [x]))


PRODUCTS = {
    "mm": lambda n, x, y: [x[0].mm(y[0]), n.mm(x[0], y[0]), x[0].mv(y[0, :, 0])],
    "bmm": lambda n, x, y: [x.bmm(y), n.bmm(x, y), x @ y[0], n.matmul(x, y[0, :, 0])],
    "dot": lambda n, x, y: [x[0, 0].dot(y[0, :, 0]), n.outer(x[0, 0], y[0, 0])],
    "addmm": lambda n, x, y: [n.addmm(x[0, :, :1], x[0], y[0]),
                              n.addmm(x[0, 0, 0], x[0], y[0], beta=2, alpha=0.5),
                              n.baddbmm(x[:, :, :1], x, y, beta=0)],
    "einsum": lambda n, x, y: [
        n.einsum("bij,bjk->bik", x, y), n.einsum("bij,bjk", x, y), n.einsum("bij->", x),
        n.einsum("bij->bji", x), n.einsum("...ij,...jk->...ik", x, y), n.einsum("bij,bjk->k", x, y),
        n.einsum("bij,cjk->bcik", x, y), n.einsum("i,j->ij", x[0, 0], y[0, 0]),
        n.einsum("bij,bij->b", x, x), n.einsum("bij,bjk,bkl->bil", x, y, y.transpose(1, 2)),
        n.einsum("ii->i", x[0, :, :3]), n.einsum("ii", x[0, :, :3]), n.einsum("b...->...b", x)],
}


@pytest.mark.parametrize("function", PRODUCTS.values(), ids=PRODUCTS)
def test_products(function):
    agree(function, draw(2, 3, 4), draw(2, 4, 5, seed=1), rtol=1e-5, atol=1e-5)


MADE = {
    "fill": lambda n, x: [n.zeros(2, 3), n.ones((2, 1)), n.full((3,), 7), n.full([2], 0.5),
                          n.zeros(2, dtype=n.int64), n.ones(2, dtype=n.bool), n.full((), True)],
    "like": lambda n, x: [n.zeros_like(x), n.ones_like(x, dtype=n.int32), n.full_like(x, 3),
                          x.new_zeros(2), x.new_ones((1, 2)), x.new_full((2,), 5)],
    "arange": lambda n, x: [n.arange(5), n.arange(1, 7, 2), n.arange(2.5), n.arange(5, 0, -2),
                            n.arange(0, 1, 0.25), n.arange(3, dtype=n.float32), n.arange(0)],
    "eye": lambda n, x: [n.eye(3), n.eye(2, 4, dtype=n.int64), n.linspace(0, 1, 5)],
    "tensor": lambda n, x: [n.tensor([[1, 2], [3, 4]]), n.tensor([1.5, 2]), n.tensor([True]),
                            n.tensor(3.0), n.tensor([1, 2], dtype=n.float64)],
}


@pytest.mark.parametrize("function", MADE.values(), ids=MADE)
def test_arrays_made_of_nothing(function):
    agree(function, draw(2, 3))


def test_sizes_of_the_run():
    def forward(x):
        B, T = x.shape
        mask = nncompile.ones(T, T).tril().bool()
        places = nncompile.arange(T) + nncompile.arange(1, T + 1)
        parts = (x.flip(1), x.roll(1, 1), x.repeat(2, 1), x.var(1), x.std(0, unbiased=False))
        scores = (x[:, :, None] * x[:, None]).masked_fill(~mask, -math.inf).softmax(-1)
        return (scores, x * places, x[[0, -1]], nncompile.zeros(B, 2), nncompile.eye(T),
                nncompile.einsum("bt,ct->bc", x, x), x.topk(1), x.expand(2, -1, -1), *parts)

    graph = trace(Own(forward), "f32[B, T]")
    for shape in ((3, 4), (1, 1), (2, 7)):
        x = draw(*shape)
        want = forward(Array(x))
        values = [v for part in want for v in (part if isinstance(part, tuple) else (part,))]
        for got, wanted in zip(ir.interpret(graph, [x]), values, strict=True):
            assert np.array_equal(got, wanted.numpy(), equal_nan=True)


def test_casts():
    x = np.array([-1.7, 0.0, 2.5, 3.9], np.float32)
    agree(lambda n, x: [x.int(), x.long(), x.bool(), x.double(), x.to(n.int8), x.to(n.float64)], x)
    agree(lambda n, x: [x.float(), x.bool(), x.char(), x.to(n.int32), x.float() / 2], draw(
        3, dtype=np.int64))
    assert Own(lambda x: x.to("cpu"))(x).dtype == np.float32
    for refused in (lambda x: x.half(), lambda x: x.to(np.float16), lambda x: x.to("cuda")):
        with pytest.raises(Error):
            Own(refused)(x)


REFUSED = {
    "index": lambda n, x: x.index_select(0, n.tensor([4])), "rank": lambda n, x: x.gather(0, x[0]),
    "topk": lambda n, x: x.topk(9), "mm": lambda n, x: x.mm(x), "bmm": lambda n, x: x.bmm(x),
    "dot": lambda n, x: x.dot(x), "unflatten": lambda n, x: x.unflatten(1, (3, 3)),
    "expand": lambda n, x: x.expand(7, 4), "expand rank": lambda n, x: x.expand(4),
    "repeat": lambda n, x: x.repeat(2), "flip": lambda n, x: x.flip(0, 0),
    "roll": lambda n, x: x.roll(1, (0, 1)), "tril": lambda n, x: x[0].tril(),
    "clamp": lambda n, x: x.clamp(), "mean": lambda n, x: x.long().mean(),
    "negative": lambda n, x: x.long() ** -1, "bool minus": lambda n, x: (x > 0) - (x > 1),
    "bool neg": lambda n, x: -(x > 0), "float minus": lambda n, x: x - (x > 0),
    "mask": lambda n, x: x.masked_fill(x, 0.0), "einsum": lambda n, x: n.einsum("ij,jk", x),
    "einsum sizes": lambda n, x: n.einsum("ij,ij", x, x[:, :2]),
    "einsum result": lambda n, x: n.einsum("ij->ik", x), "zero": lambda n, x: x.long() // 0,
    "arange": lambda n, x: n.arange(5, 0), "stack": lambda n, x: n.stack([x, x[0]]),
    "cat": lambda n, x: n.cat([x, x[:, :2]]), "norm": lambda n, x: x.long().norm(),
    "matmul types": lambda n, x: x @ x.T.double(), "invert": lambda n, x: ~x,
    "and": lambda n, x: x & x, "split": lambda n, x: x.split([1, 1]), "T": lambda n, x: x[0].mT,
}


@pytest.mark.parametrize("function", REFUSED.values(), ids=REFUSED)
def test_refused_as_in_torch(function):
    x = draw(3, 4)
    with pytest.raises((RuntimeError, IndexError, ValueError, TypeError)):
        function(torch, torch.from_numpy(x))
    with pytest.raises(Error):
        Own(lambda x: function(nncompile, x))(x)


FURTHER = {
    "clamp_min": lambda n, x, y: (x.clamp_min(0.3), n.clamp_max(x, 0.1), n.clamp_min(x, y)),
    "frac": lambda n, x, y: x.frac(),
    "logaddexp": lambda n, x, y: (n.logaddexp(x, y), x.logaddexp(x), n.logaddexp(x * n.inf, x)),
    "copysign": lambda n, x, y: (n.copysign(x, y), x.copysign(-0.0), (x / 0).copysign(y),
                                 (y * n.nan).copysign(2), (x * 1e-45).copysign(y[:, :1] * -0.0)),
    "isclose": lambda n, x, y: (n.isclose(x, x + 1e-7), x.isclose(y), (x / 0).isclose(x / 0),
                                (x * n.nan).isclose(x * n.nan, equal_nan=True)),
    "var_mean": lambda n, x, y: (*n.var_mean(x, 1), *n.std_mean(x, dim=(0, 1), keepdim=True)),
    "aminmax": lambda n, x, y: (*x.aminmax(dim=1, keepdim=True), *n.aminmax(y)),
    "tensordot": lambda n, x, y: (n.tensordot(x, y, 2), n.tensordot(x, y, 0),
                                  n.tensordot(x, y, ([0], [0])), n.tensordot(x, y, ([1], [-1]))),
    "index_add": lambda n, x, y: (x.index_add(0, n.tensor([2, 0]), y[:2], alpha=2),
                                  n.index_add(x, 1, n.tensor([1, 1, 3]), y[:, :3])),
    "meshgrid": lambda n, x, y: (*n.meshgrid(x[0], y[:, 0], indexing="ij"),
                                 *n.meshgrid([x[0], y[:, 0], x[1]], indexing="xy")),
    "indices": lambda n, x, y: (n.tril_indices(3, 4, -1), n.triu_indices(3, 3, 1),
                                x[tuple(n.triu_indices(3, 3))]),
    "broadcast_tensors": lambda n, x, y: n.broadcast_tensors(x, y[:, :1], x[0]),
    "sort": lambda n, x, y: (*n.sort(x, dim=0), *y.sort(descending=True), x.argsort(1),
                             n.argsort(x, dim=0, descending=True)),
    "diagonal": lambda n, x, y: (x.diagonal(), x.diagonal(1), x.diagonal(-1, 1, 0),
                                 x.diagonal(9 - 5), n.diag(x[0]), n.diag(x, 1), n.diag(x[0], -2)),
    "diag_embed": lambda n, x, y: (n.diag_embed(x), x.diag_embed(1), x[0].diag_embed(-1)),
    "lerp": lambda n, x, y: (n.lerp(x, y, 0.3), x.lerp(y, 0.8), x.lerp(y, n.sigmoid(x))),
    "addcmul": lambda n, x, y: (n.addcmul(x, x, y, value=0.5), x.addcdiv(x, y, value=2)),
    "limits": lambda n, x, y: x.masked_fill(y > 0, n.finfo(x.dtype).min),
    "nested lists": lambda n, x, y: (x[[0, 2]], x[[0, 1], [1, 2]], x[..., [3, 0]]),
}


@pytest.mark.parametrize("function", FURTHER.values(), ids=FURTHER)
def test_further_functions(function):
    agree(function, draw(3, 4), draw(3, 4, seed=1))


def test_answers_that_are_no_arrays():
    for n in (torch, nncompile):
        x = n.ones(2, 3)
        assert n.is_tensor(x) and not n.is_tensor(3) and n.numel(x) == x.nelement() == 6
        assert n.equal(x, x * 1) and not n.equal(x, x + 1) and not n.equal(x, x[0])
        assert n.allclose(x, x + 1e-7) and not n.allclose(x, x + 1)
        assert x.element_size() == 4 and x.ndimension() == 2 and x.is_contiguous()
        assert n.finfo(n.float32).eps == np.finfo(np.float32).eps
        assert n.device("cpu").type == "cpu" and n.device("cuda:1").index == 1
        assert str(x.device) == "cpu" and x.device.index is None and x.grad is None

"""Functions with a gradient of their own, linear algebra and padding, beside torch's."""
import numpy as np
import pytest

import nncompile
from ir import Error

torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
BOTH = pytest.mark.parametrize("n", [nncompile, torch], ids=["nncompile", "torch"])
SOURCE = """
class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.mark_non_differentiable(x)
        assert not torch.is_grad_enabled() and len(ctx.needs_input_grad) == 2
        return (x * scale).round() / scale

    @staticmethod
    def backward(ctx, grad):
        return grad, None

class Later(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x.clamp(min=0), x.sum()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.count = len(inputs)
        ctx.save_for_backward(*inputs)

rounded = Rounded.apply

class Own(torch.nn.Module):
    def forward(self, x):
        a, b = Later.apply(x)
        return rounded(x, 4), a + b
"""


def test_a_function_s_forward_is_run():
    x = np.random.default_rng(0).normal(0, 1, (5, 3)).astype(np.float32)
    models = []
    for n in (nncompile, torch):
        names = {"torch": n}
        exec(SOURCE, names)
        models.append(names["Own"]().eval())
    want = [w.numpy() for w in models[1](torch.from_numpy(x))]
    fast = nncompile.compile(models[0], "f32[B, 3]")
    for got in (models[0](x), fast(x)):
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-6, atol=1e-6)


def matrices(*shape):
    return np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)


SOLVERS = {
    "lstsq": lambda n, a: n.linalg.lstsq(a[:, :, :3], a[:, :, 3:]).solution,
    "lstsq wide": lambda n, a: n.linalg.lstsq(a[0, :2], a[1, :2, :2]).solution,
    "inv": lambda n, a: n.linalg.inv(a[:, :4, :4]) + n.inverse(a[:, :4, :4]),
    "det": lambda n, a: n.linalg.det(a[:, :4, :4]),
    "slogdet": lambda n, a: n.linalg.slogdet(a[:, :4, :4]).logabsdet,
    "solve": lambda n, a: n.linalg.solve(a[:, :4, :4], a[:, :4, 1:3]),
    "solve a vector": lambda n, a: n.linalg.solve(a[0, :4, :4], a[1, :4, 0]),
    "cholesky": lambda n, a: n.linalg.cholesky(a[:, :4].transpose(1, 2) @ a[:, :4] + n.eye(4)),
    "qr": lambda n, a: n.linalg.qr(a).Q.abs() + 0 * n.linalg.qr(a, "reduced").R.sum(),
    "svd": lambda n, a: n.linalg.svd(a, full_matrices=False).S,
    "eigh": lambda n, a: n.linalg.eigh(a.transpose(1, 2) @ a)[0],
    "pinv": lambda n, a: n.linalg.pinv(a),
    "vector_norm": lambda n, a: n.linalg.vector_norm(a, dim=-1, keepdim=True),
    "norm": lambda n, a: n.linalg.norm(a, dim=1) + n.linalg.norm(a),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_linear_algebra_of_known_numbers(name):
    a = matrices(2, 5, 4)
    got, want = (SOLVERS[name](n, n.from_numpy(a)).numpy() for n in (nncompile, torch))
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-4)


def test_linear_algebra_of_an_input_says_what_it_is():
    class Own(nncompile.nn.Module):
        def forward(self, x):
            return nncompile.linalg.inv(x)

    with pytest.raises(nncompile.TraceError, match=r"(?s)linalg.inv.*test_custom_torch.py"):
        nncompile.compile(Own(), "f32[B, 3, 3]")
    with pytest.raises(Error, match="norms of vectors"):
        nncompile.linalg.norm(nncompile.ones(2, 2), ord=2)


@pytest.mark.parametrize("options", [
    {}, {"batch_first": True}, {"padding_value": -1.5}, {"padding_side": "left"}])
def test_pad_sequence(options):
    given = [matrices(length, 2) for length in (3, 1, 5)]
    got, want = (__import__(n.__name__ + ".nn.utils.rnn", fromlist=["x"]).pad_sequence(
        [n.from_numpy(x) for x in given], **options).numpy() for n in (nncompile, torch))
    assert np.array_equal(got, want)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_fmod(dtype):
    x = np.array([-7, -6, -1, 0, 5, 6, 7, 9]).astype(dtype)
    y = np.array([3, -3, 2, 5, -7, 4, -4, 9]).astype(dtype)
    if dtype.startswith("f"):
        x, y = (np.append(v, [0.5, -np.inf, np.inf, -0.0, np.nan]).astype(dtype) for v in (x, y))
        y = y[::-1].copy()
    got, want = (n.fmod(n.from_numpy(x), n.from_numpy(y)).numpy() for n in (nncompile, torch))
    assert got.dtype == want.dtype
    assert np.array_equal(got, want, equal_nan=True)
    assert np.array_equal(np.signbit(got), np.signbit(want)) or np.isnan(want).any()


@BOTH
def test_members_of_enumerations_are_there(n):
    from_attention = __import__(n.__name__ + ".nn.attention", fromlist=["x"])
    with from_attention.sdpa_kernel([from_attention.SDPBackend.MATH]):
        pass
    assert n.nn.Identity()(None) is None


SPELLINGS = {
    "zeros(size=)": lambda n: n.zeros(size=(2, 3)), "ones(size=)": lambda n: n.ones(size=[2]),
    "empty(size=)": lambda n: n.empty(size=(2, 1)) * 0, "out=None": lambda n: n.mean(
        n.ones(2, 3), dim=-1, out=None) + n.square(n.ones(2), out=None),
    "rand(size=)": lambda n: n.rand(size=(2,)) * 0,
    "randn(size=)": lambda n: n.randn(size=(3,)) * 0,
    "ger": lambda n: n.ger(n.ones(2), n.arange(3.0)),
    "spmm": lambda n: n.spmm(n.eye(2), n.ones(2, 2)),
    "type(Tensor)": lambda n: n.ones(2, dtype=n.float64).type(n.Tensor),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings(name):
    got, want = (np.asarray(SPELLINGS[name](n)) for n in (nncompile, torch))
    assert got.dtype == want.dtype
    assert np.array_equal(got, want)
    for n in (nncompile, torch):
        out = n.ones(2)
        assert n.exp(n.zeros(2), out=out) is out

"""Functions that no layer covers, beside torch's: attention, padding, one-hot, norms, dtypes."""

import inspect

import numpy as np
import pytest

import ir
import nncompile.nn.functional as F
from ir import Error
from nncompile import nn
from nncompile.trace import trace

torch = pytest.importorskip("torch", reason="torch, the oracle of the functions, is not installed")
TF = torch.nn.functional


def draw(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(0, 2, shape).astype(dtype)


def agree(name, *args, tolerance=3e-6, **kwargs):
    """From outside as torch's, and the same bits traced."""
    def on_torch(value):
        return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value

    want = getattr(TF, name)(*map(on_torch, args), **{k: on_torch(v) for k, v in kwargs.items()})
    got = getattr(F, name)(*args, **kwargs)
    assert type(got) is np.ndarray and got.dtype == want.numpy().dtype
    np.testing.assert_allclose(got, want.numpy(), 5 * tolerance, tolerance)
    arrays = [a for a in args if isinstance(a, np.ndarray)]
    rest = args[len(arrays):]

    class Own(nn.Module):
        def forward(self, *inputs):
            return getattr(F, name)(*inputs, *rest, **kwargs)

    graph = trace(Own(), *(str(ir.type_of(a)) for a in arrays))
    assert np.array_equal(ir.interpret(graph, arrays)[0], got, equal_nan=True)


@pytest.mark.parametrize("lead", [(), (3,), (2, 4)])
@pytest.mark.parametrize("queries, keys", [(5, 7), (1, 1), (4, 4), (7, 2)])
def test_attention(lead, queries, keys):
    q, k, v = (draw(*lead, n, w, seed=w) for n, w in ((queries, 8), (keys, 8), (keys, 3)))
    seen = np.random.default_rng(0).random((queries, keys)) > 0.5
    agree("scaled_dot_product_attention", q, k, v)
    agree("scaled_dot_product_attention", q, k, v, is_causal=True)
    agree("scaled_dot_product_attention", q, k, v, scale=0.3)
    agree("scaled_dot_product_attention", q, k, v, attn_mask=draw(queries, keys))
    seen[0] = False                                   # a query that sees no key gets 0
    agree("scaled_dot_product_attention", q, k, v, attn_mask=seen)
    added = np.where(seen, 0, -np.inf).astype(np.float32)
    agree("scaled_dot_product_attention", q, k, v, attn_mask=added)


def test_attention_of_groups_and_with_dropout():
    q, k, v = draw(2, 6, 5, 8), draw(2, 3, 7, 8, seed=1), draw(2, 3, 7, 4, seed=2)
    agree("scaled_dot_product_attention", q, k, v, enable_gqa=True)
    nn.manual_seed(0)
    noisy = F.scaled_dot_product_attention(q, q, q, dropout_p=0.5)
    assert not np.allclose(noisy, F.scaled_dot_product_attention(q, q, q))


PADS = [((1, 2), {}), ((0, 3, 2, 1), {"value": 1.5}), ((-1, 1), {}), ((-1, -1, 2, -2), {}),
        ((), {}),
        ((1, 1, 0, 0, 2, 1), {"value": -np.inf}), ((2, 1), {"mode": "reflect"}),
        ((3, 3), {"mode": "circular"}), ((5, 0), {"mode": "replicate"}),
        ((-1, 2), {"mode": "replicate"})]


@pytest.mark.parametrize("sides, options", PADS, ids=str)
def test_pad(sides, options):
    agree("pad", draw(3, 4, 5), sides, **options)


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
def test_pad_of_several_axes(mode):
    agree("pad", draw(2, 3, 4, 5), (1, 2, 2, 0), mode=mode)
    agree("pad", draw(2, 3, 4, 5, 3), (1, 0, 1, 1, 0, 2), mode=mode)


def test_pad_of_other_types():
    agree("pad", np.arange(6).reshape(2, 3), (1, 1), value=7)
    agree("pad", np.ones((2, 3), bool), (0, 2), value=0)


def test_one_hot():
    ids = np.array([[1, 0], [3, 3]])
    agree("one_hot", ids, 4)
    agree("one_hot", ids, 9)
    want = TF.one_hot(torch.from_numpy(ids)).numpy()
    assert np.array_equal(F.one_hot(ids), want)
    for wrong, count in [(ids, 3), (ids - 1, 4), (ids, 0), (ids.astype(np.int32), 5),
                         (ids[:0], -1)]:
        with pytest.raises(Error):
            F.one_hot(wrong, count)
        with pytest.raises((RuntimeError, ValueError)):
            TF.one_hot(torch.from_numpy(wrong), count)


def test_normalize_and_distances():
    x = draw(4, 5, 3)
    x[0] = 0
    for options in ({}, {"p": 1.0, "dim": -1}, {"p": np.inf, "dim": 0}, {"eps": 2.0}):
        agree("normalize", x, **options)
    agree("cosine_similarity", x, draw(5, 3, seed=1), dim=-1)
    agree("cosine_similarity", x, x, dim=0)
    agree("pairwise_distance", x, draw(3, seed=1))


def test_types_of_softmaxes():
    x = draw(3, 4)
    for name in ("softmax", "log_softmax", "softmin"):
        for dim in (0, 1, -1, -2):
            agree(name, x, dim=dim)
            agree(name, x.astype(np.float64), dim=dim, tolerance=1e-14)
        want = getattr(TF, name)(torch.from_numpy(x), dim=0, dtype=torch.float64).numpy()
        np.testing.assert_allclose(getattr(F, name)(x, dim=0, dtype=np.float64), want, 1e-13)
        with pytest.raises(Error, match="floats"):
            getattr(F, name)(x.astype(np.int64), dim=0)


def test_norms_of_difficult_rows():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(8, 257))
    for rows in (1e6 + noise, 1e20 * noise, np.full((3, 65), 7.25), 1e-20 * noise):
        x = rows.astype(np.float32)
        wide = torch.from_numpy(x.astype(np.float64))
        want = TF.layer_norm(wide, x.shape[1:]).numpy()
        np.testing.assert_allclose(F.layer_norm(x, x.shape[1:]), want, 2e-6, 2e-6)
        want = TF.rms_norm(wide, x.shape[1:], eps=1e-5).numpy()
        np.testing.assert_allclose(F.rms_norm(x, x.shape[1:], eps=1e-5), want, 2e-6, 2e-6)


SAME_BUT_FOR_THE_BUILTINS = [
    name for name in F.__all__ if hasattr(TF, name)
    and inspect.isfunction(getattr(TF, name)) and name not in ("tanh", "sigmoid", "softmin")]


@pytest.mark.parametrize("name", SAME_BUT_FOR_THE_BUILTINS)
def test_arguments_are_torchs(name):
    want = inspect.signature(getattr(TF, name)).parameters.values()
    got = inspect.signature(getattr(F, name)).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in want):
        return
    assert [(p.name, p.default) for p in got] == [(p.name, p.default) for p in want]

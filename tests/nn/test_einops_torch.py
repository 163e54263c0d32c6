"""einops's functions and layers on Arrays, beside the same on torch's tensors."""
import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import nncompile

torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
einops = pytest.importorskip("einops", reason="einops is not installed")
rearrange, reduce, repeat = einops.rearrange, einops.reduce, einops.repeat
pack, unpack, einsum = einops.pack, einops.unpack, einops.einsum

BATCHES = (1, 3, 17)


def images(n, x):
    patches = rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=2, q=2)
    b = patches.shape[0]
    first = repeat(n.arange(12.0), "d -> b 1 d", b=b)
    joined, shapes = pack([first, patches], "b * d")
    first, rest = unpack(joined, shapes, "b * d")
    return joined, first, rest, reduce(x, "b c (h 2) (w 2) -> b c h w", "max")


def reductions(n, x):
    return [reduce(x, "b c h w -> b c", kind) for kind in ("sum", "mean", "min", "max", "prod")]


def logical(n, x):
    return [reduce(x > 0, "b ... w -> b w", kind) for kind in ("any", "all")]


def over_the_batch(n, x):
    flat = rearrange(x, "b c h w -> (b h) (c w)")
    back = rearrange(flat, "(b h) cw -> b h cw", h=x.shape[2])
    return flat, back, rearrange([x, x + 1], "n b ... -> b n ..."), reduce(x, "b c h w -> ", "sum")


def by_a_named_size(n, x):
    b, c = x.shape[:2]
    flat = rearrange(x, "b c h w -> (b c) h w")
    return rearrange(flat, "(b c) h w -> b c h w", b=b), (b * c) // b + (6 * b) // (2 * b)


def products(n, x):
    heads = rearrange(x, "b c h w -> b c (h w)")
    return einsum(heads, heads, "b i d, b j d -> b i j"), einops.parse_shape(x, "b _ h _")["h"]


class Own(nncompile.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(nncompile, x)


def draw(batch):
    return np.random.default_rng(batch).normal(0, 1, (batch, 3, 4, 6)).astype(np.float32)


def assert_same(got, want):
    if isinstance(want, (list, tuple)):
        assert len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            assert_same(g, w)
        return
    want = np.asarray(want)
    assert np.shape(got) == want.shape
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("function", [images, reductions, logical, over_the_batch,
                                      by_a_named_size, products])
def test_functions_are_torch_s(function):
    model = Own(function)
    fast = nncompile.compile(model, "f32[B, 3, 4, 6]")
    for batch in BATCHES:
        x = draw(batch)
        want = function(torch, torch.from_numpy(x))
        assert_same(model(x), want)
        assert_same(fast(x), want)


def layers(nn, einops_layers):
    return nn.Sequential(
        einops_layers.Rearrange("b c (h p) (w q) -> b (h w) (p q c)", p=2, q=2),
        einops_layers.EinMix("b t (g i) -> b t (g o)", weight_shape="g i o", bias_shape="g o",
                             g=2, i=6, o=4),
        einops_layers.EinMix("b t c -> b s c", weight_shape="t s", t=6, s=5),
        einops_layers.Reduce("b t c -> b c", "max"),
        einops_layers.Rearrange("b c -> b c 1"),
    )


def test_layers_are_torch_s():
    import einops.layers.torch as theirs

    import nncompile.einops.layers.torch as ours
    torch.manual_seed(0)
    oracle, model = layers(torch.nn, theirs).eval(), layers(nncompile.nn, ours).eval()
    assert repr(model) == repr(oracle)
    bound = float(np.abs(model[1].weight.numpy()).max())
    assert 0 < bound <= float(oracle[1].weight.detach().abs().max()) * 1.2
    model.load_state_dict({name: w.numpy() for name, w in oracle.state_dict().items()})
    fast = nncompile.compile(model, "f32[B, 3, 4, 6]")
    for batch in BATCHES:
        x = draw(batch)
        want = oracle(torch.from_numpy(x)).detach()
        assert_same(model(x), want)
        assert_same(fast(x), want)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_same(again(x), want)


def test_what_one_trace_derived_is_not_used_in_another():
    """einops remembers what follows from a tuple of sizes; those of a trace are not to be kept."""
    model = Own(over_the_batch)
    for types in ("f32[B, 3, 4, 6]", "f32[N, 3, 4, 6]", "f32[B, 3, H, 6]", "f32[2, 3, 4, 6]"):
        x = draw(2)
        assert_same(nncompile.compile(model, types)(x), over_the_batch(torch, torch.from_numpy(x)))


def test_a_shape_that_does_not_fit_is_einops_s_error():
    model = Own(lambda n, x: rearrange(x, "b c (h p) w -> b (c h) p w", p=3))
    with pytest.raises(einops.EinopsError, match="can't divide axis of length 4"):
        model(draw(2))
    with pytest.raises(nncompile.TraceError, match=r"(?s)axis of length 4.*test_einops_torch\.py:"):
        nncompile.compile(model, "f32[B, 3, 4, 6]")


FIRST = """
class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = rearrange(nncompile.ones(2, 3), "a b -> (a b)")

    def forward(self, x):
        return rearrange(x * self.scale, "b (h d) -> b h d", h=2)

assert Head()(numpy.ones((4, 6), "f4")).shape == (4, 2, 3)
"""


@pytest.mark.parametrize("imports", [
    "import nncompile; from einops import rearrange",
    "from einops import rearrange; import nncompile",
    "from nncompile.einops import rearrange; import nncompile",
])
def test_einops_may_be_imported_first_or_last(imports):
    run(f"{imports}\nimport numpy\nfrom nncompile import nn\n{FIRST}")


def test_a_model_without_einops_does_not_import_it():
    run("import sys\nfrom nncompile import nn\nnn.Linear(2, 2)\nassert 'einops' not in sys.modules")


def run(code):
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)

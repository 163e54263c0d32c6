"""Every layer beside torch's: numbers in both floats, eager and traced, text and weights."""

import inspect

import numpy as np
import pytest

import ir
from ir import Error
from nncompile import nn
from nncompile.nn import losses
from nncompile.trace import trace_structured

torch = pytest.importorskip("torch", reason="torch, the oracle of the layers, is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element")  # torch's

ELEMENTWISE = {
    "ReLU": {}, "ReLU6": {}, "LeakyReLU": {"negative_slope": 0.3}, "PReLU": {}, "RReLU": {},
    "ELU": {"alpha": 0.7}, "SELU": {}, "CELU": {"alpha": 1.3}, "GELU": {}, "SiLU": {}, "Mish": {},
    "Sigmoid": {}, "LogSigmoid": {}, "Tanh": {}, "Tanhshrink": {},
    "Softplus": {"beta": 2.0, "threshold": 3.0}, "Softsign": {}, "Softshrink": {"lambd": 0.7},
    "Hardshrink": {"lambd": 0.2}, "Hardtanh": {"min_val": -0.5, "max_val": 2.0}, "Hardsigmoid": {},
    "Hardswish": {}, "Threshold": {"threshold": 0.1, "value": 20}, "Dropout": {"p": 0.3},
    "AlphaDropout": {}, "FeatureAlphaDropout": {}, "Identity": {},
}
INPLACE = [name for name in ELEMENTWISE
           if "inplace" in inspect.signature(getattr(torch.nn, name)).parameters]

LAYERS = {
    "Bilinear": (lambda nn: nn.Bilinear(3, 4, 5), [(3,), (4,)]),
    "Bilinear plain": (lambda nn: nn.Bilinear(3, 1, 2, bias=False), [(3,), (1,)]),
    "GLU": (lambda nn: nn.GLU(), [(6,)]),
    "GLU first": (lambda nn: nn.GLU(-2), [(4, 3)]),
    "Softmin": (lambda nn: nn.Softmin(dim=-1), [(5,)]),
    "LogSoftmax": (lambda nn: nn.LogSoftmax(dim=-1), [(5,)]),
    "Softmax2d": (lambda nn: nn.Softmax2d(), [(3, 4, 5)]),
    "PReLU channels": (lambda nn: nn.PReLU(3), [(3, 4)]),
    "GroupNorm": (lambda nn: nn.GroupNorm(2, 6), [(6, 5)]),
    "GroupNorm plain": (lambda nn: nn.GroupNorm(3, 6, eps=0.1, affine=False), [(6,)]),
    "GroupNorm no bias": (lambda nn: nn.GroupNorm(1, 4, bias=False), [(4, 2, 3)]),
    "BatchNorm1d": (lambda nn: nn.BatchNorm1d(6), [(6,)]),
    "BatchNorm1d long": (lambda nn: nn.BatchNorm1d(6, eps=0.1, momentum=None), [(6, 5)]),
    "BatchNorm1d plain": (lambda nn: nn.BatchNorm1d(6, affine=False), [(6, 5)]),
    "BatchNorm1d no bias": (lambda nn: nn.BatchNorm1d(6, bias=False), [(6,)]),
    "InstanceNorm1d": (lambda nn: nn.InstanceNorm1d(6), [(6, 5)]),
    "InstanceNorm1d tracking": (
        lambda nn: nn.InstanceNorm1d(6, affine=True, track_running_stats=True), [(6, 5)]),
    "RMSNorm": (lambda nn: nn.RMSNorm(5), [(5,)]),
    "RMSNorm plain": (lambda nn: nn.RMSNorm([3, 5], 0.1, False), [(3, 5)]),
    "LocalResponseNorm": (lambda nn: nn.LocalResponseNorm(3, alpha=0.2, beta=0.5, k=2), [(7, 4)]),
    "LocalResponseNorm even": (lambda nn: nn.LocalResponseNorm(4, alpha=0.2), [(3, 4, 2)]),
    "CrossMapLRN2d": (lambda nn: nn.CrossMapLRN2d(3, alpha=0.2), [(2, 4, 2)]),
    "Dropout1d": (lambda nn: nn.Dropout1d(), [(3, 4)]),
    "Dropout2d": (lambda nn: nn.Dropout2d(0.1), [(3, 4, 2)]),
    "Dropout3d": (lambda nn: nn.Dropout3d(), [(3, 4, 2, 2)]),
    "CosineSimilarity": (lambda nn: nn.CosineSimilarity(dim=-1), [(5,), (5,)]),
    "PairwiseDistance": (lambda nn: nn.PairwiseDistance(), [(5,), (5,)]),
    "PairwiseDistance 3": (lambda nn: nn.PairwiseDistance(3.0, keepdim=True), [(5,), (5,)]),
    "Unflatten": (lambda nn: nn.Unflatten(-1, (2, -1)), [(6,)]),
    "NonDynamicallyQuantizableLinear": (
        lambda nn: (nn if nn is not torch.nn else nn.modules.linear
                    ).NonDynamicallyQuantizableLinear(5, 2), [(5,)]),
} | {
    name: (lambda nn, name=name, options=options: getattr(nn, name)(**options), [(4, 5)])
    for name, options in ELEMENTWISE.items()
} | {
    f"{name} inplace": (lambda nn, name=name: getattr(nn, name)(
        **ELEMENTWISE[name], inplace=True), [(4, 5)]) for name in INPLACE
}


def draw(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(0, 2, shape).astype(dtype)


def pair(make, dtype=np.float32):
    torch.manual_seed(0)
    theirs = make(torch.nn)
    ours = make(nn)
    with torch.no_grad():
        for number, tensor in enumerate([*theirs.parameters(), *theirs.buffers()]):
            if tensor.is_floating_point() and tensor.ndim:
                tensor.add_(torch.from_numpy(np.abs(draw(tuple(tensor.shape), seed=number))) / 9)
    if dtype is np.float64:
        theirs, ours = theirs.double(), ours.double()
    ours.load_state_dict(theirs.state_dict())
    return ours.eval(), theirs.eval()


def tensor(value):
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def agree(ours, theirs, *args, tolerance=None, **kwargs):
    """The same numbers as torch's, and the same bits when traced from types alone."""
    with torch.no_grad():
        want = theirs(*map(tensor, args), **{name: tensor(v) for name, v in kwargs.items()})
    got = ours(*args, **kwargs)
    kinds = [str(ir.type_of(a)) if isinstance(a, np.ndarray) else a for a in args]
    named = {n: str(ir.type_of(a)) if isinstance(a, np.ndarray) else a for n, a in kwargs.items()}
    traced = trace_structured(ours, *kinds, **named)
    again = traced.nesting.outputs.unflatten(ir.interpret(
        traced.graph, traced.nesting.inputs.flatten(args, kwargs)))
    as_list = [list(r) if isinstance(r, tuple) else [r] for r in (got, want, again)]
    for g, w, t in zip(*as_list, strict=True):
        if w is None:
            assert g is None and t is None
            continue
        w = w.numpy()
        assert type(g) is np.ndarray and (g.dtype, g.shape) == (w.dtype, w.shape)
        limit = tolerance or (3e-6 if w.dtype == np.float32 else 1e-13)
        np.testing.assert_allclose(g, w, 5 * limit, limit)
        assert np.array_equal(g, t, equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make, inputs", LAYERS.values(), ids=LAYERS)
def test_layers_answer_as_torch(make, inputs, dtype):
    ours, theirs = pair(make, dtype)
    for batch in (1, 3, 17):
        agree(ours, theirs, *(draw((batch, *s), dtype, i) for i, s in enumerate(inputs)))
    strided = [np.asfortranarray(draw((4, *s), dtype))[::-1] for s in inputs]
    kept = [a.copy() for a in strided]
    agree(ours, theirs, *strided)
    assert all(np.array_equal(a, b) for a, b in zip(strided, kept, strict=True))
    nothing = [draw((0, *s), dtype) for s in inputs]
    try:
        theirs(*map(tensor, nothing))
    except (RuntimeError, ValueError, IndexError):
        return
    agree(ours, theirs, *nothing)


ELSEWHERE = {
    "Module", "ModuleDict", "ModuleList", "Sequential",              # test_module*.py
    "Embedding", "EmbeddingBag", "MultiheadAttention", "Transformer", "TransformerDecoder",
    "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer",      # below
    "LazyBatchNorm1d", "LazyInstanceNorm1d", "LazyLinear",           # test_module_torch.py
    "Flatten", "LayerNorm", "Linear", "Softmax", "ParameterDict",    # test_layers.py
    "ParameterList", *losses.__all__,                                # test_losses_torch.py
}


def test_every_layer_is_compared():
    layers = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)
              and issubclass(getattr(nn, name), nn.Module)}
    compared = {type(m).__name__ for make, _ in LAYERS.values() for m in make(nn).modules()}
    assert layers - compared == ELSEWHERE


@pytest.mark.parametrize("make, _", LAYERS.values(), ids=LAYERS)
def test_layers_read_as_torch(make, _):
    ours, theirs = make(nn), make(torch.nn)
    assert repr(ours) == repr(theirs)
    shapes = {name: tuple(t.shape) for name, t in theirs.state_dict().items()}
    assert {name: a.shape for name, a in ours.state_dict().items()} == shapes
    public = {n for n in vars(theirs) if not n.startswith("_")} - {"training"}
    assert public <= set(dir(ours)), "attributes of torch's that are missing"
    for name in public:
        assert getattr(ours, name) == getattr(theirs, name), name


OTHER_ARGUMENTS = {"Parameter", "Buffer", "Module", "Sequential", "UninitializedParameter"}
PUBLIC = [name for name in nn.__all__ if inspect.isclass(getattr(nn, name))
          and hasattr(torch.nn, name) and name not in OTHER_ARGUMENTS]


@pytest.mark.parametrize("name", PUBLIC)
def test_arguments_are_torchs(name):
    ours, theirs = getattr(nn, name), getattr(torch.nn, name)
    for method in ("__init__", "forward"):
        if method in vars(theirs) or method == "__init__":
            want = inspect.signature(getattr(theirs, method)).parameters.values()
            got = inspect.signature(getattr(ours, method)).parameters.values()
            if any(p.kind is p.VAR_POSITIONAL for p in want):
                continue
            assert list(map(described, got)) == list(map(described, want)), method


def described(parameter):
    """Its name, its kind, and its default; of a function, that one's name."""
    default = getattr(parameter.default, "__name__", parameter.default)
    return parameter.name, parameter.kind, default


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 88.8, -88.8, 104, -104, 1e30, -1e30,
                    3, -3, 6, 1, -1, 0.5, -0.5, 20, 21], np.float32)


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if "Dropout" not in n])
def test_special_values(name):
    ours, theirs = pair(lambda nn: getattr(nn, name)(**ELEMENTWISE[name]))
    with torch.no_grad():
        want = theirs(torch.from_numpy(SPECIAL.copy())).numpy()
    got = ours(SPECIAL)
    better = np.isnan(want) & ~np.isnan(got) & ~np.isnan(SPECIAL)
    assert set(SPECIAL[better]) <= {np.inf, -np.inf}, "torch has NaN at infinities, and only there"
    np.testing.assert_allclose(got[~better], want[~better], 3e-6, 1e-6)


# -- attention -------------------------------------------------------------------------------------

ATTENTION = {
    "plain": {}, "no bias": {"bias": False}, "bias kv": {"add_bias_kv": True},
    "zero": {"add_zero_attn": True}, "widths": {"kdim": 5, "vdim": 3},
    "all": {"add_bias_kv": True, "add_zero_attn": True, "dropout": 0.1},
}


@pytest.mark.parametrize("first", [False, True], ids=["", "batch first"])
@pytest.mark.parametrize("options", ATTENTION.values(), ids=ATTENTION)
def test_multihead_attention(options, first):
    ours, theirs = pair(lambda nn: nn.MultiheadAttention(8, 4, batch_first=first, **options))
    assert repr(ours) == repr(theirs)
    widths = (8, options.get("kdim", 8), options.get("vdim", 8))
    lengths = (4, 6, 6)
    q, k, v = (draw((2, n, w) if first else (n, 2, w), seed=w) for n, w in zip(
        lengths, widths, strict=True))
    rng = np.random.default_rng(1)
    unseen = (rng.random((4, 6)) > 0.6) & (np.arange(6) > 0)
    padded = (rng.random((2, 6)) > 0.6) & (np.arange(6) > 0)
    for masks in ({}, {"attn_mask": unseen}, {"key_padding_mask": padded},
                  {"attn_mask": draw((8, 4, 6))}, {"attn_mask": unseen, "key_padding_mask": padded},
                  {"average_attn_weights": False}):
        for needed in (True, False):
            agree(ours, theirs, q, k, v, need_weights=needed, **masks, tolerance=5e-6)
    agree(ours, theirs, *(a[0] if first else a[:, 0] for a in (q, k, v)), tolerance=5e-6)


def test_attention_in_training_drops_at_random():
    nn.manual_seed(0)
    layer, x = nn.MultiheadAttention(8, 2, dropout=0.5), draw((5, 3, 8))
    assert not np.array_equal(layer(x, x, x)[0], layer(x, x, x)[0])
    with pytest.raises(Error, match="training mode"):
        trace_structured(layer, *["f32[5, 3, 8]"] * 3)


# -- transformers ----------------------------------------------------------------------------------

TRANSFORMERS = {
    "plain": {}, "batch first": {"batch_first": True}, "norm first": {"norm_first": True},
    "gelu": {"activation": "gelu", "bias": False},
}


@pytest.mark.parametrize("options", TRANSFORMERS.values(), ids=TRANSFORMERS)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:Support for mismatched")
def test_transformers(options):
    sizes = {"d_model": 8, "nhead": 2, "dim_feedforward": 12, **options}
    x, memory = draw((5, 5, 8)), draw((5, 5, 8), seed=1)
    seen = np.triu(np.ones((5, 5), bool), 1)
    encoder, theirs = pair(lambda nn: nn.TransformerEncoderLayer(**sizes))
    assert repr(encoder) == repr(theirs)
    agree(encoder, theirs, x, tolerance=1e-5)
    agree(encoder, theirs, x, src_mask=seen, tolerance=1e-5)
    decoder, theirs = pair(lambda nn: nn.TransformerDecoderLayer(**sizes))
    assert repr(decoder) == repr(theirs)
    agree(decoder, theirs, x, memory, tgt_mask=seen, tolerance=1e-5)
    both, theirs = pair(lambda nn: nn.Transformer(num_encoder_layers=2, num_decoder_layers=1,
                                                  **sizes))
    assert repr(both) == repr(theirs)
    mask = nn.Transformer.generate_square_subsequent_mask(5).numpy()
    assert np.array_equal(mask, torch.nn.Transformer.generate_square_subsequent_mask(5).numpy())
    agree(both, theirs, x, memory, tgt_mask=mask, tolerance=2e-5)


# -- tables ----------------------------------------------------------------------------------------

IDS = np.array([[1, 2, 5, 1], [0, 0, 3, 5]])


@pytest.mark.parametrize("options", [
    {"max_norm": 1.0}, {"max_norm": 2.0, "norm_type": 1.0}, {"max_norm": 0.5, "norm_type": np.inf},
    {"padding_idx": -1}], ids=str)
def test_embedding(options):
    ours, theirs = pair(lambda nn: nn.Embedding(6, 4, **options))
    assert repr(ours) == repr(theirs)
    agree(ours, theirs, IDS)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag(mode):
    for options in ({}, {"padding_idx": 0}, {"max_norm": 1.0}, {"padding_idx": -1}):
        ours, theirs = pair(lambda nn, o=options: nn.EmbeddingBag(6, 4, mode=mode, **o))
        assert repr(ours) == repr(theirs)
        agree(ours, theirs, IDS)
        agree(ours, theirs, IDS.ravel(), np.array([0, 0, 3, 7]))
        agree(ours, theirs, IDS.ravel().astype(np.int32), np.array([0, 8], np.int32))
    ours, theirs = pair(lambda nn: nn.EmbeddingBag(6, 4, mode=mode, include_last_offset=True))
    agree(ours, theirs, IDS.ravel(), np.array([0, 3, 8]))
    if mode == "sum":
        agree(ours, theirs, IDS, per_sample_weights=draw((2, 4)))


def test_tables_from_arrays():
    table = draw((5, 3))
    for name, options in [("Embedding", {"padding_idx": 1, "max_norm": 1.0}),
                          ("EmbeddingBag", {"mode": "sum", "padding_idx": 1})]:
        ours = getattr(nn, name).from_pretrained(table, **options)
        theirs = getattr(torch.nn, name).from_pretrained(torch.from_numpy(table.copy()), **options)
        assert repr(ours) == repr(theirs) and not ours.weight.requires_grad
        agree(ours, theirs, np.array([[4, 1]]))


# -- what has a state ------------------------------------------------------------------------------

@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("name, shape", [("BatchNorm1d", (7, 3)), ("BatchNorm1d", (4, 3, 5)),
                                         ("InstanceNorm1d", (4, 3, 5))])
def test_running_statistics(name, shape, momentum):
    if name == "InstanceNorm1d" and momentum is None:
        return
    options = {"momentum": momentum, "track_running_stats": True}
    ours, theirs = pair(lambda nn: getattr(nn, name)(3, **options))
    ours.train(), theirs.train()
    for seed in range(3):
        x = draw(shape, seed=seed)
        want = theirs(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(ours(x), want, 1e-5, 1e-5)
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[key], value.numpy(), 1e-5, 1e-6)
    with pytest.raises(Error, match="training mode"):
        trace_structured(ours, f"f32{list(shape)}")


def test_dropouts_of_channels():
    nn.manual_seed(0)
    x = np.ones((50, 40, 3, 2), np.float32)
    for layer in (nn.Dropout2d(0.25), nn.Dropout2d(1.0), nn.Dropout(0.25)):
        y = layer(x)
        assert set(np.unique(y)) <= {0, np.float32(1 / 0.75)}
    y = nn.Dropout2d(0.25)(x)
    assert (y == y[:, :, :1, :1]).all() and abs((y == 0).mean() - 0.25) < 0.05
    x = draw((500, 400))
    want = torch.nn.functional.alpha_dropout(torch.from_numpy(x), 0.3, True).numpy()
    for y in (nn.AlphaDropout(0.3)(x), nn.FeatureAlphaDropout(0.3)(draw((200, 500, 3)))):
        assert abs(y.mean() - want.mean()) < 0.05 and abs(y.std() - want.std()) < 0.05
    slopes = nn.RReLU()(-np.ones(2000, np.float32))
    assert -1 / 3 <= slopes.min() < -0.33 and -0.13 < slopes.max() <= -1 / 8


def test_lazy_linear_becomes_a_linear():
    lazy, theirs = nn.LazyLinear(3), torch.nn.LazyLinear(3)
    assert repr(lazy) == repr(theirs) and lazy.has_uninitialized_params()
    model = nn.Sequential(lazy, nn.ReLU(), nn.LazyLinear(2, bias=False))
    graph = trace_structured(model, "f32[B, 5]").graph
    assert [v.name for v in graph.params] == ["0.weight", "0.bias", "2.weight"]
    assert type(model[0]) is nn.Linear and model[0].in_features == 5
    assert repr(model[2]) == repr(torch.nn.Linear(3, 2, bias=False))
    called = nn.LazyLinear(4)
    assert called(draw((2, 7))).shape == (2, 4) and called.weight.shape == (4, 7)
    assert called.weight.data.any()
    loaded = nn.LazyLinear(3)
    loaded.load_state_dict(torch.nn.Linear(6, 3).state_dict())
    assert loaded(draw((2, 6))).shape == (2, 3) and loaded.in_features == 6
    with pytest.raises(Error, match="not known before run time"):
        trace_structured(nn.LazyLinear(3), "f32[2, B]")


REFUSED = {
    "Bilinear": lambda nn: nn.Bilinear(0, 2, 2), "GroupNorm": lambda nn: nn.GroupNorm(4, 6),
    "heads": lambda nn: nn.MultiheadAttention(7, 2),
    "width": lambda nn: nn.MultiheadAttention(0, 1),
    "Hardtanh": lambda nn: nn.Hardtanh(2, 1), "Unflatten": lambda nn: nn.Unflatten(0, 3),
    "Unflatten sizes": lambda nn: nn.Unflatten(0, (1.5, 2)), "Dropout": lambda nn: nn.Dropout2d(2),
    "bag": lambda nn: nn.EmbeddingBag(3, 2, padding_idx=3), "Threshold": lambda nn: nn.Threshold(1),
    "device": lambda nn: nn.GroupNorm(1, 1, device="abacus"),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_constructors_refuse_what_torch_refuses(make):
    with pytest.raises((RuntimeError, ValueError, AssertionError, TypeError)):
        make(torch.nn)
    with pytest.raises((Error, TypeError)):
        make(nn)


CALLS = {
    "Bilinear": lambda nn, x: nn.Bilinear(3, 4, 5)(x(2, 3), x(2, 5)),
    "Bilinear rows": lambda nn, x: nn.Bilinear(3, 4, 5)(x(2, 3), x(3, 4)),
    "GLU": lambda nn, x: nn.GLU()(x(2, 3)), "PReLU": lambda nn, x: nn.PReLU(3)(x(2, 4)),
    "BatchNorm1d": lambda nn, x: nn.BatchNorm1d(3).eval()(x(2, 4)),
    "BatchNorm1d rank": lambda nn, x: nn.BatchNorm1d(3)(x(3)),
    "BatchNorm1d one": lambda nn, x: nn.BatchNorm1d(3)(x(1, 3)),
    "InstanceNorm1d": lambda nn, x: nn.InstanceNorm1d(3, affine=True)(x(2, 4, 5)),
    "InstanceNorm1d one": lambda nn, x: nn.InstanceNorm1d(3)(x(2, 3, 1)),
    "GroupNorm": lambda nn, x: nn.GroupNorm(2, 4)(x(2, 5)),
    "RMSNorm": lambda nn, x: nn.RMSNorm(4)(x(2, 5)),
    "Softmax2d": lambda nn, x: nn.Softmax2d()(x(2, 3)),
    "LocalResponseNorm": lambda nn, x: nn.LocalResponseNorm(2)(x(2, 3)),
    "CrossMapLRN2d": lambda nn, x: nn.CrossMapLRN2d(2)(x(2, 3, 4)),
    "Unflatten": lambda nn, x: nn.Unflatten(1, (2, 2))(x(2, 5)),
    "attention": lambda nn, x: nn.MultiheadAttention(4, 2)(x(3, 1, 5), x(3, 1, 4), x(3, 1, 4)),
    "attention rank": lambda nn, x: nn.MultiheadAttention(4, 2)(x(4), x(4), x(4)),
    "attention mask": lambda nn, x: nn.MultiheadAttention(4, 2)(
        x(3, 1, 4), x(3, 1, 4), x(3, 1, 4), attn_mask=x(2, 3)),
    "causal": lambda nn, x: nn.functional.scaled_dot_product_attention(
        x(2, 3), x(2, 3), x(2, 3), attn_mask=x(2, 2), is_causal=True),
    "ints": lambda nn, x: nn.GELU()(x(2, 3) > 0),
    "softshrink": lambda nn, x: nn.Softshrink(-1)(x(2)),
    "rrelu": lambda nn, x: nn.RReLU(0.5, 0.1)(x(2)), "celu": lambda nn, x: nn.CELU(0)(x(2)),
    "pad": lambda nn, x: nn.functional.pad(x(2, 3), (1,)),
    "pad reflect": lambda nn, x: nn.functional.pad(x(2, 3), (3, 0), mode="reflect"),
    "pad mode": lambda nn, x: nn.functional.pad(x(2, 3), (1, 1), mode="mirror"),
    "bag mode": lambda nn, x: nn.EmbeddingBag(3, 2, mode="min")(x(2, 2).astype(int) if isinstance(
        x(1), np.ndarray) else x(2, 2).long()),
}


@pytest.mark.parametrize("run", CALLS.values(), ids=CALLS)
def test_calls_refused_as_in_torch(run):
    with pytest.raises((RuntimeError, ValueError, AssertionError, IndexError, NotImplementedError)):
        run(torch.nn, lambda *shape: torch.from_numpy(draw(shape)))
    with pytest.raises((Error, NotImplementedError)):
        run(nn, lambda *shape: draw(shape))

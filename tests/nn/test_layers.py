"""Each layer and functional beside torch's: numbers, weights, text, and what is refused."""

from collections import OrderedDict

import numpy as np
import pytest

import nncompile.nn.functional as F
from ir import Error
from nncompile import nn

torch = pytest.importorskip("torch", reason="torch, the oracle of the layers, is not installed")
TF = torch.nn.functional
pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element")  # torch's

LAYERS = {
    "Linear": (lambda nn: nn.Linear(5, 7), (5,)),
    "Linear without bias": (lambda nn: nn.Linear(5, 7, False), (5,)),
    "Linear one": (lambda nn: nn.Linear(1, 1), (1,)),
    "Linear no outputs": (lambda nn: nn.Linear(3, 0), (3,)),
    "Linear large": (lambda nn: nn.Linear(300, 70, bias=True), (300,)),
    "ReLU": (lambda nn: nn.ReLU(), (5,)),
    "ReLU inplace": (lambda nn: nn.ReLU(inplace=True), (5,)),
    "Tanh": (lambda nn: nn.Tanh(), (5,)),
    "Sigmoid": (lambda nn: nn.Sigmoid(), (5,)),
    "GELU": (lambda nn: nn.GELU(), (5,)),
    "GELU tanh": (lambda nn: nn.GELU(approximate="tanh"), (5,)),
    "Softmax": (lambda nn: nn.Softmax(dim=-1), (5,)),
    "Softmax rows": (lambda nn: nn.Softmax(dim=0), (5,)),
    "Softmax 1": (lambda nn: nn.Softmax(1), (3, 5)),
    "LayerNorm": (lambda nn: nn.LayerNorm(5), (5,)),
    "LayerNorm one": (lambda nn: nn.LayerNorm(1), (1,)),
    "LayerNorm list": (lambda nn: nn.LayerNorm([3, 5], eps=1e-3), (3, 5)),
    "LayerNorm tuple": (lambda nn: nn.LayerNorm((3, 5), bias=False), (3, 5)),
    "LayerNorm plain": (lambda nn: nn.LayerNorm(5, 1e-6, False), (5,)),
    "Dropout": (lambda nn: nn.Dropout(0.3), (5,)),
    "Dropout inplace": (lambda nn: nn.Dropout(p=0, inplace=True), (5,)),
    "Flatten": (lambda nn: nn.Flatten(), (3, 5)),
    "Flatten middle": (lambda nn: nn.Flatten(start_dim=-3, end_dim=-2), (2, 3, 5)),
    "Flatten all": (lambda nn: nn.Flatten(0), (2, 3, 5)),
    "Identity": (lambda nn: nn.Identity(54, unused=1), (5,)),
    "Sequential": (lambda nn: nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 2)), (5,)),
    "Sequential empty": (lambda nn: nn.Sequential(), (5,)),
}
BATCHES = [(), (0,), (1,), (7,), (2, 3), (65,)]


def pair(make, dtype=np.float32):
    """Our module and torch's, with the same weights."""
    ours, theirs = make(nn).to(dtype).eval(), make(torch.nn).eval()
    theirs = theirs.double() if dtype is np.float64 else theirs
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def check(got, want, dtype=np.float32):
    want = want.detach().numpy()
    assert type(got) is np.ndarray
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    tolerance = 2e-6 if dtype is np.float32 else 1e-14
    np.testing.assert_allclose(got, want, rtol=10 * tolerance, atol=tolerance)


def draw(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(0, 2, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make, features", LAYERS.values(), ids=LAYERS)
def test_layers_answer_as_torch(make, features, dtype):
    ours, theirs = pair(make, dtype)
    for batch in BATCHES:
        x = draw((*batch, *features), dtype)
        try:
            want = theirs(torch.from_numpy(x.copy()))
        except (RuntimeError, IndexError):  # Softmax(1) of one axis, Flatten of too few
            with pytest.raises(Error):
                ours(x)
        else:
            check(ours(x), want, dtype)


@pytest.mark.parametrize("make, _", LAYERS.values(), ids=LAYERS)
def test_layers_read_as_torch(make, _):
    ours, theirs = make(nn), make(torch.nn)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    shapes = {name: tuple(t.shape) for name, t in theirs.state_dict().items()}
    assert {name: a.shape for name, a in ours.state_dict().items()} == shapes
    assert all(a.dtype == np.float32 for a in ours.state_dict().values())
    public = {n for n in vars(theirs) if not n.startswith("_")} - {"training"}
    assert public <= set(dir(ours)), "attributes of torch's that are missing"


SPECIAL = np.array([[np.nan, 1, -1], [np.inf, 1, 2], [-np.inf, 1, 2], [-np.inf] * 3, [0.0, -0.0, 0],
                    [1e-40, -1e-40, 1e38], [88.8, -88.8, 104], [1e30, 1e30, 1e30]], np.float32)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "gelu", "softmax", "layer_norm"])
def test_special_values(name):
    options = {"softmax": [-1], "layer_norm": [(3,)]}.get(name, [])
    want = getattr(TF, name)(torch.from_numpy(SPECIAL), *options).numpy()
    got = getattr(F, name)(SPECIAL, *options)
    if name == "gelu":  # torch answers NaN at infinities; these are the limits
        want = np.where(np.isinf(SPECIAL), np.maximum(SPECIAL, 0), want)
    if name == "layer_norm":  # rows whose squares overflow depend on the order of summation
        want, got = want[[0, 1, 2, 3, 4]], got[[0, 1, 2, 3, 4]]
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-37)


@pytest.mark.parametrize("ids", [np.array([[1, 0, 3], [9, 9, 2]]), np.array(4),
                                 np.zeros((0, 2), np.int64), np.arange(10, dtype=np.int32)],
                         ids=["matrix", "one", "none", "i32"])
@pytest.mark.parametrize("padding", [None, 0, 3, -2])
def test_embedding(ids, padding):
    ours, theirs = pair(lambda nn: nn.Embedding(10, 4, padding_idx=padding))
    check(ours(ids), theirs(torch.from_numpy(ids)))
    assert repr(ours) == repr(theirs) and ours.padding_idx == theirs.padding_idx
    fresh = nn.Embedding(10, 4, padding)
    assert padding is None or not fresh.weight.data[padding].any()
    check(F.embedding(ids, ours.weight.data, padding), theirs(torch.from_numpy(ids)))


def test_sizes_may_be_numpys_integers():
    layer = nn.LayerNorm(np.int64(5))
    assert repr(layer) == repr(torch.nn.LayerNorm(5))
    assert nn.Linear(np.int64(5), 2).weight.shape == (2, 5)
    with pytest.raises(TypeError):
        nn.LayerNorm(5.0)


def test_embedding_from_a_table():
    table = draw((5, 3))
    ours = nn.Embedding.from_pretrained(table, padding_idx=1)
    theirs = torch.nn.Embedding.from_pretrained(torch.from_numpy(table), padding_idx=1)
    assert repr(ours) == repr(theirs) and not ours.weight.requires_grad
    check(ours(np.array([4, 1])), theirs(torch.tensor([4, 1])))
    options = {"norm_type": 1.0, "scale_grad_by_freq": True, "sparse": True}
    assert repr(nn.Embedding(5, 3, **options)) == repr(torch.nn.Embedding(5, 3, **options))


@pytest.mark.parametrize("ids", [[10], [-1], [3, 99]])
def test_embedding_ids_outside_the_table(ids):
    with pytest.raises(Error, match=rf"{ids[-1]}.*0\.\.9"):
        nn.Embedding(10, 4)(np.array(ids))
    with pytest.raises(IndexError):
        torch.nn.Embedding(10, 4)(torch.tensor(ids))


def test_functionals_answer_as_torch():
    x, w, b = draw((4, 6)), draw((3, 6), seed=1), draw((3,), seed=2)
    scale, shift = draw((6,), seed=3), draw((6,), seed=4)
    tensors = {id(a): torch.from_numpy(a) for a in (x, w, b, scale, shift)}

    def both(name, *args, **options):
        theirs = [tensors.get(id(a), a) for a in args]
        check(getattr(F, name)(*args, **options), getattr(TF, name)(*theirs, **options))

    both("linear", x, w)
    both("linear", x, w, b)
    for name in ("relu", "tanh", "sigmoid", "gelu"):
        both(name, x)
    both("gelu", x, approximate="tanh")
    for dim in (0, 1, -1, -2):
        both("softmax", x, dim=dim)
    both("layer_norm", x, (6,))
    both("layer_norm", x, [4, 6], None, None, 1e-2)
    both("layer_norm", x, (6,), scale)
    both("layer_norm", x, (6,), scale, shift, eps=0.1)
    both("layer_norm", x, (6,), None, shift)
    both("dropout", x, training=False)
    both("dropout", x, p=0.0)
    both("dropout", x, p=1.0)


def test_cat_and_stack():
    x, y = draw((2, 3)), draw((2, 3), seed=1)
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    for dim in (0, 1, -1, -2):
        check(F.cat([x, y, x], dim), torch.cat([tx, ty, tx], dim))
        check(F.stack((x, y), dim=dim), torch.stack((tx, ty), dim=dim))
    check(F.stack((x, y), dim=2), torch.stack((tx, ty), dim=2))
    check(F.cat([x[:0], y]), torch.cat([tx[:0], ty]))


def test_softmax_without_dim_warns_as_torch():
    for shape in [(3,), (2, 3), (2, 3, 4), (2, 3, 4, 5)]:
        x = draw(shape)
        with pytest.warns(UserWarning, match="dim"):
            want = torch.nn.Softmax()(torch.from_numpy(x))
        with pytest.warns(UserWarning, match="dim"):
            check(nn.Softmax()(x), want)


REFUSED = {
    "negative size": (lambda nn: nn.Linear(-1, 2), "negative"),
    "probability": (lambda nn: nn.Dropout(1.5), "between 0 and 1"),
    "probability below": (lambda nn: nn.Dropout(-0.1), "between 0 and 1"),
    "padding": (lambda nn: nn.Embedding(3, 2, padding_idx=3), "padding_idx 3"),
    "padding below": (lambda nn: nn.Embedding(3, 2, padding_idx=-4), "padding_idx -4"),
    "weight": (lambda nn: nn.Embedding(3, 2, _weight=nn.Parameter(WEIGHT[nn])), "not .3, 2."),
    "table": (lambda nn: nn.Embedding.from_pretrained(WEIGHT[nn]), "two dimensions"),
    "device": (lambda nn: nn.Linear(2, 2, device="abacus"), "device"),
    "too many arguments": (lambda nn: nn.Tanh(3), "argument"),
    "not a module": (lambda nn: nn.Sequential(3), "Module"),
    "named module": (lambda nn: nn.Sequential(OrderedDict({"a.b": nn.ReLU()})), "dot|contain"),
    "empty name": (lambda nn: nn.Sequential(OrderedDict({"": nn.ReLU()})), "empty"),
    "taken name": (lambda nn: nn.Sequential(OrderedDict(forward=nn.ReLU())), "exists"),
}
WEIGHT = {nn: np.zeros(4, np.float32), torch.nn: torch.zeros(4)}


@pytest.mark.parametrize("make, message", REFUSED.values(), ids=REFUSED)
def test_layers_refuse_what_torch_refuses(make, message):
    with pytest.raises((RuntimeError, ValueError, AssertionError, TypeError, KeyError)):
        make(torch.nn)
    with pytest.raises((Error, TypeError, KeyError), match=message):
        make(nn)


CALLS = {
    "features": (lambda nn, x: nn.Linear(5, 2)(x((3, 4))), "expects 5 features, its input has 4"),
    "no dimensions": (lambda nn, x: nn.Linear(5, 2)(x(())), "linear"),
    "dtype": (lambda nn, x: nn.Linear(5, 2)(x((3, 5), np.float64)), "f64.3, 5., f32"),
    "softmax axis": (lambda nn, x: nn.Softmax(2)(x((3, 4))), "no axis 2"),
    "norm": (lambda nn, x: nn.LayerNorm(4)(x((4, 5))), "layer_norm over the last axes .4."),
    "norm rank": (lambda nn, x: nn.LayerNorm((4, 5))(x((5,))), "layer_norm"),
    "float ids": (lambda nn, x: nn.Embedding(4, 5)(x((5,))), "i32 or i64 ids"),
    "flatten": (lambda nn, x: nn.Flatten(2, 1)(x((5, 2, 3))), "cannot start at axis 2"),
    "flatten axis": (lambda nn, x: nn.Flatten(5)(x((5, 2, 3))), "no axis 5"),
    "no forward": (lambda nn, x: nn.Module()(x((1,))), "forward"),
    "list": (lambda nn, x: nn.ModuleList([nn.ReLU()])(x((1,))), "forward"),
}


@pytest.mark.parametrize("run, message", CALLS.values(), ids=CALLS)
def test_calls_refused_as_in_torch(run, message):
    with pytest.raises((RuntimeError, IndexError, NotImplementedError)):
        run(torch.nn, lambda shape, dtype=np.float32: torch.from_numpy(draw(shape, dtype).copy())
            if shape else torch.tensor(1.0))
    with pytest.raises((Error, NotImplementedError), match=message):
        run(nn, lambda shape, dtype=np.float32: np.asarray(draw(shape, dtype)))

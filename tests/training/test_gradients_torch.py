"""The gradients of eager functions beside torch's: over the samples of torch's own tests, and at
ties, kinks and poles.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nncompile
from ir import Error
from nncompile.array import Array
from nncompile.errors import GradientError
from nncompile.placeholders import is_placeholder

torch = pytest.importorskip("torch")
SAMPLES = 2                                      # of each operator

# What the same samples do not compare: the order of arguments of torch's own test, random numbers,
# what is unique up to a sign, and where torch is less exact or knowingly different.
APART = {
    "where", "einsum", "nn.functional.embedding", "nn.functional.embedding_bag",
    "normal", "normal.number_mean", "bernoulli", "nn.functional.rrelu",
    "nn.functional.multi_head_attention_forward", "nn.functional.scaled_dot_product_attention",
    "nn.functional.dropout", "nn.functional.dropout2d", "nn.functional.dropout3d",
    "nn.functional.alpha_dropout", "nn.functional.feature_alpha_dropout.with_train",
    "linalg.eigh", "linalg.lstsq", "linalg.lstsq.grad_oriented", "linalg.pinv.singular",
    "nn.functional.hardsigmoid",                 # torch's 1/6 is rounded to float32
    "nn.functional.ctc_loss",                    # torch's is that behind a log_softmax
    "nn.functional.pad.circular", "linalg.norm.subgradients_at_zero",
}


def ours_of(name: str) -> Any:
    """Our function of torch's name, or the method."""
    found: Any = nncompile
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found) or is_placeholder(found):
        found = getattr(Array, name, None)
    return found if callable(found) else None


def given(value: Any, leaves: list[tuple[Any, Array]]) -> Any:
    """torch's arguments as ours; the leaves are noted in pairs."""
    if isinstance(value, torch.Tensor):
        array = Array(value.detach().contiguous().numpy().copy())
        if value.requires_grad:
            leaves.append((value, array.requires_grad_()))
        return array
    if isinstance(value, torch.dtype):
        return getattr(nncompile, str(value).removeprefix("torch."))
    if isinstance(value, dict):
        return {key: given(each, leaves) for key, each in value.items()}
    return [given(each, leaves) for each in value] if isinstance(value, list | tuple) else value


def flat(result: Any, kind: type) -> list[Any]:
    if isinstance(result, kind):
        return [result]
    return [x for each in result for x in flat(each, kind)] if isinstance(
        result, list | tuple) else []


def compare(name: str, wanted: Any, got: Any, leaves: list[tuple[Any, Array]]) -> None:
    """Compares the gradients of the sum of random multiples of all results."""
    pairs = [(w, g) for w, g in zip(flat(wanted, torch.Tensor), flat(got, Array), strict=True)
             if w.requires_grad]
    if not pairs:
        return
    draw = np.random.default_rng(0)
    weights = [np.asarray(draw.standard_normal(tuple(w.shape))) for w, _ in pairs]
    theirs = torch.autograd.grad([w for w, _ in pairs], [w for w, _ in leaves],
                                 [torch.from_numpy(x) for x in weights], allow_unused=True)
    mine = nncompile.autograd.grad([g for _, g in pairs], [g for _, g in leaves],
                                   [Array(x) for x in weights], allow_unused=True)
    for (leaf, _), w, g in zip(leaves, theirs, mine, strict=True):
        zero = np.zeros(tuple(leaf.shape))
        np.testing.assert_allclose(zero if g is None else g.numpy(),
                                   zero if w is None else w.to_dense().numpy(),
                                   rtol=1e-9, atol=1e-10, err_msg=name)


def test_samples_of_torchs_own_tests() -> None:
    pytest.importorskip("expecttest")
    from torch.testing._internal.common_methods_invocations import op_db
    torch.manual_seed(0)
    compared: Counter[str] = Counter()
    for op in op_db:
        name = op.name + f".{op.variant_test_name}" * bool(op.variant_test_name)
        function = ours_of(op.name)
        if function is None or name in APART or not op.supports_autograd or (
                torch.float64 not in op.dtypes):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            samples = op.sample_inputs("cpu", torch.float64, requires_grad=True)
            for _, sample in zip(range(SAMPLES), samples, strict=False):
                arguments, leaves = (sample.input, *sample.args), []
                try:
                    got = function(*given(arguments, leaves), **given(sample.kwargs, leaves))
                except (Error, TypeError, ValueError, RuntimeError):   # a form that is not here
                    continue
                compare(name, op.op(*arguments, **sample.kwargs), got, leaves)
                compared[name] += 1
    assert len(compared) > 240


MODULES = """
    L1Loss MSELoss SmoothL1Loss HuberLoss BCELoss BCEWithLogitsLoss NLLLoss CrossEntropyLoss
    KLDivLoss PoissonNLLLoss GaussianNLLLoss SoftMarginLoss MultiLabelSoftMarginLoss
    MarginRankingLoss HingeEmbeddingLoss CosineEmbeddingLoss TripletMarginLoss MultiMarginLoss
    MultiLabelMarginLoss Linear Bilinear LayerNorm GroupNorm RMSNorm BatchNorm1d InstanceNorm1d
    LocalResponseNorm PReLU GELU SiLU Mish ELU CELU SELU GLU Softmax LogSoftmax Softmin Softplus
    Softshrink Softsign Hardshrink Hardswish Hardtanh LeakyReLU LogSigmoid ReLU6 Tanhshrink
    Threshold Embedding CosineSimilarity PairwiseDistance TransformerEncoderLayer
    TransformerDecoderLayer MultiheadAttention
"""


@pytest.mark.filterwarnings("ignore")
def test_modules_of_torchs_own_tests() -> None:
    pytest.importorskip("expecttest")
    from torch.testing._internal.common_modules import module_db
    torch.manual_seed(0)
    compared: Counter[str] = Counter()
    for info in module_db:
        name = info.name.removeprefix("nn.")
        if name not in MODULES.split():
            continue
        for _, case in zip(range(4), info.module_inputs_func(
                info, "cpu", torch.float64, requires_grad=True, training=False), strict=False):
            made = case.constructor_input
            theirs = info.module_cls(*made.args, **{**made.kwargs, "dtype": torch.float64} if (
                "dtype" in made.kwargs) else made.kwargs).double().eval()
            leaves: list[tuple[Any, Array]] = []
            call = case.forward_input
            if call is None:
                continue
            try:
                mine = getattr(nncompile.nn, name)(*given(made.args, []), **given(made.kwargs, []))
                mine = mine.double().eval()
                mine.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
                got = mine(*given(call.args, leaves), **given(call.kwargs, leaves))
            except (Error, TypeError):           # a form that is not here
                continue
            named = dict(theirs.named_parameters())
            leaves += [(named[key], p) for key, p in mine.named_parameters() if p.requires_grad]
            compare(name, theirs(*call.args, **call.kwargs), got, leaves)
            compared[name] += 1
    assert len(compared) > 45, compared


NUMBERS = (0.0, 1.0, -1.0, 2.0, 0.5, -0.5, 3.0, -2.5)
ROWS = np.array([[1.0, 1, 0], [0, 0, 0], [2, 0, 2], [-1, 1, -1], [3, 0, 0.5]])
UNARY: dict[str, Callable[[Any, Any], Any]] = {
    **{name: lambda lib, x, name=name: getattr(lib, name)(x) for name in (
        "abs", "sign", "relu", "floor", "round", "trunc", "frac", "square", "exp", "sigmoid",
        "atan", "erf", "tanh")},
    "clamp": lambda lib, x: x.clamp(-1.0, 1.0), "lgamma": lambda lib, x: lib.lgamma(x.abs() + 1),
    "erfinv": lambda lib, x: lib.erfinv(x / 4), "digamma": lambda lib, x: lib.digamma(x.abs() + 1),
    "sqrt": lambda lib, x: x.abs().sqrt(), "square root by a power": lambda lib, x: x.abs() ** 0.5,
    "fmod": lambda lib, x: lib.fmod(x, 1.0), "xlogy": lambda lib, x: lib.xlogy(x, 2.0),
    "hardtanh": lambda lib, x: lib.nn.functional.hardtanh(x),
    "relu6": lambda lib, x: lib.nn.functional.relu6(x + 4),
    "log where it is": lambda lib, x: lib.where(x > 0, x.log(), x),
}
BINARY: dict[str, Callable[[Any, Any, Any], Any]] = {
    **{name: lambda lib, x, y, name=name: getattr(lib, name)(x, y) for name in (
        "maximum", "minimum", "fmax", "fmin", "remainder", "hypot", "atan2", "logaddexp",
        "copysign", "pow")},
    "fmod": lambda lib, x, y: lib.fmod(x, y.abs() + 0.5),
    "xlogy": lambda lib, x, y: lib.xlogy(x, y.abs() + 0.5),
    "clamp below": lambda lib, x, y: x.clamp(min=y),
    "clamp above": lambda lib, x, y: x.clamp(max=y),
}
IN_ROWS: dict[str, Callable[[Any, Any], Any]] = {
    **{f"norm {p}": lambda lib, x, p=p: x.norm(p, 1) for p in (
        0.5, 1, 1.5, 2, 3, np.inf, -np.inf, -1)},
    **{name: lambda lib, x, name=name: getattr(x, name)(1) for name in (
        "amax", "amin", "prod", "std", "logsumexp", "softmax", "cumprod")},
    **{name: lambda lib, x, name=name: getattr(x, name)(1)[0] for name in ("max", "min", "sort")},
    "topk": lambda lib, x: x.topk(2, 1)[0],
    "norm 0": lambda lib, x: x.norm(0, 1) + x.sum(1),
    "normalize": lambda lib, x: lib.nn.functional.normalize(x, dim=1),
}


def beside_torch(function: Callable[..., Any], *arrays: np.ndarray[Any, Any]) -> None:
    found = []
    for lib in (nncompile, torch):
        leaves = [lib.from_numpy(a.copy()).requires_grad_() for a in arrays]
        y = function(lib, *leaves)
        y.backward(lib.ones_like(y))
        found.append([y.detach().numpy(), *(x.grad.numpy() for x in leaves)])
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", UNARY)
def test_kinks(name: str) -> None:
    beside_torch(UNARY[name], np.array(NUMBERS))


@pytest.mark.parametrize("name", BINARY)
def test_ties(name: str) -> None:
    pairs = np.array([(a, b) for a in NUMBERS for b in NUMBERS])
    beside_torch(BINARY[name], pairs[:, 0], pairs[:, 1])


@pytest.mark.parametrize("name", IN_ROWS)
def test_ties_in_rows(name: str) -> None:
    beside_torch(IN_ROWS[name], ROWS)


# -- linear algebra --------------------------------------------------------------------------------

def _square(lib: Any, x: Any) -> Any:
    return x @ x.mT + lib.eye(3, dtype=lib.float64)


LINEAR: dict[str, Callable[[Any, Any], Any]] = {
    "inv": lambda lib, x: lib.linalg.inv(_square(lib, x)),
    "det": lambda lib, x: lib.linalg.det(_square(lib, x)),
    "slogdet": lambda lib, x: lib.linalg.slogdet(_square(lib, x))[1],
    "cholesky": lambda lib, x: lib.linalg.cholesky(_square(lib, x)),
    "cholesky upper": lambda lib, x: lib.linalg.cholesky(_square(lib, x), upper=True),
    "solve": lambda lib, x: lib.linalg.solve(_square(lib, x), x),
    "solve a vector": lambda lib, x: lib.linalg.solve(_square(lib, x), x[..., 0]),
    "solve from the right": lambda lib, x: lib.linalg.solve(_square(lib, x), x.mT, left=False),
    "pinv": lambda lib, x: lib.linalg.pinv(x),
    "lstsq": lambda lib, x: lib.linalg.lstsq(x.mT, x.mT @ x[..., :1], driver="gelsd")[0],
    "eigenvalues": lambda lib, x: lib.linalg.eigh(_square(lib, x))[0],
    "eigenvectors": lambda lib, x: lib.linalg.eigh(_square(lib, x))[1].square(),
    "singular values": lambda lib, x: lib.linalg.svd(x, full_matrices=False)[1],
    "R": lambda lib, x: lib.linalg.qr(x.mT)[1], "Q": lambda lib, x: lib.linalg.qr(x)[0],
}


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("batch", [(), (2,), (0,)], ids=str)
def test_linear_algebra_twice(name: str, batch: tuple[int, ...]) -> None:
    """The gradient, and the gradient of a function of the gradient."""
    def slope(lib: Any, x: Any) -> Any:
        y = LINEAR[name](lib, x)
        weights = lib.arange(y.numel(), dtype=lib.float64).reshape(y.shape) + 1
        first, = lib.autograd.grad((y * weights).sum(), x, create_graph=True)
        return first.sin() + y.sum()

    beside_torch(slope, np.random.default_rng(1).standard_normal((*batch, 3, 4)))


def test_a_singular_determinant() -> None:
    """The derivative by an element is its cofactor, where torch has 0."""
    x = nncompile.tensor([[1.0, 2, 3], [2, 4, 6], [0, 1, 5]], dtype=nncompile.float64)
    nncompile.linalg.det(x.requires_grad_()).backward()
    np.testing.assert_allclose(x.grad.numpy(), [[14, -10, 2], [-7, 5, -1], [0, 0, 0]], atol=1e-12)


def test_erfinv_is_nan_beyond_1_with_a_gradient_too() -> None:
    x = nncompile.tensor([1.5, -2.0]).requires_grad_()
    assert nncompile.erfinv(x).isnan().all()


def test_no_gradient_where_there_is_none() -> None:
    x = nncompile.randn(4, 2, dtype=nncompile.float64).requires_grad_()
    with pytest.raises(GradientError, match="complete"):
        nncompile.linalg.qr(x, mode="complete").Q.sum().backward()
    with nncompile.no_grad():
        assert not nncompile.linalg.pinv(x).requires_grad
    y = (x * 1)
    found = nncompile.linalg.pinv(y)
    y.mul_(2)
    with pytest.raises(GradientError, match="modified by an inplace"):
        found.sum().backward()

"""torch.nn.utils, padding layers, losses and helpers of torch.nn.modules, beside torch."""
from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nncompile
import nncompile.nn.utils.parametrizations
import nncompile.nn.utils.rnn
from nncompile import nn

torch = pytest.importorskip("torch", reason="the oracle of this file")
importlib_rnn = __import__("torch.nn.utils.rnn", fromlist=["rnn"])

RNG = np.random.default_rng(5)


# -- weights that are computed ---------------------------------------------------------------------

COMPUTED = {
    "weight_norm": lambda nn: nn.utils.weight_norm(nn.Linear(3, 4)),
    "weight_norm of all": lambda nn: nn.utils.weight_norm(nn.Linear(3, 4), dim=None),
    "weight_norm of columns": lambda nn: nn.utils.weight_norm(nn.Linear(3, 4), dim=1),
    "weight_norm of a bias": lambda nn: nn.utils.weight_norm(nn.Linear(3, 4), "bias"),
    "spectral_norm": lambda nn: nn.utils.spectral_norm(nn.Linear(3, 4)),
    "spectral_norm of columns": lambda nn: nn.utils.spectral_norm(nn.Linear(3, 4), dim=1),
    "parametrized weight_norm": lambda nn: nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)),
    "parametrized spectral_norm": lambda nn: nn.utils.parametrizations.spectral_norm(
        nn.Linear(3, 4)),
    "twice": lambda nn: nn.utils.parametrizations.spectral_norm(
        nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4)), "bias"),
    **{f"orthogonal {how} {size} {base}": lambda nn, how=how, size=size, base=base: (
        nn.utils.parametrizations.orthogonal(nn.Linear(3, size), orthogonal_map=how,
                                             use_trivialization=base))
       for how in ("matrix_exp", "cayley", "householder", None) for size in (2, 3, 5)
       for base in (True, False) if base or how == "householder"},
}


def pair(make):
    """Returns our module and torch's with its weights, in eval mode."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        ours, theirs = make(nn).eval(), make(torch.nn).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    return ours, theirs


@pytest.mark.parametrize("make", COMPUTED.values(), ids=COMPUTED)
@pytest.mark.parametrize("batch", [1, 3, 17])
def test_a_weight_that_is_computed(make, batch):
    ours, theirs = pair(make)
    x = RNG.standard_normal((batch, 3)).astype(np.float32)
    wanted = theirs(torch.tensor(x)).detach().numpy()
    fast = nncompile.compile(ours, "f32[B, 3]")
    np.testing.assert_allclose(ours(x), wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(fast(x), wanted, rtol=1e-4, atol=1e-6)
    assert str(ours) == str(theirs)
    other, theirs = pair(make)
    fast.load_weights(other.state_dict())
    np.testing.assert_allclose(fast(x), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-5,
                               atol=1e-6)


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_a_weight_is_made_a_parameter_again(name):
    ours, theirs = pair(COMPUTED[name])
    removed = getattr(nn.utils, f"remove_{name}")(ours)
    getattr(torch.nn.utils, f"remove_{name}")(theirs)
    assert removed is ours and list(ours.state_dict()) == list(theirs.state_dict())
    np.testing.assert_allclose(ours.weight.numpy(), theirs.weight.detach(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="not found"):
        getattr(nn.utils, f"remove_{name}")(ours)


def test_training_mode_steps_of_the_power_method():
    ours, theirs = pair(COMPUTED["spectral_norm"])
    x = RNG.standard_normal((2, 3)).astype(np.float32)
    wanted = theirs.train()(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours.train()(x), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.weight_u.numpy(), theirs.weight_u.numpy(), rtol=1e-5, atol=1e-6)


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).transpose(-1, -2)

    def right_inverse(self, x):
        return x.triu()


class TorchSymmetric(torch.nn.Module):
    forward, right_inverse = Symmetric.forward, Symmetric.right_inverse


def test_a_parametrization_of_one_s_own():
    parametrize = nn.utils.parametrize
    ours, theirs = nn.Linear(3, 3), torch.nn.Linear(3, 3)
    parametrize.register_parametrization(ours, "weight", Symmetric())
    torch.nn.utils.parametrize.register_parametrization(theirs, "weight", TorchSymmetric())
    assert parametrize.is_parametrized(ours, "weight") and parametrize.is_parametrized(ours)
    assert not parametrize.is_parametrized(ours, "bias")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    value = RNG.standard_normal((3, 3)).astype(np.float32)
    ours.weight, theirs.weight = nncompile.tensor(value), torch.tensor(value)
    np.testing.assert_array_equal(ours.weight.numpy(), theirs.weight.detach().numpy())
    assert isinstance(ours, nn.Linear) and type(copy.deepcopy(ours)) is type(ours)
    assert parametrize.type_before_parametrizations(ours) is nn.Linear
    parametrize.remove_parametrizations(ours, "weight")
    assert type(ours) is nn.Linear and isinstance(ours.weight, nn.Parameter)
    np.testing.assert_array_equal(ours.weight.numpy(), theirs.weight.detach().numpy())


def test_a_parametrization_that_changes_the_type_is_refused():
    class Wider(nn.Module):
        def forward(self, x):
            return nncompile.cat([x, x])

    with pytest.raises(ValueError, match="unsafe=True"):
        nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), "weight", Wider())
    with pytest.raises(ValueError, match="no parameter and no buffer 'wieght'"):
        nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), "wieght", Wider())


@pytest.mark.parametrize("how", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("shape", [(4, 4), (2, 5), (40, 17)])
def test_orthogonal_weights(how, shape):
    """Also of large arguments: what torch computes, and orthonormal to rounding."""
    from torch.nn.utils.parametrizations import orthogonal as theirs
    n, k = shape
    one = nn.utils.parametrizations.orthogonal(nn.Linear(k, n), orthogonal_map=how)
    other = theirs(torch.nn.Linear(k, n), orthogonal_map=how)
    for scale in (0.1, 3.0, 30.0):
        state = {name: value.numpy() for name, value in other.state_dict().items()}
        x = scale * RNG.standard_normal(shape).astype(np.float32)
        if how == "householder":                 # whose diagonal holds signs
            np.fill_diagonal(x, np.sign(np.diagonal(x)))
        state["parametrizations.weight.original"] = x
        one.load_state_dict(state)
        other.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
        got = one.weight.numpy()
        np.testing.assert_allclose(got, other.weight.detach(), atol=3e-4)
        long = got if n >= k else got.T
        np.testing.assert_allclose(long.T @ long, np.eye(min(shape)), atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (5, 2)])
@pytest.mark.parametrize("base", [True, False])
def test_a_weight_that_is_assigned_is_made_orthogonal(shape, base):
    from torch.nn.utils.parametrizations import orthogonal as theirs
    options = {"orthogonal_map": "householder", "use_trivialization": base}
    n, k = shape
    one = nn.utils.parametrizations.orthogonal(nn.Linear(k, n), **options)
    other = theirs(torch.nn.Linear(k, n), **options)
    value = RNG.standard_normal(shape).astype(np.float32)
    for new in (value, other.weight.detach().numpy()):
        one.weight, other.weight = nncompile.tensor(new), torch.tensor(new)
        np.testing.assert_allclose(one.weight.numpy(), other.weight.detach(), atol=1e-5)
    with pytest.raises(ValueError, match="one of matrix_exp, cayley, householder, not 'qr'"):
        nn.utils.parametrizations.orthogonal(nn.Linear(2, 2), orthogonal_map="qr")
    with pytest.raises(ValueError, match="a matrix or a batch"):
        nn.utils.parametrizations.orthogonal(nn.Linear(2, 2), "bias")


def test_parameters_as_a_vector():
    layer, other = nn.Linear(3, 4), nn.Linear(3, 4)
    vector = nn.utils.parameters_to_vector(layer.parameters())
    assert vector.shape == (16,)
    nn.utils.vector_to_parameters(vector, other.parameters())
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], value)


# -- sequences of different lengths ----------------------------------------------------------------

SEQUENCES = st.lists(st.integers(1, 5), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40)
@given(SEQUENCES, st.booleans(), st.sampled_from([(), (2,), (2, 3)]))
def test_sequences_are_padded_and_packed(lengths, batch_first, rest):
    ours, theirs = nncompile.nn.utils.rnn, importlib_rnn
    data = [RNG.standard_normal((n, *rest)).astype(np.float32) for n in lengths]
    mine = ours.pad_sequence([nncompile.tensor(d) for d in data], batch_first, 2.5)
    their = theirs.pad_sequence([torch.tensor(d) for d in data], batch_first, 2.5)
    np.testing.assert_array_equal(mine.numpy(), their.numpy())
    mine = ours.pack_padded_sequence(mine, lengths, batch_first, enforce_sorted=False)
    their = theirs.pack_padded_sequence(their, lengths, batch_first, enforce_sorted=False)
    for name in ("data", "batch_sizes", "sorted_indices"):
        if name == "data" and len(set(lengths)) < len(lengths):
            continue                             # torch's sort is not stable
        if name != "sorted_indices" or len(set(lengths)) == len(lengths):
            np.testing.assert_array_equal(getattr(mine, name).numpy(), getattr(their, name).numpy())
    mine, counts = ours.pad_packed_sequence(mine, batch_first, -1.0, 6)
    their, their_counts = theirs.pad_packed_sequence(their, batch_first, -1.0, 6)
    np.testing.assert_array_equal(mine.numpy(), their.numpy())
    np.testing.assert_array_equal(counts.numpy(), their_counts.numpy())
    for part, whole in zip(ours.unpad_sequence(mine, counts, batch_first), data, strict=True):
        np.testing.assert_array_equal(part.numpy(), whole)


@pytest.mark.parametrize("lengths", [[2, 3], [0, 1], [1, 0], [1]])
def test_wrong_lengths_are_refused_as_by_torch(lengths):
    x = np.zeros((3, 2, 1), np.float32)
    with pytest.raises(RuntimeError):
        importlib_rnn.pack_padded_sequence(torch.tensor(x), torch.tensor(lengths))
    with pytest.raises(RuntimeError, match="pack_padded_sequence"):
        nn.utils.rnn.pack_padded_sequence(nncompile.tensor(x), lengths)


class Packed(nn.Module):
    def __init__(self, lengths=None):
        super().__init__()
        self.lengths = lengths

    def forward(self, x, lengths):
        lengths = lengths if self.lengths is None else self.lengths
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        packed = packed._replace(data=packed.data * 2)
        return nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)[0]


def test_lengths_of_an_input_are_refused_in_a_trace():
    with pytest.raises(nncompile.TraceError, match="Pack outside of the model"):
        nncompile.trace(Packed(), "f32[2, 3, 4]", "i64[2]")
    x, lengths = RNG.standard_normal((2, 3, 4)).astype(np.float32), np.array([3, 1])
    fast = nncompile.compile(Packed([3, 1]), "f32[2, 3, 4]", "i64[2]")
    np.testing.assert_array_equal(fast(x, lengths), Packed()(x, lengths))


# -- layers and helpers ----------------------------------------------------------------------------

PADS = [f"{kind}Pad{n}d" for kind in ("Zero", "Reflection", "Replication", "Circular")
        for n in (1, 2, 3)]


@pytest.mark.parametrize("name", [*PADS, "ConstantPad1d", "ConstantPad2d", "ConstantPad3d"])
@pytest.mark.parametrize("padding", [1, "each"])
def test_padding_layers(name, padding):
    rank = int(name[-2])
    padding = tuple(range(2 * rank))[::-1] if padding == "each" else padding
    args = (padding, 1.5) if name.startswith("Constant") else (padding,)
    ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    assert str(ours) == str(theirs)
    x = RNG.standard_normal((2, 3, 7, 8, 9)[:rank + 2]).astype(np.float32)
    wanted = theirs(torch.tensor(x)).numpy()
    np.testing.assert_array_equal(ours(x), wanted)
    fast = nncompile.compile(ours, f"f32[B, {', '.join(map(str, x.shape[1:]))}]")
    np.testing.assert_array_equal(fast(x), wanted)


@pytest.mark.parametrize("name", [n for n in torch.nn.modules.loss.__all__
                                  if n not in ("NLLLoss2d", "LinearCrossEntropyLoss")])
def test_a_loss_has_its_attributes_and_buffers(name):
    ours, theirs = getattr(nn, name)(), getattr(torch.nn, name)()
    assert isinstance(ours, nn.modules.loss._Loss)
    public = {k: v for k, v in vars(theirs).items() if not k.startswith("_") and not callable(v)}
    assert {k: vars(ours)[k] for k in public} == public
    if "weight" in theirs._buffers:
        weight = np.ones(3, np.float32)
        ours, theirs = (module(weight=convert(weight)) for module, convert in (
            (getattr(nn, name), nncompile.tensor), (getattr(torch.nn, name), torch.tensor)))
        assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight"]


def test_helpers_of_modules():
    ours, theirs = nn.modules.utils, torch.nn.modules.utils
    for given_ in (3, (1, 2), [4]):
        for name in ("_single", "_pair", "_triple", "_quadruple"):
            assert getattr(ours, name)(given_) == getattr(theirs, name)(given_)
    assert ours._ntuple(7)(2) == theirs._ntuple(7)(2)
    assert ours._reverse_repeat_tuple((1, 2), 2) == theirs._reverse_repeat_tuple((1, 2), 2)
    assert ours._list_with_default([None, 3], [1, 5, 6]) == theirs._list_with_default(
        [None, 3], [1, 5, 6])
    state = {"module.a": 1, "b": 2}
    ours.consume_prefix_in_state_dict_if_present(state, "module.")
    assert state == {"b": 2, "a": 1}
    from torch.nn import common_types
    for name, alias in vars(common_types).items():
        if name.endswith("_t") and "T" not in str(alias) and "Tensor" not in str(alias):
            assert str(getattr(nn.common_types, name)).replace("typing.", "") != ""


def test_the_base_classes_of_normalisation():
    batch, instance = nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm
    assert isinstance(nn.BatchNorm1d(2), batch) and not isinstance(nn.InstanceNorm1d(2), batch)
    assert isinstance(nn.InstanceNorm1d(2), instance)
    assert issubclass(batch, nn.modules.batchnorm._NormBase)

    class Mine(batch):
        def _check_input_dim(self, input):
            assert input.ndim == 4

    class Theirs(torch.nn.modules.batchnorm._BatchNorm):
        _check_input_dim = Mine._check_input_dim

    x = RNG.standard_normal((2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(Mine(3).eval()(x), Theirs(3).eval()(torch.tensor(x)).detach(),
                               rtol=1e-5, atol=1e-6)

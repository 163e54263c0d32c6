"""Arrays changed in place, and states with hooks and halves, beside torch's.

Each function runs on torch's tensors, on ours, and traced; random ones are in tests/programs.py.
"""
import copy
import pickle

import numpy as np
import pytest

import ir
import nncompile
import nncompile.nn.functional as F
from ir import Error
from nncompile import nn

torch = pytest.importorskip("torch", reason="torch, the oracle of changes, is not installed")


class Own(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(nncompile, F, *args)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32)


def views(n, F, x, y):
    row, column, back = x[1], x[:, 2], x.t().view(1, 4, 3)
    row += 1
    column.mul_(2)
    back[0, 0] = y[:3, 0]
    return x, row, column, back


def chosen_of_one_row(n, F, x, y):
    """What is chosen from one row, or not at all, is a view that is written to, as in torch."""
    row, nothing = x[:1], n.zeros(1, 4, dtype=n.bool)
    row[n.tensor([0, 0]), n.tensor([2, 1])] = y[0, :2]
    row[nothing] = row[nothing]
    x[1:2][n.ones(1, 4, dtype=n.bool)] = x[2:][n.ones(1, 4, dtype=n.bool)]
    return x, row


def from_itself(n, F, x, y):
    x.copy_(x.t().reshape(3, 4))
    x[0] = x.reshape(-1)[4:8]
    return x


def steps(n, F, x, y):
    x[::2, 1::2] = 7
    x[-1:] -= y[0]
    x[..., None][1, 2] = y[2, 2]
    return x


def parts(n, F, x, y):
    a, b = x.chunk(2, dim=1)
    a += b
    b.zero_()
    first, *_, last = y.unbind(0)
    last.copy_(first)
    return x, y, a


def chosen(n, F, x, y):
    x[[2, 0]] = y[:2]
    x[:, [1, 1]] += 1
    ids = (y[0] > 0).long()
    y[ids] = 3.0
    y[0, ids] = x[1]
    return x, y


def masked(n, F, x, y):
    x[x > 0.5] = -1
    x[y[:3, 0] > 0] = y[0]
    x[:, y[0] < 0] = 9
    return x, y


def activations(n, F, x, y):
    h = x * 1
    out = F.relu(h, inplace=True)
    g = F.leaky_relu_(y[1:], 0.1)
    return h + out, y, g, F.elu_(x[0]), x


def numbers(n, F, x, y):
    x //= 0.7
    y %= 1.3
    x[0] **= 2
    z = (x > 0)
    z &= y[:3] > 0.5
    z[0] |= True
    i = x.long().clamp(-3, 3)
    i += True
    i[0] = 2.7
    return x, y, z, i


def copied(n, F, x, y):
    a, b, c = x.clone(), x.flip(0), x.repeat(1, 2)
    x.fill_(1)
    y2 = n.tensor([[1.0, 2.0], [3.0, 4.0]])
    y2[0, 0] = y[0, 0]
    a @= y
    return a, b, c, x, y2


def built(n, F, x, y):
    out = n.zeros(3, 2, 4)
    for i in range(3):
        out[i, 0] = x[i]
        out[i, 1] = y[i] * i
    out[:, :, 0] += 1
    pe = n.zeros(4, 6)
    pe[:, 0::2] = n.sin(n.arange(4).float().unsqueeze(1) * n.arange(3))
    pe[:, 1::2] = n.cos(n.arange(4).float().unsqueeze(1) * n.arange(3))
    return out, pe


def scattered(n, F, x, y):
    top, ids = x.topk(2, dim=1)
    gates = n.zeros_like(x).scatter(1, ids, F.softmax(top, dim=1))
    x.scatter_(0, (y[:1] > 0).long(), 5.0)
    return gates, x, n.zeros(4, 4).scatter_add(0, (y > 0).long(), y)


CHANGES = [views, steps, parts, chosen, chosen_of_one_row, from_itself, masked, activations,
           numbers, copied, built, scattered]


@pytest.mark.parametrize("function", CHANGES, ids=lambda f: f.__name__)
def test_changes_are_torchs(function):
    x, y = draw(3, 4), draw(4, 4, seed=1)
    wanted = function(torch, torch.nn.functional, torch.from_numpy(x.copy()),
                      torch.from_numpy(y.copy()))
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    model, given = Own(function), (x.copy(), y.copy())
    got = model(*given)
    graph = nncompile.trace(model, "f32[3, 4]", "f32[4, 4]")
    traced = ir.interpret(graph, [x, y])
    for g, w, t in zip(got if isinstance(got, tuple) else (got,), wanted, traced, strict=True):
        w = w.numpy()
        assert (g.dtype, g.shape) == (w.dtype, w.shape) == (t.dtype, t.shape)
        np.testing.assert_allclose(g, w, rtol=3e-6, atol=1e-6)
        assert np.array_equal(g, t)
    assert np.array_equal(given[0], x) and np.array_equal(given[1], y), "inputs stay as they are"


def test_a_change_that_nobody_sees_leaves_no_trace():
    def forward(n, F, x):
        q, k = x.chunk(2, dim=1)
        q *= 0.5
        return q @ k.mT

    graph = ir.DCE()(nncompile.trace(Own(forward), "f32[3, 8, 4]"))
    assert "concat" not in {node.op for node in graph.nodes}


REFUSED = {
    "shape": lambda n, x: x.add_(n.zeros(2, 1, 1)), "type": lambda n, x: x.long().add_(0.5),
    "truth": lambda n, x: (x > 0).add_(1), "item": lambda n, x: x.__setitem__(0, n.zeros(3)),
    "mask": lambda n, x: x.__setitem__(x > 0, n.zeros(3)),
    "mask shape": lambda n, x: x.__setitem__(n.zeros(5, 5) > 0, 1),
    "expanded": lambda n, x: x[:, :1].expand(3, 4).add_(1), "place": lambda n, x: x[7].zero_(),
    "fill": lambda n, x: x.fill_(x), "copy": lambda n, x: x[0].copy_(x),
    "scatter type": lambda n, x: x.scatter(0, n.zeros(1, 4).long(), n.zeros(1, 4).double()),
    "scatter place": lambda n, x: x.scatter(0, n.full((1, 4), 3), 1.0),
    "ids": lambda n, x: x.__setitem__([3], 0), "dtype": lambda n, x: x.__setitem__(
        [0], n.zeros(4).double()),
}


@pytest.mark.parametrize("function", REFUSED.values(), ids=REFUSED)
def test_changes_refused_as_in_torch(function):
    with pytest.raises((RuntimeError, IndexError)):
        function(torch, torch.from_numpy(draw(3, 4)))
    with pytest.raises(Error):
        function(nncompile, nncompile.Array(draw(3, 4)))


def test_what_may_be_a_copy():
    """torch's reshape is a view or a copy by the memory; who relies on one of them is told."""
    x = nncompile.Array(draw(3, 4))
    flat, seen = x.reshape(-1), x.view(-1)
    x += 1
    assert np.array_equal(seen.numpy(), x.numpy().ravel())
    with pytest.raises(Error, match="clone"):
        flat + 1
    other = x.flatten()
    other *= 2                                       # on its own it goes on
    assert other.shape == (12,)
    with pytest.raises(Error, match="clone"):
        x + 1


def test_parameters_are_changed_as_in_torch():
    for n in (torch, nncompile):
        layer = n.nn.Linear(3, 2)
        with pytest.raises((Error, RuntimeError), match=r"requires.* grad"):
            layer.weight += 1
        with pytest.raises((Error, RuntimeError), match=r"requires.* grad"):
            layer.weight[0].zero_()
        state = layer.state_dict()
        layer.weight.data[0] = 1
        layer.bias.data.copy_(n.ones(2)).mul_(2)
        with n.no_grad():
            layer.weight[1, 1:] = 5
            layer.weight.t()[0].clamp_(-0.0, 0.0)
        assert np.asarray(layer.weight.detach())[0].tolist() == [0, 1, 1]
        assert np.asarray(layer.weight.detach())[1].tolist() == [0, 5, 5]
        assert np.asarray(layer.bias.detach()).tolist() == [2, 2]
        assert np.array_equal(state["weight"], layer.weight.detach()), "it is the same memory"
        layer.weight.data = n.zeros(2, 3)
        layer.weight.requires_grad_(False).add_(1)
        assert np.asarray(layer.weight).sum() == 6


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_of_a_model_share_nothing(twin):
    layer = nn.Linear(2, 2)
    other = twin(layer)
    assert other.weight.requires_grad and other.weight._leaf is other.weight
    before = layer.weight.numpy().copy()
    other.weight.data.zero_()
    with pytest.raises(Error):
        other.weight.zero_()
    assert np.array_equal(layer.weight.numpy(), before) and not other.weight.numpy().any()


def test_switches_of_gradients():
    @nncompile.no_grad()
    def inside():
        return nncompile.is_grad_enabled()

    @nncompile.no_grad
    def bare():
        return nncompile.is_grad_enabled()

    assert not inside() and not bare() and nncompile.is_grad_enabled()
    with nncompile.inference_mode():
        assert not nncompile.is_grad_enabled()
        with nncompile.enable_grad():
            assert nncompile.is_grad_enabled()
    with nncompile.set_grad_enabled(False):
        assert not nncompile.is_grad_enabled()
    assert nncompile.is_grad_enabled()


def test_arrays_drawn_at_random():
    nncompile.manual_seed(3)
    first = [nncompile.randn(5), nncompile.rand(2, 2), nncompile.randint(3, (4,)),
             nncompile.randperm(6), nncompile.normal(0.0, 1.0, (3,)), nncompile.zeros(4).normal_(),
             nncompile.empty(3).uniform_(-1, 1), nncompile.bernoulli(nncompile.full((4,), 0.5))]
    nncompile.manual_seed(3)
    assert np.array_equal(first[0].numpy(), nncompile.randn(5).numpy())
    assert [a.type.dtype for a in first] == ["f32", "f32", "i64", "i64"] + ["f32"] * 4
    assert sorted(first[3].tolist()) == list(range(6))
    for draws in (lambda n, F, x: x + n.randn(2), lambda n, F, x: x.uniform_()):
        with pytest.raises(Error, match="draws at random"):
            nncompile.trace(Own(draws), "f32[2]")


def test_lazy_norms():
    for name, shape in (("LazyBatchNorm1d", (4, 3)), ("LazyBatchNorm1d", (4, 3, 5)),
                        ("LazyInstanceNorm1d", (4, 3, 5))):
        ours, theirs = (getattr(n.nn, name)(affine=True, track_running_stats=True)
                        for n in (nncompile, torch))
        assert repr(ours) == repr(theirs)
        x = draw(*shape)
        for _ in range(2):
            np.testing.assert_allclose(ours(x), theirs(torch.from_numpy(x)).detach(), 1e-5, 1e-6)
            assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(
                theirs.state_dict())
            ours, theirs = ours.eval(), theirs.eval()
    traced = nn.Sequential(nn.LazyBatchNorm1d()).eval()
    assert nncompile.trace(traced, "f32[B, 7]") and traced[0].num_features == 7
    with pytest.raises(Error):
        nn.LazyBatchNorm1d()(draw(3))


@pytest.mark.parametrize("p", [0, 0.5, 1, 2, 3, np.inf])
def test_pdist(p):
    for shape in ((5, 3), (1, 3), (0, 2), (4, 0)):
        x = draw(*shape)
        want = torch.pdist(torch.from_numpy(x), p)
        np.testing.assert_allclose(F.pdist(x, p), want, rtol=1e-5, atol=1e-6)


def test_halves_are_storage():
    ours, theirs = nn.Linear(30, 20), torch.nn.Linear(30, 20)
    for kind in ("half", "bfloat16"):
        state = getattr(copy.deepcopy(theirs), kind)().state_dict()
        rounded = {key: value.float().numpy() for key, value in state.items()}
        ours.load_state_dict(state)
        assert ours.weight.dtype == np.float32
        assert np.array_equal(ours.weight.numpy(), rounded["weight"])
        ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
        assert np.array_equal(getattr(ours, kind)().weight.numpy(), rounded["weight"])
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 3.3e38, 1e-40], np.float32)
    want = torch.from_numpy(special).bfloat16().float().numpy()
    ours = nn.ParameterList([nn.Parameter(special)]).bfloat16()
    assert np.array_equal(ours[0].numpy(), want, equal_nan=True)


def test_hooks_of_states():
    def told(n):
        class Counted(n.nn.Linear):
            def get_extra_state(self):
                return {"count": 3}

            def set_extra_state(self, state):
                heard.append(state)

        heard = []
        model = n.nn.Sequential(Counted(2, 1), n.nn.ReLU())
        model.register_state_dict_pre_hook(lambda m, prefix, keep: heard.append(("pre", prefix)))
        handle = model.register_state_dict_post_hook(
            lambda m, state, prefix, meta: state.__setitem__("more", 1))
        state = model.state_dict()
        handle.remove()
        assert "more" not in model.state_dict()

        def renamed(module, state, prefix, *rest):
            heard.append(prefix)
            state[prefix + "weight"] = state.pop(prefix + "old")

        model[0].register_load_state_dict_pre_hook(renamed)
        model.register_load_state_dict_post_hook(
            lambda m, keys: heard.append((list(keys[0]), list(keys[1]))))
        given = {key.replace("weight", "old"): value for key, value in state.items()}
        model.load_state_dict(given, strict=False)
        del given["0._extra_state"]
        heard.append(list(model.load_state_dict(given, strict=False)[0]))
        return list(state), heard

    assert told(nncompile) == told(torch)

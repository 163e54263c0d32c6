"""Gradients of eager arrays beside torch's: the same program runs with both modules."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import nncompile
from nncompile.errors import GradientError

torch = pytest.importorskip("torch", reason="torch, the oracle of gradients, is not installed")

A = np.array([[0.5, -1.25, 2.0], [1.5, 0.25, -0.75]])
B = np.array([[1.0, 2.0, -0.5], [0.3, -2.0, 0.1]])


def both(program, *arrays, requires=None):
    """Runs a program of the module and its leaves; returns the gradients in each library."""
    found = []
    for lib in (torch, nncompile):
        leaves = [lib.tensor(a.tolist(), dtype=lib.float64) for a in arrays]
        for i, leaf in enumerate(leaves):
            leaf.requires_grad_(requires is None or i in requires)
        result = program(lib, *leaves)
        if result is not None:
            result.backward()
        found.append([None if x.grad is None else x.grad.detach().numpy() for x in leaves])
    return found


def check(program, *arrays, requires=None):
    expected, ours = both(program, *arrays, requires=requires)
    for a, b in zip(expected, ours, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)


def _item(t, x, y):
    z = x * 1
    z[0, 1] = y[1, 1]
    return (z * y).sum()


def _slices(t, x, y):
    z = x.clone()
    z[:, 1:] *= y[:, 1:]
    z[0].add_(y[1])
    return (z ** 2).sum()


def _view_then_change(t, x, y):
    z = x * 2
    first, rows = z[0], z.t()
    z.mul_(y)
    return (first * 3).sum() + (rows ** 2).sum()


def _change_through_view(t, x, y):
    z = x * 2
    z.view(-1)[2:4] = y.view(-1)[:2]
    return (z * z).sum()


def _masked(t, x, y):
    z = x * 1
    z[y > 0] = 7
    return (z ** 3).sum()


def _detached(t, x, y):
    return (x.detach() * y + x * y.detach()).sum()


def _no_grad(t, x, y):
    with t.no_grad():
        z = x * y
    return (z * x).sum()


def _shared(t, x, y):
    z = x * y
    for _ in range(4):
        z = z + z * x
    return z.sum()


def _zeros_filled(t, x, y):
    z = t.zeros(4, 3, dtype=t.float64)
    z[:2] = x
    z[2:] = y * 2
    return (z * z).mean()


def _in_place_chain(t, x, y):
    z = x.sin()
    z = z * 1
    z.add_(y).clamp_(-0.5, 1).mul_(2)
    return z.sum()


PROGRAMS = {
    "arithmetic": lambda t, x, y: (x * y + x / y - y).sum(),
    "broadcast": lambda t, x, y: (x * y[:1] + y[:, :1] / (x + 10)).sum(),
    "products": lambda t, x, y: (x @ y.t()).tanh().sum(),
    "powers": lambda t, x, y: ((x ** 2) ** 1.5 + 2 ** y + (x.abs() + 1) ** y).sum(),
    "functions": lambda t, x, y: (x.sin() * y.exp() + (x.abs() + 1).log().sqrt() +
                                  t.sigmoid(y) + t.erf(x) + y.atan()).sum(),
    "kinks": lambda t, x, y: (t.relu(x) + y.abs() + t.maximum(x, y) + x.clamp(-1, 0.25)).sum(),
    "softmax": lambda t, x, y: (t.softmax(x, 1) * y + t.log_softmax(y, 0) * x).sum(),
    "reductions": lambda t, x, y: x.mean() + y.prod() + x.amax(1).sum() + y.var() + x.norm(),
    "max": lambda t, x, y: x.max(1).values.sum() + y.min(0)[0].sum() + x.max(),
    "views": lambda t, x, y: (x.t().reshape(2, 3) * y.flip(1) + x[:, [2, 0, 2]]).sum(),
    "joins": lambda t, x, y: (t.cat([x, y, x], 1) ** 2).sum() + t.stack([x, y]).prod(),
    "where": lambda t, x, y: t.where(x > y, x * y, y / x).sum(),
    "gather": lambda t, x, y: x.gather(1, t.tensor([[0, 2], [1, 1]])).pow(2).sum() + y[1, -1],
    "cumsum": lambda t, x, y: (x.cumsum(1) * y.cumprod(0)).sum(),
    "sorted": lambda t, x, y: (x.sort(1).values * y).sum() + y.topk(2).values.prod(),
    "casts": lambda t, x, y: (x.float() * y.float()).double().sum(),
    "einsum": lambda t, x, y: t.einsum("ij,kj->ik", x, y).square().sum(),
    "padded": lambda t, x, y: (t.nn.functional.pad(x, (1, 2)) ** 2).sum() + y.sum(),
    "item": _item, "slices": _slices, "view then change": _view_then_change,
    "change through a view": _change_through_view, "masked": _masked, "detached": _detached,
    "no_grad": _no_grad, "shared": _shared, "zeros filled": _zeros_filled,
    "in place": _in_place_chain,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_gradients_are_torchs(name):
    check(PROGRAMS[name], A, B)


def test_a_constant_gets_no_gradient():
    check(lambda t, x, y: (x * y).sum(), A, B, requires={0})
    check(lambda t, x, y: (x * y).sum(), A, B, requires={1})


def test_gradients_add_up_over_backwards():
    def program(t, x, y):
        (x * y).sum().backward()
        (x * x).sum().backward()
        z = (x * y).sum()
        z.backward(retain_graph=True)
        z.backward()
    check(program, A, B)


def test_a_gradient_is_given_for_what_is_no_scalar():
    def program(t, x, y):
        (x * y).backward(t.ones_like(x) * 3)
        t.autograd.backward([x * 2, y.sum()], [x.detach(), None])
    check(program, A, B)
    x = nncompile.tensor(A, requires_grad=True)
    with pytest.raises(RuntimeError, match="only for scalar outputs"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        (x * 2).backward(nncompile.ones(2))


def test_only_the_inputs_that_are_named_get_one():
    def program(t, x, y):
        z = x * y
        z.sum().backward(inputs=[y])
    check(program, A, B)


def test_gradients_of_gradients():
    def penalty(t, x, y):
        z = t.tanh(x @ y.t()).sum()
        g, = t.autograd.grad(z, x, create_graph=True)
        return (g ** 2).sum() + z
    check(penalty, A, B)

    def third(t, x, y):
        z = (x ** 4 * y).sum()
        for _ in range(2):
            z = t.autograd.grad(z, x, create_graph=True)[0].sum()
        return z
    check(third, A, B)


def test_grad_returns_and_changes_nothing():
    for lib in (torch, nncompile):
        x, y = (lib.tensor(a.tolist(), requires_grad=True) for a in (A, B))
        gx, gy = lib.autograd.grad((x * y).sum(), [x, y])
        assert x.grad is None
        np.testing.assert_allclose(gx.numpy(), B, rtol=1e-6)
        np.testing.assert_allclose(gy.numpy(), A, rtol=1e-6)
        with pytest.raises(RuntimeError, match="not have been used"):
            lib.autograd.grad((x * 2).sum(), [x, y])
        assert lib.autograd.grad((x * 2).sum(), [x, y], allow_unused=True)[1] is None
        zeros = lib.autograd.grad((x * 2).sum(), [y], allow_unused=True, materialize_grads=True)[0]
        assert not zeros.numpy().any()


def test_hooks_and_retained_gradients():
    def program(t, x, y):
        z = x * y
        z.retain_grad()
        calls = []
        handle = z.register_hook(calls.append)
        z.register_hook(lambda g: g * 2)
        x.register_hook(lambda g: g + 1)
        z.sum().backward(retain_graph=True)
        handle.remove()
        z.sum().backward()
        assert len(calls) == 1
        np.testing.assert_allclose(calls[0].numpy(), np.ones((2, 3)))
        np.testing.assert_allclose(z.grad.numpy(), np.full((2, 3), 4.0))
    check(program, A, B)
    done = []
    x = nncompile.tensor(A, requires_grad=True)
    x.register_post_accumulate_grad_hook(lambda leaf: done.append(leaf.grad.sum().item()))
    (x * 2).sum().backward()
    assert done == [12.0]


@pytest.mark.parametrize(("what", "message"), [
    (lambda t, x, y: [z := (x * y).sum(), z.backward(), z.backward()], "second time"),
    (lambda t, x, y: [z := x.exp(), z.add_(1), z.sum().backward()], "modified by an inplace"),
    (lambda t, x, y: [z := y * 1, w := x * z, z.mul_(2), w.sum().backward()],
     "modified by an inplace"),
    (lambda t, x, y: x.add_(1), "leaf Variable"),
    (lambda t, x, y: x[0].zero_(), "leaf Variable"),
    (lambda t, x, y: (x.detach() * 2).sum().backward(), "does not require grad"),
    (lambda t, x, y: setattr(x * 2, "requires_grad", False), "leaf"),
    (lambda t, x, y: t.tensor([1, 2]).requires_grad_(), "floating point"),
    (lambda t, x, y: t.ones(2).register_hook(print), "doesn't require gradient"),
])
def test_what_torch_refuses_is_refused_alike(what, message):
    for lib in (torch, nncompile):
        x, y = (lib.tensor(a.tolist(), requires_grad=True) for a in (A, B))
        with pytest.raises(RuntimeError, match=message):
            what(lib, x, y)


def test_a_value_that_was_changed_but_is_not_needed_is_no_obstacle():
    def program(t, x, y):
        z = x + y
        w = z + 1
        z.mul_(3)
        return (w + z).sum()
    check(program, A, B)


def test_a_parameter_that_a_step_changed_is_not_used_for_the_old_gradient():
    layer = nncompile.nn.Linear(3, 2)
    x = nncompile.tensor(A.astype("float32"), requires_grad=True)
    loss = (layer(x) ** 2).sum()
    with nncompile.no_grad():
        layer.weight.mul_(2)
    with pytest.raises(GradientError, match="modified by an inplace operation"):
        loss.backward()


def test_a_view_of_a_parameter_stays_one():
    def program(t, x, y):
        view = x.t()
        (view * y.t()).sum().backward()
        with t.no_grad():
            x.mul_(3)
        (view * view).sum().backward()
    check(program, A, B)


def test_flags_of_arrays():
    for lib in (torch, nncompile):
        x = lib.tensor(A.tolist(), requires_grad=True)
        y = (x * 2).sum()
        assert x.is_leaf and x.requires_grad and x.grad_fn is None
        assert not y.is_leaf and y.requires_grad and y.grad_fn is not None
        assert not (x > 0).requires_grad and not x.argmax().requires_grad
        assert not x.detach().requires_grad and not x.data.requires_grad
        with lib.no_grad():
            assert not (x * 2).requires_grad
        assert y.grad_fn.next_functions[0][0] is not None
        z = x * 2
        z.detach_()
        assert z.is_leaf and not z.requires_grad
        assert lib.zeros(2, requires_grad=True).requires_grad
        assert not lib.ones_like(x).requires_grad
    assert nncompile.tensor(A, requires_grad=True).mul(2).grad_fn.name() == "MulBackward0"


def test_the_numbers_of_a_detached_array_are_shared():
    for lib in (torch, nncompile):
        x = lib.tensor(A.tolist(), requires_grad=True)
        d = x.detach()
        d[0, 0] = 9
        assert x[0, 0].item() == 9
        y = x * 2
        y.detach()[0, 0] = 5
        assert y[0, 0].item() == 5 and y.requires_grad


def functions(lib):
    class Square(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x, y, scale):
            ctx.save_for_backward(x, y)
            ctx.scale = scale
            return x * x * scale, x + y

        @staticmethod
        def backward(ctx, g, h):
            x, _ = ctx.saved_tensors
            gx = 2 * ctx.scale * x * g + h
            return gx, h if ctx.needs_input_grad[1] else None, None

    class Through(lib.autograd.Function):
        @staticmethod
        def forward(x):
            return x.round()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.shape = inputs[0].shape

        @staticmethod
        def backward(ctx, g):
            assert tuple(g.shape) == tuple(ctx.shape)
            return g
    return Square, Through


def test_functions_with_a_backward_of_their_own():
    def program(t, x, y):
        square, through = functions(t)
        u, v = square.apply(x, y, 3.0)
        return (u * y + v).sum() + (through.apply(x) * y).sum() + square.apply(x, y, 2.0)[0].sum()
    check(program, A, B)
    check(program, A, B, requires={0})

    def twice(t, x, y):
        square, _ = functions(t)
        g, = t.autograd.grad(square.apply(x, y, 3.0)[0].sum(), x, create_graph=True)
        return (g * y).sum()
    check(twice, A, B)


def test_a_backward_that_returns_too_little_says_so():
    for lib in (torch, nncompile):
        class Wrong(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x, y):
                return x * y

            @staticmethod
            def backward(ctx, g):
                return g
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        with pytest.raises(RuntimeError, match="incorrect number of gradients"):
            Wrong.apply(x, x).sum().backward()


def test_modules_and_state():
    for lib in (torch, nncompile):
        net = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.ReLU(), lib.nn.Linear(4, 1))
        net[0].requires_grad_(False)
        net(lib.tensor(A.tolist())).sum().backward()
        assert net[0].weight.grad is None and net[2].weight.grad is not None
        again = copy.deepcopy(net)
        assert again[0].weight.requires_grad is False and again[2].weight.requires_grad
        pickle.loads(pickle.dumps(net))
        net.zero_grad()
        assert net[2].weight.grad is None


def test_the_tape_is_freed_with_its_results():
    x = nncompile.tensor(A, requires_grad=True)
    y = x * 2
    tape = weakref.ref(y._payload)
    z = y.sum()
    del y
    assert tape() is not None
    z.backward()
    del z
    gc.collect()
    assert tape() is None


def test_a_long_chain_needs_no_deep_stack():
    x = nncompile.tensor([1.0], requires_grad=True)
    y = x
    for _ in range(5000):
        y = y + 1
    y.sum().backward()
    assert x.grad.item() == 1.0


def test_a_compiled_model_is_the_same_whatever_requires_a_gradient():
    net = nncompile.nn.Sequential(nncompile.nn.Linear(3, 4), nncompile.nn.Tanh())
    x = A.astype("float32")
    fast = nncompile.compile(net, x)
    np.testing.assert_allclose(fast(x), net(x), rtol=1e-6, atol=1e-6)
    assert isinstance(net(x), np.ndarray)

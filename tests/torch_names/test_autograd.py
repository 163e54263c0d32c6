"""torch.autograd.Function and Variable: the forward alone, beside torch."""
from __future__ import annotations

import numpy as np
import pytest

import nncompile
import nncompile.autograd
from nncompile import nn

torch = pytest.importorskip("torch", reason="the oracle of this file")
LIBRARIES = {"ours": nncompile, "torch": torch}


def functions(torch):
    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, factor):
            ctx.save_for_backward(x)
            ctx.factor = factor
            assert not torch.is_grad_enabled() and ctx.saved_tensors is not None
            result = x * factor
            ctx.mark_non_differentiable(result)
            ctx.set_materialize_grads(False)
            return result

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.factor, None

    class WithContext(torch.autograd.Function):
        @staticmethod
        def forward(x, y):
            return x + y, x - y

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, _ = inputs
            ctx.save_for_backward(x, *output)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, *grads):
            raise AssertionError

    class InPlace(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x = x.clone()
            x.relu_()
            assert ctx.needs_input_grad[0] in (True, False)
            return x

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))

        def forward(self, x):
            a, b = WithContext.apply(x, self.weight)
            return InPlace.apply(a) + Scaled.apply(b, 2.0)

    return Model()


@pytest.mark.parametrize("batch", [1, 3, 17])
def test_the_forward_of_a_function(batch):
    x = np.random.default_rng(0).standard_normal((batch, 3)).astype(np.float32)
    wanted = functions(torch)(torch.tensor(x)).detach().numpy()
    model = functions(nncompile)
    np.testing.assert_array_equal(model(x), wanted)
    np.testing.assert_array_equal(nncompile.compile(model, "f32[B, 3]")(x), wanted)


def test_a_function_outside_of_a_model():
    class Twice(nncompile.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            assert isinstance(x, nncompile.Tensor)
            return x * 2

    assert Twice.apply(nncompile.ones(2)).tolist() == [2, 2]
    assert isinstance(Twice.apply(np.ones(2)), np.ndarray)
    with pytest.raises(nncompile.Error, match=r"call Twice.apply\(...\)"):
        Twice()(nncompile.ones(2))
    with pytest.raises(nncompile.Error, match="no static method `forward`"):
        nncompile.autograd.Function.apply(1)


def test_variable():
    x = nncompile.ones(2)
    made = nncompile.autograd.Variable(x, requires_grad=True)
    assert made.requires_grad and not x.requires_grad
    made.data.fill_(3)
    assert x.tolist() == [3, 3]
    assert isinstance(x, nncompile.autograd.Variable)
    assert not isinstance(1, nncompile.autograd.Variable)
    with pytest.raises(TypeError, match="Variable takes an array, not an object of type list"):
        nncompile.autograd.Variable([1.0])

    class Model(nn.Module):
        def forward(self, x):
            return nncompile.autograd.Variable(x, volatile=True) * 2

    assert [n.op for n in nncompile.trace(Model(), "f32[B]").nodes] == ["detach", "mul"]


class Squared(nncompile.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * x

    @staticmethod
    def backward(ctx, grad):
        raise AssertionError("nobody asks for this gradient")


class Features(nn.Module):
    """A function of one's own on the input, on a frozen weight, or on what is trained."""

    def __init__(self, of):
        super().__init__()
        self.frozen, self.last, self.of = nn.Linear(3, 3), nn.Linear(3, 2), of
        self.frozen.requires_grad_(False)

    def forward(self, x):
        if self.of == "output":
            return Squared.apply(self.last(x))
        if self.of == "weight":
            return x @ Squared.apply(self.last.weight).T
        x = self.frozen(x) if self.of == "frozen" else x
        x = self.last(x).detach() @ self.last.weight if self.of == "detached" else x
        return self.last(Squared.apply(x) if self.of != "detached" else Squared.apply(x.detach()))


@pytest.mark.parametrize("of", ["input", "frozen", "detached", "output", "weight"])
def test_a_compiled_step_has_the_forward_of_a_function_whose_backward_is_not_needed(of):
    x = np.random.default_rng(0).standard_normal((5, 3)).astype("f4")
    y = np.ones((5, 2), "f4")
    results = []
    for compiled in (False, True):
        nncompile.manual_seed(0)
        model = Features(of)
        optimizer = nncompile.optim.SGD(model.parameters(), lr=0.1)
        if compiled and of in ("output", "weight"):
            with pytest.raises(nncompile.Error, match="Squared has a backward of its own"):
                nncompile.compile(model, x, y, loss=nn.MSELoss(), optimizer=optimizer)
            return
        if compiled:
            step = nncompile.compile(model, x, y, loss=nn.MSELoss(), optimizer=optimizer)
            step(x, y)
        elif of not in ("output", "weight"):
            out = model(nncompile.from_numpy(x))
            nn.functional.mse_loss(out, nncompile.from_numpy(y)).backward()
            optimizer.step()
        results.append(model.last.weight.detach().numpy().copy())
    np.testing.assert_allclose(*results, 1e-5)

"""torch.autograd's further names: derivatives as arrays, checks of gradients; what loops for half
precision call.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import nncompile
from nncompile.array import Array
from nncompile.errors import GradientError

torch = pytest.importorskip("torch")
X, Y = np.random.default_rng(0).standard_normal((2, 2, 3))
V, W = np.random.default_rng(1).standard_normal((2, 2, 3))


def _two(x: Any, y: Any) -> Any:
    return x.sin() * y, (x * y).sum(1)


def _one(x: Any) -> Any:
    return x.exp() @ x.T


def _number(x: Any, y: Any) -> Any:
    return (x**2 * y.sin()).sum() + x.prod()


def _unused(x: Any, y: Any) -> Any:
    return x * 2


def _beside(call: Callable[[Any, Any], Any]) -> None:
    def flat(found: Any) -> list[Any]:
        return [a for each in found for a in flat(each)] if isinstance(found, tuple) else [found]

    ours, theirs = (flat(call(lib, lib.autograd.functional)) for lib in (nncompile, torch))
    for mine, wanted in zip(ours, theirs, strict=True):
        assert mine.requires_grad == wanted.requires_grad
        np.testing.assert_allclose(mine.detach().numpy(), wanted.detach().numpy(), rtol=1e-12,
                                   atol=1e-14)


def arrays(lib: Any, *given: Any) -> tuple[Any, ...]:
    return tuple(lib.from_numpy(each.copy()) for each in given)


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "jacobian of one": lambda lib, f: f.jacobian(_one, *arrays(lib, X)),
    "jacobian of two": lambda lib, f: f.jacobian(_two, arrays(lib, X, Y)),
    "jacobian of one that is not used": lambda lib, f: f.jacobian(_unused, arrays(lib, X, Y)),
    "jacobian with a graph": lambda lib, f: f.jacobian(
        _one, lib.from_numpy(X.copy()).requires_grad_(), create_graph=True),
    "hessian of one": lambda lib, f: f.hessian(lambda x: (x**3).sum(), *arrays(lib, X)),
    "hessian of two": lambda lib, f: f.hessian(_number, arrays(lib, X, Y)),
    "vjp": lambda lib, f: f.vjp(_one, *arrays(lib, X), *arrays(lib, V[:, :2])),
    "vjp of two": lambda lib, f: f.vjp(_two, arrays(lib, X, Y), arrays(lib, V, V[:, 0])),
    "vjp of a number": lambda lib, f: f.vjp(_number, arrays(lib, X, Y)),
    "jvp": lambda lib, f: f.jvp(_one, *arrays(lib, X), *arrays(lib, V)),
    "jvp of two": lambda lib, f: f.jvp(_two, arrays(lib, X, Y), arrays(lib, V, W)),
    "vhp": lambda lib, f: f.vhp(_number, arrays(lib, X, Y), arrays(lib, V, W)),
    "hvp": lambda lib, f: f.hvp(_number, arrays(lib, X, Y), arrays(lib, V, W)),
}


@pytest.mark.parametrize("name", CALLS)
def test_functional(name: str) -> None:
    _beside(CALLS[name])


def test_functional_refuses() -> None:
    functional = nncompile.autograd.functional
    x, y = arrays(nncompile, X, Y)
    with pytest.raises(GradientError, match="strict"):
        functional.jacobian(_unused, (x, y), strict=True)
    with pytest.raises(GradientError, match="one element"):
        functional.hessian(_one, x)
    with pytest.raises(GradientError, match="shapes"):
        functional.vjp(_one, x, x)
    with pytest.raises(GradientError, match="needs v"):
        functional.jvp(_one, x)
    with pytest.raises(TypeError, match="Tensors"):
        functional.jacobian(_one, 3.0)


class Wrong(nncompile.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * x

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] * 3


def test_gradcheck() -> None:
    from nncompile.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
    x, y = (a.requires_grad_() for a in arrays(nncompile, X, Y))
    assert gradcheck(_two, (x, y))
    assert gradcheck(_one, x)
    assert gradgradcheck(_number, (x, y))
    assert gradgradcheck(lambda x: _two(x, x), (x,))
    assert not gradcheck(Wrong.apply, (x,), raise_exception=False)
    with pytest.raises(GradcheckError, match="mismatch"):
        gradcheck(Wrong.apply, (x,))
    np.testing.assert_array_equal(x.numpy(), X)
    with pytest.raises(GradientError, match="at least one input"):
        gradcheck(_one, x.detach())


@pytest.mark.parametrize("name", ["autograd.gradcheck", "autograd.variable",
                                  "nn.utils.spectral_norm", "nn.utils.weight_norm"])
def test_a_function_keeps_its_name_when_the_module_of_that_name_is_imported(name: str) -> None:
    package, _, function = name.rpartition(".")
    for library in "nncompile", "torch":
        import_module(f"{library}.{name}")
        assert callable(getattr(import_module(f"{library}.{package}"), function))


def test_a_loop_for_half_precision() -> None:
    """autocast and the scaler change nothing; nor does the detection of anomalies."""
    amp = nncompile.amp
    found = []
    for scaled in (False, True):
        nncompile.manual_seed(0)
        model = nncompile.nn.Linear(3, 1)
        optimizer = nncompile.optim.SGD(model.parameters(), lr=0.1)
        scaler = amp.GradScaler("cuda", enabled=scaled)
        for _ in range(3):
            optimizer.zero_grad()
            with nncompile.autocast("cpu", enabled=scaled), nncompile.autograd.detect_anomaly():
                loss = model(Array(X.astype(np.float32))).square().mean()
            if scaled:
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                nncompile.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
            else:
                loss.backward()
                nncompile.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
        found.append(model.weight.detach().numpy().copy())
        assert scaler.state_dict() == {} and scaler.get_scale() == 1 and not scaler.is_enabled()
    np.testing.assert_array_equal(*found)
    assert nncompile.cuda.amp.GradScaler is nncompile.GradScaler is amp.GradScaler


def test_code_of_the_users_own_has_the_callers_floating_point_settings():
    seen = []

    class Noting(nncompile.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            seen.append(np.geterr())
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    class Halved(nncompile.nn.Module):
        def forward(self, x):
            seen.append(np.geterr())
            return x / 2

        def right_inverse(self, x):
            seen.append(np.geterr())
            return x * 2

    with np.errstate(over="raise", invalid="call"):
        outside = np.geterr()
        Noting.apply(nncompile.ones(3))
        layer = nncompile.nn.Linear(2, 2)
        nncompile.nn.utils.parametrize.register_parametrization(layer, "weight", Halved())
        layer(nncompile.ones(1, 2))
    assert len(seen) >= 3 and all(each == outside for each in seen)

"""Clipping of gradients, and parameters as one vector, beside torch's."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import nncompile
from nncompile import nn
from nncompile.nn import utils

SHAPES = ((4, 3), (5,), (), (0, 2))


def pairs(scale: float = 1.0, dtype: Any = np.float64) -> tuple[list[Any], list[Any]]:
    draws = np.random.default_rng(0)
    ours, theirs = [], []
    for shape in SHAPES:
        p, g = (np.asarray(scale * draws.standard_normal(shape), dtype) for _ in "pg")
        ours.append(nn.Parameter(p.copy()))
        theirs.append(torch.nn.Parameter(torch.tensor(p)))
        ours[-1].grad, theirs[-1].grad = nncompile.tensor(g), torch.tensor(g)
    ours.append(nn.Parameter(np.ones(3)))        # without a gradient
    theirs.append(torch.nn.Parameter(torch.ones(3)))
    return ours, theirs


def same_gradients(ours: list[Any], theirs: list[Any], tolerance: float = 1e-14) -> None:
    for p, q in zip(ours, theirs, strict=True):
        assert (p.grad is None) == (q.grad is None)
        if q.grad is not None:
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), tolerance)


@pytest.mark.parametrize("norm_type", [1, 2, 2.0, 3.5, 0.5, float("inf")])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e3])
def test_the_norm_of_all_gradients(norm_type: float, max_norm: float) -> None:
    for dtype, tolerance in (np.float64, 1e-13), (np.float32, 1e-5):
        ours, theirs = pairs(dtype=dtype)
        if np.isinf(norm_type):                  # nothing has no largest number
            del ours[3], theirs[3]
        a = utils.clip_grad_norm_(ours, max_norm, norm_type)
        b = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
        assert a.shape == () and a.item() == pytest.approx(b.item(), rel=tolerance)
        same_gradients(ours, theirs, tolerance)
        assert utils.get_total_norm([p.grad for p in ours if p.grad is not None], norm_type).item(
            ) == pytest.approx(min(max_norm, b.item()), rel=1e-4, abs=1e-6)


def test_its_parts_and_its_arguments() -> None:
    ours, theirs = pairs()
    assert utils.clip_grad_norm_(iter(ours), 1.0).item() == pytest.approx(
        torch.nn.utils.clip_grad_norm_(iter(theirs), 1.0).item())
    utils.clip_grads_with_norm_(ours, 0.5, nncompile.tensor(2.0))
    torch.nn.utils.clip_grads_with_norm_(theirs, 0.5, torch.tensor(2.0))
    same_gradients(ours, theirs)
    assert utils.clip_grad_norm_(ours[0], 1e-3).item() == pytest.approx(
        torch.nn.utils.clip_grad_norm_(theirs[0], 1e-3).item())
    same_gradients(ours, theirs)
    assert utils.clip_grad_norm_([], 1.0).item() == 0 == utils.clip_grad_norm_(ours[-1], 1.0).item()
    with pytest.warns(UserWarning, match="empty generator"):
        utils.clip_grad_norm_((p for p in ()), 1.0)
    with pytest.warns(FutureWarning, match="deprecated"):
        utils.clip_grad_norm(ours, 1.0)


def test_a_gradient_keeps_its_array() -> None:
    p = nn.Parameter(np.ones(2))
    p.grad = kept = nncompile.tensor([3.0, 4.0], dtype=nncompile.float64)
    assert utils.clip_grad_norm_([p], 1.0).item() == 5
    assert p.grad is kept and np.allclose(kept.numpy(), [0.6, 0.8])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite(value: float) -> None:
    for norm_type in (2.0, float("inf")):
        ours, theirs = pairs()
        del ours[3], theirs[3]
        ours[1].grad[0], theirs[1].grad[0] = value, value
        with pytest.raises(ValueError, match="non-finite"):
            utils.clip_grad_norm_(ours, 1.0, norm_type, error_if_nonfinite=True)
        with pytest.raises(RuntimeError, match="non-finite"):
            torch.nn.utils.clip_grad_norm_(theirs, 1.0, norm_type, error_if_nonfinite=True)
        utils.clip_grad_norm_(ours, 1.0, norm_type)
        torch.nn.utils.clip_grad_norm_(theirs, 1.0, norm_type)
        same_gradients(ours, theirs)


def test_the_value_of_each_number() -> None:
    ours, theirs = pairs(3.0)
    ours[1].grad[0], theirs[1].grad[0] = np.nan, np.nan
    utils.clip_grad_value_(iter(ours), 1)
    torch.nn.utils.clip_grad_value_(iter(theirs), 1)
    same_gradients(ours, theirs, 0)
    utils.clip_grad_value_(ours[0], 0.1)
    assert abs(ours[0].grad.numpy()).max() == 0.1


def test_parameters_as_a_vector() -> None:
    ours, theirs = pairs()
    a, b = utils.parameters_to_vector(ours), torch.nn.utils.parameters_to_vector(theirs)
    assert np.array_equal(a.detach().numpy(), b.detach().numpy())
    utils.vector_to_parameters(a * 2, ours)
    torch.nn.utils.vector_to_parameters(b * 2, theirs)
    for p, q in zip(ours, theirs, strict=True):
        assert np.array_equal(p.detach().numpy(), q.detach().numpy())

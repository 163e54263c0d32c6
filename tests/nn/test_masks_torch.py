"""What masks of data select and write, in a trace: torch's, for all data, or an error."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ir
import nncompile
from nncompile import nn

torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")


def model_of(forward: Callable[..., Any]) -> nn.Module:
    class Model(nn.Module):
        def forward(self, *args: Any) -> Any:
            return forward(nncompile, *args)
    return Model().eval()


def scaled(n: Any, x: Any, y: Any) -> Any:
    x = x.clone()
    x[x > 0] *= 2
    return x


def every_operator(n: Any, x: Any, y: Any) -> Any:
    x, mask = x.clone(), y > 0.5
    x[mask] += 1
    x[mask] -= 0.25
    x[mask] /= 3
    x[mask] **= 2
    x[mask] = -x[mask] + 1 / (x[mask].abs() + 1) - n.exp(x[mask]) * np.float64(2.0)
    return x


def one_piece_each(n: Any, x: Any, y: Any) -> Any:
    """Piecewise functions, as in normalising flows."""
    outputs = n.zeros_like(x)
    right, left = x > 0.5, x < -0.5
    middle = ~(right | left)
    outputs[middle] = n.tanh(x[middle])
    outputs[right] = 0.3 * n.log(2.0 * x[right])
    outputs[left] = 0.3 * -n.log(-2.0 * x[left])
    slope = n.zeros_like(x)
    slope[middle] = n.log(1 - outputs[middle] ** 2)
    slope[right] = n.log(0.3 / x[right])
    slope[left] = n.log(-0.3 / x[left])
    return outputs + slope


def rows(n: Any, x: Any, y: Any) -> Any:
    x, mask = x.clone(), x.sum(-1) > 0
    x[mask] = x[mask] * 2 + 1
    x[x.sum(-1) < 0] = 0
    return x


def computed_twice(n: Any, x: Any, y: Any) -> Any:
    x = x.clone()
    x[y < 0] = x[y < 0] * 0.1
    return x


def of_another(n: Any, x: Any, y: Any) -> Any:
    """A selection is a copy: a later change of x does not change it."""
    x, z, mask = x.clone(), y.clone(), y > x
    kept = x[mask]
    x[mask] = y[mask] + kept
    z[mask] = kept * y[mask]
    return x - z


def of_a_view(n: Any, x: Any, y: Any) -> Any:
    x = x.clone()
    part = x[:, 1:]
    part[part > 0] -= 1
    return x


def by_an_array_of_one(n: Any, x: Any, y: Any) -> Any:
    x, scale = x.clone(), y.sum()
    x[x > 0] = scale * x[x > 0] - scale
    return x


def with_infinities(n: Any, x: Any, y: Any) -> Any:
    x = (x / 0).clone()
    x[x.isfinite()] = 7
    x[n.isnan(x)] = n.nan_to_num(x[n.isnan(x)] * 0)
    return x


def of_integers(n: Any, x: Any, y: Any) -> Any:
    ids = (x * 3).long()
    ids[ids < 0] += 10
    ids[ids > 11] = ids[ids > 11].clamp(max=12)
    return ids


FORWARDS = [scaled, every_operator, one_piece_each, rows, computed_twice, of_another, of_a_view,
            by_an_array_of_one, with_infinities, of_integers]


@pytest.mark.parametrize("forward", FORWARDS, ids=lambda f: f.__name__)
def test_what_a_mask_chose_is_written_where_it_chose(forward: Callable[..., Any]) -> None:
    model = model_of(forward)
    fast = nncompile.compile(model, "f32[B, 6]", "f32[B, 6]", check=forward is not with_infinities)
    for size in (0, 1, 2, 33):
        x, y = (np.random.default_rng(size + i).standard_normal((size, 6)).astype(np.float32)
                for i in range(2))
        x[:1, :2] = 0
        expected = forward(torch, torch.from_numpy(x), torch.from_numpy(y)).numpy()
        interpreted, = ir.interpret(fast.ir("traced"), [x, y])
        for got in (fast(x, y), np.asarray(model(x, y)), interpreted):
            assert got.dtype == expected.dtype and got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def write(x: Any, mask: Any, value: Any) -> Any:
    x = x.clone()
    x[mask] = value
    return x


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "returned": (lambda x: x[x > 0], "forward returns x.mask. of f32.B, 6., which selects"),
    "sum": (lambda x: x[x > 0].sum(), "sum is not possible, but elementwise functions"),
    "shape": (lambda x: x[x > 0].shape, "shape is not possible"),
    "len": (lambda x: len(x[x > 0]), r"len\(\) is not possible"),
    "if": (lambda x: x if x[x > 0] else -x, "`if` is not possible"),
    "loop": (lambda x: [*x[x > 0]], "a loop over it is not possible"),
    "softmax": (lambda x: nncompile.softmax(x[x > 0], 0), "compute with where.mask, x, other"),
    "relu": (lambda x: nn.functional.relu(x[x > 0]), "compute with where.mask, x, other"),
    "with an array": (lambda x: x[x > 0] + x[0], "add with an array is not possible"),
    "array first": (lambda x: x[0] + x[x > 0], "add with an array is not possible"),
    "another mask": (lambda x: x[x > 0] + x[x < 0], "elements that another mask chose"),
    "written by another": (lambda x: write(x, x > 0, x[x < 0]), "another mask chooses"),
    "written to a slice": (lambda x: write(x, slice(0, 2), x[x < 0]), "another mask chooses"),
    "another shape": (lambda x: write(x[:, :1].expand(-1, 6), x[:, 0] > 0, x[x[:, 0] > 0][:]),
                      "an index into it"),
    "another dtype": (lambda x: write(x, x > 0, x[x > 0].long()), "does not fit into"),
    "integers by 0": (lambda x: x.long()[x > 0] // 2, "a 0 outside of the mask"),
    "too short": (lambda x: x[x[:, :2] > 0], "does not fit"),
    "beside other items": (lambda x: x[x[:, 0] > 0, 1:], "selects as many elements as the data"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_the_number_of_chosen_elements_is_refused(name: str) -> None:
    forward, message = REFUSED[name]
    with pytest.raises(nncompile.TraceError, match=message) as error:
        nncompile.trace(model_of(lambda n, x: forward(x)), "f32[B, 6]")
    assert "test_masks_torch.py" in str(error.value)

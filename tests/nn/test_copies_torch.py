"""Arrays made of other arrays: whether the new one has a gradient, beside torch."""
from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

import nncompile

MAKERS: dict[str, Callable[[ModuleType, Any], Any]] = {
    "tensor": lambda n, x: n.tensor(x),
    "tensor of another dtype": lambda n, x: n.tensor(x, dtype=n.float64),
    "tensor with a gradient of its own": lambda n, x: n.tensor(x, requires_grad=True),
    "new_tensor": lambda n, x: x.new_tensor(x),
    "new_tensor of another dtype": lambda n, x: x.new_tensor(x, dtype=n.int64),
    "tensor of numbers": lambda n, x: n.tensor([x[0].item(), 1.0]),
    "as_tensor": lambda n, x: n.as_tensor(x),
    "as_tensor of another dtype": lambda n, x: n.as_tensor(x, dtype=n.float64),
    "clone": lambda n, x: x.clone(),
    "detach": lambda n, x: x.detach(),
    "data": lambda n, x: x.data,
    "to": lambda n, x: x.to(n.int64),
    "Parameter": lambda n, x: n.nn.Parameter(x),
    "zeros_like": lambda n, x: n.zeros_like(x),
    "stack": lambda n, x: n.stack([x, x]),
}


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_whether_what_is_made_of_an_array_has_a_gradient(name: str, computed: bool) -> None:
    def made(n: ModuleType) -> tuple[bool, bool, list[float], str]:
        x = n.nn.Parameter(n.tensor([1.5, -2.0]))
        y = MAKERS[name](n, x * 2 if computed else x)
        return (y.requires_grad, y.is_leaf, y.detach().tolist(), str(y.dtype))
    assert made(nncompile) == made(torch)

"""What makes eager steps quick changes no result: types that are known to be allowed, rows of
several small parameters.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import nncompile
from ir import Error
from ir.float_mode import StandardFloats
from nncompile import optim
from nncompile.array.core import apply
from nncompile.errors import GradientError
from nncompile.nn import Parameter
from nncompile.optim.rule import Rule

_OPTIMIZERS = [(optim.SGD, {"lr": 0.1, "momentum": 0.9}), (optim.Adam, {"amsgrad": True}),
               (optim.AdamW, {}), (optim.RMSprop, {"centered": True, "momentum": 0.5}),
               (optim.Adagrad, {}), (optim.Adadelta, {}), (optim.Adamax, {}), (optim.NAdam, {}),
               (optim.RAdam, {}), (optim.Rprop, {}), (optim.ASGD, {}), (optim.Adafactor, {})]


@pytest.mark.parametrize("optimizer,options", _OPTIMIZERS, ids=lambda o: getattr(o, "__name__", ""))
def test_a_step_of_many_parameters_is_that_of_each(optimizer: type[Rule], options: Any) -> None:
    """Of both dtypes, of no elements and of too many to be together; one joins later."""
    shapes = [(3, 5), (5,), (), (0, 2), (200, 100), (1, 1), (4, 3)]
    dtypes = [np.float32, np.float64, np.float32, np.float32, np.float32, np.float32, np.float64]

    def made() -> list[Any]:
        draw = np.random.default_rng(3)
        return [Parameter(draw.standard_normal(s).astype(d))
                for s, d in zip(shapes, dtypes, strict=True)]

    together, apart = made(), made()
    one = optimizer(together, **options)
    many = [optimizer([p], **options) for p in apart]
    draw = np.random.default_rng(4)
    for step in range(4):
        for i, (p, q) in enumerate(zip(together, apart, strict=True)):
            g = draw.standard_normal(p.shape).astype(p.numpy().dtype)
            if i == 1 and step < 2:
                continue
            p.grad, q.grad = nncompile.from_numpy(g), nncompile.from_numpy(g.copy())
        one.step()
        for each in many:
            each.step()
        for p, q, each in zip(together, apart, many, strict=True):
            np.testing.assert_array_equal(p.numpy(), q.numpy())
            assert one.state[p].keys() == each.state[q].keys()
            for name, array in one.state[p].items():
                np.testing.assert_array_equal(array.numpy(), each.state[q][name].numpy())


def test_a_gradient_is_of_the_shape_and_dtype_of_its_array() -> None:
    p = Parameter(np.zeros(2, np.float32))
    for wrong in (nncompile.ones(1), nncompile.ones(2).double(), np.ones(2, np.float32), 1.0):
        with pytest.raises(GradientError, match="assigned grad"):
            p.grad = wrong
    assert p.grad is None
    p.grad = nncompile.ones(2)
    again = copy.deepcopy(p)
    assert again.grad.tolist() == [1, 1]
    del p.grad
    assert p.grad is None and pickle.loads(pickle.dumps(again)).tolist() == [0, 0]


def test_what_was_allowed_once_is_not_allowed_for_other_operands() -> None:
    bytes_ = nncompile.ones(3, dtype=nncompile.uint8)
    assert apply("add", bytes_, 1.0).tolist() == [2, 2, 2]
    for number in (300.0, 0.5):
        with pytest.raises(Error, match="cannot be u8"):
            apply("add", bytes_, number)
    x = nncompile.ones(2, 3)
    assert apply("sum", x, axes=(1,), keepdims=False).shape == (2,)
    for axes in ((2,), (1.0,), (1, 1)):
        with pytest.raises(Error):
            apply("sum", x, axes=axes, keepdims=False)
    with pytest.raises(Error, match="broadcast"):
        apply("add", x, nncompile.ones(2))
    with pytest.raises(Error, match="of one type"):
        apply("add", x, nncompile.ones(2, 3).double())


def test_floating_point_reports_are_the_users_again_behind_nested_blocks() -> None:
    with np.errstate(all="raise"):
        with StandardFloats():
            with StandardFloats():
                assert np.isinf(np.float64(1) / np.zeros(1))
            assert np.isinf(np.float64(1) / np.zeros(1))
        with pytest.raises(FloatingPointError):
            np.float64(1) / np.zeros(1)
        with pytest.raises(ValueError, match="out"), StandardFloats():
            raise ValueError("out")
        with pytest.raises(FloatingPointError):
            np.float64(1) / np.zeros(1)

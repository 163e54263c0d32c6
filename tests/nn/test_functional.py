"""What needs no oracle: dropout's noise, joining, and what is refused here alone."""

from collections import OrderedDict

import numpy as np
import pytest

import nncompile.nn.functional as F
from ir import Error
from nncompile import nn


def test_dropout_in_training():
    nn.manual_seed(0)
    x = np.ones((200, 500), np.float32)
    layer = nn.Dropout(0.25)
    y = layer(x)
    assert y.dtype == np.float32 and set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.01
    assert not np.array_equal(layer(x), y)
    nn.manual_seed(0)
    assert np.array_equal(layer(x), y)
    assert np.array_equal(layer.eval()(x), x)
    assert np.isnan(F.dropout(x * np.nan, 0.5)).all()


def test_joining_refuses_what_does_not_fit():
    x = np.ones((2, 3), np.float32)
    for wrong in ([], [x, x[:, :2]], [x, x.astype(np.float16)], [x, [1.0]]):
        with pytest.raises(Error):
            F.cat(wrong)
    with pytest.raises(Error, match="one shape"):
        F.stack([x, x[:1]])
    with pytest.raises(Error, match="at least one"):
        F.stack([])


def test_refused_here_alone():
    with pytest.raises(Error, match="'none' or 'tanh', not 'sigmoid'"):
        nn.GELU("sigmoid")
    with pytest.raises(Error, match=r"layer_norm over \[3\] got a bias f32\[2\]"):
        F.layer_norm(np.ones((2, 3), np.float32), (3,), bias=np.ones(2, np.float32))
    with pytest.raises(Error, match="float32 or float64"):
        nn.Linear(2, 2, dtype=np.float16)
    for given, message in [([[1.0]], "linear takes arrays, not"), (None, "not None"), (1.0, "1.0"),
                           (np.array([[True]]), "bool"), (np.zeros((1, 1), np.float16), "float16")]:
        with pytest.raises(Error, match=message):
            nn.Linear(1, 1)(given)


def test_an_error_inside_a_model_names_the_layer():
    model = nn.Sequential(OrderedDict(body=nn.Sequential(nn.Linear(4, 5), nn.Linear(4, 5))))
    with pytest.raises(Error, match="expects 4 features") as caught:
        model(np.ones((2, 4), np.float32))
    assert caught.value.__notes__ == ["  layer: body.1 Linear"]

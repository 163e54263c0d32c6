"""What a forward may return: an input as it is, a parameter, a value twice, a view; or nothing."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import nncompile
from nncompile import nn
from nncompile.nn import functional as F

X = np.arange(-6, 6, dtype=np.float32).reshape(3, 4)


class Returns(nn.Module):
    """`forward` is a function of self and the input."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.body = forward
        self.weight = nn.Parameter(np.ones((2, 4), np.float32))

    def forward(self, x: Any) -> Any:
        return self.body(self, x)


def three(h: Any) -> Any:
    """A value, and what may be computed in its place."""
    return h, F.relu(h), h + 1


CASES: dict[str, Callable[..., Any]] = {
    "an input": lambda m, x: x,
    "an input twice": lambda m, x: (x, x),
    "a part of an input": lambda m, x: x[:, 1:3],
    "an input transposed": lambda m, x: x.T,
    "a result twice": lambda m, x: (x + 1,) * 2,
    "a result and a view of it": lambda m, x: (lambda h: (h, h.reshape(-1, 2), h))(x + 1),
    "a result that goes on": lambda m, x: three(x * 2),
    "a parameter": lambda m, x: m.weight,
    "a parameter, what it gives, an input": lambda m, x: (m.weight, m.weight * 2, x),
    "an array of the model's": lambda m, x: (x, np.ones(3, np.float32)),
    "a tuple of one": lambda m, x: (x + 1,),
}


def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("jit", ["1", "0"])
@pytest.mark.parametrize("name", CASES)
def test_returns(name: str, jit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    model = Returns(CASES[name]).eval()
    fast = nncompile.compile(model, "f32[B, 4]", check=True)
    for x in (X, X[:1], X[:0]):
        got, want = as_tuple(fast(x)), as_tuple(model(x))
        for i, (y, right) in enumerate(zip(got, want, strict=True)):
            np.testing.assert_array_equal(y, right)
            assert not any(np.shares_memory(y, other) for other in (x, model.weight, *got[:i]))
        outs = tuple(np.full_like(y, 7) for y in got)
        taken = fast(x, out=outs if isinstance(fast(x), tuple) else outs[0])
        assert all(a is b for a, b in zip(as_tuple(taken), outs, strict=True))
        assert all(np.array_equal(a, b) for a, b in zip(outs, got, strict=True))


@pytest.mark.parametrize("value", [None, (), [], 3.0, "y", {"y": None}])
def test_what_is_no_array_is_refused_with_the_layer(value: Any) -> None:
    with pytest.raises(nncompile.TraceError, match=r"(?s)forward returns .*layer:    Returns\n"):
        nncompile.compile(Returns(lambda m, x: value).eval(), "f32[B, 4]")


def test_a_graph_without_outputs_returns_an_empty_tuple() -> None:
    graph = nncompile.trace(nn.ReLU().eval(), "f32[B, 4]")
    for nodes in (graph.nodes, ()):
        fast = nncompile.compile(replace(graph, nodes=nodes, outputs=()))
        assert fast(X) == ()
        assert repr(fast).endswith("-> ()>")
        with pytest.raises(nncompile.InputError, match="takes 1 input, got 0"):
            fast()


def test_integers_are_returned() -> None:
    fast = nncompile.compile(Returns(lambda m, x: x).eval(), "i64[B]")
    assert fast(np.arange(3)).tolist() == [0, 1, 2]


def test_nested_outputs() -> None:
    fast = nncompile.compile(
        Returns(lambda m, x: {"y": x + 1, "pair": (x, [x * 2])}).eval(), "f32[B, 4]")
    got = fast(X)
    np.testing.assert_array_equal(got["y"], X + 1)
    np.testing.assert_array_equal(got["pair"][0], X)
    np.testing.assert_array_equal(got["pair"][1][0], X * 2)
    out = {"y": np.zeros_like(X), "pair": (np.zeros_like(X), [np.zeros_like(X)])}
    assert fast(X, out=out)["pair"][1][0] is out["pair"][1][0]
    np.testing.assert_array_equal(out["pair"][1][0], X * 2)
    bound = fast.bind(X)
    assert bound().keys() == got.keys()
    with pytest.raises(nncompile.InputError, match="out"):
        fast(X, out={"y": X})


class _Items(OrderedDict[str, Any]):
    """A dict whose items are attributes, and which raises KeyError for all others."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


def test_what_is_returned_may_have_any_attribute_or_refuse_them() -> None:
    fast = nncompile.compile(Returns(lambda m, x: _Items(y=x + 1)).eval(), "f32[B, 4]")
    got = fast(X)
    assert type(got) is _Items
    np.testing.assert_array_equal(got.y, X + 1)
    with pytest.raises(nncompile.TraceError, match="no array at all"):
        nncompile.compile(Returns(lambda m, x: _Items()).eval(), "f32[B, 4]")
    mock = Returns(lambda m, x: Mock()).eval()   # has every attribute
    with pytest.raises(nncompile.TraceError, match="an object of type Mock, in which there is no"):
        nncompile.compile(mock, "f32[B, 4]")


def test_what_contains_itself_is_refused() -> None:
    def circle(m: Any, x: Any) -> Any:
        result: dict[str, Any] = {"y": x + 1}
        result["me"] = result
        return result
    with pytest.raises(nncompile.TraceError, match="contains itself"):
        nncompile.compile(Returns(circle).eval(), "f32[B, 4]")

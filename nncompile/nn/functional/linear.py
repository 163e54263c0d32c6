"""Products with weights."""

from __future__ import annotations

from typing import Any

from ir import Error, same
from nncompile.array import Array, apply, arrays, as_array
from nncompile.nn.calls import from_outside


@from_outside
def linear(input: Any, weight: Any, bias: Any = None) -> Array:
    """Computes input @ weight^T + bias: [..., K], [N, K], [N] -> [..., N]; a weight [K] -> [...].

    Raises Error where sizes do not fit, or the dtypes are not one float dtype.
    """
    x, w = as_array("linear", input), as_array("linear", weight)
    if w.ndim == 1:
        w, bias = w.unsqueeze(0), None if bias is None else as_array("linear", bias).reshape(1)
        return apply("linear", *arrays("linear", x, w, bias)).squeeze(-1)
    return apply("linear", *arrays("linear", x, w, bias))


@from_outside
def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Array:
    """Computes y[n] = x1 @ weight[n] @ x2 + bias[n] for each n.

    The shapes are [..., I], [..., J], [N, I, J] and [N] -> [..., N].
    Raises Error where sizes do not fit or leading dimensions differ.
    """
    x1, x2, w = arrays("bilinear", input1, input2, weight)
    if not same(x1.shape[:-1], x2.shape[:-1]):
        raise Error(f"bilinear: {x1.type} and {x2.type} differ in more than the last axis")
    if w.ndim != 3 or not same((x1.shape[-1], x2.shape[-1]), w.shape[1:]):
        raise Error(f"bilinear of {x1.type} and {x2.type} cannot use the weight {w.type}")
    outputs, first, second = w.shape
    rows = w.transpose(1, 2).reshape(outputs * second, first)
    products = apply("linear", x1, rows).reshape(*x1.shape[:-1], outputs, second)
    result = products.matmul(x2.unsqueeze(-1)).squeeze(-1)
    return result if bias is None else result.add(as_array("bilinear", bias))


@from_outside
def identity(input: Any) -> Array:
    """Returns its input."""
    return apply("identity", as_array("identity", input))

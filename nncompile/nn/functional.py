"""The layers as functions.  From outside of a forward: ndarrays in, an ndarray out.

Inside a forward they take and give Arrays.  An ndarray among the arguments is a constant.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

import nncompile.nn.init as init
from ir import Error
from ir.types import same
from nncompile.array import Array, apply, as_array
from nncompile.errors import InputError
from nncompile.indexing import axis_of
from nncompile.nn.calls import from_outside

ArrayLike = Array | NDArray[Any]


@from_outside
def linear(input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Array:
    """input @ weight.T + bias: [..., K], [N, K], [N] -> [..., N].

    Errors: sizes that do not fit these; types other than f32 or f64, or two of them.
    """
    return apply("linear", *arrays("linear", input, weight, bias))


@from_outside
def embedding(input: ArrayLike, weight: ArrayLike, padding_idx: int | None = None) -> Array:
    """The rows of weight [V, D] that the ids (i32 or i64, any shape) name: [..., D].

    padding_idx says which row is not trained; the values are the same.
    Errors: an id outside 0..V-1 (negative ones too).
    """
    ids, table = arrays("embedding", input, weight)
    if padding_idx is not None:
        check_padding(padding_idx, table.size(0))
    return apply("embedding", ids, table)


@from_outside
def relu(input: ArrayLike, inplace: bool = False) -> Array:
    """max(x, 0); NaN stays.  inplace is accepted, and the input stays as it is all the same."""
    return as_array("relu", input).relu()


@from_outside
def tanh(input: ArrayLike) -> Array:
    """The hyperbolic tangent."""
    return as_array("tanh", input).tanh()


@from_outside
def sigmoid(input: ArrayLike) -> Array:
    """1 / (1 + exp(-x))."""
    return as_array("sigmoid", input).sigmoid()


@from_outside
def gelu(input: ArrayLike, approximate: str = "none") -> Array:
    """x * Phi(x) for the normal distribution's Phi; "tanh" for its approximation by a tanh.

    Hendrycks and Gimpel (2016), arXiv:1606.08415.
    """
    return apply(gelu_op(approximate), as_array("gelu", input))


@from_outside
def softmax(input: ArrayLike, dim: int | None = None) -> Array:
    """exp(x) / sum(exp(x)) along dim.  A row of -inf gives NaN."""
    x = as_array("softmax", input)
    return x.softmax(implicit_dim(x) if dim is None else dim)


@from_outside
def layer_norm(
    input: ArrayLike,
    normalized_shape: Sequence[int],
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Array:
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axes, normalized_shape.

    Ba, Kiros and Hinton (2016), arXiv:1607.06450.  The variance is the biased one.
    Errors: last axes of other sizes; a weight or bias of another shape than they have.
    """
    x, shape = as_array("layer_norm", input), tuple(normalized_shape)
    first = x.ndim - len(shape)
    if not shape or first < 0 or not same(x.shape[first:], shape):
        raise Error(f"layer_norm over the last axes {list(shape)} does not fit {x.type}")
    affine = {"weight": weight, "bias": bias}
    given = {k: as_array("layer_norm", a) for k, a in affine.items() if a is not None}
    for name, array in given.items():
        if not same(array.shape, shape):
            raise Error(f"layer_norm over {list(shape)} got a {name} {array.type}")
    attrs = {"axes": tuple(range(first, x.ndim)), "eps": float(eps)}
    if "weight" in given or not given:
        return apply("layer_norm", x, *given.values(), **attrs)
    return apply("add", apply("layer_norm", x, **attrs), given["bias"])


@from_outside
def dropout(
    input: ArrayLike, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Array:
    """In training, zeros with probability p and the rest times 1 / (1 - p); else the input.

    Errors: p outside 0..1; an array that is being traced, in training with p > 0.
    """
    check_probability(p)
    x = as_array("dropout", input)
    if not training or p == 0:
        return apply("dropout", x, p=float(p))
    x.numbers("dropout in training mode (model.eval() turns it off)")
    kept = init.default_generator().random(x.shape) >= p
    return apply("mul", x, (kept / (1 - p) if p < 1 else kept).astype(x.dtype))


@from_outside
def identity(input: ArrayLike) -> Array:
    return apply("identity", as_array("identity", input))


@from_outside
def cat(tensors: Sequence[ArrayLike], dim: int = 0) -> Array:
    """The arrays one behind the other along dim; their other sizes are the same."""
    if not tensors:
        raise InputError("cat needs at least one array")
    given = arrays("cat", *tensors)
    return apply("concat", *given, axis=axis_of(given[0].type, dim))


@from_outside
def stack(tensors: Sequence[ArrayLike], dim: int = 0) -> Array:
    """Arrays of one shape put together along a new axis."""
    if not tensors:
        raise InputError("stack needs at least one array")
    given = arrays("stack", *tensors)
    if not all(same(a.shape, given[0].shape) for a in given):
        raise Error(f"stack needs arrays of one shape, got {', '.join(str(a.type) for a in given)}")
    axis = axis_of(given[0].type, dim, extra=1)
    return apply("concat", *(a.unsqueeze(axis) for a in given), axis=axis)


def arrays(name: str, first: Any, *others: Any) -> list[Array]:
    """The operands that are there."""
    return [as_array(name, first), *(as_array(name, o) for o in others if o is not None)]


def gelu_op(approximate: str) -> str:
    if approximate not in ("none", "tanh"):
        raise InputError(f"gelu's approximate is 'none' or 'tanh', not {approximate!r}")
    return "gelu_tanh" if approximate == "tanh" else "gelu"


def implicit_dim(x: Array) -> int:
    """torch's choice for softmax without a dim, deprecated there too."""
    warnings.warn("softmax without dim is deprecated: give it one", stacklevel=2)
    return 0 if x.ndim in (0, 1, 3) else 1


def check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise InputError(f"the probability of dropout is between 0 and 1, not {p}")


def check_padding(padding_idx: int, count: Any) -> None:
    if isinstance(count, int) and not -count <= padding_idx < count:
        raise InputError(f"padding_idx {padding_idx} is outside of {count} embeddings")


__all__ = [
    "cat", "dropout", "embedding", "gelu", "identity", "layer_norm", "linear", "relu", "sigmoid",
    "softmax", "stack", "tanh",
]

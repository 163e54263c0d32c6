"""Activation functions and the softmax family.

They work elementwise on floats of either dtype; a few take integers, too, as torch's do. With
inplace=True the result takes the place of an Array's elements; an ndarray stays as it is.
"""

from __future__ import annotations

import warnings
from typing import Any

from ir import Error
from ir.types import divide
from nncompile.array import Array, apply, as_array, in_type
from nncompile.array.core import DType
from nncompile.array.elementwise import bounded, limited
from nncompile.array.indexing import axis_of
from nncompile.array.random import drawn, exponential
from nncompile.errors import InputError
from nncompile.nn.calls import changing, from_outside, placed
from nncompile.nn.functional.dropout import drawn as drawn_in_training

__all__ = ["celu", "celu_", "elu", "elu_", "gelu", "glu", "gumbel_softmax", "hardshrink",
           "hardsigmoid", "hardswish", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_",
           "log_softmax", "logsigmoid", "mish", "prelu", "relu", "relu6", "relu_", "rrelu",
           "rrelu_", "selu", "selu_", "sigmoid", "silu", "softmax", "softmin", "softplus",
           "softshrink", "softsign", "tanh", "tanhshrink", "threshold", "threshold_"]


@from_outside
def relu(input: Any, inplace: bool = False) -> Array:
    """Computes max(x, 0). NaN stays."""
    return placed(input, as_array("relu", input).relu(), inplace)


@from_outside
def relu6(input: Any, inplace: bool = False) -> Array:
    """Computes min(max(x, 0), 6)."""
    x = _numbers("relu6", input)
    return placed(input, _limited(x, 0, 6), inplace)


@from_outside
def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
             ) -> Array:
    """Computes min(max(x, min_val), max_val). Raises InputError for min_val above max_val."""
    if min_val > max_val:
        raise InputError(f"hardtanh: min_val {min_val} is above max_val {max_val}")
    x = _numbers("hardtanh", input)
    low, high = (n if x.is_floating_point() else int(n) for n in (min_val, max_val))
    return placed(input, _limited(x, low, high), inplace)


@from_outside
def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Array:
    """Computes x where x >= 0 and negative_slope * x elsewhere."""
    x = as_array("leaky_relu", input)
    return placed(input, apply("leaky_relu", x, float(negative_slope)), inplace)


@from_outside
def prelu(input: Any, weight: Any) -> Array:
    """Computes x where x >= 0 and weight * x elsewhere.

    weight: one number, or [C] with one for each channel, dimension 1 of the input [N, C, ...].
    Raises Error for another shape.
    """
    x, slope = as_array("prelu", input), as_array("prelu", weight)
    if slope.ndim > 1:
        raise Error(f"prelu takes a vector as its weight, not {slope.type}")
    if slope.numel() == 1:
        return apply("leaky_relu", x, slope.reshape(()))
    channels = x.shape[1] if x.ndim > 1 else 1
    if x.ndim == 0 or slope.shape[0] != channels:
        raise Error(f"prelu has {slope.numel()} weights, and {x.type} has {channels} channels")
    return apply("leaky_relu", x, slope.reshape(-1, *[1] * (x.ndim - 2)))


@from_outside
def rrelu(input: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False,
          inplace: bool = False) -> Array:
    """Computes leaky_relu with the slope (lower + upper) / 2; in training with random slopes.

    training: each element has its own slope, uniform on [lower, upper).
    Raises InputError for lower above upper, and Error in a trace in training.
    """
    x = as_array("rrelu", input)
    if lower > upper:
        raise InputError(f"rrelu: the lower bound {lower} is above the upper bound {upper}")
    slope: Any = (lower + upper) / 2
    if training:
        slope = drawn_in_training("rrelu", x, x.shape).mul(upper - lower).add(lower)._cast(
            x.type.dtype)
    return placed(input, apply("leaky_relu", x, slope), inplace)


@from_outside
def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Array:
    """Computes x where x >= 0 and alpha * (exp(x) - 1) elsewhere.

    Clevert, Unterthiner and Hochreiter (2015), arXiv:1511.07289.
    """
    return placed(input, apply("elu", as_array("elu", input), float(alpha)), inplace)


@from_outside
def selu(input: Any, inplace: bool = False) -> Array:
    """Computes scale * elu(x, alpha) with constants that preserve mean 0 and variance 1.

    Klambauer et al. (2017), arXiv:1706.02515.
    """
    return placed(input, apply("selu", as_array("selu", input)), inplace)


@from_outside
def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Array:
    """Computes x where x >= 0 and alpha * (exp(x / alpha) - 1) elsewhere.

    Barron (2017), arXiv:1704.07483. Raises InputError for an alpha of 0.
    """
    if alpha == 0:
        raise InputError("celu divides by alpha, which cannot be 0")
    return placed(input, apply("celu", as_array("celu", input), float(alpha)), inplace)


@from_outside
def gelu(input: Any, approximate: str = "none") -> Array:
    """Computes x * Phi(x), Phi being the standard normal distribution function.

    approximate: "none", or "tanh" for 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))).
    At infinities it is the limit, where torch gives NaN. Hendrycks and Gimpel (2016),
    arXiv:1606.08415.
    Raises InputError for another value of approximate.
    """
    if approximate not in ("none", "tanh"):
        raise InputError(f"gelu's approximate is 'none' or 'tanh', not {approximate!r}")
    return apply("gelu_tanh" if approximate == "tanh" else "gelu", as_array("gelu", input))


@from_outside
def silu(input: Any, inplace: bool = False) -> Array:
    """Computes x * sigmoid(x). At -inf it is -0, where torch gives NaN."""
    return placed(input, apply("silu", as_array("silu", input)), inplace)


@from_outside
def mish(input: Any, inplace: bool = False) -> Array:
    """Computes x * tanh(softplus(x)). At -inf it is -0, where torch gives NaN.

    Misra (2019), arXiv:1908.08681.
    """
    return placed(input, apply("mish", as_array("mish", input)), inplace)


@from_outside
def sigmoid(input: Any) -> Array:
    """Computes 1 / (1 + exp(-x)); integers and bools as float32."""
    return as_array("sigmoid", input).sigmoid()


@from_outside
def logsigmoid(input: Any) -> Array:
    """Computes log(1 / (1 + exp(-x))), without overflow."""
    return apply("log_sigmoid", as_array("logsigmoid", input))


@from_outside
def tanh(input: Any) -> Array:
    """Computes tanh(x); integers and bools as float32."""
    return as_array("tanh", input).tanh()


@from_outside
def tanhshrink(input: Any) -> Array:
    """Computes x - tanh(x)."""
    x = as_array("tanhshrink", input)
    return apply("tanhshrink", x) if x.is_floating_point() else x.sub(x.tanh())


@from_outside
def softplus(input: Any, beta: float = 1, threshold: float = 20) -> Array:
    """Computes log(1 + exp(beta * x)) / beta, and x where beta * x is above the threshold."""
    return apply("softplus", as_array("softplus", input), float(beta), float(threshold))


@from_outside
def softsign(input: Any) -> Array:
    """Computes x / (1 + |x|). At infinities it is 1 and -1, where torch gives NaN."""
    x = as_array("softsign", input)
    return apply("softsign", x) if x.is_floating_point() else x.div(x.abs().add(1))


@from_outside
def softshrink(input: Any, lambd: float = 0.5) -> Array:
    """Computes x - lambd above lambd, x + lambd below -lambd, and 0 between.

    Raises InputError for a negative lambd.
    """
    if lambd < 0:
        raise InputError(f"softshrink: lambd is 0 or above, not {lambd}")
    return apply("softshrink", as_array("softshrink", input), float(lambd))


@from_outside
def hardshrink(input: Any, lambd: float = 0.5) -> Array:
    """Computes x where |x| is above lambd, and 0 elsewhere."""
    return apply("hardshrink", as_array("hardshrink", input), float(lambd))


@from_outside
def hardsigmoid(input: Any, inplace: bool = False) -> Array:
    """Computes min(max(x + 3, 0), 6) / 6."""
    return placed(input, apply("hardsigmoid", as_array("hardsigmoid", input)), inplace)


@from_outside
def hardswish(input: Any, inplace: bool = False) -> Array:
    """Computes x * hardsigmoid(x). At -inf it is -0, where torch gives NaN.

    Howard et al. (2019), arXiv:1905.02244.
    """
    return placed(input, apply("hardswish", as_array("hardswish", input)), inplace)


@from_outside
def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Array:
    """Computes x where it is above the threshold, and `value` elsewhere."""
    x = as_array("threshold", input)
    if x.is_floating_point():
        return placed(input, apply("threshold", x, float(threshold), float(value)), inplace)
    bound, other = (in_type(int(n), x.type.dtype) for n in (threshold, value))
    return placed(input, apply("where", apply("gt", x, bound), x, other), inplace)


@from_outside
def glu(input: Any, dim: int = -1) -> Array:
    """Computes a * sigmoid(b) for the halves a and b of the input along dim.

    Dauphin et al. (2016), arXiv:1612.08083.
    Raises Error for an odd size, for an array without dimensions, and for other dtypes than floats.
    """
    x = as_array("glu", input)
    if x.ndim == 0:
        raise Error("glu needs an array with dimensions")
    if not x.is_floating_point():
        raise Error(f"glu takes floats, not {x.type}")
    half = divide(x.shape[axis_of(x.type, dim)], 2)
    if half is None:
        raise Error(f"glu halves axis {dim} of {x.type}, whose size is not even")
    first, second = x.split([half, half], dim)
    return first.mul(second.sigmoid())


relu_, hardtanh_, leaky_relu_ = changing(relu), changing(hardtanh), changing(leaky_relu)
rrelu_, elu_, selu_, celu_ = changing(rrelu), changing(elu), changing(selu), changing(celu)
threshold_ = changing(threshold)


# -- the softmax family ----------------------------------------------------------------------------

@from_outside
def softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: DType = None) -> Array:
    """Computes exp(x) / sum(exp(x)) along dim. A row of -inf gives NaN.

    dim: without one, torch's deprecated choice with a warning. dtype: x is converted to it first.
    """
    x = as_array("softmax", input)
    return x.softmax(_dim_of("softmax", x, dim), dtype)


@from_outside
def log_softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: DType = None
                ) -> Array:
    """Computes x - log(sum(exp(x))) along dim; arguments as those of softmax."""
    x = as_array("log_softmax", input)
    return x.log_softmax(_dim_of("log_softmax", x, dim), dtype)


@from_outside
def softmin(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: DType = None) -> Array:
    """Computes softmax(-x) along dim; arguments as those of softmax."""
    x = as_array("softmin", input)
    return x.neg().softmax(_dim_of("softmin", x, dim), dtype)


@from_outside
def gumbel_softmax(logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10,
                   dim: int = -1) -> Array:
    """Returns samples of the Gumbel-softmax distribution, in the shape of the logits.

    tau: the temperature. hard: rows of 0 with a 1, whose gradient is that of the samples otherwise.
    eps changes nothing. Source: Jang, Gu and Poole, Categorical Reparameterization with
    Gumbel-Softmax (2017). In a training step it draws by the op `uniform`.
    """
    x = as_array("gumbel_softmax", logits)
    u = drawn("gumbel_softmax", x.shape, x.dtype, None, lambda g, size: g.random(size),
              of_uniform=lambda u: u)
    soft = x.sub(exponential(u).log()).div(tau).softmax(dim)
    if not hard:
        return soft
    index = soft.argmax(dim, keepdim=True)
    ones = soft.detach().mul(0).scatter(dim, index, 1.0)
    return ones.sub(soft.detach()).add(soft)


def _numbers(name: str, given: Any) -> Array:
    x = as_array(name, given)
    if x.type.dtype == "bool":
        raise Error(f"{name} takes numbers, not {x.type}")
    return x


def _limited(x: Array, low: float, high: float) -> Array:
    """Returns x limited to [low, high]; of floats the gradient is 0 at the bounds."""
    return (limited(x, float(low), float(high)) if x.is_floating_point()
            else bounded(x, low, high))


def _dim_of(name: str, x: Array, dim: int | None) -> int:
    """Returns the dimension given, or warns and returns torch's deprecated choice by the rank."""
    if dim is not None:
        return dim
    warnings.warn(f"{name} without dim is deprecated: give it one", stacklevel=2)
    return 0 if x.ndim in (0, 1, 3) else 1

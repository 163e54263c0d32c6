"""Activation layers and the softmax family.

A layer here holds its arguments and calls the function of nn.functional, whose docstring says more.
With inplace=True, where a layer has it, the result takes the place of the input's elements.
"""

from __future__ import annotations

import warnings
from typing import Any

from numpy.typing import DTypeLike

import nncompile.nn.functional as F
import nncompile.nn.init as init
from nncompile.array import Array
from nncompile.errors import InputError
from nncompile.nn.module import Module
from nncompile.nn.parameter import Parameter, empty

__all__ = ["CELU", "ELU", "GELU", "GLU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish",
           "Hardtanh", "LeakyReLU", "LogSigmoid", "LogSoftmax", "Mish", "PReLU", "RReLU", "ReLU",
           "ReLU6", "SiLU", "Sigmoid", "Softmax", "Softmax2d", "Softmin", "Softplus", "Softshrink",
           "Softsign", "Tanh", "Tanhshrink", "Threshold"]


class _Inplace(Module):
    """A layer that may work in place."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class _ShownInplace(_Inplace):
    """A layer that may work in place and says so in its repr."""

    def extra_repr(self) -> str:
        return _inplace_text(self)


class ReLU(_ShownInplace):
    """Computes max(x, 0) elementwise."""

    def forward(self, input: Array) -> Any:
        return F.relu(input, self.inplace)


class Hardtanh(Module):
    """Computes min(max(x, min_val), max_val) elementwise.

    min_value and max_value are deprecated names of the bounds. Raises InputError unless max_val is
    above min_val.
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False,
                 min_value: float | None = None, max_value: float | None = None) -> None:
        super().__init__()
        for old, value in ("min_value", min_value), ("max_value", max_value):
            if value is not None:
                warnings.warn(f"Hardtanh's {old} is deprecated: it is {old[:-2]}", FutureWarning,
                              stacklevel=2)
        self.min_val = min_val if min_value is None else min_value
        self.max_val = max_val if max_value is None else max_value
        self.inplace = inplace
        if self.max_val <= self.min_val:
            raise InputError(f"Hardtanh: max_val {self.max_val} is not above min_val "
                             f"{self.min_val}")

    def forward(self, input: Array) -> Any:
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}{_inplace_text(self, ', ')}"


class ReLU6(Hardtanh):
    """Computes min(max(x, 0), 6) elementwise."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        return _inplace_text(self)


class LeakyReLU(Module):
    """Computes x where x >= 0 and negative_slope * x elsewhere."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, input: Array) -> Any:
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}{_inplace_text(self, ', ')}"


class PReLU(Module):
    """Computes x where x >= 0 and weight * x elsewhere, with a learnt weight.

    weight [num_parameters] starts as `init`. There is one parameter for all elements, or one for
    each channel, which is dimension 1 of the input [N, C, ...].
    """

    weight: Parameter

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None,
                 dtype: DTypeLike | None = None) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = empty((num_parameters,), device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the weight to its initial value."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Array) -> Any:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    """Computes x where x >= 0 and slope * x elsewhere, with a random slope in training.

    slope: uniform on [lower, upper) for each element in training; in eval mode (lower + upper) / 2.
    Xu et al. (2015), arXiv:1505.00853.
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def _unlike_eval(self) -> bool:
        return self.training

    def forward(self, input: Array) -> Any:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}{_inplace_text(self, ', ')}"


class _WithAlpha(Module):
    """A layer whose limit at -inf is -alpha."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}{_inplace_text(self, ', ')}"


class ELU(_WithAlpha):
    """Computes x where x >= 0 and alpha * (exp(x) - 1) elsewhere.

    Clevert, Unterthiner and Hochreiter (2015), arXiv:1511.07289.
    """

    def forward(self, input: Array) -> Any:
        return F.elu(input, self.alpha, self.inplace)


class CELU(_WithAlpha):
    """Computes x where x >= 0 and alpha * (exp(x / alpha) - 1) elsewhere.

    Barron (2017), arXiv:1704.07483.
    """

    def forward(self, input: Array) -> Any:
        return F.celu(input, self.alpha, self.inplace)


class SELU(_ShownInplace):
    """Computes scale * elu(x, alpha) with constants that preserve mean 0 and variance 1.

    Klambauer et al. (2017), arXiv:1706.02515.
    """

    def forward(self, input: Array) -> Any:
        return F.selu(input, self.inplace)


class SiLU(_ShownInplace):
    """Computes x * sigmoid(x) elementwise."""

    def forward(self, input: Array) -> Any:
        return F.silu(input, self.inplace)


class Mish(_ShownInplace):
    """Computes x * tanh(softplus(x)) elementwise.

    Misra (2019), arXiv:1908.08681.
    """

    def forward(self, input: Array) -> Any:
        return F.mish(input, self.inplace)


class GELU(Module):
    """Computes x * Phi(x) elementwise, Phi being the standard normal distribution function.

    approximate: "none", or "tanh" for 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))).
    Hendrycks and Gimpel (2016), arXiv:1606.08415.
    Raises InputError for another value.
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise InputError(f"GELU's approximate is 'none' or 'tanh', not {approximate!r}")
        self.approximate = approximate

    def forward(self, input: Array) -> Any:
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Sigmoid(Module):
    """Computes 1 / (1 + exp(-x)) elementwise."""

    def forward(self, input: Array) -> Any:
        return F.sigmoid(input)


class LogSigmoid(Module):
    """Computes log(1 / (1 + exp(-x))) elementwise, without overflow."""

    def forward(self, input: Array) -> Any:
        return F.logsigmoid(input)


class Tanh(Module):
    """Computes tanh(x) elementwise."""

    def forward(self, input: Array) -> Any:
        return F.tanh(input)


class Tanhshrink(Module):
    """Computes x - tanh(x) elementwise."""

    def forward(self, input: Array) -> Any:
        return F.tanhshrink(input)


class Softsign(Module):
    """Computes x / (1 + |x|) elementwise."""

    def forward(self, input: Array) -> Any:
        return F.softsign(input)


class Softplus(Module):
    """Computes log(1 + exp(beta * x)) / beta, and x where beta * x is above the threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Array) -> Any:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class _Shrink(Module):
    """A layer that maps the interval [-lambd, lambd] to 0."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def extra_repr(self) -> str:
        return str(self.lambd)


class Softshrink(_Shrink):
    """Computes x - lambd above lambd, x + lambd below -lambd, and 0 between."""

    def forward(self, input: Array) -> Any:
        return F.softshrink(input, self.lambd)


class Hardshrink(_Shrink):
    """Computes x where |x| is above lambd, and 0 elsewhere."""

    def forward(self, input: Array) -> Any:
        return F.hardshrink(input, self.lambd)


class Hardsigmoid(_Inplace):
    """Computes min(max(x + 3, 0), 6) / 6 elementwise."""

    def forward(self, input: Array) -> Any:
        return F.hardsigmoid(input, self.inplace)


class Hardswish(_Inplace):
    """Computes x * hardsigmoid(x) elementwise.

    Howard et al. (2019), arXiv:1905.02244.
    """

    def forward(self, input: Array) -> Any:
        return F.hardswish(input, self.inplace)


class Threshold(Module):
    """Computes x where it is above the threshold, and `value` elsewhere."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold, self.value, self.inplace = threshold, value, inplace

    def forward(self, input: Array) -> Any:
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}{_inplace_text(self, ', ')}"


class _AlongDim(Module):
    """A layer that works along one dimension."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class GLU(_AlongDim):
    """Computes a * sigmoid(b) for the halves a and b of the input along dim.

    The size of that dimension is halved. Dauphin et al. (2016), arXiv:1612.08083.
    """

    dim: int

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim)

    def forward(self, input: Array) -> Any:
        return F.glu(input, self.dim)


class Softmax(_AlongDim):
    """Computes exp(x) / sum(exp(x)) along dim, shifted by max(x) so that nothing overflows."""

    def forward(self, input: Array) -> Any:
        return F.softmax(input, self.dim)


class LogSoftmax(_AlongDim):
    """Computes x - log(sum(exp(x))) along dim, shifted by max(x) so that nothing overflows."""

    def forward(self, input: Array) -> Any:
        return F.log_softmax(input, self.dim)


class Softmin(_AlongDim):
    """Computes softmax(-x) along dim."""

    def forward(self, input: Array) -> Any:
        return F.softmin(input, self.dim)


class Softmax2d(Module):
    """Computes softmax over the channels of [N, C, H, W] or [C, H, W]."""

    def forward(self, input: Array) -> Any:
        if input.ndim not in (3, 4):
            raise InputError(f"Softmax2d takes [N, C, H, W] or [C, H, W], not {input.type}")
        return F.softmax(input, -3)


def _inplace_text(layer: Any, before: str = "") -> str:
    return f"{before}inplace=True" if layer.inplace else ""

"""Layers that act on each element, and the softmax family: their arguments, and the function of
nn.functional that does the work.
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


class _Inplace(Module):
    """What several layers share: whether the result takes the place of the input."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class _ShownInplace(_Inplace):
    """The same, for those whose text says it."""

    def extra_repr(self) -> str:
        return _inplace_text(self)


class ReLU(_ShownInplace):
    """max(x, 0)."""

    def forward(self, input: Array) -> Any:
        return F.relu(input, self.inplace)


class Hardtanh(Module):
    """x between min_val and max_val.  min_value and max_value are their old names."""

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ) -> None:
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
    """min(max(x, 0), 6)."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        return _inplace_text(self)


class LeakyReLU(Module):
    """x, or negative_slope * x where x is negative."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Array) -> Any:
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}{_inplace_text(self, ', ')}"


class PReLU(Module):
    """x, or weight * x where x is negative; one weight for all, or one for each channel (axis 1).

    weight [num_parameters] starts as init everywhere.
    """

    weight: Parameter

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None,
                 dtype: DTypeLike | None = None) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = empty((num_parameters,), device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.constant_(self.weight, self.init)

    def forward(self, input: Array) -> Any:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    """LeakyReLU whose slope is (lower + upper) / 2, and drawn for each element in training."""

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower = lower
        self.upper = upper
        self.inplace = inplace

    def _unlike_eval(self) -> bool:
        return self.training

    def forward(self, input: Array) -> Any:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}{_inplace_text(self, ', ')}"


class _WithAlpha(Module):
    """What ELU and CELU share: how far down they go."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}{_inplace_text(self, ', ')}"


class ELU(_WithAlpha):
    """x, or alpha * (exp(x) - 1) where x is negative."""

    def forward(self, input: Array) -> Any:
        return F.elu(input, self.alpha, self.inplace)


class CELU(_WithAlpha):
    """x, or alpha * (exp(x / alpha) - 1) where x is negative."""

    def forward(self, input: Array) -> Any:
        return F.celu(input, self.alpha, self.inplace)


class SELU(_ShownInplace):
    """elu, scaled so that mean and variance stay."""

    def forward(self, input: Array) -> Any:
        return F.selu(input, self.inplace)


class SiLU(_ShownInplace):
    """x * sigmoid(x)."""

    def forward(self, input: Array) -> Any:
        return F.silu(input, self.inplace)


class Mish(_ShownInplace):
    """x * tanh(softplus(x))."""

    def forward(self, input: Array) -> Any:
        return F.mish(input, self.inplace)


class GELU(Module):
    """x * Phi(x); approximate="tanh" for the approximation by a tanh."""

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
    """1 / (1 + exp(-x))."""

    def forward(self, input: Array) -> Any:
        return F.sigmoid(input)


class LogSigmoid(Module):
    """log(1 / (1 + exp(-x)))."""

    def forward(self, input: Array) -> Any:
        return F.logsigmoid(input)


class Tanh(Module):
    """tanh(x)."""

    def forward(self, input: Array) -> Any:
        return F.tanh(input)


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, input: Array) -> Any:
        return F.tanhshrink(input)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, input: Array) -> Any:
        return F.softsign(input)


class Softplus(Module):
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Array) -> Any:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class _Shrink(Module):
    """What Softshrink and Hardshrink share: how far from 0 they work."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def extra_repr(self) -> str:
        return str(self.lambd)


class Softshrink(_Shrink):
    """x moved by lambd toward 0, and 0 within lambd of it."""

    def forward(self, input: Array) -> Any:
        return F.softshrink(input, self.lambd)


class Hardshrink(_Shrink):
    """x, or 0 within lambd of it."""

    def forward(self, input: Array) -> Any:
        return F.hardshrink(input, self.lambd)


class Hardsigmoid(_Inplace):
    """min(max(x + 3, 0), 6) / 6."""

    def forward(self, input: Array) -> Any:
        return F.hardsigmoid(input, self.inplace)


class Hardswish(_Inplace):
    """x * hardsigmoid(x)."""

    def forward(self, input: Array) -> Any:
        return F.hardswish(input, self.inplace)


class Threshold(Module):
    """x where it is above the threshold, else the value."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, input: Array) -> Any:
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}{_inplace_text(self, ', ')}"


class _AlongDim(Module):
    """What the softmax family and GLU share: the axis."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class GLU(_AlongDim):
    """a * sigmoid(b), a and b the two halves along dim."""

    dim: int

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim)

    def forward(self, input: Array) -> Any:
        return F.glu(input, self.dim)


class Softmax(_AlongDim):
    """exp(x) / sum(exp(x)) along dim."""

    def forward(self, input: Array) -> Any:
        return F.softmax(input, self.dim)


class LogSoftmax(_AlongDim):
    """log(softmax(x)) along dim."""

    def forward(self, input: Array) -> Any:
        return F.log_softmax(input, self.dim)


class Softmin(_AlongDim):
    """softmax(-x) along dim."""

    def forward(self, input: Array) -> Any:
        return F.softmin(input, self.dim)


class Softmax2d(Module):
    """softmax over the channels of [N, C, H, W] or [C, H, W]."""

    def forward(self, input: Array) -> Any:
        if input.ndim not in (3, 4):
            raise InputError(f"Softmax2d takes [N, C, H, W] or [C, H, W], not {input.type}")
        return F.softmax(input, -3)


def _inplace_text(layer: Any, before: str = "") -> str:
    return f"{before}inplace=True" if layer.inplace else ""

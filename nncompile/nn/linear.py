"""Linear and bilinear layers, and the identity."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

import nncompile.nn.functional as F
import nncompile.nn.init as init
from nncompile.array import Array
from nncompile.errors import InputError
from nncompile.nn.module import Module
from nncompile.nn.parameter import Parameter, UninitializedParameter, empty

__all__ = ["Bilinear", "Identity", "LazyLinear", "Linear", "NonDynamicallyQuantizableLinear"]


class Identity(Module):
    """Returns its input. Its constructor takes any arguments, so that it can replace any layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return F.identity(input) if isinstance(input, Array | np.ndarray) else input


class Linear(Module):
    """Computes x @ weight^T + bias: [..., in_features] -> [..., out_features].

    weight [out_features, in_features] and bias [out_features] start uniform on
    [-1 / sqrt(in_features), 1 / sqrt(in_features)).
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: Any = None,
                 dtype: DTypeLike | None = None) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = empty((out_features, in_features), device, dtype)
        self.register_parameter("bias", empty((out_features,), device, dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the initial weight and bias anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Array) -> Any:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (f"in_features={self.in_features}, out_features={self.out_features}, "
                f"bias={self.bias is not None}")


class NonDynamicallyQuantizableLinear(Linear):
    """A Linear; torch gives this class to the last layer of MultiheadAttention."""


class LazyLinear(Linear):
    """A Linear that takes in_features from its first input, and then becomes a Linear.

    The first input may be that of a call or of a trace, if its last size is a number there.
    """

    in_features: int

    def __init__(self, out_features: int, bias: bool = True, device: Any = None,
                 dtype: DTypeLike | None = None) -> None:
        super().__init__(0, 0, False)
        self.out_features = out_features
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def has_uninitialized_params(self) -> bool:
        """Returns whether a parameter has no shape yet."""
        return any(isinstance(p, UninitializedParameter) for p in self._parameters.values())

    def reset_parameters(self) -> None:
        """Draws the initial values anew, once the parameters have shapes."""
        if not self.has_uninitialized_params() and self.in_features != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Array) -> None:
        """Gives the parameters the shapes that fit this input."""
        if not self.has_uninitialized_params():
            self.in_features = self.weight.shape[1]
            return
        if input.ndim == 0:
            raise InputError(f"LazyLinear takes [..., in_features], not {input.type}")
        self.in_features = operator.index(input.shape[-1])
        for parameter, shape in [(self.weight, (self.out_features, self.in_features)),
                                 (self.bias, (self.out_features,))]:
            if isinstance(parameter, UninitializedParameter):
                parameter.materialize(shape)
        self.reset_parameters()

    def forward(self, input: Array) -> Any:
        self.initialize_parameters(input)
        self.__class__ = Linear  # type: ignore[assignment]
        return self.forward(input)


class Bilinear(Module):
    """Computes y[n] = x1 @ weight[n] @ x2 + bias[n]: [..., I], [..., J] -> [..., N].

    weight [N, I, J] and bias [N] start uniform on [-1 / sqrt(I), 1 / sqrt(I)), where N is
    out_features, I in1_features and J in2_features.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool = True,
                 device: Any = None, dtype: DTypeLike | None = None) -> None:
        super().__init__()
        if in1_features <= 0:
            raise InputError(f"in1_features must be above 0, got {in1_features}")
        self.in1_features, self.in2_features = in1_features, in2_features
        self.out_features = out_features
        self.weight = empty((out_features, in1_features, in2_features), device, dtype)
        self.register_parameter("bias", empty((out_features,), device, dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the initial weight and bias anew."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Array, input2: Array) -> Any:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
                f"out_features={self.out_features}, bias={self.bias is not None}")

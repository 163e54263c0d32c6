"""Layers that bring parts of an array to one scale."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

import nncompile.nn.functional as F
import nncompile.nn.init as init
from ir.types import same
from nncompile.array import Array
from nncompile.errors import InputError
from nncompile.nn.functional.normalization import neighbours
from nncompile.nn.module import Module
from nncompile.nn.parameter import (
    Buffer,
    Parameter,
    Uninitialized,
    UninitializedBuffer,
    UninitializedParameter,
    empty,
)


class _Normalization(Module):
    """What these layers share: weight, which starts as 1, and bias, which starts as 0."""

    weight: Parameter | None
    bias: Parameter | None

    def _make_affine(self, shape: tuple[int, ...], weight: bool, bias: bool, device: Any,
                     dtype: DTypeLike | None) -> None:
        for name, there in ("weight", weight), ("bias", bias):
            self.register_parameter(name, empty(shape, device, dtype) if there else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class LayerNorm(_Normalization):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axes.

    weight and bias have the shape normalized_shape and start as 1 and 0.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape_of(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self._make_affine(self.normalized_shape, elementwise_affine, elementwise_affine and bias,
                          device, dtype)

    def forward(self, input: Array) -> Any:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, "
                f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}")


class RMSNorm(_Normalization):
    """x / sqrt(mean(x^2) + eps) * weight over the last axes; eps is the machine's for the type of x
    unless it is given.

    weight has the shape normalized_shape and starts as 1.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape_of(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        weight = empty(self.normalized_shape, device, dtype) if elementwise_affine else None
        self.register_parameter("weight", weight)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Array) -> Any:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, "
                f"elementwise_affine={self.elementwise_affine}")


class GroupNorm(_Normalization):
    """LayerNorm of each group of channels of [N, C, ...]; weight and bias [C] start as 1 and 0."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: DTypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise InputError(f"{num_channels} channels do not divide into {num_groups} groups")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self._make_affine((num_channels,), affine, affine and bias, device, dtype)

    def forward(self, input: Array) -> Any:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
                f"bias={self.bias is not None}")


class _ByChannel(_Normalization):
    """What BatchNorm1d and InstanceNorm1d share: running statistics of each channel.

    weight and bias [num_features] start as 1 and 0, and so do running_var and running_mean.
    """

    running_mean: Array | None
    running_var: Array | None
    num_batches_tracked: Array | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: DTypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        kind = np.float32 if dtype is None else dtype
        statistics = {"running_mean": (num_features, kind), "running_var": (num_features, kind),
                      "num_batches_tracked": ((), np.int64)}
        for name, (shape, dtype_) in statistics.items():
            self.register_buffer(name, np.zeros(shape, dtype_) if track_running_stats else None)
        self._make_affine((num_features,), affine, affine and bias, device, dtype)

    def reset_running_stats(self) -> None:
        for array, value in ((self.running_mean, 0), (self.running_var, 1),
                             (self.num_batches_tracked, 0)):
            if array is not None:
                numbers: Any = array.payload     # also where a lazy layer does it in a trace
                numbers[...] = value

    def reset_parameters(self) -> None:
        self.reset_running_stats()
        super().reset_parameters()

    def _unlike_eval(self) -> bool:
        return self.training and self.track_running_stats

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
                f"affine={self.affine}, bias={self.bias is not None}, "
                f"track_running_stats={self.track_running_stats}")


class BatchNorm1d(_ByChannel):
    """(x - mean) / sqrt(variance + eps) * weight + bias for each channel of [N, C] or [N, C, L].

    Mean and variance are the running ones in eval mode, else the batch's.
    """

    def _unlike_eval(self) -> bool:
        return self.training

    def forward(self, input: Array) -> Any:
        if input.ndim not in (2, 3):
            raise InputError(f"BatchNorm1d takes [N, C] or [N, C, L], not {input.type}")
        kept = not self.training or self.track_running_stats
        return F.batch_norm(
            input, self.running_mean if kept else None, self.running_var if kept else None,
            self.weight, self.bias, self.training or self.running_mean is None, self._count(),
            self.eps)

    def _count(self) -> float:
        """Count this batch, if it counts, and give how much of it goes into the statistics."""
        if not self.training or self.num_batches_tracked is None:
            return self.momentum or 0.0
        number = self.num_batches_tracked.numbers("the number of batches in training mode")
        number += 1
        return 1 / float(number) if self.momentum is None else self.momentum


class InstanceNorm1d(_ByChannel):
    """Each channel of [N, C, L] or [C, L] brought to mean 0 and variance 1, then times weight plus
    bias; with track_running_stats, in eval mode by the running statistics."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: DTypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype,
                         bias=bias)

    def forward(self, input: Array) -> Any:
        if input.ndim not in (2, 3):
            raise InputError(f"InstanceNorm1d takes [N, C, L] or [C, L], not {input.type}")
        channels = input.size(-2)
        if not same(channels, self.num_features):
            if self.affine:
                raise InputError(f"InstanceNorm1d has {self.num_features} channels, its input "
                                 f"{input.type} has {channels}")
            warnings.warn(f"InstanceNorm1d was made for {self.num_features} channels, its input "
                          f"has {channels}", stacklevel=2)
        if input.ndim == 2:
            return self._normal(input.unsqueeze(0)).squeeze(0)
        return self._normal(input)

    def _normal(self, input: Array) -> Any:
        return F.instance_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, self.momentum or 0.0, self.eps)


class _LazyByChannel(_ByChannel):
    """What the lazy ones share: num_features is that of the first input, in a call or a trace, and
    from then on they are what is said in `becomes`."""

    becomes: type[_ByChannel]

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: DTypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        _ByChannel.__init__(self, 0, eps, momentum, False, False, bias=False)
        self.affine = affine
        self.track_running_stats = track_running_stats
        if affine:
            self.weight = UninitializedParameter(device=device, dtype=dtype)
            if bias:
                self.bias = UninitializedParameter(device=device, dtype=dtype)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = Buffer(np.array(0, np.int64))

    def has_uninitialized_params(self) -> bool:
        return any(isinstance(array, Uninitialized)
                   for array in (*self._parameters.values(), *self._buffers.values()))

    def initialize_parameters(self, input: Array) -> None:
        """Give the arrays the number of channels that this input has.

        Errors: an input that is not [N, C] or [N, C, L]; channels whose number is not known."""
        if input.ndim not in (2, 3):
            raise InputError(f"{type(self).__name__} takes [N, C] or [N, C, L], not {input.type}")
        if not self.has_uninitialized_params():
            return
        self.num_features = operator.index(input.shape[1])
        for array in (self.weight, self.bias, self.running_mean, self.running_var):
            if isinstance(array, Uninitialized):
                array.materialize((self.num_features,))
        self.reset_parameters()

    def forward(self, input: Array) -> Any:
        self.initialize_parameters(input)
        self.__class__ = self.becomes  # type: ignore[assignment]
        return self.forward(input)


class LazyBatchNorm1d(_LazyByChannel, BatchNorm1d):
    """A BatchNorm1d that takes num_features from its first input."""

    becomes = BatchNorm1d


class LazyInstanceNorm1d(_LazyByChannel, InstanceNorm1d):
    """An InstanceNorm1d that takes num_features from its first input."""

    becomes = InstanceNorm1d


class LocalResponseNorm(Module):
    """x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta, of [N, C, ...]."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Array) -> Any:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(Module):
    """LocalResponseNorm of [N, C, H, W], with as many neighbours before a channel as after it.

    torch's never takes the first channel out of its running sum; this one does.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Array) -> Any:
        if input.ndim != 4:
            raise InputError(f"CrossMapLRN2d takes [N, C, H, W], not {input.type}")
        around = (self.size - 1) // 2
        sums = neighbours(input, self.size, around, around)
        return input.mul(sums.mul(self.alpha).add(self.k).pow(-self.beta))

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def _shape_of(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    if not isinstance(normalized_shape, Sequence):
        normalized_shape = [normalized_shape]
    return tuple(map(operator.index, normalized_shape))

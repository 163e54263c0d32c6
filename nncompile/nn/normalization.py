"""Normalisation layers."""

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
from nncompile.array.dispatch import current
from nncompile.array.storage import numbers_to_change
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

__all__ = ["BatchNorm1d", "CrossMapLRN2d", "GroupNorm", "InstanceNorm1d", "LayerNorm",
           "LazyBatchNorm1d", "LazyInstanceNorm1d", "LocalResponseNorm", "RMSNorm"]


class _Normalization(Module):
    """A layer with an optional weight, which starts as 1, and an optional bias, which starts as 0.
    """

    weight: Parameter | None
    bias: Parameter | None

    def _make_affine(self, shape: tuple[int, ...], device: Any, dtype: DTypeLike | None,
                     **there: bool) -> None:
        """Makes the parameters of these names, or None in place of one that is not to be there."""
        for name, is_there in there.items():
            self.register_parameter(name, empty(shape, device, dtype) if is_there else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the weight to 1 and the bias to 0, where there are any."""
        for name, value in ("weight", 1.0), ("bias", 0.0):
            if (parameter := self._parameters.get(name)) is not None:
                init.constant_(parameter, value)


class LayerNorm(_Normalization):
    """Computes (x - mean) / sqrt(variance + eps) * weight + bias over the last dimensions.

    normalized_shape: their sizes; also the shape of weight and bias, which start as 1 and 0. The
    variance is the biased one. Ba, Kiros and Hinton (2016), arXiv:1607.06450.
    """

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-5,
                 elementwise_affine: bool = True, bias: bool = True, device: Any = None,
                 dtype: DTypeLike | None = None) -> None:
        super().__init__()
        self.normalized_shape = _shape_of(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self._make_affine(self.normalized_shape, device, dtype, weight=elementwise_affine,
                          bias=elementwise_affine and bias)

    def forward(self, input: Array) -> Any:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, "
                f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}")


class RMSNorm(_Normalization):
    """Computes x / sqrt(mean(x^2) + eps) * weight over the last dimensions.

    normalized_shape: their sizes; also the shape of weight, which starts as 1. eps: by default the
    machine epsilon of x's dtype. Zhang and Sennrich (2019), arXiv:1910.07467.
    """

    def __init__(self, normalized_shape: int | Sequence[int], eps: float | None = None,
                 elementwise_affine: bool = True, device: Any = None, dtype: DTypeLike | None = None
                 ) -> None:
        super().__init__()
        self.normalized_shape = _shape_of(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self._make_affine(self.normalized_shape, device, dtype, weight=elementwise_affine)

    def forward(self, x: Array) -> Any:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, "
                f"elementwise_affine={self.elementwise_affine}")


class GroupNorm(_Normalization):
    """Normalises each group of channels of [N, C, ...] to mean 0 and variance 1.

    The result times weight plus bias, both [C], which start as 1 and 0. Wu and He (2018),
    arXiv:1803.08494. Raises InputError where num_groups does not divide num_channels.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
                 device: Any = None, dtype: DTypeLike | None = None, *, bias: bool = True) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise InputError(f"{num_channels} channels do not divide into {num_groups} groups")
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.affine = affine
        self._make_affine((num_channels,), device, dtype, weight=affine, bias=affine and bias)

    def forward(self, input: Array) -> Any:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
                f"bias={self.bias is not None}")


class _NormBase(_Normalization):
    """Normalisation of each channel with running statistics: BatchNorm1d, InstanceNorm1d.

    weight and bias [num_features] start as 1 and 0, running_mean and running_var as 0 and 1.
    momentum: the share of a batch's statistics in the running ones; None for their average.
    """

    running_mean: Array | None
    running_var: Array | None
    num_batches_tracked: Array | None

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = True, track_running_stats: bool = True, device: Any = None,
                 dtype: DTypeLike | None = None, *, bias: bool = True) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        kind = np.float32 if dtype is None else dtype
        statistics = {"running_mean": (num_features, kind), "running_var": (num_features, kind),
                      "num_batches_tracked": ((), np.int64)}
        for name, (shape, dtype_) in statistics.items():
            self.register_buffer(name, np.zeros(shape, dtype_) if track_running_stats else None)
        self._make_affine((num_features,), device, dtype, weight=affine, bias=affine and bias)

    def reset_running_stats(self) -> None:
        """Sets running_mean to 0, running_var to 1 and num_batches_tracked to 0."""
        for array, value in ((self.running_mean, 0), (self.running_var, 1),
                             (self.num_batches_tracked, 0)):
            if array is not None:
                numbers_to_change(array)[...] = value        # in place, even in a trace

    def reset_parameters(self) -> None:
        """Resets the running statistics, the weight and the bias."""
        self.reset_running_stats()
        super().reset_parameters()

    def _unlike_eval(self) -> bool:
        return self.training and self.track_running_stats

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
                f"affine={self.affine}, bias={self.bias is not None}, "
                f"track_running_stats={self.track_running_stats}")


class _BatchNorm(_NormBase):
    """Computes what BatchNorm1d does, of any input that _check_input_dim lets pass."""

    def _unlike_eval(self) -> bool:
        return self.training

    def _check_input_dim(self, input: Array) -> None:
        """Raises an error for an input of another rank; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} has no _check_input_dim")

    def forward(self, input: Array) -> Any:
        self._check_input_dim(input)
        kept = not self.training or self.track_running_stats
        return F.batch_norm(
            input, self.running_mean if kept else None, self.running_var if kept else None,
            self.weight, self.bias, self.training or self.running_mean is None, self._count(),
            self.eps)

    def _count(self) -> Any:
        """Counts the batch in training mode, and returns its share in the running statistics."""
        if not self.training or self.num_batches_tracked is None:
            return self.momentum or 0.0
        if current.get().differentiates:
            count = self.num_batches_tracked.add(1)
            current.get().keep(self.num_batches_tracked._as_operand(), count._as_operand())
            return count.float().reciprocal() if self.momentum is None else self.momentum
        current.get().check_training("the number of batches in training mode",
                                     self.num_batches_tracked.type)
        number = numbers_to_change(self.num_batches_tracked)
        number += 1
        return 1 / float(number) if self.momentum is None else self.momentum


class BatchNorm1d(_BatchNorm):
    """Computes (x - mean) / sqrt(variance + eps) * weight + bias for each channel.

    The input is [N, C] or [N, C, L]. Mean and variance are the running ones in eval mode, and the
    batch's in training mode or where track_running_stats is off. Ioffe and Szegedy (2015),
    arXiv:1502.03167.
    """

    def _check_input_dim(self, input: Array) -> None:
        if input.ndim not in (2, 3):
            raise InputError(f"BatchNorm1d takes [N, C] or [N, C, L], not {input.type}")


class _InstanceNorm(_NormBase):
    """What the layers of instance normalisation share: the defaults of their arguments."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1,
                 affine: bool = False, track_running_stats: bool = False, device: Any = None,
                 dtype: DTypeLike | None = None, *, bias: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype,
                         bias=bias)


class InstanceNorm1d(_InstanceNorm):
    """Normalises each channel of each instance of [N, C, L] or [C, L] to mean 0 and variance 1.

    With affine, the result times weight plus bias. With track_running_stats, eval mode uses the
    running statistics instead. Ulyanov, Vedaldi and Lempitsky (2016), arXiv:1607.08022.
    """

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


class _LazyNormBase(_NormBase):
    """A layer that takes num_features from its first input, and then becomes a `becomes`."""

    becomes: type[_NormBase]

    def __init__(self, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Any = None,
                 dtype: DTypeLike | None = None, *, bias: bool = True) -> None:
        _NormBase.__init__(self, 0, eps, momentum, False, False, bias=False)
        self.affine, self.track_running_stats = affine, track_running_stats
        if affine:
            self.weight = UninitializedParameter(device=device, dtype=dtype)
            if bias:
                self.bias = UninitializedParameter(device=device, dtype=dtype)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = Buffer(np.array(0, np.int64))

    def has_uninitialized_params(self) -> bool:
        """Returns whether a parameter or a buffer has no shape yet."""
        return any(isinstance(array, Uninitialized)
                   for array in (*self._parameters.values(), *self._buffers.values()))

    def initialize_parameters(self, input: Array) -> None:
        """Gives the parameters and buffers the number of channels that this input has.

        Raises InputError for another rank than 2 or 3, and Error where the number is symbolic.
        """
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


class LazyBatchNorm1d(_LazyNormBase, BatchNorm1d):
    """A BatchNorm1d that takes num_features from its first input, of a call or a trace."""

    becomes = BatchNorm1d


class LazyInstanceNorm1d(_LazyNormBase, InstanceNorm1d):
    """An InstanceNorm1d that takes num_features from its first input, of a call or a trace."""

    becomes = InstanceNorm1d


class LocalResponseNorm(Module):
    """Computes x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta of [N, C, ...].

    Channels beyond the first and the last count as 0. Krizhevsky, Sutskever and Hinton (2012).
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Array) -> Any:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(LocalResponseNorm):
    """Computes LocalResponseNorm of [N, C, H, W] over (size - 1) / 2 channels to each side.

    torch's implementation never drops the first channel from its running sum; this one does.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        super().__init__(size, alpha, beta, k)

    def forward(self, input: Array) -> Any:
        if input.ndim != 4:
            raise InputError(f"CrossMapLRN2d takes [N, C, H, W], not {input.type}")
        around = (self.size - 1) // 2
        sums = neighbours(input, self.size, around, around)
        return input.mul(sums.mul(self.alpha).add(self.k).pow(-self.beta))


def _shape_of(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    if not isinstance(normalized_shape, Sequence):
        normalized_shape = [normalized_shape]
    return tuple(map(operator.index, normalized_shape))

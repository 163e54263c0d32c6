"""Normalisation functions and distances."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ir import DimExpr, Error, product, same
from nncompile.array import Array, apply, as_array
from nncompile.array.dispatch import current
from nncompile.array.indexing import axis_of
from nncompile.array.storage import numbers_to_change
from nncompile.errors import InputError
from nncompile.nn.calls import from_outside

__all__ = ["batch_norm", "cosine_similarity", "group_norm", "instance_norm", "layer_norm",
           "local_response_norm", "normalize", "pairwise_distance", "pdist", "rms_norm"]


@from_outside
def layer_norm(input: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None,
               eps: float = 1e-5) -> Array:
    """Computes (x - mean) / sqrt(variance + eps) * weight + bias over the last dimensions.

    normalized_shape: their sizes; also the shape of weight and bias. The variance is the biased
    one. Ba, Kiros and Hinton (2016), arXiv:1607.06450.
    Raises Error where shapes do not fit.
    """
    x, axes = _last_axes("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    w, b = (None if a is None else as_array("layer_norm", a) for a in (weight, bias))
    affine = [a for a in (w, b) if a is not None and w is not None]
    normal = apply("layer_norm", x, *affine, axes=axes, eps=float(eps))
    return normal.add(b) if w is None and b is not None else normal


@from_outside
def rms_norm(input: Any, normalized_shape: Sequence[int], weight: Any = None,
             eps: float | None = None) -> Array:
    """Computes x / sqrt(mean(x^2) + eps) * weight over the last dimensions.

    normalized_shape: their sizes; also the shape of weight. eps: by default the machine epsilon of
    x's dtype. Zhang and Sennrich (2019), arXiv:1910.07467.
    Raises Error where shapes do not fit.
    """
    x, axes = _last_axes("rms_norm", input, normalized_shape, weight=weight)
    if eps is None:
        eps = float(np.finfo(x.dtype).eps)
    given = [] if weight is None else [as_array("rms_norm", weight)]
    return apply("rms_norm", x, *given, axes=axes, eps=float(eps))


def _last_axes(name: str, input: Any, normalized_shape: Sequence[int], **affine: Any
               ) -> tuple[Array, tuple[int, ...]]:
    x, shape = as_array(name, input), tuple(normalized_shape)
    first = x.ndim - len(shape)
    if not shape or first < 0 or not same(x.shape[first:], shape):
        raise Error(f"{name} over the last axes {list(shape)} does not fit {x.type}")
    for part, given in affine.items():
        if given is not None and not same(as_array(name, given).shape, shape):
            raise Error(f"{name} over {list(shape)} got a {part} {as_array(name, given).type}")
    return x, tuple(range(first, x.ndim))


@from_outside
def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
               ) -> Array:
    """Normalises each group of channels of [N, C, ...] to mean 0 and variance 1.

    The result times weight plus bias, both [C]. Wu and He (2018), arXiv:1803.08494.
    Raises Error where the groups do not divide the channels, and InputError for groups of one
    value.
    """
    x = as_array("group_norm", input)
    if x.ndim < 2:
        raise Error(f"group_norm takes [N, C, ...], not {x.type}")
    channels = x.shape[1]
    if num_groups <= 0 or channels % num_groups:
        raise Error(f"group_norm: {channels} channels do not divide into {num_groups} groups")
    _check_values([x.shape[0] * channels // num_groups, num_groups, *x.shape[2:]])
    size = channels // num_groups * product(x.shape[2:])
    groups = x.reshape(x.shape[0], num_groups, size)
    if same(size, 0) or same(x.numel(), 0):
        return _affine_channels(x, weight, bias)
    normal = apply("layer_norm", groups, axes=(2,), eps=float(eps)).reshape(x.shape)
    return _affine_channels(normal, weight, bias)


@from_outside
def batch_norm(input: Any, running_mean: Any, running_var: Any, weight: Any = None,
               bias: Any = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5
               ) -> Array:
    """Computes (x - mean) / sqrt(variance + eps) * weight + bias for each channel of [N, C, ...].

    training: mean and variance are the batch's, and the running ones, if given, move towards them
    by the share `momentum`; otherwise they are the running ones. Ioffe and Szegedy (2015),
    arXiv:1502.03167.
    Raises Error where statistics are missing or sizes do not fit, and in a trace in training with
    running statistics; InputError in training for channels of one value.
    """
    x = as_array("batch_norm", input)
    if x.ndim < 2:
        raise Error(f"batch_norm takes [N, C, ...], not {x.type}")
    for name, given in [("running_mean", running_mean), ("running_var", running_var),
                        ("weight", weight), ("bias", bias)]:
        if given is not None and not same(as_array(name, given).numel(), x.shape[1]):
            raise Error(f"batch_norm of {x.shape[1]} channels got a {name} "
                        f"{as_array(name, given).type}")
    if not training:
        if running_mean is None or running_var is None:
            raise Error("batch_norm needs running_mean and running_var unless it is training")
        return _by_statistics(x, as_array("", running_mean), as_array("", running_var), weight,
                              bias, eps)
    _check_values(x.shape)
    axes = (0, *range(2, x.ndim))
    mean = x.mean(axes, keepdim=True).reshape(-1)        # the one that the variance has, too
    variance = x.var(axes, unbiased=False)
    if running_mean is not None and running_var is not None:
        count = x.numel() // x.shape[1]
        _move(running_mean, mean, momentum)
        _move(running_var, variance.mul(count / max(count - 1, 1)), momentum)
    return _by_statistics(x, mean, variance, weight, bias, eps)


@from_outside
def instance_norm(input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None,
                  bias: Any = None, use_input_stats: bool = True, momentum: float = 0.1,
                  eps: float = 1e-5) -> Array:
    """Normalises each channel of each instance of [N, C, ...] to mean 0 and variance 1.

    The result times weight plus bias, both [C]. use_input_stats: False uses the running statistics
    instead. Ulyanov, Vedaldi and Lempitsky (2016), arXiv:1607.08022.
    Raises Error for channels of one value, and where statistics are missing.
    """
    x = as_array("instance_norm", input)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise Error("instance_norm needs running_mean and running_var, or use_input_stats")
        return _by_statistics(x, as_array("", running_mean), as_array("", running_var), weight,
                              bias, eps)
    if x.ndim < 3:
        raise Error(f"instance_norm takes [N, C, ...] with an axis or more behind, not {x.type}")
    if same(product(x.shape[2:]), 1):
        raise Error(f"instance_norm needs more than one value a channel, got {x.type}")
    if running_mean is not None and running_var is not None:
        axes = tuple(range(2, x.ndim))
        _move(running_mean, x.mean(axes).mean(0), momentum)
        _move(running_var, x.var(axes).mean(0), momentum)
    normal = apply("layer_norm", x, axes=tuple(range(2, x.ndim)), eps=float(eps))
    return _affine_channels(normal, weight, bias)


def _by_statistics(x: Array, mean: Array, variance: Array, weight: Any, bias: Any, eps: float
                   ) -> Array:
    """Returns x * scale + shift, where scale and shift are computed from the statistics first.

    Those of running statistics are constants, which are folded before the call.
    """
    scale = variance.reshape(-1).add(eps).rsqrt()
    if weight is not None:
        scale = scale.mul(weight)
    shift = mean.reshape(-1).mul(scale).neg()
    if bias is not None:
        shift = shift.add(bias)
    return x.mul(_of_channels(scale, x.ndim)).add(_of_channels(shift, x.ndim))


def _affine_channels(x: Array, weight: Any, bias: Any) -> Array:
    if weight is not None:
        x = x.mul(_of_channels(as_array("weight", weight), x.ndim))
    return x if bias is None else x.add(_of_channels(as_array("bias", bias), x.ndim))


def _of_channels(values: Array, rank: int) -> Array:
    """Returns a vector [C] in a shape that broadcasts with [N, C, ...]."""
    return values.reshape(*values.shape, *[1] * (rank - 2))


def _move(running: Any, batch: Array, momentum: float) -> None:
    """Moves running statistics towards the batch's, in place."""
    if current.get().differentiates:
        old = as_array("running statistics", running)
        moved = old.add(batch.detach().sub(old).mul(momentum))
        current.get().keep(old._as_operand(), moved._as_operand())
        return
    current.get().check_training("batch statistics in training mode", batch.type)
    numbers = numbers_to_change(running) if isinstance(running, Array) else running
    numbers += momentum * (batch.numpy() - numbers)


def _check_values(shape: Sequence[Any]) -> None:
    sizes = [shape[0], *shape[2:]]
    if not any(isinstance(size, DimExpr) for size in sizes) and product(sizes) == 1:
        raise InputError(f"more than one value is needed for each channel, got {[*shape]}")


@from_outside
def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75,
                        k: float = 1.0) -> Array:
    """Computes x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta.

    The input is [N, C, ...] with three dimensions or more; channels beyond the first and the last
    count as 0. Krizhevsky, Sutskever and Hinton (2012).
    """
    x = as_array("local_response_norm", input)
    if x.ndim < 3:
        raise Error(f"local_response_norm takes three axes or more, not {x.type}")
    return x.div(neighbours(x, size, size // 2, (size - 1) // 2).mul(alpha).add(k).pow(beta))


def neighbours(x: Array, size: int, before: int, after: int) -> Array:
    """Returns the sum of squares over the channels around each, divided by size."""
    zero = [0] * x.ndim
    low, high = (tuple([*zero[:1], n, *zero[2:]]) for n in (before, after))
    padded = apply("pad", x.mul(x), low=low, high=high, value=0.0)
    channels, total = x.shape[1], None
    for shift in range(before + after + 1):
        part = padded.narrow(1, shift, channels)
        total = part if total is None else total.add(part)
    return as_array("neighbours", total).div(float(size))


@from_outside
def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None
              ) -> Array:
    """Computes x / max(p-norm of x along dim, eps)."""
    if out is not None:
        raise InputError("normalize writes to no `out`: take what it returns")
    x = as_array("normalize", input)
    return x.div(x.norm(p, dim, keepdim=True).clamp(min=eps))


@from_outside
def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Array:
    """Computes x1 . x2 / (max(|x1|, eps) * max(|x2|, eps)) along dim, which the result lacks."""
    a, b = as_array("cosine_similarity", x1), as_array("cosine_similarity", x2)
    shape = apply("add", a, b._cast(a.type.dtype)).shape
    a, b = a.expand(shape), b.expand(shape)
    axis = axis_of(a.type, dim)
    return _unit(a, axis, eps).mul(_unit(b, axis, eps)).sum(axis)


def _unit(x: Array, axis: int, eps: float) -> Array:
    return x.div(x.norm(2, axis, keepdim=True).clamp(min=eps))


@from_outside
def pdist(input: Any, p: float = 2.0) -> Array:
    """Returns the p-norms of the differences of all pairs of rows: [N, M] -> [N * (N - 1) / 2].

    The pairs are ordered as in the upper triangle of a matrix.
    Raises Error for another rank or a symbolic N, and InputError for a negative p.
    """
    x = as_array("pdist", input)
    if x.ndim != 2 or not x.is_floating_point():
        raise Error(f"pdist takes a matrix of floats, not {x.type}")
    if p < 0:
        raise InputError(f"pdist takes p from 0 on, not {p}")
    first, second = np.triu_indices(operator.index(x.shape[0]), 1)
    if same(x.shape[1], 0):
        return apply("full", 0.0, shape=(len(first),), dtype=x.type.dtype)
    return x.index_select(0, first).sub(x.index_select(0, second)).norm(p, 1)


@from_outside
def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
                      ) -> Array:
    """Computes the p-norm of x1 - x2 + eps along the last dimension."""
    difference = as_array("pairwise_distance", x1).sub(as_array("pairwise_distance", x2))
    return difference.add(eps).norm(float(p), -1, keepdim)

"""Gradients limited in their norm or in each number, in place, before an optimizer's step."""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nncompile.array import Array
from nncompile.array.creation import stack
from nncompile.array.gradients import no_grad
from nncompile.errors import InputError
from nncompile.placeholders import getter

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_",
           "get_total_norm"]

_BESIDE = 1e-6                                   # added to a norm that is divided by


def norm_of(arrays: Sequence[Array], norm_type: float) -> Any:
    """Returns the norm of the norms of several arrays, which is that of all their numbers."""
    if not arrays:
        return Array(np.array(0.0, np.float32))
    return stack([array.norm(norm_type) for array in arrays]).norm(norm_type)


def clip_factor(norm: Any, max_norm: float) -> Any:
    """Returns what a gradient is multiplied by so that its norm is max_norm; at most 1."""
    return (max_norm / (norm + _BESIDE)).clamp(max=1.0)


def get_total_norm(tensors: Iterable[Array], norm_type: float = 2.0,
                   error_if_nonfinite: bool = False, foreach: bool | None = None) -> Array:
    """Returns the norm of all numbers of the arrays, as those of one vector.

    norm_type: of the p-norm; inf is the largest magnitude.
    Raises InputError where error_if_nonfinite is set and the norm is NaN or infinite.
    """
    arrays = [tensors] if isinstance(tensors, Array) else list(tensors)
    total: Array = norm_of([array.detach() for array in arrays], float(norm_type))
    if error_if_nonfinite and not np.isfinite(total.item()):
        raise InputError(f"The total norm of order {float(norm_type)} for gradients from "
                         "`parameters` is non-finite, so it cannot be clipped. To disable this "
                         "error and scale the gradients by the non-finite norm anyway, set "
                         "`error_if_nonfinite=False`")
    return total


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Any,
                          foreach: bool | None = None) -> None:
    """Scales the gradients, whose norm is total_norm, down to max_norm if it is larger."""
    with no_grad():
        factor = clip_factor(total_norm, float(max_norm))
        for gradient in _gradients(parameters):
            gradient.mul_(factor)


def clip_grad_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False, foreach: bool | None = None) -> Array:
    """Scales all gradients together so that their norm is at most max_norm; returns it as it was.

    parameters: one or several; those without a gradient are left out.
    Raises InputError where error_if_nonfinite is set and the norm is NaN or infinite.
    """
    generated = isinstance(parameters, types.GeneratorType)
    parameters = [parameters] if isinstance(parameters, Array) else list(parameters)
    if generated and not parameters:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.",
                      stacklevel=4)
    total = get_total_norm(_gradients(parameters), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_norm(parameters: Any, max_norm: float, norm_type: float = 2.0,
                   error_if_nonfinite: bool = False, foreach: bool | None = None) -> Any:
    """Calls clip_grad_norm_: its older name."""
    warnings.warn("`torch.nn.utils.clip_grad_norm` is now deprecated in favor of "
                  "`torch.nn.utils.clip_grad_norm_`.", FutureWarning, stacklevel=2)
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Limits each number of the gradients to [-clip_value, clip_value]."""
    with no_grad():
        for gradient in _gradients(parameters):
            gradient.clamp_(-float(clip_value), float(clip_value))


def _gradients(parameters: Any) -> list[Any]:
    given = [parameters] if isinstance(parameters, Array) else parameters
    return [p.grad for p in given if p.grad is not None]


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

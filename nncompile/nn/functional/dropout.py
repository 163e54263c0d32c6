"""Dropout functions, which act in training and return the input otherwise.

Each takes an array of floats and a probability p. Each raises InputError for p outside 0..1, and
Error in a trace in training with p > 0, since a graph for inference has no randomness; a training
step draws by the op `uniform`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ir import Error
from nncompile.array import Array, apply, as_array
from nncompile.array.dispatch import current
from nncompile.array.generator import default_generator
from nncompile.array.random import uniform
from nncompile.errors import InputError
from nncompile.nn.calls import from_outside, placed

# The limit of selu at -inf, by which alpha dropout replaces what it drops.
# Klambauer et al. (2017), arXiv:1706.02515.
_SATURATED = -1.7580993408473766


@from_outside
def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Array:
    """Sets elements to 0 with probability p and scales the others by 1 / (1 - p), in training."""
    return placed(input, _dropped("dropout", input, p, training, lambda shape: shape),
                  inplace and training)


@from_outside
def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Array:
    """Computes dropout of whole channels of [N, C, L] or [C, L]."""
    return placed(input, _channels_dropped("dropout1d", input, p, training, 3),
                  inplace and training)


@from_outside
def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Array:
    """Computes dropout of whole channels of [N, C, H, W], or of [N, C] and others, as torch does.
    """
    return placed(input, _channels_dropped("dropout2d", input, p, training, None),
                  inplace and training)


@from_outside
def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Array:
    """Computes dropout of whole channels of [N, C, D, H, W] or [C, D, H, W]."""
    return placed(input, _channels_dropped("dropout3d", input, p, training, 5),
                  inplace and training)


@from_outside
def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False
                  ) -> Array:
    """Computes dropout that preserves the mean and the variance of selu's outputs.

    Klambauer et al. (2017), arXiv:1706.02515.
    """
    return placed(input, _alpha_dropped("alpha_dropout", input, p, training, lambda shape: shape),
                  inplace and training)


@from_outside
def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False,
                          inplace: bool = False) -> Array:
    """Computes alpha_dropout of whole channels of [N, C, ...]."""
    return placed(input, _alpha_dropped("feature_alpha_dropout", input, p, training, _of_channels),
                  inplace and training)


def _of_channels(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:2], *[1] * (len(shape) - 2))


def _channels_dropped(name: str, input: Any, p: float, training: bool, batched: int | None
                      ) -> Array:
    """Computes dropout of whole channels, which are the second axis.

    batched: with another number of axes than that the channels are the first one, as in torch.
    """
    x = as_array(name, input)
    if name == "dropout1d" and x.ndim not in (2, 3):
        raise Error(f"{name} takes arrays of 2 or 3 axes, not {x.type}")
    if training and p > 0 and x.ndim < (1 if batched else 2):
        raise Error(f"{name} finds no channels in {x.type}")
    if batched is not None and x.ndim != batched:
        return _dropped(name, x, p, training, lambda shape: (shape[0], *[1] * (len(shape) - 1)))
    return _dropped(name, x, p, training, _of_channels)


def _dropped(name: str, input: Any, p: float, training: bool,
             mask_shape: Callable[[Any], Any]) -> Array:
    check_probability(p)
    x = as_array(name, input)
    if not training or p == 0:
        return apply("dropout", x, p=float(p))
    kept = _kept(name, x, mask_shape(x.shape), p)
    scale = 1 / (1 - p) if p < 1 else 0.0
    return x.mul(kept._cast(x.type.dtype).mul(scale))


def _alpha_dropped(name: str, input: Any, p: float, training: bool,
                   mask_shape: Callable[[Any], Any]) -> Array:
    check_probability(p)
    x = as_array(name, input)
    if not training or p == 0:
        return apply("dropout", x, p=float(p))
    if p == 1:
        return x.mul(0.0)
    kept = _kept(name, x, mask_shape(x.shape), p)
    scale = ((1 - p) * (1 + p * _SATURATED**2)) ** -0.5
    return apply("where", kept, x, _SATURATED).mul(scale).sub(scale * _SATURATED * p)


def _kept(name: str, x: Array, shape: Sequence[Any], p: float) -> Array:
    """Returns which elements, or parts of that shape, are not dropped: bools."""
    return drawn(name, x, shape).ge(p)


def drawn(name: str, x: Array, shape: Sequence[Any]) -> Array:
    """Returns uniform numbers on [0, 1) for x. Raises Error in a trace but that of a training step.
    """
    if current.get().differentiates:
        return uniform(shape, x.type.dtype)
    current.get().check_training(
        f"{name} in training mode (model.eval() turns it off)", x.type)
    return Array(default_generator().random(shape))


def check_probability(p: float) -> None:
    """Raises InputError unless p is between 0 and 1."""
    if not 0 <= p <= 1:
        raise InputError(f"the probability of dropout is between 0 and 1, not {p}")

"""Initial values.  Each function fills an array in place and returns it, as torch.nn.init does.

`tensor` is a Parameter or a writable ndarray.  `generator` is a numpy.random.Generator; without
one the numbers come from the generator that `manual_seed` seeds.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from nncompile.array import Array
from nncompile.errors import InputError

Tensor = TypeVar("Tensor", Array, NDArray[Any])

_default = np.random.default_rng()

GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def manual_seed(seed: int) -> Generator:
    """Make the numbers behind this call the same in every run; returns the generator seeded."""
    global _default
    _default = np.random.default_rng(seed)
    return _default


def default_generator() -> Generator:
    """Where the initial numbers of layers come from; see manual_seed."""
    return _default


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers drawn evenly from [a, b); returns the tensor, as all of these do."""
    return fill(tensor, (generator or _default).uniform(a, b, tensor.shape))


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers of a normal distribution."""
    return fill(tensor, (generator or _default).normal(mean, std, tensor.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one number."""
    return fill(tensor, val)


def ones_(tensor: Tensor) -> Tensor:
    return fill(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    return fill(tensor, 0.0)


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Glorot and Bengio (2010): variance gain^2 * 2 / (fan_in + fan_out)."""
    fan_in, fan_out = fans(tensor)
    bound = gain * math.sqrt(6 / max(fan_in + fan_out, 1))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Glorot and Bengio (2010), from a normal distribution."""
    fan_in, fan_out = fans(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2 / max(fan_in + fan_out, 1)), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """He et al. (2015): variance gain^2 / fan; `a` is the negative slope of leaky_relu."""
    bound = math.sqrt(3) * kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """He et al. (2015), from a normal distribution."""
    return normal_(tensor, 0.0, kaiming_std(tensor, a, mode, nonlinearity), generator)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through a nonlinearity; `param` is leaky_relu's slope."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in GAINS:
        known = ", ".join([*GAINS, "leaky_relu"])
        raise InputError(f"no gain is known for {nonlinearity!r}; for {known} one is")
    return GAINS[nonlinearity]


def kaiming_std(tensor: Array | NDArray[Any], a: float, mode: str, nonlinearity: str) -> float:
    """gain / sqrt(fan), the standard deviation of He et al. (2015)."""
    if mode not in ("fan_in", "fan_out"):
        raise InputError(f"mode is 'fan_in' or 'fan_out', not {mode!r}")
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def fans(tensor: Array | NDArray[Any]) -> tuple[int, int]:
    """How many inputs an output has, and how many outputs an input, for a weight [out, in, ...]."""
    if len(tensor.shape) < 2:
        raise InputError(f"fan in and fan out need two dimensions, got {list(tensor.shape)}")
    outputs, inputs, *window = tensor.shape
    return inputs * math.prod(window), outputs * math.prod(window)


def fill(tensor: Tensor, values: Any) -> Tensor:
    array = tensor.numpy() if isinstance(tensor, Array) else tensor
    array[...] = values
    return tensor

"""Initial values.  Each function fills an array in place and returns it, as torch.nn.init does.

`tensor` is a Parameter or a writable ndarray.  `generator` is a numpy.random.Generator; without
one the numbers come from the generator that `manual_seed` seeds.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from nncompile.array import Array
from nncompile.array.gradients import no_grad
from nncompile.array.random import default_generator
from nncompile.array.random import manual_seed as manual_seed
from nncompile.errors import InputError

Tensor = TypeVar("Tensor", Array, NDArray[Any])
_P = ParamSpec("_P")
_R = TypeVar("_R")

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4} | {
    f"conv{transposed}{rank}d": 1.0 for transposed in ("", "_transpose") for rank in (1, 2, 3)
}


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    return _fill(tensor, (generator or default_generator()).uniform(a, b, tensor.shape))


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    return _fill(tensor, (generator or default_generator()).normal(mean, std, tensor.shape))


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """The normal distribution between a and b: what falls outside is drawn again.

    Errors: InputError for a > b.
    """
    if a > b:
        raise InputError(f"trunc_normal_ needs a <= b, got {a} and {b}")
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(f"the mean {mean} is more than 2 std outside of {a}..{b}", stacklevel=2)
    draws = generator or default_generator()
    likely = math.erf((b - mean) / std / math.sqrt(2)) - math.erf((a - mean) / std / math.sqrt(2))
    values = np.empty(tensor.shape)
    missing = np.ones(tensor.shape, bool)
    while count := int(missing.sum()):
        if likely > 0.6:
            drawn = draws.normal(mean, std, count)
            kept = (drawn >= a) & (drawn <= b)
        else:  # from a box over the density, which misses less than the whole bell would
            drawn, peak = draws.uniform(a, b, count), max(a, min(mean, b))
            kept = draws.random(count) <= _density(drawn, mean, std) / _density(peak, mean, std)
        values[missing] = drawn
        missing[missing] = ~kept
    return _fill(tensor, values)


def _density(x: Any, mean: float, std: float) -> Any:
    return np.exp(-0.5 * ((x - mean) / std) ** 2)


def constant_(tensor: Tensor, val: float) -> Tensor:
    return _fill(tensor, val)


def ones_(tensor: Tensor) -> Tensor:
    return _fill(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    return _fill(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity, as much of it as a matrix [N, K] holds."""
    if len(tensor.shape) != 2:
        raise InputError(f"eye_ fills a matrix, not {list(tensor.shape)}")
    return _fill(tensor, np.eye(*tensor.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """What keeps the channels of a convolution [out, in, ...] as they are, group by group."""
    if not 3 <= len(tensor.shape) <= 5:
        raise InputError(f"dirac_ fills arrays of 3, 4 or 5 dimensions, not {list(tensor.shape)}")
    outputs, inputs, *window = map(int, tensor.shape)
    if outputs % groups:
        raise InputError(f"{outputs} outputs do not divide into {groups} groups")
    values: NDArray[Any] = np.zeros(tensor.shape)
    middle: tuple[int, ...] = tuple(size // 2 for size in window)
    for group in range(groups):
        first = group * (outputs // groups)
        for channel in range(min(outputs // groups, inputs)):
            values[(first + channel, channel, *middle)] = 1
    return _fill(tensor, values)


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Glorot and Bengio (2010): variance gain^2 * 2 / (fan_in + fan_out)."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    bound = gain * math.sqrt(6 / max(fan_in + fan_out, 1))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Glorot and Bengio (2010), from a normal distribution."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2 / max(fan_in + fan_out, 1)), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """He et al. (2015): variance gain^2 / fan; `a` is the negative slope of leaky_relu."""
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """He et al. (2015), from a normal distribution."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """Rows, or columns where they are fewer, that are orthogonal to each other, times gain; [N, K]
    where K is all axes but the first.

    Saxe et al. (2013), arXiv:1312.6120; the signs after Mezzadri (2006), arXiv:math-ph/0609050.
    """
    if len(tensor.shape) < 2:
        raise InputError(f"orthogonal_ needs two dimensions or more, got {list(tensor.shape)}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    if rows * columns == 0:
        return tensor
    draws = generator or default_generator()
    drawn = draws.normal(0, 1, (max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q *= np.sign(np.diag(r))
    return _fill(tensor, gain * (q.T if rows < columns else q).reshape(tensor.shape))


def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None
) -> Tensor:
    """Normal, with the fraction `sparsity` of each column of a matrix put to 0, rounded up.

    Martens (2010).
    """
    if len(tensor.shape) != 2:
        raise InputError(f"sparse_ fills a matrix, not {list(tensor.shape)}")
    draws, (rows, columns) = generator or default_generator(), tensor.shape
    values = draws.normal(0, std, (rows, columns))
    for column in range(columns):
        values[draws.permutation(rows)[: math.ceil(sparsity * rows)], column] = 0
    return _fill(tensor, values)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through a nonlinearity; `param` is leaky_relu's slope."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        known = ", ".join([*_GAINS, "leaky_relu"])
        raise InputError(f"no gain is known for {nonlinearity!r}; for {known} one is")
    return _GAINS[nonlinearity]


def _kaiming_std(tensor: Array | NDArray[Any], a: float, mode: str, nonlinearity: str) -> float:
    fan = _calculate_correct_fan(tensor, mode)
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def _calculate_fan_in_and_fan_out(tensor: Array | NDArray[Any]) -> tuple[int, int]:
    """How many inputs an output has, and how many outputs an input, for a weight [out, in, ...]."""
    if len(tensor.shape) < 2:
        raise InputError(f"fan in and fan out need two dimensions, got {list(tensor.shape)}")
    outputs, inputs, *window = tensor.shape
    return inputs * math.prod(window), outputs * math.prod(window)


def _calculate_correct_fan(tensor: Array | NDArray[Any], mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise InputError(f"mode is 'fan_in' or 'fan_out', not {mode!r}")
    return _calculate_fan_in_and_fan_out(tensor)[mode == "fan_out"]


def _fill(tensor: Tensor, values: Any) -> Tensor:
    if not isinstance(tensor, Array):
        tensor[...] = values
        return tensor
    numbers = np.broadcast_to(np.asarray(values, tensor.dtype), tensor.shape)
    with no_grad():
        return tensor.write("nn.init", Array(numbers))


def _deprecated(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The same function under torch's old name, which does not end in _."""
    old = function.__name__[:-1]

    @wraps(function)
    def named(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        warnings.warn(f"nn.init.{old} is deprecated: it is nn.init.{old}_", FutureWarning,
                      stacklevel=2)
        return function(*args, **kwargs)

    return named


uniform = _deprecated(uniform_)
normal = _deprecated(normal_)
constant = _deprecated(constant_)
eye = _deprecated(eye_)
dirac = _deprecated(dirac_)
xavier_uniform = _deprecated(xavier_uniform_)
xavier_normal = _deprecated(xavier_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
kaiming_normal = _deprecated(kaiming_normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)

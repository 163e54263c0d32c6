"""Initial values. Each function fills an array in place and returns it, as torch.nn.init does.

tensor: a Parameter or another Array, or a writable ndarray. generator: a numpy.random.Generator, by
default the one that `manual_seed` seeds. The numbers are not torch's for the same seed; their
distribution is.

fan_in and fan_out of a weight [out, in, ...] are `in` and `out` times the sizes that follow them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from ir import NDArray
from nncompile.array import Array
from nncompile.array.dtypes import converted
from nncompile.array.generator import drawing
from nncompile.array.generator import manual_seed as manual_seed
from nncompile.array.gradients import no_grad
from nncompile.errors import InputError
from nncompile.nn.parameter import Parameter
from nncompile.placeholders import getter

if TYPE_CHECKING:
    from numpy.random import Generator

Tensor = TypeVar("Tensor", Array, NDArray)
_P = ParamSpec("_P")
_R = TypeVar("_R")

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4} | {
    f"conv{transposed}{rank}d": 1.0 for transposed in ("", "_transpose") for rank in (1, 2, 3)
}

_PIECE = 8192                                    # numbers drawn at a time


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
             ) -> Tensor:
    """Draws from the uniform distribution on [a, b)."""
    draws = drawing(generator)

    def draw(numbers: NDArray) -> None:
        numbers[...] = draws.uniform(a, b, numbers.size)

    return _draw_into(tensor, draw)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
            ) -> Tensor:
    """Draws from the normal distribution."""
    draws = drawing(generator)

    def draw(numbers: NDArray) -> None:
        if mean != 0:
            numbers[...] = draws.normal(mean, std, numbers.size)
            return
        draws.standard_normal(out=numbers)       # the same numbers in less time
        numbers *= std

    return _draw_into(tensor, draw)


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0,
                  b: float = 2.0, generator: Generator | None = None) -> Tensor:
    """Draws from the normal distribution restricted to [a, b]. Raises InputError for a > b."""
    if a > b:
        raise InputError(f"trunc_normal_ needs a <= b, got {a} and {b}")
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(f"the mean {mean} is more than 2 std outside of {a}..{b}", stacklevel=2)
    draws = drawing(generator)
    likely = math.erf((b - mean) / std / math.sqrt(2)) - math.erf((a - mean) / std / math.sqrt(2))
    values = np.empty(tensor.shape)
    missing = np.ones(tensor.shape, bool)
    while count := int(missing.sum()):
        if likely > 0.6:
            drawn = draws.normal(mean, std, count)
            kept = (drawn >= a) & (drawn <= b)
        else:  # rejection from a uniform distribution, which rejects less here
            drawn, peak = draws.uniform(a, b, count), max(a, min(mean, b))
            kept = draws.random(count) <= _density(drawn, mean, std) / _density(peak, mean, std)
        values[missing] = drawn
        missing[missing] = ~kept
    return _fill(tensor, values)


def _density(x: Any, mean: float, std: float) -> Any:
    return np.exp(-0.5 * ((x - mean) / std) ** 2)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Sets all elements to a number."""
    return _fill(tensor, val)


def ones_(tensor: Tensor) -> Tensor:
    """Sets all elements to 1."""
    return _fill(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Sets all elements to 0."""
    return _fill(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """Sets a matrix to the identity. Raises InputError for another rank than 2."""
    if len(tensor.shape) != 2:
        raise InputError(f"eye_ fills a matrix, not {list(tensor.shape)}")
    return _fill(tensor, np.eye(*tensor.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Sets a convolution's weight [out, in, ...] to one that preserves its input channels.

    groups: the parts of the outputs that preserve the channels each. Raises InputError for another
    rank than 3, 4 or 5, and where the groups do not divide the outputs.
    """
    if not 3 <= len(tensor.shape) <= 5:
        raise InputError(f"dirac_ fills arrays of 3, 4 or 5 dimensions, not {list(tensor.shape)}")
    outputs, inputs, *window = map(int, tensor.shape)
    if outputs % groups:
        raise InputError(f"{outputs} outputs do not divide into {groups} groups")
    values: NDArray = np.zeros(tensor.shape)
    middle: tuple[int, ...] = tuple(size // 2 for size in window)
    for group in range(groups):
        first = group * (outputs // groups)
        for channel in range(min(outputs // groups, inputs)):
            values[(first + channel, channel, *middle)] = 1
    return _fill(tensor, values)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
                    ) -> Tensor:
    """Draws uniformly with variance gain^2 * 2 / (fan_in + fan_out).

    Glorot and Bengio (2010). Raises InputError for less than two dimensions.
    """
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    bound = gain * math.sqrt(6 / max(fan_in + fan_out, 1))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draws from the normal distribution with variance gain^2 * 2 / (fan_in + fan_out).

    Glorot and Bengio (2010). Raises InputError for less than two dimensions.
    """
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2 / max(fan_in + fan_out, 1)), generator)


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in",
                     nonlinearity: str = "leaky_relu", generator: Generator | None = None
                     ) -> Tensor:
    """Draws uniformly with variance gain^2 / fan.

    mode: the fan, "fan_in" or "fan_out". nonlinearity, a: see calculate_gain.
    He et al. (2015), arXiv:1502.01852.
    Raises InputError for another mode or nonlinearity, and for less than two dimensions.
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in",
                    nonlinearity: str = "leaky_relu", generator: Generator | None = None) -> Tensor:
    """Draws from the normal distribution with variance gain^2 / fan; arguments as kaiming_uniform_.
    """
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """Fills [N, ...], as a matrix [N, K], with orthonormal rows, or columns if N > K, times gain.

    Saxe et al. (2013), arXiv:1312.6120; the signs after Mezzadri (2006), arXiv:math-ph/0609050,
    which makes the distribution uniform. Raises InputError for less than two dimensions.
    """
    if len(tensor.shape) < 2:
        raise InputError(f"orthogonal_ needs two dimensions or more, got {list(tensor.shape)}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    if rows * columns == 0:
        return tensor
    draws = drawing(generator)
    drawn = draws.normal(0, 1, (max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q *= np.sign(np.diag(r))
    return _fill(tensor, gain * (q.T if rows < columns else q).reshape(tensor.shape))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None
            ) -> Tensor:
    """Draws a matrix from the normal distribution, with some elements of each column 0.

    sparsity: the fraction of them, rounded up. Martens (2010). Raises InputError for another rank
    than 2.
    """
    if len(tensor.shape) != 2:
        raise InputError(f"sparse_ fills a matrix, not {list(tensor.shape)}")
    draws, (rows, columns) = drawing(generator), tensor.shape
    values = draws.normal(0, std, (rows, columns))
    for column in range(columns):
        values[draws.permutation(rows)[: math.ceil(sparsity * rows)], column] = 0
    return _fill(tensor, values)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Returns the factor that preserves the variance through a nonlinearity.

    nonlinearity: a function's name in torch. param: the negative slope of "leaky_relu".
    Raises InputError for another name.
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        known = ", ".join([*_GAINS, "leaky_relu"])
        raise InputError(f"no gain is known for {nonlinearity!r}; for {known} one is")
    return _GAINS[nonlinearity]


def _kaiming_std(tensor: Array | NDArray, a: float, mode: str, nonlinearity: str) -> float:
    fan = _calculate_correct_fan(tensor, mode)
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def _calculate_fan_in_and_fan_out(tensor: Array | NDArray) -> tuple[int, int]:
    """Returns the numbers of inputs of each output and of outputs of each input."""
    if len(tensor.shape) < 2:
        raise InputError(f"fan in and fan out need two dimensions, got {list(tensor.shape)}")
    outputs, inputs, *window = tensor.shape
    return inputs * math.prod(window), outputs * math.prod(window)


def _calculate_correct_fan(tensor: Array | NDArray, mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise InputError(f"mode is 'fan_in' or 'fan_out', not {mode!r}")
    return _calculate_fan_in_and_fan_out(tensor)[mode == "fan_out"]


def _draw_into(tensor: Tensor, draw: Callable[[NDArray], None]) -> Tensor:
    """Fills the tensor with numbers that `draw` writes into a 1-D float64 array.

    They are those of one large draw, but they are drawn in pieces that stay in the cache, and go
    into the memory of a Parameter without another copy.
    """
    memory = tensor._payload if isinstance(tensor, Parameter) else tensor
    if not isinstance(memory, np.ndarray) or not memory.flags.carray:
        numbers = np.empty(tensor.shape, tensor.dtype)
        _draw_pieces(numbers.reshape(-1), draw)
        return _fill(tensor, numbers)
    if isinstance(tensor, Parameter):
        with no_grad():
            tensor._write("nn.init", tensor)      # raises Error where it may not be changed now
    _draw_pieces(memory.reshape(-1), draw)
    return tensor


def _draw_pieces(numbers: NDArray, draw: Callable[[NDArray], None]) -> None:
    buffer = np.empty(_PIECE)
    for start in range(0, numbers.size, _PIECE):
        piece = numbers[start:start + _PIECE]
        draw(buffer[:piece.size])
        piece[...] = buffer[:piece.size]


def _fill(tensor: Tensor, values: Any) -> Tensor:
    if not isinstance(tensor, Array):
        tensor[...] = values
        return tensor
    numbers = np.broadcast_to(converted(values, tensor.dtype), tensor.shape)
    with no_grad():
        return tensor._write("nn.init", Array(numbers))


def _deprecated(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Returns the same function under torch's deprecated name, which does not end in _."""
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


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

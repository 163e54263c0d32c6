"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from nncompile.array import Array, as_array
from nncompile.array.creation import cat
from nncompile.nn.parameter import Parameter


def parameters_to_vector(parameters: Iterable[Array]) -> Array:
    """Returns the elements of all parameters as one vector [N]."""
    return cat([as_array("parameters_to_vector", p).reshape(-1) for p in parameters])


def vector_to_parameters(vec: Array, parameters: Iterable[Parameter]) -> None:
    """Makes the elements of a vector [N] the parameters' numbers, in order; those left are unused.

    Raises TypeError where vec is no Array.
    """
    if not isinstance(vec, Array):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    start = 0
    for parameter in parameters:
        count = parameter.numel()
        parameter.data = vec[start : start + count].view_as(parameter).data
        start += count

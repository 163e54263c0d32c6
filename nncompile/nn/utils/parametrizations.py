"""Weight and spectral normalisation and orthogonal weights as parametrizations; see parametrize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import nncompile.nn.functional as F
from nncompile.array import Array
from nncompile.array.random import randn
from nncompile.nn.module import Module
from nncompile.nn.utils.orthogonal import MAPS, _Orthogonal
from nncompile.nn.utils.parametrize import register_parametrization
from nncompile.nn.utils.spectral_norm import as_matrix, power_steps
from nncompile.nn.utils.weight_norm import norm_except_dim, weight_of
from nncompile.placeholders import getter

_M = TypeVar("_M", bound=Module)


class _WeightNorm(Module):
    """Computes a weight from its length, original0, and its direction, original1."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Array, weight_v: Array) -> Any:
        return weight_of(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Array) -> tuple[Array, Array]:
        """Returns the length and the direction of a weight."""
        return norm_except_dim(weight, 2, self.dim).detach().clone(), weight.detach()


def weight_norm(module: _M, name: str = "weight", dim: int | None = 0) -> _M:
    """Makes a weight the product of its length and its direction; see nn.utils.weight_norm.

    State dicts of nn.utils.weight_norm can be loaded.
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def translate(state_dict: Any, prefix: str, *_: Any) -> None:
        for old, new in (("g", "original0"), ("v", "original1")):
            if (key := f"{prefix}{name}_{old}") in state_dict:
                state_dict[f"{prefix}parametrizations.{name}.{new}"] = state_dict.pop(key)

    module._register_load_state_dict_pre_hook(translate)
    return module


class _SpectralNorm(Module):
    """Divides a weight by an estimate of its largest singular value; _u and _v give it."""

    _u: Array
    _v: Array

    def __init__(self, weight: Array, n_power_iterations: int = 1, dim: int = 0,
                 eps: float = 1e-12) -> None:
        super().__init__()
        if not -weight.ndim <= dim < max(weight.ndim, 1):
            raise IndexError(f"spectral_norm: {weight.type} has no axis {dim}")
        if n_power_iterations <= 0:
            raise ValueError("spectral_norm needs n_power_iterations above 0, got "
                             f"{n_power_iterations}")
        self.dim, self.eps, self.n_power_iterations = dim % weight.ndim, eps, n_power_iterations
        if weight.ndim == 1:
            return
        matrix = as_matrix(weight.detach(), self.dim)
        for name, size in (("_u", matrix.shape[0]), ("_v", matrix.shape[1])):
            start = F.normalize(randn(size, dtype=matrix.dtype), dim=0, eps=eps)
            self.register_buffer(name, start)
        power_steps(matrix, self._u, self._v, 15, eps)

    def forward(self, weight: Array) -> Any:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            power_steps(matrix.detach(), self._u, self._v, self.n_power_iterations, self.eps)
        return weight / self._u.clone().dot(matrix.mv(self._v.clone()))

    def right_inverse(self, value: Array) -> Array:
        """Returns the value itself, which may have another spectral norm."""
        return value


def spectral_norm(module: _M, name: str = "weight", n_power_iterations: int = 1,
                  eps: float = 1e-12, dim: int | None = None) -> _M:
    """Makes a weight divided by an estimate of its largest singular value.

    dim: the dimension of the outputs, 0 by default.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Array):
        raise ValueError(f"{module._get_name()} has no parameter and no buffer {name!r}")
    made = _SpectralNorm(weight, n_power_iterations, dim or 0, eps)
    return register_parametrization(module, name, made)

def orthogonal(module: _M, name: str = "weight", orthogonal_map: str | None = None, *,
               use_trivialization: bool = True) -> _M:
    """Makes a matrix, or a batch of matrices, orthogonal: of orthonormal columns, or rows.

    orthogonal_map: "matrix_exp" (the default of square matrices), "cayley" or "householder" (that
    of others), by which it is computed from a matrix. use_trivialization: in relation to the buffer
    `parametrizations.weight.0.base`, so that any weight can be assigned.
    Raises ValueError for no matrix and for another map.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Array):
        raise ValueError(f"{module._get_name()} has no parameter and no buffer {name!r}")
    if weight.ndim < 2:
        raise ValueError(f"orthogonal takes a matrix or a batch of them, not {weight.type}")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] else "householder"
    if orthogonal_map not in MAPS:
        raise ValueError(f"orthogonal_map is one of {', '.join(MAPS)}, not {orthogonal_map!r}")
    made = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)



if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

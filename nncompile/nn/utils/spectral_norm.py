"""Spectral normalisation by a hook: a weight divided by an estimate of its largest singular value.

The estimate is of the power method, of which training mode makes some steps in each forward. Miyato
and others (2018), arXiv:1802.05957.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import nncompile.nn.functional as F
from nncompile.array import Array
from nncompile.array.dispatch import current
from nncompile.array.random import randn
from nncompile.nn.module import Module
from nncompile.nn.parameter import Parameter
from nncompile.nn.utils.weight_norm import _remove
from nncompile.placeholders import getter

_M = TypeVar("_M", bound=Module)


def as_matrix(weight: Array, dim: int) -> Array:
    """Returns the weight [..., N, ...] as a matrix [N, M], where N is the size of dim."""
    return weight.movedim(dim, 0).reshape(weight.shape[dim], -1)


def power_steps(matrix: Array, u: Array, v: Array, steps: int, eps: float) -> None:
    """Makes steps of the power method with a matrix [N, M], in place in u [N] and v [M].

    Raises Error in a trace.
    """
    current.get().check_training("a step of spectral_norm in training mode", matrix.type)
    for _ in range(steps):
        u.copy_(F.normalize(matrix.mv(v), dim=0, eps=eps))
        v.copy_(F.normalize(matrix.t().mv(u), dim=0, eps=eps))


class SpectralNorm:
    """The hook: before each forward it computes the weight anew."""

    def __init__(self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0,
                 eps: float = 1e-12) -> None:
        if n_power_iterations <= 0:
            raise ValueError("spectral_norm needs n_power_iterations above 0, got "
                             f"{n_power_iterations}")
        self.name, self.dim, self.eps = name, dim, eps
        self.n_power_iterations = n_power_iterations

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Any:
        """Returns the module's weight; with do_power_iteration, after steps of the power method."""
        weight, u, v = (getattr(module, f"{self.name}_{part}") for part in ("orig", "u", "v"))
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            power_steps(matrix.detach().t(), v, u, self.n_power_iterations, self.eps)
        return weight / u.clone().dot(matrix.mv(v.clone()))

    @staticmethod
    def apply(module: Module, name: str, n_power_iterations: int, dim: int, eps: float
              ) -> SpectralNorm:
        """Puts the original weight and two vectors in the place of a weight, and adds the hook."""
        if any(isinstance(hook, SpectralNorm) and hook.name == name
               for hook in module._forward_pre_hooks.values()):
            raise RuntimeError(f"the parameter {name} has a spectral_norm hook already")
        hook = SpectralNorm(name, n_power_iterations, dim, eps)
        weight = module._parameters.get(name)
        if weight is None:
            raise ValueError(f"spectral_norm: {module._get_name()} has no parameter {name!r}")
        matrix = as_matrix(weight.detach(), dim)
        del module._parameters[name]
        module.register_parameter(f"{name}_orig", weight)
        setattr(module, name, weight.detach())
        for part, size in (("u", matrix.shape[0]), ("v", matrix.shape[1])):
            start = F.normalize(randn(size, dtype=matrix.dtype), dim=0, eps=eps)
            module.register_buffer(f"{name}_{part}", start)
        module.register_forward_pre_hook(hook)
        return hook

    def remove(self, module: Module) -> None:
        """Puts the weight back as a parameter, as it is computed now."""
        weight = self.compute_weight(module, do_power_iteration=False).detach().clone()
        delattr(module, self.name)
        for part in ("u", "v", "orig"):
            delattr(module, f"{self.name}_{part}")
        setattr(module, self.name, Parameter(weight))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, module.training))


def spectral_norm(module: _M, name: str = "weight", n_power_iterations: int = 1,
                  eps: float = 1e-12, dim: int | None = None) -> _M:
    """Makes a weight `name_orig` divided by an estimate of its largest singular value.

    dim: the dimension of the outputs, 0 by default.
    """
    SpectralNorm.apply(module, name, n_power_iterations, dim or 0, eps)
    return module


def remove_spectral_norm(module: _M, name: str = "weight") -> _M:
    """Makes a weight a parameter again. Raises ValueError where it has no spectral norm."""
    _remove(module, SpectralNorm, name, "spectral_norm")
    return module


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

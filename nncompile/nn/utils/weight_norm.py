"""Weight normalisation by a hook: a weight that is computed from its length and its direction.

Salimans and Kingma (2016), arXiv:1602.07868.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from nncompile.array import Array
from nncompile.nn.module import Module
from nncompile.nn.parameter import Parameter
from nncompile.placeholders import getter

_M = TypeVar("_M", bound=Module)


def norm_except_dim(v: Array, pow: float = 2, dim: int = 0) -> Array:
    """Returns the p-norm over all dimensions but one, which stays; -1 for over all dimensions.

    The dimensions that are summed over keep the size 1.
    """
    if dim == -1:
        return v.reshape(-1).norm(pow, 0)
    rest = [size for axis, size in enumerate(v.shape) if axis != dim]
    rows = v.movedim(dim, 0).reshape(v.shape[dim], -1).norm(pow, 1)
    return rows.reshape([1] * dim + [v.shape[dim]] + [1] * (len(rest) - dim))


def weight_of(v: Array, g: Array, dim: int = 0) -> Array:
    """Returns the weight of direction v and of the length g, one for each index along dim."""
    weight: Array = v * (g / norm_except_dim(v, 2, dim))
    return weight


class WeightNorm:
    """The hook: before each forward it computes the weight anew."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Any:
        """Returns the module's weight, computed from its length and its direction."""
        return weight_of(getattr(module, f"{self.name}_v"), getattr(module, f"{self.name}_g"),
                         self.dim)

    @staticmethod
    def apply(module: Module, name: str, dim: int | None) -> WeightNorm:
        """Puts the length and the direction in the place of a weight, and adds the hook."""
        if any(isinstance(hook, WeightNorm) and hook.name == name
               for hook in module._forward_pre_hooks.values()):
            raise RuntimeError(f"the parameter {name} has a weight_norm hook already")
        hook, weight = WeightNorm(name, dim), getattr(module, name)
        del module._parameters[name]
        module.register_parameter(
            f"{name}_g", Parameter(norm_except_dim(weight, 2, hook.dim).detach().clone()))
        module.register_parameter(f"{name}_v", Parameter(weight.data))
        setattr(module, name, hook.compute_weight(module))
        module.register_forward_pre_hook(hook)
        return hook

    def remove(self, module: Module) -> None:
        """Puts the weight back as a parameter."""
        weight = self.compute_weight(module).detach().clone()
        delattr(module, self.name)
        del module._parameters[f"{self.name}_g"], module._parameters[f"{self.name}_v"]
        setattr(module, self.name, Parameter(weight))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: _M, name: str = "weight", dim: int | None = 0) -> _M:
    """Makes a weight the product of its direction `name_v` and its length `name_g`.

    dim: the dimension of which each index has a length of its own; None for one length.
    """
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module: _M, name: str = "weight") -> _M:
    """Makes a weight a parameter again. Raises ValueError where it has no weight norm."""
    _remove(module, WeightNorm, name, "weight_norm")
    return module


def _remove(module: Module, kind: type, name: str, what: str) -> None:
    for number, hook in module._forward_pre_hooks.items():
        if isinstance(hook, kind) and hook.name == name:  # type: ignore[attr-defined]
            hook.remove(module)  # type: ignore[attr-defined]
            del module._forward_pre_hooks[number]
            return
    raise ValueError(f"{what} of {name!r} not found in {module}")


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

"""torch.nn.utils: gradients that are clipped, parameters as one vector, computed weights."""

from typing import TYPE_CHECKING

from nncompile.nn.utils.clip_grad import (
    clip_grad_norm,
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)
from nncompile.nn.utils.convert_parameters import parameters_to_vector, vector_to_parameters
from nncompile.nn.utils.spectral_norm import remove_spectral_norm, spectral_norm
from nncompile.nn.utils.weight_norm import remove_weight_norm, weight_norm
from nncompile.placeholders import getter

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_",
           "get_total_norm", "parameters_to_vector", "remove_spectral_norm", "remove_weight_norm",
           "skip_init", "spectral_norm", "vector_to_parameters", "weight_norm"]


def skip_init(module_cls: type, *args: object, **kwargs: object) -> object:
    """Returns a new module; its parameters, which torch leaves undefined, are drawn as always."""
    return module_cls(*args, **kwargs)


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

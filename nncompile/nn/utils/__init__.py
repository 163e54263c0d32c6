"""torch.nn.utils: parameters as one vector, and weights that are computed from others."""

from typing import TYPE_CHECKING

from nncompile.nn.utils.convert_parameters import parameters_to_vector, vector_to_parameters
from nncompile.nn.utils.spectral_norm import remove_spectral_norm, spectral_norm
from nncompile.nn.utils.weight_norm import remove_weight_norm, weight_norm
from nncompile.placeholders import getter

__all__ = ["parameters_to_vector", "remove_spectral_norm", "remove_weight_norm", "skip_init",
           "spectral_norm", "vector_to_parameters", "weight_norm"]


def skip_init(module_cls: type, *args: object, **kwargs: object) -> object:
    """Returns a new module; its parameters, which torch leaves undefined, are drawn as always."""
    return module_cls(*args, **kwargs)


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

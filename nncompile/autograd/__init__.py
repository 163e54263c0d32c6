"""torch.autograd's names: gradients of eager arrays, and functions with a backward of their own."""

from typing import TYPE_CHECKING, Any, NoReturn

from nncompile.array.backward import backward, grad
from nncompile.array.gradients import enable_grad, inference_mode, no_grad, set_grad_enabled
from nncompile.autograd.function import Function
from nncompile.autograd.gradcheck import gradcheck, gradgradcheck
from nncompile.autograd.variable import Variable
from nncompile.errors import GradientError
from nncompile.placeholders import getter

__all__ = ["Function", "Variable", "backward", "enable_grad", "grad", "gradcheck", "gradgradcheck",
           "inference_mode", "no_grad", "set_grad_enabled", "variable"]


def variable(*_: Any, **__: Any) -> NoReturn:
    """Raises GradientError, as torch's does: its successor is nncompile.tensor."""
    raise GradientError("torch.autograd.variable(...) is deprecated, use torch.tensor(...) instead")


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

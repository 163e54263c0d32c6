"""torch.autograd's names: functions with a forward of their own, of which no gradient is kept."""

from typing import TYPE_CHECKING

from nncompile.array.gradients import enable_grad, inference_mode, no_grad, set_grad_enabled
from nncompile.autograd.function import Function
from nncompile.autograd.variable import Variable
from nncompile.placeholders import getter

__all__ = ["Function", "Variable", "enable_grad", "inference_mode", "no_grad", "set_grad_enabled"]


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

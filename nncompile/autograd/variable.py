"""torch.autograd.Variable: the class of all arrays, and a constructor that returns its argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nncompile.array import Array, as_array, describe
from nncompile.array.creation import zeros
from nncompile.placeholders import getter

if TYPE_CHECKING:
    Variable = Array                             # for mypy they are one class, as their values are
else:
    class VariableMeta(type):
        """The class of Variable: every array is an instance of it."""

        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, Array)

        def __call__(cls, data: Any = None, requires_grad: bool = False, volatile: bool = False
                     ) -> Any:
            if data is not None and not isinstance(data, Array | np.ndarray):
                raise TypeError(f"Variable takes an array, not {describe(data)}")
            made = zeros(0) if data is None else as_array("Variable", data).detach()
            return made.requires_grad_(requires_grad)

    class Variable(metaclass=VariableMeta):
        """Every array is a Variable. Variable(x) is a view of x; `volatile` means nothing."""

    __getattr__ = getter(__name__)               # for mypy a missing name stays an error

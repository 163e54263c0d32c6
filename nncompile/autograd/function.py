"""Functions with a forward of their own: torch.autograd.Function, of which the forward alone runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from ir import Error
from nncompile.array import Array
from nncompile.array.gradients import no_grad
from nncompile.nn.calls import call
from nncompile.placeholders import getter


class FunctionCtx:
    """What a forward keeps for a backward: it is kept, and no backward ever asks for it.

    needs_input_grad: for each argument, whether it is an array that requires a gradient.
    """

    needs_input_grad: tuple[bool, ...] = ()
    saved_tensors: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keeps arrays as `saved_tensors`."""
        self.saved_tensors = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Keeps arrays, as save_for_backward does."""
        self.saved_tensors = tensors

    def mark_dirty(self, *args: Any) -> None:
        """Does nothing: it is about gradients alone."""

    mark_non_differentiable = mark_dirty

    def set_materialize_grads(self, value: bool) -> None:
        """Does nothing: it is about gradients alone."""


class Function(FunctionCtx):
    """A function with a forward of its own; called by `apply`, in a trace and outside of one.

    A subclass defines the static methods forward(ctx, *args), or forward(*args) and
    setup_context(ctx, inputs, output). Its backward is never called.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes any arguments, as torch's does."""

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        raise Error(f"{type(self).__name__} is a torch.autograd.Function: call "
                    f"{type(self).__name__}.apply(...), without making an object of it")

    forward: Callable[..., Any]
    setup_context: Callable[..., Any] | None = None

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Returns the result of the forward, computed without gradients as torch does."""
        return call(cls._applied, args, kwargs)

    @classmethod
    def _applied(cls, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(cls, "forward"):
            raise Error(f"{cls.__name__} has no static method `forward`")
        ctx = cls()
        ctx.needs_input_grad = tuple(isinstance(a, Array) and bool(a.requires_grad) for a in args)
        with no_grad():
            if cls.setup_context is None:
                return cls.forward(ctx, *args, **kwargs)
            output = cls.forward(*args, **kwargs)
            cls.setup_context(ctx, args, output)
            return output


class InplaceFunction(Function):
    """A Function that may change its argument in place."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace


__all__ = ["Function", "FunctionCtx", "InplaceFunction"]


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

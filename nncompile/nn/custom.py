"""torch.autograd.Function: an own operation with a gradient, of which only the forward is run."""

from __future__ import annotations

from typing import Any

from nncompile.array.gradients import no_grad


class Context:
    """What the forward of a Function keeps for a gradient, which is never computed."""

    saved_tensors: tuple[Any, ...] = ()
    needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keeps arrays until the call has ended."""
        self.saved_tensors = tensors

    save_for_forward = save_for_backward

    def mark_dirty(self, *args: Any) -> None:
        """Does nothing: it is about gradients."""

    mark_non_differentiable = mark_dirty

    def set_materialize_grads(self, value: bool) -> None:
        """Does nothing: it is about gradients."""


class Function:
    """An operation with a forward and a backward of its own, called by apply.

    The backward is not called: nncompile runs inference.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes any arguments; an instance is not needed."""

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Computes the outputs: forward(ctx, *args), or forward(*args) beside a setup_context."""
        raise NotImplementedError("a Function needs a forward, a staticmethod")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Keeps for the backward what forward(*args) has no context to keep in."""
        raise NotImplementedError

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Returns what the forward computes of these arguments."""
        ctx = Context()
        ctx.needs_input_grad = (False,) * len(args)
        with no_grad():
            if cls.setup_context is Function.setup_context:
                return cls.forward(ctx, *args, **kwargs)
            output = cls.forward(*args, **kwargs)
            cls.setup_context(ctx, args, output)
            return output

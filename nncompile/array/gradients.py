"""torch's switches for gradients: whether ops leave a tape, by which gradients are computed.

While gradients are off, a leaf that requires one may also be changed in place. Each switch is a
context manager and a decorator.
"""

from __future__ import annotations

from contextlib import ContextDecorator
from contextvars import ContextVar
from typing import Any, Self

__all__ = ["enable_grad", "inference_mode", "is_grad_enabled", "no_grad", "set_grad_enabled"]

grad_enabled: ContextVar[bool] = ContextVar("grad_enabled", default=True)


class _Switch(ContextDecorator):
    """Turns gradients on or off until the end of a block."""

    mode: bool

    def __init__(self) -> None:
        self.before: list[bool] = []

    def __enter__(self) -> Self:
        self.before.append(grad_enabled.get())
        grad_enabled.set(self.mode)
        return self

    def __exit__(self, *_: Any) -> None:
        grad_enabled.set(self.before.pop())


class no_grad(_Switch):
    """Turns gradients off."""

    mode = False

    def __new__(cls, function: Any = None) -> Any:
        """Makes the context manager, or decorates a function: @no_grad without parentheses."""
        made = super().__new__(cls)
        if function is None:
            return made
        _Switch.__init__(made)
        return made(function)


class enable_grad(no_grad):
    """Turns gradients on."""

    mode = True


class inference_mode(_Switch):
    """Turns gradients off; inference_mode(False) turns them on."""

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.mode = not mode


class set_grad_enabled(_Switch):
    """Turns gradients on or off at once, and restores them at the end of a block."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.mode = bool(mode)
        self.first = grad_enabled.get()
        grad_enabled.set(self.mode)

    def __enter__(self) -> Self:
        super().__enter__()
        self.before[-1] = self.first
        return self


def is_grad_enabled() -> bool:
    """Returns whether gradients are on."""
    return grad_enabled.get()

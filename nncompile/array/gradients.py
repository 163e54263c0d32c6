"""torch's switches for gradients.  There are no gradients here; what is left of them is that a
Parameter is changed in place only while they are off, so that a model is checked as torch checks
it.  Each is for a `with` block, or a decorator of a function.
"""

from __future__ import annotations

from contextlib import ContextDecorator
from contextvars import ContextVar
from typing import Any, Self

__all__ = ["enable_grad", "inference_mode", "is_grad_enabled", "no_grad", "set_grad_enabled"]

grad_enabled: ContextVar[bool] = ContextVar("grad_enabled", default=True)


class Switch(ContextDecorator):
    """Gradients on or off until the end of a block."""

    mode: bool

    def __init__(self) -> None:
        self.before: list[bool] = []

    def __enter__(self) -> Self:
        self.before.append(grad_enabled.get())
        grad_enabled.set(self.mode)
        return self

    def __exit__(self, *_: Any) -> None:
        grad_enabled.set(self.before.pop())


class no_grad(Switch):
    """Gradients off."""

    mode = False

    def __new__(cls, function: Any = None) -> Any:
        """Also @no_grad without parentheses."""
        made = super().__new__(cls)
        if function is None:
            return made
        Switch.__init__(made)
        return made(function)


class enable_grad(no_grad):
    """Gradients on."""

    mode = True


class inference_mode(Switch):
    """Gradients off; inference_mode(False): on."""

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.mode = not mode


class set_grad_enabled(Switch):
    """Gradients on or off, at once, and as they were at the end of a block."""

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
    return grad_enabled.get()

"""The errors that a user can meet. Each says what is wrong, where, and what to do about it."""

from __future__ import annotations

from ir import Error

__all__ = ["CompileError", "Error", "InputError", "MissingExtraError", "TraceError"]


class InputError(Error, ValueError):
    """An argument, an array or a state dict that does not fit what it was given to."""


class TraceError(Error):
    """A forward that cannot be recorded. It says in which layer, on what, and at which line."""


class CompileError(Error):
    """A graph that cannot be compiled."""


class MissingExtraError(Error, ImportError):
    """A package that an extra of nncompile installs, and that what was asked for needs."""

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name

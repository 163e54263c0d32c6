"""The errors that a user can meet. Each says what is wrong, where, and what to do about it."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings

from ir import Error

__all__ = ["CompileError", "Error", "InputError", "MissingExtraError", "ModelImportError",
           "PerformanceWarning", "TraceError"]

_OURS = (os.path.dirname(__file__) + os.sep, contextlib.__file__)     # files of frames between


class InputError(Error, ValueError):
    """An argument, an array or a state dict that does not fit what it was given to."""


class GradientError(Error, RuntimeError):
    """A gradient that cannot be computed, or an array that cannot have one."""


class TraceError(Error):
    """A forward that cannot be recorded. It says in which layer, on what, and at which line."""


class CompileError(Error):
    """A graph that cannot be compiled."""


class MissingExtraError(Error, ImportError):
    """A package that an extra of nncompile installs, and that what was asked for needs."""

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name


class ModelImportError(Error):
    """A model of another format that cannot be imported. It lists everything in the way."""

    inputs: tuple[str, ...] = ()                 # whose numbers decide shapes, and are not known


class PerformanceWarning(UserWarning):
    """What was asked for works, and is slower than it has to be."""


def warn_caller(message: str) -> None:
    """Warns of slowness, at the line of the user's that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, PerformanceWarning, stacklevel=level)

"""nncompile: from a layer graph to one fast callable.

    from nncompile import nn
    fast = nncompile.compile(model, "f32[B, 64]")
    y = fast(x)

The package itself imports nothing.  Its modules are imported when they are first asked for, and so
is `nncompile.api`, which has its other names.
"""
from __future__ import annotations

from importlib import import_module as _import_module
from sys import modules as _modules
from typing import TYPE_CHECKING
from typing import Any as _Any

from nncompile.collection import paused_collection as _paused_collection

if TYPE_CHECKING:
    from nncompile.api import *  # noqa: F403
    from nncompile.compiler import compile as compile
    from nncompile.model import CompiledModel as CompiledModel

_MODULES = ("backend", "compiler", "errors", "functions", "model", "nn", "options", "passes",
            "schedule")
_OF_THE_COMPILER = {"compile": "nncompile.compiler", "CompiledModel": "nncompile.model"}


def __getattr__(name: str) -> _Any:
    if name == "__version__":
        return _version()
    if (module := _modules.get(f"nncompile.{name}")) is not None:
        return module                            # which is being imported
    if name == "__all__" or not name.startswith("__"):
        with _paused_collection():
            _import_for(name)
    if name not in globals():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals()[name]


def _import_for(name: str) -> None:
    """Makes the name one of the globals, if the package has it."""
    if name in _MODULES:
        _import_module(f"nncompile.{name}")
    elif name in _OF_THE_COMPILER:
        globals()[name] = getattr(_import_module(_OF_THE_COMPILER[name]), name)
    else:
        _import_api()


def _import_api() -> None:
    api = _import_module("nncompile.api")
    globals().update({name: v for name, v in vars(api).items() if not name.startswith("_")})
    globals()["__all__"] = [*api.__all__, *_OF_THE_COMPILER]


def __dir__() -> list[str]:
    _import_api()
    return sorted({*globals(), *_MODULES, *_OF_THE_COMPILER, "__version__"})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version
    try:
        return version("nncompile")
    except PackageNotFoundError:              # used from a source tree that is not installed
        return "0"

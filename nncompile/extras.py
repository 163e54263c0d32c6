"""Packages that nncompile does not need, and imports only when what they are for is asked for."""
from __future__ import annotations

from importlib import import_module
from typing import Any

from nncompile.errors import MissingExtraError


def import_extra(module: str, extra: str, what: str) -> Any:
    """Returns a module of a package that is installed with an extra of nncompile.

    what: what it is needed for, as the beginning of a sentence: "reading model.onnx".
    Raises MissingExtraError, which names the extra, where the package is not installed.
    """
    package = module.partition(".")[0]
    try:
        import_module(package)
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:                # the package is there, and lacks something itself
            raise
        raise MissingExtraError(f"{what} needs the package {package}, which is not installed\n"
                                f"  do: pip install 'nncompile[{extra}]'", name=package) from None

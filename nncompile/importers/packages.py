"""The packages of other formats, which are imported when such a model is given."""
from __future__ import annotations

from importlib import import_module
from typing import Any

from nncompile.errors import InputError


def needed(package: str, extra: str) -> Any:
    """Returns a package. Raises InputError, which names the extra to install, where it is missing.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        raise InputError(f"the package {package} is missing\n"
                         f'  do: pip install "nncompile[{extra}]"') from None

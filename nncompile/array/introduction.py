"""Makes other libraries know the class Array, where a program uses them."""

from __future__ import annotations

import sys


def introduce() -> None:
    """Makes einops know Arrays, once the program has imported einops.

    It is called whenever a module is made, so that `from einops import rearrange` works whatever
    is imported first, and einops is not imported by programs that do without it.
    """
    if "einops._backends" in sys.modules and _BACKEND not in sys.modules:
        import nncompile.array.einops_backend  # noqa: F401


_BACKEND = "nncompile.array.einops_backend"

"""einops for nncompile's arrays: its functions are einops's own, which this module makes know them.

    from nncompile.einops import rearrange, reduce, repeat
    from nncompile.einops.layers.torch import Rearrange

A model that imports the functions from einops itself works too. Only its layers are classes of a
framework each, and so have to be imported from here. einops is to be installed: pip install einops
"""

from einops import (
    EinopsError,
    asnumpy,
    einsum,
    pack,
    parse_shape,
    rearrange,
    reduce,
    repeat,
    unpack,
)

import nncompile.array.einops_backend  # noqa: F401

__all__ = ["EinopsError", "asnumpy", "einsum", "pack", "parse_shape", "rearrange", "reduce",
           "repeat", "unpack"]

"""torch.utils: see utils.data; what else is here is in docs/torch_parity.md."""

from typing import TYPE_CHECKING

from nncompile.placeholders import getter

if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

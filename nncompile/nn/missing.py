"""The layer that stands for one of torch's that is not here."""

from __future__ import annotations

from typing import Any, ClassVar

from ir import Error
from nncompile.nn.module import Module
from nncompile.placeholders import refusal


class MissingLayer(Module):
    """A layer of torch's that is not here: it can be subclassed and made, and refuses to compute.

    So a model that makes one and does not call it, such as a loss, runs.
    """

    _torch: ClassVar[tuple[str, str]]

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes any arguments."""
        super().__init__()

    def forward(self, *_: Any, **__: Any) -> Any:
        """Raises Error, which says where the layer stands in the table."""
        raise Error(refusal(*self._torch))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_"):
                raise
            raise AttributeError(f"{refusal(*self._torch)} (asked for its {name!r})") from None

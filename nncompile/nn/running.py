"""The stack of running layers, innermost last, so that an error can name the one it arose in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

from ir import Error
from ir.records import cached_property
from nncompile.array import Array
from nncompile.array.naming import explain_layer

_TORCH_SAYS = ("must be Tensor, not Array", "must be tuple of Tensors, not tuple",
               "must be tuple of Tensors, not list")


class Layer(Protocol):
    """What a Run needs to know of a Module."""

    _made_at: tuple[str, int]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the layer's outputs."""

    def _with_prefixes(self) -> Iterator[tuple[str, Any]]:
        """Yields the layer and all below, each with its path and a dot behind that."""


class Run:
    """One call of a model, from the start of its outermost layer to its end."""

    def __init__(self, root: Layer | None = None) -> None:
        self.root = root
        self.layers: list[Layer] = []

    def failed(self, error: Exception, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Is told of an exception in the running layer; an Error gets a note that names the layer.

        args, kwargs: what the layer was called with.
        """
        self.explain(error, args, kwargs)
        if isinstance(error, Error) and not hasattr(error, "__notes__"):
            error.add_note(f"  layer: {self.layer_name()}")

    def explain(self, error: Exception, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Makes the error of a call that does not fit the running layer say what it takes.

        So does that of torch's own functions, which take no arrays of ours.
        """
        if isinstance(error, TypeError) and self.layers:
            layer = self.layers[-1]
            if str(error).endswith(_TORCH_SAYS):
                error.args = (f"{error}: that is torch itself\n  do: let the file that calls it "
                              "import nncompile as torch",)
            explain_layer(type(layer).forward, (layer, *args), kwargs, error)

    def layer_name(self) -> str:
        """Returns the path and the class of the running layer: `0.fc Linear`."""
        if not self.layers or self.root is None:
            return ""
        layer = self.layers[-1]
        return f"{self._layer_paths.get(id(layer), '')} {type(layer).__name__}".strip()

    @cached_property
    def _layer_paths(self) -> dict[int, str]:
        """The path of each layer of the model, by its id."""
        paths: dict[int, str] = {}
        for prefix, layer in () if self.root is None else self.root._with_prefixes():
            paths.setdefault(id(layer), prefix[:-1])
        return paths

    def use(self, owned: Array) -> None:
        """Is told that a Parameter or a buffer becomes an operand; a subclass may refuse it."""


_OUTSIDE = Run()                                 # outside of every call of a model
running: ContextVar[Run] = ContextVar("running", default=_OUTSIDE)

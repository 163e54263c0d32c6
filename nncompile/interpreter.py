"""What running a forward pass means.  The interpreter here computes; trace.Trace records.

A model always runs the same way: a module calls its layers, layers call functions, and each
function ends in one op of the IR.  Whoever interprets these calls decides what the ops do.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ir import Error, Value, type_of
from ir.ops import Attrs, evaluate, infer

if TYPE_CHECKING:
    from nncompile.array.core import Core
    from nncompile.nn.module import Module

Payload = NDArray[Any] | Value


class Interpreter:
    """Eager: each op is evaluated by its reference, at once."""

    def __init__(self, root: Module | None = None) -> None:
        self.root = root
        self.layers: list[Module] = []

    def op(self, name: str, operands: Sequence[Core | float], attrs: Attrs) -> Payload:
        arrays = [o if isinstance(o, float) else self.numbers(o, name) for o in operands]
        # The same type rules as in a trace, so that what runs here can also be compiled.
        infer(name, [type_of(a) if isinstance(a, np.ndarray) else a for a in arrays], attrs)
        return evaluate(name, arrays, attrs)

    def numbers(self, array: Core, what: str) -> NDArray[Any]:
        """The numbers in an array, which `what` asks for."""
        if isinstance(array.payload, Value):
            raise Error(f"{what} got an array that was kept from a trace: it has no numbers")
        return array.payload

    def layer(self, module: Module, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        self.layers.append(module)
        try:
            return module._run_forward(args, kwargs)
        except Error as error:
            if not hasattr(error, "__notes__"):
                error.add_note(f"  layer: {self.layer_name()}")
            raise
        finally:
            self.layers.pop()

    def layer_name(self) -> str:
        """The path and the class of the layer that is running: `0.fc Linear`."""
        if not self.layers or self.root is None:
            return ""
        layer = self.layers[-1]
        path = next((p for p, module in self.root.named_modules() if module is layer), "")
        return f"{path} {type(layer).__name__}".strip()


OUTSIDE = Interpreter()
current: ContextVar[Interpreter] = ContextVar("interpreter", default=OUTSIDE)

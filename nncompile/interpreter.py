"""What running a forward pass means.  The interpreter here computes; trace.Trace records.

A model always runs the same way: a module calls its layers, layers call functions, and each
function ends in one op of the IR.  Whoever interprets these calls decides what the ops do.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from functools import cached_property
from itertools import count
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

    numbers_of_all = count()

    def __init__(self, root: Module | None = None) -> None:
        self.number = next(self.numbers_of_all)  # 0 is OUTSIDE's
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

    def check_random(self, what: str) -> None:
        """Errors: numbers drawn at random where there can be none."""

    def check_change(self, array: Core, what: str) -> None:
        """Errors: a Parameter, or a part of one, that `what` would change while gradients are kept,
        as torch has it."""
        leaf = array.leaf
        if leaf is not None and leaf.requires_grad and grad_enabled.get():
            raise Error(f"{what} changes a Parameter that requires a gradient: do it with "
                        "no_grad(), or change its .data")

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
        return f"{self.layer_paths.get(id(layer), '')} {type(layer).__name__}".strip()

    @cached_property
    def layer_paths(self) -> dict[int, str]:
        """The path of each layer of the model, by its id."""
        return {} if self.root is None else {id(m): p for p, m in self.root.named_modules()}


OUTSIDE = Interpreter()
grad_enabled: ContextVar[bool] = ContextVar("grad_enabled", default=True)
current: ContextVar[Interpreter] = ContextVar("interpreter", default=OUTSIDE)

"""The model and the loss as one module: what a step computes the gradient of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import Parameter as Argument
from inspect import Signature, signature
from typing import Any

from nncompile.errors import InputError
from nncompile.nn import Module
from nncompile.nn.state import Stateful
from nncompile.trace import Traced, trace_objective

_BY_POSITION = (Argument.POSITIONAL_ONLY, Argument.POSITIONAL_OR_KEYWORD)


class _Objective(Module):
    """loss(model(*inputs), *targets), in which the model's parts have the names of their own."""

    def __init__(self, model: Module, loss: Callable[..., Any], inputs: int, targets: int) -> None:
        self.model, self.loss = model, loss
        names = [*_names(model.forward, inputs, "input"), *_names(loss, targets, "target", 1)]

        def forward(*args: Any) -> Any:
            return loss(model(*args[:inputs]), *args[inputs:])

        forward.__signature__ = Signature(       # type: ignore[attr-defined]
            [Argument(name, Argument.POSITIONAL_OR_KEYWORD) for name in _distinct(names)])
        made_at = getattr(loss, "_made_at", model._made_at)
        vars(self).update(forward=forward, _made_at=made_at)

    def _with_prefixes(self) -> Iterator[tuple[str, Stateful]]:
        yield from self.model._with_prefixes()
        if isinstance(self.loss, Module):
            for prefix, module in self.loss._with_prefixes():
                yield f"loss.{prefix}", module


def trace_loss(model: Module, loss: Callable[..., Any] | None, inputs: tuple[Any, ...]) -> Traced:
    """Returns the graph whose one output is the loss.

    loss: takes what the model returns and then the last inputs; None where the model returns the
    loss. Raises InputError where the inputs are too few, and TraceError as a trace does.
    """
    if loss is None:
        return trace_objective(model, *inputs)
    targets = _count_of_targets(loss)
    if len(inputs) <= targets:
        raise InputError(f"the loss takes {targets} of the inputs, and {len(inputs)} were given: "
                         "those of the model come first")
    count = len(inputs) - targets
    return trace_objective(_Objective(model, loss, count, targets), *inputs)


def _count_of_targets(loss: Callable[..., Any]) -> int:
    """How many arguments behind the model's output a loss needs, or has as *args: one."""
    arguments = list(signature(_called(loss)).parameters.values())
    if any(a.kind is Argument.VAR_POSITIONAL for a in arguments):
        return 1
    needed = [a for a in arguments if a.kind in _BY_POSITION and a.default is Argument.empty]
    if not arguments:
        raise InputError("the loss takes no arguments: it is called with what the model returns, "
                         "and then the last inputs")
    return max(0, len(needed) - 1)


def _called(function: Callable[..., Any]) -> Callable[..., Any]:
    return function.forward if isinstance(function, Module) else function


def _names(function: Callable[..., Any], count: int, otherwise: str, skipped: int = 0
           ) -> list[str]:
    """Names for `count` arguments by position: the function's own, as far as it has some."""
    known = [a.name for a in signature(_called(function)).parameters.values()
             if a.kind in _BY_POSITION][skipped:]
    return [*known, *[otherwise] * count][:count]


def _distinct(names: list[str]) -> list[str]:
    """The names, of which those that are there twice get numbers."""
    twice = {name for name in names if names.count(name) > 1}
    return [f"{name}{i}" if name in twice else name for i, name in enumerate(names)]

"""Hooks: the user's functions that a module calls around its forward and its state dict.

Forward hooks run whenever the forward does, so a trace records what they compute.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

from ir.records import dataclass
from nncompile.errors import InputError


class _HasForward(Protocol):
    def forward(self, *args: Any, **kwargs: Any) -> Any: ...


@dataclass(frozen=True)
class Hook:
    """A function that is called before or after a module's forward, and how it is called."""

    function: Callable[..., Any]
    with_kwargs: bool
    always_call: bool = False

    def before(self, module: object, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Returns the forward's arguments: those that the hook returns, or the same."""
        if not self.with_kwargs:
            result = self.function(module, args)
            if result is None:
                return args, kwargs
            return (result if isinstance(result, tuple) else (result,)), kwargs
        result = self.function(module, args, kwargs)
        if result is None:
            return args, kwargs
        if not isinstance(result, tuple) or len(result) != 2:
            raise InputError("a forward pre-hook with_kwargs returns None or a pair of arguments "
                             f"and keyword arguments, not {result!r}")
        return result

    def after(self, module: object, args: Any, kwargs: Any, result: Any) -> Any:
        """Returns the layer's result: what the hook returns, or the same."""
        given = (args, kwargs, result) if self.with_kwargs else (args, result)
        changed = self.function(module, *given)
        return result if changed is None else changed


class Hooks:
    """The hooks of one module, in the order in which they are called."""

    def __init__(self) -> None:
        self.before: OrderedDict[int, Hook] = OrderedDict()
        self.after: OrderedDict[int, Hook] = OrderedDict()
        self.of_state: dict[str, OrderedDict[int, Callable[..., Any]]] = {}

    def around(self, moment: str) -> OrderedDict[int, Callable[..., Any]]:
        """Returns the hooks of a moment: before or after the state dict is saved or loaded."""
        return self.of_state.setdefault(moment, OrderedDict())

    def run(self, module: _HasForward, args: Any, kwargs: Any) -> Any:
        """Returns the result of the module's forward, with its hooks called around it."""
        called = set()
        try:
            for hook in tuple(self.before.values()):
                args, kwargs = hook.before(module, args, kwargs)
            result = module.forward(*args, **kwargs)
            for hook in tuple(self.after.values()):
                called.add(hook)
                result = hook.after(module, args, kwargs, result)
        except Exception:
            for hook in self.after.values():
                if hook.always_call and hook not in called:
                    hook.after(module, args, kwargs, None)
            raise
        return result


class RemovableHandle:
    """Removes a hook, by remove() or at the end of a `with` block."""

    numbers = count()

    def __init__(self, hooks: OrderedDict[int, Any], hook: Any, prepend: bool = False) -> None:
        self.hooks = hooks
        self.id = next(self.numbers)
        hooks[self.id] = hook
        hooks.move_to_end(self.id, last=not prepend)

    def remove(self) -> None:
        """Removes the hook; does nothing if that was done before."""
        self.hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()

"""Hooks: the user's functions that a module calls around its forward and its state dict.

Forward hooks run whenever the forward does, so a trace records what they compute. They are kept in
dicts of the module with torch's names, which code written for torch reads and clears.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from nncompile.errors import InputError

_Hooks = dict[int, Callable[..., Any]]


class Hooked(Protocol):
    """What is used here of a Module."""

    _forward_hooks: _Hooks
    _forward_hooks_with_kwargs: dict[int, bool]
    _forward_hooks_always_called: dict[int, bool]
    _forward_pre_hooks: _Hooks
    _forward_pre_hooks_with_kwargs: dict[int, bool]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the module's outputs."""


def no_hooks() -> dict[str, dict[int, Any]]:
    """Returns the attributes of a module that has no hooks yet."""
    return {
        "_forward_hooks": OrderedDict(), "_forward_hooks_with_kwargs": {},
        "_forward_hooks_always_called": {}, "_forward_pre_hooks": OrderedDict(),
        "_forward_pre_hooks_with_kwargs": {}, "_state_dict_hooks": OrderedDict(),
        "_state_dict_pre_hooks": OrderedDict(), "_load_state_dict_pre_hooks": OrderedDict(),
        "_load_state_dict_post_hooks": OrderedDict(),
    }


def forward_between_hooks(module: Hooked, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Returns the result of the module's forward, with its hooks called around it."""
    called = set()
    try:
        for number, hook in tuple(module._forward_pre_hooks.items()):
            with_kwargs = number in module._forward_pre_hooks_with_kwargs
            args, kwargs = _before(hook, with_kwargs, module, args, kwargs)
        result = module.forward(*args, **kwargs)
        for number, hook in tuple(module._forward_hooks.items()):
            called.add(number)
            changed = _after(number, hook, module, args, kwargs, result)
            result = result if changed is None else changed
    except Exception:
        for number, hook in module._forward_hooks.items():
            if number in module._forward_hooks_always_called and number not in called:
                _after(number, hook, module, args, kwargs, None)
        raise
    return result


def _before(hook: Callable[..., Any], with_kwargs: bool, module: Hooked, args: Any, kwargs: Any
            ) -> tuple[Any, Any]:
    """Returns the forward's arguments: those that the hook returns, or the same."""
    if not with_kwargs:
        result = hook(module, args)
        if result is None:
            return args, kwargs
        return (result if isinstance(result, tuple) else (result,)), kwargs
    result = hook(module, args, kwargs)
    if result is None:
        return args, kwargs
    if not isinstance(result, tuple) or len(result) != 2:
        raise InputError("a forward pre-hook with_kwargs returns None or a pair of arguments "
                         f"and keyword arguments, not {result!r}")
    return result


def _after(number: int, hook: Callable[..., Any], module: Hooked, args: Any, kwargs: Any,
           result: Any) -> Any:
    if number in module._forward_hooks_with_kwargs:
        return hook(module, args, kwargs, result)
    return hook(module, args, result)

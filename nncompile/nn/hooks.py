"""Hooks: the user's functions that a module calls around its forward and its state dict.

Forward hooks run whenever the forward does, so a trace records what they compute. Those on the way
back run when a gradient comes back through an eager call. All are kept in dicts of the module with
torch's names, which code written for torch reads and clears.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ir import Error
from nncompile.array import Array
from nncompile.array.dispatch import current
from nncompile.array.gradients import grad_enabled
from nncompile.array.tape import Output, Outputs, bare
from nncompile.errors import GradientError, InputError

_Hooks = dict[int, Callable[..., Any]]


class Hooked(Protocol):
    """What is used here of a Module."""

    _forward_hooks: _Hooks
    _forward_hooks_with_kwargs: dict[int, bool]
    _forward_hooks_always_called: dict[int, bool]
    _forward_pre_hooks: _Hooks
    _forward_pre_hooks_with_kwargs: dict[int, bool]
    _backward_hooks: _Hooks
    _backward_pre_hooks: _Hooks

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the module's outputs."""


def no_hooks() -> dict[str, dict[int, Any]]:
    """Returns the attributes of a module that has no hooks yet."""
    return {
        "_forward_hooks": OrderedDict(), "_forward_hooks_with_kwargs": {},
        "_forward_hooks_always_called": {}, "_forward_pre_hooks": OrderedDict(),
        "_forward_pre_hooks_with_kwargs": {}, "_backward_hooks": OrderedDict(),
        "_backward_pre_hooks": OrderedDict(), "_state_dict_hooks": OrderedDict(),
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
        back = _BackwardHooks(module) if _are_wanted(module) else None
        result = module.forward(*(args if back is None else back.inputs(args)), **kwargs)
        for number, hook in tuple(module._forward_hooks.items()):
            called.add(number)
            changed = _after(number, hook, module, args, kwargs, result)
            result = result if changed is None else changed
        result = result if back is None else back.outputs(result)
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


# -- on the way back -------------------------------------------------------------------------------

def _are_wanted(module: Hooked) -> bool:
    """Whether a call has hooks on the way back. Raises Error where a training step is traced."""
    if not module._backward_hooks and not module._backward_pre_hooks:
        return False
    if current.get().differentiates:
        raise Error(f"{type(module).__name__} has hooks on the way back, which a compiled step "
                    "cannot call: remove them, or train it with loss.backward()")
    return grad_enabled.get() and not current.get().records


class _BackwardHooks:
    """The hooks of one call of a module on the way back, which there are two steps on the tape for.

    All outputs go through one step and all inputs through another. The first gets the gradients of
    the outputs, the second those of the inputs, and calls the hooks with both.
    """

    def __init__(self, module: Hooked) -> None:
        self._module = module
        self._of_outputs: tuple[Any, ...] | None = None
        self._inputs: tuple[Any, ...] = ()
        self._returned: tuple[Any, ...] = ()
        self._reach_inputs = False

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the arguments, of which those that require a gradient tell it to the hooks."""
        self._inputs = args
        self._reach_inputs = any(map(_requires, args))
        return _through(args, self._back_to_inputs)

    def outputs(self, result: Any) -> Any:
        """Returns what the forward returned: an array, or a tuple with some."""
        self._returned = result if isinstance(result, tuple) else (result,)
        found = _through(self._returned, self._back_to_outputs)
        return found if isinstance(result, tuple) else found[0]

    def _back_to_outputs(self, gradients: Mapping[int, Any]) -> list[Any]:
        given = tuple(Array(gradients[i]) if i in gradients else None
                      for i in range(len(self._returned)))
        for hook in tuple(self._module._backward_pre_hooks.values()):
            given = _changed(hook(self._module, given), given, "grad_output")
        self._of_outputs = given
        if not self._reach_inputs:               # the way ends before it comes to them
            self._call((None,) * len(self._inputs))
        return _payloads(given, self._returned)

    def _back_to_inputs(self, gradients: Mapping[int, Any]) -> list[Any]:
        given = tuple(
            Array(gradients[i]) if i in gradients else
            Array(np.zeros_like(bare(x._payload))) if isinstance(x, Array) else None
            for i, x in enumerate(self._inputs))
        if self._of_outputs is None:             # it came from inside: a gradient's gradient
            return _payloads(given, self._inputs)
        found = self._call(given)
        self._of_outputs = None
        return _payloads(found, self._inputs)

    def _call(self, of_inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in tuple(self._module._backward_hooks.values()):
            of_inputs = _changed(hook(self._module, of_inputs, self._of_outputs), of_inputs,
                                 "grad_input")
        return of_inputs


def _requires(value: Any) -> bool:
    return isinstance(value, Array) and value.requires_grad


def _through(values: tuple[Any, ...], back: Callable[[Mapping[int, Any]], list[Any]]
             ) -> tuple[Any, ...]:
    """Returns the values, of which those that require a gradient are outputs of one step.

    back: gets the gradients that come back to that step by the numbers of the values, and returns
    one for each of those.
    """
    operands = [x._as_operand() for x in values if _requires(x)]
    if not operands:
        return values
    step = Outputs("BackwardHookFunction", operands, back,  # type: ignore[arg-type]
                   np.zeros(()))
    found = list(values)
    for number, value in enumerate(values):
        if _requires(value):
            payload = Output(bare(value._payload), step, number)
            found[number] = made = Array(payload)
            payload.version = made._storage, 0
    return tuple(found)


def _changed(returned: Any, given: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """Returns the gradients that a hook returned in place of those it was given, if it did."""
    if returned is None:
        return given
    new = returned if isinstance(returned, tuple) else (returned,)
    if len(new) != len(given):
        raise GradientError(f"Backward hook returned an invalid number of {name}, got {len(new)}, "
                            f"but expected {len(given)}")
    return new


def _payloads(gradients: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """The gradients of the values that require one, as the tape has them."""
    return [None if gradient is None else gradient._as_operand()
            for gradient, value in zip(gradients, values, strict=True) if _requires(value)]

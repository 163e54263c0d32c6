"""State dicts: all problems are found before anything is loaded, and reported together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from ir import NDArray
from nncompile.array import Array
from nncompile.conversion import cast, numbers
from nncompile.errors import InputError
from nncompile.nn.hooks import Hooks
from nncompile.nn.parameter import Uninitialized, as_data

_EXTRA = "_extra_state"                          # the key of get_extra_state's result


class _HasState(Protocol):
    """What is used here of a Module."""

    _hooks: Hooks

    @property
    def _modules(self) -> Mapping[str, _HasState | None]: ...

    def named_modules(self, *, remove_duplicate: bool) -> Iterator[tuple[str, _HasState]]: ...

    def _arrays_in_state(self, prefix: str, recurse: bool = True) -> dict[str, Array]: ...

    def _has_extra_state(self) -> bool: ...

    def get_extra_state(self) -> Any: ...

    def set_extra_state(self, state: Any) -> None: ...


class IncompatibleKeys(NamedTuple):
    """The keys that a load with strict=False passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (f"IncompatibleKeys(missing_keys={self.missing_keys}, "
                f"unexpected_keys={self.unexpected_keys})")


def save(module: _HasState, state: Any, prefix: str, keep_vars: bool) -> None:
    """Writes the arrays of a module and of those below into a state dict, between its hooks."""
    for hook in module._hooks.around("before save").values():
        hook(module, prefix, keep_vars)
    for path, array in module._arrays_in_state(prefix, recurse=False).items():
        if not isinstance(array, Uninitialized):
            state[path] = array if keep_vars else array.numpy()
    if module._has_extra_state():
        state[prefix + _EXTRA] = module.get_extra_state()
    for name, child in module._modules.items():
        if child is not None:
            save(child, state, f"{prefix}{name}.", keep_vars)
    for hook in module._hooks.around("after save").values():
        hook(module, state, prefix, {})


def load(module: _HasState, given: Mapping[str, Any], strict: bool, assign: bool = False
         ) -> IncompatibleKeys:
    """Copies the given values into a module's arrays, all of them or none.

    assign: uses the arrays themselves. Each array gets new numbers instead of a write to the old
    ones, so a graph traced before keeps its numbers.
    Raises InputError that names each key that is missing, unexpected (both with strict alone), of
    another shape, or no array of real numbers.
    """
    own, state = module._arrays_in_state(""), dict(given)
    below = [(f"{path}." if path else "", part)
             for path, part in module.named_modules(remove_duplicate=False)]
    keys, problems = IncompatibleKeys([], []), list[str]()
    for prefix, part in below:
        for hook in tuple(part._hooks.around("before load").values()):
            hook(part, state, prefix, {}, strict, *keys, problems)
    extra = {prefix + _EXTRA: part for prefix, part in below if part._has_extra_state()}
    keys.missing_keys.extend(key for key in (*own, *extra) if key not in state)
    keys.unexpected_keys.extend(key for key in state if key not in own and key not in extra)
    if strict:
        problems += [f"{what} keys: {', '.join(map(str, which))}"
                     for what, which in zip(("missing", "unexpected"), keys, strict=True) if which]
    loaded = _all_fitting(own, state, assign, problems)
    if problems:
        raise InputError("\n  ".join([f"the state dict does not fit {type(module).__name__}:",
                                      *problems]))
    for key, values in loaded.items():
        if isinstance(array := own[key], Uninitialized):
            array.materialize(values.shape)
        array._payload = values
    for key in extra.keys() & state.keys():
        extra[key].set_extra_state(state[key])
    for _, part in below[::-1]:
        for hook in tuple(part._hooks.around("after load").values()):
            hook(part, keys)
    return keys


def _all_fitting(own: Mapping[str, Array], state: Mapping[str, Any], assign: bool,
                 problems: list[str]) -> dict[str, NDArray]:
    """Returns the new numbers of each array, and adds what does not fit to the problems."""
    loaded = {}
    for key, array in own.items():
        if key not in state:
            continue
        try:
            loaded[key] = _fitting(state[key], array, assign)
        except (InputError, TypeError, ValueError, RuntimeError) as error:
            problems.append(f"{key}: {error}")
    return loaded


def _fitting(given: Any, target: Array, assign: bool) -> NDArray:
    """Returns the given numbers in the target's dtype, copied; with assign, as they are.

    Raises InputError where the shape or the kind of dtype differs.
    """
    values, _ = numbers(given)
    if values.dtype == np.float16 or values.dtype.name == "bfloat16":      # ml_dtypes'
        values = values.astype(np.float32)
    if values.dtype.kind not in "fiub" or (values.dtype.kind == "f") > (target.dtype.kind == "f"):
        raise InputError(f"values of type {values.dtype} cannot become {target.type}")
    if values.shape != target.shape and not isinstance(target, Uninitialized):
        raise InputError(f"the shape is {list(values.shape)}, the model's {list(target.shape)}")
    if assign:
        return as_data(values)
    return np.array(cast(values, target.dtype, "value"), order="C")

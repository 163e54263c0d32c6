"""State dicts: how a module writes and reads one, with the methods and hooks that torch calls.

All problems of a load are reported together, and then nothing has changed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ir import NDArray
from nncompile.array import Array
from nncompile.array.hooks import RemovableHandle
from nncompile.conversion import cast, numbers
from nncompile.errors import InputError
from nncompile.nn.parameter import Parameter, Uninitialized, as_data

_EXTRA = "_extra_state"                          # the key of get_extra_state's result


class IncompatibleKeys(NamedTuple):
    """The keys that a load with strict=False passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (f"IncompatibleKeys(missing_keys={self.missing_keys}, "
                f"unexpected_keys={self.unexpected_keys})")


class Stateful:
    """The part of a Module that its state dict is about."""

    _version: ClassVar[int] = 1                  # of the layout of a class's state
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Array | None]
    _modules: Mapping[str, Stateful | None]
    _unsaved_buffers: set[str]                   # buffers that are not part of the state dict
    _state_dict_hooks: dict[int, Callable[..., Any]]
    _state_dict_pre_hooks: dict[int, Callable[..., Any]]
    _load_state_dict_pre_hooks: dict[int, Callable[..., Any]]
    _load_state_dict_post_hooks: dict[int, Callable[..., Any]]

    # -- saving ------------------------------------------------------------------------------------

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "",
                   keep_vars: bool = False) -> Any:
        """Returns all parameters and persistent buffers by path, as ndarrays that share memory.

        keep_vars: the Parameters and Arrays themselves. Parameters of a lazy layer that have no
        shape yet are left out. args: the same arguments by position, as torch still takes them.
        """
        given: Any = (*args, *(destination, prefix, keep_vars)[len(args):])
        destination, prefix, keep_vars = given
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in tuple(self._state_dict_pre_hooks.values()):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=destination, prefix=f"{prefix}{name}.",
                                 keep_vars=keep_vars)
        for hook in tuple(self._state_dict_hooks.values()):
            replaced = hook(self, destination, prefix, metadata)
            destination = destination if replaced is None else replaced
        return destination

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Writes the module's own state, without that of the modules below; may be overridden."""
        for name, array in self._own_state().items():
            if not isinstance(array, Uninitialized):
                destination[prefix + name] = array if keep_vars else array.numpy()
        if self._overrides("get_extra_state"):
            destination[prefix + _EXTRA] = self.get_extra_state()

    def _own_state(self) -> dict[str, Array]:
        own: dict[str, Array | None] = {**self._parameters}
        own |= {name: b for name, b in self._buffers.items() if name not in self._unsaved_buffers}
        return {name: array for name, array in own.items() if array is not None}

    def _arrays_in_state(self) -> dict[str, Array]:
        """Returns the parameters and persistent buffers here and below, by path."""
        return {prefix + name: array for prefix, module in self._with_prefixes()
                for name, array in module._own_state().items()}

    def _with_prefixes(self) -> Iterator[tuple[str, Stateful]]:
        """Yields the module and those below with what their names in a state dict begin with."""
        pending: list[tuple[str, Stateful]] = [("", self)]
        while pending:
            prefix, module = pending.pop()
            yield prefix, module
            pending += [(f"{prefix}{name}.", child)
                        for name, child in list(module._modules.items())[::-1] if child is not None]

    def _overrides(self, name: str) -> bool:
        return getattr(type(self), name) is not getattr(Stateful, name)

    def get_extra_state(self) -> Any:
        """Returns what else the state dict holds, under _extra_state; a subclass may define it."""
        raise RuntimeError(f"{type(self).__name__} has no get_extra_state")

    def set_extra_state(self, state: Any) -> None:
        """Restores what get_extra_state returned; a subclass that has one defines the other."""
        raise RuntimeError(f"{type(self).__name__} has no set_extra_state")

    # -- loading -----------------------------------------------------------------------------------

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True,
                        assign: bool = False) -> IncompatibleKeys:
        """Copies values into the parameters and buffers, all of them or none.

        state_dict: by path, anything that numpy.asarray takes, torch's tensors included; the shapes
        have to be the model's, and numbers are converted to its dtypes. Each array gets new numbers
        instead of a write to the old ones, so a graph that was traced before keeps its numbers.
        assign: use the given arrays themselves, in their dtypes. strict: whether missing and
        unexpected keys are errors.
        Raises InputError that names all keys that are missing, unexpected, or do not fit.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"a state dict maps names to arrays, got {type(state_dict).__name__}")
        state: Any = OrderedDict(state_dict)
        if hasattr(state_dict, "_metadata"):
            state._metadata = state_dict._metadata
        load = _Load(getattr(state_dict, "_metadata", None) or {}, assign)
        before = _Before(self)
        try:
            load.below(self, state, "")
            load.raise_problems(self, strict)
        except BaseException:
            before.restore()
            raise
        return load.keys

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool,
                              missing_keys: list[str], unexpected_keys: list[str],
                              error_msgs: list[str]) -> None:
        """Reads the module's own state, without that of the modules below; may be overridden.

        state_dict: this module's part, which may be changed. local_metadata: what `state_dict` has
        stored about this module, such as its "version". The lists are added to.
        """
        for hook in tuple(self._load_state_dict_pre_hooks.values()):
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                 error_msgs)
        own, extra = self._own_state(), prefix + _EXTRA
        for name, array in own.items():
            if prefix + name in state_dict:
                _load_one(array, prefix + name, state_dict[prefix + name],
                          local_metadata.get("assign_to_params_buffers", False), error_msgs)
            elif strict:
                missing_keys.append(prefix + name)
        if self._overrides("set_extra_state"):
            if extra in state_dict:
                self.set_extra_state(state_dict[extra])
            elif strict:
                missing_keys.append(extra)
        if strict:
            known = {*own, *([_EXTRA] if self._overrides("set_extra_state") else [])}
            unexpected_keys += _unexpected(state_dict, prefix, known, self._modules)

    # -- hooks -------------------------------------------------------------------------------------

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Makes state_dict run hook(module, prefix, keep_vars) before this module's part."""
        return RemovableHandle(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Makes state_dict run hook(module, state_dict, prefix, metadata) after this module's part.

        The hook changes the dict in place, and returns None.
        """
        return RemovableHandle(self._state_dict_hooks, partial(_returning_none, hook))

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """As register_state_dict_post_hook, but the hook may return another dict."""
        return RemovableHandle(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Makes load_state_dict run a hook on its copy of this module's part before it loads.

        The hook may change the copy. It is called with (module, state_dict, prefix, metadata,
        strict, missing_keys, unexpected_keys, error_msgs).
        """
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(self, hook: Callable[..., Any],
                                           with_module: bool = False) -> RemovableHandle:
        """As the public method, but the hook gets the module only where with_module is set."""
        return RemovableHandle(self._load_state_dict_pre_hooks,
                               partial(hook, self) if with_module else hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Makes load_state_dict run hook(module, incompatible_keys) after this module's part.

        The hook may change the lists of keys, and returns None.
        """
        return RemovableHandle(self._load_state_dict_post_hooks, partial(_returning_none, hook))


def _returning_none(hook: Callable[..., Any], *args: Any) -> None:
    if hook(*args) is not None:
        raise RuntimeError(f"the hook {hook!r} has to return None: it changes its arguments")


class _Load:
    """One call of load_state_dict: what it has found so far."""

    def __init__(self, metadata: Mapping[str, Any], assign: bool) -> None:
        self.metadata, self.assign = metadata, assign
        self.keys, self.problems = IncompatibleKeys([], []), list[str]()

    def below(self, module: Stateful, state: Any, prefix: str) -> None:
        """Loads a module and those below, each from a dict with its own part of the state."""
        local = dict(self.metadata.get(prefix[:-1], {}))
        if self.assign:
            local["assign_to_params_buffers"] = True
        module._load_from_state_dict(state, prefix, local, True, *self.keys, self.problems)
        parts: dict[str, Any] = {}
        for key, value in state.items():
            if isinstance(key, str) and key.startswith(prefix):
                parts.setdefault(key[len(prefix):].partition(".")[0], {})[key] = value
        for name, child in module._modules.items():
            if child is not None:
                self.below(child, parts.get(name, {}), f"{prefix}{name}.")
        for hook in tuple(module._load_state_dict_post_hooks.values()):
            hook(module, self.keys)

    def raise_problems(self, module: Stateful, strict: bool) -> None:
        """Raises InputError if there is a problem."""
        problems = []
        if strict:
            problems = [f"{what} keys: {', '.join(map(str, which))}" for what, which in zip(
                ("missing", "unexpected"), self.keys, strict=True) if which]
        if problems or self.problems:
            hint = ["do: strict=False takes what is there"] if not self.problems else []
            raise InputError("\n  ".join([f"the state dict does not fit {type(module).__name__}:",
                                          *problems, *self.problems, *hint]))


class _Before:
    """What a module and those below held, to be restored where a load fails."""

    def __init__(self, module: Stateful) -> None:
        modules = {id(m): m for _, m in module._with_prefixes()}.values()
        self.dicts = [(own, dict(own)) for m in modules for own in (m._parameters, m._buffers)]
        arrays = {id(a): a for _, held in self.dicts for a in held.values() if a is not None}
        self.arrays = [(a, type(a), dict(vars(a))) for a in arrays.values()]
        self.extra = [(m, m.get_extra_state()) for m in modules
                      if m._overrides("get_extra_state") and m._overrides("set_extra_state")]

    def restore(self) -> None:
        """Puts everything back."""
        for own, held in self.dicts:
            own.clear()
            own.update(held)                     # type: ignore[arg-type]
        for array, kind, attributes in self.arrays:
            array.__class__ = kind
            vars(array).clear()
            vars(array).update(attributes)
        for module, state in self.extra:
            module.set_extra_state(state)


def _unexpected(state: Any, prefix: str, own: set[str], modules: Mapping[str, Any]) -> list[Any]:
    """Returns the keys of a module's part of a state dict that belong to nothing in it."""
    found = []
    for key in state:
        if not isinstance(key, str):
            found += [key] if not prefix else []
            continue
        name, dot, _ = key[len(prefix):].partition(".")
        if key.startswith(prefix) and name not in (modules if dot else own):
            found.append(key)
    return found


def _load_one(array: Array, key: str, given: Any, assign: bool, problems: list[str]) -> None:
    """Gives an array its new numbers, or adds to the problems why they do not fit."""
    try:
        values = _fitting(given, array, assign)
    except (InputError, TypeError, ValueError, RuntimeError) as error:
        problems.append(f"{key}: {error}")
        return
    if isinstance(array, Uninitialized):
        array.materialize(values.shape)
    array._payload = values


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
    return np.array(cast(values, target.dtype.dtype, "value"), order="C")

"""The base class of optimizers: groups of parameters with options, states, hooks, state dicts.

It is torch.optim.Optimizer, and classes that are written for that can derive from it. What the
optimizers here have in common besides, nncompile.optim.rule says.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import wraps
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from nncompile.array import Array
from nncompile.array.hooks import RemovableHandle
from nncompile.conversion import numbers
from nncompile.errors import InputError
from nncompile.placeholders import getter

__all__ = ["Optimizer", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook"]

StateDict = dict[str, Any]
_Hooks = OrderedDict[int, Callable[..., Any]]


class _Required:
    """The default of an option that has none: every group has to give it."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()
_pre_hooks_of_all: _Hooks = OrderedDict()
_post_hooks_of_all: _Hooks = OrderedDict()


def step_hooks(optimizer: Optimizer) -> list[Callable[..., Any]]:
    """Returns the hooks that optimizer.step() calls, those of all optimizers too."""
    return [hook for hooks in (_pre_hooks_of_all, _post_hooks_of_all,
                               optimizer._optimizer_step_pre_hooks,
                               optimizer._optimizer_step_post_hooks) for hook in hooks.values()]


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Calls hook(optimizer, args, kwargs) before each step of every optimizer."""
    return RemovableHandle(_pre_hooks_of_all, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Calls hook(optimizer, args, kwargs) after each step of every optimizer."""
    return RemovableHandle(_post_hooks_of_all, hook)


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a class's step as one that calls the hooks around it.

    A step that calls the step of its base class is one step.
    """
    @wraps(step)
    def hooked(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if self._stepping:
            return step(self, *args, **kwargs)
        self._stepping = True
        try:
            for hook in (*_pre_hooks_of_all.values(), *self._optimizer_step_pre_hooks.values()):
                changed = hook(self, args, kwargs)
                if changed is None:
                    continue
                if not isinstance(changed, tuple) or len(changed) != 2:
                    raise InputError("a hook before the step returns None or (args, kwargs), not "
                                     f"{changed!r}")
                args, kwargs = changed
            result = step(self, *args, **kwargs)
            self._opt_called = True              # a scheduler of learning rates asks for it
            for hook in (*self._optimizer_step_post_hooks.values(), *_post_hooks_of_all.values()):
                hook(self, args, kwargs)
            return result
        finally:
            self._stepping = False

    return hooked


def _no_hooks() -> dict[str, _Hooks]:
    return {f"_optimizer_{name}_hooks": OrderedDict() for name in (
        "step_pre", "step_post", "state_dict_pre", "state_dict_post", "load_state_dict_pre",
        "load_state_dict_post")}


class Optimizer:
    """An optimizer of parameters: `param_groups`, each with its options, and `state` by parameter.

    params: parameters, pairs of a name and a parameter, or dicts, each of which is a group: its
    "params", and options that differ from the others'. defaults: the options by name.
    Raises InputError, which is a ValueError, or TypeError, for what are no such parameters.
    """

    _optimizer_step_pre_hooks: _Hooks
    _optimizer_step_post_hooks: _Hooks
    _optimizer_state_dict_pre_hooks: _Hooks
    _optimizer_state_dict_post_hooks: _Hooks
    _optimizer_load_state_dict_pre_hooks: _Hooks
    _optimizer_load_state_dict_post_hooks: _Hooks
    _stepping = _opt_called = False
    _stepped_by: Any = None                      # the compiled step that knows `state` as it is

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in vars(cls):
            cls.step = _with_hooks(cls.step)     # type: ignore[method-assign]

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        vars(self).update(_no_hooks())
        if isinstance(params, Array):
            raise TypeError("params argument given to the optimizer should be an iterable of "
                            "Tensors or dicts, but got one Tensor: pass [p]")
        self.state = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise InputError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Changes every parameter that has a gradient. Each class has its own.

        closure: computes the loss and its gradients, and returns the loss; so does the step then.
        """
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Sets every parameter's grad to None, or to zeros."""
        for p in chain.from_iterable(group["params"] for group in self.param_groups):
            if p.grad is None:
                continue
            if set_to_none:
                p.grad = None
            else:
                p.grad.detach_()
                p.grad.zero_()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group: its "params", and options in place of the defaults.

        Raises InputError for options that are missing, for parameters of another group, for arrays
        that are computed from others, and for some parameters with names and some without.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        _take_params(param_group)
        for p in param_group["params"]:
            if not isinstance(p, Array):
                raise TypeError("optimizer can only optimize Tensors, but one of the params is "
                                f"{type(p).__name__}")
            if not (p.is_leaf or p.retains_grad):
                raise InputError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise InputError("parameter group didn't specify a value of required optimization "
                                 f"parameter {name}")
            param_group.setdefault(name, default)
        self._check_distinct(param_group)
        self.param_groups.append(param_group)

    def _check_distinct(self, new: dict[str, Any]) -> None:
        ids = {id(p) for p in new["params"]}
        if len(ids) < len(new["params"]):
            warnings.warn("optimizer contains a parameter group with duplicate parameters; in "
                          "future, this will cause an error", stacklevel=4)
        for group in self.param_groups:
            if ("param_names" in group) != ("param_names" in new):
                raise InputError(
                    "all optimizer param groups should be with/without names. cannot add param "
                    f"group {'with' if 'param_names' in new else 'without'} names to the optimizer")
            if not ids.isdisjoint(map(id, group["params"])):
                raise InputError("some parameters appear in more than one parameter group")

    # -- state dicts -------------------------------------------------------------------------------

    def state_dict(self) -> StateDict:
        """Returns the options and states: "param_groups", and "state" by the parameters' numbers.

        The states are NumPy arrays under torch's names. What the dict has now it keeps: a later
        step replaces the arrays of the optimizer.
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        number_of: dict[int, int] = {}
        start, groups = 0, []
        for group in self.param_groups:
            for number, p in enumerate(group["params"], start):
                number_of.setdefault(id(p), number)
            start += len(group["params"])
            groups.append({**{name: v for name, v in group.items() if name != "params"},
                           "params": [number_of[id(p)] for p in group["params"]]})
        state = {number_of[id(p)] if isinstance(p, Array) else p: _mapped(_to_numpy, values)
                 for p, values in self.state.items()}
        result: StateDict = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            changed = hook(self, result)
            result = result if changed is None else changed
        return result

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Takes over the options and states of a state dict, torch's too.

        Arrays are copied, in the dtype of their parameter.
        Raises InputError where the groups differ in number or in size.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        saved = deepcopy(state_dict["param_groups"])
        if len(saved) != len(self.param_groups):
            raise InputError("loaded state dict has a different number of parameter groups: "
                             f"{len(saved)}, not {len(self.param_groups)}")
        by_number: dict[Any, Array] = {}
        for group, new in zip(self.param_groups, saved, strict=True):
            if len(group["params"]) != len(new["params"]):
                raise InputError("loaded state dict contains a parameter group that doesn't match "
                                 f"the size of optimizer's group: {len(new['params'])}, not "
                                 f"{len(group['params'])}")
            by_number |= zip(new["params"], group["params"], strict=True)
            new["params"] = group["params"]
            if "param_names" in group:
                new.setdefault("param_names", group["param_names"])
        state: defaultdict[Any, Any] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            p = by_number.get(number)
            state[number if p is None else p] = values if p is None else _loaded(values, p)
        self.__setstate__({"state": state, "param_groups": saved})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    @property
    def state(self) -> defaultdict[Any, Any]:
        """What has become of each parameter: a dict of arrays by names, for each that was changed.

        A compiled step looks at it again once it was read, because it can be changed then.
        """
        self._stepped_by = None
        state: defaultdict[Any, Any] = vars(self)["state"]
        return state

    @state.setter
    def state(self, state: defaultdict[Any, Any]) -> None:
        self._stepped_by, vars(self)["state"] = None, state

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._stepped_by = None
        for name, hooks in _no_hooks().items():
            vars(self).setdefault(name, hooks)
        for group in self.param_groups:          # those of an older version lack some options
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    # -- hooks -------------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls hook(optimizer, args, kwargs) before each step; it may return both anew."""
        return RemovableHandle(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls hook(optimizer, args, kwargs) after each step."""
        return RemovableHandle(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False
                                     ) -> RemovableHandle:
        """Calls hook(optimizer) before a state dict is made."""
        return RemovableHandle(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False
                                      ) -> RemovableHandle:
        """Calls hook(optimizer, state_dict) after it is made; it may return another."""
        return RemovableHandle(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False
                                          ) -> RemovableHandle:
        """Calls hook(optimizer, state_dict) before one is loaded; it may return another."""
        return RemovableHandle(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False
                                           ) -> RemovableHandle:
        """Calls hook(optimizer) after a state dict is loaded."""
        return RemovableHandle(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for number, group in enumerate(self.param_groups):
            text += f"\nParameter Group {number}\n"
            text += "".join(f"    {name}: {group[name]}\n" for name in sorted(group)
                            if name != "params")
        return text + ")"


def _take_params(group: dict[str, Any]) -> None:
    """Makes a list of a group's parameters, and another of their names where they have any."""
    given = group["params"]
    if isinstance(given, set):
        raise TypeError("optimizer parameters need to be organized in ordered collections, but the "
                        "ordering of tensors in sets will change between runs. Please use a list "
                        "instead.")
    given = [given] if isinstance(given, Array) else list(given)
    names = [item[0] for item in given if isinstance(item, tuple)]
    group["params"] = [item[1] if isinstance(item, tuple) else item for item in given]
    if names and len(names) < len(given):
        raise InputError("all optimizer params should be with/without names. Some param names are "
                         "missing")
    if names:
        group["param_names"] = names


def _mapped(function: Callable[[Any], Any], values: Any) -> Any:
    """Returns what a state holds, nested in dicts, lists and tuples, with each leaf replaced."""
    if isinstance(values, dict):
        return {name: _mapped(function, v) for name, v in values.items()}
    if isinstance(values, list | tuple):
        return type(values)(_mapped(function, v) for v in values)
    return function(values)


def _to_numpy(leaf: Any) -> Any:
    return leaf.numpy() if isinstance(leaf, Array) else leaf


def _loaded(values: Any, p: Array) -> Any:
    """Returns a parameter's state with arrays of its dtype; the counted steps keep theirs."""
    def copied(leaf: Any) -> Any:
        if not hasattr(leaf, "__array__"):
            return leaf
        return Array(np.array(leaf.numpy() if isinstance(leaf, Array) else numbers(leaf)[0]))

    def of_its_dtype(leaf: Any) -> Any:
        array = copied(leaf)
        return array._cast(p.type.dtype) if isinstance(array, Array) else array

    return {name: _mapped(copied if name == "step" or not p.is_floating_point() else of_its_dtype,
                          value) for name, value in values.items()}


def scalar(given: Any) -> Any:
    """Returns an option that is a number or an array of one number as a Python number."""
    return given.item() if isinstance(given, Array | np.ndarray) else given


def check_options(*conditions: tuple[bool, str], lr: Any = 0.0, foreach: bool | None = None,
                  fused: bool | None = None, differentiable: bool = False) -> None:
    """Checks the options that most optimizers have, and each condition with its message.

    Raises InputError for the first that does not hold.
    """
    if isinstance(lr, Array) and lr.numel() != 1:
        raise InputError("Tensor lr must be 1-element")
    if not scalar(lr) >= 0:
        raise InputError(f"Invalid learning rate: {lr}")
    for holds, message in conditions:
        if not holds:
            raise InputError(message)
    if differentiable:
        raise InputError("differentiable=True: no gradient is kept of an optimizer's step, leave "
                         "it out")
    if fused and foreach:
        raise InputError("`fused` and `foreach` cannot be `True` together.")


Params = Iterable[Any]
params_t = ParamsT = Params


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

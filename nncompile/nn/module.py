"""Module: a tree of named parameters, buffers and submodules, with a forward."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from textwrap import indent
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from ir import Error, Value
from ir.float_mode import StandardFloats
from nncompile.array import Array, describe
from nncompile.array.dispatch import OUTSIDE, current
from nncompile.array.hooks import RemovableHandle
from nncompile.array.introduction import introduce
from nncompile.array.naming import named, renamed
from nncompile.errors import InputError
from nncompile.nn.calls import as_arrays, call, own_call
from nncompile.nn.hooks import forward_between_hooks, no_hooks
from nncompile.nn.parameter import Buffer, Parameter, Uninitialized, as_data
from nncompile.nn.running import running
from nncompile.nn.state import Stateful
from nncompile.placeholders import missing
from nncompile.targets import TARGETS


def _is_dtype(name: str) -> bool:
    try:
        np.dtype(name)
    except TypeError:
        return False
    return True


_LAYERS = f"{__name__.rpartition('.')[0]}."      # the modules of our own layers


class Module(Stateful):
    """Base class of all layers and models: assign parameters and modules, and define `forward`.

    Called with ndarrays, a module computes at once and returns ndarrays; inside `forward` every
    value is an Array. nncompile.compile makes a fast callable of it.
    """

    dump_patches = call_super_init = False       # torch has them; nothing depends on them here
    training: bool
    _modules: dict[str, Module | None]
    _forward_hooks: dict[int, Callable[..., Any]]
    _forward_hooks_with_kwargs: dict[int, bool]
    _forward_hooks_always_called: dict[int, bool]
    _forward_pre_hooks: dict[int, Callable[..., Any]]
    _forward_pre_hooks_with_kwargs: dict[int, bool]
    _backward_hooks: dict[int, Callable[..., Any]]
    _backward_pre_hooks: dict[int, Callable[..., Any]]
    _made_at: tuple[str, int]                    # file and line of its construction

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Makes a subclass's own __call__ get Arrays, from outside too."""
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith(_LAYERS) and not cls.__name__.startswith("_"):
            cls.__init__ = named(cls.__init__, f"nn.{cls.__name__}")  # type: ignore
            cls.forward = renamed(cls.forward, f"nn.{cls.__name__}.forward")  # type: ignore
        if "__call__" in vars(cls):
            cls.__call__ = own_call(vars(cls)["__call__"])  # type: ignore[method-assign]

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Prepares what __init__ fills, so that a subclass need not call super().__init__()."""
        introduce()
        self = super().__new__(cls)
        caller = sys._getframe(1)
        vars(self).update(
            training=True, _parameters={}, _buffers={}, _modules={}, _unsaved_buffers=set(),
            _made_at=(caller.f_code.co_filename, caller.f_lineno), **no_hooks(),
        )
        return self

    def __init__(self) -> None:
        """Takes no arguments; the work is done in __new__."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the module's outputs from its inputs; each subclass defines it.

        Its arguments and results are Arrays, other objects, and tuples, lists, dicts and
        dataclasses of them. It is called through the module: module(x).
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward: define one, or call the "
                                  "modules in it")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if current.get() is OUTSIDE:
            return call(self.__call__, args, kwargs, root=self)
        # All is done in this frame: modules can be nested half as deep as Python can call.
        run = running.get()
        run.layers.append(self)
        try:
            args, kwargs = as_arrays(args, kwargs)
            if (self._forward_hooks or self._forward_pre_hooks or self._backward_hooks
                    or self._backward_pre_hooks):
                return forward_between_hooks(self, args, kwargs)
            return self.forward(*args, **kwargs)
        except Exception as error:
            run.failed(error, args, kwargs)
            raise
        finally:
            run.layers.pop()

    def _unlike_eval(self) -> bool:
        """Returns whether the module now computes something else than in eval mode."""
        return False

    # -- hooks -------------------------------------------------------------------------------------

    def register_forward_pre_hook(self, hook: Callable[..., Any], *, prepend: bool = False,
                                  with_kwargs: bool = False) -> RemovableHandle:
        """Makes every call run hook(module, args) before the forward.

        What the hook returns, unless it is None, replaces the arguments.
        with_kwargs: hook(module, args, kwargs) is called, and returns None or new (args, kwargs).
        prepend: the hook runs before those there are.
        """
        handle = RemovableHandle(self._forward_pre_hooks, hook, prepend)
        if with_kwargs:
            self._forward_pre_hooks_with_kwargs[handle.id] = True
        return handle

    def register_forward_hook(self, hook: Callable[..., Any], *, prepend: bool = False,
                              with_kwargs: bool = False, always_call: bool = False
                              ) -> RemovableHandle:
        """Makes every call run hook(module, args, output) after the forward.

        What the hook returns, unless it is None, replaces the output.
        with_kwargs: hook(module, args, kwargs, output) is called. always_call: after an exception,
        too.
        prepend: the hook runs before those there are.
        """
        handle = RemovableHandle(self._forward_hooks, hook, prepend)
        if with_kwargs:
            self._forward_hooks_with_kwargs[handle.id] = True
        if always_call:
            self._forward_hooks_always_called[handle.id] = True
        return handle

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False
                                    ) -> RemovableHandle:
        """Makes every backward through a call run hook(module, grad_input, grad_output).

        Both are tuples with the gradient of each argument by position and of each output; None for
        what has none. What the hook returns, unless it is None, replaces grad_input. A trace is
        without them, and a compiled step refuses them.
        prepend: the hook runs before those there are.
        """
        return RemovableHandle(self._backward_hooks, hook, prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False
                                        ) -> RemovableHandle:
        """Makes every backward through a call run hook(module, grad_output) before all others.

        What the hook returns, unless it is None, replaces grad_output.
        prepend: the hook runs before those there are.
        """
        return RemovableHandle(self._backward_pre_hooks, hook, prepend)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes the attributes of a module that is unpickled or copied; a subclass may extend it.
        """
        vars(self).update(state)

    # -- attributes --------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._forget_attribute(name)
            self.register_parameter(name, value)
        elif isinstance(value, Buffer):
            self._forget_attribute(name)
            self.register_buffer(name, value, value.persistent)
        elif isinstance(value, Module):
            self._forget_attribute(name)
            Module.add_module(self, name, value)     # torch calls no override here, and it may loop
        elif name in self._parameters:
            self.register_parameter(name, value)
        elif name in self._modules:
            Module.add_module(self, name, value)
        elif name in self._buffers:
            self.register_buffer(name, value, name not in self._unsaved_buffers)
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        for kind in self._attribute_dicts():
            if name in kind:
                return kind[name]
        refused = None if name.startswith("_") else missing("nn.Module", name)
        raise AttributeError(refused or f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for kind in self._attribute_dicts():
            if name in kind:
                del kind[name]
                self._unsaved_buffers.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for kind in self._attribute_dicts() for name in kind)]

    def _attribute_dicts(self) -> tuple[dict[str, Any], ...]:
        own = vars(self)  # empty while an object is being copied or unpickled
        return own.get("_parameters", {}), own.get("_buffers", {}), own.get("_modules", {})

    def _forget_attribute(self, name: str) -> None:
        """Removes what has this name, since a name holds one thing."""
        for kind in (vars(self), *self._attribute_dicts()):
            kind.pop(name, None)
        self._unsaved_buffers.discard(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter, or None in place of one, under this name."""
        self._check_attribute_name("parameter", name, self._parameters)
        if not isinstance(param, Parameter | None):
            raise TypeError(f"{name} is a parameter: it can be a Parameter or None, "
                            f"not {type(param).__name__}")
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Adds an array that is part of the model, but is not trained.

        tensor: an ndarray, an Array or None. persistent: whether it is part of the state dict.
        """
        self._check_attribute_name("buffer", name, self._buffers)
        if not isinstance(tensor, np.ndarray | Array | None):
            raise TypeError(f"{name} is a buffer: it can be an array or None, "
                            f"not {type(tensor).__name__}")
        if isinstance(tensor, Array) and isinstance(tensor._payload, Value):
            raise Error(f"the buffer {name} cannot take a new value while the model is traced")
        if isinstance(tensor, np.ndarray) or type(tensor) in (Array, Parameter):
            tensor = Array(as_data(tensor))
        self._buffers[name] = tensor
        self._unsaved_buffers.discard(name)
        if not persistent:
            self._unsaved_buffers.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a submodule, or None in place of one, under this name."""
        self._check_attribute_name("module", name, self._modules)
        if not isinstance(module, Module | None):
            raise TypeError(f"{self._get_name()} cannot have {describe(module)} as its module "
                            f"{name!r}: it has to be an nncompile.nn.Module or None"
                            f"{_torch_hint(module)}")
        self._modules[name] = module

    register_module = add_module

    def _check_attribute_name(self, kind: str, name: str, known: Mapping[str, Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a {kind} is a string, not {type(name).__name__}")
        if not name or "." in name:
            raise KeyError(f"the name of a {kind} cannot be empty or have a dot in it: {name!r}")
        if name not in known and hasattr(self, name):
            raise KeyError(f"the attribute {name!r} already exists")

    # -- the tree ----------------------------------------------------------------------------------

    def named_modules(self, memo: set[Module] | None = None, prefix: str = "",
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """Yields the module and all modules below, each with its path; a shared module once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, _joined(prefix, name), remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """Yields the module and all modules below; a shared module once."""
        return (m for _, m in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yields the direct submodules, each with its name; a shared module once."""
        children = {id(m): (name, m) for name, m in reversed(self._modules.items())
                    if m is not None}
        return iter(list(children.values())[::-1])

    def children(self) -> Iterator[Module]:
        """Yields the direct submodules; a shared module once."""
        return (module for _, module in self.named_children())

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
                         ) -> Iterator[tuple[str, Parameter]]:
        """Yields the parameters here and below, each with its path; a tied one with its first path.
        """
        return self._named_arrays("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yields the parameters here and below; a tied one once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
                      ) -> Iterator[tuple[str, Array]]:
        """Yields the buffers here and below, each with its path; a shared one once."""
        return self._named_arrays("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Array]:
        """Yields the buffers here and below; a shared one once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _named_arrays(self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool
                      ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules: Iterable[tuple[str, Module]] = [(prefix, self)]
        if recurse:
            modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        for path, module in modules:
            for name, array in vars(module)[kind].items():
                if array is not None and id(array) not in seen:
                    if remove_duplicate:
                        seen.add(id(array))
                    yield _joined(path, name), array

    def get_submodule(self, target: str) -> Module:
        """Returns the module at a path such as "blocks.0.norm"; "" is this one.

        Raises AttributeError where there is none.
        """
        module: Any = self
        for name in target.split(".") if target else []:
            parent, module = module, getattr(module, name, None)
            if not isinstance(module, Module):
                raise AttributeError(f"{type(parent).__name__} has no module {name!r}, "
                                     f"asked for as {target!r}")
        return module  # type: ignore[no-any-return]

    def get_parameter(self, target: str) -> Parameter:
        """Returns the parameter at a path. Raises AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        parameter = self.get_submodule(path)._parameters.get(name)
        if parameter is None:
            raise AttributeError(f"{type(self).__name__} has no parameter {target!r}")
        return parameter

    def get_buffer(self, target: str) -> Array:
        """Returns the buffer at a path. Raises AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        buffer = self.get_submodule(path)._buffers.get(name)
        if buffer is None:
            raise AttributeError(f"{type(self).__name__} has no buffer {target!r}")
        return buffer

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Replaces the module at a path.

        Raises ValueError for an empty path, and AttributeError where the path leads nowhere or,
        with strict, where there is no module to replace.
        """
        path, _, name = target.rpartition(".")
        if not name:
            raise ValueError(f"{target!r} is no path to a module below this one")
        parent = self.get_submodule(path)
        if strict:
            self.get_submodule(target)
        setattr(parent, name, module)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Calls fn with every module, children before their parents, and returns self."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # -- modes and types ---------------------------------------------------------------------------

    _target = "cpu"      # what nncompile.compile compiles for by default

    def train(self, mode: bool = True) -> Self:
        """Sets training mode here and below, which dropout and batch norm heed; returns self."""
        if not isinstance(mode, bool):
            raise ValueError(f"training mode is True or False, not {mode!r}")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Sets eval mode here and below, the mode to compile a model in; returns self."""
        return self.train(False)

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Self:
        """Replaces each parameter and buffer, here and below, by what fn returns for it.

        It is what every conversion calls, in each module, and may be overridden. Tied arrays stay
        tied. Returns self.
        """
        for child in self.children() if recurse else ():
            child._apply(fn)
        for array in (*self._parameters.values(), *self._buffers.values()):
            if array is not None and (applied := fn(array)) is not array:
                array._payload = as_data(applied)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Sets requires_grad of all parameters, and returns self."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Removes the gradients of all parameters, or makes them zeros without set_to_none."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad = parameter.grad.detach().zero_()

    def to(self, *args: Any, device: Any = None, dtype: DTypeLike | None = None,
           non_blocking: bool = False) -> Self:
        """Converts all floats to a dtype, or chooses what the model is compiled for; returns self.

        A dtype, an array of that dtype, or dtype=: float32 or float64. A string or device=: "cpu"
        or another target of nncompile.compile, for this module and those below; a call that is not
        compiled computes on the host either way.
        Raises TypeError for another dtype, and InputError for an unknown target.
        """
        for given in args:
            if isinstance(given, str) and not _is_dtype(given):
                device = given
            elif given is not None and not isinstance(given, bool):
                dtype = given.dtype if isinstance(given, Array | np.ndarray) else given
        if device is not None:
            target = self._checked_target(device)
            for module in self.modules():
                module._target = target
        if dtype is None:
            return self
        if np.dtype(dtype).kind != "f":
            raise TypeError(f"a module's type is float32 or float64, not {np.dtype(dtype)}")
        return self._apply(lambda array: array.to(dtype) if array.is_floating_point() else array)

    def _checked_target(self, device: Any) -> str:
        """Returns the target of a device's name.

        Raises InputError for an index other than 0, since no target can choose among devices.
        """
        name, _, index = str(device).partition(":")
        if name not in TARGETS or index not in ("", "0"):
            raise InputError(f"device={str(device)!r}: there are {', '.join(TARGETS)}")
        return name

    def type(self, dst_type: DTypeLike) -> Self:
        """Converts all floats to a dtype, float32 or float64; returns self."""
        return self.to(dst_type)

    def float(self) -> Self:
        """Converts all floats to float32; returns self."""
        return self.to(np.float32)

    def double(self) -> Self:
        """Converts all floats to float64; returns self."""
        return self.to(np.float64)

    def half(self) -> Self:
        """Rounds all floats to float16 values; they are stored, and computed with, in float32."""
        return self._rounded(lambda a: a.astype(np.float16).astype(np.float32))

    def bfloat16(self) -> Self:
        """Rounds all floats to bfloat16 values; they are stored, and computed with, in float32."""
        return self._rounded(_to_bfloat16)

    def _rounded(self, rounding: Callable[[Any], Any]) -> Self:
        def rounded(array: Array) -> Array:
            if isinstance(array, Uninitialized) or not array.is_floating_point():
                return array
            with StandardFloats():
                return Array(as_data(rounding(array.numpy().astype(np.float32))))

        return self._apply(rounded)

    def cpu(self) -> Self:
        """Chooses the CPU as what the model is compiled for; returns self."""
        return self.to("cpu")

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Replaces all parameters and buffers by zeros of the same shapes; returns self."""
        self._checked_target(device)
        return self._apply(lambda array: Array(np.zeros_like(array.numpy())), recurse)

    # -- text --------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Returns the repr's arguments: `in_features=64, out_features=10, bias=True`."""
        return ""

    def _get_name(self) -> str:
        """Returns what the repr begins with."""
        return type(self).__name__

    def __repr__(self) -> str:
        extra, children = self.extra_repr(), []
        for name, module in self._modules.items():  # in this frame: a comprehension has its own
            children.append(f"({name}): {module!r}")
        return layout(self._get_name(), extra.split("\n") if extra else [], children)


def _torch_hint(given: Any) -> str:
    """Returns what to do where a module of torch's is given as one of ours."""
    bases = {base.__module__.partition(".")[0] for base in type(given).__mro__}
    if "torch" not in bases:
        return ""
    return (f"\n  do: import {type(given).__name__}'s file with nncompile in place of torch, since "
            f"its class, of {type(given).__module__}, is one of torch's")


def _to_bfloat16(values: Any) -> Any:
    """Rounds to the nearest float32 whose last 16 bits are 0, halves to even."""
    bits = values.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(values), values, rounded.view(np.float32))


def layout(name: str, extra: list[str], children: list[str]) -> str:
    """Returns the repr: one line for a layer without submodules, otherwise a line for each part."""
    if not children and len(extra) <= 1:
        return f"{name}({''.join(extra)})"
    children = [indent(child, "  ", lambda _: True)[2:] for child in children]
    return "\n  ".join([f"{name}(", *extra, *children]) + "\n)"


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

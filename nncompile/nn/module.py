"""Module: a tree of named parameters, buffers and submodules, with a forward."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from textwrap import indent
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ir import Error, Value
from nncompile.array import Array
from nncompile.interpreter import current
from nncompile.nn.calls import call
from nncompile.nn.parameter import Parameter, as_data
from nncompile.nn.state import IncompatibleKeys, load


class Module:
    """Base of all layers and models: assign parameters and modules, and define `forward`.

    A call with ndarrays answers with ndarrays, at once; inside `forward` every value is an Array.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Array | None]
    _modules: dict[str, Module | None]
    _unsaved_buffers: set[str]  # the buffers that are not part of the state dict
    _made_at: tuple[str, int]  # file and line; where the layers of a Sequential are to be found

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Prepares what __init__ fills, so that a subclass need not call super().__init__()."""
        self = super().__new__(cls)
        caller = sys._getframe(1)
        vars(self).update(
            training=True, _parameters={}, _buffers={}, _modules={}, _unsaved_buffers=set(),
            _made_at=(caller.f_code.co_filename, caller.f_lineno),
        )
        return self

    def __init__(self) -> None:
        """Takes no arguments; the work is done in __new__."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return call(self._run_layer, args, kwargs, root=self)

    def _run_layer(self, *args: Any, **kwargs: Any) -> Any:
        return current.get().layer(self, args, kwargs)

    # -- attributes --------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._forget_attribute(name)
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._forget_attribute(name)
            self.add_module(name, value)
        elif name in self._parameters:
            self.register_parameter(name, value)
        elif name in self._modules:
            self.add_module(name, value)
        elif name in self._buffers:
            self.register_buffer(name, value, name not in self._unsaved_buffers)
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        for kind in self._attribute_dicts():
            if name in kind:
                return kind[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

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
        return tuple(own.get(kind, {}) for kind in ("_parameters", "_buffers", "_modules"))

    def _forget_attribute(self, name: str) -> None:
        """A name holds one thing: a new one takes the place of the old."""
        for kind in (vars(self), *self._attribute_dicts()):
            kind.pop(name, None)
        self._unsaved_buffers.discard(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """What assigning a Parameter to an attribute does; None keeps the name free for one."""
        self._check_attribute_name("parameter", name, self._parameters)
        if not isinstance(param, Parameter | None):
            raise TypeError(f"{name} is a parameter: it can be a Parameter or None, "
                            f"not {type(param).__name__}")
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """An array that is part of the model and of its state dict, but is not trained.

        `tensor` is an ndarray, an Array or None; persistent=False keeps it out of the state dict.
        """
        self._check_attribute_name("buffer", name, self._buffers)
        if not isinstance(tensor, np.ndarray | Array | None):
            raise TypeError(f"{name} is a buffer: it can be an array or None, "
                            f"not {type(tensor).__name__}")
        if isinstance(tensor, Array) and isinstance(tensor.payload, Value):
            raise Error(f"the buffer {name} cannot take a new value while the model is traced")
        self._buffers[name] = None if tensor is None else Array(as_data(tensor))
        self._unsaved_buffers.discard(name)
        if not persistent:
            self._unsaved_buffers.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """What assigning a Module to an attribute does, under any name without a dot."""
        self._check_attribute_name("module", name, self._modules)
        if not isinstance(module, Module | None):
            raise TypeError(f"{name} is a module: it can be a Module or None, "
                            f"not {type(module).__name__}")
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

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Itself and all modules below, each with its path; a module shared by two, once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, joined(prefix, name), remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """Itself and all modules below, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules right below, each once, with its name."""
        children = {id(m): (name, m) for name, m in reversed(self._modules.items())
                    if m is not None}
        return iter(list(children.values())[::-1])

    def children(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters here and below, each with its path; a tied one once, by its first."""
        return self._named_arrays("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters here and below, a tied one once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Array]]:
        """The buffers here and below, each with its path, a shared one once."""
        return self._named_arrays("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Array]:
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _named_arrays(
        self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool
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
                    yield joined(path, name), array

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as "blocks.0.norm"; "" is this one."""
        module: Any = self
        for name in target.split(".") if target else []:
            parent, module = module, getattr(module, name, None)
            if not isinstance(module, Module):
                raise AttributeError(f"{type(parent).__name__} has no module {name!r}, "
                                     f"asked for as {target!r}")
        return module  # type: ignore[no-any-return]

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as "blocks.0.norm.weight"."""
        path, _, name = target.rpartition(".")
        parameter = self.get_submodule(path)._parameters.get(name)
        if parameter is None:
            raise AttributeError(f"{type(self).__name__} has no parameter {target!r}")
        return parameter

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call fn with every module, those below before those above."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # -- state -------------------------------------------------------------------------------------

    def state_dict(self, *, prefix: str = "") -> OrderedDict[str, NDArray[Any]]:
        """The numbers of all parameters and persistent buffers by path; not copied."""
        state = self._arrays_in_state(prefix)
        return OrderedDict((path, array.numpy()) for path, array in state.items())

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy values in, from anything numpy.asarray takes; names and shapes as in state_dict().

        Errors: InputError that names all keys missing, unexpected or of another shape at once;
        then nothing has changed.  strict=False passes over the missing and unexpected ones.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"a state dict maps names to arrays, got {type(state_dict).__name__}")
        return load(type(self).__name__, self._arrays_in_state(""), state_dict, strict)

    def _arrays_in_state(self, prefix: str) -> dict[str, Array]:
        own: dict[str, Array | None] = {**self._parameters}
        own |= {name: b for name, b in self._buffers.items() if name not in self._unsaved_buffers}
        state = {prefix + name: array for name, array in own.items() if array is not None}
        for name, module in self._modules.items():
            if module is not None:
                state |= module._arrays_in_state(f"{prefix}{name}.")
        return state

    _target = "cpu"                              # of nncompile.compile, unless it is told another

    def train(self, mode: bool = True) -> Self:
        """Training mode, here and below: only Dropout differs."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Inference, here and below: the mode that models are compiled in."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def to(self, dtype: DTypeLike) -> Self:
        """All floats of the model in float32 or float64; or, for the name of a target ("cpu",
        "cuda"), what `nncompile.compile` compiles it for.  A call that is not compiled computes on
        the host either way."""
        if isinstance(dtype, str) and dtype in ("cpu", "cuda"):
            self._target = dtype
            return self
        for array in [*self.parameters(), *self.buffers()]:
            if array.dtype.kind == "f":
                array.payload = as_data(array.numpy().astype(dtype))
        return self

    def float(self) -> Self:
        """All floats of the model in float32, what the CPU target computes in."""
        return self.to(np.float32)

    def double(self) -> Self:
        """All floats of the model in float64."""
        return self.to(np.float64)

    # -- text --------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the parentheses: `in_features=64, out_features=10, bias=True`."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [f"({name}): {module!r}" for name, module in self._modules.items()]
        return layout(type(self).__name__, extra.split("\n") if extra else [], children)


def layout(name: str, extra: list[str], children: list[str]) -> str:
    """One line for a layer with nothing below it, else a line for each part."""
    if not children and len(extra) <= 1:
        return f"{name}({''.join(extra)})"
    children = [indent(child, "  ", lambda _: True)[2:] for child in children]
    return "\n  ".join([f"{name}(", *extra, *children]) + "\n)"


def joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

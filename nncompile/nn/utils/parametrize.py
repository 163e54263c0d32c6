"""Parametrizations: a weight of a module that is computed by other modules, from other arrays.

The module's class becomes a subclass of which the weight is a property; what it is computed from is
in `module.parametrizations.weight`, with torch's names in the state dict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ir import same
from nncompile.array import Array, as_array
from nncompile.nn.calls import call
from nncompile.nn.containers import ModuleDict, ModuleList
from nncompile.nn.module import Module
from nncompile.nn.parameter import Buffer, Parameter
from nncompile.placeholders import getter

_M = TypeVar("_M", bound=Module)


@contextmanager
def cached() -> Iterator[None]:
    """Changes nothing: a trace records equal computations, of which one stays."""
    yield


class ParametrizationList(ModuleList):
    """The modules by which one weight is computed, and the arrays that it is computed from.

    These are `original`, or original0, original1 ... where right_inverse of the first module gives
    several.
    """

    def __init__(self, modules: Sequence[Module], original: Array, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList needs one module or more")
        super().__init__(modules)
        self.unsafe = unsafe
        kept = self._inverse(original)
        self.is_tensor = not isinstance(kept, Sequence)
        self.ntensors = 1 if self.is_tensor else len(kept)
        for name, value in zip(self._names(), [kept] if self.is_tensor else kept, strict=True):
            if self.is_tensor and isinstance(original, Parameter):
                original.data = value
                value = original
            elif isinstance(original, Parameter):
                value = value if isinstance(value, Parameter) else Parameter(value)
            elif not isinstance(value, Buffer):
                value = Buffer(value)
            setattr(self, name, value)
        if not unsafe:
            self._check(original)

    def _names(self) -> list[str]:
        return (["original"] if self.is_tensor
                else [f"original{number}" for number in range(self.ntensors)])

    def _inverse(self, value: Any) -> Any:
        for module in reversed(list(self)):
            if hasattr(module, "right_inverse"):
                value = call(module.right_inverse, (value,), {})
        return value

    def _check(self, original: Array) -> None:
        made = self.computed()
        if not isinstance(made, Array) or made.dtype != original.dtype or not same(
                made.shape, original.shape):
            raise ValueError(f"the parametrization makes {getattr(made, 'type', type(made))} of "
                             f"the weight {original.type}: it has to keep the type, or say "
                             "unsafe=True")

    def right_inverse(self, value: Any) -> None:
        """Takes a new weight: what computes it becomes the original."""
        kept = self._inverse(value)
        for name, new in zip(self._names(), [kept] if self.is_tensor else kept, strict=True):
            getattr(self, name).data = new

    def computed(self) -> Any:
        """Returns the weight as an Array."""
        return call(self.forward, (), {})

    def forward(self) -> Any:
        first, *others = list(self)
        value = first(*(as_array("a parametrization", getattr(self, name))
                        for name in self._names()))
        for module in others:
            value = module(value)
        return value


def register_parametrization(module: _M, tensor_name: str, parametrization: Module, *,
                             unsafe: bool = False) -> _M:
    """Makes a parameter or buffer what a module computes from it, and returns the module.

    parametrization: called with the array, it returns the one to use; its right_inverse, if it has
    one, is called with the array at first, and with each that is assigned later.
    Raises ValueError where the module has no such array, or where its type would change and unsafe
    is not set.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        known = _lists(module)[tensor_name]
        known.append(parametrization)
        if not unsafe:
            known._check(known.computed())
        return module
    kept = module._parameters.get(tensor_name, module._buffers.get(tensor_name))
    if kept is None:
        raise ValueError(f"{module._get_name()} has no parameter and no buffer {tensor_name!r}, "
                         "so it cannot be parametrized")
    made = ParametrizationList([parametrization], kept, unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        _give_own_class(module)
        module.parametrizations = ModuleDict()
    setattr(type(module), tensor_name, _property(tensor_name))
    _lists(module)[tensor_name] = made
    return module


def _lists(module: Module) -> Any:
    return module._modules["parametrizations"]


def _give_own_class(module: Module) -> None:
    base = type(module)
    module.__class__ = type(f"Parametrized{base.__name__}", (base,), {
        "__module__": base.__module__, "__doc__": base.__doc__, "_parametrized": base})


def _property(name: str) -> property:
    def get(self: Module) -> Any:
        return _lists(self)[name].computed()

    def put(self: Module, value: Any) -> None:
        _lists(self)[name].right_inverse(value)

    return property(get, put, doc="The array that the parametrizations compute.")


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Returns whether the module, or one array of it, has parametrizations."""
    known = module._modules.get("parametrizations")
    if not isinstance(known, ModuleDict):
        return False
    return len(known) > 0 if tensor_name is None else tensor_name in known


def remove_parametrizations(module: _M, tensor_name: str, leave_parametrized: bool = True) -> _M:
    """Makes an array a parameter or buffer again, and returns the module.

    leave_parametrized: it is then what was computed, and otherwise the original.
    Raises ValueError where it has no parametrizations, and where it has several originals and
    leave_parametrized is not set.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"{module._get_name()} has no parametrization of {tensor_name!r}")
    known = _lists(module)[tensor_name]
    if not leave_parametrized and not known.is_tensor:
        raise ValueError(f"{tensor_name!r} has {known.ntensors} originals, of which none is it: "
                         "say leave_parametrized=True")
    kind = Parameter if known._parameters else Buffer
    value = known.original if known.is_tensor else kind(known.computed())
    if leave_parametrized:
        value.data = known.computed().detach().clone()
    delattr(type(module), tensor_name)
    del _lists(module)[tensor_name]
    if not len(_lists(module)):
        del module._modules["parametrizations"]
        module.__class__ = type_before_parametrizations(module)
    setattr(module, tensor_name, value)
    return module


def type_before_parametrizations(module: Module) -> type:
    """Returns the module's class, before it had parametrizations."""
    before: type = getattr(type(module), "_parametrized", type(module))
    return before


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

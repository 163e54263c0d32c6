"""Dataclasses that take next to no time to define: their methods are made when they are needed.

`dataclasses.dataclass` writes and compiles the source of up to six methods of every class, a third
of a millisecond in all, which was a third of the time that importing ir and nncompile took. Here
`__init__` is compiled for the first instance, and nothing else is. `dataclass`, `field` and
`replace` mean what they mean in the standard library, as far as they take its arguments, and the
classes are dataclasses to `dataclasses.fields`, `asdict`, `is_dataclass` and type checkers. Only
inheritance of fields is left out.

`cached_property` is that of Python 3.12 and later. The one of 3.11 holds a lock, shared by all
instances of a class, while it computes: if another thread forks meanwhile, the child waits for that
lock forever.
"""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import replace as replace
    from functools import cached_property as cached_property
else:
    class cached_property:
        """Decorates a method without arguments: an attribute that is computed when first read."""

        def __init__(self, compute):
            self.compute, self.name, self.__doc__ = compute, compute.__name__, compute.__doc__

        def __get__(self, instance, owner=None):
            if instance is None:
                return self
            value = instance.__dict__[self.name] = self.compute(instance)
            return value

    def dataclass(cls=None, /, *, frozen=False, eq=True, repr=True):
        """Class decorator; the annotated names that are no `ClassVar` are the fields.

        Raises TypeError where a base class has fields.
        """
        if cls is None:
            return lambda cls: _Definition(cls, frozen, eq, repr).cls
        return _Definition(cls, frozen, eq, repr).cls

    def field(*, default_factory):
        """The value of a field in its class: what its default is made by, for each instance."""
        return _Factory(default_factory)

    def replace(record, /, **changes):
        """A copy with other values of some fields."""
        kept = {name: getattr(record, name) for name in record.__match_args__}
        return type(record)(**kept | changes)


class _Factory(partial[Any]):
    """What makes the default of a field."""


class _Definition:
    """A class that is a dataclass from now on."""

    def __init__(self, cls: Any, frozen: bool, eq: bool, repr: bool) -> None:
        if any(hasattr(base, "__dataclass_fields__") for base in cls.__bases__):
            raise TypeError(f"{cls.__qualname__} would inherit fields: use dataclasses.dataclass")
        self.cls, self.frozen, self.eq, self.repr = cls, frozen, eq, repr
        self.annotations = {name: kind for name, kind in cls.__annotations__.items()
                            if not str(kind).startswith("ClassVar")}
        self.defaults = {name: getattr(cls, name) for name in self.annotations
                         if hasattr(cls, name)}
        self.factories = {n: v for n, v in self.defaults.items() if isinstance(v, _Factory)}
        for name in self.factories:
            delattr(cls, name)
        own = set(vars(cls))
        for name, method in self.methods().items():
            if name not in own:
                setattr(cls, name, method)
        cls.__match_args__ = tuple(self.annotations)                        # type: ignore[misc]
        cls.__dataclass_fields__ = _OfTwin(self, "__dataclass_fields__")
        cls.__dataclass_params__ = _OfTwin(self, "__dataclass_params__")

    def methods(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if self.annotations:
            made["__init__"] = self.first_init()
        if self.repr:
            made["__repr__"] = _repr
        if self.eq:
            values = _values(list(self.annotations))
            made["__eq__"] = _eq(values)
            made["__hash__"] = (lambda record: hash(values(record))) if self.frozen else None
        if self.frozen:
            made |= {"__setattr__": _refuse, "__delattr__": _refuse}
        return made

    def first_init(self) -> Any:
        def __init__(instance: Any, *args: Any, **kwargs: Any) -> None:
            self.cls.__init__ = self.compiled_init()
            self.cls.__init__(instance, *args, **kwargs)
        return __init__

    def compiled_init(self) -> Any:
        scope: dict[str, Any] = {"store": object.__setattr__, "defaults": self.defaults}
        made = {name: f"{name}() if {name} is defaults[{name!r}] else {name}"
                for name in self.factories}
        parameters = [f"{name}=defaults[{name!r}]" if name in self.defaults else name
                      for name in self.annotations]
        stored = "store(self, {0!r}, {1})" if self.frozen else "self.{0} = {1}"
        body = [stored.format(name, made.get(name, name)) for name in self.annotations]
        if hasattr(self.cls, "__post_init__"):
            body.append("self.__post_init__()")
        exec(f"def __init__(self, {', '.join(parameters)}):\n " + "\n ".join(body), scope)
        return scope["__init__"]

    def twin(self) -> Any:
        """A dataclass of the standard library with the same fields."""
        from dataclasses import dataclass, field
        made = {name: field(default_factory=make) for name, make in self.factories.items()}
        twin: Any = type(self.cls.__name__, (), {
            "__annotations__": self.annotations, "__module__": self.cls.__module__,
            **self.defaults, **made})
        return dataclass(frozen=self.frozen, eq=self.eq, repr=self.repr)(twin)


class _OfTwin:
    """An attribute by which the standard library knows a dataclass, made when it is asked for."""

    def __init__(self, definition: _Definition, name: str) -> None:
        self.definition, self.name = definition, name

    def __get__(self, instance: Any, owner: Any) -> Any:
        value = getattr(self.definition.twin(), self.name)
        setattr(self.definition.cls, self.name, value)
        return value


def _repr(record: Any) -> str:
    values = ", ".join(f"{name}={getattr(record, name)!r}" for name in record.__match_args__)
    return f"{type(record).__qualname__}({values})"


def _values(names: list[str]) -> Any:
    """What returns a tuple of the values of these fields."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda record: tuple(getattr(record, name) for name in names)


def _eq(values: Any) -> Any:
    def __eq__(self: Any, other: Any) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)
    return __eq__


def _refuse(self: Any, name: str, *value: Any) -> None:
    from dataclasses import FrozenInstanceError
    raise FrozenInstanceError(f"cannot {'assign to' if value else 'delete'} field {name!r}")

"""Operators: one row each, with what its importer understands of it."""
from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from ir.records import cached_property, dataclass
from nncompile.importers.sizes import Known

Result = Known | tuple[Known, ...]
_VAR_POSITIONAL = 4                              # inspect.CO_VARARGS


@dataclass(frozen=True)
class Operator:
    """How an operator is imported.

    function:   of a Node and its inputs; what it returns are the outputs. A parameter that is None
                by default is an optional input.
    versions:   the opsets in which the operator got a meaning that the function knows. A node whose
                operator has changed since is refused.
    attributes: the names of those that the function reads, separated by spaces.
    static:     the inputs whose numbers decide shapes: the function gets them as ndarrays, of
                objects where a size is symbolic.
    lazy:       the inputs whose shape alone is read, which may be arrays of sizes.
    moves:      the inputs whose elements the operator only moves, so that it also moves sizes.
    sizes:      what it computes of arrays of sizes, which are given as ndarrays of objects.
    domain:     "" for ONNX's own.
    """

    name: str
    versions: tuple[int, ...]
    function: Callable[..., Result]
    attributes: str = ""
    static: str = ""
    lazy: str = ""
    moves: str = ""
    sizes: Callable[..., Any] | None = None
    domain: str = ""

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of the inputs; of any number of inputs the one name there is."""
        code = self.function.__code__
        count = code.co_argcount + (1 if self.variadic else 0)
        return code.co_varnames[1:count]

    @cached_property
    def variadic(self) -> bool:
        """Whether it takes any number of inputs."""
        return bool(self.function.__code__.co_flags & _VAR_POSITIONAL)

    @cached_property
    def arity(self) -> tuple[int, float]:
        """The fewest and the most inputs."""
        most = inf if self.variadic else len(self.parameters)
        count = self.function.__code__.co_argcount - 1
        return count - len(self.function.__defaults__ or ()), most

    def parameter(self, index: int) -> str:
        """Returns the name of an input."""
        return self.parameters[min(index, len(self.parameters) - 1)]

    @cached_property
    def known_attributes(self) -> frozenset[str]:
        """The attributes that the function reads."""
        return frozenset(self.attributes.split())

    @cached_property
    def _roles(self) -> dict[str, frozenset[str]]:
        return {role: frozenset(getattr(self, role).split())
                for role in ("static", "lazy", "moves")}

    def has_role(self, role: str, index: int) -> bool:
        """Returns whether the input is one of those that `static`, `lazy` or `moves` names."""
        return self.parameter(index) in self._roles[role]


Rows = tuple[Operator, ...]

"""The tape: what eager ops leave behind where a gradient may be asked for.

A Tracked is a payload: numbers, and how they were computed. Each op of an eager forward that has
one among its operands results in another, so that the Tracked that an array holds keeps all that it
depends on alive, and nothing else does. `nncompile.array.backward` walks along them. Whether an
array takes part is decided where it becomes an operand: a leaf, whose `requires_grad` is set, hands
over its Leaf; an array that is detached hands over bare numbers.

A value that a rule of gradients reads has to be the value that was computed with. An array can be
changed in place, so a Tracked remembers the storage and its version for each operand and for its
result, and what was changed is refused when it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Protocol

from ir import NDArray, TensorType, Value, type_of
from ir.ops import Attrs
from nncompile.errors import GradientError

_numbers = count()


class Versioned(Protocol):
    """What counts how often it was changed: a Storage."""

    version: int


Version = tuple[Versioned, int] | None           # what holds a value, and its version; None: no one


class Tracked:
    """Numbers that were computed from a leaf, and the op that computed them.

    operands: payloads and literals, as the op got them. order: rises in the order of computation,
    so that all users of a value have a higher one.
    """

    __slots__ = ("__weakref__", "attrs", "hooks", "name", "numbers", "operands", "order",
                 "released", "retained_by", "version", "versions")

    def __init__(self, numbers: NDArray, name: str, operands: Sequence[Any] = (),
                 attrs: Attrs | None = None) -> None:
        self.numbers, self.name, self.operands = numbers, name, tuple(operands)
        self.attrs: Attrs = {} if attrs is None else attrs
        self.order = next(_numbers)
        self.version: Version = None             # of the array that holds the result
        self.versions: Sequence[Version] = ()    # of the arrays that held the operands
        self.released = False                    # whether a backward has read what it holds
        self.hooks: dict[int, Callable[[Any], Any]] = {}
        self.retained_by: Any = None             # a weak reference to the array that keeps a grad

    @property
    def type(self) -> TensorType:
        """The type of the numbers."""
        return type_of(self.numbers)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the numbers."""
        return self.numbers.shape

    def gradients(self, do: Any, gradient: Any, wanted: Sequence[bool]) -> Sequence[Any]:
        """Returns the gradient of each operand, or None for one that is not wanted.

        do: what evaluates ops, see nncompile.array.backward. gradient: of the result.
        """
        return do.gradients(self, gradient, wanted)

    def name_in_torch(self) -> str:
        """Returns the name of the step back, such as MulBackward0."""
        return "".join(part.capitalize() for part in self.name.split("_")) + "Backward0"


Payload = NDArray | Value | Tracked


class Leaf(Tracked):
    """The numbers of an array whose `requires_grad` is set; that array's `grad` gets the sum."""

    __slots__ = ("array",)

    def __init__(self, numbers: NDArray, array: Any) -> None:
        super().__init__(numbers, "accumulate")
        self.array = array

    def name_in_torch(self) -> str:
        return "AccumulateGrad"


class Outputs(Tracked):
    """A call of a function with a backward of its own, whose gradient is one for each output.

    back: what returns the gradient of each operand from those of the outputs, which are None for an
    output that nothing depends on.
    """

    __slots__ = ("back",)

    def __init__(self, name: str, operands: Sequence[Any],
                 back: Callable[[Sequence[Any]], Sequence[Any]], numbers: NDArray) -> None:
        super().__init__(numbers, name, operands)
        self.back = back

    def gradients(self, do: Any, gradient: Any, wanted: Sequence[bool]) -> Sequence[Any]:
        do.check_released(self)
        return do.of_function(self, gradient)

    def name_in_torch(self) -> str:
        return f"{self.name}Backward"


class Output(Tracked):
    """One output of such a call: its gradient is one of those that the call gets."""

    __slots__ = ("number",)

    def __init__(self, numbers: NDArray, call: Outputs, number: int) -> None:
        super().__init__(numbers, call.name, (call,))
        self.number = number

    def gradients(self, do: Any, gradient: Any, wanted: Sequence[bool]) -> Sequence[Any]:
        return [{self.number: gradient}]

    def name_in_torch(self) -> str:
        return f"{self.name}Backward"


class Sparse:
    """The gradient of a table of which some rows alone are known: a SparseArray."""

    _payload: Any

    def plus(self, other: Any) -> Any:
        """Returns the sum of two such gradients as one."""
        raise NotImplementedError


def bare(payload: Any) -> Any:
    """Returns the numbers of a payload that is tracked, and any other payload as it is."""
    return payload.numbers if isinstance(payload, Tracked) else payload


def check_version(version: Version, name: str, type_: TensorType) -> None:
    """Raises GradientError where a value that is read for a gradient was changed in place since."""
    if version is not None and version[0].version != version[1]:
        raise GradientError(
            "one of the variables needed for gradient computation has been modified by an inplace "
            f"operation: {type_}, which {name} computed with, is at version {version[0].version}; "
            f"expected version {version[1]} instead. Write x = f(x) in place of it, or clone() "
            "what is changed")

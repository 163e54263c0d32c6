"""What an Array is: its payload, its type, its numbers, and how it becomes an operand of an op."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike, NDArray

from ir import DimExpr, Error, TensorType, Value, type_of
from ir.types import DTYPES, product
from nncompile.array.dispatch import Change, Payload, current
from nncompile.array.dtypes import Scalar, category, name_of, result_type
from nncompile.array.gradients import grad_enabled
from nncompile.array.indexing import axis_of
from nncompile.array.storage import VIEWS, Step, Storage, before

if TYPE_CHECKING:
    from nncompile.array import Array

LARGEST_EXACT = 2**53                            # a literal of the IR is a double
_SHARED = {"_storage", "_steps", "_version", "_payload", "_leaf"}


class Device(str):
    """The name of a device, which is all that there is to know about the CPU."""

    __slots__ = ()

    @property
    def type(self) -> str:
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:               # type: ignore[override]
        number = self.partition(":")[2]
        return int(number) if number else None


class Core(NDArrayOperatorsMixin):
    """The state of an Array.  What can be computed with it is added file by file."""

    array: ClassVar[type[Array]]                 # the whole class; nncompile.array sets it

    __hash__ = object.__hash__

    requires_grad = False
    grad = None                                  # nothing is differentiated here
    _storage: Storage
    _steps: tuple[Step, ...]
    _version: int
    _payload: Payload
    in_memory = False                            # whether changes go into the ndarray itself
    _leaf: Core | None = None

    def __init__(self, payload: Any) -> None:
        if isinstance(payload, np.ndarray):
            type_of(payload)
        self.payload = payload

    # -- what it shares with others: see nncompile.array.storage -----------------------------------

    @property
    def payload(self) -> Payload:
        """The numbers, or the value in a graph, as they are now."""
        if self._version != self._storage.version:
            self._payload, self._version = self._storage.seen(self._steps), self._storage.version
        return self._payload

    @payload.setter
    def payload(self, payload: Payload) -> None:
        """Numbers of its own, of any type and shape; views keep the old ones."""
        self._storage, self._steps, self._version = Storage(payload, self.in_memory), (), 0
        self._payload = payload

    def as_operand(self) -> Payload:
        """The payload, about to be an operand of an op."""
        return self.payload

    def share(self, other: Core, *steps: Step) -> Array:
        """Be the view of the other that these ops make."""
        self._storage, self._steps = other._storage, other._steps + steps
        self._version, self._leaf = other._storage.version, other.leaf
        return self.itself()

    @property
    def leaf(self) -> Core | None:
        """The Parameter that this array is, or shows a part of."""
        return self._leaf

    def apart(self) -> Array:
        """The same elements, which no change of this array reaches."""
        payload = self.payload
        return Core.array(payload.copy() if isinstance(payload, np.ndarray) else payload)

    def perhaps_apart(self, whole: Core) -> Array:
        """This view as something of its own, about which torch does not say whether it is a view
        of the whole or a copy: it depends on how the whole lies in memory."""
        result = Core.array(self.payload)
        result._storage.relate(whole._storage)
        return result

    def write(self, name: str, given: Core) -> Array:
        """Put elements in the place of these, in all arrays that share them.

        Errors: an array that cannot be changed now, or a view with one element in several places.
        """
        storage, leaf = self._storage, self.leaf
        frozen = leaf is not None and leaf.requires_grad and grad_enabled.get()
        current.get().check_change(
            Change(name, self.type, storage.value, storage.made_in, frozen))
        value = before(self._storage.value, self._steps, given.payload)
        self._storage.change(value, self._steps)
        if isinstance(given.payload, Value):     # known without going the steps again
            self._payload, self._version = given.payload, self._storage.version
        return self.itself()

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: v for name, v in vars(self).items() if name not in _SHARED}
        return {**kept, "payload": self.payload}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.payload = state["payload"]
        vars(self).update({name: v for name, v in state.items() if name != "payload"})

    def __repr__(self) -> str:
        if isinstance(self.payload, Value):
            return f"Array({self.payload.type})"
        return np.array_repr(self.payload).replace("array", "Array", 1)

    # -- type --------------------------------------------------------------------------------------

    @property
    def type(self) -> TensorType:
        """The IR's type: f32[B, 64]."""
        known = self._payload                    # a change leaves the type as it is
        return known.type if isinstance(known, Value) else type_of(known)

    @property
    def shape(self) -> tuple[Any, ...]:
        known = self._payload
        return known.type.shape if isinstance(known, Value) else known.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return DTYPES[self.type.dtype]

    @property
    def device(self) -> Device:
        return Device("cpu")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def dim(self) -> int:
        return self.ndim

    def size(self, dim: int | None = None) -> Any:
        """All sizes, or one."""
        return self.shape if dim is None else self.shape[axis_of(self.type, dim)]

    def numel(self) -> Any:
        return product(self.shape)

    nelement, ndimension = numel, dim

    def element_size(self) -> int:
        """In bytes."""
        return self.dtype.itemsize

    def is_contiguous(self) -> bool:
        """Always: where it matters the array is copied."""
        return True

    def is_floating_point(self) -> bool:
        return category(self.type.dtype) == 2

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("an array without dimensions has no len()")
        return operator.index(self.shape[0])

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(len(self)))   # type: ignore[index]

    def requires_grad_(self, requires_grad: bool = True) -> Array:
        """Taken and kept, as is a Parameter's; nothing is differentiated."""
        self.requires_grad = requires_grad
        return self.itself()

    # -- numbers: refused while the model is traced ------------------------------------------------

    def numbers(self, what: str) -> NDArray[Any]:
        """The numbers, not copied.  Errors: there are none; `what` says in whose name they miss."""
        return current.get().numbers(self.payload, what)

    def numpy(self) -> NDArray[Any]:
        return self.numbers("numpy()")

    @property
    def data(self) -> Array:
        """The same array under another name, which can be changed also where this is a
        Parameter."""
        return self.detach()

    def detach(self) -> Array:
        result = Core.array(self.payload).share(self)
        result._leaf = None
        return result

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.numbers("a NumPy function"), dtype=dtype, copy=copy)

    def item(self) -> Any:
        return self.numbers("item()").item()

    def tolist(self) -> Any:
        return self.numbers("tolist()").tolist()

    def __float__(self) -> float:
        return float(self.numbers("float()").item())

    def __int__(self) -> int:
        return int(self.numbers("int()").item())

    def __index__(self) -> int:
        return operator.index(self.numbers("an index or a size").item())

    def __bool__(self) -> bool:
        return bool(self.numbers("`if`, `while`, `and`, `or` or `not`"))

    def cast(self, dtype: str) -> Array:
        """In another element type, by its name in the IR; the same array if it has that type."""
        return self.itself() if self.type.dtype == dtype else apply("cast", self, dtype=dtype)

    def itself(self) -> Array:
        """The same array: every Core is an Array, though the families cannot know it."""
        return self                              # type: ignore[return-value]


# -- operands --------------------------------------------------------------------------------------

def apply(name: str, *operands: Core | float, **attrs: Any) -> Array:
    """The result of an op of the IR, by whoever interprets this forward.

    The operands have the types that the op needs; a plain number is a float.
    """
    payloads = [o if isinstance(o, float) else o.as_operand() for o in operands]
    payload = current.get().op(name, payloads, attrs)
    whole = operands[0] if name in VIEWS else None
    if not isinstance(whole, Core):
        return Core.array(payload)
    result = Core.array.__new__(Core.array)      # with no storage of its own
    result._payload = payload
    return result.share(whole, (name, attrs))


def operand(name: str, given: Any) -> Array | Scalar:
    """An array, or a plain number, which takes the type of the arrays beside it.

    Zero-dimensional NumPy values count as plain numbers: `x * numpy.sqrt(2.0)` stays float32.
    """
    if isinstance(given, Core) or (isinstance(given, np.ndarray) and given.ndim > 0):
        return as_array(name, given)
    if isinstance(given, DimExpr):
        raise Error(f"{name} cannot compute with the size {given}: it is not known before run time")
    if isinstance(given, np.generic | np.ndarray) and not np.iscomplexobj(given):
        given = given.item()
    if isinstance(given, bool | int | float):
        return given
    raise Error(f"{name} takes arrays and real numbers, not {describe(given)}")


def as_array(name: str, given: Any) -> Array:
    """An operand that has to be an array."""
    if isinstance(given, Core):
        return given.itself()
    if isinstance(given, np.ndarray):
        return Core.array(given)
    raise Error(f"{name} takes arrays, not {describe(given)}")


def arrays(name: str, first: Any, *others: Any) -> list[Array]:
    """The operands that are there."""
    return [as_array(name, first), *(as_array(name, o) for o in others if o is not None)]


def together(name: str, *given: Any, least: str = "bool") -> tuple[Any, ...]:
    """Operands in one type, the one that torch's promotion gives them, `least` or above."""
    operands = [operand(name, g) for g in given]
    dtype = result_type(operands)
    if category(dtype) < category(least):
        dtype = least
    return tuple(in_type(o, dtype) for o in operands)


def in_type(given: Array | Scalar, dtype: str) -> Array | float:
    """An operand as the IR takes it beside arrays of this type."""
    if isinstance(given, Core):
        return given.cast(dtype)
    if isinstance(given, int) and abs(given) > LARGEST_EXACT and category(dtype) == 1:
        return constant(given, dtype)
    return float(given)


def constant(value: Any, dtype: str) -> Array:
    """An array of numbers that are known already."""
    try:
        return Core.array(np.array(value, DTYPES[dtype]))
    except OverflowError:
        raise Error(f"{value} does not fit into {DTYPES[dtype]}") from None


def floating(name: str, given: Any) -> Array:
    """The array, integers and truths as the default float."""
    x = as_array(name, given)
    return x if x.is_floating_point() else x.cast(name_of(float))


def describe(given: Any) -> str:
    if given is None or isinstance(given, bool | int | float | str):
        return repr(given)
    return f"an object of type {type(given).__name__}"


# -- where NumPy's arrays end and Arrays begin -----------------------------------------------------

def to_array(leaf: Any) -> Any:
    return Core.array(leaf) if isinstance(leaf, np.ndarray) else leaf


def to_numpy(leaf: Any) -> Any:
    return leaf.numpy() if isinstance(leaf, Core) else leaf


Axes = int | Sequence[int] | None
DType = DTypeLike | None

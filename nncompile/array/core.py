"""The state of an Array, its conversions, and how a value becomes an operand of an op."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Self
from weakref import ref

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike

from ir import DTYPES, FLOATS, DimExpr, Error, NDArray, TensorType, Value, product, same, type_of
from ir.float_mode import StandardFloats
from nncompile.array.dispatch import Change, current
from nncompile.array.dtypes import (
    DEFAULT_FLOAT,
    OF_IR,
    OF_TENSOR_NAME,
    TENSOR_NAMES,
    ElementType,
    category,
    converted,
    name_of,
    result_type,
    scalar_type,
)
from nncompile.array.gradients import grad_enabled
from nncompile.array.indexing import axis_of, flat
from nncompile.array.sizes import (
    Size,
    TracedNumber,
    TracedSize,
    is_traced,
    shape_seen,
    size_of_graph,
)
from nncompile.array.storage import VIEWS, Storage, ViewOp, before
from nncompile.array.tape import Leaf, Payload, Tracked, bare
from nncompile.conversion import numbers
from nncompile.errors import GradientError, InputError
from nncompile.placeholders import find

Axes = int | Sequence[int] | None
DType = DTypeLike | None

_LARGEST_EXACT = 2**53                           # a literal of the IR is a double
_SHARED = {"_storage", "_view_ops", "_version", "_seen", "_viewed_leaf", "_leaf_on_tape"}


class Device(str):
    """The name of a device, such as "cpu" or "cpu:0"."""

    __slots__ = ()

    def __new__(cls, type: Any = "cpu", index: int | None = None) -> Self:
        """Makes device("cuda:0"), device("cuda", 0), device(type="cpu") or device(0)."""
        if isinstance(type, int):
            type, index = "cuda", type
        return super().__new__(cls, type if index is None else f"{type}:{index}")

    @property
    def type(self) -> str:
        """The kind of device: what precedes the colon."""
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:               # type: ignore[override]
        """The number behind the colon, or None."""
        number = self.partition(":")[2]
        return int(number) if number else None


_DEVICES = {"cpu", "cuda", "hip", "hpu", "ipu", "meta", "mps", "mtia", "vulkan", "xla", "xpu"}


def is_device(given: Any) -> bool:
    """Returns whether an argument is a device, or the name of one of torch's."""
    return isinstance(given, Device | str) and given.partition(":")[0] in _DEVICES


def check_device(device: Any) -> None:
    """Raises InputError unless the device is None or the CPU."""
    if device is not None and str(device) not in ("cpu", "cpu:0"):
        raise InputError(f"device={str(device)!r}: arrays are on the CPU, leave it out or ask "
                         "torch.cuda.is_available(), which is False")


class ArrayType(TensorType):
    """The type of an array, as the IR has it; and, called, torch's Tensor.type.

    x.type() is the name of a type, such as "torch.FloatTensor"; x.type(dtype) is x in that dtype,
    which may also be such a name, a class such as torch.FloatTensor, or a dtype of NumPy's.
    """

    _of: Core

    def __call__(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        if dtype is None:
            return f"torch.{TENSOR_NAMES[self.dtype]}"
        wanted = getattr(dtype, "_element_type", dtype)
        if wanted is None:                       # torch.Tensor, the class of the default dtype
            return self._of._cast(DEFAULT_FLOAT)
        if isinstance(wanted, str):
            wanted = OF_TENSOR_NAME.get(wanted.removeprefix("torch."), wanted)
        return self._of._cast(name_of(wanted))

    def __reduce__(self) -> tuple[Any, ...]:
        return TensorType, (self.dtype, self.shape)


_new_type: Any = object.__new__


class Core(NDArrayOperatorsMixin):
    """The state of an Array, without the operations, which subclasses add file by file.

    Their results are of the class `_array`, which they cannot name. Its methods return `Self`, by
    which mypy knows an Array's results as Arrays; also a Parameter's results are Arrays only.
    """

    _array: ClassVar[type[Any]]                  # Array, which is made of these; it is set there

    __hash__ = object.__hash__

    _grad: Any = None
    _storage: Storage
    _view_ops: tuple[ViewOp, ...]
    _version: int
    _seen: Payload
    _in_memory = False                           # whether changes go into the ndarray itself
    _is_leaf_of_tape = False                     # whether `requires_grad` was set
    _detached = False                            # whether what it shares is used without gradient
    _viewed_leaf: Core | None = None
    _leaf_on_tape: Callable[[], Leaf | None] | None = None   # a weak reference

    def __init__(self, payload: Any) -> None:
        if isinstance(payload, np.ndarray):
            type_of(payload)
        elif not isinstance(payload, Value | Tracked):
            raise Error(f"an Array is made of an ndarray, not of {describe(payload)}: "
                        "torch.tensor(data) and torch.Tensor(data) take numbers and lists")
        self._payload = payload

    # -- what it shares with others: see nncompile.array.storage -----------------------------------

    @property
    def _payload(self) -> Payload:
        """The array's numbers, or its value in the graph that is traced, as they are now."""
        if self._version != self._storage.version:
            first = None
            if isinstance(self._seen, Tracked) and self._viewed_leaf is not None:
                first = self._viewed_leaf._on_tape()     # the leaf was changed in no_grad()
            seen = self._storage.seen(self._view_ops, first)
            self._seen = bare(seen) if self._detached else seen
            self._version = self._storage.version
        return self._seen

    @_payload.setter
    def _payload(self, payload: Payload) -> None:
        """Gives the array new numbers, of any type and shape; its views keep the old ones."""
        self._storage, self._view_ops, self._version = Storage(payload, self._in_memory), (), 0
        self._seen = payload

    def _as_operand(self) -> Payload:
        """Returns the payload, which is about to be an operand of an op."""
        payload = self._payload
        if self._is_leaf_of_tape and grad_enabled.get() and not current.get().records:
            return self._on_tape()
        dispatcher = current.get()
        if not dispatcher.records:
            return payload
        return dispatcher.detached(payload) if self._detached else bare(payload)

    def _on_tape(self) -> Leaf:
        """Returns the payload of a leaf whose gradient is wanted: the same one while it is in use.
        """
        numbers = bare(self._payload)
        known = None if self._leaf_on_tape is None else self._leaf_on_tape()
        if known is None or known.numbers is not numbers:
            known = Leaf(numbers, self)
            self._leaf_on_tape = ref(known)
        return known

    def _share(self, other: Core, *ops: ViewOp) -> Self:
        """Makes this array a view of `other`: the result of these view ops on it."""
        self._storage, self._view_ops = other._storage, other._view_ops + ops
        self._version, self._viewed_leaf = other._storage.version, other._leaf
        if other._detached:
            self._detached = True
        return self

    @property
    def _leaf(self) -> Core | None:
        """The leaf or Parameter that this array is, or is a view of; otherwise None."""
        return self if self._is_leaf_of_tape else self._viewed_leaf

    def _apart(self) -> Self:
        """Returns a copy, which no later change of this array reaches."""
        return Core._array(current.get().copied(self._as_operand()))

    def _as_it_was(self) -> Self:
        """Returns this array as an operand of an op whose result will be written in its place.

        The gradient of that op may read what was there before, which no write changes: a storage
        gets another value.
        """
        if current.get().records or not grad_enabled.get() or self._is_leaf_of_tape:
            return self
        return Core._array(self._as_operand())

    def _perhaps_apart(self, whole: Core) -> Self:
        """Returns this view, where torch leaves open whether it is a view of `whole` or a copy.

        In torch it depends on the memory layout, which the IR does not have. The result is usable
        until one of the two is changed in place; then using the other raises Error.
        """
        result = Core._array(self._as_operand())
        result._storage.relate(whole._storage)
        return result

    def _write(self, name: str, given: Core) -> Self:
        """Replaces the elements in place, for all arrays that share them.

        given: of this array's shape and dtype. name: the operation, for messages.
        Raises Error where the array may not be changed now, or where it is a view in which one
        element has several places.
        """
        storage, leaf, part = self._storage, self._leaf, given._as_operand()
        frozen = leaf is not None and leaf.requires_grad and grad_enabled.get()
        current.get().check_change(Change(name, self.type, storage.value, storage.made_in, frozen))
        value = before(storage.value, self._view_ops, part)
        self._storage.change(value, self._view_ops)
        if isinstance(value, Tracked):
            value.version = self._storage, self._storage.version
        if isinstance(part, Value):              # known without repeating the ops
            self._seen, self._version = part, self._storage.version
        return self

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: v for name, v in vars(self).items() if name not in _SHARED}
        return {**kept, "payload": bare(self._payload)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._payload = state["payload"]
        vars(self).update({name: v for name, v in state.items() if name != "payload"})

    def __repr__(self) -> str:
        if isinstance(self._payload, Value):
            return f"Array({self._payload.type})"
        text = np.array_repr(bare(self._payload)).replace("array", "Array", 1)
        if self.grad_fn is not None:
            return f"{text[:-1]}, grad_fn={self.grad_fn!r})"
        return f"{text[:-1]}, requires_grad=True)" if self._is_leaf_of_tape else text

    # -- type --------------------------------------------------------------------------------------

    @property
    def type(self) -> ArrayType:
        """The IR's type, such as f32[B, 64]; called, it is torch's Tensor.type: see ArrayType."""
        made, known = _new_type(ArrayType), self._type
        state = made.__dict__                    # the dataclass is frozen
        state["dtype"], state["shape"], state["_of"] = known.dtype, known.shape, self
        return made

    @property
    def _type(self) -> TensorType:
        """The type without the call: a new object for each `type` takes ten times as long."""
        known = self._seen                       # a change in place keeps the type
        return known.type if isinstance(known, Value | Tracked) else type_of(known)

    @property
    def shape(self) -> Size:
        """The sizes as a tuple; in a trace some may be symbolic."""
        known = self._seen
        return (shape_seen(known.type.shape) if isinstance(known, Value) else
                tuple.__new__(Size, known.shape))

    @property
    def dtype(self) -> ElementType:
        """The element type; it equals NumPy's dtype of the same elements."""
        return OF_IR[self._type.dtype]

    @property
    def device(self) -> Device:
        """Always the device "cpu"."""
        return Device("cpu")

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def dim(self) -> int:
        """Returns the number of dimensions."""
        return self.ndim

    def size(self, dim: int | None = None) -> Any:
        """Returns the shape, or the size of one dimension."""
        return self.shape if dim is None else self.shape[axis_of(self._type, dim)]

    def numel(self) -> Any:
        """Returns the number of elements, symbolic where a size is."""
        return product(self.shape)

    nelement, ndimension = numel, dim

    def element_size(self) -> int:
        """Returns the size of an element in bytes."""
        return self.dtype.itemsize

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Returns True: no strides are visible, and where contiguity matters the array is copied.
        """
        return True

    def stride(self, dim: int | None = None) -> Any:
        """Returns the strides in elements, or one of them; those of a contiguous array."""
        strides = [product(self.shape[axis + 1:]) for axis in range(self.ndim)]
        return tuple(strides) if dim is None else strides[axis_of(self._type, dim)]

    def storage_offset(self) -> int:
        """Returns 0: an array begins where its memory does."""
        return 0

    def get_device(self) -> int:
        """Returns -1: the array is on the CPU."""
        return -1

    def is_complex(self) -> bool:
        """Returns False: there are no arrays of complex numbers."""
        return False

    def is_signed(self) -> bool:
        """Returns whether the dtype has negative numbers."""
        return self.dtype.is_signed

    def is_pinned(self, device: Any = None) -> bool:
        """Returns False: there is no device to pin memory for."""
        return False

    def is_shared(self) -> bool:
        """Returns False: no array is in memory that processes share."""
        return False

    def is_inference(self) -> bool:
        """Returns False: every array can be used everywhere."""
        return False

    def is_same_size(self, other: Self) -> bool:
        """Returns whether the shapes are equal."""
        return same(self.shape, other.shape)

    def conj(self) -> Self:
        """Returns the array itself: its numbers are real."""
        return self

    resolve_conj = resolve_neg = conj

    @property
    def real(self) -> Self:
        """The array itself: its numbers are real."""
        return self

    is_cuda = is_sparse = is_quantized = is_meta = is_mps = is_mkldnn = is_nested = False
    is_xpu = is_ipu = is_xla = is_vulkan = is_mtia = is_maia = is_sparse_csr = False
    is_cpu = True
    output_nr = 0

    @property
    def layout(self) -> Any:
        """torch.strided."""
        return find("", "strided")

    @property
    def itemsize(self) -> int:
        """The size of an element in bytes."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> Any:
        """The size of all elements in bytes, symbolic where a size is."""
        return self.numel() * self.itemsize

    def is_floating_point(self) -> bool:
        """Returns whether the dtype is float32 or float64."""
        return category(self._type.dtype) == 2

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("an array without dimensions has no len()")
        if isinstance(self.shape[0], DimExpr):
            raise Error(f"how many rows {self.type} has is not known before run time, and Python "
                        "needs the number: compute with x.shape[0], or compile for one size, given "
                        "as a number, as in \"f32[16, 64]\"")
        return operator.index(self.shape[0])

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(self.__len__()))   # type: ignore[index]

    # -- gradients: see nncompile.array.tape and, for the other methods, .differentiation ----------

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are kept: it was set, of a leaf, or the array is computed from one.

        Setting it raises GradientError for an array that was computed, and for one of integers.
        """
        return self._is_leaf_of_tape or isinstance(self._payload, Tracked)

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        if isinstance(self._payload, Tracked):
            if requires_grad:
                return
            raise GradientError("you can only change requires_grad flags of leaf variables: this "
                                "array was computed from one, detach() gives it without its "
                                "gradient")
        if requires_grad and self.dtype.kind != "f":
            raise GradientError("only Tensors of floating point dtype can require gradients, not "
                                f"{self._type}")
        self._is_leaf_of_tape = bool(requires_grad)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Sets `requires_grad` and returns the array. Raises GradientError as setting it does."""
        self.requires_grad = requires_grad
        return self

    @property
    def grad(self) -> Any:
        """The sum of the gradients that backwards have brought; None before the first one.

        Setting it raises GradientError for what is no array of this one's shape and dtype, or None.
        """
        return self._grad

    @grad.setter
    def grad(self, grad: Any) -> None:
        if grad is not None:
            if not isinstance(grad, Core):
                raise GradientError("assigned grad expected to be a Tensor or None but got "
                                    f"{describe(grad)}")
            if not same(grad._type, self._type):
                raise GradientError(f"assigned grad is {grad._type}, and the gradient of "
                                    f"{self._type} has its shape and its dtype")
        self._grad = grad

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def is_leaf(self) -> bool:
        """Whether no op with a gradient computed this array."""
        return not isinstance(self._payload, Tracked)

    @property
    def grad_fn(self) -> Any:
        """The step that goes back from this array to what it was computed from; None for a leaf."""
        return None

    # -- numbers: while a model is traced, of arrays that depend on no input -----------------------

    def _numbers(self, what: str) -> NDArray:
        """Returns the numbers without a copy.

        what: the operation that needs them, for the message.
        Raises Error in a trace for an array that depends on an input; for others they are only to
        be read there.
        """
        return current.get().numbers(self._as_operand(), what)

    def numpy(self, *, force: bool = False) -> NDArray:
        """Returns the numbers as an ndarray that shares memory, also where a gradient is kept.

        Raises Error in a trace where the array depends on an input.
        """
        return self._numbers("numpy()")

    @property
    def data(self) -> Self:
        """The same array as a view that may be changed in place even where this is a Parameter.

        Assigning gives this array the numbers of another; its views keep the old ones.
        """
        return self.detach()

    @data.setter
    def data(self, data: Any) -> None:
        self._payload = as_array("data", data)._as_operand()

    def detach(self) -> Self:
        """Returns a view without a gradient: a constant, as far as gradients are concerned."""
        if current.get().records and self.dtype.kind == "f":
            return apply("detach", self)
        result = Core._array(bare(self._payload))._share(self)
        result._viewed_leaf, result._detached = None, True
        return result

    def detach_(self) -> Self:
        """Takes the array off what computed it, so that it becomes a leaf; returns it."""
        if isinstance(self._payload, Tracked):
            self._payload = bare(self._payload)
        return self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        return np.array(self._numbers("a NumPy function"), dtype=dtype, copy=copy)

    def item(self) -> Any:
        """Returns the single element as a Python number. Raises Error as `numpy` does."""
        return self._number("item()")

    def _number(self, what: str) -> Any:
        """Returns the single element. Raises Error where there is not one, or none is known."""
        numbers = self._numbers(what)
        if numbers.size != 1:
            raise InputError(f"{what} is of one element, and {self.type} has {numbers.size}: "
                             "reduce it, as by sum(), any() or all(), or index it")
        return numbers.item()

    def tolist(self) -> Any:
        """Returns the numbers as nested lists. Raises Error as `numpy` does."""
        return self._numbers("tolist()").tolist()

    def __float__(self) -> float:
        return float(self._number("float()"))

    def __int__(self) -> int:
        return int(self._number("int()"))

    def __index__(self) -> int:
        return operator.index(self._number("an index or a size"))

    def __bool__(self) -> bool:
        return bool(self._number("`if`, `while`, `and`, `or` or `not`"))

    def __format__(self, spec: str) -> str:
        """Returns the text of the array, or of its number where it has no dimensions."""
        return format(self.item(), spec) if spec and self.ndim == 0 else format(str(self), spec)

    def _cast(self, dtype: str) -> Self:
        """Returns the array in the dtype that the IR calls `dtype`; itself if that is its dtype."""
        return self if self._type.dtype == dtype else apply("cast", self, dtype=dtype)


# -- operands --------------------------------------------------------------------------------------

def apply(name: str, *operands: Core | float, **attrs: Any) -> Any:
    """Returns the result of an op of the IR, computed or recorded by the current dispatcher.

    The operands have the dtypes that the op needs; a Python number is a float literal. The result
    of a view op shares its elements with the operand.
    """
    payloads = [o if isinstance(o, float) else o._as_operand() for o in operands]
    if attrs:
        attrs = {key: size_of_graph(value) for key, value in attrs.items()}
    payload = current.get().op(name, payloads, attrs)
    if isinstance(payload, Tracked):
        payload.versions = [(o._storage, o._storage.version) if isinstance(o, Core) else None
                            for o in operands]
    whole = operands[0] if name in VIEWS else None
    if not isinstance(whole, Core):
        result = Core._array(payload)
        if isinstance(payload, Tracked):
            payload.version = result._storage, 0
        return result
    result = object.__new__(Core._array)     # with no storage of its own
    result._seen = payload
    result._share(whole, (name, attrs))
    if isinstance(payload, Tracked):
        payload.version = result._storage, result._version
    return result


def wants_gradient(*operands: Any) -> bool:
    """Returns whether somebody may ask for a gradient by one of the operands.

    Then a function may be composed of other ops than otherwise, whose gradients are right where
    those of the shorter composition are not: at ties, kinks and poles.
    """
    dispatcher = current.get()
    if not grad_enabled.get():
        return False
    if dispatcher.records:
        return dispatcher.differentiates
    return any([isinstance(o, Core) and o.requires_grad for o in operands])


def guarded(taken: Any, x: Any, otherwise: float) -> Any:
    """Returns x where its function is taken, for a `where` behind it.

    A gradient of 0 for what is not taken is NaN if the function has none there, or an infinite one;
    so in place of it there is a number at which it has one. Without gradients it is x itself.
    """
    return apply("where", taken, x, otherwise) if wants_gradient(x) else x


def operand(name: str, given: Any) -> Any:
    """Returns an Array, or a number, which takes the dtype of the arrays beside it.

    A number may be a size, or one that is computed from sizes.

    Zero-dimensional NumPy values count as Python numbers: `x * numpy.sqrt(2.0)` stays float32.
    Raises Error where the operand is neither, naming the operation `name`.
    """
    if isinstance(given, Core) or (isinstance(given, np.ndarray) and given.ndim > 0):
        return as_array(name, given)
    if is_traced(given):
        return given
    if isinstance(given, np.generic | np.ndarray) and not np.iscomplexobj(given):
        given = given.item()
    if isinstance(given, bool | int | float):
        return given
    hint = ": torch.tensor(data) makes one of a list" if isinstance(given, list | tuple) else ""
    raise Error(f"{name} takes arrays and real numbers, not {describe(given)}{hint}")


def as_array(name: str, given: Any) -> Any:
    """Returns an Array or ndarray as an Array. Raises Error where it is neither."""
    if isinstance(given, Core):
        return given
    if isinstance(given, np.ndarray):
        return Core._array(given)
    raise Error(f"{name} takes arrays, not {describe(given)}: torch.tensor(data) makes one of "
                "numbers and lists")


def arrays(name: str, first: Any, *others: Any) -> list[Any]:
    """Returns the operands as Arrays, leaving out those that are None."""
    return [as_array(name, first), *(as_array(name, o) for o in others if o is not None)]


def together(name: str, *given: Any, least: str = "bool") -> tuple[Any, ...]:
    """Returns the operands in their common dtype, or in `least` if that is higher."""
    if (floats := _floats_together(given)) is not None:
        return floats
    operands = [operand(name, g) for g in given]
    dtype = result_type(operands)
    if category(dtype) < category(least):
        dtype = least
    return tuple(in_type(o, dtype) for o in operands)


def _floats_together(given: Sequence[Any]) -> tuple[Any, ...] | None:
    """Returns Arrays of one float dtype and plain numbers as `together` does, but quickly.

    Returns None where they are anything else.
    """
    dtype = None
    for each in given:
        if isinstance(each, Core):
            own = each._type.dtype
            if own != dtype is not None or own not in FLOATS:
                return None
            dtype = own
        elif type(each) is not float and type(each) is not int:
            return None
    if dtype is None:
        return None
    return tuple([each if isinstance(each, Core) else float(each) for each in given])


def in_type(given: Any, dtype: str) -> Any:
    """Returns an operand as an op of this dtype takes it: cast, or a number as a float literal."""
    if isinstance(given, Core):
        return given._cast(dtype)
    if is_traced(given):
        return in_graph(given)._cast(dtype)
    if isinstance(given, int) and abs(given) > _LARGEST_EXACT and category(dtype) == 1:
        return constant(given, dtype)
    return float(given)


def in_graph(size: Any) -> Any:
    """Returns a size as an operand: a number, or a zero-dimensional array that computes it."""
    if type(size) is TracedNumber:
        return size.array
    if not isinstance(size, DimExpr):
        return size
    return apply("size", dim=size)


TracedSize.in_graph = in_graph


def constant(value: Any, dtype: str) -> Any:
    """Returns an Array of known numbers. Raises Error where a value does not fit into the dtype."""
    try:
        with StandardFloats():
            return Core._array(np.array(value, DTYPES[dtype]))
    except OverflowError:
        raise Error(f"{value} does not fit into {DTYPES[dtype]}") from None


def data_of(given: Any) -> NDArray:
    """Returns the numbers in lists, numbers and whatever else holds some.

    Raises InputError where there are none.
    """
    try:
        return numbers(given)[0]
    except InputError as error:
        raise InputError(f"no array can be made of {describe(given)}: {error}") from None


def filled(size: Sequence[Any], value: Any, dtype: DType) -> Any:
    """Returns an Array with one number everywhere; without a dtype, in the number's own.

    Raises Error where the value is not a number.
    """
    if not isinstance(value, bool | int | float | np.generic):
        raise Error(f"full takes a number, not {describe(value)}")
    number, size = value.item() if isinstance(value, np.generic) else value, flat([size])
    if is_traced(number):
        name = scalar_type(number) if dtype is None else name_of(dtype)
        return in_type(number, name).expand(size)._apart()
    name = scalar_type(number) if dtype is None else name_of(dtype)
    if category(name) < 2:
        number = converted(number, DTYPES[name]).item()
    if isinstance(number, int) and abs(number) > _LARGEST_EXACT:
        return constant(number, name).expand(size)._apart()
    return apply("full", float(number), shape=tuple(size), dtype=name)


def floating(name: str, given: Any) -> Any:
    """Returns the operand as an Array of floats; integers and bools become the default float."""
    x = as_array(name, given)
    return x if x.is_floating_point() else x._cast(name_of(float))


def describe(given: Any) -> str:
    """Returns the value, or the type of an object, as an error message names it."""
    if given is None or isinstance(given, bool | int | float | str):
        return repr(given)
    if isinstance(given, type):
        return f"the class {given.__name__}"
    if hasattr(type(given), "_description"):     # an object's own __getattr__ may do anything
        return str(given._description)
    return f"an object of type {type(given).__name__}"


# -- where NumPy's arrays end and Arrays begin -----------------------------------------------------

def to_array(leaf: Any) -> Any:
    """Returns an ndarray as an Array, and anything else as it is."""
    return Core._array(leaf) if isinstance(leaf, np.ndarray) else leaf


def to_numpy(leaf: Any) -> Any:
    """Returns an Array as an ndarray, and anything else as it is."""
    return leaf.numpy() if isinstance(leaf, Core) else leaf

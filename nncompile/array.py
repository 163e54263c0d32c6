"""Array: the value a forward computes with.  The methods are spelled as torch's.

An array holds numbers when a model is called, and stands for a value of a graph when it is traced.
Each method is written once, for both: it brings its arguments into the one form that the IR knows
(axes counted from 0, sizes resolved) and hands an op to the interpreter.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from ir import DimExpr, Error, TensorType, Value, type_of
from ir.types import DTYPES, Dim, divide, product, same
from nncompile.indexing import axes_of, axis_of, bounds, flat, index_items, without_wildcard
from nncompile.interpreter import OUTSIDE, Payload, current

Axes = int | Sequence[int] | None

UFUNCS: Mapping[np.ufunc, str] = {
    np.add: "add", np.subtract: "sub", np.multiply: "mul", np.divide: "div",
    np.maximum: "maximum", np.minimum: "minimum", np.negative: "neg", np.absolute: "abs",
    np.exp: "exp", np.log: "log", np.sqrt: "sqrt", np.tanh: "tanh",
}
COMPARISONS = (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)


def apply(name: str, *operands: Any, **attrs: Any) -> Array:
    """The result of an op of the IR, by whoever interprets this forward."""
    return Array(current.get().op(name, [operand(name, o) for o in operands], attrs))


def operand(name: str, given: Any) -> Array | float:
    """An array, or a plain number, which takes the type of the arrays beside it.

    Zero-dimensional NumPy values count as plain numbers: `x * numpy.sqrt(2.0)` stays float32.
    """
    if isinstance(given, Array) or (isinstance(given, np.ndarray) and given.ndim > 0):
        return as_array(name, given)
    if isinstance(given, DimExpr):
        raise Error(f"{name} cannot compute with the size {given}: it is not known before run time")
    is_number = isinstance(given, bool | int | float | np.number | np.ndarray)
    if is_number and not np.iscomplexobj(given):
        return float(given)
    raise Error(f"{name} takes arrays and real numbers, not {describe(given)}")


class Array(NDArrayOperatorsMixin):
    """Numbers, or what stands for them while a model is traced; never changed in place.

    Arithmetic broadcasts as in NumPy; both operands have one float type, f32 or f64, and a plain
    number has the type of the other operand.  Sizes in `shape` may be symbolic in a trace.
    """

    __hash__ = object.__hash__

    def __init__(self, payload: Any) -> None:
        self.payload: Payload = payload
        if isinstance(payload, np.ndarray):
            type_of(payload)

    def __repr__(self) -> str:
        if isinstance(self.payload, Value):
            return f"Array({self.payload.type})"
        return np.array_repr(self.payload).replace("array", "Array", 1)

    # -- type --------------------------------------------------------------------------------------

    @property
    def type(self) -> TensorType:
        """The IR's type: f32[B, 64]."""
        return self.payload.type if isinstance(self.payload, Value) else type_of(self.payload)

    @property
    def shape(self) -> tuple[Any, ...]:
        """Sizes; while a model is traced, dynamic ones are `ir` sizes such as B or 2*T."""
        return self.payload.type.shape if isinstance(self.payload, Value) else self.payload.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return DTYPES[self.type.dtype]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def dim(self) -> int:
        """The number of axes, as torch says it."""
        return self.ndim

    def size(self, dim: int | None = None) -> Any:
        """All sizes, or one."""
        return self.shape if dim is None else self.shape[axis_of(self.type, dim)]

    def numel(self) -> Any:
        """The number of elements."""
        return product(self.shape)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("an array without dimensions has no len()")
        return operator.index(self.shape[0])

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(len(self)))

    # -- numbers: refused while the model is traced ------------------------------------------------

    def numbers(self, what: str) -> NDArray[Any]:
        """The numbers, not copied.  Errors: there are none; `what` says in whose name they miss."""
        return current.get().numbers(self, what)

    def numpy(self) -> NDArray[Any]:
        """The numbers as an ndarray, not copied.  Errors: a traced array has none."""
        return self.numbers("numpy()")

    @property
    def data(self) -> NDArray[Any]:
        """The numbers themselves, not copied."""
        return self.numbers("data")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.numbers("a NumPy function"), dtype=dtype, copy=copy)

    def item(self) -> Any:
        """The only element, as a number of Python.  Errors: several, or while a model is traced."""
        return self.numbers("item()").item()

    def __float__(self) -> float:
        return float(self.numbers("float()").item())

    def __int__(self) -> int:
        return int(self.numbers("int()").item())

    def __bool__(self) -> bool:
        return bool(self.numbers("`if`, `while`, `and`, `or` or `not`"))

    # -- arithmetic --------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Where + - * / @ arrive, and NumPy's own functions: each means the op of that name."""
        if "out" in options:
            self.no_change_in_place()
        if method == "__call__" and not options:
            if ufunc in UFUNCS:
                return apply(UFUNCS[ufunc], *inputs)
            if ufunc is np.matmul:
                return as_array("matmul", inputs[0]).matmul(inputs[1])
            if ufunc is np.power:
                return power(*inputs)
            if ufunc in COMPARISONS:
                return ufunc(*(i.numbers("a comparison") if isinstance(i, Array) else i
                               for i in inputs))
        return self.outside(ufunc.__name__, getattr(ufunc, method), inputs, options)

    def __array_function__(
        self, function: Callable[..., Any], _: Any, args: Any, kwargs: Any
    ) -> Any:
        return self.outside(function.__name__, function, args, kwargs)

    def outside(self, name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Any other function of NumPy, on the numbers: only outside of a forward."""
        if current.get() is not OUTSIDE:
            raise Error(f"numpy.{name}, called in this way, is not an op of the IR: in a forward "
                        "use the methods of Array and nn.functional")
        return function(*mapped(to_numpy, args), **mapped(to_numpy, kwargs))

    def no_change_in_place(self, *_: Any) -> None:
        raise Error("arrays cannot be changed in place: write x = x + y instead of x += y, and "
                    "put parts together with cat or stack")

    __setitem__ = no_change_in_place

    def abs(self) -> Array:
        return apply("abs", self)

    def exp(self) -> Array:
        return apply("exp", self)

    def log(self) -> Array:
        return apply("log", self)

    def sqrt(self) -> Array:
        return apply("sqrt", self)

    def tanh(self) -> Array:
        return apply("tanh", self)

    def sigmoid(self) -> Array:
        return apply("sigmoid", self)

    def relu(self) -> Array:
        return apply("relu", self)

    def maximum(self, other: Any) -> Array:
        """The larger of two, elementwise; NaN where one is NaN."""
        return apply("maximum", self, other)

    def minimum(self, other: Any) -> Array:
        """The smaller of two, elementwise; NaN where one is NaN."""
        return apply("minimum", self, other)

    def softmax(self, dim: int) -> Array:
        """exp(x) along dim, divided by its sum."""
        return apply("softmax", self, axis=axis_of(self.type, dim), scale=1.0)

    def matmul(self, other: Any) -> Array:
        """Matrices [..., M, K] @ [..., K, N]; a vector is a row on the left, a column on the right.

        Errors: other sizes than these; an operand without dimensions.
        """
        right = as_array("matmul", other)
        if 0 in (self.ndim, right.ndim):
            raise Error(f"matmul needs dimensions on both sides, got {self.type} @ {right.type}")
        if self.ndim == 1:
            product_ = self.unsqueeze(0).matmul(right)
            return product_.squeeze(-2 if right.ndim > 1 else 0)
        if right.ndim == 1:
            return self.matmul(right.unsqueeze(1)).squeeze(-1)
        return apply("matmul", self, right)

    # -- reductions: torch's keywords or NumPy's ---------------------------------------------------

    def sum(self, dim: Axes = None, keepdim: bool = False, *, axis: Axes = None,
            keepdims: bool = False) -> Array:
        """Over the axes given (dim or axis, one or several), or over all."""
        return self.reduced("sum", dim, axis, keepdim or keepdims)

    def mean(self, dim: Axes = None, keepdim: bool = False, *, axis: Axes = None,
             keepdims: bool = False) -> Array:
        """Over the axes given (dim or axis, one or several), or over all."""
        return self.reduced("mean", dim, axis, keepdim or keepdims)

    def amax(self, dim: Axes = None, keepdim: bool = False, *, axis: Axes = None,
             keepdims: bool = False) -> Array:
        """The maximum over the axes given, or over all; NaN where there is one."""
        return self.reduced("max", dim, axis, keepdim or keepdims)

    def reduced(self, op: str, dim: Axes, axis: Axes, keepdims: bool) -> Array:
        """Over the given axes, or over all of them."""
        if dim is not None and axis is not None:
            raise Error(f"{op} got both dim={dim} and axis={axis}: they are the same thing")
        given = axis if dim is None else dim
        axes = axes_of(self.type, range(self.ndim) if given is None or given == () else given)
        return apply(op, self, axes=tuple(sorted(axes)), keepdims=bool(keepdims))

    # -- shape -------------------------------------------------------------------------------------

    def reshape(self, *shape: Any) -> Array:
        """The same elements in another shape; one size may be -1, the one that fits.

        Errors: another number of elements; a size for -1 that depends on the run.
        """
        sizes = without_wildcard(self.type, flat(shape))
        return self if same(sizes, self.shape) else apply("reshape", self, shape=sizes)

    def view(self, *shape: Any) -> Array:
        """reshape, as torch spells it: it never fails for want of contiguous memory."""
        return self.reshape(*shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Array:
        """The axes from start_dim to end_dim, both included, made one."""
        if self.ndim == 0:
            return self.reshape(1)
        start, end = axis_of(self.type, start_dim), axis_of(self.type, end_dim)
        if start > end:
            raise Error(f"flatten cannot start at axis {start_dim} and end before it, at {end_dim}")
        one = product(self.shape[start : end + 1])
        return self.reshape(*self.shape[:start], one, *self.shape[end + 1 :])

    def unsqueeze(self, dim: int) -> Array:
        """With an axis of size 1 put in at dim."""
        axis = axis_of(self.type, dim, extra=1)
        return self.reshape(*self.shape[:axis], 1, *self.shape[axis:])

    def squeeze(self, dim: Axes = None) -> Array:
        """Without the given axes where their size is 1; None: without all of size 1.

        Errors: a size of which the run decides whether it is 1.
        """
        axes = axes_of(self.type, range(self.ndim) if dim is None else dim)
        return self.reshape([size for i, size in enumerate(self.shape)
                             if not (i in axes and size == 1)])

    def permute(self, *dims: Any) -> Array:
        """With the axes in this order."""
        axes = axes_of(self.type, flat(dims))
        return self if axes == tuple(range(self.ndim)) else apply("transpose", self, axes=axes)

    def transpose(self, dim0: int, dim1: int) -> Array:
        """With two axes in each other's place, as in torch (not as in NumPy)."""
        axes = list(range(self.ndim))
        first, second = axis_of(self.type, dim0), axis_of(self.type, dim1)
        axes[first], axes[second] = second, first
        return self.permute(axes)

    def swapaxes(self, axis0: int, axis1: int) -> Array:
        """transpose, as NumPy spells it."""
        return self.transpose(axis0, axis1)

    @property
    def T(self) -> Array:
        """With all axes in reverse order."""
        return self.permute(range(self.ndim)[::-1])

    @property
    def mT(self) -> Array:
        """With the last two axes in each other's place."""
        if self.ndim < 2:
            raise Error(f"mT needs a matrix, got {self.type}")
        return self.transpose(-2, -1)

    def contiguous(self) -> Array:
        """Itself: how it lies in memory is the compiler's business."""
        return self

    def detach(self) -> Array:
        """Itself: nothing here has gradients."""
        return self

    # -- parts -------------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Array:
        """By integers, slices of step 1, None and `...`: a slice for each axis, then a reshape."""
        result, axis = self, 0
        shape: list[Dim] = []
        for item in index_items(self.type, index):
            if item is None:
                shape.append(1)
                continue
            start, stop = bounds(item, self.shape[axis])
            if not same((start, stop), (0, self.shape[axis])):
                result = apply("slice", result, axis=axis, start=start, stop=stop)
            if isinstance(item, slice):
                shape.append(stop - start)
            axis += 1
        return result.reshape(shape)

    def unbind(self, dim: int = 0) -> tuple[Array, ...]:
        """The parts along dim, without it."""
        before = (slice(None),) * axis_of(self.type, dim)
        return tuple(self[(*before, i)] for i in range(operator.index(self.size(dim))))

    def split(self, split_size: int | Sequence[Any], dim: int = 0) -> tuple[Array, ...]:
        """Parts of split_size along dim, the last one maybe smaller; or of the sizes listed."""
        length = self.size(dim)
        if isinstance(split_size, Sequence):
            sizes = list(split_size)
        elif split_size > 0:
            total = operator.index(length)
            sizes = [min(split_size, total - at) for at in range(0, max(total, 1), split_size)]
        else:
            raise Error(f"split needs a size above 0, got {split_size}")
        if not same(sum(sizes), length):
            raise Error(f"the sizes {sizes} do not add up to axis {dim} of {self.type}")
        before = (slice(None),) * axis_of(self.type, dim)
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return tuple(self[(*before, slice(at, at + size))]
                     for at, size in zip(starts, sizes, strict=True))

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Array, ...]:
        """At most `chunks` parts along dim, of one size except the last."""
        length = self.size(dim)
        if chunks <= 0:
            raise Error(f"chunk needs a number of parts above 0, got {chunks}")
        if isinstance(length, DimExpr):
            even = divide(length, chunks)
            if even is None:
                raise Error(f"{length} is not divisible by {chunks} for every size")
            return self.split([even] * chunks, dim)
        return self.split(max(1, -(-length // chunks)), dim)


def power(base: Any, exponent: Any) -> Array:
    """For the exponents 2 and 0.5: the IR multiplies and takes square roots."""
    if not isinstance(exponent, Array | np.ndarray):
        if exponent == 2:
            return apply("mul", base, base)
        if exponent == 0.5:
            return apply("sqrt", base)
    raise Error(f"an array can be raised to 2 and to 0.5, not to {describe(exponent)}")


def as_array(name: str, given: Any) -> Array:
    """An operand that has to be an array."""
    if isinstance(given, Array):
        return given
    if isinstance(given, np.ndarray):
        return Array(given)
    raise Error(f"{name} takes arrays, not {describe(given)}")


def describe(given: Any) -> str:
    if given is None or isinstance(given, bool | int | float | str):
        return repr(given)
    return f"an object of type {type(given).__name__}"


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same tuples, lists and dicts around other leaves."""
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(mapped(function, item) for item in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(mapped(function, item) for item in tree)
    if isinstance(tree, dict):
        return {key: mapped(function, item) for key, item in tree.items()}
    return function(tree)


def to_array(leaf: Any) -> Any:
    return Array(leaf) if isinstance(leaf, np.ndarray) else leaf


def to_numpy(leaf: Any) -> Any:
    return leaf.numpy() if isinstance(leaf, Array) else leaf

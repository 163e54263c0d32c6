"""Element types: their names, and torch's rules for promoting them to a common one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from ir import Error, NDArray
from ir.ops import evaluate
from ir.types import name_of_dtype


class ElementType:
    """An element type, as torch.dtype has it; NumPy takes it wherever it takes a dtype.

    It equals NumPy's dtype of the same elements and has the attributes of that: `kind`, `itemsize`.
    dtype: NumPy's, of which bfloat16 has none. Not all of torch's are types of arrays here; those
    that are not can be compared with.
    """

    dtype: np.dtype[Any]

    def __init__(self, name: str, ir_name: str | None = None) -> None:
        self.torch_name, self.ir_name = name, ir_name
        if name != "bfloat16":
            self.dtype = np.dtype(name)

    @property
    def is_floating_point(self) -> bool:
        """Whether it is a type of real floating-point numbers."""
        return "float" in self.torch_name

    @property
    def is_complex(self) -> bool:
        """Whether it is a type of complex numbers."""
        return self.torch_name.startswith("complex")

    @property
    def is_signed(self) -> bool:
        """Whether it has negative numbers."""
        return self.torch_name not in ("bool", "uint8", "uint16", "uint32", "uint64")

    @property
    def itemsize(self) -> int:
        """The size of an element in bytes."""
        return self.dtype.itemsize if hasattr(self, "dtype") else 2

    def __getattr__(self, name: str) -> Any:
        if name == "dtype" or name.startswith("__") or self.torch_name == "bfloat16":
            raise AttributeError(f"{self} has no attribute {name!r}")
        return getattr(self.dtype, name)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ElementType):
            return self is other
        if not isinstance(other, np.dtype | str | type) or not hasattr(self, "dtype"):
            return False
        try:
            return self.dtype == np.dtype(other)
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(self.dtype) if hasattr(self, "dtype") else hash(self.torch_name)

    def __repr__(self) -> str:
        return f"torch.{self.torch_name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _by_name, (self.torch_name,)


def _by_name(name: str) -> ElementType:
    return TORCH_DTYPES[name]


float32, float64 = ElementType("float32", "f32"), ElementType("float64", "f64")
int8, uint8 = ElementType("int8", "i8"), ElementType("uint8", "u8")
int32, int64 = ElementType("int32", "i32"), ElementType("int64", "i64")
bool_ = ElementType("bool", "bool")
float16, bfloat16, int16 = ElementType("float16"), ElementType("bfloat16"), ElementType("int16")
uint16, uint32, uint64 = ElementType("uint16"), ElementType("uint32"), ElementType("uint64")
complex64, complex128 = ElementType("complex64"), ElementType("complex128")

TORCH_DTYPES = {dtype.torch_name: dtype for dtype in (
    float32, float64, int8, uint8, int32, int64, bool_, float16, bfloat16, int16, uint16, uint32,
    uint64, complex64, complex128)}
OF_IR = {dtype.ir_name: dtype for dtype in TORCH_DTYPES.values() if dtype.ir_name}

# The names of torch's classes of tensors by the IR's name of their elements.
TENSOR_NAMES = {"f32": "FloatTensor", "f64": "DoubleTensor", "i8": "CharTensor", "u8": "ByteTensor",
                "i32": "IntTensor", "i64": "LongTensor", "bool": "BoolTensor"}
OF_TENSOR_NAME = {
    **{name: OF_IR[ir_name] for ir_name, name in TENSOR_NAMES.items()},
    "HalfTensor": float16, "BFloat16Tensor": bfloat16, "ShortTensor": int16}

Scalar = bool | int | float

# In this order a later type takes an earlier one in; u8 and i8 alone have no common type here.
_ORDER = ("bool", "u8", "i8", "i32", "i64", "f32", "f64")
_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2}
DEFAULT_FLOAT = "f32"


class _Typed(Protocol):
    @property
    def ndim(self) -> int: ...
    @property
    def type(self) -> Any: ...


def category(dtype: str) -> int:
    """Returns torch's category of a dtype: 0 for bool, 1 for integers, 2 for floats."""
    return _CATEGORY[dtype[0]]


def name_of(dtype: DTypeLike) -> str:
    """Returns the IR's name of a dtype: "f32" for numpy.float32.

    Python's `float` and `int` mean what they mean in torch: float32 and int64.
    Raises Error where the IR has no such dtype.
    """
    if isinstance(dtype, ElementType) and dtype.ir_name is not None:
        return dtype.ir_name
    if dtype is float:
        return DEFAULT_FLOAT
    if isinstance(dtype, ElementType):
        hint = ("keep real and imaginary parts in two arrays" if dtype.is_complex else
                "a model in half precision is computed in float32, without the conversion"
                if dtype.is_floating_point else "int32 or uint8 hold the same numbers")
        raise Error(f"arrays of {dtype} are not supported: {', '.join(map(str, OF_IR.values()))} "
                    f"are; {hint}")
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        raise Error(f"{dtype!r} is no element type, such as torch.float32") from None
    return name_of_dtype(wanted)


def converted(values: Any, dtype: np.dtype[Any] | ElementType) -> NDArray:
    """Returns the values as a new ndarray of the dtype, which the IR has, as the op `cast` does.

    NumPy reports nothing about numbers that do not fit.
    """
    return evaluate("cast", [np.asarray(values)], {"dtype": name_of(dtype)})


def _promoted(first: str, second: str) -> str:
    """Returns the smaller of the dtypes that can represent both."""
    if {first, second} == {"u8", "i8"}:
        raise Error("uint8 and int8 together make int16, which is not supported: cast one of them")
    return max(first, second, key=_ORDER.index)


def result_type(operands: Iterable[_Typed | Scalar]) -> str:
    """Returns the common dtype of operands, by the rules of torch.result_type.

    Operands fall into three ranks: arrays with dimensions, arrays without, and Python numbers.
    Within a rank the widest dtype wins; a lower rank counts only where its dtype is of a higher
    category.
    """
    ranks: tuple[list[str], list[str], list[str]] = ([], [], [])
    for operand in operands:
        if isinstance(operand, bool | int | float):
            ranks[2].append(scalar_type(operand))
        else:
            ranks[operand.ndim == 0].append(operand.type.dtype)
    types = [reduce(_promoted, rank) for rank in ranks if rank]
    return reduce(lambda high, low: low if category(low) > category(high) else high, types)


def scalar_type(value: Scalar) -> str:
    """Returns the dtype that a Python number has by itself: "bool", "i64" or "f32"."""
    if isinstance(value, bool):
        return "bool"
    return "i64" if isinstance(value, int) else DEFAULT_FLOAT

"""torch's classes of tensors, Tensor and FloatTensor: what isinstance says, and their constructors.

Every array is an Array. These classes are other names of it, under which models annotate, ask
`isinstance(x, torch.Tensor)` and `isinstance(x, torch.LongTensor)`, and make arrays in the way that
torch kept from its beginning: `torch.Tensor(2, 3)` has a shape, `torch.Tensor([2, 3])` has data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nncompile.array.array import Array
from nncompile.array.core import check_device
from nncompile.array.creation import tensor, zeros
from nncompile.array.dtypes import OF_TENSOR_NAME, ElementType, float32
from nncompile.array.sizes import Size
from nncompile.placeholders import missing

if TYPE_CHECKING:
    Tensor = Array                               # for mypy they are one class, as their values are
else:
    class _TensorClass(type):
        """The class of such classes; a user's subclass of one is an ordinary class."""

        def __instancecheck__(cls, instance: Any) -> bool:
            if "_element_type" not in vars(cls):
                return type.__instancecheck__(cls, instance)
            return isinstance(instance, Array) and cls._has(instance)

        def _has(cls, array: Array) -> bool:
            return cls._element_type is None or array.type.dtype == cls._element_type.ir_name

        def __subclasscheck__(cls, subclass: type) -> bool:
            if vars(cls).get("_element_type", cls) is None:
                return issubclass(subclass, Array)
            return type.__subclasscheck__(cls, subclass)

        def __eq__(cls, other: object) -> bool:
            whole = vars(cls).get("_element_type", cls) is None
            return cls is other or (whole and other is Array)    # type(x) == torch.Tensor

        def __hash__(cls) -> int:
            return hash(Array) if vars(cls).get("_element_type", cls) is None else id(cls)

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if "_element_type" not in vars(cls):
                return super().__call__(*args, **kwargs)
            return _made(cls._element_type or float32, *args, **kwargs)

        def __getattr__(cls, name: str) -> Any:
            refused = None if name.startswith("_") else missing("Tensor", name)
            raise AttributeError(refused or f"{cls.__name__} has no attribute {name!r}")

    class Tensor(Array, metaclass=_TensorClass):
        """An array; see Array. Tensor(2, 3) and Tensor(torch.Size([2, 3])) have that shape.

        Tensor([2, 3]) has that data, in float32. Those without data are of zeros here.
        """

        _element_type = None


def _made(dtype: ElementType, *args: Any, device: Any = None, data: Any = None,
          size: Any = None) -> Array:
    """Returns what torch's constructor of a class of tensors returns.

    Sizes one by one, or a torch.Size, give an array of that shape; numbers in a list, a tuple or an
    array give that data in this dtype.
    """
    check_device(device)
    if size is not None:
        args = (size,)
    if data is not None:
        args = (data,)
    if len(args) == 1 and isinstance(args[0], Size):
        return zeros(args[0], dtype=dtype)
    if args and isinstance(args[0], list | tuple | np.ndarray | Array):
        return tensor(args[0], dtype=dtype)
    return zeros(*args, dtype=dtype) if args else tensor([], dtype=dtype)


def _typed(name: str) -> Any:
    """Makes the class of the tensors of one element type, such as FloatTensor."""
    dtype = OF_TENSOR_NAME[name]
    made: Any = type(Tensor)
    return made(name, (Tensor,), {
        "_element_type": dtype, "__module__": "torch",
        "__doc__": f"Arrays of {dtype}: isinstance says which they are, and it is a constructor."})


FloatTensor, DoubleTensor, HalfTensor = map(_typed, ("FloatTensor", "DoubleTensor", "HalfTensor"))
BFloat16Tensor, BoolTensor = _typed("BFloat16Tensor"), _typed("BoolTensor")
ByteTensor, CharTensor, ShortTensor = map(_typed, ("ByteTensor", "CharTensor", "ShortTensor"))
IntTensor, LongTensor = _typed("IntTensor"), _typed("LongTensor")

__all__ = ["BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor",
           "FloatTensor", "HalfTensor", "IntTensor", "LongTensor", "ShortTensor", "Tensor"]

"""The class Array, made of its families of methods, and the functions that make operands of ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np

import nncompile.array.core as core
from ir import Error
from nncompile.array.chosen import Chosen
from nncompile.array.core import Core, check_device, filled, is_device
from nncompile.array.differentiation import Differentiable
from nncompile.array.dtypes import Scalar, name_of
from nncompile.array.indexing import flat
from nncompile.placeholders import Unknown, missing


class Array(Differentiable):
    """An n-dimensional array: numbers, or a stand-in for them while a model is traced.

    The methods are named as torch.Tensor's, take the same arguments and return the same values;
    where one differs, its docstring says so. Operands broadcast as in NumPy and are brought to one
    dtype by torch's promotion rules, in which a Python number does not widen an array of its own
    category (float32 + 2.0 is float32). Element types are bool, uint8, int8, int32, int64, float32,
    float64. In a trace, sizes in `shape` may be symbolic.
    """

    # How NumPy's own functions act on arrays; `numpy_functions`, which knows this class, has them.
    _numpy_ufunc: ClassVar[Callable[[np.ufunc, str, Any, Any], Any]]
    _numpy_function: ClassVar[Callable[[Callable[..., Any], Any, Any], Any]]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Computes a NumPy ufunc, which is also where the operators + - * / @ < == arrive."""
        if any(isinstance(x, Chosen) for x in inputs):
            return NotImplemented                # it computes the ufunc
        return Array._numpy_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Callable[..., Any], _: Any, args: Any, kwargs: Any
                           ) -> Any:
        """Computes a function of NumPy's that was called on this array, such as numpy.concatenate.
        """
        return Array._numpy_function(function, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and (refused := missing("Tensor", name)):
            raise AttributeError(refused)
        raise Unknown(f"an Array has no attribute {name!r}, and neither has torch.Tensor",
                      "Tensor", name)

    # -- other types -------------------------------------------------------------------------------

    def to(self, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False,
           copy: bool = False, memory_format: Any = None, tensor: Any = None) -> Self:
        """Returns the array in another dtype: to(dtype), to(other) in the dtype of another array.

        The only device is the CPU, so to("cpu") returns the array itself. Without copy=True, so
        does a conversion to the dtype that the array has. Raises Error for another device.
        """
        for given in (*args, *([] if tensor is None else [tensor])):
            if isinstance(given, Core | np.ndarray):
                dtype = given.dtype
            elif given is None or isinstance(given, bool) or is_device(given):
                check_device(given if isinstance(given, str) else None)
            else:
                dtype = given
        check_device(device)
        result = self if dtype is None else self._cast(name_of(dtype))
        return result._apart() if copy and result is self else result

    def type_as(self, other: Any) -> Self:
        """Returns the array in the dtype of `other`."""
        return self.to(other)

    astype = to

    def cpu(self, memory_format: Any = None) -> Self:
        """Returns the array itself: it is on the CPU."""
        return self

    def cuda(self, device: Any = None, non_blocking: bool = False, memory_format: Any = None
             ) -> Self:
        """Raises InputError: arrays are on the CPU."""
        check_device("cuda" if device is None else f"cuda:{device}")
        return self

    # -- new arrays in this array's dtype; torch's other options have no meaning on the CPU --------

    def new_zeros(self, *sizes: Any, size: Any = None, dtype: Any = None, device: Any = None,
                  requires_grad: bool = False, layout: Any = None, pin_memory: bool = False
                  ) -> Self:
        """Returns zeros of the given shape, in this array's dtype unless another is given."""
        return self.new_full(flat(sizes, size), 0, dtype=dtype, device=device,
                             requires_grad=requires_grad)

    def new_ones(self, *sizes: Any, size: Any = None, dtype: Any = None, device: Any = None,
                 requires_grad: bool = False, layout: Any = None, pin_memory: bool = False) -> Self:
        """Returns ones of the given shape, in this array's dtype unless another is given."""
        return self.new_full(flat(sizes, size), 1, dtype=dtype, device=device,
                             requires_grad=requires_grad)

    def new_empty(self, *sizes: Any, size: Any = None, dtype: Any = None, device: Any = None,
                  requires_grad: bool = False, layout: Any = None, pin_memory: bool = False
                  ) -> Self:
        """Returns zeros, as new_zeros does: what is to be filled has defined contents here."""
        return self.new_zeros(flat(sizes, size), dtype=dtype, device=device,
                              requires_grad=requires_grad)

    def new_full(self, size: Any, fill_value: Scalar, *, dtype: Any = None, device: Any = None,
                 requires_grad: bool = False, layout: Any = None, pin_memory: bool = False) -> Self:
        """Returns one number everywhere, in this array's dtype unless another is given."""
        check_device(device)
        made = filled(size, fill_value, self.dtype if dtype is None else dtype)
        return made.requires_grad_(requires_grad)

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None,
                   requires_grad: bool = False, layout: Any = None, pin_memory: bool = False
                   ) -> Self:
        """Returns an array with a copy of the data, in this array's dtype unless another is given.

        data: a number, nested lists, an ndarray or an Array.
        """
        check_device(device)
        wanted = name_of(self.dtype if dtype is None else dtype)
        copied: Any = (data.detach()._cast(wanted)._apart() if isinstance(data, Array)
                       else constant(data, wanted))
        return copied.requires_grad_(requires_grad)

    def new(self, *args: Any, device: Any = None) -> Self:
        """Returns a new array of this dtype: with the sizes given, or with the data of a list."""
        if len(args) == 1 and isinstance(args[0], list | np.ndarray | Array):
            return self.new_tensor(args[0], device=device)
        return self.new_zeros(*args or (0,), device=device)

    def half(self) -> Self:
        """Raises Error: float16 and bfloat16 are not supported."""
        raise Error("float16 and bfloat16 are not supported: float32 and float64 are\n  do: leave "
                    ".half() out, or convert with .to(x.dtype)")

    bfloat16 = half

    # These are last: below them, `float`, `int` and `bool` in this class body mean the methods.
    def double(self) -> Self:
        """Returns the array as float64."""
        return self._cast("f64")

    def char(self) -> Self:
        """Returns the array as int8."""
        return self._cast("i8")

    def byte(self) -> Self:
        """Returns the array as uint8."""
        return self._cast("u8")

    def long(self) -> Self:
        """Returns the array as int64; floats are truncated towards zero."""
        return self._cast("i64")

    def int(self) -> Self:
        """Returns the array as int32; floats are truncated towards zero."""
        return self._cast("i32")

    def float(self) -> Self:
        """Returns the array as float32."""
        return self._cast("f32")

    def bool(self) -> Self:
        """Returns the array as bool: whether each element differs from 0."""
        return self._cast("bool")


Core._array = Array

# The functions of core, which cannot name the class that they return.
apply: Callable[..., Array] = core.apply
as_array: Callable[[str, Any], Array] = core.as_array
arrays: Callable[..., list[Array]] = core.arrays
constant: Callable[[Any, str], Array] = core.constant
floating: Callable[[str, Any], Array] = core.floating
in_type: Callable[[Any, str], Array | float] = core.in_type

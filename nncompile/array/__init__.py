"""Array: the value a forward computes with. The methods are named as torch.Tensor's.

An array holds numbers when a model is called, and stands for a value of a graph when it is traced.
Each method is written once, for both: it brings its arguments into the one form that the IR knows
(axes counted from 0, sizes resolved, one dtype) and hands an op to the interpreter.

The class is put together from mixins, each in its own module:

    storage                                                              what arrays share
    core < elementwise < shapes < reductions < selection < products < inplace
                                                                         the methods, by families
    creation                                                             new arrays, joined arrays
    numpys                                                               NumPy's functions on them
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ir import Error
from nncompile.array.core import (
    Core,
    apply,
    arrays,
    as_array,
    constant,
    describe,
    floating,
    in_type,
    operand,
    to_array,
    to_numpy,
    together,
)
from nncompile.array.creation import check_device, full
from nncompile.array.dtypes import Scalar, name_of
from nncompile.array.indexing import flat
from nncompile.array.inplace import Inplace
from nncompile.array.numpys import call_function, call_ufunc


class Array(Inplace):
    """An n-dimensional array: numbers, or a stand-in for them while a model is traced.

    The methods are named as torch.Tensor's, take the same arguments and return the same values;
    where one differs, its docstring says so. Operands broadcast as in NumPy and are brought to one
    dtype by torch's promotion rules, in which a Python number does not widen an array of its own
    category (float32 + 2.0 is float32). Element types are bool, uint8, int8, int32, int64, float32,
    float64. In a trace, sizes in `shape` may be symbolic.
    """

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Computes a NumPy ufunc, which is also where the operators + - * / @ < == arrive."""
        return call_ufunc(ufunc, method, inputs, options)

    def __array_function__(
        self, function: Callable[..., Any], _: Any, args: Any, kwargs: Any
    ) -> Any:
        """Computes a function of NumPy's that was called on this array, such as numpy.concatenate.
        """
        return call_function(function, args, kwargs)

    # -- other types -------------------------------------------------------------------------------

    def to(self, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False,
           copy: bool = False) -> Array:
        """Returns the array in another dtype: to(dtype), to(other) in the dtype of another array.

        The only device is the CPU, so to("cpu") returns the array itself. Without copy=True, so
        does a conversion to the dtype that the array has. Raises Error for another device.
        """
        for given in args:
            if isinstance(given, Core | np.ndarray):
                dtype = given.dtype
            elif given == "cpu" or given is None or isinstance(given, bool):
                check_device(given if isinstance(given, str) else None)
            else:
                dtype = given
        check_device(device)
        result = self.itself() if dtype is None else self.cast(name_of(dtype))
        return result.apart() if copy and result is self else result

    def type_as(self, other: Any) -> Array:
        """Returns the array in the dtype of `other`."""
        return self.to(other)

    astype = to

    def cpu(self) -> Array:
        """Returns the array itself: it is on the CPU."""
        return self

    def new_zeros(self, *size: Any, dtype: Any = None) -> Array:
        """Returns zeros of the given shape, in this array's dtype unless another is given."""
        return self.new_full(flat(size), 0, dtype=dtype)

    def new_ones(self, *size: Any, dtype: Any = None) -> Array:
        """Returns ones of the given shape, in this array's dtype unless another is given."""
        return self.new_full(flat(size), 1, dtype=dtype)

    def new_full(self, size: Any, fill_value: Scalar, *, dtype: Any = None) -> Array:
        """Returns one number everywhere, in this array's dtype unless another is given."""
        return full(size, fill_value, dtype=self.dtype if dtype is None else dtype)

    def half(self) -> Array:
        """Raises Error: float16 and bfloat16 are not supported."""
        raise Error("float16 and bfloat16 are not supported: float32 and float64 are")

    bfloat16 = half

    # These are last: below them, `float`, `int` and `bool` in this class body mean the methods.
    def double(self) -> Array:
        """Returns the array as float64."""
        return self.cast("f64")

    def char(self) -> Array:
        """Returns the array as int8."""
        return self.cast("i8")

    def byte(self) -> Array:
        """Returns the array as uint8."""
        return self.cast("u8")

    def long(self) -> Array:
        """Returns the array as int64; floats are truncated towards zero."""
        return self.cast("i64")

    def int(self) -> Array:
        """Returns the array as int32; floats are truncated towards zero."""
        return self.cast("i32")

    def float(self) -> Array:
        """Returns the array as float32."""
        return self.cast("f32")

    def bool(self) -> Array:
        """Returns the array as bool: whether each element differs from 0."""
        return self.cast("bool")


Core.array = Array

__all__ = ["Array", "apply", "arrays", "as_array", "constant", "describe", "floating", "in_type",
           "operand", "to_array", "to_numpy", "together"]

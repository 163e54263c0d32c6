"""Array: the value a forward computes with.  The methods are spelled as torch's.

An array holds numbers when a model is called, and stands for a value of a graph when it is traced.
Each method is written once, for both: it brings its arguments into the one form that the IR knows
(axes counted from 0, sizes resolved, one type) and hands an op to the dispatcher.

    dispatch                                                             who computes an op
    storage                                                              what arrays share
    core < elementwise < shapes < reductions < selection < products < inplace
                                                                         the methods, by families
    creation                                                             arrays made of nothing
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
    """Numbers, or what stands for them while a model is traced.

    Arithmetic broadcasts as in NumPy and brings its operands to one type as torch does; a plain
    number is weak.  Sizes in `shape` may be symbolic in a trace.
    """

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Where + - * / @ < == arrive, and NumPy's own functions."""
        return call_ufunc(ufunc, method, inputs, options)

    def __array_function__(
        self, function: Callable[..., Any], _: Any, args: Any, kwargs: Any
    ) -> Any:
        return call_function(function, args, kwargs)

    # -- other types -------------------------------------------------------------------------------

    def to(self, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False,
           copy: bool = False) -> Array:
        """In another element type: to(dtype), to(array) as its type is, to("cpu") as it is."""
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
        return self.to(other)

    astype = to

    def cpu(self) -> Array:
        return self

    def new_zeros(self, *size: Any, dtype: Any = None) -> Array:
        return self.new_full(flat(size), 0, dtype=dtype)

    def new_ones(self, *size: Any, dtype: Any = None) -> Array:
        return self.new_full(flat(size), 1, dtype=dtype)

    def new_full(self, size: Any, fill_value: Scalar, *, dtype: Any = None) -> Array:
        return full(size, fill_value, dtype=self.dtype if dtype is None else dtype)

    def half(self) -> Array:
        raise Error("float16 and bfloat16 are not supported: float32 and float64 are")

    bfloat16 = half

    # last, because from here on these names are methods of the class
    def double(self) -> Array:
        return self.cast("f64")

    def char(self) -> Array:
        return self.cast("i8")

    def byte(self) -> Array:
        return self.cast("u8")

    def long(self) -> Array:
        return self.cast("i64")

    def int(self) -> Array:
        return self.cast("i32")

    def float(self) -> Array:
        return self.cast("f32")

    def bool(self) -> Array:
        return self.cast("bool")


Core.array = Array

__all__ = ["Array", "apply", "arrays", "as_array", "constant", "describe", "floating", "in_type",
           "operand", "to_array", "to_numpy", "together"]

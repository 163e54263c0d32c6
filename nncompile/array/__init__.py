"""Array: the value a forward computes with. The methods are named as torch.Tensor's.

An array holds numbers when a model is called, and stands for a value of a graph when it is traced.
Each method is written once, for both: it brings its arguments into the one form that the IR knows
(axes counted from 0, sizes resolved, one dtype) and hands an op to the dispatcher.

The class is put together from mixins, each in its own module:

    dispatch                                                             who computes an op
    sizes                                                                what a forward sees of them
    storage                                                              what arrays share
    tape, differentiation, backward                                      gradients
    core < elementwise < shapes < reductions < selection < products < inplace < differentiation
         < array                                                         the methods, by families
    chosen                                                               x[mask] in a trace
    lengths                                                              len(x) in a trace
    creation                                                             new arrays, joined arrays
    numpy_functions                                                      NumPy's functions on them
"""

from nncompile.array.array import Array, apply, arrays, as_array, floating, in_type
from nncompile.array.core import describe, to_array, to_numpy
from nncompile.array.naming import name_methods
from nncompile.array.numpy_functions import call_function, call_ufunc
from nncompile.array.random import bernoulli, multinomial
from nncompile.array.sizes import TracedSize

Array.bernoulli, Array.multinomial = bernoulli, multinomial  # type: ignore[attr-defined]
name_methods(Array, __name__)
TracedSize.on_arrays = call_ufunc
Array._numpy_ufunc, Array._numpy_function = call_ufunc, call_function

__all__ = ["Array", "apply", "arrays", "as_array", "describe", "floating", "in_type", "to_array",
           "to_numpy"]

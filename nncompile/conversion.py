"""From anything that holds numbers to an ndarray, or an error that says why there is none.

Whatever would lose something in silence is refused: text, objects and dates are no numbers, an
array's mask would be dropped, 1.5 is no integer, and 300 is not held by 8 bits. The messages are
ends of sentences; the caller says what was to be converted.
"""
from __future__ import annotations

import sys
from sys import modules
from typing import Any

import numpy as np
from numpy import asarray

from ir import Error, NDArray
from ir.float_mode import StandardFloats, is_standard
from nncompile.errors import InputError

_DOUBLE = np.dtype(float)                        # what NumPy chooses for Python's floats
_NUMBERS = "biuf"                                # kinds of NumPy's own dtypes
_WHAT_KINDS_ARE = {"c": "complex numbers are no real ones", "U": "text is no number",
                   "S": "bytes are no numbers", "O": "objects are no numbers",
                   "M": "dates are no numbers", "m": "time spans are no numbers"}
_WITHOUT_DTYPE = frozenset((list, tuple, int, float, bool, complex, str, bytes, type(None)))
_MASKS = "numpy.ma.core"                         # without that module nobody has made one
_LISTS = frozenset((list, tuple))
_WITHOUT_ITEMS = frozenset((int, float, bool))
_ARRAYS = ("__array__", "__array_interface__", "__array_struct__")
_Dtype = np.dtype[Any]


def numbers(given: Any) -> tuple[NDArray, bool]:
    """Returns the numbers in what was given, and whether they have a dtype of their own.

    Lists and Python's numbers have none: NumPy chooses one. torch's tensors may require gradients;
    their bfloat16 and float8 become float32. The array may share the memory of what was given.
    Raises InputError, whose message goes on after "no array can be made of it: ".
    """
    own = tensor = False
    try:
        if type(given) not in _WITHOUT_DTYPE:
            tensor = _is_tensor(given)
            own = tensor or _is_array(given)
        if not tensor and _MASKS in modules:
            _refuse_masks(given)
        array = _from_torch(given) if tensor else asarray(given)
    except (Error, MemoryError):
        raise
    except Exception as error:                   # of whatever code the object brings along
        if "inhomogeneous shape" in str(error):
            raise InputError("its lists are not of one length") from None
        raise InputError(str(error) or type(error).__name__) from None
    if own or array.dtype.kind in _NUMBERS or not array.size:
        return array, own
    if array.dtype.kind == "O" and all(type(value) is int for value in array.flat):
        return array, own                        # integers that no int64 holds
    if hasattr(given, "toarray"):
        raise InputError("it is sparse: pass its .toarray()")
    raise InputError(_WHAT_KINDS_ARE.get(array.dtype.kind, f"{array.dtype} is no number"))


def floats(given: list[Any], dtype: _Dtype) -> NDArray | None:
    """Returns a list of Python's floats as an array of a dtype of floats; quicker than `numbers`.

    None where it is no such list, or takes more than this.
    """
    try:
        if _MASKS in modules:
            _refuse_masks(given)
        array = asarray(given)
        if array.dtype is _DOUBLE and is_standard():
            return array.astype(dtype)
    except Exception:                            # numbers() says what it is
        pass
    return None


def is_masked(given: Any) -> bool:
    """Returns whether it is a masked array; the module of these is not imported for that."""
    return _MASKS in modules and isinstance(given, modules[_MASKS].MaskedArray)


def cast(array: NDArray, dtype: _Dtype, casting: str) -> NDArray:
    """Returns the numbers in another dtype.

    casting: "safe" or "same_kind", as NumPy's; "value" for numbers without a dtype of their own:
    any integer that the dtype holds, and for floats any number, rounded. Whatever the rule, an
    integer that the dtype does not hold is refused.
    Raises InputError, whose message goes on after "it is ".
    """
    if array.dtype == dtype:
        return array.astype(dtype, copy=False)
    if casting == "value":
        if array.dtype.kind == "O":
            array = _large_integers(array, dtype)
        legal = array.dtype.kind in ("biuf" if dtype.kind == "f" else "biu") or not array.size
    else:
        # NumPy casts no text and no object to a number in these ways; 2: ml_dtypes' bfloat16
        legal = (array.dtype.kind in _NUMBERS or array.dtype.isbuiltin == 2) and np.can_cast(
            array.dtype, dtype, casting)         # type: ignore[arg-type]
    if not legal:
        why = _WHAT_KINDS_ARE.get(array.dtype.kind)
        raise InputError(f"{array.dtype}, not {dtype}" + (f": {why}" if why else ""))
    if array.size and dtype.kind in "biu" and not np.can_cast(array.dtype, dtype):
        _check_range(array.min(), array.max(), dtype)
    return rounded(array, dtype)


def rounded(array: NDArray, dtype: _Dtype, order: Any = "K") -> NDArray:
    """Returns array.astype(dtype), computed in the standard floating-point mode.

    It is the array itself where it has the dtype and the order.
    """
    if is_standard() or dtype.kind != "f" or array.dtype == dtype:
        try:
            return array.astype(dtype, order, "unsafe", True, False)
        except (FloatingPointError, RuntimeWarning):
            pass                                 # numpy.seterr or a filter of warnings asks for it
    with StandardFloats():
        return array.astype(dtype, order, "unsafe", True, False)


def _is_array(given: Any) -> bool:
    """Returns whether it says itself which dtype its numbers have."""
    if any(hasattr(given, name) for name in _ARRAYS):
        return True
    try:
        memoryview(given)
    except TypeError:
        return False
    return True


def _refuse_masks(given: Any) -> None:
    """Raises InputError for a masked array, by itself or in lists, of which only lists are read.

    Numbers in a list are not looked at one by one: that would take as long as converting them.
    """
    rows = given if type(given) in _LISTS else (given,)
    while rows:
        if not _WITHOUT_DTYPE.issuperset(map(type, rows)) and any(map(is_masked, rows)):
            raise InputError("its mask would be dropped: pass .filled(value)")
        first = rows[0]
        if type(first) not in _LISTS or (first and type(first[0]) in _WITHOUT_ITEMS):
            return
        rows = [item for row in rows if type(row) in _LISTS for item in row]


def _large_integers(array: NDArray, dtype: _Dtype) -> NDArray:
    """Returns Python's integers, of which at least one fits no int64, as float64."""
    if dtype.kind == "f":
        try:
            return array.astype(np.float64)
        except OverflowError:
            raise InputError(f"an integer that {dtype} does not hold") from None
    _check_range(min(array.flat), max(array.flat), dtype)
    return array.astype(dtype)                   # of mixed types: all of them fit


def _check_range(least: Any, most: Any, dtype: _Dtype) -> None:
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    for value in (int(least), int(most)):
        if not low <= value <= high:
            raise InputError(f"{value}, which {dtype} does not hold")


# -- torch -----------------------------------------------------------------------------------------

def _is_tensor(given: Any) -> bool:
    """Returns whether it is torch's; torch is never imported here."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(given, getattr(torch, "Tensor", ()))


def _from_torch(tensor: Any) -> NDArray:
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.element_size() < 4 and tensor.is_floating_point():
        tensor = tensor.float()                  # bfloat16 and float8, which NumPy has not: exact
    try:
        return tensor.numpy()                    # type: ignore[no-any-return]
    except (RuntimeError, TypeError):
        if reason := _why_not(tensor):
            raise InputError(reason) from None
    return tensor.resolve_conj().resolve_neg().numpy()   # type: ignore[no-any-return]


def _why_not(tensor: Any) -> str:
    """Says why NumPy cannot read the tensor's memory."""
    if "strided" not in str(tensor.layout):
        return "the tensor is sparse: pass its .to_dense()"
    if tensor.device.type == "meta":
        return "a tensor on the meta device has no numbers"
    if tensor.device.type != "cpu":
        return f"the tensor is on {tensor.device}: pass its .cpu()"
    return "the tensor is quantised: pass its .dequantize()" if tensor.is_quantized else ""

"""What a forward sees of sizes: a shape is a Size, and a size may differ from call to call.

A size of a traced array is an int to the forward, and no number is known for it. Whatever Python
can ask of it is answered for every call, becomes a requirement that calls check, or raises Error:

    B + 1, B // 2, B % 2      a size
    B / 2, B ** -0.5          a TracedNumber, which is computed in each call
    B > 1, B == T, bool(B)    a requirement, unless the answer is the same in every call
    int(B / 128)              a requirement: the answer is the same in a range of sizes
    int(B), range(B), {B}     Error: Python would need the number itself
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NoReturn, SupportsIndex

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ir import Dim, DimExpr, Error, product
from ir.types import Floored, divide, evaluate_dim, extent, floor_div, names_in
from nncompile.array.dispatch import current, is_ours

_WHOLE: Mapping[np.ufunc, Callable[..., Any]] = {
    np.add: operator.add, np.subtract: operator.sub, np.multiply: operator.mul,
    np.floor_divide: operator.floordiv, np.remainder: operator.mod, np.negative: operator.neg,
    np.divide: operator.truediv, np.power: operator.pow,
    np.equal: operator.eq, np.not_equal: operator.ne, np.less: operator.lt,
    np.less_equal: operator.le, np.greater: operator.gt, np.greater_equal: operator.ge,
}


class Size(tuple[Any, ...]):
    """The sizes of an array, a tuple; named as torch's. In a trace some may be symbolic."""

    __slots__ = ()

    def __new__(cls, sizes: Any = ()) -> Size:
        """Raises TypeError where a size is no integer."""
        return tuple.__new__(cls, [d if isinstance(d, DimExpr) else operator.index(d)
                                   for d in sizes])

    def numel(self) -> Any:
        """Returns the number of elements of an array of this shape."""
        return product(self)

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return tuple.__new__(Size, part) if isinstance(index, slice) else part

    def __add__(self, other: Any) -> Any:
        return Size((*self, *other)) if isinstance(other, tuple) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        return Size((*other, *self)) if isinstance(other, tuple) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> Size:
        return tuple.__new__(Size, super().__mul__(times))

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        # a tuple would compare the sizes before it compares how many there are
        return isinstance(other, tuple) and len(self) == len(other) and tuple.__eq__(self, other)

    __hash__ = tuple.__hash__


def shape_seen(shape: tuple[Dim, ...]) -> Size:
    """Returns the shape of a value of a graph as a forward sees it."""
    return tuple.__new__(Size, [size_seen(dim) for dim in shape])


def size_seen(dim: Dim) -> Any:
    """Returns a size of a graph as a forward sees it."""
    return TracedSize(dim.terms) if isinstance(dim, DimExpr) else dim


def size_of_graph(dim: Any) -> Any:
    """Returns what a forward sees of a size, or a tuple of such, as the graph has it."""
    if isinstance(dim, tuple):
        return tuple(map(size_of_graph, dim))
    return DimExpr(dim.terms) if type(dim) is TracedSize else dim


# -- comparisons -----------------------------------------------------------------------------------

_DECIDED: Mapping[str, tuple[Callable[[float, float], bool], Callable[[float, float], bool]]] = {
    # whether left - right between (low, high) says yes, and whether it says no
    "==": (lambda low, high: low == high == 0, lambda low, high: low > 0 or high < 0),
    "!=": (lambda low, high: low > 0 or high < 0, lambda low, high: low == high == 0),
    "<": (lambda low, high: high < 0, lambda low, high: low >= 0),
    "<=": (lambda low, high: high <= 0, lambda low, high: low > 0),
    ">": (lambda low, high: low > 0, lambda low, high: high <= 0),
    ">=": (lambda low, high: low >= 0, lambda low, high: high < 0),
}
# Among whole numbers, what a comparison with a fraction is the same as.
_ROUNDED: Mapping[str, Callable[[float], int]] = {
    "<": math.ceil, ">=": math.ceil, "<=": math.floor, ">": math.floor,
}


def _compared(left: DimExpr, relation: str, right: Any) -> Any:
    """The answer, where it is the same in every call, or else one that calls are to check."""
    if isinstance(right, np.generic):
        right = right.item()
    if type(right) is float:
        if math.isnan(right):
            return relation == "!="
        if math.isinf(right):
            return relation == "!=" or (right > 0) == (relation in ("<", "<="))
        if not right.is_integer() and relation in ("==", "!="):
            return relation == "!="
        right = _ROUNDED.get(relation, int)(right)
    if type(right) is TracedNumber:
        return _answer(_BY_SIGN[relation], left, right)
    if not isinstance(right, int | DimExpr):
        return NotImplemented
    low, high = extent(left - right)
    yes, no = _DECIDED[relation]
    if yes(low, high) or no(low, high):
        return yes(low, high)
    return current.get().decide(size_of_graph(left), relation, size_of_graph(right))


def _refused(what: object, needs: str) -> NoReturn:
    raise Error(f"{what} is not known before run time, and this needs {needs}")


_NUMBER = ("the number itself, as int(), range(), a list's index and its length do: compute with "
           "the size as it is, or compile for one size, given as a number, as in \"f32[16, 64]\"")
_SMALL = 16                                      # sizes up to it need no example, as below
_ROUNDED_NUMBER = (
    "the number itself, as int(), range() and a list's index do, and it differs among the sizes "
    f"from 1 to {_SMALL}: compute with the size as it is, such as B // 2; or give an example, as "
    "in \"f32[B=256, 64]\", and calls may have the sizes of which the number is the same; or "
    "compile for one size, as in \"f32[256, 64]\"")
_FLOAT = ("the number itself, as float() and the functions of math do: write size / 2, size ** 0.5 "
          "or numpy.sqrt(size), which each call computes")
_BITS = ("its bits: size % 2 is the lowest, and size // 2 and size * 2 are shifts; or compile for "
         "one size, given as a number, as in \"f32[16, 64]\"")
_TEXT = "its text, which is another one in each call: print the array to see its type"
_KEY = ("its hash, as sets, the keys of dicts and caches do, and it is another one in each call: "
        "compare it by ==, or look for it in a tuple")


def _asked_by_user() -> bool:
    """Whether the forward that is traced asks the question, and not the compiler."""
    return current.get().records and not is_ours(sys._getframe(2).f_code.co_filename)


def required(left: Any, relation: str, right: Any) -> bool:
    """Returns whether sizes compare so in any call; those in which they do not are refused."""
    low, high = extent(left - right)
    if _DECIDED[relation][1](low, high):
        return False
    if not _DECIDED[relation][0](low, high):
        current.get().require(*map(size_of_graph, (left, relation, right)))
    return True


def reaches(size: DimExpr, number: Dim) -> bool:
    """Returns whether an axis has as many elements: as the example's, or else as every call's has.

    Calls check the answer.
    """
    recorder = current.get()
    if names_in(size) <= recorder.examples.keys():
        return recorder.decide(size, ">=", number)
    return required(size, ">=", number)


def _comparison(relation: str) -> Any:
    def compare(self: TracedSize, other: Any) -> Any:
        return _compared(self, relation, other)
    return compare


def _operator(whole: Callable[[Any, Any], Any], number: np.ufunc) -> Any:
    """Makes an operator that gives a size, or a number where the other operand is a float."""
    def operation(self: TracedSize, other: Any) -> Any:
        if isinstance(other, np.generic):
            other = other.item()
        if type(other) is float:
            return TracedNumber.computed(number, self, other)
        result = whole(DimExpr(self.terms), size_of_graph(other))
        return size_seen(result) if isinstance(result, DimExpr) else result
    return operation


def _rounded_down(size: Any, divisor: Any) -> Any:
    """Returns size // divisor. Raises Error for a symbolic divisor that leaves a rest."""
    if type(divisor) is not int or divisor == 0:
        return DimExpr.__floordiv__(size, divisor)
    if divisor < 0:
        size, divisor = -size, -divisor
    if extent(size)[1] <= 0:                     # -(-T // 2) is T / 2 rounded up, as elsewhere
        return -floor_div(-size + divisor - 1, divisor)
    return floor_div(size, divisor)


def _power_of_two(shift: Any) -> Any:
    """Returns what shifting by that many bits multiplies by."""
    if type(shift) is not int or shift < 0:
        _refused(f"a shift by {shift}", "a number of bits from 0 on")
    return 1 << shift


def _remainder(size: Any, divisor: Any) -> Any:
    whole = _rounded_down(size, divisor)
    return whole if whole is NotImplemented else size - whole * divisor


def rounded_up(size: Any, divisor: int) -> Any:
    """Returns size / divisor rounded up, for a divisor above 0.

    Raises Error where the divisor is symbolic.
    """
    if isinstance(divisor, DimExpr):
        raise Error(f"how many parts of {DimExpr(divisor.terms)} there are in {size_of_graph(size)}"
                    " is not known before run time: split by a list of all sizes, or use chunk()")
    return size_seen(floor_div(size_of_graph(size + divisor - 1), divisor))


def number_of_chunks(size: DimExpr, part: Any, chunks: int) -> int:
    """Returns how many parts, of which `chunks` would be enough, a size has; calls check it.

    They are as many as the example has, or else `chunks`.
    """
    count, recorder = chunks, current.get()
    if names_in(size) <= recorder.examples.keys():
        length, width = (evaluate_dim(dim, recorder.examples) for dim in (size, part))
        count = -(-length // width) if length else chunks
    required(size, ">", part * (count - 1))
    if count < chunks:
        required(size, "<=", part * count)
    return count


def _number_of(size: DimExpr) -> int:
    """Returns the number that a quotient rounded down is for the example, and has to be in calls.

    Raises Error for other sizes, and without an example where it is not the same for small sizes.
    """
    match [term for term in size.terms if term[0]]:
        case [((Floored() as quotient,), _)]:
            pass
        case _:
            _refused(f"the size {DimExpr.__str__(size)}", _NUMBER)
    recorder, names = current.get(), names_in(size)
    sizes: list[dict[str, int]] = [dict.fromkeys(names, small) | recorder.examples
                                   for small in (1, _SMALL)]
    number, other = (evaluate_dim(size, at) for at in sizes)
    if number != other:
        _refused(f"the size {DimExpr.__str__(size)}", _ROUNDED_NUMBER)
    whole = evaluate_dim(quotient.numerator, sizes[0]) // quotient.divisor
    required(quotient.numerator, ">=", whole * quotient.divisor)
    required(quotient.numerator, "<=", (whole + 1) * quotient.divisor - 1)
    return number


# -- one size --------------------------------------------------------------------------------------

class TracedSize(DimExpr):
    """A size that differs from call to call, as a forward sees it: to Python it is an int."""

    in_graph: ClassVar[Callable[[Any], Any]]      # a size as an operand, which core makes of it
    on_arrays: ClassVar[Callable[..., Any]]       # computes a ufunc, as numpy_functions does

    # what isinstance asks; type() tells the truth
    __class__: Any = property(lambda self: int)

    def __array_ufunc__(self, ufunc: np.ufunc,   # type: ignore[override]
                        method: str, *inputs: Any, **options: Any) -> Any:
        """Computes a ufunc: on sizes, on numbers, and on ndarrays beside a size."""
        if any(map(_is_array_of_ours, inputs)):
            return NotImplemented                # it computes the ufunc
        if any(isinstance(x, np.ndarray) and x.ndim > 0 for x in inputs):
            return TracedSize.on_arrays(ufunc, method, inputs, options)
        if method != "__call__" or options:
            raise Error(f"numpy.{ufunc.__name__} takes no size in this way")
        plain = [x.item() if isinstance(x, np.generic | np.ndarray) else x for x in inputs]
        if ufunc in _WHOLE:
            return _WHOLE[ufunc](*plain)
        return TracedNumber.computed(ufunc, *plain)

    __eq__, __ne__ = _comparison("=="), _comparison("!=")
    __lt__, __le__ = _comparison("<"), _comparison("<=")
    __gt__, __ge__ = _comparison(">"), _comparison(">=")

    __add__ = __radd__ = _operator(DimExpr.__add__, np.add)
    __mul__ = __rmul__ = _operator(DimExpr.__mul__, np.multiply)
    __sub__ = _operator(DimExpr.__sub__, np.subtract)
    __floordiv__ = _operator(_rounded_down, np.floor_divide)
    __mod__ = _operator(_remainder, np.remainder)
    __rfloordiv__ = _operator(DimExpr.__rfloordiv__, np.floor_divide)

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __rmod__(self, other: Any) -> Any:
        return other - other // self * self

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __truediv__(self, other: Any) -> Any:
        return TracedNumber.computed(np.divide, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return TracedNumber.computed(np.divide, other, self)

    def __pow__(self, exponent: Any, modulus: Any = None) -> Any:
        if modulus is not None:
            _refused(f"the size {self}", "the number itself")
        if type(exponent) is int and exponent >= 0:
            return size_seen(product([DimExpr(self.terms)] * exponent))
        return TracedNumber.computed(np.power, self, exponent)

    def __rpow__(self, base: Any) -> Any:
        if type(base) is int:
            _refused(f"the size {self}", f"{base} to the power of it as a whole number, which may "
                     f"be too large for one: {base}.0 ** size is a float")
        return TracedNumber.computed(np.power, base, self)

    def __rshift__(self, bits: Any) -> Any:
        return self // _power_of_two(bits)

    def __lshift__(self, bits: Any) -> Any:
        return self * _power_of_two(bits)

    def __and__(self, mask: Any) -> Any:
        if type(mask) is int and mask >= 0 and mask & (mask + 1) == 0:
            return self % (mask + 1)             # such as B & 1
        return _refused(f"the size {self}", _BITS)

    __rand__ = __and__

    def _no_bits(self, *_: Any) -> NoReturn:
        _refused(f"the size {self}", _BITS)

    __or__ = __ror__ = __xor__ = __rxor__ = __invert__ = __rrshift__ = __rlshift__ = _no_bits
    bit_length = bit_count = to_bytes = _no_bits

    def __neg__(self) -> Any:
        return self * -1

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return self if self >= 0 else -self

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __floor__(self) -> Any:
        return self

    __ceil__ = __trunc__ = __floor__

    def __round__(self, digits: int = 0) -> Any:
        return self if digits >= 0 else _refused(f"the size {self}", "its digits")

    def __index__(self) -> int:
        return _number_of(self)

    __int__ = __index__

    def __float__(self) -> float:
        _refused(f"the size {self}", _FLOAT)

    def __hash__(self) -> int:
        return _refused(f"the size {self}", _KEY) if _asked_by_user() else hash(self.terms)

    def __str__(self) -> str:
        text = DimExpr.__str__(self)
        return _refused(f"the size {text}", _TEXT) if _asked_by_user() else text

    __repr__ = __str__

    def __format__(self, form: str) -> str:
        text = DimExpr.__str__(self)
        return _refused(f"the size {text}", _TEXT) if _asked_by_user() else format(text, form)


# -- a number that is computed from sizes ----------------------------------------------------------

class TracedNumber(NDArrayOperatorsMixin):
    """A number that each call computes from its sizes: to Python it is a float.

    Beside arrays it behaves as a Python number, which takes their dtype.

    array: the number as a scalar array of float64. ratio: a size and a positive int whose quotient
    it is, or None. zero: a size that is 0 exactly where the number is; None where none is known.
    """

    __slots__ = ("array", "ratio", "zero")

    def __init__(self, array: Any, ratio: tuple[Any, int] | None = None, zero: Any = None) -> None:
        self.array, self.ratio, self.zero = array, ratio, zero

    @property
    def whole(self) -> Any:
        """The size that the number is equal to in every call, or None."""
        return self.ratio[0] if self.ratio is not None and self.ratio[1] == 1 else None

    __class__: Any = property(lambda self: float)

    @staticmethod
    def computed(ufunc: np.ufunc, *operands: Any) -> Any:
        """Returns what a ufunc gives for numbers, sizes and what was computed from sizes.

        Raises ZeroDivisionError as Python does.
        """
        numbers = [n for x in operands if (n := _as_number(x)) is not None]
        if len(numbers) < len(operands):
            return NotImplemented
        if ufunc in (np.divide, np.floor_divide, np.remainder) or (
                ufunc is np.power and _is_negative(operands[1])):
            _check_divisor(numbers[ufunc is not np.power])
        result = TracedSize.on_arrays(ufunc, "__call__", [n.array for n in numbers], {})
        return TracedNumber(result._cast("f64"), _ratio(ufunc, numbers), _zero(ufunc, numbers))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Computes a ufunc, which is also where the operators arrive."""
        if any(map(_is_array_of_ours, inputs)):
            return NotImplemented                # it computes the ufunc
        if any(isinstance(x, np.ndarray) and x.ndim > 0 for x in inputs):
            return TracedSize.on_arrays(ufunc, method, inputs, options)
        if method != "__call__" or options:
            raise Error(f"numpy.{ufunc.__name__} takes no number of this kind in this way")
        if ufunc in _QUESTIONS:
            return _answer(ufunc, *inputs)
        return TracedNumber.computed(ufunc, *inputs)

    def _as_whole(self, what: str) -> Any:
        if self.whole is None:
            _refused("a number that is computed from sizes", f"{what}: size // 2 is a whole one")
        return self.whole

    def _rounded(self, ufunc: np.ufunc) -> Any:
        """Returns the number rounded to a size."""
        rounded = _ratio(ufunc, [self])
        if rounded is None:
            _refused("a number that is computed from sizes", "a whole number: size // 2 is one, "
                     "and so is a size / 2 that is rounded")
        return rounded[0]

    def __floor__(self) -> Any:
        return self._rounded(np.floor)

    def __ceil__(self) -> Any:
        return self._rounded(np.ceil)

    def __trunc__(self) -> Any:
        return self._rounded(np.trunc)

    def __round__(self, digits: Any = None) -> Any:
        return self._as_whole("a whole number")

    def __float__(self) -> float:
        _refused("a number that is computed from sizes", _FLOAT)

    def __int__(self) -> int:
        return operator.index(self._rounded(np.trunc))

    def __bool__(self) -> bool:
        if self.zero is None:
            _refused("a number that is computed from sizes", "an answer about it")
        return bool(self.zero != 0)

    def __hash__(self) -> int:
        _refused("a number that is computed from sizes", _KEY)

    def __str__(self) -> str:
        if _asked_by_user():
            _refused("a number that is computed from sizes", _TEXT)
        return "a number computed from sizes"

    __repr__ = __str__

    def __format__(self, form: str) -> str:
        if _asked_by_user():
            _refused("a number that is computed from sizes", _TEXT)
        return str(self)


_MOST_EXACT = 1024                               # the denominator of a ratio that stays known
_BY_SIGN = {"==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal,
            ">": np.greater, ">=": np.greater_equal}
_QUESTIONS = _BY_SIGN.values()


def _answer(question: np.ufunc, *operands: Any) -> Any:
    """Returns how two numbers compare, by the sizes that they are quotients of."""
    given = [x.item() if isinstance(x, np.generic) else x for x in operands]
    if not all(isinstance(x, int | float | DimExpr) for x in given):
        return NotImplemented
    exact = any(type(x) is TracedNumber and x.whole is None for x in given)
    sides = [_simple_ratio(x) if exact and type(x) is float else
             x.ratio if type(x) is TracedNumber else (x, 1) for x in given]
    if None in sides:
        _refused("a number that is computed from sizes", "an answer about it: compare whole sizes, "
                 "as in 2 * T > S instead of T / S > 0.5")
    (a, b), (c, d) = (side for side in sides if side is not None)
    return _WHOLE[question](a * d, c * b) if exact else _WHOLE[question](a, c)


def _is_array_of_ours(given: Any) -> bool:
    return not isinstance(given, np.generic | np.ndarray) and not is_traced(given) and hasattr(
        type(given), "__array_ufunc__")


def _as_number(given: Any) -> TracedNumber | None:
    """An operand with what is known of it; None for what is no number."""
    if isinstance(given, np.generic):
        given = given.item()
    if type(given) is TracedNumber:
        return given
    if isinstance(given, DimExpr):
        return TracedNumber(TracedSize.in_graph(given)._cast("f64"), (given, 1), given)
    if not isinstance(given, int | float):
        return None
    return TracedNumber(float(given), _simple_ratio(given), int(given != 0))


def _simple_ratio(number: float) -> tuple[int, int] | None:
    """Returns an int, or a fraction of a small power of 2, by which a size is multiplied exactly.
    """
    if not math.isfinite(number):
        return None
    numerator, denominator = number.as_integer_ratio()
    return (numerator, denominator) if denominator <= _MOST_EXACT else None


def _is_negative(exponent: Any) -> bool:
    return type(exponent) in (int, float) and exponent < 0


def _check_divisor(divisor: TracedNumber) -> None:
    """Raises ZeroDivisionError for 0, and makes calls check what depends on sizes."""
    if divisor.zero is None:
        _refused("whether a divisor that is computed from sizes is 0", "the answer: divide by a "
                 "size, by a product or by a power of one")
    if divisor.zero == 0:
        raise ZeroDivisionError("division by zero")


def _ratio(ufunc: np.ufunc, numbers: list[Any]) -> tuple[Any, int] | None:
    """The size and the int whose quotient the result is in every call, or None."""
    if any(n.ratio is None for n in numbers):
        return None
    (a, b), (c, d) = numbers[0].ratio, numbers[-1].ratio
    if ufunc in _ROUNDING:
        return _rounded_ratio(ufunc, a, b)
    if ufunc in (np.negative, np.positive):
        return (-a if ufunc is np.negative else a), b
    if ufunc is np.multiply:
        return _reduced(a * c, b * d)
    if ufunc in (np.add, np.subtract):
        return _reduced(_WHOLE[ufunc](a * d, c * b), b * d)
    if ufunc is np.divide:
        exact = divide(a, c)
        if exact is not None:
            return _reduced(size_seen(exact) * d, b)
        return _reduced(a * d, b * c) if type(c) is int and c > 0 else None
    return None


def _reduced(numerator: Any, denominator: int) -> tuple[Any, int] | None:
    quotient = divide(numerator, denominator)
    return (numerator, denominator) if quotient is None else (size_seen(quotient), 1)


_ROUNDING = (np.floor, np.ceil, np.trunc)


def _rounded_ratio(ufunc: np.ufunc, numerator: Any, denominator: int) -> tuple[Any, int] | None:
    if denominator == 1:
        return numerator, 1
    if ufunc is np.trunc and extent(numerator)[0] < 0:       # up below 0, and down elsewhere
        return None
    up = denominator - 1 if ufunc is np.ceil else 0
    return size_seen(floor_div(size_of_graph(numerator + up), denominator)), 1


def _zero(ufunc: np.ufunc, numbers: list[Any]) -> Any:
    """A size that is 0 exactly where the result is, or None."""
    first, *others = (n.zero for n in numbers)
    if ufunc is np.multiply:
        return None if first is None or others[0] is None else first * others[0]
    if ufunc in (np.divide, np.sqrt, np.negative, np.positive, np.absolute, np.square):
        return first
    if ufunc is np.power:
        exponent = numbers[1].array
        return (first if exponent > 0 else 1) if isinstance(exponent, float) else (
            1 if isinstance(numbers[0].array, float) and numbers[0].array > 0 else None)
    return 1 if ufunc in (np.exp, np.exp2, np.cosh) else None


def is_traced(given: Any) -> bool:
    """Returns whether it is a size, or a number computed from sizes, that calls will know."""
    return isinstance(given, DimExpr) or type(given) is TracedNumber

"""Tensor types: an element type and a shape. In f32[B, 784] the size B is known in a call only.

A symbolic size is an integer polynomial in named sizes (B, B*T, 2*B + 1) in canonical form: two
sizes are the same exactly when their terms are. A quotient that is rounded down takes the place of
a name in it. Named sizes are any integers from 0 on. A question
whose answer depends on their values (is B 1?) is refused, so that nothing can be decided for one
batch size and used for another.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, reduce, wraps
from keyword import iskeyword
from math import gcd, inf, prod
from operator import index, mul
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ir.records import dataclass

NDArray = npt.NDArray[Any]
_Monomial = tuple[str, ...]                      # ("B", "T") is B*T, () is 1
Term = tuple[_Monomial, int]
_Answer = TypeVar("_Answer")

DTYPES: dict[str, np.dtype[Any]] = {
    "f32": np.dtype("float32"), "f64": np.dtype("float64"),
    "i8": np.dtype("int8"), "u8": np.dtype("uint8"),
    "i32": np.dtype("int32"), "i64": np.dtype("int64"), "bool": np.dtype("bool"),
}
FLOATS = ("f32", "f64")
INTEGERS = ("i8", "u8", "i32", "i64")
NUMBERS = FLOATS + INTEGERS                      # of which a bool is none
MAX_WHOLE = 2**53                                # up to here a float is every whole number
_MAX_RANK = 64                                   # NumPy's own limit
_MAX_TERMS = 256                                 # a text from anywhere must not explode here
_MAX_DEGREE = 256
_LONGEST_FACTOR = 1000                           # characters of a quotient within a size
MAX_COEFFICIENT = 2**63 - 1


class Error(Exception):
    """The base of every error that ir raises."""


# -- sizes -----------------------------------------------------------------------------------------

def _on_sizes(method: Callable[[DimExpr, Dim], _Answer]) -> Callable[[DimExpr, object], _Answer]:
    """Lets a binary method see ints and sizes only; Python reports anything else as unsupported."""
    @wraps(method)
    def checked(self: DimExpr, other: object) -> _Answer:
        if isinstance(other, (int, DimExpr)):
            return method(self, other)
        return method(self, int(other)) if isinstance(other, np.integer) else NotImplemented
    return checked


@dataclass(frozen=True, eq=False, repr=False)
class DimExpr:
    """A symbolic size, which computes like an int.

    A comparison is answered only where the answer is the same for every size: B + 1 > B and B >= 0
    are True, and B == 1 raises Error.
    """

    terms: tuple[Term, ...]                      # highest degree first, no coefficient 0

    __array_ufunc__ = None                       # numpy.int64(2) * B comes here, not to NumPy

    @_on_sizes
    def __add__(self, other: Dim) -> Dim:
        return _canonical(self.terms + terms(other))

    @_on_sizes
    def __mul__(self, other: Dim) -> Dim:
        return _multiplied(self.terms, terms(other))

    @_on_sizes
    def __sub__(self, other: Dim) -> Dim:
        return self + other * -1

    @_on_sizes
    def __rsub__(self, other: Dim) -> Dim:
        return self * -1 + other

    @_on_sizes
    def __floordiv__(self, other: Dim) -> Dim:
        return _exact_quotient(self, other)

    @_on_sizes
    def __rfloordiv__(self, other: Dim) -> Dim:
        return _exact_quotient(other, self)

    @_on_sizes
    def __mod__(self, other: Dim) -> Dim:
        return self - self // other * other

    def __neg__(self) -> Dim:
        return self * -1

    __radd__, __rmul__ = __add__, __mul__

    @_on_sizes
    def __eq__(self, other: Dim) -> bool:
        low, high = extent(self - other)
        return self._decided(other, yes=low == high == 0, no=low > 0 or high < 0)

    @_on_sizes
    def __lt__(self, other: Dim) -> bool:
        low, high = extent(self - other)
        return self._decided(other, yes=high < 0, no=low >= 0)

    @_on_sizes
    def __le__(self, other: Dim) -> bool:
        low, high = extent(self - other)
        return self._decided(other, yes=high <= 0, no=low > 0)

    @_on_sizes
    def __gt__(self, other: Dim) -> bool:
        return not self <= other

    @_on_sizes
    def __ge__(self, other: Dim) -> bool:
        return not self < other

    def _decided(self, other: Dim, *, yes: bool, no: bool) -> bool:
        if yes or no:
            return yes
        raise Error(f"how {self} compares with {other} is not known before run time")

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __index__(self) -> int:
        raise Error(f"the size {self} is not known before run time")

    def __hash__(self) -> int:
        return hash(self.terms)

    def __str__(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            number = [str(abs(coefficient))] if abs(coefficient) != 1 or not monomial else []
            text += f" {'-' if coefficient < 0 else '+'} " + "*".join([*number, *monomial])
        return text.removeprefix(" + ") if self.terms[0][1] > 0 else f"-{text[3:]}"

    __repr__ = __str__


Dim = int | DimExpr


@lru_cache(maxsize=256)
def symbol(name: str) -> DimExpr:
    """Returns the size with this name.

    Raises Error unless the name is a capitalised ASCII identifier: such a name is never mistaken
    for `true`, `inf` or an op, and generated code can use it as it is.
    """
    if not (name.isascii() and name.isidentifier() and name[0].isupper()) or iskeyword(name):
        raise Error(f"{name!r} cannot name a size: a capitalised word such as B or Batch can")
    return DimExpr((((name,), 1),))


def symbol_name(dim: Dim) -> str | None:
    """Returns the name of a size that is nothing but a name; None for 4 and for 2*B."""
    match dim:
        case DimExpr(terms=(((name,), 1),)) if not isinstance(name, Floored):
            return name
    return None


def names_in(dim: Dim) -> set[str]:
    """Returns the names that a size is computed from."""
    return {name for monomial, _ in terms(dim) for factor in monomial
            for name in (names_in(factor.numerator) if isinstance(factor, Floored) else [factor])}


def terms(dim: Dim) -> tuple[Term, ...]:
    """Returns a size as a sum: the names multiplied and the coefficient of each term.

    A number is one term without names; 0 has no terms.
    """
    return dim.terms if isinstance(dim, DimExpr) else (((), dim),) if dim else ()


def polynomial(parts: Iterable[Term]) -> Dim:
    """Returns the sum of the terms in canonical form: an int if no names are left.

    The terms are in graded lexicographic order. Raises Error for a size that is too complicated.
    """
    return _canonical(tuple(parts))


@lru_cache(maxsize=4096)                         # a model computes the same few sizes all the time
def _canonical(parts: tuple[Term, ...]) -> Dim:
    total: dict[_Monomial, int] = {}
    for monomial, coefficient in parts:
        key = tuple(sorted(monomial))
        total[key] = total.get(key, 0) + coefficient
    kept = sorted(((m, c) for m, c in total.items() if c != 0), key=lambda t: (-len(t[0]), t[0]))
    if not any(m for m, _ in kept):
        return sum(c for _, c in kept)
    largest = max(abs(c) for _, c in kept)
    if len(kept) > _MAX_TERMS or len(kept[0][0]) > _MAX_DEGREE or largest > MAX_COEFFICIENT:
        raise Error(f"a size of {len(kept)} terms, degree {len(kept[0][0])} is too complicated")
    return DimExpr(tuple(kept))


@lru_cache(maxsize=4096)
def _multiplied(a: tuple[Term, ...], b: tuple[Term, ...]) -> Dim:
    return polynomial((m + n, c * d) for m, c in a for n, d in b)


def divide(a: Dim, b: Dim) -> Dim | None:
    """Returns the exact quotient a / b, or None where there is none."""
    return _divided(terms(a), terms(b))


@lru_cache(maxsize=4096)
def _divided(a: tuple[Term, ...], b: tuple[Term, ...]) -> Dim | None:
    """Long division by leading terms, or None.

    The graded order is a monomial order, so each step makes the rest smaller and the loop ends.
    """
    if not b:
        return None
    (divisor, d), quotient = b[0], []
    while a:
        leading, c = a[0]
        rest = list(leading)
        for name in divisor:
            if name not in rest:
                return None
            rest.remove(name)
        if c % d:
            return None
        quotient.append((tuple(rest), c // d))
        taken = _multiplied(b, ((tuple(rest), -(c // d)),))
        a = terms(_canonical(a + terms(taken)))
    return polynomial(quotient)


def _exact_quotient(a: Dim, b: Dim) -> Dim:
    """Returns a // b.

    Raises Error where that is no polynomial: T // 2 is none, and (2*T + 1) // 2 is T.
    """
    rest = sum(c for monomial, c in terms(a) if not monomial) if isinstance(b, int) else 0
    quotient = divide(a - rest, b)
    if quotient is None:
        raise Error(f"{a} is not divisible by {b} for every size")
    return quotient + rest // b if isinstance(b, int) else quotient


class Floored(str):
    """A factor of a size that is a quotient rounded down, such as FloorDiv(T + 1, 2).

    It takes the place of a name in a monomial; as text it is written as it is parsed. numerator:
    at least 0 for all sizes. divisor: at least 2.
    """

    __slots__ = ("divisor", "numerator")

    numerator: DimExpr
    divisor: int

    def __new__(cls, numerator: DimExpr, divisor: int) -> Floored:
        made = super().__new__(cls, f"FloorDiv({numerator}, {divisor})")
        made.numerator, made.divisor = numerator, divisor
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Floored, (self.numerator, self.divisor)


def floor_div(a: Dim, b: int) -> Dim:
    """Returns a / b rounded down, for a divisor above 0.

    What is a whole multiple of b is taken out, so that (2*T + 3) / 2 is T + 1; the rest, such as
    T / 2, becomes a factor of the size.
    Raises Error for another divisor, and for a size that is too complicated.
    """
    if b < 1:
        raise Error(f"a size is divided by {b}")
    whole = polynomial((m, c // b) for m, c in terms(a))
    rest = a - whole * b                         # all coefficients are 0 to b - 1
    if isinstance(rest, int):
        return whole
    shared = gcd(b, *(c for m, c in terms(rest) if m))
    if shared > 1:                               # (2*T + 1) / 4 is T / 2
        return whole + floor_div(polynomial((m, c // shared) for m, c in terms(rest)), b // shared)
    match rest:
        case DimExpr(terms=(((Floored() as inner,), 1),)):
            return whole + floor_div(inner.numerator, inner.divisor * b)
    factor = Floored(rest, b)
    if len(factor) > _LONGEST_FACTOR:
        raise Error(f"a size that contains {factor[:40]}... is too complicated")
    return whole + DimExpr((((factor,), 1),))


def product(dims: Iterable[Dim]) -> Dim:
    """Returns the number of elements of a shape; 1 for a scalar."""
    one: Dim = 1
    return reduce(mul, dims, one)


def extent(dim: Dim) -> tuple[float, float]:
    """Returns bounds that hold for all values of the names from 0 on.

    (1, inf) for B + 1, and (-inf, inf) for B - T.
    """
    constant = sum(c for m, c in terms(dim) if not m)
    others = [c for m, c in terms(dim) if m]
    low = -inf if any(c < 0 for c in others) else constant
    high = inf if any(c > 0 for c in others) else constant
    return low, high


def same(a: object, b: object) -> bool:
    """Returns whether two sizes, shapes (tuples or lists) or types are equal for every B.

    Never raises, unlike ==, which refuses to answer where it depends on B.
    """
    if a is b:
        return True
    if type(a) is type(b) is int:                          # most are
        return a == b
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, DimExpr) or isinstance(b, DimExpr):
        return isinstance(a, DimExpr) and isinstance(b, DimExpr) and a.terms == b.terms
    return bool(a == b)


def evaluate_dim(dim: Dim, sizes: Mapping[str, int]) -> int:
    """Returns a size as a number. Raises Error for a name that has no value in `sizes`."""
    if unknown := names_in(dim) - sizes.keys():
        raise Error(f"the size {min(unknown)} is not a size of any input")
    return sum(c * prod(_number_of(factor, sizes) for factor in m) for m, c in terms(dim))


def _number_of(factor: str, sizes: Mapping[str, int]) -> int:
    if isinstance(factor, Floored):
        return evaluate_dim(factor.numerator, sizes) // factor.divisor
    return sizes[factor]


# -- tensors ---------------------------------------------------------------------------------------

@dataclass(frozen=True, eq=False, repr=False)
class TensorType:
    """An element type, which is a key of DTYPES, and a shape.

    Two types are equal where they are `same`. Raises Error for an unknown element type, more axes
    than NumPy has, and a size below 0.
    """

    dtype: str
    shape: tuple[Dim, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise Error(f"there is no element type {self.dtype!r}, only {', '.join(DTYPES)}")
        shape = tuple([d if isinstance(d, DimExpr) else index(d) for d in self.shape])
        object.__setattr__(self, "shape", shape)
        if len(shape) > _MAX_RANK:
            raise Error(f"a shape has at most {_MAX_RANK} axes, not {len(shape)}")
        for dim in shape:
            if isinstance(dim, int) and not 0 <= dim <= MAX_COEFFICIENT:
                raise Error(f"{dim} is no size of an axis")

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, TensorType):
            return NotImplemented
        return self.dtype == other.dtype and same(self.shape, other.shape)

    def __hash__(self) -> int:
        return hash((self.dtype, self.shape))

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"

    __repr__ = __str__


def check_number(number: float, dtype: str) -> None:
    """Raises Error where a plain number cannot stand for an element of this dtype.

    A number is rounded to a float dtype. For an integer dtype it has to be whole, in the range of
    the dtype and at most 2**53, above which not every whole number is a float; for bool, 0 or 1.
    """
    if dtype in FLOATS:
        return
    low, high = 0, 1
    if dtype != "bool":
        low, high = (int(getattr(np.iinfo(DTYPES[dtype]), end)) for end in ("min", "max"))
        low, high = max(low, -MAX_WHOLE), min(high, MAX_WHOLE)
    if not (number.is_integer() and low <= number <= high):
        raise Error(f"the number {number} cannot be {dtype}, which takes whole ones from {low} to "
                    f"{high}; cast the array, or declare a constant")


def digest(array: NDArray) -> str:
    """Returns a short digest of an array's dtype, shape and bits, in base 16."""
    from hashlib import blake2b  # which few graphs need
    what = blake2b(f"{array.dtype.name}{array.shape}".encode(), digest_size=16)
    what.update(array.tobytes())
    return what.hexdigest()


def type_of(array: NDArray) -> TensorType:
    """Returns the type of an array. Raises Error for an element type that is not one of DTYPES."""
    return _type_of_arrays(array.dtype, array.shape)


@lru_cache(maxsize=4096)                         # of one parameter asked for again and again
def _type_of_arrays(kind: np.dtype[Any], shape: tuple[int, ...]) -> TensorType:
    return TensorType(name_of_dtype(kind), shape)


def name_of_dtype(kind: np.dtype[Any]) -> str:
    """Returns the element type's name: "f32" for float32. Raises Error where there is none."""
    for name, dtype in DTYPES.items():
        if kind == dtype:
            return name
    supported = ", ".join(map(str, DTYPES.values()))
    raise Error(f"arrays of {kind} are not supported; {supported} are")


def bind_sizes(types: Sequence[TensorType], arrays: Sequence[NDArray],
               names: Sequence[str] = ()) -> dict[str, int]:
    """Reads the named sizes off the arrays' shapes: f32[B, 64] with (3, 64) gives {"B": 3}.

    Raises Error for a shape that does not fit its type or does not agree with another array's; the
    message begins with the array's name where `names` are given. Element types are not compared.
    """
    rows = list(zip(types, arrays, names or [""] * len(types), strict=True))
    sizes: dict[str, int] = {}
    for expected, array, name in rows:
        if array.ndim != expected.ndim:
            raise _misfit(name, expected, array)
        for dim, actual in zip(expected.shape, array.shape, strict=True):
            if (size := symbol_name(dim)) is not None:
                sizes.setdefault(size, actual)
    for expected, array, name in rows:
        for dim, actual in zip(expected.shape, array.shape, strict=True):
            if (number := evaluate_dim(dim, sizes)) != actual:
                known = f" with {dim} = {number}" if isinstance(dim, DimExpr) else ""
                raise _misfit(name, expected, array, known)
    return sizes


def _misfit(name: str, expected: TensorType, array: NDArray, known: str = "") -> Error:
    """The error for an array that does not fit its type; `known` says the value of a size."""
    prefix = f"{name}: " if name else ""
    return Error(f"{prefix}expected {expected}{known}, got an array of shape {array.shape}")

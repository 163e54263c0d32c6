"""Elementwise operations: arithmetic, functions, comparisons, selection by a condition.

Operands broadcast as in NumPy and are brought to one dtype as in torch. Each function here is both
a method and, with an array or a number as its first operand, the meaning of an operator or of a
NumPy function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

import numpy as np

from ir import DTYPES, Error, same
from nncompile.array.core import (
    Core,
    apply,
    as_array,
    floating,
    guarded,
    in_type,
    operand,
    together,
    wants_gradient,
)
from nncompile.array.dtypes import DEFAULT_FLOAT, Scalar, category, converted, result_type

_A = TypeVar("_A", bound=Core)
_Method = TypeVar("_Method", bound=Callable[..., Any])
_PROMOTES = "The operands broadcast and are brought to one dtype."


# Giles' polynomials, the highest power first, and the derivative of erf at 0.
_ERFINV_MIDDLE = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
                  -0.00125372503, -0.00417768164, 0.246640727, 1.50140941)
_ERFINV_TAIL = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
                -0.0076224613, 0.00943887047, 1.00167406, 2.83297682)
_ERF_SLOPE = 2 / math.sqrt(math.pi)


def _polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """Returns a polynomial by Horner's rule."""
    first, *others = coefficients
    total = apply("add", apply("mul", x, first), others[0])
    for coefficient in others[1:]:
        total = apply("add", apply("mul", total, x), coefficient)
    return total


# -- families --------------------------------------------------------------------------------------

def _named(method: _Method, name: str, dtypes: str) -> _Method:
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"Computes {name} elementwise, as torch does. {dtypes}"
    return method


def _unary(op: str, prepared: Callable[[str, Any], Any], dtypes: str) -> Callable[[_A], _A]:
    """Makes the method for a function of one array, which `prepared` brings into its dtype."""
    def method(x: _A) -> _A:
        return apply(op, prepared(op, x))
    return _named(method, op, dtypes)


def _function(op: str) -> Callable[[_A], _A]:
    """Makes the method for a function of floats; integers and bools are converted to floats."""
    return _unary(op, floating, "Integers and bools are converted to float32.")


def _of_numbers(op: str) -> Callable[[_A], _A]:
    """Makes the method for a function whose result has the dtype of its operand."""
    return _unary(op, as_array, "The dtype stays.")


def _rounding(op: str) -> Callable[[_A], _A]:
    """Makes the method for a rounding function, which leaves integers as they are."""
    def method(x: _A) -> _A:
        x = as_array(op, x)
        return x._apart() if category(x.type.dtype) == 1 else apply(op, x)
    return _named(method, op, "Integers stay as they are.")


def _arithmetic(op: str, of_bools: str | None = None) -> Callable[[_A, Any], _A]:
    """Makes the method for an operation on two numbers.

    of_bools: the op that takes its place where both operands are bool.
    """
    def method(x: _A, other: Any) -> _A:
        a, b = together(op, x, other)
        if of_bools is not None and _any_bool(a, b):
            return apply(of_bools, _as_bool(op, x), _as_bool(op, other))
        return apply(op, a, b)
    return _named(method, op, _PROMOTES)


def _comparison(op: str) -> Callable[[_A, Any], _A]:
    """Makes the method for a comparison, whose result is bool."""
    def method(x: _A, other: Any) -> _A:
        return apply(op, *together(op, x, other))
    return _named(method, op, "The result is bool.")


def _logical(op: str) -> Callable[[_A, Any], _A]:
    """Makes the method for a logical operation: operands of any dtype, in which all but 0 is true.
    """
    def method(x: _A, other: Any) -> _A:
        return apply(op, _as_bool(op, x), _as_bool(op, other))
    return _named(method, op, "What differs from 0 is true; the result is bool.")


def _bitwise(op: str) -> Callable[[_A, Any], _A]:
    """Makes the method for `&`, `|` or `^` of integers or bools."""
    def method(x: _A, other: Any) -> _A:
        operands = [operand(op, o) for o in (x, other)]
        dtype = result_type(operands)
        if dtype == "bool":
            return apply(f"logical_{op}", *(_as_bool(op, o) for o in operands))
        if category(dtype) != 1:
            raise Error(f"bitwise_{op} takes integers or bools, not {_listed(operands)}")
        return apply(f"bitwise_{op}", *(in_type(o, dtype) for o in operands))
    return _named(method, f"bitwise_{op}", f"{_PROMOTES} Raises Error for floats.")


def _shift(op: str) -> Callable[[_A, Any], _A]:
    """Makes the method for `<<` or `>>` of integers."""
    def method(x: _A, other: Any) -> _A:
        operands = [operand(op, o) for o in (x, other)]
        dtype = result_type(operands)
        if category(dtype) != 1:
            raise Error(f"bitwise_{op} takes integers, not {_listed(operands)}")
        return apply(op, *(in_type(o, dtype) for o in operands))
    return _named(method, f"bitwise_{op}", f"{_PROMOTES} Raises Error for floats and for bools.")


def _ignoring_nan(op: str) -> Callable[[_A, Any], _A]:
    """Makes the method for a maximum or minimum that is NaN only where both operands are."""
    def method(x: _A, other: Any) -> _A:
        a, b = _in_one_type(f"f{op[:3]}", x, other)
        if a.is_floating_point() and wants_gradient(a, b):       # of equal ones all goes to a
            first = apply("ge" if op == "maximum" else "le", a, b)
            return apply("where", apply("logical_or", first, apply("isnan", b)), a, b)
        result = getattr(a, op)(b)
        if not a.is_floating_point():
            return result
        return apply("where", apply("isnan", a), b, apply("where", apply("isnan", b), a, result))
    return _named(method, f"f{op[:3]}", f"{_PROMOTES} Of a number and NaN it is the number.")


def _in_one_type(name: str, x: Any, other: Any, least: str = "bool") -> list[Any]:
    """Returns two operands as arrays of their common dtype, or of `least` if that is higher."""
    operands = together(name, x, other, least=least)
    dtype = next(o.type.dtype for o in operands if isinstance(o, Core))
    return [o if isinstance(o, Core) else apply("full", o, shape=(), dtype=dtype)
            for o in operands]


def _listed(operands: Sequence[Any]) -> str:
    return " and ".join(str(o.type) if isinstance(o, Core) else repr(o) for o in operands)


def _any_bool(*operands: Any) -> bool:
    return any([isinstance(o, Core) and o._type.dtype == "bool" for o in operands])


def _as_bool(name: str, given: Any) -> Any:
    o = operand(name, given)
    if isinstance(o, Core):
        return o._cast("bool")
    return apply("full", float(bool(o)), shape=(), dtype="bool")


def power(base: _A, exponent: Any) -> _A:
    """Returns base ** exponent; a small constant exponent becomes a product, quotient or root.

    Raises Error where integers have a negative constant exponent.
    """
    x, n = together("pow", base, exponent)
    is_float = category((x if isinstance(x, Core) else n).type.dtype) == 2
    if isinstance(n, float) and isinstance(x, Core):
        if not is_float and n < 0:
            raise Error(f"integers cannot be raised to a negative exponent, got {n:g}")
        if n in _SMALL_POWERS and (is_float or n in (1, 2, 3)):
            return _SMALL_POWERS[n](x)
    return apply("pow", x, n)


_SMALL_POWERS: dict[float, Callable[[Any], Any]] = {
    0.5: lambda x: apply("sqrt", x),
    1.0: lambda x: x._apart(),
    2.0: lambda x: apply("mul", x, x),
    3.0: lambda x: apply("mul", apply("mul", x, x), x),
    -0.5: lambda x: apply("rsqrt", x),
    -1.0: lambda x: apply("div", 1.0, x),
    -2.0: lambda x: apply("div", 1.0, apply("mul", x, x)),
}


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """Returns `input` where the condition is true and `other` elsewhere; all three broadcast.

    Without these two, the positions where it is true: see Array.nonzero.
    """
    if input is None and other is None:
        return as_array("where", condition).nonzero(as_tuple=True)
    a, b = together("where", input, other)
    if isinstance(a, float) and isinstance(b, float):
        dtype = result_type([operand("where", input), operand("where", other)])
        a = apply("full", a, shape=(), dtype=dtype)
    return apply("where", as_array("where", condition)._cast("bool"), a, b)


def bounded(x: _A, low: Any, high: Any) -> _A:
    """Returns x limited to [low, high], either of which may be None; where low > high, high.

    Raises Error where both are None.
    """
    if low is None and high is None:
        raise Error("clamp needs a min or a max")
    operands = [operand("clamp", o) for o in (x, low, high) if o is not None]
    dtype = result_type(operands)
    result, *_ = (in_type(o, dtype) for o in operands)
    of_bools = {"maximum": "logical_or", "minimum": "logical_and"} if dtype == "bool" else {}
    for op, bound in ("maximum", low), ("minimum", high):
        if bound is None:
            continue
        limit = in_type(operand("clamp", bound), dtype)
        if isinstance(limit, Core) and category(dtype) == 2 and wants_gradient(result, limit):
            # At the bound all goes to x, and not a half of it.
            beyond = apply("lt" if op == "maximum" else "gt", result, limit)
            beyond = apply("logical_or", beyond, apply("isnan", limit))
            result = apply("where", beyond, limit, result)
        else:
            result = apply(of_bools.get(op, op), result, limit)
    return result


def limited(x: _A, low: float, high: float) -> _A:
    """Returns floats limited to [low, high] as `bounded`, but with the gradient 0 at the bounds.

    So torch has it in hardtanh and relu6, and not in clamp. Compiled, they are the same.
    """
    result = apply("where", apply("le", x, low), low, x)
    return apply("where", apply("ge", result, high), high, result)


def root(x: _A, degree: float = 2) -> _A:
    """Returns a root with the gradient 1 at 0, where that of the power is infinite; degree > 1.

    Of a sum of powers that are all 0, as in a norm or a deviation, the gradient is then 0, as in
    torch. Compiled, it is a power and nothing else.
    """
    at_zero = apply("eq", x, 0.0)
    inside = apply("where", at_zero, 1.0, x)
    found = apply("sqrt", inside) if degree == 2 else apply("pow", inside, 1 / degree)
    return apply("where", at_zero, x, found)


# -- the methods -----------------------------------------------------------------------------------

class Elementwise(Core):
    """The elementwise methods of Array."""

    exp, expm1, exp2 = _function("exp"), _function("expm1"), _function("exp2")
    log, log1p = _function("log"), _function("log1p")
    log2, log10 = _function("log2"), _function("log10")
    sqrt, rsqrt = _function("sqrt"), _function("rsqrt")
    sin, cos, tan = _function("sin"), _function("cos"), _function("tan")
    asin, acos, atan = _function("asin"), _function("acos"), _function("atan")
    sinh, cosh, tanh = _function("sinh"), _function("cosh"), _function("tanh")
    asinh, acosh, atanh = _function("asinh"), _function("acosh"), _function("atanh")
    sigmoid, erf, erfc = _function("sigmoid"), _function("erf"), _function("erfc")

    neg = _of_numbers("neg")
    floor, ceil, trunc = _rounding("floor"), _rounding("ceil"), _rounding("trunc")
    isnan, isinf, isfinite = _function("isnan"), _function("isinf"), _function("isfinite")

    mul = _arithmetic("mul", of_bools="logical_and")
    maximum = _arithmetic("maximum", of_bools="logical_or")
    minimum = _arithmetic("minimum", of_bools="logical_and")
    remainder = _arithmetic("remainder")
    floor_divide = _named(_arithmetic("floor_div"), "floor_divide", _PROMOTES)
    pow = power

    eq, ne, lt = _comparison("eq"), _comparison("ne"), _comparison("lt")
    le, gt, ge = _comparison("le"), _comparison("gt"), _comparison("ge")
    logical_and, logical_or = _logical("logical_and"), _logical("logical_or")
    logical_xor = _logical("logical_xor")
    bitwise_and, bitwise_or, bitwise_xor = _bitwise("and"), _bitwise("or"), _bitwise("xor")
    bitwise_left_shift, bitwise_right_shift = _shift("left_shift"), _shift("right_shift")
    fmax, fmin = _ignoring_nan("maximum"), _ignoring_nan("minimum")

    absolute = abs = _of_numbers("abs")
    negative, multiply, fix = neg, mul, trunc
    arcsin, arccos, arctan, arcsinh, arccosh, arctanh = asin, acos, atan, asinh, acosh, atanh
    greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne

    def add(self, other: Any, *, alpha: Scalar = 1) -> Self:
        """Returns self + alpha * other, in the common dtype. Of bools it is the logical or.

        Raises Error where integers have an alpha that is not whole.
        """
        return plus(self, _scaled("add", self, other, alpha))

    def sub(self, other: Any, *, alpha: Scalar = 1) -> Self:
        """Returns self - alpha * other, in the common dtype.

        Raises Error for bools, and where integers have an alpha that is not whole.
        """
        if _any_bool(self, other) or isinstance(other, bool):
            return minus(self, other)            # which refuses them
        return minus(self, _scaled("sub", self, other, alpha))

    subtract = sub

    def fmod(self, other: Any) -> Self:
        """Returns what is left of a division whose quotient is rounded toward 0: of self's sign.

        Integer division by zero raises Error where it runs.
        """
        a, b = _in_one_type("fmod", self, other)
        if a.type.dtype == "bool":
            raise Error(f"fmod takes numbers, not {_listed([self, operand('fmod', other)])}")
        if a.is_floating_point() and wants_gradient(a, b):       # copysign and abs have 0 at 0
            below = apply("lt", a, 0.0)
            size = apply("where", apply("lt", b, 0.0), apply("neg", b), b)
            rest = apply("remainder", apply("where", below, apply("neg", a), a), size)
            return apply("where", below, apply("neg", rest), rest)
        if a.is_floating_point():
            return apply("copysign", apply("remainder", apply("abs", a), apply("abs", b)), a)
        rest = apply("remainder", a, b)              # of b's sign, if it is not 0
        other_sign = apply("ne", apply("lt", rest, 0.0), apply("lt", a, 0.0))
        other_sign = apply("logical_and", other_sign, apply("ne", rest, 0.0))
        return apply("where", other_sign, apply("sub", rest, b), rest)

    def div(self, other: Any, *, rounding_mode: str | None = None) -> Self:
        """Returns self / other; integers and bools are divided as float32.

        rounding_mode: with "trunc" or "floor" the quotient is rounded to a whole number, and
        integers give an integer dtype.
        Raises Error for another rounding_mode; integer division by zero raises Error where it runs.
        """
        if rounding_mode == "floor":
            return Elementwise.floor_divide(self, other)
        if rounding_mode not in (None, "trunc"):
            raise Error(f"rounding_mode is None, 'trunc' or 'floor', not {rounding_mode!r}")
        dtype = result_type([operand("div", o) for o in (self, other)])
        if rounding_mode is None:
            return apply("div", *together("div", self, other, least=DEFAULT_FLOAT))
        a, b = together("div", self, other, least="u8")
        if category(dtype) == 2:
            return apply("trunc", apply("div", a, b))
        if dtype == "bool":
            raise Error("div rounds the quotient of numbers, not of bools")
        floor = apply("floor_div", a, b)
        if dtype == "u8":
            return floor
        exact = apply("eq", apply("mul", floor, b), a)
        up = apply("logical_and", apply("lt", floor, 0.0), apply("logical_not", exact))
        return apply("add", floor, up._cast(dtype))

    divide = true_divide = div

    def reciprocal(self) -> Self:
        """Returns 1 / self; integers and bools as float32."""
        return apply("div", 1.0, floating("reciprocal", self))

    def square(self) -> Self:
        """Returns self * self."""
        return power(self, 2)

    def sign(self) -> Self:
        """Returns -1, 0 or 1 by the sign of each element; 0 for NaN. Bools stay."""
        x = as_array("sign", self)
        return x._apart() if x.type.dtype == "bool" else apply("sign", x)

    def positive(self) -> Self:
        """Returns the array itself."""
        return as_array("positive", self)

    def round(self, *, decimals: int = 0) -> Self:
        """Returns each element rounded to `decimals` places, halves to even. Integers stay."""
        if decimals == 0:
            return _to_whole(self)
        scale = 10.0 ** abs(decimals)
        if decimals < 0:
            return apply("mul", _to_whole(apply("div", self, scale)), scale)
        return apply("div", _to_whole(apply("mul", self, scale)), scale)

    def logical_not(self) -> Self:
        """Returns whether each element is 0, as bool."""
        return apply("logical_not", as_array("logical_not", self)._cast("bool"))

    def bitwise_not(self) -> Self:
        """Returns the complement of integers or bools. Raises Error for floats."""
        if category(self._type.dtype) == 1:
            return apply("sub", 255.0 if self._type.dtype == "u8" else -1.0, self)
        if not _any_bool(self):
            raise Error(f"~ takes an array of bool or of integers, not {self.type}")
        return apply("logical_not", self)

    def clamp(self, min: Any = None, max: Any = None) -> Self:
        """Returns self limited to [min, max]: numbers, arrays, or None for no limit. NaN stays.

        Raises Error where both are None.
        """
        return bounded(self, min, max)

    clip = clamp

    def clamp_min(self, min: Any) -> Self:
        """Returns the larger of self and min."""
        return bounded(self, min, None)

    def clamp_max(self, max: Any) -> Self:
        """Returns the smaller of self and max."""
        return bounded(self, None, max)

    def frac(self) -> Self:
        """Returns self - trunc(self), the fractional part, which has the sign of self."""
        return minus(self, Elementwise.trunc(self))

    def logaddexp(self, other: Any) -> Self:
        """Returns log(exp(self) + exp(other)), computed as max + log1p(exp(-|self - other|))."""
        a, b = together("logaddexp", self, other, least=DEFAULT_FLOAT)
        high = apply("maximum", a, b)
        rest = apply("log1p", apply("exp", apply("neg", apply("abs", apply("sub", a, b)))))
        return apply("where", apply("eq", a, b), apply("add", high, math.log(2)),
                     apply("add", high, rest))

    def copysign(self, other: Any) -> Self:
        """Returns |self| with the sign of `other`, which a zero and NaN have too.

        Integers and bools as float32.
        """
        return apply("copysign", *together("copysign", self, other, least=DEFAULT_FLOAT))

    def atan2(self, other: Any) -> Self:
        """Returns the angle of the point (other, self), from -pi to pi; the sign of a zero counts.

        Integers and bools as float32.
        """
        return apply("atan2", *together("atan2", self, other, least=DEFAULT_FLOAT))

    arctan2 = atan2

    def hypot(self, other: Any) -> Self:
        """Returns sqrt(self^2 + other^2), scaled by the larger one so that no square overflows.

        Infinite where one is, even beside NaN. Raises Error for integers and bools.
        """
        operands = _in_one_type("hypot", self, other)
        if not operands[0].is_floating_point():
            raise Error(f"hypot takes floats, not {_listed([self, operand('hypot', other)])}")
        a, b = (apply("abs", o) for o in operands)
        high = apply("maximum", a, b)
        ratio = apply("div", apply("minimum", a, b), high)
        length = apply("mul", high, apply("sqrt", apply("add", apply("mul", ratio, ratio), 1.0)))
        length = apply("where", apply("eq", high, 0.0), 0.0, length)
        infinite = apply("logical_or", apply("eq", a, math.inf), apply("eq", b, math.inf))
        return apply("where", infinite, math.inf, length)

    def erfinv(self) -> Self:
        """Returns the inverse of erf: infinite at -1 and 1, NaN beyond. Integers as float32.

        Three steps of Halley's method follow the polynomials of M. Giles, "Approximating the erfinv
        function", GPU Computing Gems (2011), and are as accurate in float64 as in float32.
        """
        x = floating("erfinv", self)
        below = apply("lt", x, 0.0) if wants_gradient(x) else None
        # abs and copysign would make the gradient 0 at 0.
        a = apply("abs", x) if below is None else apply("where", below, apply("neg", x), x)
        above = apply("sub", 1.0, a)
        w = apply("neg", apply("add", apply("log", above), apply("log1p", a)))
        middle = _polynomial(apply("sub", w, 2.5), _ERFINV_MIDDLE)
        far_out = guarded(apply("logical_not", apply("lt", w, 5.0)), w, 5.0)
        tail = _polynomial(apply("sub", apply("sqrt", far_out), 3.0), _ERFINV_TAIL)
        y = apply("mul", apply("where", apply("lt", w, 5.0), middle, tail), a)
        # Beyond float32: from erfc(y) = exp(-y^2) / (y sqrt(pi)), nearly.
        outer = guarded(apply("gt", w, 16.0), w, 16.0)
        end = apply("sub", outer, apply("mul", apply("log", apply("mul", outer, math.pi)), 0.5))
        y = apply("where", apply("gt", w, 16.0), apply("sqrt", end), y)
        for _ in range(3):
            near = apply("sub", apply("erf", y), a)
            far = apply("sub", above, apply("erfc", y))      # near 1 it does not cancel
            error = apply("where", apply("lt", a, 0.5), near, far)
            slope = apply("mul", apply("exp", apply("neg", apply("mul", y, y))), _ERF_SLOPE)
            step = apply("div", error, slope)
            step = apply("div", step, apply("add", apply("mul", y, step), 1.0))
            y = apply("sub", y, step)
        y = apply("where", apply("eq", a, 1.0), math.inf, y)
        if below is not None:
            return apply("where", below, apply("neg", y), y)
        return apply("copysign", y, x)

    def lgamma(self) -> Self:
        """Returns log(|gamma(self)|): infinite at 0, -1, -2 ... Integers and bools as float32."""
        from nncompile.array.gamma import lgamma  # few models need it
        return lgamma(self)

    def digamma(self) -> Self:
        """Returns the derivative of lgamma: NaN at -1, -2 ... Integers and bools as float32."""
        from nncompile.array.gamma import digamma
        return digamma(self)

    def xlogy(self, other: Any) -> Self:
        """Returns self * log(other); 0 where self is 0, and NaN where other is.

        Integers and bools as float32.
        """
        x, y = _in_one_type("xlogy", self, other, DEFAULT_FLOAT)
        if wants_gradient(x, y):                 # by x it is log(y), at x = 0 too
            pole = apply("logical_or", apply("le", y, 0.0), apply("eq", y, math.inf))
            pole = apply("logical_and", apply("eq", x, 0.0), pole)
            return apply("mul", x, apply("log", apply("where", pole, 1.0, y)))
        product = apply("mul", apply("log", y), x)
        zero = apply("logical_and", apply("eq", x, 0.0), apply("logical_not", apply("isnan", y)))
        return apply("where", zero, 0.0, product)

    def heaviside(self, values: Any) -> Self:
        """Returns 0 where self is negative or NaN, `values` where it is 0, and 1 where it is more.

        Raises Error unless both have one dtype.
        """
        other = as_array("heaviside", values)
        if other.type.dtype != self._type.dtype:
            raise Error(f"heaviside takes arrays of one dtype, not {self.type} and {other.type}")
        step = self.gt(0)._cast(self._type.dtype)
        return apply("where", self.eq(0), other, step)

    def isclose(self, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
                ) -> Self:
        """Returns whether |self - other| <= atol + rtol * |other|, as bool.

        Infinities are close to themselves alone; NaN is close to NaN where equal_nan is set.
        """
        right = as_array("isclose", other)
        if _any_bool(self) and _any_bool(right):
            return self._cast("u8").isclose(right._cast("u8"), rtol, atol)
        near = minus(self, right).abs().le(right.abs().mul(rtol).add(atol))
        if self.is_floating_point():
            near = near.logical_and(apply("isfinite", minus(self, right)))
        close = near.logical_or(self.eq(right))
        both = equal_nan and self.is_floating_point()
        return close.logical_or(self.isnan().logical_and(right.isnan())) if both else close

    def relu(self) -> Self:
        """Returns max(self, 0). NaN stays."""
        x = as_array("relu", self)
        return apply("relu", x) if x.is_floating_point() else apply("maximum", x, 0.0)

    def where(self, condition: Any, other: Any) -> Self:
        """Returns self where the condition is true and `other` elsewhere."""
        return where(condition, self, other)

    def masked_fill(self, mask: Any, value: Any) -> Self:
        """Returns `value` where the mask is true and self elsewhere, in self's dtype.

        mask: bool, broadcasts with self. value: a number or a zero-dimensional array.
        Raises Error for another mask or value.
        """
        mask = as_array("masked_fill", mask)
        if mask.type.dtype != "bool":
            raise Error(f"masked_fill takes a mask of bool, not {mask.type}")
        filler, dtype = operand("masked_fill", value), self._type.dtype
        if isinstance(filler, Core):
            if filler.ndim:
                raise Error(f"masked_fill takes one value, not {filler.type}")
            return apply("where", mask, filler._cast(dtype), self)
        if dtype == "bool":
            return apply("where", mask, _as_bool("masked_fill", filler), self)
        whole = category(dtype) == 1
        if whole and not math.isfinite(filler):
            raise Error(f"masked_fill cannot put {filler} into {self.type}")
        return apply("where", mask, in_type(int(filler) if whole else filler, dtype), self)

    def lerp(self, end: Any, weight: Any) -> Self:
        """Returns self + weight * (end - self), evaluated from the nearer end, as torch does.

        Raises Error unless self and end have one float dtype.
        """
        other = as_array("lerp", end)
        if not self.is_floating_point() or self._type.dtype != other.type.dtype:
            raise Error(f"lerp takes two arrays of one type of floats, not {self.type} and "
                        f"{other.type}")
        if isinstance(weight, int | float):
            step = other.sub(self)
            near = step.mul(weight).add(self)
            return near if abs(weight) < 0.5 else other.sub(step.mul(1 - weight))
        part, step = as_array("lerp", weight), other.sub(self)
        return where(part.abs().lt(0.5), part.mul(step).add(self), other.sub(step.mul(1 - part)))

    def addcmul(self, tensor1: Any, tensor2: Any, *, value: Scalar = 1) -> Self:
        """Returns self + value * tensor1 * tensor2."""
        factors = as_array("addcmul", tensor1), as_array("addcmul", tensor2)
        dtype = result_type([self, *factors])
        product = Elementwise.mul(*(factor._cast(dtype) for factor in factors))
        whole = category(dtype) < 2
        return self.add(product, alpha=int(value) if whole else value)

    def addcdiv(self, tensor1: Any, tensor2: Any, *, value: Scalar = 1) -> Self:
        """Returns self + value * tensor1 / tensor2."""
        return self.add(as_array("addcdiv", tensor1).div(tensor2), alpha=value)

    def nan_to_num(self, nan: Scalar | None = None, posinf: Scalar | None = None,
                   neginf: Scalar | None = None) -> Self:
        """Returns the array with other numbers in place of NaN and the infinities.

        They are by default 0, and the largest and the least number of the dtype. Integers and bools
        stay.
        """
        if not self.is_floating_point():
            return self._apart()
        most = float(np.finfo(self.dtype).max)
        others = (0.0 if nan is None else nan, most if posinf is None else posinf,
                  -most if neginf is None else neginf)
        replaced, largest, least = (converted(float(o), self.dtype).item() for o in others)
        result = apply("where", apply("isnan", self), replaced, self)
        result = apply("where", apply("eq", self, math.inf), largest, result)
        return apply("where", apply("eq", self, -math.inf), least, result)


plus = _arithmetic("add", of_bools="logical_or")
_to_whole = _rounding("round")


def _scaled(name: str, x: Any, other: Any, alpha: Scalar) -> Any:
    """Returns alpha * other, computed in the dtype that x and other have in common."""
    if same(alpha, 1):
        return other
    operands = [operand(name, o) for o in (x, other)]
    dtype = result_type(operands)
    if category(dtype) < 2 and not isinstance(alpha, int):
        raise Error(f"{name} of integers takes a whole number as alpha, not {alpha!r}")
    if not isinstance(operands[1], Core):
        return converted(operands[1] * alpha, DTYPES[dtype]).item()
    if dtype == "bool":
        return apply("logical_and", operands[1], _as_bool(name, bool(alpha)))
    scale = converted(alpha, DTYPES[dtype]).item() if category(dtype) == 1 else alpha
    return apply("mul", operands[1]._cast(dtype), in_type(scale, dtype))


def rsub(input: Any, other: Any, *, alpha: Scalar = 1) -> Any:
    """Returns other - alpha * input. Raises Error for bools."""
    if _any_bool(input, other):
        return minus(other, input)               # which refuses them
    return minus(other, _scaled("rsub", other, input, alpha))


def minus(x: _A, other: Any) -> _A:
    """Returns x - other, in the common dtype. Raises Error for bools."""
    a, b = together("sub", x, other)
    if _any_bool(x, other) or isinstance(x, bool) or isinstance(other, bool):
        raise Error("arrays of bool have no difference: use ^ or logical_xor")
    return apply("sub", a, b)

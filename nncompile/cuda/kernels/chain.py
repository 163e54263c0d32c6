"""Elementwise ops as statements about one element, and chains of them.

A chain is a tuple of (op, kinds). An op's first operand is the chain's value; `kinds` has a letter
for each further one: v for an array, read with its own strides (0: broadcast); s for a number.

All of a chain has one dtype, except for the first op of a chain that starts from its operands:
where it is a comparison, a test or a cast, its operands may have another dtype, `source`. The
condition of a `where` is bool.

FUNCTIONS is the table, with one line for each op. It is text, written into the kernels that use it,
so that a kernel can be read, and compiled, by itself.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from ir.ops import OPS, with_trait
from ir.types import DTYPES, FLOATS, INTEGERS
from nncompile.cuda.kernels.kernel import typed, zero

Chain: TypeAlias = tuple[tuple[str, str], ...]

# Statements in the operands x, y, z; the last one is the result. t, u and v are free. `T` is the
# operands' type; a number beside a value of it must be of it too, T(0.5), or numba computes in
# float64. x != x is true of NaN alone. WHOLE: from here up all floats are whole numbers. BITS: the
# number of bits of T.
FUNCTIONS: dict[str, str] = {
    "copy": "x",
    # numbers of any type
    "add": "x + y",
    "sub": "x - y",
    "mul": "x * y",
    "maximum": "x if x > y or x != x else y",
    "minimum": "x if x < y or x != x else y",
    "neg": "-x",
    "abs": "fabs(x)",
    "sign": "T(x > T(0)) - T(x < T(0))",
    "floor_div": "t = fmod(x, y); "
                 "u = (x - t) / y - T(t != T(0) and (t < T(0)) != (y < T(0))); "
                 "t = T(floor(u)); t = t + T(u - t > T(0.5)); "
                 "t = copysign(T(0), x / y) if u == T(0) else t; "
                 "x / y if y == T(0) else t",
    "remainder": "t = fmod(x, y); t + y if t != T(0) and (t < T(0)) != (y < T(0)) else t",
    "pow": "pow(x, y)",
    # integers
    "bitwise_and": "x & y",
    "bitwise_or": "x | y",
    "bitwise_xor": "x ^ y",
    "left_shift": "T(x << y) if y >= T(0) and y < T(BITS) else T(0)",
    # a shift by more than all bits is one by all of them
    "right_shift": "t = x >> y if y >= T(0) and y < T(BITS) else T(x >> T(BITS - 1)) >> T(1); t",
    # floats
    "div": "x / y",
    "copysign": "copysign(x, y)",
    "atan2": "atan2(x, y)",
    "exp": "exp(x)",
    "expm1": "expm1(x)",
    "exp2": "pow(T(2), x)",
    "log": "log(x)",
    "log1p": "log1p(x)",
    "log2": "log2(x)",
    "log10": "log10(x)",
    "sqrt": "sqrt(x)",
    "rsqrt": "T(1) / sqrt(x)",
    "sin": "sin(x)",
    "cos": "cos(x)",
    "tan": "tan(x)",
    "asin": "asin(x)",
    "acos": "acos(x)",
    "atan": "atan(x)",
    "sinh": "sinh(x)",
    "cosh": "cosh(x)",
    "tanh": "tanh(x)",
    "asinh": "asinh(x)",
    "acosh": "acosh(x)",
    "atanh": "atanh(x)",
    "erf": "erf(x)",
    "erfc": "erfc(x)",
    "floor": "T(floor(x))",
    "ceil": "T(ceil(x))",
    "round": "t = copysign(T(WHOLE), x); copysign(x + t - t, x) if fabs(x) < T(WHOLE) else x",
    "trunc": "copysign(T(floor(fabs(x))), x)",
    "sigmoid": "t = exp(-fabs(x)); (T(1) if x >= T(0) else t) / (T(1) + t)",
    "relu": "T(0) if x < T(0) else x",
    # By erfc, because 1 + erf cancels; both gelus are -0.0 from -100 down, at -inf too.
    "gelu": "t = x if x > T(-100) or x != x else T(-100); "
            "T(0.5) * t * erfc(t * T(-0.7071067811865476))",
    "gelu_tanh": "t = x if x > T(-100) or x != x else T(-100); "
                 "u = T(1.5957691216057308) * (t + T(0.044715) * t * t * t); "
                 "t / (T(1) + exp(-u))",
    "silu": "t = x if x > T(-800) or x != x else T(-800); u = exp(-fabs(t)); "
            "t * ((T(1) if t >= T(0) else u) / (T(1) + u))",
    # x * tanh(log(1 + exp(x))), as the quotient of polynomials in u = exp(-|x|) that it is
    "mish": "t = x if x > T(-800) or x != x else T(-800); u = exp(-fabs(t)); "
            "v = T(1) + u + u if t >= T(0) else u * (u + T(2)); "
            "t * (v / (v + (T(2) * u * u if t >= T(0) else T(2))))",
    "softplus": "t = x * y; "
                "x if t > z else ((t if t > T(0) else T(0)) + log1p(exp(-fabs(t)))) / y",
    "elu": "y * expm1(x) if x < T(0) else x",
    "celu": "y * expm1(x / y) if x < T(0) else x",
    "selu": "T(1.7580993408473766) * expm1(x) if x < T(0) else T(1.0507009873554805) * x",
    "leaky_relu": "x if x > T(0) else y * x",
    "hardsigmoid": "t = x + T(3); t = T(0) if t < T(0) else t; (T(6) if t > T(6) else t) / T(6)",
    "hardswish": "t = x + T(3); t = T(0) if t < T(0) else t; "
                 "(T(-3) if x < T(-3) else x) * ((T(6) if t > T(6) else t) / T(6))",
    "hardshrink": "T(0) if fabs(x) <= y else x",
    "softshrink": "T(0) if fabs(x) <= y else x - copysign(y, x)",
    "tanhshrink": "x - tanh(x)",
    "log_sigmoid": "(x if x < T(0) else T(0)) - log1p(exp(-fabs(x)))",
    "softsign": "t = T(-1e30) if x < T(-1e30) else x; t = T(1e30) if t > T(1e30) else t; "
                "t / (T(1) + fabs(t))",
    "threshold": "z if x <= y else x",
    # truth
    "eq": "x == y",
    "ne": "x != y",
    "lt": "x < y",
    "le": "x <= y",
    "gt": "x > y",
    "ge": "x >= y",
    "isnan": "x != x",
    "isinf": "fabs(x) == T(inf)",
    "isfinite": "fabs(x) < T(inf)",
    "logical_and": "x and y",
    "logical_or": "x or y",
    "logical_xor": "x != y",
    "logical_not": "not x",
    "where": "y if x else z",
    "cast": "",                                        # cast(), below: it has two types
}

# What a reduction to a maximum or minimum joins two elements by: of 0.0 and -0.0 it is 0.0 or -0.0,
# in whatever order they come.
_EXTREMES = {
    "highest": "x + y if x == T(0) and y == T(0) else x if x > y or x != x else y",
    "lowest": "-(-x - y) if x == T(0) and y == T(0) else x if x < y or x != x else y",
}

# Those that are something else for integers. A result is taken modulo 2^bits; the branches of one
# are all of its type, or numba, which makes int64 of an int8 but uint64 of a uint8, takes float64.
_INTEGER_FUNCTIONS = {
    "abs": "x if x >= 0 else T(-x)",
    "floor_div": "T(0) if y == 0 else T(-x) if y == -1 else T(x // y)",
    "remainder": "T(0) if y == 0 or y == -1 else T(x % y)",
    "highest": "x if x > y else y",
    "lowest": "x if x < y else y",
    # squares; of a negative exponent 0 unless x is 1 or -1
    "pow": "t = T(1); u = x; v = y; "
           "while v > 0:\n    t = T(t * u) if v & 1 else t\n    u = T(u * u)\n    v = T(v >> 1); "
           "t if y >= 0 else T(0) if x != 1 and x != -1 else x if y & 1 else T(1)",
}
_DIVISIONS = with_trait("division")
_WHOLE = {"f32": "8388608", "f64": "4503599627370496"}


# -- what a chain is -------------------------------------------------------------------------------

def arity(op: str) -> int:
    """Returns the number of an op's operands."""
    return 1 if op == "copy" else int(OPS[op].arity[0])


def kinds(chain: Chain) -> str:
    """Returns the kinds of all operands, in order."""
    return "".join(kinds for _, kinds in chain)


def name(chain: Chain) -> str:
    """Returns the part of a kernel's name that tells its chain, such as _relu_add_v, or ""."""
    parts = [*(op for op, _ in chain), *([kinds(chain)] if kinds(chain) else [])]
    return "".join(f"_{part}" for part in parts)


def about(chain: Chain, value: str) -> str:
    """Returns the chain as one expression: relu(add(value, r0))."""
    used = 0
    for op, letters in chain:
        further = [f"r{used + i}" for i in range(len(letters))]
        used += len(letters)
        arguments = [value, *further] if value else further
        value = arguments[0] if op == "copy" else f"{op}({', '.join(arguments)})"
    return value


def operand_dtypes(chain: Chain, dtype: str, source: str) -> tuple[str, ...]:
    """Returns the dtype of each operand that `kinds` has a letter for.

    The chain starts from its operands.
    """
    op, letters = chain[0]
    first = ("bool", dtype, dtype) if op == "where" else (source,) * len(letters)
    return (*first, *(dtype,) * (len(kinds(chain)) - len(letters)))


def may_fault(chain: Chain, dtype: str) -> bool:
    """Returns whether the chain divides integers, whose divisor may be 0."""
    return dtype in INTEGERS and any(op in _DIVISIONS for op, _ in chain)


def calls(chain: Chain) -> int:
    """Returns the number of functions that the chain calls, each of them a page of code."""
    return sum(len(re.findall(r"[a-z]\(", FUNCTIONS[op])) for op, _ in chain)


# -- statements ------------------------------------------------------------------------------------

def statements(chain: Chain, operand: Callable[[int], str], dtype: str, indent: str, *,
               source: str = "") -> list[str]:
    """Returns the statements that make `value` the chain's value.

    operand: operand(i) is the text of the i-th further operand. source: the dtype of the first op's
    operands, where it gets all of them because the chain has no value to begin with.
    """
    lines, used, value = [], 0, "value"
    if source:
        value = "given" if operand_dtypes(chain, dtype, source)[0] != dtype else "value"
        lines, used = [f"{value} = {operand(0)}"], 1
    for number, (op, letters) in enumerate(chain):
        starts = bool(source) and number == 0
        count = len(letters) - starts
        further = [operand(used + i) for i in range(count)]
        lines += applied(op, [value, *further], dtype, source if starts else dtype)
        used, value = used + count, "value"
    return [piece for line in lines for piece in _broken(indent + line)]


def applied(op: str, operands: list[str], dtype: str, source: str = "") -> list[str]:
    """Returns the statements that make `value` the op's result, from operands of dtype `source`."""
    if op == "copy":
        return []
    source = source or dtype
    text = _function(op, dtype, source)
    *before, result = text.split("; ")
    text = "\n".join([*before, f"value = {result}"])
    words, loads = {"x": operands[0]}, []
    for letter, expression in zip("yz", operands[1:], strict=False):
        if "[" in expression and len(re.findall(rf"\b{letter}\b", text)) > 1:
            loads.append(f"{op}_{letter} = {expression}")         # read from memory once
            expression = f"{op}_{letter}"
        words[letter] = expression
    text = re.sub(r"\b[xyz]\b", lambda word: words[word[0]], text)
    checks = []
    if op in _DIVISIONS and dtype in INTEGERS:
        checks = [f"if {words['y']} == 0:",
                  "    cuda.atomic.compare_and_swap(fault, int64(0), step + 1)"]
    lines = [*loads, *checks, *text.split("\n")]
    return [f"# {op}", *lines] if len(lines) > 1 or " if " in text else lines


def converted(expression: str, dtype: str, source: str) -> str:
    """Returns the text of an expression of one dtype, `source`, converted to another."""
    return re.sub(r"\bx\b", lambda _: expression, _cast(source, dtype))


def _function(op: str, dtype: str, source: str) -> str:
    """Returns the op's entry for these dtypes, as text without T."""
    if op == "cast":
        return _cast(source, dtype)
    text = FUNCTIONS[op] if op in FUNCTIONS else _EXTREMES[op]
    if dtype in INTEGERS and op != "where":
        *before, result = _INTEGER_FUNCTIONS.get(op, text).split("; ")
        text = "; ".join([*before, f"T({result})"])               # numba widens what it computes
    text = text.replace("WHOLE", _WHOLE.get(source, ""))
    text = text.replace("BITS", str(8 * DTYPES[source].itemsize))
    return re.sub(r"\bT\(", typed("", source)[:-1], text)


def _cast(source: str, dtype: str) -> str:
    """Returns the text of a conversion.

    To bool: whether it is not 0. A float to an integer: towards zero, and the least i64 or i32
    where that cannot hold it; narrower integers have the low bits of the i32.
    """
    if dtype == "bool":
        return "x" if source == "bool" else f"x != {zero(source)}"
    if source not in FLOATS or dtype not in INTEGERS:
        return typed("x", dtype)
    wide = "i64" if dtype == "i64" else "i32"
    least = np.iinfo(DTYPES[wide]).min
    # float64 numbers between -2^31 - 1 and -2^31 are in range once they are truncated
    low = f"{typed(str(least - 1.0), source)} < x" if (source, wide) == ("f64", "i32") else (
        f"{typed(str(float(least)), source)} <= x")
    held = typed("x", wide) if dtype == wide else typed(typed("x", wide), dtype)
    beyond = typed(str(least if dtype == wide else 0), dtype)
    return f"{held} if {low} and x < {typed(str(-float(least)), source)} else {beyond}"


def _broken(line: str) -> list[str]:
    """Returns a statement of more than 100 columns on two lines, in parentheses."""
    head, _, expression = line.partition(" = ")
    room = 97 - len(head)
    at = max(expression.rfind(" + ", 0, room), expression.rfind(" else ", 0, room))
    if len(line) <= 100 or at < 0:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return [f"{head} = ({expression[:at]}", f"{indent}{expression[at + 1:]})"]

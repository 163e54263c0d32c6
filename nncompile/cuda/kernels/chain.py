"""Elementwise ops as statements about one element, and chains of them.

A chain is a tuple of (op, kinds).  An op's first operand is the chain's value; `kinds` has a letter
for each further one:  v an array, read by strides of its own (0: broadcast);  s a number.

FUNCTIONS is the table: one line an op.  It is text, written into the kernels that use it, so that a
kernel is read, and compiled, by itself.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from ir.ops import OPS

Chain: TypeAlias = tuple[tuple[str, str], ...]

# Statements in the operands x, y, z; the last one is the result.  t and u are free.  `T` is the
# model's type; a number beside a value of it must be of it too, T(0.5), or numba computes in
# float64.  x != x is true of NaN alone.
FUNCTIONS: dict[str, str] = {
    "copy": "x",
    "add": "x + y",
    "sub": "x - y",
    "mul": "x * y",
    "div": "x / y",
    "maximum": "x if x > y or x != x else y",
    "minimum": "x if x < y or x != x else y",
    "neg": "-x",
    "abs": "fabs(x)",
    "exp": "exp(x)",
    "log": "log(x)",
    "sqrt": "sqrt(x)",
    "tanh": "tanh(x)",
    "sigmoid": "t = exp(-fabs(x)); (T(1) if x >= T(0) else t) / (T(1) + t)",
    "relu": "x if x > T(0) or x != x else T(0)",
    # By erfc, because 1 + erf cancels; both gelus are -0.0 from -100 down, at -inf too.
    "gelu": "t = x if x > T(-100) or x != x else T(-100); "
            "T(0.5) * t * erfc(t * T(-0.7071067811865476))",
    "gelu_tanh": "t = x if x > T(-100) or x != x else T(-100); "
                 "u = T(1.5957691216057308) * (t + T(0.044715) * t * t * t); "
                 "t / (T(1) + exp(-u))",
}


def arity(op: str) -> int:
    return 1 if op == "copy" else int(OPS[op].arity[0])


def kinds(chain: Chain) -> str:
    """The kinds of all operands, in order."""
    return "".join(kinds for _, kinds in chain)


def name(chain: Chain) -> str:
    """What tells a kernel with this chain from others: _relu_add_v; nothing without a chain."""
    parts = [*(op for op, _ in chain), *([kinds(chain)] if kinds(chain) else [])]
    return "".join(f"_{part}" for part in parts)


def about(chain: Chain, value: str) -> str:
    """The chain as one expression: relu(add(value, r0))."""
    used = 0
    for op, letters in chain:
        further = [f"r{used + i}" for i in range(len(letters))]
        used += len(letters)
        arguments = [value, *further] if value else further
        value = arguments[0] if op == "copy" else f"{op}({', '.join(arguments)})"
    return value


def statements(chain: Chain, operand: Callable[[int], str], dtype: str, indent: str, *,
               starts: bool = False) -> list[str]:
    """What makes `value` the chain's value; `operand(i)` is the text of the i-th further operand.
    With `starts` there is no value before: the first op is given all its operands."""
    lines, used = [], 0
    if starts:
        lines, used = [f"value = {operand(0)}"], 1
    for place, (op, letters) in enumerate(chain):
        count = len(letters) - (starts and place == 0)
        lines += applied(op, [operand(used + i) for i in range(count)], dtype)
        used += count
    return [piece for line in lines for piece in broken(indent + line)]


def calls(chain: Chain) -> int:
    """How many functions it calls, each of them a page of code."""
    return sum(len(re.findall(r"[a-z]\(", FUNCTIONS[op])) for op, _ in chain)


def applied(op: str, further: list[str], dtype: str) -> list[str]:
    """The statements of one op on `value`."""
    if op == "copy":
        return []
    *before, result = FUNCTIONS[op].replace("T(", f"{dtype}(").split("; ")
    text = "\n".join([*before, f"value = {result}"])
    words, loads = {"x": "value"}, []
    for letter, expression in zip("yz", further, strict=False):
        if "[" in expression and len(re.findall(rf"\b{letter}\b", text)) > 1:
            loads.append(f"{op}_{letter} = {expression}")         # read from memory once
            expression = f"{op}_{letter}"
        words[letter] = expression
    text = re.sub(r"\b[xyz]\b", lambda word: words[word[0]], text)
    lines = [*loads, *text.split("\n")]
    return [f"# {op}", *lines] if len(lines) > 1 or " if " in text else lines


def broken(line: str) -> list[str]:
    """A statement of more than 100 columns, in parentheses on two lines."""
    head, _, expression = line.partition(" = ")
    room = 97 - len(head)
    at = max(expression.rfind(" + ", 0, room), expression.rfind(" else ", 0, room))
    if len(line) <= 100 or at < 0:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return [f"{head} = ({expression[:at]}", f"{indent}{expression[at + 1:]})"]

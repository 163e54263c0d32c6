"""A kernel: its text, and what it takes.

Arguments are described by one letter each:

    p  a 1-D array of the model's type      i  an int64: an offset, a stride or a size, in elements
    s  a number of the model's type         j, l  a 1-D array of int32 ids, of int64 ids
    w  a 1-D array of int64 words

Every array has an offset behind it, <name>_at: where in it the operand begins.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap


@dataclass(frozen=True)
class Kernel:
    """`text` defines the function `name`; it needs nothing but the words of words.py."""

    name: str
    arguments: tuple[str, ...]
    types: str
    text: str
    dtype: str                                # float32 or float64
    threads: int                              # of a block


def signature(text: str) -> dict[str, str]:
    """Arguments of a description: `x:p ldx M` has an array x (and x_at), and two int64."""
    letters: dict[str, str] = {}
    for part in text.split():
        name, _, letter = part.partition(":")
        letters[name] = letter or "i"
        if letter in ("p", "j", "l"):
            letters[f"{name}_at"] = "i"
    return letters


def strides(rank: int, *operands: str) -> str:
    """Description of the strides of operands along `rank` dims."""
    return " ".join(f"{o}_s{d}" for o in operands for d in range(rank))


def dims(rank: int) -> str:
    return " ".join(f"d{d}" for d in range(rank))


def place(operand: str, rank: int) -> str:
    """Where the operand's element with the indices i0, i1, ... is."""
    return " + ".join([f"{operand}_at", *(f"i{d} * {operand}_s{d}" for d in range(rank))])


def indices(flat: str, rank: int, indent: str) -> list[str]:
    """Statements that take a flat index apart, the last dim first; `flat` is used up."""
    if not rank:
        return []
    lines = []
    for d in reversed(range(1, rank)):
        lines += [f"i{d} = {flat} % d{d}", f"{flat} = {flat} // d{d}"]
    return [indent + line for line in [*lines, f"i0 = {flat}"]]


def definition(name: str, letters: dict[str, str], about: Sequence[str],
               body: Sequence[str]) -> str:
    """The text of a kernel, its arguments broken at 100 columns."""
    lines, line = [], f"def {name}("
    hang = " " * len(line)
    for argument in letters:
        if len(line) + len(argument) > 96:
            lines.append(line.rstrip())
            line = hang
        line += f"{argument}, "
    lines.append(line.removesuffix(", ") + "):")
    quoted = []
    for text in about:
        quoted += wrap(text, 93) or [""]
    quoted[0] = f'"""{quoted[0]}'
    quoted = [*quoted[:-1], quoted[-1] + '"""'] if len(quoted) == 1 else [*quoted, '"""']
    return "\n".join(["@cuda.jit", *lines, *(f"    {line}".rstrip() for line in quoted), *body, ""])

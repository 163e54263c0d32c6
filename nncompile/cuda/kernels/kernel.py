"""A kernel: its text, and the types of its arguments.

Arguments have these types:

    f32[]  a 1-D array of a dtype        f32    a number of a float dtype
    i64    an offset, a stride or a size, in elements; a number of any other dtype
    words  a 1-D array of int64

Every f32[] is followed by an offset, <name>_at: where in it the operand begins.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from ir.types import DTYPES, FLOATS

Lines = list[str]


@dataclass(frozen=True)
class Kernel:
    """A kernel whose text defines the function `name`, by the names of primitives.py alone."""

    name: str
    arguments: tuple[str, ...]
    types: tuple[str, ...]
    text: str
    threads: int                              # of a block


def make(name: str, signature: str, about: Sequence[str], body: Sequence[str],
         threads: int) -> Kernel:
    """Returns a kernel.

    signature: the names and types of its arguments: `x:f32[] ldx M` has x, x_at and two i64. about:
    the paragraphs of its docstring. threads: the number of threads in a block.
    """
    arguments = _arguments(signature)
    text = _definition(name, arguments, about, body)
    return Kernel(name, tuple(arguments), tuple(arguments.values()), text, threads)


# -- arguments -------------------------------------------------------------------------------------

def _arguments(signature: str) -> dict[str, str]:
    """Returns the types of arguments by name."""
    types: dict[str, str] = {}
    for part in signature.split():
        name, _, type_ = part.partition(":")
        types[name] = type_ or "i64"
        if type_.endswith("[]"):
            types[f"{name}_at"] = "i64"
    return types


def number_type(dtype: str) -> str:
    """Returns the type by which a number of the model is passed."""
    return dtype if dtype in FLOATS else "i64"


def number_of(name: str, dtype: str) -> str:
    """Returns the text of a number that was passed, in its dtype."""
    return name if dtype in FLOATS else f"({name} != 0)" if dtype == "bool" else typed(name, dtype)


# -- text ------------------------------------------------------------------------------------------

def word(dtype: str) -> str:
    """Returns the dtype's name in a kernel's text: float32, bool."""
    return str(DTYPES[dtype])


def typed(text: str, dtype: str) -> str:
    """Returns the text of a conversion to the dtype."""
    return f"{word(dtype)}({text})"


def zero(dtype: str) -> str:
    """Returns the text of the dtype's zero."""
    return "False" if dtype == "bool" else typed("0", dtype)


def each_element(count: str, body: Sequence[str]) -> Lines:
    """Returns a loop of one thread for each element below the count, around a body indented by 8.
    """
    return ["    element = int64(cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x",
            f"    while element < {count}:",
            *body,
            "        element += int64(cuda.gridDim.x) * cuda.blockDim.x"]


def filled(body: str, words: dict[str, str | Lines]) -> Lines:
    """Returns the lines of the body with its @words replaced.

    A list of lines replaces a line that is one word, with its indentation.
    """
    lines: Lines = []
    for line in body.strip("\n").split("\n"):
        whole = words.get(line.strip())
        if isinstance(whole, list):
            indent = line[:len(line) - len(line.lstrip())]
            lines += [(indent + inner).rstrip() for inner in whole]
            continue
        for name, text in words.items():
            if isinstance(text, str):
                line = line.replace(name, text)
        lines.append(line)
    return lines


def _definition(name: str, arguments: dict[str, str], about: Sequence[str],
                body: Sequence[str]) -> str:
    """Returns the text of a kernel, its arguments broken at 100 columns."""
    lines, line = [], f"def {name}("
    hang = " " * len(line)
    for argument in arguments:
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

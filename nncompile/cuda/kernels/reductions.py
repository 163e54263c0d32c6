"""Reductions of rows to one number: reduce, and arg for the index of an extreme."""
from __future__ import annotations

from nncompile.cuda.kernels.chain import applied, converted
from nncompile.cuda.kernels.kernel import Kernel, word
from nncompile.cuda.kernels.rows import row_kernel

_STEPS = {"sum": "add", "mean": "add", "prod": "mul", "max": "highest", "min": "lowest"}
_FIRST = "x[x_at + row * ldx]"                # of a row, which has one where a maximum is asked for
_NEXT = "x[x_at + row * ldx + i]"


def reduce(op: str, dtype: str, threads: int, source: str | None = None) -> Kernel:
    """y[row] = the sum, prod, mean, max, min, any or all of a row; integers modulo 2^bits.

    It is NaN where there is one, and the mean of no elements is NaN. A maximum or minimum needs
    one. source: the dtype of x, where it is another than that of y; each element is converted as it
    is read.
    """
    source = source or dtype
    if op in ("any", "all"):
        return _truth(op, threads, source)
    step = _STEPS[op]
    start = {"add": "T(0)", "mul": "T(1)"}.get(step)
    first, read = [f"value = {start or _FIRST}"], applied(step, ["value", _NEXT], dtype)
    if source != dtype:
        element = converted("given", dtype, source)
        first = first if start else [f"given = {_FIRST}", f"value = {element}"]
        read = [f"given = {_NEXT}", f"element = {element}",
                *applied(step, ["value", "element"], dtype)]
    result = "results[0] / T(N)" if op == "mean" else "results[0]"
    both = applied(step, ["value", "results[there]"], dtype)
    return row_kernel(
        f"reduce_{op}" + _of(source, dtype), f"x:{source}[] ldx y:{dtype}[] rows N",
        [f"The {op} of each row, a block of {threads} threads a row."], dtype, threads, {
        "@shared": f"results = cuda.shared.array({threads}, {word(dtype)})",
        "@start": "\n".join(first),
        "@read": "\n".join(read),
        "@share": "results[thread] = value",
        "@join": "\n".join(["value = results[thread]", *both, "results[thread] = value"]),
        "@write": f"if thread == 0:\n    y[y_at + row] = {result}"})


def _of(source: str, dtype: str) -> str:
    """Returns the part of a kernel's name that tells the dtype of x."""
    return f"_of_{source}" if source != dtype else ""


def _truth(op: str, threads: int, source: str) -> Kernel:
    """y[row] = any or all of a row of bools: whether an element is found that decides.

    source: the dtype of the row, of which all but 0 is true.
    """
    start, found = (0, 1) if op == "any" else (1, 0)
    element = _NEXT if source == "bool" else f"({converted(_NEXT, 'bool', source)})"
    element = f"not {element}" if op == "all" else element
    decides = "" if op == "any" else "not "
    return row_kernel(
        f"reduce_{op}" + _of(source, "bool"), f"x:{source}[] ldx y:bool[] rows N",
        [f"Whether {op} of each row are true, a block of {threads} threads a row."], "bool",
        threads, {
        "@shared": f"results = cuda.shared.array({threads}, uint8)",
        "@start": f"value = uint8({start})",
        "@read": f"if {element}:\n    value = uint8({found})",
        "@share": "results[thread] = value",
        "@join": f"if {decides}results[there]:\n    results[thread] = uint8({found})",
        "@write": "if thread == 0:\n    y[y_at + row] = results[0] != uint8(0)"})


def arg(op: str, dtype: str, threads: int) -> Kernel:
    """y[row] = the index of the first largest (argmax) or smallest (argmin) element of a row.

    It is that of the first NaN where there is one.
    """
    sign = {"argmax": ">", "argmin": "<"}[op]

    def before(a: str, b: str) -> str:
        return f"{a} {sign} {b} or ({a} != {a} and {b} == {b})"

    return row_kernel(
        op, f"x:{dtype}[] ldx y:i64[] rows N",
        [f"Where the {op[3:]}imum of each row is, the first one, a block of {threads} threads a "
         "row."], dtype, threads, {
        "@shared": f"""
values = cuda.shared.array({threads}, {word(dtype)})
places = cuda.shared.array({threads}, int64)""",
        "@start": f"value, at = {_FIRST}, int64(0)",
        "@read": f"""
s = x[x_at + row * ldx + i]
if {before('s', 'value')}:
    value, at = s, i""",
        "@share": "values[thread], places[thread] = value, at",
        "@join": f"""
mine, other = values[thread], values[there]
alike = mine == other or (mine != mine and other != other)
if {before('other', 'mine')} or (
        alike and places[there] < places[thread]):
    values[thread], places[thread] = other, places[there]""",
        "@write": "if thread == 0:\n    y[y_at + row] = places[0]"})

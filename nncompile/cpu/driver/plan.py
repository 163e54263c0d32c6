"""The function `plan` of a driver, which a call runs first.

From the named sizes it computes what the call needs: how much work it is, how much scratch memory,
the shapes of the outputs; and whether the sizes are legal.
"""
from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from ir.graph import Requirement, Value, named_sizes
from ir.types import Dim, DimExpr, Floored, divide, same, symbol, terms
from nncompile.cpu import layout
from nncompile.cpu.driver.text import Names, Printer
from nncompile.schedule import Program
from nncompile.schedule.cost import work
from nncompile.schedule.names import number_text

_BLOCK = 96           # rows of a block; measured: 48 to 384 make no difference
_SCRATCH = 1 << 18    # floats of a block's scratch, 1 MiB: about an L2 cache


def _block_quotients(program: Program) -> list[tuple[int, Dim]]:
    """The rows of a block are the least of these quotients (dividend, divisor).

    No product of a block has more than _BLOCK rows, and its scratch memory is not larger than
    _SCRATCH, or than the weights if these are larger.
    """
    if program.batch is None:
        return [(_BLOCK, 1)]
    batch = symbol(program.batch)
    linear = [s for s in program.steps if s.kind == "linear"]
    weights = {constant.sources[0]: constant.shape for constant in
               (program.constants[s.views[1].place.number] for s in linear)}
    most = max(_SCRATCH, sum(map(math.prod, weights.values())))
    tall = {str(rows): rows for s in linear
            if (rows := divide(s.views[0].shape[0], batch)) is not None}
    scratch = sum((size for d in program.buffers.values()
                   if (size := divide(d, batch)) is not None), 0)
    return [(_BLOCK, 1), *((_BLOCK, d) for d in tall.values()), (most, scratch)]


def _size_limit(program: Program) -> int:
    coefficients = [_most(d) if isinstance(d, DimExpr) else d for d in program.dims]
    return 2**60 // max(1, *coefficients, len(program.buffers))


def _most(dim: DimExpr) -> int:
    """What a size and each part of its computation are at most, where every named size is 1."""
    return sum(abs(c) * math.prod(_most(factor.numerator) for factor in monomial
                                  if isinstance(factor, Floored)) for monomial, c in dim.terms)


def _size_powers(program: Program) -> dict[str, int]:
    """Each named size and the highest power in which it occurs."""
    powers = dict.fromkeys(named_sizes(program.graph), 1)
    for dim in program.dims:
        for monomial, _ in dim.terms if isinstance(dim, DimExpr) else ():
            for name, power in _powers(monomial).items():
                powers[name] = max(powers[name], power)
    return powers


def _powers(monomial: Sequence[str]) -> Counter[str]:
    """The power of each named size in a product; a quotient is no larger than its numerator."""
    found: Counter[str] = Counter()
    for factor in monomial:
        if isinstance(factor, Floored):
            inner: Counter[str] = Counter()
            for each, _ in factor.numerator.terms:
                inner |= _powers(each)
            found += inner
        else:
            found[factor] += 1
    return found


# -- as text ---------------------------------------------------------------------------------------

def plan_text(program: Program, names: Names, values: Mapping[Value, str]) -> str:
    """The source of `plan`; values: the names of the graph's values, for comments."""
    printer = Printer(names, names.sizes)
    whole = names.sizes.get(program.batch or "", "")
    checks, slack = _slack(program, printer, names)
    operations = sum((work(step) for step in program.steps), 0)
    stated = {
        layout.FLOPS: (printer.number(operations), "operations"),
        layout.BLOCK_SCRATCH: (_scratch_size(program, names, "block") if program.batch else "0",
                               "scratch of a worker in row_blocks"),
        layout.PHASES_SCRATCH: (_scratch_size(program, names, whole), "scratch of phases"),
        layout.MOST_ROWS: ("block", "most rows of a block"),
        layout.SLACK: (slack, "negative: these sizes are refused")}
    dims = [(dim, v) for v in program.graph.returned for dim in v.type.shape]
    for i, (dim, v) in enumerate(dims, layout.OUTPUT_DIMS):
        stated[i] = printer.number(dim), f"{values[v]}: {v.type}"
    lines = [*checks, f"    block = {_least_quotient(_block_quotients(program), printer)}"]
    for i, (text, about) in stated.items():
        put = f"    put(facts, {i}, {text})"
        lines += [f"{put}    # {about}"] if len(put + about) < 93 else [f"    # {about}", put]
    return "\n".join(["def plan(sizes, facts):",
                      '    """What a call needs, and the shapes of what it returns."""',
                      *read_sizes(names), *lines, ""])


def read_sizes(names: Names) -> list[str]:
    """Statements that give each named size its variable."""
    return [f"    {name} = size(sizes, {i})" for i, name in enumerate(names.sizes.values())]


def _slack(program: Program, printer: Printer, names: Names) -> tuple[list[str], str]:
    """Statements and an expression that is negative where the sizes are not legal.

    The product of the named sizes, each as often as a size of the program has it, may not exceed
    the limit, so that nothing that is computed from them overflows an int64.
    """
    text = str(_size_limit(program))
    for name, power in _size_powers(program).items():
        text += f" // max(1, {names.sizes[name]})" * power
    texts = list(dict.fromkeys(_margin(r, printer) for _, r in program.requirements))
    if len(texts) < 2:
        return [], f"min({text} - 1, {texts[0]})" if texts else f"{text} - 1"
    return [f"    legal = {text} - 1",
            *(f"    legal = min(legal, {text})" for text in texts)], "legal"


def _margin(requirement: Requirement, printer: Printer) -> str:
    """An expression that is negative where the requirement is not fulfilled."""
    left, right = requirement.left, requirement.right
    above, below = (printer.number(d) for d in (left - right, right - left))
    return {
        ">=": above, ">": f"{above} - 1", "<=": below, "<": f"{below} - 1",
        "==": f"min({above}, {below})", "!=": f"max({above}, {below}) - 1",
    }[requirement.relation]


def _least_quotient(quotients: Sequence[tuple[int, Dim]], printer: Printer) -> str:
    """An expression for the least of the quotients, rounded down, and at least 1.

    A divisor of 0 counts as 1.
    """
    number = min(a // max(1, d) for a, d in quotients if not isinstance(d, DimExpr))
    texts = [f"{a} // max(1, {printer.number(d)})" for a, d in quotients if isinstance(d, DimExpr)]
    if not texts:
        return str(max(1, number))
    if all(number < a for a, d in quotients if isinstance(d, DimExpr)):
        texts.insert(0, str(number))
    return f"max(1, {functools.reduce(lambda left, right: f'min({left}, {right})', texts)})"


# -- scratch memory, of which each slot starts on a cache line -------------------------------------

def _scratch_size(program: Program, names: Names, rows: str) -> str:
    """An expression for the size of all slots for `rows` rows, in units of 4 bytes."""
    whole = sum((d for d in program.buffers.values() if _fills_lines(d)), 0)
    parts = [_slot_size(program, names, whole, rows)] if not same(whole, 0) else []
    parts += [_slot_size(program, names, d, rows) for d in program.buffers.values()
              if not _fills_lines(d)]
    return " + ".join(parts) or "0"


def _slot_size(program: Program, names: Names, size: Dim, rows: str) -> str:
    """An expression for the size of a slot, rounded up to whole cache lines."""
    sizes = dict(names.sizes)
    if program.batch is not None:
        sizes[program.batch] = rows
    text = number_text(size, sizes)
    return text if _fills_lines(size) else f"aligned({text})"


def _fills_lines(dim: Dim) -> bool:
    return all(coefficient % layout.LINE_FLOATS == 0 for _, coefficient in terms(dim))


def locate_slots(program: Program, names: Names, rows: str, worker: str = "") -> list[str]:
    """Statements that give each slot its variable: it starts where the one before it ends."""
    lines, before = [], "scratch"
    if worker and program.buffers:
        before = f"at(scratch, {worker} * ({_scratch_size(program, names, rows)}))"
    for place, size in program.buffers.items():
        lines.append(f"    {names.places[place]} = {before}")
        before = f"at({names.places[place]}, {_slot_size(program, names, size, rows)})"
    return lines

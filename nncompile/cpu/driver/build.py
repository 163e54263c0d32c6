"""Program -> Driver: one call a step, under the line of the graph it comes from.

    def row_blocks(args, sizes, weights, scratch, block, queue, fault, worker):
        ...
            # %0: f32[B, 128] = linear(%x, @0.weight, @0.bias) then relu
            linear_relu(x, 64, at(weights, W0), h0, 128, rows, 64, 128)

`row_blocks` takes a block of rows through all steps; `phases` lets all workers share each step.
Both make the same calls, so a row's bits do not depend on which one ran.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ir.graph import Value
from ir.printer import name_values
from ir.records import dataclass
from ir.types import divide, names_in, product, symbol
from nncompile.backend import StepCode
from nncompile.cpu.driver.outline import fold
from nncompile.cpu.driver.plan import locate_slots, plan_text, read_sizes
from nncompile.cpu.driver.steps import call_of
from nncompile.cpu.driver.text import Names, Printer, at
from nncompile.cpu.driver.values import Call, Driver, Function, Line, Outlined
from nncompile.cpu.driver.weights import Arena
from nncompile.cpu.kernels import Kernel
from nncompile.cpu.layout import DRIVER_ARGUMENTS, DRIVER_LETTERS, PLAN_LETTERS
from nncompile.cpu.vector import Target
from nncompile.schedule import Place, Program
from nncompile.schedule.names import comment

_ARGUMENTS = ", ".join(DRIVER_ARGUMENTS)


@dataclass(frozen=True)
class Code:
    """The driver of a program, and the layout of the constants that it reads.

    callers: for each kernel the number of a step that calls it. A pickle has these in place of the
             kernels, which are made again.
    """

    program: Program
    driver: Driver
    arena: Arena
    callers: Sequence[int]

    def __reduce__(self) -> tuple[Any, ...]:
        driver = self.driver
        return _made_again, (self.program, driver.header, driver.functions, driver.phases,
                             self.arena, self.callers)


def _made_again(program: Program, header: str, functions: Sequence[Function], phases: int,
                arena: Arena, callers: Sequence[int]) -> Code:
    kernels = [call_of(program, program.steps[number], number).kernel for number in callers]
    return Code(program, Driver(header, functions, _both(kernels), phases), arena, callers)


def _both(kernels: Iterable[Kernel]) -> dict[str, Kernel]:
    """Both entry points of the kernels, by their names."""
    return {k.name: k for alone in kernels for k in (alone, alone.shared)}


def generate(program: Program, target: Target) -> Code:
    """Returns the code of a program."""
    calls = [call_of(program, step, number) for number, step in enumerate(program.steps)]
    arena = Arena(program.constants, calls, target)
    kernels = {call.kernel.name: call.kernel for call in calls}
    both = _both(kernels.values())
    names = Names(program, arena, both)
    values = name_values(program.graph)
    outlined, lines = fold(_lines_of(program, calls, values))
    functions = [Function("plan", PLAN_LETTERS, plan_text(program, names, values))]
    if program.batch is not None:
        functions += _row_blocks(program, names, outlined, lines)
    functions += _phases(program, names, outlined, lines)
    head = _header(program, target, kernels.values(), arena)
    callers = {call.kernel.name: number for number, call in enumerate(calls)}
    return Code(program, Driver(head, functions, both, max(1, len(calls))), arena,
                [callers[name] for name in kernels])


def _lines_of(program: Program, calls: Sequence[Call], values: dict[Value, str]) -> list[Line]:
    """The call of each step, and where workers stop before the first one that writes a state.

    All workers see the same there, because no step behind it can find a wrong number.
    """
    lines: list[Line] = []
    stops = any("fault" in call.kernel.arguments for call in calls)
    for number, (step, call) in enumerate(zip(program.steps, calls, strict=True)):
        if stops and any(view.place.kind == "input" for view in step.results):
            stops = False
            lines.append(Line(number, "", "", "# after a wrong number no state is written", "", ()))
        lines.append(Line(number, step.node.where.layer.partition(" ")[0],
                          values[step.node.result], comment(step, values), call.kernel.name,
                          call.arguments))
    return lines


def step_codes(program: Program, target: Target) -> list[StepCode]:
    """Returns the kernel of each step and the lines that call it, as `generate` writes them."""
    calls = [call_of(program, step, number) for number, step in enumerate(program.steps)]
    kernels = {call.kernel.name: call.kernel for call in calls}
    names = Names(program, Arena(program.constants, calls, target), _both(kernels.values()))
    rows = {program.batch: "rows"} if program.batch is not None else {}
    printer = Printer(names, names.sizes | rows)
    outlined, lines = fold(_lines_of(program, calls, name_values(program.graph)))
    printed = _printed(printer, outlined, lines, shared=program.batch is None)
    return [StepCode((call.kernel.name,), printed[number]) for number, call in enumerate(calls)]


def _printed(printer: Printer, outlined: Sequence[Outlined], lines: Sequence[Line], shared: bool
             ) -> dict[int, str]:
    """The lines of each step; of a repetition those in the function that is called for it."""
    bodies = {function.name: function.lines for function in outlined}
    printed: dict[int, str] = {}
    for line in lines:
        for own in bodies.get(line.function, (line,)):
            inside = line.phase if line.function in bodies else 0
            if own.function:
                text = printer.lines([own], "", shared)
                printed[inside + own.phase] = "\n".join(text).strip()
    return printed


# -- functions -------------------------------------------------------------------------------------

def _header(program: Program, target: Target, kernels: Iterable[Kernel], arena: Arena) -> str:
    graph = program.graph
    inputs = ", ".join(str(v.type) for v in graph.inputs)
    outputs = ", ".join(str(v.type) for v in graph.returned)
    places = [f"{f'{e.name} = {e.offset}':<18}# {e.about}" for e in arena.entries.values()]
    called = [f"    {k.name}({', '.join(k.arguments)})" for k in kernels]
    return "\n".join([
        f'"""{inputs} -> {outputs} in {len(program.steps)} steps, '
        f"for vectors of {target.width} float32.", "",
        "Strides and offsets count elements; scratch and the places of weights count words of",
        "4 bytes.  ldx is the distance of x's rows.",
        "A kernel runs alone, or as shared_<kernel>(queue, ...) by all workers:",
        *called, '"""', *places, ""])


def _row_blocks(program: Program, names: Names, outlined: Sequence[Outlined],
                lines: Sequence[Line]) -> list[Function]:
    """The function `row_blocks`, and the outlined functions that it calls."""
    batch = program.batch or ""
    whole = names.sizes[batch]
    printer = Printer(names, names.sizes | {batch: "rows"})
    text = [f"def row_blocks({_ARGUMENTS}):",
            '    """A worker claims a block of rows and takes it through all steps."""',
            *read_sizes(names), *locate_slots(program, names, "block", "worker"),
            "    row = claim(queue, 0) * block", f"    while row < {whole}:",
            f"        rows = min(block, {whole} - row)"]
    for number, place, value in arguments(program):
        start = _block_start(number, value, batch, printer)
        text.append(f"        {names.places[place]} = {start}")
    text += [*printer.lines(lines, "        ", shared=False), "",
             "        row = claim(queue, 0) * block", ""]
    return [*_outlined_functions(outlined, printer, shared=False),
            Function("row_blocks", DRIVER_LETTERS, "\n".join(text))]


def _phases(program: Program, names: Names, outlined: Sequence[Outlined], lines: Sequence[Line]
            ) -> list[Function]:
    """The function `phases`, and the outlined functions that it calls."""
    printer = Printer(names, names.sizes)
    text = [f"def phases({_ARGUMENTS}):",
            '    """All workers share the work of a step, then go on to the next."""',
            *read_sizes(names),
            *locate_slots(program, names, names.sizes.get(program.batch or "", ""))]
    text += [f"    {names.places[place]} = pointer(args, {number})"
             for number, place, _ in arguments(program)]
    text += [*printer.lines(lines, "    ", shared=True), ""]
    return [*_outlined_functions(outlined, printer, shared=True),
            Function("phases", DRIVER_LETTERS, "\n".join(text))]


def _outlined_functions(outlined: Sequence[Outlined], printer: Printer, shared: bool
                        ) -> Iterator[Function]:
    for function in outlined:
        yield Function(f"shared_{function.name}" if shared else function.name,
                       "p" * shared + function.letters, printer.function(function, shared))


def arguments(program: Program) -> Iterator[tuple[int, Place, Value]]:
    """The number, the place and the value of each array that a call is given."""
    views = (*program.inputs, *program.outputs)
    values = (*program.graph.inputs, *program.graph.returned)
    for number, (view, value) in enumerate(zip(views, values, strict=True)):
        yield number, view.place, value


def _block_start(number: int, value: Value, batch: str, printer: Printer) -> str:
    """Where the current block starts in an argument; one without the batch is read whole."""
    row = divide(product(value.type.shape), symbol(batch))
    if row is None or not any(batch in names_in(dim) for dim in value.type.shape):
        return f"pointer(args, {number})"
    return at(value.type.dtype, f"pointer(args, {number})", f"row * {printer.factor(row)}")

"""Program -> Python source: one line a step, under the line of the graph it comes from.

    def row_blocks(args, sizes, weights, scratch, block, queue, fault, worker):
        ...
            # %0: f32[B, 128] = linear(%x, @0.weight, @0.bias) then relu
            linear_relu(x, 64, at(weights, W0), h0, 128, rows, 64, 128)

`row_blocks` takes a block of rows through all steps; `phases` lets all workers share each step.
Both call the same kernels, so a row's bits do not depend on which one ran.  A kind of step has
one entry in EMITTERS (emitters.py), from the step to its kernel and the text of its arguments.
Blocks of steps that repeat are functions of their own (repeats.py).
"""
from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ir.graph import Value, named_sizes
from ir.printer import name_values
from ir.types import Dim, DimExpr, divide, product, same, symbol
from nncompile.cpu.driver.arena import LINE, Arena
from nncompile.cpu.driver.naming import Scope, at_word
from nncompile.cpu.driver.outline import Block, Line, fold
from nncompile.cpu.driver.steps import EMITTERS, Call
from nncompile.cpu.kernels import Kernel
from nncompile.cpu.vector.target import Target
from nncompile.schedule import Program, Step, View
from nncompile.schedule.cost import work
from nncompile.schedule.names import comment, fixed, number_text

BLOCK = 96            # rows that go through all layers together; 48 to 384 measure alike
SCRATCH = 1 << 18     # floats of a block's scratch, 1 MiB: about an L2 cache
ROWS = re.compile(r"\brows\b")                # of a block; Scope gives nothing else this name
SIGNATURE = "args, sizes, weights, scratch, block, queue, fault, worker"

@dataclass(frozen=True)
class Source:
    """The generated text and what it needs: its kernels by name, and the arena it reads."""

    text: str
    kernels: Mapping[str, Kernel]
    arena: Arena


def emit(program: Program, target: Target) -> Source:
    """Write the program for this target."""
    writer = Writer(program, target)
    functions = [writer.plan(), *(writer.row_blocks() if program.batch is not None else []),
                 *writer.phases()]
    used = [k for alone in writer.called.values() for k in (alone, alone.shared)]
    text = "\n\n".join([writer.header(), *functions])
    return Source(text, {k.name: k for k in used}, writer.arena)


class Writer(Scope):
    """Writes the functions; collects the kernels they call and the weights they read."""

    def __init__(self, program: Program, target: Target) -> None:
        super().__init__(program, target)
        self.called: dict[str, Kernel] = {}
        self.values = name_values(program.graph)
        self.rows_of: dict[str, str] = dict(self.sizes)
        if program.batch is not None:
            self.rows_of[program.batch] = "rows"

    # -- whole functions -------------------------------------------------------------------------

    def header(self) -> str:
        """The last to be written: it lists the places that the functions have asked for."""
        graph = self.program.graph
        inputs = ", ".join(str(v.type) for v in graph.inputs)
        outputs = ", ".join(str(v.type) for v in graph.outputs)
        places = [f"{f'{e.name} = {e.offset}':<18}# {e.about}" for e in self.arena.entries.values()]
        called = [f"    {k.name}({', '.join(k.arguments)})" for k in self.called.values()]
        return "\n".join([
            f'"""{inputs} -> {outputs} in {len(self.program.steps)} steps, '
            f"for vectors of {self.target.width} float32.", "",
            "Strides and offsets count elements; scratch and the places of weights count words of",
            "4 bytes.  ldx is the distance of x's rows.",
            "A kernel runs alone, or as shared_<kernel>(queue, ...) by all workers:",
            *called, '"""', *places, ""])

    def plan(self) -> str:
        """Facts of a call: its work and scratch, whether it is legal, the shapes it returns."""
        self.names = self.sizes
        batch = self.program.batch
        facts = [
            (self.number(sum((work(step) for step in self.program.steps), 0)), "operations"),
            (self.scratch_size("block") if batch else "0", "scratch of a worker in row_blocks"),
            (self.scratch_size(self.sizes[batch] if batch else ""), "scratch of phases"),
            ("block", "most rows of a block"),
            (self.room(), "negative: these sizes are refused")]
        facts += [(self.number(dim), f"{self.values[v]}: {v.type}")
                  for v in self.program.graph.outputs for dim in v.type.shape]
        lines = [f"    block = {self.block_rows()}"]
        for i, (text, about) in enumerate(facts):
            put = f"    put(facts, {i}, {text})"
            lines += [f"{put}    # {about}"] if len(put + about) < 93 else [f"    # {about}", put]
        return "\n".join(["def plan(sizes, facts):",
                          '    """What a call needs, and the shapes of what it returns."""',
                          *self.read_sizes(), *lines, ""])

    def room(self) -> str:
        """How far these sizes are from being illegal.  The product of all sizes, each as often as
        a size of the program has it, is limited, so that nothing computed here overflows."""
        text = str(size_limit(self.program))
        for name, power in size_powers(self.program).items():
            text += f" // max(1, {self.names[name]})" * power
        text += " - 1"
        for dim, _ in self.program.requirements:
            text = f"min({text}, {self.number(dim)})"
        return text

    def row_blocks(self) -> list[str]:
        batch = self.program.batch or ""
        self.names = self.rows_of
        whole = self.sizes[batch]
        lines = [f"def row_blocks({SIGNATURE}):",
                 '    """A worker claims a block of rows and takes it through all steps."""',
                 *self.read_sizes(), *self.buffers("block", "worker"),
                 "    row = claim(queue, 0) * block", f"    while row < {whole}:",
                 f"        rows = min(block, {whole} - row)"]
        for view, value, number in self.arguments():
            lines.append(f"        {self.places[view.place]} = "
                         + self.offset_pointer(number, value, batch))
        blocks, steps = self.steps(self.lines, shared=False)
        return [*blocks, "\n".join([*lines, *written(steps, "        ", shared=False), "",
                                    "        row = claim(queue, 0) * block", ""])]

    def phases(self) -> list[str]:
        self.names = self.rows_of
        rows = self.sizes.get(self.program.batch or "", "")
        lines = [f"def phases({SIGNATURE}):",
                 '    """All workers share the work of a step, then go on to the next."""',
                 *self.read_sizes(), *self.buffers(rows)]
        lines += [f"    {self.places[view.place]} = pointer(args, {number})"
                  for view, _, number in self.arguments()]
        blocks, steps = self.steps([in_rows(line, rows) for line in self.lines], shared=True)
        return [*blocks, "\n".join([*lines, *written(steps, "    ", shared=True), ""])]

    @functools.cached_property
    def lines(self) -> list[Line]:
        """The call of each step for the rows of a block."""
        lines = []
        for number, step in enumerate(self.program.steps):
            kernel, arguments = self.call(step)
            lines.append(Line(number, step.node.where.layer.partition(" ")[0],
                              self.values[step.node.result], comment(step, self.values),
                              kernel.name, tuple(arguments)))
        return lines

    def steps(self, lines: Sequence[Line], shared: bool) -> tuple[list[str], list[Line]]:
        """The functions of steps that repeat, and the calls of these and of all other steps."""
        blocks, lines = fold(lines, set(self.places.values()))
        return [function(block, shared) for block in blocks], lines

    # -- pieces of functions ---------------------------------------------------------------------

    def arguments(self) -> list[tuple[View, Value, int]]:
        graph = self.program.graph
        views = (*self.program.inputs, *self.program.outputs)
        return [(view, value, number) for number, (view, value) in enumerate(
                zip(views, (*graph.inputs, *graph.outputs), strict=True))]

    def read_sizes(self) -> list[str]:
        return [f"    {name} = size(sizes, {i})" for i, name in enumerate(self.sizes.values())]

    def block_rows(self) -> str:
        """Rows of a block: as many as give its products BLOCK rows, and no more than keep its
        scratch within SCRATCH, or within the size of the weights if they are larger."""
        batch = self.program.batch
        if batch is None:
            return str(BLOCK)
        linear = [s for s in self.program.steps if s.kind == "linear"]
        weights = {s.views[1].place: s.views[1].shape for s in linear}
        most = max(SCRATCH, sum(math.prod(fixed(shape)) for shape in weights.values()))
        tall = {str(rows): rows for s in linear
                if (rows := divide(s.views[0].shape[0], symbol(batch))) is not None}
        scratch = sum((size for d in self.program.buffers.values()
                       if (size := divide(d, symbol(batch))) is not None), 0)
        return self.least_quotient([(BLOCK, 1), *((BLOCK, d) for d in tall.values()),
                                    (most, scratch)])

    def least_quotient(self, quotients: Sequence[tuple[int, Dim]]) -> str:
        """The least of them as text, rounded down, but 1 at least; a divisor of 0 counts as 1."""
        number = min(a // max(1, d) for a, d in quotients if not isinstance(d, DimExpr))
        texts = [f"{a} // max(1, {self.number(d)})" for a, d in quotients if isinstance(d, DimExpr)]
        if not texts:
            return str(max(1, number))
        if all(number < a for a, d in quotients if isinstance(d, DimExpr)):
            texts.insert(0, str(number))
        return f"max(1, {functools.reduce(lambda left, right: f'min({left}, {right})', texts)})"

    def scratch_size(self, rows: str) -> str:
        """Words of 4 bytes of all buffers for so many rows of the batch."""
        whole = sum((d for d in self.program.buffers.values() if fills_lines(d)), 0)
        parts = [self.buffer_size(whole, rows)] if not same(whole, 0) else []
        parts += [self.buffer_size(d, rows) for d in self.program.buffers.values()
                  if not fills_lines(d)]
        return " + ".join(parts) or "0"

    def buffer_size(self, size: Dim, rows: str) -> str:
        """The words of a buffer, rounded up to whole cache lines."""
        names = dict(self.sizes)
        if self.program.batch is not None:
            names[self.program.batch] = rows
        text = number_text(size, names)
        return text if fills_lines(size) else f"aligned({text})"

    def buffers(self, rows: str, worker: str = "") -> list[str]:
        """Each buffer starts where the one before it ends."""
        lines, before = [], "scratch"
        if worker and self.program.buffers:
            before = f"at(scratch, {worker} * ({self.scratch_size(rows)}))"
        for place, size in self.program.buffers.items():
            lines.append(f"    {self.places[place]} = {before}")
            before = f"at({self.places[place]}, {self.buffer_size(size, rows)})"
        return lines

    def offset_pointer(self, number: int, value: Value, batch: str) -> str:
        """Where the current block starts in an argument; one without the batch is read whole."""
        row = divide(product(value.type.shape), symbol(batch))
        if row is None or not any(batch in m for d in value.type.shape
                                  if isinstance(d, DimExpr) for m, _ in d.terms):
            return f"pointer(args, {number})"
        return f"{at_word(value.type.dtype)}(pointer(args, {number}), row * {self.factor(row)})"

    def call(self, step: Step) -> Call:
        kernel, arguments = EMITTERS[step.kind](self, step)
        self.called[kernel.name] = kernel
        return kernel, arguments


def in_rows(line: Line, rows: str) -> Line:
    """The call for so many rows instead of those of a block."""
    return replace(line, arguments=tuple([ROWS.sub(rows, text) if "rows" in text else text
                                          for text in line.arguments]))


def fills_lines(dim: Dim) -> bool:
    return all(c % LINE == 0 for _, c in dim.terms) if isinstance(dim, DimExpr) else dim % LINE == 0


def size_limit(program: Program) -> int:
    coefficients = [sum(abs(c) for _, c in d.terms) if isinstance(d, DimExpr) else d
                    for d in program.dims]
    return 2**60 // max(1, *coefficients, len(program.buffers))


def size_powers(program: Program) -> dict[str, int]:
    """Each named size and the highest power in which it occurs."""
    powers = dict.fromkeys(named_sizes(program.graph), 1)
    for dim in program.dims:
        for monomial, _ in dim.terms if isinstance(dim, DimExpr) else ():
            powers |= {name: max(powers[name], monomial.count(name)) for name in monomial}
    return powers


def function(block: Block, shared: bool) -> str:
    """The function of steps that repeat; like a kernel, it is shared_<name>(queue, ...) for all."""
    queue, prefix = (["queue"], "shared_") if shared else ([], "")
    head = wrapped("def ", prefix + block.name, [*queue, *block.parameters])
    return "\n".join([*head[:-1], head[-1] + ":", f'    """{block.about}"""',
                      *written(block.lines, "    ", shared), ""])


def written(lines: Sequence[Line], indent: str, shared: bool) -> list[str]:
    """The calls, each under its comment; of all workers together, where they are shared."""
    texts = []
    for line in lines:
        name, arguments = line.function, line.arguments
        if shared:
            name, arguments = f"shared_{name}", (f"phase(queue, {line.phase})", *arguments)
        texts += ["", f"{indent}{line.comment}", *wrapped(indent, name, arguments)]
    return texts


def wrapped(indent: str, name: str, arguments: Sequence[str]) -> list[str]:
    """The call, broken behind commas at 100 columns."""
    lines, line = [], f"{indent}{name}("
    hang = " " * len(line)
    for i, argument in enumerate(arguments):
        piece = argument + (")" if i == len(arguments) - 1 else ",")
        if len(line) + len(piece) > 99 and line.strip() and line != hang:
            lines.append(line.rstrip())
            line = hang
        line += piece + " "
    return [*lines, line.rstrip()]

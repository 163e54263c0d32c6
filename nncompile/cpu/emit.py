"""Program -> Python source: one line a step, under the line of the graph it comes from.

    def row_blocks(args, sizes, weights, scratch, block, queue, fault, worker):
        ...
            # %0: f32[B, 128] = linear(%x, @0.weight, @0.bias) then relu
            linear_relu(x, 64, at(weights, W0), h0, 128, rows, 64, 128)

`row_blocks` takes a block of rows through all steps; `phases` lets all workers share each step.
Both call the same kernels, so a row's bits do not depend on which one ran.  A kind of step has
one entry in EMITTERS, a function from the step to its kernel and the text of its arguments.
"""
from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword

from ir.graph import Value, named_sizes
from ir.ops import OPS
from ir.text import name_values, print_call
from ir.types import Dim, DimExpr, divide, product, same, symbol
from nncompile.cpu import kernels
from nncompile.cpu.arena import LINE, Arena
from nncompile.cpu.kernels import Chain, Kernel
from nncompile.cpu.target import Target
from nncompile.cpu.words import WORDS
from nncompile.errors import CompileError
from nncompile.schedule import Operand, Program, Step, View
from nncompile.schedule.cost import work
from nncompile.schedule.program import collapsed

BLOCK = 96            # rows that go through all layers together; 48 to 384 measure alike
SCRATCH = 1 << 18     # floats of a block's scratch, 1 MiB: about an L2 cache
SIGNATURE = "args, sizes, weights, scratch, block, queue, fault, worker"
LOCALS = ("args", "sizes", "weights", "scratch", "block", "queue", "fault", "worker", "facts",
          "row", "rows", "plan", "row_blocks", "phases", "min")

Call = tuple[Kernel, list[str]]


@dataclass(frozen=True)
class Source:
    """The generated text and what it needs: its kernels by name, and the arena it reads."""

    text: str
    kernels: Mapping[str, Kernel]
    arena: Arena


def emit(program: Program, target: Target) -> Source:
    """Write the program for this target.

    Raises CompileError where a step computes in a type that the target's kernels do not have.
    """
    check_dtypes(program)
    writer = Writer(program, target)
    functions = [writer.plan(), writer.phases()]
    if program.batch is not None:
        functions.insert(1, writer.row_blocks())
    used = [k for alone in writer.called.values() for k in (alone, alone.shared)]
    text = "\n\n".join([writer.header(), *functions])
    return Source(text, {k.name: k for k in used}, writer.arena)


def check_dtypes(program: Program) -> None:
    """Kernels compute in float32; integers may only be looked up."""
    dtypes = {v.place: i.type.dtype
              for v, i in zip(program.inputs, program.graph.inputs, strict=True)}
    dtypes |= {place: program.preparation.outputs[number].type.dtype
               for place, number in program.constants.items()}
    for step in program.steps:
        reads = step.reads[1:] if step.kind == "embedding" else step.reads
        wrong = [dtypes[v.place] for v in reads if dtypes.get(v.place, "f32") != "f32"]
        if step.node.result.type.dtype != "f32":
            wrong.append(step.node.result.type.dtype)
        if wrong:
            returned = step.node.op == "identity" and step.node.result in program.graph.inputs
            what = (f"the output {step.node.result.name} is" if returned
                    else f"{step.node.op} needs")
            raise CompileError(
                f"the cpu target computes in f32, and {what} {wrong[0]}{step.node.where.note}\n"
                "  do:    model.float(), and float32 inputs; integers can index an embedding")


class Writer:
    """Writes the functions; collects the kernels they call and the weights they read."""

    def __init__(self, program: Program, target: Target) -> None:
        self.program, self.target, self.arena = program, target, Arena(target)
        self.called: dict[str, Kernel] = {}
        self.values = name_values(program.graph)
        self.sizes = size_names(program)
        self.places = place_names(program, set(self.sizes.values()))
        self.rows_of: dict[str, str] = dict(self.sizes)
        if program.batch is not None:
            self.rows_of[program.batch] = "rows"
        self.names = self.sizes                     # of the function being written

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
            "Sizes, strides and places are counted in float32; ldx is the distance of x's rows.",
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

    def row_blocks(self) -> str:
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
        for step in self.program.steps:
            kernel, arguments = self.call(step)
            lines += ["", *self.comment(step, "        "), *wrapped("        ", kernel, arguments)]
        return "\n".join([*lines, "", "        row = claim(queue, 0) * block", ""])

    def phases(self) -> str:
        self.names = self.sizes
        rows = self.sizes.get(self.program.batch or "", "")
        lines = [f"def phases({SIGNATURE}):",
                 '    """All workers share the work of a step, then go on to the next."""',
                 *self.read_sizes(), *self.buffers(rows)]
        lines += [f"    {self.places[view.place]} = pointer(args, {number})"
                  for view, _, number in self.arguments()]
        for number, step in enumerate(self.program.steps):
            kernel, arguments = self.call(step)
            arguments = [f"phase(queue, {number})", *arguments]
            lines += ["", *self.comment(step, "    "), *wrapped("    ", kernel.shared, arguments)]
        return "\n".join([*lines, ""])

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
        whole = sum((d for d in self.program.buffers.values() if fills_lines(d)), 0)
        parts = [self.buffer_size(whole, rows)] if not same(whole, 0) else []
        parts += [self.buffer_size(d, rows) for d in self.program.buffers.values()
                  if not fills_lines(d)]
        return " + ".join(parts) or "0"

    def buffer_size(self, size: Dim, rows: str) -> str:
        """The floats of a buffer, rounded up to whole cache lines."""
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
            lines.append(f"    {place} = {before}")
            before = f"at({place}, {self.buffer_size(size, rows)})"
        return lines

    def offset_pointer(self, number: int, value: Value, batch: str) -> str:
        """Where the current block starts in an argument; one without the batch is read whole."""
        row = divide(product(value.type.shape), symbol(batch))
        if row is None or not any(batch in m for d in value.type.shape
                                  if isinstance(d, DimExpr) for m, _ in d.terms):
            return f"pointer(args, {number})"
        return f"{at_word(value.type.dtype)}(pointer(args, {number}), row * {self.factor(row)})"

    def comment(self, step: Step, indent: str) -> list[str]:
        node, copy = step.node, step.attrs.get("op") == "copy"
        what = f"{self.values[node.result]}: {node.result.type} = {print_call(node, self.values)}"
        return [f"{indent}# {'copy, for ' * (copy and node.op != 'concat')}{what}"]

    # -- pieces of calls -------------------------------------------------------------------------

    def call(self, step: Step) -> Call:
        kernel, arguments = EMITTERS[step.kind](self, step)
        self.called[kernel.name] = kernel
        return kernel, arguments

    def number(self, dim: Dim) -> str:
        return number_text(dim, self.names)

    def factor(self, dim: Dim) -> str:
        return factor_text(dim, self.names)

    def pointer(self, operand: Operand) -> str:
        if not isinstance(operand, View):
            return f"at(weights, {self.arena.scalar(operand)})"
        if operand.place in self.program.constants:
            number = self.program.constants[operand.place]
            shape = self.program.preparation.outputs[number].type.shape
            base = f"weights, {self.arena.array(number, fixed(shape))}"
            offset = "" if same(operand.offset, 0) else f" + {self.number(operand.offset)}"
            return f"at({base}{offset})"
        name = self.places[operand.place]
        if same(operand.offset, 0):
            return name
        word = at_word(self.dtype(operand.place))
        return f"{word}({name}, {self.number(operand.offset)})"

    def dtype(self, place: str) -> str:
        inputs = zip(self.program.inputs, self.program.graph.inputs, strict=True)
        return next((v.type.dtype for view, v in inputs if view.place == place), "f32")

    def numbers(self, dims: Sequence[Dim]) -> list[str]:
        return [self.number(d) for d in dims]


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


def fixed(shape: Sequence[Dim]) -> list[int]:
    """The shape of a constant, which has no named sizes."""
    return [dim.__index__() for dim in shape]


def at_word(dtype: str) -> str:
    return "at_i64" if dtype == "i64" else "at"


# -- names -----------------------------------------------------------------------------------------

def size_names(program: Program) -> dict[str, str]:
    """A variable for each named size: its own name if that is plain, or else S0, S1, ..."""
    named = named_sizes(program.graph)
    plain = re.compile(r"[A-Z][A-Za-z]{0,15}")
    return {name: name if plain.fullmatch(name) and not iskeyword(name) else f"S{i}"
            for i, name in enumerate(named)}


def place_names(program: Program, taken: set[str]) -> dict[str, str]:
    """A variable for each input, output and buffer.  Names of inputs are the user's: they are
    taken over only if they cannot mean anything else here."""
    taken = {*taken, *LOCALS, *WORDS, *OPS}
    names = {}
    for i, (view, value) in enumerate(zip(program.inputs, program.graph.inputs, strict=True)):
        plain = re.fullmatch(r"[a-z][a-z_]{0,15}", value.name) and not iskeyword(value.name)
        name = value.name if plain and value.name not in taken else f"in{i}"
        names[view.place] = name
        taken.add(name)
    single = len(program.outputs) == 1 and "y" not in taken
    return (names | {v.place: "y" if single else v.place for v in program.outputs}
            | {place: place for place in program.buffers})


def number_text(dim: Dim, names: Mapping[str, str]) -> str:
    """A size as Python: B * 784, or 2 * T + 1."""
    if not isinstance(dim, DimExpr):
        return str(dim)
    parts = []
    for monomial, coefficient in dim.terms:
        factors = [names[name] for name in monomial]
        if abs(coefficient) != 1 or not factors:
            factors.append(str(abs(coefficient)))
        parts.append(("- " if coefficient < 0 else "+ ") + " * ".join(factors))
    first, *rest = sorted(parts, key=lambda part: part[0] == "-")     # 10 - T, not -T + 10
    return " ".join([first.removeprefix("+ ").replace("- ", "-"), *rest])


def factor_text(dim: Dim, names: Mapping[str, str]) -> str:
    text = number_text(dim, names)
    return text if re.fullmatch(r"\w+", text) else f"({text})"


def wrapped(indent: str, kernel: Kernel, arguments: Sequence[str]) -> list[str]:
    """The call, broken behind commas at 100 columns."""
    lines, line = [], f"{indent}{kernel.name}("
    hang = " " * len(line)
    for i, argument in enumerate(arguments):
        piece = argument + (")" if i == len(arguments) - 1 else ",")
        if len(line) + len(piece) > 99 and line.strip() and line != hang:
            lines.append(line.rstrip())
            line = hang
        line += piece + " "
    return [*lines, line.rstrip()]


# -- one function for each kind of step ------------------------------------------------------------

def linear(w: Writer, step: Step) -> Call:
    x, weight, *bias = step.views
    constants, rows = w.program.constants, x.shape[0]
    N, K = fixed(weight.shape)
    b = constants[bias[0].place] if bias else None
    place = w.arena.linear(constants[weight.place], b, N, K)
    further, chain = [], []
    for op, operands in step.then:
        pairs = [row_operand(w, o, step.result) for o in operands]
        chain.append((op, "".join(kind for kind, _ in pairs)))
        further += [text for _, texts in pairs for text in texts]
    return kernels.linear(tuple(chain)), [
        w.pointer(x), w.number(x.strides[0]), f"at(weights, {place})",
        w.pointer(step.result), str(N), w.number(rows), str(K), str(N), *further]


def row_operand(w: Writer, operand: Operand, result: View) -> tuple[str, list[str]]:
    """A further operand of linear: its kind, its pointer, and the distance of its rows."""
    if not isinstance(operand, View):
        return "s", [w.pointer(operand), "0"]
    kind, stride = row_stride(operand, result.shape)
    return kind, [w.pointer(operand), w.number(stride)]


def row_stride(operand: View, shape: Sequence[Dim]) -> tuple[str, Dim]:
    view = operand.broadcast_to(shape)
    dims, (strides,) = collapsed(view.shape[:-1], [view.strides[:-1]])
    kind = "v" if same(view.strides[-1], 1) or same(shape[-1], 1) else "s"
    return kind, strides[-1] if dims else 0


def matmul(w: Writer, step: Step) -> Call:
    x, right = step.views
    y, lead = step.result, step.result.shape[:-2]
    x = x.broadcast_to((*lead, *x.shape[-2:]))
    right = right.broadcast_to((*lead, *right.shape[-2:]))
    views = [o.broadcast_to(y.shape) for o in step.reads[2:]]
    outer, strides = collapsed(lead, [v.strides[:-2] for v in (x, right, y, *views)])
    own, rest = strides[:3], iter(zip(views, strides[3:], strict=True))
    further, chain = [], []
    for op, operands in step.then:
        kinds = ""
        for o in operands:
            if isinstance(o, View):
                view, outers = next(rest)
                kinds += "v" if same(view.strides[-1], 1) or same(y.shape[-1], 1) else "s"
                further += [w.pointer(o), w.number(view.strides[-2]), *w.numbers(outers)]
            else:
                kinds += "s"
                further += [w.pointer(o), "0", *["0"] * len(outer)]
        chain.append((op, kinds))
    return kernels.matmul(tuple(chain), len(outer)), [
        w.pointer(x), w.number(x.strides[-2]), w.pointer(right), w.number(right.strides[-2]),
        w.pointer(y), w.number(y.strides[-2]), *w.numbers((y.shape[-2], x.shape[-1], y.shape[-1])),
        *w.numbers(outer), *(n for s in own for n in w.numbers(s)), *further]


def elementwise(w: Writer, step: Step) -> Call:
    y = step.result
    views = [o.broadcast_to(y.shape) for o in step.reads]
    dims, strides = collapsed(y.shape, [v.strides for v in (y, *views)])
    if not dims or not same(strides[0][-1], 1):                       # y itself has stride 1
        dims, strides = (*dims, 1), [(*s, 1) for s in strides]
    rest = iter(strides[1:])
    steps = [(step.attrs["op"], step.operands), *step.then]
    chain, further = [], []
    for op, operands in steps:
        kinds = ""
        for o in operands:
            own = next(rest) if isinstance(o, View) else (0,) * len(dims)
            kind = {"1": "v", "0": "s"}.get(str(own[-1]), "g")
            kinds += kind
            further += [w.pointer(o), *w.numbers(own[-1:] if kind == "g" else ()),
                        *w.numbers(own[:-1])]
        chain.append((op, kinds))
    return kernels.elementwise(tuple(chain), len(dims) - 1), [
        w.pointer(y), w.number(dims[-1]), *w.numbers(dims[:-1]), *w.numbers(strides[0][:-1]),
        *further]


def softmax(w: Writer, step: Step) -> Call:
    (x,), y, scale = step.views, step.result, step.attrs["scale"]
    arguments = [*matrix(w, x), *matrix(w, y), *w.numbers(y.shape)]
    if scale == 1.0:
        return kernels.softmax(scaled=False), arguments
    return kernels.softmax(scaled=True), [*arguments, w.pointer(scale)]


def layer_norm(w: Writer, step: Step) -> Call:
    x, *affine = step.views
    return kernels.layer_norm(weight=len(affine) > 0, bias=len(affine) > 1), [
        *matrix(w, x), *map(w.pointer, affine), w.pointer(step.attrs["eps"]),
        *matrix(w, step.result), *w.numbers(step.result.shape)]


def reduce(w: Writer, step: Step) -> Call:
    (x,) = step.views
    return kernels.reduce(step.attrs["op"]), [
        *matrix(w, x), w.pointer(step.result), *w.numbers(x.shape)]


def embedding(w: Writer, step: Step) -> Call:
    ids, table = step.views
    dims, (strides,) = collapsed(ids.shape, [ids.strides])
    V, D = table.shape
    number = str(w.program.steps.index(step))
    return kernels.embedding(step.attrs["index"], len(dims)), [
        w.pointer(ids), w.pointer(table), *w.numbers((V, D)), w.pointer(step.result), w.number(D),
        "fault", number, *w.numbers(dims), *w.numbers(strides)]


def matrix(w: Writer, operand: View) -> list[str]:
    return [w.pointer(operand), w.number(operand.strides[0])]


EMITTERS: dict[str, Callable[[Writer, Step], Call]] = {
    "linear": linear, "matmul": matmul, "elementwise": elementwise, "softmax": softmax,
    "layer_norm": layer_norm, "reduce": reduce, "embedding": embedding,
}

__all__ = ["EMITTERS", "Chain", "Source", "emit"]

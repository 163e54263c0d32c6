"""Program -> Python source: a launch a step under its line of the graph, then the kernels.

    def run(x, y, sizes, weights, scratch, buffers, fault, stream):
        ...
        # %0: f32[B, 128] = linear(%x, @0.weight, @0.bias) then relu
        product_64x64_...[blocks(...), 256, stream](x, 0, 64, W0, 0, 128, scratch, h0, 128, ...)

A kind of step has one entry in EMITTERS, a function from the step to its launches.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword

import numpy as np

from ir.graph import named_sizes
from ir.ops import OPS
from ir.text import name_values, print_call
from ir.types import DTYPES, Dim, DimExpr, product, same
from nncompile.cuda import kernels
from nncompile.cuda.arena import Arena
from nncompile.cuda.kernels import Chain, Kernel
from nncompile.cuda.target import Target
from nncompile.errors import CompileError
from nncompile.schedule import Operand, Program, Step, View
from nncompile.schedule.program import collapsed

LOCALS = ("sizes", "weights", "scratch", "buffers", "fault", "stream", "run", "cuda",
          "blocks", "ceil_div", "float32", "float64", "int64", "inf")


@dataclass(frozen=True)
class Launch:
    """One kernel of a step, `units` the text of how many blocks it could use.  `when` is the text
    of the condition under which it is taken; "" is the last choice."""

    kernel: Kernel
    units: str
    arguments: list[str]
    when: str = ""


@dataclass(frozen=True)
class Source:
    """The generated text, and what it is made of: `driver` its first function, its kernels by name,
    the arena it reads, the element type of its floats."""

    text: str
    driver: str
    kernels: Mapping[str, Kernel]
    arena: Arena
    dtype: str


def emit(program: Program, target: Target) -> Source:
    """Write the program for this target.

    Raises CompileError where a step has no kernel here, or another element type than the rest.
    """
    writer = Writer(program, target, element_type(program))
    driver = writer.run()
    texts = [driver, *(k.text for k in writer.called.values())]
    return Source("\n\n".join([writer.header(), *texts]), driver, writer.called, writer.arena,
                  writer.dtype)


def element_type(program: Program) -> str:
    """float32 or float64: the one type that all steps compute in."""
    found = ""
    for step in program.steps:
        dtype = str(DTYPES[step.node.result.type.dtype])
        if not dtype.startswith("float"):
            raise refused(step, f"computes in floats, and {step.node.op} makes {dtype}",
                          "integers can index an embedding")
        if found and dtype != found:
            raise refused(step, f"computes in one float type, and {step.node.op} makes {dtype} "
                          f"behind {found}", "model.float() or model.double(), and inputs alike")
        found = dtype
    return found or "float32"


def refused(step: Step, why: str, what_to_do: str) -> CompileError:
    return CompileError(f"the cuda target {why}{step.node.where.note}\n  do:    {what_to_do}")


class Writer:
    """Writes the driver; collects the kernels it launches and the weights they read."""

    def __init__(self, program: Program, target: Target, dtype: str) -> None:
        self.program, self.target, self.dtype, self.arena = program, target, dtype, Arena()
        self.called: dict[str, Kernel] = {}
        self.values = name_values(program.graph)
        self.sizes = size_names(program)
        self.places = place_names(program, set(self.sizes.values()))

    # -- the text --------------------------------------------------------------------------------

    def header(self) -> str:
        graph = self.program.graph
        inputs = ", ".join(str(v.type) for v in graph.inputs)
        outputs = ", ".join(str(v.type) for v in graph.outputs)
        return "\n".join([
            f'"""{inputs} -> {outputs} in {len(self.program.steps)} steps on a CUDA device.', "",
            "An array is given to a kernel with the place where an operand begins in it; places,",
            "strides and sizes count elements.  `run` launches; its kernels stand behind it.",
            '"""', ""])

    def run(self) -> str:
        program = self.program
        arrays = [self.places[v.place] for v in (*program.inputs, *program.outputs)]
        lines = [f"def run({', '.join(arrays)}, sizes, weights, scratch, buffers, fault, stream):",
                 '    """Launch all steps, in order, on the stream."""']
        if self.sizes:
            lines.append(f"    {unpacked(self.sizes.values())} = sizes")
        launches: list[str] = []
        for step in program.steps:
            launches += ["", self.comment(step), *self.launches(step)]
        entries = self.arena.entries.values()
        if entries:
            lines.append(f"    {unpacked(e.name for e in entries)} = weights")
            lines += [f"    # {e.name}: {e.about}" for e in entries]
        if program.buffers:
            lines.append(f"    {unpacked(program.buffers)} = buffers      # places in scratch")
            lines += [f"    # {name}: {self.number(size)} elements"
                      for name, size in program.buffers.items()]
        return "\n".join([*lines, *launches, ""])

    def comment(self, step: Step) -> str:
        node, copy = step.node, step.attrs.get("op") == "copy"
        what = f"{self.values[node.result]}: {node.result.type} = {print_call(node, self.values)}"
        return f"    # {'copy, for ' * (copy and node.op != 'concat')}{what}"

    def launches(self, step: Step) -> list[str]:
        if step.kind not in EMITTERS:
            raise refused(step, f"has no kernel for {step.kind}", "use target=\"cpu\"")
        if step.then and step.kind not in TAKE_THEN:
            raise refused(step, f"fuses nothing behind {step.kind}", "leave out `then`")
        found = EMITTERS[step.kind](self, step)
        lines = []
        for launch in found:
            self.called[launch.kernel.name] = launch.kernel
            branch = f"if {launch.when}:" if launch is found[0] else f"elif {launch.when}:"
            indent = " " * (8 if len(found) > 1 else 4)
            if len(found) > 1:
                lines.append(f"    {branch if launch.when else 'else:'}")
            lines += launch_lines(indent, launch)
        return lines

    # -- pieces of launches ----------------------------------------------------------------------

    def number(self, dim: Dim) -> str:
        return number_text(dim, self.sizes)

    def numbers(self, dims: Sequence[Dim]) -> list[str]:
        return [self.number(d) for d in dims]

    def factor(self, dim: Dim) -> str:
        text = self.number(dim)
        return text if re.fullmatch(r"\w+", text) else f"({text})"

    def elements(self, dims: Sequence[Dim]) -> str:
        return self.number(product(dims))

    def array(self, view: View) -> list[str]:
        """The array that the view lies in, and where in it it begins."""
        if view.place in self.program.constants:
            number = self.program.constants[view.place]
            shape = fixed(self.program.preparation.outputs[number].type.shape)
            return [self.arena.array(number, shape), self.number(view.offset)]
        if view.place in self.program.buffers:
            offset = "" if same(view.offset, 0) else f" + {self.number(view.offset)}"
            return ["scratch", f"{view.place}{offset}"]
        return [self.places[view.place], self.number(view.offset)]

    def scalar(self, value: float) -> str:
        """A number of the model, in its type; beyond the type's range it is an infinity."""
        with np.errstate(over="ignore"):
            value = value if np.isfinite(np.dtype(self.dtype).type(value)) else float(
                np.dtype(self.dtype).type(value))
        return f"{self.dtype}({value!r})" if np.isfinite(value) else f"{self.dtype}('{value}')"

    def operand(self, operand: Operand, strides: Sequence[Dim]) -> list[str]:
        """A further operand of a chain: a number, or an array and its strides."""
        if not isinstance(operand, View):
            return [self.scalar(operand)]
        return [*self.array(operand), *self.numbers(strides)]


def kind(operand: Operand) -> str:
    return "v" if isinstance(operand, View) else "s"


# -- one function for each kind of step ------------------------------------------------------------

def linear(w: Writer, step: Step) -> list[Launch]:
    x, weight, *bias = step.views
    N, K = fixed(weight.shape)
    rows = x.shape[0]
    place = w.arena.transposed(w.program.constants[weight.place], (N, K))
    then = ((("add", tuple(bias)),) if bias else ()) + step.then
    further = [o for _, operands in then for o in operands]
    columns = [row_strides(o, step.result.shape) if isinstance(o, View) else () for o in further]
    arguments = [*w.array(x), w.number(x.strides[0]), place, "0", str(N), *w.array(step.result),
                 str(N), w.number(rows), str(K), str(N)]
    for o, own in zip(further, columns, strict=True):
        arguments += w.operand(o, own)
    return products(w, chain_of(then), 0, rows, N, 1, arguments)


def row_strides(operand: View, shape: Sequence[Dim]) -> tuple[Dim, Dim]:
    """Strides of a further operand of linear along rows and columns."""
    view = operand.broadcast_to(shape)
    rows, (strides,) = collapsed(view.shape[:-1], [view.strides[:-1]])
    return (strides[-1] if rows else 0), view.strides[-1]


def chain_of(then: Sequence[tuple[str, tuple[Operand, ...]]]) -> Chain:
    return tuple((op, "".join(map(kind, operands))) for op, operands in then)


def matmul(w: Writer, step: Step) -> list[Launch]:
    x, right = step.views
    y, lead = step.result, step.result.shape[:-2]
    x = x.broadcast_to((*lead, *x.shape[-2:]))
    right = right.broadcast_to((*lead, *right.shape[-2:]))
    views = [o.broadcast_to(y.shape) for o in step.reads[2:]]
    outer, strides = collapsed(lead, [v.strides[:-2] for v in (x, right, y, *views)])
    own, rest = strides[:3], iter(zip(views, strides[3:], strict=True))
    M, K, N = y.shape[-2], x.shape[-1], y.shape[-1]
    arguments = [*w.array(x), w.number(x.strides[-2]), *w.array(right),
                 w.number(right.strides[-2]), *w.array(y), w.number(y.strides[-2]),
                 *w.numbers((M, K, N)), *w.numbers(outer), *(n for s in own for n in w.numbers(s))]
    for o in (o for _, operands in step.then for o in operands):
        if isinstance(o, View):
            view, outers = next(rest)
            arguments += w.operand(o, (*view.strides[-2:], *outers))
        else:
            arguments += w.operand(o, ())
    return products(w, chain_of(step.then), len(outer), M, N, product(outer), arguments)


def products(w: Writer, then: Chain, outer: int, M: Dim, N: Dim, matrices: Dim,
             arguments: list[str]) -> list[Launch]:
    """The kernels that a product may run on, by how many rows it has and how large it is."""
    check_chain(w, then)
    small, large = w.target.tiles[w.dtype]
    few = kernels.few(then, outer, w.dtype, w.target)
    tiles = [kernels.tiled(then, outer, w.dtype, w.target, t) for t in (small, large)]

    def units(rows: int, columns: int) -> str:
        down, right = (str(-(-d // s)) if isinstance(d, int) else f"ceil_div({w.number(d)}, {s})"
                       for d, s in ((M, rows), (N, columns)))
        factors = [f for f in (down, right, w.factor(matrices)) if f != "1"]
        return " * ".join(factors) or "1"

    choices = [(M, 4 * w.target.few.rows, few, w.target.few.rows, w.target.few.lanes),
               (product((M, N, matrices)), w.target.large, tiles[0], small.rows, small.columns)]
    launches = []
    for size, most, kernel, rows, columns in choices:
        if not isinstance(size, int):
            when = f"{w.number(size)} <= {most}"
            launches.append(Launch(kernel, units(rows, columns), arguments, when))
        elif size <= most:
            return [*launches, Launch(kernel, units(rows, columns), arguments)]
    return [*launches, Launch(tiles[1], units(large.rows, large.columns), arguments)]


def elementwise(w: Writer, step: Step) -> list[Launch]:
    y = step.result
    views = [o.broadcast_to(y.shape) for o in step.reads]
    dims, strides = collapsed(y.shape, [v.strides for v in (y, *views)])
    if not dims:
        dims, strides = (1,), [(0,) for _ in strides]
    rest = iter(strides[1:])
    steps = [(step.attrs["op"], step.operands), *step.then]
    arguments = [*w.array(y), *w.numbers(dims), *w.numbers(strides[0])]
    for o in (o for _, operands in steps for o in operands):
        arguments += w.operand(o, next(rest) if isinstance(o, View) else ())
    chain = chain_of(steps)
    check_chain(w, chain)
    kernel = kernels.elementwise(chain, len(dims), w.dtype, w.target)
    return [Launch(kernel, f"ceil_div({w.elements(dims)}, {kernel.threads})", arguments)]


def check_chain(w: Writer, chain: Chain) -> None:
    for op, _ in chain:
        if op not in kernels.FUNCTIONS:
            raise CompileError(f"the cuda target has no function for {op}: one line in "
                               "nncompile/cuda/kernels/chain.py, FUNCTIONS, adds it")


def threads_a_row(w: Writer, length: Dim) -> list[tuple[int, str]]:
    """Choices of a row kernel's block with their conditions: by the rows' length alone."""
    short, long = w.target.row_threads
    if isinstance(length, int):
        return [(short if length <= w.target.row_length else long, "")]
    return [(short, f"{w.number(length)} <= {w.target.row_length}"), (long, "")]


def softmax(w: Writer, step: Step) -> list[Launch]:
    (x,), y = step.views, step.result
    arguments = [*matrix(w, x), *matrix(w, y), *w.numbers(y.shape), w.scalar(step.attrs["scale"])]
    return [Launch(kernels.softmax(w.dtype, threads), w.number(y.shape[0]), arguments, when)
            for threads, when in threads_a_row(w, y.shape[1])]


def layer_norm(w: Writer, step: Step) -> list[Launch]:
    x, *affine = step.views
    y = step.result
    arguments = [*matrix(w, x), *(a for v in affine for a in w.array(v)), *matrix(w, y),
                 *w.numbers(y.shape), w.scalar(step.attrs["eps"])]
    return [Launch(kernels.layer_norm(len(affine) > 0, len(affine) > 1, w.dtype, threads),
                   w.number(y.shape[0]), arguments, when)
            for threads, when in threads_a_row(w, y.shape[1])]


def reduce(w: Writer, step: Step) -> list[Launch]:
    (x,) = step.views
    arguments = [*matrix(w, x), *w.array(step.result), *w.numbers(x.shape)]
    return [Launch(kernels.reduce(step.attrs["op"], w.dtype, threads), w.number(x.shape[0]),
                   arguments, when) for threads, when in threads_a_row(w, x.shape[1])]


def embedding(w: Writer, step: Step) -> list[Launch]:
    ids, table = step.views
    dims, (strides,) = collapsed(ids.shape, [ids.strides])
    rows, D = product(ids.shape), table.shape[1]
    kernel = kernels.embedding(step.attrs["index"], len(dims), w.dtype, w.target)
    return [Launch(kernel, f"ceil_div({w.elements((rows, D))}, {kernel.threads})", [
        *w.array(ids), *w.array(table), *w.numbers(table.shape), *w.array(step.result),
        w.number(rows), "fault", str(w.program.steps.index(step)), *w.numbers(dims),
        *w.numbers(strides)])]


def matrix(w: Writer, view: View) -> list[str]:
    return [*w.array(view), w.number(view.strides[0])]


EMITTERS: dict[str, Callable[[Writer, Step], list[Launch]]] = {
    "linear": linear, "matmul": matmul, "elementwise": elementwise, "softmax": softmax,
    "layer_norm": layer_norm, "reduce": reduce, "embedding": embedding,
}
TAKE_THEN = ("linear", "matmul", "elementwise")


# -- names and numbers -----------------------------------------------------------------------------

def size_names(program: Program) -> dict[str, str]:
    """A variable for each named size: its own name if that is plain, or else S0, S1, ..."""
    plain = re.compile(r"[A-Z][A-Za-z]{0,15}")
    return {name: name if plain.fullmatch(name) and not iskeyword(name) else f"S{i}"
            for i, name in enumerate(named_sizes(program.graph))}


def place_names(program: Program, taken: set[str]) -> dict[str, str]:
    """A variable for each input and output.  Names of inputs are the user's: they are taken over
    only if they cannot mean anything else here."""
    taken = {*taken, *LOCALS, *OPS, *kernels.FUNCTIONS}
    names = {}
    for i, (view, value) in enumerate(zip(program.inputs, program.graph.inputs, strict=True)):
        plain = re.fullmatch(r"[a-z][a-z_]{0,15}", value.name) and not iskeyword(value.name)
        name = value.name if plain and value.name not in taken else f"in{i}"
        names[view.place] = name
        taken.add(name)
    single = len(program.outputs) == 1 and "y" not in taken
    return names | {v.place: "y" if single else v.place for v in program.outputs}


def unpacked(names: Iterable[str]) -> str:
    """The left side of an assignment from a sequence of so many."""
    text = ", ".join(names)
    return text if "," in text else f"{text},"


def fixed(shape: Sequence[Dim]) -> list[int]:
    """The shape of a constant, which has no named sizes."""
    return [dim.__index__() for dim in shape]


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


def launch_lines(indent: str, launch: Launch) -> list[str]:
    """The launch, its arguments on lines of their own, broken behind commas at 100 columns."""
    grid = f"blocks({launch.units}), {launch.kernel.threads}, stream]("
    lines = [f"{indent}{launch.kernel.name}[{grid}"]
    if len(lines[0]) > 100:
        lines = [f"{indent}{launch.kernel.name}[", f"{indent}    {grid}"]
    line = f"{indent}    "
    for argument in launch.arguments[:-1]:
        if len(line) + len(argument) > 98:
            lines.append(line.rstrip())
            line = f"{indent}    "
        line += f"{argument}, "
    return [*lines, f"{line}{launch.arguments[-1]})"]

"""Program -> Python source: for each step its line of the graph and a launch, then the kernels.

    def run(x, y, sizes, weights, scratch, buffers, fault, stream):
        ...
        # %0: f32[B, 128] = linear(%x, @0.weight, @0.bias) then relu
        product_64x64_...[blocks(...), 256, stream](x, 0, 64, W0, 0, 128, scratch_f32, h0, 128, ...)

A kind of step has one entry in STEPS (steps.py), a function from the step to its launches.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import dedent

from ir.printer import name_values
from nncompile.backend import StepCode
from nncompile.cuda.kernels import Kernel
from nncompile.cuda.steps import Launch, launches_of
from nncompile.cuda.target import Target
from nncompile.cuda.text import Printer
from nncompile.cuda.weights import about, constant_name
from nncompile.schedule import Place, Program, View
from nncompile.schedule.names import comment


@dataclass(frozen=True)
class Source:
    """The generated text and its parts.

    driver: its first function. kernels: by name. scratch: the dtypes that it reads scratch memory
    as.
    """

    text: str
    driver: str
    kernels: Mapping[str, Kernel]
    scratch: tuple[str, ...]

    @property
    def reports(self) -> bool:
        """Whether a kernel may report a wrong number among the data."""
        return any("fault" in kernel.arguments for kernel in self.kernels.values())


def build(program: Program, target: Target) -> Source:
    """Returns the source of the program for this target."""
    launches = [launches_of(step, number, target) for number, step in enumerate(program.steps)]
    kernels = {launch.kernel.name: launch.kernel for choices in launches for launch in choices}
    scratch = tuple(dict.fromkeys(
        argument.dtype for choices in launches for launch in choices
        for argument in launch.arguments
        if isinstance(argument, View) and argument.place.kind == "slot"))
    driver = _driver(program, launches, scratch)
    texts = [_header(program), driver, *(kernel.text for kernel in kernels.values())]
    return Source("\n\n".join(texts), driver, kernels, scratch)


def step_codes(program: Program, target: Target) -> list[StepCode]:
    """Returns the kernels of each step and the lines that launch one, as `build` writes them."""
    printer = Printer(program)
    codes = []
    for number, step in enumerate(program.steps):
        choices = launches_of(step, number, target)
        kernels = tuple(dict.fromkeys(launch.kernel.name for launch in choices))
        codes.append(StepCode(kernels, dedent("\n".join(printer.launches(choices)))))
    return codes


def _header(program: Program) -> str:
    """Returns the docstring of the generated text."""
    graph = program.graph
    inputs = ", ".join(str(v.type) for v in graph.inputs)
    outputs = ", ".join(str(v.type) for v in graph.returned)
    return "\n".join([
        f'"""{inputs} -> {outputs} in {len(program.steps)} steps on a CUDA device.', "",
        "An array is given to a kernel with the place where an operand begins in it; places,",
        "strides and sizes count elements.  `run` launches; its kernels stand behind it.",
        '"""', ""])


def _driver(program: Program, launches: Sequence[Sequence[Launch]], scratch: Sequence[str]) -> str:
    """Returns the text of `run`."""
    printer, values = Printer(program), name_values(program.graph)
    arrays = [printer.places[v.place] for v in (*program.inputs, *program.outputs)]
    lines = [f"def run({', '.join(arrays)}, sizes, weights, scratch, buffers, fault, stream):",
             '    """Launch all steps, in order, on the stream."""']
    if printer.sizes:
        lines.append(f"    {_unpacked(printer.sizes.values())} = sizes")
    constants = {constant_name(Place("constant", k)): constant
                 for k, constant in enumerate(program.constants)}
    if constants:
        lines.append(f"    {_unpacked(constants)} = weights")
        lines += [f"    # {name}: {about(constant)}" for name, constant in constants.items()]
    if program.buffers:
        views = _unpacked(f"scratch_{dtype}" for dtype in scratch)
        slots = {printer.places[place]: size for place, size in program.buffers.items()}
        lines += [f"    {views} = scratch      # one memory, by types",
                  f"    {_unpacked(slots)} = buffers      # places in it, in words"]
        lines += [f"    # {name}: {printer.number(size)} words of 4 bytes"
                  for name, size in slots.items()]
    for step, choices in zip(program.steps, launches, strict=True):
        lines += ["", f"    {comment(step, values)}", *printer.launches(choices)]
    return "\n".join([*lines, ""])


def _unpacked(names: Iterable[str]) -> str:
    """Returns the left side of an assignment from a sequence of so many."""
    text = ", ".join(names)
    return text if "," in text else f"{text},"

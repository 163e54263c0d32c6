"""Program -> Python source: for each step its line of the graph and a launch, then the kernels.

    def run(x, y, sizes, weights, scratch, buffers, fault, stream):
        ...
        # %0: f32[B, 128] = linear(%x, @0.weight, @0.bias) then relu
        product_64x64_...[blocks(...), 256, stream](x, 0, 64, W0, 0, 128, scratch_f32, h0, 128, ...)

A kind of step has one entry in STEPS (steps.py), a function from the step to its launches.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ir.printer import name_values
from nncompile.cuda.kernels import Kernel
from nncompile.cuda.naming import Scope
from nncompile.cuda.steps import STEPS, Launch
from nncompile.cuda.target import Target
from nncompile.cuda.weights import about, constant_name
from nncompile.schedule import Place, Program, Step
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
    writer = _Writer(program, target)
    driver = writer.run()
    texts = [driver, *(k.text for k in writer.called.values())]
    return Source("\n\n".join([writer.header(), *texts]), driver, writer.called,
                  tuple(writer.scratch))


class _Writer(Scope):
    """Writes the driver, and collects the kernels that it launches and the weights that they read.
    """

    def __init__(self, program: Program, target: Target) -> None:
        super().__init__(program, target)
        self.called: dict[str, Kernel] = {}
        self.values = name_values(program.graph)

    def header(self) -> str:
        """Returns the docstring of the generated text."""
        graph = self.program.graph
        inputs = ", ".join(str(v.type) for v in graph.inputs)
        outputs = ", ".join(str(v.type) for v in graph.outputs)
        return "\n".join([
            f'"""{inputs} -> {outputs} in {len(self.program.steps)} steps on a CUDA device.', "",
            "An array is given to a kernel with the place where an operand begins in it; places,",
            "strides and sizes count elements.  `run` launches; its kernels stand behind it.",
            '"""', ""])

    def run(self) -> str:
        """Returns the text of the driver."""
        program = self.program
        arrays = [self.places[v.place] for v in (*program.inputs, *program.outputs)]
        lines = [f"def run({', '.join(arrays)}, sizes, weights, scratch, buffers, fault, stream):",
                 '    """Launch all steps, in order, on the stream."""']
        if self.sizes:
            lines.append(f"    {_unpacked(self.sizes.values())} = sizes")
        launches: list[str] = []
        for step in program.steps:
            launches += ["", f"    {comment(step, self.values)}", *self._launches(step)]
        constants = {constant_name(Place("constant", k)): constant
                     for k, constant in enumerate(program.constants)}
        if constants:
            lines.append(f"    {_unpacked(constants)} = weights")
            lines += [f"    # {name}: {about(constant)}" for name, constant in constants.items()]
        if program.buffers:
            views = _unpacked(f"scratch_{dtype}" for dtype in self.scratch)
            slots = {self.places[place]: size for place, size in program.buffers.items()}
            lines += [f"    {views} = scratch      # one memory, by types",
                      f"    {_unpacked(slots)} = buffers      # places in it, in words"]
            lines += [f"    # {name}: {self.number(size)} words of 4 bytes"
                      for name, size in slots.items()]
        return "\n".join([*lines, *launches, ""])

    def _launches(self, step: Step) -> list[str]:
        """Returns the lines that launch a step's kernel, which the sizes may choose."""
        found = STEPS[step.kind](self, step)
        lines = []
        for launch in found:
            self.called[launch.kernel.name] = launch.kernel
            branch = f"if {launch.when}:" if launch is found[0] else f"elif {launch.when}:"
            indent = " " * (8 if len(found) > 1 else 4)
            if len(found) > 1:
                lines.append(f"    {branch if launch.when else 'else:'}")
            lines += _launch_lines(indent, launch)
        return lines


def _unpacked(names: Iterable[str]) -> str:
    """Returns the left side of an assignment from a sequence of so many."""
    text = ", ".join(names)
    return text if "," in text else f"{text},"


def _launch_lines(indent: str, launch: Launch) -> list[str]:
    """Returns a launch with its arguments on lines of their own, broken at 100 columns."""
    grid = f"blocks({launch.units}), {launch.kernel.threads}, stream]("
    lines = [f"{indent}{launch.kernel.name}[{grid}"]
    if len(lines[0]) > 100:
        lines = [f"{indent}{launch.kernel.name}[", f"{indent}    {grid}"]
    line, *others = launch.arguments
    line = f"{indent}    {line}"
    for argument in others:
        if len(line) + len(argument) > 97:
            lines.append(f"{line},")
            line = f"{indent}    {argument}"
        else:
            line += f", {argument}"
    return [*lines, f"{line})"]

"""NNCOMPILE_DUMP=folder: every compilation writes its stages there, as numbered text files.

    folder/001-Sequential/index.txt         each pass, and its file if it changed anything
                          00-traced.ir      the graph, then after each pass that changed it, when
                          04-remove_identity.ir      it is reached: what precedes an error is there
                          ...
                          31-program.txt    steps, views and buffers
                          32-source.py      what the target was given
                          repro.py          runs a stage: `python repro.py 04-remove_identity.ir`

A value has one number in all of the files. A compilation makes its own folder, which only this user
can read, and replaces nothing.
"""
from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from ir import Graph, Pass, Value
from ir.printer import name_values, print_graph
from nncompile import options
from nncompile.errors import CompileError
from nncompile.inspect.stages import PassRun

if TYPE_CHECKING:
    from nncompile.inspect.provenance import Change

_REPRO = '''\
"""Runs a stage of this compilation: python repro.py 00-traced.ir

It runs the passes that follow the stage, checks each, compiles what they leave, and compares the
result with the references in float64. The files have no numbers: inputs and weights are random
here, the same in every run. NNCOMPILE_JIT=0 makes the generated source plain Python.
"""
import sys
from pathlib import Path

import numpy as np

import ir
import nncompile
from ir.check import example_inputs, with_data
from nncompile.passes.parser import parse_passes

PASSES = {passes!r}
TARGET = {target!r}
SIZE = 3                                         # of each named size

file = sys.argv[1] if len(sys.argv) > 1 else "00-traced.ir"
graph = with_data(ir.parse((Path(__file__).parent / file).read_text()))
passes = parse_passes(PASSES)[int(file[:2]):]
print(f"{{file}}: {{len(graph.nodes)}} nodes, {{len(passes)}} passes follow")
fast = nncompile.compile(graph, passes=passes, target=TARGET, check=True)
arrays = example_inputs(graph, SIZE)
found = fast(*arrays)
for number, (value, right) in enumerate(zip(
        found if isinstance(found, tuple) else (found,),
        ir.interpret(graph, arrays, dtype=np.float64), strict=True)):
    difference = np.abs(np.subtract(value, right, dtype=np.float64)).max(initial=0.0)
    print(f"output {{number}}: {{value.dtype}}{{list(value.shape)}}, at most {{difference:.3g}} "
          "from the references")
'''


class Dump:
    """Writes the stages of one compilation; does nothing unless NNCOMPILE_DUMP is set.

    Raises CompileError where the folder cannot be written.
    """

    def __init__(self, name: str, passes: Sequence[Pass] = (), target: str = "cpu") -> None:
        self._folder: Path | None = None
        self._numbers = count()
        self._last: Graph | None = None
        self._names: dict[Value, str] = {}
        if asked := options.DUMP.value():
            try:
                self._folder = _new_folder(Path(asked).expanduser(), _safe(name))
            except OSError as error:
                raise _refused(error) from None
            from nncompile.passes.parser import passes_text  # here: few compilations need it

            said = passes_text(passes)
            self._write("repro.py", _REPRO.format(passes=said, target=target))

    def stage(self, run: PassRun) -> None:
        """Writes the graph after a pass, if it differs, and a line of the index."""
        if self._folder is None:
            return
        from nncompile.inspect.provenance import changes, extended_names  # which few programs need

        number = next(self._numbers)
        found = None if self._last is None else changes(self._last, run.graph)
        about = (f"{number:02} {run.name:<18} {len(run.graph.nodes):5} nodes "
                 f"{run.seconds * 1e3:8.2f} ms")
        if found == [] and self._last is not None and self._last.outputs == run.graph.outputs:
            self._index(f"{about}  nothing changed")
            return
        self._names = extended_names(self._names, run.graph)
        file = f"{number:02}-{_safe(run.name)}.ir"
        said = "".join(f"# {line}\n" for line in _told(found or [], self._names))
        there = {v: self._names[v] for v in name_values(run.graph)}
        self._write(file, f"# after {run.name}\n{said}{print_graph(run.graph, there)}")
        self._index(f"{about}  {file}")
        self._last = run.graph

    def text(self, name: str, content: object) -> None:
        """Writes something else as the next numbered file."""
        if self._folder is not None:
            file = f"{next(self._numbers):02}-{_safe(name)}"
            self._write(file, str(content))
            self._index(file)

    def _index(self, line: str) -> None:
        self._write("index.txt", line, os.O_APPEND)

    def _write(self, name: str, content: str, how: int = os.O_EXCL) -> None:
        assert self._folder is not None
        try:
            number = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | how, 0o600)
            with open(number, "w", encoding="utf-8") as opened:
                opened.write(content.rstrip("\n") + "\n")
        except OSError as error:
            raise _refused(error) from None


def _told(found: Sequence[Change], names: Mapping[Value, str]) -> list[str]:
    """What became of each value that is gone."""
    return [f"{names[c.value]} is in {', '.join(names[v] for v in c.into)} now"
            for c in found if c.after is None and c.into]


def _new_folder(parent: Path, name: str) -> Path:
    """Returns a new folder with the next free number, which `mkdir` decides among processes."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in count(1 + sum(1 for _ in parent.iterdir())):
        path = parent / f"{number:03}-{name}"
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return path
    raise AssertionError("numbers do not end")


def _safe(name: str) -> str:
    """Returns the name as part of a file's name: no separators, not hidden, not too long."""
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name)[:80].lstrip(".") or "_"


def _refused(error: OSError) -> CompileError:
    where = f": {error.filename}" if error.filename else ""
    return CompileError(f"{options.DUMP.variable} asks for files that cannot be written{where}: "
                        f"{error.strerror or error}\n"
                        "  do: name a folder of your own, or unset it")

"""What the page shows, as data: everything that is computed is computed here, not in the page."""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ir import Graph, Node, Pass, Value
from ir.printer import name_values, print_call
from ir.records import dataclass, field
from ir.types import DTYPES, evaluate_dim, product
from nncompile.backend import Machine, StepCode
from nncompile.inspect.drawing import FAMILIES, Picture, draw, family_of, title_of
from nncompile.inspect.layers import path_of, span_of, without_numbers
from nncompile.inspect.profile import Profile
from nncompile.inspect.provenance import stable_names
from nncompile.inspect.reasons import standing
from nncompile.inspect.roofline import (
    Bound,
    Cost,
    bound_of,
    costs_of,
    exceeded,
    hint,
    level_of,
    peak,
)
from nncompile.inspect.sections import block_names
from nncompile.inspect.stages import PassRun
from nncompile.schedule import Program, Step
from nncompile.schedule.cost import table_bytes

Data = dict[str, Any]

_MATTERS = 0.02                       # of a call: less is not worth a hint



@dataclass(frozen=True)
class Facts:
    """All that a report is made of.

    codes: of each step. asm: of each kernel. profile and machine: None where nothing is measured.
    passes: those that ran; their docstrings say what they look for. peers: what
    `nncompile bench --save` wrote of the model beside others.
    """

    runs: Sequence[PassRun]
    program: Program
    codes: Sequence[StepCode]
    source: str
    asm: Mapping[str, str]
    notes: Sequence[str]
    profile: Profile | None = None
    machine: Machine | None = None
    passes: Sequence[Pass] = field(default_factory=tuple)
    peers: Mapping[str, Any] | None = None


def page_data(facts: Facts) -> Data:
    """Returns the data of a page: dicts, lists, texts and numbers alone."""
    graphs = [run.graph for run in facts.runs]
    table = _Nodes(stable_names(graphs))
    pictures: dict[Any, Picture] = {}
    stages = _stages(facts, table, pictures)
    steps = _steps(facts, table)
    last = graphs[-1]
    return {
        "model": last.name,
        "inputs": [f"{v.name}: {v.type}" for v in last.inputs if v.kind == "input"],
        "states": [len(last.states), sum(_bytes(v) for v in last.states)],
        "outputs": [str(v.type) for v in last.returned],
        "sizes": dict(facts.profile.sizes) if facts.profile else {},
        "wall": facts.profile.wall - facts.profile.waiting if facts.profile else None,
        "families": FAMILIES,
        "stages": stages,
        "pictures": [_picture_data(picture) for picture in pictures.values()],
        "steps": steps,
        "layers": _layers(facts.program, steps, table),
        "memory": _memory(facts, table),
        "left": [{"pass": left.pass_name, "layer": left.layer, "text": left.text,
                  "value": table.value(left.node.result)} for left in standing(facts.runs)],
        "machine": _machine_data(facts),
        "peers": None if facts.peers is None else _peers(facts.peers),
        "weights": _weight_bytes(facts.program),
        "notes": list(facts.notes),
        "source": facts.source,
        "asm": dict(facts.asm),
        "nodes": table.nodes,
        "values": table.values,
        "final": {table.value(v): name for v, name in name_values(last).items()
                  if v.kind == "result"},
    }


class _Nodes:
    """The nodes and values of all stages, each once, by number."""

    def __init__(self, names: Mapping[Value, str]) -> None:
        self.names = names
        self.nodes: list[Data] = []
        self.values: list[list[str]] = []        # name and type
        self._node_numbers: dict[int, int] = {}
        self._value_numbers: dict[Value, int] = {}
        self._kept: list[Node] = []              # so that no id is that of another one

    def value(self, value: Value) -> int:
        if value not in self._value_numbers:
            self._value_numbers[value] = len(self.values)
            self.values.append([self.names.get(value, "%?"), str(value.type)])
        return self._value_numbers[value]

    def node(self, node: Node, at_load: frozenset[Value]) -> int:
        if id(node) not in self._node_numbers:
            self._node_numbers[id(node)] = len(self.nodes)
            self._kept.append(node)
            self.nodes.append({
                "value": self.value(node.result), "op": node.op, "title": title_of(node),
                "text": print_call(node, self.names), "family": family_of(node, at_load),
                "layer": node.where.layer, "line": node.where.line,
                "reads": [self.value(o) for o in dict.fromkeys(node.inputs)
                          if isinstance(o, Value)]})
        return self._node_numbers[id(node)]


# -- stages ----------------------------------------------------------------------------------------

def _stages(facts: Facts, table: _Nodes, pictures: dict[Any, Picture]) -> list[Data]:
    about = {pass_.name: _picture_of_pass(pass_) for pass_ in facts.passes}
    stages: list[Data] = []
    before: Graph | None = None
    for run in facts.runs:
        stage: Data = {"name": run.name, "seconds": run.seconds,
                       "about": about.get(run.name.partition(":")[0], "")}
        stages.append(stage)
        if before is not None and _same_nodes(before, run.graph):
            stage["idle"] = True
            continue
        stage |= _drawn(run.graph, table, pictures)
        stage["rules"] = [] if before is None else _rules(before, run.graph)
        before = run.graph
    return stages


def _same_nodes(a: Graph, b: Graph) -> bool:
    return (len(a.nodes) == len(b.nodes) and a.outputs == b.outputs
            and all(x is y for x, y in zip(a.nodes, b.nodes, strict=True)))


def _drawn(graph: Graph, table: _Nodes, pictures: dict[Any, Picture]) -> Data:
    at_load = graph.load_time_values
    sections = []
    for section in draw(graph, pictures):
        number = next(i for i, p in enumerate(pictures.values()) if p is section.picture)
        sections.append({
            "picture": number,
            "names": block_names([block.nodes for block in section.blocks]),
            "blocks": [[table.node(node, at_load) for node in block.nodes]
                       for block in section.blocks],
            "pills": [[table.value(value) for value in block.reads] for block in section.blocks]})
    return {"sections": sections, "outputs": [table.value(v) for v in graph.outputs]}


def _picture_data(picture: Picture) -> Data:
    return {"width": picture.width, "height": picture.height,
            "boxes": [list(box) for box in picture.boxes],
            "edges": [[edge.source, edge.target, [list(point) for point in edge.points]]
                      for edge in picture.edges]}


def _picture_of_pass(pass_: Pass) -> str:
    """The docstring of a pass, which shows what it looks for and what it makes of that."""
    lines = (type(pass_).__doc__ or "").strip().splitlines()
    return "\n".join([*lines[:1], *(line.removeprefix("    ") for line in lines[1:])])


def _rules(before: Graph, after: Graph) -> list[Data]:
    """What a pass made of what, how often: `mul, softmax` became `softmax`, 12 times."""
    old, new = {n.result: n for n in before.nodes}, {n.result: n for n in after.nodes}
    found: Counter[tuple[str, str]] = Counter()
    explained: set[Value] = set()
    for value, node in new.items():
        if old.get(value) is node:
            continue
        gone = _taken_in(value, old, new)
        explained |= gone
        was = [title_of(old[v]) for v in old if v in gone]
        if was and (was != [title_of(node)] or old[value].attrs != node.attrs):
            found[", ".join(was), title_of(node)] += 1
        elif not was:
            found["", title_of(node)] += 1
    removed = [n for v, n in old.items() if v not in new and v not in explained]
    found.update((title_of(node), "") for node in removed)
    return [{"was": was, "is": now, "times": times}
            for (was, now), times in found.most_common()]


def _taken_in(value: Value, old: Mapping[Value, Node], new: Mapping[Value, Node]) -> set[Value]:
    """The value, where it was computed before, and what went with it: only it needed that."""
    if value not in old:
        return set()
    gone, waiting = {value}, [old[value]]
    while waiting:
        for operand in waiting.pop().inputs:
            if isinstance(operand, Value) and operand in old and operand not in new \
                    and operand not in gone:
                gone.add(operand)
                waiting.append(old[operand])
    return gone


# -- steps -----------------------------------------------------------------------------------------

def _steps(facts: Facts, table: _Nodes) -> list[Data]:
    program, profile = facts.program, facts.profile
    at_load = program.graph.load_time_values
    steps = [{"node": table.node(step.node, at_load), "kind": step.kind, "purpose": step.purpose,
              "nodes": [table.node(node, at_load) for node in step.nodes],
              "kernels": list(code.kernels), "lines": code.lines}
             for step, code in zip(program.steps, facts.codes, strict=True)]
    if profile is None:
        return steps
    measured = zip(steps, costs_of(program, profile.sizes), profile.seconds, strict=True)
    for data, cost, seconds in measured:
        data |= {"seconds": seconds, "flops": cost.flops, "bytes": cost.bytes}
        if (bound := _bound(facts, cost)) is not None:
            data |= {"bound": bound.seconds, "by": bound.by, "hint": hint(cost, bound, seconds)}
    return steps


def _bound(facts: Facts, cost: Cost) -> Bound | None:
    if facts.machine is None:
        return None
    levels = facts.machine.caches
    weights = _weight_bytes(facts.program) - table_bytes(facts.program)
    return bound_of(cost, facts.machine, level_of(weights, levels),
                    level_of(cost.data, levels))


def _weight_bytes(program: Program) -> int:
    return sum(int(product(c.shape)) * DTYPES[c.dtype].itemsize for c in program.constants)


def _bytes(state: Value) -> int:
    return int(product(state.type.shape)) * DTYPES[state.type.dtype].itemsize


def _layers(program: Program, steps: Sequence[Data], table: _Nodes) -> list[Data]:
    """The steps by layer and op, those of layers that differ in their numbers alone together."""
    paths = [path_of(step.node) for step in program.steps]
    groups: dict[tuple[str, str, str], list[int]] = {}
    for number, step in enumerate(steps):
        node = table.nodes[step["node"]]
        key = (without_numbers(paths[number]), node["title"], table.values[node["value"]][1])
        groups.setdefault(key, []).append(number)
    rows = []
    total = sum(step.get("seconds", 0.0) for step in steps)
    for (_, title, _), numbers in groups.items():
        own = [steps[n] for n in numbers]
        nodes = [table.nodes[step["node"]] for step in own]
        row: Data = {"layer": span_of([paths[n] for n in numbers]), "title": title,
                     "steps": numbers, "times": len({step["node"] for step in own}),
                     "family": nodes[0]["family"]}
        for what in ("seconds", "flops", "bytes", "bound"):
            if all(what in step for step in own):
                row[what] = sum(step[what] for step in own)
        if "bound" in row:
            longest = max(own, key=lambda step: float(step["seconds"]))
            row |= {"by": longest["by"], "hint": longest["hint"]
                    if row["seconds"] >= _MATTERS * total else "Too little of a call to matter."}
        rows.append(row)
    return sorted(rows, key=lambda row: -row.get("seconds", 0.0))


# -- memory ----------------------------------------------------------------------------------------

def _memory(facts: Facts, table: _Nodes) -> Data:
    """The slots of scratch memory, and which value each holds from which step to which."""
    program = facts.program
    sizes = facts.profile.sizes if facts.profile else None
    slots = {place: i for i, place in enumerate(program.buffers)}
    spans: list[Data] = []
    open_spans: dict[int, tuple[Step, Data]] = {}
    at_load = program.graph.load_time_values
    for number, step in enumerate(program.steps):
        for view in step.reads:
            if view.place in slots and (found := open_spans.get(slots[view.place])):
                found[1]["last"] = number
        for slot in dict.fromkeys(slots[v.place] for v in step.results if v.place in slots):
            writer, span = open_spans.get(slot, (None, {}))
            if writer is not None and writer.node is step.node and writer.part == step.part:
                span["last"] = number
                continue
            span = {"slot": slot, "first": number, "last": number,
                    "node": table.node(step.node, at_load), "what": step.purpose}
            open_spans[slot] = step, span
            spans.append(span)
    return {"slots": [{"name": str(place), "size": str(size), "bytes":
                       None if sizes is None else 4 * evaluate_dim(size, sizes)}
                      for place, size in program.buffers.items()], "spans": spans}


def _peers(saved: Mapping[str, Any]) -> Data:
    """The times of a call, of each contender in each row of a benchmark."""
    def result(name: str, found: Mapping[str, Any]) -> Data:
        p50 = found.get("quantiles", {}).get("p50", {})
        return {"name": name, "note": found.get("note", ""), "seconds": found.get("median"),
                "low": p50.get("low"), "high": p50.get("high")}

    return {"machine": saved["machine"], "title": saved["title"],
            "scenario": saved["scenario"], "versions": saved["versions"],
            "rows": [{"batch": row["batch"], "threads": row["threads"], "busy": row["busy"],
                      "results": [result(*each) for each in row["results"].items()]}
                     for row in saved["rows"]]}


def _machine_data(facts: Facts) -> Data | None:
    machine, profile = facts.machine, facts.profile
    if machine is None or profile is None:
        return None
    costs = costs_of(facts.program, profile.sizes)
    dtype = max(costs, key=lambda cost: cost.flops).dtype if costs else "f32"
    return {"name": machine.name, "flops": peak(machine, dtype), "bytes": dict(machine.bytes),
            "exceeded": exceeded(machine, profile)}


def kernels_of(asm: str, names: Iterable[str]) -> dict[str, str]:
    """Returns the machine code of each kernel, from the text of all of them."""
    known = {*names}
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in asm.splitlines():
        heading = re.match(r"(?:#|//) (\w+)\(", line)
        if heading and heading.group(1) in known:
            lines = parts.setdefault(heading.group(1), [])
        lines.append(line)
    return {name: "\n".join(text) for name, text in parts.items()}


"""Graphs, and what passes changed in them, as lines for a person: by layer, with equal ones folded.

    graph Sequential(%input: f32[B, 8]) -> f32[B, 8]
      2 params; 3 nodes: 2 run, 1 view, 0 at load; 2 steps
      %0: f32[B, 8] = linear(%input, @0.weight, @0.bias) then relu   # 0  net.py:7
      1 to 4 like 0: 1 nodes each

The values have the names that they keep from pass to pass; `str(graph)` is the text that parses.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from itertools import groupby, pairwise

from ir import Graph, Node, Value
from ir.printer import name_value, print_call
from ir.records import dataclass
from nncompile.inspect import html
from nncompile.inspect.layers import block_of, family, path_of, paths_of, shown
from nncompile.inspect.lines import Cell, Line
from nncompile.inspect.provenance import Change, changes, stable_names
from nncompile.inspect.reasons import lines_of_reasons
from nncompile.inspect.roles import AT_LOAD, RUN, Roles, roles, roles_in
from nncompile.inspect.sections import Folded, folded, pattern
from nncompile.inspect.stages import PassRun
from nncompile.schedule import Program

CALL, DROPPED = 2, (5, 4)                        # the column that is wrapped; those left out first
_MARKS = {RUN: "", AT_LOAD: "at load", "view": "view"}
_MOST_NAMES = 4                                  # of values that a change is about, and of layers
_SIGNS = {"-": "red", "+": "green", " ": ""}


@dataclass(frozen=True)
class Selected:
    """Which nodes are shown, and how.

    layer: the path of a layer, with all that is inside of it; `*` and `?` stand for other letters.
    op:    the name of an op, also among the steps of a `then`.
    depth: layers of deeper paths are one line each.
    full:  nothing is folded.
    """

    layer: str = ""
    op: str = ""
    depth: int | None = None
    full: bool = False

    @property
    def folds(self) -> bool:
        """Whether layers that are equal are folded."""
        return not (self.full or self.layer or self.op)

    def takes(self, node: Node) -> bool:
        """Returns whether a node is shown."""
        return (not self.op or self.op in (node.op, *node.attrs.get("then", ()))) and (
            not self.layer or any(_is_inside(path, self.layer) for path in paths_of(node)))


def _is_inside(path: str, layer: str) -> bool:
    return fnmatchcase(path, layer) or fnmatchcase(path, f"{layer}.*")


def graph_lines(graph: Graph, names: Mapping[Value, str], selected: Selected,
                known: Roles | None = None) -> list[Line]:
    """Returns a graph: what it takes, what its nodes are, and each with its role and layer."""
    known = roles(graph) if known is None else known
    lines = [Line((Cell(_signature(graph), "bold"),)),
             Line((Cell(f"{len(graph.params)} params; {known}", "dim"),), 2)]
    chosen = [node for node in graph.nodes if selected.takes(node)]
    loaded = [node for node in chosen if known.of[node.result] == AT_LOAD]
    called = [node for node in chosen if known.of[node.result] != AT_LOAD]
    for nodes in (loaded, called):
        for item in _items(nodes, selected):
            if isinstance(item, Node):
                lines.append(_node_line(item, names, _MARKS[known.of[item.result]]))
            elif isinstance(item, Folded):
                mark = " (at load)" * (nodes is loaded)
                lines.append(Line((Cell(f"{shown(str(item))}{mark}", "yellow"),), 2))
            else:
                lines.append(_summary(item, known, selected.depth or 0))
    if len(chosen) < len(graph.nodes):
        left = len(graph.nodes) - len(chosen)
        return [*lines, Line((Cell(f"{left} other nodes", "dim"),), 2)]
    returned = ", ".join(names.get(v, "%?") for v in graph.outputs)
    return [*lines, Line((Cell(f"return {returned}".rstrip(), "bold"),), 2)]


def _signature(graph: Graph) -> str:
    inputs = ", ".join(f"{name_value(v)}: {v.type}" for v in graph.inputs)
    return f"graph {shown(graph.name)}({inputs}) -> {', '.join(str(v.type) for v in graph.outputs)}"


def _items(nodes: Sequence[Node], selected: Selected
           ) -> Sequence[Node | Folded | tuple[Node, ...]]:
    """The nodes, folded blocks, and below the depth all nodes of a layer together."""
    items = folded(nodes) if selected.folds else list(nodes)
    if selected.depth is None:
        return items
    depth = selected.depth
    result: list[Node | Folded | tuple[Node, ...]] = []
    for key, group in groupby(items, lambda item: None if isinstance(item, Folded)
                              else ".".join(path_of(item).split(".")[:depth])):
        inside = [*group]
        if key is None:
            result += inside
        else:
            result.append(tuple(n for n in inside if isinstance(n, Node)))
    return result


def _summary(nodes: Sequence[Node], known: Roles, depth: int) -> Line:
    """One line for the nodes of a layer: how many, what they are, and what they give."""
    path = ".".join(path_of(nodes[0]).split(".")[:depth]) or "(the model)"
    ops = Counter(node.op for node in nodes if known.of[node.result] == RUN)
    said = ", ".join(f"{count} {op}" if count > 1 else op for op, count in ops.items())
    loaded = sum(known.of[n.result] == AT_LOAD for n in nodes)
    mark = "at load" if loaded == len(nodes) else ""
    return Line((Cell(shown(path), "magenta"), Cell(f"-> {nodes[-1].result.type}", "dim"),
                 Cell(said or f"{len(nodes)} views"), Cell(mark, "yellow"),
                 Cell(f"# {len(nodes)} nodes", "dim")), 2)


def _node_line(node: Node, names: Mapping[Value, str], mark: str, sign: str = "") -> Line:
    layer, line = node.where.layer, node.where.line
    style = _SIGNS.get(sign, "")
    return Line((Cell(f"{sign} {names.get(node.result, '%?')}:".strip(), style or "cyan"),
                 Cell(str(node.result.type), style or "dim"),
                 Cell(f"= {print_call(node, names)}", style),
                 Cell(mark, "yellow"), Cell(_layers(layer), "magenta"),
                 Cell(shown(line), "dim")), 0 if sign else 2)


def _layers(layer: str) -> str:
    """The layers of a node, behind a #; of many the first and the last."""
    parts = layer.split(", ")
    if len(parts) > _MOST_NAMES:
        layer = f"{parts[0]}, ..., {parts[-1]}: {len(parts)} layers"
    return f"# {shown(layer)}" if layer else ""


# -- what a pass changed ---------------------------------------------------------------------------

def change_lines(before: Graph, after: Graph, names: Mapping[Value, str], selected: Selected
                 ) -> list[Line]:
    """Returns what differs between two stages: nodes that are gone, new, or computed otherwise.

    Changes in blocks that are alike are shown once.
    """
    found = [c for c in changes(before, after)
             if any(selected.takes(n) for n in (c.before, c.after) if n is not None)]
    lines: list[Line] = []
    last: Hashable = None                        # the family and the pattern of the block before
    alike: list[str] = []
    blocks: dict[str, list[Change]] = {}
    for change in found:
        blocks.setdefault(block_of(path_of(change.node)), []).append(change)
    for block, inside in blocks.items():
        of = family(block), *(pattern(n for n in nodes if n is not None) for nodes in (
            [c.before for c in inside], [c.after for c in inside])), tuple(
            (c.before is None, c.after is None) for c in inside)
        if block and selected.folds and last == of:
            alike.append(block)
            continue
        lines += _like(alike)
        last, alike = of, []
        lines += [line for change in inside for line in _changed(change, names)]
    return lines + _like(alike)


def _like(blocks: Sequence[str]) -> list[Line]:
    if not blocks:
        return []
    to = f" to {blocks[-1].rpartition('.')[2]}" * (len(blocks) > 1)
    return [Line((Cell(shown(f"{blocks[0]}{to} likewise"), "yellow"),), 2)]


def _changed(change: Change, names: Mapping[Value, str]) -> Iterable[Line]:
    def named(values: Sequence[Value]) -> str:
        said = sorted((names.get(v, "%?") for v in values), key=lambda name: (len(name), name))
        return ", ".join(said[:_MOST_NAMES]) + ", ..." * (len(said) > _MOST_NAMES)

    if change.before is not None:
        gone = f"now in {named(change.into)}" if change.into else ""
        yield _node_line(change.before, names, gone if change.after is None else "", "-")
    if change.after is not None:
        took = f"took in {named(change.took)}" if change.took else ""
        yield _node_line(change.after, names, took, "+")


def pass_lines(runs: Sequence[PassRun], names: Mapping[Value, str], selected: Selected,
               only: str = "") -> list[Line]:
    """Returns what each pass changed, or one pass alone with what it left alone, and why."""
    lines: list[Line] = []
    idle = []
    for before, run in pairwise(runs):
        if only not in ("", run.name, run.name.partition(":")[0]):
            continue
        changed = change_lines(before.graph, run.graph, names, selected)
        if not changed and not only:
            idle.append(run.name)
            continue
        lines += [_heading(f"# {run.name}: {len(before.graph.nodes)} -> {len(run.graph.nodes)} "
                           f"nodes, {run.seconds * 1e3:.1f} ms"), *changed]
        if only:
            lines += [Line((Cell(f"left alone: {reason.node.op} {_about(reason.why, of)}"
                                 f"  # {shown(reason.node.where.layer)}", "yellow"),), 2)
                      for reason in run.left
                      for of in [names.get(reason.value, "%?") if reason.value else ""]]
        lines.append(_BLANK)
    if idle and not only:
        lines += [_heading(f"# nothing to do for {', '.join(idle)}"), _BLANK]
    return lines[:-1] if only else lines


def _about(why: str, name: str) -> str:
    return why.replace("{}", name, 1)


_BLANK = Line((Cell(""),))


def _heading(text: str) -> Line:
    return Line((Cell(text, "heading"),))


# -- whole views -----------------------------------------------------------------------------------

def overview(runs: Sequence[PassRun], selected: Selected) -> list[Line]:
    """Returns the traced graph, what each pass changed, the fused graph, and what was left alone.
    """
    names = stable_names([run.graph for run in runs])
    lines = [_heading("# traced"), *graph_lines(runs[0].graph, names, selected), _BLANK]
    lines += pass_lines(runs, names, selected)
    lines += [_heading("# fused"), *graph_lines(runs[-1].graph, names, selected)]
    if left := lines_of_reasons(runs):
        lines += [_BLANK, _heading("# left alone")]
        lines += [Line((Cell(shown(line)),), 2) for line in left]
    return lines


def stage_lines(runs: Sequence[PassRun], graph: Graph, selected: Selected,
                known: Roles | None = None) -> list[Line]:
    """Returns the graph of one stage, under the names that its values have in all of them."""
    return graph_lines(graph, stable_names([run.graph for run in runs]), selected, known)


def page(title: str, runs: Sequence[PassRun], program: Program) -> str:
    """Returns what a notebook shows of a compiled model: the fused graph, what was left alone."""
    lines = stage_lines(runs, runs[-1].graph, Selected(), roles_in(program))
    left = [Line((Cell(line),), 2) for line in lines_of_reasons(runs)]
    return html.section(title, html.of_lines(lines), *(
        [html.section("left alone", html.of_lines(left))] if left else []))


def model_difference(one: Graph, other: Graph, selected: Selected) -> list[Line]:
    """Returns the nodes of two models that have no counterpart in the other one.

    Nodes are counterparts if they have the same op, attributes, type, and operands made by the same
    ops, in the same order of the two graphs.
    """
    sides = [(graph, stable_names([graph]), [n for n in graph.nodes if selected.takes(n)])
             for graph in (one, other)]
    texts = [_comparable(graph, nodes) for graph, _, nodes in sides]
    lines: list[Line] = []
    matcher = SequenceMatcher(None, texts[0], texts[1], autojunk=False)
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind == "equal":
            lines.append(Line((Cell(f"{j - i} equal nodes", "dim"),), 2))
            continue
        for sign, (_, names, nodes), start, stop in zip("-+", sides, (i, k), (j, m), strict=True):
            lines += [_node_line(node, names, "", sign) for node in nodes[start:stop]]
    return lines


def _comparable(graph: Graph, nodes: Sequence[Node]) -> list[str]:
    """Each node's text, with the op that makes an operand in place of the operand's number."""
    made = {node.result: f"%{node.op}" for node in graph.nodes}
    made |= {v: name_value(v) for v in (*graph.inputs, *graph.params)}
    return [f"{node.result.type} = {print_call(node, made)}" for node in nodes]


"""Where the nodes of a graph are drawn, top to bottom, and the drawing as an SVG file.

A graph is drawn section by section, one below the other, and equal blocks are drawn once. A section
begins with the values that it reads from outside, as small pills.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from ir import Graph, Node, Value
from ir.ops import OPS, split_then
from ir.printer import name_values
from ir.types import Error
from nncompile.extras import import_extra
from nncompile.inspect.sections import Section, block_names, sections_of

_BOX, _SMALL, _PILL = 46.0, 24.0, 20.0           # heights
_CHARACTER, _SMALL_CHARACTER = 7.3, 6.7          # widths of a character of a label
_WIDEST = 260.0
_GAP = 40.0                                      # between sections
_MARGIN = 16.0

FAMILIES = {"product": "matrix product", "attention": "attention and softmax", "norm": "norm",
            "elementwise": "elementwise", "gather": "lookup", "reduction": "reduction and scan",
            "view": "view, computes nothing", "load": "computed when weights are loaded"}
_OF_OP = {"linear": "product", "matmul": "product", "attention": "attention",
          "softmax": "attention", "log_softmax": "attention", "layer_norm": "norm",
          "rms_norm": "norm", "topk_ids": "reduction", "cumsum": "reduction"}
_OF_TRAIT = {"view": "view", "gather": "gather", "reduction": "reduction",
             "arg_reduction": "reduction"}


class Box(NamedTuple):
    """The place of a node, by its center."""

    x: float
    y: float
    width: float
    height: float


class Edge(NamedTuple):
    """A line from one box of a picture to another, by their numbers."""

    source: int
    target: int
    points: tuple[tuple[float, float], ...]


class Picture(NamedTuple):
    """One block as it is drawn, from (0, 0) on: the boxes of its nodes, then those of its pills."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]


class Block(NamedTuple):
    """The contents of one block: its nodes, and the values that it reads from outside."""

    nodes: tuple[Node, ...]
    reads: tuple[Value, ...]


class Drawn(NamedTuple):
    """A section: its picture, and the blocks that look like that."""

    picture: Picture
    blocks: tuple[Block, ...]


def draw(graph: Graph, known: dict[Any, Picture] | None = None) -> list[Drawn]:
    """Returns the sections of a graph, drawn.

    known: pictures of other graphs, which are not computed again; it is extended.
    Raises MissingExtraError where the package that computes places is not installed.
    """
    known = {} if known is None else known
    at_load = graph.load_time_values
    drawn = []
    for section in sections_of(graph.nodes):
        blocks = _blocks(graph, section, at_load)
        key = _looks(blocks[0], at_load)
        if key not in known:
            known[key] = _picture(*key)
        drawn.append(Drawn(known[key], blocks))
    return drawn


def family_of(node: Node, at_load: frozenset[Value]) -> str:
    """Returns the kind of work that a node is: a key of FAMILIES."""
    if node.result in at_load:
        return "load"
    traits = OPS[node.op].traits
    found = (family for trait, family in _OF_TRAIT.items() if trait in traits)
    return _OF_OP.get(node.op) or next(found, "elementwise")


def title_of(node: Node) -> str:
    """Returns the ops of a node in words: `linear then gelu`."""
    try:
        steps = split_then(node.op, node.inputs, node.attrs)[2]
    except Error:                                # an illegal one, which is shown by its op
        steps = []
    return node.op + (" then " + ", ".join(op for op, _ in steps) if steps else "")


# -- places ----------------------------------------------------------------------------------------

def _blocks(graph: Graph, section: Section, at_load: frozenset[Value]) -> tuple[Block, ...]:
    """The blocks of a section. Parameters are no pills: the text of a node names them."""
    blocks = []
    for numbers in section.blocks():
        nodes = graph.nodes[numbers.start:numbers.stop]
        own = {node.result for node in nodes}
        reads = dict.fromkeys(o for node in nodes for o in node.inputs if isinstance(o, Value)
                              and o not in own and o.kind not in ("parameter", "constant"))
        blocks.append(Block(nodes, tuple(reads)))
    return tuple(blocks)


_Sizes = tuple[tuple[float, float], ...]
_Edges = tuple[tuple[int, int], ...]


def _looks(block: Block, at_load: frozenset[Value]) -> tuple[_Sizes, _Edges]:
    """What decides where the boxes are: their sizes and their edges."""
    number = {v: i for i, v in enumerate([*(n.result for n in block.nodes), *block.reads])}
    sizes = [_size(node, at_load) for node in block.nodes] + [
        (_pill_width(value), _PILL) for value in block.reads]
    edges = [(number[o], number[node.result]) for node in block.nodes
             for o in dict.fromkeys(node.inputs) if isinstance(o, Value) and o in number]
    return tuple(sizes), tuple(edges)


def _pill_width(value: Value) -> float:
    """Room for the name of an input; that of a result is a number."""
    return min(150.0, max(64.0, len(value.name) * _SMALL_CHARACTER + 34))


def _size(node: Node, at_load: frozenset[Value]) -> tuple[float, float]:
    small = family_of(node, at_load) in ("view", "load")
    longest = (len(f"{node.op}  {node.result.type}") if small
               else max(len(title_of(node)) + 1, len(str(node.result.type))))
    width = min(_WIDEST, max(70.0, longest * (_SMALL_CHARACTER if small else _CHARACTER) + 24))
    return round(width), _SMALL if small else _BOX


def _picture(sizes: _Sizes, edges: _Edges) -> Picture:
    graphlay = import_extra("graphlay", "report", "drawing a graph")
    graph = graphlay.Graph()
    for number, (width, height) in enumerate(sizes):
        graph.node(str(number), width=width, height=height)
    for source, target in edges:
        graph.edge(str(source), str(target))
    placed = graphlay.layout(graph, options={
        "direction": "topbottom",
        "spacing": {"layer_gap": 30.0, "node_gap": 26.0, "dummy_gap": 18.0}})
    low, high = placed.bounds["min"], placed.bounds["max"]

    def at(point: Mapping[str, float]) -> tuple[float, float]:
        return round(point["x"] - low["x"], 1), round(point["y"] - low["y"], 1)

    boxes = tuple(Box(*at(node["center"]), *size)
                  for node, size in zip(placed.nodes, sizes, strict=True))
    lines = tuple(Edge(*ends, tuple(at(point) for point in edge["points"]))
                  for ends, edge in zip(edges, placed.edges, strict=True))
    return Picture(round(high["x"] - low["x"], 1), round(high["y"] - low["y"], 1), boxes, lines)


# -- SVG -------------------------------------------------------------------------------------------

_STYLE = """\
svg{font:12px ui-monospace,Menlo,Consolas,monospace;background:#fff}
text{fill:#1b2330}.type,.note{fill:#566070;font-size:11px}.box{fill:#f6f8fa;stroke:#8a94a3}
.frame{fill:none;stroke:#8a94a3;stroke-dasharray:4 3}.edge{fill:none;stroke:#8a94a3}
.product{fill:#0072b2}.attention{fill:#cc79a7}.norm{fill:#009e73}.elementwise{fill:#e69f00}
.gather{fill:#56b4e9}.reduction{fill:#d55e00}.view,.load{fill:#8a94a3}
@media(prefers-color-scheme:dark){svg{background:#14181f}text{fill:#e6e9ee}
.type,.note{fill:#a3adba}.box{fill:#1e242d;stroke:#6a7482}.edge,.frame{stroke:#6a7482}}"""


def to_svg(graph: Graph) -> str:
    """Returns a drawing of a graph as the text of an SVG file. Equal blocks are drawn once."""
    names, at_load = name_values(graph), graph.load_time_values
    drawn = draw(graph)
    width = max((d.picture.width for d in drawn), default=0.0) + 4 * _MARGIN
    parts: list[str] = []
    top = _MARGIN + 20
    parts.append(_text(_MARGIN, top, f"{graph.name}: {len(graph.nodes)} nodes"))
    top += _MARGIN
    for section in drawn:
        left = (width - section.picture.width) / 2
        repeated = len(section.blocks) > 1
        if repeated:
            top += 28
            parts.append(f'<rect class="frame" x="{left - 14:g}" y="{top - 28:g}" '
                         f'width="{section.picture.width + 28:g}" '
                         f'height="{section.picture.height + 42:g}" rx="8"/>')
            parts.append(_text(left, top - 10, about_blocks(section), "note"))
        parts.append(f'<g transform="translate({left:g} {top:g})">')
        parts += _drawn_block(section, names, at_load, {*graph.outputs})
        parts.append("</g>")
        top += section.picture.height + _GAP
    body = "\n".join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {top:g}" '
            f'width="{width:g}" height="{top:g}" role="img" '
            f'aria-label="{_escaped(graph.name)}">\n<style>{_STYLE}</style>\n{body}\n</svg>\n')


def about_blocks(section: Drawn) -> str:
    """Returns what a section of equal blocks is called: `layer.0 and 11 like it, 20 nodes each`."""
    first = section.blocks[0].nodes
    named = block_names([block.nodes for block in section.blocks])[0] or "a block"
    return f"{named} and {len(section.blocks) - 1} like it, {len(first)} nodes each"


def _drawn_block(section: Drawn, names: Mapping[Value, str], at_load: frozenset[Value],
                 outputs: set[Value]) -> list[str]:
    block, picture = section.blocks[0], section.picture
    parts = [f'<path class="edge" d="{_path(edge.points)}"/>' for edge in picture.edges]
    contents: list[Node | Value] = [*block.nodes, *block.reads]
    for what, box in zip(contents, picture.boxes, strict=True):
        left, top = box.x - box.width / 2, box.y - box.height / 2
        shape = f'x="{left:g}" y="{top:g}" width="{box.width:g}" height="{box.height:g}"'
        if isinstance(what, Value):
            name = shortened(names.get(what, "%?"), int((box.width - 12) / _SMALL_CHARACTER))
            parts += [f'<rect class="box" {shape} rx="{box.height / 2:g}"/>',
                      _text(box.x, box.y + 4, name, "type", "middle")]
            continue
        parts += _drawn_node(what, box, shape, names, family_of(what, at_load), what.result in
                             outputs)
    return parts


def _drawn_node(node: Node, box: Box, shape: str, names: Mapping[Value, str], family: str,
                is_output: bool) -> list[str]:
    left, top = box.x - box.width / 2, box.y - box.height / 2
    room = int((box.width - 20) / _CHARACTER)
    bold = ' stroke-width="2.5"' * is_output
    about = f"{names[node.result]}: {node.result.type} = {title_of(node)}"
    where = ", ".join(filter(None, (node.where.layer, node.where.line)))
    parts = [f"<g><title>{_escaped(about + (f' # {where}' if where else ''))}</title>",
             f'<rect class="box" {shape} rx="5"{bold}/>',
             f'<rect class="{family}" x="{left:g}" y="{top:g}" width="5" height="{box.height:g}"/>']
    if box.height == _SMALL:
        text = shortened(f"{node.op}  {node.result.type}", int((box.width - 18) / _SMALL_CHARACTER))
        parts.append(_text(left + 12, top + 16, text, "type"))
    else:
        parts += [_text(left + 12, top + 19, shortened(title_of(node), room)),
                  _text(left + 12, top + 36, shortened(str(node.result.type), room), "type")]
    return [*parts, "</g>"]


def shortened(text: str, room: int) -> str:
    """Returns the text, or its beginning and an ellipsis where it is longer than `room`."""
    return text if len(text) <= room else text[:max(1, room - 1)] + "…"


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "") -> str:
    attributes = f' class="{kind}"' * bool(kind) + f' text-anchor="{anchor}"' * bool(anchor)
    return f'<text x="{x:g}" y="{y:g}"{attributes} xml:space="preserve">{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    """The text as XML has it: names come from outside, and XML has no control characters."""
    return escape("".join(c if _is_character(ord(c)) else "�" for c in text))


def _is_character(code: int) -> bool:
    return (code >= 0x20 or code in (0x9, 0xA, 0xD)) and not 0xD800 <= code < 0xE000 \
        and code not in (0xFFFE, 0xFFFF)

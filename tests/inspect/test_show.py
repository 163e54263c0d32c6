"""What `nncompile show` prints for a person: folded, filtered, in a terminal's width, safely."""
from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import ir
import nncompile
from nncompile import nn
from nncompile.cli import main
from nncompile.cli.listing import Listing
from nncompile.console import UNLIMITED, text_of
from nncompile.inspect.layers import block_of, family
from nncompile.inspect.lines import Cell, Line
from nncompile.inspect.provenance import changes, stable_names
from nncompile.inspect.roles import AT_LOAD, RUN, VIEW, roles
from nncompile.inspect.sections import Folded, folded
from nncompile.inspect.view import Selected, graph_lines, overview
from nncompile.plans import run_passes
from tests.terminal import in_terminal

MODEL = '''\
from nncompile import nn

nn.init.manual_seed(0)
net = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 12)
net_inputs = "f32[B, 4, 16]"
one = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
one_inputs = "f32[B, 6]"
other = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3))
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "model.py"
    path.write_text(MODEL)
    return str(path)


@pytest.fixture
def show(file: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    def shown(name: str, *options: str) -> list[str]:
        assert main(["show", f"{file}:{name}", *options]) == 0
        return capsys.readouterr().out.splitlines()
    return shown


def in_a_terminal(columns: int, *argv: str, **variables: str) -> str:
    """What the command writes to a terminal of so many columns; a warning is an error."""
    status, shown = in_terminal(columns, *argv, options=("-W", "error"), **variables)
    assert status == 0, shown
    return shown


def listed(lines: Sequence[Line], width: int = UNLIMITED, dropped: Sequence[int] = ()) -> str:
    """Lines as a file has them, or a terminal of this width."""
    return text_of(Listing(lines, 2, dropped), width=width)


CODES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("columns", [80, 200])
def test_it_fits_the_terminal_and_is_in_colour(file: str, columns: int) -> None:
    for options in ([], ["--stage", "fused"], ["--pass", "fuse_linear"],
                    ["--stage", "fused", "--depth", "2"]):
        text = in_a_terminal(columns, "show", f"{file}:net", *options)
        lines = CODES.sub("", text).splitlines()
        assert max(map(len, lines)) <= columns
        assert CODES.search(text) and "\x1b" not in CODES.sub("", text)
        assert len(lines) < 320, "a few screens, and not the 1,200 lines of all nodes"
        assert any("likewise" in line or "like layers.0" in line for line in lines)


def test_nothing_is_lost_where_lines_are_wrapped(file: str) -> None:
    def words(columns: int) -> set[str]:
        text = CODES.sub("", in_a_terminal(columns, "show", f"{file}:one", "--stage", "fused"))
        return set(re.findall(r"[@%][\w.]+|then|relu|linear|return", text))
    assert words(40) == words(80) == words(200)


def test_no_colour_where_none_is_wanted(file: str) -> None:
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in in_a_terminal(80, "show", f"{file}:one", **variables)


def test_twelve_layers_are_shown_as_one(show: Callable[..., list[str]]) -> None:
    lines = show("net")
    assert len(lines) < 200
    fused = lines[lines.index("# fused"):]
    assert sum("layer_norm" in line for line in fused) == 2
    assert any("layers.1 to 11 like layers.0: 18 nodes each" in line for line in fused)
    assert len(show("net", "--full")) > 5 * len(lines)


def test_filters(show: Callable[..., list[str]]) -> None:
    def nodes(*options: str) -> list[str]:
        return [line for line in show("net", "--stage", "fused", *options) if " = " in line]

    assert len(nodes("--op", "relu")) == 12 and all("then relu" in n for n in nodes("--op", "relu"))
    inside = nodes("--layer", "layers.3")
    assert len(inside) == 18 and all("# layers.3" in line for line in inside)
    assert len(nodes("--layer", "layers.*.norm1")) == 12
    assert len(nodes("--layer", "layers.3", "--op", "layer_norm")) == 2
    assert nodes("--layer", "layers.30") == []
    assert "216 other nodes" in show("net", "--stage", "fused", "--layer", "layers.30")[-1]
    depth = show("net", "--stage", "fused", "--depth", "1", "--full")
    assert "12 attention" in "\n".join(depth) and len(depth) < 6


def test_one_pass(show: Callable[..., list[str]]) -> None:
    lines = show("one", "--pass", "fuse_linear")
    assert lines[0].startswith("# fuse_linear: 3 -> 2 nodes")
    assert [line[:5] for line in lines[1:4]] == ["- %0:", "- %1:", "+ %1:"]
    assert "now in %1" in lines[1] and "took in %0" in lines[3]
    again = show("one", "--pass", "cse")
    assert [line.partition(":")[0] for line in again if line] == ["# cse", "# cse", "# cse"]


def test_differences(show: Callable[..., list[str]], file: str) -> None:
    stages = show("one", "--diff", "traced", "fused")
    assert [line[:5] for line in stages] == ["- %0:", "- %1:", "+ %1:"]
    models = show("one", "--diff", f"{file}:other")
    assert [line[:5] for line in models] == ["- %0:", "+ %0:", "  1 e"]
    assert "then relu" in models[0] and "then gelu" in models[1]
    same = show("one", "--diff", f"{file}:one")
    assert same == ["  2 equal nodes"]


@pytest.mark.parametrize(("options", "match"), [
    (["--pass", "nothing"], "there is no pass 'nothing'; there are dce, "),
    (["--diff", "traced", "nothing"], "there is no stage 'nothing'"),
    (["--diff", "traced"], "is no model"),
    (["--diff", "a", "b", "c"], "two stages of the model, or one other model"),
    (["--asm", "nothing"], "there is no kernel 'nothing'; there are linear_relu, linear"),
])
def test_wrong_wishes(file: str, options: list[str], match: str,
                      capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", f"{file}:one", *options]) == 1
    assert match in capsys.readouterr().err


def test_one_kernel(show: Callable[..., list[str]]) -> None:
    alone, both = show("one", "--asm", "linear_relu"), show("one", "--asm")
    assert alone[0].startswith("# linear_relu(") and len(alone) < len(both)
    assert sum(line.startswith("# linear") for line in both) == 2


def test_dot_has_a_cluster_for_each_layer(show: Callable[..., list[str]]) -> None:
    lines = [line.strip() for line in show("net", "--dot")]
    labels = [line for before, line in pairwise(lines) if before.startswith("subgraph")]
    assert labels[:3] == ['label="layers"', 'label="0"', 'label="self_attn"']
    assert len(set(labels)) == 6 + 12 and "\n".join(lines).count("{\n") == len(labels) + 1


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_the_weights_of_a_text_are_in_a_file(suffix: str, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    graph, weights = tmp_path / "net.ir", tmp_path / f"weights.{suffix}"
    graph.write_text(str(nncompile.trace(nn.Linear(6, 3), "f32[B, 6]")))
    state = {"weight": np.ones((3, 6), "f4"), "bias": np.zeros(3, "f4")}
    np.savez(weights, **state) if suffix == "npz" else nncompile.save_file(state, weights)
    assert main(["show", str(graph), "--weights", str(weights), "--stage", "fused"]) == 0
    assert "linear(%input, @weight, @bias)" in capsys.readouterr().out
    np.savez(tmp_path / "wrong.npz", weight=np.ones((6, 3), "f4"), more=np.zeros(3, "f4"))
    assert main(["show", str(graph), "--weights", str(tmp_path / "wrong.npz")]) == 1
    error = capsys.readouterr().err
    for word in ("missing 'bias'", "unexpected 'more'", "'weight' has the shape (6, 3)"):
        assert word in error


HOSTILE = ["\x1b[31mred", "a\nb", "<script>alert(1)</script>", "x\u202ey", "\x9b2J", "[bold]x",
           "%s{}"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name: str) -> None:
    graph = ir.parse("""graph g(%x: f32[B, 4]) -> f32[B, 4], f32[B, 4] {
        %0: f32[B, 4] = tanh(%x)
        %1: f32[B, 4] = exp(%0)
        return %0, %1
        }""")
    where = ir.Where(f"{name} Linear", f"{name}.py:3")
    nodes = tuple(replace(node, where=where) for node in graph.nodes)
    runs = run_passes(replace(graph, name=name, nodes=nodes))
    assert any(run.left for run in runs)
    for width in (UNLIMITED, 60):
        text = listed(overview(runs, Selected()), width)
        assert all(line.isprintable() for line in text.split("\n"))


# -- the parts -------------------------------------------------------------------------------------

def test_a_value_keeps_its_name() -> None:
    runs = run_passes(nncompile.trace(nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4)),
                                      "f32[B, 4]"))
    names = stable_names([run.graph for run in runs])
    first, last = runs[0].graph, runs[-1].graph
    assert [names[node.result] for node in first.nodes] == ["%0", "%1", "%2"]
    assert [names[node.result] for node in last.nodes] == ["%1", "%2"]
    gone, fused = changes(first, last)
    assert (gone.after, gone.into) == (None, (last.nodes[0].result,))
    assert fused.took == (first.nodes[0].result,) and fused.before is first.nodes[1]
    assert changes(first, first) == []


def test_new_values_have_the_next_names() -> None:
    model = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    runs = run_passes(nncompile.trace(model, *["f32[B, 3, 8]"] * 3))
    names = stable_names([run.graph for run in runs])
    values = {v for run in runs for v in ir.printer.name_values(run.graph)}
    assert names.keys() == values and len(set(names.values())) == len(values)


def test_roles() -> None:
    graph = ir.check.with_data(ir.parse("""
        graph g(%x: f32[B, 8]) -> f32[8, B] {
          @w: f32[8, 8]
          %0: f32[8, 8] = exp(@w)
          %1: f32[B, 8] = linear(%x, %0)
          %2: f32[8, B] = transpose(%1) {axes = [1, 0]}
          %3: f32[8, B] = exp(%2)
          return %3
        }"""))
    known = roles(graph)
    assert list(known.of.values()) == [AT_LOAD, RUN, VIEW, RUN]
    assert str(known) == "4 nodes: 2 run, 1 view, 1 at load; 3 steps"
    lines = listed(graph_lines(graph, stable_names([graph]), Selected(full=True)))
    assert "at load" in lines.splitlines()[2] and "view" in lines.splitlines()[4]


@pytest.mark.parametrize(("path", "block"), [
    ("layers.3.fc", "layers.3"), ("fc", ""), ("", ""), ("layer_7.x", "layer_7"), ("0", "0")])
def test_blocks(path: str, block: str) -> None:
    assert block_of(path) == block


def test_blocks_of_one_family() -> None:
    assert family("encoder.layers.11") == family("encoder.layers.2") == "encoder.layers.*"
    assert family("a1.x2") != family("a2.x2")


def test_only_blocks_that_are_alike_are_folded() -> None:
    def sizes(*widths: int) -> list[str]:
        model = nn.Sequential(*[nn.Sequential(nn.Linear(4, w), nn.ReLU(), nn.Linear(w, 4))
                                for w in widths]).eval()
        graph = nncompile.trace(model, "f32[B, 4]")
        return [str(item) for item in folded(graph.nodes) if isinstance(item, Folded)]

    assert sizes(8, 8, 8, 8) == ["1 to 3 like 0: 3 nodes each"]
    assert sizes(8, 8, 5, 8) == ["1 like 0: 3 nodes each"]
    assert sizes(8, 5, 8, 5) == ["2-3 like 0-1: 6 nodes each"]
    assert sizes(8, 5, 4, 3) == []


def test_blocks_inside_of_blocks_are_folded_too() -> None:
    inner = [nn.Sequential(*[nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
                             for _ in range(3)], nn.Tanh()) for _ in range(2)]
    graph = nncompile.trace(nn.Sequential(*inner).eval(), "f32[B, 4]")
    assert [str(item) for item in folded(graph.nodes) if isinstance(item, Folded)] == [
        "0.1 to 2 like 0.0: 3 nodes each", "1 like 0: 10 nodes each"]


def test_layers_of_several_numbers_are_blocks() -> None:
    model = nn.Sequential(*[m for _ in range(4) for m in (nn.Linear(4, 4), nn.ReLU())]).eval()
    graph = nncompile.trace(model, "f32[B, 4]")
    assert [str(item) for item in folded(graph.nodes)[2:]] == ["2-3 to 6-7 like 0-1: 2 nodes each"]


def test_what_is_done_twice_in_each_layer_is_one_block() -> None:
    """The two attentions of a decoder cut their weights alike when these are loaded."""
    model = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 8, batch_first=True), 3).eval()
    runs = run_passes(nncompile.trace(model, "f32[B, T, 8]", "f32[B, S, 8]"))
    text = listed(overview(runs, Selected()))
    assert "layers.1 to 2 like layers.0: 12 nodes each (at load)" in text


def test_the_names_of_an_onnx_file_are_layers_too() -> None:
    names = [f"/model/layer.{i}/{op}" for i in range(3) for op in ("MatMul", "Add", "Relu")]
    graph = nncompile.trace(nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.ReLU())
                                            for _ in range(3)]).eval(), "f32[B, 4]")
    nodes = [replace(node, where=ir.Where(name)) for node, name in
             zip(graph.nodes, names, strict=True)]
    assert str(folded(nodes)[-1]) == "/model/layer.1 to 2 like /model/layer.0: 3 nodes each"


def test_of_many_layers_of_a_node_the_first_and_the_last_are_shown() -> None:
    graph = ir.parse("""graph g(%x: f32[4]) -> f32[4] {
      %0: f32[4] = exp(%x)  # 0 Linear, 1 Linear, 2 Linear, 3 Linear, 4 Linear  a.py:1
      return %0
    }""")
    text = listed(graph_lines(graph, stable_names([graph]), Selected()))
    assert "# 0 Linear, ..., 4 Linear: 5 layers" in text


def test_a_block_that_reads_otherwise_is_not_alike() -> None:
    text = """
        graph g(%x: f32[B, 8], %y: f32[B, 8]) -> f32[B, 8] {{
          %0: f32[B, 8] = add(%x, %y)   # b.0 Block
          %1: f32[B, 8] = mul(%x, %0)   # b.0 Block
          %2: f32[B, 8] = add(%1, %y)   # b.1 Block
          %3: f32[B, 8] = mul({}, %2)   # b.1 Block
          return %3
        }}"""
    for operand, count in (("%1", 1), ("%y", 0), ("%x", 0)):
        graph = ir.parse(text.format(operand))
        assert sum(isinstance(i, Folded) for i in folded(graph.nodes)) == count


def test_a_table_drops_columns_then_wraps_then_breaks() -> None:
    cells = tuple(Cell(text) for text in (
        "%1:", "f32[B, 8]", "= " + "word " * 20, "mark", "# layer"))
    for width in (30, 50, 80, 200):
        lines = listed([Line(cells, 2)], width, (4,)).splitlines()
        assert max(map(len, lines)) <= width
        assert " ".join(lines).count("word") == 20
        assert ("# layer" in " ".join(lines)) == (width == 200)


def test_layers_are_headings_where_there_is_no_column_for_them() -> None:
    def line(name: str, layer: str) -> Line:
        return Line(tuple(map(Cell, (name, "f32[B, 8]", "= " + "word " * 9, "", layer, "a.py:1"))))

    lines = [line("%0:", "# fc"), line("%1:", "# fc"), line("%2:", "# out")]
    shown = listed(lines, 60, (5, 4)).splitlines()
    seen = [text.split(":")[0] for text in shown if text[0] in "#%"]
    assert seen == ["# fc", "%0", "%1", "# out", "%2"] and "a.py" not in "".join(shown)
    assert all("# " in text for text in listed(lines, 200, (5, 4)).splitlines())

"""The page of a compiled model, and the drawing of a graph: what is in them, without a browser."""
from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import ir
import nncompile
from nncompile import nn
from nncompile.backend import Machine
from nncompile.cli import main
from nncompile.inspect.report import facts_of, page, page_data
from nncompile.inspect.roofline import bound_of, costs_of, level_of
from nncompile.inspect.sections import block_names, sections_of
from tests.inspect.models import HOSTILE, blocks, hostile

pytest.importorskip("graphlay", reason="graphlay is not installed: it places the nodes of a graph")

ROOT = Path(__file__).resolve().parents[2]

@pytest.fixture(scope="module")
def compiled() -> nncompile.CompiledModel:
    return nncompile.compile(blocks(4), "f32[B, 16]")


@pytest.fixture(scope="module")
def data(compiled: nncompile.CompiledModel) -> Any:
    profile = compiled.profile(np.ones((5, 16), np.float32))
    return json.loads(json.dumps(page_data(facts_of(compiled, profile))))


# -- equal blocks ----------------------------------------------------------------------------------

def test_equal_blocks_are_found_in_every_stage(compiled: nncompile.CompiledModel) -> None:
    for stage in compiled.stages:
        graph = compiled.ir(stage)
        sections = sections_of(graph.nodes)
        assert [n for s in sections for b in s.blocks() for n in b] == [*range(len(graph.nodes))]
        assert max(s.times for s in sections) == 4, stage


def test_blocks_that_refer_to_other_places_are_not_equal() -> None:
    text = """graph g(%x: f32[4]) -> f32[4] {
      %0: f32[4] = exp(%x)
      %1: f32[4] = tanh(%0)
      %2: f32[4] = add(%1, %0)
      %3: f32[4] = exp(%2)
      %4: f32[4] = tanh(%3)
      %5: f32[4] = add(%4, %REST)
      return %5
    }"""
    assert [s.times for s in sections_of(ir.parse(text.replace("%REST", "%3")).nodes)] == [2]
    assert [s.times for s in sections_of(ir.parse(text.replace("%REST", "%1")).nodes)] == [1]


@pytest.mark.parametrize(("paths", "names"), [
    (("layer.0.fc Linear", "layer.1.fc Linear"), ["layer.0", "layer.1"]),
    (("/m.0/layer.3/fc/MatMul", "/m.0/layer.4/fc/MatMul"), ["/m.0/layer.3", "/m.0/layer.4"]),
    (("fc Linear", "fc Linear"), ["", ""]), (("a Linear", "b Linear"), ["", ""]),
    (("", ""), ["", ""]),
    (("0 Linear", "a.1 Linear"), ["", ""]),
])
def test_blocks_are_called_by_the_number_that_differs(paths: tuple[str, str], names: list[str]
                                                      ) -> None:
    x = ir.Builder().declare("input", "x", ir.parse_type("f32[3]"))
    blocks_ = [[ir.Node(x, "exp", (x,), {}, ir.Where(path))] for path in paths]
    assert block_names(blocks_) == names


@pytest.mark.parametrize("nodes", [0, 1, 5])
def test_a_graph_without_repetition_is_one_section(nodes: int) -> None:
    builder = ir.Builder()
    value = builder.declare("input", "x", ir.parse_type("f32[3]"))
    for op in ("exp", "tanh", "neg", "sin", "cos")[:nodes]:
        value = builder.add(op, value)
    graph = builder.build("g", [value])
    assert [(s.size, s.times) for s in sections_of(graph.nodes)] == ([(nodes, 1)] if nodes else [])
    ElementTree.fromstring(graph.to_svg())


# -- the drawing -----------------------------------------------------------------------------------

def test_boxes_of_a_drawing_do_not_overlap_and_lines_end_at_boxes(data: Any) -> None:
    assert data["pictures"]
    for picture in data["pictures"]:
        boxes = picture["boxes"]
        for i, (x, y, width, height) in enumerate(boxes):
            assert width / 2 <= x <= picture["width"] - width / 2 + 0.2
            assert height / 2 <= y <= picture["height"] - height / 2 + 0.2
            for other in boxes[:i]:
                assert (abs(x - other[0]) >= (width + other[2]) / 2
                        or abs(y - other[1]) >= (height + other[3]) / 2)
        for source, target, points in picture["edges"]:
            (_, start), (_, end) = points[0], points[-1]
            assert start == pytest.approx(boxes[source][1] + boxes[source][3] / 2, abs=0.2)
            assert end == pytest.approx(boxes[target][1] - boxes[target][3] / 2, abs=0.2)
            assert boxes[source][1] < boxes[target][1]                # top to bottom


def test_an_svg_draws_each_node_once_and_equal_blocks_once(compiled: nncompile.CompiledModel
                                                           ) -> None:
    root = ElementTree.fromstring(compiled.ir().to_svg())
    text = "".join(root.itertext())
    assert "1 and 3 like it" in text
    titles = [e.text for e in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == len(compiled.ir().nodes) - 3 * 3
    assert any("linear then gelu" in str(title) and "1.up Linear" in str(title) for title in titles)


def test_names_stay_text_in_an_svg() -> None:
    graph = ir.parse("graph g(%x: f32[B, 4]) -> f32[B, 4] {\n"
                     f"  %0: f32[B, 4] = exp(%x) # {json.dumps(HOSTILE)}  {json.dumps(HOSTILE)}\n"
                     "  return %0\n}")
    root = ElementTree.fromstring(graph.to_svg())
    assert {e.tag.partition("}")[2] for e in root.iter()} <= {
        "svg", "style", "text", "g", "title", "rect", "path"}
    assert "onerror=alert(1)>" in "".join(root.itertext())


def test_the_ir_alone_says_who_draws() -> None:
    code = ("import ir\ntry:\n    ir.parse('graph g() {\\n  return \\n}').to_svg()\n"
            "except ir.Error as error:\n    print(error)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True,
                          text=True)
    assert "import nncompile" in done.stdout


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch,
                                  compiled: nncompile.CompiledModel, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "graphlay", None)
    for ask in (compiled.ir().to_svg, lambda: compiled.report(tmp_path / "x.html")):
        with pytest.raises(nncompile.MissingExtraError, match=r"nncompile\[report\]"):
            ask()
    assert not any(tmp_path.iterdir())


# -- the data --------------------------------------------------------------------------------------

def test_every_node_of_every_stage_is_there(compiled: nncompile.CompiledModel, data: Any) -> None:
    for run, stage in zip(compiled.runs, data["stages"], strict=True):
        if stage.get("idle"):
            continue
        nodes = [data["nodes"][n] for s in stage["sections"] for b in s["blocks"] for n in b]
        assert [n["op"] for n in nodes] == [n.op for n in run.graph.nodes]
        assert [n["line"] for n in nodes] == [n.where.line for n in run.graph.nodes]


def test_what_a_pass_did_is_counted(data: Any) -> None:
    rules = {stage["name"]: stage.get("rules") for stage in data["stages"]}
    assert {"was": "linear, gelu", "is": "linear then gelu", "times": 4} in rules["fuse_linear"]
    assert not rules["traced"]


def test_each_step_has_its_lines_kernel_and_machine_code(compiled: nncompile.CompiledModel,
                                                         data: Any) -> None:
    assert len(data["steps"]) == len(compiled.program.steps)
    source = re.sub(r"\s+", " ", compiled.source)
    for step in data["steps"]:
        (kernel,) = step["kernels"]
        assert kernel in data["asm"]
        assert data["asm"][kernel].count("\n") > 5
        comment, call = step["lines"].split("\n", 1)
        assert comment.startswith("# ")
        assert call.startswith(f"{kernel}(")
        assert re.sub(r"\s+", " ", call) in source, call
        assert data["nodes"][step["node"]]["title"].split()[0] in comment


def test_layers_add_up_to_the_call(data: Any) -> None:
    seconds = sum(step["seconds"] for step in data["steps"])
    assert sum(row["seconds"] for row in data["layers"]) == pytest.approx(seconds)
    assert sorted(n for row in data["layers"] for n in row["steps"]) == \
        [*range(len(data["steps"]))]
    up = next(row for row in data["layers"] if row["layer"] == "1-4.up")
    assert up["times"] == 4
    assert up["flops"] >= 4 * 2 * 5 * 32 * 64
    assert all({"by", "hint", "bound"} <= row.keys() for row in data["layers"])


def test_values_in_one_slot_are_not_alive_together(data: Any) -> None:
    assert data["memory"]["spans"]
    for slot in range(len(data["memory"]["slots"])):
        own = [s for s in data["memory"]["spans"] if s["slot"] == slot]
        for before, after in pairwise(own):
            assert before["first"] <= before["last"] <= after["first"] <= after["last"]


def test_a_page_without_inputs_has_no_times(compiled: nncompile.CompiledModel) -> None:
    data = page_data(facts_of(compiled, None))
    assert not any("seconds" in step for step in data["steps"])
    assert data["machine"] is None
    assert data["memory"]["slots"][0]["bytes"] is None


def test_plain_python_has_no_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNCOMPILE_JIT", "0")
    compiled = nncompile.compile(blocks(1), "f32[B, 16]")
    data = page_data(facts_of(compiled, None))
    assert data["asm"] == {}
    assert all(step["lines"] for step in data["steps"])


# -- the roofline ----------------------------------------------------------------------------------

MACHINE = Machine("test", {"f32": 100e9, "f64": 50e9},
                  {"L1": 400e9, "L2": 200e9, "L3": 50e9, "memory": 10e9},
                  {"L2": 1 << 20, "L3": 1 << 25})


def test_the_work_of_a_product() -> None:
    program = nncompile.compile(nn.Linear(256, 128), "f32[B, 256]").program
    (few,), (many,) = (costs_of(program, {"B": rows}) for rows in (1, 4096))
    assert few.flops == 2 * 256 * 128
    assert few.weights == 4 * 256 * 128
    assert many.data == 4 * 4096 * (256 + 128)
    assert bound_of(few, MACHINE, "L3").by == "L3"
    assert bound_of(many, MACHINE, "L3").by == "arithmetic"
    assert bound_of(many, MACHINE, "L3").seconds == many.flops / 100e9


def test_float64_has_its_own_limit() -> None:
    model = nn.Linear(256, 128).double()
    (cost,) = costs_of(nncompile.compile(model, "f64[B, 256]").program, {"B": 4096})
    assert bound_of(cost, MACHINE, "L3").seconds == cost.flops / 50e9


def test_a_lookup_reads_its_rows_alone() -> None:
    program = nncompile.compile(nn.Embedding(1000, 8), "i64[B]").program
    (cost,) = costs_of(program, {"B": 3})
    assert cost.weights == 3 * 8 * 4
    assert cost.data == 3 * 8 + 3 * 8 * 4


@pytest.mark.parametrize(("size", "level"), [(0, "L2"), (1 << 20, "L2"), ((1 << 20) + 1, "L3"),
                                             (1 << 26, "memory")])
def test_where_bytes_come_from(size: int, level: str) -> None:
    assert level_of(size, MACHINE.caches) == level


# -- the page --------------------------------------------------------------------------------------

def test_nothing_in_the_data_ends_the_script() -> None:
    text = page(page_data(facts_of(hostile(), None)))
    assert text.count("</script>") == 2
    assert text.count("<img") == 0
    assert not set("\u2028\u2029\x00\x0b") & set(text)
    found = re.search(r'id="data">(.*?)</script>', text)
    assert found is not None
    assert json.loads(found.group(1))["model"] == HOSTILE


def test_a_page_asks_nobody_for_anything(data: Any) -> None:
    text = page(data)
    assert "default-src 'none'" in text
    assert "unsafe" not in text
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', text)
    assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w-]+\.\w+",
                          re.sub(r'id="data">.*?</script>', "", text))


# -- the command -----------------------------------------------------------------------------------

def test_the_command_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, output = tmp_path / "model.py", tmp_path / "r.html"
    model.write_text("from nncompile import nn\nnet = nn.Sequential(nn.Linear(6, 8), nn.ReLU())\n"
                     "net_inputs = 'f32[B, T, 6]'\n")
    assert main(["report", f"{model}:net", "-o", str(output), "--batch", "2", "--size", "T=3"]) == 0
    assert "r.html" in capsys.readouterr().out
    found = re.search(r'id="data">(.*?)</script>', output.read_text())
    assert found is not None
    assert json.loads(found.group(1))["sizes"] == {"B": 2, "T": 3}
    assert main(["report", f"{model}:net", "-o", str(tmp_path / "no" / "r.html")]) == 1
    assert "there is no folder" in capsys.readouterr().err


def test_a_page_has_what_a_benchmark_saved(tmp_path: Path) -> None:
    model, saved, output = tmp_path / "model.py", tmp_path / "now.json", tmp_path / "r.html"
    model.write_text("from nncompile import nn\nnet = nn.Linear(6, 8)\n")
    assert main(["bench", f"{model}:net", "--batch", "1", "--vs", "numpy", "--rounds", "1",
                 "--save", str(saved)]) == 0
    assert main(["report", f"{model}:net", "-o", str(output), "--bench", str(saved)]) == 0
    found = re.search(r'id="data">(.*?)</script>', output.read_text())
    assert found is not None
    (row,) = json.loads(found.group(1))["peers"]["rows"]
    assert row["batch"] == row["threads"] == 1
    measured = json.loads(saved.read_text())["rows"][0]["results"]
    assert {r["name"]: r["seconds"] for r in row["results"]} == {
        name: result["median"] for name, result in measured.items()}


def test_show_draws_a_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.ir"
    model.write_text(str(nncompile.trace(blocks(2), "f32[B, 16]")))
    assert main(["show", str(model), "--svg", "--stage", "traced"]) == 0
    assert capsys.readouterr().out == ir.parse(model.read_text()).to_svg()
    assert main(["show", str(model), "--svg", "--stage", "all"]) == 1
    assert "one stage" in capsys.readouterr().err


def test_a_training_step_has_a_page(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    step: Any = nncompile.compile(
        model, "f32[B, 6]", "f32[B, 1]", loss=nn.MSELoss(),
        optimizer=nncompile.optim.SGD(model.parameters(), lr=0.1))
    step.report(tmp_path / "step.html", np.ones((3, 6), np.float32), np.ones((3, 1), np.float32))
    text = (tmp_path / "step.html").read_text()
    assert '"seconds"' in text

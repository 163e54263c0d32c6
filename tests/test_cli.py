"""The command line: what it prints, what it writes, how it fails."""
from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ir
import nncompile
from nncompile.cli import main
from nncompile.cli.parser import COMMANDS, parse
from nncompile.modelfile import guessed_inputs, load_model

MODEL = '''\
import numpy as np
from nncompile import nn

nn.init.manual_seed(0)
net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3), nn.Softmax(-1))


class Two(nn.Module):
    """Two inputs, two outputs."""

    def __init__(self):
        self.table = nn.Embedding(5, 6)
        self.norm = nn.LayerNorm(6)

    def forward(self, x, ids):
        h = self.norm(x + self.table(ids))
        return h, h.sum(dim=-1)


Two_inputs = ("f32[B, 6]", "i64[B]")


def function():
    return net


def not_a_model():
    return 3


def needs(width):
    return nn.Linear(width, 1)


class Wrong(nn.Module):
    def forward(self, x):
        return x @ np.ones((4, 4), np.float32)


class Broken(nn.Module):
    def forward(self, x):
        return x.nothing


number = 3
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "model.py"
    path.write_text(MODEL)
    return str(path)


def failing(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What is said on stderr by a command that ends with status 1 and prints nothing else."""
    assert main(argv) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("nncompile: error: ")
    assert "Traceback" not in err
    return err


# -- show ------------------------------------------------------------------------------------------

def test_show_prints_traced_then_changes_then_fused(file: str,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", f"{file}:net"]) == 0
    text = capsys.readouterr().out
    headings = [line.split(":")[0] for line in text.splitlines() if line.startswith("# ")]
    assert headings[0] == "# traced" and headings[-1] == "# fused"
    assert "# fuse_linear" in headings
    assert "\n- %1: f32[B, 8] = relu(%0)" in text
    assert "\n+ %1: f32[B, 8] = linear(%input, @0.weight, @0.bias) then relu" in text
    traced, fused = text.partition("# fuse_linear")[0], text.partition("# fused")[2]
    assert "relu(" in traced and "then relu" not in traced
    assert "then relu" in fused


@pytest.mark.parametrize("stage", ["traced", "fuse_linear", "fused"])
def test_a_stage_is_text_that_parses(file: str, stage: str,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", f"{file}:net", "--stage", stage, "--input", "f32[N, 6]"]) == 0
    graph = ir.parse(capsys.readouterr().out)
    assert str(graph.inputs[0].type) == "f32[N, 6]"
    assert any(node.op == "relu" for node in graph.nodes) == (stage == "traced")


def test_all_stages(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", f"{file}:Two", "--stage", "all"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# traced\n")
    assert text.count("\ngraph Two(") == text.count("\n# ") + 1
    assert "\n# fuse_linear\n" in text


def test_the_stages_are_those_of_the_compiled_model(file: str,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", f"{file}:net", "--stage", "all"]) == 0
    shown = [line[2:] for line in capsys.readouterr().out.splitlines() if line.startswith("# ")]
    model, _ = load_model(f"{file}:net")
    assert (*shown, "fused") == nncompile.compile(model, "f32[B, 6]").stages
    assert "cse:2" in shown


def test_dot(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", f"{file}:net", "--dot"]) == 0
    assert capsys.readouterr().out.startswith("digraph ")


def test_source_is_python(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", f"{file}:net", "--source"]) == 0
    source = capsys.readouterr().out
    compile(source, "source", "exec")
    assert "def phases(" in source


def test_asm_is_the_kernels(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", f"{file}:net", "--asm"]) == 0
    text = capsys.readouterr().out
    assert "linear_relu(x, ldx, w, y, ldy, rows, K, N)" in text
    assert "\nnnc_softmax:" in text


def test_an_unknown_stage_lists_them(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    err = failing(capsys, "show", f"{file}:net", "--stage", "nothing")
    assert "no stage 'nothing'" in err and "traced, " in err and ", fused" in err


def test_show_with_other_passes(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["show", f"{file}:net", "--passes", "cse,fuse_linear{steps=0},dce"]
    assert main([*command, "--stage", "all"]) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if line.startswith("# ")] == [
        "# traced", "# cse", "# fuse_linear", "# dce"]
    assert "then" not in text
    assert main([*command, "--source"]) == 0
    assert "linear_relu" not in capsys.readouterr().out
    err = failing(capsys, "show", "nowhere.py:net", "--passes", "nothing")
    assert "there is no pass 'nothing'; there are dce, " in err


# -- the text of a graph ---------------------------------------------------------------------------

GRAPH = """\
graph net(%x: f32[N, 6]) -> f32[N, 3] {
  @w: f32[3, 6]
  %0: f32[N, 3] = linear(%x, @w)  # 0 Linear  elsewhere.py:3
  %1: f32[N, 3] = relu(%0)
  return %1
}
"""


@pytest.fixture(scope="module")
def graph_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("graphs") / "model.ir"
    path.write_text(GRAPH)
    return str(path)


def test_show_takes_the_text_of_a_graph(graph_file: str,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", graph_file, "--stage", "traced"]) == 0
    assert capsys.readouterr().out == str(ir.parse(GRAPH)) + "\n"
    assert main(["show", graph_file, "--stage", "fused"]) == 0
    assert "linear(%x, @w) then relu  # 0 Linear" in capsys.readouterr().out
    assert main(["show", graph_file, "--source"]) == 0
    assert "linear_relu" in capsys.readouterr().out
    assert "leave --input out" in failing(capsys, "show", graph_file, "--input", "f32[B, 6]")


def test_an_onnx_model_is_shown_run_and_timed(tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    from tests.importers.onnx_models import model, node
    weight = np.ones((6, 2), np.float32)
    path = tmp_path / "model.onnx"
    path.write_bytes(model([node("MatMul", "x w", "h"), node("Relu", "h", "y")], {"x": ["N", 6]},
                           "y", w=weight).SerializeToString())
    assert main(["show", str(path), "--stage", "fused"]) == 0
    assert "linear(%x, %0) then relu" in capsys.readouterr().out
    np.save(tmp_path / "x.npy", np.ones((3, 6), np.float32))
    assert main(["run", str(path), "--input", str(tmp_path / "x.npy"),
                 "--output", str(tmp_path / "y.npy")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), np.full((3, 2), 6, np.float32))
    capsys.readouterr()
    assert main(["bench", str(path), "--batch", "2", "--vs", "none", "--rounds", "1"]) == 0
    assert "random numbers" not in capsys.readouterr().out
    path.write_bytes(b"nothing")
    assert "no whole ONNX file" in failing(capsys, "show", str(path))


def test_bench_says_that_weights_are_random(graph_file: str,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", graph_file, "--batch", "2", "--vs", "none", "--rounds", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"weights: {graph_file} has none, so these are seeded random numbers\n")


def test_run_computes_only_what_has_no_weights(graph_file: str, tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).standard_normal((4, 6), np.float32)
    np.save(tmp_path / "x.npy", x)
    files = ["--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy")]
    assert "has no numbers for its weights" in failing(capsys, "run", graph_file, *files)
    path = tmp_path / "relu.ir"
    path.write_text("graph g(%x: f32[B, 6]) -> f32[B, 6] {\n%0: f32[B, 6] = relu(%x)\nreturn %0\n}")
    assert main(["run", str(path), *files]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), np.maximum(x, 0))


@pytest.mark.parametrize(("content", "match"), [
    (GRAPH.replace("%0)", "%3)").encode(), "wrong.ir, line 4: %3 is used before it is defined"),
    (b"", "wrong.ir, line 1: the text ends where `graph` should be"),
    (b"\xff\x00", "wrong.ir is not the text of a graph"),
])
def test_a_file_that_is_no_graph(content: bytes, match: str, tmp_path: Path,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wrong.ir"
    path.write_bytes(content)
    for command in (["show"], ["bench"], ["run", "--input", "x.npy", "--output", "y.npy"]):
        np.save(tmp_path / "x.npy", np.ones(3, np.float32))
        argv = [word if word != "x.npy" else str(tmp_path / "x.npy") for word in command]
        assert match in failing(capsys, *argv, str(path))
    assert "no file 'none.ir'" in failing(capsys, "show", "none.ir")


# -- run -------------------------------------------------------------------------------------------

def test_run_writes_what_the_model_says(file: str, tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).standard_normal((7, 6))              # float64, NumPy's default
    np.save(tmp_path / "x.npy", x)
    output = tmp_path / "y.npy"
    output.write_bytes(b"what was there before")
    command = ["run", f"{file}:net", "--input", str(tmp_path / "x.npy"), "--output", str(output)]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{output}: float32 [7, 3]\n"
    expected = load_model(f"{file}:net")[0](x.astype(np.float32))
    np.testing.assert_allclose(np.load(output), expected, rtol=1e-5, atol=1e-7)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.npy", "y.npy"]


def test_run_takes_and_writes_several(file: str, tmp_path: Path,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    x, ids = np.ones((4, 6), np.float32), np.array([0, 1, 2, 4])
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "ids.npy", ids)
    h, total = (str(tmp_path / f"{name}.npy") for name in ("h", "total"))
    command = ["run", f"{file}:Two", "--input", str(tmp_path / "x.npy"),
               "--input", str(tmp_path / "ids.npy"), "--threads", "2", "--output", h]
    assert "number of the model's outputs is 2" in failing(capsys, *command)
    err = failing(capsys, *command, "--output", total, "--input", str(tmp_path / "x.npy"))
    assert "--input is given 3 times, and the number of the model's inputs is 2" in err
    assert main([*command, "--output", total]) == 0
    assert np.load(h).shape == (4, 6) and np.load(total).shape == (4,)


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
@pytest.mark.parametrize("text", [False, True], ids=["file.py", "file.ir"])
def test_run_takes_weights(file: str, tmp_path: Path, suffix: str, text: bool) -> None:
    """The numbers of a state dict take the place of a model's own, or of those a text lacks."""
    model, _ = load_model(f"{file}:net")
    state = {name: 2 * array for name, array in model.state_dict().items()}
    path = tmp_path / f"w.{suffix}"
    if suffix == "npz":
        np.savez(path, **state)
    else:
        nncompile.save_file(state, path)
    name = f"{file}:net"
    if text:
        name = str(tmp_path / "net.ir")
        Path(name).write_text(str(nncompile.trace(model, "f32[B, 6]")))
    x = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    assert main(["run", name, "--weights", str(path), "--input", str(tmp_path / "x.npy"),
                 "--output", str(tmp_path / "y.npy")]) == 0
    model.load_state_dict(state)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("array", "match"), [
    (np.array([{"pickled": "object"}]), "is not a whole .npy file of numbers"),
    (np.ones((3, 5), np.float32), "6 features"),
    (np.ones((3, 6), complex), "complex128"),
])
def test_run_refuses(file: str, tmp_path: Path, array: np.ndarray, match: str,
                     capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    assert match in failing(capsys, "run", f"{file}:net", "--input", str(tmp_path / "x.npy"),
                            "--output", str(tmp_path / "y.npy"))
    assert not (tmp_path / "y.npy").exists()


def test_run_says_which_file_is_not_there(file: str, tmp_path: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "none.npy")
    err = failing(capsys, "run", f"{file}:net", "--input", missing, "--output", "y.npy")
    assert err == f"nncompile: error: {missing}: No such file or directory\n"


def test_run_says_which_file_cannot_be_written(file: str, tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 6), np.float32))
    output = str(tmp_path / "no folder" / "y.npy")
    err = failing(capsys, "run", f"{file}:net", "--input", str(tmp_path / "x.npy"),
                  "--output", output)
    assert err == f"nncompile: error: cannot write {output}: No such file or directory\n"


# -- models and their inputs -----------------------------------------------------------------------

@pytest.mark.parametrize("name", ["net", "function", "Two"])
def test_a_model_is_an_instance_a_class_or_a_function(file: str, name: str) -> None:
    model, inputs = load_model(f"{file}:{name}")
    assert not any(module.training for module in model.modules())
    assert inputs == (["f32[B, 6]", "i64[B]"] if name == "Two" else None)


@pytest.mark.parametrize(("name", "match"), [
    ("nothing", "has no 'nothing'; there is"),
    ("number", "number is 3, not a model"),
    ("not_a_model", "returned 3, not a model"),
    ("needs", r"needs\(width\) needs arguments"),
])
def test_a_name_that_is_no_model(file: str, name: str, match: str) -> None:
    with pytest.raises(ir.Error, match=match):
        load_model(f"{file}:{name}")


@pytest.mark.parametrize(("text", "match"), [
    ("nowhere.py:net", "no file 'nowhere.py'"),
    ("nowhere.py", "file.py:name"),
    (":net", "no file ''"),
])
def test_a_file_that_is_not_there(text: str, match: str) -> None:
    with pytest.raises(ir.Error, match=match):
        load_model(text)


def test_a_file_without_a_name_lists_its_models(file: str) -> None:
    with pytest.raises(ir.Error, match=f"there is {file}:net, {file}:Two, {file}:function"):
        load_model(file)


def test_a_syntax_error_names_the_line_of_the_file(tmp_path: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wrong.py").write_text("first = 1\nnet = nn.Sequential(:\n")
    err = failing(capsys, "show", f"{tmp_path}/wrong.py:net")
    assert err == (f"nncompile: error: SyntaxError: invalid syntax\n"
                   f"  line: {tmp_path}/wrong.py:2: net = nn.Sequential(:\n"
                   "  --debug shows the whole traceback\n")


def test_a_file_that_exits_does_not_end_the_command(tmp_path: Path,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "script.py").write_text("raise SystemExit(0)\n")
    assert "__main__" in failing(capsys, "show", f"{tmp_path}/script.py:net")


def test_inputs_are_guessed_from_the_first_layer(file: str,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    assert guessed_inputs(load_model(f"{file}:net")[0], "net") == ["f32[B, 6]"]
    err = failing(capsys, "show", f"{file}:Wrong")
    assert '--input "f32[B, 64]"' in err and "Wrong_inputs" in err


def test_a_model_without_inputs_needs_none(tmp_path: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.py").write_text(
        "import numpy\nfrom nncompile import nn\n\nclass One(nn.Module):\n"
        "    def forward(self):\n        return nn.functional.relu(numpy.ones(3))\n")
    assert main(["show", f"{tmp_path}/one.py:One", "--stage", "traced"]) == 0
    assert "graph One() -> f64[3] {" in capsys.readouterr().out


def test_an_error_in_forward_says_where(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    err = failing(capsys, "show", f"{file}:Wrong", "--input", "f32[B, 6]")
    assert "f32[B, 6]" in err and "model.py:" in err
    err = failing(capsys, "show", f"{file}:Broken", "--input", "f32[B, 6]")
    assert "nothing" in err and "model.py" in err


def test_debug_shows_the_traceback(file: str) -> None:
    for command in (["--debug", "show", f"{file}:none"], ["show", "--debug", f"{file}:none"]):
        with pytest.raises(ir.Error, match="has no 'none'"):
            main(command)


# -- bench, cache, hw ------------------------------------------------------------------------------

def test_bench(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "figures.json"
    assert main(["bench", f"{file}:net", "--batch", "1,3", "--vs", "numpy", "--rounds", "1",
                 "--json", str(figures)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(", others")[0] for line in lines if line.startswith("batch ")] == [
        "batch 1, 1 thread", "batch 3, 1 thread"]
    rows = json.loads(figures.read_text())["rows"]
    assert [row["batch"] for row in rows] == [1, 3]
    assert all(row["results"]["nncompile"]["seconds"] for row in rows)


def test_bench_says_before_it_measures_what_cannot_be_written(
        file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    err = failing(capsys, "bench", f"{file}:net", "--json", str(tmp_path / "none" / "figures.json"))
    assert f"there is no folder {tmp_path / 'none'}" in err


def test_bench_names_the_peers_it_has(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    err = failing(capsys, "bench", f"{file}:net", "--vs", "cuda")
    assert "no peer cuda; there are numpy, torch, onnxruntime" in err


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
               capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NNCOMPILE_CACHE_DIR", str(tmp_path / "cache"))
    assert main(["cache", "info"]) == 0
    assert str(tmp_path / "cache") in capsys.readouterr().out
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == "0 entries removed\n"
    assert main(["cache", "list"]) == 0 and main(["cache", "verify"]) == 0
    assert capsys.readouterr().out == "0 entries are whole, 0 are not\n"
    monkeypatch.setenv("NNCOMPILE_CACHE_DIR", "off")
    assert main(["cache", "info"]) == 0
    assert "NNCOMPILE_CACHE_DIR=off" in capsys.readouterr().out


def test_cache_lists_models_and_finds_what_is_damaged(
        file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "cache"
    monkeypatch.setenv("NNCOMPILE_CACHE_DIR", str(folder))
    code = f"from nncompile.cli import main; main(['show', '{file}:net', '--source'])"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert main(["cache", "list"]) == 0
    out = capsys.readouterr().out
    assert "f32[B, 6] -> f32[B, 3] in 3 steps" in out and re.search(r"\d x kernel, ", out)
    assert main(["cache", "list", "--all"]) == 0
    out = capsys.readouterr().out
    assert "kernel softmax" in out and "for vectors of" in out and "..." not in out
    assert main(["cache", "verify"]) == 0
    entry = next(folder.glob("driver-*.o"))
    entry.write_bytes(entry.read_bytes()[:-1] + b"?")
    next(folder.glob("kernel-*.o")).write_bytes(b"nncompile object 1\nof before")
    capsys.readouterr()
    assert main(["cache", "verify"]) == 1
    out = capsys.readouterr().out
    assert f"{entry}: damaged" in out and ", 1 are not, 1 are of another version" in out


def test_hw(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNCOMPILE_THREADS", "1")
    assert main(["hw"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line[:1].strip()] == [
        "CPU", "caches", "target", "threads", "ceilings", "float32", "float64", "L1", "L2", "L3",
        "memory", "noise", "cuda"]
    assert max(map(len, lines)) <= 80
    assert main(["hw", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ceilings"][0]["flops_f64"] > 0 and found["noise"]["most"] >= 1


# -- the process -----------------------------------------------------------------------------------

@pytest.mark.parametrize("argv", [
    [], ["nothing"], ["show"], ["run", "m.py:net"], ["bench", "m.py:net", "--batch", "0"],
    ["bench", "m.py:net", "--threads", "two"], ["bench", "m.py:net", "--size", "T"],
    ["bench", "m.py:net", "--size", "=3"], ["show", "m.py:n", "--stage", "x", "--source"],
])
def test_a_wrong_command_line_is_status_2(argv: list[str],
                                          capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "Usage: nncompile" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "expected"), [
    ("nncompile ", {"show", "report", "run", "bench", "reduce", "cache", "hw"}),
    ("nncompile cache ", {"info", "list", "verify", "clear"}),
    ("nncompile bench --scenario th", {"throughput"}),
    ("nncompile run --wei", {"--weights"}),
])
def test_a_shell_completes(words: str, expected: set[str]) -> None:
    begin, _, last = words.rpartition(" ")
    done = subprocess.run([sys.executable, "-m", "nncompile"], capture_output=True, text=True,
                          env={**os.environ, "_NNCOMPILE_COMPLETE": "bash_complete",
                               "COMP_WORDS": words, "COMP_CWORD": str(len(begin.split()))})
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == expected, last


def test_an_option_with_several_values(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = parse(["show", f"{file}:net", "--diff", "traced", "fused", "--depth", "1"])
    assert list(given.diff) == ["traced", "fused"] and given.model == f"{file}:net"
    assert parse(["show", f"{file}:net"]).diff is None


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "nncompile bench model.py:net --batch 1,64,1024 --threads 1,2" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_examples_of_a_command_are_in_its_help_and_can_be_parsed(
        command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command.name, "--help"])
    shown = capsys.readouterr().out
    assert len(command.examples) >= 2
    for line in command.examples:
        assert line in shown and len(line) <= 78                # they are indented by two
        words = shlex.split(re.sub("   .*", "", line))         # three spaces begin a comment
        given = parse(words[words.index("nncompile") + 1:])
        assert given.command is command


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_input_is_a_type_or_a_file_in_every_command(
        file: str, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    x, ids = np.ones((3, 6)), np.zeros(3, np.int64)
    outputs = [f"--output={tmp_path}/h.npy", f"--output={tmp_path}/total.npy"]
    if suffix == "npz":
        np.savez(tmp_path / "both.npz", x, ids)
        files = [f"--input={tmp_path}/both.npz"]
    else:
        np.save(tmp_path / "x.npy", x)
        np.save(tmp_path / "ids.npy", ids)
        files = [f"--input={tmp_path}/x.npy", f"--input={tmp_path}/ids.npy"]
    for inputs in (files, ["--input=f32[3, 6]", "--input=i64[3]"]):
        assert main(["show", f"{file}:Two", *inputs, "--stage", "fused"]) == 0
        assert ": f32[" in capsys.readouterr().out
        assert main(["run", f"{file}:Two", *inputs, *outputs]) == 0
        assert f"{tmp_path}/h.npy: float32 [3, 6], " in capsys.readouterr().out


def test_an_input_that_is_neither(file: str, tmp_path: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    for text, match in (("x.txt", 'neither a type, such as "f32[B, 64]", nor a file'),
                        (f"{tmp_path}/x.npz", "No such file")):
        assert match in failing(capsys, "show", f"{file}:net", "--input", text)
    (tmp_path / "x.npz").write_bytes(b"PK")
    assert "is not a whole .npz file" in failing(capsys, "show", f"{file}:net", "--input",
                                                 f"{tmp_path}/x.npz")
    err = failing(capsys, "run", f"{file}:net", "--input", "f32[B, 6]", "--output", "y.npy")
    assert "each size has to be a number here" in err


def test_as_a_process_into_a_pipe_that_closes(file: str) -> None:
    command = [sys.executable, "-W", "error", "-m", "nncompile", "show", f"{file}:net"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("# traced") and done.stderr == ""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_torch_module_is_a_model_like_any_other(tmp_path: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "theirs.py"
    path.write_text("import torch\n"
                    "torch.manual_seed(0)\n"
                    "net = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.Softmax(-1))\n"
                    "class Net(torch.nn.Sequential):\n"
                    "    def __init__(self):\n"
                    "        super().__init__(torch.nn.Linear(6, 2))\n")
    assert main(["show", f"{path}:net", "--stage", "fused"]) == 0
    assert "linear(%input, @0.weight, @0.bias)" in capsys.readouterr().out
    x = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    model, _ = load_model(f"{path}:net")
    state = {name: 2 * tensor for name, tensor in model.state_dict().items()}
    nncompile.save_file(state, tmp_path / "w.safetensors")
    assert main(["run", f"{path}:net", "--weights", str(tmp_path / "w.safetensors"),
                 "--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy")]) == 0
    model.load_state_dict(state)
    with torch.no_grad():
        np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model(torch.from_numpy(x)),
                                   rtol=1e-5, atol=1e-6)
    assert main(["bench", f"{path}:Net", "--batch", "3", "--vs", "numpy", "--rounds", "2"]) == 0
    assert main(["show", str(path)]) == 1
    assert f"{path}:net, {path}:Net" in capsys.readouterr().err

"""The names of a file's outputs: where they are seen, and that they stay text."""
from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")

import onnx

import nncompile
from nncompile import nn
from nncompile.cli import main
from tests.importers.onnx_models import model, node

TWO = [node("Relu", "x", "hidden"), node("Exp", "x", "scores")]
HOSTILE = 'y"\n\x1b[31m; import os #'


def test_a_compiled_model_has_the_names_of_the_file(tmp_path) -> None:
    fast = nncompile.compile(model(TWO, {"x": ["B", 4]}, "scores hidden"))
    assert fast.output_names == ("scores", "hidden")
    assert pickle.loads(pickle.dumps(fast)).output_names == fast.output_names
    path = nncompile.to_onnx(fast, tmp_path / "again.onnx")
    assert [output.name for output in onnx.load(path).graph.output] == ["scores", "hidden"]


def test_other_models_name_what_they_return() -> None:
    class Named(nn.Module):
        def forward(self, x):
            return {"logits": x, "pair": (x + 1, x * 2)}

    assert nncompile.compile(Named(), "f32[B]").output_names == ("logits", "pair.0", "pair.1")
    assert nncompile.compile(nn.ReLU(), "f32[B]").output_names == ("output",)
    graph = nncompile.from_onnx(model(TWO, {"x": ["B", 4]}, "scores hidden"))
    assert nncompile.compile(graph).output_names == ("output.0", "output.1")


def test_the_command_line_prints_them(tmp_path, capsys) -> None:
    onnx.save(model(TWO, {"x": ["B", 4]}, "scores hidden"), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    outputs = [tmp_path / name for name in ("a.npy", "b.npy")]
    main(["run", str(tmp_path / "m.onnx"), "--input", str(tmp_path / "x.npy"),
          *(word for path in outputs for word in ("--output", str(path)))])
    assert capsys.readouterr().out == (f"{outputs[0]}: float32 [2, 4], scores\n"
                                       f"{outputs[1]}: float32 [2, 4], hidden\n")


def test_a_hostile_name_reaches_neither_the_code_nor_the_terminal(tmp_path, capsys) -> None:
    given = model([node("Relu", "x", "h"), node("Exp", "x", "scores")], {"x": ["B", 4]}, "scores h")
    given.graph.node[0].output[0] = given.graph.output[1].name = HOSTILE
    fast = nncompile.compile(given)
    assert fast.output_names == ("scores", HOSTILE) and HOSTILE not in fast.source
    onnx.save(given, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    main(["run", str(tmp_path / "m.onnx"), "--input", str(tmp_path / "x.npy"),
          "--output", str(tmp_path / "a.npy"), "--output", str(tmp_path / "b.npy")])
    printed = capsys.readouterr().out
    assert printed.count("\n") == 2 and "\x1b" not in printed

"""nncompile reduce: the part of a model that fails, in files that show it again."""
from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import ir
import nncompile
from ir.records import dataclass, replace
from nncompile import nn
from nncompile.cli import main, reduce
from nncompile.passes import DEFAULT_PIPELINE
from tests.terminal import in_terminal, visible

MODEL = """\
from nncompile import nn
nn.init.manual_seed(0)


class Block(nn.Module):
    def __init__(self):
        self.norm, self.fc = nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, x):
        return x + nn.functional.gelu(self.fc(self.norm(x)))


net = nn.Sequential(*[Block() for _ in range(3)], nn.Linear(8, 3), nn.Softmax(-1))
net_inputs = "f32[B, 8]"
"""


@dataclass(frozen=True)
class _Wrong:
    """Takes another function for gelu, which is a little off."""

    name = "wrong"

    def __call__(self, graph: ir.Graph) -> ir.Graph:
        return replace(graph, nodes=tuple(
            replace(node, op="gelu_tanh") if node.op == "gelu" else node for node in graph.nodes))


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return f"{path}:net"


def test_a_wrong_pass_is_shown_by_one_node(model: str, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(reduce, "DEFAULT_PIPELINE", (_Wrong(), *DEFAULT_PIPELINE))
    small = tmp_path / "small.ir"
    assert main(["reduce", model, "-o", str(small)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"nodes: 14, and 1 are left\nfails: wrong: output 0 is off by", out)
    assert [node.op for node in ir.parse(small.read_text()).nodes] == ["gelu"]
    again = shlex.split(out.rpartition("again: nncompile ")[2])
    assert main([*again, "-o", str(tmp_path / "again.ir")]) == 0
    assert "nodes: 1, and 1 are left" in capsys.readouterr().out
    monkeypatch.setattr(reduce, "DEFAULT_PIPELINE", DEFAULT_PIPELINE)
    assert main(again) == 1
    assert "does not fail: it compiles, and its outputs are" in capsys.readouterr().err


def test_a_command_says_what_fails(model: str, tmp_path: Path,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    """Here a graph fails that has a norm whose numbers are in the files beside it."""
    script = tmp_path / "check.sh"
    script.write_text("#!/bin/sh\ntest -s $2 -a -s $3 && ! grep -q layer_norm $1\n")
    script.chmod(0o700)
    small = tmp_path / "small.ir"
    assert main(["reduce", model, "--check", f"{script} {{}} {{weights}} {{inputs}}", "-o",
                 str(small)]) == 0
    out = capsys.readouterr().out
    assert "fails: exit status 1" in out and "--check" in out
    graph = ir.parse(small.read_text())
    assert [node.op for node in graph.nodes] == ["layer_norm"]
    with np.load(tmp_path / "small.weights.npz") as weights, \
            np.load(tmp_path / "small.inputs.npz") as inputs:
        assert {*weights.files} <= {v.name for v in graph.params}
        assert [inputs[name].shape for name in inputs.files] == [(3, 8)]
    assert main(["reduce", model, "--check", "true"]) == 1
    assert "true exits with 0" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_is_wide_enough(model: str, tmp_path: Path, columns: int) -> None:
    status, shown = in_terminal(columns, "reduce", model, "--check", "false", "-o",
                                str(tmp_path / "small.ir"))
    assert status == 0, shown
    graph = [line for line in visible(shown) if "again: " not in line]
    assert any("fails: exit status 1" in line for line in graph)
    assert max(map(len, graph)) <= columns


def test_constants_are_in_the_file_of_weights(tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    class Table(nn.Module):
        def forward(self, x: nncompile.Array) -> nncompile.Array:
            return (x + np.arange(4, dtype="f4")).exp()

    graph = nncompile.trace(Table(), "f32[B, 4]")
    assert [v.kind for v in graph.params] == ["constant"]
    small = tmp_path / "small.ir"
    reduce._write(small, reduce.Case(graph, (np.ones((2, 4), "f4"),)))
    again = ["reduce", str(small), "--weights", str(tmp_path / "small.weights.npz"), "--input",
             str(tmp_path / "small.inputs.npz"), "--check", "false", "-o", str(tmp_path / "b.ir")]
    assert main(again) == 0
    with np.load(tmp_path / "small.weights.npz") as weights:
        np.testing.assert_array_equal(weights["constant.0"], np.arange(4))


@pytest.mark.parametrize(("options", "match"), [
    (["-o", "nowhere/small.ir"], "there is no folder nowhere"),
    (["--size", "T=3"], "there is no size T"),
])
def test_wrong_wishes(model: str, options: list[str], match: str,
                      capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reduce", model, *options]) == 1
    assert match in capsys.readouterr().err

"""nncompile bench --train: steps beside torch's, from a model file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nncompile
from nncompile.bench.peers import load_python, write_python
from nncompile.bench.training import OURS, FilePlan, Steps, _same, ratio_of
from nncompile.cli import main

torch = pytest.importorskip("torch", reason="the peer of this file")
FILE = """\
from nncompile import nn
net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))
class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.last = nn.Embedding(20, 4), nn.Linear(4, 1)
    def forward(self, ids, y):
        return (self.last(self.table(ids).mean(1)) - y).pow(2).mean()
own_inputs = ["i64[B, 5]", "f32[B, 1]"]
own = Own
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "model.py"
    path.write_text(FILE)
    return str(path)


def test_a_row_has_the_time_of_each_that_does_the_same(
        file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["bench", f"{file}:net", "--train", "Adam", "--loss", "CrossEntropyLoss",
                   "--input", "f32[B, 6]", "--input", "i64[B]", "--batch", "8", "--vs", "torch",
                   "--rounds", "1", "--seconds", "0.001", "--json", str(tmp_path / "found.json")])
    said = capsys.readouterr().out
    assert status == 0, said
    assert "batch 8, 1 thread: nncompile " in said and ", torch " in said and "; x " in said
    assert "eval mode" in said                   # of the dropout
    row, = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert row["seconds"].keys() == {"nncompile", "torch"} and row["notes"] == {}
    assert "; products " in said and 0 < row["products"] < row["seconds"][OURS]
    assert ratio_of(row) == row["seconds"]["torch"] / row["seconds"][OURS]


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "RMSprop"])
def test_steps_of_a_file_are_the_same_in_torch(file: str, optimizer: str) -> None:
    plan = FilePlan(f"{file}:own", ("i64[B, 5]", "f32[B, 1]"), None, {})
    made: list[Steps] = [plan.steps(name, 7, optimizer, 1) for name in (OURS, "torch")]
    begin = [[np.array(w) for w in each.weights()] for each in made]
    for a, b in zip(*begin, strict=True):
        np.testing.assert_array_equal(a, b)
    losses = [[float(each.step()) for _ in range(4)] for each in made]
    weights = [[np.array(w) for w in each.weights()] for each in made]
    assert _same((losses[1], weights[1]), (losses[0], weights[0]), begin[0])
    wrong = [w + 1e-3 for w in weights[1]]
    assert not _same((losses[1], wrong), (losses[0], weights[0]), begin[0])
    assert not _same(([x + 1 for x in losses[1]], weights[1]), (losses[0], weights[0]), begin[0])


def test_the_products_of_a_step_are_counted(file: str) -> None:
    made = FilePlan(f"{file}:net", ("f32[B, 6]", "i64[B]"), "CrossEntropyLoss", {}).steps(
        OURS, 5, "SGD", 1)
    forward, weights, activation = 6 * 8 + 8 * 3, 6 * 8 + 8 * 3, 8 * 3
    assert made.flops == 2 * 5 * (forward + weights + activation)


def test_what_is_no_training_is_refused(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    step = ["--train", "SGD", "--batch", "4", "--vs", "none"]
    cases: list[tuple[list[str], str]] = [
        (["--train", "Adm"], "no such optimizer; there are ASGD, SGD"),
        (["--train", "LBFGS"], "no such optimizer"),
        (["--train", "SparseAdam"], "does not support dense"),
        (["--train", "SGD", "--loss", "MSELos", "--input", "f32[B, 6]"], "no such loss"),
        (["--train", "SGD", "--loss", "MSELoss"], "behind those of the model"),
        (["--train", "SGD", "--qps", "3"], "--qps has no meaning with --train"),
        (["--train", "SGD", "--target", "cuda"], "--target has no meaning"),
        (["--train", "SGD", "--vs", "numpy"], "no peer numpy of a training step"),
        (["--loss", "MSELoss"], "--loss has no meaning without --train"),
        ([*step, "--input", "f32[B, 6]"], "a step needs a loss, one number"),
    ]
    for arguments, match in cases:
        assert main(["bench", f"{file}:net", *arguments]) != 0
        assert match in " ".join(capsys.readouterr().err.split()), arguments


def test_numbers_among_integers_are_written_as_integers() -> None:
    class Picked(nncompile.nn.Module):
        def forward(self, ids: Any, x: Any) -> Any:
            at = nncompile.where(ids.ne(-100), ids, 0)
            return x.gather(1, at.unsqueeze(1)), nncompile.where(x.gt(0), x, 0)

    graph = nncompile.trace(Picked(), "i64[B]", "f32[B, 3]")
    source = write_python(graph, {"B": 2}, "torch")
    run = load_python(source, {"torch": torch, "F": torch.nn.functional}, [])
    found = run(torch.tensor([2, -100]), torch.tensor([[1.0, 2.0, 3.0], [4.0, -5.0, 6.0]]))
    assert [f.tolist() for f in found] == [[[3.0], [4.0]], [[1, 2, 3], [4, 0, 6]]]

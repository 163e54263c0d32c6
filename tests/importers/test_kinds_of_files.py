"""`nncompile show | run | bench` over every kind of model that a file may hold."""
import importlib.util
from pathlib import Path

import numpy as np
import pytest

import nncompile
from nncompile.cli import main
from nncompile.modelfile import load_model

OURS = """
from nncompile import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        nn.init.manual_seed(0)
        self.fc = nn.Linear(6, 3)
    def forward(self, x):
        return self.fc(x).softmax(-1)
net = Net()
inputs = ("f32[B, 6]",)
"""
TORCH = """
import torch
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.Softmax(-1)).eval()
batch = torch.export.Dim("batch")
program = torch.export.export(net, (torch.zeros(4, 6),), dynamic_shapes=({0: batch},))
inputs = ("f32[B, 6]",)
"""
NEEDS = {"model.onnx": "onnx", "theirs.py:net": "torch", "theirs.py:program": "torch"}
X = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


@pytest.mark.parametrize("kind", ["ours.py:net", "ours.py:Net", "model.ir", "model.onnx",
                                  "theirs.py:net", "theirs.py:program"])
def test_show_run_and_bench(kind, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    if kind in NEEDS and importlib.util.find_spec(NEEDS[kind]) is None:
        pytest.skip(f"{NEEDS[kind]} is not installed")
    file = tmp_path / kind.partition(":")[0]
    (tmp_path / "ours.py").write_text(OURS)
    net, _ = load_model(f"{tmp_path}/ours.py:net")
    weights = [*net.state_dict().values()]
    given = []
    if file.name == "theirs.py":
        file.write_text(TORCH)
        theirs, _ = load_model(f"{file}:net")
        weights = [tensor.numpy() for tensor in theirs.state_dict().values()]
    elif file.name == "model.ir":
        file.write_text(str(nncompile.trace(net, "f32[B, 6]")))
        np.savez(tmp_path / "w.npz", **net.state_dict())
        given = ["--weights", str(tmp_path / "w.npz")]
    elif file.name == "model.onnx":
        nncompile.to_onnx(net, file, "f32[B, 6]")
    name = f"{tmp_path}/{kind}"
    assert main(["show", name, "--stage", "fused"]) == 0
    assert "softmax(%" in capsys.readouterr().out
    np.save(tmp_path / "x.npy", X)
    assert main(["run", name, *given, "--input", str(tmp_path / "x.npy"),
                 "--output", str(tmp_path / "y.npy")]) == 0
    weight, bias = weights
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), softmax(X @ weight.T + bias),
                               rtol=1e-5, atol=1e-6)
    assert main(["bench", name, "--batch", "3", "--vs", "numpy", "--rounds", "2"]) == 0
    assert "nncompile" in capsys.readouterr().out


def test_show_and_bench_an_estimator(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Its graph has a second output, of bools; `inputs` in the file are those of its modules."""
    pytest.importorskip("sklearn")
    (tmp_path / "estimator.py").write_text("""
import numpy as np
from sklearn.preprocessing import StandardScaler
scaler = StandardScaler().fit(np.random.default_rng(0).standard_normal((60, 6)))
inputs = ("f32[B, 6]",)
""")
    name = f"{tmp_path}/estimator.py:scaler"
    assert main(["show", name, "--stage", "fused"]) == 0
    assert "@mean_" in capsys.readouterr().out
    assert main(["bench", name, "--batch", "3", "--vs", "numpy", "--rounds", "2"]) == 0
    assert "failed" not in capsys.readouterr().out


def test_run_names_every_key_that_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("safetensors")
    (tmp_path / "ours.py").write_text(OURS)
    np.save(tmp_path / "x.npy", X)
    nncompile.save_file({"fc.bias": np.zeros(4, np.float32), "other": X, "more": X},
                        tmp_path / "w.safetensors")
    assert main(["run", f"{tmp_path}/ours.py:net", "--weights", str(tmp_path / "w.safetensors"),
                 "--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy")]) == 1
    error = capsys.readouterr().err
    for words in ("missing keys: fc.weight", "unexpected keys: more, other",
                  "fc.bias: the shape is [4]"):
        assert words in error

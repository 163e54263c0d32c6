"""to_onnx of models at open sizes: one file for every size, which ONNX Runtime runs as we do."""
from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime, the oracle, is not installed")

import onnxruntime as ort

import nncompile
import nncompile.nn.functional as F
from ir.ops import at_sizes
from nncompile import nn


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *arrays):
        return self.function(*arrays)


MODELS = {
    "encoder": (nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), "f32[B, T, 16]"),
    "cross attention": (nn.MultiheadAttention(16, 4, batch_first=True), "f32[B, T, 16]",
                        "f32[B, S, 16]", "f32[B, S, 16]"),
    "causal": (Function(lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True)),
               "f32[B, 2, T, 8]"),
    "masked": (Function(lambda q, m: F.scaled_dot_product_attention(q, q, q, m)),
               "f32[B, 2, T, 8]", "f32[T, T]"),
    "half": (Function(lambda x: x[:, : x.shape[1] // 2]), "f32[B, T, 8]"),
    "rows": (Function(lambda x: x.reshape(x.shape[0], -1)), "f32[B, T, 8]"),
    "flip and roll": (Function(lambda x: x.flip(1).roll(1, 1)), "f32[B, T]"),
    "a size": (Function(lambda x: x * x.shape[1] + nncompile.arange(x.shape[1])), "f32[B, T]"),
    "repeated": (Function(lambda x: x.repeat_interleave(2, 1).repeat(1, 2)), "f32[B, T]"),
    "sorted": (Function(lambda x: x.sort(1).values), "f32[B, T]"),
    "triangle": (Function(lambda x: x.tril()), "f32[T, T]"),
    "normal": (nn.Sequential(nn.GroupNorm(2, 8), nn.BatchNorm1d(8), nn.InstanceNorm1d(8)),
               "f32[B, 8, T]"),
    "pairs": (Function(lambda x, y: nncompile.einsum("btd,bsd->bts", x, y)), "f32[B, T, 4]",
              "f32[B, S, 4]"),
}


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("name", MODELS)
def test_one_file_for_every_size(name, opset, tmp_path) -> None:
    model, *types = MODELS[name]
    path = nncompile.to_onnx(model.eval(), tmp_path / "m.onnx", *types, opset=opset)
    fused = nncompile.to_onnx(nncompile.compile(model, *types).ir("fused"), tmp_path / "f.onnx",
                              opset=opset)
    graph = nncompile.trace(model, *types)
    random = np.random.default_rng(0)
    sessions = [ort.InferenceSession(file, providers=["CPUExecutionProvider"])
                for file in (path, fused)]
    for sizes in ({"B": 3, "T": 5, "S": 4}, {"B": 1, "T": 2, "S": 7}):
        arrays = [random.standard_normal(at_sizes(v.type.shape, sizes)).astype("float32")
                  for v in graph.inputs]
        expected = model(*arrays)
        for session in sessions:
            names = [given.name for given in session.get_inputs()]
            results = session.run(None, dict(zip(names, arrays, strict=True)))
            for result, wanted in zip(results, expected if isinstance(expected, tuple)
                                      else (expected,), strict=True):
                np.testing.assert_allclose(result, np.asarray(wanted), rtol=1e-4, atol=1e-4)

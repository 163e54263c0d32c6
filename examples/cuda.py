"""A model on an NVIDIA GPU, and its generated kernels; without a GPU, in numba's simulator:

    python examples/cuda.py                             needs nncompile[cuda] and a GPU
    NUMBA_ENABLE_CUDASIM=1 python examples/cuda.py      anywhere
"""
import numpy as np

import nncompile
from nncompile import nn

WIDTH = 32


def main() -> None:
    nn.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, 48), nn.GELU(), nn.LayerNorm(48), nn.Linear(48, 10),
                          nn.Softmax(dim=-1)).eval()
    on_gpu = nncompile.compile(model, f"f32[B, {WIDTH}]", target="cuda")
    on_cpu = nncompile.compile(model, f"f32[B, {WIDTH}]")
    print(on_gpu.explain())

    x = np.random.default_rng(0).standard_normal((4, WIDTH)).astype(np.float32)
    difference = np.abs(on_gpu(x) - on_cpu(x)).max()
    print(f"\nlargest difference between the targets: {difference:.1e}\n")
    print(on_gpu.source.partition("@cuda.jit")[0].rstrip())


if __name__ == "__main__":
    try:
        main()
    except nncompile.Error as error:
        raise SystemExit(f"{error}") from None

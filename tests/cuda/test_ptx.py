"""All kinds of kernels through the CUDA compiler, where it is installed; no GPU is needed.

PTX is read: float32 kernels compute nothing in float64 (a forgotten T(0.5) would), sums of products
are fused multiply-adds held in registers, nothing is in local memory.
"""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
from nncompile.cuda import kernels, load, shim
from nncompile.cuda.target import DEVICE
try:
    shim.find().module.compile_ptx(lambda: None, (), cc=(8, 0))
except Exception as error:
    raise SystemExit(f"no compiler: {type(error).__name__}: {' '.join(str(error).split())}")
capability = tuple(map(int, %r.split(".")))
every = tuple((op, "v" * (kernels.arity(op) - 1)) for op in kernels.FUNCTIONS)
short, mixed = (("add", "v"), ("relu", "")), (("add", "v"), ("gelu", ""), ("mul", "s"))
for dtype in ("float32", "float64") if capability > (8, 0) else ("float32",):
    made = [kernels.tiled(chain, outer, dtype, DEVICE, tile) for tile in DEVICE.tiles[dtype]
            for chain, outer in (((), 2), (short, 0), (mixed, 1))]
    made += [kernels.few(short, 0, dtype, DEVICE), kernels.few(every[1:], 2, dtype, DEVICE)]
    made += [kernels.elementwise(((op, "v" * kernels.arity(op)),), 1, dtype, DEVICE)
             for op in kernels.FUNCTIONS]
    made += [kernels.elementwise((("mul", "vs"), ("sub", "v")), 4, dtype, DEVICE)]
    for threads in DEVICE.row_threads:
        made += [kernels.softmax(dtype, threads), kernels.layer_norm(True, True, dtype, threads),
                 *(kernels.reduce(op, dtype, threads) for op in ("sum", "mean", "max"))]
    made += [kernels.embedding(index, rank, dtype, DEVICE)
             for index, rank in (("i64", 1), ("i32", 3))]
    for kernel in made:
        text = load.ptx(kernel, capability)
        assert f".entry" in text, kernel.name
        assert ".local" not in text, f"{kernel.name} uses local memory"
        if dtype == "float32":
            assert ".f64" not in text, f"{kernel.name} computes in float64"
        if kernel.name.startswith("product"):
            fused = "fma.rn.f32" if dtype == "float32" else "fma.rn.f64"
            assert text.count(fused) >= 4, kernel.name
            assert text.count("bar.sync") == 2, kernel.name
    print(len(made), "kernels")
"""


@pytest.mark.parametrize("capability", ["8.0", "9.0"])
def test_ptx(capability):
    done = subprocess.run([sys.executable, "-c", CODE % capability], cwd=ROOT, text=True,
                          capture_output=True, check=False,
                          env={**os.environ, "NUMBA_ENABLE_CUDASIM": "0"})
    if "no compiler: " in done.stderr:
        pytest.skip(done.stderr.strip() + "; pip install nncompile[cuda] brings one")
    assert done.returncode == 0, done.stderr

"""All kinds of kernels through the CUDA compiler, where it is installed; no GPU is needed.

PTX is read: float32 kernels compute nothing in float64 (a forgotten T(0.5) would), sums of products
are fused multiply-adds held in registers, nothing is in local memory.
"""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ir.types import DTYPES

ROOT = Path(__file__).parents[2]
CODE = """
from ir import Error, TensorType
from ir.ops import OPS
from ir.types import DTYPES, FLOATS
from nncompile.cuda import kernels, load, shim
from nncompile.cuda.target import target_of
DEVICE = target_of(shim.find())
try:
    shim.find().module.compile_ptx(lambda: None, (), cc=(8, 0))
except Exception as error:
    raise SystemExit(f"no compiler: {{type(error).__name__}}: {{' '.join(str(error).split())}}")
capability, dtype = {capability}, {dtype!r}

def allowed(op):
    types = [TensorType(dtype, ())] * kernels.arity(op)
    types[:op == "where"] = [TensorType("bool", ())] * (op == "where")
    try:
        return OPS[op].infer(*types).dtype
    except Error:
        return None

results = {{op: allowed(op) for op in kernels.FUNCTIONS if op not in ("copy", "cast")}}
# Ops that keep the dtype, in one chain; the rest one by one. Large angles are reduced with numbers
# in local memory and in float64.
trigonometry = ("sin", "cos", "tan")
every = tuple((op, "v" * (kernels.arity(op) - 1)) for op, result in results.items()
              if result == dtype and op not in ("where", *trigonometry))
made = [kernels.elementwise((("copy", "v"), *every), 1, dtype, DEVICE)]
made += [kernels.elementwise(((op, "v" * kernels.arity(op)),), 1, result, DEVICE, dtype)
         for op, result in results.items() if result and (result != dtype or op in trigonometry)]
made += [kernels.elementwise((("cast", "v"),), 2, other, DEVICE, dtype) for other in DTYPES]
made += [kernels.elementwise((("where", "vsv"),), 4, dtype, DEVICE)]
for index, rank in (("i64", 1), ("i32", 3)):
    made += [kernels.take(index, rank, dtype, DEVICE),
             kernels.take_along(index, rank, dtype, DEVICE)]
    made += [kernels.first_equal(index, DEVICE), kernels.put_rows(index, dtype, DEVICE)]
if dtype != "bool":
    made += [kernels.scatter_add("i64", 1, dtype, DEVICE),
             kernels.scatter_add("i32", 3, dtype, DEVICE)]
    made += [kernels.iota(dtype, DEVICE), kernels.number(DEVICE),
             kernels.elementwise((("mul", "vs"), ("sub", "v")), 4, dtype, DEVICE)]
threads = DEVICE.row_threads[1]
if dtype == "bool":
    made += [kernels.reduce(op, dtype, threads) for op in ("any", "all")]
else:
    made += [kernels.reduce(op, dtype, threads) for op in ("sum", "prod", "max", "min")]
    made += [kernels.arg(op, dtype, threads) for op in ("argmax", "argmin")]
    made += [kernels.topk(True, dtype, threads), kernels.topk(False, dtype, threads),
             kernels.cumsum(dtype, threads)]
if dtype in FLOATS:
    made += [kernels.softmax(dtype, threads), kernels.softmax(dtype, threads, log=True),
             kernels.layer_norm(True, True, dtype, threads),
             kernels.rms_norm(True, dtype, threads), kernels.reduce("mean", dtype, threads)]
if dtype in FLOATS:
    short, mixed = (("add", "v"), ("relu", "")), (("add", "v"), ("gelu", ""), ("mul", "s"))
    made += [kernels.tiled(chain, outer, dtype, DEVICE, tile) for tile in DEVICE.tiles[dtype]
             for chain, outer in (((), 2), (short, 0), (mixed, 1))]
    made += [kernels.few(short, 0, dtype, DEVICE), kernels.few(mixed, 2, dtype, DEVICE)]
    made += [kernels.embedding_bag(mode, "i64", "i32", mode == "sum", dtype, DEVICE)
             for mode in ("sum", "mean", "max")]
for kernel in made:
    text = load.ptx(kernel, capability)
    assert ".entry" in text, kernel.name
    angles = kernel.name.startswith(tuple(f"elementwise_{{op}}_v" for op in trigonometry))
    if not angles:
        assert ".local" not in text, f"{{kernel.name}} uses local memory"
    if not angles and "f64" not in kernel.name and not kernel.name.startswith("cumsum"):
        assert ".f64" not in text, f"{{kernel.name}} computes in float64"
    if kernel.name.startswith("product"):
        fused = "fma.rn.f32" if dtype == "f32" else "fma.rn.f64"
        assert text.count(fused) >= 4, kernel.name
        assert text.count("bar.sync") == 1 + ("few" in kernel.name), kernel.name
        if shim.find().aligns:
            assert "ld.shared.v" in text, f"{{kernel.name}} reads shared memory number by number"
print(len(made), "kernels")
"""


@pytest.mark.parametrize("dtype", DTYPES)
def test_ptx(dtype):
    capability = (8, 0) if dtype == "f32" else (9, 0)
    done = subprocess.run([sys.executable, "-c", CODE.format(capability=capability, dtype=dtype)],
                          cwd=ROOT, text=True, capture_output=True, check=False,
                          env={**os.environ, "NUMBA_ENABLE_CUDASIM": "0"})
    if "no compiler: " in done.stderr:
        pytest.skip(done.stderr.strip() + "; pip install nncompile[cuda] brings one")
    assert done.returncode == 0, done.stderr

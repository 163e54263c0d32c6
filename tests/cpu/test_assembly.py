"""The inner loops of products, as instructions: full vectors, every sum an fma, nothing spilled."""
from __future__ import annotations

import functools
import re

import pytest
from llvmlite import ir as ll

from nncompile.cpu.kernels import linear, matmul
from nncompile.cpu.kernels.product import SPLIT, UNROLL
from nncompile.cpu.vector import target as targets
from tests.cpu.kernel_harness import TARGETS

CHAIN = (("relu", ""), ("add", "v"))
KERNELS = {kernel.name: kernel for kernel in (
    linear(), linear(CHAIN), linear((("gelu", ""),)), matmul((), 1), matmul(CHAIN, 2),
    linear((), "f64"), linear(CHAIN, "f64"), linear((("gelu", ""),), "f64"), matmul((), 1, "f64"),
    matmul(CHAIN, 2, "f64"))}
REGISTERS = {"avx512": "zmm", "avx2": "ymm"}
FAST = [level for level in REGISTERS if level in TARGETS]

pytestmark = pytest.mark.skipif(not FAST, reason="this machine has no AVX2")


@functools.cache
def tiles(name, level):
    """The blocks of every tile function of a kernel, by the tile's rows and vectors."""
    text, found = "", {}
    for piece in (KERNELS[name], *KERNELS[name].parts):
        module = ll.Module(piece.name)
        piece.emit(module, TARGETS[level])
        text += targets.assembly(module, TARGETS[level])
    for rows, vectors, body in re.findall(
            rf"^(?:{name}|nnc_(?:panel_)?tiles\w*)_(\d+)x(\d+):\n(.*?)^\.Lfunc_end", text,
            re.MULTILINE | re.DOTALL):
        found[int(rows), int(vectors)] = re.split(r"^\.L\w+:.*$", body, flags=re.MULTILINE)
    return found


def inner_loop(blocks):
    """The block with most fma: the loop over k, unrolled."""
    return max(blocks, key=lambda block: block.count("vfmadd"))


@pytest.mark.parametrize("level", FAST)
@pytest.mark.parametrize("name", KERNELS)
def test_tiles(name, level):
    target = TARGETS[level]
    wide = {(rows, target.panel) for rows in range(1, target.tile_rows + 1)}
    edge = {(rows, 1) for rows in range(1, target.edge_rows + 1)}
    assert set(tiles(name, level)) == wide | edge


@pytest.mark.parametrize("level", FAST)
@pytest.mark.parametrize("name", KERNELS)
def test_inner_loops(name, level):
    register, kind = REGISTERS[level], "pd" if name.endswith("_f64") else "ps"
    for (rows, vectors), blocks in tiles(name, level).items():
        loop = inner_loop(blocks)
        fmas = re.findall(rf"vfmadd\w+{kind}\s.*", loop)
        steps = SPLIT if vectors == 1 else UNROLL
        assert len(fmas) == rows * vectors * steps, (rows, vectors)
        assert all(f"%{register}" in fma for fma in fmas)
        assert not re.search(r"v(mul|add)p[sd]", loop)
        spills = [line for line in loop.splitlines() if "(%rsp)" in line and "mm" in line]
        assert not spills, (rows, vectors, spills)


@pytest.mark.parametrize("level", FAST)
@pytest.mark.parametrize(("name", "kind"), [("linear", "s"), ("linear_f64", "d")])
def test_loads(level, name, kind):
    """One load a weight vector, one broadcast a row: nothing is loaded twice.  (A vector or a row
    that is used once may be an operand of its fma.)"""
    for (rows, vectors), blocks in tiles(name, level).items():
        loop, steps = inner_loop(blocks), SPLIT if vectors == 1 else UNROLL
        broadcasts = re.findall(rf"vbroadcasts{kind}\s+\S*\(|\{{1to\d+\}}", loop)
        operands = re.findall(rf"vfmadd\w+p{kind}\s+[^,]*\([^{{\n]*$", loop, re.MULTILINE)
        weights = re.findall(rf"vmovup{kind}\s+\S*\(", loop) + operands
        assert len(broadcasts) == rows * steps, (rows, vectors)
        assert len(weights) == vectors * steps, (rows, vectors)


@pytest.mark.parametrize("level", FAST)
@pytest.mark.parametrize("name", ["linear", "linear_f64"])
def test_only_the_tallest_tile_prefetches_and_only_where_lines_are_narrow(level, name):
    target = TARGETS[level]
    tallest = target.tile_rows, target.panel
    for size, blocks in tiles(name, level).items():
        loop, fetches = inner_loop(blocks), size == tallest and not target.avx512
        assert loop.count("prefetcht0") == fetches * UNROLL * target.panel_width // 16
        assert loop.count("prefetcht1") == fetches

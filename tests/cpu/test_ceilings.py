"""The ceilings: the kernels do the work they claim, and figures are kept. None is tested."""
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from llvmlite import ir as ll

from nncompile.cpu.machine import ceilings as ceilings_module
from nncompile.cpu.machine.ceilings import Ceilings, ceilings, chains, emit_fma, emit_read
from nncompile.cpu.vector.builder import I64, PTR, Emit, define
from nncompile.cpu.vector.target import assembly, available, named


@pytest.mark.parametrize("level", available())
def test_the_loops_hold_nothing_but_the_work(level: str) -> None:
    target = named(level)
    module = ll.Module("test")
    emit_fma(Emit(define(module, "fma", {"buffer": PTR, "n": I64})[0], target))
    emit_read(Emit(define(module, "read", {"buffer": PTR, "n": I64, "times": I64,
                                           "out": PTR})[0], target))
    emit_fma(Emit(define(module, "double", {"buffer": PTR, "n": I64})[0], target, "f64"))
    fma, _, rest = assembly(module, target).partition("read:")
    read, _, double = rest.partition("double:")
    if target.fma and target.x86:
        for text, name in ((fma, "vfmadd213ps"), (double, "vfmadd213pd")):
            loop = [line for line in text.splitlines() if "vfmadd" in line]
            assert len(loop) == chains(target) and not any("(" in line for line in loop)
            assert all(name[-2:] in line.split()[0][-2:] for line in loop)
    assert "(%rsp)" not in fma + read                      # no sum is spilled
    if level == "avx512":
        assert read.count("zmm") > 0 and read.count("ymm") == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_calls_run_and_state_their_work(threads: int) -> None:
    call, flops = ceilings_module.peak(threads, seconds=1e-4)
    call()
    assert flops > 0 and flops % (2 * threads) == 0
    call, double = ceilings_module.peak(threads, seconds=1e-4, dtype="f64")
    call()
    assert double > 0 and double % (2 * threads) == 0
    for size in (1, 40_000):
        call, count = ceilings_module.reader(size, threads, seconds=1e-4)
        call()
        assert count > 0 and count % (64 * threads) == 0


def test_what_was_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNCOMPILE_CACHE_DIR", str(tmp_path / "cache"))
    measured = []

    def measure(threads: int, step: object) -> Ceilings:
        measured.append(threads)
        return Ceilings(threads, 1e11 * len(measured), 5e10, {"L1": 2e11, "memory": 3e10})

    monkeypatch.setattr(ceilings_module, "measure", measure)
    first = ceilings(1)
    assert ceilings(1) == first and measured == [1]
    assert ceilings(2).threads == 2 and ceilings(1, again=True).flops == 3e11
    kept, = (tmp_path / "cache").glob("ceilings-1-*.json")
    for text in ("", "[]", "{}", json.dumps(json.loads(kept.read_text()) | {"boot": "another"})):
        before = len(measured)
        kept.write_text(text)
        assert ceilings(1).threads == 1 and len(measured) == before + 1, text
    for replace in (os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)):
        before = len(measured)
        kept.rmdir() if kept.is_dir() else kept.unlink()
        replace(kept)
        assert ceilings(1).threads == 1 and len(measured) == before + 1, replace
    monkeypatch.setenv("NNCOMPILE_CACHE_DIR", "off")
    assert ceilings(1).threads == 1


def test_sizes_of_the_levels(tmp_path: Path) -> None:
    for index, (level, kind, size) in enumerate([("1", "Data", "32K"), ("1", "Instruction", "64K"),
                                                 ("2", "Unified", "1024K"),
                                                 ("3", "Unified", "32768K")]):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(text + "\n")
    kib = 1024
    assert ceilings_module.level_sizes(1, tmp_path) == {
        "L1": 16 * kib, "L2": 512 * kib, "L3": 16384 * kib, "memory": 131072 * kib}
    assert ceilings_module.level_sizes(2, tmp_path)["L2"] == 1024 * kib
    assert ceilings_module.level_sizes(2, tmp_path / "nothing") == {
        "L1": 32 * kib, "L2": 512 * kib, "L3": 4096 * kib, "memory": 32768 * kib}

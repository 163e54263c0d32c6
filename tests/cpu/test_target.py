"""Targets: what a machine offers, and what NNCOMPILE_TARGET asks for."""
from __future__ import annotations

import gc
import weakref

import llvmlite.binding as llvm
import pytest
from llvmlite import ir as ll

from nncompile import options
from nncompile.cpu.kernels import elementwise, linear, softmax
from nncompile.cpu.vector import target
from nncompile.errors import Error
from tests.cpu.kernel_harness import LEVELS


def test_host_is_the_best_level(monkeypatch):
    monkeypatch.delenv(options.TARGET.variable, raising=False)
    assert target.host().level in ("neon", target.available()[0])
    assert target.host().cpu == llvm.get_host_cpu_name()


@pytest.mark.parametrize("level", LEVELS)
def test_the_variable_names_a_level(monkeypatch, level):
    monkeypatch.setenv(options.TARGET.variable, level)
    assert target.host() == target.named(level)
    assert target.host().level == level and target.host().features == ""


def test_no_such_level(monkeypatch):
    monkeypatch.setenv(options.TARGET.variable, "sse9")
    with pytest.raises(Error, match="NNCOMPILE_TARGET=sse9: it must be avx512, avx2 or generic"):
        target.host()


def test_more_than_the_machine_has(monkeypatch):
    monkeypatch.setattr(target, "available", lambda: ("generic",))
    with pytest.raises(target.TargetError, match=r"=avx512: this machine \(.*\) cannot run it"):
        target.named("avx512")


def test_a_target_is_a_value():
    one, other = (target.of_level("avx2", "haswell", triple="x86_64-linux") for _ in range(2))
    assert one == other and hash(one) == hash(other) and repr(one) == repr(other)
    assert one != target.of_level("avx2", "znver4", triple="x86_64-linux")
    assert one.panel_width == 16 and one.x86 and not one.aarch64


@pytest.mark.parametrize("kernel", [linear((("gelu", ""),)), softmax(True),
                                    elementwise((("tanh", "g"),), 2)], ids=lambda k: k.name)
def test_code_for_another_architecture(kernel):
    """No x86 intrinsic gets into it; it compiles where LLVM knows the architecture."""
    neon = target.of_level("neon", "generic", triple="aarch64-unknown-linux-gnu")
    module = ll.Module(kernel.name)
    kernel.emit(module, neon)
    assert "x86" not in str(module)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        llvm.Target.from_triple(neon.triple)
    except RuntimeError:
        pytest.skip("this LLVM compiles for its own machine only")
    text = target.assembly(module, neon)
    assert f"{kernel.symbol}:" in text and f"{kernel.shared.symbol}:" in text
    assert ".4s" in text
    part, = kernel.parts                               # how the entry point for several waits
    module = ll.Module(part.name)
    part.emit(module, neon)
    assert "x86" not in str(module)
    text = target.assembly(module, neon)
    assert f"{part.symbol}:" in text and "yield" in text


def test_nothing_large_of_a_module_waits_for_the_garbage_collector():
    module = ll.Module("linear")
    linear((("gelu", ""),)).emit(module, target.host())
    gc.collect()
    gc.disable()
    try:
        emitted = [weakref.ref(instruction) for function in module.functions
                   for block in function.blocks for instruction in block.instructions]
        assert target.text_for(module, target.host()) and len(emitted) > 1000
        target.take_apart(module)
        assert not any(instruction() for instruction in emitted)
    finally:
        gc.enable()

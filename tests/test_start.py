"""The start of a process: which modules are loaded when, and that what is loaded late is all there.

A module more costs every process of every user a tenth of a millisecond or more. Before one is
added to a list here: does a process need it that does not reach the code which asks for it?
"""
from __future__ import annotations

import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import nncompile

ROOT = Path(__file__).resolve().parent.parent

# Our modules that `import nncompile` loads: what defining and running a model takes.
IMPORTED = """
ir ir.builder ir.float_mode ir.graph ir.interpret ir.ops ir.ops.attributes ir.ops.elementwise
ir.ops.references ir.ops.rules ir.parser ir.passes ir.printer ir.records ir.rewrite ir.types
ir.verify nncompile nncompile.array nncompile.array.array nncompile.array.chosen
nncompile.array.core nncompile.array.creation nncompile.array.differentiation
nncompile.array.dispatch nncompile.array.dtypes nncompile.array.elementwise
nncompile.array.generator nncompile.array.gradients nncompile.array.hooks nncompile.array.indexing
nncompile.array.inplace nncompile.array.introduction nncompile.array.known nncompile.array.lengths
nncompile.array.limits nncompile.array.naming nncompile.array.numpy_functions
nncompile.array.products nncompile.array.random nncompile.array.recording nncompile.array.reductions
nncompile.array.selection nncompile.array.shapes nncompile.array.sizes nncompile.array.storage
nncompile.array.tape nncompile.array.tensors nncompile.collection nncompile.conversion
nncompile.draws nncompile.errors nncompile.forks nncompile.functions nncompile.nn
nncompile.nn.activation nncompile.nn.attention nncompile.nn.calls nncompile.nn.containers
nncompile.nn.distance nncompile.nn.dropout nncompile.nn.embedding nncompile.nn.flatten
nncompile.nn.functional nncompile.nn.functional.activation nncompile.nn.functional.attention
nncompile.nn.functional.dropout nncompile.nn.functional.linear nncompile.nn.functional.normalization
nncompile.nn.functional.shapes nncompile.nn.functional.sparse nncompile.nn.hooks nncompile.nn.init
nncompile.nn.linear nncompile.nn.module nncompile.nn.normalization nncompile.nn.parameter
nncompile.nn.running nncompile.nn.state nncompile.nn.transformer nncompile.placeholders
nncompile.sibling nncompile.structure nncompile.targets nncompile.trace
"""

# Modules of Python and NumPy that it may load, beyond those that `import numpy` loads.
OTHERS = {"copy", "gc", "inspect", "linecache", "numpy._typing._add_docstring", "numpy.typing"}

CACHED = """
model = nncompile.nn.Sequential(nncompile.nn.Linear(4, 3), nncompile.nn.ReLU())
nncompile.compile(model, "f32[B, 4]", threads=1)(numpy.ones((2, 4), numpy.float32))
"""


def loaded(code: str, known: str = "numpy") -> list[str]:
    """The modules that the code loads beyond those that others load, in a process of its own."""
    whole = (f"import sys, {known}\nknown = set(sys.modules)\n{code}\n"
             "print(*set(sys.modules) - known)")
    done = subprocess.run([sys.executable, "-W", "error", "-c", whole], cwd=ROOT, check=True,
                          capture_output=True, text=True)
    return sorted(done.stdout.split())


def ours(module: str) -> bool:
    return module.partition(".")[0] in ("ir", "nncompile")


def test_what_the_import_loads() -> None:
    assert list(filter(ours, loaded("import nncompile"))) == IMPORTED.split()


# Which modules of Python another one needs changes from version to version.
ONE_VERSION = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="lists are of Python 3.11")


@ONE_VERSION
def test_what_the_import_loads_of_python() -> None:
    assert {m for m in loaded("import nncompile") if not ours(m)} <= OTHERS


@ONE_VERSION
def test_what_a_cached_process_loads() -> None:
    """Beyond what numpy.random and llvmlite load, nothing that only a first compilation needs.

    mmap makes the page that tells whether machine code may be loaded at all.
    """
    code = "import nncompile\n" + CACHED
    known = "numpy, numpy.random, llvmlite.binding, llvmlite.ir"
    loaded(code)                                       # which fills the cache
    found = {*loaded(code, known)}
    assert {m for m in found if not ours(m)} <= {*OTHERS, "mmap"}
    assert found.isdisjoint({"nncompile.passes", "nncompile.schedule.planning", "ir.check"})


def test_what_is_imported_later_is_there() -> None:
    for name in ("compile", "CompiledModel", "compiler", "passes"):
        code = f"import nncompile\nassert {name!r} in dir(nncompile)\nnncompile.{name}"
        assert "nncompile.model" in loaded(code) or name == "passes"
    assert "nncompile.compiler" in loaded("from nncompile import *\ncompile, CompiledModel")
    assert loaded("import nncompile\nassert isinstance(nncompile.__version__, str)")
    with pytest.raises(AttributeError, match="module 'nncompile' has no attribute 'compiled'"):
        _ = nncompile.compiled
    assert set(nncompile.__all__) <= set(dir(nncompile))
    for name in nncompile.__all__:
        assert getattr(nncompile, name) is not None


def test_names_that_are_imported_later_are_those_of_their_module() -> None:
    for module in (nncompile.nn, nncompile.nn.functional):
        losses = import_module(f"{module.__name__}.losses")
        assert module._LOSSES.split() == losses.__all__
        assert [getattr(module, n) for n in losses.__all__] == [vars(losses)[n] for n in
                                                                losses.__all__]
    assert "nncompile.nn.losses" in loaded("from nncompile.nn import MSELoss")
    assert "nncompile.array.backward" in loaded("from nncompile import autograd")
    assert "ir.differentiate" in loaded("import ir\nassert callable(ir.gradient)")


def test_what_is_imported_later_pickles() -> None:
    for value in (nncompile.compile, nncompile.CompiledModel):
        code = f"import pickle\nassert callable(pickle.loads({pickle.dumps(value)!r}))"
        assert "nncompile.model" in loaded(code)


COLLECTOR = """
import gc
class Cycle: pass
def cycle(): one = Cycle(); one.itself = one
gc.collect(); gc.disable(); {before}
frozen = gc.get_freeze_count() > 0
import nncompile
nncompile.compile
young = [o for g in (0, 1) for o in gc.get_objects(g) if isinstance(o, type)]
assert not gc.isenabled() and (gc.get_freeze_count() > 0) == frozen
gc.enable()
from nncompile import compiler
compiler.backend_of("cpu")
assert gc.isenabled()
print([c.__module__ for c in young if c.__module__.startswith("nncompile.array")] == [])
cycle(); print(gc.collect() > 0)
"""


def test_the_garbage_collector_is_spared_what_is_imported() -> None:
    """Classes are cycles, which it would look at. What the process has frozen stays frozen."""
    for before, spared in (("pass", "True"), ("gc.freeze()", "False")):
        done = subprocess.run([sys.executable, "-c", COLLECTOR.format(before=before)], cwd=ROOT,
                              check=True, capture_output=True, text=True)
        assert done.stdout.split() == [spared, "True"]

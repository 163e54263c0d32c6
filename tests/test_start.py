"""The start of a process: which modules are loaded when, and that what is loaded late is all there.

A module more costs every process of every user a tenth of a millisecond or more.  Before one is
added to a list here: does a process need it that does not reach the code which asks for it?
"""
from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import nncompile

ROOT = Path(__file__).resolve().parent.parent

# Our modules that `from nncompile import nn` loads: what defining and running a model takes.
LAYERS = """
ir ir.builder ir.graph ir.interpret ir.ops ir.ops.attributes ir.ops.elementwise ir.ops.references
ir.ops.rules ir.parser ir.passes ir.printer ir.records ir.rewrite ir.types ir.verify
nncompile nncompile.array nncompile.array.array nncompile.array.core nncompile.array.creation
nncompile.array.dispatch nncompile.array.dtypes nncompile.array.elementwise
nncompile.array.generator nncompile.array.gradients nncompile.array.indexing
nncompile.array.inplace nncompile.array.numpys nncompile.array.products
nncompile.array.reductions nncompile.array.selection nncompile.array.shapes
nncompile.array.storage nncompile.collection nncompile.errors nncompile.nn
nncompile.nn.activation
nncompile.nn.attention nncompile.nn.calls nncompile.nn.containers nncompile.nn.distance
nncompile.nn.dropout nncompile.nn.embedding nncompile.nn.flatten nncompile.nn.functional
nncompile.nn.functional.activation nncompile.nn.functional.attention
nncompile.nn.functional.dropout nncompile.nn.functional.linear
nncompile.nn.functional.normalization nncompile.nn.functional.shapes
nncompile.nn.functional.sparse nncompile.nn.hooks nncompile.nn.init nncompile.nn.linear
nncompile.nn.module nncompile.nn.normalization nncompile.nn.parameter nncompile.nn.running
nncompile.nn.state nncompile.nn.transformer nncompile.structure nncompile.targets
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


def test_what_the_imports_load() -> None:
    assert loaded("import nncompile", "typing, gc") == ["nncompile", "nncompile.collection"]
    modules = loaded("from nncompile import nn")
    assert [m for m in modules if ours(m)] == LAYERS.split()
    assert {m for m in modules if not ours(m)} <= OTHERS


def test_what_a_cached_process_loads() -> None:
    """Beyond what numpy.random and llvmlite load, nothing that only a first compilation needs."""
    code = "import nncompile\n" + CACHED
    known = "numpy, numpy.random, llvmlite.binding, llvmlite.ir"
    loaded(code)                                       # which fills the cache
    assert {m for m in loaded(code, known) if not ours(m)} <= OTHERS


def test_what_is_imported_later_is_there() -> None:
    for name in ("compile", "CompiledModel", "compiler"):
        modules = loaded(f"import nncompile\nnncompile.{name}")
        assert "nncompile.model" in modules and "nncompile.api" not in modules
    assert "nncompile.functions" in loaded("import nncompile\nnncompile.exp, nncompile.float32")
    assert "nncompile.api" not in loaded("import nncompile\nnncompile.nn.Linear")
    assert "nncompile.compiler" in loaded("from nncompile import *\ncompile, CompiledModel, exp")
    code = "import nncompile, nncompile.tracing\nassert callable(nncompile.trace)"
    assert "nncompile.api" in loaded(code)
    assert "nncompile.model" in loaded("from nncompile.model import CompiledModel")


def test_all_names() -> None:
    assert {"compile", "CompiledModel", "trace", "nn", "exp", "Tensor"} <= {*nncompile.__all__}
    assert set(nncompile.__all__) <= set(dir(nncompile))
    for name in nncompile.__all__:
        assert getattr(nncompile, name) is not None
    assert hasattr(nncompile, "bool") and "bool" not in nncompile.__all__     # `*` hides none
    assert isinstance(nncompile.__version__, str) and "__version__" in dir(nncompile)
    for name in ("compiled", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"'nncompile' has no attribute '{name}'"):
            getattr(nncompile, name)


def test_names_of_the_package_are_not_those_of_its_modules() -> None:
    """Importing a module sets the package's attribute of its name, which would hide a name."""
    folder = Path(nncompile.__file__).parent
    modules = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert modules & set(nncompile.__all__) == {"nn"}


def test_what_is_imported_later_pickles() -> None:
    for value in (nncompile.compile, nncompile.CompiledModel):
        code = f"import pickle\nassert callable(pickle.loads({pickle.dumps(value)!r}))"
        assert "nncompile.model" in loaded(code)

"""What imports nncompile.cuda, and what it imports."""
import re
import subprocess
import sys

import pytest

from tests.test_layering import MODULES, ROOT, imports, inside

INSIDE = [name for name in MODULES if inside(name, "nncompile.cuda")]


def test_only_the_table_of_targets_names_the_package():
    for name in MODULES:
        if not inside(name, "nncompile.cuda"):
            assert not any(inside(t, "nncompile.cuda") for t in imports(name)), name


def test_nothing_else_knows_the_word():
    """Another target is one more line of nncompile.targets."""
    torchs = {"nncompile.array.array", "nncompile.array.core", "nncompile.array.tensors",
              "nncompile.array.chosen", "nncompile.nn.utils.rnn", "nncompile.optim.scaler",
              "nncompile.placeholders",
              "nncompile.version"}               # x.cuda(), x.is_cuda, torch.version.cuda
    knowing = [name for name, path in MODULES.items()
               if not inside(name, "nncompile.cuda") and name not in torchs
               and re.search("cuda|numba.*gpu", path.read_text(), re.IGNORECASE)]
    # a docstring; an environment variable; the table
    assert knowing == ["nncompile.compiler", "nncompile.options", "nncompile.targets"]


def test_it_needs_nothing_of_the_other_target():
    """Nor anything above it: a target is given a program, and knows nothing of models."""
    above = ("nncompile.cpu", "nncompile.model", "nncompile.compiler", "nncompile.nn",
             "nncompile.trace", "nncompile.passes", "numba", "llvmlite")
    assert INSIDE
    for name in INSIDE:
        assert not any(inside(t, other) for t in imports(name) for other in above), name


@pytest.mark.parametrize("statement, loads", [
    ("nncompile.compile(model, 'f32[B, 3]')(numpy.ones((2, 3), numpy.float32))", False),
    ("import nncompile.cuda.build", True),
])
def test_the_cpu_path_never_loads_it(statement, loads):
    code = ("import sys, numpy, nncompile\nmodel = nncompile.nn.Linear(3, 2).eval()\n"
            f"{statement}\nnames = set(sys.modules)\n"
            "print(any(n.startswith('nncompile.cuda') for n in names), 'numba.cuda' in names)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, text=True,
                          capture_output=True)
    assert done.stdout.split() == [str(loads), "False"]

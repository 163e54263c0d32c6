"""Object code by several threads is that by one, and nothing is left of the threads."""
from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nncompile.cpu import kernels
from nncompile.cpu.driver import loader
from nncompile.cpu.objects import library
from nncompile.cpu.objects.emit import MOST_THREADS, Emission
from nncompile.cpu.vector import available, host, object_code, text_for
from nncompile.cpu.vector.target import named

ROOT = Path(__file__).resolve().parents[2]
KERNELS = [kernels.matmul(), kernels.linear((("gelu", ""),)), kernels.softmax(True),
           *(kernels.elementwise(((op, "v"),), 0) for op in ("tanh", "exp", "log", "sin", "erf"))]


@pytest.mark.parametrize("threads", [0, 1, 3, 100])
@pytest.mark.parametrize("level", ["host", *available()])
def test_code_does_not_depend_on_who_emits_it(level: str, threads: int) -> None:
    target = host() if level == "host" else named(level)
    with Emission(target, lambda: threads) as emission:
        begun = [emission.begin(text_for(library.kernel_module(k, target), target))
                 for k in KERNELS]
        assert len(set(threading.enumerate())) <= 1 + min(threads, MOST_THREADS)
        codes = [emission.code(module) for module in begun]
    assert codes == [object_code(library.kernel_module(k, target), target) for k in KERNELS]
    assert not emitting()


def emitting() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "nncompile emits"]


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_is_that_of_its_module(threads: int) -> None:
    good = text_for(library.kernel_module(KERNELS[-1], host()), host())
    with Emission(host(), lambda: threads) as emission:
        first, bad, last = (emission.begin(text) for text in (
            good, "define i64 @f() {\n  ret i32 0\n}\n", good))
        with pytest.raises(RuntimeError, match="value doesn't match function result type"):
            emission.code(bad)
        assert emission.code(first) == emission.code(last) != b""


@pytest.mark.parametrize("threads", [0, 2])
def test_an_interrupt_leaves_no_thread_behind(threads: int) -> None:
    text = text_for(library.kernel_module(KERNELS[0], host()), host())
    with pytest.raises(KeyboardInterrupt), Emission(host(), lambda: threads) as emission:
        begun = [emission.begin(text) for _ in range(50)]
        raise KeyboardInterrupt
    assert not emitting() and not all(module.done for module in begun)


def test_this_thread_emits_where_no_other_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")
    monkeypatch.setattr(threading.Thread, "start", start)
    text = text_for(library.kernel_module(KERNELS[-1], host()), host())
    with Emission(host(), lambda: 2) as emission:
        begun = [emission.begin(text) for _ in range(3)]
        assert len({emission.code(module) for module in begun}) == 1


def test_the_calling_thread_has_a_cpu_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for cpus, granted, threads in ((1, 8.0, 0), (8, 1.5, 0), (2, 2.0, 1), (16, float("inf"), 15)):
        monkeypatch.setattr(loader, "usable_cpus", lambda cpus=cpus: set(range(cpus)))
        monkeypatch.setattr(loader, "granted_cpus", lambda granted=granted: granted)
        assert loader._threads() == threads


FORK = """
import faulthandler, os
from nncompile.cpu.objects.emit import Emission
from nncompile.cpu.vector import host, text_for
from tests.cpu.test_objects_emit import KERNELS, library, object_code
faulthandler.dump_traceback_later(100, exit=True)
wanted = [object_code(library.kernel_module(k, host()), host()) for k in KERNELS]
texts = [text_for(library.kernel_module(k, host()), host()) for k in KERNELS]
for _ in range(2):
    with Emission(host(), lambda: 2) as emission:
        begun = [emission.begin(text) for text in texts]
        child = os.fork()
        assert [emission.code(module) for module in begun] == wanted
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print("all")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_that_is_forked_meanwhile_can_go_on() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-W", "ignore:.*fork:DeprecationWarning",
                           "-c", FORK], cwd=ROOT, timeout=120, capture_output=True, text=True,
                          check=False)
    assert (done.returncode, done.stdout) == (0, "all\n"), done.stderr


BESIDE = """
import threading
import numba
from nncompile.cpu.objects.emit import Emission
from nncompile.cpu.vector import host, text_for
from tests.cpu.test_objects_emit import KERNELS, library, object_code
wanted = [object_code(library.kernel_module(k, host()), host()) for k in KERNELS]
texts = [text_for(library.kernel_module(k, host()), host()) for k in KERNELS]
with Emission(host(), lambda: 4) as emission:
    begun = [emission.begin(text) for _ in range(3) for text in texts]
    compiled = 0
    while not all(module.done for module in begun):
        assert numba.njit(lambda x: x + compiled)(1) == 1 + compiled
        compiled += 1
    assert [emission.code(module) for module in begun] == 3 * wanted
print(compiled > 0)
"""


def test_numba_compiles_meanwhile() -> None:
    done = subprocess.run([sys.executable, "-c", BESIDE], cwd=ROOT, timeout=240,
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


SETTLED = """
import sys
import llvmlite.binding as llvm
from nncompile.cpu.objects.emit import Emission
from nncompile.cpu.vector import host
llvm.targets.has_svml = lambda: sys.argv[1] == "svml"
with Emission(host(), lambda: 1) as emission:
    emission.code(emission.begin(""))
print("numba" in sys.modules)
"""


@pytest.mark.parametrize("svml", [True, False])
def test_numba_does_not_change_an_option_of_llvm_meanwhile(svml: bool) -> None:
    """It does when it is imported, where its LLVM knows SVML."""
    done = subprocess.run([sys.executable, "-c", SETTLED, "svml" if svml else "none"], cwd=ROOT,
                          timeout=120, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{svml}\n"), done.stderr

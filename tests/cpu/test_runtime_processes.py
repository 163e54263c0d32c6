"""Fork, signals, and the end of the process: each test in a fresh one."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python(code: str, **environment: str) -> str:
    """Run code in a fresh process; what it prints."""
    done = subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
                          cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
                          env={**os.environ, **environment})
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout


def test_children_by_fork_have_their_own_workers():
    """Forked while other threads are in the middle of calls."""
    code = """
import os, threading, numpy as np
from nncompile.cpu import layout
from nncompile.cpu.runtime import POOL
from tests.cpu.runtime_models import BIG, mlp, rows_of
fast, x = mlp(BIG, threads=2), rows_of(BIG, 64)
want = fast.call(x).tobytes()
stop = threading.Event()
def busy():
    while not stop.is_set():
        assert fast.call(x).tobytes() == want
others = [threading.Thread(target=busy) for _ in range(3)]
for other in others: other.start()
for i in range(6):
    child = os.fork()
    if not child:
        same = all(fast.call(x).tobytes() == want for _ in range(50))
        fresh = mlp(BIG, threads=3, seed=1)
        fresh.call(x)
        os._exit(0 if same and POOL.words[layout.STARTED] == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0, i
stop.set()
for other in others: other.join()
assert fast.call(x).tobytes() == want
print("right")
"""
    assert python(code) == "right\n"


@pytest.mark.parametrize("end", [
    "",                                                       # with parked workers
    "fast.call(x)",                                           # with spinning ones
    "threading.Thread(target=busy, daemon=True).start(); time.sleep(0.2)",    # in a call
    "threading.Thread(target=busy, daemon=True).start(); time.sleep(0.2); sys.exit(0)",
    "import atexit; atexit.register(fast.call, x)",
])
def test_the_process_ends_quietly(end):
    code = f"""
import sys, threading, time
from tests.cpu.runtime_models import BIG, mlp, rows_of
fast, x = mlp(BIG, threads=2), rows_of(BIG, 300)
fast.call(x)
def busy():
    while True:
        fast.call(x)
time.sleep(0.05)
{end}
print("end")
""".replace("sys.exit(0)\nprint", "print('end', flush=True); sys.exit(0)\nprint")
    assert python(code) == "end\n"


def test_keyboard_interrupt_leaves_all_in_order():
    code = """
import signal, threading, numpy as np
from tests.cpu.runtime_models import BIG, mlp, rows_of
signal.signal(signal.SIGINT, signal.default_int_handler)     # a shell's background job ignores it
fast, x = mlp(BIG, threads=2), rows_of(BIG, 500)
want = fast.call(x).tobytes()
for _ in range(5):
    timer = threading.Timer(0.05, signal.raise_signal, (signal.SIGINT,))
    try:
        timer.start()                         # may itself take that long, on a busy machine
        while True:
            assert fast.call(x).tobytes() == want
    except KeyboardInterrupt:
        timer.join()
assert fast.call(x).tobytes() == want
print("right")
"""
    assert python(code) == "right\n"


def test_a_refused_thread_is_an_error_and_one_thread_still_works():
    code = """
from nncompile.cpu.runtime import pool
from nncompile.errors import Error
from tests.cpu.runtime_models import BIG, mlp, rows_of
fast, x = mlp(BIG, threads=4), rows_of(BIG, 64)
pool.STACK_BYTES = 1 << 62
try:
    fast.call(x)
except Error as error:
    print("NNCOMPILE_THREADS=1" in str(error))
fast.threads = 1
print(fast.call(x).shape)
"""
    assert python(code) == "True\n(64, 8)\n"


# Ways in which a system forbids to execute memory that was written. Each is code that forbids it
# for the rest of the process; it ends the script with "skip" where this kernel has no such way.
FORBID = {
    "PR_SET_MDWE": """
if prctl(65, 1, 0, 0, 0):                     # PR_MDWE_REFUSE_EXEC_GAIN; Linux 6.3
    print("skip"); raise SystemExit
""",
    "seccomp": """                            # what systemd's MemoryDenyWriteExecute installs
import struct
def jump(code, value, yes, no): return struct.pack("HBBI", code, yes, no, value)
mprotect = {"x86_64": 10, "aarch64": 226}[os.uname().machine]
program = (jump(0x20, 0, 0, 0) + jump(0x15, mprotect, 0, 3)      # another call: allowed
           + jump(0x20, 32, 0, 0) + jump(0x45, 4, 0, 1)       # its third argument: EXEC?
           + jump(0x06, 0x00050001, 0, 0) + jump(0x06, 0x7fff0000, 0, 0))    # EPERM, allowed
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_char_p)]
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, ctypes.byref(Filter(len(program) // 8, program)), 0, 0):
    print("skip"); raise SystemExit
""",
}
FORBIDDEN = """
import ctypes, os, numpy as np
import nncompile
from nncompile import nn
prctl = ctypes.CDLL(None).prctl
before = {before}
made = lambda n: nn.Sequential(nn.Linear(4, n), nn.ReLU(), nn.Linear(n, 4)).eval()
x = np.ones((2, 4), np.float32)
if before:
    nncompile.compile(made(7), "f32[B, 4]")(x)
{forbid}
try:
    print(nncompile.compile(made({width}), "f32[B, 4]")(x).shape)
except nncompile.CompileError as error:
    print("CompileError", "NNCOMPILE_JIT=0" in str(error))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has these ways")
@pytest.mark.parametrize("forbid", FORBID.values(), ids=FORBID)
@pytest.mark.parametrize(("before", "width"), [(False, 7), (True, 9)], ids=["at once", "later"])
def test_memory_that_may_not_be_executed(forbid, before, width, tmp_path):
    """An error, and no crash, with a cache that is cold or warm; plain Python runs all the same."""
    code = FORBIDDEN.format(before=before, forbid=forbid, width=width)
    allowed = FORBIDDEN.format(before=before, forbid="", width=width)
    cache = str(tmp_path / "cache")
    cold = python(code, NNCOMPILE_CACHE_DIR=cache)
    if cold == "skip\n":
        pytest.skip("this kernel has no such rule")
    assert cold == "CompileError True\n"
    assert python(allowed, NNCOMPILE_CACHE_DIR=cache) == "(2, 4)\n"
    assert python(code, NNCOMPILE_CACHE_DIR=cache) == "CompileError True\n"
    assert python(code, NNCOMPILE_CACHE_DIR=cache, NNCOMPILE_JIT="0") == "(2, 4)\n"

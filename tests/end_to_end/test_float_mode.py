"""Results do not depend on the floating-point mode of the thread that calls; nor is it changed.

Each mode is set in a process of its own, which a signal would end.
"""
import subprocess
import sys

import pytest

import ir.float_mode
from nncompile import options

pytestmark = pytest.mark.skipif(ir.float_mode.REGISTER is None, reason="the register is not known")

# Each is or'ed to the standard mode, or removed from it.
X86 = {"flush to zero": 0x8000, "subnormals are zero": 0x0040, "both": 0x8040,
       "down": 0x2000, "up": 0x4000, "towards zero": 0x6000, "signals": -0x0E80, "up, signals":
       0x4000 - 0x0E80}
AARCH64 = {"flush to zero": 1 << 24, "down": 2 << 22, "up": 1 << 22, "towards zero": 3 << 22,
           "default NaN": 1 << 25}
MODES = {"x86_64": X86, "aarch64": AARCH64}.get(ir.float_mode.MACHINE, {})

PROGRAM = """
import sys
import numpy as np
import nncompile
from ir.float_mode import REGISTER, _FEnv, _FUNCTIONS, _set
from nncompile import nn

TINY = np.full(64, 3e-39, np.float32)
other = REGISTER.standard + int(sys.argv[1])

def register():
    environment = _FEnv()
    _FUNCTIONS[0](environment)
    return environment[REGISTER.word] & REGISTER.bits

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(96, 128), nn.Linear(128, 64)
        self.norm = nn.BatchNorm1d(128)              # is folded into the layer before it
        self.tiny = nn.Parameter(TINY.copy())

    def forward(self, x):
        y = self.last(self.norm(self.first(x)).tanh())
        return y.softmax(-1), y * self.tiny * 0.7, (y * 1e30) / (y * 0.0) + (y * 1e30) * 1e30

def bits(arrays):
    return [np.asarray(a).view(np.uint32).copy() for a in arrays]

def all_ways(state):
    model = Model().eval()
    model.load_state_dict(state)
    fast = nncompile.compile(model, "f32[B, 96]", threads=2)
    found = [bits(fast(x)), bits(fast(x[:3])), bits(model(x[:3]))]
    found.append(bits(nncompile.compile(model, "f32[B, 96]", threads=1)(x)))
    bound = fast.bind(x)
    found.append(bits(bound()))
    fast.load_weights(others)
    found.append(bits(fast(x)))
    found.append(bits(a for a in fast(x, threads=1)))
    if sys.argv[2] != "0":
        fast.profile(x)
    return found

nncompile.manual_seed(0)
state = {name: np.asarray(array) for name, array in Model().state_dict().items()}
others = {name: (array * 0.7).astype(array.dtype) for name, array in state.items()}
x = np.random.default_rng(0).standard_normal((700, 96)).astype(np.float32)
x[::7] *= np.float32(1e-37)

_set(other)                                          # before the workers start
there = all_ways(state)
assert register() == other & REGISTER.bits, hex(register())
_set(REGISTER.standard)
here = all_ways(state)
assert register() == REGISTER.standard
for number, (a, b) in enumerate(zip(there, here, strict=True)):
    for i, (p, q) in enumerate(zip(a, b, strict=True)):
        assert np.array_equal(p, q), (number, i, int((p != q).sum()))
for a, b in zip(here[0], here[1], strict=True):
    assert np.array_equal(a[:3], b)
tiny = here[0][1] & 0x7fffffff
assert ((tiny > 0) & (tiny < 1 << 23)).mean() > 0.9  # subnormal numbers

fast = nncompile.compile(Model().eval(), "f32[B, 96]", threads=2)
expected = bits(fast(x))
_set(other)                                          # after they have started
for _ in range(20):
    found = bits(fast(x))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
_set(REGISTER.standard)
print("the same")
"""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("jit", ["1", "0"])
def test_results_do_not_depend_on_the_callers_mode(mode, jit, monkeypatch):
    monkeypatch.setenv(options.JIT.variable, jit)
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM, str(MODES[mode]), jit],
                          capture_output=True, text=True)
    assert done.stdout == "the same\n", (done.returncode, done.stderr)

"""A forward that draws random numbers is refused, whatever it draws with; another is not."""

import random
import subprocess
import sys

import numpy as np
import pytest

import nncompile
from nncompile import nn
from nncompile.errors import TraceError

GLOBAL = np.random.default_rng(0)


class Noisy(nn.Module):
    def __init__(self, draw):
        super().__init__()
        self.draw = draw
        self.rng, self.old = np.random.default_rng(1), np.random.RandomState(2)
        self.dice = random.Random(3)
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        if len(sys.argv) < 0:
            return x + GLOBAL.random()           # makes it a variable of this forward
        x = self.fc(x)
        return x + self.draw(self)


DRAWS = {
    "numpy.random": lambda self: np.random.rand(),
    "numpy.random, an array": lambda self: np.random.randn(4).astype(np.float32),
    "numpy.random, all its words": lambda self: float(np.random.bytes(4 * 624)[0]),
    "random": lambda self: random.random(),
    "random, choice": lambda self: random.choice([1.0, 2.0]),
    "rng": lambda self: self.rng.normal(),
    "old": lambda self: self.old.rand(),
    "dice": lambda self: self.dice.gauss(0, 1),
    "GLOBAL": lambda self: GLOBAL.random(),
}


@pytest.mark.parametrize("name, draw", DRAWS.items(), ids=DRAWS)
def test_what_draws_is_refused_with_the_line(name, draw):
    with pytest.raises(TraceError) as caught:
        nncompile.compile(Noisy(draw).eval(), "f32[B, 4]")
    text = str(caught.value)
    assert f"draws random numbers with {name.partition(',')[0]}, and" in text
    assert "line:     test_draws.py:" in text and "return x + self.draw(self)" in text


def test_a_draw_that_no_op_follows():
    class Last(nn.Module):
        def forward(self, x):
            y = x * 2
            self.last = random.random()
            return y

    with pytest.raises(TraceError, match=r"draws random numbers with random, and(.|\n)*Last"):
        nncompile.compile(Last().eval(), "f32[B, 4]")


def kept(self):
    if not hasattr(self, "noise"):
        self.noise = np.random.rand(4).astype(np.float32)
    return self.noise


QUIET = {
    "nothing": lambda self: 1.0,
    "a seeded one": lambda self: np.random.default_rng(5).standard_normal(4).astype(np.float32),
    "drawn once and kept": kept,
}


@pytest.mark.parametrize("draw", QUIET.values(), ids=QUIET)
def test_what_is_the_same_in_every_call_is_not_refused(draw):
    model = Noisy(draw).eval()
    compiled = nncompile.compile(model, "f32[B, 4]")
    x = np.ones((3, 4), np.float32)
    np.testing.assert_allclose(compiled(x), model(x), rtol=1e-6, atol=1e-6)


def test_a_generator_that_is_loaded_by_the_forward():
    code = """
import sys, nncompile
from nncompile import nn
class Noisy(nn.Module):
    def forward(self, x):
        import numpy.random
        return x + (numpy.random.rand() if draws else 1.0)
sys.modules.pop("numpy.random", None)
draws = False
nncompile.trace(Noisy().eval(), "f32[B]")
sys.modules.pop("numpy.random", None)
draws = True
try:
    nncompile.trace(Noisy().eval(), "f32[B]")
except nncompile.TraceError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "with numpy.random, and" in done.stdout

"""Equal blocks, written once: what is found, that it says the same, and that it runs the same."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ir
import nncompile
from ir.types import symbol
from nncompile import nn
from nncompile.cpu.driver import Driver, generate
from nncompile.cpu.driver.outline import fold, runs
from nncompile.cpu.driver.values import FAULT, WEIGHTS, Formal, Line, Number, Pointer, StepNumber
from nncompile.cpu.vector.target import of_level
from nncompile.schedule import Place, schedule

X = Place("input", 0)


def residual_blocks(count: int) -> str:
    params = [f"  @{i}.{name}" for i in range(count) for name in (
        "norm: f32[64]", "up: f32[250, 64]", "down: f32[64, 250]", "down.bias: f32[64]")]
    x, lines = "%x", []
    for i in range(count):
        a, b, y = (f"%{3 * i + k}" for k in range(3))
        lines += [f"  {a}: f32[B, 64] = layer_norm({x}, @{i}.norm) {{axes = [1], eps = 1e-05}}",
                  f"  {b}: f32[B, 250] = linear({a}, @{i}.up) then gelu",
                  f"  {y}: f32[B, 64] = linear({b}, @{i}.down, @{i}.down.bias) then add({x})"]
        x = y
    return "\n".join(["graph blocks(%x: f32[B, 64]) -> f32[B, 64] {", *params, *lines,
                      f"  return {x}", "}"])


def driver(text: str) -> Driver:
    return generate(schedule(ir.parse(text)), of_level("avx2", "x86-64-v3")).driver


def source(text: str) -> str:
    return driver(text).text


def test_golden(golden):
    golden("blocks.py.txt", source(residual_blocks(4)))


def test_few_blocks_stay_where_they_are():
    assert "steps_0" not in source(residual_blocks(2))
    assert "steps_0" in source(residual_blocks(3))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_step_has_a_phase_of_its_own(count):
    made = driver(residual_blocks(count))
    assert made.phases == 3 * count
    assert len(made.functions) == (5 if count >= 3 else 3)
    for function in made.functions:
        head = function.text.partition(")")[0]
        assert head.startswith(f"def {function.name}(")
        assert len(function.letters) == head.count(",") + 1


@pytest.mark.parametrize(("steps", "found"), [
    ("", []), ("a", []), ("aaaaa", []), ("aaaaaa", [(0, 2, 3)]), ("abab", []), ("abcab", []),
    ("ababab", [(0, 2, 3)]), ("xababababy", [(1, 2, 4)]), ("babababx", [(0, 2, 3)]),
    ("abcabcabcab", [(0, 3, 3)]), ("xabababyabcabcabcabc", [(1, 2, 3), (8, 3, 4)]),
    ("abababcdcdcdcd", [(0, 2, 3), (6, 2, 4)])])
def test_runs(steps, found):
    assert runs(steps, [""] * len(steps)) == found


def test_blocks_are_layers_where_they_can_be():
    """A norm before the first block is the same step as the last of each block."""
    paths = ["norm", *(f"{i}.{name}" for i in range(3) for name in ("linear", "norm")), "last"]
    assert runs("babababx", paths) == [(1, 2, 3)]
    assert runs("babababx", ["m." + path for path in paths]) == [(1, 2, 3)]
    assert runs("abababxy", ["", *paths[1:]]) == [(0, 2, 3)]


@pytest.mark.parametrize(("layer", "comment"), [
    ("net.1", "# net.1: %0 to %1"), ("", "# %0 to %1"), ("x\nimport os", "# %0 to %1")])
def test_comments_name_plain_layers(layer, comment):
    lines = [Line(i, f"{layer}.{name}", f"%{i}", "#", name, (X,))
             for i, name in enumerate("abababab")]
    assert fold(lines)[1][0].comment == comment


def expanded(lines):
    """The lines, with each call of a block replaced by what the block does."""
    blocks, folded = fold(lines)
    found = {block.name: block for block in blocks}
    for line in folded:
        if line.function not in found:
            yield line.phase, line.function, line.arguments
            continue
        block = found[line.function]
        meaning = dict(zip(block.parameters, line.arguments, strict=True))
        assert len(meaning) == len(block.parameters)
        for own in block.lines:
            yield (line.phase + own.phase, own.function,
                   tuple(with_values(a, meaning) for a in own.arguments))


def with_values(argument, meaning):
    """The argument, where each parameter has this meaning. A block knows nothing else but the
    constants, and what its callers give it."""
    if isinstance(argument, Pointer):
        base = meaning[argument.base] if isinstance(argument.base, Formal) else argument.base
        is_constant = isinstance(base, Number) or base.kind == "constant"
        assert isinstance(argument.base, Formal) or is_constant
        assert not is_constant or meaning[WEIGHTS] == WEIGHTS
        return argument._replace(base=base)
    return meaning[argument] if isinstance(argument, Formal) or argument == FAULT else argument


def pointer(place, offset=0):
    return Pointer(place, "f32", offset)


ROWS = symbol("B")
PLACES = (X, Place("slot", 0), Place("slot", 1))
CONSTANTS = (Place("constant", 0), Place("constant", 1), Number("0.5", "f32"))
ARGUMENTS = st.sampled_from([*map(pointer, (*PLACES, *CONSTANTS)), pointer(PLACES[1], 3), 64])
STEP = st.tuples(st.sampled_from("abc"), st.lists(ARGUMENTS, min_size=1, max_size=3), st.booleans())


@given(st.lists(STEP, max_size=3), st.lists(STEP, min_size=1, max_size=4), st.integers(1, 6),
       st.lists(STEP, max_size=3), st.randoms(use_true_random=False))
def test_blocks_say_the_same(before, block, count, behind, random):
    """A block's places and constants change at random from one repetition to the next."""
    steps = [*before, *block * count, *behind]

    def other(argument):
        if not isinstance(argument, Pointer):
            return argument
        return argument._replace(base=random.choice(
            PLACES if argument.base in PLACES else CONSTANTS))

    lines = [Line(i, "", f"%{i}", "#", function, (*map(other, arguments), *(
                 (FAULT, StepNumber(i)) if fault else ())))
             for i, (function, arguments, fault) in enumerate(steps)]
    assert list(expanded(lines)) == [(s.phase, s.function, s.arguments) for s in lines]
    if count >= 3 and len(block) >= 2:
        assert len(fold(lines)[1]) < len(lines)


def test_sizes_are_parameters():
    """In the order in which they are printed, each once; the caller's variables."""
    line = Line(0, "", "%0", "#", "a", (10 - symbol("T"), pointer(X, ROWS * 3), ROWS))
    blocks, lines = fold([line] * 6)
    assert list(map(str, blocks[0].parameters[:2])) == ["T", "B"]
    assert list(map(str, lines[0].arguments[:2])) == ["T", "B"]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(20), nn.Linear(20, 50), nn.GELU(),
                                   nn.Linear(50, 20))

    def forward(self, x):
        return x + self.inner(x)


@pytest.mark.parametrize("jit", ["0", "1"])
@pytest.mark.parametrize("count", [1, 3, 12])
def test_results(count, jit, monkeypatch):
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    nn.manual_seed(0)
    model = nn.Sequential(*(Residual() for _ in range(count))).eval()
    fast = nncompile.compile(model, "f32[B, 20]", threads=2)
    assert ("steps_0(" in fast.source) == (count >= 3)
    for rows in (1, 5, 500):
        x = np.random.default_rng(rows).standard_normal((rows, 20), np.float32)
        np.testing.assert_allclose(fast(x), model(x), rtol=0, atol=2e-5)
    if jit == "1":
        assert len(fast.profile(x).seconds) == 3 * count


class Looked(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.table, self.mix = nn.Embedding(size, 8), nn.Linear(8, 8)

    def forward(self, x, ids):
        return self.mix(x + self.table(ids)).tanh()


class LookedUp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(Looked(9) for _ in range(4))

    def forward(self, x, a, b, c, d):
        for step, ids in zip(self.steps, (a, b, c, d), strict=True):
            x = step(x, ids)
        return x


@pytest.mark.parametrize("jit", ["0", "1"])
@pytest.mark.parametrize("wrong", range(4))
def test_a_wrong_index_names_its_own_layer(wrong, jit, monkeypatch):
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    fast = nncompile.compile(LookedUp().eval(), "f32[B, 8]", *["i64[B]"] * 4)
    assert "steps_0(" in fast.source
    ids = [np.zeros(4, np.int64) for _ in range(4)]
    ids[wrong][2] = 9
    with pytest.raises(nncompile.InputError, match=rf"index 9 is outside.*\n.*{wrong}\.table"):
        fast(np.ones((4, 8), np.float32), *ids)


class Unrolled(nn.Module):
    """A recurrence over the axis 1, which reads each step at another offset."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.input, self.state = nn.Linear(3, 8), nn.Linear(4, 8)

    def forward(self, x):
        h = x[:, 0, :1] * nncompile.ones(4)
        all_of_them = []
        for t in range(self.steps):
            gate, new = (self.input(x[:, t]) + self.state(h)).chunk(2, 1)
            h = h + nncompile.sigmoid(gate) * (nncompile.tanh(new) - h)
            all_of_them.append(h)
        return nncompile.stack(all_of_them, 1)


def test_the_source_of_an_unrolled_loop_grows_with_its_steps():
    lengths = {}
    for steps in (1, 2, 7, 9, 32, 64, 128):
        model = Unrolled(steps).eval()
        x = np.random.default_rng(steps).standard_normal((5, steps, 3), np.float32)
        fast = nncompile.compile(model, f"f32[B, {steps}, 3]", threads=2)
        assert np.abs(fast(x) - model(x)).max() < 1e-5, steps
        assert np.array_equal(fast(x[3:4]), fast(x)[3:4])
        lengths[steps] = len(fast.source)
        assert max(len(line) for line in fast.source.splitlines() if " # %" in line) < 140
    assert ("def steps_0(" in fast.source and lengths[128] - lengths[64]
            < 2.2 * (lengths[64] - lengths[32]))
    assert lengths[128] / 128 < 450

"""What was read when a graph was built: as text, verified, kept by passes, and checked."""
from __future__ import annotations

import pickle

import numpy as np
import pytest

import ir
import nncompile
from ir.check import with_data
from ir.records import replace
from ir.types import digest
from nncompile import nn

TEXT = """\
graph g(%x: f32[B, 2]) -> f32[B, 2] {
  @scale: f32[2]
  read @scale: f32[2]    = "0f3c"  # 0 Block  model.py:12
  read @"odd\\nname": i64[] = "ab"
  %0: f32[B, 2] = mul(%x, @scale)
  return %0
}"""


class Block(nn.Module):
    """Reads `scale` and uses it, too; reads `steps` alone."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.scale = nn.Parameter(np.array([2.0, 3.0], np.float32))
        self.register_buffer("steps", nncompile.tensor(2))

    def forward(self, x: nncompile.Array) -> nncompile.Array:
        if self.scale.sum() > 4:
            x = x * self.scale
        for _ in range(int(self.steps)):
            x = self.linear(x)
        return x


def test_the_text_is_read_back() -> None:
    graph = ir.parse(TEXT)
    ir.verify(graph)
    assert str(ir.parse(str(graph))) == str(graph)
    scale, odd = graph.readings
    assert (scale.name, scale.digest, scale.where) == ("scale", "0f3c", ir.Where("0 Block",
                                                                                 "model.py:12"))
    assert (odd.name, str(odd.type), odd.where) == ("odd\nname", "i64[]", ir.Where())


@pytest.mark.parametrize(("line", "message"), [
    ("read %x: f32[2] = \"0f\"", "only a parameter is read, not '%x'"),
    ("read @scale = \"0f\"", "expected ':', got '='"),
    ("read @scale: f32[2]", "expected '=', got nothing"),
    ("read @scale: f32[2] = 1", "expected the digest of its numbers, in quotes, got '1'"),
    ("read @scale: f32[2] = \"no\"", "a digest is a number in base 16"),
    ("read @scale: f32[2] = \"0f\" 5", "expected the end of the line, got '5'"),
])
def test_an_illegal_text(line: str, message: str) -> None:
    lines = TEXT.split("\n")
    lines[2] = line
    with pytest.raises(ir.ParseError, match=f"line 3: {message}"):
        ir.parse("\n".join(lines))


def test_one_parameter_has_one_digest() -> None:
    with pytest.raises(ir.ParseError, match="line 4: the parameter 'scale' is read twice, with"):
        ir.parse(TEXT.replace('@"odd\\nname": i64[]', "@scale: f32[2]"))


def test_passes_and_the_gradient_keep_readings() -> None:
    graph = with_data(ir.parse(TEXT))
    for made in (ir.run([ir.FoldConstants(), ir.CSE(), ir.DCE()], graph),
                 ir.gradient(graph, 0, ["x"], "seed")):
        assert made.readings == graph.readings
    with pytest.raises(ir.VerifyError, match="it says that it read nothing, not scale, odd"):
        ir.verify(replace(graph, readings=()), like=graph)


def test_a_digest_tells_numbers_apart() -> None:
    arrays = [np.zeros(2, np.float32), -np.zeros(2, np.float32), np.zeros((2, 1), np.float32),
              np.zeros(2, np.int32), np.zeros(1), np.zeros((), np.float32), np.ones(2, np.float32)]
    assert len({digest(array) for array in arrays}) == len(arrays)
    assert digest(np.arange(6.0)[::2]) == digest(np.array([0.0, 2.0, 4.0]))


@pytest.mark.parametrize("road", ["model", "graph", "text", "pickle", "fused", "gradient"])
def test_load_weights_refuses_what_the_trace_read(road: str) -> None:
    """However the model is compiled: it was computed in silence with the numbers of the trace."""
    model = Block().eval()
    graph = nncompile.trace(model, "f32[B, 2]")
    assert [(r.name, r.where.line.partition(":")[0]) for r in graph.readings] == [
        ("scale", "test_ir_readings.py"), ("steps", "test_ir_readings.py")]
    made = {"model": lambda: nncompile.compile(model, "f32[B, 2]"),
            "graph": lambda: nncompile.compile(graph),
            "text": lambda: nncompile.compile(with_data(ir.parse(str(graph)))),
            "pickle": lambda: pickle.loads(pickle.dumps(nncompile.compile(graph))),
            "fused": lambda: nncompile.compile(nncompile.compile(graph).ir("fused")),
            "gradient": lambda: nncompile.compile(ir.gradient(graph, 0, [], "seed"))}
    fast, state = made[road](), {k: np.array(v) for k, v in model.state_dict().items()}
    for name, other in (("scale", [-2, -3]), ("steps", 3), ("scale", [2, -0.0])):
        why = rf"'{name}' cannot change: the forward read its numbers at \w+.py:"
        with pytest.raises(nncompile.InputError, match=why):
            fast.load_weights({**state, name: np.array(other, state[name].dtype)})
    state["linear.weight"] = state["linear.weight"] + 1
    model.load_state_dict(state)
    fast.load_weights(state)
    x = np.array([[1, -2], [3, 4]], np.float32)
    if road != "gradient":
        np.testing.assert_allclose(fast(x), model(x), rtol=1e-6, atol=1e-6)

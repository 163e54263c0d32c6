"""What the passes and the schedule make of a graph is kept, and found again for an equal graph."""
from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ir
import nncompile
from ir.records import dataclass, replace
from nncompile import nn, optim, options, plans
from nncompile.compiler import backend_of
from nncompile.passes import DEFAULT_PIPELINE, ReduceStrength
from nncompile.schedule import VECTOR_TRAITS, TargetTraits
from nncompile.targets import TARGETS

X = np.random.default_rng(0).standard_normal((5, 8), np.float32)


class Made:
    """Counts how often passes run."""

    count = 0


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """An empty cache of the test's own, and how many plans were made."""
    monkeypatch.setenv(options.CACHE_DIR.variable, str(tmp_path / "cache"))
    counter, run = Made(), plans.run_passes

    def counted(*args: Any) -> Any:
        counter.count += 1
        return run(*args)

    monkeypatch.setattr(plans, "run_passes", counted)
    yield counter


def block(seed: int = 0, shift: float = 2.0) -> nn.Module:
    """A model with constants that are folded, and nodes that passes leave alone for a reason."""
    nncompile.manual_seed(seed)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
            self.norm = nn.LayerNorm(8)

        def forward(self, x: nncompile.Array) -> nncompile.Array:
            table = nncompile.tensor(np.linspace(0, shift, 8, dtype=np.float32)).exp()
            h = self.down(nn.functional.gelu(self.up(self.norm(x)) / 3.0))
            return (h + x * table).softmax(-1) * 2.0

    return Block().eval()


def said(compiled: Any) -> list[str]:
    """All texts of a compiled model, without how long things took."""
    stages = [str(compiled.ir(stage)) for stage in compiled.stages]
    left = [f"{run.name} {reason.node.op} {reason.why}" for run in compiled.runs
            for reason in run.left]
    return [*stages, *left, compiled.source, str(compiled.program)]


def test_an_equal_graph_with_other_weights_has_the_same_plan(made: Made) -> None:
    first, second = (nncompile.compile(block(seed), "f32[B, 8]") for seed in (0, 1))
    assert made.count == 1 and said(first) == said(second)
    assert any(run.left for run in second.runs)
    for compiled, seed in ((first, 0), (second, 1)):
        np.testing.assert_allclose(compiled(X), block(seed)(X), atol=1e-6)
        traced, fused = compiled.ir("traced"), compiled.ir("fused")
        weights = [value for value in fused.params if value.kind == "parameter"]
        assert len(weights) == 6 and {*weights} <= {*traced.params}
        for value in weights:
            np.testing.assert_array_equal(traced.data[value], fused.data[value])
        for stage in compiled.stages:
            ir.verify(compiled.ir(stage))
            np.testing.assert_allclose(ir.interpret(compiled.ir(stage), [X])[0], block(seed)(X),
                                       atol=1e-6)
    second.load_weights(block(0).state_dict())
    np.testing.assert_array_equal(first(X), second(X))
    again = pickle.loads(pickle.dumps(second))
    np.testing.assert_array_equal(first(X), again(X))
    third = nncompile.compile(block(2), "f32[B, 8]")
    np.testing.assert_allclose(third(X), block(2)(X), atol=1e-6)
    again = nncompile.compile(third.ir("traced"))          # whose data are read from `third`
    np.testing.assert_array_equal(again(X), third(X))
    assert made.count == 1


def test_a_step_of_a_kept_plan_trains_its_own_model(made: Made) -> None:
    def steps(seed: int) -> tuple[nn.Module, list[float]]:
        model = nn.Sequential(block(seed), nn.Linear(8, 3))
        step = nncompile.compile(model, "f32[B, 8]", "i64[B]", loss=nn.CrossEntropyLoss(),
                                 optimizer=optim.AdamW(model.parameters(), lr=0.01))
        return model, [float(step(X, np.array([0, 1, 2, 1, 0]))) for _ in range(3)]

    fresh = [steps(seed) for seed in (3, 4)]
    assert made.count == 1
    with options.override(cache_dir="off"):
        anew = [steps(seed) for seed in (3, 4)]
    assert made.count == 3
    for (model, losses), (other, same) in zip(fresh, anew, strict=True):
        assert losses == same
        for a, b in zip(model.parameters(), other.parameters(), strict=True):
            np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_the_numbers_of_constants_decide(made: Made) -> None:
    for shift in (2.0, 3.0, 2.0):
        compiled = nncompile.compile(block(0, shift), "f32[B, 8]")
        np.testing.assert_allclose(compiled(X), block(0, shift)(X), atol=1e-6)
    assert made.count == 2


@dataclass(frozen=True)
class Mine:
    """A pass of a user's, whose code may change without a change of its text."""

    name = "mine"

    def __call__(self, graph: ir.Graph) -> ir.Graph:
        return graph


@pytest.mark.parametrize("how", ["check", "dump", "jit", "off", "mine", "large"])
def test_where_each_compilation_makes_its_own(how: str, made: Made, tmp_path: Path) -> None:
    model: Callable[[], nn.Module] = block
    given: dict[str, Any] = {"check": True} if how == "check" else {}
    if how == "mine":
        given = {"passes": (*DEFAULT_PIPELINE, Mine())}
    changed = {"dump": {"dump": str(tmp_path / "dump")}, "jit": {"jit": False},
               "off": {"cache_dir": "off"}}.get(how, {})
    graph = nncompile.trace(model(), "f32[B, 8]")
    if how == "large":
        table = ir.Value(ir.TensorType("f32", (2**15 + 1, 8)), "constant", "table")
        total = ir.Node(ir.Value(ir.TensorType("f32", (8,))), "sum", (table,),
                        {"axes": (0,), "keepdims": False})
        out = ir.Node(ir.Value(graph.outputs[0].type), "add", (graph.outputs[0], total.result))
        graph = replace(graph, params=(*graph.params, table), outputs=(out.result,),
                        nodes=(*graph.nodes, total, out),
                        data={**graph.data, table: np.zeros(table.type.shape, np.float32)})
    with options.override(**changed):
        for _ in range(2):
            nncompile.compile(graph, **given)
    assert made.count == 2


GRAPH = """graph f(%x: f32[B, 4], %y: f32[B, 4]) -> f32[B, 4], f32[B, 4] {
  require B >= 2  # 0 Scale  f.py:1
  @w: f32[4]
  $c: f32[4]
  %0: f32[B, 4] = mul(%x, @w)                              # 0 Scale  f.py:2
  %1: f32[B, 4] = add(%0, 0.0)                             # 1 Shift  f.py:3
  %2: f32[B, 4] = softmax(%1) {axis = 1, scale = 1.0}      # 2 Softmax  f.py:4
  %3: f32[B, 4] = add(%2, $c)                              # 3 Add  f.py:5
  return %3, %1
}"""


def name_of(text: str = GRAPH, constant: float = 1.0, passes: Any = DEFAULT_PIPELINE,
            traits: TargetTraits = VECTOR_TRAITS, step: int = 1) -> str:
    graph = ir.parse(text)
    data = {v: np.full(4 * step, constant, np.float32)[::step] for v in graph.params}
    return plans._name(replace(graph, data=data), passes, traits)


@pytest.mark.parametrize(("part", "other"), [
    ("graph f(", "graph g("), ("%y: f32[B, 4]", "%z: f32[B, 4]"), ("%y: f32[B, 4]", "%y: f32[B]"),
    ("B >= 2", "B >= 3"), ("f.py:1", "f.py:7"),
    ("mul(%x, @w)", "div(%x, @w)"), ("mul(%x, @w)", "mul(@w, %x)"), ("mul(%x", "mul(%y"),
    ("add(%0, 0.0)", "add(%0, -0.0)"), ("add(%0, 0.0)", "add(%0, nan)"),
    ("scale = 1.0", "scale = 2.0"), ("axis = 1", "axis = 0"), ("# 1 Shift", "# 1 Bias"),
    ("f.py:3", "f.py:33"), ("return %3, %1", "return %1, %3"), ("return %3, %1", "return %3, %0"),
])
def test_every_part_of_a_graph_decides(part: str, other: str) -> None:
    assert part in GRAPH and name_of() == name_of()
    assert name_of(GRAPH.replace(part, other)) != name_of()


def test_what_else_decides() -> None:
    names = {name_of(), name_of(constant=0.0), name_of(constant=-0.0), name_of(passes=()),
             name_of(passes=[ReduceStrength()]), name_of(passes=[ReduceStrength(bounded=True)]),
             name_of(traits=TargetTraits(vectors=False)), name_of(GRAPH.replace("@w", "@v")),
             name_of(step=2)}
    assert len(names) == 9


def test_other_targets_keep_nothing() -> None:
    assert [name for name in TARGETS if name != "cpu"] == ["cuda"]
    if nncompile.cuda.is_available():
        assert backend_of("cuda").slot("plan", "", ()) is None

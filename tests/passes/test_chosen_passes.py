"""Pipelines that a user gives: to compile, and as text."""
from __future__ import annotations

import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest

import ir
import nncompile
from ir import CSE, DCE, FoldConstants
from ir.check import with_data
from nncompile import nn
from nncompile.passes import DEFAULT_PIPELINE, FuseLinear, ReduceStrength, UseLiterals
from nncompile.passes.parser import parse_passes


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)).eval()


X = np.random.default_rng(0).standard_normal((5, 6), np.float32)


@pytest.mark.parametrize("passes", [(), [FuseLinear(steps=1)], iter([DCE(), CSE()]),
                                    DEFAULT_PIPELINE], ids=["none", "one", "two", "default"])
def test_compile_runs_these_passes_alone(model, passes):
    passes = list(passes)
    fast = nncompile.compile(model, "f32[B, 6]", passes=iter(passes))
    default = nncompile.compile(model, "f32[B, 6]")
    np.testing.assert_allclose(fast(X), model(X), rtol=1e-5, atol=1e-6)
    if passes == [*DEFAULT_PIPELINE]:
        assert fast.stages == default.stages and fast.source == default.source
    else:
        assert fast.stages == ("traced", *(step.name for step in passes), "fused")


def test_options_reach_the_passes(model):
    fast = nncompile.compile(model, "f32[B, 6]", passes=[FuseLinear(steps=0)])
    assert all("then" not in node.attrs for node in fast.ir().nodes)


def test_passes_survive_pickling(model):
    fast = nncompile.compile(model, "f32[B, 6]", passes=[FuseLinear(steps=0), CSE()])
    again = pickle.loads(pickle.dumps(fast))
    assert again.stages == ("traced", "fuse_linear", "cse", "fused")
    assert again.source == fast.source
    np.testing.assert_array_equal(again(X), fast(X))


@pytest.mark.parametrize(("passes", "match"), [
    ("cse", "takes passes in their order, such as .*, not 'cse'"),
    (None, "takes passes in their order, such as .*, not None"),
    (CSE(), r"takes passes in their order, such as .*, not CSE\(\)"),
    ([CSE(), DCE], r"passes\[1\] is the class DCE, not a pass\n  do: DCE\(\)"),
    ([CSE(), "dce"], r"passes\[1\] is 'dce', not a pass"),
    ([lambda graph: graph], r"passes\[0\] is <function .*, not a pass"),
])
def test_what_is_no_pipeline_is_refused_first(passes, match):
    class Untraced(nn.Module):
        def forward(self, x):
            raise AssertionError("was traced")

    with pytest.raises(nncompile.InputError, match=match):
        nncompile.compile(Untraced().eval(), "f32[B, 6]", passes=passes)


@dataclass(frozen=True)
class Wrong:
    """Returns something else."""

    result: object
    name = "wrong"

    def __call__(self, graph: ir.Graph) -> object:
        return self.result


def test_what_a_pass_returns_is_checked(model):
    with pytest.raises(ir.Error, match="the pass wrong returned a NoneType, not a graph"):
        nncompile.compile(model, "f32[B, 6]", passes=[Wrong(None)])
    graph = nncompile.trace(model, "f32[B, 6]")
    with pytest.raises(ir.VerifyError, match="wrong made an illegal graph: it uses a value"):
        nncompile.compile(model, "f32[B, 6]", passes=[Wrong(replace(graph, nodes=graph.nodes[1:]))])
    with pytest.raises(ir.VerifyError, match=r"wrong made an illegal graph: its outputs are \[\]"):
        nncompile.compile(model, "f32[B, 6]", passes=[Wrong(replace(graph, outputs=()))])


def test_the_text_of_a_graph_is_compiled_with_data():
    graph = ir.parse("""graph g(%x: f32[B, 6]) -> f32[B, 6] {
        @a: f32[6]
        @b: f32[6]
        @c: f32[6]
        $d: f32[6]
        %0: f32[B, 6] = add(%x, @a) then add(@b), add(@c), add($d)
        return %0
    }""")
    with pytest.raises(nncompile.InputError, match=r"g has no data for @a, @b, @c, \.\.\.:"):
        nncompile.compile(graph)
    graph = with_data(graph)
    with pytest.raises(nncompile.InputError, match="g is a graph, which has its inputs"):
        nncompile.compile(graph, "f32[B, 6]")
    np.testing.assert_allclose(nncompile.compile(graph)(X), ir.interpret(graph, [X])[0],
                               rtol=1e-5, atol=1e-6)


# -- as text ---------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "passes"), [
    ("", ()),
    ("dce", (DCE(),)),
    (" use_literals , cse,use_literals", (UseLiterals(), CSE(), UseLiterals())),
    ("fold_constants{max_elements=10},cse", (FoldConstants(10), CSE())),
    ("fold_constants{ max_elements = 10 } , cse{}", (FoldConstants(10), CSE())),
    ("reduce_strength{bounded=true}", (ReduceStrength(bounded=True),)),
    (",".join(step.name for step in DEFAULT_PIPELINE), DEFAULT_PIPELINE),
])
def test_passes_as_text(text, passes):
    assert parse_passes(text) == passes


@pytest.mark.parametrize(("text", "match"), [
    ("nothing", "there is no pass 'nothing'; there are dce, fold_constants, .*fuse_elementwise"),
    ("cse,,dce", "cannot read the passes from ',dce' on"),
    ("cse dce", "cannot read the passes from 'cse dce' on"),
    ("cse{", "cannot read the passes from 'cse{' on"),
    ("cse{steps=1}", "cse has no option 'steps'; it has none"),
    ("fuse_linear{step=1}", "fuse_linear has no option 'step'; it has steps=16"),
    ("fuse_linear{steps}", "steps of fuse_linear is a whole number, not ''"),
    ("fuse_linear{steps=-1}", "steps of fuse_linear is a whole number, not '-1'"),
    ("reduce_strength{bounded=1}", "bounded of reduce_strength is true or false, not '1'"),
])
def test_text_that_is_no_pipeline(text, match):
    with pytest.raises(nncompile.InputError, match=match):
        parse_passes(text)

"""Random graphs through schedule, generated source and kernels, against the interpreter."""
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

import ir
import nncompile
from tests.strategies import feed, graphs, seeds

SLOW = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck),
        "phases": [Phase.explicit, Phase.generate]}       # shrinking would compile for minutes


def check(graph: ir.Graph, seed: int) -> None:
    fast = nncompile.compile(graph, threads=2, check=True)
    text = str(graph)
    for size in (0, 1, 3, 17):
        inputs = feed(graph, seed, size)
        before = [x.copy() for x in inputs]
        try:
            exact = ir.interpret(graph, inputs, np.float64)
        except ir.Error:                   # not legal at this size: a slice, a maximum of nothing
            check_refused(fast, inputs)
            continue
        results = fast(*inputs)
        results = list(results) if isinstance(results, tuple) else [results]
        for x, kept in zip(inputs, before, strict=True):
            np.testing.assert_array_equal(x, kept)
        rounded = ir.interpret(graph, inputs)
        for got, want, reference in zip(results, exact, rounded, strict=True):
            assert got.shape == want.shape and got.dtype == reference.dtype, text
            compare(got, want, reference, text)


def check_refused(fast, inputs):
    """Unless what was not legal is dead, and gone."""
    try:
        ir.interpret(fast.ir("fused"), inputs)
    except ir.Error:
        with pytest.raises(nncompile.InputError):
            fast(*inputs)


def compare(got, want, reference, text):
    """The error is of the size of the float32 interpreter's own: where that loses everything (an
    overflow, a cancelled sum), so may the compiled model."""
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(got, reference, text)
        return
    sane = np.isfinite(want) & np.isfinite(reference) & (np.abs(want) < 1e30)
    error, own = (np.abs(np.where(sane, x, 0) - np.where(sane, want, 0)) for x in (got, reference))
    scale = np.abs(np.where(sane, want, 0)).max(initial=1.0)
    allowed = 1e-5 * scale + 20 * own.max(initial=0)
    assert (error <= allowed).all(), f"{error.max()} > {allowed}\n{text}"
    assert np.isfinite(got[sane]).all() or not (np.abs(want[sane]) < 1e20).all(), text


@settings(max_examples=40, **SLOW)
@given(graphs(max_steps=8), seeds)
def test_compiled(graph, seed):
    check(graph, seed)


@settings(max_examples=40, **SLOW)
@given(graphs(max_steps=8, wide=True), seeds)
def test_every_op_compiled(graph, seed):
    check(graph, seed)


@settings(max_examples=20, **SLOW)
@given(graphs(max_steps=8, dtype="f64", wide=True), seeds)
def test_every_op_compiled_in_float64(graph, seed):
    check(graph, seed)


@settings(max_examples=150, **SLOW)
@given(graphs(wide=True), seeds)
def test_plain_python(graph, seed):
    """The same source without a compiler: many more graphs in the same time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NNCOMPILE_JIT", "0")
        check(graph, seed)

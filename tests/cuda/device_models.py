"""The models of end_to_end on the CUDA target: against float64, the CPU target, and themselves at
other batch sizes; random graphs. In the simulator, where a product costs a microsecond a
multiplication, without the widest of them."""
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

import ir
import nncompile
from ir.types import symbol_name
from tests.cuda.common import SIMULATED, bits, outputs
from tests.end_to_end.models import CASES, ROW_INDEPENDENT
from tests.strategies import feed, graphs, seeds

WIDE = ("larger than a cache", "relu tabular", "wide sigmoid", "residual in time", "residual",
        "digits")
NAMES = [name for name in CASES if not (SIMULATED and name in WIDE)]
BATCHES = [0, 2] if SIMULATED else [0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 200, 1000]
LENGTH = 3 if SIMULATED else 9
COMPILED: dict[str, tuple] = {}


def compiled(name: str):
    if name not in COMPILED:
        nncompile.nn.manual_seed(0)
        model = CASES[name].model().eval()
        COMPILED[name] = tuple(nncompile.compile(model, *CASES[name].types, target=target)
                               for target in ("cuda", "cpu"))
    return COMPILED[name]


def inputs_of(name: str, batch: int, **options) -> list[np.ndarray]:
    return CASES[name].inputs(batch, T=LENGTH, **options)


@pytest.mark.parametrize("name", NAMES)
def test_against_float64_and_the_cpu(name):
    """Within the case's tolerance of the exact result; so the targets agree within twice that."""
    fast, cpu = compiled(name)
    for batch in BATCHES:
        if batch == 0 and name == "over the batch":
            continue                       # a mean over no rows
        inputs = inputs_of(name, batch)
        exact = ir.interpret(fast.ir("traced"), inputs, np.float64)
        for got, other, want in zip(outputs(fast(*inputs)), outputs(cpu(*inputs)), exact,
                                    strict=True):
            assert got.dtype == np.float32 and got.shape == want.shape
            bound = CASES[name].tolerance * max(1.0, np.abs(want).max(initial=0))
            np.testing.assert_allclose(got, want, rtol=0, atol=bound)
            np.testing.assert_allclose(got, other, rtol=0, atol=2 * bound)


@pytest.mark.parametrize("name", [name for name in NAMES if name in ROW_INDEPENDENT
                                  and not (SIMULATED and name == "encoder")])
def test_rows_are_bit_identical(name):
    """For any batch size and position, and from run to run."""
    fast, _ = compiled(name)
    rows, batches = 1009, (1, 2, 3, 9, 16, 17, 64, 100, 1009)
    if SIMULATED:
        rows, batches = (3, (1, 2)) if name == "tanh policy" else (11, (1, 9))
    inputs = inputs_of(name, rows, seed=2)
    want = outputs(fast(*inputs))
    for batch in batches:
        for start in {0, rows - batch}:
            got = outputs(fast(*(x[start:start + batch] for x in inputs)))
            for g, w in zip(got, want, strict=True):
                np.testing.assert_array_equal(bits(g), bits(w[start:start + batch]))


@pytest.mark.parametrize("name", [
    n for n in NAMES if n not in ("encoder", "over the batch", "tanh policy")])
def test_non_finite_numbers_stay_in_their_rows(name):
    fast, _ = compiled(name)
    inputs = inputs_of(name, 4)
    want = outputs(fast(*inputs))
    inputs[0][1] = np.nan
    inputs[0][2].reshape(-1)[0] = np.inf
    for got, clean in zip(outputs(fast(*inputs)), want, strict=True):
        assert np.isnan(got[1]).any()
        np.testing.assert_array_equal(got[[0, 3]], clean[[0, 3]])


@pytest.mark.parametrize("T", [1, 4] if SIMULATED else [1, 2, 17, 40])
def test_a_second_dynamic_size(T):
    fast, _ = compiled("encoder")
    inputs = CASES["encoder"].inputs(2, T=T)
    want = ir.interpret(fast.ir("traced"), inputs, np.float64)[0]
    np.testing.assert_allclose(fast(*inputs), want, atol=2e-5)


@pytest.mark.parametrize("name", ["gelu tanh", "odd views"])
def test_a_model_in_float64(name):
    nncompile.nn.manual_seed(0)
    model = CASES[name].model().eval().double()
    types = [t.replace("f32", "f64") for t in CASES[name].types]
    fast = nncompile.compile(model, *types, target="cuda")
    inputs = [x.astype(np.float64) for x in inputs_of(name, 3)]
    for got, want in zip(outputs(fast(*inputs)), ir.interpret(fast.ir("traced"), inputs),
                         strict=True):
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


# -- random graphs ---------------------------------------------------------------------------------

SLOW = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck),
        "phases": [Phase.explicit, Phase.generate]}


@settings(max_examples=60 if SIMULATED else 300, **SLOW)
@given(graphs(max_steps=8, wide=True), seeds)
def test_random_graphs(graph, seed):
    check(graph, seed)


@settings(max_examples=30 if SIMULATED else 100, **SLOW)
@given(graphs(max_steps=6, dtype="f64", wide=True), seeds)
def test_random_graphs_in_float64(graph, seed):
    check(graph, seed)


def check(graph: ir.Graph, seed: int) -> None:
    """The error is of the size of the interpreter's own in the same type."""
    fast = nncompile.compile(graph, target="cuda")
    names = {symbol_name(d) for v in graph.inputs for d in v.type.shape} - {None}
    assert names <= {"B"}
    for size in (0, 1, 3):
        inputs = feed(graph, seed, size)
        try:
            exact = ir.interpret(graph, inputs, np.float64)
            ir.interpret(fast.ir("fused"), inputs)
        except ir.Error:                   # not legal at this size: a slice, a maximum of nothing
            continue
        rounded = ir.interpret(graph, inputs)
        for got, want, reference in zip(outputs(fast(*inputs)), exact, rounded, strict=True):
            assert got.shape == want.shape and got.dtype == reference.dtype, str(graph)
            if got.dtype.kind != "f":
                np.testing.assert_array_equal(got, reference, str(graph))
                continue
            sane = np.isfinite(want) & np.isfinite(reference) & (np.abs(want) < 1e30)
            error, own = (np.abs(np.where(sane, x, 0) - np.where(sane, want, 0))
                          for x in (got, reference))
            unit = 1e-5 if got.dtype == np.float32 else 1e-12
            allowed = unit * np.abs(np.where(sane, want, 0)).max(initial=1.0)
            allowed += 20 * own.max(initial=0)
            assert (error <= allowed).all(), f"{error.max()} > {allowed}\n{graph}"

"""The benchmark: peers compute what the graph says, and nothing wrong gets a time."""
from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import ir
import ir.check
import nncompile
from ir.ops import OPS
from ir.types import symbol
from nncompile import nn
from nncompile.bench import PEERS, Clock, Result, bench
from nncompile.bench.compilers import FALLBACK
from nncompile.bench.contender import OWN_PROCESS, Broken, Elsewhere, Failed, Here
from nncompile.bench.expected import Expected, Tolerance, Wrong, expected_outputs
from nncompile.bench.expected import check as check_near
from nncompile.bench.inputs import random_inputs
from nncompile.bench.laps import Lap
from nncompile.bench.machine import others_seconds, ticks
from nncompile.bench.measure import batch_sizes, measure
from nncompile.bench.peers import write_python
from nncompile.bench.record import as_dict
from nncompile.bench.report import ratio
from nncompile.bench.table import block, legend
from nncompile.bench.work import flops
from nncompile.console import text_of
from nncompile.counterparts import COUNTERPARTS, Language, Missing, NoCounterpart
from nncompile.cpu.machine import cores
from nncompile.trace import trace
from tests.exact import EXACT, PARAMETERS

INSTALLED = {"numpy": ("threadpoolctl", "scipy"), "torch": ("torch",),
             "onnxruntime": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"),
             "jax": ("jax",)}
LANGUAGE: dict[str, Language] = {"numpy": "numpy", "torch": "torch", "jax": "jax",
                                 "onnxruntime": "onnx", "openvino": "onnx"}

X, W, V, M = "f32[B, 6]", "f32[5, 6]", "f32[6]", "f32[B, 4, 6]"
B = symbol("B")

# Every op: its operands (a type, a number, or "@type" for a parameter) and its attributes.
CASES: list[tuple[str, Sequence[Any], dict[str, Any]]] = [
    *((op, [X] * (1 if op in PARAMETERS else int(OPS[op].arity[0]))
       + [values[0] for values in PARAMETERS.get(op, ())], {}) for op in EXACT),
    *((op, ["positive"], {}) for op in ("log", "log1p", "log2", "log10", "sqrt", "rsqrt", "acosh")),
    *((op, [X, V], {}) for op in ("add", "div", "maximum")),
    *((op, [X, 1.5], {}) for op in EXACT if OPS[op].arity[0] == 2 and op not in PARAMETERS),
    *((op, [0.5, X], {}) for op in ("sub", "div", "maximum", "minimum")),
    ("maximum", [X, -np.inf], {}),
    ("leaky_relu", [X, "@" + V], {}),
    *((op, ["bool[B, 6]", "bool[B, 6]"], {}) for op in ("logical_and", "logical_or",
                                                        "logical_xor")),
    ("logical_not", ["bool[B, 6]"], {}),
    *((op, ["i32[B, 6]", other], {}) for other in ("i32[6]", 5.0) for op in (
        "bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift")),
    ("where", ["bool[B, 6]", X, V], {}),
    ("where", ["bool[B, 1]", 1.5, X], {}),
    *(("cast", [X], {"dtype": dtype}) for dtype in ("i32", "bool")),
    ("identity", [X], {}),
    ("dropout", [X], {"p": 0.5}),
    ("detach", [X], {}),
    ("linear", [X, "@" + W], {}),
    ("linear", [X, "@" + W, "@f32[5]"], {}),
    ("linear", [M, "@" + W, "@f32[5]"], {}),
    ("linear", [M, "@" + W], {}),
    ("linear", [M, W], {}),
    ("matmul", [X, "@f32[6, 3]"], {}),
    ("matmul", [M, "f32[B, 6, 3]"], {}),
    ("attention", [M, "f32[B, 5, 6]", "f32[B, 5, 3]", "bool[4, 5]"],
     {"scale": 0.5, "fill": -1e9, "seen": True, "zeroed": "none"}),
    ("embedding", ["i64[B]", "@f32[9, 4]"], {}),
    ("embedding", ["i32[B, 3]", "@f32[9, 4]"], {}),
    ("softmax", [X], {"axis": 1, "scale": 1.0}),
    ("softmax", [M], {"axis": 1, "scale": 0.25}),
    ("log_softmax", [M], {"axis": 2}),
    *(("rms_norm", [X, *weight], {"axes": (1,), "eps": 1e-5}) for weight in ([], ["@" + V])),
    ("cumsum", [M], {"axis": 1}),
    ("layer_norm", [X], {"axes": (1,), "eps": 1e-5}),
    ("layer_norm", [X, "@" + V], {"axes": (1,), "eps": 1e-5}),
    ("layer_norm", [M, "@f32[4, 6]", "@f32[4, 6]"], {"axes": (1, 2), "eps": 1e-3}),
    *((op, [M], {"axes": axes, "keepdims": keep}) for op in ("sum", "prod", "mean", "max", "min")
      for axes, keep in (((1,), False), ((1, 2), True))),
    *((op, ["bool[B, 6]"], {"axes": (1,), "keepdims": False}) for op in ("any", "all")),
    *((op, [M], {"axis": 1, "keepdims": keep}) for op in ("argmax", "argmin")
      for keep in (False, True)),
    ("embedding_bag", ["i64[5]", "zeros", "@f32[9, 4]"],
     {"mode": "mean", "include_last": False, "padding": -1}),
    ("take", [M, "@i64[2]"], {"axis": 1}),
    ("take_along", [X, "i64[B, 2]"], {"axis": 1}),
    ("scatter_add", ["i64[B, 1]", X], {"axis": 0, "size": 9}),
    ("scatter_add", ["i64[B, 6]", X], {"axis": 1, "size": 9}),
    ("first_equal", ["i32[B]"], {}),
    ("put_rows", ["i32[B]", X, "@f32[9, 6]"], {}),
    ("topk_ids", [X], {"axis": 1, "k": 2, "largest": True, "sorted": True}),
    ("iota", [], {"shape": (3, 4), "axis": 1, "dtype": "f32"}),
    ("full", [0.5], {"shape": (3, 2), "dtype": "f32"}),
    ("size", [], {"dim": 7}),
    ("uniform", ["i64[2]"], {"shape": (3, 70), "dtype": "f32", "stream": 1}),
    ("expand", [V], {"shape": (3, 2, 6)}),
    ("pad", [X], {"low": (0, 1), "high": (2, 0), "value": 0.5}),
    ("reshape", [M], {"shape": (B, 24)}),
    ("transpose", [M], {"axes": (0, 2, 1)}),
    ("slice", [M], {"axis": 2, "start": 1, "stop": 5}),
    ("slice", [X], {"axis": 0, "start": 0, "stop": 2}),
    ("concat", [X, X, X], {"axis": 1}),
]


def check(got: Any, exact: Sequence[Any], atol: float = 0.0) -> None:
    """Compares with outputs in float64."""
    check_near(got, [Expected.near(each, atol=atol) for each in exact])


def graph_of(op: str, operands: Sequence[Any], attrs: dict[str, Any]) -> ir.Graph:
    builder = ir.Builder()

    def declare(number: int, given: Any) -> Any:
        if isinstance(given, float):
            return given
        if given == "positive":
            return builder.add("exp", declare(number, X))
        if given == "zeros":
            return builder.add("full", 0.0, shape=(2,), dtype="i64")
        kind, text = ("parameter", given[1:]) if given[0] == "@" else ("input", given)
        return builder.declare(kind, f"v{number}", ir.parse_type(text))

    values = [declare(number, given) for number, given in enumerate(operands)]
    result = builder.add(op, *values, **attrs)
    if result.type.dtype == "bool":
        result = builder.add("cast", result, dtype="f32")
    return ir.check.with_data(builder.build("case", [result]))


@pytest.mark.parametrize("peer", INSTALLED)
@pytest.mark.parametrize(("op", "operands", "attrs"), CASES, ids=lambda v: str(v))
def test_a_peer_computes_the_same(peer: str, op: str, operands: Sequence[Any],
                                  attrs: dict[str, Any]) -> None:
    for module in INSTALLED[peer]:
        pytest.importorskip(module)
    graph = graph_of(op, operands, attrs)
    arrays = random_inputs(graph, {"B": 3})
    if op in COUNTERPARTS and isinstance(getattr(COUNTERPARTS[op], LANGUAGE[peer]), Missing):
        with pytest.raises(NoCounterpart, match=f"no counterpart of {op}"):
            PEERS[peer](graph, [arrays], 1)
        return
    with np.errstate(all="ignore"):
        for way in PEERS[peer](graph, [arrays], 1):
            check_near(way(), *expected_outputs(graph, [arrays]))


@pytest.mark.parametrize(("op", "operands", "attrs"), CASES, ids=lambda v: str(v))
def test_jax_is_asked_for_no_type_that_it_has_only_on_demand(
        op: str, operands: Sequence[Any], attrs: dict[str, Any]) -> None:
    """It has 32 bits unless it is configured otherwise, and warns of a type that it then lacks."""
    with suppress(NoCounterpart):
        text = write_python(graph_of(op, operands, attrs), {"B": 3}, "jax")
        assert not re.search(r"\w+64", text), text


def test_an_unknown_op_is_said_to_have_no_counterpart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(COUNTERPARTS, "relu")
    with pytest.raises(NoCounterpart, match="no counterpart of relu"):
        write_python(graph_of("relu", [X], {}), {"B": 1}, "numpy")


def test_python_text_drops_what_is_used_no_more() -> None:
    graph = ir.parse("""
        graph g(%x: f32[B, 2]) -> f32[B, 2], f32[B, 2] {
          %0: f32[B, 2] = exp(%x)
          %1: f32[B, 2] = add(%0, %0)
          %2: f32[B, 2] = tanh(%1)
          return %1, %2
        }""")
    assert write_python(graph, {"B": 1}, "numpy") == """\
def run(x0):
    v0 = np.exp(x0)
    v1 = v0 + v0
    del v0
    v2 = np.tanh(v1)
    return [v1, v2]
"""


# -- what is checked before a time is taken --------------------------------------------------------

def test_check_accepts_rounding_and_equal_nans() -> None:
    exact = np.array([1.0, -4.0, np.nan, np.inf])
    check([exact.astype(np.float32) * np.float32(1 + 1e-6)], [exact])
    check([np.zeros((0, 3), np.float32)], [np.zeros((0, 3))])


@pytest.mark.parametrize(("got", "match"), [
    ([1.0, 2.1, np.nan], "off by 1.0e-01"),
    ([1.0, np.nan, np.nan], "off by nan"),
    ([1.0, 2.0, 3.0], "NaNs"),
    ([1.0, 2.0], "shape"),
])
def test_check_refuses(got: list[float], match: str) -> None:
    with pytest.raises(Wrong, match=match):
        check([np.array(got, np.float32)], [np.array([1.0, 2.0, np.nan])])


CANCELS = """
    graph g(%x: f32[B, 64]) -> {type} {{
      %0: f32[B, 64] = layer_norm(%x) {{axes = [1], eps = 1e-05}}
      %1: f32[B, 1]  = mean(%0) {{axes = [1], keepdims = true}}
      {last}
    }}"""


@pytest.mark.parametrize(("type_", "last"), [
    ("f32[B, 1]", "return %1"),
    ("f32[B, 1]", "%2: f32[B, 1] = mul(%1, 3.0)\n return %2"),
    ("f32[]", "%2: f32[] = sum(%1) {axes = [0, 1], keepdims = false}\n return %2"),
])
@pytest.mark.parametrize("seed", range(4))
def test_an_output_whose_terms_cancel_may_be_as_wrong_as_rounding(type_: str, last: str, seed: int
                                                                 ) -> None:
    """Its largest value is nothing beside the terms: no float32 program is near it, relatively."""
    graph = ir.parse(CANCELS.format(type=type_, last=last))
    arrays = random_inputs(graph, {"B": 5}, seed)
    [exact] = ir.interpret(graph, arrays, np.float64)
    [[expected]] = expected_outputs(graph, [arrays])
    ours = nncompile.compile(graph)(*arrays)
    check_near([ours], [expected])
    assert np.abs(exact).max() < 1e-14 and expected.within < 1e-4
    with pytest.raises(Wrong):
        check_near([np.asarray(ours) + np.float32(1e-3)], [expected])
    strict = expected_outputs(graph, [arrays], Tolerance(atol=0.0))
    with pytest.raises(Wrong):                   # nothing is allowed beside the share
        check_near([np.full_like(exact, 1e-9)], *strict)


def test_rounding_widens_nothing_where_values_are_ordinary() -> None:
    graph = trace(small_model(), "f32[B, 6]")
    [[expected]] = expected_outputs(graph, [random_inputs(graph, {"B": 50})])
    assert 2e-5 <= expected.within / np.abs(expected.array).max() < 4e-5


# -- the whole benchmark ---------------------------------------------------------------------------

QUICK: dict[str, Any] = {"rounds": 2, "seconds": 1e-4, "park": 0.0}


def small_model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3), nn.Softmax(dim=-1)).eval()


def test_bench_times_what_is_right() -> None:
    seen = []
    report = bench(small_model(), ["f32[B, 6]"], batches=[1, 5], threads=[1, 2], title="small",
                   watch=lambda report, row: seen.append((row.batch, row.threads)), **QUICK)
    assert seen == [(1, 1), (5, 1), (1, 2), (5, 2)]
    assert report.correct
    for row in report.rows:
        assert row.flops == row.batch * 2 * (6 * 8 + 8 * 3)
        assert len(row.results["nncompile"].seconds) == 2
        for peer, result in row.results.items():
            assert result.seconds or result.note.startswith("missing"), (peer, result.note)
        assert f"\nbatch {row.batch}, {row.threads} thread" in "\n" + text_of(block(report, row))
    assert len(as_dict(report)["rows"]) == 4


def test_a_peer_that_is_wrong_or_fails_gets_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "liar", lambda graph, sets, threads:
                        [lambda: [np.full((len(sets[0][0]), 3), 0.3, np.float32)]])
    monkeypatch.setitem(PEERS, "broken", lambda graph, sets, threads: 1 / 0)
    report = bench(small_model(), ["f32[B, 6]"], batches=[2], threads=[1],
                   peers=["liar", "broken"], **QUICK)
    results = report.rows[0].results
    assert results["liar"].note.startswith("wrong: output 0 is off by")
    assert results["broken"].note == "failed: ZeroDivisionError: division by zero"
    assert not results["liar"].seconds and not results["broken"].seconds
    assert report.correct
    assert "wrong" in text_of(block(report, report.rows[0])).split()
    assert "liar: wrong" in text_of(legend(report))


def test_a_peer_that_is_not_installed_is_said_to_be_missing(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    report = bench(small_model(), ["f32[B, 6]"], batches=[2], threads=[1], peers=["torch"], **QUICK)
    assert report.rows[0].results["torch"].note == "missing: torch is not installed"


def test_a_ratio_has_its_spread_and_says_where_it_means_nothing() -> None:
    ours = Result((1.0, 1.0, 1.0, 1.0, 1.0))
    assert ratio(Result((2.0, 2.2, 9.0, 1.9, 0.1)), ours) == (2.0, 1.9, 2.2)
    assert ratio(Result((2.0, 3.0, 1.0)), Result((1.0, 1.0, 1.0))) == (2.0, 1.0, 3.0)


def test_every_contender_has_each_round_and_of_its_ways_the_fastest_counts() -> None:
    calls: list[str] = []

    def timed(name: str, seconds: float) -> Any:
        def time(count: int) -> Lap:
            calls.append(name)
            return Lap(seconds, seconds)
        return time

    laps = Clock(rounds=3, seconds=0.0, park=0.0).interleaved(
        {("a", 0): timed("slow", 0.02), ("a", 1): timed("fast", 0.01), ("b", 0): timed("b", 0.03)})
    assert {key: len(taken) for key, taken in laps.items()} == {("a", 1): 3, ("b", 0): 3}
    assert calls.count("slow") == 1 + 2 and calls.count("fast") == 1 + 2 + 3


def test_a_slow_call_has_fewer_rounds() -> None:
    laps = Clock(rounds=9, seconds=0.0, park=0.0).interleaved(
        {("a", 0): lambda count: Lap(1.0, 1.0)})
    assert len(laps["a", 0]) == 5


# -- contenders in processes of their own ----------------------------------------------------------

@pytest.fixture
def elsewhere() -> Iterator[Callable[..., Elsewhere]]:
    started = []

    def start(name: str, graph: ir.Graph, threads: int = 1) -> Elsewhere:
        started.append(Elsewhere(name, graph, threads))
        return started[-1]

    yield start
    for contender in started:
        contender.close()
        assert contender.process.returncode is not None


def small_case() -> tuple[ir.Graph, list[Any], list[Any]]:
    graph = trace(small_model(), "f32[B, 6]")
    arrays = random_inputs(graph, {"B": 3})
    return graph, arrays, *expected_outputs(graph, [arrays])


@pytest.mark.parametrize("name", ["nncompile", "numpy"])
def test_a_contender_elsewhere(name: str, elsewhere: Callable[..., Elsewhere]) -> None:
    pytest.importorskip("threadpoolctl")
    graph, arrays, expected = small_case()
    contender = elsewhere(name, graph)
    assert contender.prepare([arrays], [expected]) == 1
    lap = contender.time(0, 10)
    assert 0 < lap.seconds < 1 and 0 <= lap.cpu < 1
    with pytest.raises(Wrong, match="output 0 is off by"):
        contender.prepare([arrays], [[e._replace(array=e.array + 1) for e in expected]])
    assert contender.prepare([arrays], [expected]) == 1        # it goes on after an error


@pytest.mark.parametrize("name", sorted(OWN_PROCESS))
def test_a_peer_with_threads_of_its_own(name: str, elsewhere: Callable[..., Elsewhere]) -> None:
    pytest.importorskip(name.partition(".")[0])
    graph, arrays, expected = small_case()
    contender = elsewhere(name, graph)
    for way in range(contender.prepare([arrays], [expected])):
        assert contender.time(way, 20).seconds > 0


@pytest.mark.parametrize("name", ["peak", "reads"])
def test_ceilings_are_contenders_too(name: str, elsewhere: Callable[..., Elsewhere]) -> None:
    graph, arrays, expected = small_case()
    contender = elsewhere(name, graph)
    assert contender.prepare([arrays], [expected]) == 1
    assert 1e-14 < contender.time(0, 1).seconds < 1e-8     # an operation, or a byte


def test_errors_elsewhere_are_errors_here(elsewhere: Callable[..., Elsewhere]) -> None:
    graph, arrays, expected = small_case()
    with pytest.raises(Failed, match="KeyError: 'nobody'"):
        elsewhere("nobody", graph).prepare([arrays], [expected])
    contender = elsewhere("nncompile", graph)
    contender.prepare([arrays], [expected])
    contender.process.kill()
    with pytest.raises(ir.Error, match="its process ended: exit status -9"):
        contender.time(0, 1)
    assert contender.prepare([arrays], [expected]) == 1        # by another process
    assert contender.time(0, 1).seconds > 0


def test_another_process_tries_when_one_breaks_down(elsewhere: Callable[..., Elsewhere],
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    graph, arrays, expected = small_case()
    contender = elsewhere("nncompile", graph)
    ask, started = contender.ask, []

    def breaks_down_once(*question: Any) -> Any:
        if not started:
            raise Broken("its process ended")
        return ask(*question)

    def start(**variables: str) -> None:
        started.append(variables)
        Elsewhere.start(contender, **variables)

    monkeypatch.setattr(contender, "ask", breaks_down_once)
    monkeypatch.setattr(contender, "start", start)
    assert contender.prepare([arrays], [expected]) == 1
    assert started == [{FALLBACK: "1"}]


class Breaks:
    """A contender that breaks down in its second turn."""

    def __init__(self) -> None:
        self.turns = 0

    def prepare(self, sets: Any, expected: Any, callers: int = 1) -> int:
        return 1

    def time(self, way: int, count: int) -> Lap:
        self.turns += 1
        if self.turns == 2:
            raise ir.Error("broken")
        return Lap(1e-3, 1e-3)

    sample = offer = serve = time

    def close(self) -> None:
        pass


def test_who_breaks_down_while_it_is_timed_has_no_time_and_the_others_go_on() -> None:
    graph, *_ = small_case()
    whole = Here("nncompile", graph, 1)
    row = measure(graph, {"B": 3}, 3, 1, {"nncompile": whole, "breaks": Breaks()},
                  Clock(3, 1e-4, 0.0))
    assert row.results["breaks"] == Result(note="failed: Error: broken")
    assert len(row.results["nncompile"].seconds) == 3


@pytest.mark.parametrize("peer", INSTALLED)
def test_a_peer_keeps_its_inputs(peer: str) -> None:
    for module in INSTALLED[peer]:
        pytest.importorskip(module)
    graph, arrays, expected = small_case()
    ways = PEERS[peer](graph, [[*map(np.copy, arrays)]], 1)
    gc.collect()
    others = [np.full_like(a, 7) for a in arrays for _ in range(1000)]   # on freed memory, if any
    for way in ways:
        check_near(way(), expected)
    del others


def test_a_contender_elsewhere_has_as_many_cpus_as_threads(
        elsewhere: Callable[..., Elsewhere]) -> None:
    pytest.importorskip("threadpoolctl")
    graph, arrays, expected = small_case()
    contender = elsewhere("numpy", graph)
    contender.prepare([arrays], [expected])
    assert os.sched_getaffinity(contender.pid) == set(cores()[:1])


def test_who_used_the_machine() -> None:
    mine = ticks(os.getpid())
    assert mine > 0 and 0 <= others_seconds([os.getppid()]) <= others_seconds() + 0.1   # of ticks
    assert set(cores()) == os.sched_getaffinity(0)


def test_sizes() -> None:
    graph = ir.parse("""
        graph g(%ids: i64[B, T], %x: f32[B, T]) -> f32[B, T] {
          %0: f32[B, T] = exp(%x)
          return %0
        }""")
    assert batch_sizes(graph, 4, {"T": 7}) == {"B": 4, "T": 7}
    with pytest.raises(ir.Error, match="--size T=16"):
        batch_sizes(graph, 4, {})
    with pytest.raises(ir.Error, match="no size S beside the batch; the inputs have T"):
        batch_sizes(graph, 4, {"S": 1, "T": 1})
    with pytest.raises(ir.Error, match="no size B beside the batch"):
        batch_sizes(graph, 4, {"B": 1, "T": 1})


def test_inputs_are_neither_zeros_nor_out_of_range() -> None:
    graph = graph_of("embedding", ["i64[B]", "@f32[2, 4]"], {})
    ids, = random_inputs(graph, {"B": 100})
    assert ids.dtype == np.int64 and set(ids) == {0, 1}
    x, = random_inputs(graph_of("exp", [X], {}), {"B": 10})
    assert x.dtype == np.float32 and np.all(x != 0)


def test_flops_are_those_of_the_products() -> None:
    assert flops(graph_of("matmul", [M, "f32[B, 6, 3]"], {}), {"B": 2}) == 2 * 2 * 4 * 6 * 3
    assert flops(graph_of("exp", [X], {}), {"B": 2}) == 0

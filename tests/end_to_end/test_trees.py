"""Walks through decision trees: the reference, legal tables, every kernel, rows, ONNX."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ir
import nncompile
from ir import NDArray
from ir.ops import evaluate
from nncompile.array import Array
from nncompile.cpu.kernels import tree_walk
from nncompile.importers.trees import COMPARISONS, Trees, walked
from tests.cpu.kernel_harness import LEVELS, Guarded, compiled, run_python

COLUMNS = 5


def grown(random: np.random.Generator, dtype: str, trees: int, depth: int, width: int
          ) -> tuple[NDArray, NDArray, NDArray]:
    """Returns nodes, thresholds and roots of random trees, whose leaves are at any depth."""
    nodes: list[list[int]] = []

    def grow(left: int) -> int:
        own = len(nodes)
        nodes.append([own] * width)
        if left and random.random() < 0.8:
            children = [grow(left - 1) for _ in range(2)]
            nodes[own] = [int(random.integers(COLUMNS)), *children,
                          *[int(random.choice(children))] * (width - 3)]
        else:
            nodes[own][0] = 0
        return own

    roots = [grow(depth) for _ in range(trees)]
    thresholds = random.integers(-2, 3, len(nodes)) / 2
    thresholds[random.random(len(nodes)) < 0.1] = np.inf
    return (np.array(nodes, np.int32).reshape(-1, width), thresholds.astype(ir.DTYPES[dtype]),
            np.array(roots, np.int32))


def rows_of(random: np.random.Generator, count: int, dtype: str) -> NDArray:
    """Returns rows that meet many thresholds exactly, with NaN and infinities."""
    x = random.integers(-4, 5, (count, COLUMNS)) / 4
    x[random.random(x.shape) < 0.1] = np.nan
    x[random.random(x.shape) < 0.1] = np.inf
    x[random.random(x.shape) < 0.1] = -np.inf
    return x.astype(ir.DTYPES[dtype])


def walks(x: NDArray, nodes: NDArray, thresholds: NDArray, roots: NDArray) -> NDArray:
    """Walks each row by itself, as the definition says."""
    found = np.zeros((len(x), len(roots)), np.int32)
    for i, row in enumerate(x):
        for t, at in enumerate(roots):
            while (nodes[at, 1:] != at).any():
                value = row[nodes[at, 0]]
                missing = nodes[at, -1] if nodes.shape[1] == 4 else nodes[at, 1]
                at = (missing if np.isnan(value) else
                      nodes[at, 2] if value <= thresholds[at] else nodes[at, 1])
            found[i, t] = at
    return found


def graph_of(nodes: NDArray, thresholds: NDArray, roots: NDArray, steps: int) -> ir.Graph:
    builder = ir.Builder()
    x = builder.declare("input", "x", ir.parse_type(
        f"{'f32' if thresholds.dtype == np.float32 else 'f64'}[B, {COLUMNS}]"))
    tables = [builder.declare("constant", name, ir.type_of(data), data) for name, data in zip(
        ("nodes", "thresholds", "roots"), (nodes, thresholds, roots), strict=True)]
    return builder.build("walk", [builder.add("tree_walk", x, *tables, steps=steps)])


@pytest.mark.parametrize("width", [3, 4])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_the_reference_is_the_definition(dtype: str, width: int) -> None:
    random = np.random.default_rng(0)
    tables = grown(random, dtype, 6, 5, width)
    x = rows_of(random, 50, dtype)
    np.testing.assert_array_equal(evaluate("tree_walk", [x, *tables], {"steps": 5}),
                                  walks(x, *tables))


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_kernel(level: str, data: st.DataObject) -> None:
    dtype, width = data.draw(st.sampled_from(["f32", "f64"])), data.draw(st.sampled_from([3, 4]))
    rows = data.draw(st.sampled_from([0, 1, 2, 7, 8, 9, 63, 64, 65, 137]))
    count, depth = data.draw(st.sampled_from([0, 1, 3, 8, 11])), data.draw(st.integers(0, 7))
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    nodes, thresholds, roots = grown(random, dtype, count, depth, width)
    x = rows_of(random, rows, dtype)
    kernel = tree_walk(width == 4, dtype)
    for call in (compiled(kernel, level), lambda *a: compiled(kernel, level).shared(3, *a),
                 lambda *a: run_python(kernel, *a)):
        guarded = Guarded()
        y = guarded.empty(rows, count, dtype=np.dtype(np.int32))
        call(guarded.array(x), COLUMNS, guarded.array(nodes), guarded.array(thresholds),
             guarded.array(roots), y, rows, count, depth)
        guarded.check()
        np.testing.assert_array_equal(np.array(y).reshape(rows, count),
                                      walks(x, nodes, thresholds, roots))


@pytest.mark.parametrize("jit", ["0", "1"])
@pytest.mark.parametrize("width", [3, 4])
def test_rows_are_the_same_in_any_batch(jit: str, width: int,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    random = np.random.default_rng(1)
    tables = grown(random, "f32", 21, 6, width)
    graph = graph_of(*tables, 6)
    fast = nncompile.compile(graph)
    x = rows_of(random, 300, "f32")
    whole = fast(x)
    np.testing.assert_array_equal(whole, ir.interpret(graph, [x])[0])
    for start, stop in ((0, 0), (0, 1), (5, 12), (200, 300)):
        np.testing.assert_array_equal(fast(x[start:stop]), whole[start:stop])
    if jit == "1":
        np.testing.assert_array_equal(fast(x, threads=2), fast(x, threads=1))


@pytest.mark.parametrize(("change", "message"), [
    ({"nodes": [[0, 1, 5], [0, 1, 1]]}, "tree_walk has no node 5"),
    ({"nodes": [[0, 1, -1], [0, 1, 1]]}, "tree_walk has no node -1"),
    ({"nodes": [[9, 1, 1], [0, 1, 1]]}, "tree_walk has no column 9"),
    ({"nodes": [[0, 1, 1], [0, 0, 0]]}, "more than 3 steps"),
    ({"roots": [2]}, "tree_walk has no node 2"),
    ({"steps": 0}, "more than 0 steps"),
])
def test_tables_that_lead_elsewhere_are_refused(change: dict[str, object], message: str) -> None:
    given = {"nodes": [[0, 1, 1], [0, 1, 1]], "roots": [0], "steps": 3} | change
    nodes, roots = (np.array(given[n], np.int32) for n in ("nodes", "roots"))
    thresholds = np.zeros(2, np.float32)
    with pytest.raises(ir.Error, match=message):
        evaluate("tree_walk", [np.zeros((1, 5), np.float32), nodes, thresholds, roots],
                 {"steps": given["steps"]})
    with pytest.raises(ir.Error, match=message):
        ir.verify(graph_of(nodes, thresholds, roots, int(str(given["steps"]))))


def test_nodes_of_another_width_are_refused() -> None:
    with pytest.raises(ir.Error, match=r"nodes \[M, 3\] or \[M, 4\]"):
        graph_of(np.zeros((1, 2), np.int32), np.zeros(1, np.float32), np.zeros(1, np.int32), 1)


def test_tables_that_are_no_constants_are_refused() -> None:
    builder = ir.Builder()
    given = [builder.declare("input", f"v{i}", ir.parse_type(text)) for i, text in enumerate(
        ("f32[B, 5]", "i32[2, 3]", "f32[2]", "i32[1]"))]
    graph = builder.build("walk", [builder.add("tree_walk", *given, steps=1)])
    with pytest.raises(ir.Error, match="have to be constants"):
        ir.verify(graph)


@pytest.mark.parametrize("width", [3, 4])
def test_onnx_has_gathers_for_it(width: int, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    random = np.random.default_rng(2)
    tables = grown(random, "f32", 5, 4, width)
    path, x = tmp_path / "walk.onnx", rows_of(random, 40, "f32")
    nncompile.to_onnx(graph_of(*tables, 4), path)
    found = runtime.InferenceSession(path).run(None, {"x": x})[0]
    np.testing.assert_array_equal(found, walks(x, *tables))


NUMPY = {"BRANCH_LEQ": np.less_equal, "BRANCH_LT": np.less, "BRANCH_GTE": np.greater_equal,
         "BRANCH_GT": np.greater, "BRANCH_EQ": np.equal, "BRANCH_NEQ": np.not_equal}


@pytest.mark.parametrize("mode", COMPARISONS)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("tracks", [False, True])
def test_every_comparison_at_every_edge(mode: str, dtype: str, tracks: bool) -> None:
    """Each value is compared with each threshold by a tree of one split."""
    kind = ir.DTYPES[dtype].type
    tiny, big = np.finfo(kind).smallest_subnormal, np.finfo(kind).max
    edges = np.array([-np.inf, -big, -1, -tiny, -0.0, 0.0, tiny, 1, np.nextafter(kind(1), kind(2)),
                      big, np.inf, np.nan], kind)
    count = len(edges)
    here = np.arange(3 * count)
    leaf = here >= count
    trees = Trees(np.zeros(3 * count, np.int64), np.concatenate([edges, np.zeros(2 * count, kind)]),
                  [mode] * count + ["LEAF"] * 2 * count, (here < count) & tracks,
                  np.where(leaf, here, here + count), np.where(leaf, here, here + 2 * count),
                  here[:count], 1)
    found = np.asarray(walked(trees, Array(edges[:, None])).numpy())
    yes = NUMPY[mode](edges[:, None], edges[None, :])
    if tracks:
        yes = yes | np.isnan(edges)[:, None]
    np.testing.assert_array_equal(found, np.where(yes, here[:count], here[:count] + count) + count)

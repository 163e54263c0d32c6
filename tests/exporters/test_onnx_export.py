"""Graphs as ONNX files: legal, run by ONNX Runtime with the same results, and read again."""
from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings

import ir
import ir.check
import nncompile
from ir.ops import at_sizes
from ir.types import DTYPES, INTEGERS, floor_div, symbol
from nncompile import nn
from nncompile.counterparts import COUNTERPARTS, Missing
from nncompile.exporters import onnx as exporter
from nncompile.structure import flatten, mapped
from tests.end_to_end.models import CASES as MODELS
from tests.end_to_end.test_torch_models import CASES as TORCH_MODELS
from tests.end_to_end.test_torch_models import OURS
from tests.exact import PARAMETERS
from tests.strategies import SPECIAL, feed, graphs, seeds
from tests.test_bench import CASES

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

NEWEST = 24                                      # of those that ONNX Runtime 1.31 releases
TOLERANCE = {"f32": 1e-5, "f64": 1e-12}

# ONNX Runtime has no float64 kernel of Erf, and nothing else that these could be made of.
WITHOUT_DOUBLE = {"erf", "erfc", "gelu"}

# Ops that no operator is.
UNWRITTEN = {op for op, row in COUNTERPARTS.items() if isinstance(row.onnx, Missing)}

# Operators that the importer does not read yet.
NOT_READ = {"bitwise_and", "bitwise_or", "bitwise_xor"}

# Where ONNX Runtime's own operator gives NaN at an infinity, and ours the limit.
NAN_AT_INFINITY = {"gelu", "gelu_tanh", "silu", "mish", "hardswish", "softsign"}


def session(model: Any) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def exported(graph: ir.Graph, path: Path, **options: Any) -> Any:
    """A session of the file, which onnx has checked."""
    nncompile.to_onnx(graph, path, **options)
    onnx.checker.check_model(str(path), full_check=True)
    return session(str(path))


def ran(run: Any, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return run.run(None, {i.name: a for i, a in zip(run.get_inputs(), arrays, strict=True)})


def compare(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray], tolerance: float = 1e-5
            ) -> None:
    for got, want in zip(found, wanted, strict=True):
        assert got.shape == want.shape and got.dtype.kind == want.dtype.kind
        if want.dtype.kind != "f":
            np.testing.assert_array_equal(got, want)
            continue
        finite = np.abs(want[np.isfinite(want)])
        np.testing.assert_allclose(got, want, rtol=tolerance,
                                   atol=tolerance * max(1.0, finite.max(initial=0)))


def graph_of(op: str, operands: Sequence[Any], attrs: dict[str, Any]) -> ir.Graph:
    """The op of inputs of these types, of plain numbers, and of parameters, "@type"."""
    builder = ir.Builder()
    values = []
    for number, operand in enumerate(operands):
        if isinstance(operand, float):
            values.append(operand)
            continue
        kind = "parameter" if operand[0] == "@" else "input"
        values.append(builder.declare(kind, f"v{number}", ir.parse_type(operand.lstrip("@"))))
    return ir.check.with_data(builder.build(op, [builder.add(op, *values, **attrs)]))


def arrays_of(graph: ir.Graph, sizes: dict[str, int]) -> list[np.ndarray]:
    """Numbers that every op of the table takes: positive where one has a limited domain."""
    random = np.random.default_rng(0)
    found = []
    for value in graph.inputs:
        shape = at_sizes(value.type.shape, sizes)
        kind = DTYPES[value.type.dtype]
        if kind.kind == "b":
            found.append(random.random(shape) < 0.5)
        elif kind.kind == "f":
            found.append(np.asarray(random.standard_normal(shape) * 2).astype(kind))
        else:
            found.append(random.integers(1, 3, shape).astype(kind))
    return found


def written_of(type_: str, text: Any) -> Any:
    return text.replace("f32[", f"{type_}[") if isinstance(text, str) else text


def all_cases() -> list[Any]:
    """The cases of the table in every dtype that the op takes."""
    found: dict[str, Any] = {}
    for (op, operands, attrs), dtype in itertools.product(CASES, DTYPES):
        if op in UNWRITTEN:
            continue
        operands = [{"positive": "f32[B, 6]", "zeros": "@i64[2]"}.get(o, o) if isinstance(o, str)
                    else o for o in operands]
        operands = [written_of(dtype, o) for o in operands]
        if op == "cast":
            variants = [{"dtype": to} for to in DTYPES]
        else:
            variants = [{**attrs, "dtype": dtype}] if "dtype" in attrs else [attrs]
        for attrs in variants:
            try:
                graph = graph_of(op, operands, attrs)
            except ir.Error:                     # not of this dtype
                continue
            found.setdefault(str(graph), (op, operands, attrs))
    return [pytest.param(*case, id=" ".join(map(str, case))) for case in found.values()]


def test_the_cases_are_of_every_op() -> None:
    own = {"tree_walk", *UNWRITTEN}              # which has tests of its own
    assert {case.values[0] for case in all_cases()} == ir.OPS.keys() - own


@pytest.mark.parametrize("op", sorted(UNWRITTEN))
def test_what_onnx_cannot_say_is_refused(op: str, tmp_path: Path) -> None:
    for name, operands, attrs in CASES:
        if name == op:
            with pytest.raises(nncompile.InputError, match=f"no counterpart of {op}"):
                nncompile.to_onnx(graph_of(name, operands, attrs), tmp_path / "out.onnx")


@pytest.mark.parametrize(("op", "operands", "attrs"), all_cases())
def test_every_op_in_every_dtype(op: str, operands: Sequence[Any], attrs: dict[str, Any],
                                 tmp_path: Path) -> None:
    graph = graph_of(op, operands, attrs)
    double = any(v.type.dtype == "f64" for v in (*graph.inputs, *graph.params))
    if op in WITHOUT_DOUBLE and double:
        with pytest.raises(Exception, match="NOT_IMPLEMENTED"):
            exported(graph, tmp_path / "model.onnx")
        arrays = arrays_of(graph, {"B": 3})
        again = nncompile.from_onnx(tmp_path / "model.onnx")
        compare(ir.interpret(again, arrays), ir.interpret(graph, arrays), 1e-12)
        return
    run = exported(graph, tmp_path / "model.onnx")
    again = graph if op in NOT_READ else nncompile.from_onnx(tmp_path / "model.onnx")
    for size in (3, 1, 7, 0):
        arrays = arrays_of(graph, {"B": size})
        try:
            with np.errstate(all="ignore"):
                wanted = ir.interpret(graph, arrays)
        except ir.Error:                         # a slice outside of the axis, no maximum
            continue
        tolerance = TOLERANCE["f64" if double else "f32"]
        compare(ran(run, arrays), wanted, tolerance)
        compare(ir.interpret(again, arrays), wanted, tolerance)


@pytest.mark.parametrize("opset", [18, 20, NEWEST])
def test_every_op_in_other_opsets(opset: int, tmp_path: Path) -> None:
    done = set()
    for case in all_cases():
        op, operands, attrs = case.values
        if op in done or "f64" in str(operands):
            continue
        done.add(op)
        graph = graph_of(op, operands, attrs)
        run = exported(graph, tmp_path / "model.onnx", opset=opset)
        arrays = arrays_of(graph, {"B": 3})
        with np.errstate(all="ignore"):
            compare(ran(run, arrays), ir.interpret(graph, arrays))


# -- numbers that are special ----------------------------------------------------------------------

FLOAT_OPS = [op for op in ir.OPS.values() if op.elementwise and not op.attrs
             and "shift" not in op.name and "bitwise" not in op.name
             and op.name not in ("where", "logical_and", "logical_or", "logical_xor",
                                 "logical_not")]


@pytest.mark.parametrize("op", [op.name for op in FLOAT_OPS])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_special_numbers(op: str, dtype: str, tmp_path: Path) -> None:
    if dtype == "f64" and op in WITHOUT_DOUBLE:
        pytest.skip("ONNX Runtime has no kernel")
    numbers = [values[0] for values in PARAMETERS.get(op, ())]
    count = int(ir.OPS[op].arity[0]) - len(numbers)
    graph = graph_of(op, [f"{dtype}[N]"] * count + numbers, {})
    special = [*SPECIAL, 1.0, -1.0, 0.5, -0.5, 2.0, -3.0, 5.5, -30.0, 1e-3]
    if op in NAN_AT_INFINITY and dtype == "f32":
        special = [n for n in special if not np.isinf(n)]
    if op in ("copysign", "atan2"):                      # the sign of a NaN is not a number
        special = [n for n in special if not np.isnan(n)]
    if op in ("sin", "cos", "tan") and dtype == "f32":
        special = [n for n in special if not abs(n) > 100]
    grid = np.meshgrid(*[np.array(special, DTYPES[dtype])] * count)
    arrays = [np.ascontiguousarray(a.ravel()) for a in grid]
    with np.errstate(all="ignore"):
        wanted = ir.interpret(graph, arrays)
    [found] = ran(exported(graph, tmp_path / "model.onnx"), arrays)
    if wanted[0].dtype.kind != "f":
        np.testing.assert_array_equal(found, wanted[0])
        return
    np.testing.assert_allclose(found, wanted[0], rtol=2e-5 if dtype == "f32" else 1e-11,
                               atol=1e-6 if dtype == "f32" else 1e-13)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_division_and_powers_of_integers(dtype: str, tmp_path: Path) -> None:
    """The least integer by -1, powers that wrap around, and negative exponents."""
    info = np.iinfo(DTYPES[dtype])
    values = [info.min, info.max, 0, 1, 2, 3, 7, 100]
    values += [] if dtype == "u8" else [-1, -2, -7]
    for op, divides in (("floor_div", True), ("remainder", True), ("pow", False),
                        ("left_shift", False), ("right_shift", False)):
        graph = graph_of(op, [f"{dtype}[N]"] * 2, {})
        x, y = (a.ravel() for a in np.meshgrid(*[np.array(values, DTYPES[dtype])] * 2))
        arrays = [x[y != 0], y[y != 0]] if divides else [x, y]
        with np.errstate(all="ignore"):
            wanted = ir.interpret(graph, arrays)
        compare(ran(exported(graph, tmp_path / "model.onnx"), arrays), wanted)


# -- whole graphs ----------------------------------------------------------------------------------

B, T = symbol("B"), symbol("T")

SYMBOLIC: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("iota", ["f32[B, T]"], {"shape": (B, T + 1, 2), "axis": 1, "dtype": "f32"}),
    ("iota", ["f32[B, T]"], {"shape": (2 * B * T,), "axis": 0, "dtype": "u8"}),
    ("full", ["f32[B, T]"], {"shape": (B * B + T, 2), "dtype": "i64"}),
    ("full", ["f32[B, T]"], {"shape": (3 * floor_div(T + B, 2) * T + B, 2), "dtype": "i64"}),
    ("size", ["f32[B, T]"], {"dim": 3 * floor_div(T + B, 2) * T - B}),
    ("expand", ["f32[B, 1, T]"], {"shape": (2, B, B + T, T)}),
    ("reshape", ["f32[B, T, 4]"], {"shape": (T, B, 2, 2)}),
    ("reshape", ["f32[B, T, 0]"], {"shape": (0, B * T)}),
    ("slice", ["f32[B, T]"], {"axis": 1, "start": 0, "stop": T}),
    ("slice", ["f32[B, T]"], {"axis": 1, "start": T - 1, "stop": -1, "step": -1}),
    ("slice", ["f32[B, T]"], {"axis": 1, "start": T - 1, "stop": T - 2, "step": -1}),
    ("pad", ["f32[B, T]"], {"low": (T, 0), "high": (0, B + 1), "value": 2.5}),
    ("topk_ids", ["f32[B, T]"], {"axis": 1, "k": T, "largest": False, "sorted": True}),
    ("layer_norm", ["f32[B, T]"], {"axes": (1,), "eps": 1e-5}),
    ("any", ["bool[B, T]"], {"axes": (1,), "keepdims": True}),
    ("all", ["bool[B, T]"], {"axes": (0, 1), "keepdims": False}),
    ("sum", ["f32[B, T]"], {"axes": (), "keepdims": False}),
    ("max", ["f32[B, T]"], {"axes": (1,), "keepdims": False}),
    ("transpose", ["f32[]"], {"axes": ()}),
    ("embedding_bag", ["i64[N]", "@i64[2]", "@f32[4, 3]"],
     {"mode": "max", "include_last": False, "padding": 1}),
    ("linear", ["f32[B, T, 0]", "@f32[3, 0]", "@f32[3]"], {}),
    ("where", ["bool[B]", "bool[B]", "bool[T, B]"], {}),
]


@pytest.mark.parametrize(("op", "operands", "attrs"), SYMBOLIC, ids=lambda v: str(v))
def test_sizes_that_are_not_known(op: str, operands: list[Any], attrs: dict[str, Any],
                                  tmp_path: Path) -> None:
    builder = ir.Builder()
    values = [builder.declare("parameter" if text[0] == "@" else "input", f"v{i}",
                              ir.parse_type(text.lstrip("@"))) for i, text in enumerate(operands)]
    operands = {"iota": [], "size": [], "full": [3.0]}.get(op, values)
    graph = ir.check.with_data(builder.build("sizes", [builder.add(op, *operands, **attrs)]))
    run = exported(graph, tmp_path / "model.onnx")
    again = nncompile.from_onnx(tmp_path / "model.onnx")
    tried = 0
    for b, t in ((2, 3), (1, 1), (4, 1), (0, 5), (3, 0)):
        arrays = arrays_of(graph, {"B": b, "T": t, "N": 5})
        try:
            wanted = ir.interpret(graph, arrays)
        except ir.Error:
            continue
        if op == "layer_norm" and t == 0:        # ONNX Runtime refuses to normalise nothing
            continue
        compare(ran(run, arrays), wanted)
        if all(r.holds({"B": b, "T": t, "N": 5}) for r in again.requirements):
            compare(ir.interpret(again, arrays), wanted)
        tried += 1
    assert tried >= 3


@settings(max_examples=150, deadline=None)
@given(graphs(wide=True), seeds)
def test_random_graphs(graph: ir.Graph, seed: int) -> None:
    assume(all(node.op not in UNWRITTEN for node in graph.nodes))
    with TemporaryDirectory() as folder:
        run = exported(graph, Path(folder) / "model.onnx")
        for size in (1, 3, 6):
            arrays = feed(graph, seed, size)
            try:
                with np.errstate(all="ignore"):
                    wanted = ir.interpret(graph, arrays)
                    exact = ir.interpret(graph, arrays, np.float64)
            except ir.Error:
                continue
            for got, want, truth in zip(ran(run, arrays), wanted, exact, strict=True):
                close_or_chaotic(got, want, truth)


def close_or_chaotic(got: np.ndarray, want: np.ndarray, truth: np.ndarray) -> None:
    """Equal, but for numbers that rounding decides: where float32 is far from the truth as well."""
    assert got.shape == want.shape and got.dtype == want.dtype
    with np.errstate(all="ignore"):
        near = np.isclose(got, want, 1e-3, 1e-4 * max(1.0, np.abs(
            want[np.isfinite(want)].astype(float)).max(initial=0)), equal_nan=True)
        settled = np.isclose(want, truth, 1e-6, 1e-6, equal_nan=True)
    assert np.all(near | ~settled)


@pytest.mark.parametrize("name", MODELS)
def test_our_models(name: str, tmp_path: Path) -> None:
    nncompile.manual_seed(0)
    case = MODELS[name]
    model = case.model().eval()
    nncompile.to_onnx(model, tmp_path / "model.onnx", *case.types)
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    graph = nncompile.trace(model, *case.types)
    check_model(graph, tmp_path / "model.onnx", [case.inputs(n) for n in (1, 3, 17)])


def check_model(graph: ir.Graph, path: Path, calls: Sequence[Sequence[np.ndarray]]) -> None:
    """The names are kept, and ONNX Runtime and the graph that is read again agree."""
    content = onnx.load(str(path)).graph
    assert [i.name for i in content.input] == [v.name for v in graph.inputs]
    assert {p.name for p in graph.params if p.kind == "parameter" and graph.uses[p]} <= {
        i.name for i in content.initializer}
    run, again = session(str(path)), nncompile.from_onnx(path)
    for arrays in calls:
        wanted = ir.interpret(graph, arrays)
        compare(ran(run, arrays), wanted, 1e-4)
        compare(ir.interpret(again, arrays), wanted, 1e-4)


@pytest.mark.parametrize("name", TORCH_MODELS)
def test_models_written_for_torch(name: str, tmp_path: Path) -> None:
    nncompile.manual_seed(0)
    case = TORCH_MODELS[name]
    model = getattr(OURS, name)().eval()
    nncompile.to_onnx(model, tmp_path / "model.onnx", *case.types, keywords=case.keyword_types)
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    graph = nncompile.trace(model, *case.types, **case.keyword_types)
    random = np.random.default_rng(0)
    given = mapped(lambda make: make(random) if callable(make) else make,
                   [case.inputs, list(case.keywords.values())])
    arrays, _ = flatten(given, lambda leaf: isinstance(leaf, np.ndarray))
    check_model(graph, tmp_path / "model.onnx", [arrays])


# -- what else is in a file ------------------------------------------------------------------------

class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x, mask):
        if x.shape[0] > 100:
            raise ValueError
        left = self.left(x)
        return {"logits": left * mask, "both": (left + self.right(x), x)}


def test_names_origins_and_requirements(tmp_path: Path) -> None:
    path = nncompile.to_onnx(Towers().eval(), tmp_path / "towers.onnx", "f32[B, 4]",
                             keywords={"mask": "f32[B, 1]"})
    model = onnx.load(str(path))
    assert [i.name for i in model.graph.input] == ["x", "mask"]
    assert [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim
            ] == ["B", 4]
    assert [o.name for o in model.graph.output] == ["logits", "both.0", "both.1"]
    assert {i.name for i in model.graph.initializer} == {"left.weight", "left.bias",
                                                         "right.weight", "right.bias"}
    nodes = {node.name: node for node in model.graph.node}
    assert "layer: left Linear" in nodes["left/Gemm"].doc_string
    assert "test_onnx_export.py:" in nodes["left/Gemm"].doc_string
    assert {p.key: p.value for p in model.metadata_props} == {"nncompile.requirements": "B <= 100"}
    assert "requires B <= 100" in model.graph.doc_string
    assert model.opset_import[0].version == 21


def test_a_compiled_model_exports_the_traced_graph_with_its_weights(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
    fast = nncompile.compile(model, "f32[B, 4]")
    fast.load_weights({"0.weight": np.ones((3, 4), np.float32), "0.bias": np.ones(3, np.float32)})
    run = session(str(nncompile.to_onnx(fast, tmp_path / "fast.onnx")))
    x = np.ones((2, 4), np.float32)
    compare(ran(run, [x]), [np.full((2, 3), 5, np.float32)])


def test_fused_steps_become_nodes(tmp_path: Path) -> None:
    graph = ir.check.with_data(ir.parse("""
        graph g(%x: f32[B, 4], %y: f32[B, 3]) -> f32[B, 3] {
          @w: f32[3, 4]
          %0: f32[B, 3] = linear(%x, @w) then relu, mul(0.5), add(%y)
          return %0
        }"""))
    arrays = arrays_of(graph, {"B": 5})
    compare(ran(exported(graph, tmp_path / "model.onnx"), arrays), ir.interpret(graph, arrays))


def test_large_weights_in_a_file_of_their_own(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "_MOST_BYTES", 20_000)
    model = nn.Sequential(nn.Linear(64, 96), nn.Linear(96, 70), nn.Linear(70, 2)).eval()
    path = nncompile.to_onnx(model, tmp_path / "model.onnx", "f32[B, 64]")
    assert path.stat().st_size < 5_000
    assert (tmp_path / "model.onnx.data").stat().st_size > 20_000
    assert {p.name for p in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    onnx.checker.check_model(str(path), full_check=True)
    x = np.ones((3, 64), np.float32)
    wanted = [np.asarray(model(x))]
    compare(ran(session(str(path)), [x]), wanted)
    compare(ir.interpret(nncompile.from_onnx(path, external_data=True), [x]), wanted)
    within = nncompile.to_onnx(model, tmp_path / "one.onnx", "f32[B, 64]", external_data=False)
    compare(ran(session(str(within)), [x]), wanted)


def test_outputs_that_are_inputs_parameters_or_the_same(tmp_path: Path) -> None:
    graph = ir.check.with_data(ir.parse("""
        graph g(%x: f32[B]) -> f32[B], f32[2], f32[B], f32[B] {
          @x: f32[2]
          %0: f32[B] = exp(%x)
          %1: f32[B] = dropout(%x) {p = 0.5}
          return %0, @x, %0, %1
        }"""))
    arrays = arrays_of(graph, {"B": 5})
    compare(ran(exported(graph, tmp_path / "model.onnx"), arrays), ir.interpret(graph, arrays))


def test_the_same_file_every_time(tmp_path: Path) -> None:
    case = MODELS["encoder"]
    model = case.model().eval()
    paths = [nncompile.to_onnx(model, tmp_path / f"{i}.onnx", *case.types) for i in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(("change", "match"), [
    ({"model": 3}, "takes an nn.Module, an ir.Graph or a CompiledModel, not"),
    ({"opset": 17}, "opset=17: files of the opsets 18 to"),
    ({"opset": 999}, "opset=999"),
    ({"opset": True}, "opset=True"),
    ({"path": "nowhere/model.onnx"}, "there is no folder"),
    ({"path": "."}, "it is a folder"),
    ({"inputs": ["f32[B, 4]"]}, "has its inputs: leave 1 out"),
    ({"model": ir.parse("graph g(%x: f32[2]) -> f32[2] {\n  @w: f32[2]\n  %0: f32[2] = "
                        "add(%x, @w)\n  return %0\n}")}, "has no data for @w"),
])
def test_what_cannot_be_written(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    given_ = {"model": graph_of("exp", ["f32[B]"], {}), "path": "model.onnx", "inputs": [],
              "opset": 21, **change}
    with pytest.raises(nncompile.InputError, match=match):
        nncompile.to_onnx(given_["model"], tmp_path / given_["path"], *given_["inputs"],
                          opset=given_["opset"])
    assert list(tmp_path.iterdir()) == []


def test_all_obstacles_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(COUNTERPARTS, "exp")
    monkeypatch.delitem(COUNTERPARTS, "tanh")
    builder = ir.Builder()
    x = builder.declare("input", "x", ir.parse_type("f32[B]"))
    result = builder.add("tanh", builder.add("exp", builder.add("exp", x)))
    with pytest.raises(nncompile.InputError, match=r"(?s)2 obstacles.*exp.*2 times.*tanh"):
        nncompile.to_onnx(builder.build("g", [result]), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []

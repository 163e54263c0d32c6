"""Quantised operators, ONNX Runtime's own, and classical models: against their own runtimes."""
from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime, the oracle, is not installed")

import onnxruntime as ort
from onnx import TensorProto, helper

import nncompile
from nncompile import onnx_backend
from nncompile.errors import ModelImportError
from tests.importers.node_cases import TENSOR_DTYPES, as_array
from tests.importers.onnx_models import model, node

RANDOM = np.random.default_rng(0)


def runtime(given: object, feed: dict[str, object]) -> list[np.ndarray]:
    given.ir_version = 9
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(given.SerializeToString(), options,
                                   providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def compare(given: object, feed: dict[str, object], rtol: float = 1e-5, atol: float = 1e-5,
            **arguments: object) -> nncompile.CompiledModel:
    fast = nncompile.compile(given, **arguments)
    results = fast(**feed)
    results = results if isinstance(results, tuple) else (results,)
    for result, expected in zip(results, runtime(given, feed), strict=True):
        assert result.dtype == expected.dtype and result.shape == expected.shape
        np.testing.assert_allclose(result, expected, rtol=rtol, atol=atol)
    return fast


def numbers(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype("float32")


# -- ONNX's own tests ------------------------------------------------------------------------------

FURTHER = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger",
           "QLinearMatMul", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitShift")


def further() -> list[object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests
        tests = load_model_tests(kind="node")
    return [t for t in tests if t.model.graph.node[-1].op_type in FURTHER and all(
        i.type.tensor_type.elem_type in TENSOR_DTYPES
        for i in (*t.model.graph.input, *t.model.graph.output))]


@pytest.mark.parametrize("test", further(), ids=lambda t: t.name)
def test_quantised_operators_and_those_of_bits(test) -> None:
    for inputs, outputs in test.data_sets:
        results = onnx_backend.run_model(test.model, inputs)
        for expected, result in zip(map(as_array, outputs), results, strict=True):
            assert result.dtype == expected.dtype
            np.testing.assert_allclose(result, expected, rtol=test.rtol, atol=test.atol)


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_shifted_bytes(direction) -> None:
    given = model([node("BitShift", "x n", "y", direction=direction)],
                  {"x": ("uint8", ["B", 8]), "n": ("uint8", [8])}, "y")
    given.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    compare(given, {"x": np.arange(3, 203, 5, "uint8").reshape(5, 8),
                    "n": np.arange(8, dtype="uint8")})


def test_a_shift_without_a_direction_is_refused() -> None:
    given = model([node("BitShift", "x n", "y", direction="UP")],
                  {"x": ("uint8", ["B"]), "n": ("uint8", ["B"])}, "y")
    with pytest.raises(ModelImportError, match="direction='UP' is not supported, only LEFT"):
        nncompile.from_onnx(given)


# -- quantised networks ----------------------------------------------------------------------------

def test_a_network_quantised_while_it_runs() -> None:
    weight = RANDOM.integers(-128, 127, (40, 6)).astype("int8")
    given = model([
        node("DynamicQuantizeLinear", "x", "q s z"), node("MatMulInteger", "q w z wz", "i"),
        node("Cast", "i", "f", to=TensorProto.FLOAT), node("Mul", "s ws", "both"),
        node("Mul", "f both", "y")], {"x": ["B", 40]}, "y", w=weight,
        wz=np.int8(3), ws=np.float32(0.01))
    fast = compare(given, {"x": numbers(5, 40)}, atol=1e-4)
    assert "computed in float32" not in fast.explain()


def test_long_sums_of_integers_are_said_to_be_rounded() -> None:
    weight = RANDOM.integers(-128, 127, (600, 6)).astype("int8")
    given = model([node("MatMulInteger", "x w", "y")], {"x": ("uint8", ["B", 600])}, "y", w=weight)
    fast = nncompile.compile(given)
    assert "MatMulInteger is computed in float32" in fast.explain()
    x = RANDOM.integers(0, 255, (3, 600)).astype("uint8")
    np.testing.assert_allclose(fast(x), x.astype("int64") @ weight.astype("int64"), atol=64)


# -- com.microsoft ---------------------------------------------------------------------------------

def microsoft(op: str, inputs: str, outputs: str = "y", **attributes: object) -> object:
    return helper.make_node(op, ["" if n == "-" else n for n in inputs.split()], outputs.split(),
                            domain="com.microsoft", **attributes)


def of_microsoft(nodes, inputs, outputs="y", **weights):
    return model([nodes], inputs, outputs, domains=("com.microsoft",), **weights)


@pytest.mark.parametrize("op, inputs", [
    ("Gelu", "x"), ("FastGelu", "x"), ("FastGelu", "x b"), ("BiasGelu", "x b"), ("QuickGelu", "x"),
])
def test_activations(op, inputs) -> None:
    weights = {"b": numbers(8)} if "b" in inputs else {}
    compare(of_microsoft(microsoft(op, inputs), {"x": ["B", 8]}, **weights), {"x": numbers(4, 8)})


@pytest.mark.parametrize("inputs, outputs", [
    ("x s g", "y"), ("x s g b", "y"), ("x s g b c", "y"), ("x s g b c", "y - - t")])
def test_skip_layer_normalization(inputs, outputs) -> None:
    weights = {n: numbers(8) for n in "gbc" if n in inputs.split()}
    given = microsoft("SkipLayerNormalization", inputs, "y", epsilon=1e-5)
    del given.output[:]
    given.output.extend("" if n == "-" else n for n in outputs.split())
    shown = " ".join(n for n in outputs.split() if n != "-")
    compare(of_microsoft(given, {"x": ["B", "T", 8], "s": ["B", "T", 8]}, shown, **weights),
            {"x": numbers(2, 3, 8), "s": numbers(2, 3, 8)})


@pytest.mark.parametrize("inputs", ["i s w p t g b", "i s w p t g b m", "i - w p - g b"])
def test_embed_layer_normalization(inputs) -> None:
    tables = {"w": numbers(20, 8), "p": numbers(10, 8), "t": numbers(2, 8), "g": numbers(8),
              "b": numbers(8)}
    used = inputs.split()
    given = of_microsoft(microsoft("EmbedLayerNormalization", inputs, "y n"), {
        n: ("int32", ["B", "T"]) for n in "ism" if n in used}, "y n",
        **{n: a for n, a in tables.items() if n in used})
    given.graph.output[1].type.tensor_type.elem_type = TensorProto.INT32
    compare(given, {n: RANDOM.integers(0, 2, (2, 5)).astype("int32") for n in "ism" if n in used})


@pytest.mark.parametrize("attributes", [{}, {"alpha": 0.5}, {"transA": 1}, {"transB": 1},
                                        {"transA": 1, "transB": 1, "alpha": 2.0}])
def test_fused_matmul(attributes) -> None:
    a = (2, 3, 4) if not attributes.get("transA") else (2, 4, 3)
    b = (4, 5) if not attributes.get("transB") else (5, 4)
    compare(of_microsoft(microsoft("FusedMatMul", "x w", **attributes), {"x": list(a)},
                         w=numbers(*b)), {"x": numbers(*a)})


@pytest.mark.parametrize("mask, attributes", [
    (None, {}), (None, {"unidirectional": 1}), (None, {"scale": 0.3}),
    (np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], "int32"), {}),
    (np.array([3, 5], "int32"), {}), (RANDOM.integers(0, 2, (2, 5, 5)).astype("int32"), {}),
    (np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], "int32"), {"mask_filter_value": -50.0}),
    (np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], "int32"), {"unidirectional": 1}),
])
def test_attention(mask, attributes) -> None:
    inputs = {"x": ["B", "T", 8]}
    feed = {"x": numbers(2, 5, 8)}
    if mask is not None:
        inputs["m"] = ("int32", list(mask.shape) if mask.ndim > 1 else [2])
        feed["m"] = mask
        inputs["x"] = [2, 5, 8]
    given = of_microsoft(microsoft("Attention", "x w b" + " m" * (mask is not None), num_heads=2,
                                   **attributes), inputs, w=numbers(8, 24), b=numbers(24))
    compare(given, feed)


def test_attention_of_other_widths() -> None:
    given = of_microsoft(microsoft("Attention", "x w b", num_heads=2,
                                   qkv_hidden_sizes=[8, 8, 12]), {"x": ["B", "T", 8]},
                         w=numbers(8, 28), b=numbers(28))
    compare(given, {"x": numbers(2, 5, 8)})


@pytest.mark.parametrize("on_queries", [True, False])
def test_attention_as_keras_writes_it(on_queries: bool) -> None:
    scale = [node("Mul", "q s", "qs") if on_queries else node("Mul", "raw s", "scores")]
    given = model([
        *(node("Einsum", f"x w{name}", name, equation="abc,cde->abde") for name in "qkv"),
        *scale[:on_queries],
        node("Einsum", "k qs" if on_queries else "k q", "scores" if on_queries else "raw",
             equation="aecd,abcd->acbe"),
        *scale[on_queries:], node("Add", "scores mask", "masked"),
        node("Softmax", "masked", "p", axis=-1),
        node("Einsum", "p v", "o", equation="acbe,aecd->abcd"),
        node("Einsum", "o wo", "y", equation="abcd,cde->abe")],
        {"x": ["b", "t", 16], "mask": ["b", 1, "t", "t"]}, "y", s=np.float32(8**-0.5),
        wo=numbers(2, 8, 16), **{f"w{name}": numbers(16, 2, 8) for name in "qkv"})
    given.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    fast = compare(given, {"x": numbers(3, 5, 16), "mask": numbers(3, 1, 5, 5)}, atol=1e-4)
    assert "attention(" in str(fast.ir("fused"))


# -- ai.onnx.ml ------------------------------------------------------------------------------------

def learned(op: str, inputs: str = "x", outputs: str = "y", columns: int = 4,
            version: int = 1, **attributes: object) -> object:
    made = helper.make_node(op, inputs.split(), outputs.split(), domain="ai.onnx.ml", **attributes)
    given = model([made], {"x": ["B", columns]}, outputs)
    given.opset_import.append(helper.make_opsetid("ai.onnx.ml", version))
    return given


def test_scaler_and_normalizer() -> None:
    x = {"x": numbers(5, 4)}
    compare(learned("Scaler", offset=[1.0, 2.0, 3.0, 4.0], scale=[0.5, 2.0, 1.0, 0.1]), x)
    compare(learned("Scaler", offset=[1.0], scale=[0.5]), x)
    for norm in ("L1", "L2"):
        compare(learned("Normalizer", norm=norm), x)


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("classes", [2, 3])
def test_linear_models(transform, classes) -> None:
    x = {"x": numbers(6, 4)}
    coefficients, bias = numbers(classes * 4).tolist(), numbers(classes).tolist()
    compare(learned("LinearClassifier", outputs="l p", coefficients=coefficients, intercepts=bias,
                    classlabels_ints=[7, 3, 5][:classes], post_transform=transform), x)
    if transform == "NONE":
        compare(learned("LinearRegressor", coefficients=coefficients, intercepts=bias,
                        targets=classes), x)


def test_labels_that_are_texts_are_refused_where_they_are_used() -> None:
    given = learned("LinearClassifier", outputs="l p", coefficients=[1.0] * 12,
                    intercepts=[0.0] * 3, classlabels_strings=["a", "b", "c"])
    with pytest.raises(ModelImportError, match="its output 0 is texts"):
        nncompile.from_onnx(given)
    del given.graph.output[0]
    assert nncompile.compile(given)(numbers(2, 4)).shape == (2, 3)


def trees(prefix: str, results: int, count: int = 5, depth: int = 4, columns: int = 4,
          positive: bool = False) -> dict[str, object]:
    """Random trees; some leaves lie higher than others."""
    nodes = {n: [] for n in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids",
                             "falsenodeids", "missing_value_tracks_true")}
    leaves = {n: [] for n in ("treeids", "nodeids", "ids", "weights")}
    modes = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE"]
    for tree in range(count):
        reached = {0}
        for own in range(2 ** (depth + 1) - 1):
            if own not in reached:
                continue
            inner = own < 2**depth - 1 and RANDOM.random() > 0.2
            reached |= {2 * own + 1, 2 * own + 2} if inner else set()
            row = (tree, own, int(RANDOM.integers(columns)), float(numbers(1)[0]),
                   modes[tree % 4] if inner else "LEAF", 2 * own + 1 if inner else 0,
                   2 * own + 2 if inner else 0, int(RANDOM.integers(2)) if inner else 0)
            for name, value in zip(nodes, row, strict=True):
                nodes[name].append(value)
            if not inner:
                for result in range(results):
                    weight = float(RANDOM.random() / count if positive else numbers(1)[0])
                    for name, value in zip(leaves, (tree, own, result, weight), strict=True):
                        leaves[name].append(value)
    return {**{f"nodes_{n}": v for n, v in nodes.items()},
            **{f"{prefix}_{n}": v for n, v in leaves.items()}}


@pytest.mark.parametrize("how, targets", [("SUM", 1), ("SUM", 3), ("AVERAGE", 2), ("MIN", 1),
                                          ("MAX", 1)])
def test_trees_for_numbers(how, targets) -> None:
    x = numbers(40, 4)
    x[::7, 1] = np.nan
    compare(learned("TreeEnsembleRegressor", aggregate_function=how, n_targets=targets,
                    **({"base_values": [0.5]} if targets == 1 else {}),
                    **trees("target", targets)), {"x": x})


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_trees_for_classes(transform) -> None:
    compare(learned("TreeEnsembleClassifier", outputs="l p", classlabels_int64s=[4, 2, 9],
                    post_transform=transform, **trees("class", 3)), {"x": numbers(40, 4)})


@pytest.mark.parametrize("transform, positive", [("NONE", True), ("LOGISTIC", False)])
def test_trees_for_two_classes_by_one_score(transform, positive) -> None:
    compare(learned("TreeEnsembleClassifier", outputs="l p", classlabels_int64s=[0, 1],
                    post_transform=transform, **trees("class", 1, positive=positive)),
            {"x": numbers(40, 4)})


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_results_are_float32_and_labels_those_of_the_scores_before_the_transform(transform) -> None:
    linear = {"coefficients": (50 * numbers(12)).tolist(), "intercepts": [20.0, 30.0, 25.0]}
    given = [
        learned("LinearClassifier", outputs="l p", classlabels_ints=[5, 3, 8],
                post_transform=transform, **linear),
        learned("TreeEnsembleRegressor", n_targets=2, base_values=[0.5, 1.0],
                post_transform=transform, **trees("target", 2)),
        learned("TreeEnsembleClassifier", outputs="l p", classlabels_int64s=[4, 2, 9],
                post_transform=transform, **trees("class", 3)),
        learned("Scaler", offset=[1.0], scale=[0.5]), learned("Normalizer", norm="L2")]
    for each in given:
        each.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
        compare(each, {"x": np.float64(numbers(40, 4))})
    compare(learned("LinearClassifier", outputs="l p", classlabels_ints=[5, 3, 8],
                    post_transform=transform, **linear), {"x": numbers(40, 4)})


ONE_SCORE = {"outputs": "l p", "classlabels_int64s": [0, 1]}


@pytest.mark.parametrize("op, attributes", [
    ("Normalizer", {"norm": "MAX"}), ("Normalizer", {}),
    ("LinearClassifier", {"outputs": "l p", "coefficients": [1.0] * 4, "intercepts": [0.0],
                          "classlabels_ints": [0, 1]}),
    ("TreeEnsembleRegressor", {"post_transform": "LOGISTIC", **trees("target", 1)}),
    ("TreeEnsembleClassifier", {"post_transform": "SOFTMAX", **ONE_SCORE, **trees("class", 1)}),
    ("TreeEnsembleClassifier", {"post_transform": "LOGISTIC", **ONE_SCORE,
                                **trees("class", 1, positive=True)}),
    ("TreeEnsembleClassifier", {**ONE_SCORE, **trees("class", 1)}),
    ("TreeEnsembleClassifier", {**ONE_SCORE, **trees("class", 2)}),
    ("TreeEnsembleClassifier", {"base_values": [0.5, 0.5], **ONE_SCORE,
                                **trees("class", 2, positive=True)}),
])
def test_what_runtimes_do_not_agree_on_is_refused(op, attributes) -> None:
    with pytest.raises(ModelImportError, match="is not agreed on"):
        nncompile.from_onnx(learned(op, **attributes))


def damage(**changes: object) -> object:
    return learned("TreeEnsembleRegressor", n_targets=1, **{**trees("target", 1), **changes})


@pytest.mark.parametrize("changes, message", [
    ({"nodes_values": [1.0]}, "different lengths"),
    ({"target_ids": [9] * 3, "target_nodeids": [0] * 3, "target_treeids": [0] * 3,
      "target_weights": [1.0] * 3}, "one of these there is not"),
    ({**trees("target", 1, 1, 0), "nodes_modes": ["BRANCH_MEMBER"]}, "BRANCH_MEMBER"),
    ({"post_transform": "PROBIT"}, "PROBIT"),
    ({"base_values": [0.5, 0.5]}, "2 base_values do not fit 1 scores"),
])
def test_trees_that_are_none(changes, message) -> None:
    with pytest.raises(ModelImportError, match=message):
        nncompile.from_onnx(damage(**changes))


def test_trees_that_go_round_in_a_circle() -> None:
    circle = {"nodes_treeids": [0, 0], "nodes_nodeids": [0, 1], "nodes_featureids": [0, 0],
              "nodes_values": [0.0, 0.0], "nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ"],
              "nodes_truenodeids": [1, 0], "nodes_falsenodeids": [1, 0], "target_treeids": [0],
              "target_nodeids": [0], "target_ids": [0], "target_weights": [1.0]}
    with pytest.raises(ModelImportError, match="deep"):
        nncompile.from_onnx(learned("TreeEnsembleRegressor", n_targets=1, **circle))


def test_zip_map_is_left_out() -> None:
    made = [helper.make_node("LinearClassifier", ["x"], ["l", "p"], domain="ai.onnx.ml",
                             coefficients=[1.0] * 12, intercepts=[0.0] * 3,
                             classlabels_ints=[0, 1, 2]),
            helper.make_node("ZipMap", ["p"], ["z"], domain="ai.onnx.ml",
                             classlabels_int64s=[0, 1, 2])]
    given = model(made, {"x": ["B", 4]}, "l z", domains=("ai.onnx.ml",))
    fast = nncompile.compile(given)
    assert fast(numbers(2, 4))[1].shape == (2, 3)
    assert "ZipMap" in fast.explain()

"""Meanings that operators had before: against ONNX Runtime, which still has them."""
from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime, the oracle, is not installed")

import onnxruntime as ort
from onnx import TensorProto

import ir
import nncompile
from nncompile.importers.onnx.operators import OPERATORS
from tests.importers.onnx_models import model, node

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((2, 3, 4)).astype("float32")
I64 = np.array


def f32(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype("float32")


CASES = {
    "Softmax": [(7, "Softmax", {}, {}), (11, "Softmax", {"axis": 1}, {}),
                (11, "Softmax", {"axis": 0}, {}), (11, "Softmax", {"axis": -1}, {}),
                (13, "Softmax", {"axis": 1}, {}), (13, "Softmax", {}, {})],
    "LogSoftmax": [(7, "LogSoftmax", {}, {}), (11, "LogSoftmax", {"axis": 2}, {})],
    "Hardmax": [(7, "Hardmax", {}, {}), (11, "Hardmax", {"axis": 0}, {})],
    "Clip": [(7, "Clip", {"min": -0.5}, {}), (10, "Clip", {"max": 0.5, "min": -0.25}, {}),
             (10, "Clip", {}, {}), (11, "Clip", {}, {"low": np.float32(-0.5)})],
    "Pad": [(7, "Pad", {"pads": [0, 1, 0, 0, 0, 2]}, {}),
            (7, "Pad", {"pads": [0, 1, 0, 0, 0, 2], "mode": "reflect"}, {}),
            (7, "Pad", {"pads": [0, -1, 0, 0, 0, 2], "mode": "edge", "value": 3.0}, {}),
            (10, "Pad", {"pads": [0, 1, 0, 0, 0, -1], "value": 3.0}, {}),
            (13, "Pad", {}, {"pads": I64([0, 1, 0, 0, 0, 2]), "value": np.float32(2)})],
    "Slice": [(7, "Slice", {"starts": [1, -3], "ends": [2**31 - 1, -1], "axes": [1, 2]}, {}),
              (9, "Slice", {"starts": [0, 1], "ends": [1, 100]}, {}),
              (10, "Slice", {}, {"s": I64([-1]), "e": I64([-100]), "a": I64([2]),
                                 "t": I64([-2])}),
              (13, "Slice", {}, {"s": I64([5]), "e": I64([2]), "a": I64([-1])})],
    "Split": [(7, "Split", {"axis": 2, "split": [1, 3]}, {}), (11, "Split", {"axis": -1}, {}),
              (13, "Split", {"axis": 2}, {"sizes": I64([3, 1])}),
              (18, "Split", {"axis": 1, "num_outputs": 2}, {})],
    "Squeeze": [(7, "Squeeze", {"axes": [0]}, {}), (11, "Squeeze", {"axes": [-4]}, {}),
                (11, "Squeeze", {}, {}), (13, "Squeeze", {}, {"axes": I64([0])})],
    "Unsqueeze": [(7, "Unsqueeze", {"axes": [0, 2]}, {}), (11, "Unsqueeze", {"axes": [-1, 0]}, {}),
                  (13, "Unsqueeze", {}, {"axes": I64([3, -1])})],
    "Flatten": [(7, "Flatten", {}, {}), (9, "Flatten", {"axis": 0}, {}),
                (11, "Flatten", {"axis": -1}, {}), (11, "Flatten", {"axis": 3}, {}),
                (13, "Flatten", {"axis": -3}, {})],
    **{f"Reduce{name}": [(7, f"Reduce{name}", {"axes": [0, 2]}, {}),
                         (11, f"Reduce{name}", {"axes": [-1], "keepdims": 0}, {}),
                         (12, f"Reduce{name}", {}, {})]
       for name in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp")},
    "ReduceSum": [(13, "ReduceSum", {}, {"axes": I64([1])}),
                  (13, "ReduceSum", {"noop_with_empty_axes": 1}, {}),
                  (12, "ReduceSum", {"axes": [1]}, {})],
    "ReduceMean": [(18, "ReduceMean", {}, {"axes": I64([1])}),
                   (17, "ReduceMean", {"axes": [1]}, {}),
                   (18, "ReduceMean", {"noop_with_empty_axes": 1}, {})],
    "ArgMax": [(7, "ArgMax", {"axis": 1}, {}), (11, "ArgMin", {"axis": -1, "keepdims": 0}, {})],
    "Dropout": [(7, "Dropout", {"ratio": 0.3}, {}), (10, "Dropout", {}, {}),
                (13, "Dropout", {}, {"ratio": np.float32(0.5)})],
    "BatchNormalization": [
        (opset, "BatchNormalization", {"epsilon": 0.1}, {
            "s": f32(3), "b": f32(3), "m": f32(3), "v": np.abs(f32(3)) + 1})
        for opset in (7, 9, 14, 15)],
    "InstanceNormalization": [(7, "InstanceNormalization", {}, {"s": f32(3), "b": f32(3)})],
    "PRelu": [(7, "PRelu", {}, {"s": f32(3, 1)}), (9, "PRelu", {}, {"s": f32(1)})],
    "Gather": [(7, "Gather", {"axis": 1}, {"i": I64([[0, 2]])}),
               (11, "Gather", {"axis": -1}, {"i": I64([0, -1])}),
               (13, "Gather", {"axis": 1}, {"i": I64(-1)})],
    "Concat": [(7, "Concat", {"axis": 1}, {"w": f32(2, 1, 4)})],
    "TopK": [(10, "TopK", {"axis": 2}, {"k": I64([2])}),
             (11, "TopK", {"axis": 1, "largest": 0}, {"k": I64([2])})],
    "Tile": [(7, "Tile", {}, {"r": I64([1, 2, 3])})],
    "Cast": [(7, "Cast", {"to": TensorProto.INT32}, {}),
             (9, "Cast", {"to": TensorProto.DOUBLE}, {}),
             (13, "Cast", {"to": TensorProto.BOOL}, {})],
    "Elementwise": [(7, op, {}, {"w": np.abs(f32(3, 4)) + 0.5})
                    for op in ("Add", "Sub", "Mul", "Div", "Pow", "Greater", "Less")]
    + [(8, op, {}, {"w": f32(3, 4)}) for op in ("Max", "Min", "Mean", "Sum")]
    + [(12, op, {}, {"w": f32(4)}) for op in ("GreaterOrEqual", "LessOrEqual")]
    + [(7, op, {}, {}) for op in ("Neg", "Abs", "Exp", "Sigmoid", "Tanh", "Relu", "LeakyRelu",
                                  "Elu", "Selu", "HardSigmoid", "Softplus", "Softsign", "Floor",
                                  "Ceil",
                                  "Sin", "Cos", "Tan", "Atan", "Reciprocal", "Identity")]
    + [(9, op, {}, {}) for op in ("Sign", "Erf", "Sinh", "Cosh", "Asinh", "IsNaN", "Shrink")]
    + [(10, "ThresholdedRelu", {"alpha": 0.2}, {}), (11, "Round", {}, {}), (12, "Celu", {}, {})],
    "MatMul": [(7, "MatMul", {}, {"w": f32(4, 5)}), (9, "MatMul", {}, {"w": f32(2, 4, 5)}),
               (13, "MatMul", {}, {"w": f32(4)})],
    "Transpose": [(7, "Transpose", {}, {}), (13, "Transpose", {"perm": [1, 0, 2]}, {})],
    "Norms": [(17, "LayerNormalization", {"axis": 1}, {"s": f32(3, 4), "b": f32(3, 4)}),
              (17, "LayerNormalization", {}, {"s": f32(4)}),
              (7, "LpNormalization", {"axis": 1, "p": 1}, {}),
              (9, "MeanVarianceNormalization", {"axes": [0, 2]}, {})],
    "CumSum": [(11, "CumSum", {"exclusive": 1}, {"a": I64(1)}),
               (14, "CumSum", {"reverse": 1, "exclusive": 1}, {"a": I64(-1)})],
    "Trilu": [(14, "Trilu", {"upper": 0}, {"k": I64(1)}), (14, "Trilu", {}, {"k": I64(-5)})],
    "Expand": [(8, "Expand", {}, {"s": I64([5, 1, 1, 4])}), (13, "Expand", {}, {"s": I64([3, 1])})],
    "Einsum": [(12, "Einsum", {"equation": "bij,jk->bki"}, {"w": f32(4, 5)})],
    "GatherND": [(11, "GatherND", {}, {"i": I64([[0, 1], [1, -1]])}),
                 (12, "GatherND", {"batch_dims": 1}, {"i": I64([[0], [2]])})],
    "GatherElements": [
        (11, "GatherElements", {"axis": 1}, {"i": RANDOM.integers(-3, 3, (2, 5, 4))})],
    "ScatterElements": [
        (11, "ScatterElements", {"axis": 1}, {"i": I64([[[1]], [[-1]]]), "u": f32(2, 1, 1)}),
        (16, "ScatterElements", {"axis": 2, "reduction": "add"}, {
            "i": RANDOM.integers(-4, 4, (2, 3, 5)), "u": f32(2, 3, 5)}),
        (18, "ScatterElements", {"axis": 1, "reduction": "max"}, {
            "i": RANDOM.integers(0, 3, (2, 2, 4)), "u": f32(2, 2, 4)})],
    "ScatterND": [(11, "ScatterND", {}, {"i": I64([[1, 0], [0, -1]]), "u": f32(2, 4)}),
                  (18, "ScatterND", {"reduction": "mul"}, {
                      "i": I64([[1], [1]]), "u": f32(2, 3, 4)})],
}
ALL = [(f"{op}-{opset}-{i}", opset, op, attributes, weights) for rows in CASES.values()
       for i, (opset, op, attributes, weights) in enumerate(rows)]
FIXED = ("Concat", "GatherND", "MatMul", "Squeeze")       # whose weights are of two rows
OUTPUTS = {"Split": "y z", "TopK": "y z"}


@pytest.mark.parametrize("opset, op, attributes, weights", [row[1:] for row in ALL],
                         ids=[row[0] for row in ALL])
def test_as_the_runtime(opset, op, attributes, weights) -> None:
    x = X[None] if op == "Squeeze" else X[:, :, :4]
    inputs = "x" + "".join(f" {name}" for name in weights)
    outputs = OUTPUTS.get(op, "y")
    given = model([node(op, inputs, outputs, **attributes)],
                  {"x": [None, *x.shape[1:]] if op not in FIXED else list(x.shape)}, outputs,
                  opset, **weights)
    given.ir_version = 8
    del given.graph.output[:]
    given.graph.output.extend(_untyped(given, outputs))
    session = ort.InferenceSession(given.SerializeToString(), providers=["CPUExecutionProvider"])
    graph = nncompile.from_onnx(given)
    for result, expected in zip(ir.interpret(graph, [x]), session.run(None, {"x": x}), strict=True):
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def _untyped(given: object, outputs: str) -> list[object]:
    """The outputs with the element types that ONNX infers."""
    from onnx import helper, shape_inference
    given.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in outputs.split())
    found = shape_inference.infer_shapes(given).graph
    del given.graph.output[:]
    return list(found.output)


def test_old_versions_are_in_the_table() -> None:
    for _, opset, op, _, _ in ALL:
        assert min(OPERATORS["", op].versions) <= opset

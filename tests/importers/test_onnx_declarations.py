"""What a file declares beside its nodes: signatures, types and versions have to agree with them."""
from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")

import onnx
from onnx import TensorProto, helper, numpy_helper

import nncompile
from nncompile.errors import InputError, ModelImportError
from tests.importers.onnx_models import model, node


def refused(given, message: str) -> None:
    with pytest.raises(ModelImportError, match=message):
        nncompile.from_onnx(given)


@pytest.mark.parametrize("opset, made, inputs, message", [
    (11, node("ArgMax", "x", "y", select_last_index=1), {"x": ["n", 3]}, "select_last_index.*11"),
    (17, node("ReduceMean", "x", "y", noop_with_empty_axes=1), {"x": ["n"]}, "noop.*13"),
    (23, node("Attention", "x x x - - - lengths", "y"),
     {"x": ["n", 2, 3, 4], "lengths": ("int64", ["n"])}, "7 inputs.*23"),
    (17, node("Relu", "x", "y z"), {"x": ["n"]}, "2 outputs.*14"),
    (13, node("BatchNormalization", "x s s s s", "y z"), {"x": [2, 3], "s": [3]},
     "statistics of training"),
])
def test_what_an_operator_gets_in_a_later_opset_is_refused(opset, made, inputs, message) -> None:
    refused(model([made], inputs, " ".join(n for n in made.output), opset), message)


def test_versions_that_are_too_new_or_contradict_are_refused() -> None:
    given = model([node("Neg", "x", "y")], {"x": ["n"]}, "y")
    given.ir_version = onnx.IR_VERSION + 1
    refused(given, "version .* of ONNX's file format")
    given = model([node("Neg", "x", "y")], {"x": ["n"]}, "y")
    given.opset_import.append(helper.make_opsetid("ai.onnx", 11))
    refused(given, "opset 17 of ai.onnx and also 11")


def test_types_of_arrays_and_outputs_are_those_declared() -> None:
    given = model([node("Neg", "x", "y")], {"x": ["n"]}, "y")
    given.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("y", TensorProto.DOUBLE, None))
    refused(given, "declares it as f64")
    for kind, shape in ((TensorProto.DOUBLE, [1]), (TensorProto.FLOAT, [2]),
                        (TensorProto.FLOAT, [1, 1])):
        given = model([node("Add", "x k", "y")], {"x": ["n"]}, "y", k=np.float32([1]))
        given.graph.input.append(helper.make_tensor_value_info("k", kind, shape))
        refused(given, "declared as an input of another type")
    given = model([node("Add", "x k", "y")], {"x": ["n"]}, "y", k=np.float32([1]))
    given.graph.initializer.append(numpy_helper.from_array(np.float32([2]), "k"))
    refused(given, "two of this name")


@pytest.mark.parametrize("shapes, message", [
    ({"x": "B"}, "is an input"), ({"x": 5}, "is an input"), ({"x": ("B",)}, "1 sizes, and has 2"),
    ({"n": "2x"}, "shapes: 'n': '2x' cannot name"),
])
def test_shapes_that_would_be_ignored_are_refused(shapes, message) -> None:
    with pytest.raises(InputError, match=message):
        nncompile.from_onnx(model([node("Neg", "x", "y")], {"x": ["n", 3]}, "y"), shapes=shapes)


# -- check=True ------------------------------------------------------------------------------------

@pytest.mark.parametrize("opset", [7, 9, 12, 13])
@pytest.mark.parametrize("made", [
    node("Softmax", "x", "y"), node("LogSoftmax", "x", "y", axis=0), node("Hardmax", "x", "y"),
    node("BatchNormalization", "x s b s b", "y", epsilon=0.25)], ids=lambda made: made.op_type)
def test_the_check_computes_earlier_opsets_as_they_were(opset, made) -> None:
    weights = {name: np.float32([1, 2, 3]) + i for i, name in enumerate("sb") if name in made.input}
    given = model([made], {"x": ["n", 3, 4]}, "y", opset, **weights)
    given.ir_version = 8
    nncompile.compile(given, check=True)


def test_the_check_reads_what_is_in_other_files(tmp_path) -> None:
    weight = np.arange(2048, dtype=np.float32).reshape(8, 256) / 1000
    given = model([node("MatMul", "x w", "y")], {"x": ["n", 8]}, "y", w=weight)
    onnx.save_model(given, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin")
    assert (tmp_path / "w.bin").stat().st_size >= weight.nbytes
    fast = nncompile.compile(tmp_path / "m.onnx", external_data=True, check=True)
    np.testing.assert_allclose(fast(np.ones((2, 8), np.float32)), np.ones((2, 8)) @ weight,
                               rtol=1e-5)

"""ONNX's own tests of its operators: those that are in scope, and how far a result is from theirs.

A test is in scope where its main operator is listed in SCOPE and all its inputs and outputs have
element types that the IR has. A test of an operator's expanded form belongs to the operator.
"""
from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from zlib import crc32

import numpy as np

from nncompile.importers.onnx.reader import TENSOR_DTYPES

SCOPE: dict[str, str] = {
    "dense and elementwise":
        "Gemm MatMul Add Sub Mul Div Neg Abs Pow Sqrt Exp Log Erf Reciprocal Sign Floor Ceil Round "
        "Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Max Min Mean Sum Mod Relu "
        "LeakyRelu PRelu Elu Selu Celu Gelu Sigmoid HardSigmoid HardSwish Mish Swish SwiGLU Tanh "
        "Softplus Softsign ThresholdedRelu Clip Shrink Where And Or Not Xor Equal Greater Less "
        "GreaterOrEqual LessOrEqual IsNaN IsInf Identity Dropout Cast CastLike",
    "normalise, reduce, softmax":
        "Softmax LogSoftmax Hardmax LayerNormalization RMSNormalization BatchNormalization "
        "GroupNormalization InstanceNormalization LpNormalization MeanVarianceNormalization "
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
        "ReduceSum ReduceSumSquare ArgMax ArgMin TopK CumSum CumProd",
    "shape and movement":
        "Gather GatherElements GatherND Reshape Transpose Concat Split Slice Squeeze Unsqueeze "
        "Flatten Expand Tile Shape Size Constant ConstantOfShape Range Trilu OneHot EyeLike Pad "
        "DepthToSpace SpaceToDepth ScatterElements ScatterND TensorScatter Compress NonZero",
    "attention":
        "Attention RotaryEmbedding LinearAttention Einsum FlexAttention",
}
FAMILIES = {operator: family for family, names in SCOPE.items() for operator in names.split()}
COUNT = 1055                                     # with onnx 1.23.2


@dataclass(frozen=True)
class Case:
    """One test: a model, inputs, and the outputs that are expected within a tolerance."""

    name: str
    operator: str
    model: Any
    data: Sequence[tuple[Sequence[Any], Sequence[Any]]]
    rtol: float
    atol: float

    def is_sampled(self, share: int) -> bool:
        """Whether the test is one of the few that are compiled; the name alone decides."""
        return crc32(self.name.encode()) % share == 0


@cache
def cases() -> tuple[Case, ...]:
    """The tests in scope, in ONNX's order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")          # making them computes log(0), and more
        from onnx.backend.test.loader import load_model_tests
        tests = {test.name: test for test in load_model_tests(kind="node")}
    found = []
    for test in tests.values():
        operator = _operator(test, tests)
        if operator in FAMILIES and _is_typed(test.model.graph):
            found.append(Case(test.name, operator, test.model, test.data_sets, test.rtol,
                              test.atol))
    return tuple(found)


def compiled_in_the_suite() -> set[str]:
    """The names of the tests that the suite compiles: one in six, and one of each operator."""
    chosen = {case.name for case in cases() if case.is_sampled(6)}
    met = {case.operator for case in cases() if case.name in chosen}
    return chosen | {case.name for case in reversed(cases()) if case.operator not in met}


def _operator(test: Any, tests: dict[str, Any]) -> str:
    plain = re.match(r"(.*?)_expanded", test.name)
    if plain and plain[1] in tests:
        return _operator(tests[plain[1]], tests)
    return str(test.model.graph.node[-1].op_type)


def _is_typed(graph: Any) -> bool:
    return all(info.type.HasField("tensor_type")
               and info.type.tensor_type.elem_type in TENSOR_DTYPES
               for info in (*graph.input, *graph.output))


def as_array(value: Any) -> Any:
    """Returns a value of a test, which may be a TensorProto or a NumPy scalar."""
    if hasattr(value, "raw_data"):
        from onnx import numpy_helper
        return numpy_helper.to_array(value)
    return np.asarray(value)


def check(expected: Any, result: Any, case: Case) -> float:
    """Returns how many units in the last place a result is off, at most.

    Raises AssertionError where it is not within the test's own tolerance.
    """
    assert isinstance(result, np.ndarray | np.generic)
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(result, expected, rtol=case.rtol, atol=case.atol)
    return units(expected, result)


def units(expected: Any, result: Any) -> float:
    """Returns the largest distance in units of the last place; inf for a number beside none."""
    if not expected.size or expected.dtype.kind != "f":
        return 0.0
    here, there = np.isfinite(expected), np.isfinite(result)
    if (here != there).any():
        return float("inf")
    with np.errstate(all="ignore"):
        apart = np.abs(np.float64(expected[here]) - np.float64(result[here]))
        return float((apart / np.spacing(np.abs(expected[here]))).max(initial=0))

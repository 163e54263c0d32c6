"""How ops are written in ONNX: what the column `onnx` of the table of counterparts is made of.

An entry is the name of an operator that takes the same operands and needs no attributes, or a
function of an OnnxNode and the attributes, which returns the name of the result. An op for which
ONNX has no operator is decomposed; so are those for which ONNX Runtime has none in float64.

Operators are those of opset 18 on; `OnnxNode.opset` is asked where a later one is better.

node.py has a node and the values that are computed with, entries.py what makes entries of the
names of operators; the other files have the functions of each family of ops.
"""
from nncompile.onnx_operators.activations import (
    celu,
    elu,
    gelu,
    gelu_tanh,
    hardshrink,
    hardsigmoid,
    hardswish,
    leaky_relu,
    log_sigmoid,
    mish,
    selu,
    silu,
    softplus,
    softshrink,
    softsign,
    threshold,
)
from nncompile.onnx_operators.arithmetic import (
    floor_div,
    left_shift,
    power,
    remainder,
    right_shift,
    sign,
)
from nncompile.onnx_operators.conversions import cast, isfinite
from nncompile.onnx_operators.entries import (
    along,
    composed,
    formula,
    in_double,
    narrow,
    operator,
    with_itself,
    with_numbers,
)
from nncompile.onnx_operators.functions import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    copysign,
    cosh,
    erfc,
    exp2,
    expm1,
    log1p,
    log2,
    log10,
    sinh,
    tan,
    trunc,
)
from nncompile.onnx_operators.indices import embedding_bag, scatter_add, tree_walk
from nncompile.onnx_operators.node import Entry, OnnxNode
from nncompile.onnx_operators.reductions import arg_reduction, reduction, topk_ids, truth
from nncompile.onnx_operators.rows import cumsum, layer_norm, linear, rms_norm, softmax
from nncompile.onnx_operators.shapes import (
    expand,
    full,
    iota,
    pad,
    reshape,
    size,
    slice_,
    transpose,
)

__all__ = ["Entry", "OnnxNode", "acos", "acosh", "along", "arg_reduction", "asin", "asinh", "atan",
           "atan2", "atanh", "cast", "celu", "composed", "copysign", "cosh", "cumsum", "elu",
           "embedding_bag", "erfc", "exp2", "expand", "expm1", "floor_div", "formula", "full",
           "gelu", "gelu_tanh", "hardshrink", "hardsigmoid", "hardswish", "in_double", "iota",
           "isfinite", "layer_norm", "leaky_relu", "left_shift", "linear", "log1p", "log2", "log10",
           "log_sigmoid", "mish", "narrow", "operator", "pad", "power", "reduction", "remainder",
           "reshape", "right_shift", "rms_norm", "scatter_add", "selu", "sign", "silu", "sinh",
           "size", "slice_", "softmax", "softplus", "softshrink", "softsign", "tan", "threshold",
           "topk_ids", "transpose", "tree_walk", "trunc", "truth", "with_itself", "with_numbers"]

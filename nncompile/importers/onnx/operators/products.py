"""Matrix products."""
from __future__ import annotations

from ir import Error
from ir.types import same
from nncompile.array import Array, apply
from nncompile.array.products import einsum
from nncompile.importers.onnx.node import Node
from nncompile.importers.onnx.operator import Operator, Rows


def matmul(a: Array, b: Array) -> Array:
    """Returns a @ b as NumPy has it."""
    return a.matmul(b)


def _matmul(node: Node, a: Array, b: Array) -> Array:
    return matmul(a, b)


def _gemm(node: Node, a: Array, b: Array, c: Array | None = None) -> Array:
    alpha, beta = node.float("alpha", 1.0), node.float("beta", 1.0)
    left, right = node.flag("transA"), node.flag("transB")
    if a.ndim != 2 or b.ndim != 2:
        raise Error(f"it multiplies matrices, not {a.type} and {b.type}")
    a = a.T if left else a
    columns = b.type.shape[0 if right else 1]
    vector = c is not None and c.ndim == 1 and same(c.type.shape[0], columns)
    if right and alpha == 1 and (c is None or (beta == 1 and vector)):
        return apply("linear", a, b) if c is None else apply("linear", a, b, c)
    product = apply("matmul", a, b.T if right else b)
    if alpha != 1:
        product = apply("mul", product, float(alpha))
    if c is None or beta == 0:
        return product
    return apply("add", product, c if beta == 1 else apply("mul", c, float(beta)))


def _einsum(node: Node, *inputs: Array) -> Array:
    result: Array = einsum(node.text("equation"), *inputs)
    return result


ROWS: Rows = (
    Operator("MatMul", (1, 9, 13), _matmul),
    Operator("Gemm", (7, 9, 11, 13), _gemm, "alpha beta transA transB"),
    Operator("Einsum", (12, 28), _einsum, "equation"),
)

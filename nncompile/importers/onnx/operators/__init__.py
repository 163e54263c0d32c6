"""The table of ONNX operators: one row each, in the file of its family."""
from __future__ import annotations

from nncompile.importers.onnx.operator import Operator
from nncompile.importers.onnx.operators import (
    attention,
    control,
    elementwise,
    indices,
    learned,
    microsoft,
    normalization,
    products,
    quantized,
    reductions,
    shapes,
)

OPERATORS: dict[tuple[str, str], Operator] = {
    (row.domain, row.name): row for family in (
        elementwise, products, reductions, normalization, shapes, indices, attention, control,
        quantized, microsoft, learned)
    for row in family.ROWS}

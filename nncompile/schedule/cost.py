"""How much work a step is, and how much of the weights a call reads: to choose a schedule by."""
from __future__ import annotations

import math

from ir.types import DTYPES, Dim, product
from nncompile.schedule.names import fixed
from nncompile.schedule.program import Program, Step

# Operations an element: what the polynomials behind a function cost beside one addition.
ELEMENT_COST = {
    **dict.fromkeys(("div", "sqrt", "rsqrt", "floor_div", "remainder", "softsign"), 4),
    **dict.fromkeys(("exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "sigmoid", "silu",
                     "elu", "celu", "selu", "softplus", "log_sigmoid"), 20),
    **dict.fromkeys(("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh",
                     "atanh", "tanh", "tanhshrink", "gelu_tanh", "pow", "mish"), 30),
    **dict.fromkeys(("erf", "erfc", "gelu"), 40),
    "softmax": 25, "log_softmax": 25, "layer_norm": 10, "rms_norm": 6, "topk_ids": 20}
GATHERS = ("embedding", "embedding_bag", "take", "take_along")


def work(step: Step) -> Dim:
    """Floating-point operations of a step, a product's exactly, the rest roughly."""
    elements = product(step.result.shape)
    then = sum(ELEMENT_COST.get(op, 1) for op, _ in step.then)
    return elements * then + own_work(step, elements)


def own_work(step: Step, elements: Dim) -> Dim:
    match kind := step.kind:
        case "linear" | "matmul":
            return elements * 2 * step.views[0].shape[-1]
        case "reduce" | "topk_ids" | "embedding_bag":
            return product(step.views[0].shape) * (ELEMENT_COST.get(kind, 1))
        case "elementwise":
            return elements * ELEMENT_COST.get(step.attrs["op"], 1)
        case _:
            return elements * ELEMENT_COST.get(kind, 1)


def products(step: Step) -> Dim:
    """Floating-point operations of the step's matrix product alone; 0 for other steps."""
    return own_work(step, product(step.result.shape)) if step.kind in ("linear", "matmul") else 0


def table_bytes(program: Program) -> int:
    """Of the constants that steps only gather from: a call reads a few rows of each.  (A linear
    reads its own copy of a weight.)"""
    tables = {v.place for step in program.steps if step.kind in GATHERS for v in step.views}
    whole = {v.place for step in program.steps if step.kind not in (*GATHERS, "linear")
             for v in step.reads}
    types = [v.type for v in program.preparation.outputs]
    return sum(math.prod(fixed(types[i].shape)) * DTYPES[types[i].dtype].itemsize
               for place, i in program.constants.items() if place in tables - whole)

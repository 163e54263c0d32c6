"""How much work a step is, in floating-point operations: enough to choose a schedule by."""
from __future__ import annotations

from ir.types import Dim, product
from nncompile.schedule.program import Step

# Operations an element: what the polynomials behind a function cost beside one addition.
ELEMENT_COST = {"tanh": 25, "sigmoid": 20, "exp": 15, "log": 20, "gelu": 40, "gelu_tanh": 30,
                "div": 4, "sqrt": 4, "softmax": 25, "layer_norm": 10}


def work(step: Step) -> Dim:
    """Floating-point operations of a step, a product's exactly, the rest roughly."""
    elements = product(step.result.shape)
    then = sum(ELEMENT_COST.get(op, 1) for op, _ in step.then)
    return elements * then + own_work(step, elements)


def own_work(step: Step, elements: Dim) -> Dim:
    match step.kind:
        case "linear" | "matmul":
            return elements * 2 * step.views[0].shape[-1]
        case "reduce":
            return product(step.views[0].shape)
        case "elementwise":
            return elements * ELEMENT_COST.get(step.attrs["op"], 1)
        case kind:
            return elements * ELEMENT_COST.get(kind, 1)


def products(step: Step) -> Dim:
    """Floating-point operations of the step's matrix product alone; 0 for other steps."""
    return own_work(step, product(step.result.shape)) if step.kind in ("linear", "matmul") else 0

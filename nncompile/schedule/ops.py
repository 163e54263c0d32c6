"""How each op is scheduled, one row an op; and what each kind of step can do, one row a kind.

An elementwise op has its row by that trait, and is named here only where an element of it costs
more than an addition.
"""
from __future__ import annotations

from collections.abc import Callable

import nncompile.schedule.lower as lower
import nncompile.schedule.rows as rows
from ir.ops import with_trait
from ir.records import dataclass, replace
from nncompile.schedule.program import View
from nncompile.schedule.rows import Attrs, Rule


def _never(attrs: Attrs, axis: int) -> bool:
    return False


def _always(attrs: Attrs, axis: int) -> bool:
    return True


@dataclass(frozen=True)
class Row:
    """How one op is scheduled."""

    lower: Callable[..., View]                   # a function of lower.py, which adds the steps
    rows: Rule | None                            # None: no row of the result is computed alone
    cost: int = 1                                # of elementwise ops: operations an element
    fuses: bool = False                          # `lower` takes the chain behind it, not attributes
    repeats: Callable[[Attrs, int], bool] = _never      # without rows in its operands, the result
    #                                                     is the same along this axis, of any size


_ELEMENTWISE = Row(lower.elementwise, rows.aligned, fuses=True)

ROWS: dict[str, Row] = {
    # What the polynomials behind a function cost beside one addition.
    **dict.fromkeys(with_trait("elementwise"), _ELEMENTWISE),
    **dict.fromkeys(("div", "sqrt", "rsqrt", "floor_div", "remainder", "softsign"),
                    replace(_ELEMENTWISE, cost=4)),
    **dict.fromkeys(("exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "sigmoid", "silu",
                     "elu", "celu", "selu", "softplus", "log_sigmoid"),
                    replace(_ELEMENTWISE, cost=20)),
    **dict.fromkeys(("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh",
                     "atanh", "tanh", "tanhshrink", "gelu_tanh", "pow", "mish"),
                    replace(_ELEMENTWISE, cost=30)),
    **dict.fromkeys(("erf", "erfc", "gelu"), replace(_ELEMENTWISE, cost=40)),
    **dict.fromkeys(with_trait("reduction"), Row(lower.reduction, rows.reduction)),
    "linear": Row(lower.linear, rows.linear, fuses=True),
    "matmul": Row(lower.matmul, rows.matmul, fuses=True),
    "softmax": Row(lower.along_axis, rows.not_over_rows),
    "log_softmax": Row(lower.along_axis, rows.not_over_rows),
    "layer_norm": Row(lower.norm, rows.not_over_rows),
    "rms_norm": Row(lower.norm, rows.not_over_rows),
    "cumsum": Row(lower.along_axis, rows.not_over_rows),
    "embedding": Row(lower.embedding, rows.first_only),
    "embedding_bag": Row(lower.embedding_bag, None),
    "take": Row(lower.take, rows.take),
    "take_along": Row(lower.take_along, rows.take_along),
    "topk_ids": Row(lower.topk_ids, rows.not_over_rows),
    "iota": Row(lower.iota, None, repeats=lambda attrs, axis: attrs["axis"] != axis),
    "full": Row(lower.full, None, repeats=_always),
    "identity": Row(lower.unchanged, rows.aligned),
    "dropout": Row(lower.unchanged, rows.aligned),
    "reshape": Row(lower.reshape, rows.reshape),
    "transpose": Row(lower.transpose, rows.transpose),
    "slice": Row(lower.slice_, rows.not_over_rows),
    "expand": Row(lower.expand, rows.aligned, repeats=_always),
    "concat": Row(lower.concat, rows.concat),
    "pad": Row(lower.pad, rows.pad),
}


@dataclass(frozen=True)
class StepKind:
    """What a kind of step can do, whichever target runs it."""

    cost: int = 1                                # operations an element; of a product, see cost.py
    counts_operand: bool = False                 # elements of its first operand, not of its result
    product: bool = False                        # a matrix product
    in_place: bool = False                       # it reads an element before it writes it
    strided: bool = False                        # it can write rows that are apart from each other
    gathers: bool = False                        # it reads few rows of the tables it is given


KINDS: dict[str, StepKind] = {
    "elementwise": StepKind(in_place=True, strided=True),                # by op, see ROWS
    "linear": StepKind(product=True, strided=True),
    "matmul": StepKind(product=True, strided=True),
    "softmax": StepKind(25, in_place=True, strided=True),
    "log_softmax": StepKind(25, in_place=True, strided=True),
    "layer_norm": StepKind(10, in_place=True, strided=True),
    "rms_norm": StepKind(6, in_place=True, strided=True),
    "cumsum": StepKind(in_place=True, strided=True),
    "topk_ids": StepKind(20, counts_operand=True),
    "reduce": StepKind(counts_operand=True),
    "embedding": StepKind(strided=True, gathers=True),
    "embedding_bag": StepKind(counts_operand=True, gathers=True),
    "take": StepKind(gathers=True),
    "take_along": StepKind(gathers=True),
    "iota": StepKind(),
}

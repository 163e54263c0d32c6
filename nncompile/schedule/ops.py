"""How each op is scheduled, a row per op, and what each kind of step can do, a row per kind.

Elementwise ops and reductions get their rows by those traits. An elementwise op is named here only
if it costs more per element than an addition.
"""
from __future__ import annotations

from collections.abc import Callable

import nncompile.schedule.lower as lower
import nncompile.schedule.rows as rows
from ir.ops import with_trait
from ir.records import dataclass, replace
from nncompile.schedule.program import CHECKED, Step, View
from nncompile.schedule.rows import Attrs, Rule


def _never(attrs: Attrs, axis: int) -> bool:
    return False


def _always(attrs: Attrs, axis: int) -> bool:
    return True


@dataclass(frozen=True)
class OpSchedule:
    """How one op is scheduled.

    lower:    adds the steps of a node, and returns where its result is; see lower.py.
    rows:     the rule of its independent rows, see rows.py; None if it has none.
    cost:     operations per element, of elementwise ops.
    fuses:    `lower` takes the chain of ops behind the node, in place of its attributes.
    repeats:  whether the result is the same all along an axis if no operand has rows.
    converts: its kernels read the first operand in any dtype, and convert each element.
    """

    lower: Callable[..., View]
    rows: Rule | None
    cost: int = 1
    fuses: bool = False
    repeats: Callable[[Attrs, int], bool] = _never
    converts: bool = False


_ELEMENTWISE = OpSchedule(lower.elementwise, rows.aligned, fuses=True)

SCHEDULES: dict[str, OpSchedule] = {
    **dict.fromkeys(with_trait("elementwise"), _ELEMENTWISE),
    # The cost of a function is that of the polynomial behind it, in additions.
    **dict.fromkeys(("div", "sqrt", "rsqrt", "floor_div", "remainder", "softsign"),
                    replace(_ELEMENTWISE, cost=4)),
    **dict.fromkeys(("exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "sigmoid", "silu",
                     "elu", "celu", "selu", "softplus", "log_sigmoid"),
                    replace(_ELEMENTWISE, cost=20)),
    **dict.fromkeys(("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "asinh",
                     "acosh", "atanh", "tanh", "tanhshrink", "gelu_tanh", "pow", "mish"),
                    replace(_ELEMENTWISE, cost=30)),
    **dict.fromkeys(("erf", "erfc", "gelu"), replace(_ELEMENTWISE, cost=40)),
    **dict.fromkeys(with_trait("reduction"),
                    OpSchedule(lower.reduction, rows.reduction, converts=True)),
    **dict.fromkeys(with_trait("arg_reduction"), OpSchedule(lower.reduction, rows.reduction)),
    "linear": OpSchedule(lower.linear, rows.linear, fuses=True),
    "matmul": OpSchedule(lower.matmul, rows.matmul, fuses=True),
    "softmax": OpSchedule(lower.along_axis, rows.not_over_rows),
    "log_softmax": OpSchedule(lower.along_axis, rows.not_over_rows),
    "layer_norm": OpSchedule(lower.norm, rows.not_over_rows),
    "rms_norm": OpSchedule(lower.norm, rows.not_over_rows),
    "cumsum": OpSchedule(lower.along_axis, rows.not_over_rows),
    "embedding": OpSchedule(lower.embedding, rows.first_only),
    "embedding_bag": OpSchedule(lower.embedding_bag, None),
    "take": OpSchedule(lower.take, rows.take),
    "take_along": OpSchedule(lower.take_along, rows.take_along),
    "topk_ids": OpSchedule(lower.topk_ids, rows.not_over_rows),
    "scatter_add": OpSchedule(lower.scatter_add, rows.take_along),
    "first_equal": OpSchedule(lower.first_equal, None),
    "put_rows": OpSchedule(lower.put_rows, None),
    "tree_walk": OpSchedule(lower.tree_walk, rows.walk),
    "iota": OpSchedule(lower.iota, None, repeats=lambda attrs, axis: attrs["axis"] != axis),
    "full": OpSchedule(lower.full, None, repeats=_always),
    "size": OpSchedule(lower.size, None),
    "uniform": OpSchedule(lower.uniform, None),
    "identity": OpSchedule(lower.unchanged, rows.aligned),
    "detach": OpSchedule(lower.unchanged, rows.aligned),
    "dropout": OpSchedule(lower.unchanged, rows.aligned),
    "reshape": OpSchedule(lower.reshape, rows.reshape),
    "transpose": OpSchedule(lower.transpose, rows.transpose),
    "slice": OpSchedule(lower.slice_, rows.not_over_rows),
    "expand": OpSchedule(lower.expand, rows.aligned, repeats=_always),
    "concat": OpSchedule(lower.concat, rows.concat),
    "pad": OpSchedule(lower.pad, rows.pad),
}


@dataclass(frozen=True)
class StepKind:
    """What a kind of step can do, on every target.

    cost:           operations per element of the result; a product is counted exactly.
    counts_operand: the cost is per element of the first operand instead.
    product:        it is a matrix product.
    in_place:       it reads every element before it writes it, so it may overwrite an operand.
    adds_in_place:  it may overwrite a further operand of its chain, but not what it multiplies.
    puts_in_place:  it may overwrite its last operand, of which it then writes a few rows.
    strided:        it can write rows with gaps between them.
    gathers:        it reads only a few rows of its operands.
    fails:          it reports an index that is outside an axis.
    """

    cost: int = 1
    counts_operand: bool = False
    product: bool = False
    in_place: bool = False
    adds_in_place: bool = False
    puts_in_place: bool = False
    strided: bool = False
    gathers: bool = False
    fails: bool = False


_DIVISIONS = with_trait("division")


def overwritable(step: Step) -> tuple[View, ...]:
    """Returns the operands that the step may overwrite with its result, where both lie alike."""
    kind = KINDS[step.kind]
    if kind.in_place:
        return tuple(step.reads)
    return step.views[-1:] if kind.puts_in_place else ()


def may_fail(step: Step) -> bool:
    """Returns whether the step can find a wrong number among the data, an index for instance."""
    if step.kind == "row_group":
        return any(line.op in CHECKED for line in step.attrs["group"].ops)
    ops = (step.attrs.get("op"), *(op for op, _ in step.then))
    return KINDS[step.kind].fails or any(op in _DIVISIONS for op in ops)


KINDS: dict[str, StepKind] = {
    "elementwise": StepKind(in_place=True, strided=True),    # its cost is that of its op
    "group": StepKind(in_place=True),                        # its cost is that of its ops
    "row_group": StepKind(in_place=True),                    # the same
    "linear": StepKind(product=True, strided=True),
    "matmul": StepKind(product=True, adds_in_place=True, strided=True),
    "softmax": StepKind(25, in_place=True, strided=True),
    "log_softmax": StepKind(25, in_place=True, strided=True),
    "layer_norm": StepKind(10, in_place=True, strided=True),
    "rms_norm": StepKind(6, in_place=True, strided=True),
    "cumsum": StepKind(in_place=True, strided=True),
    "topk_ids": StepKind(20, counts_operand=True),
    "reduce": StepKind(counts_operand=True),
    "embedding": StepKind(strided=True, gathers=True, fails=True),
    "embedding_bag": StepKind(counts_operand=True, gathers=True, fails=True),
    "take": StepKind(gathers=True, fails=True),
    "take_along": StepKind(gathers=True, fails=True),
    "scatter_add": StepKind(fails=True),
    "first_equal": StepKind(10, counts_operand=True),
    "put_rows": StepKind(counts_operand=True, puts_in_place=True),
    "tree_walk": StepKind(40, gathers=True),
    "iota": StepKind(),
    "size": StepKind(),
    "uniform": StepKind(20),
}

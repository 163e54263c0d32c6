"""Chains of elementwise ops, applied to a value while it is at hand.

A chain is a tuple of (op, kinds).  An op's first operand is the chain's value; `kinds` has a letter
for each further one:  v a vector, one value an element of the last dim;  s a single value a row;
g a gather, any stride along the last dim (elementwise kernels only).
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ir import ops
from nncompile.cpu import math
from nncompile.cpu.kernels.kernel import Array
from nncompile.cpu.lanes import Emit, Value

Chain: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class LaneOp:
    """How an elementwise op is emitted; `long` ones are too much code to repeat for each sum."""

    arity: int
    emit: Callable[..., Value]
    long: bool = False


LANE_OPS = {
    "copy": LaneOp(1, lambda e, x: x),
    "add": LaneOp(2, lambda e, x, y: e.b.fadd(x, y)),
    "sub": LaneOp(2, lambda e, x, y: e.b.fsub(x, y)),
    "mul": LaneOp(2, lambda e, x, y: e.b.fmul(x, y)),
    "div": LaneOp(2, lambda e, x, y: e.b.fdiv(x, y)),
    "maximum": LaneOp(2, Emit.maximum),
    "minimum": LaneOp(2, Emit.minimum),
    "neg": LaneOp(1, lambda e, x: e.b.fneg(x)),
    "abs": LaneOp(1, lambda e, x: e.intrinsic("fabs", x)),
    "sqrt": LaneOp(1, lambda e, x: e.intrinsic("sqrt", x)),
    "relu": LaneOp(1, lambda e, x: e.larger(e.const(0.0), x)),       # NaN stays NaN
    "exp": LaneOp(1, math.exp, long=True),
    "log": LaneOp(1, math.log, long=True),
    "tanh": LaneOp(1, math.tanh, long=True),
    "sigmoid": LaneOp(1, math.sigmoid, long=True),
    "gelu": LaneOp(1, math.gelu, long=True),
    "gelu_tanh": LaneOp(1, math.gelu_tanh, long=True),
}


def check(chain: Chain, allowed: str, *, starts: bool = False) -> None:
    """Raise ValueError where the chain names no op of ours or gives it operands it cannot take.

    With `starts` the chain has no value to begin with: its first op is given all its operands.
    """
    for place, (op, kinds) in enumerate(chain):
        if op not in LANE_OPS:
            raise ValueError(f"no elementwise op {op!r}; there are {', '.join(LANE_OPS)}")
        expected = LANE_OPS[op].arity - (0 if starts and place == 0 else 1)
        if len(kinds) != expected or not set(kinds) <= set(allowed):
            raise ValueError(f"{op} takes {expected} further operands of the kinds {allowed!r}, "
                             f"not {kinds!r}")


def kinds(chain: Chain) -> str:
    """The kinds of all operands, in order."""
    return "".join(kinds for _, kinds in chain)


def names(chain: Chain) -> tuple[str, ...]:
    """The name parts that tell a kernel with this chain from others: its ops, its kinds."""
    return (*(op for op, _ in chain), *([kinds(chain)] if kinds(chain) else []))


def is_long(chain: Chain) -> bool:
    return any(LANE_OPS[op].long for op, _ in chain)


def emit(e: Emit, chain: Chain, value: Value | None, operand: Callable[[int], Value]) -> Value:
    """Apply the chain to `value` (None where it starts from its operands); `operand(i)` emits the
    i-th further operand's vector."""
    used = 0
    for op, letters in chain:
        operands = [operand(used + i) for i in range(len(letters))]
        used += len(letters)
        value = LANE_OPS[op].emit(e, *([] if value is None else [value]), *operands)
    return value


def evaluate(chain: Chain, value: Array | None, operands: list[Array]) -> Array:
    """The same in numpy, with the ops' reference semantics."""
    rest = iter(operands)
    for op, letters in chain:
        arrays = [] if value is None else [value]
        arrays += [next(rest) for _ in letters]
        value = arrays[0] if op == "copy" else ops.OPS[op].reference(*arrays)
    assert value is not None
    return value

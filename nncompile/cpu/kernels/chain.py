"""Chains of elementwise ops, which are applied to a value while it is in a register.

A chain is a tuple of (op, kinds). An op's first operand is the chain's value; `kinds` has a letter
for each further one: v for a vector, one element for each of the last axis; s for a single element
for a row; g for a gather, with any stride along the last axis (elementwise kernels only).

All of a chain has one dtype, except for the first op of a chain that starts from its operands:
where it is a comparison, a test or a cast, its operands may have another dtype, `source`. The
condition of a `where` is bool.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from ir import ops
from ir.records import cached_property, dataclass
from ir.types import DTYPES, INTEGERS, Error, NDArray, TensorType
from nncompile.cpu.vector import Emit, Value, math

Chain: TypeAlias = tuple[tuple[str, str], ...]
_Faults: TypeAlias = Callable[[Value], None]
_DIVISIONS, _PREDICATES = ops.with_trait("division"), ops.with_trait("predicate")


@dataclass(frozen=True)
class _LaneOp:
    """How an elementwise op of ir is emitted, or "copy", which is no op.

    emit: takes an Emit of the operands' dtype (for `where`, that of the last two).
    long: whether it is too much code to repeat for each sum.
    """

    name: str
    emit: Callable[..., Value]
    long: bool = False

    @cached_property
    def arity(self) -> int:
        return 1 if self.name == "copy" else int(ops.OPS[self.name].arity[0])

    @cached_property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of operands that the op's type rule allows."""
        return tuple(filter(self._allows, DTYPES))

    def _allows(self, dtype: str) -> bool:
        if self.name == "copy":
            return True
        types = [TensorType(dtype, ())] * self.arity
        if self.name == "where":
            types[0] = TensorType("bool", ())
        try:
            ops.OPS[self.name].infer(*types, **({"dtype": dtype} if self.name == "cast" else {}))
        except Error:
            return False
        return True


LANE_OPS = {"copy": _LaneOp("copy", lambda e, x: x)} | {
    name: _LaneOp(name, emit) for name, emit in math.SHORT.items()} | {
    name: _LaneOp(name, emit, long=True) for name, emit in math.LONG.items()}


def check(chain: Chain, allowed: str, *, starts: bool = False, dtype: str = "f32",
          source: str | None = None) -> None:
    """Raises ValueError for an unknown op, and for operands or dtypes that an op cannot take.

    starts: whether the chain has no value to begin with, so that its first op gets all operands.
    """
    for place, (op, kinds) in enumerate(chain):
        first = starts and place == 0
        if op not in LANE_OPS:
            raise ValueError(f"no elementwise op {op!r}; there are {', '.join(LANE_OPS)}")
        expected = LANE_OPS[op].arity - (0 if first else 1)
        if len(kinds) != expected or not set(kinds) <= set(allowed):
            raise ValueError(f"{op} takes {expected} further operands of the kinds {allowed!r}, "
                             f"not {kinds!r}")
        _check_dtypes(op, dtype, source or dtype if first else dtype, first)


def _check_dtypes(op: str, dtype: str, source: str, first: bool) -> None:
    """Raises ValueError unless the op makes `dtype` of `source`, as the first op or a later one."""
    operand = dtype if op == "where" else source
    if operand not in LANE_OPS[op].dtypes:
        raise ValueError(f"{op} is not for {operand}, only for {', '.join(LANE_OPS[op].dtypes)}")
    if op == "where" and source != "bool" and not (first and source == dtype):
        raise ValueError(f"where takes bools first, not {source}")
    if op == "cast" and not first:
        raise ValueError("a cast changes the dtype, so a chain can only begin with it")
    result = dtype if op in ("cast", "where") else result_dtype(op, source)
    if result != dtype:
        raise ValueError(f"{op} of {source} is {result}, not {dtype}")


def result_dtype(op: str, source: str) -> str:
    """Returns the dtype of an op's result."""
    return "bool" if op in _PREDICATES else source


def kinds(chain: Chain) -> str:
    """Returns the kinds of all operands, in order."""
    return "".join(kinds for _, kinds in chain)


def operands(chain: Chain) -> list[str]:
    """Returns the names of all operands, in order."""
    return [f"r{i}" for i in range(len(kinds(chain)))]


def names(chain: Chain) -> tuple[str, ...]:
    """Returns the parts of a kernel's name that tell its chain: the ops and the kinds."""
    return (*(op for op, _ in chain), *([kinds(chain)] if kinds(chain) else []))


def is_long(chain: Chain) -> bool:
    """Returns whether the chain is too much code to repeat for each sum."""
    return any(LANE_OPS[op].long for op, _ in chain)


def may_fault(chain: Chain, dtype: str) -> bool:
    """Returns whether the chain divides integers, whose divisor may be 0."""
    return dtype in INTEGERS and any(op in _DIVISIONS for op, _ in chain)


def operand_dtypes(chain: Chain, dtype: str = "f32", source: str | None = None) -> tuple[str, ...]:
    """Returns the dtype of each operand that `kinds` has a letter for, in order."""
    dtypes = [dtype] * len(kinds(chain))
    if chain:
        op, letters = chain[0]
        if len(letters) == LANE_OPS[op].arity:                        # it has all its operands here
            dtypes[:len(letters)] = [source or dtype] * len(letters)
            if op == "where":
                dtypes[:3] = ["bool", dtype, dtype]
    return tuple(dtypes)


def emit(e: Emit, chain: Chain, value: Value | None, operand: Callable[[int], Value],
         dtype: str = "f32", source: str | None = None, fault: _Faults | None = None) -> Value:
    """Applies the chain to `value`, or to its operands alone where that is None.

    operand: operand(i) emits the vector of the i-th further operand. fault: is called with the
    lanes whose integer divisor is 0, for which the result is 0; lanes outside of a mask may be
    among them.
    """
    used = 0
    for place, (op, letters) in enumerate(chain):
        operands = [operand(used + i) for i in range(len(letters))]
        used += len(letters)
        vectors = [*([] if value is None else [value]), *operands]
        if op == "cast":
            value = math.cast(e, vectors[0], source or dtype, dtype)
            continue
        if op in _DIVISIONS and dtype in INTEGERS and fault is not None:
            fault(e.b.icmp_signed("==", vectors[1], e.const(0, dtype)))
        starts = place == 0 and op != "where"
        value = LANE_OPS[op].emit(e.of(source or dtype if starts else dtype), *vectors)
    return value


def evaluate(chain: Chain, value: NDArray | None, operands: list[NDArray], dtype: str = "f32",
             fault: Callable[[NDArray], None] | None = None) -> NDArray:
    """Returns the chain's result in NumPy, by the ops' references.

    fault: is called with an array that is true where an integer divisor is 0, for which the result
    is 0.
    """
    rest = iter(operands)
    with np.errstate(all="ignore"):
        for op, letters in chain:
            arrays = [] if value is None else [value]
            arrays += [next(rest) for _ in letters]
            if op == "copy":
                value = arrays[0]
            elif op == "cast":
                value = ops.OPS[op].reference(*arrays, dtype=dtype)
            elif op in _DIVISIONS and dtype in INTEGERS:
                value = _divided(op, arrays[0], arrays[1], fault)
            else:
                value = ops.OPS[op].reference(*arrays)
    assert value is not None
    return value


def _divided(op: str, x: NDArray, y: NDArray, fault: Callable[[NDArray], None] | None) -> NDArray:
    bad = y == 0
    if fault is not None:
        fault(bad)
    one = y.dtype.type(1)
    return np.where(bad, y, ops.OPS[op].reference(x, np.where(bad, one, y)))

"""The ops.  One op is one row of OPS: a name, a type rule, a NumPy reference, its traits.

The three views of an op share one signature, operands positional and attributes by keyword:

    infer(*types, **attrs) -> type        reference(*arrays, **attrs) -> array

A fused op is any op with one more attribute, `then`: elementwise ops applied to its result one
after another, each taking its further operands from the tail of the node's.  Its type and value are
the composition of its parts', so that fusing never adds a row.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, TypeVar

import numpy as np

from ir.ops import references as ref
from ir.ops import rules
from ir.ops.attributes import FORMS
from ir.types import Array, DimExpr, Error, TensorType, evaluate_dim

Attrs = Mapping[str, Any]                        # bool, int, float, size, or a tuple of sizes
AnyOperand = TypeVar("AnyOperand")


@dataclass(frozen=True)
class OpDef:
    """Everything the graph language knows about one op."""

    name: str
    infer: Callable[..., TensorType]             # (*types, **attrs) -> type, or raises Error
    reference: Callable[..., Any]                # (*arrays, **attrs) -> array
    arity: tuple[int, float]                     # fewest and most operands
    attrs: tuple[str, ...]                       # all of them are always given
    traits: frozenset[str]

    @property
    def elementwise(self) -> bool:
        return "elementwise" in self.traits


def op(name: str, infer: Callable[..., TensorType], reference: Callable[..., Any],
       *traits: str) -> OpDef:
    """A row of the table; arity and attributes are read off the reference's signature.

    Traits: `elementwise`, one result element from one of each operand, shapes broadcast;
    `commutative` in its two operands; `view`, the operand's elements under another shape or order.
    """
    if isinstance(reference, np.ufunc):
        return OpDef(name, infer, reference, (reference.nin, reference.nin), (), frozenset(traits))
    parameters = inspect.signature(reference).parameters.values()
    operands = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    most = inf if any(p.kind is p.VAR_POSITIONAL for p in operands) else len(operands)
    fewest = sum(p.kind is not p.VAR_POSITIONAL and p.default is p.empty for p in operands)
    attrs = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    return OpDef(name, infer, reference, (fewest, most), attrs, frozenset(traits))


OPS: dict[str, OpDef] = {definition.name: definition for definition in [
    op("add", rules.broadcast, np.add, "elementwise", "commutative"),
    op("sub", rules.broadcast, np.subtract, "elementwise"),
    op("mul", rules.broadcast, np.multiply, "elementwise", "commutative"),
    op("div", rules.broadcast, np.divide, "elementwise"),
    op("maximum", rules.broadcast, np.maximum, "elementwise", "commutative"),
    op("minimum", rules.broadcast, np.minimum, "elementwise", "commutative"),
    op("neg", rules.broadcast, np.negative, "elementwise"),
    op("abs", rules.broadcast, np.absolute, "elementwise"),
    op("exp", rules.broadcast, np.exp, "elementwise"),
    op("log", rules.broadcast, np.log, "elementwise"),
    op("sqrt", rules.broadcast, np.sqrt, "elementwise"),
    op("tanh", rules.broadcast, np.tanh, "elementwise"),
    op("sigmoid", rules.broadcast, ref.sigmoid, "elementwise"),
    op("relu", rules.broadcast, ref.relu, "elementwise"),
    op("gelu", rules.broadcast, ref.gelu, "elementwise"),
    op("gelu_tanh", rules.broadcast, ref.gelu_tanh, "elementwise"),
    op("identity", rules.unchanged, ref.identity, "view"),
    op("dropout", rules.dropout, ref.dropout, "view"),
    op("linear", rules.linear, ref.linear),
    op("matmul", rules.matmul, np.matmul),
    op("embedding", rules.embedding, ref.embedding),
    op("softmax", rules.softmax, ref.softmax),
    op("layer_norm", rules.layer_norm, ref.layer_norm),
    op("sum", rules.reduction, ref.sum_),
    op("mean", rules.reduction, ref.mean),
    op("max", rules.maximum_along, ref.max_),
    op("reshape", rules.reshape, ref.reshape, "view"),
    op("transpose", rules.transpose, ref.transpose, "view"),
    op("slice", rules.slice_, ref.slice_, "view"),
    op("concat", rules.concat, ref.concat),
]}


# -- attributes ------------------------------------------------------------------------------------

def normal(name: str, attrs: Attrs) -> dict[str, Any]:
    """The attributes of an op in their one form and order: lists are tuples, `scale=1` is 1.0, an
    empty `then` is left out.  Raises Error for one that is missing, unknown or of the wrong kind.
    """
    expected = known(name).attrs
    if {*expected, "then"} != {*attrs, "then"}:
        given = f"not {', '.join(attrs)}" if attrs else "and none were given"
        if not expected:
            raise Error(f"{name} has no attributes, {given}")
        raise Error(f"{name} has the attributes {', '.join(expected)}, {given}")
    result = {}
    for key in (*expected, "then") if attrs.get("then") else expected:
        kind, form = FORMS[key]
        try:
            result[key] = form(attrs[key])
        except (TypeError, OverflowError):
            raise Error(f"{key} of {name} is {kind}, not {attrs[key]!r}") from None
    return result


def at_sizes(value: Any, sizes: Mapping[str, int]) -> Any:
    """An attribute or a shape with each symbolic size replaced by its number."""
    if isinstance(value, tuple):
        return tuple(at_sizes(v, sizes) for v in value)
    return evaluate_dim(value, sizes) if isinstance(value, DimExpr) else value


def is_symbolic(value: Any) -> bool:
    """Whether an attribute, a shape or a tuple of such depends on a named size."""
    if isinstance(value, tuple):
        return any(map(is_symbolic, value))
    return isinstance(value, DimExpr)


# -- what a node means -----------------------------------------------------------------------------

def infer(name: str, operands: Sequence[TensorType | float], attrs: Attrs) -> TensorType:
    """The type of a node, or an Error that says why it has none."""
    head, own, steps = split_then(name, operands, normal(name, attrs))
    check_operands(name, head)
    result = known(name).infer(*head, **own)
    if steps and "view" in known(name).traits:
        raise Error(f"{name} only moves data, so no `then` can stand behind it")
    for step, others in steps:
        if not known(step).elementwise:
            raise Error(f"{step} is not elementwise, so it cannot stand behind `then`")
        if (after := known(step).infer(result, *others)) != result:
            raise Error(f"`then {step}` would change {result} into {after}")
    return result


def check_operands(name: str, operands: Sequence[TensorType | float]) -> None:
    fewest, most = known(name).arity
    if not fewest <= len(operands) <= most:
        count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        count = f"at least {fewest}" if most == inf else count
        raise Error(f"{name} takes {count} operand{'s' * (most > 1)}, not {len(operands)}")
    if not known(name).elementwise and not all(isinstance(o, TensorType) for o in operands):
        raise Error(f"{name} takes arrays; only elementwise ops take plain numbers")


def evaluate(name: str, operands: Sequence[Array | float], attrs: Attrs) -> Array:
    """The value of a node by its references: what every kernel is compared with.

    The result may be a view of an operand.  Floating-point exceptions make NaN and infinity, and
    no warning.  Raises Error where the values themselves are illegal, as an id outside its table.
    """
    head, own, steps = split_then(name, operands, attrs)
    with np.errstate(all="ignore"):
        result = known(name).reference(*head, **own)
        for step, others in steps:
            result = known(step).reference(result, *others)
    return np.asarray(result)


def split_then(name: str, operands: Sequence[AnyOperand], attrs: Attrs) -> tuple[
        list[AnyOperand], dict[str, Any], list[tuple[str, list[AnyOperand]]]]:
    """The op's own operands, its own attributes, and each `then` step with its further operands."""
    own = dict(attrs)
    then = own.pop("then", ())
    further = [known(step).arity[0] - 1 for step in then]
    at = len(operands) - sum(further)
    if at < 0:
        raise Error(f"{name} then {', '.join(then)} takes more operands than {len(operands)}")
    head, steps = list(operands[:at]), []
    for step, count in zip(then, further, strict=True):
        steps.append((step, list(operands[at:at + count])))
        at += count
    return head, own, steps


def known(name: str) -> OpDef:
    """The row of an op, or an Error where there is none."""
    if name not in OPS:
        raise Error(f"there is no op named {name}")
    return OPS[name]

"""The ops. One op is one row of OPS: its name, type rule, NumPy reference and traits.

The type rule and the reference have one signature, with operands positional and attributes by
keyword:

    infer(*types, **attrs) -> type        reference(*arrays, **attrs) -> array

A fused op is any op with one more attribute, `then`: elementwise ops that are applied to its result
one after another, each taking its further operands from the end of the node's. Its type and value
are the composition of its parts', so fusing adds no row.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, Literal, TypeVar

import numpy as np

from ir.float_mode import StandardFloats
from ir.ops import elementwise, rules
from ir.ops import references as ref
from ir.ops.attributes import FORMS
from ir.records import cached_property, dataclass
from ir.types import DimExpr, Error, NDArray, TensorType, evaluate_dim

Attrs = Mapping[str, Any]                        # bool, int, float, str, size, a tuple of sizes
_AnyOperand = TypeVar("_AnyOperand")
Trait = Literal[                                 # each is explained in OpDef
    "elementwise", "commutative", "idempotent", "involution", "predicate", "division", "reduction",
    "arg_reduction", "extreme", "gather", "view", "same_order", "literal", "composite"]


@dataclass(frozen=True)
class OpDef:
    """Everything the graph language knows about one op.

    The rest of the compiler asks for a trait wherever it treats many ops alike:

    elementwise    one result element from one element of each operand; shapes broadcast
    commutative    its two operands may change places
    idempotent     f(f(x)) is f(x), exactly
    involution     f(f(x)) is x, exactly
    predicate      the result is a bool, whatever the dtype of the operands
    division       of integers, an error where the divisor is 0
    reduction      the elements along some axes become one
    arg_reduction  a reduction to the index of an element, along one axis
    extreme        a reduction that has no value where those axes are empty
    gather         takes rows or elements of a table by index; an index outside it is an error
    view           the operand's elements, under another shape or in another order
    same_order     a view that keeps all elements, in row-major order
    literal        its operands are plain numbers
    composite      it names several nodes, and is carried out as these: composites.py has them
    """

    name: str
    infer: Callable[..., TensorType]             # (*types, **attrs) -> type, or raises Error
    reference: Callable[..., Any]                # (*arrays, **attrs) -> array
    arity: tuple[int, float]                     # fewest and most operands
    attrs: tuple[str, ...]                       # a node has all of them
    defaults: Mapping[str, Any]                  # of those that a builder or a text may leave out
    traits: frozenset[Trait]

    @cached_property
    def elementwise(self) -> bool:
        """Whether the op has the trait "elementwise"."""
        return "elementwise" in self.traits


_VAR_POSITIONAL = 4                              # inspect.CO_VARARGS: it has *operands


def op(name: str, infer: Callable[..., TensorType], reference: Callable[..., Any],
       *traits: Trait) -> OpDef:
    """Returns a row of the table; arity and attributes are read off the reference's signature.

    They are read off its code object, because `inspect.signature` takes far longer.
    """
    if isinstance(reference, np.ufunc):
        return OpDef(name, infer, reference, (reference.nin, reference.nin), (), {},
                     frozenset(traits))
    code, count = reference.__code__, reference.__code__.co_argcount
    fewest = count - len(reference.__defaults__ or ())
    most = inf if code.co_flags & _VAR_POSITIONAL else count
    attrs = code.co_varnames[count:count + code.co_kwonlyargcount]
    return OpDef(name, infer, reference, (fewest, most), attrs, reference.__kwdefaults__ or {},
                 frozenset(traits))


OPS: dict[str, OpDef] = {definition.name: definition for definition in [
    # elementwise: numbers of any type
    op("add", rules.numbers, np.add, "elementwise", "commutative"),
    op("sub", rules.numbers, np.subtract, "elementwise"),
    op("mul", rules.numbers, np.multiply, "elementwise", "commutative"),
    op("maximum", rules.numbers, elementwise.maximum, "elementwise", "commutative"),
    op("minimum", rules.numbers, elementwise.minimum, "elementwise", "commutative"),
    op("neg", rules.numbers, np.negative, "elementwise", "involution"),
    op("abs", rules.numbers, np.absolute, "elementwise", "idempotent"),
    op("sign", rules.numbers, elementwise.sign, "elementwise", "idempotent"),
    op("floor_div", rules.numbers, elementwise.floor_div, "elementwise", "division"),
    op("remainder", rules.numbers, elementwise.remainder, "elementwise", "division"),
    op("pow", rules.numbers, elementwise.pow_, "elementwise"),
    # elementwise: integers
    op("bitwise_and", rules.integers, np.bitwise_and, "elementwise", "commutative"),
    op("bitwise_or", rules.integers, np.bitwise_or, "elementwise", "commutative"),
    op("bitwise_xor", rules.integers, np.bitwise_xor, "elementwise", "commutative"),
    op("left_shift", rules.integers, elementwise.left_shift, "elementwise"),
    op("right_shift", rules.integers, elementwise.right_shift, "elementwise"),
    # elementwise: floats
    op("div", rules.floats, np.divide, "elementwise"),
    op("copysign", rules.floats, np.copysign, "elementwise"),
    op("atan2", rules.floats, np.arctan2, "elementwise"),
    op("exp", rules.floats, np.exp, "elementwise"),
    op("expm1", rules.floats, np.expm1, "elementwise"),
    op("exp2", rules.floats, np.exp2, "elementwise"),
    op("log", rules.floats, np.log, "elementwise"),
    op("log1p", rules.floats, np.log1p, "elementwise"),
    op("log2", rules.floats, np.log2, "elementwise"),
    op("log10", rules.floats, np.log10, "elementwise"),
    op("sqrt", rules.floats, np.sqrt, "elementwise"),
    op("rsqrt", rules.floats, elementwise.rsqrt, "elementwise"),
    op("sin", rules.floats, np.sin, "elementwise"),
    op("cos", rules.floats, np.cos, "elementwise"),
    op("tan", rules.floats, np.tan, "elementwise"),
    op("asin", rules.floats, np.arcsin, "elementwise"),
    op("acos", rules.floats, np.arccos, "elementwise"),
    op("atan", rules.floats, np.arctan, "elementwise"),
    op("sinh", rules.floats, np.sinh, "elementwise"),
    op("cosh", rules.floats, np.cosh, "elementwise"),
    op("tanh", rules.floats, np.tanh, "elementwise"),
    op("asinh", rules.floats, np.arcsinh, "elementwise"),
    op("acosh", rules.floats, np.arccosh, "elementwise"),
    op("atanh", rules.floats, np.arctanh, "elementwise"),
    op("erf", rules.floats, elementwise.erf, "elementwise"),
    op("erfc", rules.floats, elementwise.erfc, "elementwise"),
    op("floor", rules.floats, np.floor, "elementwise", "idempotent"),
    op("ceil", rules.floats, np.ceil, "elementwise", "idempotent"),
    op("round", rules.floats, np.rint, "elementwise", "idempotent"),
    op("trunc", rules.floats, np.trunc, "elementwise", "idempotent"),
    op("sigmoid", rules.floats, elementwise.sigmoid, "elementwise"),
    op("relu", rules.floats, elementwise.relu, "elementwise", "idempotent"),
    op("gelu", rules.floats, elementwise.gelu, "elementwise"),
    op("gelu_tanh", rules.floats, elementwise.gelu_tanh, "elementwise"),
    op("silu", rules.floats, elementwise.silu, "elementwise"),
    op("mish", rules.floats, elementwise.mish, "elementwise"),
    op("softplus", rules.floats, elementwise.softplus, "elementwise"),
    op("elu", rules.floats, elementwise.elu, "elementwise"),
    op("celu", rules.floats, elementwise.celu, "elementwise"),
    op("selu", rules.floats, elementwise.selu, "elementwise"),
    op("leaky_relu", rules.floats, elementwise.leaky_relu, "elementwise"),
    op("hardsigmoid", rules.floats, elementwise.hardsigmoid, "elementwise"),
    op("hardswish", rules.floats, elementwise.hardswish, "elementwise"),
    op("hardshrink", rules.floats, elementwise.hardshrink, "elementwise"),
    op("softshrink", rules.floats, elementwise.softshrink, "elementwise"),
    op("tanhshrink", rules.floats, elementwise.tanhshrink, "elementwise"),
    op("log_sigmoid", rules.floats, elementwise.log_sigmoid, "elementwise"),
    op("softsign", rules.floats, elementwise.softsign, "elementwise"),
    op("threshold", rules.floats, elementwise.threshold, "elementwise"),
    # elementwise: truth
    op("eq", rules.comparison, np.equal, "elementwise", "commutative", "predicate"),
    op("ne", rules.comparison, np.not_equal, "elementwise", "commutative", "predicate"),
    op("lt", rules.comparison, np.less, "elementwise", "predicate"),
    op("le", rules.comparison, np.less_equal, "elementwise", "predicate"),
    op("gt", rules.comparison, np.greater, "elementwise", "predicate"),
    op("ge", rules.comparison, np.greater_equal, "elementwise", "predicate"),
    op("isnan", rules.test, np.isnan, "elementwise", "predicate"),
    op("isinf", rules.test, np.isinf, "elementwise", "predicate"),
    op("isfinite", rules.test, np.isfinite, "elementwise", "predicate"),
    op("logical_and", rules.bools, np.logical_and, "elementwise", "commutative"),
    op("logical_or", rules.bools, np.logical_or, "elementwise", "commutative"),
    op("logical_xor", rules.bools, np.logical_xor, "elementwise", "commutative"),
    op("logical_not", rules.bools, np.logical_not, "elementwise", "involution"),
    op("where", rules.where, elementwise.where, "elementwise"),
    op("cast", rules.cast, elementwise.cast, "elementwise"),
    # products and rows
    op("linear", rules.linear, ref.linear),
    op("matmul", rules.matmul, np.matmul),
    op("attention", rules.attention, ref.attention, "composite"),
    op("softmax", rules.softmax, ref.softmax),
    op("log_softmax", rules.log_softmax, ref.log_softmax),
    op("layer_norm", rules.layer_norm, ref.layer_norm),
    op("rms_norm", rules.rms_norm, ref.rms_norm),
    op("cumsum", rules.cumsum, ref.cumsum),
    # reductions
    op("sum", rules.total, ref.sum_, "reduction"),
    op("prod", rules.total, ref.prod_, "reduction"),
    op("mean", rules.mean, ref.mean, "reduction"),
    op("max", rules.extreme, ref.max_, "reduction", "extreme"),
    op("min", rules.extreme, ref.min_, "reduction", "extreme"),
    op("any", rules.truth, ref.any_, "reduction"),
    op("all", rules.truth, ref.all_, "reduction"),
    op("argmax", rules.arg_extreme, ref.argmax, "reduction", "arg_reduction", "extreme"),
    op("argmin", rules.arg_extreme, ref.argmin, "reduction", "arg_reduction", "extreme"),
    # by index
    op("embedding", rules.embedding, ref.embedding, "gather"),
    op("embedding_bag", rules.embedding_bag, ref.embedding_bag, "gather"),
    op("take", rules.take, ref.take, "gather"),
    op("take_along", rules.take_along, ref.take_along, "gather"),
    op("topk_ids", rules.topk_ids, ref.topk_ids),
    op("scatter_add", rules.scatter_add, ref.scatter_add),
    op("first_equal", rules.first_equal, ref.first_equal),
    op("put_rows", rules.put_rows, ref.put_rows),
    op("tree_walk", rules.tree_walk, ref.tree_walk),
    # shapes
    op("iota", rules.iota, ref.iota),
    op("full", rules.full, ref.full, "literal"),
    op("uniform", rules.uniform, ref.uniform),
    op("size", rules.size, ref.size),
    op("identity", rules.unchanged, ref.identity, "view", "same_order"),
    op("detach", rules.unchanged, ref.identity, "view", "same_order"),
    op("dropout", rules.dropout, ref.dropout, "view", "same_order"),
    op("reshape", rules.reshape, ref.reshape, "view", "same_order"),
    op("transpose", rules.transpose, ref.transpose, "view"),
    op("slice", rules.slice_, ref.slice_, "view"),
    op("expand", rules.expand, ref.expand, "view"),
    op("concat", rules.concat, ref.concat),
    op("pad", rules.pad, ref.pad),
]}


def with_trait(trait: Trait) -> frozenset[str]:
    """Returns the names of the ops that have a trait."""
    return frozenset(name for name, definition in OPS.items() if trait in definition.traits)


# -- attributes ------------------------------------------------------------------------------------

def normal(name: str, attrs: Attrs) -> dict[str, Any]:
    """Returns the attributes of an op in normal form and order.

    Lists become tuples and `scale=1` becomes 1.0; an attribute with a default is always there, and
    an empty `then` is not.
    Raises Error for an attribute that is missing, unknown or of the wrong kind.
    """
    expected, defaults = _known(name).attrs, _known(name).defaults
    if not expected and not attrs:               # as most ops have none
        return {}
    attrs = {**defaults, **attrs} if defaults else attrs
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
    """Returns an attribute or a shape with each symbolic size replaced by its number."""
    if isinstance(value, tuple):
        return tuple(at_sizes(v, sizes) for v in value)
    return evaluate_dim(value, sizes) if isinstance(value, DimExpr) else value


def is_symbolic(value: Any) -> bool:
    """Returns whether an attribute, a shape or a tuple of these depends on a named size."""
    if isinstance(value, tuple):
        return any(map(is_symbolic, value))
    return isinstance(value, DimExpr)


# -- what a node means -----------------------------------------------------------------------------

def infer(name: str, operands: Sequence[TensorType | float], attrs: Attrs) -> TensorType:
    """Returns the type of a node. Raises Error, which says why, where it has none."""
    return infer_normal(name, operands, normal(name, attrs))


def infer_normal(name: str, operands: Sequence[TensorType | float], attrs: Attrs) -> TensorType:
    """Returns the type of a node whose attributes are in normal form. Raises Error as `infer` does.
    """
    head, own, steps = split_then(name, operands, attrs)
    definition = _known(name)
    _check_operands(definition, head)
    result = definition.infer(*head, **own)
    if steps and "view" in definition.traits:
        raise Error(f"{name} only moves data, so no `then` can stand behind it")
    for step, others in steps:
        if not _known(step).elementwise or _known(step).attrs:
            why = "has attributes" if _known(step).elementwise else "is not elementwise"
            raise Error(f"{step} {why}, so it cannot stand behind `then`")
        after = _known(step).infer(result, *others)
        if after is not result and after != result:
            raise Error(f"`then {step}` would change {result} into {after}")
    return result


def _check_operands(definition: OpDef, operands: Sequence[TensorType | float]) -> None:
    """Raises Error for a wrong number of operands, and for plain numbers in place of arrays."""
    name, (fewest, most), traits = definition.name, definition.arity, definition.traits
    if not fewest <= len(operands) <= most:
        count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        count = f"at least {fewest}" if most == inf else count
        raise Error(f"{name} takes {count} operand{'s' * (most > 1)}, not {len(operands)}")
    plain = [o for o in operands if isinstance(o, float)]
    if "literal" in traits and len(plain) < len(operands):
        raise Error(f"{name} takes a plain number")
    if plain and not traits & {"literal", "elementwise"}:
        raise Error(f"{name} takes arrays; only elementwise ops take plain numbers")


def evaluate(name: str, operands: Sequence[NDArray | float], attrs: Attrs) -> NDArray:
    """Returns the value of a node by the references of its ops: what every kernel is compared with.

    The result may be a view of an operand. It depends neither on the caller's floating-point mode
    nor on `numpy.seterr`: exceptions give NaN and infinity without a warning.
    Raises Error for illegal values, such as an id outside its table.
    """
    if "then" not in attrs:                      # quickly: it is so of all that runs eagerly
        with StandardFloats():
            return np.asarray(_known(name).reference(*_typed(operands), **attrs))
    head, own, steps = split_then(name, operands, attrs)
    with StandardFloats():
        result = np.asarray(_known(name).reference(*_typed(head), **own))
        for step, others in steps:
            result = np.asarray(_known(step).reference(*_typed([result, *others])))
    return result


def _typed(operands: Sequence[NDArray | float]) -> list[Any]:
    """Returns the operands with plain numbers in the dtype of the last array.

    The first array of a `where` is its condition, whose dtype does not count.
    """
    arrays = [o for o in operands if not isinstance(o, float)]
    if not arrays or len(arrays) == len(operands):
        return list(operands)
    number = arrays[-1].dtype.type
    return [number(o) if isinstance(o, float) else o for o in operands]


def split_then(name: str, operands: Sequence[_AnyOperand], attrs: Attrs) -> tuple[
        list[_AnyOperand], Attrs, list[tuple[str, list[_AnyOperand]]]]:
    """Returns the op's own operands and attributes, and each `then` step with its further operands.
    """
    if "then" not in attrs:
        return list(operands), attrs, []
    own = dict(attrs)
    then = own.pop("then")
    further = [_known(step).arity[0] - 1 for step in then]
    at = len(operands) - sum(further)
    if at < 0:
        raise Error(f"{name} then {', '.join(then)} takes more operands than {len(operands)}")
    head, steps = list(operands[:at]), []
    for step, count in zip(then, further, strict=True):
        steps.append((step, list(operands[at:at + count])))
        at += count
    return head, own, steps


def _known(name: str) -> OpDef:
    """Returns the row of an op. Raises Error where there is none."""
    try:
        return OPS[name]
    except KeyError:
        raise Error(f"there is no op named {name}") from None

"""Each op: its row in the table, its type, what it refuses, and the steps behind `then`."""
import inspect
from typing import Any, get_args

import numpy as np
import pytest

import ir
from ir import OPS
from ir.ops import (
    OpDef,
    Trait,
    at_sizes,
    evaluate,
    infer,
    is_symbolic,
    normal,
    split_then,
    with_trait,
)
from ir.ops.attributes import FORMS
from ir.types import DTYPES, FLOATS, INTEGERS, NUMBERS, TensorType, symbol, type_of

B, T = symbol("B"), symbol("T")


def f32(*shape: Any) -> TensorType:
    return TensorType("f32", shape)


def i64(*shape: Any) -> TensorType:
    return TensorType("i64", shape)


def bools(*shape: Any) -> TensorType:
    return TensorType("bool", shape)


def randn(*shape: int, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# -- the table -------------------------------------------------------------------------------------

def test_traits() -> None:
    """Each is explained, some op has it, and none is implied by what it is not."""
    explained = {line.split()[0] for line in str(OpDef.__doc__).splitlines()[4:] if line.strip()}
    assert explained == {*get_args(Trait)} == {t for op in OPS.values() for t in op.traits}
    for narrow, wide in [("commutative", "elementwise"), ("idempotent", "elementwise"),
                         ("involution", "elementwise"), ("predicate", "elementwise"),
                         ("division", "elementwise"), ("arg_reduction", "reduction"),
                         ("extreme", "reduction"), ("same_order", "view")]:
        assert with_trait(narrow) < with_trait(wide)
    kinds = [with_trait(t) for t in ("elementwise", "reduction", "gather", "view")]
    assert sum(map(len, kinds)) == len(frozenset().union(*kinds))


@pytest.mark.parametrize("name", sorted(with_trait("idempotent") | with_trait("involution")))
def test_what_an_op_makes_of_its_own_result(name: str) -> None:
    dtype = bool if name == "logical_not" else np.float64
    x = np.array([-np.inf, -2.5, -0.5, -0.0, 0.0, 0.5, 2.5, np.inf, np.nan]).astype(dtype)
    once = evaluate(name, [x], {})
    wanted = once if name in with_trait("idempotent") else x
    assert evaluate(name, [once], {}).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("name", OPS)
def test_an_op_has_every_aspect(name: str) -> None:
    op = OPS[name]
    assert op.name == name and op.attrs == tuple(a for a in op.attrs if a in FORMS)
    parameters = inspect.signature(op.infer).parameters.values()
    assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == set(op.attrs)
    assert not (op.elementwise and op.attrs) or name == "cast"
    assert not op.elementwise or op.arity[0] == op.arity[1]


# -- types -----------------------------------------------------------------------------------------

ATTENTION = {"scale": 0.5, "fill": -np.inf, "seen": True, "zeroed": "none"}

TYPES: list[tuple[str, list[Any], dict[str, Any], TensorType]] = [
    ("add", [f32(B, 4), f32(4)], {}, f32(B, 4)),
    ("add", [f32(B, 1), f32(1, T)], {}, f32(B, T)),
    ("add", [f32(), 0.5], {}, f32()),
    ("add", [0.5, f32(1, B)], {}, f32(1, B)),
    ("add", [f32(0), f32(1)], {}, f32(0)),
    ("linear", [f32(B, T, 4), f32(3, 4), f32(3)], {}, f32(B, T, 3)),
    ("linear", [f32(4), f32(3, 4)], {}, f32(3)),
    ("matmul", [f32(B, 1, 2, T), f32(5, T, 3)], {}, f32(B, 5, 2, 3)),
    ("attention", [f32(B, 2, T, 4), f32(B, 1, 3, 4), f32(3, 5), bools(T, 1), f32(B, 1, 1, 3)],
     ATTENTION, f32(B, 2, T, 5)),
    ("embedding", [TensorType("i32", (B, T)), f32(10, 4)], {}, f32(B, T, 4)),
    ("softmax", [f32(B, T)], {"axis": 1, "scale": 2.0}, f32(B, T)),
    ("layer_norm", [f32(B, 3, 4), f32(3, 4)], {"axes": (1, 2), "eps": 0.1}, f32(B, 3, 4)),
    ("sum", [f32(B, T, 4)], {"axes": (1,), "keepdims": True}, f32(B, 1, 4)),
    ("max", [f32(B, T, 4)], {"axes": (2, 0), "keepdims": False}, f32(T)),
    ("reshape", [f32(B, T, 4)], {"shape": (4 * B, T)}, f32(4 * B, T)),
    ("reshape", [f32(0, 3)], {"shape": (0,)}, f32(0)),
    ("transpose", [f32(B, T, 4)], {"axes": (2, 0, 1)}, f32(4, B, T)),
    ("slice", [f32(B, T)], {"axis": 1, "start": 1, "stop": T}, f32(B, T - 1)),
    ("slice", [f32(B, 8)], {"axis": 1, "start": 2, "stop": 2}, f32(B, 0)),
    ("concat", [f32(B, 2), f32(B, T), f32(B, 2)], {"axis": 1}, f32(B, T + 4)),
    ("concat", [f32(B)], {"axis": 0}, f32(B)),
    ("dropout", [f32(B)], {"p": 0.5}, f32(B)),
    ("matmul", [f32(B, 4), f32(4, 2)], {}, f32(B, 2)),
    ("log_softmax", [f32(B, T)], {"axis": 0}, f32(B, T)),
    ("cumsum", [i64(B, T)], {"axis": 0}, i64(B, T)),
    ("rms_norm", [f32(B, 3, 4), f32(4)], {"axes": (2,), "eps": 0.1}, f32(B, 3, 4)),
    ("prod", [i64(B, 4)], {"axes": (1,), "keepdims": False}, i64(B)),
    ("mean", [f32(B, 4)], {"axes": (), "keepdims": False}, f32(B, 4)),
    ("min", [i64(B, 4)], {"axes": (1,), "keepdims": True}, i64(B, 1)),
    ("any", [bools(B, 4)], {"axes": (0,), "keepdims": False}, bools(4)),
    ("all", [bools(B, 4)], {"axes": (0, 1), "keepdims": False}, bools()),
    ("argmax", [f32(B, T)], {"axis": 1, "keepdims": False}, i64(B)),
    ("argmin", [i64(B, T)], {"axis": 0, "keepdims": True}, i64(1, T)),
    ("embedding_bag", [i64(T), i64(B), f32(9, 4)],
     {"mode": "max", "include_last": False, "padding": -1}, f32(B, 4)),
    ("embedding_bag", [i64(T), i64(B), f32(9, 4), f32(T)],
     {"mode": "sum", "include_last": True, "padding": 3}, f32(B - 1, 4)),
    ("take", [bools(B, T, 4), i64(5)], {"axis": 1}, bools(B, 5, 4)),
    ("take", [f32(B, 4), i64(T, 3)], {"axis": 1}, f32(B, T, 3)),
    ("take", [f32(B, 4), i64()], {"axis": 0}, f32(4)),
    ("take_along", [f32(B, 4), i64(B, 9)], {"axis": 1}, f32(B, 9)),
    ("take_along", [f32(B, 4), i64(T, 3)], {"axis": 1}, f32(T, 3)),
    ("scatter_add", [i64(B, 1), f32(B, 4)], {"axis": 0, "size": T}, f32(T, 4)),
    ("scatter_add", [i64(B, 2), i64(B, 2)], {"axis": 1, "size": 7}, i64(B, 7)),
    ("scatter_add", [i64(4), f32(B, 4)], {"axis": 1, "size": 2}, f32(B, 2)),
    ("first_equal", [TensorType("i32", (B,))], {}, i64(B)),
    ("put_rows", [i64(B), f32(B, 2, 3), f32(T, 2, 3)], {}, f32(T, 2, 3)),
    ("put_rows", [i64(2), bools(2), bools(B)], {}, bools(B)),
    ("topk_ids", [f32(B, 4)], {"axis": 1, "k": 2, "largest": True, "sorted": True}, i64(B, 2)),
    ("topk_ids", [i64(T)], {"axis": 0, "k": T, "largest": False, "sorted": True}, i64(T)),
    ("tree_walk", [f32(B, 4), TensorType("i32", (9, 3)), f32(9), TensorType("i32", (2,))],
     {"steps": 3}, TensorType("i32", (B, 2))),
    ("iota", [], {"shape": (B, 4), "axis": 0, "dtype": "f64"}, TensorType("f64", (B, 4))),
    ("full", [0.5], {"shape": (B, T + 1), "dtype": "f32"}, f32(B, T + 1)),
    ("full", [1.0], {"shape": (), "dtype": "bool"}, bools()),
    ("size", [], {"dim": 2 * B + 1}, i64()),
    ("uniform", [i64(2)], {"shape": (B, 3), "dtype": "f64", "stream": 7},
     TensorType("f64", (B, 3))),
    ("identity", [bools(B)], {}, bools(B)),
    ("detach", [f32(B)], {}, f32(B)),
    ("slice", [f32(B, 8)], {"axis": 1, "start": 0, "stop": 7, "step": 3}, f32(B, 3)),
    ("slice", [f32(B, 8)], {"axis": 1, "start": 6, "stop": 0, "step": -2}, f32(B, 3)),
    ("slice", [f32(B, 8)], {"axis": 0, "start": B - 1, "stop": -1, "step": -1}, f32(B, 8)),
    ("slice", [f32(2 * B)], {"axis": 0, "start": 1, "stop": 2 * B, "step": 2}, f32(B)),
    ("slice", [f32(2 * B + 1)], {"axis": 0, "start": 0, "stop": 2 * B + 1, "step": 2}, f32(B + 1)),
    ("slice", [f32(0)], {"axis": 0, "start": -1, "stop": -1, "step": -1}, f32(0)),
    ("expand", [f32(1, 4)], {"shape": (T, B, 4)}, f32(T, B, 4)),
    ("expand", [f32(B, 1)], {"shape": (B, 0)}, f32(B, 0)),
    ("concat", [i64(B), i64(T)], {"axis": 0}, i64(B + T)),
    ("pad", [i64(B, 4)], {"low": (1, 0), "high": (T, 2), "value": -1.0}, i64(B + T + 1, 6)),
    ("where", [bools(B, 1), f32(4), 0.0], {}, f32(B, 4)),
    ("where", [bools(B, 1), 1.0, i64()], {}, i64(B, 1)),
    ("where", [bools(B), bools(B), 0.0], {}, bools(B)),
    ("cast", [f32(B)], {"dtype": "bool"}, bools(B)),
    ("eq", [bools(B), 1.0], {}, bools(B)),
    ("lt", [i64(B, 1), i64(T)], {}, bools(B, T)),
    ("isnan", [f32(B)], {}, bools(B)),
    ("logical_and", [bools(B), bools(2, 1)], {}, bools(2, B)),
    ("left_shift", [TensorType("i32", (B,)), 3.0], {}, TensorType("i32", (B,))),
    ("softplus", [f32(B), 1.0, 20.0], {}, f32(B)),
    ("leaky_relu", [f32(B, 4), f32(4)], {}, f32(B, 4)),
    ("cast", [i64(B), 0.5], {"dtype": "f32", "then": ("mul",)}, f32(B)),
    ("add", [f32(B), f32(B), 1.0, 20.0], {"then": ("softplus",)}, f32(B)),
    ("eq", [f32(B), 1.0, bools(B)], {"then": ("logical_and", "logical_not")}, bools(B)),
    ("linear", [f32(B, 4), f32(3, 4), f32(B, 3)], {"then": ("relu", "add")}, f32(B, 3)),
    ("exp", [f32(B), 2.0, f32()], {"then": ("mul", "add")}, f32(B)),
]


@pytest.mark.parametrize("name, operands, attrs, expected", TYPES)
def test_inferred_types(name: str, operands: list[Any], attrs: dict[str, Any],
                        expected: TensorType) -> None:
    assert infer(name, operands, attrs) == expected


def test_every_op_that_has_a_rule_of_its_own_is_here() -> None:
    rules = {OPS[name].infer for name, *_ in TYPES}
    assert rules >= {op.infer for op in OPS.values()} - {OPS["logical_or"].infer}


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.elementwise])
def test_the_types_an_elementwise_op_takes(name: str) -> None:
    """And that a value has the type inferred; others are refused."""
    takes = {DTYPES["f32"]: FLOATS, DTYPES["i64"]: NUMBERS, DTYPES["bool"]: tuple(DTYPES)}
    taken = []
    for dtype in DTYPES:
        x = np.ones(3, DTYPES[dtype])
        operands = [x] * int(OPS[name].arity[0])
        if name == "where":
            operands[0] = np.ones(3, bool)
        attrs = {"dtype": "i8"} if name == "cast" else {}
        try:
            expected = infer(name, [type_of(a) for a in operands], attrs)
        except ir.Error as error:
            assert "of one type, got" in str(error)
            continue
        taken.append(dtype)
        assert type_of(evaluate(name, operands, attrs)) == expected
    assert tuple(taken) in (*takes.values(), INTEGERS, ("bool",))


def test_an_inferred_type_is_the_type_of_the_value() -> None:
    sizes = {"B": 3, "T": 2}
    for name, types, attrs, expected in TYPES:
        operands = [t if isinstance(t, float) else
                    np.zeros(at_sizes(t.shape, sizes), DTYPES[t.dtype]) for t in types]
        attrs = {key: at_sizes(value, sizes) for key, value in attrs.items()}
        got = evaluate(name, operands, attrs)
        assert type_of(got) == TensorType(expected.dtype, at_sizes(expected.shape, sizes)), name


INTS = i64(B, 4)
I8, U8 = TensorType("i8", (B,)), TensorType("u8", (B,))
BAG = {"mode": "sum", "include_last": False, "padding": -1}
DRAW = {"shape": (3,), "dtype": "f32", "stream": 0}
TOP = {"axis": 0, "k": 2, "largest": True, "sorted": True}
REFUSED: list[tuple[str, list[Any], dict[str, Any], str]] = [
    ("add", [f32(B, 4), f32(B, 3)], {}, "cannot broadcast f32[B, 4] with f32[B, 3]: 4 is not 3"),
    ("add", [f32(B), f32(T)], {}, "cannot broadcast f32[B] with f32[T]: B is not T"),
    ("add", [f32(B), f32(4)], {}, "B is not 4"),
    ("add", [f32(0), f32(2)], {}, "0 is not 2"),
    ("add", [f32(B), TensorType("f64", (B,))], {}, "numbers of one type, got f32[B], f64[B]"),
    ("add", [1.0, 2.0], {}, "numbers of one type, got plain numbers only"),
    ("exp", [INTS], {}, "floats of one type, got i64[B, 4]"),
    ("exp", [f32(B), f32(B)], {}, "exp takes 1 operand, not 2"),
    ("add", [f32(B)], {}, "add takes 2 operands, not 1"),
    ("linear", [f32(B)], {}, "linear takes 2 to 3 operands, not 1"),
    ("concat", [], {"axis": 0}, "concat takes at least 1 operands, not 0"),
    ("sine", [f32(B)], {}, "there is no op named sine"),
    ("exp", [f32(B)], {"axis": 1}, "exp has no attributes, not axis"),
    ("softmax", [f32(B)], {"axis": 0}, "softmax has the attributes axis, scale, not axis"),
    ("softmax", [f32(B)], {}, "softmax has the attributes axis, scale, and none were given"),
    ("softmax", [f32(B)], {"axis": 1, "scale": 1.0}, "f32[B] has no axis 1"),
    ("softmax", [f32(B)], {"axis": -1, "scale": 1.0}, "f32[B] has no axis -1"),
    ("softmax", [f32(B)], {"axis": True, "scale": 1.0}, "axis of softmax is an integer, not True"),
    ("softmax", [f32(B)], {"axis": 0, "scale": B}, "scale of softmax is a number, not B"),
    ("softmax", [f32(B)], {"axis": 0, "scale": 10**400}, "scale of softmax is a number"),
    ("softmax", [f32(B)], {"axis": B, "scale": 1.0}, "not known before run time"),
    ("softmax", [0.5], {"axis": 0, "scale": 1.0}, "softmax takes arrays"),
    ("sum", [f32(B)], {"axes": 0, "keepdims": True}, "axes of sum is a list of integers, not 0"),
    ("sum", [f32(B)], {"axes": (0,), "keepdims": 1}, "keepdims of sum is true or false, not 1"),
    ("sum", [f32(B)], {"axes": (0, 0), "keepdims": True}, "[0, 0] name one axis twice"),
    ("sum", [f32(B)], {"axes": (1,), "keepdims": True}, "f32[B] has no axis 1"),
    ("mean", [INTS], {"axes": (1,), "keepdims": True}, "expected floats of one type, got i64"),
    ("linear", [f32(B, 4), f32(3, 5)], {}, "linear expects 5 features, its input has 4"),
    ("linear", [f32(), f32(3, 5)], {}, "linear needs x[..., K] and a weight [N, K], got f32[] and"),
    ("linear", [f32(4), f32(4)], {}, "linear needs x[..., K]"),
    ("linear", [f32(B, 4), f32(3, 4), f32(4)], {}, "linear has 3 outputs, its bias is f32[4]"),
    ("matmul", [f32(4), f32(4)], {}, "cannot multiply matrices f32[4] @ f32[4]"),
    ("matmul", [f32(B, 4), f32(3, 4)], {}, "cannot multiply matrices"),
    ("matmul", [f32(2, B, 4), f32(3, 4, 5)], {}, "cannot broadcast f32[2] with f32[3]"),
    ("attention", [f32(T, 4), f32(4), f32(3, 5)], ATTENTION, "attention needs q[..., L, E]"),
    ("attention", [f32(T, 4), f32(3, 2), f32(3, 5)], ATTENTION, "cannot multiply matrices"),
    ("attention", [f32(T, 4), f32(3, 4), f32(2, 5)], ATTENTION, "cannot multiply matrices"),
    ("attention", [f32(T, 4), f32(3, 4), f32(3, 5), f32(2, 1, 3)], ATTENTION,
     "cannot have the mask f32[2, 1, 3]"),
    ("attention", [f32(T, 4), f32(3, 4), f32(3, 5), i64(T, 3)], ATTENTION,
     "cannot have the mask i64[T, 3]"),
    ("attention", [f32(T, 4), f32(3, 4)], ATTENTION, "attention takes at least 3 operands, not 2"),
    ("attention", [f32(T, 4), f32(3, 4), f32(3, 5)], ATTENTION | {"zeroed": "all"},
     "zeroed of attention is none, unseen, masked or undefined, not 'all'"),
    ("attention", [f32(T, 4), f32(3, 4), f32(3, 5), bools(3)], ATTENTION | {"zeroed": "masked"},
     "has one mask, of floats, not bool[3]"),
    ("embedding", [f32(B), f32(10, 4)], {}, "embedding needs i32 or i64 ids"),
    ("embedding", [INTS, f32(10)], {}, "a table [V, D]"),
    ("embedding", [INTS, TensorType("i64", (10, 2))], {}, "expected floats"),
    ("layer_norm", [f32(B, 4), f32(3)], {"axes": (1,), "eps": 0.1},
     "layer_norm over [4] cannot use a weight or bias f32[3]"),
    ("layer_norm", [f32(B, 4)], {"axes": (0,), "eps": 0.1}, "over the last axes in order"),
    ("layer_norm", [f32(B, 4)], {"axes": (1, 0), "eps": 0.1}, "over the last axes in order"),
    ("layer_norm", [f32(B, 4)], {"axes": (), "eps": 0.1}, "over the last axes in order"),
    ("reshape", [f32(B, 4)], {"shape": (4, 4)}, "reshape f32[B, 4] to [4, 4]: 4*B is not 16"),
    ("reshape", [f32(B, 4)], {"shape": (-1,)}, "-1 is no size of an axis"),
    ("reshape", [f32(B, 4)], {"shape": (0.5,)}, "shape of reshape is a list of sizes"),
    ("transpose", [f32(B, 4)], {"axes": (0,)}, "[0] is not an order of the axes of f32[B, 4]"),
    ("transpose", [f32(B, 4)], {"axes": (0, 0)}, "is not an order"),
    ("slice", [f32(B, 4)], {"axis": 1, "start": 2, "stop": 5}, "2:5 is outside axis 1 of f32[B"),
    ("slice", [f32(B, 4)], {"axis": 1, "start": -1, "stop": 3}, "-1:3 is outside"),
    ("slice", [f32(B, 4)], {"axis": 1, "start": 3, "stop": 2}, "3:2 is outside"),
    ("slice", [f32(B, 4)], {"axis": 0, "start": 0, "stop": B + 1}, "0:B + 1 is outside"),
    ("slice", [f32(B, 4)], {"axis": 2, "start": 0, "stop": 1}, "has no axis 2"),
    ("concat", [f32(B, 2), f32(B, 2, 1)], {"axis": 1}, "cannot concatenate f32[B, 2] and"),
    ("concat", [f32(B, 2), f32(T, 2)], {"axis": 1}, "cannot concatenate"),
    ("concat", [f32(B, 2), TensorType("f64", (B, 2))], {"axis": 1}, "cannot concatenate"),
    ("dropout", [f32(B)], {"p": 1.5}, "dropout needs a probability, got p = 1.5"),
    ("add", [bools(B), bools(B)], {}, "expected numbers of one type, got bool[B], bool[B]"),
    ("neg", [bools(B)], {}, "expected numbers"),
    ("div", [INTS, INTS], {}, "expected floats"),
    ("isnan", [INTS], {}, "expected floats"),
    ("eq", [f32(B), i64(B)], {}, "expected arrays of one type, got f32[B], i64[B]"),
    ("eq", [1.0, 2.0], {}, "got plain numbers only"),
    ("logical_and", [f32(B), f32(B)], {}, "expected bools of one type, got f32[B], f32[B]"),
    ("bitwise_or", [f32(B), f32(B)], {}, "expected integers of one type, got f32[B], f32[B]"),
    ("where", [f32(B), f32(B), f32(B)], {}, "where needs a condition of bools, got f32[B]"),
    ("where", [1.0, f32(B), f32(B)], {}, "where needs a condition of bools, got 1.0"),
    ("where", [bools(B), 1.0, 2.0], {}, "got plain numbers only"),
    ("where", [bools(B), f32(B), i64(B)], {}, "arrays of one type, got f32[B], i64[B]"),
    ("where", [bools(T), f32(B), 0.0], {}, "cannot broadcast bool[T] with f32[B]"),
    ("add", [INTS, 0.5], {}, "the number 0.5 cannot be i64, which takes whole ones from -9007199"),
    ("add", [INTS, float("nan")], {}, "the number nan cannot be i64"),
    ("add", [INTS, float("-inf")], {}, "the number -inf cannot be i64"),
    ("add", [INTS, 2.0**54], {}, "cannot be i64, which takes whole ones from -9007199254740992 to"),
    ("add", [I8, 128.0], {}, "cannot be i8, which takes whole ones from -128 to 127; cast the"),
    ("sub", [-1.0, U8], {}, "cannot be u8, which takes whole ones from 0 to 255"),
    ("logical_or", [bools(B), 2.0], {}, "cannot be bool, which takes whole ones from 0 to 1"),
    ("add", [INTS, INTS, 0.5], {"then": ("mul",)}, "the number 0.5 cannot be i64"),
    ("cast", [0.5], {"dtype": "f32"}, "got plain numbers only"),
    ("cast", [f32(B)], {"dtype": "f16"}, "dtype of cast is an element type: f32, f64, i8, u8"),
    ("cast", [f32(B)], {"dtype": np.float32}, "dtype of cast is an element type"),
    ("mean", [bools(B)], {"axes": (0,), "keepdims": True}, "expected floats"),
    ("sum", [bools(B)], {"axes": (0,), "keepdims": True}, "expected numbers"),
    ("any", [f32(B)], {"axes": (0,), "keepdims": True}, "expected bools"),
    ("argmax", [f32(B, 0)], {"axis": 1, "keepdims": True}, "there is no max or min of f32[B, 0]"),
    ("argmax", [f32(B)], {"axis": 1, "keepdims": True}, "has no axis 1"),
    ("rms_norm", [f32(B, 4), f32(4), f32(4)], {"axes": (1,), "eps": 0.1}, "takes 1 to 2 operands"),
    ("rms_norm", [f32(B, 4)], {"axes": (0,), "eps": 0.1}, "rms_norm is over the last axes"),
    ("cumsum", [bools(B)], {"axis": 0}, "expected numbers"),
    ("embedding_bag", [i64(T, 2), i64(B), f32(9, 4)], BAG, "needs i32 or i64 ids [N] and offsets"),
    ("embedding_bag", [i64(T), f32(B), f32(9, 4)], BAG, "needs i32 or i64 ids [N] and offsets"),
    ("embedding_bag", [i64(T), i64(B), i64(9, 4)], BAG, "expected floats"),
    ("embedding_bag", [i64(T), i64(B), f32(9, 4), f32(B)], BAG, "takes weights of this shape"),
    ("embedding_bag", [i64(T), i64(B), f32(9, 4), f32(T)], {**BAG, "mode": "max"},
     "to sum, not f32[T] for its max"),
    ("embedding_bag", [i64(T), i64(B), f32(9, 4)], {**BAG, "mode": "median"},
     "mode of embedding_bag is sum, mean or max, not 'median'"),
    ("embedding_bag", [i64(T), i64(0), f32(9, 4)], {**BAG, "include_last": True}, "cannot do with"),
    ("embedding_bag", [i64(T), i64(B), f32(9, 4)], {**BAG, "padding": -2}, "padding -2"),
    ("take", [f32(B), f32(B)], {"axis": 0}, "expected i32 or i64 ids of one type, got f32[B]"),
    ("take", [f32(B), U8], {"axis": 0}, "expected i32 or i64 ids"),
    ("take", [f32(B), i64(B)], {"axis": 1}, "has no axis 1"),
    ("take_along", [f32(B, 4), i64(4)], {"axis": 1}, "take_along i64[4] reaches outside of"),
    ("scatter_add", [i64(B, 4), f32(1, 4)], {"axis": 0, "size": 2}, "ids that broadcast to"),
    ("scatter_add", [i64(4), f32(4)], {"axis": 0, "size": -1}, "-1 is no size"),
    ("scatter_add", [f32(4), f32(4)], {"axis": 0, "size": 2}, "i32 or i64 ids"),
    ("first_equal", [f32(4)], {}, "i32 or i64 ids"),
    ("first_equal", [i64(B, 4)], {}, "needs a vector of ids, got i64[B, 4]"),
    ("put_rows", [i64(B), f32(T, 4), f32(9, 4)], {}, "needs ids [N], rows [N, ...]"),
    ("put_rows", [i64(B), f32(B, 3), f32(9, 4)], {}, "needs ids [N], rows [N, ...]"),
    ("put_rows", [i64(B), f32(B), f32()], {}, "needs ids [N], rows [N, ...]"),
    ("put_rows", [i64(B), i64(B), f32(4)], {}, "of one type"),
    ("scatter_add", [i64(4), bools(4)], {"axis": 0, "size": 2}, "expected numbers"),
    ("take_along", [f32(3, 4), i64(5, 4)], {"axis": 1}, "on an axis other than 1"),
    ("take_along", [f32(B, 4), i64(B + 1, 4)], {"axis": 1}, "on an axis other than 1"),
    ("topk_ids", [f32(1)], TOP, "there are no 2 elements along axis 0 of f32[1]"),
    ("topk_ids", [f32(B)], {**TOP, "k": -1}, "there are no -1 elements"),
    ("topk_ids", [f32(B)], {**TOP, "k": B + 1}, "there are no B + 1 elements"),
    ("topk_ids", [f32(B)], {**TOP, "sorted": 1}, "sorted of topk_ids is true or false, not 1"),
    ("topk_ids", [bools(B)], TOP, "expected numbers"),
    ("iota", [f32(B)], {"shape": (3,), "axis": 0, "dtype": "i64"}, "takes 0 operand, not 1"),
    ("size", [f32(B)], {"dim": B}, "takes 0 operand, not 1"),
    ("uniform", [i64(3)], DRAW, "needs a seed i64[2]"),
    ("uniform", [i64(2)], {**DRAW, "stream": -1}, "no number of a stream"),
    ("uniform", [i64(2)], {**DRAW, "dtype": "i64"}, "uniform numbers are floats"),
    ("uniform", [i64(2)], {**DRAW, "shape": (-3,)}, "-3 is no size of an axis"),
    ("size", [], {"dim": 0.5}, "dim of size is a size, not 0.5"),
    ("iota", [], {"shape": (3,), "axis": 0, "dtype": "bool"}, "expected numbers"),
    ("iota", [], {"shape": (), "axis": 0, "dtype": "i64"}, "has no axis 0"),
    ("iota", [], {"shape": (-1,), "axis": 0, "dtype": "i64"}, "-1 is no size of an axis"),
    ("full", [0.5], {"shape": (3,), "dtype": "i64"}, "the number 0.5 cannot be i64"),
    ("full", [f32(B)], {"shape": (3,), "dtype": "f32"}, "full takes a plain number"),
    ("full", [0.5], {"shape": (3,)}, "full has the attributes shape, dtype, not shape"),
    ("expand", [f32(3, 4)], {"shape": (3, 8)}, "cannot broadcast f32[3, 4] with f32[3, 8]"),
    ("expand", [f32(3, 4)], {"shape": (4,)}, "cannot expand f32[3, 4] to [4]"),
    ("expand", [f32(3, 4)], {"shape": (3, 1)}, "cannot expand f32[3, 4] to [3, 1]"),
    ("expand", [f32(B)], {"shape": (T,)}, "B is not T"),
    ("slice", [f32(8)], {"axis": 0, "start": 0, "stop": 8, "step": 0}, "have the step 0"),
    ("slice", [f32(8)], {"axis": 0, "start": 8, "stop": 0, "step": -1}, "8:0:-1 is outside axis 0"),
    ("slice", [f32(8)], {"axis": 0, "start": 3, "stop": -2, "step": -1}, "3:-2:-1 is outside"),
    ("slice", [f32(8)], {"axis": 0, "start": 3, "stop": 4, "step": -1}, "3:4:-1 is outside"),
    ("slice", [f32(B)], {"axis": 0, "start": 0, "stop": B, "step": 2},
     "how many steps of 2 there are in B is not known before run time"),
    ("slice", [f32(B)], {"axis": 0, "start": 0, "stop": B, "step": 2.0}, "step of slice is an int"),
    ("pad", [f32(4)], {"low": (1, 1), "high": (0,), "value": 0}, "cannot pad f32[4] by [1, 1] and"),
    ("pad", [f32(4)], {"low": (-1,), "high": (0,), "value": 0}, "it takes a size of 0 or more"),
    ("pad", [INTS], {"low": (0, 0), "high": (0, 0), "value": 0.5}, "the number 0.5 cannot be i64"),
    ("exp", [f32(B)], {"then": ("cast",)}, "cast has attributes, so it cannot stand behind `then`"),
    ("exp", [f32(B), 0.0], {"then": ("gt",)}, "`then gt` would change f32[B] into bool[B]"),
    ("full", [0.5], {"shape": (3,), "dtype": "f32", "then": ("softmax",)}, "softmax is not elem"),
    ("exp", [f32(B)], {"then": ("softmax",)}, "softmax is not elementwise"),
    ("exp", [f32(B)], {"then": ("sine",)}, "there is no op named sine"),
    ("exp", [f32(B)], {"then": ("add",)}, "exp takes 1 operand, not 0"),
    ("exp", [f32(B)], {"then": ("add", "add")}, "takes more operands than 1"),
    ("exp", [f32(B), f32(T, B)], {"then": ("add",)}, "`then add` would change f32[B] into f32[T"),
    ("exp", [f32(B)], {"then": "relu"}, "then of exp is a list of ops, not 'relu'"),
    ("exp", [f32(B)], {"then": (1,)}, "then of exp is a list of ops"),
    ("reshape", [f32(B)], {"shape": (B,), "then": ("exp",)}, "reshape only moves data"),
]


@pytest.mark.parametrize("name, operands, attrs, message", REFUSED)
def test_refused(name: str, operands: list[Any], attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(ir.Error) as error:
        infer(name, operands, attrs)
    assert message in str(error.value)


# -- attributes and then ---------------------------------------------------------------------------

def test_attributes_have_one_form() -> None:
    given_attrs = {"scale": np.float32(2), "axis": np.int64(1), "then": []}
    assert repr(normal("softmax", given_attrs)) == repr({"axis": 1, "scale": 2.0})
    attrs = normal("reshape", {"shape": [np.int32(2), B]})
    assert repr(attrs) == "{'shape': (2, B)}"
    assert normal("sum", {"axes": [0], "keepdims": np.bool_(True)})["keepdims"] is True


def test_an_attribute_with_a_default_need_not_be_given() -> None:
    attrs = {"axis": 0, "start": 0, "stop": 2}
    assert repr(normal("slice", attrs)) == repr({**attrs, "step": 1})
    assert {name: dict(op.defaults) for name, op in OPS.items() if op.defaults} == {
        "slice": {"step": 1}}


def test_then_takes_its_operands_from_the_tail() -> None:
    head, own, steps = split_then("linear", ["x", "w", "r", "s"],
                                  {"then": ("add", "relu", "mul")})
    assert head == ["x", "w"] and own == {}
    assert steps == [("add", ["r"]), ("relu", []), ("mul", ["s"])]


def test_then_is_the_composition_of_its_steps() -> None:
    x, w, r = randn(3, 4), randn(5, 4, seed=1), randn(3, 5, seed=2)
    got = evaluate("linear", [x, w, r, 0.5], {"then": ("gelu", "add", "mul")})
    by_hand = evaluate("linear", [x, w], {})
    for name, others in [("gelu", []), ("add", [r]), ("mul", [0.5])]:
        by_hand = evaluate(name, [by_hand, *others], {})
    np.testing.assert_array_equal(got, by_hand)


def test_what_is_symbolic() -> None:
    assert is_symbolic(B) and is_symbolic((1, (2, B))) and not is_symbolic((1, "B"))

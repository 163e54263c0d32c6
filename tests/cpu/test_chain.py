"""Chains: what they take, what dtypes their operands have, and what they are in NumPy."""
from __future__ import annotations

import itertools

import numpy as np
import pytest

import ir
from ir.ops import OPS
from ir.types import DTYPES
from nncompile.cpu.kernels import LANE_OPS
from nncompile.cpu.kernels import chain as chains


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.elementwise])
def test_dtypes_are_the_type_rules(name):
    """A chain of one op, on its own and behind a value, is legal where ir says so."""
    arity = LANE_OPS[name].arity
    for source, dtype in itertools.product(DTYPES, DTYPES):
        types = [ir.TensorType(source, (3,))] * arity
        if name == "where":
            types = [ir.TensorType(source, (3,)), *[ir.TensorType(dtype, (3,))] * 2]
        attrs = {"dtype": dtype} if name == "cast" else {}
        try:
            result = ir.ops.infer(name, types, attrs).dtype
        except ir.Error:
            result = None
        starts = chain_is_legal(((name, "v" * arity),), starts=True, dtype=dtype, source=source)
        # the source of a where is bool, and need not be said
        said = name == "where" and source == dtype
        assert starts == (said or result == dtype), (source, dtype)
        if source == dtype:
            further = chain_is_legal(((name, "v" * (arity - 1)),), starts=False, dtype=dtype)
            assert further == (result == dtype and name != "cast"), dtype


def chain_is_legal(chain, **dtypes):
    try:
        chains.check(chain, "v", **dtypes)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("chain, keywords, message", [
    ((("fly", "v"),), {}, "no elementwise op 'fly'; there are copy, add"),
    ((("add", "vv"),), {}, "add takes 1 further operands of the kinds 'vs', not 'vv'"),
    ((("add", "g"),), {}, "not 'g'"),
    ((("exp", ""),), {"dtype": "i64"}, "exp is not for i64, only for f32, f64"),
    ((("lt", "v"),), {}, "lt of f32 is bool, not f32"),
    ((("cast", ""),), {}, "can only begin"),
    ((("where", "vv"),), {}, "where takes bools first"),
    ((("add", "vv"),), {"starts": True, "source": "f64"}, "add of f64 is f64, not f32"),
])
def test_what_is_refused(chain, keywords, message):
    with pytest.raises(ValueError, match=message):
        chains.check(chain, "vs", **keywords)


def test_dtypes_of_operands():
    assert chains.operand_dtypes(()) == ()
    assert chains.operand_dtypes((("add", "v"), ("relu", ""), ("mul", "s"))) == ("f32", "f32")
    chain = (("lt", "vs"), ("logical_and", "v"))
    assert chains.operand_dtypes(chain, "bool", "i64") == ("i64", "i64", "bool")
    chain = (("where", "vvs"), ("add", "v"))
    assert chains.operand_dtypes(chain, "f64") == ("bool", "f64", "f64", "f64")
    assert chains.operand_dtypes((("where", "vv"),), "bool") == ("bool", "bool")
    assert chains.operand_dtypes((("cast", "g"), ("exp", "")), "f32", "u8") == ("u8",)


def test_long_chains_and_faults():
    assert chains.is_long((("add", "v"), ("gelu", ""))) and not chains.is_long((("relu", ""),))
    assert chains.may_fault((("remainder", "v"),), "i32")
    assert not chains.may_fault((("remainder", "v"),), "f32")
    assert not chains.may_fault((("add", "v"),), "i32")


def test_evaluate():
    x, y = np.array([7, -7, 3], np.int32), np.array([2, 0, -2], np.int32)
    faults = []
    result = chains.evaluate((("floor_div", "v"), ("add", "s")), x, [y, np.int32([1])], "i32",
                             faults.append)
    assert result.tolist() == [4, 1, -1] and result.dtype == np.int32
    assert [f.tolist() for f in faults] == [[False, True, False]]
    result = chains.evaluate((("cast", "v"), ("exp", "")), None, [np.array([0, 1000])], "f32")
    assert result.tolist() == [1, np.inf] and result.dtype == np.float32

"""One table of ordinary, odd and wrong calls, which every way to run a model answers alike."""
from __future__ import annotations

import array
import copy
import datetime
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import nncompile
from nncompile import nn, options

MODES: dict[str, dict[str, Any]] = {
    "compiled": {}, "portable": {"call": "portable"}, "python": {"jit": False},
    "avx2": {"target": "avx2"}, "generic": {"target": "generic"},
}


class Pair(nn.Module):
    def forward(self, left, right):
        return left - right, left + right


class Nested(nn.Module):
    def forward(self, batch, sign=True):
        return {"difference": batch["left"] - batch["right"]}


class Named(nn.Module):
    def forward(self, out, *, threads, keywords=None):
        return out - threads


class Sums(nn.Module):
    def forward(self, x):
        return (x.sum(1), x.mean(1), x.prod(1), (x > 0).any(1), (x > 0).all(1), x.var(1), x.std(1),
                x.softmax(1), x.log_softmax(1), x.cumsum(1),
                (x * x).sum(1))


class Extremes(nn.Module):
    def forward(self, x):
        return x.amax(1), x.amin(1), x.argmax(1), x.argmin(1)


F, ROW = "f32[B, 3]", {"left": "f32[B, 3]", "right": "f32[B, 3]"}
MODELS: dict[str, Callable[[], Any]] = {
    "one": lambda: nncompile.compile(nn.ReLU(), F, threads=1),
    "pair": lambda: nncompile.compile(Pair(), F, F, threads=1),
    "nested": lambda: nncompile.compile(Nested(), ROW, threads=1),
    "named": lambda: nncompile.compile(Named(), F, keywords={"threads": F}, threads=1),
    **{kind: lambda kind=kind: nncompile.compile(nn.Identity(), f"{kind}[B, 3]", threads=1)
       for kind in ("f64", "i64", "i32", "u8", "i8", "bool")},
    "sums": lambda: nncompile.compile(Sums(), "f32[B, T]", threads=1),
    "extremes": lambda: nncompile.compile(Extremes(), "f32[B, T]", threads=1),
    "scalar": lambda: nncompile.compile(nn.Identity(), "f32[]", threads=1),
    "table": lambda: nncompile.compile(nn.Embedding.from_pretrained(
        np.arange(12, dtype=np.float32).reshape(4, 3)).eval(), "i64[B]", threads=1),
}


class Case(NamedTuple):
    model: str
    call: Callable[[Any], Any]
    answer: Any                                  # the arrays, or what an InputError says


def f(*rows: Any) -> np.ndarray:
    return np.array(rows, np.float32)


X, Y = f([1, -2, 3], [-4, 5, 6]), f([1, 1, 1], [2, 2, 2])
ONE, DIFFERENCE, SUM = np.maximum(X, 0), X - Y, X + Y
TOO_MANY = "takes 1 input, got 2; outputs are given as out="
IDS = np.array([[1, 2, 3], [4, 5, 6]])
nan = np.float32("nan")


def new(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def written(out: np.ndarray, call: Callable[[np.ndarray], Any]) -> Any:
    assert call(out) is out
    return np.array(out)


def unwritten(call: Callable[..., Any], *more: tuple[int, ...]) -> Any:
    """What a call with outputs in a wrong place says; it must leave them alone."""
    outs = [np.full(shape, 7, np.float32) for shape in ((2, 3), *more)]
    try:
        return call(*outs)
    finally:
        assert all((out == 7).all() for out in outs)


def read_only() -> np.ndarray:
    out = new(2, 3)
    out.flags.writeable = False
    return out


def unaligned(x: np.ndarray) -> np.ndarray:
    return np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)


def strided(x: np.ndarray) -> np.ndarray:
    return np.repeat(np.repeat(x, 2, 0), 2, 1)[::2, ::2]


class Own(np.ndarray):
    pass


class Broken:
    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise OverflowError("no array today")


class Speaks:
    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        return X


class Items(dict):
    """Whose attributes are its items."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Sparse:
    def toarray(self) -> np.ndarray:
        return X


as_strided = np.lib.stride_tricks.as_strided
CASES: dict[str, Case] = {
    # -- spellings -------------------------------------------------------------------------------
    "plain": Case("one", lambda m: m(X), ONE),
    "by name": Case("one", lambda m: m(input=X), ONE),
    "by a name that is not interned": Case("one", lambda m: m(**{"".join(["in", "put"]): X}), ONE),
    "two by name": Case("pair", lambda m: m(right=Y, left=X), (DIFFERENCE, SUM)),
    "one of two by name": Case("pair", lambda m: m(X, right=Y), (DIFFERENCE, SUM)),
    "threads": Case("one", lambda m: m(X, threads=1), ONE),
    "threads=None": Case("one", lambda m: m(X, threads=None), ONE),
    "threads of NumPy": Case("one", lambda m: m(X, threads=np.int64(1)), "threads must be"),
    "more threads than CPUs": Case("one", lambda m: m(X, threads=7), ONE),
    "threads=0": Case("one", lambda m: m(X, threads=0), "threads must be a whole number.*not 0"),
    "threads=True": Case("one", lambda m: m(X, threads=True), "threads must be"),
    "threads=2.0": Case("one", lambda m: m(X, threads=2.0), "threads must be"),
    "threads=2**70": Case("one", lambda m: m(X, threads=2**70), "threads must be"),
    "out": Case("one", lambda m: written(new(2, 3), lambda o: m(X, out=o)), ONE),
    "out=None": Case("one", lambda m: m(X, out=None), ONE),
    "out=None, of two": Case("pair", lambda m: m(X, Y, out=None), (DIFFERENCE, SUM)),
    "out=(a,)": Case("one", lambda m: written(new(2, 3), lambda o: m(X, out=(o,))), ONE),
    "out=(a, b)": Case("pair", lambda m: m(X, Y, out=(new(2, 3), new(2, 3))), (DIFFERENCE, SUM)),
    "out=[a, b]": Case("pair", lambda m: m(X, Y, out=[new(2, 3), new(2, 3)]), (DIFFERENCE, SUM)),
    "all by name": Case("pair", lambda m: m(out=(new(2, 3), new(2, 3)), threads=1, right=Y, left=X),
                        (DIFFERENCE, SUM)),
    "keywords=": Case("pair", lambda m: m(X, keywords={"right": Y}), (DIFFERENCE, SUM)),
    "named like options": Case("named", lambda m: m(X, keywords={"threads": Y}), DIFFERENCE),
    "all named like options": Case("named", lambda m: m(
        keywords={"threads": Y, "out": X}, threads=1, out=new(2, 3)), DIFFERENCE),
    "named like options, missing": Case("named", lambda m: m(X), r"threads is missing(?s:.*)do: "),
    "nested": Case("nested", lambda m: m({"left": X, "right": Y})["difference"], DIFFERENCE),
    "nested by name": Case("nested", lambda m: m(batch={"left": X, "right": Y}, threads=1)[
        "difference"], DIFFERENCE),
    "nested, converted": Case("nested", lambda m: m({"left": X.tolist(), "right": strided(Y)})[
        "difference"], DIFFERENCE),
    "nested out": Case("nested", lambda m: m({"left": X, "right": Y}, out={
        "difference": new(2, 3)})["difference"], DIFFERENCE),
    "nested out, otherwise": Case("nested", lambda m: m({"left": X, "right": Y}, out=new(2, 3)),
                                  "out is a dict"),
    "the same twice": Case("pair", lambda m: m(X, X), (X - X, X + X)),
    # -- wrong numbers of arguments --------------------------------------------------------------
    "none": Case("one", lambda m: m(), "takes 1 input, got 0: 'input' is missing"),
    "too many": Case("one", lambda m: m(X, X, X), "takes 1 input, got 3; outputs are given as out"),
    "one of two": Case("pair", lambda m: m(X), "takes 2 inputs, got 1: 'right'"),
    "twice": Case("one", lambda m: m(X, input=X), "was given 'input' twice"),
    "unknown": Case("one", lambda m: m(X, inputs=X),
                    "unexpected argument 'inputs'.*there are input"),
    "self": Case("one", lambda m: m(self=X), "unexpected argument 'self'"),
    "an output by position": Case("one", lambda m: unwritten(lambda o: m(X, o)), TOO_MANY),
    "again, when its shapes are known": Case("one", lambda m: (m(X, out=new(2, 3)), unwritten(
        lambda o: m(X, o))), TOO_MANY),
    "the input as an output by position": Case("one", lambda m: (lambda x: unwritten(
        lambda _: m(x, x)))(X.copy()), TOO_MANY),
    "an output by position and threads": Case("one", lambda m: unwritten(
        lambda o: m(X, o, threads=1)), TOO_MANY),
    "an output by position and out=None": Case("one", lambda m: unwritten(
        lambda o: m(X, o, out=None)), TOO_MANY),
    "an output by position and one by name": Case("one", lambda m: unwritten(
        lambda o, other: m(X, o, out=other), (2, 3)), TOO_MANY),
    "an output by position, input converted": Case("one", lambda m: unwritten(
        lambda o: m(X.tolist(), o)), TOO_MANY),
    "an output by position, input strided": Case("one", lambda m: unwritten(
        lambda o: m(strided(X), o)), TOO_MANY),
    "an output by position, strided": Case("one", lambda m: unwritten(
        lambda o: m(X, o[:, ::2])), TOO_MANY),
    "None by position": Case("one", lambda m: m(X, None), TOO_MANY),
    "outputs by position": Case("pair", lambda m: unwritten(
        lambda o, other: m(X, Y, o, other), (2, 3)), "takes 2 inputs, got 4; outputs are given as"),
    "one of two outputs by position": Case("pair", lambda m: unwritten(
        lambda o: m(X, Y, o)), "takes 2 inputs, got 3; outputs are given as out="),
    "outputs by position, a tuple": Case("pair", lambda m: unwritten(
        lambda o, other: m(X, Y, (o, other)), (2, 3)), "takes 2 inputs, got 3; outputs are given"),
    "nested, an output by position": Case("nested", lambda m: unwritten(
        lambda o: m({"left": X, "right": Y}, o)), TOO_MANY),
    "an output in the place of an option": Case("named", lambda m: unwritten(
        lambda o: m(X, o)), "takes 1 input by position and threads by name, got 2; outputs"),
    "keywords of a list": Case("one", lambda m: m(keywords=[X]), "keywords= is a dict"),
    # -- inputs that are taken -------------------------------------------------------------------
    "strided": Case("one", lambda m: m(strided(X)), ONE),
    "backwards": Case("one", lambda m: m(X[::-1].copy()[::-1]), ONE),
    "Fortran": Case("one", lambda m: m(np.asfortranarray(X)), ONE),
    "broadcast": Case("one", lambda m: m(np.broadcast_to(X[0], (2, 3))), np.tile(ONE[0], (2, 1))),
    "unaligned": Case("one", lambda m: m(unaligned(X)), ONE),
    "swapped": Case("one", lambda m: m(X.astype(">f4")), ONE),
    "read-only": Case("one", lambda m: m(np.frombuffer(X.tobytes(), np.float32).reshape(2, 3)),
                      ONE),
    "float16": Case("one", lambda m: m(X.astype(np.float16)), ONE),
    "int8": Case("one", lambda m: m(X.astype(np.int8)), ONE),
    "uint8": Case("one", lambda m: m(IDS.astype(np.uint8)), IDS.astype(np.float32)),
    "bool": Case("one", lambda m: m(X > 0), (X > 0).astype(np.float32)),
    "float32 for f64": Case("f64", lambda m: m(X), X.astype(np.float64)),
    "int32 for i64": Case("i64", lambda m: m(IDS.astype(np.int32)), IDS),
    "uint8 for i32": Case("i32", lambda m: m(IDS.astype(np.uint8)), IDS.astype(np.int32)),
    "own class": Case("one", lambda m: m(X.view(Own)), ONE),
    "record array": Case("one", lambda m: m(X.view(np.recarray)), ONE),
    "list": Case("one", lambda m: m(X.tolist()), ONE),
    "tuple of arrays": Case("one", lambda m: m(tuple(X)), ONE),
    "list of int": Case("one", lambda m: m(IDS.tolist()), IDS.astype(np.float32)),
    "list for i64": Case("i64", lambda m: m(IDS.tolist()), IDS),
    "list for u8": Case("u8", lambda m: m([[0, 1, 255]]), np.array([[0, 1, 255]], np.uint8)),
    "list for i8": Case("i8", lambda m: m([[-128, 1, 127]]), np.array([[-128, 1, 127]], np.int8)),
    "list of bool": Case("bool", lambda m: m([[True, False, True]]),
                         np.array([[True, False, True]])),
    "0 and 1 for bool": Case("bool", lambda m: m([[1, 0, 1]]), np.array([[True, False, True]])),
    "large int for f32": Case("one", lambda m: m([[2**70, 0, 1]]), f([2**70, 0, 1])),
    "empty list": Case("i64", lambda m: m(np.zeros((0, 3)).tolist() or np.empty((0, 3), int)),
                       np.empty((0, 3), np.int64)),
    "NaN and infinity": Case("one", lambda m: m([[nan, np.inf, -np.inf]]), f([nan, np.inf, 0])),
    "buffer": Case("one", lambda m: m(memoryview(X)), ONE),
    "array.array": Case("table", lambda m: m(array.array("q", [1, 2])), f([3, 4, 5], [6, 7, 8])),
    "__array__": Case("one", lambda m: m(Speaks()), ONE),
    "Array": Case("one", lambda m: m(nncompile.tensor(X.tolist())), ONE),
    "number": Case("scalar", lambda m: m(2), np.array(2, np.float32)),
    "rounded": Case("scalar", lambda m: m(0.1), np.array(0.1, np.float32)),
    "empty batch": Case("one", lambda m: m(new(0, 3)), new(0, 3)),
    # -- inputs that are refused -----------------------------------------------------------------
    "float64": Case("one", lambda m: m(X.astype(np.float64)), "it was given float64, not float32: "
                    r"pass input.astype\(numpy.float32\)"),
    "int64": Case("one", lambda m: m(IDS), "it was given int64, not float32: pass"),
    "complex": Case("one", lambda m: m(X * 1j), "complex64, not float32: complex numbers"),
    "list of complex": Case("one", lambda m: m([[1j, 2, 3]]), "complex numbers are no real ones"),
    "text": Case("one", lambda m: m("1"), "text is no number"),
    "bytes": Case("u8", lambda m: m(b"123"), "bytes are no numbers"),
    "numbers as text": Case("one", lambda m: m([["1", "2", "3"]]), "text is no number"),
    "an array of text": Case("one", lambda m: m(np.array([["1"] * 3])), "<U1, not float32: text"),
    "None": Case("one", lambda m: m(None), "objects are no numbers"),
    "None in a list": Case("one", lambda m: m([[None, 1.0, 2.0]]), "objects are no numbers"),
    "objects": Case("one", lambda m: m(X.astype(object)), "object, not float32: objects"),
    "dates": Case("i64", lambda m: m(IDS.astype("M8[D]")), "dates are no numbers"),
    "spans": Case("i64", lambda m: m(IDS.astype("m8[D]")), "time spans are no numbers"),
    "a date": Case("i64", lambda m: m([[datetime.date(2026, 1, 1)] * 3]), "objects are no numbers"),
    "records": Case("one", lambda m: m(new(2, 3, dtype="f4,f4")), "not float32"),
    "a dict": Case("one", lambda m: m({"x": X}), "objects are no numbers"),
    "a set": Case("one", lambda m: m({1, 2, 3}), "objects are no numbers"),
    "ragged": Case("one", lambda m: m([[1.0, 2.0], [3.0]]), "no array can be made"),
    "masked": Case("one", lambda m: m(np.ma.array(X, mask=X > 0)), "mask would be dropped"),
    "list of masked": Case("one", lambda m: m([np.ma.array(X[0], mask=X[0] > 0)]), "mask would be"),
    "list of lists of masked": Case("one", lambda m: m([[X[0]], [np.ma.array(X[0], mask=True)]]),
                                    "mask would be"),
    "list of lists of lists of masked": Case("one", lambda m: m([[[np.ma.array(1.0, mask=True)]]]),
                                             "mask would be"),
    "sparse": Case("one", lambda m: m(Sparse()), "sparse: pass its .toarray"),
    "its own KeyError": Case("one", lambda m: m(Items(x=X)), "no array can be made.*__array"),
    "its own error": Case("one", lambda m: m(Broken()), "no array today"),
    "a class": Case("one", lambda m: m(np.ndarray), "objects are no numbers"),
    "1.5 for i64": Case("i64", lambda m: m([[1.5, 2.7, 3]]), "float64, not int64"),
    "NaN for i64": Case("i64", lambda m: m([[nan, 1, 2]]), "not int64"),
    "300 for u8": Case("u8", lambda m: m([[300, 1, 2]]), "300, which uint8 does not hold"),
    "-1 for u8": Case("u8", lambda m: m([[-1, 1, 2]]), "-1, which uint8 does not hold"),
    "2**40 for i32": Case("i32", lambda m: m([[2**40, 1, 2]]), f"{2**40}, which int32"),
    "2**63 for i64": Case("i64", lambda m: m([[2**63] * 3]), f"{2**63}, which int64"),
    "2**70 for i64": Case("i64", lambda m: m([[2**70, 1, 2]]), f"{2**70}, which int64"),
    "NumPy's 300 for u8": Case("u8", lambda m: m([[np.int64(300), 1, 2]]), "300, which uint8"),
    "10**400 for f32": Case("one", lambda m: m([[10**400, 1, 2]]), "float32 does not hold"),
    "2 for bool": Case("bool", lambda m: m([[2, 0, 1]]), "2, which bool does not hold"),
    "0.0 for bool": Case("bool", lambda m: m([[0.0, 1.0, 1.0]]), "float64, not bool"),
    "int64 for i32": Case("i32", lambda m: m(IDS), "int64, not int32: pass"),
    "uint64 for i64": Case("i64", lambda m: m(IDS.astype(np.uint64)), "uint64, not int64"),
    "other width": Case("one", lambda m: m(X[:, :2]), r"expected f32\[B, 3\].*\(2, 2\)"),
    "1-D": Case("one", lambda m: m(X[0]), r"expected f32\[B, 3\]"),
    "a number for a matrix": Case("one", lambda m: m(1.0), r"expected f32\[B, 3\].*\(\)"),
    "two sizes": Case("pair", lambda m: m(X, Y[:1]), r"B = 2"),
    "no such row": Case("table", lambda m: m([1, 9]), "index 9 is outside"),
    "first the dtype": Case("pair", lambda m: m(X[0], IDS), "int64"),
    # -- outputs ---------------------------------------------------------------------------------
    "out strided": Case("one", lambda m: written(strided(new(2, 3)), lambda o: m(X, out=o)), ONE),
    "out unaligned": Case("one", lambda m: written(
        np.zeros(25, np.uint8)[1:].view(np.float32).reshape(2, 3), lambda o: m(X, out=o)), ONE),
    "out of one's own class": Case("one", lambda m: written(new(2, 3).view(Own), lambda o: m(
        X, out=o)), ONE),
    "out over the input": Case("one", lambda m: written(X.copy(), lambda o: m(o, out=o)), ONE),
    "out, input converted": Case("one", lambda m: written(new(2, 3), lambda o: m(
        X.tolist(), out=o)), ONE),
    "both outs strided": Case("pair", lambda m: m(X, Y, out=(
        strided(new(2, 3)), strided(new(2, 3)))), (DIFFERENCE, SUM)),
    "outs between each other": Case("pair", lambda m: (lambda w: m(X, Y, out=(w[::2], w[1::2])))(
        new(4, 3)), (DIFFERENCE, SUM)),
    "out=[]": Case("one", lambda m: m(X, out=[]), "out must be an array, not list of 0"),
    "out=(), of two": Case("pair", lambda m: m(X, Y, out=()), "out must be a tuple of 2 arrays"),
    "out of two": Case("one", lambda m: m(X, out=(new(2, 3), new(2, 3))), "not tuple of 2"),
    "an array for two": Case("pair", lambda m: m(X, Y, out=new(2, 3)), "a tuple of 2 arrays"),
    "one array as two outputs": Case("pair", lambda m: (lambda o: m(X, Y, out=(o, o)))(new(2, 3)),
                                     "not arrays that share memory"),
    "outs that overlap": Case("pair", lambda m: (lambda w: m(X, Y, out=(w[:2], w[1:])))(new(3, 3)),
                              "not arrays that share memory"),
    "out within itself": Case("one", lambda m: m(X, out=as_strided(new(3), (2, 3), (0, 4))),
                              "elements share memory"),
    "out read-only": Case("one", lambda m: m(X, out=read_only()), "writeable.*read-only"),
    "out masked": Case("one", lambda m: m(X, out=np.ma.array(new(2, 3))), "out must be.*masked"),
    "out too small": Case("one", lambda m: m(X, out=new(1, 3)), r"shape \(2, 3\), not .*\(1, 3\)"),
    "out 1-D": Case("one", lambda m: m(X, out=new(6)), r"out must be .*\(2, 3\)"),
    "out float64": Case("one", lambda m: m(X, out=new(2, 3, dtype=float)), "not float64"),
    "out swapped": Case("one", lambda m: m(X, out=new(2, 3, dtype=">f4")), "not >f4"),
    "out a list of numbers": Case("one", lambda m: m(X, out=[1.0]), "not a float"),
    "out text": Case("one", lambda m: m(X, out="y"), "not a str"),
    "wrong input and wrong out": Case("one", lambda m: m(X[:, :2], out=new(9, 9)), "expected f32"),
    # -- reductions of nothing -------------------------------------------------------------------
    "sums of nothing": Case("sums", lambda m: m(new(2, 0)), (
        f(0, 0), f(nan, nan), f(1, 1), np.zeros(2, bool), np.ones(2, bool), f(nan, nan),
        f(nan, nan), new(2, 0), new(2, 0), new(2, 0), f(0, 0))),
    "sums of no rows": Case("sums", lambda m: m(new(0, 3)), (
        *[new(0)] * 3, *[new(0, dtype=bool)] * 2, *[new(0)] * 2, *[new(0, 3)] * 3, new(0))),
    "extremes of nothing": Case("extremes", lambda m: m(new(2, 0)), "needs T - 1 >= 0.*T = 0"),
    "extremes of no rows": Case("extremes", lambda m: m(new(0, 3)), (
        new(0), new(0), new(0, dtype=np.int64), new(0, dtype=np.int64))),
}


@pytest.fixture(scope="module")
def models() -> Callable[[str, str], Any]:
    made: dict[tuple[str, str], Any] = {}

    def model(mode: str, name: str) -> Any:
        if (mode, name) not in made:
            with options.override(**MODES[mode]):
                made[mode, name] = MODELS[name]()
        return made[mode, name]
    return model


def answer(case: Case, model: Any) -> Any:
    """The arrays as (dtype, shape, bytes), or the error's class and text."""
    try:
        result = case.call(model)
    except Exception as error:
        return type(error), str(error)
    parts = result if isinstance(result, tuple) else (result,)
    assert all(type(np.asarray(part)) is np.ndarray for part in parts)
    return [(part.dtype, part.shape, np.ascontiguousarray(part).tobytes()) for part in parts]


@pytest.mark.parametrize("name", CASES)
def test_every_mode_answers_alike(name: str, models: Callable[[str, str], Any]) -> None:
    case = CASES[name]
    answers = {mode: answer(case, models(mode, case.model)) for mode in MODES}
    first = answers["compiled"]
    if isinstance(case.answer, str):
        assert isinstance(first, tuple), first
        kind, text = first
        assert issubclass(kind, nncompile.Error)
        with pytest.raises(nncompile.Error, match=case.answer):
            raise nncompile.Error(text)
    else:
        wanted = case.answer if isinstance(case.answer, tuple) else (case.answer,)
        assert isinstance(first, list), first
        for (dtype, shape, octets), want in zip(first, wanted, strict=True):
            assert (dtype, shape) == (want.dtype, want.shape)
            np.testing.assert_array_equal(np.frombuffer(octets, dtype), want.ravel())
    for mode, other in answers.items():
        assert other == first, mode


@pytest.mark.parametrize("mode", MODES)
def test_bound_calls_answer_alike(mode: str, models: Callable[[str, str], Any]) -> None:
    """Where a call reads its arrays as they are, the bound call does the same."""
    one, pair, named = (models(mode, name) for name in ("one", "pair", "named"))
    for run in (one.bind(X), one.bind(input=X), one.bind(X, threads=1), one.bind(X, out=None),
                one.bind(X, out=(new(2, 3),)), one.bind(X, out=[new(2, 3)])):
        np.testing.assert_array_equal(run(), ONE)
    for run in (pair.bind(X, right=Y), pair.bind(left=X, right=Y, out=[new(2, 3), new(2, 3)])):
        np.testing.assert_array_equal(run(), (DIFFERENCE, SUM))
    np.testing.assert_array_equal(named.bind(X, keywords={"threads": Y})(), DIFFERENCE)
    for arguments in ({"out": []}, {"out": (new(2, 3), new(2, 3))}, {"out": "y"},
                      {"out": new(2, 2)}, {"threads": 0}, {"other": X}):
        with pytest.raises(nncompile.Error) as bound:
            one.bind(X, **arguments)
        with pytest.raises(nncompile.Error) as called:
            one(X, **arguments)
        assert str(bound.value) == str(called.value)
    for model, arrays in ((one, (X,)), (pair, (X, Y)), (models(mode, "nested"), (
            {"left": X, "right": Y},))):
        for _ in range(2):
            for call in (model, model.bind, model.profile):
                with pytest.raises(nncompile.InputError, match="outputs are given as out="):
                    unwritten(lambda *o, call=call, arrays=arrays: call(*arrays, *o), (2, 3))
            model.bind(*arrays)
    for run in (one.bind(X), pair.bind(X, Y), models(mode, "nested").bind({"left": X, "right": Y})):
        for named in ((), ("out",), ("input",)):
            with pytest.raises(nncompile.InputError, match="a bound call takes no arguments"):
                unwritten(lambda out, run=run, named=named: run(out) if not named else run(
                    **{named[0]: out}))
    for wrong in (X.tolist(), strided(X), X.astype(np.float16), unaligned(X)):
        with pytest.raises(nncompile.InputError, match="bind takes C-contiguous arrays"):
            one.bind(wrong)
    with pytest.raises(nncompile.InputError, match="bind takes C-contiguous outputs"):
        one.bind(X, out=strided(new(2, 3)))


@pytest.mark.parametrize("mode", MODES)
def test_tensors_of_torch(mode: str, models: Callable[[str, str], Any]) -> None:
    torch = pytest.importorskip("torch")
    one, i64, x = models(mode, "one"), models(mode, "i64"), torch.from_numpy(X)
    for given in (x, x.t().contiguous().t(), torch.nn.Parameter(x), x.half(), x.bfloat16(),
                  x.clone().requires_grad_() * 1, x.to(torch.float8_e5m2),
                  torch.complex(x, -x).conj().imag, [x[0], x[1]]):
        np.testing.assert_array_equal(one(given), ONE)
    np.testing.assert_array_equal(i64(torch.tensor(IDS, dtype=torch.int32)), IDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                  # torch's, of its own functions
        refused = {"sparse": x.to_sparse(), "meta device": x.to("meta"),
                   "quantised": torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),
                   "float64, not float32": x.double(), "complex": x.to(torch.complex64)}
    for message, given in refused.items():
        with pytest.raises(nncompile.InputError, match=message):
            one(given)


@pytest.mark.parametrize("mode", MODES)
def test_casts_are_nobody_s_error(mode: str, models: Callable[[str, str], Any]) -> None:
    """Whatever numpy.seterr and the filter of warnings say; filterwarnings is "error" here."""
    one, half = models(mode, "one"), np.array([[0x7C01, 1, 2]], np.uint16).view(np.float16)
    for over in ("raise", "warn"):
        with np.errstate(all=over):
            assert one([[1e39, 1e-50, 1]]).tolist() == [[np.inf, 0, 1]]
            assert np.isnan(one(half)[0, 0])             # a signalling NaN


def test_attributes_and_copies() -> None:
    fast = MODELS["one"]()
    for name in ("thread", "weights", "source", "ir"):
        with pytest.raises(AttributeError, match=f"{name!r} of a compiled model cannot be set"):
            setattr(fast, name, 2)
    fast.threads = 2
    for again in (pickle.loads(pickle.dumps(fast)), copy.copy(fast), copy.deepcopy(fast)):
        assert again.threads == 2
        np.testing.assert_array_equal(again(X), ONE)
    with options.override(threads=1):                    # a default is that of the new process
        chosen = nncompile.compile(nn.ReLU(), F)
    with options.override(threads=2):
        assert pickle.loads(pickle.dumps(chosen)).threads == 2
        assert pickle.loads(pickle.dumps(MODELS["one"]())).threads == 1


WARNED = """
import warnings
import numpy as np
import nncompile
from nncompile import nn

with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    fast = nncompile.compile(nn.ReLU(), "f32[B]", threads=999)
    fast.threads = 999
    fast(np.ones(1, np.float32), threads=998)            # line 11
    fast(np.ones(1, np.float32), threads=998)
print([(w.category is nncompile.PerformanceWarning, w.filename, w.lineno, str(w.message)[:11])
       for w in seen])
"""


@pytest.mark.parametrize("jit", ["0", "1"])
def test_more_threads_than_cpus_are_warned_of_once(jit: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    shown = subprocess.run([sys.executable, "-c", WARNED], check=True, capture_output=True,
                           text=True).stdout
    assert eval(shown) == [(True, "<string>", 9, "threads=999"), (True, "<string>", 11,
                                                                  "threads=998")]


def test_names_of_a_forward_s_parameters() -> None:
    class Three(nn.Module):
        def forward(self, a, b=None, *, c=None):
            return a - (b if b is not None else 0) - (2 * c if c is not None else 0)

    ordered = nncompile.compile(Three(), b=F, a=F, threads=1)      # in the forward's own order
    np.testing.assert_array_equal(ordered(X, Y), X - Y)
    np.testing.assert_array_equal(ordered(b=Y, a=X), X - Y)
    gap = nncompile.compile(Three(), F, c=F, threads=1)
    np.testing.assert_array_equal(gap(X, c=Y), X - 2 * Y)
    with pytest.raises(nncompile.InputError, match="1 input by position and c by name, got 2"):
        gap(X, Y)                                        # the second one is b
    for option in ("threads", "target", "check", "precision", "passes"):
        with pytest.raises(nncompile.InputError, match=f"{option}= is an option.*\n.*keywords="):
            nncompile.compile(Three(), F, **{option: F})
    with pytest.raises(nncompile.InputError, match="'c' was given by name and in keywords="):
        nncompile.compile(Three(), F, c=F, keywords={"c": F})


def test_weights_that_are_none_change_nothing() -> None:
    fast = nncompile.compile(nn.Linear(3, 2).eval(), F, threads=1)
    integers = MODELS["table"]()
    before, state = fast(X), {"weight": new(2, 3), "bias": new(2)}
    masked = np.ma.array(new(2, 3), mask=True)
    for wrong, message in ((new(2, 3) * 1j, "complex64, not float32"),
                           (new(2, 3).astype(str), "<U32, not float32: text"),
                           (new(2, 3).astype(object), "objects"), ([["1"] * 3] * 2, "text"),
                           (new(2, 3).astype("M8[s]"), "dates"), (masked, "mask"),
                           (None, "objects"), ([[1.0], [2.0, 3.0]], "no array of numbers"),
                           (Broken(), "no array today"), (new(3, 2), r"shape \(3, 2\)")):
        for given in ({**state, "weight": wrong}, {"bias": state["bias"], "weight": wrong}):
            with pytest.raises(nncompile.InputError, match=f"'weight' .*{message}"):
                fast.load_weights(given)
            assert fast(X).tobytes() == before.tobytes()
    for none in (None, [new(2, 3), new(2)], 3):
        with pytest.raises(nncompile.InputError, match="takes a state dict"):
            fast.load_weights(none)
    fast.load_weights({"weight": new(2, 3).tolist(), "bias": [1, 2]})
    assert fast(X).tolist() == [[1, 2], [1, 2]]
    fast.load_weights({"weight": new(2, 3), "bias": np.array([3, 4], np.float64)})
    assert fast(X).tolist() == [[3, 4], [3, 4]] and integers is not None


def test_integer_weights_do_not_wrap() -> None:
    class Shift(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("shift", nncompile.zeros(1, dtype=nncompile.int32))

        def forward(self, x):
            return x + self.shift

    model = Shift()
    fast = nncompile.compile(model, "i32[B]", threads=1)
    for wrong in (np.array([2**40]), [2**40], [1.5]):
        for load in (fast.load_weights, model.load_state_dict):
            with pytest.raises(nncompile.InputError, match="shift"):
                load({"shift": wrong})
    fast.load_weights({"shift": np.array([7])})
    assert fast(np.array([1], np.int32)).tolist() == [8]

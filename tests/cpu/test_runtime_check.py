"""Every call path takes exactly the arrays that `CallSpec` takes. It leaves all others to the
fallback, as they came."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ir
from nncompile import options
from nncompile.backend import CallSpec, Fallback, Loaded, is_plain
from nncompile.cpu.backend import BACKEND
from nncompile.errors import InputError
from nncompile.schedule import schedule

# T is 1 or more. The outputs' order is not the inputs', and an input has no named size.
INPUTS, OUTPUTS = "%a: f32[B, T], %b: i8[T, 3], %c: i64[2], %d: bool[B]", "i8[T, 3], f32[B, T - 1]"
GRAPH = f"""graph g({INPUTS}) -> {OUTPUTS}, i64[2], bool[B] {{
  %0: f32[B, T - 1] = slice(%a) {{axis = 1, start = 1, stop = T}}
  %1: f32[B, T - 1] = neg(%0)
  %2: i8[T, 3] = neg(%b)
  %3: i64[2] = neg(%c)
  %4: bool[B] = logical_not(%d)
  return %2, %1, %3, %4
}}"""
PATHS: dict[str, dict[str, Any]] = {
    "compiled": {"call": "compiled"}, "portable": {"call": "portable"}, "plain": {"jit": False}}


class Left(Exception):
    """A call was left to the fallback."""


def leave(*args: Any, **keywords: Any) -> Any:
    raise Left(args, keywords)


@cache
def loaded(path: str) -> tuple[Loaded, CallSpec]:
    program = schedule(ir.parse(GRAPH), BACKEND.traits)
    spec = CallSpec.of(program)
    with options.override(**PATHS[path]):
        code = BACKEND.generate(program)
        return BACKEND.load(program, code, spec, [], 1, Fallback(leave, leave)), spec


def fits(spec: CallSpec, inputs: Sequence[Any], outs: Sequence[Any]) -> bool:
    sizes = spec.sizes_of(inputs)
    if sizes is None:
        return False
    try:
        spec.check_sizes(sizes)
    except InputError:
        return False
    return not outs or spec.takes_outputs(outs, spec.shapes(sizes), inputs)


# -- arrays that are plain, and all kinds of others ------------------------------------------------

def strided(array: np.ndarray) -> np.ndarray:
    wide = np.zeros((*array.shape, 2), array.dtype)
    wide[..., 0] = array
    return wide[..., 0]


def unaligned(array: np.ndarray) -> np.ndarray:
    raw = np.zeros(array.nbytes + 1, np.uint8)
    return raw[1:].view(array.dtype).reshape(array.shape)


def locked(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def tagged(array: np.ndarray) -> np.ndarray:
    """Of an equal dtype, which is another object."""
    return array.astype(np.dtype(array.dtype, metadata={"by": "a test"}))


MADE: dict[str, Callable[[np.ndarray], Any]] = {
    "plain": lambda a: a, "read-only": locked, "tagged": tagged, "strided": strided,
    "unaligned": unaligned, "Fortran": np.asfortranarray, "backwards": lambda a: a[::-1],
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()), "list": np.ndarray.tolist,
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape), "first": lambda a: a[0],
    "more dims": lambda a: a[None], "half of it": lambda a: a[:len(a) // 2],
    "subclass": lambda a: a.view(np.recarray), "masked": np.ma.array, "None": lambda a: None,
    "long long": lambda a: a.astype(np.longlong), "unsigned": lambda a: a.view(np.uint8),
    "float64": lambda a: a.astype(np.float64), "record": lambda a: a.astype([("x", a.dtype)]),
}


@st.composite
def arrays(draw: st.DrawFn, spec: CallSpec) -> tuple[list[Any], list[Any]]:
    """Inputs, and outputs or none. At most a few are not plain, and some lie in one memory."""
    sizes = {name: draw(st.integers(0, 3)) for name in spec.sizes}
    memory = np.zeros(96, np.uint8)

    def array(type_: ir.TensorType) -> Any:
        shape = [max(0, ir.types.evaluate_dim(dim, sizes)) for dim in type_.shape]
        made = np.zeros(shape, ir.types.DTYPES[type_.dtype])
        if draw(st.integers(0, 4)) == 0:
            start = draw(st.integers(0, 24))
            made = memory[start:start + made.nbytes].view(made.dtype).reshape(shape)
        kind = draw(st.sampled_from(sorted(MADE))) if draw(st.integers(0, 9)) == 0 else "plain"
        try:
            return MADE[kind](made)
        except (IndexError, TypeError, ValueError):        # there is no such thing of this one
            return made

    inputs = [array(type_) for type_ in spec.inputs]
    outs = [array(type_) for type_ in spec.outputs] if draw(st.booleans()) else []
    missing = draw(st.integers(0, 9)) == 0
    return inputs[:len(inputs) - missing], outs


def check_call(path: str, inputs: list[Any], outs: list[Any]) -> bool:
    """Was it taken?"""
    fast, spec = loaded(path)
    arrays = [*inputs, *outs]
    if outs:                                               # which a user gives as out=
        with pytest.raises(Left):
            fast.call(*arrays)
    try:
        results = fast.call_into(*arrays) if outs else fast.call(*arrays)
    except Left as left:
        args, keywords = left.args
        assert len(args) == len(arrays) and not keywords
        assert all(a is b for a, b in zip(args, arrays, strict=True))
        assert not fits(spec, inputs, outs)
        return False
    assert fits(spec, inputs, outs)
    assert all(map(is_plain, results, spec.output_dtypes))
    assert tuple(y.shape for y in results) == spec.shapes(spec.sizes_of(inputs) or {})
    assert not outs or all(y is out for y, out in zip(results, outs, strict=True))
    return True


@pytest.mark.parametrize("path", PATHS)
@settings(deadline=None, max_examples=400)
@given(data=st.data())
def test_a_call_path_takes_what_the_spec_takes(path: str, data: st.DataObject) -> None:
    check_call(path, *data.draw(arrays(loaded(path)[1])))


def plain_arrays(spec: CallSpec, **sizes: int) -> list[np.ndarray]:
    return [np.zeros([ir.types.evaluate_dim(dim, sizes) for dim in type_.shape],
                     ir.types.DTYPES[type_.dtype]) for type_ in (*spec.inputs, *spec.outputs)]


@pytest.mark.parametrize("path", PATHS)
def test_one_array_of_another_kind(path: str) -> None:
    spec, taken = loaded(path)[1], set()
    for sizes in ({"B": 2, "T": 3}, {"B": 1, "T": 1}, {"B": 0, "T": 2}):
        for number, kind in product(range(8), MADE):
            arrays = plain_arrays(spec, **sizes)
            with suppress(IndexError):                     # there is none of an empty array
                arrays[number] = MADE[kind](arrays[number])
            if check_call(path, arrays[:4], arrays[4:]) and sizes["B"] == 2:
                taken.add((kind, number))
    assert {kind for kind, _ in taken} == {"plain", "read-only", "tagged", "Fortran", "long long",
                                           "swapped", "unaligned"}
    assert {number for kind, number in taken if kind == "Fortran"} == {2, 3, 6, 7}     # 1-D
    assert {number for kind, number in taken if kind == "tagged"} == set(range(8))
    assert {number for kind, number in taken if kind == "read-only"} == set(range(4))
    assert {number for kind, number in taken if kind == "long long"} == {2, 6}
    assert {number for kind, number in taken if kind in ("swapped", "unaligned")} == {1, 3, 4, 7}


@pytest.mark.parametrize("path", PATHS)
def test_two_arrays_of_one_memory(path: str) -> None:
    """One begins at, behind or before the other, or within it."""
    spec, memory = loaded(path)[1], np.zeros(96, np.uint8)
    for sizes in ({"B": 2, "T": 3}, {"B": 0, "T": 1}):
        for one, two in combinations(range(8), 2):
            for start in range(0, 80, 4):
                arrays = plain_arrays(spec, **sizes)
                for number, place in ((one, 40), (two, start)):
                    like = arrays[number]
                    arrays[number] = memory[place:place + like.nbytes].view(like.dtype).reshape(
                        like.shape)
                check_call(path, arrays[:4], arrays[4:])

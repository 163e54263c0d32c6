"""Random forwards run by torch, by nncompile, and as the graph that they are traced to."""
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ir
import nncompile
import nncompile.nn.functional as F
from ir import Error
from nncompile import nn
from tests.programs import Program, programs, quietly

torch = pytest.importorskip("torch", reason="torch, the oracle of the programs, is not installed")

# What torch takes and we refuse, on purpose: what torch leaves open, matrices of integers, bits of
# integers, shapes that the data decide, and for nothing at all what it takes for nothing else (an
# index out of range, too, is not looked at where there is nothing to be had).
OURS_ALONE = re.compile(
    "whether it was a copy|an expanded array has|int16|depends on the data|"
    r"expected floats of one type, got (i|bool)|bitwise_\w+ takes|\w+ takes floats, not \w+\[.* @ |"
    r"softmax takes floats, not (i|bool)|gather needs an index|fit into the chosen|"
    r"the index -?\d+ is out of range for an axis")
# What torch refuses and we take: sums over what is not there, an unknown size beside a size of 0,
# an array that is changed by a part of itself.
TORCH_ALONE = re.compile(
    r"bilinear|group_norm|view\(|diag|addcmul|_\(|[-+*/%]=|\] = |glu|norm\(dim=\(")


class Model(nn.Module):
    """A program, its parameters as buffers."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        for name, array in program.params.items():
            self.register_buffer(name, array.copy())

    def forward(self, **inputs):
        params = {name: getattr(self, name) for name in self.program.params}
        return tuple(self.program.run(nncompile, F, inputs | params))


def copies(program: Program) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in program.inputs.items()}


def of_torch(program: Program) -> list[np.ndarray]:
    given = {name: torch.from_numpy(a.copy())
             for name, a in (program.inputs | program.params).items()}
    return [tensor.numpy() for tensor in program.run(torch, torch.nn.functional, given)]


def same_bits(got, want) -> bool:
    return got.dtype == want.dtype and np.array_equal(got, want, equal_nan=want.dtype.kind == "f")


def ours(model: Model, **inputs: np.ndarray) -> tuple[np.ndarray, ...] | None:
    """What the model gives; None where we refuse it on purpose."""
    try:
        return model(**inputs)
    except Error as error:
        if OURS_ALONE.search(str(error)):
            return None
        raise


def traced(make: Callable[..., Any], model: Model, program: Program, **options: Any) -> Any:
    """What nncompile.trace or compile makes; None for a mask, whose elements eager code counts.
    """
    types = {name: str(ir.type_of(a)) for name, a in program.inputs.items()}
    try:
        return make(model, **options, **types)
    except nncompile.TraceError as error:
        assert "selects as many elements as the data say" in str(error)
        return None


thorough = settings(max_examples=100, deadline=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])


@thorough
@given(programs())
def test_programs_give_what_torch_gives(program):
    model, inputs = Model(program), copies(program)
    got = ours(model, **inputs)
    if got is None:
        return
    for name, array in inputs.items():
        assert same_bits(array, program.inputs[name]), f"{name} was changed"
    for g, w, atol in zip(got, of_torch(program), program.tolerances, strict=True):
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        np.testing.assert_allclose(g, w, rtol=1e-4 if w.dtype.kind == "f" else 0, atol=atol)
    if (graph := traced(nncompile.trace, model, program)) is not None:
        assert all(map(same_bits, ir.interpret(graph, list(inputs.values())), got))


@thorough
@given(programs(), st.integers(0, 3))
def test_a_graph_holds_for_every_size(program, other):
    """Where the first size of the inputs is left open, the graph gives for any what eager gives,
    or there is no graph."""
    model, first = Model(program), program.inputs["x0"]
    if first.ndim == 0 or ours(model, **copies(program)) is None:
        return
    size = len(first)
    types = {name: str(ir.type_of(a)) for name, a in program.inputs.items()}
    open_ = [name for name, a in program.inputs.items() if a.ndim == first.ndim and len(a) == size]
    for name in open_:
        types[name] = re.sub(r"\[\d+", "[B", types[name])
    try:
        graph = nncompile.trace(model, **types)
    except Error as error:
        assert "layer:" in str(error)
        return
    random = np.random.default_rng(other)
    for count in (size, other):
        inputs = copies(program)
        if count != size:
            for name in open_:
                rows = random.integers(0, size, count) if size else np.zeros(count, np.int64)
                inputs[name] = inputs[name][rows] if size else np.ones(
                    (count, *inputs[name].shape[1:]), inputs[name].dtype)
        try:
            want = ours(model, **inputs)
        except (Error, ZeroDivisionError, TypeError, ValueError):
            continue                             # the program fits the size that it was drawn for
        if want is None:
            continue                             # an index that no row of so few has
        try:
            got = ir.interpret(graph, list(inputs.values()))
        except Error as error:
            assert "is outside axis" in str(error)             # x[-2:] of fewer than two rows
            continue
        assert all(map(same_bits, got, want))


def compiled(program: Program) -> None:
    model, inputs = Model(program), copies(program)
    if (want := ours(model, **inputs)) is None:
        return
    if (fast := traced(nncompile.compile, model, program, threads=2)) is None:
        return
    got = fast(**inputs)
    for g, w, atol in zip(got, want, program.tolerances, strict=True):
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        np.testing.assert_allclose(g, w, rtol=1e-4 if w.dtype.kind == "f" else 0, atol=atol)
    for name, array in inputs.items():
        assert same_bits(array, program.inputs[name]), f"{name} was changed"


@settings(thorough, max_examples=40, derandomize=True)
@given(programs())
def test_programs_compiled(program):
    compiled(program)


@settings(thorough, max_examples=100)
@given(programs())
def test_programs_in_plain_python(program):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NNCOMPILE_JIT", "0")
        compiled(program)


@settings(thorough, max_examples=50)
@given(programs())
def test_what_torch_refuses_we_refuse(program):
    for count, line in program.refused:
        names = {"n": nncompile, "F": F}
        names |= {name: nncompile.Array(a.copy())
                  for name, a in (program.inputs | program.params).items()}
        try:
            quietly("\n".join(program.lines[:count]), names)
        except Error:
            continue
        if TORCH_ALONE.search(line):
            continue
        with pytest.raises((Error, TypeError, ValueError, IndexError, ZeroDivisionError)):
            quietly(line, names)
            pytest.fail(f"{line} is refused by torch")

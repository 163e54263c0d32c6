"""Every way to observe a size: right for all sizes, refused with the line, or required of calls.

The oracle is torch: the same forward, at each size. A call of the compiled model gives what torch
gives, or it is refused, where the forward compares sizes and the graph says so.
"""
from __future__ import annotations

import builtins
import math
import operator
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ir
import nncompile
from nncompile import nn

Forward = Callable[[ModuleType, Any], Any]
SIZES = [(b, t) for b in (0, 1, 2, 3, 17) for t in (0, 1, 2, 4, 5, 16, 33)]


def model_of(forward: Forward) -> nn.Module:
    class Model(nn.Module):
        def forward(self, x: Any) -> Any:
            return forward(nncompile, x)
    return Model().eval()


def checked(n: ModuleType, x: Any) -> Any:
    assert x.shape[1] <= 16, f"at most 16, not {x.shape[1]}"
    return x * 2


def guarded(n: ModuleType, x: Any) -> Any:
    if x.shape[1] > 16:
        raise ValueError(f"too long: {x.shape[1]}")
    return x * 2 if x.shape[0] > 0 else x.sum(0)


def either(condition: Callable[[Any], Any]) -> Forward:
    return lambda n, x: x * 2 if condition(x) else x - 1


def item(x: Any, value: Any) -> Any:
    y = x.clone()
    y[..., :1] = value
    return y


# What the forward does, and what the graph requires of a call of f32[B, T, 8].
ANSWERED: dict[str, tuple[Forward, list[str]]] = {
    "assert": (checked, ["T <= 16"]),
    "guard": (guarded, ["T <= 16", "B > 0"]),
    "==": (either(lambda x: x.shape[0] == 1), ["B != 1"]),
    "== of names": (either(lambda x: x.shape[0] == x.shape[1]), ["B != T"]),
    "== of itself": (either(lambda x: x.shape[0] == x.size(0)), []),
    "== of text": (either(lambda x: x.shape[0] == "1"), []),
    "!=": (either(lambda x: x.shape[0] != 3), ["B != 3"]),
    "reflected": (either(lambda x: x.shape[1] > 3), ["T <= 3"]),
    "polynomial": (either(lambda x: 2 * x.shape[0] * x.shape[1] - 4 >= x.shape[1]),
                   ["2*B*T >= T + 4"]),
    "fraction": (either(lambda x: x.shape[0] > 2.5), ["B > 2"]),
    "== fraction": (either(lambda x: x.shape[0] == 2.5), []),
    "slice up to a number": (lambda n, x: x[:, :4] * 2, ["T >= 4"]),
    "slice from a number": (lambda n, x: x[:1, 1:3] * 2, ["B >= 1", "T >= 3"]),
    "infinity": (either(lambda x: x.shape[0] < math.inf), []),
    "nan": (either(lambda x: x.shape[0] < math.nan), []),
    "numpy number": (either(lambda x: np.int64(3) > x.shape[0]), ["B < 3"]),
    "tuple": (either(lambda x: x.shape[0] in (1, 3)), ["B != 1", "B != 3"]),
    "chain": (either(lambda x: 0 < x.shape[0] <= 3), ["B > 0", "B <= 3"]),
    "bool": (either(lambda x: x.shape[0] and not x.shape[1] - 1), ["B != 0", "T != 1"]),
    "shapes": (either(lambda x: x.shape == (1, 2, 8)), ["B != 1"]),
    "shapes of other ranks": (either(lambda x: x.shape == (1, 2)), []),
    "isinstance": (either(lambda x: isinstance(x.shape[0], int)), []),
    "match": (either(lambda x: not isinstance(x.shape[0], float | str)), []),
    "provable": (either(lambda x: x.shape[0] + 1 > x.shape[0] >= 0), []),
    "twice": (either(lambda x: x.shape[0] > 0 and x.shape[0] > 0 and not x.shape[0] <= 0),
              ["B > 0"]),
    "min": (lambda n, x: x[:, : min(x.shape[1], 4)], ["T <= 4"]),
    "abs": (lambda n, x: x * abs(x.shape[1] - 40), ["T < 40"]),
    "sorted": (lambda n, x: x * sorted([x.shape[1], 40])[0], ["T <= 40"]),
    "x / B": (lambda n, x: x / x.shape[0], []),
    "B - x": (lambda n, x: x.shape[0] - x, []),
    "x ** T": (lambda n, x: x.abs() ** x.shape[1], []),
    "x // T": (lambda n, x: x // (x.shape[1] + 1), []),
    "x < T": (lambda n, x: x < x.shape[1], []),
    "polynomial times x": (lambda n, x: x * (2 * x.shape[0] * x.shape[1] - 3), []),
    "numbers": (lambda n, x: x * (x.shape[1] * 0.5 + 1.5 - x.shape[0] / 4), []),
    "B ** -0.5": (lambda n, x: x * x.shape[0] ** -0.5, ["B != 0"]),
    "B ** 2": (lambda n, x: x * (x.shape[0] ** 2), []),
    "0.5 ** T": (lambda n, x: x * 0.5 ** x.shape[1], []),
    "1 / T": (lambda n, x: x * (1 / x.shape[1]), ["T != 0"]),
    "1 / T ** 0.5": (lambda n, x: x * (1 / x.shape[1] ** 0.5), ["T != 0"]),
    "T / B": (lambda n, x: x * (x.shape[1] / x.shape[0]), ["B != 0"]),
    "sqrt": (lambda n, x: x * float(1) * np.sqrt(x.shape[1]), []),
    "numpy numbers": (lambda n, x: x * (np.float32(2) * x.shape[0] + np.int64(3)), []),
    "a whole quotient": (lambda n, x: x.repeat(4, 1, 1) * math.floor(4 * x.shape[0] / 4), []),
    "//": (lambda n, x: x * ((4 * x.shape[0] + 6) // 4 + (2 * x.shape[1] + 1) % 2), []),
    "divmod": (lambda n, x: x * sum(divmod(6 * x.shape[0] + 5, 3)), []),
    "math of sizes": (lambda n, x: x * math.prod(x.shape) + math.ceil(x.shape[0]), []),
    "numel": (lambda n, x: x.sum() / x.numel() + x.shape.numel() + x[0:].shape[1:].numel(), []),
    "integers": (lambda n, x: n.arange(4) * x.shape[0] - x.shape[1], []),
    "integers by a number": (lambda n, x: n.arange(4) * (x.shape[0] / 2), []),
    "full": (lambda n, x: n.full((2,), x.shape[0]) + n.full((2,), x.shape[0] / 2), []),
    "tensor": (lambda n, x: n.tensor([x.shape[0], 3]) + n.tensor(x.shape[1]), []),
    "tensor of floats": (lambda n, x: n.tensor([[x.shape[0] / 2, 3]]), []),
    "clamp": (lambda n, x: x.clamp(max=x.shape[0] / 2, min=-x.shape[1]), []),
    "where": (lambda n, x: n.where(x > 0, x, x.shape[0]), []),
    "masked_fill": (lambda n, x: x.masked_fill(x > 0, x.shape[0]), []),
    "item": (lambda n, x: item(x, x.shape[0]), []),
    "alpha": (lambda n, x: x.add(x, alpha=x.shape[0]), []),
    "repeat_interleave": (lambda n, x: x.repeat_interleave(x.shape[1], 0), []),
    "repeat": (lambda n, x: x.repeat(x.shape[1], 1, 1), []),
    "expand": (lambda n, x: n.ones(1, 3).expand(x.shape[0], -1), []),
    "split by sizes": (lambda n, x: x.split([x.shape[1] - 1, 1], 1)[0], ["T >= 1"]),
    "split by a size": (lambda n, x: x.repeat(1, 3, 1).split(x.shape[1], 1)[2], ["T > 0"]),
    "chunk": (lambda n, x: x.repeat(1, 2, 1).chunk(2, 1)[1], []),
    "uneven chunks": (lambda n, x: n.cat(x.chunk(3, 1)[::-1], 1), ["T > 2*FloorDiv(T + 2, 3)"]),
    "one chunk": (lambda n, x: x.chunk(int(np.ceil(x.shape[0] / 16)), 0)[0] * 2,
                  ["B >= 1", "B <= 16"]),
    "parts": (lambda n, x: x.split(20, 1)[-1], ["T >= 1", "T <= 20"]),
    "len": (lambda n, x: x.view(len(x), x.shape[1], 4, 2) * len(x), []),
    "len and shape": (either(lambda x: len(x) == x.shape[0] and len(x.shape) == 3), []),
    "B // 2": (lambda n, x: x[: x.shape[0] // 2] * (x.shape[1] // 3), []),
    "(B - 5) // 2": (lambda n, x: x * ((x.shape[0] - 5) // 2), []),
    "rounded up": (lambda n, x: x[:, : -(-x.shape[1] // 2)] * math.ceil((x.shape[0] - 3) / 2), []),
    "// of what may be negative": (
        lambda n, x: x * (x.shape[1] // -3 + (x.shape[0] - x.shape[1]) % 4), []),
    "bits": (lambda n, x: x * ((x.shape[1] >> 1) + (x.shape[0] & 3) + (x.shape[1] << 2)), []),
    "pairs of rows": (lambda n, x: x.reshape(x.shape[0] // 2, 2, -1, 8)[:, 1],
                      ["B == 2*FloorDiv(B, 2)", "FloorDiv(B, 2) != 0"]),
    "pairs of columns": (lambda n, x: x.unflatten(1, (-1, 2)).sum(1), ["T == 2*FloorDiv(T, 2)"]),
    "windows": (lambda n, x: x.view(x.shape[0] // 2, 2, x.shape[1] // 4, 4, 8).permute(
        0, 2, 4, 1, 3).flatten(3).sum(3), ["B == 2*FloorDiv(B, 2)", "T == 4*FloorDiv(T, 4)"]),
    "padded windows": (lambda n, x: n.nn.functional.pad(x, (0, 0, 0, -x.shape[1] % 4)).unflatten(
        1, (-1, 4)).sum(2), ["4*FloorDiv(T + 3, 4) >= T"]),
    "another size in front": (lambda n, x: x.sum(2).reshape(x.shape[1], -1), ["T != 0"]),
    "the other half": (lambda n, x: x[:, x.shape[1] // 2 :].sum(0), []),
    "odd": (either(lambda x: x.shape[0] % 2), ["B != 2*FloorDiv(B, 2)"]),
    "B % 3": (lambda n, x: x * (x.shape[0] % 3), []),
    "floor of a quotient": (lambda n, x: x[:, math.floor(x.shape[1] / 2) :], []),
    "ceil of a quotient": (lambda n, x: x[:, : math.ceil(x.shape[1] * 0.75)], []),
    "int of a quotient": (lambda n, x: x * int(x.shape[0] / 17), ["B <= 16"]),
    "int of T // 20": (lambda n, x: x * [1, 2][x.shape[1] // 20], ["T <= 19"]),
    "quotient of a sum": (either(lambda x: (x.shape[1] + 1) / 2 > 3.5), ["2*T <= 12"]),
    "squeeze": (lambda n, x: x.sum(2, keepdim=True).squeeze(), ["B != 1", "T != 1"]),
    "squeeze of one": (lambda n, x: x.squeeze(0), ["B != 1"]),
    "from the end": (lambda n, x: n.arange(40)[-x.shape[1]:], ["T > 0"]),
    "up to the end": (lambda n, x: n.arange(40)[: -x.shape[1]], ["T > 0"]),
    "up to": (lambda n, x: n.arange(16)[: x.shape[1]], ["T <= 16"]),
    "view": (lambda n, x: x.reshape(-1, 2 * x.shape[0]), ["2*B != 0"]),
    "pad": (lambda n, x: n.nn.functional.pad(x, (0, 0, 0, 16 - x.shape[1])), ["T <= 16"]),
    "scale": (lambda n, x: n.nn.functional.scaled_dot_product_attention(
        x, x, x, scale=x.shape[1] ** -0.5), ["T != 0"]),
    "open width": (lambda n, x: n.nn.functional.scaled_dot_product_attention(
        x.transpose(1, 2), x.transpose(1, 2), x.transpose(1, 2)), ["T != 0"]),
    "open width and scale": (lambda n, x: n.nn.functional.scaled_dot_product_attention(
        x.transpose(1, 2), x.transpose(1, 2), x.transpose(1, 2), scale=0.3), []),
    "logsumexp": (lambda n, x: x.logsumexp(1), ["T >= 1"]),
    "softmax": (lambda n, x: x.softmax(1), []),
    "log_softmax": (lambda n, x: x.log_softmax(1), []),
    "mean of nothing": (lambda n, x: x.mean(1), []),
    "amax": (lambda n, x: x.amax(1), ["T >= 1"]),
}
# Where torch refuses nothing, and a call of ours does: the kernel refuses what no graph requires.
BY_THE_OP = {"split by sizes", "up to", "logsumexp", "amax"}


@pytest.fixture(scope="module")
def inputs() -> dict[tuple[int, int], Any]:
    random = np.random.default_rng(0)
    return {size: random.standard_normal((*size, 8)).astype(np.float32) for size in SIZES}


@pytest.mark.parametrize("name", ANSWERED)
def test_a_size_is_right_in_every_call_or_the_call_is_refused(name: str, inputs: Any) -> None:
    forward, required = ANSWERED[name]
    model = nncompile.compile(model_of(forward), "f32[B, T, 8]", check=name not in (
        "scale", "open width"))
    stated = [str(r) for r in model.ir().requirements]
    assert stated == ([] if name in BY_THE_OP else required)
    for (b, t), x in inputs.items():
        allowed = all(eval(r, {"B": b, "T": t, "FloorDiv": operator.floordiv}) for r in required)
        if not allowed:
            with pytest.raises(nncompile.InputError):
                model(x)
            with pytest.raises(ir.Error):
                ir.interpret(model.ir("traced"), [x])
            continue
        if (b == 0 or t == 0) and name == "x // T":
            continue
        expected = forward(torch, torch.from_numpy(x)).numpy()
        for got in (model(x), ir.interpret(model.ir("traced"), [x])[0]):
            assert got.dtype == expected.dtype and got.shape == expected.shape, (b, t)
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5, err_msg=f"{b}, {t}")
        eager = np.asarray(model_of(forward)(x))
        assert eager.dtype == expected.dtype and eager.shape == expected.shape


def test_sizes_of_parts_are_checked_as_in_torch() -> None:
    for n in (torch, nncompile):
        assert n.zeros(2, 0).unflatten(1, (0, 2)).shape == (2, 0, 2)
        with pytest.raises((RuntimeError, nncompile.Error)):
            n.zeros(2, 0).split([1, -1], 1)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_block_of_rows_knows_the_size_of_the_whole_call(threads: int) -> None:
    """Blocks of rows go through all steps with the batch size itself, not with their own."""
    def forward(n: ModuleType, x: Any) -> Any:
        size = x.shape[0]
        for _ in range(4):                       # repeated steps become a function
            x = n.tanh(x / size + size // 3) * (size + 1) ** -0.5
        return x

    model = nncompile.compile(model_of(forward), "f32[B, 40]", threads=threads)
    assert model.ir().nodes and "rows of B are independent" in str(model.explain())
    for size in (0, 1, 2, 95, 96, 97, 1000):
        x = np.random.default_rng(size).standard_normal((size, 40)).astype(np.float32)
        expected = forward(torch, torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-6)


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "set": (lambda x: x.shape[0] in {1, 2}, "needs its hash"),
    "dict": (lambda x: {3: 1}.get(x.shape[0], 2), "needs its hash"),
    "dict item": (lambda x: {3: 1}[x.shape[0]], "needs its hash"),
    "set of shapes": (lambda x: x.shape in {(1, 2)}, "needs its hash"),
    "str": (lambda x: str(x.shape[0]) == "3", "needs its text"),
    "repr": (lambda x: repr(x.shape[0]) == "3", "needs its text"),
    "f-string": (lambda x: f"{x.shape[0]}" == "3", "needs its text"),
    "f-string of a number": (lambda x: f"{x.shape[0] / 2:.1f}" == "3", "needs its text"),
    "format": (lambda x: f"{x.shape[0]:3d}" == "3", "needs its text"),
    "%": (lambda x: "%d" % x.shape[0], "needs the number itself"),       # noqa: UP031
    "text of a shape": (lambda x: str(x.shape), "needs its text"),
    "text of a list": (lambda x: f"{[*x.shape]}", "needs its text"),
    "range": (lambda x: range(x.shape[0]), "needs the number itself"),
    "list": (lambda x: [0] * x.shape[0], "needs the number itself"),
    "index": (lambda x: [1, 2][x.shape[0]], "needs the number itself"),
    "slice": (lambda x: [1, 2][: x.shape[0]], "needs the number itself"),
    "int": (lambda x: int(x.shape[0]), "needs the number itself"),
    "operator.index": (lambda x: operator.index(x.shape[0]), "needs the number itself"),
    "int of a quotient": (lambda x: int(x.shape[0] / 2), "differs among the sizes from 1 to 16"),
    "range of halves": (lambda x: range(x.shape[0] // 2), r"an example, as in \"f32\[B=256, 64\]"),
    "floor of a quotient": (lambda x: math.floor(x.shape[0] / x.shape[1]), "and so is a size / 2"),
    "float": (lambda x: float(x.shape[0]), r"numpy.sqrt\(size\)"),
    "sqrt": (lambda x: math.sqrt(x.shape[0]), r"numpy.sqrt\(size\)"),
    "log": (lambda x: math.log(x.shape[0] / 2), r"numpy.sqrt\(size\)"),
    "len": (lambda x: x.__len__(), r"how many rows f32\[B, T, 8\] has .* with x.shape\[0\]"),
    "range of len": (lambda x: range(len(x)), "needs the number itself"),
    "rows": (lambda x: [*x], r"how many rows .* as in \"f32\[16, 64\]\""),
    "bits": (lambda x: x.shape[0] & (x.shape[0] - 1) == 0, "needs its bits"),
    "other bits": (lambda x: 1 ^ x.shape[0], "needs its bits"),
    "bit_length": (lambda x: x.shape[0].bit_length(), "needs its bits"),
    "two ways to halve": (lambda x: x.sum(2).reshape(-1, 2), "no single size fits for -1"),
    "// of sizes": (lambda x: x.shape[0] // x.shape[1], "B is not divisible by T"),
    "ratio": (lambda x: x.shape[0] / x.shape[1] > 0.5, "compare whole sizes"),
    "1 / (B / T - 1)": (lambda x: 1 / (x.shape[0] / x.shape[1] - 1), "whether a divisor"),
    "2 ** B": (lambda x: 2 ** x.shape[0], r"2.0 \*\* size is a float"),
    "digits": (lambda x: round(x.shape[0], -1), "its digits"),
    "parts": (lambda x: x.split(3, 1), "differs among the sizes from 1 to 16"),
    "parts of a size": (lambda x: x.split(x.shape[0], 1), "split by a list of all sizes"),
    "numpy array": (lambda x: np.zeros(x.shape), "needs the number itself"),
    "numpy function": (lambda x: np.add.reduce(x.shape[0]), "takes no size in this way"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_the_number_is_refused_with_the_line(name: str) -> None:
    forward, message = REFUSED[name]
    with pytest.raises(nncompile.TraceError, match=message) as error:
        nncompile.trace(model_of(lambda n, x: (forward(x), x)[1]), "f32[B, T, 8]")
    assert "test_sizes.py" in str(error.value)


def test_examples_decide() -> None:
    forward = either(lambda x: x.shape[1] > 16)
    model = model_of(forward)

    def required(*types: Any) -> list[str]:
        return [str(r) for r in nncompile.trace(model, *types).requirements]

    assert required("f32[B, T]") == ["T <= 16"]
    assert required("f32[B, T=17]") == ["T > 16"]
    assert required("f32[B = 2, T = 16]") == ["T <= 16"]
    assert required(np.ones((3, 17), np.float32)) == []
    first = model_of(either(lambda x: x.shape[0] == 1))
    assert str(nncompile.trace(first, np.ones((1, 4), np.float32)).requirements[0]) == "B == 1"
    assert str(nncompile.trace(first, np.ones((5, 4), np.float32)).requirements[0]) == "B != 1"
    with pytest.raises(nncompile.InputError, match="the size T is both 3 and 4"):
        nncompile.trace(model, "f32[T=3, T=4]")


def test_an_example_decides_how_many_parts_there_are() -> None:
    """Ghost batch norm: as many virtual batches as the example has."""
    def forward(n: ModuleType, x: Any) -> Any:
        parts = x.chunk(int(np.ceil(x.shape[0] / 8)), 0)
        return n.cat([part - i for i, part in enumerate(parts)])

    model = nncompile.compile(model_of(forward), np.ones((20, 4), np.float32))
    assert [str(r) for r in model.ir().requirements] == [
        "B >= 17", "B <= 24", "B > 2*FloorDiv(B + 2, 3)"]
    for size in (0, 1, 8, 16, 17, 20, 23, 24, 25):
        x = np.random.default_rng(size).standard_normal((size, 4)).astype(np.float32)
        if 17 <= size <= 24:
            np.testing.assert_array_equal(model(x), forward(torch, torch.from_numpy(x)).numpy())
        else:
            with pytest.raises(nncompile.InputError, match="was traced for B"):
                model(x)
    ten = model_of(lambda n, x: n.cat(x.chunk(7, 0)[::-1]))     # five of two
    graph = nncompile.trace(ten, np.ones((10, 4), np.float32))
    x = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
    np.testing.assert_array_equal(ir.interpret(graph, [x])[0],
                                  torch.cat(torch.from_numpy(x).chunk(7)[::-1]).numpy())


def test_len_is_pythons_again_after_a_trace() -> None:
    before = len
    model = model_of(lambda n, x: x * len(x))
    nncompile.trace(model, "f32[B, 4]")
    assert builtins.len is before
    with pytest.raises(nncompile.TraceError):
        nncompile.trace(model_of(lambda n, x: x.nothing), "f32[B, 4]")
    assert builtins.len is before

    def nested(n: ModuleType, x: Any) -> Any:
        nncompile.trace(model, "f32[B, 4]")
        return x * len(x) + len([1, 2])

    x = np.ones((5, 4), np.float32)
    np.testing.assert_array_equal(ir.interpret(nncompile.trace(model_of(nested), "f32[B, 4]"),
                                               [x])[0], x * 7)
    assert builtins.len is before and before(nncompile.zeros(3, 2)) == 3


def test_traces_in_threads_give_len_back() -> None:
    before, model = len, model_of(lambda n, x: x * len(x))
    threads = [threading.Thread(target=nncompile.trace, args=(model, "f32[B, 4]"))
               for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert builtins.len is before


def test_an_error_says_what_was_assumed() -> None:
    def forward(n: ModuleType, x: Any) -> Any:
        assert x.shape[1] == 64
        return x

    with pytest.raises(nncompile.TraceError, match=r"T != 64 \(test_sizes.py:\d+\) was assumed"):
        nncompile.trace(model_of(forward), "f32[B, T]")


def test_a_refused_call_names_the_line() -> None:
    model = nncompile.compile(model_of(checked), "f32[B, T, 8]")
    with pytest.raises(nncompile.InputError) as error:
        model(np.zeros((2, 17, 8), np.float32))
    assert "was traced for T <= 16, and B = 2, T = 17" in str(error.value)
    assert "test_sizes.py" in str(error.value) and "layer: Model" in str(error.value)


def test_a_size_is_an_int_only_to_the_forward() -> None:
    seen: list[Any] = []
    nncompile.trace(model_of(lambda n, x: (seen.append(x.shape), x)[1]), "f32[B, 4]")
    [shape] = seen
    assert str(shape) == "(B, 4)" and shape == (shape[0], 4) and hash(shape)
    with pytest.raises(ir.Error, match="whether B == 1 is not known before run time"):
        assert shape[0] == 1


def test_size_is_torchs() -> None:
    ours, torchs = nncompile.Size([2, 3, 4]), torch.Size([2, 3, 4])
    assert isinstance(ours, tuple) and ours == tuple(torchs) and hash(ours) == hash((2, 3, 4))
    assert ours.numel() == torchs.numel() == 24 and nncompile.Size([]).numel() == 1
    for operation in (lambda s: s[1:], lambda s: operator.add(s, (5,)),
                      lambda s: operator.add((5,), s[:0]), lambda s: s * 2,
                      lambda s: s[::-1]):
        assert tuple(operation(torchs)) == operation(ours)
        assert type(operation(ours)) is nncompile.Size
    assert type(ours[0]) is int and nncompile.zeros(ours).shape == ours
    with pytest.raises(TypeError):
        nncompile.Size([1.5])
    x = nncompile.zeros(2, 3)
    assert type(x.shape) is type(x.size()) is nncompile.Size and type(x.shape[0]) is int


@given(st.lists(st.tuples(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
                          st.integers(-3, 3), st.integers(-3, 3), st.integers(-4, 8)),
                min_size=1, max_size=4),
       st.integers(0, 9), st.integers(0, 9))
def test_a_branch_is_the_forwards_or_refused(comparisons: Any, b: int, t: int) -> None:
    """Forwards of random comparisons: an accepted call takes the branches that Python takes."""
    relations = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
                 "==": operator.eq, "!=": operator.ne}

    def taken(shape: Any) -> Iterator[bool]:
        for relation, of_b, of_t, constant in comparisons:
            yield bool(relations[relation](of_b * shape[0] + of_t * shape[1], constant))

    def forward(n: ModuleType, x: Any) -> Any:
        for i, holds in enumerate(taken(x.shape)):
            x = x + 10.0**i if holds else x
        return x

    graph = nncompile.trace(model_of(forward), "f32[B, T]")
    x = np.zeros((b, t), np.float32)
    try:
        [got] = ir.interpret(graph, [x])
    except ir.Error:
        assert not all(r.holds({"B": b, "T": t}) for r in graph.requirements)
        return
    assert all(r.holds({"B": b, "T": t}) for r in graph.requirements)
    np.testing.assert_array_equal(got, forward(torch, torch.zeros(b, t)).numpy())

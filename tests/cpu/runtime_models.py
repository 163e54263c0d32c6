"""Small generated sources for the tests of the runtime, written by hand."""
from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ir import parse_type
from nncompile.backend import CallSpec, Fallback
from nncompile.cpu import kernels
from nncompile.cpu.driver import Driver, Function
from nncompile.cpu.layout import DRIVER_LETTERS, PLAN_LETTERS
from nncompile.cpu.runtime import Executable
from nncompile.cpu.vector.target import host

WIDTHS = (17, 64, 32, 6)                      # weights fit a cache; BIG ones are shared in phases
BIG = (64, 640, 640, 8)
RELU, LINEAR, SOFTMAX = kernels.linear((("relu", ""),)), kernels.linear(), kernels.softmax(False)


def unusual(*args: Any, **keywords: Any) -> tuple[str, tuple, dict]:
    """Stands for a model's fallback: says what came."""
    return "fallback", args, keywords


def refuse(step: int, index: int, size: int) -> None:
    raise IndexError(f"step {step}: {index} of {size}")


def spec(inputs: Sequence[str], outputs: Sequence[str]) -> CallSpec:
    """Of the types' texts, as "f32[B, 4]"."""
    return CallSpec(tuple(f"x{i}" for i in range(len(inputs))), tuple(map(parse_type, inputs)),
                    tuple(map(parse_type, outputs)))


def driver_of(source: str, *used: kernels.Kernel, phases: int = 1) -> Driver:
    """A driver of this source, which calls these kernels."""
    head, *texts = re.split(r"^(?=def )", source, flags=re.MULTILINE)
    names = [text.removeprefix("def ").partition("(")[0] for text in texts]
    letters = {"plan": PLAN_LETTERS, "row_blocks": DRIVER_LETTERS, "phases": DRIVER_LETTERS}
    functions = [Function(name, letters[name], text.rstrip() + "\n")
                 for name, text in zip(names, texts, strict=True)]
    return Driver(head.rstrip(), functions,
                  {k.name: k for kernel in used for k in (kernel, kernel.shared)}, phases)


def aligned(numbers: int) -> np.ndarray:
    raw = np.zeros(numbers + 16, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start:start + numbers]


def places(widths: tuple[int, ...]) -> list[int]:
    found = [0]
    for K, N in pairwise(widths):
        found.append(found[-1] + -(-kernels.packed_size(N, K, host()) // 16) * 16)
    return found


def mlp_source(widths: tuple[int, ...], by_rows: bool = True) -> str:
    D, (W0, W1, W2, _) = widths, places(widths)
    flops = 2 * sum(a * b for a, b in pairwise(D))
    row_blocks = f'''
def row_blocks(args, sizes, weights, scratch, block, queue, fault, worker):
    B = size(sizes, 0)
    h0 = at(scratch, worker * (aligned({96 * D[1]}) + aligned({96 * D[2]})))
    h1 = at(h0, aligned({96 * D[1]}))
    row = claim(queue, 0) * block
    while row < B:
        rows = min(block, B - row)
        x = at(pointer(args, 0), row * {D[0]})
        y = at(pointer(args, 1), row * {D[3]})
        linear_relu(x, {D[0]}, at(weights, {W0}), h0, {D[1]}, rows, {D[0]}, {D[1]})
        linear_relu(h0, {D[1]}, at(weights, {W1}), h1, {D[2]}, rows, {D[1]}, {D[2]})
        linear(h1, {D[2]}, at(weights, {W2}), y, {D[3]}, rows, {D[2]}, {D[3]})
        softmax(y, {D[3]}, y, {D[3]}, rows, {D[3]})
        row = claim(queue, 0) * block

'''
    return f'''"""A perceptron of widths {widths}."""


def plan(sizes, facts):
    B = size(sizes, 0)
    put(facts, 0, B * {flops})
    put(facts, 1, aligned({96 * D[1]}) + aligned({96 * D[2]}))
    put(facts, 2, aligned(B * {D[1]}) + aligned(B * {D[2]}))
    put(facts, 3, 96)
    put(facts, 4, 0)
    put(facts, 5, B)
    put(facts, 6, {D[3]})

{row_blocks if by_rows else ""}
def phases(args, sizes, weights, scratch, block, queue, fault, worker):
    B = size(sizes, 0)
    h0 = scratch
    h1 = at(h0, aligned(B * {D[1]}))
    x = pointer(args, 0)
    y = pointer(args, 1)
    w0 = at(weights, {W0})
    w1 = at(weights, {W1})
    w2 = at(weights, {W2})
    shared_linear_relu(phase(queue, 0), x, {D[0]}, w0, h0, {D[1]}, B, {D[0]}, {D[1]})
    shared_linear_relu(phase(queue, 1), h0, {D[1]}, w1, h1, {D[2]}, B, {D[1]}, {D[2]})
    shared_linear(phase(queue, 2), h1, {D[2]}, w2, y, {D[3]}, B, {D[2]}, {D[3]})
    shared_softmax(phase(queue, 3), y, {D[3]}, y, {D[3]}, B, {D[3]})
'''


def mlp_weights(widths: tuple[int, ...], seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [(random.standard_normal((N, K), np.float32) / np.float32(K ** 0.5),
             random.standard_normal(N, np.float32))
            for K, N in pairwise(widths)]


def mlp_arena(widths: tuple[int, ...], seed: int = 0) -> np.ndarray:
    *starts, size = places(widths)
    arena = aligned(size)
    for start, (weight, bias) in zip(starts, mlp_weights(widths, seed), strict=True):
        packed = kernels.pack_linear(weight, bias, host())
        arena[start:start + packed.size] = packed
    return arena


def mlp(widths: tuple[int, ...] = WIDTHS, kind: type = Executable, by_rows: bool = True,
        cache: int | None = None, seed: int = 0, fallback: Callable[..., Any] = unusual,
        **options: Any) -> Any:
    """The perceptron; `cache` says where its weights count as staying."""
    return kind(driver_of(mlp_source(widths, by_rows), RELU, LINEAR, SOFTMAX, phases=4),
                spec([f"f32[B, {widths[0]}]"], [f"f32[B, {widths[-1]}]"]),
                mlp_arena(widths, seed), fallback=Fallback(fallback, fallback), on_fault=refuse,
                cache=cache, **options)


def mlp_float64(x: np.ndarray, widths: tuple[int, ...] = WIDTHS, seed: int = 0) -> np.ndarray:
    *hidden, (weight, bias) = mlp_weights(widths, seed)
    value = x.astype(np.float64)
    for w, b in hidden:
        value = np.maximum(value @ w.T.astype(np.float64) + b, 0)
    value = value @ weight.T.astype(np.float64) + bias
    value = np.exp(value - value.max(axis=1, keepdims=True, initial=-np.inf))
    return value / value.sum(axis=1, keepdims=True)


def rows_of(widths: tuple[int, ...], batch: int) -> np.ndarray:
    return np.random.default_rng(batch).standard_normal((batch, widths[0]), np.float32)


# a[T, 4] + b[T, 4] and the sums of its rows: two inputs, two outputs, not by rows
PAIR = '''
def plan(sizes, facts):
    T = size(sizes, 0)
    put(facts, 0, T * 8)
    put(facts, 1, 0)
    put(facts, 2, 0)
    put(facts, 3, 96)
    put(facts, 4, T - 1)
    put(facts, 5, T)
    put(facts, 6, 4)
    put(facts, 7, T)


def phases(args, sizes, weights, scratch, block, queue, fault, worker):
    T = size(sizes, 0)
    total = pointer(args, 2)
    shared_add_vv_0(phase(queue, 0), total, T * 4, pointer(args, 0), pointer(args, 1))
    shared_reduce_sum(phase(queue, 1), total, 4, pointer(args, 3), T, 4)
'''


def pair(kind: type = Executable, fallback: Callable[..., Any] = unusual, **options: Any) -> Any:
    driver = driver_of(PAIR, kernels.elementwise((("add", "vv"),), 0), kernels.reduce("sum"),
                       phases=2)
    return kind(driver, spec(["f32[T, 4]"] * 2, ["f32[T, 4]", "f32[T]"]), aligned(16),
                fallback=Fallback(fallback, fallback), on_fault=refuse, **options)


# rows of a table of 5 x 3, by int64 indices
LOOKUP = '''
def plan(sizes, facts):
    B = size(sizes, 0)
    put(facts, 0, B)
    put(facts, 1, 0)
    put(facts, 2, 0)
    put(facts, 3, 96)
    put(facts, 4, 0)
    put(facts, 5, B)
    put(facts, 6, 3)


def phases(args, sizes, weights, scratch, block, queue, fault, worker):
    B = size(sizes, 0)
    shared_take_i64_1(phase(queue, 0), pointer(args, 1), at(weights, 0), pointer(args, 0), 5, 3, 3,
                      fault, 7, B, 3, 0, 1)
'''


def lookup(kind: type = Executable, **options: Any) -> Any:
    arena = aligned(16)
    arena[:15] = np.arange(15)
    return kind(driver_of(LOOKUP, kernels.take("i64", 1)), spec(["i64[B]"], ["f32[B, 3]"]),
                arena, fallback=Fallback(unusual, unusual), on_fault=refuse, **options)

"""How a pass is tested: a graph before as text, and the graph expected after."""
from __future__ import annotations

import re

import numpy as np

import ir
from ir.check import check_same, with_data

INPUTS = "%x: f32[B, 8], %r: f32[B, 8], %s: f32[B, 1], %m: f32[8, 8], %q: f32[B, 4, 8], %k: f32[8]"
PARAMS = {
    "@w": "f32[8, 8]", "@v": "f32[8, 8]", "@b": "f32[8]", "@row": "f32[1, 8]", "@one": "f32[1]",
    "@wide": "f32[8, 2]", "@t": "f32[4, 8]", "@qw": "f32[3, 8, 8]", "$c": "f32[8, 8]",
}


def graph(body: str) -> ir.Graph:
    """The graph of these nodes and this `return`, with the inputs and the params above."""
    lines = [line.strip() for line in body.strip().splitlines()]
    declared = [f"{name}: {type_}" for name, type_ in PARAMS.items()]
    types = dict(re.findall(r"([%@$]\w+): (\w+\[[^\]]*\])", "\n".join([INPUTS, *declared, *lines])))
    returned = ", ".join(types[name] for name in re.findall(r"[%@$]\w+", lines[-1]))
    text = "\n".join([f"graph g({INPUTS}) -> {returned} {{", *declared, *lines, "}"])
    return with_data(ir.parse(text), seed=0)


def becomes_in_double(step: ir.Pass, before: str, after: str) -> None:
    """Assert the same where every float is f64."""
    texts = (str(graph(body)).replace("f32", "f64") for body in (before, after))
    source, expected = (with_data(ir.parse(text)) for text in texts)
    result = step(source)
    check_same(step.name, source, result)
    assert nodes(result) == nodes(expected)


def becomes(step: ir.Pass, before: str, after: str) -> ir.Graph:
    """Assert that the pass makes this of that, and is then done; return what it made."""
    source = graph(before)
    result = step(source)
    ir.verify(result)
    check_same(step.name, source, result)
    assert nodes(result) == nodes(graph(after))
    assert nodes(step(result)) == nodes(result)
    assert str(ir.parse(str(result))) == str(result)
    return result


def stays(step: ir.Pass, body: str) -> None:
    becomes(step, body, body)


def nodes(g: ir.Graph) -> list[str]:
    """The lines of the nodes and of the return, without the origins."""
    lines = (re.sub(r"\s+#.*|\s+(?= )", "", line.strip()) for line in str(g).splitlines())
    return [line for line in lines if re.match(r"%\d+:|return", line)]


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are the same, 0.0 not being -0.0; a NaN is a NaN."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(
        np.signbit(a) & ~np.isnan(a), np.signbit(b) & ~np.isnan(b))

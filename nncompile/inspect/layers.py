"""The layers that nodes come from, by their paths.

A layer's path is such as `encoder.layers.3.fc`. A part with a number in it names one of several
layers, and the path up to that part is a *block*. Which blocks are equal, `sections` says.
"""
from __future__ import annotations

import re
from collections.abc import Sequence

from ir import Node

_NUMBER = re.compile(r"\d+")
_PART = re.compile(r"(?<![^./])[0-9]+(?![^./])")     # a part of a path that is a number


def shown(text: str) -> str:
    """Returns a name as text that a terminal takes for nothing else."""
    if text.isprintable():
        return text
    import json  # which few names need
    return json.dumps(text)


def path_of(node: Node) -> str:
    """Returns the path of the first layer that a node comes from; "" for the model itself."""
    return first_path(node.where.layer)


def first_path(layer: str) -> str:
    """Returns the path of the first of the layers in a text such as `0.fc Linear, 1 ReLU`."""
    return layer.partition(", ")[0].partition(" ")[0]


def paths_of(node: Node) -> list[str]:
    """Returns the paths of all layers that a node comes from."""
    return [part.partition(" ")[0] for part in node.where.layer.split(", ")]


def without_numbers(path: str) -> str:
    """Returns the path with * for each part that is a number."""
    return _PART.sub("*", path)


def span_of(paths: Sequence[str]) -> str:
    """Returns one path for several that differ in numbers alone: `layer.0-11.up`."""
    numbers = zip(*([int(n) for n in _PART.findall(path)] for path in paths), strict=True)
    spans = iter([f"{min(own)}-{max(own)}" if len({*own}) > 1 else str(own[0])
                  for own in numbers])
    return _PART.sub(lambda _: next(spans), paths[0])


def block_of(path: str) -> str:
    """Returns the path up to its first part with a number; "" where it has none."""
    parts = path.split(".")
    first = next((i for i, part in enumerate(parts) if _NUMBER.search(part)), None)
    return "" if first is None else ".".join(parts[:first + 1])


def family(block: str) -> str:
    """Returns what a block's path has in common with those of its like."""
    head, dot, last = block.rpartition(".")
    return head + dot + _NUMBER.sub("*", last)

"""Which format a model is of, told without importing the package of any."""
from __future__ import annotations

from os import PathLike, fspath
from typing import Any


def is_onnx(model: Any) -> bool:
    """Returns whether a model is ONNX: a path that ends in .onnx, bytes, or a ModelProto."""
    if isinstance(model, str | PathLike):
        return str(fspath(model)).endswith(".onnx")
    kind = type(model)
    return isinstance(model, bytes | bytearray | memoryview) or (
        kind.__name__ == "ModelProto" and kind.__module__.startswith("onnx"))

"""The graph as an ONNX model for the peers that read one."""
from __future__ import annotations

from collections.abc import Mapping

from ir import Graph
from nncompile.exporters.onnx import onnx_bytes

_OPSET = 20                                      # the first with Gelu; ONNX Runtime since 1.18


def onnx_model(graph: Graph, sizes: Mapping[str, int]) -> bytes:
    """Returns the serialized model with symbolic sizes replaced by numbers.

    Raises NoCounterpart.
    """
    return onnx_bytes(graph, sizes, _OPSET)

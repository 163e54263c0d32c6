"""What onnx.reference gets wrong: operators of earlier opsets that it computes as of today."""
from __future__ import annotations

from typing import Any

import numpy as np

from ir import NDArray
from nncompile.extras import import_extra

_SOFTMAX_OVER_ONE_AXIS = 13                      # before, over all axes from the given one on
_NORMALIZATION_WITH_A_MODE = 14                  # before, inference; the reference trains


def corrections(proto: Any) -> list[Any]:
    """Returns classes for onnx.reference that compute operators as the opset of the model does."""
    run = import_extra("onnx.reference.op_run", "onnx", "an ONNX model")
    defs = import_extra("onnx.defs", "onnx", "an ONNX model")
    opset = max((int(o.version) for o in proto.opset_import if o.domain in ("", "ai.onnx")),
                default=_NORMALIZATION_WITH_A_MODE)
    found: dict[str, Any] = {}
    if opset < _SOFTMAX_OVER_ONE_AXIS:
        found |= {"Softmax": _flattened(_softmax), "LogSoftmax": _flattened(_log_softmax),
                  "Hardmax": _flattened(_hardmax)}
    if opset < _NORMALIZATION_WITH_A_MODE:
        found["BatchNormalization"] = _normalized
    return [type(name, (run.OpRun,), {"_run": function, "op_domain": "",
                                      "op_schema": defs.get_schema(name, opset)})
            for name, function in found.items()]


def _flattened(function: Any) -> Any:
    def of_all_axes(node: Any, x: NDArray, axis: int) -> tuple[NDArray]:
        axis = axis + x.ndim if axis < 0 else axis
        rows = x.reshape(int(np.prod(x.shape[:axis])), -1) if x.size else x
        return (function(rows).reshape(x.shape) if x.size else x,)
    return of_all_axes


def _softmax(rows: NDArray) -> NDArray:
    powers = np.exp(rows - rows.max(1, keepdims=True))
    result: NDArray = powers / powers.sum(1, keepdims=True)
    return result


def _log_softmax(rows: NDArray) -> NDArray:
    centred = rows - rows.max(1, keepdims=True)
    result: NDArray = centred - np.log(np.exp(centred).sum(1, keepdims=True))
    return result


def _hardmax(rows: NDArray) -> NDArray:
    result = np.zeros_like(rows)
    result[np.arange(len(rows)), rows.argmax(1)] = 1
    return result


def _normalized(node: Any, x: NDArray, scale: NDArray, bias: NDArray, mean: NDArray, var: NDArray,
                epsilon: float, **other: Any) -> tuple[NDArray]:
    def along(values: NDArray) -> NDArray:
        return values.reshape(-1, *[1] * (x.ndim - 2))
    scaled = along(scale) * (x - along(mean)) / np.sqrt(along(var) + epsilon) + along(bias)
    return (scaled.astype(x.dtype),)

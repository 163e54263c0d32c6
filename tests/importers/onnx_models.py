"""Small ONNX models, written in a line or two."""
from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper, numpy_helper


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """A node; inputs and outputs are separated by spaces, `-` for one that is left out."""
    names = [["" if n == "-" else n for n in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *names, **attributes)


def model(nodes: list[Any], inputs: dict[str, Any], outputs: str, opset: int = 17,
          domains: tuple[str, ...] = (), functions: Any = (), **weights: Any) -> Any:
    """A model. inputs: the shape of each, of float32 unless it is (dtype, shape)."""
    infos = []
    for name, given in inputs.items():
        kind, shape = given if isinstance(given, tuple) else ("float32", given)
        number = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        infos.append(helper.make_tensor_value_info(name, number, shape))
    graph = helper.make_graph(
        nodes, "g", infos, [helper.make_empty_tensor_value_info(n) for n in outputs.split()],
        [numpy_helper.from_array(np.asarray(a), n.replace("__", "."))
         for n, a in weights.items()])
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=imports, functions=functions)

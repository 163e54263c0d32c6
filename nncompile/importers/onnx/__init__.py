"""ONNX models: read, imported node by node, and checked against onnx.reference."""
from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import ir
from ir.float_mode import StandardFloats
from nncompile.errors import InputError
from nncompile.importers.imported import Imported
from nncompile.importers.onnx.check import check_against_reference
from nncompile.importers.onnx.importer import Importer
from nncompile.importers.onnx.reader import Tensors, read


def import_onnx(model: Any, *inputs: Any, shapes: Mapping[str, Any] | None = None,
                constants: Mapping[str, Any] | None = None, external_data: bool = False
                ) -> Imported:
    """Returns the graph of an ONNX model, and what it does not say; see `from_onnx`.

    Raises InputError where inputs are given too: the model has them.
    """
    if inputs:
        raise InputError(f"an ONNX model has its inputs: leave {len(inputs)} out\n"
                         "  do: shapes={...} gives numbers or names to its open sizes")
    proto, title, folder = read(model)
    tensors = Tensors(folder, external_data)
    baked: frozenset[str] = frozenset()
    while True:
        importer = Importer(proto, title, tensors, shapes or {}, constants or {}, baked)
        with StandardFloats():                   # what is computed here is the same everywhere
            graph = importer.run()
        # A weight whose numbers decided something is no weight that could be exchanged later.
        used = {value.name for value in graph.params}
        if not (again := (importer.read & used) - baked):
            break
        baked |= again
    names = {v.name: v.name for v in graph.params if v.kind == "parameter"} | importer.aliases
    check = partial(check_against_reference, proto, title, tensors, graph, constants or {})
    outputs = tuple(info.name for info in proto.graph.output)
    return Imported(graph, check, names=names, notes=tuple(importer.notes), outputs=outputs)


def from_onnx(model: Any, shapes: Mapping[str, Any] | None = None,
              constants: Mapping[str, Any] | None = None, external_data: bool = False) -> ir.Graph:
    """Returns the graph of an ONNX model, with its data.

    model:         a path, the bytes of a file, or an onnx.ModelProto.
    shapes:        sizes that the file leaves open, by its name for the size or by the name of an
                   input: {"batch": "N", "sequence": 128, "mask": ("N", 128)}. A number fixes the
                   size; a text names it.
    constants:     numbers for inputs, which then are no inputs any more: {"sr": 16000}.
    external_data: whether weights are read from other files in the model's folder.

    Sizes stay symbolic. Weights are parameters under the file's own names. Nothing in the file is
    trusted: see the page on security.
    Raises ModelImportError, which lists all that stands in the way, and InputError for arguments
    that do not fit the model.
    """
    return import_onnx(model, shapes=shapes, constants=constants,
                       external_data=external_data).graph


__all__ = ["from_onnx", "import_onnx"]

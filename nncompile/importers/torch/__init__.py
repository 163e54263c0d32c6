"""torch modules: exported by torch.export, and imported call by call."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ir
from nncompile.importers.imported import Imported
from nncompile.importers.torch.export import Exported, export
from nncompile.importers.torch.importer import Importer


def import_torch(module: Any, *examples: Any, dynamic: Mapping[str, Any] | None = None,
                 **keywords: Any) -> Imported:
    """Returns the graph of a torch module, and how its calls nest arrays; see `from_torch`."""
    exported = export(module, examples, keywords, dynamic or {})
    return Importer(exported).run()


def from_torch(module: Any, *examples: Any, dynamic: Mapping[str, Any] | None = None,
               **keywords: Any) -> ir.Graph:
    """Returns the graph of a torch module in eval mode, with its data.

    module:   a torch.nn.Module, or a torch.export.ExportedProgram, which needs no examples.
    examples: for each argument of `forward` a tensor or array, or a type text such as
              "f32[B, T, 64]"; or these in tuples, lists and dicts; `keywords` are the arguments
              that go by name. The first dimension of every array is the batch size B, which any
              call may change.
    dynamic:  names of the other sizes that may change, by argument and axis: {"ids": {1: "T"}}. A
              number instead of a name fixes the size, also that of axis 0.

    torch.export runs the module on examples. Parameters and buffers keep their names, and share no
    memory with torch's; tied weights are one parameter.
    Raises ModelImportError, with all that stands in the way, where torch cannot export the module,
    a size that should change cannot, or a call has no counterpart here; InputError for arguments
    that do not fit.
    """
    return import_torch(module, *examples, dynamic=dynamic, **keywords).graph


__all__ = ["Exported", "from_torch", "import_torch"]

"""Which importer a model needs, told without importing the package of any format."""
from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from os import PathLike, fspath
from typing import Any

from nncompile.importers.imported import Imported, ImportedEstimator

Importer = Callable[..., Imported | ImportedEstimator]


def importer_of(model: Any) -> Importer | None:
    """Returns the function that imports such a model, or None for a model of our own."""
    for is_kind, module, function in _KINDS:
        if is_kind(model):
            found: Importer = getattr(import_module(module), function)
            return found
    return None


def _is_onnx(model: Any) -> bool:
    """A path that ends in .onnx, the bytes of a file, or an onnx.ModelProto."""
    if isinstance(model, str | PathLike):
        return str(fspath(model)).endswith(".onnx")
    return isinstance(model, bytes | bytearray | memoryview) or _is_a(model, "onnx", "ModelProto")


def _is_torch(model: Any) -> bool:
    """A torch.nn.Module, or a torch.export.ExportedProgram."""
    return _is_a(model, "torch", "Module") or _is_a(model, "torch", "ExportedProgram")


def _is_estimator(model: Any) -> bool:
    """An estimator of scikit-learn, or of a class derived from one."""
    return not isinstance(model, type) and _is_a(model, "sklearn", "BaseEstimator")


def _is_a(model: Any, package: str, name: str) -> bool:
    """Returns whether a model is of a class of that name in a package."""
    return any(cls.__name__ == name and cls.__module__.partition(".")[0].startswith(package)
               for cls in type(model).__mro__)


_KINDS = (
    (_is_onnx, "nncompile.importers.onnx", "import_onnx"),
    (_is_torch, "nncompile.importers.torch", "import_torch"),
    (_is_estimator, "nncompile.importers.sklearn", "import_estimator"),
)

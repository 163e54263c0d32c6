"""nncompile as a back end of ONNX: onnx.backend.base.Backend, which test suites and tools drive.

    from nncompile import onnx_backend
    outputs = onnx_backend.prepare(model).run([x])

A model whose inputs decide shapes, as that of Reshape does, is compiled when such inputs are known:
in `run`, once for each of their values.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ir import NDArray
from nncompile.compiler import compile
from nncompile.errors import InputError, ModelImportError
from nncompile.extras import import_extra
from nncompile.model import CompiledModel

try:
    from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
    from onnx.backend.base import Backend, BackendRep
except ModuleNotFoundError:
    import_extra("onnx", "onnx", "nncompile.onnx_backend")   # which says what to install
    raise

_KEPT = 16                                       # compiled models of one that decides shapes


class PreparedModel(BackendRep):
    """A model that is ready to run."""

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        initialized = {tensor.name for tensor in model.graph.initializer}
        self._names = [i.name for i in model.graph.input if i.name not in initialized]
        self._compiled: dict[tuple[tuple[str, bytes], ...], CompiledModel] = {}
        self._deciding: tuple[str, ...] = ()
        try:
            self._compiled[()] = compile(model)
        except ModelImportError as error:
            if not error.inputs:
                raise
            self._deciding = error.inputs

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Returns the outputs, in the order of the model's.

        inputs: the arrays in the order of the model's inputs, by name in a dict, or the only one.
        Raises InputError where they do not fit.
        """
        if kwargs:
            raise InputError(f"run takes no {', '.join(kwargs)}")
        arrays = self._named(inputs)
        while True:
            given = {name: arrays[name] for name in self._names if name in self._deciding}
            key = tuple((name, array.tobytes()) for name, array in given.items())
            try:
                compiled = self._compiled.get(key) or compile(self._model, constants=given)
                break
            except ModelImportError as error:    # one more is needed to know what that shape is
                more = [n for n in error.inputs if n not in self._deciding]
                if not more:
                    raise
                self._deciding += tuple(more)
        if len(self._compiled) >= _KEPT:
            self._compiled.clear()
        self._compiled[key] = compiled
        results = compiled(*[arrays[n] for n in self._names if n not in given])
        return results if isinstance(results, tuple) else (results,)

    def _named(self, inputs: Any) -> dict[str, NDArray]:
        if isinstance(inputs, np.ndarray | np.generic):
            inputs = [inputs]
        if isinstance(inputs, Mapping):
            found = {name: _array(value) for name, value in inputs.items()}
        elif isinstance(inputs, Sequence):
            if len(inputs) > len(self._names):
                raise InputError(f"the model has {len(self._names)} inputs, not {len(inputs)}")
            found = dict(zip(self._names, map(_array, inputs), strict=False))
        else:
            raise InputError("inputs are arrays in a list, or by name in a dict")
        if missing := [name for name in self._names if name not in found]:
            raise InputError(f"the input {missing[0]!r} is missing")
        return found


def _array(value: Any) -> NDArray:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


class OnnxBackend(Backend):
    """The back end: models run on the CPU, compiled."""

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> PreparedModel:
        """Returns the model, compiled. Raises ModelImportError where it cannot be imported."""
        _check_device(device)
        if kwargs:
            raise InputError(f"prepare takes no {', '.join(kwargs)}")
        return PreparedModel(model)

    @classmethod
    def run_model(cls, model: ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any
                  ) -> tuple[Any, ...]:
        """Returns the model's outputs for these inputs."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(cls, node: NodeProto, inputs: Any, device: str = "CPU",
                 outputs_info: Any = None, **kwargs: Any) -> tuple[Any, ...]:
        """Returns the outputs of one node, in the newest opset unless `opset_version=` is given."""
        opset = kwargs.pop("opset_version", None)
        arrays = [_array(value) for value in inputs]
        infos = [helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip(filter(None, node.input), arrays, strict=True)]
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
        graph = helper.make_graph([node], "node", infos, outputs)
        imports = [helper.make_opsetid(node.domain, opset)] if opset else None
        model = helper.make_model(graph, opset_imports=imports)
        return cls.run_model(model, arrays, device, **kwargs)

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Returns whether the model can be imported, its inputs being known."""
        from nncompile.importers.onnx import import_onnx
        if not cls.supports_device(device):
            return False
        try:
            import_onnx(model)
        except ModelImportError as error:
            return bool(error.inputs)
        return True

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Returns whether models run on the device: on "CPU" alone."""
        return device.partition(":")[0] == "CPU"


def _check_device(device: str) -> None:
    if not OnnxBackend.supports_device(device):
        raise InputError(f"device={device!r}: models run on the CPU")


prepare = OnnxBackend.prepare
run_model = OnnxBackend.run_model
run_node = OnnxBackend.run_node
is_compatible = OnnxBackend.is_compatible
supports_device = OnnxBackend.supports_device

__all__ = ["OnnxBackend", "PreparedModel", "is_compatible", "prepare", "run_model", "run_node",
           "supports_device"]

"""Writes nncompile/torch_names.txt: the public names of torch, by module.

    python tools/torch_names.py

It needs torch, of the version that the table is to describe. One section is one module of torch's
or the class Tensor or nn.Module; one line in it has the names of one kind. `Linear=nn` in another
section says that the name is the same object as nn.Linear; `relu=nn:ReLU` that its name differs
there.
"""
from __future__ import annotations

import importlib
import inspect
import pkgutil
import types
import warnings
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "nncompile" / "torch_names.txt"

# Modules that no model imports: build systems, other devices, mobile phones, internals.
LEFT_OUT = """
    accelerator.graphs accelerator.memory ao.nn ao.ns ao.pruning ao.quantization.*
    backends.xeon backends.python_native compiler.config contrib cuda.gds
    cuda.green_contexts cuda.jiterator cuda.sparse cuda.tunable distributed.algorithms
    distributed.argparse_util distributed.autograd
    distributed.benchmarks distributed.checkpoint distributed.collective_utils distributed.config
    distributed.constants distributed.debug distributed.distributed_c10d distributed.elastic
    distributed.flight_recorder distributed.fsdp.api distributed.fsdp.sharded_grad_scaler
    distributed.fsdp.wrap
    distributed.launch distributed.launcher distributed.logging_handlers distributed.nn
    distributed.optim distributed.pipelining distributed.remote_device distributed.rendezvous
    distributed.rpc distributed.run distributed.tensor distributed.utils export fx.annotate
    fx.config fx.experimental fx.operator_schemas fx.passes fx.subgraph_rewriter fx.tensor_type
    fx.traceback futures jit.frontend jit.generate_bytecode jit.mobile jit.quantized
    jit.supported_ops jit.unsupported_tensor_ops masked.maskedtensor monitor mps.event mtia
    multiprocessing nativert nested nn.backends nn.cpp nn.intrinsic nn.qat nn.quantizable
    nn.quantized numa onnx.errors onnx.ops onnx.symbolic_* onnx.testing onnx.utils
    onnx.verification onnx.operators package profiler.itt profiler.python_tracer quantization.*
    return_types signal.windows.windows sparse.semi_structured testing utils.backcompat
    utils.backend_registration utils.benchmark utils.bottleneck utils.bundled_inputs
    utils.collect_env utils.cpp_backtrace utils.data.backward_compatibility utils.data.datapipes
    utils.data.graph utils.data.graph_settings utils.debug_log utils.deterministic
    utils.file_baton utils.hipify utils.jit utils.mobile_optimizer utils.model_dump
    utils.module_tracker utils.serialization utils.show_pickle utils.tensorboard
    utils.throughput_benchmark utils.viz xpu
"""
# Names with an underscore that models import all the same.
PRIVATE = {
    "": "_assert",
    "jit": "_overload _overload_method _script_if_tracing",
    "nn.functional": "_canonical_mask _in_projection _in_projection_packed _none_or_dtype",
    "nn.init": "_calculate_correct_fan _calculate_fan_in_and_fan_out _no_grad_fill_ "
               "_no_grad_normal_ _no_grad_trunc_normal_ _no_grad_uniform_ _no_grad_zero_",
    "nn.modules.activation": "_is_make_fx_tracing",
    "nn.modules.batchnorm": "_BatchNorm _LazyNormBase _NormBase",
    "nn.modules.conv": "_ConvNd _ConvTransposeNd",
    "nn.modules.dropout": "_DropoutNd",
    "nn.modules.instancenorm": "_InstanceNorm",
    "nn.modules.loss": "_Loss _WeightedLoss",
    "nn.modules.module": "_IncompatibleKeys _addindent",
    "nn.modules.padding": "_ConstantPadNd _ReflectionPadNd _ReplicationPadNd",
    "nn.modules.pooling": "_AdaptiveAvgPoolNd _AdaptiveMaxPoolNd _AvgPoolNd _MaxPoolNd",
    "nn.modules.transformer": "_get_activation_fn _get_clones",
    "nn.modules.utils": "_list_with_default _ntuple _pair _quadruple _reverse_repeat_tuple "
                        "_single _triple",
    "optim.lr_scheduler": "_LRScheduler",
    "utils.data.dataloader": "_BaseDataLoaderIter",
}
# Modules of torch that need another package, and what a section here says of them.
NEEDS_OTHERS = {
    "utils.tensorboard": "classes FileWriter SummaryWriter",
    "utils.tensorboard.writer": "classes FileWriter=utils.tensorboard "
                                "SummaryWriter=utils.tensorboard",
}
KINDS = {"layers": "a subclass of nn.Module", "classes": "another class", "errors": "an exception",
         "functions": "what is called", "values": "any other object"}


def modules() -> dict[str, types.ModuleType]:
    """Returns torch's modules by their names without `torch.`; torch itself is ""."""
    import torch

    found = {"": torch}

    def walk(module: types.ModuleType) -> None:
        for info in pkgutil.iter_modules(getattr(module, "__path__", []), f"{module.__name__}."):
            name = info.name.removeprefix("torch.")
            if info.name.rpartition(".")[2].startswith("_") or left_out(name):
                continue
            try:
                found[name] = importlib.import_module(info.name)
            except ImportError:                  # it needs what is not installed
                continue
            walk(found[name])

    walk(torch)
    return found


def left_out(name: str) -> bool:
    return any(fnmatch(name, part) or name.startswith(f"{part}.") for part in LEFT_OUT.split())


def names_of(name: str, space: Any) -> Iterator[str]:
    """Yields what a module or class offers, without what it only imports from elsewhere."""
    listed = set(getattr(space, "__all__", ()))
    attributes = {*dir(space), *listed}
    if isinstance(space, types.ModuleType) and type(space) is not types.ModuleType:
        attributes |= vars(getattr(space, "m", space)).keys()    # settings: torch.backends.cudnn
    for attribute in sorted(attributes):
        private = attribute.startswith("_")
        if attribute in PRIVATE.get(name, "").split() or (not private and (
                attribute in listed or inspect.isclass(space) or own(space, attribute))):
            yield attribute


def own(module: types.ModuleType, attribute: str) -> bool:
    """Returns whether a module defines the attribute, and has not only imported it."""
    value = getattr(module, attribute, None)
    if inspect.isclass(value) or inspect.isroutine(value):
        home = value.__module__ or module.__name__
        inside = home.startswith(("torch._", f"{module.__name__}."))
        return home == module.__name__ or inside or inspect.isbuiltin(value)
    # typing's forms, constants of other packages and the like are no part of what it offers
    offered = not hasattr(module, "__all__") or type(value).__module__ == "torch"
    return offered and attribute not in ("annotations", "TYPE_CHECKING") and type(
        value).__module__ not in ("typing", "__future__")


def kind_of(value: Any) -> str:
    import torch

    if not inspect.isclass(value):
        return "functions" if callable(value) and not isinstance(value, torch.dtype) else "values"
    if issubclass(value, BaseException):
        return "errors"
    return "layers" if issubclass(value, torch.nn.Module) else "classes"


def homes(found: dict[str, types.ModuleType]) -> dict[int, tuple[str, str]]:
    """Returns the module and the name by which each object is known best."""
    best: dict[int, tuple[str, str]] = {}
    order = sorted(found, key=lambda name: (name.count("."), name != "", name != "nn",
                                            name != "nn.functional", name))
    for name in order:
        for attribute in names_of(name, found[name]):
            value = getattr(found[name], attribute, None)
            if callable(value):
                best.setdefault(id(value), (name, attribute))
    return best


def word(module: str, attribute: str, home: tuple[str, str]) -> str:
    where, known_as = home
    if (where, known_as) == (module, attribute):
        return attribute
    where = where or "torch"
    return f"{attribute}={where}" if known_as == attribute else f"{attribute}={where}:{known_as}"


def table() -> str:
    import torch

    warnings.simplefilter("ignore")
    found = modules()
    best = homes(found)
    spaces = {**found, "Tensor": torch.Tensor, "nn.Module": torch.nn.Module}
    version = torch.__version__.partition("+")[0]
    lines = [f"# The public names of torch {version}, written by tools/torch_names.py", version]
    for module, space in sorted({**spaces, **dict.fromkeys(NEEDS_OTHERS)}.items()):
        if module in NEEDS_OTHERS:
            lines += [f"[{module}]", NEEDS_OTHERS[module]]
            continue
        kinds: dict[str, list[str]] = {kind: [] for kind in KINDS}
        for attribute in names_of(module, space):
            value = getattr(space, attribute, None)
            if isinstance(value, types.ModuleType):
                continue
            home = best.get(id(value), (module, attribute)) if module in found else (
                module, attribute)
            kinds[kind_of(value)].append(word(module, attribute, home))
        lines.append(f"[{module or 'torch'}]")
        lines += [f"{kind} {' '.join(words)}" for kind, words in kinds.items() if words]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(table())
    print(f"wrote {TARGET.relative_to(ROOT)}")

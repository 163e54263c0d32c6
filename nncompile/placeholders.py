"""The names of torch that models import: no-ops, and placeholders for what is not here.

`torch_names.txt` lists torch's public names by module; tools/torch_names.py writes it. A module of
ours whose twin in torch has more names finds them here, by its `__getattr__`, and a module that
torch alone has is made when it is imported. A name is then

- the same object as another name, where it is that in torch: `nn.modules.linear.Linear`,
- a no-op, where doing nothing is right for a model that only computes: `cuda.is_available()`,
- or a placeholder, which can be imported, subclassed and made, and refuses to be used.

docs/torch_parity.md says which; the tables below are what it is made from. Nothing here is read
before the first such name is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ir import Error

TORCH_VERSION = "2.13.0"
TABLE = "docs/torch_parity.md"
CLASSES = ("Tensor", "nn.Module")                # sections of the table that are no modules
_OURS = __name__.partition(".")[0]

# Why a name is not here: the first of these of which a word occurs in it, with its module before
# it. What has no reason is "not yet" here.
REASONS = {
    "tensorboard": "logs of training",
    "distributed nn.parallel DataParallel SyncBatchNorm cuda.comm cuda.nccl accelerator futures "
    "multiprocessing": "several devices or processes",
    "optim.": "steps of lists of arrays: the optimizers' classes are there",
    "autograd.profiler kineto Profiler": "profiling: a compiled model has profile(x)",
    "register_backward_hook": "torch's own older form: register_full_backward_hook is there",
    "forward_ad _dual dual_level vmap func. functorch": "derivatives forward, and functions for "
                                                        "whole batches",
    "autograd. _backward backward_elemt backward_reduce": "torch's own machinery for gradients",
    "quantiz quantis qint quint observer FakeQuant fake_quant q_per_ q_scale q_zero int_repr "
    "dequant fbgemm qscheme qnnpack": "quantization to eight bits and fewer",
    "sparse coalesce csr csc bsr bsc _indices to_dense crow_ ccol_ col_indices row_indices smm "
    "sspaddmm hspmm dense_dim indices_copy": "sparse arrays",
    "complex polar cfloat cdouble chalf view_as_real stft istft fft angle real imag conj": (
        "complex numbers"),
    "jit fx. onnx export library compiler overrides Script inductor ops. package dynamo torch_func "
    "TorchFunction TorchDispatch boolean_dispatch": "torch's own compilers and machinery",
    "cuda xpu mps mtia ipu hip hpu vulkan mkldnn xla cudnn miopen maia Stream Event storage Storage"
    " pin_memory share_memory dlpack data_ptr": "devices and their memory",
    "Conv Unfold Fold Pool conv unfold fold pool": "convolutions and pooling",
    "RNN LSTM GRU rnn_ lstm gru": "recurrence",
    "_loss kl_div cross_entropy_with": "torch's own machinery: it is in nn.functional",
    "gumbel multinomial poisson exponential_ cauchy_ geometric_ log_normal_ random_ bernoulli_ "
    "Generator rng_state binomial rrelu": "random numbers",
    "Upsampl upsample interpolate grid_sample affine_grid Pixel pixel_ ChannelShuffle "
    "channel_shuffle BatchNorm2d BatchNorm3d InstanceNorm2d InstanceNorm3d": "images",
    "scaled_mm grouped_mm scaled_grouped float8 float4 Float8": "eight-bit floats",
    "int1 int2 int3 int4 int5 int6 int7 uint16 uint32 uint64 bits int16 short Short float16 half "
    "Half bfloat16 BFloat16": "element types that are not here",
    "profiler record_function monitor": "profiling: a compiled model has profile(x)",
    "hub. load save serialization model_zoo": "files: nncompile.save and load keep checkpoints",
    "Type Argument CompilationUnit Code Graph FunctionSchema FatalError Benchmark Deep Alias Await "
    "Block Capsule Compiled Concrete Deserialization Dispatch DisableTorch Execution Gradient "
    "IODescriptor InferredType InterfaceType JITException Lite MultiprocessErr Node Operator "
    "PyObject PyTorchFile RRef ScriptObject Serialization Static ThroughputBenchmark Use Value "
    "names rename refine_names align_ named has_names vitals import_ir parse_ get_file_path "
    "compiled_with_cxx11_abi merge_type jit_ autocast_ memory_format SymInt SymFloat SymBool sym_ "
    "cudnn_is_acceptable segment_reduce slice_inverse _copy nested cpp_extension "
    "has_torch_function handle_torch_function assert_int mkl": "torch's own machinery",
    "T_destination dump_patches call_super_init Container": "torch's own machinery",
}

# What to do instead, by the reason.
INSTEAD = {
    "complex numbers": "there are no arrays of complex numbers: keep the real and the imaginary "
                       "parts in two arrays; a Fourier transform of one fixed length is a product "
                       "with a matrix of cosines and one with a matrix of sines",
    "devices and their memory": "arrays are on the CPU: leave it out, or make it depend on "
                                "torch.cuda.is_available(), which is False",
    "several devices or processes": "leave it out: a compiled model uses the cores by itself",
    "logs of training": "leave the logging out, or let tensorboardX write it, whose SummaryWriter "
                        "has the same methods",
    "random numbers": "draw by numpy.random or torch.rand outside of the model, and pass the "
                      "numbers as an argument",
    "element types that are not here": "use float32 or float64, int32 or int64",
    "files: nncompile.save and load keep checkpoints": "nncompile.load reads a checkpoint that is "
                                                       "a file, and load_file a safetensors file",
    "quantization to eight bits and fewer": "use the model in float32, before it is quantized",
    "torch's own compilers and machinery": "leave it out: nncompile.compile takes the module",
}

# No-ops: what the function returns, and the names that return it. There is no device but the CPU,
# no torch.compile at work, and nothing that depends on these settings.
RETURNS: Sequence[tuple[Any, str]] = (
    (False, """
        accelerator.is_available backends.cusparselt.is_available backends.kleidiai.is_available
        backends.mkl.is_available backends.mps.is_available backends.mps.is_built
        backends.nnpack.is_available backends.openmp.is_available backends.cuda.is_built
        backends.cuda.is_flash_attention_available
        backends.cuda.cudnn_sdp_enabled backends.cuda.flash_sdp_enabled
        backends.cuda.mem_efficient_sdp_enabled backends.cudnn.is_available
        compiler.is_compiling compiler.is_dynamo_compiling compiler.is_exporting
        cuda.is_available cuda.is_bf16_supported cuda.is_initialized cuda.is_tf32_supported
        cuda.is_current_stream_capturing
        cuda.nccl.is_available distributed.is_available distributed.is_gloo_available
        distributed.is_initialized distributed.is_mpi_available distributed.is_nccl_available
        distributed.is_torchelastic_launched distributed.is_ucc_available
        jit.is_scripting jit.is_tracing mps.is_available
        onnx.is_in_onnx_export is_anomaly_enabled
        is_autocast_cache_enabled is_autocast_cpu_enabled is_autocast_enabled
        is_autocast_ipu_enabled
        is_autocast_xla_enabled is_deterministic_algorithms_warn_only_enabled
        is_inference_mode_enabled is_vulkan_available
        amp.is_autocast_available
        overrides.has_torch_function
        overrides.has_torch_function_unary overrides.has_torch_function_variadic
        autograd.has_torch_function nn.functional.has_torch_function
        nn.functional.has_torch_function_unary
        nn.functional.has_torch_function_variadic
    """),
    (True, """
        are_deterministic_algorithms_enabled backends.cuda.math_sdp_enabled cpu.is_available
        backends.mha.get_fastpath_enabled
    """),
    (0, """
        accelerator.device_count cuda.current_device cuda.device_count cuda.max_memory_allocated
        cuda.max_memory_cached cuda.max_memory_reserved cuda.memory_allocated cuda.memory_cached
        cuda.memory_reserved mps.current_allocated_memory mps.device_count
        mps.driver_allocated_memory get_deterministic_debug_mode
    """),
    (1, "cpu.device_count"),
    ("highest", "get_float32_matmul_precision"),
    (None, """
        accelerator.current_accelerator backends.cuda.enable_cudnn_sdp
        backends.cuda.enable_flash_sdp backends.cuda.enable_math_sdp
        backends.cuda.enable_mem_efficient_sdp backends.cudnn.version
        backends.mha.set_fastpath_enabled clear_autocast_cache compiler.cudagraph_mark_step_begin
        compiler.reset cpu.synchronize cuda.empty_cache cuda.ipc_collect cuda.manual_seed
        cuda.manual_seed_all cuda.reset_accumulated_memory_stats cuda.reset_max_memory_allocated
        cuda.reset_max_memory_cached cuda.reset_peak_memory_stats cuda.seed cuda.seed_all
        cuda.synchronize cuda.nvtx.mark cuda.nvtx.range_pop cuda.nvtx.range_push
        jit.enable_onednn_fusion jit.set_fusion_strategy mps.empty_cache mps.manual_seed
        mps.synchronize set_deterministic_debug_mode set_float32_matmul_precision set_flush_denormal
        set_printoptions set_warn_always use_deterministic_algorithms set_num_interop_threads
        set_num_threads set_autocast_cache_enabled set_anomaly_enabled
    """),
)
# Context managers and decorators that change nothing of what is computed.
CONTEXTS = """
    amp.autocast_mode.autocast autocast autograd.detect_anomaly autograd.profiler.profile
    autograd.profiler.record_function autograd.set_detect_anomaly backends.cuda.sdp_kernel
    backends.nnpack.flags cpu.amp.autocast cuda.amp.autocast cuda.device cuda.device_of
    cuda.nvtx.range cuda.stream cuda.StreamContext jit.fuser jit.optimized_execution
    jit.strict_fusion nn.attention.sdpa_kernel profiler.record_function
    autograd.graph.save_on_cpu autograd.graph.disable_saved_tensors_hooks
    autograd.graph.saved_tensors_hooks autograd.set_multithreading_enabled
    autograd.enforce_grad_layout_policy
"""
# Decorators, with arguments of their own or without, that return the function as it is, and
# functions that return their argument.
IDENTITIES = """
    amp.autocast_mode.autocast_decorator amp.custom_bwd amp.custom_fwd
    autograd.function.once_differentiable compiler.allow_in_graph compiler.assume_constant_result
    compiler.disable cuda.amp.custom_bwd cuda.amp.custom_fwd fx.wrap fx.has_side_effect
    jit.export jit.freeze jit.ignore
    jit.interface jit.optimize_for_inference jit.script jit.script_if_tracing jit.script_method
    jit.trace jit.trace_module jit.unused jit._overload jit._overload_method
    jit._script_if_tracing jit.annotate
"""
# Names that are other functions of ours in all but their place.
ALIASES = {
    "autograd.Function": "nn.custom:Function", "autograd.function.FunctionCtx": "nn.custom:Context",
    "nn.utils.rnn.pad_sequence": "nn.functional.shapes:pad_sequence",
    "ger": "torch:outer", "spmm": "torch:mm", "sparse.mm": "torch:mm",
    "inverse": "array.linear_algebra:inv", "det": "array.linear_algebra:det",
    "slogdet": "array.linear_algebra:slogdet", "cholesky": "array.linear_algebra:cholesky",
    "pinverse": "array.linear_algebra:pinv", "qr": "array.linear_algebra:qr",
    **{f"linalg.{name}": f"array.linear_algebra:{name}" for name in (
        "cholesky", "det", "eigh", "inv", "lstsq", "norm", "pinv", "qr", "slogdet", "solve", "svd",
        "vector_norm")},
    "linalg.diagonal": "torch:diagonal", "linalg.matmul": "torch:matmul",
    "special.erf": "torch:erf", "special.erfc": "torch:erfc", "special.exp2": "torch:exp2",
    "special.expit": "torch:sigmoid", "special.expm1": "torch:expm1",
    "special.gammaln": "torch:lgamma", "special.digamma": "torch:digamma",
    "special.psi": "torch:digamma", "special.erfinv": "torch:erfinv",
    "special.xlogy": "torch:xlogy", "special.log1p": "torch:log1p",
    "special.log_softmax": "torch:log_softmax",
    "special.logsumexp": "torch:logsumexp", "special.round": "torch:round",
    "special.softmax": "torch:softmax", "torch_version.TorchVersion": "version:TorchVersion",
    "types.Device": "torch:device", "layer_norm": "nn.functional:layer_norm",
    "group_norm": "nn.functional:group_norm", "batch_norm": "nn.functional:batch_norm",
    "rms_norm": "nn.functional:rms_norm", "instance_norm": "nn.functional:instance_norm",
    "dropout": "nn.functional:dropout",
    "alpha_dropout": "nn.functional:alpha_dropout", "embedding": "nn.functional:embedding",
    "celu": "nn.functional:celu", "selu": "nn.functional:selu", "prelu": "nn.functional:prelu",
    "rrelu": "nn.functional:rrelu", "threshold": "nn.functional:threshold",
    "hardshrink": "nn.functional:hardshrink", "bilinear": "nn.functional:bilinear",
    "relu_": "nn.functional:relu_", "celu_": "nn.functional:celu_",
    "selu_": "nn.functional:selu_", "threshold_": "nn.functional:threshold_",
    "cosine_similarity": "nn.functional:cosine_similarity",
    "pairwise_distance": "nn.functional:pairwise_distance",
}

# Names of ours in modules that are imported when the first of their names is asked for.
LATE = {
    "nn.padding": """
        nn.CircularPad1d nn.CircularPad2d nn.CircularPad3d nn.ConstantPad1d nn.ConstantPad2d
        nn.ConstantPad3d nn.ReflectionPad1d nn.ReflectionPad2d nn.ReflectionPad3d
        nn.ReplicationPad1d nn.ReplicationPad2d nn.ReplicationPad3d nn.ZeroPad1d nn.ZeroPad2d
        nn.ZeroPad3d nn.modules.padding._ConstantPadNd nn.modules.padding._ReflectionPadNd
        nn.modules.padding._ReplicationPadNd
    """,
    "nn.tuples": """
        nn.modules.utils._list_with_default nn.modules.utils._ntuple nn.modules.utils._pair
        nn.modules.utils._quadruple nn.modules.utils._reverse_repeat_tuple nn.modules.utils._single
        nn.modules.utils._triple nn.modules.utils.consume_prefix_in_state_dict_if_present
    """,
    "nn.normalization": """
        nn.modules.batchnorm._BatchNorm nn.modules.batchnorm._LazyNormBase
        nn.modules.batchnorm._NormBase nn.modules.instancenorm._InstanceNorm
    """,
    "nn.losses": "nn.modules.loss._Loss nn.modules.loss._WeightedLoss",
    "func": "nn.utils.stateless.functional_call",
    "array.seeded": """
        Generator get_rng_state initial_seed seed set_rng_state random.fork_rng
        random.get_rng_state random.initial_seed random.seed random.set_rng_state
    """,
    "autograd.variable": "autograd.Variable",
    "optim.scaler": """
        GradScaler amp.GradScaler amp.grad_scaler.GradScaler cuda.amp.GradScaler
        cuda.amp.grad_scaler.GradScaler cpu.amp.GradScaler cpu.amp.grad_scaler.GradScaler
    """,
    "distributions.compound": """
        distributions.relaxed_bernoulli.LogitRelaxedBernoulli
        distributions.relaxed_categorical.ExpRelaxedCategorical
    """,
}


class Name(NamedTuple):
    """What torch's name is: its kind, and the name that it is best known by."""

    kind: str                                    # "layers", "classes", "errors", ...
    home: str                                    # the module of that other name, "" for torch
    known_as: str


def torch_names() -> dict[str, dict[str, Name]]:
    """Returns torch's public names by module; torch itself is ""."""
    return {module: names_of(module) for module in _sections()}


@cache
def names_of(module: str) -> dict[str, Name]:
    """Returns the public names of one of torch's modules or of a class of CLASSES.

    One at a time is read, since every process asks for those of nn.Module.
    """
    names: dict[str, Name] = {}
    for line in _sections().get(module, "").splitlines():
        kind, *words = line.split()
        for word in words:
            name, _, home = word.partition("=")
            where, _, known_as = home.partition(":")
            names[name] = Name(kind, {"": module, "torch": ""}.get(where, where),
                               known_as or name)
    return names


@cache
def _sections() -> dict[str, str]:
    loader: Any = __spec__.loader                # of a folder or of a zip file
    text = loader.get_data(str(Path(__file__).with_name("torch_names.txt"))).decode()
    head, *sections = text.split("\n[")
    assert head.endswith(TORCH_VERSION)
    parts = [section.partition("]") for section in sections]
    return {"" if name == "torch" else name: lines.strip() for name, _, lines in parts}


def spelled(module: str, name: str = "") -> str:
    """Returns a name as a user of torch writes it: torch.nn.Linear."""
    return ".".join(part for part in ("torch", module, name) if part)


@cache
def no_ops() -> dict[str, Any]:
    """Returns the no-ops by their names without `torch.`."""
    made: dict[str, Any] = {}
    for value, names in RETURNS:
        made |= {name: _returning(name, value) for name in names.split()}
    made |= {name: type(name.rpartition(".")[2], (_Nothing,), {"__module__": spelled("", name)})
             for name in CONTEXTS.split()}
    made |= {name: _identity(name) for name in IDENTITIES.split()}
    return made | {"utils.checkpoint.checkpoint": _checkpoint, "_assert": _assert}


@cache
def aliases() -> dict[str, str]:
    """Returns where a name of ours is, as module:name, by the name that torch gives it."""
    late = {full: f"{module}:{full.rpartition('.')[2]}"
            for module, names in LATE.items() for full in names.split()}
    return ALIASES | late


def _checkpoint(function: Callable[..., Any], *args: Any, use_reentrant: Any = None,
                context_fn: Any = None, determinism_check: Any = None, debug: bool = False,
                early_stop: bool = True, preserve_rng_state: bool = True, **kwargs: Any) -> Any:
    """Calls the function: what torch would compute again for gradients is computed once here."""
    return function(*args, **kwargs)


def _assert(condition: Any, message: str) -> None:
    """Asserts that the condition holds, as torch._assert does."""
    assert condition, message


def _returning(name: str, value: Any) -> Callable[..., Any]:
    def function(*_: Any, **__: Any) -> Any:
        return value
    return _known_as(function, name, f"Does nothing, and returns {value}.")


def _identity(name: str) -> Callable[..., Any]:
    def function(function: Any = None, *args: Any, **_: Any) -> Any:
        if args and name == "jit.annotate":      # annotate(type, value)
            return args[0]
        return function if callable(function) else lambda function: function
    return _known_as(function, name, "Returns its argument as it is; used as a decorator, too.")


def _known_as(function: Any, name: str, text: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name.rpartition(".")[2]
    function.__doc__ = text
    return function  # type: ignore[no-any-return]


class _Nothing:
    """A context manager and decorator that changes nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes any arguments."""

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_: Any) -> None:
        """Lets exceptions pass."""

    def __call__(self, function: Any) -> Any:
        return function


# -- placeholders ----------------------------------------------------------------------------------

def reason(module: str, name: str) -> str:
    """Returns why torch's name is not here: the row of the table that it is in."""
    full = f"{module}.{name}"
    return next((why for words, why in REASONS.items()
                 if any(word in full for word in words.split())), "not yet")


def refusal(module: str, name: str) -> str:
    """Returns the message for a name of torch's that is not here."""
    why = reason(module, name)
    verdict = "not yet" if why == "not yet" else f"out of scope ({why})"
    instead = INSTEAD.get(why, "write it with what is there, or leave that part of the model to "
                               "torch")
    return (f"{spelled(module, name)} is not in nncompile: {verdict}; see the row of "
            f"{spelled(module)} in {TABLE}\n  do: {instead}")


class _Members(type):
    """The class of placeholders of classes, some of which are enumerations in torch."""

    def __getattr__(cls, name: str) -> Any:
        """Returns what stands for a member of an enumeration, which is in capitals."""
        if not name.isupper():
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
        module, known_as = cls._torch
        return Constant(module, f"{known_as}.{name}")


class Refusing(metaclass=_Members):
    """A placeholder's instance: it keeps nothing, and refuses to be used."""

    _torch: tuple[str, str]                      # the module and the name

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes any arguments, so that a model which makes one can be made."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"{refusal(*self._torch)} (asked for its {name!r})")

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise Error(refusal(*self._torch))


class Constant:
    """A constant of torch's that has a name and no value here, such as torch.strided."""

    def __init__(self, module: str, name: str) -> None:
        self._torch = module, name

    def __repr__(self) -> str:
        return spelled(*self._torch)


def is_placeholder(value: Any) -> bool:
    """Returns whether a value stands for something of torch's that is not here."""
    return "_torch" in getattr(value, "__dict__", ())


def _placeholder(module: str, name: str, kind: str) -> Any:
    if kind == "values":
        return Constant(module, name)
    if kind == "functions":
        def function(*_: Any, **__: Any) -> Any:
            raise Error(refusal(module, name))
        function._torch = module, name           # type: ignore[attr-defined]
        return _known_as(function, name, refusal(module, name))
    if kind == "layers":
        base: Any = import_module(f"{_OURS}.nn.missing").MissingLayer
    else:
        base = RuntimeError if kind == "errors" else Refusing
    make: Any = type(base)
    return make(name, (base,), {
        "_torch": (module, name), "__doc__": refusal(module, name), "__module__": spelled(module)})


# -- finding a name --------------------------------------------------------------------------------

def find(module: str, name: str) -> Any:
    """Returns the no-op, the other name's object, or a placeholder for torch's name.

    Raises AttributeError where torch has no such name.
    """
    full = f"{module}.{name}" if module else name
    if full in no_ops():
        return no_ops()[full]
    if full in aliases():
        where, _, known_as = aliases()[full].partition(":")
        return getattr(_our_module("" if where == "torch" else where), known_as)
    known = names_of(module).get(name)           # a function may have the name of its module
    if known is None and full in _sections() and full not in CLASSES:
        return _our_module(full)
    if known is None:
        raise Unknown(f"module {_our_name(module)!r} has no attribute {name!r}, and neither has "
                      f"{spelled(module)}", module, name)
    if (known.home, known.known_as) != (module, name):
        value = getattr(_our_module(known.home), known.known_as)
        if known.kind != "functions" or not is_placeholder(value):
            return value                         # else a placeholder that says the name asked for
    return _placeholder(module, name, known.kind)


def getter(our_name: str, later: str = "", submodule: str = "") -> Callable[[str], Any]:
    """Returns the `__getattr__` of a module of ours that has a twin in torch.

    later: names, with blanks between them, of its submodule, which is imported when one of them is
    asked for.
    """
    module = our_name.partition(".")[2]
    names = frozenset(later.split())

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {our_name!r} has no attribute {name!r}")
        if name in names:
            value = getattr(import_module(f"{our_name}.{submodule}"), name)
        else:
            value = find(module, name)
        setattr(sys.modules[our_name], name, value)
        return value

    return __getattr__


class Unknown(AttributeError):
    """An attribute that torch has not; its text asks for what may have been meant."""

    def __init__(self, message: str, module: str, name: str) -> None:
        super().__init__(message, module, name)

    def __str__(self) -> str:
        from difflib import get_close_matches  # not for hasattr, which reads no text

        message, module, name = self.args
        found = get_close_matches(name, names_of(module), 1)
        return f"{message}: did you mean {found[0]}?" if found else str(message)


def missing(module: str, name: str) -> str | None:
    """Returns the message for a method or attribute that torch's class has, and ours has not."""
    return refusal(module, name) if name in names_of(module) else None


def _our_name(module: str) -> str:
    return f"{_OURS}.{module}" if module else _OURS


def _our_module(module: str) -> ModuleType:
    return import_module(_our_name(module))


class _Modules:
    """Makes the modules of torch's that have no file here."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Returns how a module is made, where torch has one of that name."""
        package, _, module = fullname.partition(".")
        if package != _OURS or module in CLASSES or module not in _sections():
            return None
        return ModuleSpec(fullname, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Leaves the making of the module to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Gives a new module its names."""
        torch_module = module.__name__.partition(".")[2]
        module.__doc__ = f"The names of {spelled(torch_module)}: see {TABLE}."
        vars(module).update(
            __getattr__=getter(module.__name__),
            __all__=[name for name in names_of(torch_module) if not name.startswith("_")])
        # A function may have the name of its module, whose import would else take its place.
        for name in names_of(torch_module):
            if f"{torch_module}.{name}" in _sections():
                import_module(f"{module.__name__}.{name}")
                setattr(module, name, find(torch_module, name))


def install() -> None:
    """Lets Python find the modules that torch alone has, after all others."""
    if not any(isinstance(finder, _Modules) for finder in sys.meta_path):
        sys.meta_path.append(_Modules())

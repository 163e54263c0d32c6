"""Object code: compiled from Python or LLVM, cached on disk, linked into this process."""
from nncompile.cpu.objects.cache import cached
from nncompile.cpu.objects.compile import Function, compile_functions, execute, runtime, source_hash
from nncompile.cpu.objects.library import (
    compiling,
    entry_points,
    kernel_module,
    kernel_primitive,
    load_functions,
    load_kernel,
)
from nncompile.cpu.objects.link import linker
from nncompile.cpu.objects.progress import do_all

__all__ = ["Function", "cached", "compile_functions", "compiling", "do_all", "entry_points",
           "execute", "kernel_module", "kernel_primitive", "linker", "load_functions",
           "load_kernel", "runtime", "source_hash"]

"""Object code: compiled from Python or LLVM, cached on disk, linked into this process."""
from nncompile.cpu.objects.cache import cached
from nncompile.cpu.objects.compile import Function, compile_functions, execute, runtime, source_hash
from nncompile.cpu.objects.library import (
    compiling,
    entry_points,
    kernel_code,
    kernel_module,
    kernel_primitive,
    load_functions,
)
from nncompile.cpu.objects.link import linker
from nncompile.cpu.objects.progress import do_all

__all__ = ["Function", "cached", "compile_functions", "compiling", "do_all", "entry_points",
           "execute", "kernel_code", "kernel_module", "kernel_primitive", "linker",
           "load_functions", "runtime", "source_hash"]

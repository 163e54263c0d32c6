"""Object code: compiled from Python or LLVM, cached on disk, linked into this process."""
from nncompile.cpu.objects.cache import cached
from nncompile.cpu.objects.compile import Function, compile_functions, execute, runtime, source_hash
from nncompile.cpu.objects.emit import Emission
from nncompile.cpu.objects.library import (
    begin,
    compiling,
    functions_code,
    kernel_module,
    kernel_primitive,
    load_functions,
    pieces,
)
from nncompile.cpu.objects.link import linker
from nncompile.cpu.objects.progress import Job, Later, do_all

__all__ = ["Emission", "Function", "Job", "Later", "begin", "cached", "compile_functions",
           "compiling", "do_all", "execute", "functions_code", "kernel_module", "kernel_primitive",
           "linker", "load_functions", "pieces", "runtime", "source_hash"]

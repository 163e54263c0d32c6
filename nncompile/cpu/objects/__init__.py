"""Object code: compiled from Python or LLVM, cached on disk, linked into this process."""
from nncompile.cpu.objects.cache import Slot as CacheSlot
from nncompile.cpu.objects.compile import Function, execute, runtime, source_hash
from nncompile.cpu.objects.emit import Emission
from nncompile.cpu.objects.library import (
    begin,
    begin_functions,
    begin_runtime,
    compiling,
    kernel_module,
    kernel_primitive,
    load_functions,
    pieces,
)
from nncompile.cpu.objects.link import linker
from nncompile.cpu.objects.progress import Job, Task, do_all

__all__ = ["CacheSlot", "Emission", "Function", "Job", "Task", "begin", "begin_functions",
           "begin_runtime", "compiling", "do_all", "execute", "kernel_module", "kernel_primitive",
           "linker", "load_functions", "pieces", "runtime", "source_hash"]

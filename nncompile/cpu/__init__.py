"""The CPU target: Program -> driver -> source text -> machine code -> callable.

    backend.py   all of it for one program: the way in
    driver/      Program -> the driver, as values and as the text that numba compiles
    kernels/     what a driver calls: one unit of work each, as LLVM and in NumPy
    vector/      what kernels are written with: the target, vector code, elementwise functions
    objects/     functions and kernels -> object code, kept on disk, linked into the process
    layout.py    the records that compiled code and Python share
    runtime/     from a call to the workers, and back with the results
    machine/     the caches, cores and ceilings of this machine

This package imports none of them, so `machine/` can be imported without a code generator.
The names of torch.cpu are here too.
"""

from typing import TYPE_CHECKING

from nncompile.placeholders import getter

if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

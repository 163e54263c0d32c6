"""The CUDA target: Program -> source text, numba.cuda kernels included -> callable.

    backend.py   all of it for one program: the way in
    build.py     Program -> Python source          weights.py     the constants on the device
    steps.py     the launches of each kind of step text.py        launches as text
    kernels/     the texts of kernels              target.py      tile shapes of a device
    primitives.py  what generated source may use   load.py        source -> functions, PTX
    arrays.py    the user's arrays on the device   memory.py      scratch and staging
    recording.py launches as one CUDA graph        profile.py     time of each step
    stopwatch.py times whole calls                 shim.py        which package compiles

Nothing outside imports this package but `nncompile.targets`, for target="cuda". The names
of torch.cuda are here too, for models that ask whether there is a device: arrays are on the CPU.
"""

from typing import TYPE_CHECKING

from nncompile.placeholders import getter

if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

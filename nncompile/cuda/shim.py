"""Which package provides numba.cuda, and whether there is a device that it can use.

Three packages have the same programming model. The first one installed is used, and only what all
of them have: arrays, shared and local arrays, syncthreads, math, one atomic operation.
"""
from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from inspect import signature
from threading import Lock
from typing import Any

import numpy as np

from nncompile.errors import CompileError

# package to look for, module to import, name to install it by
_PACKAGES = (("numba_cuda_mlir", "numba_cuda_mlir.cuda", "numba-cuda-mlir"),
             ("numba_cuda", "numba.cuda", "numba-cuda"),
             ("numba", "numba.cuda", "numba"))
_INSTALL = "pip install nncompile[cuda]   (numba-cuda, for an NVIDIA GPU and its driver)"
_SIMULATE = ("set NUMBA_ENABLE_CUDASIM=1 before Python starts, to run the same source slowly in "
             "numba's simulator, without a GPU")


@dataclass(frozen=True)
class Cuda:
    """The module that kernels are written against, and the package it comes from."""

    module: Any
    package: str
    version: str
    simulated: bool

    @property
    def aligns(self) -> bool:
        """Whether shared arrays take an alignment; those of numba and of older numba-cuda do not.
        """
        return (self.package == "numba-cuda-mlir"
                or "alignment" in signature(self.module.shared.array).parameters)

    def __str__(self) -> str:
        return f"{self.package} {self.version}{', simulator' * self.simulated}"


@cache
def find() -> Cuda:
    """Returns the first package of `_PACKAGES` that can be imported, without looking for a device.

    Raises CompileError, naming what was tried and what to install.
    """
    tried = []
    for package, module, name in _PACKAGES:
        if package == "numba_cuda_mlir" and os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
            tried.append(f"{name}: it has no simulator")
            continue
        if find_spec(package) is None:
            tried.append(f"{name}: not installed")
            continue
        try:
            found = import_module(module)
        except (ImportError, OSError) as error:
            tried.append(f"{name}: {error}")
            continue
        _quieten()
        simulated = "simulator" in found.jit.__module__
        if simulated:
            repair(import_module(found.jit.__module__.replace(".api", ".kernelapi")))
        return Cuda(found, name, metadata.version(name), simulated)
    raise CompileError("target='cuda' needs a package that compiles Python for NVIDIA GPUs\n"
                       + "".join(f"  {line}\n" for line in tried) + f"  do: {_INSTALL}")


def _quieten() -> None:
    """Turns off the warning of small grids, which here have the size of their work."""
    for name in ("numba.cuda.core.config", "numba.core.config"):
        try:
            config: Any = import_module(name)
        except ImportError:
            continue
        config.CUDA_LOW_OCCUPANCY_WARNINGS = 0


def repair(kernelapi: Any) -> None:
    """Makes the simulator's threads agree on their shared arrays.

    numba (0.68.1, and numba-cuda 0.30.4) looks an array up and creates it without a lock, so that
    two threads of a block, once in some thousand calls, each get their own.
    """
    lock = Lock()

    def array(self: Any, shape: Any, dtype: Any) -> Any:
        caller = sys._getframe(1)
        key = caller.f_code.co_filename, caller.f_lineno
        with lock:
            if key not in self._allocations:
                self._allocations[key] = np.empty(shape, dtype)
            return self._allocations[key]

    kernelapi.FakeCUDAShared.array = array


def load() -> Cuda:
    """Returns the package, with a device or the simulator that it can run kernels on.

    Raises CompileError, saying what is missing - a package, the driver, a GPU, the compiler library
    - and what to do.
    """
    cuda = find()
    if not cuda.simulated and (reason := _why_not(cuda.module)):
        raise CompileError(f"target='cuda' found {cuda}, but cannot use a GPU\n  {reason}\n"
                           f"  or: {_SIMULATE}")
    return cuda


def _why_not(module: Any) -> str:
    """Returns what is missing to run kernels, with what to do; "" where nothing is."""
    try:
        devices = len(module.list_devices())
    except Exception as error:               # each package has an error class of its own
        reason = " ".join(str(error).split()).rstrip(" .:")
        if "NO_DEVICE" in reason:
            return (f"the driver finds no GPU: {reason}\n"
                    "  do: make a GPU visible (nvidia-smi lists them; see CUDA_VISIBLE_DEVICES)")
        return (f"the NVIDIA driver does not load: {reason}\n"
                "  do: install the NVIDIA driver; nvidia-smi must work")
    if not devices:
        return ("the driver finds no GPU\n"
                "  do: make a GPU visible (nvidia-smi lists them; see CUDA_VISIBLE_DEVICES)")
    if not module.is_available():
        return f"the compiler library (NVVM) is not there\n  do: {_INSTALL}"
    return ""


def describe() -> str:
    """Returns one line about this target on this machine, for `nncompile hw`."""
    try:
        cuda = load()
    except CompileError as error:
        reason, _, _ = str(error).partition("\n  or: ")
        return f"cuda     not usable: {' '.join(reason.split())}"
    if cuda.simulated:
        return f"cuda     {cuda}"
    device = cuda.module.get_current_device()
    name = device.name.decode() if isinstance(device.name, bytes) else device.name
    major, minor = device.compute_capability
    return f"cuda     {cuda}; {name}, compute capability {major}.{minor}"

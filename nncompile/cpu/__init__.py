"""The CPU target: Program -> source text -> machine code -> callable.

    emit.py      Program -> Python source          kernels/     what the source calls
    arena.py     the weights as kernels read them  jit.py       source -> object code, by numba
    engine.py    all of it for one program         executable.py, call.py, launch.py, pool.py: calls
"""
from nncompile.cpu.engine import Engine as build

__all__ = ["build"]

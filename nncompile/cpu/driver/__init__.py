"""The driver of a program: the generated function that calls its kernels.

`generate` makes it from a program, as values that print as Python source, together with the layout
of the constants that it reads. `load` compiles it and finds the addresses of its functions.
"""
from nncompile.cpu.driver.build import Code, generate, step_codes
from nncompile.cpu.driver.loader import load
from nncompile.cpu.driver.values import Driver, Function
from nncompile.cpu.driver.weights import Arena

__all__ = ["Arena", "Code", "Driver", "Function", "generate", "load", "step_codes"]

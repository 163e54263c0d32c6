"""Program -> driver -> text -> machine code.

    build(program, target)   the driver as values, and the layout of its constants
    load(driver, target)     its functions and kernels in this process
"""
from nncompile.cpu.driver.build import build
from nncompile.cpu.driver.load import Addresses, load, queue_words
from nncompile.cpu.driver.values import Driver, Function
from nncompile.cpu.driver.weights import Arena

__all__ = ["Addresses", "Arena", "Driver", "Function", "build", "load", "queue_words"]

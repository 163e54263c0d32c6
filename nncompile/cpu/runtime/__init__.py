"""From a call to the workers, and back with the results.

Files:

executable.py       a loaded model: in machine code, or as plain Python
compiled_call.py    a call whose arrays are checked in machine code
buffer_call.py      a call where the layout of the interpreter's arrays is not known
launch.py pool.py   how one call is shared among workers; the workers
costs.py            what sharing costs on this machine
state.py            the words and objects that describe a model to compiled code
output_memory.py    the memory of large results, used again
profile.py          the time of each step
"""
from nncompile.cpu.runtime.executable import Executable, PythonExecutable
from nncompile.cpu.runtime.pool import POOL, default_threads

__all__ = ["POOL", "Executable", "PythonExecutable", "default_threads"]

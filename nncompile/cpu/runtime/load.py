"""Loads the runtime's compiled functions into this process."""
from __future__ import annotations

import nncompile.cpu.runtime.buffer_call as buffer_call
import nncompile.cpu.runtime.compiled_call as compiled_call
import nncompile.cpu.runtime.launch as launch
import nncompile.cpu.runtime.pool as pool
from nncompile.cpu.objects import load_functions
from nncompile.cpu.vector import Target

# What Python, and code that is compiled by itself, find by their symbols.
_EXPORTED = (pool.worker, pool.share, launch.run, compiled_call.call,
             compiled_call.call_into, compiled_call.answer)


def load_runtime(target: Target) -> None:
    """Loads the pool, the launch and the call path, unless they are loaded."""
    compiled = (*pool.COMPILED, *launch.COMPILED, *compiled_call.COMPILED)
    load_functions("runtime", compiled, _EXPORTED, target)


def load_short_call(target: Target) -> None:
    """Loads the compiled functions of buffer_call.py, after `load_runtime`."""
    load_functions("short", buffer_call.COMPILED, (buffer_call.run_objects,), target)


def load_sharing(target: Target) -> None:
    """Loads `launch.sharing`, which only explains."""
    load_functions("sharing", launch.EXPLAINING, (launch.sharing,), target)

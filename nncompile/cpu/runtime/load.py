"""Loads the runtime's compiled functions into this process."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

import nncompile.cpu.runtime.buffer_call as buffer_call
import nncompile.cpu.runtime.compiled_call as compiled_call
import nncompile.cpu.runtime.launch as launch
import nncompile.cpu.runtime.pool as pool
from nncompile.cpu.objects import Emission, Task, begin_runtime, load_functions
from nncompile.cpu.objects.compile import runtime_function
from nncompile.cpu.vector import Target

# What Python, and code that is compiled by itself, find by their symbols.
_EXPORTED = (pool.worker, pool.share, launch.run, compiled_call.call,
             compiled_call.call_into, compiled_call.answer)


_RUNTIME = ("runtime", (*pool.COMPILED, *launch.COMPILED, *compiled_call.COMPILED), _EXPORTED)


def load_runtime(target: Target) -> None:
    """Loads the pool, the launch and the call path, unless they are loaded."""
    load_functions(*_RUNTIME, target)


def runtime_object(target: Target) -> tuple[str, str, Callable[[Emission], Task]]:
    """Returns what `load_runtime` loads for `driver.load`, which loads it with a model's code."""
    return ("the runtime", runtime_function(_EXPORTED[0]).symbol,
            partial(begin_runtime, *_RUNTIME, target))


def load_short_call(target: Target) -> None:
    """Loads the compiled functions of buffer_call.py, after `load_runtime`."""
    load_functions("short", buffer_call.COMPILED, (buffer_call.run_objects,), target)


def load_sharing(target: Target) -> None:
    """Loads `launch.sharing`, which only explains."""
    load_functions("sharing", launch.EXPLAINING, (launch.sharing,), target)

"""Time on the device, by CUDA events, of work on the default stream."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nncompile.cuda import shim
from nncompile.errors import CompileError


class Stopwatch:
    """Times work on the device. Raises CompileError where there is none, as in the simulator."""

    def __init__(self) -> None:
        cuda = shim.load()
        if cuda.simulated:
            raise CompileError("the CUDA simulator runs Python: there is nothing to time\n"
                               "  do: unset NUMBA_ENABLE_CUDASIM, on a machine with an NVIDIA GPU")
        self._module, self.device = cuda.module, shim.describe().removeprefix("cuda     ")

    def to_device(self, array: Any) -> Any:
        """Returns a copy of the array on the device."""
        return self._module.to_device(array)

    def to_host(self, array: Any) -> Any:
        """Returns a copy of the device's array as an ndarray."""
        return array.copy_to_host()

    def seconds_a_call(self, call: Callable[[], object], count: int) -> float:
        """Returns the mean seconds of `count` consecutive calls, the host's work included."""
        for _ in range(count // 4 + 1):                  # loads kernels, fills caches
            call()
        start, end = self._module.event(), self._module.event()
        self._module.synchronize()
        start.record()
        for _ in range(count):
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3 / count

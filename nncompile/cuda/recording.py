"""A model's launches as one CUDA graph: recorded once for sizes and places, replayed by one call.

It needs the driver's own API, from the package cuda-bindings. Without it, with
NNCOMPILE_CUDA_GRAPH=0 and in the simulator, every call launches its kernels one by one.
"""
from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from nncompile import options
from nncompile.cuda.shim import Cuda
from nncompile.errors import Error


def driver(cuda: Cuda) -> tuple[Any | None, str]:
    """Returns the driver's API, or None where graphs are not wanted or not available, and why."""
    if not options.CUDA_GRAPH.value():
        return None, f"{options.CUDA_GRAPH.variable}=0"
    if cuda.simulated:
        return None, "the simulator has none"
    try:
        return import_module("cuda.bindings.driver"), ""
    except ImportError:
        return None, "pip install cuda-bindings"


class Recording:
    """What `launch(stream)` puts on a stream, as a CUDA graph.

    Its kernels have to have run before, since none may be loaded while a stream is recorded.
    """

    def __init__(self, launch: Callable[[Any], None], cuda: Any, driver: Any) -> None:
        self._driver = driver
        stream = cuda.stream()                 # the default stream cannot be recorded
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._done(driver.cuStreamBeginCapture(handle(stream, driver), mode))
        try:
            with cuda.defer_cleanup():         # while it records, nothing may be freed
                launch(stream)
        finally:
            graph = self._done(driver.cuStreamEndCapture(handle(stream, driver)))
        self._executable = self._done(driver.cuGraphInstantiate(graph, 0))
        self._done(driver.cuGraphDestroy(graph))

    def replay(self, stream: Any) -> None:
        """Launches the graph on the stream."""
        self._done(self._driver.cuGraphLaunch(self._executable, handle(stream, self._driver)))

    def close(self) -> None:
        """Frees the graph, once the device has finished."""
        self._done(self._driver.cuCtxSynchronize())       # it may still be running
        self._done(self._driver.cuGraphExecDestroy(self._executable))

    def _done(self, result: tuple[Any, ...]) -> Any:
        """Returns the value of a driver call. Raises Error where it failed."""
        status, *values = result
        if int(status):
            raise Error(f"the driver says {status}")
        return values[0] if values else None


def handle(stream: Any, driver: Any) -> Any:
    """Returns the driver's handle of one of numba's streams; 0 is the default stream."""
    found = getattr(stream, "handle", stream)
    return driver.CUstream(int(getattr(found, "value", found) or 0))

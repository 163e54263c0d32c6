"""The device memory of calls: for each stream, scratch memory and the staging of host arrays.

It grows to the needs of the largest call so far and is reused, since the calls of one stream run
one after another.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ir.types import DTYPES
from nncompile.placeholders import getter

_FAULT_WORDS = 3                   # step + 1, index, size


class Memory:
    """The device memory of the calls on one stream.

    grown: how often an array was replaced by a larger one. recordings: CUDA graphs of launches on
    these arrays.
    """

    def __init__(self, cuda: Any) -> None:
        self.cuda, self.grown = cuda, 0
        self.recordings: dict[Any, Any] = {}
        self.fault = cuda.to_device(np.zeros(_FAULT_WORDS, np.int64))
        self._arrays: dict[str, Any] = {}
        self._views: dict[str, Any] = {}                 # of scratch

    def forget(self, key: tuple[Any, ...], most: int) -> None:
        """Closes recordings that a new one, of this key, takes the place of.

        Recordings on other memory, told by `key[2:]`, are closed; if there are none and the number
        of recordings has reached `most`, the oldest is.
        """
        stale = [k for k in self.recordings if k[2:] != key[2:]]
        for old in stale or list(self.recordings)[:max(0, len(self.recordings) - most + 1)]:
            if recording := self.recordings.pop(old):
                recording.close()

    def scratch(self, size: int, dtypes: Sequence[str]) -> list[Any]:
        """Returns memory of at least so many units of 4 bytes, as an array of each of the dtypes.
        """
        raw = self.array("scratch", size + size % 2, np.dtype(np.int32))
        if raw is not self._views.get("i32"):
            self._views = {"i32": raw}
        for dtype in dtypes:
            if dtype not in self._views:
                self._views[dtype] = raw.view(DTYPES[dtype])
        return [self._views[dtype] for dtype in dtypes]

    def array(self, name: str, elements: int, dtype: np.dtype[Any]) -> Any:
        """Returns a 1-D array of at least so many elements, and at least two."""
        have = self._arrays.get(name)
        if have is None or have.size < elements:
            self.grown += 1
            self._arrays[name] = self.cuda.device_array(max(elements, 2), dtype)
        return self._arrays[name]

    def staged(self, name: str, host: Any, stream: Any) -> Any:
        """Returns the host array's numbers on the device."""
        array = self.array(name, host.size, host.dtype)
        if host.size:
            array[:host.size].copy_to_device(host.reshape(-1), stream=stream)
        return array

    def fetch(self, array: Any, hosts: Sequence[Any], stream: Any) -> None:
        """Copies the first elements of a device array to contiguous host arrays."""
        for host in hosts:
            if host.size:
                array[:host.size].copy_to_host(host.reshape(-1), stream=stream)

    def reported(self, stream: Any) -> list[int]:
        """Waits for the stream, returns the fault words, and resets them to 0."""
        words = np.zeros(_FAULT_WORDS, np.int64)
        self.fault.copy_to_host(words, stream=stream)
        if stream:
            stream.synchronize()
        if words[0]:
            self.fault.copy_to_device(np.zeros(_FAULT_WORDS, np.int64), stream=stream)
        return [int(word) for word in words]


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

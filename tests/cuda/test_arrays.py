"""Arrays and streams of other libraries, as far as it can be seen without a device."""
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from nncompile.cuda import arrays
from nncompile.cuda.shim import Cuda
from nncompile.errors import InputError


class Given:
    def __init__(self, address=4096, shape=(2, 3), typestr="<f4", **more):
        self.device = "cuda:0"
        self.__cuda_array_interface__ = {"shape": shape, "typestr": typestr, "version": 3,
                                         "data": (address, False), **more}


class Module:
    """What is done to it is written down."""

    def __init__(self):
        self.done = []

    def from_cuda_array_interface(self, about, owner):
        self.done.append(about)
        return about

    def external_stream(self, handle):
        return SimpleNamespace(handle=handle, synchronize=lambda: self.done.append(handle))


@pytest.fixture
def cuda():
    return Cuda(Module(), "numba-cuda", "1.2", False)


def test_what_is_read_of_an_array(cuda):
    array = arrays.device_array(Given(), cuda)
    assert arrays.is_device_array(array.given, cuda)
    assert not arrays.is_device_array(np.zeros(3), cuda)
    assert (array.shape, array.dtype, array.contiguous, array.writeable, array.address) == (
        (2, 3), np.float32, True, True, 4096)
    for strides, contiguous in (((12, 4), True), ((4, 8), False), ((24, 8), False)):
        assert arrays.device_array(Given(strides=strides), cuda).contiguous == contiguous
    assert not arrays.device_array(Given(data=(4096, True)), cuda).writeable


def test_kernels_are_given_the_same_memory(cuda):
    about = arrays.flat(arrays.device_array(Given(strides=(12, 4), stream=7), cuda), cuda)
    assert about["data"] == (4096, False) and about["shape"] == (6,)
    assert about["strides"] is about["stream"] is None      # numba would wait for the stream


def test_overlap(cuda):
    first, *others = (arrays.device_array(Given(a), cuda) for a in (4096, 4096 + 20, 4096 + 24))
    assert [arrays.overlap(first, o) for o in others] == [True, False]


@pytest.mark.parametrize("own, named, waits", [
    (None, (None, None), []), (None, (1, None), []), (None, (9, 9), [9]), (9, (9, None), []),
    (9, (1, 9), [1])])
def test_other_streams_are_waited_for(cuda, own, named, waits):
    given = [arrays.device_array(Given(stream=stream), cuda) for stream in named]
    arrays.wait_for(given, arrays.stream_of(own, cuda), cuda)
    assert cuda.module.done == waits


@pytest.mark.parametrize("given, handle", [
    (None, 0), (0, 0), (5, 5), (SimpleNamespace(cuda_stream=5), 5), (SimpleNamespace(ptr=5), 5),
    (SimpleNamespace(cuda_stream=0), 0)])
def test_streams_of_all_libraries(cuda, given, handle):
    assert arrays.stream_key(arrays.stream_of(given, cuda)) == handle


def test_what_is_no_stream(cuda):
    with pytest.raises(InputError, match="stream is a str"):
        arrays.stream_of("x", cuda)


@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_a_call_is_on_the_stream_that_the_library_works_on(monkeypatch, library):
    module = SimpleNamespace(cuda=SimpleNamespace(current_stream=lambda device: f"of {device}",
                                                  get_current_stream=lambda: "of cupy"))
    monkeypatch.setitem(sys.modules, library, module)
    given = type("Tensor", (Given,), {"__module__": f"{library}.more"})()
    assert arrays.current_stream(given) == {"torch": "of cuda:0", "cupy": "of cupy"}[library]
    assert arrays.current_stream(Given()) is None

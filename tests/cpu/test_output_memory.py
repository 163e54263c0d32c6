"""The memory of large results: used again, and never while somebody holds a part of it."""
import ctypes
import gc
import threading
import weakref

import numpy as np
import pytest

import nncompile
from nncompile import nn
from nncompile.cpu.runtime import output_memory as results
from nncompile.cpu.runtime.output_memory import Results

F32 = np.dtype(np.float32)
ROWS = results.LARGE // 4 // 1024 + 1                  # of 1024 numbers: just large


@pytest.fixture
def small(monkeypatch):
    """4 KiB are large: tests that need many arrays."""
    monkeypatch.setattr(results, "LARGE", 4096)


def address(array):
    return array.ctypes.data


def test_what_nobody_holds_is_used_again(small):
    made = Results(2)
    first = address(made.new((4, 512), F32))
    assert address(made.new((2048,), F32)) == first     # as many bytes
    assert address(made.new((1024,), np.dtype(np.int64))) == first


def test_two_are_kept_for_a_name_that_is_bound_again(small):
    made, seen = Results(2), set()
    y = None
    for _ in range(10):
        y = made.new((4, 512), F32)
        seen.add(address(y))
    assert len(seen) == 2 and y is not None


@pytest.mark.parametrize("hold", [
    lambda y: y, lambda y: y[1:2], lambda y: y.T, lambda y: y.reshape(-1)[::3], memoryview,
    lambda y: y.view(np.int32), lambda y: np.asarray(memoryview(y)), np.from_dlpack,
    lambda y: y.view(np.recarray), lambda y: y.ctypes.data_as(ctypes.c_void_p),
    lambda y: iter(y), lambda y: np.broadcast_to(y, (3, *y.shape)),
], ids=range(12))
def test_what_somebody_holds_a_part_of_is_not(small, hold):
    made = Results(2)
    y = made.new((4, 512), F32)
    place, held = address(y), hold(y)
    del y
    for _ in range(4):
        assert address(made.new((4, 512), F32)) != place
    del held
    gc.collect()
    assert place in [address(y) for y in (made.new((4, 512), F32), made.new((4, 512), F32))]


def test_arrays_are_new_objects_that_die_with_their_last_user(small):
    made = Results(2)
    y = made.new((4, 512), F32)
    dead = []
    weakref.finalize(y, dead.append, 1)
    del y
    assert dead == [1]
    again = made.new((4, 512), F32)
    assert again.flags.writeable and again.flags.c_contiguous and again.ctypes.data % 64 == 0


def test_other_sizes_take_the_place_of_what_is_unused(small):
    made = Results(2)
    for rows in (4, 5, 6, 7, 4):
        made.new((rows, 512), F32)
        assert [m.size for m in made._kept] == [rows * 2048 + results.PAGE]


def test_no_more_are_kept_than_said(small):
    made = Results(2)
    many = [made.new((4, 512), F32) for _ in range(5)]
    assert len({address(y) for y in many}) == 5 and len(made._kept) == 2


def test_small_ones_are_plain_arrays():
    made = Results(2)
    y = made.new((3, 4), F32)
    assert y.flags.owndata and not made._kept


def test_threads_never_share_memory(small):
    """Each fills its array and looks at it later."""
    made, wrong = Results(4), []

    def use(me):
        for _ in range(2000):
            y = made.new((512, 4), F32)
            y[:] = me
            if not (y == me).all():
                wrong.append(me)

    threads = [threading.Thread(target=use, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.parametrize("call", ["compiled", "portable"])
def test_a_model_with_large_results(monkeypatch, call):
    if call == "portable":
        monkeypatch.setenv("NNCOMPILE_CALL", call)
    model = nn.Linear(8, 1024)
    fast = nncompile.compile(model, "f32[B, 8]")
    x = np.random.default_rng(0).standard_normal((ROWS, 8), dtype=np.float32)
    want = np.asarray(model(x))
    y = fast(x)
    part, place = y[5:7], address(y)
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)
    y = fast(-x)
    assert address(y) != place and np.array_equal(part, fast(x[5:7]))
    del part
    y = fast(x)
    assert address(y) == place
    assert fast(x[:3]).flags.owndata                    # what is small is as ever

"""The call path: checks, outputs, ownership. Every test runs on every path."""
import gc
import pickle
import resource
import sys
import threading
import weakref

import numpy as np
import pytest

from nncompile.cpu import layout
from nncompile.cpu.runtime import POOL, Executable, PythonExecutable, output_memory, pool
from nncompile.cpu.runtime import compiled_call as call
from nncompile.cpu.runtime.buffer_call import MOST, BufferCall
from nncompile.errors import Error, InputError
from tests.cpu.runtime_models import (
    BIG,
    WIDTHS,
    lookup,
    mlp,
    mlp_arena,
    mlp_float64,
    pair,
    rows_of,
    unusual,
)


@pytest.fixture(params=["compiled", "portable", "again", "python"])
def kind(request, monkeypatch):
    """again: the portable path where shapes come again, as every call is made twice."""
    if request.param in ("portable", "again"):
        monkeypatch.setenv("NNCOMPILE_CALL", "portable")
    if request.param == "again":
        for once in (BufferCall.call, BufferCall.call_into):
            def twice(self, *args, _once=once, **keywords):
                _once(self, *args, **keywords)
                return _once(self, *args, **keywords)
            monkeypatch.setattr(BufferCall, once.__name__, twice)
    return PythonExecutable if request.param == "python" else Executable


def test_the_compiled_path_is_used_here():
    assert call.knows_numpy()
    assert type(mlp().call).__name__ == "builtin_function_or_method"


@pytest.mark.parametrize("batch", [0, 1, 2, 5, 7, 64, 97, 1000])
def test_results(kind, batch):
    x = rows_of(WIDTHS, batch)
    y = mlp(kind=kind).call(x)
    assert y.shape == (batch, 6) and y.dtype == np.float32
    np.testing.assert_allclose(y, mlp_float64(x), rtol=1e-5, atol=1e-6)


def test_new_outputs_are_the_callers(kind):
    fast, x = mlp(kind=kind), rows_of(WIDTHS, 3)
    first, second = fast.call(x), fast.call(x)
    assert first.flags.owndata and first.flags.writeable and first.flags.c_contiguous
    assert sys.getrefcount(first) == 2
    kept = first.copy()
    second[:] = -1
    assert np.array_equal(first, kept)


def test_large_outputs_take_the_same_road(kind, monkeypatch):
    monkeypatch.setattr(output_memory, "LARGE", 100)       # bytes
    def fails(*_, **__):
        raise AssertionError("the fallback was called")

    fast, small = mlp(kind=kind, fallback=fails), mlp(kind=kind, fallback=fails).call(X[:1])
    x, want = rows_of(WIDTHS, 8), mlp(kind=kind).call(rows_of(WIDTHS, 8)).copy()
    seen = set()
    for _ in range(6):
        y = fast.call(x)
        seen.add(y.ctypes.data)
        assert np.array_equal(y, want) and sys.getrefcount(y) == 2
        assert y.ctypes.data % output_memory.PAGE == 0 and y.flags.writeable
        y[:] = -1
    assert len(seen) == 2
    assert small.flags.owndata
    both, a = pair(kind, fallback=fails), np.ones((9, 4), np.float32)
    total, sums = both.call(a, a)                          # the one is large, the other is not
    assert not total.flags.owndata and sums.flags.owndata
    assert np.array_equal(total, a + a) and np.array_equal(sums, np.full(9, 8, np.float32))


def test_no_memory_for_a_large_output_is_the_callers_error(kind, monkeypatch):
    monkeypatch.setattr(output_memory, "LARGE", 20)
    both, a = pair(kind), np.ones((9, 4), np.float32)
    make = both._results._memory
    def fails(size):
        if size < output_memory.PAGE + 50:                 # the second, when the first is there
            raise MemoryError("none is left")
        return make(size)

    monkeypatch.setattr(both._results, "_memory", fails)
    for _ in range(3):
        with pytest.raises(MemoryError, match="none is left"):
            both.call(a, a)
    monkeypatch.setattr(both._results, "_memory", make)
    assert np.array_equal(both.call(a, a)[0], a + a)


def test_out(kind):
    fast, x = mlp(kind=kind), rows_of(WIDTHS, 3)
    want = fast.call(x)
    for give in (lambda out: fast.call_into(x, out), lambda out: fast.call(x, out=out),
                 lambda out: fast.call_into(x, out, threads=1)):
        out = np.full((3, 6), np.nan, np.float32)
        assert give(out) is out
        assert np.array_equal(out, want)


def test_several_inputs_and_outputs(kind):
    fast, (a, b) = pair(kind), np.random.default_rng(0).standard_normal((2, 9, 4), np.float32)
    total, sums = fast.call(a, b)
    assert np.array_equal(total, a + b)
    np.testing.assert_allclose(sums, (a + b).sum(1), rtol=1e-6, atol=1e-6)
    outs = np.empty((9, 4), np.float32), np.empty(9, np.float32)
    result = fast.call_into(a, b, *outs)
    assert type(result) is tuple and result[0] is outs[0] and result[1] is outs[1]
    assert np.array_equal(outs[0], total) and np.array_equal(outs[1], sums)


def not_plain(x):
    """Arguments that the fast path must not take, by what is wrong with them."""
    wide = np.zeros((3, 34), np.float32)
    raw = np.zeros(3 * 17 * 4 + 1, np.uint8)
    locked = np.zeros((3, 6), np.float32)
    locked.flags.writeable = False
    out = np.zeros((3, 6), np.float32)
    return {
        "no input": ((), {}), "too many": ((x, out, out), {}), "an output": ((x, out), {}),
        "an output, threads": ((x, out), {"threads": 1}), "a list": ((x.tolist(),), {}),
        "None": ((None,), {}), "a number": ((1.5,), {}), "its class": ((np.ndarray,), {}),
        "float64": ((x.astype(np.float64),), {}), "int32": ((x.astype(np.int32),), {}),
        "other byte order": ((x.astype(">f4"),), {}),
        "a record": ((np.zeros((3, 17), "f4,f4"),), {}),
        "columns": ((x[:, :16].copy(),), {}), "1-D": ((x[0],), {}), "3-D": ((x[None],), {}),
        "0-D": ((np.float32(3), ), {}), "0-D array": ((np.zeros((), np.float32),), {}),
        "strided": ((wide[:, ::2],), {}), "Fortran order": ((np.asfortranarray(x),), {}),
        "not aligned": ((raw[1:].view(np.float32).reshape(3, 17),), {}),
        "backwards": ((x[::-1],), {}), "a subclass": ((x.view(np.matrix),), {}),
        "masked": ((np.ma.array(x),), {}), "broadcast": ((np.broadcast_to(x[:1], (3, 17)),), {}),
        "unknown keyword": ((x,), {"into": out}), "input twice": ((x,), {"x0": x}),
        "out and another": ((x,), {"out": out, "other": 1}), "two outs": ((x, out), {"out": out}),
        "out=empty": ((x,), {"out": ()}), "out=two": ((x,), {"out": (out, out)}),
        "out=dict": ((x,), {"out": {"y": out}}), "out=tuple of a list": ((x,), {"out": ([out],)}),
        "no threads": ((x,), {"threads": 0}), "threads=True": ((x,), {"threads": True}),
        "threads=1.0": ((x,), {"threads": 1.0}), "negative threads": ((x,), {"threads": -1}),
        "too many threads": ((x,), {"threads": 2000}), "huge": ((x,), {"threads": 1 << 70}),
        "threads by name alone": ((), {"threads": 1}),
        "out read-only": ((x,), {"out": locked}), "out float64": ((x,), {"out": np.zeros((3, 6))}),
        "out too small": ((x,), {"out": out[:2]}), "out 1-D": ((x,), {"out": out.ravel()}),
        "out strided": ((x,), {"out": np.zeros((3, 12), np.float32)[:, ::2]}),
        "out a subclass": ((x,), {"out": np.zeros((3, 6), np.float32).view(np.recarray)}),
    }


X = rows_of(WIDTHS, 3)


def test_calls_with_keywords_need_no_python():
    """Inputs by name, out= and threads= in every combination, on the compiled path."""
    def fails(*_, **__):
        raise AssertionError("the fallback was called")

    fast, both = mlp(fallback=fails, threads=1), pair(fallback=fails, threads=1)
    want, out = fast.call(X), np.empty((3, 6), np.float32)
    (a, b), outs = np.ones((2, 9, 4), np.float32), (np.empty((9, 4), np.float32),
                                                    np.empty(9, np.float32))
    for threads in ({}, {"threads": 1}, {"threads": None}):
        for inputs in (([X], {}), ([], {"x0": X})):
            for named in ({}, {"out": out}, {"out": None}, {"out": (out,)}, {"out": [out]}):
                got = fast.call(*inputs[0], **inputs[1], **named, **threads)
                assert np.array_equal(got, want)
                assert (got is out) == (named.get("out") is not None)
                got = fast.call(*inputs[0], **threads, **named, **inputs[1])
                assert np.array_equal(got, want)
        for inputs in (([a, b], {}), ([a], {"x1": b}), ([], {"x1": b, "x0": a})):
            for given in ({}, {"out": outs}, {"out": list(outs)}, {"out": None}):
                total, sums = both.call(*inputs[0], **inputs[1], **given, **threads)
                assert np.array_equal(total, a + b) and np.array_equal(sums, (a + b).sum(1))
                assert (total is outs[0]) == (sums is outs[1]) == (given.get("out") is not None)


def test_a_call_with_threads_uses_so_many(monkeypatch):
    monkeypatch.setattr(pool, "most_threads", lambda: 4)
    monkeypatch.setattr("nncompile.cpu.runtime.executable.most_threads", lambda: 4)
    fast, x = mlp(BIG, threads=1), rows_of(BIG, 400)
    want = fast.call(x)
    for threads in (4, 2, 3):                              # 4: more than there are workers yet
        assert np.array_equal(fast.call(x, threads=threads), want)
        assert POOL.words[layout.STARTED] >= 3


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("what", not_plain(X))
def test_all_else_goes_to_the_fallback_as_it_came(kind, what):
    args, keywords = not_plain(X)[what]
    word, got, named = mlp(kind=kind).call(*args, **keywords)
    assert word == "fallback"
    assert len(got) == len(args) and all(a is b for a, b in zip(got, args, strict=True))
    assert named.keys() == keywords.keys() and all(named[k] is keywords[k] for k in named)


def test_overlapping_outputs_go_to_the_fallback(kind):
    fast, memory = mlp((6, 8, 7, 6), kind), np.zeros(64, np.float32)
    x, clear = memory[:18].reshape(3, 6), memory[18:36].reshape(3, 6)
    assert fast.call(x, out=clear) is clear
    for out in (x, memory[17:35].reshape(3, 6)):
        assert fast.call(x, out=out)[0] == "fallback"
        assert fast.call_into(x, out, threads=1) == ("fallback", (x, out), {"threads": 1})
    both, a = pair(kind), np.zeros((2, 4), np.float32)
    assert both.call_into(a, a, memory[:8].reshape(2, 4), memory[7:9])[0] == "fallback"
    assert len(both.call_into(a, a, memory[:8].reshape(2, 4), memory[8:10])) == 2


def test_an_output_by_position_is_never_written(kind):
    """Also where a call of the same shapes with out= was made before."""
    fast, out = mlp(kind=kind), np.zeros((3, 6), np.float32)
    both, a = pair(kind), np.ones((9, 4), np.float32)
    outs = np.zeros((9, 4), np.float32), np.zeros(9, np.float32)
    for _ in range(2):
        for named in ({}, {"threads": 1}, {"out": None}):
            assert fast.call(X, out, **named) == ("fallback", (X, out), named)
            assert both.call(a, a, *outs, **named)[0] == "fallback"
            assert not out.any() and not any(each.any() for each in outs)
        fast.call(X, out=out), fast.call_into(X, out), both.call_into(a, a, *outs)
        for each in (out, *outs):
            assert each.any()
            each[:] = 0


def test_a_call_into_with_more_than_its_arrays_goes_to_the_fallback(kind):
    fast, out, other = mlp(kind=kind), np.zeros((3, 6), np.float32), np.zeros((3, 6), np.float32)
    for _ in range(2):
        for args, options in (((X, out, other), {}), ((X, out), {"out": other}),
                              ((X, out), {"x0": X}), ((X, out), {"threads": 1, "other": 2})):
            assert fast.call_into(*args, **options) == ("fallback", args, options)
            assert not out.any() and not other.any()
        fast.call_into(X, out)
        out[:] = 0


def test_bound_arrays_that_no_longer_fit_go_to_the_fallback(kind):
    fast, x, out = mlp(kind=kind), X.copy(), np.zeros((3, 6), np.float32)
    out.shape = 6, 3
    assert fast.call_into(x, out) == ("fallback", (x, out), {})
    x.shape = 17, 3
    assert fast.call_into(x) == ("fallback", (x,), {})


def test_a_named_size_is_the_same_everywhere(kind):
    fast = pair(kind)
    assert fast.call(np.zeros((2, 4), np.float32), np.zeros((3, 4), np.float32))[0] == "fallback"


def test_sizes_that_plan_refuses_go_to_the_fallback(kind):
    fast, empty = pair(kind), np.zeros((0, 4), np.float32)
    assert fast.call(empty, empty)[0] == "fallback"
    with pytest.raises(InputError, match="sizes"):
        fast.compute([empty, empty])


def test_equal_dtypes_of_other_objects_are_plain(kind):
    """Unpickled arrays have a dtype object of their own; int64 has two type numbers."""
    x = pickle.loads(pickle.dumps(X))
    tagged = np.empty((3, 17), np.dtype(np.float32, metadata={"by": "a test"}))
    tagged[:] = X
    fast = mlp(kind=kind)
    want = fast.call(X)
    assert np.array_equal(fast.call(x), want) and np.array_equal(fast.call(tagged), want)
    ids = np.array([4, 0], np.longlong)
    assert lookup(kind).call(ids).tolist() == [[12, 13, 14], [0, 1, 2]]


def test_a_wrong_index_is_an_error_with_its_step(kind):
    fast, out = lookup(kind), np.ones((3, 3), np.float32)
    for call_it in (lambda ids: fast.call(ids), lambda ids: fast.call_into(ids, out),
                    lambda ids: fast.compute([ids])):
        for bad in (5, -1, 2 ** 40):
            with pytest.raises(IndexError, match=f"step 7: {bad} of 5"):
                call_it(np.array([1, bad, 2]))
    assert fast.call(np.array([1, 2])).tolist() == [[3, 4, 5], [6, 7, 8]]    # and works again


def test_an_error_of_the_fallback_is_the_callers(kind):
    def fails(*args, **keywords):
        raise InputError("what a user reads")
    with pytest.raises(InputError, match="what a user reads"):
        mlp(kind=kind, fallback=fails).call("?")


def test_compute_is_strict_and_never_calls_the_fallback(kind):
    fast, wrong = mlp(kind=kind), rows_of(WIDTHS, 3).astype(np.float64)
    with pytest.raises(InputError, match=r"f32\[B, 17\], not float64\[3, 17\]"):
        fast.compute([wrong])
    with pytest.raises(InputError, match=r"outputs.*float32\[3, 6\]"):
        fast.compute([X], [np.zeros((2, 6), np.float32)])
    class Own(np.ndarray):
        pass
    with pytest.raises(InputError, match="inputs"):
        fast.compute([X.view(Own)])


def test_reference_counts_balance(kind):
    fast, single = mlp(kind=kind), lookup(kind)
    x, out, wrong = rows_of(WIDTHS, 3), np.zeros((3, 6), np.float32), np.zeros((3, 5), np.float32)
    ids, bad = np.array([1, 2, 3]), np.array([1, 9])
    both, a = pair(kind), np.zeros((2, 4), np.float32)
    outs = np.zeros((2, 4), np.float32), np.zeros(2, np.float32)

    def every_path():
        fast.call(x), fast.call(x, out), fast.call(x, out=out), fast.call_into(x, out)
        fast.call_into(x, wrong), fast.call_into(wrong, out), fast.call_into(x, x, x)
        fast.call(x0=x), fast.call(x, threads=1, out=[out]), fast.call(x, out=(wrong,))
        fast.call(x, x0=x), both.call(x0=a, x1=a, out=outs), both.call(x1=a, x0=a, out=(out, a))
        fast.call(wrong), fast.call(x, wrong), fast.call(x, out=wrong), fast.call(x, x, x)
        single.call(ids), both.call(a, a), both.call_into(a, a, *outs)
        with pytest.raises(IndexError):
            single.call(bad)

    watched = (x, out, wrong, ids, bad, a, *outs, np.ndarray, x.dtype, fast.arena, unusual)
    for _ in range(3):
        every_path()
    gc.collect()
    before = [sys.getrefcount(o) for o in watched]
    for _ in range(50):
        every_path()
    gc.collect()
    grown = [sys.getrefcount(o) - n for o, n in zip(watched, before, strict=True)]
    worst = max(map(abs, grown))
    assert worst < 25, grown.index(worst)                  # 50 or more, if a path leaks


def test_long_calls_release_the_lock_and_hold_their_arena(monkeypatch):
    """With a threshold of 0 every call is long."""
    monkeypatch.setattr(call, "RELEASE_FLOPS", 0)
    fast = mlp(fallback=unusual)
    before = sys.getrefcount(fast.arena)
    for _ in range(100):
        y = fast.call(X)
    after = sys.getrefcount(fast.arena)
    assert after == before
    assert np.array_equal(y, mlp().call(X))


def test_the_function_keeps_alive_what_it_needs():
    fast = mlp()
    want, function = fast.call(X), fast.call
    del fast
    gc.collect()
    junk = [np.full(5000, np.nan, np.float32) for _ in range(100)]
    assert np.array_equal(function(X), want) and junk


def test_executables_are_collected():
    """It refers to itself through its function and its fallback: the collector sees the cycle."""
    fast = mlp(BIG)
    fast.call(rows_of(BIG, 4))
    died = weakref.ref(fast._state)
    del fast
    gc.collect()
    assert died() is None


@pytest.mark.parametrize("floats", [2 ** 50, 2 ** 61])
def test_no_memory_is_an_error(kind, monkeypatch, floats):
    """The facts of one batch size ask for scratch that no machine has."""
    if kind is PythonExecutable:
        pytest.skip("there NumPy raises it")
    source = mlp(kind=kind).driver.text.replace("put(facts, 1, aligned(6144)",
                                           f"put(facts, 1, (B == 5) * {floats} + aligned(6144)")
    monkeypatch.setattr("tests.cpu.runtime_models.mlp_source", lambda *_: source)
    fast = mlp(kind=kind)
    want = fast.call(X)
    for _ in range(2):
        with pytest.raises(MemoryError):
            fast.call(rows_of(WIDTHS, 5))
        assert np.array_equal(fast.call(X), want)


def test_no_heap_growth():
    fast, x = mlp((1, 1, 1, 1)), np.zeros((1, 1), np.float32)
    function, into, out = fast.call, fast.call_into, np.zeros((1, 1), np.float32)
    for _ in range(20_000):
        function(x)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(500_000):
        function(x)
        into(x, out)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512       # KiB


def test_scratch_grows_and_is_reused():
    fast = mlp(by_rows=False)
    state = fast._state
    fast.call(rows_of(WIDTHS, 200))
    large = int(state[layout.SCRATCH]), int(state[layout.SCRATCH_BYTES])
    assert large[0] % 64 == 0 and large[1] >= 200 * (64 + 32) * 4
    for batch in (1, 0, 199):
        fast.call(rows_of(WIDTHS, batch))
        assert (int(state[layout.SCRATCH]), int(state[layout.SCRATCH_BYTES])) == large


def test_swapping_weights(kind):
    fast, other = mlp(kind=kind), mlp(kind=kind, seed=1)
    old, new = fast.call(X), other.call(X)
    fast.swap_weights(mlp_arena(WIDTHS, seed=1))
    assert np.array_equal(fast.call(X), new) and not np.array_equal(old, new)
    for arena in (np.zeros(3, np.float32), np.zeros(fast.arena.size), fast.arena[None]):
        with pytest.raises(Error, match="arena"):
            fast.swap_weights(arena)
    assert np.array_equal(fast.call(X), new)


def test_threads_are_checked(kind):
    fast = mlp(kind=kind, threads=1)
    assert fast.threads == 1
    fast.threads = 2
    assert fast.threads == 2
    for wrong in (0, -1, 10_000, 1.5, "2", True, None):
        with pytest.raises(Error, match="whole number"):
            fast.threads = wrong
    assert fast.threads == 2


@pytest.fixture
def portable(monkeypatch):
    monkeypatch.setenv("NNCOMPILE_CALL", "portable")


def test_portable_calls_of_plain_arrays_take_no_steps(portable, monkeypatch):
    monkeypatch.setattr(Executable, "call_by_steps", None)
    monkeypatch.setattr(Executable, "call_into_by_steps", None)
    fast, want, out = mlp(threads=1), mlp(kind=PythonExecutable), np.empty((3, 6), np.float32)
    want = want.compute([X])[0]
    locked = X.copy()
    locked.flags.writeable = False
    for _ in range(2):
        for y in (fast.call(X), fast.call(locked), fast.call_into(X, out), fast.call(X, out=out)):
            np.testing.assert_allclose(y, want, rtol=1e-5)
    assert fast.call(X, out=out) is out
    with pytest.raises(TypeError):                         # None is called: by steps
        fast.call(X.astype(np.float64))


def test_portable_calls_remember_so_many_shapes(portable):
    fast = mlp()
    for batch in (*range(2 * MOST), 3):
        assert fast.call(rows_of(WIDTHS, batch)).shape == (batch, 6)
    assert len(fast.call.__self__.known) == MOST


def test_portable_calls_of_threads(portable):
    """While others give the model other weights: every result is of the one or the other."""
    fast = mlp(threads=1)
    both = [mlp(seed=seed).call(X) for seed in (0, 1)]
    wrong = []

    def calls():
        for _ in range(300):
            y = fast.call(X)
            if not any(np.array_equal(y, want) for want in both):
                wrong.append(y)

    threads = [threading.Thread(target=calls) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(100):
        fast.swap_weights(mlp_arena(WIDTHS, i % 2))        # the one before is freed
    for thread in threads:
        thread.join()
    assert not wrong

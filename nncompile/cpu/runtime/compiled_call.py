"""The compiled call path: a C function that Python calls with arrays.

It reads the arrays' headers, checks them, makes the outputs, releases the interpreter's lock around
long work, and runs the model. What it does not take goes to one Python function, the fallback.
`self` of the function is the model's State.

What it knows of NumPy's structs is their documented ABI (numpy/ndarraytypes.h, PyArrayObject_fields
and PyArray_Descr). `knows_numpy()` compares that with real arrays before it is relied on.
"""
from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from nncompile import options
from nncompile.cpu import layout
from nncompile.cpu.objects import runtime
from nncompile.cpu.objects.primitives import (
    Pointer,
    indirect,
    load,
    load_int32,
    load_pointer,
    null,
    same,
    stack,
    store,
    store_pointer,
    symbol,
    words,
)
from nncompile.cpu.runtime.launch import DONE, NO_WORKERS, run

# PyObject, PyArrayObject: offsets in words; PyArrayObject, PyArray_Descr: offsets in bytes
_CLASS, _DATA, _SHAPE, _DESCR = 1, 2, 4, 7
_RANK_BYTE, _FLAGS_BYTE = 24, 64
_BYTE_ORDER_BYTE, _TYPE_BYTE = 26, 28
_PLAIN, _WRITEABLE = 0x101, 0x400             # C order and aligned
_NATIVE, _NO_ORDER = ord("="), ord("|")       # the latter of types of one byte
_NEW_ARRAY_INDEX = 93                         # of PyArray_New in numpy's table of functions

_NEW, _GIVEN, _OTHER = range(3)               # the outputs of a call; see positional
_INPUTS, _INTO = range(2)                     # what goes by position: inputs; outputs, too
RELEASE_FLOPS = 2_000_000                     # about 10 us: worth 0.1 us for other threads' sake

_vectorcall = symbol("vectorcall", "ppip", "p", "PyObject_Vectorcall")
save_thread = symbol("save_thread", "", "p", "PyEval_SaveThread")
restore_thread = symbol("restore_thread", "p", "n", "PyEval_RestoreThread")
_incref = symbol("incref", "p", "n", "Py_IncRef")
_decref = symbol("decref", "p", "n", "Py_DecRef")
_no_memory = symbol("no_memory", "", "p", "PyErr_NoMemory")
_new_tuple = symbol("new_tuple", "i", "p", "PyTuple_New")
_set_item = symbol("set_item", "pip", "c", "PyTuple_SetItem")
get_item = symbol("get_item", "pi", "p", "PyTuple_GetItem")
_tuple_size = symbol("tuple_size", "p", "i", "PyTuple_Size")
_list_item = symbol("list_item", "pi", "p", "PyList_GetItem")
_list_size = symbol("list_size", "p", "i", "PyList_Size")
_as_int = symbol("as_int", "pp", "i", "PyLong_AsLongLongAndOverflow")
_new_int = symbol("new_int", "i", "p", "PyLong_FromLongLong")
_new_array = indirect("new_array", "pipippiip", "p")
_call_plan = indirect("call_plan", "pp", "n")


# -- compiled --------------------------------------------------------------------------------------

@runtime
def call(self: Pointer, args: Pointer, count: int, keywords: Pointer) -> Pointer:
    """Handles call(*inputs), in which inputs can also go by name, out= and threads=.

    out: an array, or a tuple or list of them.
    """
    return answer(load_pointer(self, _DATA), args, count, keywords, _INPUTS)


@runtime
def call_into(self: Pointer, args: Pointer, count: int, keywords: Pointer) -> Pointer:
    """Handles call_into(*inputs, *outs), and whatever else `call` handles."""
    return answer(load_pointer(self, _DATA), args, count, keywords, _INTO)


@runtime
def answer(state: Pointer, args: Pointer, count: int, keywords: Pointer, into: int) -> Pointer:
    """Answers a call. into: whether outputs may go by position."""
    inputs, outputs = load(state, layout.INPUTS), load(state, layout.OUTPUTS)
    sizes, facts = stack(load(state, layout.SIZE_WORDS)), stack(load(state, layout.FACT_WORDS))
    arrays, results = stack(2 * (inputs + outputs)), stack(outputs)
    given = args if same(keywords, null()) else stack(inputs + outputs + 1)
    outs = arranged(state, args, count, keywords, given, into)
    fallback = load_pointer(state, layout.FALLBACK_INTO if into else layout.FALLBACK)
    specs = null()
    if outs != _OTHER:
        specs = read_inputs(state, given, sizes, arrays)
    if same(specs, null()):
        return _vectorcall(fallback, args, count, keywords)
    _call_plan(load_pointer(state, layout.PLAN), sizes, facts)
    if load(facts, layout.SLACK) < 0:
        return _vectorcall(fallback, args, count, keywords)
    if outs == _GIVEN:
        if take_outputs(state, words(given, inputs), specs, facts, arrays, results) == 0:
            return _vectorcall(fallback, args, count, keywords)
    elif make_outputs(state, specs, facts, arrays, results) == 0:
        return null()
    fault = stack(layout.FAULT_WORDS)
    store(fault, layout.FAULT_STEP, 0)
    threads = load(state, layout.WORKERS) if same(keywords, null()) else load(
        given, inputs + outputs)
    status = run_released(state, arrays, sizes, facts, fault, threads)
    if status == DONE and load(fault, layout.FAULT_STEP) == 0:
        return returned(results, outputs)
    release(results, outputs)
    if status == DONE:
        return refuse(state, fault)
    if status == NO_WORKERS:
        return _vectorcall(load_pointer(state, layout.RESTART), args, count, keywords)
    return _no_memory()


@runtime
def positional(state: Pointer, count: int, into: int) -> int:
    """Returns _NEW for outputs to be made, _GIVEN for given ones, and _OTHER for any other call."""
    if count == load(state, layout.INPUTS):
        return _NEW
    every = load(state, layout.INPUTS) + load(state, layout.OUTPUTS)
    return _GIVEN if into and count == every else _OTHER


@runtime
def arranged(state: Pointer, args: Pointer, count: int, keywords: Pointer, given: Pointer,
             into: int) -> int:
    """Writes the inputs, the outputs if they are given, and the most threads of the call.

    Without keywords nothing is written: `args` have it all, but for the threads.
    Returns the same as `positional`.
    """
    if same(keywords, null()):
        return positional(state, count, into)
    inputs, outputs = load(state, layout.INPUTS), load(state, layout.OUTPUTS)
    store(given, inputs + outputs, load(state, layout.WORKERS))
    if count > (inputs + outputs if into else inputs):
        return _OTHER
    for i in range(count):
        store_pointer(given, i, load_pointer(args, i))
    for i in range(count, inputs + outputs):
        store_pointer(given, i, null())
    for i in range(_tuple_size(keywords)):
        if take_keyword(state, get_item(keywords, i), load_pointer(args, count + i), given) == 0:
            return _OTHER
    if empty(given, 0, inputs) > 0:
        return _OTHER
    left = empty(given, inputs, inputs + outputs)
    if left == 0:
        return _GIVEN
    return _NEW if left == outputs else _OTHER


@runtime
def empty(given: Pointer, start: int, end: int) -> int:
    """Returns how many of these places nothing was given for."""
    count = 0
    for i in range(start, end):
        if load(given, i) == 0:
            count += 1
    return count


@runtime
def take_keyword(state: Pointer, name: Pointer, value: Pointer, given: Pointer) -> int:
    """Puts what was given by name into its place. Returns 0 where it has none, or it is taken.

    Names are compared by their addresses: those in source text are interned.
    """
    if same(name, load_pointer(state, layout.OUT_NAME)):
        return take_out(state, value, given)
    if same(name, load_pointer(state, layout.THREADS_NAME)):
        return take_threads(state, value, given)
    names = load_pointer(state, layout.INPUT_NAMES)
    for i in range(load(state, layout.INPUTS)):
        if same(name, get_item(names, i)):
            return put(given, i, value)
    return 0


@runtime
def put(given: Pointer, i: int, value: Pointer) -> int:
    """Puts a value into place i. Returns whether it was free."""
    if load(given, i) != 0:
        return 0
    store_pointer(given, i, value)
    return 1


@runtime
def take_out(state: Pointer, value: Pointer, given: Pointer) -> int:
    """Puts out= into its places: an array, or a tuple or list of them; None stands for new ones."""
    inputs, outputs = load(state, layout.INPUTS), load(state, layout.OUTPUTS)
    if same(value, load_pointer(state, layout.NONE)):
        return 1
    in_tuple = load(value, _CLASS) == load(state, layout.TUPLE_CLASS)
    in_list = load(value, _CLASS) == load(state, layout.LIST_CLASS)
    if in_tuple == 0 and in_list == 0:
        return put(given, inputs, value) if outputs == 1 else 0
    if (_tuple_size(value) if in_tuple else _list_size(value)) != outputs:
        return 0
    for i in range(outputs):
        item = get_item(value, i) if in_tuple else _list_item(value, i)
        if put(given, inputs + i, item) == 0:
            return 0
    return 1


@runtime
def take_threads(state: Pointer, value: Pointer, given: Pointer) -> int:
    """Puts threads= into its place: an int that needs no warning; None stands for the model's."""
    if same(value, load_pointer(state, layout.NONE)):
        return 1
    if load(value, _CLASS) != load(state, layout.INT_CLASS):
        return 0
    threads = _as_int(value, stack(1))        # -1 where it is too large
    if threads < 1 or threads > load(state, layout.MOST_WORKERS):
        return 0
    store(given, load(state, layout.INPUTS) + load(state, layout.OUTPUTS), threads)
    return 1


@runtime
def read_inputs(state: Pointer, args: Pointer, sizes: Pointer, arrays: Pointer) -> Pointer:
    """Checks the inputs; finds the named sizes, and where each array starts and ends.

    Returns where the outputs' specs are, or null if an input is not plain or does not fit.
    """
    for i in range(load(state, layout.SIZE_WORDS)):
        store(sizes, i, -1)
    spec = words(state, layout.SPECS)
    for i in range(load(state, layout.INPUTS)):
        array = load_pointer(args, i)
        if is_plain(state, array, spec, _PLAIN) == 0:
            return null()
        shape, rank = load_pointer(array, _SHAPE), load(spec, layout.SPEC_RANK)
        if bind_sizes(shape, words(spec, layout.SPEC_DIMS), rank, sizes) == 0:
            return null()
        note_array(state, arrays, i, array, shape, spec)
        spec = words(spec, layout.SPEC_DIMS + rank)
    return spec


@runtime
def is_plain(state: Pointer, array: Pointer, spec: Pointer, flags: int) -> int:
    """Returns whether it is an ndarray itself, of the spec's dtype and rank, with these flags."""
    if load(array, _CLASS) != load(state, layout.ARRAY_CLASS):
        return 0
    if load_int32(array, _RANK_BYTE) != load(spec, layout.SPEC_RANK):
        return 0
    if load_int32(array, _FLAGS_BYTE) & flags != flags:
        return 0
    if load(array, _DESCR) == load(spec, layout.SPEC_DESCR):
        return 1
    descr = load_pointer(array, _DESCR)       # an equal dtype, as unpickling makes them
    order = (load_int32(descr, _BYTE_ORDER_BYTE - 2) >> 16) & 255
    if order != _NATIVE and order != _NO_ORDER:
        return 0
    number = load_int32(descr, _TYPE_BYTE)
    if number == load(spec, layout.SPEC_TYPE) or number == load(spec, layout.SPEC_OTHER_TYPE):
        return 1
    return 0


@runtime
def bind_sizes(shape: Pointer, dims: Pointer, rank: int, sizes: Pointer) -> int:
    """Returns whether the shape fits the dims; a named size has to be the same everywhere."""
    for i in range(rank):
        size, wanted = load(shape, i), load(dims, i)
        if wanted < 0:
            name = -1 - wanted
            if load(sizes, name) < 0:
                store(sizes, name, size)
            wanted = load(sizes, name)
        if size != wanted:
            return 0
    return 1


@runtime
def note_array(state: Pointer, arrays: Pointer, i: int, array: Pointer, shape: Pointer,
               spec: Pointer) -> None:
    """Writes where array number i starts, and in the second half of `arrays` how many bytes it has.
    """
    store(arrays, i, load(array, _DATA))
    size = load(spec, layout.SPEC_BYTES)
    for axis in range(load(spec, layout.SPEC_RANK)):
        size *= load(shape, axis)
    store(arrays, load(state, layout.INPUTS) + load(state, layout.OUTPUTS) + i, size)


@runtime
def take_outputs(state: Pointer, given: Pointer, spec: Pointer, facts: Pointer, arrays: Pointer,
                 results: Pointer) -> int:
    """Uses the outputs that the caller gave, if they are plain, fit, and overlap nothing."""
    inputs, outputs = load(state, layout.INPUTS), load(state, layout.OUTPUTS)
    dims = words(facts, layout.OUTPUT_DIMS)
    for i in range(outputs):
        array = load_pointer(given, i)
        if is_plain(state, array, spec, _PLAIN | _WRITEABLE) == 0:
            return 0
        shape, rank = load_pointer(array, _SHAPE), load(spec, layout.SPEC_RANK)
        for axis in range(rank):
            if load(shape, axis) != load(dims, axis):
                return 0
        note_array(state, arrays, inputs + i, array, shape, spec)
        store_pointer(results, i, array)
        dims = words(dims, rank)
        spec = words(spec, layout.SPEC_DIMS)
    for i in range(inputs, inputs + outputs):
        if overlaps_earlier(arrays, inputs + outputs, i):
            return 0
    for i in range(outputs):
        _incref(load_pointer(results, i))
    return 1


@runtime
def overlaps_earlier(arrays: Pointer, count: int, i: int) -> int:
    """Returns whether array number i shares memory with an earlier one."""
    start, size = load(arrays, i), load(arrays, count + i)
    for other in range(i):
        begin = load(arrays, other)
        if begin < start + size and start < begin + load(arrays, count + other):
            return 1
    return 0


@runtime
def make_outputs(state: Pointer, spec: Pointer, facts: Pointer, arrays: Pointer, results: Pointer
                 ) -> int:
    """Makes new arrays. Returns 0 if Python's error is set instead."""
    inputs, outputs = load(state, layout.INPUTS), load(state, layout.OUTPUTS)
    dims = words(facts, layout.OUTPUT_DIMS)
    for i in range(outputs):
        rank, size = load(spec, layout.SPEC_RANK), load(spec, layout.SPEC_BYTES)
        for axis in range(rank):
            size *= load(dims, axis)
        if size < load(state, layout.LARGE):
            array = _new_array(load_pointer(state, layout.NEW_ARRAY),
                               load_pointer(state, layout.ARRAY_CLASS), rank, dims,
                               load(spec, layout.SPEC_TYPE), null(), null(), 0, 0, null())
        else:
            array = new_large_array(state, i, dims, rank)
        if same(array, null()):
            release(results, i)
            return 0
        store_pointer(results, i, array)
        store(arrays, inputs + i, load(array, _DATA))
        dims = words(dims, rank)
        spec = words(spec, layout.SPEC_DIMS)
    return 1


@runtime
def new_large_array(state: Pointer, i: int, dims: Pointer, rank: int) -> Pointer:
    """Returns new_large(i, *dims), an array in memory that Python keeps; see output_memory.py."""
    numbers = stack(1 + rank)
    store(numbers, 0, i)
    for axis in range(rank):
        store(numbers, 1 + axis, load(dims, axis))
    return call_python(load_pointer(state, layout.NEW_LARGE), numbers, 1 + rank)


@runtime
def run_released(state: Pointer, arrays: Pointer, sizes: Pointer, facts: Pointer, fault: Pointer,
                 threads: int) -> int:
    """Runs the model, without the interpreter's lock where the work is long.

    Another thread may meanwhile give the model other weights, so the run holds a reference to its
    own.
    """
    arena = load_pointer(state, layout.ARENA)
    weights = load_pointer(arena, _DATA)
    if load(facts, layout.FLOPS) < load(state, layout.RELEASE):
        return run(state, weights, arrays, sizes, facts, fault, threads)
    _incref(arena)
    thread = save_thread()
    status = run(state, weights, arrays, sizes, facts, fault, threads)
    restore_thread(thread)
    _decref(arena)
    return status


@runtime
def returned(results: Pointer, outputs: int) -> Pointer:
    """Returns the output, or a tuple of several."""
    if outputs == 1:
        return load_pointer(results, 0)
    value = _new_tuple(outputs)
    if same(value, null()):
        release(results, outputs)
        return value
    for i in range(outputs):
        _set_item(value, i, load_pointer(results, i))
    return value


@runtime
def release(results: Pointer, outputs: int) -> None:
    """Releases the references to so many objects."""
    for i in range(outputs):
        _decref(load_pointer(results, i))


@runtime
def refuse(state: Pointer, fault: Pointer) -> Pointer:
    """Calls on_fault(step, index, size), which raises the error."""
    store(fault, layout.FAULT_STEP, load(fault, layout.FAULT_STEP) - 1)   # steps count from 1
    return call_python(load_pointer(state, layout.ON_FAULT), fault, 3)


@runtime
def call_python(function: Pointer, numbers: Pointer, count: int) -> Pointer:
    """Returns function(*numbers), or null if Python's error is set instead."""
    objects = stack(count)
    for i in range(count):
        value = _new_int(load(numbers, i))
        if same(value, null()):
            release(objects, i)
            return value
        store_pointer(objects, i, value)
    result = _vectorcall(function, objects, count, null())
    release(objects, count)
    return result


COMPILED = (call, call_into, answer, positional, arranged, empty, take_keyword, put, take_out,
            take_threads, read_inputs, is_plain, bind_sizes, note_array, take_outputs,
            overlaps_earlier, make_outputs, new_large_array, run_released, returned, release,
            refuse, call_python)


# -- Python ----------------------------------------------------------------------------------------

Words = npt.NDArray[np.int64]


class _MethodDef(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int),
                ("doc", ctypes.c_char_p)]


@functools.cache
def _method(address: int) -> _MethodDef:
    """PyMethodDef of machine code; functions made of it refer to it forever."""
    return _MethodDef(b"call", address, 0x80 | 0x02,        # METH_FASTCALL | METH_KEYWORDS
                      b"call(*inputs, out=None, threads=None): arrays in, arrays out")


def builtin(address: int, state: Words) -> Any:
    """Returns a builtin function around `call` or `call_into`, which keeps `state` alive."""
    make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
        ("PyCFunction_NewEx", ctypes.pythonapi))
    return make(ctypes.addressof(_method(address)), state, None)


@functools.cache
def numpy_new_array() -> int:
    """Returns the address of PyArray_New, from NumPy's table of C functions."""
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi))
    table = get(np._core._multiarray_umath._ARRAY_API, None)             # type: ignore[attr-defined]
    return int(ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))[_NEW_ARRAY_INDEX] or 0)


def usable() -> bool:
    """Returns whether the compiled call path can be used; otherwise calls do the same in Python.

    It needs CPython with its interpreter lock, and NumPy's structs as this file knows them.
    NNCOMPILE_CALL=portable turns it off.
    """
    if options.CALL.value() == "portable":
        return False
    if sys.implementation.name != "cpython" or "t" in getattr(sys, "abiflags", ""):   # no GIL
        return False
    return knows_numpy()


@functools.cache
def knows_numpy() -> bool:
    """Compares what this file knows of NumPy's structs with arrays that differ in every field."""
    sample = np.zeros((3, 5, 7), np.float32)
    try:
        return (all(_header_is_known(a) for a in (sample, sample.T, np.zeros(2, np.int64)))
                and _new_array_is_known())
    except (AttributeError, ValueError, TypeError):
        return False


def _header_is_known(array: npt.NDArray[Any]) -> bool:
    array.flags.writeable = array.flags.c_contiguous
    word = (ctypes.c_int64 * 9).from_address(id(array))
    rank = ctypes.c_int32.from_address(id(array) + _RANK_BYTE).value
    flags = ctypes.c_int32.from_address(id(array) + _FLAGS_BYTE).value
    if (word[_CLASS], word[_DATA], rank) != (id(np.ndarray), array.ctypes.data, array.ndim):
        return False
    shape = (ctypes.c_int64 * rank).from_address(word[_SHAPE])
    order = ctypes.c_char.from_address(word[_DESCR] + _BYTE_ORDER_BYTE).value
    number = ctypes.c_int32.from_address(word[_DESCR] + _TYPE_BYTE).value
    known = _PLAIN | _WRITEABLE if array.flags.c_contiguous else _PLAIN & ~1
    return (tuple(shape) == array.shape and flags & (_PLAIN | _WRITEABLE) == known
            and (order, number) == (b"=", array.dtype.num))


def _new_array_is_known() -> bool:
    c = ctypes
    make = c.PYFUNCTYPE(c.py_object, c.py_object, c.c_int, c.c_void_p, c.c_int, c.c_void_p,
                        c.c_void_p, c.c_int, c.c_int, c.c_void_p)(numpy_new_array())
    dims = (c.c_int64 * 2)(3, 5)
    made = make(np.ndarray, 2, c.addressof(dims), np.dtype(np.float32).num, None, None, 0, 0, None)
    return type(made) is np.ndarray and made.shape == (3, 5) and made.dtype == np.float32

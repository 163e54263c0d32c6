"""Object code of several modules at a time, by threads that compile beside the calling one.

LLVM may run in several threads where each has a context and a code generator of its own; that is
how its link-time optimizer emits code. llvmlite's functions hold one lock for as long as they run,
so the few that turn text into object code are called here directly, in the same shared library.
They use nothing but their arguments. What numba compiles meanwhile, through llvmlite, is in other
contexts.

The calling thread gives modules as text, does other work, which is Python and thus runs on one CPU,
and then emits what has not been begun. No child is forked while a thread is inside LLVM.
"""
from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_void_p
from types import TracebackType
from typing import Any

import llvmlite.binding as llvm

from nncompile import forks
from nncompile.cpu.vector import Target, new_machine

MOST_THREADS = 8                        # beyond them the calling thread's Python takes longer
_in_llvm = [forks.lock() for _ in range(MOST_THREADS)]     # each is held while one thread emits
_queue = forks.lock()                                      # held while modules are put and taken


class Module:
    """A module that is being emitted.

    size: about how long its text is. make: returns its object code.
    """

    def __init__(self, size: int, make: Callable[[Emitter], bytes]) -> None:
        self.size, self.make = size, make
        self.code: bytes | None = None
        self.error: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether there is object code, or the reason why there is none."""
        return self.code is not None or self.error is not None


class Emission:
    """Emits modules for a target. It is a context manager, at whose end its threads have ended.

    threads: returns the most that work beside the calling one; it is asked if there is work. None:
    no other thread works.
    """

    def __init__(self, target: Target, threads: Callable[[], int] | None = None) -> None:
        self._target, self._useful = target, threads
        self._most: int | None = None
        self._threads: list[threading.Thread] = []
        self._waiting: list[Module] = []
        self._changed = threading.Condition(_queue)
        self._open = False
        self._own: Emitter | None = None            # the calling thread's

    def __enter__(self) -> Emission:
        self._open = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 where: TracebackType | None) -> None:
        with self._changed:
            self._open = False
            self._waiting.clear()                    # after an error nobody asks for them
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def begin(self, text: str) -> Module:
        """Returns a module of LLVM IR, given as text, which is emitted from now on."""
        return self.begin_making(len(text), lambda emitter: emitter.object_code(text))

    def begin_making(self, size: int, make: Callable[[Emitter], bytes]) -> Module:
        """Returns a module that is made from now on; see Module."""
        module = Module(size, make)
        with self._changed:
            self._waiting.append(module)
            self._changed.notify()
        if self._most is None:
            self._most = min(self._useful(), MOST_THREADS) if self._useful is not None else 0
        if len(self._threads) < self._most:
            self._start_thread()                     # one for each module, up to the most
        return module

    def code(self, module: Module) -> bytes:
        """Returns the module's object code, which is waited for.

        Raises RuntimeError, with LLVM's reason, where the text is no valid module.
        """
        while not module.done:
            if (other := self._take()) is not None:
                self._own = self._own or Emitter(self._target)
                self._own.make(other)
                continue
            with self._changed:
                self._changed.wait_for(lambda: module.done)
        if module.error is not None:
            raise module.error
        assert module.code is not None
        return module.code

    def _start_thread(self) -> None:
        _settle_options()
        lock, emitter = _in_llvm[len(self._threads)], Emitter(self._target)
        thread = threading.Thread(target=self._work, args=(lock, emitter), name="nncompile emits")
        try:
            thread.start()
        except RuntimeError:       # the system allows no more threads: those there are do the work
            self._most = len(self._threads)
            return
        self._threads.append(thread)

    def _work(self, lock: Any, emitter: Emitter) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._open:
                    return
            with lock:                               # taken, emitted and told, or none of it
                if (module := self._take()) is not None:
                    emitter.make(module)
                    with self._changed:
                        self._changed.notify_all()

    def _take(self) -> Module | None:
        """Returns the largest module that nobody has begun, so that none of them is the last."""
        with self._changed:
            if not self._waiting:
                return None
            largest = max(self._waiting, key=lambda module: module.size)
            self._waiting.remove(largest)
            return largest


class Emitter:
    """LLVM for one thread: its code generator, and a new context for each module."""

    def __init__(self, target: Target) -> None:
        self.machine = new_machine(target)
        self._llvm = _functions()

    def make(self, module: Module) -> None:
        """Sets the module's code or its error."""
        try:
            module.code = module.make(self)
        except Exception as error:                   # it is raised where the code is asked for
            module.error = error

    def object_code(self, text: str) -> bytes:
        """Returns object code of a module of LLVM IR.

        Raises RuntimeError, with LLVM's reason, where the text is no valid module.
        """
        context = self._llvm.create_context()
        try:
            message = c_void_p()
            module = self._llvm.parse(context, text.encode(), ctypes.byref(message))
            if not module:
                raise RuntimeError(f"LLVM IR parsing error\n{self._llvm.taken(message)}")
            try:
                return self.emitted(module)
            finally:
                self._llvm.dispose_module(module)
        finally:
            self._llvm.dispose_context(context)

    def emitted(self, module: Any) -> bytes:
        """Returns object code of a module, given by LLVM's pointer."""
        message = c_void_p()
        buffer = self._llvm.emit(self.machine._ptr, module, 1, ctypes.byref(message))
        if not buffer:
            raise RuntimeError(self._llvm.taken(message))
        try:
            return ctypes.string_at(self._llvm.start(buffer), self._llvm.size(buffer))
        finally:
            self._llvm.dispose_buffer(buffer)


@functools.cache
def _settle_options() -> None:
    """Imports numba where it sets an option of LLVM's: no thread may be inside LLVM meanwhile.

    It does so where its LLVM knows Intel's vector library SVML.
    """
    if llvm.targets.has_svml():
        import numba  # noqa: F401


class _Functions:
    """llvmlite's C functions without its lock.

    Those that take long let other threads run Python. The others do not: to get back into Python a
    thread waits until another has had its time slice, which is longer than they take.
    """

    def __init__(self) -> None:
        loaded = llvm.ffi.lib                        # the library, as llvmlite has loaded it
        self._long = ctypes.CDLL(loaded._name, handle=loaded._handle)
        self._short = ctypes.PyDLL(loaded._name, handle=loaded._handle)
        pointer, message = c_void_p, POINTER(c_void_p)
        self.create_context = self._found(self._short, "ContextCreate", pointer)
        self.parse = self._found(self._long, "ParseAssembly", pointer, pointer, c_char_p, message)
        self.emit = self._found(self._long, "TargetMachineEmitToMemory", pointer, pointer, pointer,
                                c_int, message)
        self.start = self._found(self._short, "GetBufferStart", pointer, pointer)
        self.size = self._found(self._short, "GetBufferSize", c_size_t, pointer)
        self.dispose_buffer = self._found(self._short, "DisposeMemoryBuffer", None, pointer)
        self.dispose_module = self._found(self._short, "DisposeModule", None, pointer)
        self.dispose_context = self._found(self._short, "ContextDispose", None, pointer)
        self._dispose_string = self._found(self._short, "DisposeString", None, pointer)

    @staticmethod
    def _found(library: ctypes.CDLL, name: str, result: Any, *arguments: Any
               ) -> Callable[..., Any]:
        function = getattr(library, f"LLVMPY_{name}")
        function.restype, function.argtypes = result, arguments
        return function

    def taken(self, message: c_void_p) -> str:
        """Returns a message of LLVM's, which is freed."""
        text = ctypes.string_at(message.value or 0).decode() if message else ""
        self._dispose_string(message)
        return text


_functions = functools.cache(_Functions)

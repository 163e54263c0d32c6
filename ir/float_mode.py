"""The one floating-point mode that everything here is computed in.

Each thread of a process has a mode: how results are rounded, whether subnormal numbers are taken
for 0, and which exceptions end the process by a signal. A program can change the mode of the thread
that calls us, and a library can do it unasked: `torch.set_flush_denormal(True)`, `fesetround`,
`feenableexcept`, code that was linked with -ffast-math. Results must not depend on that, nor must
the rows that worker threads compute differ from the caller's. So every computation runs in the mode
of IEEE 754: round to nearest, keep subnormal numbers, signal nothing. The caller's mode is restored
behind it.

Here is the mode of what runs in NumPy, and in `nncompile/cpu/runtime/float_mode.py` that of
compiled code. The register is known on Linux, on x86-64 and aarch64; elsewhere everything is
computed in the caller's mode.
"""
from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np


class Register(NamedTuple):
    """The register that holds a thread's mode.

    standard: its value in the mode of IEEE 754. bits: which of its bits are the mode; the others
    record the exceptions that have occurred. word: where the C type fenv_t has it, in 32 bits each.
    """

    standard: int
    bits: int
    word: int


_REGISTERS = {
    "x86_64": Register(0x1F80, 0xFFC0, 7),       # MXCSR: all exceptions masked
    "aarch64": Register(0, 0xFFFFFFFF, 0),       # FPCR, which records nothing
}
MACHINE = os.uname().machine if sys.platform == "linux" else ""
REGISTER = _REGISTERS.get(MACHINE)               # of this machine, where it is known

_FEnv = ctypes.c_uint32 * 8                      # fenv_t is not longer than that
_C = Callable[[Any], int]


def _c_functions() -> tuple[_C, _C] | None:
    """Returns C's fegetenv and fesetenv, or None where they or the register are not known."""
    if REGISTER is None:
        return None
    for library in (None, "libm.so.6"):          # None: what is loaded already
        try:
            loaded = ctypes.CDLL(library)
            read, write = loaded["fegetenv"], loaded["fesetenv"]
        except (OSError, AttributeError):
            continue
        read.argtypes = write.argtypes = (_FEnv,)
        return read, write
    return None


_FUNCTIONS = _c_functions()


_entered: ContextVar[bool] = ContextVar("standard_floats", default=False)


class StandardFloats:
    """In the body of a `with`, floats are computed in the one mode.

    NumPy reports no floating-point exceptions there either, whatever `numpy.seterr` says: NaN and
    infinity are results like others, as in torch. An instance is entered once. Within another one
    it costs next to nothing, so that what computes many small things enters one around them all;
    no code of the user's may run in its body.
    """

    __slots__ = ("_before", "_reports", "_within")

    def __enter__(self) -> None:
        self._within = None if _entered.get() else _entered.set(True)
        if self._within is None:
            return
        self._reports = np.errstate(all="ignore")
        self._reports.__enter__()
        self._before = _set_standard()

    def __exit__(self, *exception: object) -> None:
        if self._within is None:
            return
        _entered.reset(self._within)
        if self._before is not None:
            _set(self._before)
        self._reports.__exit__(*exception)       # type: ignore[arg-type]


def is_standard() -> bool:
    """Returns whether this thread rounds to nearest and keeps subnormal numbers, in 0.1 us."""
    return _SMALL * _HALF > 0 and _ONE + _SMALL == _ONE and _ONE - _SMALL == _ONE


_ONE, _HALF, _SMALL = 1.0, 0.5, 1e-310           # the last is a subnormal number


def _set_standard() -> int | None:
    """Sets this thread's mode. Returns the register as it was, or None where nothing is changed."""
    if _FUNCTIONS is None or REGISTER is None:
        return None
    environment = _FEnv()
    _FUNCTIONS[0](environment)
    before = environment[REGISTER.word]
    if before & REGISTER.bits == REGISTER.standard:
        return None
    _set(REGISTER.standard)
    return before


def _set(value: int) -> None:
    """Sets the register."""
    assert _FUNCTIONS is not None and REGISTER is not None
    environment = _FEnv()
    _FUNCTIONS[0](environment)
    environment[REGISTER.word] = value
    _FUNCTIONS[1](environment)

"""Every environment variable of nncompile, with its legal values and its default.

An option is read whenever it is asked for, which is a few times in a compilation and never in a
call. So a variable that is set after the import still counts, and a value that was read does not
change. `with override(jit=False): ...` replaces variables in its body, for this thread (and asyncio
task) alone. An empty variable counts as one that is not set.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import MappingProxyType
from typing import Generic, TypeVar

from nncompile.errors import Error

T = TypeVar("T")

_scope: ContextVar[Mapping[str, str]] = ContextVar("options", default=MappingProxyType({}))


class Option(Generic[T]):
    """A setting that an environment variable or `override` gives a value.

    variable: its name. default: the value where it is not set. parse: turns the text into a value,
    and raises ValueError or KeyError. legal, meaning: the legal values and the meaning in words.
    """

    def __init__(self, variable: str, default: T, parse: Callable[[str], T], legal: str,
                 meaning: str) -> None:
        self.variable, self.default, self.parse = variable, default, parse
        self.legal, self.meaning = legal, meaning

    @property
    def name(self) -> str:
        """Its name as an argument of `override`."""
        return self.variable.removeprefix("NNCOMPILE_").lower()

    def value(self) -> T:
        """Returns what the innermost `override` around this sets, or else the variable.

        Raises Error where that is none of the legal values.
        """
        text = _scope.get().get(self.variable, os.environ.get(self.variable, ""))
        if not text:
            return self.default
        try:
            return self.parse(text)
        except (ValueError, KeyError):
            raise Error(f"{self.variable}={text}: it must be {self.legal}") from None


def _whole_number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


_SWITCH = {"0": False, "1": True}
_TARGETS = {level: level for level in ("avx512", "avx2", "generic")}
_CALLS = {path: path for path in ("compiled", "portable")}

THREADS: Option[int | None] = Option(
    "NNCOMPILE_THREADS", None, _whole_number, "a whole number from 1 on",
    "threads of a call, where `compile(threads=)` does not say; default: the CPUs of the process")
CACHE_DIR = Option(
    "NNCOMPILE_CACHE_DIR", "", str, "a folder, or off",
    "folder of the object cache, `off` for none; default: `nncompile` in `$XDG_CACHE_HOME` or in "
    "`~/.cache`")
TARGET = Option(
    "NNCOMPILE_TARGET", "", _TARGETS.__getitem__, "avx512, avx2 or generic",
    "the instructions to compile for; default: this machine's best")
DUMP = Option(
    "NNCOMPILE_DUMP", "", str, "a folder",
    "each compilation makes a folder in it, of the graph after every pass, the program and the "
    "source; default: none")
JIT = Option(
    "NNCOMPILE_JIT", True, _SWITCH.__getitem__, "0 or 1",
    "`0`: run the generated source as plain Python; default: `1`")
CALL = Option(
    "NNCOMPILE_CALL", "compiled", _CALLS.__getitem__, "compiled or portable",
    "`portable`: check and run calls in Python, as where the compiled call path cannot be used; "
    "default: `compiled`")
CUDA_GRAPH = Option(
    "NNCOMPILE_CUDA_GRAPH", True, _SWITCH.__getitem__, "0 or 1",
    "`0`: launch kernel by kernel, without a CUDA graph; default: `1`")

OPTIONS: Mapping[str, Option[int | None] | Option[str] | Option[bool]] = {
    option.name: option
    for option in (THREADS, CACHE_DIR, TARGET, DUMP, JIT, CALL, CUDA_GRAPH)
}


def check() -> None:
    """Raises Error where a variable has no legal value; warns, once, of variables that are none.
    """
    for option in OPTIONS.values():
        option.value()
    known = {option.variable for option in OPTIONS.values()}
    for variable in os.environ:
        if variable.startswith("NNCOMPILE_") and variable not in known:
            _warn_of(variable)


@cache                                               # once in a process
def _warn_of(variable: str) -> None:
    from difflib import get_close_matches  # here: it is needed for a misspelling only
    close = get_close_matches(variable.removeprefix("NNCOMPILE_").lower(), OPTIONS, 1)
    known = [option.variable for option in OPTIONS.values()]
    meant = (f"did you mean {OPTIONS[close[0]].variable}?" if close else
             f"there are {', '.join(known)}")
    warnings.warn(f"{variable} is no variable of nncompile: {meant}", stacklevel=2)


@contextmanager
def override(**values: object) -> Iterator[None]:
    """Gives options other values in the body of a `with`: `override(jit=False, threads=2)`.

    None stands for the default.
    Raises Error where there is no such option, or where a value is not legal.
    """
    if unknown := values.keys() - OPTIONS.keys():
        raise Error(f"there is no option {', '.join(sorted(unknown))}; there are "
                    f"{', '.join(OPTIONS)}")
    texts = {OPTIONS[name].variable: _text(value) for name, value in values.items()}
    token = _scope.set({**_scope.get(), **texts})
    try:
        for name in values:
            OPTIONS[name].value()                 # what is not legal is refused here, not later
        yield
    finally:
        _scope.reset(token)


def _text(value: object) -> str:
    """Returns the value as the text of a variable."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)

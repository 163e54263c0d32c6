"""What the error of a wrong call says: torch's name of what was called, and what that takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import Parameter, Signature, signature
from types import FunctionType
from typing import Any

from ir import Error
from nncompile.array.dispatch import is_ours


def renamed(function: FunctionType, name: str) -> FunctionType:
    """Returns the function under a full name: itself, or a copy where it has another name already.
    """
    if function.__qualname__ == name:
        return function
    made = FunctionType(function.__code__, function.__globals__, function.__name__,
                        function.__defaults__, function.__closure__)
    made.__kwdefaults__, made.__doc__ = function.__kwdefaults__, function.__doc__
    made.__annotations__, made.__module__ = function.__annotations__, function.__module__
    vars(made).update(vars(function))
    made.__qualname__ = name
    return made


def named(function: Any, name: str) -> Any:
    """Returns a method under a full name; the errors of wrong calls have it: see explain."""
    plain = renamed(getattr(function, "_plain", function), name)

    @wraps(plain)
    def method(*args: Any, **kwargs: Any) -> Any:
        try:
            return plain(*args, **kwargs)
        except (TypeError, Error) as error:
            explain(method, args, kwargs, error)
            raise

    vars(method)["_plain"] = plain
    return method


def name_methods(cls: Any, package: str) -> None:
    """Gives the public methods of a class of arrays, also the inherited, torch's names of them."""
    for base in cls.__mro__:
        if not base.__module__.startswith(package):
            continue
        for name, method in list(vars(base).items()):
            if isinstance(method, FunctionType) and not name.startswith("_"):
                if other := vars(method).get("_in_place_of"):
                    vars(method)["__wrapped__"] = getattr(cls, other)    # for its arguments
                setattr(base, name, named(method, f"Tensor.{name}"))


def signature_of(function: Callable[..., Any]) -> Signature:
    """Returns the arguments of a public function, by torch's names and with all that it takes."""
    known = list(signature(function).parameters.values())
    if getattr(function, "_input", False):       # the array, of which this is a method
        known[0] = known[0].replace(name="input", annotation=Parameter.empty)
    known = [p.replace(name=f"{p.name}s") if p.kind is p.VAR_POSITIONAL and p.name == "size" else p
             for p in known]
    last = [p for p in known if p.kind is p.VAR_KEYWORD]
    extra = [Parameter(option, Parameter.KEYWORD_ONLY, default=None)
             for option in getattr(function, "_options", ())
             if option not in {p.name for p in known}]
    return Signature([*(p for p in known if p not in last), *extra, *last])


def explain(function: Callable[..., Any], args: Any, kwargs: Any, error: Exception) -> None:
    """Makes an error from inside of a public function name the call that the user wrote.

    That is the outermost of ours: torch.absolute, not the abs that it is. A TypeError says what the
    call takes, too. Errors that come through code of the user stay as they are.
    """
    if not _is_all_ours(error):
        return
    name, said = function.__qualname__, str(error)
    if not isinstance(error, TypeError):
        if said_by := _TAKES.match(said):
            error.args = (name.removeprefix("Tensor.") + said[said_by.end(1):],)
        return
    try:
        takes = signature_of(function)
    except (TypeError, ValueError):              # of one whose arguments Python does not know
        return
    named_call = _NAMES_A_CALL.match(said)
    rest = named_call[1] if named_call else f": {said}"
    known = list(takes.parameters.values())
    if "." in name and known[:1] and known[0].name in ("self", "x"):
        known = known[1:]
    elif wrong := misfit(takes, args, kwargs):
        rest = f": {wrong}"                      # which speaks of the public arguments
    error.args = (f"{name}(){rest}; it is {name}{plainly(known)}",)


def explain_layer(forward: Callable[..., Any], args: Any, kwargs: Any, error: TypeError) -> None:
    """Makes the error of a call that does not fit a layer's forward say what that takes."""
    if not _is_all_ours(error) or not misfit(takes := signature(forward), args, kwargs):
        return
    known = list(takes.parameters.values())[1:]
    error.args = (f"{error}; it is {forward.__qualname__}{plainly(known)}",)


def misfit(takes: Signature, args: Any, kwargs: Any) -> str:
    """Says why a call does not fit; "" where it does."""
    try:
        takes.bind(*args, **kwargs)
    except TypeError as wrong:
        return str(wrong)
    return ""


_TAKES = re.compile(r"(\w+) (?:takes|has no element) ")
_NAMES_A_CALL = re.compile(r"[\w.]+\(\)(:? .*?)(?:; it is .*)?$", re.DOTALL)


def _is_all_ours(error: Exception) -> bool:
    """Whether no code of the user's has run between here and where the error was raised."""
    step = error.__traceback__
    while step is not None:
        if not is_ours(step.tb_frame.f_code.co_filename):
            return False
        step = step.tb_next
    return True


def plainly(known: Sequence[Parameter]) -> Signature:
    """Returns the arguments without their types; what goes by position or by name is one."""
    names = [p.name for p in known]
    if "given" in names:
        several = known[names.index("given")]
        by_name = next(p for p in known if p.kind is p.KEYWORD_ONLY)
        known = [several.replace(name=by_name.name) if p is several else p
                 for p in known if p is not by_name]
    return Signature([p.replace(annotation=Parameter.empty) for p in known])

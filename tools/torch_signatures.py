"""The arguments of torch's functions and methods, read from the stubs that torch ships.

torch's built-in functions have no signature that `inspect` could read; `_VariableFunctions.pyi` and
`__init__.pyi` of torch._C have all of them, with their overloads.
"""
from __future__ import annotations

import ast
import inspect
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from nncompile.array.naming import signature_of

STUBS = {"": ("_VariableFunctions.pyi", None), "Tensor": ("__init__.pyi", "TensorBase")}


@cache
def stub(space: str) -> dict[str, list[ast.arguments]]:
    """Returns the overloads of the functions of torch ("") or of the methods of "Tensor"."""
    import torch

    name, inside = STUBS[space]
    body = ast.parse((Path(torch.__file__).parent / "_C" / name).read_text()).body
    if inside is not None:
        [body] = [node.body for node in body
                  if isinstance(node, ast.ClassDef) and node.name == inside]
    found: dict[str, list[ast.arguments]] = defaultdict(list)
    for node in body:
        if isinstance(node, ast.FunctionDef):
            found[node.name].append(node.args)
    return dict(found)


def overloads(space: str, name: str, theirs: Any) -> list[list[str]]:
    """Returns the arguments of each overload that may be given by name; *sizes among them."""
    if space in STUBS and (known := stub(space).get(name)):
        return [named(arguments) for arguments in known]
    try:
        parameters = inspect.signature(theirs).parameters.values()
    except (TypeError, ValueError):
        return []
    return [[p.name for p in parameters
             if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]]


def named(arguments: ast.arguments) -> list[str]:
    names = [a.arg for a in (*arguments.args, *arguments.kwonlyargs)]
    return [name for name in names if name != "self"]


def unknown_to(ours: Callable[..., Any], space: str, name: str, theirs: Any) -> list[str]:
    """Returns the names of arguments that torch's function takes, and ours does not."""
    try:
        parameters = signature_of(ours).parameters.values()
    except (TypeError, ValueError):
        return []
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return []
    taken = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    wanted = [n for arguments in overloads(space, name, theirs) for n in arguments]
    return [n for n in dict.fromkeys(wanted) if n not in taken]

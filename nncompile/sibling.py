"""Finds out whether `ir` is the package that comes with this one: the name is a common one."""
from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec


def check_sibling(name: str) -> None:
    """Raises ImportError where `import name` gives a module that is not beside this package.

    The module is found and not imported, so that nothing of it runs.
    """
    ours = os.path.realpath(os.path.join(os.path.dirname(os.path.dirname(__file__)), name))
    spec = _spec(name)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if ours not in map(os.path.realpath, places):
        found = f"is {spec.origin or ', '.join(places)}" if spec is not None else "is not there"
        raise ImportError(
            f"nncompile needs its own package {name!r}, {ours}; here "
            f"`import {name}` {found}\n"
            "  do: rename that module, or put the folder of nncompile before it in sys.path; where "
            "both are installed in one environment, install nncompile into another", name=name)


def _spec(name: str) -> ModuleSpec | None:
    """How the name would be imported, or was, without importing it."""
    if name in sys.modules:
        module = sys.modules[name]
        return getattr(module, "__spec__", None) or ModuleSpec(
            name, None, origin=getattr(module, "__file__", "a module made by hand"))
    return find_spec(name)

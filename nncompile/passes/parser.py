"""Reads pipelines as text: `dce,fold_constants{max_elements=10},fuse_linear`."""
from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any

from ir import Pass
from nncompile.errors import InputError
from nncompile.passes import DEFAULT_PIPELINE

_PASS = re.compile(r"\s*(\w+)\s*(?:\{([^{}]*)\}\s*)?(?:,|$)")    # its name, what is in its braces
_KINDS: dict[str, Any] = {each.name: type(each) for each in DEFAULT_PIPELINE}


def parse_passes(text: str) -> tuple[Pass, ...]:
    """Returns the passes of these names, in order, with their options in braces; none for "".

    Raises InputError for an unknown pass or option, and lists those that there are.
    """
    passes, position = [], 0
    while position < len(text.rstrip()):
        match = _PASS.match(text, position)
        if match is None:
            raise InputError(f"cannot read the passes from {text[position:]!r} on: passes are "
                             "written as dce,fold_constants{max_elements=10},fuse_linear")
        passes.append(_pass(match[1], match[2] or ""))
        position = match.end()
    return tuple(passes)


def passes_text(passes: Iterable[Pass]) -> str:
    """Returns the text that `parse_passes` reads these passes from.

    One that is none of nncompile's own is named too, so that reading the text says which it is.
    """
    return ",".join(map(_text, passes))


def _text(pass_: Pass) -> str:
    if type(pass_) is not _KINDS.get(pass_.name):
        return pass_.name
    given = [f"{field.name}={str(value).lower()}" for field in fields(_KINDS[pass_.name])
             if (value := getattr(pass_, field.name)) != field.default]
    return pass_.name + f"{{{','.join(given)}}}" * bool(given)


def _pass(name: str, options: str) -> Pass:
    if name not in _KINDS:
        raise InputError(f"there is no pass {name!r}; there are {', '.join(_KINDS)}")
    kind = _KINDS[name]
    defaults = {field.name: field.default for field in fields(kind) if field.default is not MISSING}
    given: dict[str, bool | int] = {}
    for option in filter(None, map(str.strip, options.split(","))):
        key, _, value = map(str.strip, option.partition("="))
        if key not in defaults:
            known = ", ".join(f"{k}={str(v).lower()}" for k, v in defaults.items())
            raise InputError(f"{name} has no option {key!r}; it has {known or 'none'}")
        given[key] = _value(f"{key} of {name}", value, defaults[key])
    made: Pass = kind(**given)
    return made


def _value(what: str, text: str, default: bool | int) -> bool | int:
    """The value of an option that has a default of the same type."""
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise InputError(f"{what} is true or false, not {text!r}")
        return text == "true"
    if not re.fullmatch("[0-9]{1,18}", text):
        raise InputError(f"{what} is a whole number, not {text!r}")
    return int(text)

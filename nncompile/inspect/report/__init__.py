"""The page that `nncompile report` writes: what was done to a model, and where its time goes.

    data.py      everything that is shown, as lists, dicts, texts and numbers
    page.html    the page, with places for the three below
    page.css     how it looks
    page.js      what it does, in the reader's browser

The page holds all that it shows, and asks no server for anything.
"""
from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol

from ir import Pass
from ir.records import replace
from nncompile.backend import Machine, StepCode
from nncompile.errors import InputError
from nncompile.importers.names import printable
from nncompile.inspect.profile import Profile
from nncompile.inspect.report.data import Data, Facts, kernels_of, page_data
from nncompile.inspect.roofline import exceeded
from nncompile.inspect.stages import PassRun
from nncompile.passes import DEFAULT_PIPELINE
from nncompile.schedule import Program
from nncompile.statefile import replace_file

__all__ = ["Facts", "page", "page_data", "write_page"]


class _Compiled(Protocol):
    """What a page shows of a CompiledModel."""

    @property
    def runs(self) -> Sequence[PassRun]: ...

    @property
    def program(self) -> Program: ...

    @property
    def source(self) -> str: ...

    @property
    def notes(self) -> Sequence[str]: ...

    def asm(self) -> str: ...

    def step_codes(self) -> Sequence[StepCode]: ...

    def machine(self, again: bool = False) -> Machine | None: ...


def write_page(path: str | PathLike[str], compiled: _Compiled, profile: Profile | None,
               passes: Sequence[Pass] = DEFAULT_PIPELINE,
               peers: Mapping[str, Any] | None = None) -> None:
    """Writes the page of a compiled model; a file that exists is replaced in one step.

    profile: the times that it shows; without any, it shows none. peers: what `nncompile bench`
    saved of the model beside others.
    """
    facts = replace(facts_of(compiled, profile, passes), peers=peers)
    replace_file(Path(fspath(path)), page(page_data(facts)).encode())


def facts_of(compiled: _Compiled, profile: Profile | None,
             passes: Sequence[Pass] = DEFAULT_PIPELINE) -> Facts:
    """Returns what the page of a compiled model is made of."""
    codes = compiled.step_codes()
    try:
        asm = kernels_of(compiled.asm(), {name for code in codes for name in code.kernels})
    except InputError:                           # plain Python runs, which has none
        asm = {}
    return Facts(compiled.runs, compiled.program, codes, compiled.source, asm, compiled.notes,
                 profile, None if profile is None else _machine(compiled, profile), passes)


def _machine(compiled: _Compiled, profile: Profile) -> Machine | None:
    """The limits of the machine, measured again if a step was quicker than those that are known.

    They are too low where the machine had other work while they were measured.
    """
    machine = compiled.machine()
    if machine is None or not exceeded(machine, profile):
        return machine
    return compiled.machine(again=True)


def page(data: Data) -> str:
    """Returns the text of the page that shows this data.

    Names of layers and values come from outside. They are in the data alone, in which nothing can
    end the script element; the page makes text nodes of them; and no script but its own runs.
    """
    folder = files("nncompile.inspect.report")
    html, style, script = (folder.joinpath(f"page.{kind}").read_text(encoding="utf-8")
                           for kind in ("html", "css", "js"))
    parts = {"TITLE": escape(printable(data["model"])), "STYLE": style, "SCRIPT": script,
             "DATA": _json(data),
             "POLICY": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}"}
    pieces = html.split("%%")                    # text, name, text, name, ..., text
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def _json(data: Data) -> str:
    """JSON in ASCII, without the characters that mean something in HTML."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"

"""What a command of the command line is, as data: its arguments, its examples, and what it runs.

The parser, the help and the completion of a shell are made of this data, so a command is described
in one place. A new command is a module with a `COMMAND`, and an entry in `parser.COMMANDS`.
"""
from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

from ir.records import dataclass

Given: TypeAlias = SimpleNamespace        # the values of a command line, named as the options are


@dataclass(frozen=True)
class Option:
    """An option of a command.

    name:     "--input"; its value is `given.input`.
    metavar:  what its value is called in the help; an option without one is a flag.
    read:     makes the value of its text, or raises argparse.ArgumentTypeError.
    many:     it may be given several times, and its value is a list.
    excludes: a word that the options share of which only one may be given.
    values:   how many values follow it, as argparse says it: "?", "+"; "" for one.
    bare:     its value where it is given without one, which values="?" allows.
    into:     the name of its value, where the option's own is none that Python allows.
    short:    another name, "-o".
    """

    name: str
    help: str
    metavar: str = ""
    read: Callable[[str], Any] = str
    many: bool = False
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    excludes: str = ""
    values: str = ""
    bare: Any = None
    into: str = ""
    short: str = ""


@dataclass(frozen=True)
class Argument:
    """An argument that a command takes by its position."""

    name: str
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    default: Any = None               # where there is one, the argument may be left out
    many: bool = False


@dataclass(frozen=True)
class Command:
    """A command: `run` takes the values of its command line and returns the exit status."""

    name: str
    about: str
    run: Callable[[Given], int]
    arguments: tuple[Argument, ...]
    options: tuple[Option, ...]
    examples: tuple[str, ...]         # two or more command lines, shown by --help

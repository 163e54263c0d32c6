"""The parser of the command line, made of the commands' own descriptions."""
from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

import nncompile.version
from nncompile.cli import bench, cache, hw, report, run, show
from nncompile.cli.command import Argument, Command, Option

COMMANDS = (show.COMMAND, report.COMMAND, run.COMMAND, bench.COMMAND, cache.COMMAND,
            hw.COMMAND)

_DESCRIPTION = """\
Compiles a neural network model, defined the torch.nn way, to one fast callable on NumPy arrays.

MODEL is file.py:name: a Module, a Module class that takes no arguments, or a function that
returns a Module, of nncompile or of torch. It is put into eval mode. Or MODEL is file.onnx,
or file.ir, the text of a graph."""

_SHOWN = 2                            # examples of each command in the help of all


def parser() -> argparse.ArgumentParser:
    """Returns the parser; what it reads has the command that was named as `command`."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", default=argparse.SUPPRESS,
                        help="show the traceback of an error")
    top = argparse.ArgumentParser(
        "nncompile", description=_DESCRIPTION, parents=[common],
        epilog=_examples(line for command in COMMANDS for line in command.examples[:_SHOWN]),
        formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=nncompile.version.nncompile)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name, help=command.about, description=command.about, parents=[common],
            epilog=_examples(command.examples),
            formatter_class=argparse.RawDescriptionHelpFormatter)
        sub.set_defaults(command=command)
        _add(sub, command)
    return top


def _add(sub: argparse.ArgumentParser, command: Command) -> None:
    for argument in command.arguments:
        sub.add_argument(argument.name, **_positional(argument))
    exclusive: dict[str, Any] = {}
    for option in command.options:
        place: Any = sub
        if option.excludes:
            place = exclusive.setdefault(option.excludes,
                                         exclusive.get(option.excludes)
                                         or sub.add_mutually_exclusive_group())
        place.add_argument(*filter(None, (option.short, option.name)), **_keywords(option))


def _positional(argument: Argument) -> dict[str, Any]:
    optional = argument.default is not None
    count = {(False, False): None, (False, True): "?", (True, False): "+", (True, True): "*"}
    return {"help": argument.help, "metavar": argument.metavar or None,
            "choices": argument.choices or None, "nargs": count[argument.many, optional],
            "default": argument.default}


def _keywords(option: Option) -> dict[str, Any]:
    into = {"dest": option.into} if option.into else {}
    words = option.help.replace("%", "%%")
    if not option.metavar:
        return {"help": words, "action": "store_true", **into}
    return {**into, "help": words, "metavar": option.metavar, "type": option.read,
            "action": "append" if option.many else "store", "required": option.required,
            "default": list(option.default) if option.many and option.default is not None
            else option.default,
            "choices": option.choices or None} | (
                {"nargs": option.values, "const": option.bare} if option.values else {})


def _examples(lines: Iterable[str]) -> str:
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)

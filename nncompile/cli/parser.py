"""The parser of the command line, made of the commands' own descriptions by click.

click is small, imports quickly, and completes command lines in bash, zsh and fish; typer would say
the same by annotations, which the descriptions already say as data.
"""
from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

import nncompile.version
from nncompile.cli import bench, cache, hw, reduce, report, run, show
from nncompile.cli.command import Argument, Command, Given, Option

COMMANDS = (show.COMMAND, report.COMMAND, run.COMMAND, bench.COMMAND, reduce.COMMAND,
            cache.COMMAND, hw.COMMAND)

_DESCRIPTION = """\
Compiles a neural network model, defined the torch.nn way, to one fast
callable on NumPy arrays.

MODEL is file.py:name: a Module, a Module class that takes no arguments, or a
function that returns a Module, of nncompile or of torch, which is put into
eval mode; or a fitted estimator of scikit-learn. Or MODEL is file.onnx, or
file.ir, the text of a graph.

To complete command lines with the tab key, in bash (zsh and fish alike):
eval "$(_NNCOMPILE_COMPLETE=bash_source nncompile)" """

_SHOWN = 2                            # examples of each command in the help of all
_DEBUG = "show the traceback of an error"


def parse(argv: Sequence[str] | None = None) -> Given:
    """Returns the values of a command line, and the command that it names as `command`.

    Exits with 2 where the command line is wrong, and with 0 after --help and --version.
    """
    try:
        found = program().main(None if argv is None else [*argv], "nncompile",
                               standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    if not isinstance(found, Given):             # the status of --help or --version
        sys.exit(found)
    return found


def program() -> click.Group:
    """Returns the whole of the command line; a command of it returns its values."""
    def before(context: click.Context, debug: bool) -> None:
        context.obj = debug

    examples = [line for command in COMMANDS for line in command.examples[:_SHOWN]]
    top = _Group("nncompile", callback=click.pass_context(before), help=_raw(_DESCRIPTION),
                 epilog=_examples(examples),
                 context_settings={"help_option_names": ["--help", "-h"]}, no_args_is_help=True,
                 params=[click.Option(["--debug"], is_flag=True, help=_DEBUG)])
    click.version_option(nncompile.version.nncompile, message="%(version)s")(top)
    for command in COMMANDS:
        top.add_command(_command(command))
    return top


class _Shown:
    """A command whose examples stand in its help as they are written."""

    epilog: str | None

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples."""
        formatter.write(f"\n{self.epilog}\n")


class _Group(_Shown, click.Group):
    """The command line, whose commands are listed in their own order."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)


class _Command(_Shown, click.Command):
    """A command. An option that takes several values takes those up to the next option."""

    several: frozenset[str] = frozenset()

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(context, [*_one_each(args, self.several)])


def _one_each(args: Iterable[str], several: frozenset[str]) -> Iterable[str]:
    """Yields `--diff A B` as `--diff A --diff B`."""
    option, first = "", False
    for word in args:
        if word.startswith("-"):
            option, first = (word, True) if word in several else ("", False)
        elif option and not first:
            yield option
        else:
            first = False
        yield word


def _command(command: Command) -> click.Command:
    def values(context: click.Context, /, debug: bool, **given: Any) -> Given:
        _check_exclusive(context, command)
        for option in command.options:
            name = _name_of(option)
            if option.many or option.values == "+":
                given[name] = [*given[name]] or option.default
        return Given(command=command, debug=debug or bool(context.obj), **given)

    made = _Command(command.name, callback=click.pass_context(values), help=command.about,
                    short_help=command.about, epilog=_examples(command.examples),
                    params=[*map(_argument, command.arguments), *map(_option, command.options),
                            click.Option(["--debug"], is_flag=True, help=_DEBUG)])
    made.several = frozenset(o.name for o in command.options if o.values == "+")
    return made


def _argument(argument: Argument) -> click.Argument:
    default = {} if argument.default is None else {"default": argument.default}
    return click.Argument([argument.name], metavar=argument.metavar or None,
                          nargs=-1 if argument.many else 1, required=not default,
                          type=_type_of(argument.choices, str, argument.metavar), **default)


def _option(option: Option) -> click.Option:
    declared = [*filter(None, (option.short, option.name)), _name_of(option)]
    if not option.metavar:
        return click.Option(declared, is_flag=True, help=option.help)
    bare = {"is_flag": False, "flag_value": option.bare} if option.values == "?" else {}
    several = option.many or option.values == "+"
    return click.Option(declared, metavar=option.metavar, help=option.help, multiple=several,
                        required=option.required, default=None if several else option.default,
                        type=_type_of(option.choices, option.read, option.metavar), **bare)


def _name_of(option: Option) -> str:
    return option.into or option.name.strip("-").replace("-", "_")


def _check_exclusive(context: click.Context, command: Command) -> None:
    """Raises UsageError for two options that exclude each other."""
    found: dict[str, str] = {}
    for option in command.options:
        source = context.get_parameter_source(_name_of(option))
        if option.excludes and source is ParameterSource.COMMANDLINE:
            if other := found.get(option.excludes):
                raise click.UsageError(f"{option.name} is not allowed with {other}", context)
            found[option.excludes] = option.name


# -- values ----------------------------------------------------------------------------------------

def _type_of(choices: Sequence[str], read: Callable[[str], Any], metavar: str) -> Any:
    return click.Choice(choices) if choices else _Text(read, metavar)


class _Text(click.ParamType):                    # type: ignore[type-arg]    # of click 8.5 alone
    """What is read from a text. A file is completed where the value may be one."""

    name = "text"

    def __init__(self, read: Callable[[str], Any], metavar: str) -> None:
        self.read = read
        self.is_file = any(word in metavar for word in ("FILE", "MODEL", ".npy", ".json"))

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None
                ) -> Any:
        if not isinstance(value, str):           # a default
            return value
        try:
            return self.read(value)
        except ArgumentTypeError as error:
            return self.fail(str(error), param, context)

    def shell_complete(self, context: click.Context, param: click.Parameter, incomplete: str
                       ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, "file")] if self.is_file else []


# -- help ------------------------------------------------------------------------------------------

def _raw(text: str) -> str:
    r"""Returns a text of which click keeps the lines: each paragraph begins with \b."""
    return "\n\n".join(f"\b\n{paragraph}" for paragraph in text.split("\n\n"))


def _examples(lines: Iterable[str]) -> str:
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)

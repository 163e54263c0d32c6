"""The command line: nncompile show | report | run | bench | reduce | cache | hw."""
from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from nncompile.cli.parser import parse
from nncompile.errors import Error


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status.

    It is 0, or 1 after an error, which is printed on stderr. The parser exits with 2 where the
    command line is wrong.
    """
    given = parse(argv)
    try:
        status: int = given.command.run(given)
        sys.stdout.flush()
    except BrokenPipeError:                      # as of `nncompile show ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if given.debug:
            raise
        print(f"nncompile: error: {_message(error)}", file=sys.stderr)
        return 1
    return status


def _message(error: Exception) -> str:
    """Returns what is printed of an exception.

    It is the message, and for one that is not ours also its type and the line that raised it.
    """
    notes = getattr(error, "__notes__", [])
    if isinstance(error, Error):
        return "\n".join([str(error), *notes])
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    what, frame = str(error), traceback.extract_tb(error.__traceback__)[-1]
    file, number, line = frame.filename, frame.lineno, frame.line
    if isinstance(error, SyntaxError):           # of the model's file, wherever it was noticed
        what, file, number = error.msg, error.filename or file, error.lineno
        line = (error.text or "").strip()
    return "\n".join([f"{type(error).__name__}: {what}", *notes, f"  line: {file}:{number}: {line}",
                      "  --debug shows the whole traceback"])

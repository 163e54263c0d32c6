"""Commands in a pseudo-terminal of some width."""
from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence


def in_terminal(columns: int, *argv: str, options: Sequence[str] = (), **variables: str
                ) -> tuple[int, str]:
    """The exit status of a command, and what it shows on a terminal of so many columns.

    options: of Python itself. variables: of the environment.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    known = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, *options, "-m", "nncompile", *argv], stdin=theirs, stdout=theirs,
        stderr=theirs, close_fds=True,
        env={**known, "TERM": "xterm-256color",
             "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables})
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:                          # Linux says so when the last writer has closed it
            break
        if not part:
            break
        shown += part
    os.close(ours)
    return process.wait(), shown.decode().replace("\r\n", "\n")


def visible(text: str) -> list[str]:
    """The lines that stay on the screen: what a carriage return overwrites does not."""
    lines = [re.split(r"\r(?:\x1b\[K)?", line)[-1] for line in text.split("\n")]
    return [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line) for line in lines]

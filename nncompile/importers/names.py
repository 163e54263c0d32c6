"""Names from a file, which may be any text, as names and texts that a graph can carry safely."""
from __future__ import annotations

import re
from keyword import iskeyword

_LONGEST_NAME = 48
_LONGEST_TEXT = 160


def size_name(text: str, taken: set[str]) -> str:
    """Returns a name for a named size, as readable as the file's: `batch_size` gives BatchSize.

    It is none of those that are taken, to which it is added.
    """
    words = re.findall(r"[A-Za-z0-9]+", text)
    name = "".join(word[0].upper() + word[1:] for word in words)[:_LONGEST_NAME]
    if not name or not name[0].isalpha() or iskeyword(name):
        name = f"Size{name}"
    unique, count = name, 1
    while unique in taken:
        count += 1
        unique = f"{name}x{count}" if name[-1].isdigit() else f"{name}{count}"
    taken.add(unique)
    return unique


def graph_name(text: str) -> str:
    """Returns a name for a graph: an ASCII identifier, which is also a safe name of a folder."""
    name = "_".join(re.findall(r"[A-Za-z0-9]+", text))[:_LONGEST_NAME]
    return name if name and not name[0].isdigit() and not iskeyword(name) else f"model_{name}"


def printable(text: str) -> str:
    """Returns a text from a file as one line of printable characters, shortened if it is long.

    Error messages, comments in generated code and the text of a graph carry it.
    """
    line = re.sub(r"\s+", " ", text)
    line = "".join(c if c.isprintable() else "?" for c in line).strip()
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}..."

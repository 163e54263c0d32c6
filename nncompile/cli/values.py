"""The values of options: what each reads from its text, or raises ArgumentTypeError for."""
from __future__ import annotations

from argparse import ArgumentTypeError
from math import inf, nan


def positive(text: str) -> int:
    """Returns a number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def positives(text: str) -> list[int]:
    """Returns the numbers of a list such as 1,64,1024, each above 0."""
    return [positive(part.strip()) for part in text.split(",")]


def names(text: str) -> list[str]:
    """Returns the names of a list such as numpy,torch; none for the text "none"."""
    return [] if text == "none" else [part.strip() for part in text.split(",")]


def size(text: str) -> tuple[str, int]:
    """Returns the name and the number of a text such as T=16."""
    name, equals, number = text.partition("=")
    if not name or not equals:
        raise ArgumentTypeError(f"{text!r} is not a name and a number, as T=16")
    return name, positive(number)


def positive_number(text: str) -> float:
    """Returns a number above 0, with or without a point."""
    found = _number(text)
    if not 0 < found < inf:
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return found


def number(text: str) -> float:
    """Returns a number of at least 0, with or without a point."""
    found = _number(text)
    if not 0 <= found < inf:
        raise ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return nan


def share(text: str) -> float:
    """Returns the part of one that a text such as 5% is."""
    if not text.endswith("%"):
        raise ArgumentTypeError(f"{text!r} is not a share such as 5%")
    return positive_number(text[:-1]) / 100


def count_or_auto(text: str) -> int | None:
    """Returns a number above 0, or None for the text "auto"."""
    return None if text == "auto" else positive(text)

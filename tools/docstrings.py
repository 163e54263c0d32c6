"""How the docstrings of this project become Markdown: an extension of griffe that mkdocs.yml names.

A paragraph of a docstring may be a list of arguments:

    inputs:  type texts or arrays, one for            - `inputs`: type texts or arrays, one for
             each argument of `forward`          ->       each argument of `forward`
    check:   evaluate the graph                       - `check`: evaluate the graph

A pass shows a graph before and after, with `-->` at the margin between the two: it belongs to their
code block. Asterisks and underscores of names, as in call(*inputs), are no emphasis.
"""
from __future__ import annotations

import re
from typing import Any

from griffe import Alias, Extension, Object

NO_EMPHASIS = re.compile(r"(?<!\w)_|\*(?=\w)(?![\w ]*\*)")      # but *this* is
ITEM = re.compile(r"\\?([a-z_*][\w*]*(?:, \w+)*=?): +(?=\S)")


class Docstrings(Extension):
    """Rewrites each docstring when griffe has read the object that has it."""

    def on_alias_instance(self, *, alias: Alias, **_: Any) -> None:
        """Makes griffe take ir's dataclasses for those of the standard library, which it knows."""
        alias.target_path = alias.target_path.replace("ir.records.", "dataclasses.")

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = re.sub(r"^-->$", "    -->", obj.docstring.value, flags=re.MULTILINE)
            paragraphs = map(as_list, map(escaped, text.split("\n\n")))
            obj.docstring.value = "\n\n".join(paragraphs)


def escaped(paragraph: str) -> str:
    """Returns the paragraph with asterisks and underscores of names escaped, outside of `code`."""
    if paragraph.startswith("    "):
        return paragraph
    parts = paragraph.split("`")
    parts[::2] = [NO_EMPHASIS.sub(r"\\\g<0>", part) for part in parts[::2]]
    return "`".join(parts)


def as_list(paragraph: str) -> str:
    """Returns the paragraph as a Markdown list, if each line begins an item or continues one."""
    first, *rest = paragraph.splitlines() or [""]
    if not ITEM.match(first) or not all(ITEM.match(x) or x.startswith("  ") for x in rest):
        return paragraph
    return "\n".join(re.sub(ITEM, r"- `\1`: ", line, count=1) if ITEM.match(line)
                     else "    " + line.strip() for line in (first, *rest))

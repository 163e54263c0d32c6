"""How the docstrings of this project become Markdown: an extension of griffe that mkdocs.yml names.

A paragraph of a docstring may be a list of arguments:

    inputs:  type texts or arrays, one for            - `inputs`: type texts or arrays, one for
             each argument of `forward`          ->       each argument of `forward`
    check:   evaluate the graph                       - `check`: evaluate the graph

A pass shows a graph before and after, with `-->` at the margin between the two: it belongs to their
code block.
"""
from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ITEM = re.compile(r"([a-z_*][\w*]*(?:, \w+)*=?): +(?=\S)")


class Docstrings(Extension):
    """Rewrites each docstring when griffe has read the object that has it."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = re.sub(r"^-->$", "    -->", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = "\n\n".join(map(as_list, text.split("\n\n")))


def as_list(paragraph: str) -> str:
    """The paragraph as a Markdown list, if each of its lines begins an item or continues one."""
    first, *rest = paragraph.splitlines() or [""]
    if not ITEM.match(first) or not all(ITEM.match(x) or x.startswith("  ") for x in rest):
        return paragraph
    return "\n".join(re.sub(ITEM, r"- `\1`: ", line, count=1) if ITEM.match(line)
                     else "    " + line.strip() for line in (first, *rest))

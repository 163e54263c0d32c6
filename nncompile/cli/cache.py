"""nncompile cache: the compiled code on this machine's disk."""
from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nncompile.cli.command import Argument, Command, Given, Option
from nncompile.console import UNLIMITED, write

if TYPE_CHECKING:
    from rich.table import Table

    from nncompile.cpu.objects.cache import Entry

_SHOWN = 20


def _cache(given: Given) -> int:
    return {"info": _info, "list": _list, "verify": _verify, "clear": _clear}[given.action](given)


def _info(given: Given) -> int:
    from nncompile.cpu.objects import cache as disk

    state = disk.info()
    print(f"folder   {state.folder or f'none: {state.reason}'}\n"
          f"entries  {state.entries}\n"
          f"size     {state.bytes / 2**20:.1f} MiB of at most {disk.MAX_BYTES / 2**20:.0f}")
    return 0


def _list(given: Given) -> int:
    """Prints the models, and in sum what all of them share; with --all every entry."""
    from nncompile.cpu.objects import cache as disk

    entries = disk.listed()
    models = [e for e in entries if e.kind == "driver" and not e.wrong]
    shown = entries if given.all else models[:_SHOWN]
    if shown:
        write(sys.stdout, _table(shown, "what" if given.all else "model"), width=UNLIMITED)
    if not given.all:
        if len(models) > _SHOWN:
            print(f"and {len(models) - _SHOWN} more models: --all shows every entry")
        for kind, sizes in _sums([e for e in entries if e.wrong or e.kind != "driver"]):
            print(f"{len(sizes)} x {kind}, {_size(sum(sizes))}")
    return 0


def _table(entries: Sequence[Entry], head: str) -> Table:
    """A line for each entry; a terminal that is too narrow for it has the beginning of the last."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("last use", no_wrap=True, min_width=16)
    table.add_column("size", no_wrap=True, justify="right", min_width=9)
    table.add_column(head, no_wrap=True, overflow="ellipsis")
    for entry in entries:
        what = entry.about if entry.kind == "driver" else f"{entry.kind} {entry.about}".rstrip()
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        table.add_row(when, _size(entry.bytes), Text(entry.wrong or what,
                                                     "red" if entry.wrong else ""))
    return table


def _sums(entries: list[Entry]) -> list[tuple[str, list[int]]]:
    sizes: dict[str, list[int]] = defaultdict(list)
    for entry in entries:
        sizes[f"entry {entry.wrong}" if entry.wrong else entry.kind].append(entry.bytes)
    return sorted(sizes.items())


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"


def _verify(given: Given) -> int:
    """Reads every entry as a process does that loads it."""
    from nncompile.cpu.objects import cache as disk

    entries = disk.listed()
    wrong = [e for e in entries if e.wrong and e.wrong != "of another version"]
    for entry in wrong:
        print(f"{entry.path}: {entry.wrong}")
    old = sum(e.wrong == "of another version" for e in entries)
    print(f"{len(entries) - len(wrong) - old} entries are whole, {len(wrong)} are not"
          + (f", {old} are of another version" if old else ""))
    if wrong:
        print("what is not whole is never run: it is compiled again when it is needed")
    return 1 if wrong else 0


def _clear(given: Given) -> int:
    from nncompile.cpu.objects import cache as disk

    print(f"{disk.clear()} entries removed")
    return 0


COMMAND = Command(
    "cache", "the compiled code on this machine's disk", _cache,
    (Argument("action", "info: the folder and its size; list: the models, with the size of each "
              "and its last use; verify: read every entry; clear: delete every entry",
              choices=("info", "list", "verify", "clear")),),
    (Option("--all", "list every entry, kernels too"),),
    ("nncompile cache list", "NNCOMPILE_CACHE_DIR=/tmp/mine nncompile cache clear"))

"""nncompile cache: the compiled code on this machine's disk."""
from __future__ import annotations

from nncompile.cli.command import Argument, Command, Given


def _cache(given: Given) -> int:
    from nncompile.cpu.objects import cache as disk

    if given.action == "clear":
        count = disk.clear()
        print(f"{count} entries removed")
        return 0
    state = disk.info()
    print(f"folder   {state.folder or f'none: {state.reason}'}\n"
          f"entries  {state.entries}\n"
          f"size     {state.bytes / 2**20:.1f} MiB of at most {disk.MAX_BYTES / 2**20:.0f}")
    return 0


COMMAND = Command(
    "cache", "the compiled code on this machine's disk", _cache,
    (Argument("action", "info: the folder and its size; clear: delete every entry",
              choices=("info", "clear")),), (),
    ("nncompile cache info", "NNCOMPILE_CACHE_DIR=/tmp/mine nncompile cache clear"))

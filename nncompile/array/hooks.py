"""The handle that registering a hook returns, of arrays and of modules."""

from __future__ import annotations

from collections import OrderedDict
from itertools import count
from typing import Any


class RemovableHandle:
    """Removes a hook, by remove() or at the end of a `with` block.

    latest: the number of the last hook of all, by which it is seen that there are others.
    """

    numbers = count()
    latest = -1

    def __init__(self, hooks: dict[int, Any], hook: Any, prepend: bool = False) -> None:
        self.hooks = hooks
        self.id = RemovableHandle.latest = next(self.numbers)
        hooks[self.id] = hook
        if prepend and isinstance(hooks, OrderedDict):
            hooks.move_to_end(self.id, last=False)

    def remove(self) -> None:
        """Removes the hook; does nothing if that was done before."""
        self.hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()

"""What stands in the way of an import: collected while it goes on, and reported all at once."""
from __future__ import annotations

from ir.records import dataclass
from nncompile.errors import ModelImportError
from nncompile.importers.names import printable

_MOST = 50                                       # shown in one message


@dataclass(frozen=True)
class Obstacle:
    """Why an operation of the file cannot be imported; nodes with equal ones are counted.

    what: the operation, such as `NonZero (opset 13)`. why: the reason, and what to do about it.
    """

    what: str
    why: str


class Obstacles:
    """The obstacles found so far, each with the number of nodes and the place of the first."""

    def __init__(self) -> None:
        self._found: dict[Obstacle, tuple[int, str]] = {}

    def add(self, what: str, why: str, place: str) -> None:
        """Notes one more node that cannot be imported."""
        key = Obstacle(printable(what), why)
        count, first = self._found.get(key, (0, place))
        self._found[key] = (count + 1, first)

    def __bool__(self) -> bool:
        return bool(self._found)

    def error(self, title: str) -> ModelImportError:
        """Returns the error that lists all of them."""
        kinds = len(self._found)
        count = f"{kinds} obstacles" if kinds > 1 else "one obstacle"
        lines = [f"{printable(title)} cannot be imported: {count}"]
        for obstacle, (nodes, first) in [*self._found.items()][:_MOST]:
            times = f", {nodes} times, first" if nodes > 1 else ","
            why = obstacle.why.replace("\n", "\n    ")
            lines.append(f"  {obstacle.what}{times} {printable(first)}\n    {why}")
        if kinds > _MOST:
            lines.append(f"  and {kinds - _MOST} more")
        return ModelImportError("\n".join(lines))

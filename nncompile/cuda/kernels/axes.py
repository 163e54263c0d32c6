"""The axes that a kernel walks along."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Axes:
    """Axes, `rank` of them.

    In the text of a kernel d0, d1, ... are their sizes, y_s0, y_s1, ... an operand's strides, and
    i0, i1, ... an index.
    """

    rank: int

    @property
    def sizes(self) -> str:
        """The part of a signature with the sizes."""
        return " ".join(f"d{d}" for d in range(self.rank))

    def strides(self, *operands: str) -> str:
        """Returns the part of a signature with the operands' strides."""
        return " ".join(f"{o}_s{d}" for o in operands for d in range(self.rank))

    @property
    def count(self) -> str:
        """The number of elements, for at least one axis."""
        return " * ".join(f"d{d}" for d in range(self.rank))

    def place(self, operand: str) -> str:
        """Returns where the operand's element of an index is."""
        return " + ".join([f"{operand}_at", *(f"i{d} * {operand}_s{d}" for d in range(self.rank))])

    def indices(self, flat: str, indent: str = "") -> list[str]:
        """Returns statements that split a flat index, the last axis first; `flat` is consumed."""
        if not self.rank:
            return []
        lines = []
        for d in reversed(range(1, self.rank)):
            lines += [f"i{d} = {flat} % d{d}", f"{flat} = {flat} // d{d}"]
        return [indent + line for line in [*lines, f"i0 = {flat}"]]

"""The dispatcher of an import: it computes what the file alone determines, and records the rest."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np

from ir import Error, NDArray, TensorType, Value, Where, type_of
from ir.ops import Attrs, evaluate, infer, is_symbolic
from ir.types import DimExpr, product
from nncompile.array.dispatch import current
from nncompile.array.recording import Recorder
from nncompile.array.tape import Payload, bare

FOLDED_AT_ONCE = 1 << 22                         # elements of one array that is computed here
FOLDED_TOGETHER = 1 << 28                        # elements of all of them
_LARGEST_WEIGHT = 1 << 28                        # elements that loading computes from the weights
_MOVED = frozenset(["slice", "reshape", "transpose", "expand", "concat", "take", "take_along",
                    "cast"])
_COUNTED = frozenset(["iota", "argmax", "argmin", "topk_ids"])
_LARGEST = 1 << 40                               # elements of any array whose shape is known


class ImportRecorder(Recorder):
    """Folds an op whose operands are all known arrays, and makes a node of any other.

    Arrays that are large are not folded but recorded, so that a file of a few bytes cannot ask for
    much memory or time here. `origin` is where the operation comes from that is being imported.
    """

    def __init__(self) -> None:
        super().__init__()
        self.origin = Where()
        self.budget = FOLDED_TOGETHER
        self.at_load: set[Value] = set()         # values that the weights alone determine
        self.producers: dict[Value, tuple[Value, ...]] = {}
        self.not_negative: set[Value] = set()    # integers that are 0 or more for all inputs

    def where(self) -> Where:
        """Returns the operation of the file."""
        return self.origin

    def fail(self, message: str, operands: Iterable[Any]) -> NoReturn:
        """Raises Error; the importer knows what it was about."""
        raise Error(message)

    def numbers(self, payload: Payload, what: str) -> NDArray:
        """Returns the numbers of a known array. Raises Error for a value of the graph."""
        if isinstance(payload, Value):
            raise Error(f"{what} needs the numbers in an array, which are known in a call only")
        known: NDArray = bare(payload)
        return known

    def declare(self, kind: str, name: str, type_: TensorType, data: NDArray | None = None
                ) -> Value:
        """Returns a new input, parameter or constant of the graph."""
        value = super().declare(kind, name, type_, data)
        if kind != "input":
            self.at_load.add(value)
        counts = kind == "constant" and data is not None and data.dtype.kind in "iu"
        if counts and not (np.asarray(data) < 0).any():
            self.not_negative.add(value)
        return value

    def op(self, name: str, operands: Sequence[Payload | float], attrs: Attrs) -> Payload:
        """Returns the result of an op: an ndarray where it is known, else a value of the graph."""
        values = [o for o in operands if isinstance(o, Value)]
        symbolic = is_symbolic(tuple(attrs.values()))
        if not values and not symbolic:
            folded = self._folded(name, operands, attrs)
            if folded is not None:
                return folded
        result = super().op(name, operands, attrs)
        assert isinstance(result, Value)
        self.producers[result] = tuple(values)
        first = values[:1] if name.startswith("take") else values
        if name in _COUNTED or (name in _MOVED and self.not_negative.issuperset(first)):
            self.not_negative.add(result)
        self._check_size(result, not symbolic and self.at_load.issuperset(values))
        return result

    def _folded(self, name: str, operands: Sequence[Payload | float], attrs: Attrs
                ) -> NDArray | None:
        """Returns the result of known operands, or None where it would take much."""
        known = [bare(o) for o in operands if not isinstance(o, Value)]
        types = [type_of(o) if isinstance(o, np.ndarray) else o for o in known]
        result = infer(name, types, attrs)
        sizes = [o.size for o in known if isinstance(o, np.ndarray)]
        work = max([int(product(result.shape)), *sizes])
        if work > min(FOLDED_AT_ONCE, self.budget):
            return None
        self.budget -= work
        return evaluate(name, known, attrs)

    def _check_size(self, value: Value, at_load: bool) -> None:
        """Raises Error for an array that is larger than any memory, or that loading would make."""
        sizes = [d for d in value.type.shape if not isinstance(d, DimExpr)]
        count = product(sizes)
        limit = _LARGEST
        if at_load:
            self.at_load.add(value)
            given = [int(product(o.type.shape)) for o in self.producers[value]]
            limit = max([_LARGEST_WEIGHT, *given])
        if count > limit and not any(size == 0 for size in sizes):
            raise Error(f"an array {value.type} is too large: {count} elements, and at most "
                        f"{limit} are allowed here")

    def inputs_of(self, value: Value) -> list[str]:
        """Returns the names of the inputs that a value is computed from."""
        found: dict[str, None] = {}
        seen, rest = {value}, [value]
        while rest:
            each = rest.pop()
            if each.kind == "input":
                found[each.name] = None
            for operand in self.producers.get(each, ()):
                if operand not in seen:
                    seen.add(operand)
                    rest.append(operand)
        return list(found)


def importing() -> ImportRecorder:
    """Returns the dispatcher of the import that is going on."""
    recorder = current.get()
    assert isinstance(recorder, ImportRecorder)
    return recorder

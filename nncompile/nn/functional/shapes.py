"""The function pad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ir import Error, same
from nncompile.array import Array, apply, as_array
from nncompile.array.creation import cat, stack
from nncompile.array.dtypes import converted
from nncompile.array.sizes import required
from nncompile.errors import InputError
from nncompile.nn.calls import from_outside

# The number of dimensions that torch pads at each rank, in all modes but "constant".
_RANKS = {2: 1, 3: 2, 4: 3}
_MODES = ("constant", "reflect", "replicate", "circular")


@from_outside
def pad(input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None
        ) -> Array:
    """Returns the input with elements added on its sides, or removed where a number is negative.

    pad: pairs (before, after), for the last dimension first, then for the one before it, and so on.
    mode: "constant" adds `value`, 0 by default; "reflect" mirrors without the edge; "replicate"
    repeats the edge; "circular" continues from the other side. All but "constant" pad the last 1 to
    3 dimensions, not the first one or two, as in torch.
    Raises Error for an odd number or too many, and InputError for another mode or a value that the
    mode does not take.
    """
    x, sides = as_array("pad", input), list(pad)
    if len(sides) % 2 or len(sides) // 2 > x.ndim:
        raise Error(f"pad takes a pair of numbers for an axis, and {x.type} got {sides}")
    if mode not in _MODES:
        raise InputError(f"pad's mode is one of {', '.join(_MODES)}, not {mode!r}")
    axes = [(x.ndim - 1 - i, sides[2 * i], sides[2 * i + 1]) for i in range(len(sides) // 2)]
    if mode == "constant":
        return _padded(x, axes, 0.0 if value is None else value)
    if value is not None and value != 0:
        raise InputError(f"pad takes a value with mode 'constant', not with {mode!r}")
    if len(axes) not in (_RANKS.get(x.ndim), _RANKS.get(x.ndim + 1), x.ndim - 2):
        raise Error(f"pad with mode {mode!r} cannot pad {len(axes)} axes of {x.type}")
    for axis, low, high in axes:
        x = _wrapped(x, axis, low, high, mode)
    return x


def _padded(x: Array, axes: Sequence[tuple[int, int, int]], value: float) -> Array:
    low, high = [0] * x.ndim, [0] * x.ndim
    for axis, before, after in axes:
        low[axis], high[axis] = max(before, 0), max(after, 0)
        if before < 0 or after < 0:
            size = x.size(axis)
            x = x.narrow(axis, max(-before, 0), size - max(-before, 0) - max(-after, 0))
    if all(same(n, 0) for n in (*low, *high)):
        return x._apart()
    number = converted(value, x.dtype).item()
    return apply("pad", x, low=tuple(low), high=tuple(high), value=float(number))


def _wrapped(x: Array, axis: int, low: int, high: int, mode: str) -> Array:
    """Returns x with one axis continued on both sides by its own elements."""
    size = x.size(axis)
    most = size - 1 if mode == "reflect" else size
    if mode != "replicate" and not all(
            required(n, "<=", most) for n in (low, high)):
        raise Error(f"pad with mode {mode!r} cannot add {max(low, high)} to an axis of {size}")
    kept = x.narrow(axis, max(-low, 0), size - max(-low, 0) - max(-high, 0))
    before, after = _beside(x, axis, max(low, 0), max(high, 0), mode)
    return cat([part for part in (before, kept, after) if part is not None], axis)


def _beside(x: Array, axis: int, low: int, high: int, mode: str
            ) -> tuple[Array | None, Array | None]:
    size = x.size(axis)
    if mode == "replicate":
        sizes = list(x.shape)
        ends = [x.narrow(axis, at, 1).expand(*sizes[:axis], count, *sizes[axis + 1 :])
                for at, count in ((0, low), (size - 1, high))]
    elif mode == "circular":
        ends = [x.narrow(axis, size - low, low), x.narrow(axis, 0, high)]
    else:
        ends = [x.narrow(axis, 1, low).flip(axis), x.narrow(axis, size - 1 - high, high).flip(axis)]
    return (ends[0] if low else None), (ends[1] if high else None)


@from_outside
def pad_sequence(sequences: Sequence[Any], batch_first: bool = False, padding_value: float = 0.0,
                 padding_side: str = "right") -> Array:
    """Returns arrays of different length, [L, ...] each, padded to the longest and stacked.

    The result is [T, B, ...], or [B, T, ...] where batch_first is true.
    Raises Error where a length is not known before run time, or there is no array.
    """
    given = [as_array("pad_sequence", x) for x in sequences]
    if not given or not all(isinstance(x.size(0), int) for x in given):
        raise Error("pad_sequence takes arrays, at least one, whose lengths are known before run "
                    "time")
    length = max(x.size(0) for x in given)
    padded = []
    for x in given:
        more = length - x.size(0)
        before, after = (0, more) if padding_side == "right" else (more, 0)
        padded.append(_padded(x, [(0, before, after)], padding_value))
    return stack(padded, 0 if batch_first else 1)

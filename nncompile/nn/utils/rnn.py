"""Sequences of different lengths: padded to one length, or packed step by step.

How many sequences reach each step decides shapes, so the lengths have to be known numbers: in a
trace they cannot depend on an input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ir import Error, NDArray
from nncompile.array import Array, as_array
from nncompile.array.creation import cat, from_numpy, full
from nncompile.nn.functional import pad
from nncompile.placeholders import getter


class PackedSequence_(NamedTuple):
    """The fields of a PackedSequence."""

    data: Array
    batch_sizes: Array
    sorted_indices: Array | None
    unsorted_indices: Array | None


class PackedSequence(PackedSequence_):
    """Sequences step by step: the first elements of all, longest first, then the second ones, ...

    data: [sum of the lengths, ...]. batch_sizes: int64 [T], how many sequences reach each step.
    sorted_indices: their order by length; unsorted_indices: the way back.
    """

    def __new__(cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None,
                unsorted_indices: Any = None) -> PackedSequence:
        """Makes a PackedSequence; one of the two orders follows from the other."""
        if batch_sizes is None:                  # torch takes the two as one argument, too
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Returns the sequences with their data in another dtype; see Array.to."""
        return self._replace(data=self.data.to(*args, **kwargs))

    def cpu(self) -> PackedSequence:
        """Returns the sequences: they are on the CPU."""
        return self

    def float(self) -> PackedSequence:
        """Returns the sequences with float32 data."""
        return self._replace(data=self.data.float())

    def double(self) -> PackedSequence:
        """Returns the sequences with float64 data."""
        return self._replace(data=self.data.double())

    def long(self) -> PackedSequence:
        """Returns the sequences with int64 data."""
        return self._replace(data=self.data.long())

    is_cuda = False

    def is_pinned(self) -> bool:
        """Returns False: there is no device to pin memory for."""
        return False


def invert_permutation(permutation: Array | None) -> Array | None:
    """Returns the permutation that undoes this one [N]; None for None."""
    if permutation is None:
        return None
    return from_numpy(np.argsort(_known("invert_permutation", permutation)))


def _known(what: str, given: Any) -> NDArray:
    """Returns lengths or an order as int64 numbers. Raises Error where they depend on an input."""
    array = as_array(what, np.asarray(given, np.int64) if isinstance(given, list | tuple)
                     else given)
    try:
        return array._numbers(what).astype(np.int64)
    except Error as error:
        raise Error(f"{what}: the lengths depend on an input, and decide shapes, which have to be "
                    "known when a model is traced. Pack outside of the model, or compute on the "
                    "padded sequences with a mask: arange(T) < lengths[:, None]") from error


def pack_padded_sequence(input: Any, lengths: Any, batch_first: bool = False,
                         enforce_sorted: bool = True) -> PackedSequence:
    """Returns padded sequences [T, B, ...], or [B, T, ...] with batch_first, packed step by step.

    lengths: int64 [B] or a list. enforce_sorted: they do not increase; otherwise they are sorted.
    Raises Error where they depend on an input in a trace, and RuntimeError where one is 0 or larger
    than T, or where they increase and enforce_sorted is set.
    """
    x, counts = as_array("pack_padded_sequence", input), _known("pack_padded_sequence", lengths)
    order = None
    if not enforce_sorted:
        numbers = np.argsort(-counts, kind="stable")
        order, counts = from_numpy(numbers), counts[numbers]
        x = x.index_select(0 if batch_first else 1, order)
    x = x.transpose(0, 1) if batch_first else x
    if counts.shape != (x.shape[1],) or not counts.size or counts.min() <= 0 or (
            counts.max() > x.shape[0]):
        raise RuntimeError(f"pack_padded_sequence: {counts.tolist()} are no lengths of "
                           f"{x.shape[1]} sequences with 1 to {x.shape[0]} elements")
    if (np.diff(counts) > 0).any():
        raise RuntimeError(f"pack_padded_sequence: the lengths {counts.tolist()} increase: sort "
                           "them, or say enforce_sorted=False")
    sizes = (counts > np.arange(counts[0])[:, None]).sum(1)
    steps = [x[step, :size] for step, size in enumerate(sizes.tolist())]
    return PackedSequence(cat(steps), from_numpy(sizes), order)


def pad_packed_sequence(sequence: PackedSequence, batch_first: bool = False,
                        padding_value: float = 0.0, total_length: int | None = None
                        ) -> tuple[Array, Array]:
    """Returns packed sequences as padded ones [T, B, ...] and their lengths, int64 [B].

    batch_first: they are [B, T, ...]. total_length: T, by default the longest length.
    Raises ValueError where that is less than the longest length.
    """
    sizes = _known("pad_packed_sequence", sequence.batch_sizes)
    longest, batch = len(sizes), int(sizes[0])
    if total_length is not None and total_length < longest:
        raise ValueError(f"pad_packed_sequence: total_length={total_length} is less than the "
                         f"longest length, {longest}")
    starts = np.cumsum(sizes) - sizes
    lengths = (np.arange(batch)[:, None] < sizes).sum(1)
    data = as_array("pad_packed_sequence", sequence.data)
    after = [0, 0] * (data.ndim - 1)
    rows = [data[starts[:length] + number] for number, length in enumerate(lengths.tolist())]
    total = total_length or longest
    padded = cat([pad(row, [*after, 0, total - row.shape[0]], value=padding_value).unsqueeze(0)
                  for row in rows])
    order = sequence.unsorted_indices
    if order is not None:
        padded = padded.index_select(0, order)
        lengths = lengths[_known("pad_packed_sequence", order)]
    return padded if batch_first else padded.transpose(0, 1), from_numpy(lengths)


def pad_sequence(sequences: Any, batch_first: bool = False, padding_value: float = 0.0,
                 padding_side: str = "right") -> Array:
    """Returns sequences [T, ...] of different lengths as one array [T, B, ...].

    T is the longest length. batch_first: the result is [B, T, ...]. padding_side: "right", "left".
    """
    if padding_side not in ("left", "right"):
        raise ValueError(f"pad_sequence's padding_side is 'left' or 'right', not {padding_side!r}")
    given = [as_array("pad_sequence", s) for s in sequences]
    if not given:
        raise RuntimeError("pad_sequence needs one sequence or more")
    longest = max(s.shape[0] for s in given)
    rows = []
    for s in given:
        more = full((longest - s.shape[0], *s.shape[1:]), padding_value, dtype=s.dtype)
        parts = [more, s] if padding_side == "left" else [s, more]
        rows.append(cat(parts).unsqueeze(0))
    padded = cat(rows)
    return padded if batch_first else padded.transpose(0, 1)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Array]:
    """Returns padded sequences [T, B, ...] as a list, each of its own length.

    batch_first: they are [B, T, ...]. Raises Error where lengths depend on an input in a trace.
    """
    x = as_array("unpad_sequence", padded_sequences)
    x = x if batch_first else x.transpose(0, 1)
    return [x[number, :length]
            for number, length in enumerate(_known("unpad_sequence", lengths).tolist())]


def pack_sequence(sequences: Sequence[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Returns sequences [T, ...] of different lengths packed; see pack_padded_sequence."""
    lengths = [as_array("pack_sequence", s).shape[0] for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Array]:
    """Returns packed sequences as a list, each of its own length."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

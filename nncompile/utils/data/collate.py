"""How a loader makes one batch of several samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nncompile.array import Array
from nncompile.array.creation import as_tensor, stack, tensor
from nncompile.array.dtypes import float64


def default_convert(data: Any) -> Any:
    """Returns a sample with its ndarrays as Arrays, in mappings and sequences, too."""
    if isinstance(data, np.ndarray | np.generic) and data.dtype.kind in "biuf":
        return as_tensor(np.asarray(data))
    if isinstance(data, Mapping):
        return _like(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, tuple):
        return [default_convert(part) for part in data]
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return _like(data, [default_convert(part) for part in data])
    return data


def default_collate(batch: Any) -> Any:
    """Returns samples as one batch: arrays stacked, numbers in one array, strings in a list.

    Mappings and sequences of these are taken apart: the batch is one mapping, or one list, of
    batches. Python floats become float64, and integers int64, as in torch.
    Raises RuntimeError for sequences of different lengths, and TypeError for other objects.
    """
    first = batch[0]
    if isinstance(first, Array | np.ndarray | np.generic):
        return _arrays(batch)
    if isinstance(first, float):
        return tensor(list(batch), dtype=float64)
    if isinstance(first, int):
        return tensor(list(batch))
    if isinstance(first, str | bytes):
        return batch
    if isinstance(first, Mapping):
        return _like(first, {key: default_collate([sample[key] for sample in batch])
                             for key in first})
    if isinstance(first, Sequence):
        return _sequences(batch)
    raise TypeError("default_collate: batch must contain tensors, numpy arrays, numbers, dicts or "
                    f"lists; found {type(first)}")


def _arrays(batch: Any) -> Array:
    first = batch[0]
    if isinstance(first, np.generic):
        return as_tensor(np.asarray(batch, first.dtype))
    if isinstance(first, np.ndarray) and first.dtype.kind not in "biuf":
        raise TypeError(f"default_collate: batch must contain arrays of numbers; found "
                        f"{first.dtype}")
    return stack([as_tensor(sample) for sample in batch])


def _sequences(batch: Any) -> Any:
    first = batch[0]
    if any(len(sample) != len(first) for sample in batch):
        raise RuntimeError("each element in list of batch should be of equal size")
    parts = [default_collate(samples) for samples in zip(*batch, strict=True)]
    if isinstance(first, tuple):
        return type(first)(*parts) if hasattr(first, "_fields") else parts
    return _like(first, parts)


def _like(kind: Any, made: Any) -> Any:
    """Returns a dict or list as the class of another, where that can be made of it."""
    if type(kind) in (dict, list):
        return made
    try:
        return type(kind)(made)
    except TypeError:
        return made

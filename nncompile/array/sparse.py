"""The gradient of a table of which a batch looks up a few rows: those rows alone.

It is an Array, so that everything that takes one computes with all rows, most of which are 0. What
knows it for what it is, the optimizers, reads `rows()` and is done in as many rows as were met.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from ir import NDArray, TensorType
from ir.types import name_of_dtype
from nncompile.array.array import Array
from nncompile.array.tape import Sparse

_DENSE = ("_storage", "_view_ops", "_version", "_seen")  # what an Array has that holds all rows


class SparseArray(Sparse, Array):
    """An array [V, ...] that is the sum of some rows, each at an index, and 0 elsewhere.

    Once it is changed in place, the rows are those that it had and all that are not 0.
    """

    is_sparse = True
    _in_memory = True

    def __init__(self, ids: NDArray, rows: NDArray, shape: Sequence[int]) -> None:
        """ids: [N], each in 0..V-1, in any order; rows: [N, ...]."""
        self._met, self._summands, self._whole = ids, rows, tuple(shape)

    def __getattr__(self, name: str) -> Any:
        if name not in _DENSE:
            return super().__getattr__(name)
        dense = np.zeros(self._whole, self._summands.dtype)
        np.add.at(dense, self._met, self._summands)
        self._payload = dense
        self._first = self._storage
        return vars(self)[name]

    @property
    def _type(self) -> TensorType:
        return TensorType(name_of_dtype(self._summands.dtype), self._whole)

    def rows(self) -> tuple[NDArray, NDArray]:
        """Returns the indices in order, each once, and the sum of the rows at each."""
        if "_storage" in vars(self) and (self._storage is not self._first
                                         or self._storage.version):
            dense: NDArray = self.numpy()
            other = np.flatnonzero((dense != 0).reshape(len(dense), -1).any(1))
            ids = np.union1d(self._met, other)
            return ids, dense[ids]
        ids, where = np.unique(self._met, return_inverse=True)
        if len(ids) == len(self._met):           # sorted alone
            return ids, self._summands[np.argsort(self._met, kind="stable")]
        sums = np.zeros((len(ids), *self._summands.shape[1:]), self._summands.dtype)
        np.add.at(sums, where, self._summands)       # one row after the other
        return ids, sums

    def plus(self, other: Any) -> SparseArray:
        """Returns the sum of two such arrays as one."""
        mine, others = self.rows(), other.rows()
        return SparseArray(np.concatenate([mine[0], others[0]]),
                           np.concatenate([mine[1], others[1]]), self._whole)

    # -- torch's names -----------------------------------------------------------------------------

    def coalesce(self) -> SparseArray:
        """Returns the same with each index once, in order."""
        return SparseArray(*self.rows(), self._whole)

    def indices(self) -> Array:
        """The indices as a matrix with one row: [1, N]."""
        return Array(self.rows()[0][None])

    def values(self) -> Array:
        """The rows at the indices: [N, ...]."""
        return Array(self.rows()[1])

    _indices, _values = indices, values

    def to_dense(self) -> Array:
        """Returns all rows."""
        return Array(self.numpy().copy())

    def detach(self) -> Self:
        """Returns the array itself: it is on no tape."""
        return self

    def clone(self, memory_format: Any = None) -> Any:
        """Returns a copy that is sparse, too."""
        return self.coalesce()

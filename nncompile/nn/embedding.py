"""Embedding tables, whose rows are looked up by index."""

from __future__ import annotations

from typing import Any, Self

from numpy.typing import DTypeLike

import nncompile.nn.functional as F
import nncompile.nn.init as init
from nncompile.array import Array
from nncompile.errors import InputError
from nncompile.nn.functional.sparse import check_padding
from nncompile.nn.module import Module
from nncompile.nn.parameter import Parameter, empty


class _Table(Module):
    """A table of rows, of which one may be padding: what Embedding and EmbeddingBag share."""

    weight: Parameter
    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None

    def _make(self, padding_idx: int | None, weight: Any, device: Any, dtype: DTypeLike | None
              ) -> None:
        shape = (self.num_embeddings, self.embedding_dim)
        if padding_idx is not None:
            check_padding(padding_idx, self.num_embeddings)
            padding_idx %= self.num_embeddings
        self.padding_idx = padding_idx
        if weight is None:
            self.weight = empty(shape, device, dtype)
            self.reset_parameters()
            return
        self.weight = Parameter(weight)
        if self.weight.shape != shape:
            raise InputError(f"the weight {self.weight.type} is not {list(shape)}")

    def reset_parameters(self) -> None:
        """Draws the table from the normal distribution of variance 1; the padding row is 0."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx].fill_(0)

    def _repr_of(self, **defaults: Any) -> str:
        """Returns the sizes, and the options that do not have these values."""
        values = {name: getattr(self, name) for name in defaults}
        options = [f"{k}={value!r}" for k, value in values.items() if value != defaults[k]]
        return ", ".join([str(self.num_embeddings), str(self.embedding_dim), *options])


class Embedding(_Table):
    """Looks up rows of a table: int32 or int64 indices [...] give [..., embedding_dim].

    weight [num_embeddings, embedding_dim] starts normal with variance 1, the row padding_idx as 0.
    max_norm: rows whose norm_type-norm is above it are scaled down to it; unlike torch's, the table
    itself stays. scale_grad_by_freq: the gradient of a row is divided by how often it is looked up.
    sparse: the gradient has the rows alone that are looked up, which some optimizers take.
    Raises Error for an index out of range.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 max_norm: float | None = None, norm_type: float = 2.0,
                 scale_grad_by_freq: bool = False, sparse: bool = False, _weight: Any = None,
                 _freeze: bool = False, device: Any = None, dtype: DTypeLike | None = None) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        self._make(padding_idx, _weight, device, dtype)
        self.weight.requires_grad = not _freeze

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None,
                        max_norm: float | None = None, norm_type: float = 2.0,
                        scale_grad_by_freq: bool = False, sparse: bool = False) -> Self:
        """Makes an embedding from a table [num_embeddings, embedding_dim].

        The options are the constructor's.
        freeze: whether the table requires no gradient.
        """
        rows, width = _table_shape(embeddings)
        return cls(rows, width, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
                   _weight=embeddings, _freeze=freeze)

    def forward(self, input: Array) -> Any:
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
                           self.scale_grad_by_freq, self.sparse)

    def extra_repr(self) -> str:
        return self._repr_of(padding_idx=None, max_norm=None, norm_type=2.0,
                             scale_grad_by_freq=False, sparse=False)


class EmbeddingBag(_Table):
    """Computes the sum, mean or maximum of the rows of each bag of indices: [B, embedding_dim].

    mode: "sum", "mean" or "max". weight [num_embeddings, embedding_dim] starts normal with variance
    1; indices equal to padding_idx are left out. max_norm as in Embedding.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None,
                 norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
                 sparse: bool = False, _weight: Any = None, include_last_offset: bool = False,
                 padding_idx: int | None = None, device: Any = None, dtype: DTypeLike | None = None
                 ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.mode, self.sparse = scale_grad_by_freq, mode, sparse
        self.include_last_offset = include_last_offset
        self._make(padding_idx, _weight, device, dtype)

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, max_norm: float | None = None,
                        norm_type: float = 2.0, scale_grad_by_freq: bool = False,
                        mode: str = "mean", sparse: bool = False, include_last_offset: bool = False,
                        padding_idx: int | None = None) -> Self:
        """Makes a bag from a table [num_embeddings, embedding_dim].

        The options are the constructor's.
        freeze: whether the table requires no gradient.
        """
        rows, width = _table_shape(embeddings)
        bag = cls(rows, width, max_norm, norm_type, scale_grad_by_freq, mode, sparse, embeddings,
                  include_last_offset, padding_idx)
        bag.weight.requires_grad = not freeze
        return bag

    def forward(self, input: Array, offsets: Array | None = None,
                per_sample_weights: Array | None = None) -> Any:
        """Returns a row for each bag of indices; 0 for an empty bag.

        input: [B, L], a bag in each row; or [N] with offsets [B], the indices where each bag
        begins, which with include_last_offset are followed by N. per_sample_weights: factors in
        input's shape, with mode "sum" alone.
        """
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq,
            self.mode, self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx)

    def extra_repr(self) -> str:
        return self._repr_of(max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode=None,
                             padding_idx=None)


def _table_shape(embeddings: Any) -> tuple[int, int]:
    table = Parameter(embeddings)
    if table.ndim != 2:
        raise InputError(f"a table of embeddings has two dimensions, not {table.type}")
    rows, width = table.shape
    return rows, width

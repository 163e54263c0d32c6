"""Embedding: a table of rows, looked up by number."""

from __future__ import annotations

from typing import Any, Self

from numpy.typing import DTypeLike

import nncompile.nn.functional as F
import nncompile.nn.init as init
from nncompile.array import Array
from nncompile.errors import InputError
from nncompile.nn.module import Module
from nncompile.nn.parameter import Parameter, empty


class Embedding(Module):
    """The rows of weight [num_embeddings, embedding_dim] that i32 or i64 ids name.

    weight starts normal with variance 1; the row padding_idx starts, and in training stays, 0.
    scale_grad_by_freq and sparse concern the gradient alone.
    Errors: InputError for max_norm, which would change the weight during a forward.
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Any = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__()
        if max_norm is not None:
            raise InputError("max_norm changes the weight during a forward: rescale it beforehand")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        if padding_idx is not None:
            F.check_padding(padding_idx, num_embeddings)
            padding_idx %= num_embeddings
        self.padding_idx = padding_idx
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if _weight is None:
            self.weight = empty((num_embeddings, embedding_dim), device, dtype)
            self.reset_parameters()
        else:
            self.weight = Parameter(_weight)
            if self.weight.shape != (num_embeddings, embedding_dim):
                raise InputError(f"the weight {self.weight.type} is not [{num_embeddings}, "
                                 f"{embedding_dim}]")
        self.weight.requires_grad = not _freeze

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None
    ) -> Self:
        """An embedding with this table, an array [num_embeddings, embedding_dim]."""
        weight = Parameter(embeddings)
        if weight.ndim != 2:
            raise InputError(f"a table of embeddings has two dimensions, not {weight.type}")
        rows, width = weight.shape
        return cls(rows, width, padding_idx=padding_idx, _weight=weight, _freeze=freeze)

    def reset_parameters(self) -> None:
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, ids: Array) -> Any:
        return F.embedding(ids, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        given = {"padding_idx": (self.padding_idx, None), "norm_type": (self.norm_type, 2.0),
                 "scale_grad_by_freq": (self.scale_grad_by_freq, False),
                 "sparse": (self.sparse, False)}
        options = [f"{k}={value}" for k, (value, default) in given.items() if value != default]
        return ", ".join([str(self.num_embeddings), str(self.embedding_dim), *options])

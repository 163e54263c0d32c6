"""Tables looked up by index, and indices as one-hot rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ir import DimExpr, Error, same
from nncompile.array import Array, apply, as_array
from nncompile.array.core import Core, in_graph
from nncompile.array.creation import cat
from nncompile.array.dispatch import current
from nncompile.array.gradients import grad_enabled
from nncompile.array.tape import Leaf, Output, Outputs, bare
from nncompile.errors import InputError
from nncompile.nn.calls import from_outside

_BOTH = ("embedding_backward: scale_grad_by_freq not supported with sparse gradients: leave one of "
         "the two out")


@from_outside
def embedding(input: Any, weight: Any, padding_idx: int | None = None,
              max_norm: float | None = None, norm_type: float = 2.0,
              scale_grad_by_freq: bool = False, sparse: bool = False) -> Array:
    """Looks up rows of weight [V, D]: int32 or int64 indices [...] give [..., D].

    max_norm: rows whose norm_type-norm is above it are scaled down to it; unlike torch's, the table
    itself stays. padding_idx: a row without a gradient. scale_grad_by_freq: the gradient of a row
    is divided by how often it is looked up. sparse: it has the rows alone that are looked up.
    Raises Error for an index outside 0..V-1, a negative one too, and InputError for such a
    padding_idx.
    """
    ids, table = as_array("embedding", input), as_array("embedding", weight)
    if padding_idx is not None and table.ndim:
        check_padding(padding_idx, table.size(0))
    if sparse and scale_grad_by_freq:
        raise InputError(_BOTH)
    padding = None
    if padding_idx is not None:
        padding = padding_idx + table.shape[0] if padding_idx < 0 else padding_idx
    scaled = _renormed(table, max_norm, norm_type)
    if sparse and current.get().differentiates:
        current.get().note_sparse(scaled._as_operand(), ids._as_operand(), padding)
    if sparse and isinstance(leaf := scaled._as_operand(), Leaf):
        rows = _sparsely(ids, leaf, padding)
    else:
        rows = apply("embedding", ids, scaled)
    if not (rows.requires_grad or current.get().records):
        return rows
    if scale_grad_by_freq:
        rows = _with_gradient_over(rows, _frequencies(ids, table))
    if padding is None:
        return rows
    return rows.detach().where(ids.eq(padding).unsqueeze(-1), rows)


def _frequencies(ids: Array, table: Array) -> Array:
    """Returns how often each of the indices is there: [..., 1]."""
    flat = ids.reshape(-1)
    return _counts(flat, table).index_select(0, flat).reshape(*ids.shape, 1)


def _with_gradient_over(rows: Array, counts: Array) -> Array:
    """Returns the rows, whose gradient is divided by these numbers; that of infinite ones is not.
    """
    fixed = rows.detach()
    divided = fixed.add(rows.sub(fixed).div(counts))     # exact: 0 is added
    return divided.where(fixed.abs().ne(math.inf), rows)


def _counts(ids: Array, table: Array) -> Array:
    """Returns how often each row of a table is looked up by a vector of indices: [V]."""
    ones = ids.mul(0).add(1)._cast(table.type.dtype)
    zeros = table.detach().select(1, 0).isnan()._cast(table.type.dtype).mul(0)
    return zeros.scatter_add(0, ids._cast("i64"), ones)


def _sparsely(ids: Array, leaf: Leaf, padding: int | None) -> Array:
    """Returns the rows of a table, whose gradient has the rows that were met and no others."""
    from nncompile.array.sparse import SparseArray  # which few tables need

    numbers = ids.numpy()
    found = apply("embedding", ids, Array(leaf.numbers))

    def back(gradients: Mapping[int, Any]) -> list[Any]:
        given, shape = gradients[0], leaf.numbers.shape
        if grad_enabled.get():                   # a gradient of which another one is taken
            zeros = Array(np.zeros(shape, leaf.numbers.dtype))
            wide = ids.reshape(-1, 1).expand(-1, shape[1])
            return [zeros.scatter_add(0, wide, Array(given).reshape(-1, shape[1]))._as_operand()]
        met, rows = numbers.reshape(-1), bare(given).reshape(-1, shape[1])
        kept = slice(None) if padding is None else met != padding
        return [SparseArray(met[kept].astype(np.int64), np.array(rows[kept]), shape)]

    step = Outputs("Embedding", (leaf,), back, np.zeros(()))  # type: ignore[arg-type]
    payload = Output(bare(found._payload), step, 0)
    made = Array(payload)
    payload.version = made._storage, 0
    return made


@from_outside
def embedding_bag(input: Any, weight: Any, offsets: Any = None, max_norm: float | None = None,
                  norm_type: float = 2, scale_grad_by_freq: bool = False, mode: str = "mean",
                  sparse: bool = False, per_sample_weights: Any = None,
                  include_last_offset: bool = False, padding_idx: int | None = None) -> Array:
    """Computes the sum, mean or maximum of rows of weight [V, D] for each bag of indices: [B, D].

    input: [B, L], a bag in each row; or [N] with offsets [B], the indices where each bag begins,
    which with include_last_offset are followed by N. Indices equal to padding_idx are left out; an
    empty bag gives 0. per_sample_weights: factors in input's shape, with mode "sum" alone.
    max_norm, scale_grad_by_freq and sparse: as in embedding.
    Raises InputError for another mode and for arguments that do not go together, and Error for an
    index outside of the table.
    """
    ids, table = as_array("embedding_bag", input), as_array("embedding_bag", weight)
    if sparse and scale_grad_by_freq:
        raise InputError(_BOTH)
    _check_bag(ids, table, offsets, mode, per_sample_weights, scale_grad_by_freq, sparse)
    if ids.ndim == 2:
        numbers = apply("iota", shape=(ids.size(0),), axis=0, dtype=ids.type.dtype)
        length = in_graph(ids.size(1))
        starts = numbers.mul(length._cast(ids.type.dtype) if isinstance(length, Core) else length)
        include_last_offset = False
    else:
        starts = as_array("offsets", offsets)._cast(ids.type.dtype)
    if padding_idx is not None:
        check_padding(padding_idx, table.size(0))
        padding_idx %= table.size(0)
    factors = [] if per_sample_weights is None else [as_array("weights", per_sample_weights)]
    flat, padding = ids.reshape(-1), -1 if padding_idx is None else padding_idx
    scaled = _renormed(table, max_norm, norm_type)
    if sparse and current.get().differentiates:
        current.get().note_sparse(scaled._as_operand(), flat._as_operand(), padding_idx)
    if sparse and isinstance(leaf := scaled._as_operand(), Leaf):
        flat, scaled, padding = _looked_up(flat, leaf, padding_idx)
    elif scale_grad_by_freq and (scaled.requires_grad or current.get().records):
        counts = _counts(flat, table).clamp(min=1).unsqueeze(1)
        scaled = _with_gradient_over(scaled, counts)
    return apply(
        "embedding_bag", flat, starts, scaled, *(f.reshape(-1) for f in factors), mode=mode,
        include_last=bool(include_last_offset), padding=padding)


def _looked_up(ids: Array, leaf: Leaf, padding: int | None) -> tuple[Array, Array, int]:
    """Returns numbers of rows, those rows of a table, and the number of one for padding.

    The gradient of the table has these rows alone.
    """
    rows = _sparsely(ids, leaf, padding)
    count = int(ids.shape[0])
    numbers = Array(np.arange(count, dtype=ids.dtype.dtype))
    if padding is None:
        return numbers, rows, -1
    none = Array(np.zeros((1, leaf.numbers.shape[1]), leaf.numbers.dtype))
    last = Array(np.full((), count, ids.dtype.dtype))
    return last.where(ids.eq(padding), numbers), cat([rows, none]), count


def _check_bag(ids: Array, table: Array, offsets: Any, mode: str, weights: Any, by_freq: bool,
               sparse: bool) -> None:
    if mode not in ("sum", "mean", "max"):
        raise InputError(f"embedding_bag's mode is 'sum', 'mean' or 'max', not {mode!r}")
    if table.ndim != 2:
        raise InputError(f"embedding_bag needs a table [V, D], not {table.type}")
    if ids.ndim not in (1, 2):
        raise InputError(f"embedding_bag takes ids [B, L] or [N], not {ids.type}")
    if (ids.ndim == 1) != (offsets is not None):
        raise InputError("embedding_bag takes offsets for a vector of ids, and none for a matrix")
    if offsets is not None and as_array("offsets", offsets).ndim != 1:
        raise InputError("embedding_bag's offsets are a vector")
    if mode == "max" and (by_freq or sparse):
        raise InputError("embedding_bag's mode 'max' has no scale_grad_by_freq and no sparse")
    if weights is None:
        return
    if not same(as_array("weights", weights).shape, ids.shape):
        raise InputError(f"embedding_bag of {ids.type} got the weights {weights.type}")
    if mode != "sum":
        raise InputError(f"embedding_bag takes per_sample_weights with mode 'sum', not {mode!r}")


def _renormed(table: Array, max_norm: float | None, norm_type: float) -> Array:
    """Returns the table with the rows above max_norm scaled down, as torch.embedding_renorm_ does.

    It scales the whole table, which is a constant, so that a compiled model does it when it loads.
    """
    if max_norm is None:
        return table
    norms = table.norm(float(norm_type), 1, keepdim=True)
    scale = apply("div", float(max_norm), norms.add(1e-7))
    return apply("where", apply("gt", norms, float(max_norm)), table.mul(scale), table)


@from_outside
def one_hot(tensor: Any, num_classes: int = -1) -> Array:
    """Returns rows with a 1 at each index and 0 elsewhere, int64: [...] -> [..., C].

    num_classes: C, by default the largest index + 1.
    Raises Error for an index outside 0..C-1, for indices that are not int64, and for num_classes
    left out where the indices depend on an input.
    """
    ids = as_array("one_hot", tensor)
    if ids.type.dtype != "i64":
        raise Error(f"one_hot takes ids of i64, not {ids.type}")
    if num_classes == -1:
        numbers = ids._numbers("one_hot without num_classes")
        if not numbers.size:
            raise Error("one_hot of no ids needs num_classes")
        num_classes = int(numbers.max()) + 1
    if num_classes < 1:
        raise InputError(f"one_hot needs one class or more, not {num_classes}")
    classes = apply("iota", shape=(num_classes,), axis=0, dtype="i64")
    checked = apply("take", classes, ids, axis=0)     # an id out of range raises
    return apply("eq", checked.unsqueeze(-1), classes)._cast("i64")


def check_padding(padding_idx: int, count: Any) -> None:
    """Raises InputError where padding_idx is no row of the table."""
    if not isinstance(count, DimExpr) and not -count <= padding_idx < count:
        raise InputError(f"padding_idx {padding_idx} is outside of {count} embeddings")

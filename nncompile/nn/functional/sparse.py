"""Tables of rows that ids look up, and ids as rows of zeros with a one."""

from __future__ import annotations

from typing import Any

from ir import Error
from ir.types import same
from nncompile.array import Array, apply, as_array
from nncompile.array.core import Core
from nncompile.array.selection import in_graph
from nncompile.errors import InputError
from nncompile.nn.calls import from_outside


@from_outside
def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Array:
    """The rows of weight [V, D] that the ids (i32 or i64, any shape) name: [..., D].

    padding_idx says which row is not trained; the values are the same.  max_norm: rows whose
    norm is above it are scaled down to it; unlike torch's, the table itself stays as it is.
    Errors: an id outside 0..V-1 (negative ones too); padding_idx that is no row.
    """
    ids, table = as_array("embedding", input), as_array("embedding", weight)
    if padding_idx is not None and table.ndim:
        check_padding(padding_idx, table.size(0))
    return apply("embedding", ids, _renormed(table, max_norm, norm_type))


@from_outside
def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Array:
    """The sum, mean or max of the rows of weight [V, D] in each bag of ids: [B, D].

    Bags are the rows of ids [B, L], or of ids [N] the parts that begin at each of the offsets [B];
    ids that are padding_idx are left out, and a bag of nothing is 0.
    Errors: InputError for another mode, offsets for a matrix or none for a vector, weights with
    another mode than "sum"; an id outside the table.
    """
    ids, table = as_array("embedding_bag", input), as_array("embedding_bag", weight)
    _check_bag(ids, table, offsets, mode, per_sample_weights, scale_grad_by_freq, sparse)
    if ids.ndim == 2:
        numbers = apply("iota", shape=(ids.size(0),), axis=0, dtype=ids.type.dtype)
        length = in_graph(ids.size(1))
        starts = numbers.mul(length.cast(ids.type.dtype) if isinstance(length, Core) else length)
        include_last_offset = False
    else:
        starts = as_array("offsets", offsets).cast(ids.type.dtype)
    if padding_idx is not None:
        check_padding(padding_idx, table.size(0))
        padding_idx %= table.size(0)
    factors = [] if per_sample_weights is None else [as_array("weights", per_sample_weights)]
    return apply(
        "embedding_bag", ids.reshape(-1), starts, _renormed(table, max_norm, norm_type),
        *(f.reshape(-1) for f in factors), mode=mode, include_last=bool(include_last_offset),
        padding=-1 if padding_idx is None else padding_idx)


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
    """The table with the rows that are too long scaled down, as torch.embedding_renorm_.

    The whole table, because that is known before the call: a compiled model does it when it loads.
    """
    if max_norm is None:
        return table
    norms = table.norm(float(norm_type), 1, keepdim=True)
    scale = apply("div", float(max_norm), norms.add(1e-7))
    return apply("where", apply("gt", norms, float(max_norm)), table.mul(scale), table)


@from_outside
def one_hot(tensor: Any, num_classes: int = -1) -> Array:
    """A row for each id, with a 1 at its place and 0 elsewhere, as i64: [...] -> [..., C].

    Errors: an id outside 0..C-1; ids that are not i64; num_classes left out while tracing.
    """
    ids = as_array("one_hot", tensor)
    if ids.type.dtype != "i64":
        raise Error(f"one_hot takes ids of i64, not {ids.type}")
    if num_classes == -1:
        numbers = ids.numbers("one_hot without num_classes")
        if not numbers.size:
            raise Error("one_hot of no ids needs num_classes")
        num_classes = int(numbers.max()) + 1
    if num_classes < 1:
        raise InputError(f"one_hot needs one class or more, not {num_classes}")
    classes = apply("iota", shape=(num_classes,), axis=0, dtype="i64")
    checked = apply("take", classes, ids, axis=0)     # the ids again; one outside is an error
    return apply("eq", checked.unsqueeze(-1), classes).cast("i64")


def check_padding(padding_idx: int, count: Any) -> None:
    if isinstance(count, int) and not -count <= padding_idx < count:
        raise InputError(f"padding_idx {padding_idx} is outside of {count} embeddings")

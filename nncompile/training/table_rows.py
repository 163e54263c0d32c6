"""The gradient of a table whose lookups are sparse, as rows: no array has the size of the table.

    %first: i64[N]      = first_equal(%ids)
    %sums: f32[N, D]    = scatter_add(%first, %rows) {axis = 0, size = N}
    %before: f32[N, D]  = embedding(%ids, &table)
    %after: f32[N, D]   = ...                       # the optimizer's update of these rows
    &table = put_rows(%ids, %after, &table)         # of equal ids the first one counts

A row that is met several times has its sum at the first of its places, and what is computed at the
others is not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ir import Node, Value, product
from ir.ops import OPS
from ir.records import dataclass
from nncompile.array import Array, apply
from nncompile.array.creation import cat
from nncompile.errors import Error
from nncompile.trace import SparseLookup, Traced


@dataclass(frozen=True)
class TableRows:
    """The rows of a table that a batch meets.

    ids: [N], as they are looked up. kept: the same, with -1 for those whose row has no gradient.
    sums: [N, D], at the first of equal ids the sum of their gradients.
    """

    ids: Array
    kept: Array
    sums: Array

    def of(self, table: Array) -> Array:
        """Returns the rows [N, D] of an array of the table's shape."""
        return apply("embedding", self.ids, table)

    def put(self, rows: Array, table: Array) -> Array:
        """Returns an array of the table's shape in which these rows are others."""
        return apply("put_rows", self.kept, rows, table)


def is_sparse(table: Value, traced: Traced) -> bool:
    """Returns whether nothing but lookups with sparse=True reads a parameter.

    Its gradient has the rows alone that are met, then.
    """
    lookups = sum(each.table is table for each in traced.sparse)
    return 0 < lookups == traced.graph.uses[table]


def rows_of(gradient: Value, nodes: Sequence[Node], lookups: Iterable[SparseLookup]
            ) -> TableRows | None:
    """Records the sums of the rows that the gradient of a table has.

    gradient: a sum of the scatter_adds that the lookups of a table have as their gradient. nodes:
    those that compute it. lookups: those of the table. Returns None where the loss depends on none
    of them, so that the gradient is 0.
    """
    makers = {node.result: node for node in nodes}
    paddings: dict[Value, int | None] = {}
    for each in lookups:                         # with two paddings, both rows get their zeros
        same = paddings.setdefault(each.ids, each.padding) == each.padding
        paddings[each.ids] = each.padding if same else None
    ids, kept, rows = [], [], []
    for scatter in _scatters(gradient, makers):
        column, updates = scatter.inputs
        assert isinstance(column, Value) and isinstance(updates, Value)
        flat = Array(column).reshape(product(column.type.shape))._cast("i64")
        padding = paddings[_source(column, paddings, makers)]
        ids.append(flat)
        kept.append(flat if padding is None else apply("where", flat.eq(padding), -1.0, flat))
        rows.append(Array(updates))
    if not ids:
        return None
    all_kept = _joined(kept)
    first = apply("first_equal", all_kept)
    sums = apply("scatter_add", first.unsqueeze(1), _joined(rows), axis=0, size=first.shape[0])
    return TableRows(_joined(ids), all_kept, sums)


def _joined(parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else cat(list(parts))


def _scatters(gradient: Value, makers: dict[Value, Node]) -> list[Node]:
    """The scatter_adds that a gradient is the sum of, the last lookup's first."""
    node = makers[gradient]
    match node.op:
        case "scatter_add":
            return [node]
        case "add":
            return [each for operand in node.inputs if isinstance(operand, Value)
                    for each in _scatters(operand, makers)]
        case "full":
            return []
    raise Error(f"the gradient of a table is no sum of rows: {node.op}")


def _source(ids: Value, known: Iterable[Value], makers: dict[Value, Node]) -> Value:
    """The ids of a lookup that these ids are a view of."""
    while ids not in known and ids in makers and "same_order" in OPS[makers[ids].op].traits:
        ids = makers[ids].inputs[0]                                      # type: ignore[assignment]
    return ids

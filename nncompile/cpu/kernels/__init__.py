"""The kernels that generated source calls.

    linear(then)                matmul(then, outer, group)    product.py, epilogue.py
    dot(then, outer)                                          dot.py
    elementwise(chain, outer)   iota()   number()             elementwise.py
    group(ops, outputs, kinds, outer)                         group.py
    row_group(ops, outputs, kinds, columns, length)           row_group.py, row_emitters.py
    transpose(outer)                                          transpose.py
    softmax(scaled)             softmax_columns(scaled, outer)  softmax.py
    layer_norm(weight, bias)    rms_norm(weight)              norms.py
    reduce(op)                  reduce_columns(op, outer)
    arg(op)                                                   reductions.py
    cumsum()                    cumsum_columns(outer)
    topk(largest)                                             scans.py
    take(index, outer)          take_along(index, outer)      gathers.py
    scatter_add(index, outer, rows)   first_equal(index)   put_rows(index)
    embedding_bag(mode, index, weighted)
    tree_walk()                                               trees.py
    uniform()                                                 random.py
    pack_linear(weight, bias, target)                         packing.py

Each function returns the kernel of these options, and takes a dtype, float32 by default. `outer` is
the number of a tensor's axes before those that the kernel works along, `then` a chain of
elementwise ops that is applied to the result.
"""
from nncompile.cpu.kernels.chain import LANE_OPS, Chain
from nncompile.cpu.kernels.dot import dot
from nncompile.cpu.kernels.elementwise import elementwise, iota, number
from nncompile.cpu.kernels.epilogue import GroupEnd
from nncompile.cpu.kernels.gathers import (
    embedding_bag,
    first_equal,
    put_rows,
    scatter_add,
    take,
    take_along,
)
from nncompile.cpu.kernels.group import group, group_dtypes
from nncompile.cpu.kernels.kernel import INT, Kernel, Part
from nncompile.cpu.kernels.norms import layer_norm, rms_norm
from nncompile.cpu.kernels.operands import typed
from nncompile.cpu.kernels.packing import pack_linear, packed_size, unpack_linear
from nncompile.cpu.kernels.product import linear, matmul
from nncompile.cpu.kernels.random import uniform
from nncompile.cpu.kernels.reductions import arg, reduce, reduce_columns
from nncompile.cpu.kernels.row_group import row_dtypes, row_group
from nncompile.cpu.kernels.scans import cumsum, cumsum_columns, topk
from nncompile.cpu.kernels.softmax import softmax, softmax_columns
from nncompile.cpu.kernels.transpose import transpose
from nncompile.cpu.kernels.trees import tree_walk

__all__ = ["INT", "LANE_OPS", "Chain", "GroupEnd", "Kernel", "Part", "arg", "cumsum",
           "cumsum_columns", "dot", "elementwise", "embedding_bag", "first_equal", "group",
           "group_dtypes", "iota", "layer_norm", "linear", "matmul", "number", "pack_linear",
           "packed_size", "put_rows", "reduce", "reduce_columns", "rms_norm", "row_dtypes",
           "row_group", "scatter_add", "softmax", "softmax_columns", "take", "take_along", "topk",
           "transpose", "tree_walk", "typed", "uniform", "unpack_linear"]

"""The kernels that generated source launches: texts, each made for its chain and dtypes.

    tiled, few(then, outer, dtype, target)          product.py
    elementwise(chain, rank, dtype, target)  iota  number  uniform   elementwise.py
    softmax(dtype, threads)                         softmax.py
    layer_norm, rms_norm                            norms.py
    reduce, arg(op, dtype, threads)                 reductions.py
    cumsum, topk                                    scans.py
    take, take_along, scatter_add, first_equal,
    put_rows, embedding_bag, tree_walk              gathers.py
    FUNCTIONS, the table of elementwise ops         chain.py

Each function returns the kernel of these options.
"""
from nncompile.cuda.kernels.chain import FUNCTIONS, Chain, arity
from nncompile.cuda.kernels.elementwise import elementwise, iota, number, uniform
from nncompile.cuda.kernels.gathers import (
    embedding_bag,
    first_equal,
    put_rows,
    scatter_add,
    take,
    take_along,
    tree_walk,
)
from nncompile.cuda.kernels.kernel import Kernel
from nncompile.cuda.kernels.norms import layer_norm, rms_norm
from nncompile.cuda.kernels.product import few, tiled
from nncompile.cuda.kernels.reductions import arg, reduce
from nncompile.cuda.kernels.scans import cumsum, topk
from nncompile.cuda.kernels.softmax import softmax

__all__ = ["FUNCTIONS", "Chain", "Kernel", "arg", "arity", "cumsum", "elementwise", "embedding_bag",
           "few", "first_equal", "iota", "layer_norm", "number", "put_rows", "reduce", "rms_norm",
           "scatter_add", "softmax", "take", "take_along", "tiled", "topk", "tree_walk", "uniform"]

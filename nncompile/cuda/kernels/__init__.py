"""The kernels that generated source launches: texts, each made for its chain and type.

    product(kind, then, outer, type, target)     product.py
    softmax, layer_norm, reduce                  rows.py
    elementwise(chain, rank, type)               elementwise.py
    embedding(index, rank, type)                 embedding.py
    FUNCTIONS, the table of elementwise ops      chain.py
"""
from nncompile.cuda.kernels.chain import FUNCTIONS, Chain, arity
from nncompile.cuda.kernels.elementwise import elementwise
from nncompile.cuda.kernels.embedding import embedding
from nncompile.cuda.kernels.kernel import Kernel
from nncompile.cuda.kernels.product import few, tiled
from nncompile.cuda.kernels.rows import layer_norm, reduce, softmax

__all__ = ["FUNCTIONS", "Chain", "Kernel", "arity", "elementwise", "embedding", "few", "layer_norm",
           "reduce", "softmax", "tiled"]

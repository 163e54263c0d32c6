"""The kernels that generated source calls.

    linear(then)                matmul(then, outer)           product.py
    softmax(scaled)             layer_norm(weight, bias)      rows.py
    reduce(op)
    elementwise(chain, outer)                                 elementwise.py
    embedding(index, outer)                                   embedding.py
    pack_linear(weight, bias, target)                         packing.py
"""
from nncompile.cpu.kernels.chain import LANE_OPS, Chain
from nncompile.cpu.kernels.elementwise import elementwise
from nncompile.cpu.kernels.embedding import embedding
from nncompile.cpu.kernels.kernel import Kernel
from nncompile.cpu.kernels.packing import pack_linear, packed_size
from nncompile.cpu.kernels.product import linear, matmul
from nncompile.cpu.kernels.rows import layer_norm, reduce, softmax

__all__ = ["LANE_OPS", "Chain", "Kernel", "elementwise", "embedding", "layer_norm", "linear",
           "matmul", "pack_linear", "packed_size", "reduce", "softmax"]

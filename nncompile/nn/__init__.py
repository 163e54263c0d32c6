"""torch.nn's dense side on NumPy arrays: the same names, arguments, weights and text."""

from nncompile.nn import functional, init
from nncompile.nn.activation import GELU, ReLU, Sigmoid, Softmax, Tanh
from nncompile.nn.containers import (
    ModuleDict,
    ModuleList,
    ParameterDict,
    ParameterList,
    Sequential,
)
from nncompile.nn.dropout import Dropout
from nncompile.nn.embedding import Embedding
from nncompile.nn.flatten import Flatten
from nncompile.nn.init import manual_seed
from nncompile.nn.linear import Identity, Linear
from nncompile.nn.module import Module
from nncompile.nn.normalization import LayerNorm
from nncompile.nn.parameter import Buffer, Parameter, UninitializedParameter

__all__ = [
    "GELU",
    "Buffer",
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "LayerNorm",
    "Linear",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "UninitializedParameter",
    "functional",
    "init",
    "manual_seed",
]

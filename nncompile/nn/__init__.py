"""Layers and containers with the names, arguments, weights and text of torch.nn's."""

from nncompile.array.generator import manual_seed
from nncompile.nn import functional, init, parameter
from nncompile.nn.activation import (
    CELU,
    ELU,
    GELU,
    GLU,
    SELU,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    RReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softmax2d,
    Softmin,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    Threshold,
)
from nncompile.nn.attention import MultiheadAttention
from nncompile.nn.containers import ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from nncompile.nn.distance import CosineSimilarity, PairwiseDistance
from nncompile.nn.dropout import (
    AlphaDropout,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    FeatureAlphaDropout,
)
from nncompile.nn.embedding import Embedding, EmbeddingBag
from nncompile.nn.flatten import Flatten, Unflatten
from nncompile.nn.linear import (
    Bilinear,
    Identity,
    LazyLinear,
    Linear,
    NonDynamicallyQuantizableLinear,
)
from nncompile.nn.module import Module
from nncompile.nn.normalization import (
    BatchNorm1d,
    CrossMapLRN2d,
    GroupNorm,
    InstanceNorm1d,
    LayerNorm,
    LazyBatchNorm1d,
    LazyInstanceNorm1d,
    LocalResponseNorm,
    RMSNorm,
)
from nncompile.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter
from nncompile.nn.transformer import (
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)

__all__ = [
    "CELU", "ELU", "GELU", "GLU", "SELU", "AlphaDropout", "BatchNorm1d", "Bilinear", "Buffer",
    "CosineSimilarity", "CrossMapLRN2d", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d",
    "Embedding", "EmbeddingBag", "FeatureAlphaDropout", "Flatten", "GroupNorm", "Hardshrink",
    "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "InstanceNorm1d", "LayerNorm",
    "LazyBatchNorm1d", "LazyInstanceNorm1d", "LazyLinear", "LeakyReLU", "Linear",
    "LocalResponseNorm", "LogSigmoid", "LogSoftmax", "Mish", "Module", "ModuleDict", "ModuleList",
    "MultiheadAttention", "NonDynamicallyQuantizableLinear", "PReLU", "PairwiseDistance",
    "Parameter", "ParameterDict", "ParameterList", "RMSNorm", "RReLU", "ReLU", "ReLU6",
    "Sequential", "SiLU", "Sigmoid", "Softmax", "Softmax2d", "Softmin", "Softplus", "Softshrink",
    "Softsign", "Tanh", "Tanhshrink", "Threshold", "Transformer", "TransformerDecoder",
    "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer", "Unflatten",
    "UninitializedBuffer", "UninitializedParameter", "functional", "init", "manual_seed",
    "parameter",
]

"""Layers and containers with the names, arguments, weights and text of torch.nn's."""

from nncompile.array.generator import manual_seed
from nncompile.nn import activation, functional, init, parameter
from nncompile.nn.activation import *  # noqa: F403
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
    "AlphaDropout", "BatchNorm1d", "Bilinear", "Buffer", "CosineSimilarity", "CrossMapLRN2d",
    "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "Embedding", "EmbeddingBag",
    "FeatureAlphaDropout", "Flatten", "GroupNorm", "Identity", "InstanceNorm1d", "LayerNorm",
    "LazyBatchNorm1d", "LazyInstanceNorm1d", "LazyLinear", "Linear", "LocalResponseNorm", "Module",
    "ModuleDict", "ModuleList", "MultiheadAttention", "NonDynamicallyQuantizableLinear",
    "PairwiseDistance", "Parameter", "ParameterDict", "ParameterList", "RMSNorm", "Sequential",
    "Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
    "TransformerEncoderLayer", "Unflatten", "UninitializedBuffer", "UninitializedParameter",
    "functional", "init", "manual_seed", "parameter", *activation.__all__,
]

"""Layers and containers with the names, arguments, weights and text of torch.nn's."""

from typing import TYPE_CHECKING

from nncompile.array.generator import manual_seed
from nncompile.nn import (
    activation,
    dropout,
    functional,
    init,
    linear,
    normalization,
    parameter,
    transformer,
)
from nncompile.nn.activation import *  # noqa: F403
from nncompile.nn.attention import MultiheadAttention
from nncompile.nn.containers import ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from nncompile.nn.distance import CosineSimilarity, PairwiseDistance
from nncompile.nn.dropout import *  # noqa: F403
from nncompile.nn.embedding import Embedding, EmbeddingBag
from nncompile.nn.flatten import Flatten, Unflatten
from nncompile.nn.linear import *  # noqa: F403
from nncompile.nn.module import Module
from nncompile.nn.normalization import *  # noqa: F403
from nncompile.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter
from nncompile.nn.transformer import *  # noqa: F403
from nncompile.placeholders import getter

if TYPE_CHECKING:
    from nncompile.nn.losses import *  # noqa: F403

# Names of the submodule losses, which is imported when one of them is asked for.
_LOSSES = """
    BCELoss BCEWithLogitsLoss CTCLoss CosineEmbeddingLoss CrossEntropyLoss GaussianNLLLoss
    HingeEmbeddingLoss HuberLoss KLDivLoss L1Loss LinearCrossEntropyLoss MSELoss MarginRankingLoss
    MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss NLLLoss2d PoissonNLLLoss
    SmoothL1Loss SoftMarginLoss TripletMarginLoss TripletMarginWithDistanceLoss
"""

__all__ = ["Buffer", "CosineSimilarity", "Embedding", "EmbeddingBag", "Flatten", "Module",
           "ModuleDict", "ModuleList", "MultiheadAttention", "PairwiseDistance", "Parameter",
           "ParameterDict", "ParameterList", "Sequential", "Unflatten", "UninitializedBuffer",
           "UninitializedParameter", "functional", "init", "manual_seed", "parameter",
           *activation.__all__, *dropout.__all__, *linear.__all__, *_LOSSES.split(),
           *normalization.__all__, *transformer.__all__]


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__, _LOSSES, "losses")

"""The layers as functions, with torch.nn.functional's names and arguments.

From outside of a forward they take ndarrays and return an ndarray. Inside a forward they take and
return Arrays, and an ndarray among the arguments is a constant.
"""

from typing import TYPE_CHECKING

from nncompile.array.creation import cat as _cat
from nncompile.array.creation import stack as _stack
from nncompile.nn.calls import from_outside
from nncompile.nn.functional import activation, attention, normalization
from nncompile.nn.functional.activation import *  # noqa: F403
from nncompile.nn.functional.attention import *  # noqa: F403
from nncompile.nn.functional.dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
)
from nncompile.nn.functional.linear import bilinear, identity, linear
from nncompile.nn.functional.normalization import *  # noqa: F403
from nncompile.nn.functional.shapes import pad
from nncompile.nn.functional.sparse import embedding, embedding_bag, one_hot
from nncompile.placeholders import getter

cat = from_outside(_cat)
stack = from_outside(_stack)

if TYPE_CHECKING:
    from nncompile.nn.functional.losses import *  # noqa: F403

# Names of the submodule losses, which is imported when one of them is asked for.
_LOSSES = """
    binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy
    ctc_loss gaussian_nll_loss hinge_embedding_loss huber_loss kl_div l1_loss linear_cross_entropy
    margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss
    multilabel_soft_margin_loss nll_loss poisson_nll_loss smooth_l1_loss soft_margin_loss
    triplet_margin_loss triplet_margin_with_distance_loss
"""

__all__ = ["alpha_dropout", "bilinear", "cat", "dropout", "dropout1d", "dropout2d", "dropout3d",
           "embedding", "embedding_bag", "feature_alpha_dropout", "identity", "linear", "one_hot",
           "pad", "stack", *activation.__all__, *attention.__all__, *_LOSSES.split(),
           *normalization.__all__]


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__, _LOSSES, "losses")

"""The layers as functions.  From outside of a forward: ndarrays in, an ndarray out.

Inside a forward they take and give Arrays.  An ndarray among the arguments is a constant.
"""

from nncompile.array.creation import cat as _cat
from nncompile.array.creation import stack as _stack
from nncompile.nn.calls import from_outside
from nncompile.nn.functional.activation import (
    celu,
    elu,
    gelu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    rrelu,
    selu,
    sigmoid,
    silu,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanh,
    tanhshrink,
    threshold,
)
from nncompile.nn.functional.attention import (
    multi_head_attention_forward,
    scaled_dot_product_attention,
)
from nncompile.nn.functional.dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
)
from nncompile.nn.functional.linear import bilinear, identity, linear
from nncompile.nn.functional.normalization import (
    batch_norm,
    cosine_similarity,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    normalize,
    pairwise_distance,
    rms_norm,
)
from nncompile.nn.functional.shapes import pad
from nncompile.nn.functional.sparse import embedding, embedding_bag, one_hot

cat = from_outside(_cat)
stack = from_outside(_stack)

__all__ = [
    "alpha_dropout", "batch_norm", "bilinear", "cat", "celu", "cosine_similarity", "dropout",
    "dropout1d", "dropout2d", "dropout3d", "elu", "embedding", "embedding_bag",
    "feature_alpha_dropout", "gelu", "glu", "group_norm", "hardshrink", "hardsigmoid", "hardswish",
    "hardtanh", "identity", "instance_norm", "layer_norm", "leaky_relu", "linear",
    "local_response_norm", "log_softmax", "logsigmoid", "mish", "multi_head_attention_forward",
    "normalize", "one_hot", "pad", "pairwise_distance", "prelu", "relu", "relu6", "rms_norm",
    "rrelu", "scaled_dot_product_attention", "selu", "sigmoid", "silu", "softmax", "softmin",
    "softplus", "softshrink", "softsign", "stack", "tanh", "tanhshrink", "threshold",
]

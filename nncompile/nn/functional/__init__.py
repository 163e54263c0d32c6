"""The layers as functions, with torch.nn.functional's names and arguments.

From outside of a forward they take ndarrays and return an ndarray. Inside a forward they take and
return Arrays, and an ndarray among the arguments is a constant.
"""

from nncompile.array.creation import cat as _cat
from nncompile.array.creation import stack as _stack
from nncompile.nn.calls import from_outside
from nncompile.nn.functional.activation import (
    celu,
    celu_,
    elu,
    elu_,
    gelu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    hardtanh_,
    leaky_relu,
    leaky_relu_,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    relu_,
    rrelu,
    rrelu_,
    selu,
    selu_,
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
    threshold_,
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
    pdist,
    rms_norm,
)
from nncompile.nn.functional.shapes import pad
from nncompile.nn.functional.sparse import embedding, embedding_bag, one_hot

cat = from_outside(_cat)
stack = from_outside(_stack)

__all__ = [
    "alpha_dropout", "batch_norm", "bilinear", "cat", "celu", "celu_", "cosine_similarity",
    "dropout", "dropout1d", "dropout2d", "dropout3d", "elu", "elu_", "embedding", "embedding_bag",
    "feature_alpha_dropout", "gelu", "glu", "group_norm", "hardshrink", "hardsigmoid", "hardswish",
    "hardtanh", "hardtanh_", "identity", "instance_norm", "layer_norm", "leaky_relu", "leaky_relu_",
    "linear", "local_response_norm", "log_softmax", "logsigmoid", "mish",
    "multi_head_attention_forward", "normalize", "one_hot", "pad", "pairwise_distance", "pdist",
    "prelu", "relu", "relu6", "relu_", "rms_norm", "rrelu", "rrelu_",
    "scaled_dot_product_attention", "selu", "selu_", "sigmoid", "silu", "softmax", "softmin",
    "softplus", "softshrink", "softsign", "stack", "tanh", "tanhshrink", "threshold", "threshold_",
]

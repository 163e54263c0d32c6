"""The layout of a linear layer's weights that the product kernel reads.

With W lanes a vector and panels of P columns (P = W x the target's panel vectors), weight[N, K] is
stored by columns of its transpose:

    [N // P] wide panels of [K][P], [rest / W] edge panels of [K][W], bias[N]

The last edge panel and the bias are padded with zeros to a whole vector.  A tile thus reads its
weights as one stream.  The block should start on a cache line (64 bytes).
"""
from __future__ import annotations

import numpy as np

from nncompile.cpu.kernels.kernel import Array
from nncompile.cpu.target import Target


def padded_columns(N: int, target: Target) -> int:
    """N rounded up to whole vectors."""
    return -(-N // target.width) * target.width


def packed_size(N: int, K: int, target: Target) -> int:
    """How many float32 pack_linear returns."""
    return (K + 1) * padded_columns(N, target)


def pack_linear(weight: Array, bias: Array | None, target: Target) -> Array:
    """weight[N, K] and bias[N] (None: zeros) -> 1-D float32 in the packed layout."""
    N, K = weight.shape
    padded, wide = padded_columns(N, target), N - N % target.panel_width
    columns = np.zeros((K, padded), np.float32)
    columns[:, :N] = weight.T
    last = np.zeros(padded, np.float32)
    if bias is not None:
        last[:N] = bias
    return np.concatenate([_panels(columns[:, :wide], target.panel_width),
                           _panels(columns[:, wide:], target.width), last])


def _panels(columns: Array, width: int) -> Array:
    K, N = columns.shape
    return columns.reshape(K, N // width, width).transpose(1, 0, 2).ravel()


def unpack_linear(packed: Array, N: int, K: int, target: Target) -> tuple[Array, Array]:
    """The packed layout -> the weight's transpose [K, N], and bias[N]."""
    padded, wide = padded_columns(N, target), N - N % target.panel_width
    columns = np.concatenate([
        _columns(packed[:K * wide], K, target.panel_width, wide),
        _columns(packed[K * wide:K * padded], K, target.width, padded - wide)], axis=1)
    return columns[:, :N], packed[K * padded:K * padded + N]


def _columns(panels: Array, K: int, width: int, N: int) -> Array:
    return panels.reshape(N // width, K, width).transpose(1, 0, 2).reshape(K, N)

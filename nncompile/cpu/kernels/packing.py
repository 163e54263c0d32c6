"""The layout of a linear layer's weights that the product kernel reads.

With W lanes in a vector (for float64 half as many) and panels of P columns (P = W x the target's
panel vectors), weight[N, K] is stored by columns of its transpose:

    [N // P] wide panels of [K][P], [rest / W] edge panels of [K][W], bias[N]

The last edge panel and the bias are padded with zeros to a whole vector. A tile thus reads its
weights as one stream. The block should start on a cache line (64 bytes).
"""
from __future__ import annotations

import numpy as np

from ir.types import DTYPES, NDArray
from nncompile.cpu.vector import Target, lanes

_LINE = 16                        # elements between the buffer's rows


def _padded_columns(N: int, target: Target, dtype: str = "f32") -> int:
    """Returns N rounded up to whole vectors."""
    W = lanes(target, dtype)
    return -(-N // W) * W


def packed_size(N: int, K: int, target: Target, dtype: str = "f32") -> int:
    """Returns the number of elements that pack_linear returns."""
    return (K + 1) * _padded_columns(N, target, dtype)


def pack_linear(weight: NDArray, bias: NDArray | None, target: Target,
                out: NDArray | None = None) -> NDArray:
    """Returns weight[N, K] and bias[N] as a 1-D array in the packed layout.

    bias: None stands for zeros. The dtype is float64 where the weight's is, otherwise float32.
    out: zeros of that size and dtype to write to, which are returned.
    """
    N, K = weight.shape
    dtype = "f64" if weight.dtype == np.float64 else "f32"
    W, P = lanes(target, dtype), target.panel * lanes(target, dtype)
    padded, wide, whole = _padded_columns(N, target, dtype), N - N % P, N - N % W
    if out is None:
        out = np.zeros(packed_size(N, K, target, dtype), DTYPES[dtype])
    edges = out[K * wide:K * whole]
    _transpose_panels(weight[:wide], out[:K * wide].reshape(wide // P, K, P))
    _transpose_panels(weight[wide:whole], edges.reshape((whole - wide) // W, K, W))
    if whole < N:
        out[K * whole:K * padded].reshape(K, W)[:, :N - whole] = weight[whole:].T
    if bias is not None:
        out[K * padded:][:N] = bias
    return out


def _transpose_panels(rows: NDArray, panels: NDArray) -> None:
    """Writes the transposes of rows to panels, by way of a buffer.

    Where K is a power of two, the elements of a column of `rows` fall on few lines of the cache and
    evict each other; the rows of the buffer are `_LINE` elements longer, so that they do not.
    """
    _, K, width = panels.shape
    buffer = np.empty((width, K + _LINE), rows.dtype)[:, :K]
    for i, panel in enumerate(panels):
        buffer[...] = rows[i * width:(i + 1) * width]
        panel[...] = buffer.T


def unpack_linear(packed: NDArray, N: int, K: int, target: Target,
                  dtype: str = "f32") -> tuple[NDArray, NDArray]:
    """Returns the weight's transpose [K, N] and bias[N] of a packed layout."""
    W, P = lanes(target, dtype), target.panel * lanes(target, dtype)
    padded, wide = _padded_columns(N, target, dtype), N - N % P
    columns = np.concatenate([_columns(packed[:K * wide], K, P, wide),
                              _columns(packed[K * wide:K * padded], K, W, padded - wide)], axis=1)
    return columns[:, :N], packed[K * padded:K * padded + N]


def _columns(panels: NDArray, K: int, width: int, N: int) -> NDArray:
    return panels.reshape(N // width, K, width).transpose(1, 0, 2).reshape(K, N)

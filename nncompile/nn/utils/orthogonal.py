"""Orthogonal weights as a parametrization; see parametrize.

Every step is an op of the IR, so that a graph computes the weight from what load_weights gives it.
Lezcano-Casado and Martinez-Rubio (2019), arXiv:1901.08428; Lezcano-Casado (2019), arXiv:1909.09501.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nncompile.array import Array
from nncompile.array.creation import cat, eye, zeros_like
from nncompile.array.linear_algebra import qr
from nncompile.array.random import randn
from nncompile.nn.module import Module

MAPS = ("matrix_exp", "cayley", "householder")

# The exponential: its argument is divided by 2^12, and the result squared 12 times, in float64.
_SQUARINGS, _TERMS = 12, 9
_INVERSIONS = 40                                 # steps of Newton's iteration for an inverse


class _Orthogonal(Module):
    """Computes a matrix with orthonormal columns, or rows where these are fewer."""

    base: Array

    def __init__(self, weight: Array, orthogonal_map: str, *, use_trivialization: bool = True
                 ) -> None:
        super().__init__()
        self.shape, self.orthogonal_map = weight.shape, orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Array) -> Any:
        transposed = X.shape[-2] < X.shape[-1]
        x = X.transpose(-2, -1) if transposed else X
        n, k = x.shape[-2:]
        if self.orthogonal_map == "householder":
            q = _reflected(x)
        else:
            lower = x.tril()
            if n != k:
                lower = cat([lower, x.new_zeros(*x.shape[:-1], n - k)], -1)
            skew = (lower - lower.transpose(-2, -1)).double()
            made = _exponential(skew) if self.orthogonal_map == "matrix_exp" else _cayley(skew)
            q = made.to(x.dtype)[..., :k]
        if "base" in self._buffers:
            q = self.base.matmul(q)
        return q.transpose(-2, -1) if transposed else q

    def right_inverse(self, Q: Array) -> Any:
        """Returns what the weight is computed from; the weight becomes base where there is one.

        Of a matrix that is not orthogonal, the nearest that its QR decomposition gives is taken.
        Raises NotImplementedError for a map without base that has no inverse here, as in torch.
        """
        if tuple(Q.shape) != tuple(self.shape):
            raise ValueError(f"expected a matrix or a batch of the shape {tuple(self.shape)}, not "
                             f"{tuple(Q.shape)}")
        q = Q.transpose(-2, -1) if Q.shape[-2] < Q.shape[-1] else Q
        if "base" not in self._buffers:
            if self.orthogonal_map != "householder":
                raise NotImplementedError("without trivialization, the maps cayley and matrix_exp "
                                          "take no weight")
            made = _reflectors(q)
            return made.transpose(-2, -1) if q is not Q else made
        if not _is_orthogonal(q):
            q = _orthonormal(q)
        if q.shape[-2] != q.shape[-1]:
            more = randn(*q.shape[:-1], q.shape[-2] - q.shape[-1], dtype=q.dtype)
            q = _orthonormal(cat([q, more], -1))
        self.base = q.clone()
        identity = eye(Q.shape[-2], Q.shape[-1], dtype=Q.dtype)
        return zeros_like(Q) - identity


def _reflected(x: Any) -> Any:
    """Returns the first columns of a product of reflections by the columns of x below its diagonal.

    The signs are those of the diagonal, which holds 1 and -1.
    """
    n, k = x.shape[-2:]
    identity = eye(n, k, dtype=x.dtype)
    vectors = x.tril(-1) + identity
    scales = 2 / vectors.square().sum(-2)
    q = identity.expand(x.shape)
    for column in reversed(range(k)):
        v = vectors[..., column:column + 1]
        q = q - scales[..., column:column + 1, None] * v * (v * q).sum(-2, keepdim=True)
    return q * x.diagonal(0, -2, -1).int().unsqueeze(-2)


def _exponential(a: Any) -> Any:
    """Returns exp(a), by Taylor's series of a part of a that is squared again."""
    identity = eye(a.shape[-1], dtype=a.dtype)
    part = a * 2.0**-_SQUARINGS
    result = identity + part / _TERMS
    for term in reversed(range(1, _TERMS)):
        result = identity + part.matmul(result) / term
    for _ in range(_SQUARINGS):
        result = result.matmul(result)
    return result


def _cayley(a: Any) -> Any:
    """Returns (1 - a / 2)^-1 (1 + a / 2), the inverse by Newton's iteration.

    It converges for every skew a: the singular values of 1 - a / 2 are 1 and above.
    """
    identity = eye(a.shape[-1], dtype=a.dtype)
    matrix = identity - a / 2
    size = matrix.abs().sum(-1, keepdim=True).amax(-2, keepdim=True)
    inverse = matrix.transpose(-2, -1) / size.square()
    for _ in range(_INVERSIONS):
        inverse = inverse.matmul(2 * identity - matrix.matmul(inverse))
    return inverse.matmul(identity + a / 2)


# -- of known numbers ------------------------------------------------------------------------------

def _is_orthogonal(q: Array) -> bool:
    values = q.numpy().astype(np.float64)
    limit = 10 * q.shape[-2] * float(np.finfo(q.dtype).eps)
    return bool(np.allclose(values.swapaxes(-2, -1) @ values, np.eye(q.shape[-1]), atol=limit))


def _orthonormal(a: Array) -> Any:
    """Returns the Q of a = Q R whose R has a positive diagonal."""
    q, r = qr(a.detach())
    return q * r.diagonal(0, -2, -1).sign().unsqueeze(-2)


def _reflectors(q: Array) -> Any:
    """Returns x of which _reflected is q, or the orthonormal matrix that QR makes of q.

    It has the vectors of Householder's reflections below its diagonal.
    """
    rest = np.array(q.numpy(), np.float64)
    k = rest.shape[-1]
    made = np.zeros_like(rest)
    for column in range(k):
        x = rest[..., column:, column]
        sign = np.where(x[..., :1] >= 0, -1.0, 1.0)
        length = sign * np.linalg.norm(x, axis=-1, keepdims=True)
        v = x.copy()
        v[..., :1] -= length
        v /= np.where(v[..., :1] == 0, 1, v[..., :1])
        v[..., :1] = 1
        scale = 2 / (v**2).sum(-1)[..., None, None]
        below = rest[..., column:, :]
        below -= scale * v[..., None] * (v[..., None, :] @ below)
        made[..., column:, column] = v
        made[..., column, column] = np.sign(length[..., 0])
    return Array(made.astype(q.dtype))

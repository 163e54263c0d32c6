"""torch.linalg: norms of any array, and the solvers and factorizations of known numbers.

No model's graph has an op for the latter. Models need them where they are made: for splines,
orthogonal weights, state spaces. In a trace they are computed where the numbers are known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ir import Error
from nncompile.array.array import Array, as_array


class LeastSquares(NamedTuple):
    """The result of lstsq."""

    solution: Array
    residuals: Array
    rank: Array
    singular_values: Array


class QR(NamedTuple):
    """The result of qr."""

    Q: Array
    R: Array


class SVD(NamedTuple):
    """The result of svd."""

    U: Array
    S: Array
    Vh: Array


class Eigh(NamedTuple):
    """The result of eigh."""

    eigenvalues: Array
    eigenvectors: Array


class SignLogDet(NamedTuple):
    """The result of slogdet."""

    sign: Array
    logabsdet: Array


def vector_norm(x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, *,
                dtype: Any = None) -> Array:
    """Returns the norm of the vectors along the dims, or of all elements; see Array.norm."""
    x = as_array("vector_norm", x)
    norm: Array = (x if dtype is None else x.to(dtype)).norm(ord, dim, keepdim)
    return norm


def norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
         ) -> Array:
    """Returns the norm of the vectors along a dim, or of all elements.

    Raises Error for a norm of matrices, but for "fro".
    """
    A = as_array("norm", A)
    vectors = ord is None or isinstance(dim, int) or (dim is None and A.ndim == 1) or ord == "fro"
    if not vectors:
        raise Error(f"linalg.norm of matrices with ord={ord!r} is not supported: norms of vectors "
                    "and the Frobenius norm are")
    return vector_norm(A, 2 if ord in (None, "fro") else ord, dim, keepdim, dtype=dtype)


def lstsq(A: Any, B: Any, rcond: float | None = None, *, driver: str | None = None) -> LeastSquares:
    """Returns the X of least norm for which A X is nearest to B, for each matrix of a batch.

    A is [..., m, n] and B [..., m, k] or, where A is one matrix, [m]. The residuals and the rank
    are empty. Raises Error in a trace where the numbers depend on an input.
    """
    a, b = _numbers("lstsq", A), _numbers("lstsq", B)
    vector = a.ndim == 2 and b.ndim == 1
    limit = np.finfo(a.dtype).eps * max(a.shape[-2:]) if rcond is None else rcond
    solution = np.linalg.pinv(a, rcond=limit) @ (b[:, None] if vector else b)
    nothing = Array(np.empty(0, a.dtype))
    return LeastSquares(Array((solution[:, 0] if vector else solution).astype(a.dtype)), nothing,
                        Array(np.empty(0, np.int64)), nothing)


def qr(A: Any, mode: str = "reduced") -> QR:
    """Returns Q, whose columns are orthonormal, and the upper R of which A = Q R.

    mode: "reduced" or "complete". Raises Error as lstsq does, and for another mode.
    """
    if mode not in ("reduced", "complete"):
        raise Error(f"linalg.qr has the modes 'reduced' and 'complete', not {mode!r}")
    q, r = np.linalg.qr(_numbers("qr", A), mode)      # type: ignore[call-overload]
    return QR(Array(q), Array(r))


def svd(A: Any, full_matrices: bool = True, *, driver: str | None = None) -> SVD:
    """Returns U, the singular values S in descending order, and Vh. Raises Error as lstsq does."""
    return SVD(*map(Array, np.linalg.svd(_numbers("svd", A), full_matrices=full_matrices)))


def eigh(A: Any, UPLO: str = "L") -> Eigh:
    """Returns the eigenvalues of symmetric matrices in ascending order, and the eigenvectors.

    Raises Error as lstsq does.
    """
    values, vectors = np.linalg.eigh(_numbers("eigh", A), UPLO)  # type: ignore[call-overload]
    return Eigh(Array(values), Array(vectors))


def slogdet(A: Any) -> SignLogDet:
    """Returns the signs of determinants and the logarithms of their absolute values.

    Raises Error as lstsq does.
    """
    sign, logabsdet = np.linalg.slogdet(_numbers("slogdet", A))
    return SignLogDet(Array(np.asarray(sign)), Array(np.asarray(logabsdet)))


def _of_numbers(name: str, function: Callable[..., Any], summary: str) -> Callable[..., Array]:
    def computed(A: Any, *others: Any) -> Array:
        operands = [_numbers(name, A), *(_numbers(name, other) for other in others)]
        return Array(np.asarray(function(*operands)))

    computed.__name__ = computed.__qualname__ = name
    computed.__doc__ = f"{summary} Raises Error as lstsq does."
    return computed


inv = _of_numbers("inv", np.linalg.inv, "Returns the inverses of square matrices.")
pinv = _of_numbers("pinv", np.linalg.pinv, "Returns the pseudoinverses of matrices.")
det = _of_numbers("det", np.linalg.det, "Returns the determinants of square matrices.")
cholesky = _of_numbers("cholesky", np.linalg.cholesky,
                       "Returns the lower factors of positive-definite matrices.")
solve = _of_numbers("solve", lambda a, b: np.linalg.solve(a, b[..., None])[..., 0]
                    if b.ndim == a.ndim - 1 else np.linalg.solve(a, b),
                    "Returns the X of which A X = B, for square matrices A.")


def _numbers(name: str, x: Any) -> Any:
    numbers = as_array(name, x)._numbers(f"linalg.{name}, which no graph has an op for,")
    if numbers.dtype.kind != "f":
        raise Error(f"linalg.{name} takes floats, not {numbers.dtype}")
    return numbers

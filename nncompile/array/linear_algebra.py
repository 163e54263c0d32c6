"""torch.linalg: norms of any array, and the solvers and factorizations of known numbers.

No model's graph has an op for the latter. Models need them where they are made: for splines,
orthogonal weights, state spaces. In a trace they are computed where the numbers are known.

Their gradients are written here, with these functions and those of arrays, so that they have
gradients, too. Sources: Giles, Collected matrix derivative results for forward and reverse mode
algorithmic differentiation; of pinv, Golub and Pereyra, The differentiation of pseudo-inverses; of
qr, Liao et al., Differentiable programming tensor networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ir import Error
from ir.float_mode import StandardFloats
from nncompile.array.array import Array, apply, as_array
from nncompile.array.dispatch import current
from nncompile.array.gradients import grad_enabled
from nncompile.array.tape import Output, Outputs, Tracked, bare, check_version
from nncompile.errors import GradientError


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
    a, b = _floats("lstsq", A), _floats("lstsq", B)
    vector = a.ndim == 2 and b.ndim == 1
    limit = np.finfo(a.dtype.dtype).eps * max(a.shape[-2:]) if rcond is None else rcond
    solution = _pinv(a, limit) @ (b.unsqueeze(-1) if vector else b)
    nothing = Array(np.empty(0, a.dtype.dtype))
    return LeastSquares(solution.squeeze(-1) if vector else solution, nothing,
                        Array(np.empty(0, np.int64)), nothing)


def qr(A: Any, mode: str = "reduced") -> QR:
    """Returns Q, whose columns are orthonormal, and the upper R of which A = Q R.

    mode: "reduced" or "complete". Raises Error as lstsq does, and for another mode; no gradient
    comes back where "complete" adds columns to Q.
    """
    if mode not in ("reduced", "complete"):
        raise Error(f"linalg.qr has the modes 'reduced' and 'complete', not {mode!r}")

    def back(a: Array, results: Sequence[Array], gradients: Sequence[Any]) -> list[Any]:
        (q, r), (dq, dr) = results, gradients
        m, n = q.shape[-1], a.shape[-1]
        if m > n:
            raise GradientError("the derivative of qr is not there where mode='complete' adds "
                                f"columns to Q, which is {q.type} of {a.type}: take 'reduced'")
        if m == n:
            return [_of_qr(q, r, dq, dr)]
        of_rest = q @ dr[..., m:]                # of the columns of a wide matrix behind a square
        square = _of_qr(q, r[..., :m], dq + a[..., m:] @ dr[..., m:].mT, dr[..., :m])
        return [apply("concat", square, of_rest, axis=a.ndim - 1)]

    return QR(*_computed("qr", lambda a: np.linalg.qr(a, mode),  # type: ignore[call-overload]
                         back, A))


def _of_qr(q: Array, r: Array, dq: Any, dr: Any) -> Array:
    """Returns the gradient of the matrix of which Q and a square R are the factors."""
    m = r @ dr.mT - dq.mT @ q
    return _solved(r, (dq + q @ (m.tril() + m.tril(-1).mT)).mT).mT


def svd(A: Any, full_matrices: bool = True, *, driver: str | None = None) -> SVD:
    """Returns U, the singular values S in descending order, and Vh. Raises Error as lstsq does.

    What full_matrices adds to U and Vh counts as constant in a gradient, as in torch.
    """
    def back(a: Array, results: Sequence[Array], gradients: Sequence[Any]) -> list[Any]:
        (u, s, vh), (du, ds, dvh) = results, gradients
        if full_matrices and u.shape[-1] != vh.shape[-2]:
            k = s.shape[-1]
            u, du, vh, dvh = u[..., :k], du[..., :k], vh[..., :k, :], dvh[..., :k, :]
        v, dv = vh.mT, dvh.mT
        apart = _differences(s * s)
        of_u, of_v = u.mT @ du, v.mT @ dv
        row, column = s.unsqueeze(-2), s.unsqueeze(-1)
        inner = ((of_u - of_u.mT) / apart * row + column * ((of_v - of_v.mT) / apart)
                 + ds.diag_embed())
        given = u @ inner @ vh
        if a.shape[-2] > s.shape[-1]:
            given = given + ((du - u @ of_u) / row) @ vh
        if a.shape[-1] > s.shape[-1]:
            given = given + (u / row) @ (dv - v @ of_v).mT
        return [given]

    return SVD(*_computed("svd", lambda a: np.linalg.svd(a, full_matrices=full_matrices), back, A))


def eigh(A: Any, UPLO: str = "L") -> Eigh:
    """Returns the eigenvalues of symmetric matrices in ascending order, and the eigenvectors.

    Raises Error as lstsq does.
    """
    def back(a: Array, results: Sequence[Array], gradients: Sequence[Any]) -> list[Any]:
        (values, vectors), (dvalues, dvectors) = results, gradients
        inner = vectors.mT @ dvectors / _differences(values) + dvalues.diag_embed()
        return [vectors @ inner @ vectors.mT]

    return Eigh(*_computed("eigh", lambda a: np.linalg.eigh(a, UPLO),  # type: ignore[call-overload]
                           back, A))


def slogdet(A: Any) -> SignLogDet:
    """Returns the signs of determinants and the logarithms of their absolute values.

    Raises Error as lstsq does.
    """
    def back(a: Array, results: Sequence[Array], gradients: Sequence[Any]) -> list[Any]:
        return [gradients[1][..., None, None] * inv(a).mT]

    return SignLogDet(*_computed("slogdet", np.linalg.slogdet, back, A))


def inv(A: Any) -> Array:
    """Returns the inverses of square matrices. Raises Error as lstsq does."""
    def back(a: Array, results: Sequence[Array], gradients: Sequence[Any]) -> list[Any]:
        return [-(results[0].mT @ gradients[0] @ results[0].mT)]

    return _computed("inv", np.linalg.inv, back, A)[0]


def det(A: Any) -> Array:
    """Returns the determinants of square matrices. Raises Error as lstsq does."""
    def back(a: Array, results: Sequence[Array], gradients: Sequence[Any]) -> list[Any]:
        g = gradients[0][..., None, None]
        if grad_enabled.get():
            return [g * results[0][..., None, None] * inv(a).mT]
        return [g * Array(_cofactors(a.numpy()))]        # of singular matrices, too

    return _computed("det", np.linalg.det, back, A)[0]


def cholesky(A: Any, *, upper: bool = False) -> Array:
    """Returns the lower factors of positive-definite matrices, or the upper ones.

    Raises Error as lstsq does.
    """
    def back(a: Array, results: Sequence[Array], gradients: Sequence[Any]) -> list[Any]:
        lower = results[0]
        inner = (lower.mT @ gradients[0]).tril()
        inner = inner - 0.5 * inner.diagonal(0, -2, -1).diag_embed()
        whole = _solved(lower.mT, _solved(lower.mT, inner.mT).mT)
        return [0.5 * (whole + whole.mT)]

    lower = _computed("cholesky", np.linalg.cholesky, back, A)[0]
    return lower.mT if upper else lower


def solve(A: Any, B: Any, *, left: bool = True) -> Array:
    """Returns the X of which A X = B, for square matrices A; with left=False, X A = B.

    B is [..., n, k], or [..., n] where it has one dimension less than A. Raises Error as lstsq
    does.
    """
    a, b = _floats("solve", A), _floats("solve", B)
    if b.ndim == a.ndim - 1:
        return _solved(a, b.unsqueeze(-1)).squeeze(-1)
    return _solved(a, b) if left else _solved(a.mT, b.mT).mT


def pinv(A: Any, rcond: float = 1e-15, hermitian: bool = False, *, rtol: float | None = None
         ) -> Array:
    """Returns the pseudoinverses of matrices, whose small singular values count as 0.

    rcond or rtol: up to which part of the largest one. Raises Error as lstsq does.
    """
    return _pinv(_floats("pinv", A), rcond if rtol is None else rtol, hermitian)


def _pinv(A: Array, rcond: float, hermitian: bool = False) -> Array:
    def back(a: Array, results: Sequence[Array], gradients: Sequence[Any]) -> list[Any]:
        p, g = results[0], gradients[0]
        beside = g.mT @ p @ p.mT
        before = p.mT @ p @ g.mT
        return [beside - a @ (p @ beside) + before - (before @ p) @ a - p.mT @ g @ p.mT]

    return _computed("pinv", lambda a: np.linalg.pinv(a, rcond, hermitian), back, A)[0]


def _solved(A: Any, B: Any) -> Array:
    def back(a: Array, b: Array, results: Sequence[Array], gradients: Sequence[Any]) -> list[Any]:
        of_b = _solved(a.mT, gradients[0])
        return [_summed(-(of_b @ results[0].mT), a.shape), _summed(of_b, b.shape)]

    return _computed("solve", np.linalg.solve, back, A, B)[0]


def _summed(x: Array, shape: Sequence[int]) -> Array:
    """Returns the sums over the axes along which an operand of this shape was broadcast."""
    more = x.ndim - len(shape)
    axes = [*range(more), *(more + i for i, size in enumerate(shape)
                            if size == 1 != x.shape[more + i])]
    return (x.sum(axes, keepdim=True) if axes else x).reshape(*shape)


def _differences(values: Array) -> Array:
    """Returns value j less value i for each i and j, and infinity where they are one."""
    apart = values.unsqueeze(-2) - values.unsqueeze(-1)
    one = Array(np.eye(values.shape[-1], dtype=bool))
    return apply("where", one, float("inf"), apart)


def _cofactors(a: Any) -> Any:
    """Returns the derivatives of determinants by their elements."""
    u, s, vh = np.linalg.svd(a)
    others = np.stack([np.prod(np.delete(s, i, -1), axis=-1) for i in range(s.shape[-1])], -1) \
        if s.shape[-1] else s
    sign = np.linalg.det(u) * np.linalg.det(vh)
    return ((u * others[..., None, :]) @ vh * sign[..., None, None]).astype(a.dtype)


# -- numbers in, and what comes back ---------------------------------------------------------------

def _computed(name: str, function: Callable[..., Any], back: Callable[..., Sequence[Any]],
              *operands: Any) -> list[Array]:
    """Returns the results of a function of NumPy's, of which a gradient can come back.

    back(*operands, results, gradients): returns the gradient of each operand; the gradient of a
    result that nothing depends on is 0.
    """
    given = [_floats(name, operand) for operand in operands]
    numbers = [_numbers(name, x) for x in given]
    with StandardFloats():
        found = function(*numbers)
    found = [np.asarray(f) for f in (found if isinstance(found, tuple) else [found])]
    payloads = [x._as_operand() for x in given]
    is_tracked = any(isinstance(p, Tracked) for p in payloads) and grad_enabled.get()
    if not is_tracked or current.get().records:
        return [Array(f) for f in found]
    versions = [(x._storage, x._storage.version) for x in given]

    def gradients_of(gradients: Any) -> list[Any]:
        for version, payload in zip(versions, payloads, strict=True):
            check_version(version, call.name_in_torch(), Array(payload)._type)
        again = [Array(p) for p in payloads]
        # Results that can be differentiated depend on the operands once more, and not in a circle.
        results = (_computed(name, function, back, *again) if grad_enabled.get() else
                   [Array(f) for f in found])
        each = [Array(gradients[i]) if i in gradients else Array(np.zeros_like(f))
                for i, f in enumerate(found)]
        return [x._as_operand() for x in back(*again, results, each)]

    call = Outputs(f"Linalg{name.capitalize()}", payloads, gradients_of, np.zeros(()))
    results = []
    for number, numbers_found in enumerate(found):
        results.append(Array(output := Output(numbers_found, call, number)))
        output.version = results[-1]._storage, 0
    return results


def _floats(name: str, x: Any) -> Array:
    """Returns an operand. Raises Error unless it is of floats."""
    x = as_array(name, x)
    if x.dtype.kind != "f":
        raise Error(f"linalg.{name} takes floats, not {x.dtype}")
    return x


def _numbers(name: str, x: Array) -> Any:
    """Returns the numbers. Raises Error in a trace where they depend on an input."""
    return bare(x._numbers(f"linalg.{name}, which no graph has an op for,"))

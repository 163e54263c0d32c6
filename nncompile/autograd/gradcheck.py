"""torch.autograd.gradcheck: gradients beside differences of the function's values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nncompile.array import Array
from nncompile.array.backward import grad
from nncompile.array.gradients import enable_grad, no_grad
from nncompile.errors import GradientError
from nncompile.placeholders import getter

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """Gradients that differ from the differences of values."""


def gradcheck(func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5,
              rtol: float = 1e-3, raise_exception: bool = True, nondet_tol: float = 0.0,
              check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
              check_batched_grad: bool = False, check_batched_forward_grad: bool = False,
              check_forward_ad: bool = False, check_backward_ad: bool = True,
              fast_mode: bool = False, masked: Any = None) -> bool:
    """Returns True where the gradients of func by those inputs that require one are right.

    They are compared, for each element of the inputs and the outputs, with central differences of
    width 2 eps; use float64. Forward derivatives are not here, and fast_mode is exact, too.
    Raises GradcheckError where they differ, or returns False with raise_exception=False; and
    GradientError where no input requires a gradient.
    """
    given = [inputs] if isinstance(inputs, Array) else list(inputs)
    checked = [x for x in given if isinstance(x, Array) and x.requires_grad]
    if not checked:
        raise GradientError("gradcheck expects at least one input tensor to require gradient, but "
                            "none of them have requires_grad=True.")
    try:
        _check(func, given, checked, eps, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *,
                  eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
                  gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True,
                  nondet_tol: float = 0.0, check_undefined_grad: bool = True,
                  check_grad_dtypes: bool = False, check_batched_grad: bool = False,
                  check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True,
                  fast_mode: bool = False, masked: bool = False) -> bool:
    """Returns True where the gradients of the gradients of func are right; see gradcheck.

    grad_outputs: the gradients of the outputs; by default random ones, of which one is required.
    """
    given = [inputs] if isinstance(inputs, Array) else list(inputs)
    if grad_outputs is None:
        draw = np.random.default_rng(0)
        weights = [Array(draw.standard_normal(tuple(y.shape)).astype(y.dtype.dtype))
                   .requires_grad_() for y in _outputs(func, given)]
    else:
        weights = [grad_outputs] if isinstance(grad_outputs, Array) else list(grad_outputs)

    def slopes(*arguments: Any) -> tuple[Any, ...]:
        own, of_outputs = arguments[:len(given)], arguments[len(given):]
        by = [x for x, before in zip(own, given, strict=True)
              if isinstance(before, Array) and before.requires_grad]
        with enable_grad():
            return grad(_outputs(func, own), by, list(of_outputs), create_graph=True,
                        materialize_grads=True, allow_unused=True)

    return gradcheck(slopes, [*given, *weights], eps=eps, atol=atol, rtol=rtol,
                     raise_exception=raise_exception)


def _outputs(func: Callable[..., Any], given: Sequence[Any]) -> list[Any]:
    """The results that are floats."""
    found = func(*given)
    return [y for y in ([found] if isinstance(found, Array) else found)
            if isinstance(y, Array) and y.is_floating_point()]


def _check(func: Callable[..., Any], given: Sequence[Any], checked: Sequence[Array], eps: float,
           atol: float, rtol: float) -> None:
    with enable_grad():
        outputs = _outputs(func, given)
    found = [[_exact(y, x) for y in outputs] for x in checked]   # before an input is changed
    for number, x in enumerate(checked):
        measured = _measured(func, given, x, eps)
        for i, exact in enumerate(found[number]):
            if not np.allclose(exact, measured[i], rtol, atol):
                raise GradcheckError(
                    f"Jacobian mismatch for output {i} with respect to input {number},\n"
                    f"numerical:{measured[i]}\nanalytical:{exact}")


def _exact(y: Array, x: Array) -> np.ndarray[Any, Any]:
    """The derivative of all elements of y, as columns, by those of x."""
    columns = np.zeros((int(x.numel()), int(y.numel())))
    if not y.requires_grad:
        return columns
    for j in range(columns.shape[1]):
        one = np.zeros(columns.shape[1], y.dtype.dtype)
        one[j] = 1
        found, = grad([y], [x], [Array(one.reshape(tuple(y.shape)))], retain_graph=True,
                      allow_unused=True)
        if found is not None:
            columns[:, j] = found.numpy().ravel()
    return columns


def _measured(func: Callable[..., Any], given: Sequence[Any], x: Array, eps: float
              ) -> list[np.ndarray[Any, Any]]:
    """The same of all outputs by central differences. The input is what it was afterwards."""
    before = x.detach().numpy().copy()
    rows: list[list[Any]] = []
    for i in range(before.size):
        sides = []
        for change in (eps, -eps):
            moved = before.copy()
            moved.ravel()[i] += change
            with no_grad():
                x.data.copy_(Array(moved))
                sides.append([y.detach().numpy().astype(np.float64).ravel().copy()
                              for y in _outputs(func, given)])
        rows.append([(a - b) / (2 * eps) for a, b in zip(*sides, strict=True)])
    with no_grad():
        x.data.copy_(Array(before))
    count = len(rows[0]) if rows else len(_outputs(func, given))
    return [np.stack([row[k] for row in rows]) if rows else np.zeros((0, 0)) for k in range(count)]


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

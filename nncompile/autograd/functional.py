"""torch.autograd.functional: derivatives of a function as arrays, and products with them.

func takes arrays and returns one or several; inputs is an array or a tuple of arrays. All go by
way of `autograd.grad`, a row of a derivative at a time; `vectorize` and strategies change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nncompile.array import Array
from nncompile.array.backward import grad
from nncompile.array.gradients import enable_grad
from nncompile.errors import GradientError
from nncompile.functions import stack
from nncompile.placeholders import getter

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

_Function = Callable[..., Any]


def jacobian(func: _Function, inputs: Any, create_graph: bool = False, strict: bool = False,
             vectorize: bool = False, strategy: str = "reverse-mode") -> Any:
    """Returns the derivative of each output by each input, [*output's shape, *input's shape].

    It is one array, a tuple for each input, or a tuple of such for each output, as torch has it.
    strict: raises GradientError where an output does not depend on an input, instead of zeros.
    """
    with enable_grad():
        given, single = _given(inputs, create_graph)
        outputs, one_output = _listed("jacobian", func(*given))
        rows = [[_derivative(y, x, create_graph, strict) for x in given] for y in outputs]
    found = [row[0] if single else tuple(row) for row in rows]
    return found[0] if one_output else tuple(found)


def hessian(func: _Function, inputs: Any, create_graph: bool = False, strict: bool = False,
            vectorize: bool = False, outer_jacobian_strategy: str = "reverse-mode") -> Any:
    """Returns the second derivatives of a function of one result by each pair of inputs."""
    single = isinstance(inputs, Array)

    def slope(*given: Any) -> Any:
        y = _scalar("hessian", func(*given))
        found = _grad([y], given, [None], True, strict)
        return found[0] if single else tuple(found)

    return jacobian(slope, inputs, create_graph, strict)


def vjp(func: _Function, inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:
    """Returns what func returns, and the product of a vector with its derivative.

    v: of the shape of each output; it can be left out where there is one, of one element.
    """
    with enable_grad():
        given, single = _given(inputs, create_graph)
        result = func(*given)
        outputs, _ = _listed("vjp", result)
        found = _grad(outputs, given, _vectors("vjp", v, outputs), create_graph, strict)
    return _finished(result, create_graph), _packed(found, single, create_graph)


def jvp(func: _Function, inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:
    """Returns what func returns, and the product of its derivative with a vector of the inputs.

    It is the derivative by w of the product of w with the derivative of func: two steps back.
    """
    with enable_grad():
        given, _ = _given(inputs, create_graph)
        result = func(*given)
        outputs, single = _listed("jvp", result)
        weights = [Array(np.zeros_like(y.detach().numpy())).requires_grad_() for y in outputs]
        back = _grad(outputs, given, weights, True, strict)
        found = _grad(back, weights, _vectors("jvp", v, given), create_graph, strict)
    return _finished(result, create_graph), _packed(found, single, create_graph)


def vhp(func: _Function, inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:
    """Returns what func returns, one number, and the product of a vector with its Hessian."""
    with enable_grad():
        given, single = _given(inputs, create_graph)
        y = _scalar("vhp", func(*given))
        slopes = _grad([y], given, [None], True, strict)
        found = _grad(slopes, given, _vectors("vhp", v, given), create_graph, strict)
    return _finished(y, create_graph), _packed(found, single, create_graph)


hvp = vhp                                        # a Hessian is symmetric


def _given(inputs: Any, create_graph: bool) -> tuple[list[Array], bool]:
    """The inputs as arrays whose gradient is kept; with create_graph it goes on to the inputs'."""
    listed, single = _listed("inputs", inputs)
    return [x.clone() if create_graph and x.requires_grad else x.detach().clone().requires_grad_()
            for x in listed], single


def _listed(what: str, given: Any) -> tuple[list[Any], bool]:
    listed = list(given) if isinstance(given, tuple | list) else [given]
    if not all(isinstance(each, Array) for each in listed):
        kinds = ", ".join(type(each).__name__ for each in listed)
        raise TypeError(f"{what} are to be Tensors, or a tuple of some, not {kinds}")
    return listed, isinstance(given, Array)


def _scalar(name: str, y: Any) -> Array:
    if not isinstance(y, Array) or y.numel() != 1:
        raise GradientError(f"{name} is of a function that returns a Tensor with one element")
    return y


def _vectors(name: str, v: Any, of: Sequence[Array]) -> list[Any]:
    if v is None and len(of) == 1 and of[0].numel() == 1:
        return [Array(np.ones_like(of[0].detach().numpy()))]
    if v is None:
        raise GradientError(f"{name} needs v, the vector, where there is more than one element")
    listed, _ = _listed("v", v)
    if [(*x.shape,) for x in listed] != [(*x.shape,) for x in of]:
        raise GradientError(f"v of {name} has the shapes {[(*x.shape,) for x in listed]}, and "
                            f"needs {[(*x.shape,) for x in of]}")
    return listed


def _grad(outputs: Sequence[Array], inputs: Sequence[Array], vectors: Sequence[Any],
          create_graph: bool, strict: bool) -> list[Any]:
    """The gradients, which are zeros where an output does not depend on an input."""
    pairs = [(y, v) for y, v in zip(outputs, vectors, strict=True) if y.requires_grad]
    found: Sequence[Any] = [None] * len(inputs)
    if pairs:
        found = grad([y for y, _ in pairs], inputs, [v for _, v in pairs], retain_graph=True,
                     create_graph=create_graph, allow_unused=True)
    if strict and (len(pairs) < len(outputs) or any(each is None for each in found)):
        raise GradientError("an output of the function does not depend on an input, which "
                            "strict=True does not allow")
    return [Array(np.zeros_like(x.detach().numpy())) if each is None else each
            for x, each in zip(inputs, found, strict=True)]


def _derivative(y: Array, x: Array, create_graph: bool, strict: bool) -> Array:
    """The derivative of all elements of y by all of x."""
    elements = y.reshape(-1)
    rows = [_grad([elements[i]], [x], [None], create_graph, strict)[0]
            for i in range(elements.shape[0])]
    if not rows:
        return Array(np.zeros((*y.shape, *x.shape), x.dtype.dtype))
    found: Array = stack(rows).reshape(*y.shape, *x.shape)
    return found


def _finished(result: Any, create_graph: bool) -> Any:
    if create_graph:
        return result
    return result.detach() if isinstance(result, Array) else tuple(y.detach() for y in result)


def _packed(found: Sequence[Array], single: bool, create_graph: bool) -> Any:
    return _finished(found[0] if single else tuple(found), create_graph)


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

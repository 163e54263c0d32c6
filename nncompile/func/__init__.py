"""torch.func: functions that compute derivatives of functions, and calls with other parameters.

func takes arrays and whatever else; an argument that is differentiated is an array, or arrays
nested in dicts, lists and tuples, as the parameters of a model are. All go backward on the tape,
and each can be applied to what another one returns: grad(grad(f)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from ir import same
from nncompile.array import Array
from nncompile.array.backward import grad as gradients_of
from nncompile.array.gradients import enable_grad, grad_enabled
from nncompile.array.tape import Leaf, Tracked
from nncompile.errors import GradientError, InputError
from nncompile.functions import stack
from nncompile.nn import Module
from nncompile.placeholders import getter
from nncompile.structure import flatten

__all__ = ["functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "vjp"]

_Function = Callable[..., Any]
_Which = int | tuple[int, ...]


# -- calls with other parameters -------------------------------------------------------------------

def functional_call(module: Module, parameter_and_buffer_dicts: Any, args: Any = None,
                    kwargs: Mapping[str, Any] | None = None, *, tie_weights: bool = True,
                    strict: bool = False) -> Any:
    """Returns module(*args, **kwargs) with these arrays in place of its parameters and buffers.

    parameter_and_buffer_dicts: arrays by their paths, in a dict or in several. args: a tuple, or
    the one argument. tie_weights: a parameter that the module has twice is replaced twice.
    strict: all have to be given. The module is what it was afterwards.
    Raises InputError for a path that the module has not, that is in two dicts, or whose parameter
    gets two arrays, and with strict for one that is left out.
    """
    given: dict[str, Any] = {}
    for each in ([parameter_and_buffer_dicts] if isinstance(parameter_and_buffer_dicts, Mapping)
                 else parameter_and_buffer_dicts):
        if twice := given.keys() & each.keys():
            raise InputError(f"{min(twice)!r} is in several of the dicts")
        given |= each
    arguments = () if args is None else args if isinstance(args, tuple) else (args,)
    with _replaced(module, given, tie_weights, strict):
        return module(*arguments, **(kwargs or {}))


@contextmanager
def _replaced(module: Module, given: Mapping[str, Any], tied: bool, strict: bool) -> Iterator[None]:
    """Gives a module other parameters and buffers until the end of a block."""
    places: dict[str, tuple[dict[str, Any], str]] = {
        f"{prefix}{name}": (kind, name) for prefix, part in module._with_prefixes()
        for kind in (part._parameters, part._buffers) for name in kind}
    if unknown := [path for path in given if path not in places]:
        raise InputError(f"the module has no parameter or buffer {unknown[0]!r}")
    held = {path: kind[name] for path, (kind, name) in places.items()}
    new = dict(given)
    if tied:
        for path, array in given.items():
            alike = [p for p, other in held.items() if other is held[path] and other is not None]
            if others := [p for p in alike if p in given and given[p] is not array]:
                raise InputError(f"{path!r} and {others[0]!r} are one parameter, and are to be "
                                 "replaced by two arrays: give one of them, or tie_weights=False")
            new |= dict.fromkeys(alike, array)
    if strict and (missing := [path for path in places if path not in new]):
        raise InputError(f"strict=True needs all parameters and buffers: {missing[0]!r} is missing")
    try:
        for path, array in new.items():
            kind, name = places[path]
            kind[name] = array if array is None or isinstance(array, Array) else Array(array)
        yield
    finally:
        for path in new:
            kind, name = places[path]
            kind[name] = held[path]


# -- derivatives -----------------------------------------------------------------------------------

def grad(func: _Function, argnums: _Which = 0, has_aux: bool = False) -> _Function:
    """Returns a function of the same arguments: the gradient of func, which returns one number.

    argnums: which arguments it is taken by; for several, the result is a tuple.
    has_aux: func returns (number, anything), and the result is (gradient, anything).
    """
    both = grad_and_value(func, argnums, has_aux)

    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return wrapper


def grad_and_value(func: _Function, argnums: _Which = 0, has_aux: bool = False) -> _Function:
    """Returns a function of the same arguments: (gradient, what func returns); see grad."""
    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        chosen = _Chosen(args, argnums)
        with enable_grad():
            result = func(*chosen.args, **kwargs)
            value = result[0] if has_aux else result
            if not isinstance(value, Array) or value.ndim or not value.is_floating_point():
                got = value.type if isinstance(value, Array) else type(value).__name__
                raise GradientError(f"grad needs a function that returns a scalar of floats, not "
                                    f"{got}")
            found = chosen.nested(chosen.gradients([value], [None]))
        return chosen.finished(found), chosen.finished(result)

    return wrapper


def vjp(func: _Function, *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Returns (func(*primals), f): f(v) is the product of v with the derivative, for each primal.

    has_aux: func returns (output, anything), and the result has that behind f.
    """
    chosen = _Chosen(primals, tuple(range(len(primals))))
    with enable_grad():
        result = func(*chosen.args)
    output = result[0] if has_aux else result
    outputs, _ = flatten(output, _is_array)

    def back(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        given, _ = flatten(cotangents, _is_array)
        if len(given) != len(outputs):
            raise GradientError(f"the function returns {len(outputs)} arrays, and {len(given)} were"
                                " given to go back from")
        with enable_grad():
            found = chosen.nested(chosen.gradients(outputs, given))
        return chosen.finished(found)

    aux = (chosen.finished(result[1]),) if has_aux else ()
    return (chosen.finished(output), back, *aux)


def jvp(func: _Function, primals: tuple[Any, ...], tangents: tuple[Any, ...], *,
        strict: bool = False, has_aux: bool = False) -> tuple[Any, ...]:
    """Returns (func(*primals), the product of its derivative with the tangents).

    It is the derivative by w of the product of w with the derivative of func: two steps back.
    has_aux: func returns (output, anything), and the result has that as its third part.
    """
    chosen = _Chosen(primals, tuple(range(len(primals))))
    with enable_grad():
        result = func(*chosen.args)
        outputs, nesting = flatten(result[0] if has_aux else result, _is_array)
        weights = [_zeros(y).requires_grad_() for y in outputs]
        back = chosen.gradients(outputs, weights)
        given, _ = flatten(tangents, _is_array)
        if len(given) != len(back):
            raise GradientError(f"{len(back)} arrays and {len(given)} tangents")
        if wrong := [(x, t) for x, t in zip(chosen.arrays, given, strict=True)
                     if not same(x.shape, t.shape)]:
            raise GradientError(f"a tangent of {wrong[0][0].type} is {wrong[0][1].type}: it has to "
                                "have its shape")
        total: Any = sum(b.mul(t).sum() for b, t in zip(back, given, strict=True))
        found = [_zeros(y) for y in outputs]
        if total.requires_grad:
            found = [w.detach() if f is None else f for w, f in zip(weights, gradients_of(
                [total], weights, create_graph=True, allow_unused=True), strict=True)]
    aux = (chosen.finished(result[1]),) if has_aux else ()
    output = chosen.finished(result[0] if has_aux else result)
    return (output, chosen.finished(nesting.unflatten(found)), *aux)


def jacrev(func: _Function, argnums: _Which = 0, has_aux: bool = False, *,
           chunk_size: int | None = None, _preallocate_and_copy: bool = False) -> _Function:
    """Returns a function of the same arguments: the derivative, [*output's shape, *input's shape].

    For several arguments or outputs it is nested as they are. A row is computed at a time.
    """
    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        chosen = _Chosen(args, argnums)
        with enable_grad():
            result = func(*chosen.args, **kwargs)
            outputs, nesting = flatten(result[0] if has_aux else result, _is_array)
            found = nesting.unflatten([chosen.nested(_rows(y, chosen)) for y in outputs])
        found = chosen.finished(found)
        return (found, chosen.finished(result[1])) if has_aux else found

    return wrapper


def jacfwd(func: _Function, argnums: _Which = 0, has_aux: bool = False, *,
           randomness: str = "error") -> _Function:
    """Returns what jacrev does: here it is computed backward, too."""
    return jacrev(func, argnums, has_aux)


def hessian(func: _Function, argnums: _Which = 0) -> _Function:
    """Returns a function of the same arguments: the second derivatives of func."""
    return jacrev(jacrev(func, argnums), argnums)


def _rows(y: Array, chosen: _Chosen) -> list[Array]:
    """The derivative of all elements of y by each of the chosen arrays."""
    elements = y.reshape(-1)
    rows = [chosen.gradients([elements[i]], [None]) for i in range(int(elements.shape[0]))]
    if not rows:
        return [Array(np.zeros((*y.shape, *x.shape), x.dtype.dtype)) for x in chosen.arrays]
    return [stack(list(column)).reshape(*y.shape, *x.shape)
            for column, x in zip(zip(*rows, strict=True), chosen.arrays, strict=True)]


def _zeros(x: Array) -> Array:
    return Array(np.zeros(x.shape, x.dtype.dtype))


def _is_array(value: Any) -> bool:
    return isinstance(value, Array)


class _Chosen:
    """The arguments of a call, of which some are differentiated by: args, with those arrays anew.

    The new arrays stay on the tape that the caller's arrays are on, for derivatives of derivatives.
    """

    def __init__(self, args: Sequence[Any], argnums: _Which) -> None:
        numbers = [argnums] if isinstance(argnums, int) else [*argnums]
        if not numbers or not all(-len(args) <= n < len(args) for n in numbers):
            raise InputError(f"argnums={argnums} of a call with {len(args)} arguments by position")
        if len({n % len(args) for n in numbers}) < len(numbers):
            raise InputError(f"argnums={argnums} has an argument twice")
        self._outer = grad_enabled.get()
        picked = [args[n] for n in numbers]
        given, nesting = flatten(
            picked[0] if isinstance(argnums, int) else tuple(picked), _is_array)
        self.nested = nesting.unflatten          # one value for each of the arrays -> the nesting
        if not all(x.is_floating_point() for x in given):
            raise GradientError("an argument that is differentiated by has arrays of floats only")
        with enable_grad():
            self.arrays = [x.clone() if x.requires_grad and self._outer else
                           x.detach().requires_grad_() for x in given]
        self._own = {id(x) for x in self.arrays}
        new = self.nested(self.arrays)
        self.args = [*args]
        for position, n in enumerate(numbers):
            self.args[n] = new if isinstance(argnums, int) else new[position]

    def gradients(self, outputs: Sequence[Array], given: Sequence[Any]) -> list[Any]:
        """Returns the gradients by the arrays; zeros where nothing depends on one."""
        pairs = [(y, v) for y, v in zip(outputs, given, strict=True) if y.requires_grad]
        found: Sequence[Any] = [None] * len(self.arrays)
        if pairs:
            found = gradients_of([y for y, _ in pairs], self.arrays, [v for _, v in pairs],
                                 create_graph=True, allow_unused=True)
        return [_zeros(x) if g is None else g
                for x, g in zip(self.arrays, found, strict=True)]

    def finished(self, result: Any) -> Any:
        """Returns a result off the tape, where only the new arrays put it there."""
        leaves, nesting = flatten(result, _is_array)
        return nesting.unflatten([y if self._outer and self._has_other_leaves(y) else y.detach()
                                  for y in leaves])

    def _has_other_leaves(self, y: Array) -> bool:
        """Whether an array depends on a leaf of the caller's."""
        rest, seen = [y._as_operand()], set()
        while rest:
            step = rest.pop()
            if not isinstance(step, Tracked) or step in seen:
                continue
            seen.add(step)
            if isinstance(step, Leaf) and id(step.array) not in self._own:
                return True
            rest += step.operands
        return False


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

"""Functions with a forward and a backward of their own: torch.autograd.Function.

The forward runs without gradients, in a trace too; the backward runs when a gradient comes back to
what the forward returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ir import Error
from ir.types import same
from nncompile.array import Array
from nncompile.array.dispatch import current
from nncompile.array.gradients import grad_enabled, no_grad
from nncompile.array.tape import Output, Outputs, bare, check_version
from nncompile.errors import GradientError
from nncompile.nn.calls import call
from nncompile.placeholders import getter


class FunctionCtx:
    """What a forward keeps for its backward.

    needs_input_grad: for each argument, whether it is an array whose gradient is kept.
    """

    needs_input_grad: tuple[bool, ...] = ()
    materialize_grads = True
    _saved: tuple[Any, ...] = ()
    _versions: tuple[Any, ...] = ()
    _plain: tuple[Any, ...] = ()
    _dirty: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keeps arrays as `saved_tensors`."""
        self._saved = tensors
        self._versions = tuple((t._storage, t._storage.version) if isinstance(t, Array) else None
                               for t in tensors)

    save_for_forward = save_for_backward

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The arrays that were kept. Raises Error where one was changed in place since."""
        for array, version in zip(self._saved, self._versions, strict=True):
            if version is not None:
                check_version(version, f"{type(self).__name__}Backward", array.type)
        return self._saved

    def mark_dirty(self, *args: Any) -> None:
        """Says which arguments the forward changes in place and returns."""
        self._dirty = args

    def mark_non_differentiable(self, *args: Any) -> None:
        """Says which outputs have no gradient."""
        self._plain = args

    def set_materialize_grads(self, value: bool) -> None:
        """Says whether the backward gets zeros, or None, for an output without a gradient."""
        self.materialize_grads = bool(value)


class Function(FunctionCtx):
    """A function with a forward and a backward of its own; called by `apply`.

    A subclass defines the static methods forward(ctx, *args), or forward(*args) and
    setup_context(ctx, inputs, output); and backward(ctx, *gradients of the outputs), which returns
    the gradient of each argument, None for one that has none.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes any arguments, as torch's does."""

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        raise Error(f"{type(self).__name__} is a torch.autograd.Function: call "
                    f"{type(self).__name__}.apply(...), without making an object of it")

    forward: Callable[..., Any]
    setup_context: Callable[..., Any] | None = None

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Returns the gradient of each argument; a subclass defines it."""
        raise NotImplementedError("You must implement either the backward or vjp method for your "
                                  "custom autograd.Function to use it with backward mode AD.")

    vjp: Callable[..., Any] = backward

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Returns the result of the forward, whose gradient is what the backward returns."""
        return call(cls._applied, args, kwargs)

    @classmethod
    def _applied(cls, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(cls, "forward"):
            raise Error(f"{cls.__name__} has no static method `forward`")
        ctx = cls()
        ctx.needs_input_grad = tuple(isinstance(a, Array) and a.requires_grad for a in args)
        payloads = [a._as_operand() if isinstance(a, Array) else None for a in args]
        if current.get().differentiates and grad_enabled.get() and current.get().trains(
                p for p in payloads if p is not None):
            raise Error(f"{cls.__name__} has a backward of its own, which a compiled step cannot "
                        "call: train it with loss.backward(), or write its forward in ops whose "
                        "gradients are known")
        tracks = grad_enabled.get() and not current.get().records and any(ctx.needs_input_grad)
        with no_grad():
            if cls.setup_context is None:
                output = cls.forward(ctx, *args, **kwargs)
            else:
                output = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, output)
        return _tracked(ctx, output, payloads, args) if tracks else output


def _tracked(ctx: Function, output: Any, payloads: Sequence[Any], args: Sequence[Any]) -> Any:
    """Returns the outputs of a forward as arrays whose gradient goes to the backward."""
    several = isinstance(output, tuple | list)
    outputs = list(output) if several else [output]
    name = type(ctx).__name__
    operands = [p for p, needs in zip(payloads, ctx.needs_input_grad, strict=True) if needs]
    back = partial(_back, ctx, tuple(outputs), args)
    step = Outputs(name, operands, back, np.zeros(()))
    for number, array in enumerate(outputs):
        plain = any(array is p for p in ctx._plain)
        if isinstance(array, Array) and not plain and array.is_floating_point():
            numbers = bare(array._as_operand())
            payload = Output(numbers, step, number)
            if any(array is d for d in ctx._dirty):
                array._storage.change(payload, array._view_ops)
                payload.version = array._storage, array._storage.version
            else:
                outputs[number] = made = Array(payload)
                payload.version = made._storage, 0
    return type(output)(outputs) if several else outputs[0]


def _back(ctx: Function, outputs: Sequence[Any], args: Sequence[Any],
          gradients: Mapping[int, Any]) -> list[Any]:
    """Returns the gradients that a backward gives for the arguments that need one."""
    given = [Array(gradients[i]) if i in gradients else
             Array(np.zeros_like(bare(o._payload)))
             if ctx.materialize_grads and isinstance(o, Array) else None
             for i, o in enumerate(outputs)]
    name = type(ctx).__name__
    own = type(ctx).backward is not Function.backward
    made = (type(ctx).backward if own else type(ctx).vjp)(ctx, *given)
    results = list(made) if isinstance(made, tuple | list) else [made]
    while len(results) > len(args) and results[-1] is None:
        results.pop()
    if len(results) != len(args):
        raise GradientError(f"function {name}Backward returned an incorrect number of gradients "
                            f"(expected {len(args)}, got {len(results)})")
    found: list[Any] = []
    for number, (result, arg, needs) in enumerate(zip(results, args, ctx.needs_input_grad,
                                                      strict=True)):
        if not needs:
            continue
        if result is None:
            found.append(None)
            continue
        if not isinstance(result, Array) or not same(result.shape, arg.shape):
            what = result.type if isinstance(result, Array) else type(result).__name__
            raise GradientError(f"Function {name}Backward returned an invalid gradient at index "
                                f"{number} - got {what} but expected {arg.type}")
        found.append(result._cast(arg.type.dtype)._as_operand())
    return found


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a backward whose own gradient is not kept."""
    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with no_grad():
            return function(*args, **kwargs)
    return wrapped


class InplaceFunction(Function):
    """A Function that may change its argument in place."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace


__all__ = ["Function", "FunctionCtx", "InplaceFunction", "once_differentiable"]


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

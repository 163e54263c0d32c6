"""Gradients of eager arrays: `backward` and `grad`.

Both walk the tape (see nncompile.array.tape) from the results towards the leaves, in the order in
which it was made, backwards, so that the gradient of a value is complete before it is handed on.
What an op does to a gradient is its rule in `ir.ops.gradients`, written with ops of the IR; these
are evaluated by the dispatcher as any other. With create_graph they leave a tape themselves.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ir import DTYPES, TensorType, Value, type_of
from ir.float_mode import StandardFloats
from ir.types import same
from nncompile.array.core import Core, as_array
from nncompile.array.dispatch import current
from nncompile.array.gradients import grad_enabled
from nncompile.array.tape import (
    Leaf,
    Outputs,
    Payload,
    Sparse,
    Tracked,
    Version,
    bare,
    check_version,
)
from nncompile.errors import GradientError

_TWICE = ("Trying to backward through the graph a second time (or directly access saved tensors "
          "after they have already been freed): {} has given up what it computed with. Specify "
          "retain_graph=True in the first call where a second one follows")


class Step:
    """One step back from a result to what it was computed from: torch's grad_fn."""

    def __init__(self, tracked: Tracked) -> None:
        self._tracked = tracked

    def name(self) -> str:
        """Returns the name that torch has for such a step, such as MulBackward0."""
        return self._tracked.name_in_torch()

    @property
    def next_functions(self) -> tuple[tuple[Step | None, int], ...]:
        """The steps of the operands, each with the number of its output; None for a constant."""
        return tuple((Step(o) if isinstance(o, Tracked) else None, 0)
                     for o in self._tracked.operands)

    @property
    def variable(self) -> Any:
        """The leaf whose `grad` this step adds to. Raises AttributeError for another step."""
        if isinstance(self._tracked, Leaf):
            return self._tracked.array
        raise AttributeError(f"{self.name()} has no attribute 'variable'")

    def __repr__(self) -> str:
        return f"<{self.name()}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and other._tracked is self._tracked

    def __hash__(self) -> int:
        return hash(self._tracked)


# -- the two functions -----------------------------------------------------------------------------

def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None,
             create_graph: bool = False, inputs: Any = None) -> None:
    """Adds the gradients of all these arrays to the `grad` of each leaf they were computed from.

    The arguments are those of Array.backward, for several arrays at once.
    """
    roots = _roots(_listed(tensors), grad_tensors)
    chosen = None if inputs is None else [_origin(x) for x in _listed(inputs)]
    if chosen == []:
        raise GradientError("'inputs' argument to backward() cannot be empty.")
    _walk(roots, chosen, bool(create_graph if retain_graph is None else retain_graph), create_graph,
          accumulate=True)


def grad(outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None,
         create_graph: bool = False, only_inputs: bool = True, allow_unused: bool | None = None,
         is_grads_batched: bool = False, materialize_grads: bool = False) -> tuple[Any, ...]:
    """Returns the gradient of the sum of the outputs for each of the inputs, and changes no `grad`.

    grad_outputs: the gradient of the result with respect to each output; it can be left out for
    those with one element. allow_unused: an input that no output depends on gets None, or zeros
    with materialize_grads; otherwise it is an Error. The others are as for Array.backward.
    """
    if is_grads_batched:
        raise GradientError("grad has no is_grads_batched: call it once for each gradient")
    wanted = _listed(inputs)
    roots = _roots(_listed(outputs), grad_outputs)
    chosen = [_origin(x) for x in wanted]
    found = _walk(roots, chosen, bool(create_graph if retain_graph is None else retain_graph),
                  create_graph, accumulate=False)
    results: list[Any] = []
    for array, origin in zip(wanted, chosen, strict=True):
        if origin in found:
            results.append(_as_gradient(found[origin]))
        elif materialize_grads:
            results.append(Core._array(np.zeros_like(bare(array._payload))))
        elif allow_unused:
            results.append(None)
        else:
            raise GradientError("One of the differentiated Tensors appears to not have been used "
                                "in the graph. Set allow_unused=True if this is the desired "
                                "behavior.")
    return tuple(results)


def _listed(given: Any) -> list[Any]:
    return [given] if isinstance(given, Core) else list(given)


def _origin(array: Any) -> Tracked:
    """Returns where the gradient of an array is collected.

    Raises GradientError where none is kept.
    """
    array = as_array("grad", array)
    if not array.requires_grad:
        raise GradientError("One of the differentiated Tensors does not require grad")
    payload = array._payload
    return payload if isinstance(payload, Tracked) else array._on_tape()


def _roots(outputs: Sequence[Any], gradients: Any) -> list[tuple[Tracked, Payload]]:
    """Returns where each output comes from, and its gradient; by default 1, of one element."""
    if current.get().records:
        raise GradientError("no gradient can be computed while a model is traced: ir.gradient "
                            "computes the graph of one, and nncompile.compile(model, ..., loss=, "
                            "optimizer=) a step")
    given = [None] * len(outputs) if gradients is None else _listed(gradients)
    if len(given) != len(outputs):
        raise GradientError(f"got {len(outputs)} tensors and {len(given)} gradients")
    return [_root(i, as_array("backward", o), g) for i, (o, g) in enumerate(
        zip(outputs, given, strict=True))]


def _root(number: int, output: Any, gradient: Any) -> tuple[Tracked, Payload]:
    if isinstance(output._payload, Value):
        raise GradientError("backward() got an array that was kept from a trace: it has no numbers")
    if not output.requires_grad:
        raise GradientError(f"element {number} of tensors does not require grad and does not have "
                            "a grad_fn: nothing that it was computed from has requires_grad, it "
                            "was computed in no_grad(), or detach() or numpy() lie between")
    if gradient is None:
        if output.numel() != 1:
            raise GradientError(f"grad can be implicitly created only for scalar outputs, not for "
                        f"{output.type}: give backward a gradient, or make the output a sum")
        return _origin(output), np.ones(output.shape, DTYPES[output._type.dtype])
    gradient = as_array("the gradient", gradient)
    if not same(gradient.shape, output.shape):
        raise GradientError(f"Mismatch in shape: the gradient is {gradient.type}, the output "
                            f"{output.type}")
    return _origin(output), gradient._cast(output._type.dtype)._as_operand()


# -- the walk --------------------------------------------------------------------------------------

def _walk(roots: Sequence[tuple[Tracked, Payload]], chosen: Sequence[Tracked] | None, retain: bool,
          create: bool, accumulate: bool) -> dict[Tracked, Payload]:
    """Computes gradients from the roots on, and returns those of what is chosen.

    chosen: whose gradients are wanted; None for those of all leaves. accumulate: whether they are
    added to `grad`.
    """
    walk = _Walk(_leading_to((root for root, _ in roots), chosen), _Evaluation(create))
    found = dict[Tracked, Payload]()
    switched = grad_enabled.set(create)
    try:
        for root, gradient in roots:
            walk.add(root, gradient if create else bare(gradient))
        while walk.heap:
            step, gradient = walk.next()
            is_end = isinstance(step, Leaf) if chosen is None else step in chosen
            if is_end:
                found[step] = gradient
            if (accumulate and is_end) or step.retained_by is not None:
                _accumulate(step, gradient, walk.do)
            walk.go_back(step, gradient)
            if not retain and walk.do.has_read(step):
                step.released = True
    finally:
        grad_enabled.reset(switched)
    return found


class _Walk:
    """The steps whose gradient is being summed, of which the next is the one computed last.

    wanted: the steps that the walk goes to.
    """

    def __init__(self, wanted: set[Tracked], do: _Evaluation) -> None:
        self.wanted, self.do = wanted, do
        self.pending: dict[Tracked, Any] = {}
        self.heap: list[tuple[int, Tracked]] = []

    def add(self, step: Tracked, gradient: Any) -> None:
        """Adds a gradient to what has come back to a step."""
        if step not in self.wanted:
            return
        if step in self.pending:
            self.pending[step] = self.do.sum(self.pending[step], gradient)
        else:
            self.pending[step] = gradient
            heapq.heappush(self.heap, (-step.order, step))

    def next(self) -> tuple[Tracked, Any]:
        """Returns the next step and its gradient, which is complete."""
        step = heapq.heappop(self.heap)[1]
        return step, _after_hooks(step, self.pending.pop(step))

    def go_back(self, step: Tracked, gradient: Any) -> None:
        """Adds to the operands of a step what its gradient gives for them."""
        needed = [isinstance(o, Tracked) and o in self.wanted for o in step.operands]
        if not any(needed):
            return
        parts = step.gradients(self.do, gradient, needed)
        for operand, part, is_needed in zip(step.operands, parts, needed, strict=True):
            if is_needed and part is not None:
                self.add(operand, part)


def _leading_to(roots: Iterable[Tracked], chosen: Sequence[Tracked] | None) -> set[Tracked]:
    """Returns the steps behind the roots from which one comes to what is chosen, or to a leaf."""
    behind: set[Tracked] = set()
    rest = list(roots)
    while rest:
        step = rest.pop()
        if step not in behind:
            behind.add(step)
            rest += [o for o in step.operands if isinstance(o, Tracked)]
    wanted: set[Tracked] = set(chosen or ())
    for step in sorted(behind, key=lambda step: step.order):
        is_end = chosen is None and isinstance(step, Leaf)
        if is_end or any(isinstance(o, Tracked) and o in wanted for o in step.operands):
            wanted.add(step)
    return wanted


def _as_gradient(payload: Any) -> Any:
    """Returns a gradient, as the walk has it, as an Array."""
    return payload if isinstance(payload, Sparse) else Core._array(payload)


def _after_hooks(step: Tracked, gradient: Any) -> Any:
    """Returns the gradient that the hooks of an array make of it."""
    hooks = (step.array._hooks or {}) if isinstance(step, Leaf) else step.hooks
    for hook in list(hooks.values()):
        changed = hook(_as_gradient(gradient))
        if isinstance(changed, Sparse):
            gradient = changed
        elif changed is not None:
            gradient = as_array("what a hook returns", changed)._as_operand()
    return gradient


def _accumulate(step: Tracked, gradient: Any, do: _Evaluation) -> None:
    """Adds a gradient to the `grad` of the leaf, or of the array that asked to retain it."""
    array = step.array if isinstance(step, Leaf) else step.retained_by and step.retained_by()
    if array is None:
        return
    if isinstance(gradient, Sparse) or getattr(array.grad, "is_sparse", False):
        array.grad = _as_gradient(gradient if array.grad is None else do.sum(
            array.grad if array.grad.is_sparse else bare(array.grad._payload), gradient))
    elif array.grad is None:
        array.grad = Core._array(gradient if do.create else bare(gradient).copy())
    elif do.create:
        array.grad = Core._array(do.sum(array.grad._as_operand(), gradient))
    else:
        array.grad._write("backward", Core._array(do.sum(bare(array.grad._payload), gradient)))
    for hook in list((getattr(array, "_hooks_behind", None) or {}).values()):
        hook(array)


class _Saved(NamedTuple):
    """A value that an op computed with or gave, as its rule gets it."""

    payload: Payload
    version: Version
    step: Tracked


class _Evaluation:
    """What the rules of gradients evaluate ops with: `do(op, *operands, **attrs)`.

    create: whether the ops leave a tape.
    """

    def __init__(self, create: bool) -> None:
        self.create = create
        self._read: set[Tracked] = set()

    def __call__(self, op: str, *operands: Any, **attrs: Any) -> Payload:
        return current.get().op(op, [self._value(o) for o in operands], attrs)

    def type(self, operand: Any) -> TensorType:
        """Returns the type of an operand or of a result, without reading it."""
        payload = operand.payload if isinstance(operand, _Saved) else operand
        return type_of(bare(payload))

    def sum(self, left: Any, right: Any) -> Any:
        """Returns the sum of two gradients."""
        if isinstance(left, dict):               # of outputs of one call, by number
            return left | right
        if isinstance(left, Sparse) and isinstance(right, Sparse):
            return left.plus(right)
        left, right = (bare(g._payload) if isinstance(g, Sparse) else g
                       for g in (left, right))
        return self("add", left, right)

    def has_read(self, step: Tracked) -> bool:
        """Returns whether the rule of a step has read a value that the step holds."""
        return step in self._read

    def check_released(self, step: Tracked) -> None:
        """Notes that what a step holds is read.

        Raises GradientError where an earlier backward gave it up.
        """
        if step.released:
            raise GradientError(_TWICE.format(step.name_in_torch()))
        self._read.add(step)

    def _value(self, operand: Any) -> Any:
        """Returns a payload that is about to be read."""
        if not isinstance(operand, _Saved):
            return operand
        self.check_released(operand.step)
        check_version(operand.version, operand.step.name_in_torch(), self.type(operand))
        return operand.payload if self.create else bare(operand.payload)

    def gradients(self, step: Tracked, gradient: Any, wanted: Sequence[bool]) -> Sequence[Any]:
        """Returns the gradient of each operand of an op, or None for one that is not wanted."""
        from ir.ops.gradients import GRADIENTS  # only what differentiates needs them
        row = GRADIENTS[step.name]
        versions = step.versions or [None] * len(step.operands)
        operands = [o if isinstance(o, float) else _Saved(o, version, step)
                    for o, version in zip(step.operands, versions, strict=True)]
        result = _Saved(step, step.version, step)
        with StandardFloats():
            return [row.of(self, number, gradient, result, operands, step.attrs)
                    if is_wanted and row.rule(number) is not None else None
                    for number, is_wanted in enumerate(wanted)]

    def of_function(self, step: Outputs, gradients: dict[int, Any]) -> Sequence[Any]:
        """Returns the gradient of each operand of a user's function with several outputs."""
        return step.back(gradients)  # type: ignore[arg-type]

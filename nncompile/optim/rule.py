"""Optimizers that change each parameter by itself: one definition of the change, for two roads.

    new p, new state = update(p, g, state, n, on)

is a pure expression of Arrays. The eager step evaluates it and writes the results; a compiled step
traces it. What it may depend on is divided by when it may change:

    p, g, state   arrays: in every step
    n             numbers, which `numbers` computes of the options and of the count of steps; in
                  every step, by a scheduler too. In a trace each is an array without dimensions
    on            which options are switched on: they decide which expression it is

so a scheduler changes numbers, and never code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, ClassVar

import numpy as np

from ir.float_mode import StandardFloats
from nncompile.array import Array
from nncompile.array.elementwise import where
from nncompile.array.gradients import enable_grad, no_grad
from nncompile.array.sparse import SparseArray
from nncompile.array.storage import numbers_to_change
from nncompile.errors import InputError
from nncompile.optim.optimizer import Optimizer

State = dict[str, Any]
Numbers = Mapping[str, Any]                      # floats, or in a trace arrays without dimensions
Switches = Mapping[str, bool]
_SMALL = 1 << 14                                 # elements: an op on them takes about 10 us


class Rule(Optimizer):
    """The base class of the optimizers whose step updates each parameter by itself."""

    counters: ClassVar[tuple[str, ...]] = ("step",)      # the states that are numbers
    switched: ClassVar[tuple[str, ...]] = ()             # the options that `on` has
    needs_rows: ClassVar[bool] = False           # whether gradients have to be sparse
    elementwise: ClassVar[bool] = False          # whether `update` is, and slots have p's shape

    def switches(self, group: Mapping[str, Any]) -> dict[str, bool]:
        """Returns the switches of `update`: whether each of these options is on, or not 0."""
        return {name: bool(group[name]) for name in self.switched}

    def slots(self, on: Switches, p: Array) -> tuple[str, ...]:
        """Returns the names of the arrays that a parameter's state consists of."""
        raise NotImplementedError

    def initial(self, name: str, group: Mapping[str, Any], p: Array) -> Array:
        """Returns an array of the state before the first step: zeros of the parameter's shape."""
        return filled_like(p, 0.0)

    def numbers(self, group: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, float]:
        """Returns the numbers of a parameter's next step, and the counters after it.

        They are computed in float64. state: the parameter's as it is before the step; it is empty
        before the first.
        """
        raise NotImplementedError

    def update(self, p: Array, g: Array, state: State, n: Numbers, on: Switches
               ) -> tuple[Array, State]:
        """Returns the parameter and the arrays of its state after the step.

        g: the gradient. Nothing is changed in place.
        """
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Changes every parameter that has a gradient. Returns what the closure does, if any."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            for group in self.param_groups:
                on = self.switches(group)
                for n, members in self._alike(group):
                    gradient = members[0].grad
                    if isinstance(gradient, SparseArray) and self.takes_rows(on):
                        self._step_of_rows(members[0], gradient, n, group, on)
                    else:
                        self.check_dense()
                        self._step_of(members, n, group, on)
        return loss

    def takes_rows(self, on: Switches) -> bool:
        """Returns whether a step of a sparse gradient changes the rows alone that it has.

        Raises InputError where torch refuses such gradients: the step would change all rows.
        """
        raise InputError(f"{type(self).__name__} does not support sparse gradients: leave "
                         "sparse=True out, or use SGD, Adagrad or SparseAdam")

    def check_dense(self) -> None:
        """Raises InputError where gradients have to be sparse."""
        if self.needs_rows:
            raise InputError(f"{type(self).__name__} does not support dense gradients, please "
                             "consider Adam instead: nn.Embedding(sparse=True) has sparse ones")

    def _step_of_rows(self, p: Array, gradient: SparseArray, n: Mapping[str, float],
                      group: Mapping[str, Any], on: Switches) -> None:
        """Makes the step of the rows of a parameter that its gradient has, and of no others."""
        state = self.state.get(p, {})
        slots = {name: self.initial(name, group, p) if state.get(name) is None else state[name]
                 for name in self.slots(on, p)}
        ids, rows = gradient.rows()
        whole = {name: numbers_to_change(array) for name, array in {"": p, **slots}.items()}
        before = {name: Array(numbers[ids]) for name, numbers in whole.items()}
        with StandardFloats():
            new, after = self.update(before.pop(""), Array(rows), before, n, on)
        for name, array in {"": new, **after}.items():
            whole[name][ids] = array.numpy()
        kept = {**{name: counter(state, name, n[name]) for name in self.counters}, **slots}
        if kept:
            self.state[p].update(kept)

    def _alike(self, group: Mapping[str, Any]) -> list[tuple[dict[str, float], list[Any]]]:
        """Returns the parameters that have a gradient, with the numbers of their step.

        Small ones are together where they have one dtype and the same numbers: an op on all of
        their elements takes about as long as on those of one.
        """
        found: dict[Any, tuple[dict[str, float], list[Any]]] = {}
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state.get(p, {})
            n = self.numbers(group, state)
            dtype = p.dtype
            together = not p.grad.is_sparse and self.elementwise and p.numel() <= _SMALL and all(
                array.dtype == dtype and array.shape == p.shape
                for name, array in (("", p.grad), *state.items())
                if name not in self.counters and isinstance(array, Array))
            found.setdefault((dtype, *n.values()) if together else p, (n, []))[1].append(p)
        return list(found.values())

    def _step_of(self, members: list[Any], n: dict[str, float], group: Mapping[str, Any],
                 on: Switches) -> None:
        """Makes the step of parameters whose numbers are the same; of several, as one long row."""
        states = [self.state.get(p, {}) for p in members]
        before = [{name: self.initial(name, group, p) if state.get(name) is None else state[name]
                   for name in self.slots(on, p)} for p, state in zip(members, states, strict=True)]
        given = [_Row(members), _Row([p.grad for p in members])]
        slots = {name: _Row([each[name] for each in before]) for name in before[0]}
        with StandardFloats():
            new, after = self.update(given[0].whole, given[1].whole,
                                     {name: row.whole for name, row in slots.items()}, n, on)
        changed = {name: given[0].parts(array) for name, array in after.items()}
        for i, (p, part) in enumerate(zip(members, given[0].parts(new), strict=True)):
            p._become("an optimizer's step", part)
            state = {**{name: counter(states[i], name, n[name]) for name in self.counters},
                     **{name: parts[i] for name, parts in changed.items()}}
            if state:
                self.state[p].update(state)


class _Row:
    """Arrays as one: a single one as it is, several as a row of all their elements."""

    def __init__(self, arrays: list[Any]) -> None:
        self._shapes = [array.shape for array in arrays]
        self.whole = (arrays[0].detach() if len(arrays) == 1 else
                      Array(np.concatenate([array.numpy().ravel() for array in arrays])))

    def parts(self, whole: Array) -> list[Array]:
        """Returns what an array of the same elements has in place of each of the arrays."""
        if len(self._shapes) == 1:
            return [whole]
        numbers, parts, at = whole.numpy(), [], 0
        for shape in self._shapes:
            size = prod(shape)
            parts.append(Array(numbers[at:at + size].reshape(shape)))
            at += size
        return parts


def steps(state: Mapping[str, Any]) -> float:
    """Returns the number of the next step, from 1."""
    return counted(state, "step", 0.0) + 1


def counted(state: Mapping[str, Any], name: str, at_first: float) -> float:
    """Returns a counter of a state as a number."""
    return float(state[name]) if name in state else float(at_first)


def counter(state: Mapping[str, Any], name: str, value: float) -> Array:
    """Returns a counter's new array: float32 as in torch, or of the dtype that was loaded."""
    before = state.get(name)
    dtype = before.dtype if isinstance(before, Array) else np.float32
    return Array(np.array(value, dtype))


def filled_like(p: Array, value: float) -> Array:
    """Returns an array with a number everywhere, of a parameter's shape and dtype."""
    return Array(np.full(p.numpy().shape, value, p.numpy().dtype))


def ascending(g: Array, on: Switches) -> Array:
    """Returns the gradient to descend by: its negative where the loss is to be maximized."""
    return -g if on["maximize"] else g


def decayed(g: Array, p: Array, n: Numbers, on: Switches) -> Any:
    """Returns the gradient of a loss to which half of weight_decay * |p|^2 is added."""
    return g + n["weight_decay"] * p if on["weight_decay"] else g


def descent(p: Array, g: Array, n: Numbers, on: Switches) -> tuple[Any, Any]:
    """Returns the parameter and the gradient that a step with either kind of decay begins with.

    Decoupled, the decay shrinks the parameter itself; otherwise it is a part of the gradient.
    """
    g = ascending(g, on)
    if on["decoupled_weight_decay"]:
        return (p * n["shrink"] if on["weight_decay"] else p), g
    return p, decayed(g, p, n, on)


def moved(x: Array, to: Array, part: Any, beyond_half: bool = False) -> Any:
    """Returns x + part * (to - x), evaluated from the nearer end, as torch.lerp does."""
    way = to - x
    return to - (1 - part) * way if beyond_half else x + part * way


def squares(average: Array, g: Array, keep: Any, take: Any) -> Any:
    """Returns keep * average + take * g * g, with torch's rounding."""
    return average * keep + take * g * g


def either(flag: Any, a: Any, b: Any) -> Any:
    """Returns a or b by a number of `n`, which in a trace is an array without dimensions."""
    return where(flag.ne(0), a, b) if isinstance(flag, Array) else a if flag else b

"""L-BFGS, which evaluates the loss several times a step: eager only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from nncompile.array import Array
from nncompile.array.creation import cat
from nncompile.array.gradients import enable_grad, no_grad
from nncompile.errors import InputError
from nncompile.optim.optimizer import Optimizer, Params, check_options, scalar

__all__ = ["LBFGS"]

_KEPT = ("d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss")
_LEAST_CURVATURE = 1e-10                         # below it a step says nothing about the curvature


class LBFGS(Optimizer):
    """A quasi-Newton method that keeps the last changes of the gradient; one group of parameters.

    Its step takes a closure that computes the loss and its gradients anew. max_iter, max_eval: the
    most directions and evaluations of one step. tolerance_grad, tolerance_change: below them it
    ends. history_size: how many changes are kept. line_search_fn: None or "strong_wolfe".
    Source: Nocedal and Wright, Numerical Optimization, chapters 3 and 7.
    Raises InputError for a negative learning rate, several groups, and another line search.
    """

    def __init__(self, params: Params, lr: Any = 1, max_iter: int = 20,
                 max_eval: int | None = None, tolerance_grad: float = 1e-7,
                 tolerance_change: float = 1e-9, history_size: int = 100,
                 line_search_fn: str | None = None) -> None:
        check_options(lr=lr)
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
            "history_size": history_size, "line_search_fn": line_search_fn})
        if len(self.param_groups) != 1:
            raise InputError("LBFGS doesn't support per-parameter options (parameter groups)")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes up to max_iter steps along directions, and returns the loss before the first."""
        if closure is None:
            raise InputError("the step of LBFGS takes a closure that computes the loss and its "
                             "gradients")
        if self.param_groups[0]["line_search_fn"] not in (None, "strong_wolfe"):
            raise InputError("only 'strong_wolfe' is supported")
        with no_grad():
            return self._minimize(enable_grad()(closure))

    def _minimize(self, closure: Callable[[], Any]) -> Any:
        group, state = self.param_groups[0], self.state[self.param_groups[0]["params"][0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first = closure()
        loss, gradient, evaluations = float(first), self._gradient(), 1
        state["func_evals"] += 1
        if _largest(gradient) <= group["tolerance_grad"]:
            return first
        kept = {name: state.get(name) for name in _KEPT}
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            d = _direction(state, kept, gradient, group["history_size"])
            kept |= {"d": d, "prev_flat_grad": gradient, "prev_loss": loss}
            t = scalar(group["lr"])
            if state["n_iter"] == 1:
                t = t * min(1.0, 1.0 / gradient.abs().sum().item())
            kept["t"] = t
            slope = gradient.dot(d)
            if slope > -group["tolerance_change"]:
                break
            last = iteration == group["max_iter"]
            point, count = self._moved(closure, _Point(t, loss, gradient, slope), d, last,
                                       group["max_eval"] - evaluations)
            loss, gradient, kept["t"] = point.loss, point.gradient, point.t
            evaluations += count
            state["func_evals"] += count
            if last or evaluations >= group["max_eval"] or self._converged(point, kept):
                break
        state.update(kept)
        return first

    def _converged(self, point: _Point, kept: dict[str, Any]) -> bool:
        group = self.param_groups[0]
        return bool(_largest(point.gradient) <= group["tolerance_grad"]
                    or _largest(kept["d"] * point.t) <= group["tolerance_change"]
                    or abs(point.loss - kept["prev_loss"]) < group["tolerance_change"])

    def _moved(self, closure: Callable[[], Any], start: _Point, d: Array, last: bool, most: int
               ) -> tuple[_Point, int]:
        """Moves the parameters along d, and returns where they are and the evaluations it took.

        start: the loss where they are now, and with it the step to try.
        """
        if self.param_groups[0]["line_search_fn"] is None:
            self._add(start.t, d)
            if last:                             # nobody asks for the loss there
                return start, 0
            loss = float(closure())
            return _Point(start.t, loss, self._gradient(), None), 1

        params = self.param_groups[0]["params"]
        origin = [p.clone() for p in params]

        def at(t: float) -> _Point:
            self._add(t, d)
            loss = float(closure())
            gradient = self._gradient()
            for p, numbers in zip(params, origin, strict=True):
                p.copy_(numbers)
            return _Point(t, loss, gradient, gradient.dot(d).item())

        search = _Search(at, start._replace(t=0.0, slope=start.slope.item()), most)
        point, evaluations = search.run(start.t, _largest(d),
                                        self.param_groups[0]["tolerance_change"])
        self._add(point.t, d)
        return point, evaluations

    def _gradient(self) -> Array:
        """Returns all gradients as one vector, with 0 for parameters without one."""
        return cat([(p * 0 if p.grad is None else p.grad).detach().reshape(-1)
                    for p in self.param_groups[0]["params"]])

    def _add(self, t: float, d: Array) -> None:
        """Adds t * d to the parameters."""
        start = 0
        for p in self.param_groups[0]["params"]:
            p.add_(d[start:start + p.numel()].reshape(p.shape) * t)
            start += p.numel()


class _Point(NamedTuple):
    """A point on the line of a search: where it is, and the loss, its gradient and its slope."""

    t: float
    loss: float
    gradient: Array
    slope: Any                                   # along the line


def _largest(x: Array) -> float:
    return x.abs().max().item()                  # type: ignore[no-any-return]


def _direction(state: dict[str, Any], kept: dict[str, Any], gradient: Array, history: int) -> Any:
    """Returns the next direction: minus the gradient times the inverse Hessian of the last steps.

    kept: the steps and changes, to which the last one is added.
    """
    if state["n_iter"] == 1:
        kept |= {"old_dirs": [], "old_stps": [], "ro": [], "H_diag": 1}
        return -gradient
    change, step = gradient - kept["prev_flat_grad"], kept["d"] * kept["t"]
    changes, steps, ro = kept["old_dirs"], kept["old_stps"], kept["ro"]
    curvature = change.dot(step)
    if curvature > _LEAST_CURVATURE:
        if len(changes) == history:
            for oldest in changes, steps, ro:
                oldest.pop(0)
        changes.append(change)
        steps.append(step)
        ro.append(1.0 / curvature)
        kept["H_diag"] = curvature / change.dot(change)
    al = state.setdefault("al", [None] * history)
    q = -gradient
    for i in reversed(range(len(changes))):
        al[i] = steps[i].dot(q) * ro[i]
        q = q - al[i] * changes[i]
    q = q * kept["H_diag"]
    for i in range(len(changes)):
        q = q + (al[i] - changes[i].dot(q) * ro[i]) * steps[i]
    return q


class _Search(NamedTuple):
    """A line search for a point where the loss and its slope have fallen enough."""

    at: Callable[[float], _Point]                # evaluates a point
    start: _Point
    most: int                                    # evaluations after the first

    def too_high(self, point: _Point) -> bool:
        """Returns whether the loss has not fallen enough for the way (Armijo's condition)."""
        return bool(point.loss > self.start.loss + 1e-4 * point.t * self.start.slope)

    def flat(self, point: _Point) -> bool:
        """Returns whether the slope has fallen enough (Wolfe's condition)."""
        return bool(abs(point.slope) <= -0.9 * self.start.slope)

    def run(self, t: float, length: float, tolerance: float) -> tuple[_Point, int]:
        """Returns the point and the evaluations. t: the first to try. length: of the direction."""
        bracket, rounds = self._bracket(t)
        if len(bracket) == 1:
            return bracket[0], rounds + 1
        low, stuck = 0 if bracket[0].loss <= bracket[1].loss else 1, False
        while rounds < self.most:                # the points come nearer
            left, right = sorted(point.t for point in bracket)
            if (right - left) * length < tolerance:
                break
            t, stuck = _inside(_least_of_cubic(bracket[0], bracket[1], left, right), left, right,
                               stuck)
            here, rounds = self.at(t), rounds + 1
            if self.too_high(here) or here.loss >= bracket[low].loss:
                bracket[1 - low] = here
                low = 0 if bracket[0].loss <= bracket[1].loss else 1
                continue
            if not self.flat(here) and here.slope * (bracket[1 - low].t - bracket[low].t) >= 0:
                bracket[1 - low] = bracket[low]
            bracket[low] = here
            if self.flat(here):
                break
        return bracket[low], rounds + 1

    def _bracket(self, t: float) -> tuple[list[_Point], int]:
        """Returns two points with a minimum between them, or one that will do; and the rounds."""
        before, here = self.start, self.at(t)
        for rounds in range(self.most):
            if self.too_high(here) or (rounds > 1 and here.loss >= before.loss):
                return [before, here], rounds
            if self.flat(here):
                return [here], rounds
            if here.slope >= 0:
                return [before, here], rounds
            bounds = here.t + 0.01 * (here.t - before.t), here.t * 10
            before, here = here, self.at(_least_of_cubic(before, here, *bounds))
        return [self.start, here], max(self.most, 0)


def _inside(t: float, left: float, right: float, stuck: bool) -> tuple[float, bool]:
    """Returns t, or where it is twice in turn near a bound a point further inside; and whether so.
    """
    margin = 0.1 * (right - left)
    if min(right - t, t - left) >= margin:
        return t, False
    if not (stuck or t >= right or t <= left):
        return t, True
    return right - margin if abs(t - right) < abs(t - left) else left + margin, False


def _least_of_cubic(a: _Point, b: _Point, low: float, high: float) -> float:
    """Returns where the cubic through two points with their slopes is least, within bounds."""
    if a.t > b.t:
        a, b = b, a
    if a.t == b.t:
        return (low + high) / 2.0
    first = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = first**2 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2.0
    second = square**0.5
    below = b.slope - a.slope + 2 * second
    if below == 0:
        return (low + high) / 2.0
    t = b.t - (b.t - a.t) * ((b.slope + second - first) / below)
    return float(min(max(t, low), high))

"""RAdam: Adam with a rectified variance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nncompile.array import Array
from nncompile.optim.adam import moment_conditions
from nncompile.optim.optimizer import Params, check_options, scalar
from nncompile.optim.rule import (
    Numbers,
    Rule,
    State,
    Switches,
    descent,
    either,
    moved,
    squares,
    steps,
)
from nncompile.placeholders import getter

__all__ = ["RAdam"]


class RAdam(Rule):
    """Adam that scales by the average of squares only when enough steps have made it reliable.

    Source: Liu et al., On the Variance of the Adaptive Learning Rate and Beyond.
    Raises InputError for an option out of its range.
    """

    elementwise = True
    switched = ("weight_decay", "decoupled_weight_decay", "maximize")

    def __init__(self, params: Params, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, decoupled_weight_decay: bool = False,
                 *, foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False) -> None:
        check_options(*moment_conditions(eps, betas, weight_decay), lr=lr,
                      differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable})

    def switches(self, group: Mapping[str, Any]) -> dict[str, bool]:
        """Returns the switches, and whether the average moves half of the way or more."""
        return {**super().switches(group), "far": group["betas"][0] <= 0.5}

    def slots(self, on: Switches, p: Array) -> tuple[str, ...]:
        """Returns the names of the arrays of the state."""
        return ("exp_avg", "exp_avg_sq")

    def numbers(self, group: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, float]:
        """Returns the numbers of a step; "rectified" is 0 while the variance is not reliable."""
        step, lr, (beta1, beta2) = steps(state), scalar(group["lr"]), group["betas"]
        correction2, longest = 1 - beta2**step, 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / correction2
        reliable = length > 5.0
        rectification = 0.0
        if reliable:
            rectification = ((length - 4) * (length - 2) * longest
                             / ((longest - 4) * (longest - 2) * length)) ** 0.5
        return {"step": step, "lr": lr, "take1": 1 - beta1, "beta2": beta2, "take2": 1 - beta2,
                "eps": group["eps"], "correction1": 1 - beta1**step,
                "correction2": correction2**0.5, "rectified": float(reliable),
                "rectification": rectification, "weight_decay": group["weight_decay"],
                "shrink": 1 - lr * group["weight_decay"]}

    def update(self, p: Array, g: Array, state: State, n: Numbers, on: Switches
               ) -> tuple[Array, State]:
        """Returns the parameter and its averages after the step."""
        p, g = descent(p, g, n, on)
        mean = moved(state["exp_avg"], g, n["take1"], on["far"])
        square = squares(state["exp_avg_sq"], g, n["beta2"], n["take2"])
        plain = mean / n["correction1"] * n["lr"]
        scaled = plain * ((square.sqrt() + n["eps"]).reciprocal() * n["correction2"])
        change = either(n["rectified"], scaled * n["rectification"], plain)
        return p - change, {"exp_avg": mean, "exp_avg_sq": square}


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

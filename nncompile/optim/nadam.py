"""NAdam: Adam with Nesterov's momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nncompile.array import Array
from nncompile.optim.adam import moment_conditions
from nncompile.optim.optimizer import Params, check_options, scalar
from nncompile.optim.rule import (
    Numbers,
    Rule,
    State,
    Switches,
    counted,
    descent,
    moved,
    squares,
    steps,
)
from nncompile.placeholders import getter

__all__ = ["NAdam"]


class NAdam(Rule):
    """Adam with Nesterov's momentum.

    Source: Dozat, Incorporating Nesterov Momentum into Adam.
    Raises InputError for an option out of its range.
    """

    elementwise = True
    counters = ("step", "mu_product")
    switched = ("weight_decay", "decoupled_weight_decay", "maximize")

    def __init__(self, params: Params, lr: Any = 2e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, momentum_decay: float = 4e-3,
                 decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False, differentiable: bool = False
                 ) -> None:
        check_options(
            *moment_conditions(eps, betas, weight_decay),
            (momentum_decay >= 0, f"Invalid momentum_decay value: {momentum_decay}"),
            lr=lr, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable})

    def switches(self, group: Mapping[str, Any]) -> dict[str, bool]:
        """Returns the switches, and whether the average moves half of the way or more."""
        return {**super().switches(group), "far": group["betas"][0] <= 0.5}

    def slots(self, on: Switches, p: Array) -> tuple[str, ...]:
        """Returns the names of the arrays of the state."""
        return ("exp_avg", "exp_avg_sq")

    def numbers(self, group: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, float]:
        """Returns the numbers of a step.

        The product of the momenta of all steps is kept, and so rounded, in its counter's dtype.
        """
        step, lr, (beta1, beta2) = steps(state), scalar(group["lr"]), group["betas"]
        momentum, later = (beta1 * (1.0 - 0.5 * 0.96 ** (number * group["momentum_decay"]))
                           for number in (step, step + 1))
        kept = np.asarray(state["mu_product"]).dtype.type if state else np.float32
        product = float(kept(counted(state, "mu_product", 1.0)) * kept(momentum))
        return {"step": step, "mu_product": product, "take1": 1 - beta1, "beta2": beta2,
                "take2": 1 - beta2, "eps": group["eps"], "correction2": 1 - beta2**step,
                "of_gradient": -lr * (1.0 - momentum) / (1.0 - product),
                "of_average": -lr * later / (1.0 - product * later),
                "weight_decay": group["weight_decay"], "shrink": 1 - lr * group["weight_decay"]}

    def update(self, p: Array, g: Array, state: State, n: Numbers, on: Switches
               ) -> tuple[Array, State]:
        """Returns the parameter and its averages after the step."""
        p, g = descent(p, g, n, on)
        mean = moved(state["exp_avg"], g, n["take1"], on["far"])
        square = squares(state["exp_avg_sq"], g, n["beta2"], n["take2"])
        root = (square / n["correction2"]).sqrt() + n["eps"]
        after = p + n["of_gradient"] * g / root + n["of_average"] * mean / root
        return after, {"exp_avg": mean, "exp_avg_sq": square}


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

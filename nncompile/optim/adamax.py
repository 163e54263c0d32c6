"""Adamax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nncompile.array import Array
from nncompile.optim.adam import moment_conditions
from nncompile.optim.optimizer import Params, check_options, scalar
from nncompile.optim.rule import Numbers, Rule, State, Switches, ascending, decayed, moved, steps
from nncompile.placeholders import getter

__all__ = ["Adamax"]


class Adamax(Rule):
    """Adam with the largest decayed gradient in place of the average of squares.

    Source: Kingma and Ba, Adam: A Method for Stochastic Optimization.
    Raises InputError for an option out of its range.
    """

    elementwise = True
    switched = ("weight_decay", "maximize")

    def __init__(self, params: Params, lr: Any = 2e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, foreach: bool | None = None, *,
                 maximize: bool = False, differentiable: bool = False, capturable: bool = False
                 ) -> None:
        check_options(*moment_conditions(eps, betas, weight_decay), lr=lr,
                      differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable})

    def switches(self, group: Mapping[str, Any]) -> dict[str, bool]:
        """Returns the switches, and whether the average moves half of the way or more."""
        return {**super().switches(group), "far": group["betas"][0] <= 0.5}

    def slots(self, on: Switches, p: Array) -> tuple[str, ...]:
        """Returns the names of the arrays of the state."""
        return ("exp_avg", "exp_inf")

    def numbers(self, group: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, float]:
        """Returns the numbers of a step."""
        step, (beta1, beta2) = steps(state), group["betas"]
        return {"step": step, "take1": 1 - beta1, "beta2": beta2, "eps": group["eps"],
                "step_size": scalar(group["lr"]) / (1 - beta1**step),
                "weight_decay": group["weight_decay"]}

    def update(self, p: Array, g: Array, state: State, n: Numbers, on: Switches
               ) -> tuple[Array, State]:
        """Returns the parameter, its average and its largest gradient after the step."""
        g = decayed(ascending(g, on), p, n, on)
        mean = moved(state["exp_avg"], g, n["take1"], on["far"])
        largest = (state["exp_inf"] * n["beta2"]).maximum(g.abs() + n["eps"])
        return p - n["step_size"] * mean / largest, {"exp_avg": mean, "exp_inf": largest}


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

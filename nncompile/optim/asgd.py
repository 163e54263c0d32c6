"""Averaged stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nncompile.array import Array
from nncompile.optim.optimizer import Params, check_options, scalar
from nncompile.optim.rule import (
    Numbers,
    Rule,
    State,
    Switches,
    ascending,
    counted,
    decayed,
    either,
    steps,
)
from nncompile.placeholders import getter

__all__ = ["ASGD"]


class ASGD(Rule):
    """Gradient descent with a falling step size, and beside each parameter the average of it.

    Source: Polyak and Juditsky, Acceleration of stochastic approximation by averaging.
    Raises InputError for a negative option.
    """

    elementwise = True
    counters = ("step", "eta", "mu")
    switched = ("weight_decay", "maximize")

    def __init__(self, params: Params, lr: Any = 1e-2, lambd: float = 1e-4, alpha: float = 0.75,
                 t0: float = 1e6, weight_decay: float = 0, foreach: bool | None = None,
                 maximize: bool = False, differentiable: bool = False, capturable: bool = False
                 ) -> None:
        check_options((weight_decay >= 0, f"Invalid weight_decay value: {weight_decay}"),
                      lr=lr, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable})

    def slots(self, on: Switches, p: Array) -> tuple[str, ...]:
        """Returns the name of the array of the state: the average."""
        return ("ax",)

    def numbers(self, group: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, float]:
        """Returns the numbers of a step, and the step size `eta` and weight `mu` of the next.

        These two are rounded to float32, as in torch, whatever the parameter's dtype. The average
        is the parameter itself as long as the weight is 1.
        """
        step, lr, lambd = steps(state), scalar(group["lr"]), group["lambd"]
        size = counted(state, "eta", float(np.float32(lr)))
        part = counted(state, "mu", 1.0)
        return {"step": step,
                "eta": float(np.float32(lr / (1 + lambd * lr * step) ** group["alpha"])),
                "mu": float(np.float32(1 / max(1, step - group["t0"]))),
                "shrink": 1 - lambd * size, "size": size, "part": part,
                "keep": float(part != 1), "weight_decay": group["weight_decay"]}

    def update(self, p: Array, g: Array, state: State, n: Numbers, on: Switches
               ) -> tuple[Array, State]:
        """Returns the parameter and the average after the step."""
        g = decayed(ascending(g, on), p, n, on)
        new = p * n["shrink"] - n["size"] * g
        average = either(n["keep"], state["ax"] + (new - state["ax"]) * n["part"], new)
        return new, {"ax": average}


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

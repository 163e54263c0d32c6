"""Adagrad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nncompile.array import Array
from nncompile.errors import InputError
from nncompile.optim.optimizer import Params, check_options, scalar
from nncompile.optim.rule import (
    Numbers,
    Rule,
    State,
    Switches,
    ascending,
    counter,
    decayed,
    filled_like,
    steps,
)
from nncompile.placeholders import getter

__all__ = ["Adagrad"]


class Adagrad(Rule):
    """Divides the gradient by the root of the sum of its squares in all steps.

    Source: Duchi, Hazan and Singer, Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization.
    Raises InputError for a negative option.
    """

    elementwise = True
    switched = ("weight_decay", "maximize")

    def __init__(self, params: Params, lr: Any = 1e-2, lr_decay: float = 0,
                 weight_decay: float = 0, initial_accumulator_value: float = 0, eps: float = 1e-10,
                 foreach: bool | None = None, *, maximize: bool = False,
                 differentiable: bool = False, fused: bool | None = None) -> None:
        first = initial_accumulator_value
        check_options(
            (lr_decay >= 0, f"Invalid lr_decay value: {lr_decay}"),
            (weight_decay >= 0, f"Invalid weight_decay value: {weight_decay}"),
            (first >= 0, f"Invalid initial_accumulator_value value: {first}"),
            (eps >= 0, f"Invalid epsilon value: {eps}"),
            lr=lr, foreach=foreach, fused=fused, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": first, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "fused": fused})
        for group in self.param_groups:          # as in torch, before the first step
            for p in group["params"]:
                self.state[p] = {"step": counter({}, "step", 0.0),
                                 "sum": self.initial("sum", group, p)}

    def slots(self, on: Switches, p: Array) -> tuple[str, ...]:
        """Returns the name of the array of the state."""
        return ("sum",)

    def initial(self, name: str, group: Mapping[str, Any], p: Array) -> Array:
        """Returns the sum before the first step."""
        return filled_like(p, group["initial_accumulator_value"])

    def numbers(self, group: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, float]:
        """Returns the numbers of a step."""
        step = steps(state)
        return {"step": step, "lr": scalar(group["lr"]) / (1 + (step - 1) * group["lr_decay"]),
                "eps": group["eps"], "weight_decay": group["weight_decay"]}

    def update(self, p: Array, g: Array, state: State, n: Numbers, on: Switches
               ) -> tuple[Array, State]:
        """Returns the parameter and the sum after the step."""
        g = decayed(ascending(g, on), p, n, on)
        total = state["sum"] + g * g
        return p - n["lr"] * g / (total.sqrt() + n["eps"]), {"sum": total}

    def takes_rows(self, on: Switches) -> bool:
        """Returns True; with decay see Rule."""
        if on["weight_decay"]:
            raise InputError("weight_decay option is not compatible with sparse gradients: leave "
                             "it out, or sparse=True")
        return True


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

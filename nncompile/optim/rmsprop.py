"""RMSprop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nncompile.array import Array
from nncompile.optim.optimizer import Params, check_options, scalar
from nncompile.optim.rule import (
    Numbers,
    Rule,
    State,
    Switches,
    ascending,
    decayed,
    moved,
    squares,
    steps,
)
from nncompile.placeholders import getter

__all__ = ["RMSprop"]


class RMSprop(Rule):
    """Divides the gradient by the root of the average of its square.

    centered: the square of the average gradient is taken off first, which leaves its variance.
    Source: Hinton, Neural Networks for Machine Learning, lecture 6; centered: Graves, Generating
    Sequences With Recurrent Neural Networks.
    Raises InputError for a negative option.
    """

    elementwise = True
    switched = ("momentum", "centered", "weight_decay", "maximize")

    def __init__(self, params: Params, lr: Any = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0, momentum: float = 0, centered: bool = False,
                 capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
                 differentiable: bool = False) -> None:
        check_options(
            (eps >= 0, f"Invalid epsilon value: {eps}"),
            (momentum >= 0, f"Invalid momentum value: {momentum}"),
            (weight_decay >= 0, f"Invalid weight_decay value: {weight_decay}"),
            (alpha >= 0, f"Invalid alpha value: {alpha}"), lr=lr, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable})

    def switches(self, group: Mapping[str, Any]) -> dict[str, bool]:
        """Returns the switches, and whether the average moves half of the way or more."""
        return {**super().switches(group), "far": abs(1 - group["alpha"]) >= 0.5}

    def slots(self, on: Switches, p: Array) -> tuple[str, ...]:
        """Returns the names of the arrays of the state."""
        return ("square_avg", *(["momentum_buffer"] if on["momentum"] else []),
                *(["grad_avg"] if on["centered"] else []))

    def numbers(self, group: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, float]:
        """Returns the numbers of a step."""
        return {"step": steps(state), "lr": scalar(group["lr"]), "alpha": group["alpha"],
                "take": 1 - group["alpha"], "eps": group["eps"], "momentum": group["momentum"],
                "weight_decay": group["weight_decay"]}

    def update(self, p: Array, g: Array, state: State, n: Numbers, on: Switches
               ) -> tuple[Array, State]:
        """Returns the parameter and its averages after the step."""
        g = decayed(ascending(g, on), p, n, on)
        square = squares(state["square_avg"], g, n["alpha"], n["take"])
        new, spread = {"square_avg": square}, square
        if on["centered"]:
            mean = new["grad_avg"] = moved(state["grad_avg"], g, n["take"], on["far"])
            spread = square - mean * mean
        root = spread.sqrt() + n["eps"]
        if not on["momentum"]:
            return p - n["lr"] * g / root, new
        average = new["momentum_buffer"] = state["momentum_buffer"] * n["momentum"] + g / root
        return p - n["lr"] * average, new


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

"""Adadelta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nncompile.array import Array
from nncompile.optim.optimizer import Params, check_options, scalar
from nncompile.optim.rule import Numbers, Rule, State, Switches, ascending, decayed, squares, steps
from nncompile.placeholders import getter

__all__ = ["Adadelta"]


class Adadelta(Rule):
    """Scales the gradient by the root of the ratio of averages: of squared changes, and of squares.

    Source: Zeiler, ADADELTA: An Adaptive Learning Rate Method.
    Raises InputError for an option out of its range.
    """

    elementwise = True
    switched = ("weight_decay", "maximize")

    def __init__(self, params: Params, lr: Any = 1.0, rho: float = 0.9, eps: float = 1e-6,
                 weight_decay: float = 0, foreach: bool | None = None, *, capturable: bool = False,
                 maximize: bool = False, differentiable: bool = False) -> None:
        check_options(
            (0 <= rho <= 1, f"Invalid rho value: {rho}"),
            (eps >= 0, f"Invalid epsilon value: {eps}"),
            (weight_decay >= 0, f"Invalid weight_decay value: {weight_decay}"),
            lr=lr, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable})

    def slots(self, on: Switches, p: Array) -> tuple[str, ...]:
        """Returns the names of the arrays of the state."""
        return ("square_avg", "acc_delta")

    def numbers(self, group: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, float]:
        """Returns the numbers of a step."""
        return {"step": steps(state), "lr": scalar(group["lr"]), "rho": group["rho"],
                "take": 1 - group["rho"], "eps": group["eps"],
                "weight_decay": group["weight_decay"]}

    def update(self, p: Array, g: Array, state: State, n: Numbers, on: Switches
               ) -> tuple[Array, State]:
        """Returns the parameter and its averages after the step."""
        g = decayed(ascending(g, on), p, n, on)
        square = squares(state["square_avg"], g, n["rho"], n["take"])
        change = (state["acc_delta"] + n["eps"]).sqrt() / (square + n["eps"]).sqrt() * g
        return p - n["lr"] * change, {
            "square_avg": square,
            "acc_delta": squares(state["acc_delta"], change, n["rho"], n["take"])}


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

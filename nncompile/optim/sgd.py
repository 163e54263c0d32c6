"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nncompile.array import Array
from nncompile.errors import InputError
from nncompile.optim.optimizer import Params, check_options, scalar
from nncompile.optim.rule import Numbers, Rule, State, Switches, ascending, decayed
from nncompile.placeholders import getter

__all__ = ["SGD"]


class SGD(Rule):
    """Moves each parameter against its gradient, or with momentum against an average of it.

    Source: Sutskever et al., On the importance of initialization and momentum in deep learning.
    Raises InputError for a negative option, and for nesterov without momentum.
    """

    elementwise = True
    counters = ()
    switched = ("momentum", "nesterov", "weight_decay", "maximize")

    def __init__(self, params: Params, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: Any = 0, nesterov: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, differentiable: bool = False,
                 fused: bool | None = None) -> None:
        check_options(
            (momentum >= 0, f"Invalid momentum value: {momentum}"),
            (scalar(weight_decay) >= 0, f"Invalid weight_decay value: {weight_decay}"),
            (not nesterov or (momentum > 0 and dampening == 0),
             "Nesterov momentum requires a momentum and zero dampening"),
            lr=lr, foreach=foreach, fused=fused, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach,
            "differentiable": differentiable, "fused": fused})

    def slots(self, on: Switches, p: Array) -> tuple[str, ...]:
        """Returns the names of the arrays of the state: the average, with momentum."""
        return ("momentum_buffer",) if on["momentum"] else ()

    def numbers(self, group: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, float]:
        """Returns the numbers of a step; in the first, the average is the gradient."""
        first = state.get("momentum_buffer") is None
        return {"lr": scalar(group["lr"]), "weight_decay": scalar(group["weight_decay"]),
                "momentum": group["momentum"], "keep": 0.0 if first else group["momentum"],
                "take": 1.0 if first else 1 - group["dampening"]}

    def update(self, p: Array, g: Array, state: State, n: Numbers, on: Switches
               ) -> tuple[Array, State]:
        """Returns the parameter and the average after the step."""
        g = decayed(ascending(g, on), p, n, on)
        if not on["momentum"]:
            return p - n["lr"] * g, {}
        average = state["momentum_buffer"] * n["keep"] + n["take"] * g
        g = g + n["momentum"] * average if on["nesterov"] else average
        return p - n["lr"] * g, {"momentum_buffer": average}

    def takes_rows(self, on: Switches) -> bool:
        """Returns whether there is no momentum, which moves all rows; with decay see Rule."""
        if on["weight_decay"]:
            raise InputError("SGD with weight_decay does not support sparse gradients: leave it "
                             "out, or sparse=True")
        return not on["momentum"]


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

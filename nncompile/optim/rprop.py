"""Rprop: resilient backpropagation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nncompile.array import Array
from nncompile.array.elementwise import where
from nncompile.optim.optimizer import Params, check_options, scalar
from nncompile.optim.rule import Numbers, Rule, State, Switches, ascending, filled_like, steps
from nncompile.placeholders import getter

__all__ = ["Rprop"]


class Rprop(Rule):
    """Moves by the sign of the gradient, with a step size for each number.

    etas: the factors of a step size where the sign has changed, and where it has not. step_sizes:
    its bounds.
    Source: Riedmiller and Braun, A Direct Adaptive Method for Faster Backpropagation Learning.
    Raises InputError for an option out of its range.
    """

    elementwise = True
    switched = ("maximize",)

    def __init__(self, params: Params, lr: Any = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
                 step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False,
                 foreach: bool | None = None, maximize: bool = False, differentiable: bool = False
                 ) -> None:
        check_options((0.0 < etas[0] < 1.0 < etas[1], f"Invalid eta values: {etas[0]}, {etas[1]}"),
                      lr=lr, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable})

    def slots(self, on: Switches, p: Array) -> tuple[str, ...]:
        """Returns the names of the arrays of the state."""
        return ("prev", "step_size")

    def initial(self, name: str, group: Mapping[str, Any], p: Array) -> Array:
        """Returns the last gradient or the step sizes before the first step."""
        return filled_like(p, scalar(group["lr"]) if name == "step_size" else 0.0)

    def numbers(self, group: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, float]:
        """Returns the numbers of a step."""
        (less, more), (least, most) = group["etas"], group["step_sizes"]
        return {"step": steps(state), "less": less, "more": more, "least": least, "most": most}

    def update(self, p: Array, g: Array, state: State, n: Numbers, on: Switches
               ) -> tuple[Array, State]:
        """Returns the parameter, and as its state this gradient and the step sizes."""
        g = ascending(g, on)
        same = g * state["prev"]
        back = same < 0
        size = where(same > 0, state["step_size"] * n["more"],
                     where(back, state["step_size"] * n["less"], state["step_size"]))
        size = size.clamp(n["least"], n["most"])
        g = where(back, 0.0, g)
        return p - g.sign() * size, {"prev": g, "step_size": size}


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

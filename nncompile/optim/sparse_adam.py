"""Adam of the rows alone that a sparse gradient has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nncompile.array import Array
from nncompile.optim.adam import moment_conditions
from nncompile.optim.optimizer import Params, check_options, scalar
from nncompile.optim.rule import Numbers, Rule, State, Switches, ascending, moved, steps
from nncompile.placeholders import getter

__all__ = ["SparseAdam"]


class SparseAdam(Rule):
    """Adam for sparse gradients, as nn.Embedding(sparse=True) has: other rows stay as they are.

    So do their averages, which in Adam would decay. A row's first average is corrected for its bias
    by the number of all steps. Source: Kingma and Ba, Adam: A Method for Stochastic Optimization.
    Raises InputError for an option out of its range, and in a step for a dense gradient.
    """

    needs_rows = True
    elementwise = True
    switched = ("maximize",)

    def __init__(self, params: Params, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999),
                 eps: float = 1e-8, maximize: bool = False) -> None:
        check_options((scalar(lr) > 0, f"Invalid learning rate: {lr}"),
                      (eps > 0, f"Invalid epsilon value: {eps}"),
                      *moment_conditions(eps, betas, 0.0), lr=lr)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})

    def slots(self, on: Switches, p: Array) -> tuple[str, ...]:
        """Returns the names of the arrays of the state."""
        return ("exp_avg", "exp_avg_sq")

    def numbers(self, group: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, float]:
        """Returns the numbers of a step: with the bias of averages that began as 0 corrected."""
        step, (beta1, beta2) = steps(state), group["betas"]
        rate = scalar(group["lr"]) * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
        return {"step": step, "take1": 1 - beta1, "take2": 1 - beta2, "eps": group["eps"],
                "step_size": rate}

    def update(self, p: Array, g: Array, state: State, n: Numbers, on: Switches
               ) -> tuple[Array, State]:
        """Returns rows and their averages after the step."""
        g = ascending(g, on)
        mean = moved(state["exp_avg"], g, n["take1"])
        square = moved(state["exp_avg_sq"], g * g, n["take2"])
        new = p - n["step_size"] * mean / (square.sqrt() + n["eps"])
        return new, {"exp_avg": mean, "exp_avg_sq": square}

    def takes_rows(self, on: Switches) -> bool:
        """Returns True."""
        return True


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

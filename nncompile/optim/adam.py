"""Adam, and with decoupled weight decay AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nncompile.array import Array
from nncompile.errors import InputError
from nncompile.optim.optimizer import Params, check_options, scalar
from nncompile.optim.rule import Numbers, Rule, State, Switches, descent, moved, squares, steps
from nncompile.placeholders import getter

__all__ = ["Adam"]


class Adam(Rule):
    """Scales the average of the gradient by the root of the average of its square.

    decoupled_weight_decay: the parameter itself decays, and not by way of the gradient: AdamW.
    Source: Kingma and Ba, Adam: A Method for Stochastic Optimization; amsgrad: Reddi et al., On the
    Convergence of Adam and Beyond.
    Raises InputError for an option out of its range.
    """

    elementwise = True
    switched = ("amsgrad", "weight_decay", "decoupled_weight_decay", "maximize")

    def __init__(self, params: Params, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False, *,
                 foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False, fused: bool | None = None,
                 decoupled_weight_decay: bool = False) -> None:
        if isinstance(lr, Array) and foreach and not capturable:
            raise InputError("lr as a Tensor is not supported for capturable=False and "
                             "foreach=True")
        betas = scalar(betas[0]), scalar(betas[1])
        check_options(*moment_conditions(eps, betas, weight_decay), lr=lr, foreach=foreach,
                      fused=fused, differentiable=differentiable)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay})

    def switches(self, group: Mapping[str, Any]) -> dict[str, bool]:
        """Returns the switches, and whether the average moves more than half of the way."""
        return {**super().switches(group), "far": group["betas"][0] <= 0.5}

    def slots(self, on: Switches, p: Array) -> tuple[str, ...]:
        """Returns the names of the arrays of the state."""
        return ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if on["amsgrad"] else []))

    def numbers(self, group: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, float]:
        """Returns the numbers of a step: with the bias of averages that began as 0 corrected."""
        step, lr, (beta1, beta2) = steps(state), scalar(group["lr"]), group["betas"]
        return {"step": step, "take1": 1 - beta1, "beta2": beta2, "take2": 1 - beta2,
                "eps": group["eps"], "step_size": lr / (1 - beta1**step),
                "correction2": (1 - beta2**step) ** 0.5, "weight_decay": group["weight_decay"],
                "shrink": 1 - lr * group["weight_decay"]}

    def update(self, p: Array, g: Array, state: State, n: Numbers, on: Switches
               ) -> tuple[Array, State]:
        """Returns the parameter and its averages after the step."""
        p, g = descent(p, g, n, on)
        mean = moved(state["exp_avg"], g, n["take1"], on["far"])
        new = {"exp_avg": mean,
               "exp_avg_sq": squares(state["exp_avg_sq"], g, n["beta2"], n["take2"])}
        largest = new["exp_avg_sq"]
        if on["amsgrad"]:
            largest = new["max_exp_avg_sq"] = state["max_exp_avg_sq"].maximum(largest)
        root = largest.sqrt() / n["correction2"] + n["eps"]
        return p - n["step_size"] * mean / root, new

    def takes_rows(self, on: Switches) -> bool:
        """Raises InputError: the averages of all rows decay."""
        raise InputError(f"{type(self).__name__} does not support sparse gradients, please "
                         "consider SparseAdam instead")


def moment_conditions(eps: float, betas: tuple[float, float], weight_decay: float
                      ) -> list[tuple[bool, str]]:
    """Returns the conditions that Adam and its relatives have in common, with their messages."""
    return [(eps >= 0, f"Invalid epsilon value: {eps}"),
            (0 <= betas[0] < 1, f"Invalid beta parameter at index 0: {betas[0]}"),
            (0 <= betas[1] < 1, f"Invalid beta parameter at index 1: {betas[1]}"),
            (weight_decay >= 0, f"Invalid weight_decay value: {weight_decay}")]


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

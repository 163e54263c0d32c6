"""Muon: momentum whose matrix is made orthogonal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nncompile.array import Array
from nncompile.errors import InputError
from nncompile.optim.optimizer import Params, scalar
from nncompile.optim.rule import Numbers, Rule, State, Switches, moved
from nncompile.placeholders import getter

__all__ = ["Muon"]

_ADJUSTMENTS = ("original", "match_rms_adamw")
_MOST_ITERATIONS = 100


class Muon(Rule):
    """Moves matrices by their momentum made nearly orthogonal: all its singular values about 1.

    ns_steps iterations of Newton and Schulz do that, with the coefficients ns_coefficients.
    adjust_lr_fn: "original" or None scale the rate by the root of rows / columns, if above 1;
    "match_rms_adamw" as large as AdamW's steps are. torch iterates in bfloat16, and here it is done
    in the parameter's dtype, so that steps differ by about a hundredth of their size. Source:
    Jordan et al., Muon: An optimizer for hidden layers in neural networks (2024).
    Raises InputError for a parameter that is no matrix, and for an option out of its range.
    """

    counters = ()
    switched = ("nesterov",)

    def __init__(self, params: Params, lr: Any = 1e-3, weight_decay: float = 0.1,
                 momentum: float = 0.95, nesterov: bool = True,
                 ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
                 eps: float = 1e-7, ns_steps: int = 5, adjust_lr_fn: str | None = None) -> None:
        if isinstance(lr, Array) and lr.numel() != 1:
            raise InputError("Tensor lr must be 1-element")
        for name, value in (("Learning rate", scalar(lr)), ("momentum", momentum),
                            ("weight decay", weight_decay)):
            if not value >= 0:
                raise InputError(f"{name} should be >= 0 but is: {value}")
        if adjust_lr_fn is not None and adjust_lr_fn not in _ADJUSTMENTS:
            raise InputError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        if len(ns_coefficients) != 3:
            raise InputError("Coefficients must be a tuple of exactly 3 values")
        if not 0 <= ns_steps < _MOST_ITERATIONS:
            raise InputError("Number of steps must be less than 100 for computational efficiency")
        super().__init__(params, {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn})
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise InputError("Muon only supports 2D parameters whereas we found a "
                                     f"parameter with size: {p.size()}")

    def switches(self, group: Mapping[str, Any]) -> dict[str, bool]:
        """Returns the switches: the iterations that are on, and the adjustment of the rate too."""
        return {**super().switches(group),
                **{f"ns_step_{k}": k < group["ns_steps"] for k in range(_MOST_ITERATIONS)},
                "match_rms_adamw": group["adjust_lr_fn"] == "match_rms_adamw",
                "far": group["momentum"] <= 0.5}

    def slots(self, on: Switches, p: Array) -> tuple[str, ...]:
        """Returns the name of the array of the state."""
        return ("momentum_buffer",)

    def numbers(self, group: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, float]:
        """Returns the numbers of a step."""
        lr, (a, b, c) = scalar(group["lr"]), group["ns_coefficients"]
        return {"lr": lr, "momentum": group["momentum"], "take": 1 - group["momentum"],
                "shrink": 1 - lr * group["weight_decay"], "a": a, "b": b, "c": c,
                "eps": group["eps"]}

    def update(self, p: Array, g: Array, state: State, n: Numbers, on: Switches
               ) -> tuple[Array, State]:
        """Returns the parameter and the momentum after the step."""
        mean = moved(state["momentum_buffer"], g, n["take"], on["far"])
        way = moved(g, mean, n["momentum"], not on["far"]) if on["nesterov"] else mean
        rows, columns = map(int, p.shape)
        ratio = (0.2 * max(rows, columns) ** 0.5 if on["match_rms_adamw"] else
                 max(1.0, rows / columns) ** 0.5)
        turned = rows > columns                  # the smaller of the two products with itself
        x = way.T if turned else way
        x = x / limited_below(x.norm(), n["eps"])
        for k in range(_MOST_ITERATIONS):
            if on[f"ns_step_{k}"]:
                gram = x @ x.T
                x = x * n["a"] + (gram * n["b"] + (gram @ gram) * n["c"]) @ x
        x = x.T if turned else x
        return p * n["shrink"] - x * (n["lr"] * ratio), {"momentum_buffer": mean}


def limited_below(x: Array, least: Any) -> Any:
    """Returns the larger of an array without dimensions and a number of `n`."""
    return x.maximum(least) if isinstance(least, Array) else x.clamp(min=least)


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

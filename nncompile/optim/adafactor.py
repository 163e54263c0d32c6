"""Adafactor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nncompile.array import Array
from nncompile.array.limits import finfo
from nncompile.optim.optimizer import Params, check_options, scalar
from nncompile.optim.rule import Numbers, Rule, State, Switches, ascending, moved, steps

__all__ = ["Adafactor"]


class Adafactor(Rule):
    """Scales the gradient by a variance that is kept as one row and one column of each matrix.

    eps: the least variance, by default the dtype's eps squared, and the least size that a step is
    relative to. d: the largest root mean square of a change before the learning rate.
    Source: Shazeer and Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost.
    Raises InputError for an option out of its range.
    """

    switched = ("weight_decay", "maximize")

    def __init__(self, params: Params, lr: Any = 1e-2, beta2_decay: float = -0.8,
                 eps: tuple[float | None, float] = (None, 1e-3), d: float = 1.0,
                 weight_decay: float = 0.0, *, foreach: bool | None = None, maximize: bool = False
                 ) -> None:
        check_options(
            (beta2_decay <= 0, f"beta2_decay should be <= 0 but is: {beta2_decay}"),
            (eps[0] is None or eps[0] >= 0, f"epsilon1 should be >= 0 but is: {eps[0]}"),
            (eps[1] >= 0, f"epsilon2 should be >= 0 but is: {eps[1]}"),
            (d >= 1, f"Clipping threshold d should be >= 1 but is: {d}"),
            (weight_decay >= 0, f"weight_decay should be >= 0 but is: {weight_decay}"), lr=lr)
        super().__init__(params, {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize})

    def switches(self, group: Mapping[str, Any]) -> dict[str, bool]:
        """Returns the switches, and whether the least variance is given."""
        return {**super().switches(group), "least": group["eps"][0] is not None}

    def slots(self, on: Switches, p: Array) -> tuple[str, ...]:
        """Returns the names of the arrays of the state."""
        return ("row_var", "col_var") if p.ndim > 1 else ("variance",)

    def initial(self, name: str, group: Mapping[str, Any], p: Array) -> Array:
        """Returns zeros of the shape of a column, a row or the parameter."""
        shape = list(p.numpy().shape)
        if name != "variance":
            shape[-1 if name == "row_var" else -2] = 1
        return Array(np.zeros(shape, p.numpy().dtype))

    def numbers(self, group: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, float]:
        """Returns the numbers of a step."""
        step, lr, (least, smallest) = steps(state), scalar(group["lr"]), group["eps"]
        return {"step": step, "take": step ** group["beta2_decay"], "rate": min(lr, 1 / step**0.5),
                "least": 0.0 if least is None else least, "smallest": smallest, "d": group["d"],
                "least_squared": 0.0 if least is None else least * least,
                "shrink": 1 - lr * group["weight_decay"]}

    def update(self, p: Array, g: Array, state: State, n: Numbers, on: Switches
               ) -> tuple[Array, State]:
        """Returns the parameter and the variances after the step."""
        g, eps = ascending(g, on), finfo(p.dtype).eps
        least, squared = (n["least"], n["least_squared"]) if on["least"] else (eps, eps * eps)
        rate = root_mean_square(p).clamp(min=n["smallest"]) * n["rate"]
        before = p * n["shrink"] if on["weight_decay"] else p
        if p.ndim > 1:
            row = moved(state["row_var"], (g * g).mean(-1, keepdim=True), n["take"])
            column = moved(state["col_var"], (g * g).mean(-2, keepdim=True), n["take"])
            variance = row @ column / row.mean(-2, keepdim=True).clamp(min=least)
            new = {"row_var": row, "col_var": column}
        else:
            variance = moved(state["variance"], g * g, n["take"])
            new = {"variance": variance}
        change = variance.clamp(min=squared).rsqrt() * g
        too_large = (root_mean_square(change) / n["d"]).clamp(min=1.0)
        return before - rate / too_large * change, new


def root_mean_square(x: Array) -> Any:
    """Returns the root of the mean of the squares of all numbers."""
    return x.norm() / x.numel() ** 0.5

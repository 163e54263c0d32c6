"""torch.amp.GradScaler, of which nothing is to be done: there is no half precision here."""

from __future__ import annotations

from typing import Any

__all__ = ["GradScaler"]


class GradScaler:
    """The scaler of a loop that was written for half precision, as torch has it without a GPU.

    Gradients in float32 need no scale: `scale` returns what it gets, `step` makes the optimizer's
    step, and the others do nothing.
    """

    def __init__(self, device: str = "cuda", init_scale: float = 2.0**16,
                 growth_factor: float = 2.0, backoff_factor: float = 0.5,
                 growth_interval: int = 2000, enabled: bool = True) -> None:
        """Takes torch's arguments; no scale is kept."""

    def scale(self, outputs: Any) -> Any:
        """Returns the loss, or the losses, as they are."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Does nothing: the gradients are what they are."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Makes the optimizer's step, with the arguments that follow it."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Does nothing."""

    def is_enabled(self) -> bool:
        """Returns False."""
        return False

    def get_scale(self) -> float:
        """Returns 1."""
        return 1.0

    def state_dict(self) -> dict[str, Any]:
        """Returns a dict without entries."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Does nothing."""

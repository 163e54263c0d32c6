"""What losses are for a model that makes them and computes none: their attributes and buffers.

A weight of classes is a buffer, and so a part of the state dict, as in torch. Called, a loss raises
Error: it belongs to training.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from nncompile.array import Array
from nncompile.nn.missing import MissingLayer
from nncompile.nn.module import Module


class _Loss(Module):
    """The base class of losses: `reduction` is "none", "mean" or "sum"."""

    reduction: str

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None,
                 reduction: str = "mean") -> None:
        super().__init__()
        if size_average is not None or reduce is not None:
            mean = size_average is None or size_average
            reduction = "none" if reduce is False else "mean" if mean else "sum"
        self.reduction = reduction


class _WeightedLoss(_Loss):
    """The base class of losses with a weight for each class, which is a buffer."""

    weight: Array | None

    def __init__(self, weight: Any = None, size_average: bool | None = None,
                 reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


# The arguments of the losses that are not here, by torch's names and in their order, with defaults.
_REDUCED = {"size_average": None, "reduce": None, "reduction": "mean"}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "BCELoss": {"weight": None, **_REDUCED},
    "BCEWithLogitsLoss": {"weight": None, **_REDUCED, "pos_weight": None},
    "CTCLoss": {"blank": 0, "reduction": "mean", "zero_infinity": False},
    "CosineEmbeddingLoss": {"margin": 0.0, **_REDUCED},
    "CrossEntropyLoss": {"weight": None, "size_average": None, "ignore_index": -100,
                         "reduce": None, "reduction": "mean", "label_smoothing": 0.0},
    "GaussianNLLLoss": {"full": False, "eps": 1e-6, "reduction": "mean"},
    "HingeEmbeddingLoss": {"margin": 1.0, **_REDUCED},
    "HuberLoss": {"reduction": "mean", "delta": 1.0},
    "KLDivLoss": {**_REDUCED, "log_target": False},
    "L1Loss": _REDUCED,
    "MSELoss": _REDUCED,
    "MarginRankingLoss": {"margin": 0.0, **_REDUCED},
    "MultiLabelMarginLoss": _REDUCED,
    "MultiLabelSoftMarginLoss": {"weight": None, **_REDUCED},
    "MultiMarginLoss": {"p": 1, "margin": 1.0, "weight": None, **_REDUCED},
    "NLLLoss": {"weight": None, "size_average": None, "ignore_index": -100, "reduce": None,
                "reduction": "mean"},
    "PoissonNLLLoss": {"log_input": True, "full": False, "size_average": None, "eps": 1e-8,
                       "reduce": None, "reduction": "mean"},
    "SmoothL1Loss": {**_REDUCED, "beta": 1.0},
    "SoftMarginLoss": _REDUCED,
    "TripletMarginLoss": {"margin": 1.0, "p": 2.0, "eps": 1e-6, "swap": False, **_REDUCED},
    "TripletMarginWithDistanceLoss": {"distance_function": None, "margin": 1.0, "swap": False,
                                      "reduction": "mean"},
}


class MissingLoss(MissingLayer, _Loss):
    """A loss of torch's that can be made, with its attributes and buffers, and refuses to compute.
    """

    _arguments: ClassVar[dict[str, Any]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = self._arguments | dict(zip(self._arguments, args, strict=False)) | kwargs
        _Loss.__init__(self, given.pop("size_average", None), given.pop("reduce", None),
                       given.pop("reduction"))
        for name, value in given.items():
            if name in ("weight", "pos_weight") and isinstance(value, np.ndarray | Array | None):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)


def missing_loss(name: str) -> type[MissingLayer]:
    """Returns the base class of a loss that is not here, by its name in torch.nn."""
    if name not in ARGUMENTS:
        return MissingLayer
    return type(name, (MissingLoss,), {"_arguments": ARGUMENTS[name]})

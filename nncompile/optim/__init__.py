"""Optimizers with the names, arguments, updates and state dicts of torch.optim's."""

from typing import TYPE_CHECKING

from nncompile.optim.adam import Adam
from nncompile.optim.adamw import AdamW
from nncompile.optim.optimizer import Optimizer
from nncompile.optim.sgd import SGD
from nncompile.placeholders import getter

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

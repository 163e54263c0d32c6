"""Optimizers with the names, arguments, updates and state dicts of torch.optim's."""

from typing import TYPE_CHECKING

from nncompile.optim.adadelta import Adadelta
from nncompile.optim.adafactor import Adafactor
from nncompile.optim.adagrad import Adagrad
from nncompile.optim.adam import Adam
from nncompile.optim.adamax import Adamax
from nncompile.optim.adamw import AdamW
from nncompile.optim.asgd import ASGD
from nncompile.optim.lbfgs import LBFGS
from nncompile.optim.muon import Muon
from nncompile.optim.nadam import NAdam
from nncompile.optim.optimizer import Optimizer
from nncompile.optim.radam import RAdam
from nncompile.optim.rmsprop import RMSprop
from nncompile.optim.rprop import Rprop
from nncompile.optim.sgd import SGD
from nncompile.optim.sparse_adam import SparseAdam
from nncompile.placeholders import getter

__all__ = ["ASGD", "LBFGS", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax",
           "Muon", "NAdam", "Optimizer", "RAdam", "RMSprop", "Rprop", "SparseAdam"]


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

"""Averages of the weights of a training, with torch.optim.swa_utils' names and arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import chain
from typing import TYPE_CHECKING, Any

from nncompile.array import Array
from nncompile.array.creation import tensor
from nncompile.array.gradients import no_grad
from nncompile.errors import InputError
from nncompile.nn.module import Module
from nncompile.nn.normalization import _BatchNorm
from nncompile.nn.parameter import Buffer
from nncompile.optim.lr_scheduler import LRScheduler, _for_groups
from nncompile.optim.optimizer import Optimizer
from nncompile.placeholders import getter

__all__ = ["SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn",
           "get_swa_multi_avg_fn", "update_bn"]

_Average = Callable[[Array, Array, Any], Any]
_Averages = Callable[[Sequence[Array], Sequence[Array], Any], None]


def get_ema_avg_fn(decay: float = 0.999) -> _Average:
    """Returns the step of an exponential average: decay * average + (1 - decay) * current.

    Raises InputError for a decay outside of [0, 1].
    """
    if not 0 <= decay <= 1:
        raise InputError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] "
                         "range.")

    def ema_update(ema_param: Array, current_param: Array, num_averaged: Any) -> Any:
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn() -> _Average:
    """Returns the step of the mean of all: the n-th moves it by 1 / (n + 1) of the way."""
    def swa_update(averaged_param: Array, current_param: Array, num_averaged: Any) -> Any:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


def get_ema_multi_avg_fn(decay: float = 0.999) -> _Averages:
    """Returns the step of exponential averages of several arrays, in place.

    Raises InputError for a decay outside of [0, 1].
    """
    return _in_place(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> _Averages:
    """Returns the step of the means of several arrays, in place."""
    return _in_place(get_swa_avg_fn())


def _in_place(average: _Average) -> _Averages:
    def update(averaged: Sequence[Array], current: Sequence[Array], num_averaged: Any) -> None:
        with no_grad():
            for a, b in zip(averaged, current, strict=True):
                a.copy_(average(a, b, num_averaged))

    return update


class AveragedModel(Module):
    """A copy of a model whose parameters are averages of those that the model has had.

    avg_fn: the step of the average of one parameter, multi_avg_fn: of all of them in place; by
    default the mean. use_buffers: whether buffers are averaged, too; else they are the model's.
    Source: Izmailov et al. (2018), Averaging Weights Leads to Wider Optima and Better
    Generalization.
    Raises InputError where both functions are given.
    """

    n_averaged: Array

    def __init__(self, model: Module, device: Any = None, avg_fn: _Average | None = None,
                 multi_avg_fn: _Averages | None = None, use_buffers: bool = False) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise InputError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module.to(device)
        self.n_averaged = Buffer(tensor(0))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Takes the model's parameters, as they are now, into the averages."""
        averaged, current = (self._averaged_of(m) for m in (self.module, model))
        with no_grad():
            if int(self.n_averaged) == 0:
                for a, b in zip(averaged, current, strict=True):
                    a.copy_(b)
            else:
                average = self.multi_avg_fn or _in_place(self.avg_fn or get_swa_avg_fn())
                average(averaged, current, int(self.n_averaged))
            if not self.use_buffers:
                for a, b in zip(self.module.buffers(), model.buffers(), strict=True):
                    a.copy_(b.detach())
            self.n_averaged += 1

    def _averaged_of(self, model: Module) -> list[Any]:
        arrays = chain(model.parameters(), model.buffers()) if self.use_buffers else (
            model.parameters())
        return [array.detach() for array in arrays]


def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Computes the running statistics of a model's batch norms anew, from all batches of a loader.

    A batch is an input, or a list or tuple that begins with it.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    momenta, was_training = [norm.momentum for norm in norms], model.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    with no_grad():
        for batch in loader:
            model(batch[0] if isinstance(batch, list | tuple) else batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """Goes from each learning rate to a constant one in anneal_epochs steps, by "cos" or "linear".

    Raises InputError for another strategy, and for a negative number of steps.
    """

    def __init__(self, optimizer: Optimizer, swa_lr: Any, anneal_epochs: int = 10,
                 anneal_strategy: str = "cos", last_epoch: int = -1) -> None:
        for group, lr in zip(optimizer.param_groups, _for_groups("swa_lr", optimizer, swa_lr),
                             strict=True):
            group["swa_lr"] = lr
        if anneal_strategy not in ("cos", "linear"):
            raise InputError("anneal_strategy must be one of 'cos' or 'linear', instead got "
                             f"{anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise InputError("anneal_epochs must be equal or greater than 0, got "
                             f"{anneal_epochs}")
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Returns the next learning rates."""
        self._warn_outside()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._part(step - 1), self._part(step)
        rates = []
        for group in self.optimizer.param_groups:
            last = group["swa_lr"]
            first = last if before == 1 else (group["lr"] - before * last) / (1 - before)
            rates.append(last * now + first * (1 - now))
        return rates

    def _part(self, step: int) -> float:
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)

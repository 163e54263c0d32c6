"""Hooks that a compiled step could not call: it refuses them, whenever they were registered."""

from __future__ import annotations

from collections.abc import Iterable

from nncompile.errors import InputError
from nncompile.nn import Module
from nncompile.optim.optimizer import step_hooks
from nncompile.optim.rule import Rule
from nncompile.training.step_graph import Trained


def check_no_hooks(model: Module, optimizer: Rule, trained: Iterable[Trained]) -> None:
    """Raises InputError where a parameter, a module or the optimizer's step has hooks."""
    if step_hooks(optimizer):
        raise InputError(f"{type(optimizer).__name__} has hooks of its step, which a compiled step "
                         "does not call: remove them, or call optimizer.step()")
    for each in trained:
        if each.array._hooks or each.array._hooks_behind:
            raise InputError(f"the parameter {each.name} has hooks on its gradient, which a "
                             "compiled step cannot call: remove them, or train it with "
                             "loss.backward()")
    for module in model.modules():
        if module._backward_hooks or module._backward_pre_hooks:
            raise InputError(f"a {type(module).__name__} has hooks on the way back, which a "
                             "compiled step cannot call: remove them, or train it with "
                             "loss.backward()")

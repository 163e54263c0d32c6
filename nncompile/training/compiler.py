"""The road from a model, a loss and an optimizer to a compiled step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import ir
from nncompile.array.tape import bare
from nncompile.errors import InputError
from nncompile.model import CompiledModel
from nncompile.nn import Module
from nncompile.optim.optimizer import Optimizer
from nncompile.optim.rule import Rule
from nncompile.training.hooks import check_no_hooks
from nncompile.training.objective import trace_loss
from nncompile.training.step import TrainStep
from nncompile.training.step_graph import step_graph, trained_parameters


def compile_step(model: Module, inputs: tuple[Any, ...], loss: Callable[..., Any] | None,
                 optimizer: Any, clip_norm: float | None, accumulate: int,
                 compile_graph: Callable[[ir.Graph], CompiledModel]) -> TrainStep:
    """Returns a compiled step; `nncompile.compile` says what its arguments are.

    compile_graph: compiles a graph with states.
    """
    _check(model, optimizer, loss, clip_norm, accumulate)
    traced = trace_loss(model, loss, inputs)
    if not traced.nesting.inputs.is_flat:
        raise InputError("a step takes arrays only, and none in tuples, lists or dicts: give the "
                         "model a forward with an argument for each")
    trained = trained_parameters(traced, optimizer, accumulate > 1)
    check_no_hooks(model, optimizer, [each for each, _ in trained])
    share = 1.0 / accumulate
    name = f"{type(model).__name__}_step"
    graphs = [step_graph(name, traced, optimizer, trained, clip_norm, share,
                         accumulates=accumulate > 1)]
    if accumulate > 1:
        graphs.append(step_graph(f"{name}_before", traced, optimizer, trained, None, share,
                                 applies=False, accumulates=True))
    steps = [(graph, compile_graph(graph.graph)) for graph in graphs]
    again = partial(compile_step, model, inputs, loss, optimizer, clip_norm, accumulate,
                    compile_graph)
    held = {id(bare(array._payload)): array for array in (*model.parameters(), *model.buffers())}
    buffers = [held[id(traced.graph.data[value])] for value in traced.kept]
    return TrainStep(model, optimizer, [each for each, _ in trained], buffers, steps, accumulate,
                     again)


def _check(model: Any, optimizer: Any, loss: Any, clip_norm: float | None, accumulate: int
           ) -> None:
    """Raises an error for arguments from which no step can be made."""
    if not isinstance(model, Module):
        raise InputError(f"a step trains an nn.Module, not {type(model).__name__}")
    if optimizer is None:
        raise InputError("a training step needs optimizer=, one of nncompile.optim")
    if not isinstance(optimizer, Rule):
        eager = isinstance(optimizer, Optimizer)
        do = ("call optimizer.step() after loss.backward()" if eager else
              "nncompile.optim has those of torch.optim")
        raise InputError(f"{type(optimizer).__name__} cannot be compiled into a step: {do}")
    if loss is not None and not callable(loss):
        raise InputError(f"loss= is a module or a function, not {type(loss).__name__}")
    if clip_norm is not None and not clip_norm > 0:
        raise InputError(f"clip_norm= is a positive number, not {clip_norm}")
    if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1:
        raise InputError(f"accumulate= counts steps, from 1, and is {accumulate!r}")

"""nncompile bench --train: a training step of a model beside those of other libraries."""
from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

from nncompile.cli.command import Given
from nncompile.errors import InputError
from nncompile.modelfile import guessed_inputs, load_model
from nncompile.nn import Module
from nncompile.optim.rule import Rule

PEERS = ("torch", "torch.compile", "jax")
_BATCHES = (32, 256)
# Options of nncompile bench that say nothing of steps, and what they are without being given.
_NO_MEANING: dict[str, Any] = {
    "target": "cpu", "scenario": "latency", "callers": 1, "rotate": None, "qps": None,
    "p99_ms": None, "rtol": 2e-5, "atol": None, "trace": None, "compare": None,
    "fail_if_slower": None, "limits": (), "save": ()}


def bench_train(given: Given) -> int:
    """Prints a row for each batch size and number of threads; 1 where a contender differs."""
    from nncompile.bench.training import OURS, FilePlan, measure_steps, ratio_of

    _check(given)
    plan = FilePlan(given.model, tuple(_inputs(given)), given.loss, dict(given.size))
    peers = _peers(given)
    rows: list[dict[str, Any]] = []
    differs = False
    for batch in given.batch or _BATCHES:
        for threads in given.threads:
            try:
                row = measure_steps(plan, batch, given.train, threads, peers, given.rounds,
                                    given.seconds or 0.05)
            except RuntimeError as error:
                raise InputError(f"{given.model} makes no step: {error}") from None
            if not rows:
                print(f"{given.model}, {given.train}: microseconds a step; x is the time of the "
                      "best peer divided by ours; products: what the multiply-adds of our\n"
                      "products would take alone, at the rate that this CPU reaches in registers\n")
            rows.append({"batch": batch, "threads": threads, **row})
            cells = [f"{name} {row['seconds'][name] * 1e6:,.1f}" if name in row["seconds"]
                     else f"{name}: {row['notes'].get(name, '')}" for name in (OURS, *peers)]
            ratio = ratio_of(row)
            print(f"batch {batch}, {threads} thread{'s' * (threads > 1)}: " + ", ".join(cells)
                  + (f"; x {ratio:.2f}" if ratio else "")
                  + f"; products {row['products'] * 1e6:,.1f}"
                  + f"   (other processes: {row['others']:.2f} CPUs)", flush=True)
            differs = differs or "differs" in row["notes"].values()
    if given.json is not None:
        from nncompile.statefile import replace_file
        replace_file(given.json, json.dumps({"model": given.model, "optimizer": given.train,
                                             "rows": rows}, indent=1).encode())
    return int(differs)


def _check(given: Given) -> None:
    """Raises InputError for options that have no meaning here, and for what is not there."""
    from nncompile import nn, optim
    from nncompile.placeholders import is_placeholder

    for name, default in _NO_MEANING.items():
        if getattr(given, name) != default:
            flag = {"limits": "assert"}.get(name, name).replace("_", "-")
            raise InputError(f"--{flag} has no meaning with --train")
    kind = getattr(optim, given.train, None)
    if not (isinstance(kind, type) and issubclass(kind, Rule)):
        kinds = {name: getattr(optim, name) for name in optim.__all__}
        known = ", ".join(n for n, k in kinds.items() if issubclass(k, Rule))
        raise InputError(f"--train {given.train}: there is no such optimizer; there are {known}")
    loss = getattr(nn, given.loss or "MSELoss", None)
    if loss is None or is_placeholder(loss):
        raise InputError(f"--loss {given.loss}: nncompile.nn has no such loss")
    if unknown := [name for name in given.vs or () if name not in PEERS]:
        raise InputError(f"there is no peer {unknown[0]} of a training step; there are "
                         f"{', '.join(PEERS)}")


def _peers(given: Given) -> tuple[str, ...]:
    """Returns the peers that were asked for, or those that are installed."""
    if given.vs is not None:
        return tuple(given.vs)
    return tuple(name for name in PEERS if find_spec(name.partition(".")[0]))


def _inputs(given: Given) -> list[str]:
    """Returns the types of the model's arguments and of what the loss compares with."""
    model, declared = load_model(given.model)
    if not isinstance(model, Module):
        raise InputError(f"{given.model} is no Module of nncompile: --train needs one in a "
                         "file.py:name")
    if any(module._unlike_eval() for module in model.train().modules()):
        print("dropout draws and norms of batches count in training: all contenders train the "
              "model in eval mode\n")
    inputs = list(given.input or declared or guessed_inputs(
        model, given.model.rpartition(":")[2]))
    if not all(isinstance(each, str) and "[" in each for each in inputs):
        raise InputError('--train takes types as inputs, such as --input "f32[B, 64]", and draws '
                         "the numbers")
    if given.input or given.loss is None:
        return inputs
    raise InputError("--train with --loss needs the type of what the loss compares with behind "
                     'those of the model: --input "f32[B, 64]" --input "i64[B]"')

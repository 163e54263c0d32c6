"""A whole training step of each library, of the nets.

A contender is built by a function (net, batch, optimizer, threads) -> Steps. All begin with the
same weights, which they read in the order of `named_parameters`, and see the same batch each time.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.train.nets import NETS, Net
from nncompile.bench.peers import load_python, needed, sizes_of, write_python
from nncompile.bench.training import OURS, RATE, Steps, jax_steps, torch_steps
from nncompile.bench.work import flops


def _ours(net: Net, batch: int, optimizer: str, threads: int) -> Steps:
    import nncompile
    from nncompile import nn, optim
    model = net.build(nn)
    _set(model, net)
    shape = ", ".join(map(str, ("B", *net.shape)))
    rule = getattr(optim, optimizer)(model.parameters(), lr=RATE)
    step = nncompile.compile(model, f"{net.dtype}[{shape}]", "i64[B]", loss=nn.CrossEntropyLoss(),
                             optimizer=rule, threads=threads)
    x, y = net.data(batch)
    return Steps(lambda: step(x, y), lambda: [p.detach().numpy() for p in model.parameters()],
                 flops(step.ir(), {"B": batch}))


def _set(model: Any, net: Net) -> None:
    """Gives a model of ours or of torch the first weights."""
    parameters = dict(model.named_parameters())
    values = net.weights([tuple(p.shape) for p in parameters.values()])
    model.load_state_dict(dict(zip(parameters, values, strict=True)), strict=False)


def _torch(net: Net, batch: int, optimizer: str, threads: int) -> Steps:
    return _torch_steps(net, batch, optimizer, threads, compiled=False)


def _torch_compile(net: Net, batch: int, optimizer: str, threads: int) -> Steps:
    """The forward, the loss and the backward are compiled, and the fused optimizer is called."""
    return _torch_steps(net, batch, optimizer, threads, compiled=True)


def _torch_steps(net: Net, batch: int, optimizer: str, threads: int, compiled: bool) -> Steps:
    torch = needed("torch")
    model = net.build(torch.nn)
    parameters = list(model.parameters())
    with torch.no_grad():
        for p, value in zip(parameters, net.weights([tuple(p.shape) for p in parameters]),
                            strict=True):
            p.copy_(torch.tensor(value))
    loss_of = torch.nn.CrossEntropyLoss()
    return torch_steps(lambda x, y: loss_of(model(x), y), parameters, net.data(batch), optimizer,
                       threads, compiled)


def _jax(net: Net, batch: int, optimizer: str, threads: int) -> Steps:
    """The model as JAX code made of our traced graph; the whole step under one jit.

    Weights and the optimizer's state are donated.
    """
    jax, jnp = needed("jax"), needed("jax.numpy")
    import nncompile
    from nncompile import nn
    model = net.build(nn)
    _set(model, net)
    x, y = net.data(batch)
    shape = ", ".join(map(str, ("B", *net.shape)))
    graph = nncompile.trace(model, f"{net.dtype}[{shape}]")
    source = write_python(graph, sizes_of(graph, [x]), "jax")
    by_name = {name: p.detach().numpy() for name, p in model.named_parameters()}
    trained = [p.name in by_name for p in graph.params]
    params = [np.array(graph.data[p]) for p in graph.params]

    def loss_of(weights: Sequence[Any], x: Any, y: Any) -> Any:
        own = iter(weights)
        every = [next(own) if t else p for p, t in zip(params, trained, strict=True)]
        logits = load_python(source, {"jax": jax, "jnp": jnp}, every)(x)[0]
        return -jax.nn.log_softmax(logits)[jnp.arange(batch), y].mean()

    made = jax_steps(loss_of, [p for p, t in zip(params, trained, strict=True) if t], (x, y),
                     optimizer)
    names = [p.name for p, t in zip(graph.params, trained, strict=True) if t]

    def now() -> list[Any]:
        found = dict(zip(names, made.weights(), strict=True))
        return [found[name] for name in by_name]

    return Steps(made.step, now)


def _sklearn(net: Net, batch: int, optimizer: str, threads: int) -> Steps:
    """MLPClassifier.partial_fit of the whole batch: a step, without a penalty on the weights."""
    networks = needed("sklearn.neural_network")
    from threadpoolctl import threadpool_limits
    threadpool_limits(threads)
    if not net.layers or net.classes < 3:        # of two classes it trains a logistic output
        raise ValueError("scikit-learn has no such model")
    x, y = net.data(batch)
    model = networks.MLPClassifier(net.layers[1:-1], solver=optimizer.lower(), alpha=0.0,
                                   batch_size=batch, learning_rate_init=RATE, momentum=0.0,
                                   nesterovs_momentum=False, shuffle=False)
    model.partial_fit(x, y, classes=range(net.classes))
    shapes = [s for w in model.coefs_ for s in (w.T.shape, w.shape[1:])]
    values = net.weights(shapes)
    for i in range(len(model.coefs_)):
        model.coefs_[i][...], model.intercepts_[i][...] = values[2 * i].T, values[2 * i + 1]
    rule = model._optimizer
    for name in ("ms", "vs", "velocities"):
        for array in getattr(rule, name, ()):
            array[...] = 0.0
    rule.t = 0

    def step() -> float:
        model.partial_fit(x, y)
        return float(model.loss_)

    return Steps(step, lambda: [a for w, b in zip(model.coefs_, model.intercepts_, strict=True)
                                for a in (w.T, b)])


CONTENDERS: Mapping[str, Callable[[Net, int, str, int], Steps]] = {
    OURS: _ours, "torch": _torch, "torch.compile": _torch_compile, "jax": _jax,
    "scikit-learn": _sklearn}


@dataclass(frozen=True)
class NetPlan:
    """One of the nets, by its name."""

    net: str

    def steps(self, contender: str, batch: int, optimizer: str, threads: int) -> Steps:
        """Returns the step of a library."""
        return CONTENDERS[contender](NETS[self.net], batch, optimizer, threads)

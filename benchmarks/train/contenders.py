"""A whole training step of each library, in a process of its own.

A contender is built by a function (net, batch, optimizer, threads) -> Steps. All begin with the
same weights, which they read in the order of `named_parameters`, and see the same batch each time.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.train.nets import NETS, Net
from ir.types import NDArray
from nncompile.bench.laps import Lap, lap
from nncompile.bench.peers import load_python, needed, sizes_of, write_python

RATE = 1e-5       # so small that nothing is learnt: where gradients vanish, a step is slower


@dataclass(frozen=True)
class Steps:
    """A step, which returns the loss once it is there, and the weights after the steps so far."""

    step: Callable[[], Any]
    weights: Callable[[], Sequence[Any]]


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
    return Steps(lambda: step(x, y), lambda: [p.detach().numpy() for p in model.parameters()])


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
    torch.set_num_threads(threads)
    model = net.build(torch.nn)
    parameters = list(model.parameters())
    with torch.no_grad():
        for p, value in zip(parameters, net.weights([tuple(p.shape) for p in parameters]),
                            strict=True):
            p.copy_(torch.tensor(value))
    rule = getattr(torch.optim, optimizer)(parameters, lr=RATE, fused=True)
    loss_of = torch.nn.CrossEntropyLoss()
    x, y = map(torch.tensor, net.data(batch))

    def forward(x: Any, y: Any) -> Any:
        return loss_of(model(x), y)

    run = torch.compile(forward, dynamic=False, fullgraph=True) if compiled else forward

    def step() -> Any:
        rule.zero_grad(set_to_none=True)
        loss = run(x, y)
        loss.backward()
        rule.step()
        return loss.detach()

    return Steps(step, lambda: [p.detach().numpy() for p in parameters])


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
    params = [jax.device_put(np.array(graph.data[p])) for p in graph.params]
    fixed = [p for p, t in zip(params, trained, strict=True) if not t]

    def loss_of(weights: Sequence[Any], x: Any, y: Any) -> Any:
        own, rest = iter(weights), iter(fixed)
        every = [next(own) if t else next(rest) for t in trained]
        logits = load_python(source, {"jax": jax, "jnp": jnp}, every)(x)[0]
        return -jax.nn.log_softmax(logits)[jnp.arange(batch), y].mean()

    def adam(w: Any, g: Any, m: Any, v: Any, t: Any) -> Any:
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        scale = jnp.sqrt(1 - 0.999 ** t)
        return w - RATE / (1 - 0.9 ** t) * m / (jnp.sqrt(v) / scale + 1e-8), m, v

    def step(weights: Any, ms: Any, vs: Any, t: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(weights, x, y)
        if optimizer == "SGD":
            return loss, [w - RATE * g for w, g in zip(weights, grads, strict=True)], ms, vs, t + 1
        new = [adam(*each, t) for each in zip(weights, grads, ms, vs, strict=True)]
        return (loss, *(list(each) for each in zip(*new, strict=True)), t + 1)

    run = jax.jit(step, donate_argnums=(0, 1, 2, 3))
    weights = [p for p, t in zip(params, trained, strict=True) if t]
    state = [weights, *([jnp.zeros_like(w) for w in weights] for _ in range(2)), jnp.float32(1)]
    given = [jax.device_put(x), jax.device_put(y)]

    def one() -> Any:
        loss, *state[:] = run(*state, *given)
        return jax.block_until_ready(loss)

    names = [p.name for p, t in zip(graph.params, trained, strict=True) if t]

    def now() -> list[Any]:
        found = dict(zip(names, state[0], strict=True))
        return [found[name] for name in by_name]

    return Steps(one, now)


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


OURS = "nncompile"
CONTENDERS: Mapping[str, Callable[[Net, int, str, int], Steps]] = {
    OURS: _ours, "torch": _torch, "torch.compile": _torch_compile, "jax": _jax,
    "scikit-learn": _sklearn}


class Contender:
    """A contender in a process of its own, which has as many CPUs as the row has threads."""

    def __init__(self, name: str, net: str, batch: int, optimizer: str, threads: int) -> None:
        here, there = get_context("spawn").Pipe()
        self._process = get_context("spawn").Process(
            target=_serve, args=(there, name, net, batch, optimizer, threads), daemon=True)
        self._process.start()
        there.close()
        self._pipe = here
        self.pid = self._process.pid or 0

    def first(self, count: int) -> tuple[list[float], list[NDArray]]:
        """Returns the losses of the first steps, and the weights after them."""
        losses, weights = self._answer(("first", count))
        return losses, weights

    def time(self, count: int) -> Lap:
        """Returns the time of a step, the mean of so many."""
        return Lap(*self._answer(("time", count)))

    def _answer(self, question: tuple[str, int]) -> Any:
        self._pipe.send(question)
        try:
            kind, answer = self._pipe.recv()
        except EOFError:
            raise RuntimeError("its process ended") from None
        if kind == "error":
            raise RuntimeError(answer)
        return answer

    def close(self) -> None:
        """Ends the process."""
        self._process.terminate()
        self._process.join()


def _serve(pipe: Connection, name: str, net: str, batch: int, optimizer: str, threads: int
           ) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[-threads:])
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    made: Steps | None = None
    while True:
        try:
            what, count = pipe.recv()
        except EOFError:
            return
        try:
            made = made or CONTENDERS[name](NETS[net], batch, optimizer, threads)
            if what == "first":
                losses = [float(made.step()) for _ in range(count)]
                pipe.send(("done", (losses, [np.array(w) for w in made.weights()])))
            else:
                pipe.send(("done", tuple(lap(made.step, count))))
        except Exception as error:
            pipe.send(("error", f"{type(error).__name__}: {str(error).splitlines()[:1]}"))

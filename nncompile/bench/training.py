"""Training steps beside those of other libraries, each in a process of its own.

A plan says what a step is: it makes the whole step of a library, by its name. All contenders of a
plan begin with the same weights and see the same batch each time. What they make of both is
compared before any time is taken.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np

from ir.records import dataclass
from ir.types import NDArray
from nncompile.bench.clock import Clock
from nncompile.bench.contender import PEAK
from nncompile.bench.laps import Lap, lap
from nncompile.bench.machine import busy_since_now
from nncompile.bench.measure import PARK
from nncompile.bench.peers import Unavailable, load_python, needed, write_python
from nncompile.bench.work import flops
from nncompile.cpu.machine.ceilings import peak

OURS = "nncompile"
STEPS = 5                     # steps before the weights are compared
RATE = 1e-5       # so small that nothing is learnt: where gradients vanish, a step is slower
_LOSS, _WEIGHTS = 2e-4, 2e-3  # the most that losses differ, and the share of weights that may


@dataclass(frozen=True)
class Steps:
    """A step, which returns the loss once it is there, and the weights after the steps so far.

    flops: the floating-point operations of the step's matrix products, where they are known.
    """

    step: Callable[[], Any]
    weights: Callable[[], Sequence[Any]]
    flops: int = 0


class Plan(Protocol):
    """What is trained; it is pickled, for the contenders' processes."""

    def steps(self, contender: str, batch: int, optimizer: str, threads: int) -> Steps:
        """Returns the step of a library. Raises an exception where it has no such step."""


# -- the loops of the libraries --------------------------------------------------------------------

def torch_steps(forward: Callable[..., Any], parameters: Sequence[Any], arrays: Sequence[NDArray],
                optimizer: str, threads: int, compiled: bool) -> Steps:
    """Returns torch's loop with the fused optimizer.

    forward: makes the loss of the arrays. compiled: the forward and its backward are compiled, with
    fixed sizes.
    """
    torch = needed("torch")
    torch.set_num_threads(threads)
    kind = getattr(torch.optim, optimizer)
    try:
        rule = kind(parameters, lr=RATE, fused=True)
    except TypeError:                            # an optimizer that has no fused form
        rule = kind(parameters, lr=RATE)
    given = [torch.tensor(array) for array in arrays]
    run = torch.compile(forward, dynamic=False, fullgraph=True) if compiled else forward

    def step() -> Any:
        rule.zero_grad(set_to_none=True)
        loss = run(*given)
        loss.backward()
        rule.step()
        return loss.detach()

    return Steps(step, lambda: [p.detach().numpy() for p in parameters])


def jax_steps(loss_of: Callable[..., Any], weights: Sequence[NDArray], arrays: Sequence[NDArray],
              optimizer: str) -> Steps:
    """Returns the whole step under one jit, whose weights and optimizer's state are donated.

    loss_of: makes the loss of a list of weights and the arrays. Raises Unavailable for another
    optimizer than Adam and SGD.
    """
    jax, jnp = needed("jax"), needed("jax.numpy")
    if optimizer not in ("Adam", "SGD"):
        raise Unavailable(f"{optimizer} is not written for jax")

    def adam(w: Any, g: Any, m: Any, v: Any, t: Any) -> Any:
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        scale = jnp.sqrt(1 - 0.999 ** t)
        return w - RATE / (1 - 0.9 ** t) * m / (jnp.sqrt(v) / scale + 1e-8), m, v

    def step(weights: Any, ms: Any, vs: Any, t: Any, *given: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(weights, *given)
        if optimizer == "SGD":
            return loss, [w - RATE * g for w, g in zip(weights, grads, strict=True)], ms, vs, t + 1
        new = [adam(*each, t) for each in zip(weights, grads, ms, vs, strict=True)]
        return (loss, *(list(each) for each in zip(*new, strict=True)), t + 1)

    run = jax.jit(step, donate_argnums=(0, 1, 2, 3))
    begun = [jax.device_put(np.array(w)) for w in weights]
    state = [begun, *([jnp.zeros_like(w) for w in begun] for _ in range(2)), jnp.float32(1)]
    given = [jax.device_put(array) for array in arrays]

    def one() -> Any:
        loss, *state[:] = run(*state, *given)
        return jax.block_until_ready(loss)

    return Steps(one, lambda: state[0])


# -- a model of a file -----------------------------------------------------------------------------

@dataclass(frozen=True)
class FilePlan:
    """A model `file.py:name` with a loss of torch.nn, or with its own: then forward returns it.

    inputs: the types of the arguments, and behind them of what the loss compares with. The peers
    run the traced graph of the loss, written in their own functions, and differentiate that.
    """

    model: str
    inputs: tuple[str, ...]
    loss: str | None
    sizes: Mapping[str, int]

    def steps(self, contender: str, batch: int, optimizer: str, threads: int) -> Steps:
        """Returns the step of a library."""
        import nncompile
        from nncompile import nn, optim
        from nncompile.bench.inputs import random_inputs
        from nncompile.bench.measure import batch_sizes
        from nncompile.modelfile import load_model
        from nncompile.training.objective import trace_loss

        nncompile.manual_seed(0)
        np.random.seed(0)                        # of files that draw by it
        model = load_model(self.model)[0].train()
        loss = getattr(nn, self.loss)() if self.loss else None
        traced = trace_loss(model, loss, self.inputs)
        if traced.draws or traced.kept:
            model.eval()                         # what draws or counts differs in each library
            traced = trace_loss(model, loss, self.inputs)
        graph = traced.graph
        sizes = batch_sizes(graph, batch, dict(self.sizes))
        arrays = random_inputs(graph, sizes)
        if contender == OURS:
            rule = getattr(optim, optimizer)(model.parameters(), lr=RATE)
            step = nncompile.compile(model, *self.inputs, loss=loss, optimizer=rule,
                                     threads=threads)
            return Steps(lambda: step(*arrays),
                         lambda: [p.detach().numpy() for p in step._parameters],
                         flops(step.ir(), sizes))
        held = {id(p.detach().numpy()) for p in model.parameters()}
        trained = [id(graph.data[p]) in held for p in graph.params]
        data = [np.array(graph.data[p]) for p in graph.params]
        language: Any = "jax" if contender == "jax" else "torch"
        source = write_python(graph, sizes, language)
        if contender == "jax":
            return self._jax(source, data, trained, arrays, optimizer)
        return self._torch(source, data, trained, arrays, optimizer, threads,
                           contender == "torch.compile")

    def _torch(self, source: str, data: Sequence[NDArray], trained: Sequence[bool],
               arrays: Sequence[NDArray], optimizer: str, threads: int, compiled: bool) -> Steps:
        torch = needed("torch")
        tensors = [torch.tensor(a).requires_grad_(t) for a, t in zip(data, trained, strict=True)]
        names = {"torch": torch, "F": needed("torch.nn.functional")}
        run = load_python(source, names, tensors)
        return torch_steps(lambda *given: run(*given)[0],
                           [p for p in tensors if p.requires_grad], arrays, optimizer, threads,
                           compiled)

    def _jax(self, source: str, data: Sequence[NDArray], trained: Sequence[bool],
             arrays: Sequence[NDArray], optimizer: str) -> Steps:
        names = {"jax": needed("jax"), "jnp": needed("jax.numpy")}

        def loss_of(weights: Sequence[Any], *given: Any) -> Any:
            own = iter(weights)
            every = [next(own) if t else a for a, t in zip(data, trained, strict=True)]
            return load_python(source, names, every)(*given)[0]

        return jax_steps(loss_of, [a for a, t in zip(data, trained, strict=True) if t], arrays,
                         optimizer)


# -- processes, and a row of figures ---------------------------------------------------------------

class TrainingContender:
    """A contender in a process of its own, which has as many CPUs as the row has threads."""

    def __init__(self, plan: Plan, name: str, batch: int, optimizer: str, threads: int) -> None:
        here, there = get_context("spawn").Pipe()
        self._process = get_context("spawn").Process(
            target=_serve, args=(there, plan, name, batch, optimizer, threads), daemon=True)
        self._process.start()
        there.close()
        self._pipe = here
        self.pid = self._process.pid or 0

    def first(self, count: int) -> tuple[list[float], list[NDArray]]:
        """Returns the losses of the first steps, and the weights after them."""
        losses, weights = self._answer(("first", count))
        return losses, weights

    def flops(self) -> int:
        """Returns the floating-point operations of a step's products, where they are known."""
        count: int = self._answer(("flops", 0))
        return count

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


def _serve(pipe: Connection, plan: Plan, name: str, batch: int, optimizer: str, threads: int
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
            made = made or plan.steps(name, batch, optimizer, threads)
            if what == "first":
                losses = [float(made.step()) for _ in range(count)]
                pipe.send(("done", (losses, [np.array(w) for w in made.weights()])))
            elif what == "flops":
                pipe.send(("done", made.flops))
            else:
                pipe.send(("done", tuple(lap(made.step, count))))
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            pipe.send(("error", f"{type(error).__name__}: {first}"))


def measure_steps(plan: Plan, batch: int, optimizer: str, threads: int, peers: Sequence[str],
                  rounds: int, seconds: float) -> dict[str, Any]:
    """Returns a row: of each contender the least seconds of a step, or a note why it has none.

    "products" is the seconds that the multiply-adds of our step's products would take alone, with
    as many threads, at the rate that one thread reaches in the same rounds without reading memory.
    "others" is how many CPUs other processes kept busy meanwhile.
    Raises RuntimeError where our own step cannot be made.
    """
    contenders = {name: TrainingContender(plan, name, batch, optimizer, threads)
                  for name in (OURS, *peers)}
    row: dict[str, Any] = {"seconds": {}, "notes": {}}
    try:
        _, begin = contenders[OURS].first(0)
        expected = contenders[OURS].first(STEPS)
        timed = {}
        for name, contender in contenders.items():
            try:
                found = contender.first(STEPS) if name != OURS else expected
                if not _same(found, expected, begin):
                    row["notes"][name] = "differs"
                    continue
            except RuntimeError as error:
                row["notes"][name] = str(error)
                continue
            timed[name, 0] = contender.time
        call, work = peak(1, seconds / 4)
        timed[PEAK, 0] = lambda count: lap(call, 1)
        park = PARK if threads > 1 else PARK / 50
        busy = busy_since_now([c.pid for c in contenders.values()])
        laps = Clock(rounds, seconds, park).interleaved(timed)
        row["others"] = round(busy(), 2)
        least = {name: min(each.cpu if threads == 1 or name == PEAK else each.seconds
                           for each in found) for (name, _), found in laps.items()}
        row["products"] = contenders[OURS].flops() * least.pop(PEAK) / work / threads
        row["seconds"] = least
    finally:
        for contender in contenders.values():
            contender.close()
    return row


def _same(found: Any, expected: Any, begin: Any) -> bool:
    """Whether losses agree, and weights by how much they have changed."""
    for a, b in zip(found[0], expected[0], strict=True):
        if not abs(a - b) <= _LOSS * max(1.0, abs(b)):
            return False
    for a, b, start in zip(found[1], expected[1], begin, strict=True):
        change = np.abs(b - start).max(initial=0.0)
        wrong = np.abs(a - b) > 0.05 * change + 1e-7
        if wrong.size and wrong.mean() > _WEIGHTS:           # Adam turns the sign of a gradient of
            return False                                     # about 0
    return True


def ratio_of(row: Mapping[str, Any]) -> float | None:
    """Returns the time of the best peer, divided by ours."""
    peers = [s for name, s in row["seconds"].items() if name != OURS]
    return min(peers) / row["seconds"][OURS] if peers and OURS in row["seconds"] else None

"""TrainStep: a training step that is compiled, as its user holds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import is_
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import ir
from ir.types import DTYPES, NDArray
from nncompile.array import Array
from nncompile.array.generator import default_generator
from nncompile.array.hooks import RemovableHandle
from nncompile.array.tape import bare
from nncompile.backend import is_plain
from nncompile.errors import InputError
from nncompile.forks import lock
from nncompile.inspect.stages import PassRun
from nncompile.model import CompiledModel
from nncompile.nn import Module
from nncompile.optim.rule import Rule
from nncompile.training.hooks import check_no_hooks
from nncompile.training.step_graph import BUFFER, SUM, StepGraph, Trained

if TYPE_CHECKING:
    from nncompile.inspect.profile import Profile

class TrainStep:
    """A compiled training step: loss = step(*inputs, *targets), for any batch size.

    It computes the loss and its gradients and updates the parameters of the model, which are the
    model's own: `model(x)` and `model.state_dict()` see the new ones, and `optimizer.state_dict()`
    the new states. The options of the optimizer are read at every step, so that a schedule or
    `step.lr = 0.01` changes them; which of them are switched on, as momentum is, was compiled.

    The result is the loss before the update, as a NumPy array without dimensions. Bits depend on
    the arrays alone, and not on the number of threads. A step is one at a time: another thread that
    calls it waits.
    """

    def __init__(self, model: Module, optimizer: Rule, trained: Sequence[Trained],
                 buffers: Sequence[Array],
                 steps: Sequence[tuple[StepGraph, CompiledModel]], accumulate: int,
                 make_again: Callable[[], TrainStep]) -> None:
        self.model, self.optimizer = model, optimizer
        self._trained, self._accumulate, self._make_again = tuple(trained), accumulate, make_again
        self._written = (*(each.array for each in trained), *buffers)
        self._buffers, self._draws = tuple(buffers), _Draws()
        self._compiled = steps[0][1]
        self._lock = lock()
        self._groups = [_Group(optimizer, number, trained)
                        for number in sorted({each.group for each in trained})]
        self._sums = [np.zeros_like(_numbers(each.array)) for each in trained] * (accumulate > 1)
        self._runs = [_Run(graph, compiled) for graph, compiled in steps]
        self._names = tuple(v.name for v in steps[0][0].graph.inputs[:steps[0][0].inputs])
        self._storages: list[Any] = []
        self._made = 0                           # gradients that are accumulated
        self._switches = [optimizer.switches(group) for group in optimizer.param_groups]
        self._parameters = [each.array for each in trained]
        self._compiled_for = _Situation(*self._situation())
        self._last_hook = RemovableHandle.latest # of all, when hooks were last looked for
        self._fixed = _Fixed(steps, model)

    # -- calls -------------------------------------------------------------------------------------

    def __call__(self, *inputs: Any, threads: int | None = None, **named: Any) -> NDArray:
        """Does one step and returns the loss.

        inputs: those of the model and then the targets, of any batch size, as `compile` was told of
        them. threads: the most threads of this step, instead of the step's own number.
        Raises InputError for arrays that do not fit, and for an index outside of an axis; then
        nothing has changed.
        """
        if named or len(inputs) != len(self._names):
            inputs = self._all_inputs(inputs, named)
        with self._lock:
            if self.optimizer._stepped_by is not self or self._storages != [
                    array._storage for array in self._written]:
                self._attach()
            self._fixed.update()
            applies = self._made + 1 >= self._accumulate
            run = self._runs[0 if applies else 1]
            self._prepare(run, applies)
            loss: NDArray = run(inputs, threads)         # what fails has changed nothing
            self._count(run, applies)
        return loss

    def _prepare(self, run: _Run, applies: bool) -> None:
        """Sets the numbers of the next step.

        Raises InputError where something was changed since that decides what a step is.
        """
        if (now := self._situation()) != self._compiled_for:
            raise InputError(f"{_changed(self._compiled_for, _Situation(*now))} since the step was "
                             "compiled: change it back, or compile the step again")
        if RemovableHandle.latest != self._last_hook:
            check_no_hooks(self.model, self.optimizer, self._trained)
            self._last_hook = RemovableHandle.latest
        if run.graph.draws:
            self._draws.prepare()
        if applies:
            for group in self._groups:
                group.prepare(self._switches)

    def _situation(self) -> tuple[bool, list[int], list[bool]]:
        """What decides, besides the optimizer's switches, which code a step is: a _Situation."""
        return (
            self.model.training, [len(group["params"]) for group in self.optimizer.param_groups],
            [array._is_leaf_of_tape for array in self._parameters])

    def _count(self, run: _Run, applies: bool) -> None:
        """Notes that a step was made; applies: and not only its gradients accumulated."""
        self._made = 0 if applies else self._made + 1
        for storage in self._storages:
            storage.version += 1
        if run.graph.draws:
            self._draws.count()
        if applies:
            self.optimizer._opt_called = True            # a schedule of rates asks for it
            for group in self._groups:
                group.count()
            self.optimizer._stepped_by = self

    def _all_inputs(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """The inputs by position. Raises InputError where some are missing or too many."""
        names = ", ".join(self._names)
        rest = self._names[len(inputs):]
        if len(inputs) > len(self._names) or {*rest} != {*named}:
            given = f"{len(inputs)}" + f" and {', '.join(named)} by name" * bool(named)
            raise InputError(f"the step takes {len(self._names)} arrays, {names}; it got {given}")
        return (*inputs, *(named[name] for name in rest))

    def sync(self) -> None:
        """Does nothing: the parameters are the model's own arrays, and always up to date."""

    # -- the parameters and the optimizer's state --------------------------------------------------

    def _attach(self) -> None:
        """Takes the arrays of the parameters and of the optimizer's state, which steps write."""
        for array in self._written:
            _own(array)
        for group in self._groups:
            group.attach()
        self._storages = [array._storage for array in self._written]
        self.optimizer._stepped_by = self        # until somebody reads or changes its state
        for run in self._runs:
            run.states = [self._state(number, name) for number, name in run.graph.states]
            run.scalars = [self._draws.seed] * run.graph.draws + [self._number(group, name, dtype)
                           for group, name, dtype in run.graph.numbers]

    def _state(self, number: int, name: str) -> NDArray:
        if name == BUFFER:
            return _numbers(self._buffers[number])
        each = self._trained[number]
        if name == SUM:
            return self._sums[number]
        if not name:
            return _numbers(each.array)
        group = next(g for g in self._groups if g.number == each.group)
        return group.slots[id(each.array), name]

    def _number(self, group: int, name: str, dtype: str) -> NDArray:
        found = next(g for g in self._groups if g.number == group)
        return found.number_array(name, dtype)

    @property
    def lr(self) -> float:
        """The learning rate of the first group; setting it sets that of all groups."""
        return float(self.optimizer.param_groups[0]["lr"])

    @lr.setter
    def lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    # -- reading -----------------------------------------------------------------------------------

    @property
    def threads(self) -> int:
        """The most threads of a step, 1 or more."""
        return self._compiled.threads

    @threads.setter
    def threads(self, count: int) -> None:
        for run in self._runs:
            run.compiled.threads = count

    def ir(self, stage: str = "fused") -> ir.Graph:
        """Returns the graph of a stage: "traced", "fused", or the name of a pass."""
        return self._compiled.ir(stage)

    @property
    def stages(self) -> tuple[str, ...]:
        """The names that `ir` takes, in the order the passes ran."""
        return self._compiled.stages

    @property
    def runs(self) -> tuple[PassRun, ...]:
        """The graph of a step, and each pass that ran: its graph, seconds, what it left alone."""
        return self._compiled.runs

    @property
    def source(self) -> str:
        """The generated Python that runs."""
        return self._compiled.source

    def asm(self) -> str:
        """Returns the machine code of the kernels as text. Raises InputError where there is none.
        """
        return self._compiled.asm()

    def explain(self) -> str:
        """Returns what was compiled: the passes, the steps, and where each value lives."""
        return self._compiled.explain()

    def report(self, path: str | PathLike[str], /, *inputs: Any) -> None:
        """Writes a page that shows what was compiled, and where the time of a step goes.

        Without inputs nothing is timed. Raises MissingExtraError where the package that draws
        graphs is not installed.
        """
        from nncompile.inspect.report import write_page  # which few programs need
        write_page(path, self._compiled, self.profile(*inputs) if inputs else None)

    def profile(self, *inputs: Any) -> Profile:
        """Times each kernel of a step. The parameters stay what they are: copies are updated."""
        if len(inputs) != len(self._names):
            inputs = self._all_inputs(inputs, {})
        with self._lock:
            self._attach()
            run = self._runs[0]
            for group in self._groups:
                group.prepare(self._switches)
            states = [array.copy() for array in run.states]
            return self._compiled.profile(*inputs, *run.scalars, *states)

    def __repr__(self) -> str:
        traced = self._runs[0].graph.graph
        given = ", ".join(f"{v.name}: {v.type}" for v in traced.inputs[:len(self._names)])
        return (f"<nncompile.TrainStep {traced.name}({given}), "
                f"{type(self.optimizer).__name__} of {len(self._trained)} parameters>")

    def _repr_html_(self) -> str:
        return self._compiled._repr_html_()

    def __reduce__(self) -> tuple[Any, ...]:
        return self._make_again, ()


class _Situation(NamedTuple):
    """The mode of the model, the sizes of the optimizer's groups, what requires a gradient."""

    training: bool
    groups: list[int]
    wanted: list[bool]


def _changed(before: _Situation, now: _Situation) -> str:
    """What is different, in words."""
    if before.training != now.training:
        return f"the model was put into {'training' if now.training else 'eval'} mode"
    if before.groups != now.groups:
        return "the optimizer got other parameters"
    return "requires_grad of a parameter was changed"


class _Run:
    """A compiled graph of a step, with the arrays that it is called with each time."""

    def __init__(self, graph: StepGraph, compiled: CompiledModel) -> None:
        self.graph, self.compiled = graph, compiled
        self.scalars: list[NDArray] = []
        self.states: list[NDArray] = []
        self._call = compiled._loaded.call_into

    def __call__(self, inputs: Sequence[Any], threads: int | None) -> Any:
        if threads is None:
            return self._call(*inputs, *self.scalars, *self.states)
        return self._call(*inputs, *self.scalars, *self.states, threads=threads)


class _Group:
    """A group of the optimizer: the numbers of its next step, and the states of its parameters."""

    def __init__(self, optimizer: Rule, number: int, trained: Sequence[Trained]) -> None:
        self.optimizer, self.number = optimizer, number
        self.members = [each for each in trained if each.group == number]
        self.slots: dict[tuple[int, str], NDArray] = {}
        self._arrays: dict[str, dict[str, NDArray]] = {}         # numbers by dtype and name
        self._cells: list[tuple[Any, str]] = []  # their memory
        self._checked: list[Any] = []            # the values of the options when last looked at
        self._state: dict[str, Any] = {}         # what `numbers` is given: counters and slots
        self._counters: dict[str, NDArray] = {}
        self._next: dict[str, float] = {}

    @property
    def options(self) -> dict[str, Any]:
        """The options of the group, as they are now."""
        return self.optimizer.param_groups[self.number]

    def attach(self) -> None:
        """Takes the states that the optimizer has, or makes the first ones.

        Raises InputError where the parameters of the group have made different numbers of steps.
        """
        states = [self.optimizer.state.get(each.array, {}) for each in self.members]
        counts = [{name: float(state[name]) for name in self.optimizer.counters if name in state}
                  for state in states]
        if any(count != counts[0] for count in counts):
            raise InputError(f"the parameters of group {self.number} of the optimizer have made "
                             "different numbers of steps: put them into groups of their own")
        self.slots = {}
        for each, state in zip(self.members, states, strict=True):
            for name in each.slots:
                array = state.get(name)
                if array is None:
                    array = self.optimizer.initial(name, self.options, each.array)
                self.slots[id(each.array), name] = np.require(
                    array.numpy(), requirements=["C", "A", "W", "O"])
        known = states[0].keys() if states else ()
        self._state = dict(counts[0]) if counts else {}
        self._state |= {name: True for name in known if name not in self._state}

    def number_array(self, name: str, dtype: str) -> NDArray:
        """Returns the array without dimensions that has a number of the next step."""
        arrays = self._arrays.setdefault(dtype, {})
        if name not in arrays:
            arrays[name] = np.zeros((), DTYPES[dtype])
            self._cells.append((arrays[name].reshape(1).data, name))
        return arrays[name]

    def prepare(self, switches: Sequence[Mapping[str, bool]]) -> None:
        """Computes the numbers of the next step. Raises InputError where an option was switched."""
        options = self.options
        now = [*options.values()]
        known = len(now) == len(self._checked) and all(map(is_, now, self._checked))
        if not known and (on := self.optimizer.switches(options)) != switches[self.number]:
            changed = [name for name in on if on[name] != switches[self.number][name]]
            raise InputError(f"the option {changed[0]} of the optimizer was switched "
                             f"{'on' if on[changed[0]] else 'off'} since the step was compiled: "
                             "compile it again")
        self._checked = now
        self._next = self.optimizer.numbers(options, self._state)
        for cell, name in self._cells:           # quicker than to assign to the arrays
            cell[0] = self._next[name]

    def count(self) -> None:
        """Is told that a step was made: the optimizer's state shows it."""
        counters = self.optimizer.counters
        for name in counters:
            self._state[name] = self._next[name]
            if name in self._counters:
                self._counters[name][()] = self._next[name]
        if not self._counters or self._shown is not self.slots:
            self._show()

    _shown: Any = None

    def _show(self) -> None:
        """Puts the arrays that steps write into the optimizer's state."""
        self._shown = self.slots
        self._counters = {name: np.full((), self._next[name], np.float32)
                          for name in self.optimizer.counters}
        for each in self.members:
            if not each.slots and not self._counters:
                continue                         # as after an eager step, it has no state
            state = self.optimizer.state[each.array]
            for name in each.slots:
                state[name] = _in_place(self.slots[id(each.array), name])
                self._state[name] = True
            for name, array in self._counters.items():
                state[name] = _in_place(array)


class _Draws:
    """The seed of a step's random numbers, and how many steps have drawn since it was set.

    The key is drawn from the generator that nncompile.manual_seed seeds, at the first step and at
    the first one after each manual_seed; from then on the numbers count the steps.
    """

    def __init__(self) -> None:
        self.seed = np.zeros(2, np.int64)
        self._of: Any = None                     # the generator that the key was drawn from

    def prepare(self) -> None:
        """Sets the seed of the next step."""
        generator = default_generator()
        if generator is not self._of:
            self._of = generator
            self.seed[:] = generator.integers(-2**63, 2**63, dtype=np.int64), 0

    def count(self) -> None:
        """Is told that a step was made."""
        self.seed[1] += 1


class _Fixed:
    """The parameters and buffers that a step only reads, which may get other numbers.

    A compiled graph has copies of them, in the layout of its kernels.
    """

    def __init__(self, steps: Sequence[tuple[StepGraph, CompiledModel]], model: Module) -> None:
        self._compiled = [compiled for _, compiled in steps]
        arrays = {id(bare(array._payload)): array for array in (
            *model.parameters(), *model.buffers()) if isinstance(array, Array)}
        self._read = [[(value, arrays[id(data)]) for value, data in graph.graph.data.items()
                       if id(data) in arrays] for graph, _ in steps]
        self._versions = self._now()

    def _now(self) -> list[tuple[Any, int]]:
        return [(array._storage, array._storage.version) for _, array in self._read[0]]

    def update(self) -> None:
        """Loads the numbers anew, where they were changed since."""
        if not self._read[0] or (now := self._now()) == self._versions:
            return
        for compiled, read in zip(self._compiled, self._read, strict=True):
            compiled._weights.load({value: _numbers(array) for value, array in read})
        self._versions = now


def _numbers(array: Array) -> NDArray:
    """The ndarray of an array of the model."""
    numbers: NDArray = bare(array._payload)
    return numbers


def _own(p: Array) -> None:
    """Gives a parameter an ndarray that kernels can write where it is, if it has another."""
    numbers = _numbers(p)
    if not is_plain(numbers, DTYPES[p._type.dtype]) or not numbers.flags.writeable:
        p._payload = np.array(numbers, DTYPES[p._type.dtype], order="C")


def _in_place(numbers: NDArray) -> Array:
    """An array whose changes in place go into this ndarray."""
    array = object.__new__(Array)
    array._in_memory = True
    array._payload = numbers
    return array

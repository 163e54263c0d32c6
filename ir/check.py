"""Is a graph still the same function?  Evaluate it before and after, and compare.

The inputs are seeded and adversarial: numbers of all magnitudes, zeros, NaN, infinities, at sizes
that include 0 and 1 and that differ from each other, so that mixed-up sizes show.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from zlib import crc32

import numpy as np

from ir.graph import SIGILS, Graph, Node, Value, named_sizes
from ir.interpret import interpret
from ir.ops import at_sizes
from ir.records import replace
from ir.types import DTYPES, FLOATS, Error, NDArray, evaluate_dim
from ir.verify import verify

Sizes = dict[str, int]

SMALL, LARGER = (0, 1, 3), (16, 65, 257)         # larger where a graph refuses the small ones
ORDINARY = ("normal", "positive", "zero", "large")
SPECIAL = {
    "nan": [np.nan],
    "infinite": [np.inf, -np.inf],
    "extreme": [3e38, -3e38, 1e-38, -1e-45, -0.0],
}


class PassError(Error):
    """A pass changed what a graph means; says where, and shows the graph before and after."""


class Side:
    """The graph before or after, evaluated in its own precision or in double."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    @cached_property
    def in_double(self) -> Graph:
        """The graph with its float data converted, once for all trials."""
        data = {p: a.astype(np.float64) if a.dtype.kind == "f" else a
                for p, a in self.graph.data.items()}
        return replace(self.graph, data=data)


class Trial:
    """One set of inputs, and what comes out before and after."""

    def __init__(self, sides: tuple[Side, Side], sizes: Sizes, kind: str) -> None:
        self.sides, self.sizes, self.kind = sides, sizes, kind
        self.arrays = inputs_at(sides[0].graph, sizes, kind)
        self.before = interpret(sides[0].graph, self.arrays)

    def __str__(self) -> str:
        return ", ".join([*(f"{k} = {n}" for k, n in self.sizes.items()), f"{self.kind} inputs"])

    @cached_property
    def after(self) -> list[NDArray]:
        return interpret(self.sides[1].graph, self.arrays)

    @cached_property
    def double(self) -> tuple[list[NDArray], list[NDArray]]:
        """Before and after in double precision; needed only where the numbers differ."""
        before, after = (interpret(s.in_double, self.arrays, np.float64) for s in self.sides)
        return before, after


def check_same(name: str, before: Graph, after: Graph) -> None:
    """Raise PassError unless `after`, which the pass `name` made of `before`, is the same function.

    A pass may keep every rounding, or change the algebra.  So on ordinary inputs each output has to
    be the same numbers, or to agree in double precision: floats closely, integers and bools wholly.
    A pass that kept every number there has to keep NaN and infinities too; only a NaN that comes of
    infinities, as inf - inf does, may become the limit that there is.

    A size that `before` refuses, as `x[:, 1:]` does 0, is no evidence: larger ones are tried then,
    and when none without a 0 can be evaluated, that is a PassError too.  Params without data are
    given random numbers, by their names.
    """
    if identical(before, after):
        return
    check_signature(name, before, after)
    before = with_data(before)
    sides = Side(before), Side(with_data(replace(after, data=shared_data(before, after))))
    ordinary = list(trials(sides, ORDINARY))
    if all(0 in trial.sizes.values() for trial in ordinary):
        raise PassError(f"{name} could not be checked: no inputs without a size of 0 could be "
                        f"evaluated\n{before}")
    exact = True
    for trial in ordinary:
        exact &= check_trial(name, trial)
    if exact:
        for trial in trials(sides, SPECIAL):
            check_trial(name, trial)


def check_trial(name: str, trial: Trial) -> bool:
    """Whether every output is the same numbers; a PassError where one is not the same function."""
    before, after = (side.graph for side in trial.sides)
    try:
        got = trial.after
    except Error as error:
        raise PassError(f"{name} made a graph that fails at {trial}: {error}\n"
                        f"{before}\n-->\n{after}") from None
    for i in range(len(before.outputs)):
        if difference := compare(trial, i):
            raise PassError(f"{name} changed output {i} of {before.name} at {trial}: "
                            f"{difference}\n{before}\n-->\n{after}")
    return all(map(same_numbers, trial.before, got))


def identical(before: Graph, after: Graph) -> bool:
    """Whether two graphs are the same text on the same arrays: then there is nothing to try."""
    data = [[graph.data.get(p) for p in graph.params] for graph in (before, after)]
    return (str(before) == str(after)
            and all(x is y and x is not None for x, y in zip(*data, strict=True)))


def check_signature(name: str, before: Graph, after: Graph) -> None:
    """Raise PassError unless `after` is legal, with the types of inputs and outputs of `before`."""
    try:
        verify(after)
    except Error as error:
        raise PassError(f"{name} made an illegal graph: {error}\n{before}\n-->\n{after}") from None
    for what in ("inputs", "outputs"):
        old, new = ([v.type for v in getattr(graph, what)] for graph in (before, after))
        if old != new:
            raise PassError(f"{name} changed the {what} from {old} to {new}")


def shared_data(before: Graph, after: Graph) -> dict[Value, NDArray]:
    """The data of `after`; a param it has none for is the one of `before` with that name."""
    named = {(v.kind, v.name): a for v, a in before.data.items()}
    found = {v: named[v.kind, v.name] for v in after.params if (v.kind, v.name) in named}
    return {**found, **after.data}


# -- trials ----------------------------------------------------------------------------------------

def trials(sides: tuple[Side, Side], kinds: Iterable[str]) -> Iterator[Trial]:
    """Each kind of inputs at each size that the graph before takes; larger ones if it takes none
    of the small."""
    taken = False
    for base in (*SMALL, *LARGER):
        if base in LARGER and taken:
            return
        for sizes in size_choices(sides[0].graph, base):
            for kind in kinds:
                try:
                    trial = Trial(sides, sizes, kind)
                except Error:
                    continue
                taken |= 0 not in sizes.values()
                yield trial


def size_choices(graph: Graph, base: int) -> list[Sizes]:
    """The named sizes counted up from `base`, forwards and backwards; once for a graph of none."""
    names = list(named_sizes(graph))
    if not names:
        return [{}] if base == SMALL[0] else []
    ways = [names, names[::-1]] if len(names) > 1 else [names]
    return [{name: base + i for i, name in enumerate(way)} for way in ways]


def example_inputs(graph: Graph, size: int = 3, seed: int = 0, kind: str = "normal"
                   ) -> list[NDArray]:
    """Random inputs, the first named size being `size`, the next one more, and so on.

    `kind`: "normal", of several magnitudes; "positive", up to 1; "zero"; "large"; or normal with
    "nan", "infinite", "extreme" elements.  In a graph that picks by index, integers are ids of
    everything it picks from.
    """
    sizes = {name: size + i for i, name in enumerate(named_sizes(graph))}
    return inputs_at(graph, sizes, kind, seed)


def inputs_at(graph: Graph, sizes: Sizes, kind: str, seed: int = 0) -> list[NDArray]:
    """Arrays for the inputs at these sizes; `kind` says of what numbers: see `numbers`."""
    random = np.random.default_rng(seed)
    arrays = []
    for value in graph.inputs:
        if value.type.dtype in FLOATS:
            array = numbers(random, at_sizes(value.type.shape, sizes), kind)
        else:
            array = integers(random, graph, value, sizes, kind)
        arrays.append(array.astype(DTYPES[value.type.dtype]))
    return arrays


def integers(random: np.random.Generator, graph: Graph, value: Value, sizes: Sizes,
             kind: str) -> NDArray:
    """Integers that the graph can use, or 0 and 1 for bools."""
    shape = at_sizes(value.type.shape, sizes)
    array: NDArray
    if kind == "zero":
        return np.zeros(shape, int)
    if (ids := bagged_ids(graph, value)) is not None:
        count = evaluate_dim(ids.type.shape[0], sizes)
        array = np.sort(random.integers(0, count + 1, shape))
        array[:1] = 0
        return array
    high: NDArray = random.choice([4, 100], shape)             # of two magnitudes
    low = 0 * high if value.type.dtype == "u8" else -high
    if value.type.dtype == "bool":
        low, high = np.array([0, 2])
    elif (rows := table_rows(graph, sizes)) is not None:
        low, high = np.array([0, max(1, rows)])
    if kind in ("large", "positive"):
        low = high - 1 if kind == "large" else np.minimum(1, high - 1)
    array = random.integers(low, high, shape)
    return array


def bagged_ids(graph: Graph, offsets: Value) -> Value | None:
    """The ids that these are offsets into, if they are."""
    for node in graph.nodes:
        match node:
            case Node(op="embedding_bag", inputs=(Value() as ids, second, *_)) if second is offsets:
                return ids
    return None


def table_rows(graph: Graph, sizes: Sizes) -> int | None:
    """An id below this one is in everything that the graph picks from by index, if it does."""
    rows = []
    for node in graph.nodes:
        match node:
            case (Node(op="embedding", inputs=(_, Value() as table))
                  | Node(op="embedding_bag", inputs=(_, _, Value() as table, *_))):
                rows.append(table.type.shape[0])
            case Node(op="take" | "take_along", inputs=(Value() as table, _)):
                rows.append(table.type.shape[node.attrs["axis"]])
    return min((evaluate_dim(dim, sizes) for dim in rows), default=None)


def numbers(random: np.random.Generator, shape: tuple[int, ...], kind: str) -> NDArray:
    """Normal numbers and zeros; "zero", "positive" or "large" ones; or SPECIAL ones too."""
    if kind == "zero":
        return np.zeros(shape)
    if kind == "positive":
        return 1 - random.random(shape)
    array: NDArray = random.standard_normal(shape) * random.choice([0.0, 1.0, 1.0, 30.0], shape)
    if kind == "large":
        return array * 1e4
    if kind in SPECIAL and array.size:
        chosen = random.random(shape) < 0.2
        chosen.flat[random.integers(array.size)] = True
        array[chosen] = random.choice(SPECIAL[kind], int(chosen.sum()))
    return array


def with_data(graph: Graph, seed: int = 0) -> Graph:
    """The graph with random numbers for each param that has none, as after parsing.

    They depend on the param's name only, and weights are scaled so that a deep graph's values
    stay moderate.
    """
    data: Mapping[Value, NDArray] = {p: random_data(graph, p, seed) for p in graph.params
                                   if p not in graph.data}
    return replace(graph, data={**data, **graph.data})


def random_data(graph: Graph, param: Value, seed: int) -> NDArray:
    name = f"{SIGILS[param.kind]}{param.name}".encode("utf-8", "surrogatepass")
    random = np.random.default_rng([seed, crc32(name)])
    if param.type.dtype in FLOATS:
        shape = at_sizes(param.type.shape, {})
        array: NDArray = random.standard_normal(shape)
        if len(shape) > 1:
            array /= np.sqrt(max(1, shape[-1]))
    else:
        smallest = dict.fromkeys(named_sizes(graph), 0)
        array = integers(random, graph, param, smallest, "normal")
    return array.astype(DTYPES[param.type.dtype])


# -- comparison ------------------------------------------------------------------------------------

def compare(trial: Trial, i: int) -> str:
    """How output i differs, or an empty text."""
    own, new_own = trial.before[i], trial.after[i]
    if same_numbers(own, new_own):
        return ""
    double, new_double = (outputs[i] for outputs in trial.double)
    right = same_elements(double, new_double)
    if double.dtype.kind == "f":
        with np.errstate(all="ignore"):
            near = np.abs(double - new_double) <= 1e-9 * np.abs(double) + conditioning(own, double)
        finite = np.isfinite(double)
        right |= near & finite
        if trial.kind in ORDINARY and finite.any():
            right |= ~finite                     # other algebra may overflow elsewhere
        if trial.kind in ("zero", "large", "infinite", "extreme"):       # log(0), and so on
            right |= np.isnan(double)            # the limit, where there was none
    wrong = ~right
    if not wrong.any():
        return ""
    first = tuple(int(k) for k in np.argwhere(wrong)[0])
    return (f"{wrong.sum()} of {wrong.size} elements, the first at {first}: "
            f"{own[first]} became {new_own[first]}, in double precision {double[first]} became "
            f"{new_double[first]}")


def conditioning(own: NDArray, double: NDArray) -> float:
    """How far two right ways to compute in double precision may be apart: as far as float32 is
    from it, less the 29 bits of precision between them, with room."""
    error = np.abs(own - double)
    error = error[np.isfinite(error)]
    return 1e-12 + 1e-6 * float(error.max(initial=0))


def same_numbers(x: NDArray, y: NDArray) -> bool:
    return bool(same_elements(x, y).all())


def same_elements(x: NDArray, y: NDArray) -> NDArray:
    return np.asarray((x == y) | ((x != x) & (y != y)))

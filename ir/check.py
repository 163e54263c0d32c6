"""Checks that a pass keeps a graph the same function, by evaluating it before and after.

The inputs are seeded and adversarial: numbers of all magnitudes, zeros, NaN, infinities, at sizes
that include 0 and 1 and that differ from each other, so that mixed-up sizes show.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import frexp, isfinite
from zlib import crc32

import numpy as np

from ir.graph import SIGILS, Graph, Node, Value, named_sizes
from ir.interpret import interpret
from ir.ops import at_sizes
from ir.records import cached_property, replace
from ir.types import DTYPES, FLOATS, Error, NDArray, evaluate_dim, symbol_name
from ir.verify import verify

_Sizes = dict[str, int]

_EXACT_BITS = 2**12                              # a number with as few is meant as it is
_FLOAT32_ROUNDING = 2.0**-24
_MOST_ROUNDINGS = 8                              # of numbers that a pass may compare with others
_SMALL, _LARGER = (0, 1, 3), (16, 65, 257)       # larger where a graph refuses the small ones
_ORDINARY = ("normal", "positive", "zero", "large")
_SPECIAL = {
    "nan": [np.nan],
    "infinite": [np.inf, -np.inf],
    "extreme": [3e38, -3e38, 1e-38, -1e-45, -0.0],
}


class PassError(Error):
    """A pass changed what a graph means; says where, and shows the graph before and after."""


class _Side:
    """The graph before or after the pass, for evaluation in its own precision or in double."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._known: dict[tuple[str, bool], tuple[list[NDArray], list[NDArray]]] = {}

    def outputs(self, trial: str, arrays: list[NDArray], double: bool = False) -> list[NDArray]:
        """Returns the outputs for the inputs of a trial; they are computed once."""
        given, found = self._known.get((trial, double), (None, []))
        if given is None or not all(map(_same_bits, given, arrays)):
            found = (interpret(self.in_double, arrays, np.float64) if double
                     else interpret(self.graph, arrays))
            self._known[trial, double] = arrays, found
        return found

    @cached_property
    def in_double(self) -> Graph:
        """The graph with its float data converted, once for all trials."""
        data = {p: a.astype(np.float64) if a.dtype.kind == "f" else a
                for p, a in self.graph.data.items()}
        return replace(self.graph, data=data)


def _blurred(graph: Graph) -> Graph:
    """Returns the graph with its plain numbers a rounding of float32 off, up and down in turn.

    A number with few bits, such as 0.5, is exact in float32 and stays.
    """
    nodes = []
    for i, node in enumerate(graph.nodes):
        inputs = tuple(_off(o, 1 - 2 * (i % 2)) if isinstance(o, float) else o
                       for o in node.inputs)
        nodes.append(node if inputs == node.inputs else replace(node, inputs=inputs))
    return replace(graph, nodes=tuple(nodes))


def _off(number: float, direction: int) -> float:
    if not isfinite(number) or (frexp(number)[0] * _EXACT_BITS).is_integer():
        return number
    return number * (1 + direction * _FLOAT32_ROUNDING)


class _Trial:
    """One set of inputs, and the outputs before and after the pass."""

    def __init__(self, sides: tuple[_Side, _Side], sizes: _Sizes, kind: str) -> None:
        self.sides, self.sizes, self.kind = sides, sizes, kind
        self.arrays = _inputs_at(sides[0].graph, sizes, kind)
        self.before = sides[0].outputs(str(self), self.arrays)

    def __str__(self) -> str:
        return ", ".join([*(f"{k} = {n}" for k, n in self.sizes.items()), f"{self.kind} inputs"])

    @cached_property
    def after(self) -> list[NDArray]:
        """The outputs after the pass."""
        return self.sides[1].outputs(str(self), self.arrays)

    @cached_property
    def double(self) -> tuple[list[NDArray], list[NDArray]]:
        """The outputs before and after in double precision; needed only where the others differ."""
        before, after = (side.outputs(str(self), self.arrays, True) for side in self.sides)
        return before, after

    @cached_property
    def blurred(self) -> list[NDArray]:
        """The outputs before, in double precision, with plain numbers that are slightly off.

        In float32 a number means any that rounds to it, so a pass may take 1.4142135381698608 for
        the square root of 2.
        """
        return interpret(_blurred(self.sides[0].in_double), self.arrays, np.float64)


class Checked:
    """What `check_same` evaluated of the last graph, with which the next pass begins."""

    def __init__(self) -> None:
        self.graph: Graph | None = None
        self.side: _Side | None = None


def check_same(name: str, before: Graph, after: Graph, checked: Checked | None = None) -> None:
    """Raises PassError unless `after` is the same function as `before`, of which a pass made it.

    name: what the error calls the pass. checked: is used, and renewed, where passes are checked one
    after another.

    A pass may keep every rounding, or change the algebra. So on ordinary inputs each output has to
    be equal, or to agree in double precision: floats closely, integers and bools exactly. A pass
    whose outputs are all equal there has to keep NaN and infinities too; only a NaN that comes of
    infinities, as inf - inf does, may become the limit that there is.

    Sizes that `before` refuses, as `x[:, 1:]` refuses 0, prove nothing: larger ones are tried then,
    and where none without a 0 can be evaluated, that is a PassError too. Params without data get
    random numbers, by their names.
    """
    if _identical(before, after):
        return
    try:
        verify(after, like=before)
    except Error as error:
        raise PassError(f"{name} made an illegal graph: {error}\n{before}\n-->\n{after}") from None
    known = checked.side if checked is not None and checked.graph is before else None
    first = known or _Side(with_data(before))
    before = first.graph
    sides = first, _Side(with_data(replace(after, data=_shared_data(before, after))))
    if checked is not None:
        checked.graph, checked.side = after, sides[1]
    ordinary = list(_trials(sides, _ORDINARY))
    if all(0 in trial.sizes.values() for trial in ordinary):
        raise PassError(f"{name} could not be checked: no inputs without a size of 0 could be "
                        f"evaluated\n{before}")
    exact = True
    for trial in ordinary:
        exact &= _check_trial(name, trial)
    if exact:
        for trial in _trials(sides, _SPECIAL):
            _check_trial(name, trial)


def _check_trial(name: str, trial: _Trial) -> bool:
    """Returns whether all outputs are equal. Raises PassError where one does not even agree."""
    before, after = (side.graph for side in trial.sides)
    try:
        got = trial.after
    except Error as error:
        raise PassError(f"{name} made a graph that fails at {trial}: {error}\n"
                        f"{before}\n-->\n{after}") from None
    for i in range(len(before.outputs)):
        if difference := _compare(trial, i):
            raise PassError(f"{name} changed output {i} of {before.name} at {trial}: "
                            f"{difference}\n{before}\n-->\n{after}")
    return all(map(_same_numbers, trial.before, got))


def _same_bits(a: NDArray, b: NDArray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _identical(before: Graph, after: Graph) -> bool:
    """Whether two graphs have the same text and the same arrays, so that no trial is needed."""
    data = [[graph.data.get(p) for p in graph.params] for graph in (before, after)]
    return (str(before) == str(after)
            and all(x is y and x is not None for x, y in zip(*data, strict=True)))


def _shared_data(before: Graph, after: Graph) -> dict[Value, NDArray]:
    """The data of `after`; a param without data gets that of the same name in `before`."""
    named = {(v.kind, v.name): a for v, a in before.data.items()}
    found = {v: named[v.kind, v.name] for v in after.params if (v.kind, v.name) in named}
    return {**found, **after.data}


# -- trials ----------------------------------------------------------------------------------------

def _trials(sides: tuple[_Side, _Side], kinds: Iterable[str]) -> Iterator[_Trial]:
    """Each kind of inputs at each size that the graph before takes.

    The larger sizes are tried where it takes none of the small ones.
    """
    taken = False
    for base in (*_SMALL, *_LARGER):
        if base in _LARGER and taken:
            return
        for sizes in _size_choices(sides[0].graph, base):
            for kind in kinds:
                try:
                    trial = _Trial(sides, sizes, kind)
                except Error:
                    continue
                taken |= 0 not in sizes.values()
                yield trial


def _size_choices(graph: Graph, base: int) -> list[_Sizes]:
    """The named sizes counted up from `base`, forwards and backwards; once for a graph of none.

    A size that is required to be one number is that number.
    """
    names = list(named_sizes(graph))
    if not names:
        return [{}] if base == _SMALL[0] else []
    ways = [names, names[::-1]] if len(names) > 1 else [names]
    return [{name: base + i for i, name in enumerate(way)} | _fixed(graph) for way in ways]


def _fixed(graph: Graph) -> _Sizes:
    """The sizes that a requirement such as `T == 7` leaves no choice."""
    return {name: requirement.right for requirement in graph.requirements
            if requirement.relation == "==" and isinstance(requirement.right, int)
            and (name := symbol_name(requirement.left)) is not None}


def example_inputs(graph: Graph, size: int = 3, seed: int = 0, kind: str = "normal"
                   ) -> list[NDArray]:
    """Returns random inputs: the first named size is `size`, the next one more, and so on.

    kind: "normal" for numbers of several magnitudes, "positive" for numbers up to 1, "zero" or
          "large"; "nan", "infinite" or "extreme" for normal numbers with such elements among them.
    Integers are valid ids where the graph uses them as such.
    """
    sizes = {name: size + i for i, name in enumerate(named_sizes(graph))} | _fixed(graph)
    return _inputs_at(graph, sizes, kind, seed)


def _inputs_at(graph: Graph, sizes: _Sizes, kind: str, seed: int = 0) -> list[NDArray]:
    """Arrays for the inputs at these sizes; `kind` is as in `example_inputs`."""
    random = np.random.default_rng(seed)
    arrays = []
    for value in graph.inputs:
        if value.type.dtype in FLOATS:
            array = _numbers(random, at_sizes(value.type.shape, sizes), kind)
        else:
            array = _integers(random, graph, value, sizes, kind)
        arrays.append(array.astype(DTYPES[value.type.dtype]))
    return arrays


def _integers(random: np.random.Generator, graph: Graph, value: Value, sizes: _Sizes,
              kind: str) -> NDArray:
    """Integers that the graph can use, or 0 and 1 for bools."""
    shape = at_sizes(value.type.shape, sizes)
    array: NDArray
    if kind == "zero":
        return np.zeros(shape, int)
    if (ids := _bagged_ids(graph, value)) is not None:
        count = evaluate_dim(ids.type.shape[0], sizes)
        array = np.sort(random.integers(0, count + 1, shape))
        array[:1] = 0
        return array
    high: NDArray = random.choice([4, 100], shape)             # of two magnitudes
    low = 0 * high if value.type.dtype == "u8" else -high
    if value.type.dtype == "bool":
        low, high = np.array([0, 2])
    elif (rows := _table_rows(graph, sizes)) is not None:
        low, high = np.array([0, max(1, rows)])
    if kind in ("large", "positive"):
        low = high - 1 if kind == "large" else np.minimum(1, high - 1)
    array = random.integers(low, high, shape)
    return array


def _bagged_ids(graph: Graph, offsets: Value) -> Value | None:
    """The ids that `offsets` divides into bags, if it does."""
    for node in graph.nodes:
        match node:
            case Node(op="embedding_bag", inputs=(Value() as ids, second, *_)) if second is offsets:
                return ids
    return None


def _table_rows(graph: Graph, sizes: _Sizes) -> int | None:
    """A bound on ids: every id below it is in all tables that the graph takes from by index."""
    rows = []
    for node in graph.nodes:
        match node:
            case (Node(op="embedding", inputs=(_, Value() as table))
                  | Node(op="embedding_bag", inputs=(_, _, Value() as table, *_))):
                rows.append(table.type.shape[0])
            case Node(op="take" | "take_along", inputs=(Value() as table, _)):
                rows.append(table.type.shape[node.attrs["axis"]])
            case Node(op="scatter_add"):
                rows.append(node.attrs["size"])
    return min((evaluate_dim(dim, sizes) for dim in rows), default=None)


def _numbers(random: np.random.Generator, shape: tuple[int, ...], kind: str) -> NDArray:
    """Normal numbers and zeros; "zero", "positive" or "large" ones; or SPECIAL ones too."""
    if kind == "zero":
        return np.zeros(shape)
    if kind == "positive":
        return 1 - random.random(shape)
    scales = random.choice([0.0, 1.0, 1.0, 30.0], shape)
    array: NDArray = np.asarray(random.standard_normal(shape) * scales)
    if kind == "large":
        return array * 1e4
    if kind in _SPECIAL and array.size:
        chosen = np.asarray(random.random(shape) < 0.2)
        chosen.flat[random.integers(array.size)] = True
        array[chosen] = random.choice(_SPECIAL[kind], int(chosen.sum()))
    return array


def with_data(graph: Graph, seed: int = 0) -> Graph:
    """Returns the graph with random numbers for each param that has none, as after parsing.

    They depend on the param's name and the seed only. Weights are scaled so that a deep graph's
    values stay moderate.
    """
    data: Mapping[Value, NDArray] = {p: _random_data(graph, p, seed) for p in graph.params
                                     if p not in graph.data}
    return replace(graph, data={**data, **graph.data})


def _random_data(graph: Graph, param: Value, seed: int) -> NDArray:
    name = f"{SIGILS[param.kind]}{param.name}".encode("utf-8", "surrogatepass")
    random = np.random.default_rng([seed, crc32(name)])
    if param.type.dtype in FLOATS:
        shape = at_sizes(param.type.shape, {})
        array: NDArray = random.standard_normal(shape)
        if len(shape) > 1:
            array /= np.sqrt(max(1, shape[-1]))
    else:
        smallest = dict.fromkeys(named_sizes(graph), 0)
        array = _integers(random, graph, param, smallest, "normal")
    return array.astype(DTYPES[param.type.dtype])


# -- comparison ------------------------------------------------------------------------------------

def _compare(trial: _Trial, i: int) -> str:
    """How output i differs, or an empty text."""
    own, new_own = trial.before[i], trial.after[i]
    if _same_numbers(own, new_own):
        return ""
    double, new_double = (outputs[i] for outputs in trial.double)
    right = _same_elements(double, new_double)
    if double.dtype.kind == "f":
        with np.errstate(all="ignore"):
            allowed = 1e-9 * np.abs(double) + _conditioning(own, double)
            near = np.abs(double - new_double) <= allowed
            if own.dtype == np.float32 and not near.all():
                blur = np.abs(double - trial.blurred[i])
                most = _MOST_ROUNDINGS * float(blur[np.isfinite(blur)].max(initial=0))
                near |= np.abs(double - new_double) <= allowed + most
        finite = np.isfinite(double)
        right |= near & finite
        if trial.kind in _ORDINARY and finite.any():
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


def _conditioning(own: NDArray, double: NDArray) -> float:
    """How far two correct ways to compute in double precision may be apart.

    As far as float32 is from double precision, less the 29 bits between them, with a margin.
    """
    error = np.abs(own - double)
    error = error[np.isfinite(error)]
    return 1e-12 + 1e-6 * float(error.max(initial=0))


def _same_numbers(x: NDArray, y: NDArray) -> bool:
    return bool(_same_elements(x, y).all())


def _same_elements(x: NDArray, y: NDArray) -> NDArray:
    return np.asarray((x == y) | ((x != x) & (y != y)))

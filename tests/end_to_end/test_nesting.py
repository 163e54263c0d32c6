"""What a forward returns and is given, beside torch: nested values, sizes, and who sees changes."""
from __future__ import annotations

import collections
import copy
import dataclasses
import pickle
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import nncompile
from nncompile import nn, options

torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")

MODES: dict[str, dict[str, Any]] = {
    "compiled": {}, "portable": {"call": "portable"}, "python": {"jit": False},
}


class Output(collections.OrderedDict):  # type: ignore[type-arg]
    """A dict whose items are attributes, too, as the outputs of many published models are."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)


class Listed(list):  # type: ignore[type-arg]
    note: Any = None


class Paired(tuple):  # type: ignore[type-arg]
    __slots__ = ()


class Slotted(list):  # type: ignore[type-arg]
    __slots__ = ("extra",)


class Point(NamedTuple):
    x: Any
    size: Any


@dataclasses.dataclass(frozen=True)
class Result:
    logits: Any
    rows: int = 0
    doubled: Any = dataclasses.field(init=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "logits", self.logits + 1)      # must not run again
        object.__setattr__(self, "doubled", self.logits * 2)


def output(x: Any) -> Any:
    made = Output(logits=x + 1, rows=x.shape[0])
    made.hidden = (x * 2, "text")
    return made


def listed(x: Any) -> Any:
    made = Listed([x + 1, x.shape])
    made.note = x.shape[0] * 2 + 1
    return made


def slotted(x: Any) -> Any:
    made = Slotted([x])
    made.extra = x.sum()
    return made


def default(x: Any) -> Any:
    made: Any = collections.defaultdict(list)
    made["x"].append(x)
    return made


RETURNED: dict[str, Callable[[Any], Any]] = {
    "size": lambda x: (x, x.shape[0]),
    "sizes": lambda x: [x.size(0), x, {"n": x.shape[0] * 2 + 1, "of": x.shape, "k": x.shape[1]}],
    "products": lambda x: (x.shape[0] * x.shape[1], -x.shape[0], x, x.numel(), x.size()[:1]),
    "nested": lambda x: {"a": [x, (x + 1,)], "b": {"c": x * 2, "d": None}, "e": ()},
    "single": lambda x: [x], "named": lambda x: Point(x, x.shape[0]),
    "named single": lambda x: (Point(x, None),), "tuple": lambda x: Paired([x, x + 1]),
    "output": output, "listed": listed, "slotted": slotted, "default": default, "result": Result,
    "ordered": lambda x: collections.OrderedDict(b=x, a=x + 1),
    "counter": lambda x: (x, collections.Counter("hello")),
    "empties": lambda x: ([], {}, (), x),
}


class Own(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


class One(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def assert_same(got: Any, wanted: Any) -> None:
    """Compares what we returned with what torch did: classes, attributes, arrays and numbers."""
    if isinstance(wanted, torch.Tensor):
        assert type(got) is np.ndarray
        assert got.shape == tuple(wanted.shape)
        np.testing.assert_array_equal(got, wanted.numpy())
        return
    if isinstance(wanted, torch.Size):
        assert isinstance(got, tuple)
        assert [type(n) for n in got] == [int] * len(wanted)
        assert tuple(got) == tuple(wanted)
        return
    assert type(got) is type(wanted)
    if isinstance(wanted, tuple | list):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            assert_same(one, other)
    elif isinstance(wanted, dict):
        assert list(got) == list(wanted)
        for key in wanted:
            assert_same(got[key], wanted[key])
    elif not dataclasses.is_dataclass(wanted):
        assert got == wanted
    assert set(vars_of(got)) == set(vars_of(wanted))
    for name, value in vars_of(wanted).items():
        assert_same(vars_of(got)[name], value)


def vars_of(value: Any) -> dict[str, Any]:
    names = [*getattr(value, "__dict__", {}), *(["extra"] if isinstance(value, Slotted) else [])]
    return {name: getattr(value, name) for name in names}


def rows(count: int) -> np.ndarray:
    return np.arange(2 * count, dtype=np.float32).reshape(count, 2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", RETURNED)
def test_what_a_forward_returns(name: str, mode: str) -> None:
    function = RETURNED[name]
    with options.override(**MODES[mode]):
        fast = nncompile.compile(One(function).eval(), "f32[B, 2]", threads=1)
    for count in (0, 1, 3):
        x = rows(count)
        wanted = function(torch.from_numpy(x.copy()))
        assert_same(One(function).eval()(x), wanted)
        for got in (fast(x), fast(x.tolist()) if count else fast(x), fast(x=x, threads=1),
                    fast(np.asfortranarray(x)), fast(torch.from_numpy(x)), fast.bind(x)()):
            assert_same(got, wanted)
    first, second = fast(x), fast(x)
    assert first is not second


def test_a_compiled_model_that_returns_classes_can_be_copied() -> None:
    for function in (output, listed, slotted, default, Result, RETURNED["sizes"]):
        fast = nncompile.compile(One(function).eval(), "f32[B, 2]", threads=1)
        fast(rows(2))
        for again in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
            assert_same(again(rows(3)), function(torch.from_numpy(rows(3))))


def test_sizes_of_several_inputs() -> None:
    def function(x: Any, y: Any) -> Any:
        return {"sum": x.sum() + y.sum(), "n": (y.shape[0], x.shape[1], x.shape[0] * y.shape[0])}

    fast = nncompile.compile(Own(function).eval(), "f32[B, T]", "f32[N]", threads=1)
    x, y = rows(3), np.ones(5, np.float32)
    assert_same(fast(x, y), function(torch.from_numpy(x), torch.from_numpy(y)))
    made = np.empty((), np.float32)
    result = fast(x, y, out={"sum": made, "n": (None,) * 3})
    assert result["sum"] is made
    assert result["n"] == (5, 2, 15)


def test_an_item_that_is_also_an_attribute_is_computed_once() -> None:
    fast = nncompile.compile(One(output).eval(), "f32[B, 2]", threads=1)
    result = fast(rows(2))
    assert result.logits is result["logits"]
    assert len(fast.ir().outputs) == 2


class Holder:
    def __init__(self, x: Any) -> None:
        self.x = x


REFUSED: dict[str, Callable[[Any], Any]] = {
    "namespace": lambda x: types.SimpleNamespace(x=x), "set": lambda x: (x, {x}),
    "frozen set": lambda x: [x, frozenset([x])], "deque": lambda x: collections.deque([x]),
    "user dict": lambda x: collections.UserDict(x=x), "own": Holder,
    "own in a list": lambda x: [x, Holder([x])], "own of a size": lambda x: (x, Holder(x.shape[0])),
    "function": lambda x: (x, lambda: x), "generator": lambda x: (x, (y for y in [x])),
    "key": lambda x: {x: x}, "attribute": lambda x: (x, types.SimpleNamespace(n=[{"s": x.shape}])),
    "map": lambda x: (x, map(len, [x])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_objects_that_would_hold_the_traces_arrays_are_refused(name: str) -> None:
    with pytest.raises(nncompile.TraceError, match=r"holds arrays or sizes.*has to return"):
        nncompile.compile(One(REFUSED[name]).eval(), "f32[B, 2]")


def test_numbers_computed_from_sizes_are_returned_as_arrays() -> None:
    with pytest.raises(nncompile.TraceError, match="number that is computed from sizes: make it"):
        nncompile.compile(One(lambda x: (x, x.shape[0] / 2)).eval(), "f32[B, 2]")
    fast = nncompile.compile(One(lambda x: (x, x.new_full((), x.shape[0] / 2))).eval(),
                             "f32[B, 2]", threads=1)
    assert fast(rows(3))[1] == np.float32(1.5)


def test_constants_that_hold_nothing_of_a_trace_are_returned() -> None:
    kept = Holder({"a": [1, 2]})
    fast = nncompile.compile(One(lambda x: (x, kept, np.float32, "text")).eval(), "f32[B, 2]")
    assert fast(rows(2))[1:] == (kept, np.float32, "text")


# -- who sees what is done to a list or dict -------------------------------------------------------

class Inner(nn.Module):
    """A layer that changes what it is given."""

    def forward(self, x: Any, cache: Any) -> Any:
        if isinstance(cache, dict):
            cache["seen"] = cache["seen"] + x
            cache[f"layer {len(cache)}"] = x * 2
        elif isinstance(cache, list):
            cache[0] = cache[0] + x
            cache.append(x * 2)
        else:
            cache.seen = cache.seen + x
        return x + 1


@dataclasses.dataclass
class Cache:
    seen: Any
    count: int = 0


def _changing(library: Any, inner: Any, make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def forward(x: Any) -> Any:
        cache = make(x)
        same = [cache]
        x = inner(inner(x, cache), cache)
        assert same[0] is cache
        return x, cache
    return forward


class _TorchInner(torch.nn.Module):  # type: ignore[misc, name-defined]
    forward = Inner.forward


@pytest.mark.parametrize("make", [
    lambda x: {"seen": x}, lambda x: [x], Cache, lambda x: Output(seen=x),
    lambda x: collections.OrderedDict(seen=x),
], ids=["dict", "list", "dataclass", "output", "ordered"])
def test_a_layers_changes_are_seen_by_its_caller(make: Callable[[Any], Any]) -> None:
    x = rows(3)
    wanted = _changing(torch, _TorchInner(), make)(torch.from_numpy(x.copy()))
    model = One(_changing(nncompile, Inner(), make)).eval()
    assert_same(model(x), wanted)
    assert_same(nncompile.compile(model, "f32[B, 2]", threads=1)(x), wanted)


def test_plain_arrays_among_the_arrays_do_not_make_a_copy() -> None:
    table = rows(1)

    def forward(x: Any) -> Any:
        cache = {"seen": x, "plain": table}
        return Inner()(x, cache), cache

    model = One(forward).eval()
    for result in (model(rows(3)), nncompile.compile(model, "f32[B, 2]", threads=1)(rows(3))):
        _, cache = result
        assert list(cache) == ["seen", "plain", "layer 2"]
        np.testing.assert_array_equal(cache["seen"], 2 * rows(3))


def _fill(x: Any, cache: Any) -> Any:
    if isinstance(cache, dict):
        cache["seen"] = cache["seen"] + x
        cache["more"] = [x]
        cache.pop("old")
    else:
        cache[0] = cache[0] + x
        cache.append(x)
    return x + 1


CACHES: dict[str, Callable[[Any], Any]] = {
    "dict": lambda x: {"seen": x, "old": x, "kept": [x]}, "list": lambda x: [x, [x]],
    "no arrays before": lambda x: {"seen": 0.0, "old": None, "kept": []},
}


@pytest.mark.parametrize("name", CACHES)
def test_the_callers_own_list_or_dict_is_changed_as_in_torch(name: str) -> None:
    make = CACHES[name]
    wanted = make(torch.from_numpy(rows(2)))
    _fill(torch.from_numpy(rows(2)), wanted)
    cache = make(rows(2))
    kept = cache["kept"] if isinstance(cache, dict) else cache[1]
    Own(_fill).eval()(rows(2), cache)
    assert (cache["kept"] if isinstance(cache, dict) else cache[1]) is kept
    if name != "no arrays before":
        assert_same(cache, wanted)
    else:
        assert list(cache) == list(wanted)


@pytest.mark.parametrize("name", ["dict", "list"])
def test_a_compiled_model_cannot_change_its_callers(name: str) -> None:
    example = CACHES[name](rows(2))
    with pytest.raises(nncompile.TraceError, match=r"changes its argument args1.*change a copy"):
        nncompile.compile(Own(_fill).eval(), rows(2), example)

    def copying(x: Any, cache: Any) -> Any:
        cache = type(cache)(cache)
        return _fill(x, cache), cache

    fast = nncompile.compile(Own(copying).eval(), rows(2), example, threads=1)
    wanted = copying(torch.from_numpy(rows(3)), CACHES[name](torch.from_numpy(rows(3))))
    assert_same(fast(rows(3), CACHES[name](rows(3))), wanted)


# -- nested arguments ------------------------------------------------------------------------------

def test_every_spelling_of_nested_arguments() -> None:
    def forward(pair: Any, batch: Any, scale: float = 1.0, point: Any = None) -> Any:
        y = pair[0] - pair[1][0] * batch["b"]
        return y * scale if point is None else y * scale + point.x

    class Model(nn.Module):
        def forward(self, pair: Any, batch: Any, scale: float = 1.0, point: Any = None) -> Any:
            return forward(pair, batch, scale, point)

    kind = "f32[B, 2]"
    pair, batch, point = (kind, [kind]), {"b": kind, "unused": (None, 3)}, Point(kind, None)
    for mode in MODES.values():
        with options.override(**mode):
            fast = nncompile.compile(Model().eval(), pair, batch, 2.0, point, threads=1)
        x = rows(3)
        values = (x, [x + 1]), {"unused": (None, 3), "b": x + 2}, 2.0, Point(x, None)
        wanted = forward(*values)
        for got in (fast(*values), fast(*values[:2], scale=2.0, point=values[3]),
                    fast(point=values[3], batch=values[1], pair=values[0]),
                    fast(values[0], values[1], point=Point(x.tolist(), None)),
                    fast(values[0], collections.OrderedDict(values[1]), 2.0, point=values[3]),
                    fast(*values, out=np.empty_like(x))):
            np.testing.assert_array_equal(got, wanted)
        for wrong, message in (
                (((x, x), *values[1:]), "pair.1 is a list, not ndarray"),
                (((x, [x], x), *values[1:]), "pair has the parts 0, 1, not 0, 1, 2"),
                ((values[0], {"b": x, "other": 1}, *values[2:]), "batch has the parts"),
                ((values[0], {"b": x, "unused": (None, 4)}, *values[2:]), "batch.unused.1 was 3"),
                ((*values[:2], 3.0, values[3]), "scale was 2.0"),
                ((*values[:3], x), "point is a Point, not ndarray"),
                (values[:1], "the argument batch is missing"),
                ((*values, x), "takes 4 inputs, got 5")):
            with pytest.raises(nncompile.InputError, match=message):
                fast(*wrong)
        with pytest.raises(nncompile.InputError, match="there is no argument"):
            fast(*values[:3], points=values[3])
        with pytest.raises(nncompile.InputError, match="there is no argument"):
            fast(*values[:2], pair=values[0])


def test_arguments_of_classes() -> None:
    """A forward gets the class that is given, and calls have to give it, too."""
    def forward(batch: Any) -> Any:
        assert type(batch) is Listed
        return batch[0] + batch.note

    def batch(x: Any, note: Any) -> Listed:
        made = Listed([x])
        made.note = note
        return made

    fast = nncompile.compile(One(forward).eval(), batch("f32[B, 2]", "f32[2]"), threads=1)
    np.testing.assert_array_equal(fast(batch(rows(3), rows(1)[0])), rows(3) + rows(1))
    with pytest.raises(nncompile.InputError, match="x is a Listed, not list"):
        fast([rows(3)])
    with pytest.raises(nncompile.InputError, match="the attribute note"):
        fast(Listed([rows(3)]))

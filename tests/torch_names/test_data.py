"""torch.utils.data and torch.Generator, beside torch; what is random is compared by its laws."""
from __future__ import annotations

import copy
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import nncompile
import nncompile.utils.data as ours
from nncompile import nn

torch = pytest.importorskip("torch", reason="the oracle of this file")
theirs = __import__("torch.utils.data", fromlist=["data"])
LIBRARIES = (nncompile, ours), (torch, theirs)
Point = namedtuple("Point", "x y")


def plain(value):
    """A batch as Python's own objects, with the dtype of each array."""
    if hasattr(value, "tolist") and not isinstance(value, np.generic):
        return str(value.dtype), value.tolist()
    if isinstance(value, dict):
        return type(value).__name__, {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value).__name__, [plain(part) for part in value]
    return value


SAMPLES = {
    "floats": [1.5, 2.5], "integers": [1, 2], "bools": [True, False], "strings": ["a", "b"],
    "arrays": [np.ones(2, np.float32), np.zeros(2, np.float32)],
    "numbers of NumPy's": [np.float32(1), np.float32(2)],
    "tuples": [(1, "a"), (2, "b")], "lists": [[1.0, 2], [3.0, 4]],
    "dicts": [{"a": 1, "b": np.ones(1)}, {"a": 2, "b": np.zeros(1)}],
    "an ordered dict": [OrderedDict(a=1), OrderedDict(a=2)],
    "named tuples": [Point(1, 2.0), Point(3, 4.0)], "nested": [{"a": [(1, 2.0)]}, {"a": [(3, 4.)]}],
}


@pytest.mark.parametrize("samples", SAMPLES.values(), ids=SAMPLES)
def test_collate(samples):
    assert plain(ours.default_collate(samples)) == plain(theirs.default_collate(samples))
    for sample in samples:
        assert plain(ours.default_convert(sample)) == plain(theirs.default_convert(sample))


@pytest.mark.parametrize("wrong", [[[1], [1, 2]], [object(), object()], [np.array(["a"])]])
def test_what_cannot_be_collated(wrong):
    with pytest.raises((RuntimeError, TypeError)) as expected:
        theirs.default_collate(wrong)
    with pytest.raises(expected.type):
        ours.default_collate(wrong)


def sets(data):
    class Squares(data.Dataset):
        def __len__(self):
            return 7

        def __getitem__(self, index):
            return index, index**2

    class Stream(data.IterableDataset):
        def __iter__(self):
            return iter(range(5))

        def __len__(self):
            return 5

    return Squares(), Stream()


LOADERS = {
    "plain": lambda data, a, b: data.DataLoader(a),
    "batches": lambda data, a, b: data.DataLoader(a, batch_size=3),
    "whole batches": lambda data, a, b: data.DataLoader(a, 3, drop_last=True),
    "samples": lambda data, a, b: data.DataLoader(a, batch_size=None),
    "collate_fn": lambda data, a, b: data.DataLoader(a, 2, collate_fn=lambda batch: len(batch)),
    "a sampler": lambda data, a, b: data.DataLoader(a, 2, sampler=[3, 1, 2]),
    "a batch sampler": lambda data, a, b: data.DataLoader(a, batch_sampler=[[3, 1], [2]]),
    "a subset": lambda data, a, b: data.DataLoader(data.Subset(a, [1, 4, 6]), 2),
    "two": lambda data, a, b: data.DataLoader(a + data.Subset(a, [0]), 4),
    "a stream": lambda data, a, b: data.DataLoader(b, 2),
    "a stream of whole batches": lambda data, a, b: data.DataLoader(b, 2, drop_last=True),
    "two streams": lambda data, a, b: data.DataLoader(b + b, 4),
    "single samples of a stream": lambda data, a, b: data.DataLoader(b, batch_size=None),
    "a stack": lambda data, a, b: data.DataLoader(data.StackDataset(x=a, y=a), 5),
    "a list": lambda data, a, b: data.DataLoader([1.0, 2.0, 3.0], 2, pin_memory=False),
}


@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_loaders(make):
    mine, their = (make(data, *sets(data)) for _, data in LIBRARIES)
    assert len(mine) == len(their)
    for _ in range(2):                           # a loader may be used again
        assert [plain(batch) for batch in mine] == [plain(batch) for batch in their]


def test_arrays_in_batches():
    loaders = [data.DataLoader(data.TensorDataset(library.arange(5), library.ones(5, 2)), 2)
               for library, data in LIBRARIES]
    assert [plain(batch) for batch in loaders[0]] == [plain(batch) for batch in loaders[1]]


def test_workers_work_in_this_process():
    loader = ours.DataLoader(sets(ours)[0], 3, num_workers=4, persistent_workers=True,
                             prefetch_factor=2)
    assert len(list(loader)) == 3 and ours.get_worker_info() is None


WRONG = {
    "shuffle and sampler": {"shuffle": True, "sampler": [1]},
    "batch_sampler and shuffle": {"batch_sampler": [[1]], "shuffle": True},
    "batch_sampler and size": {"batch_sampler": [[1]], "batch_size": 2},
    "no batches to drop": {"batch_size": None, "drop_last": True},
    "no batch": {"batch_size": 0}, "workers": {"num_workers": -1}, "timeout": {"timeout": -1},
}


@pytest.mark.parametrize("options", WRONG.values(), ids=WRONG)
def test_options_that_exclude_each_other(options):
    for _, data in LIBRARIES:
        with pytest.raises(ValueError):
            data.DataLoader(sets(data)[0], **options)


@pytest.mark.parametrize("library, data", LIBRARIES, ids=["ours", "torch"])
def test_random_orders(library, data):
    generator = library.Generator().manual_seed(3)
    squares = sets(data)[0]
    seen = [n for batch in data.DataLoader(squares, 2, shuffle=True, generator=generator)
            for n in batch[0].tolist()]
    assert sorted(seen) == list(range(7))
    assert sorted(data.SubsetRandomSampler([4, 8], generator)) == [4, 8]
    assert sorted(data.RandomSampler(range(3), num_samples=6)) == [0, 0, 1, 1, 2, 2]
    assert len(list(data.RandomSampler(range(3), True, 20))) == 20
    assert set(data.WeightedRandomSampler([0.0, 1.0, 0.0], 5)) == {1}
    assert sorted(data.WeightedRandomSampler([1.0, 1.0], 2, replacement=False)) == [0, 1]
    parts = data.random_split(squares, [0.5, 0.25, 0.25], generator)
    assert sorted(n for part in parts for n in part.indices) == list(range(7))
    assert [len(part) for part in parts] == [4, 2, 1]
    assert [len(part) for part in data.random_split(squares, [3, 4])] == [3, 4]
    with pytest.raises(ValueError):
        data.random_split(squares, [3, 3])


def test_a_generator():
    made, again = nncompile.Generator("cpu").manual_seed(7), nncompile.Generator().manual_seed(7)
    first = nncompile.randn(4, generator=made)
    assert first.tolist() == nncompile.randn(4, generator=again).tolist()
    state = made.get_state()
    second = nncompile.rand(3, generator=made).tolist()
    made.set_state(state)
    assert nncompile.rand(3, generator=made).tolist() == second
    assert made.initial_seed() == 7 and made.device.type == "cpu"
    copied = copy.deepcopy(made)
    assert nncompile.randperm(9, generator=made).tolist() == nncompile.randperm(
        9, generator=copied).tolist()
    assert made.seed() == made.initial_seed()
    layer = nn.Linear(2, 2)
    nn.init.normal_(layer.weight, generator=made)
    nncompile.zeros(3).uniform_(generator=made)
    with pytest.raises(nncompile.InputError):
        nncompile.Generator("cuda")

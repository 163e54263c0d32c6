"""Numbers that no input has a part in are known while a model is traced, as torch knows them."""

import pickle

import numpy as np
import pytest

import nncompile
from ir.records import replace
from nncompile.errors import InputError, TraceError

torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")

FLAG = [True, False, True, True]


def model_of(lib, function):
    """A model of torch's or of ours, with the same buffers and the forward function(lib, self, x).
    """
    class Model(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = lib.nn.Parameter(lib.tensor([0.5, -2.0, 3.0, 1.0]))
            self.register_buffer("count", lib.tensor(3))
            self.register_buffer("edges", lib.tensor([0.0, 0.5, 0.5, 2.0]))
            self.register_buffer("mask", lib.tensor(FLAG))
            self.register_buffer("table", lib.tensor([[3, 0, 2, 2], [1, 1, 0, 3], [3, 0, 2, 2]]))
            self.register_buffer("empty", lib.zeros(0))
            self.plain = lib.tensor([1.0, -1.0, 2.0, 0.0])

        def forward(self, x):
            return function(lib, self, x)

    return Model().eval()


def looped(lib, self, x):
    for edge in self.edges:
        if edge > 0.25:
            x = x + edge.item()
    while x.shape[1] < int(self.count) + 5:
        x = lib.cat([x, x[:, :1]], 1)
    return x


def built(lib, self, x):
    grid = lib.zeros(4)
    grid[1:3] = self.edges[2:] * 2
    grid[0] += 1
    return x * float(grid.max()) + grid.sum().item() + len(grid.tolist())


def assigned(lib, self, x):
    x = x.clone()
    x[:, self.mask] = x[:, :3] * 2
    x[:, ~self.mask] += 1.0
    return x


def assigned_rows(lib, self, x):
    table = self.table.float()
    table[self.table > 2] = lib.tensor([5.0, 6.0, 7.0])
    table[self.table == 0] = -1.0
    return x @ table.T


FORWARDS = {
    "if": lambda lib, self, x: x * 2 if self.scale[0] > 0 else x,
    "and": lambda lib, self, x: x * 2 if (self.scale > 0).any() and not self.mask.all() else x,
    "assert": lambda lib, self, x: lib._assert((self.edges >= 0).all(), "no") or x + 1,
    "int": lambda lib, self, x: x[:, : int(self.count)],
    "index": lambda lib, self, x: x[:, self.count],
    "slice": lambda lib, self, x: x[:, : self.count],
    "range": lambda lib, self, x: sum(x[:, i] for i in range(self.count)),
    "size": lambda lib, self, x: lib.cat([x, lib.ones(int(self.count), 4)]),
    "float": lambda lib, self, x: x * float(self.scale.sum()) + self.edges.max().item(),
    "math": lambda lib, self, x: x * np.exp(float(self.scale[1])),
    "tolist": lambda lib, self, x: x[:, self.table[0].tolist()],
    "of a fresh one": lambda lib, self, x: x * lib.arange(5)[-1].item() + lib.ones(3).sum().item(),
    "loop": looped,
    "built": built,
    "min of Python": lambda lib, self, x: x * max(self.edges) + min(self.plain),
    "in": lambda lib, self, x: x if 0.5 in self.edges.tolist() else -x,
    "format": lambda lib, self, x: x * float(f"{self.scale[2]:.3f}"),
    "numpy": lambda lib, self, x: x * lib.from_numpy(self.edges.numpy().copy()),
    "a function of NumPy": lambda lib, self, x: x * float(np.median(self.edges.numpy())),
    "mask": lambda lib, self, x: x[:, self.mask],
    "mask of a list": lambda lib, self, x: x[:, [True, False, False, True]],
    "mask of ndarray": lambda lib, self, x: x[..., np.array(FLAG)],
    "computed mask": lambda lib, self, x: x[..., (self.edges > 0.2) & self.mask],
    "mask and number": lambda lib, self, x: (self.table[:2][self.table[:2] > 1] + x[:, :1], x)[0],
    "mask beside an index": lambda lib, self, x: x + self.table[[True, False, True], 1].sum(),
    "mask of nothing": lambda lib, self, x: x[:, self.edges > 9],
    "masked_select": lambda lib, self, x: x.sum() + self.plain.masked_select(self.mask),
    "masked_select wide": lambda lib, self, x: x.sum() + self.table.masked_select(self.mask),
    "assigned": assigned,
    "assigned rows": assigned_rows,
    "nonzero": lambda lib, self, x: x[:, lib.nonzero(self.plain > 0).squeeze(1)],
    "nonzero as tuple": lambda lib, self, x: x.sum() + self.table[lib.nonzero(
        self.table > 1, as_tuple=True)],
    "nonzero method": lambda lib, self, x: x.sum() + self.table.nonzero(),
    "nonzero of a number": lambda lib, self, x: x.sum() + lib.nonzero(self.count),
    "argwhere": lambda lib, self, x: x.sum() + lib.argwhere(self.table),
    "where": lambda lib, self, x: x[:, lib.where(self.mask)[0]],
    "unique": lambda lib, self, x: x.sum() + lib.unique(self.table),
    "unique inverse": lambda lib, self, x: x.sum() + lib.unique(
        self.table, return_inverse=True, return_counts=True)[1],
    "unique counts": lambda lib, self, x: x.sum() + self.table.unique(return_counts=True)[1],
    "unique rows": lambda lib, self, x: x.sum() + lib.unique(self.table, dim=0),
    "unique columns": lambda lib, self, x: x.sum() + lib.unique(
        self.table, dim=1, return_inverse=True)[1],
    "unique of nothing": lambda lib, self, x: x.sum() + lib.unique(self.empty),
    "unique NaN": lambda lib, self, x: x.sum() + len(lib.unique(self.plain / self.plain / 0 * 0)),
    "consecutive": lambda lib, self, x: x.sum() + lib.unique_consecutive(self.table),
    "consecutive counts": lambda lib, self, x: x.sum() + lib.unique_consecutive(
        self.table, return_inverse=True, return_counts=True)[2],
    "consecutive inverse": lambda lib, self, x: x.sum() + lib.unique_consecutive(
        self.table, return_inverse=True)[1],
    "consecutive of nothing": lambda lib, self, x: x.sum() + lib.unique_consecutive(self.empty),
    "bincount": lambda lib, self, x: x.sum() + lib.bincount(self.table[0], minlength=6),
    "bincount weights": lambda lib, self, x: x.sum() + lib.bincount(self.table[0], self.scale),
    "searchsorted": lambda lib, self, x: lib.searchsorted(self.edges, x) + x,
    "searchsorted right": lambda lib, self, x: lib.searchsorted(self.edges, x, right=True) + x,
    "searchsorted side": lambda lib, self, x: lib.searchsorted(self.edges, x, side="right") + x,
    "searchsorted number": lambda lib, self, x: lib.searchsorted(self.edges, 0.5) + x,
    "bucketize": lambda lib, self, x: lib.bucketize(x, self.edges, out_int32=True) + x,
    "equal": lambda lib, self, x: x if lib.equal(self.table[0], self.table[2]) else -x,
    "allclose": lambda lib, self, x: x if lib.allclose(self.edges, self.plain) else -x,
    "one_hot": lambda lib, self, x: x @ lib.nn.functional.one_hot(self.table).float().sum(0),
}


@pytest.mark.parametrize("function", FORWARDS.values(), ids=FORWARDS)
def test_what_is_known_is_torchs(function):
    theirs, ours = model_of(torch, function), model_of(nncompile, function)
    compiled = nncompile.compile(ours, "f32[B, 4]")
    for rows in (1, 3, 17):
        x = np.random.default_rng(rows).standard_normal((rows, 4)).astype(np.float32)
        x.reshape(-1)[:3] = [0.5, np.nan, np.inf]
        with torch.no_grad():
            wanted = theirs(torch.from_numpy(x)).numpy()
        for got in (ours(x), compiled(x)):
            assert got.dtype == wanted.dtype
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


DEPENDENT = {
    "if": lambda lib, self, x: x if (x * self.scale).sum() > 0 else -x,
    "item": lambda lib, self, x: x * (self.edges + x[0]).sum().item(),
    "mask": lambda lib, self, x: x[x > 0],
    "mask of columns": lambda lib, self, x: x[:, x[0] > 0],
    "assigned": lambda lib, self, x: x.clone().__setitem__(x > 0, x.reshape(-1)),
    "nonzero": lambda lib, self, x: x.nonzero(),
    "unique": lambda lib, self, x: x.unique(),
    "bincount": lambda lib, self, x: x.long()[0].bincount(),
    "numpy": lambda lib, self, x: np.median(x),
    "a size": lambda lib, self, x: x * lib.arange(x.shape[0]).tolist(),
    "buffer and size": lambda lib, self, x: x * self.plain.expand(x.shape[0], 4).sum().item(),
}


@pytest.mark.parametrize("function", DEPENDENT.values(), ids=DEPENDENT)
def test_what_depends_on_an_input_is_refused_with_the_line(function):
    with pytest.raises(TraceError, match=r"(?s)needs the numbers.*test_known.py:\d+: \S"):
        nncompile.compile(model_of(nncompile, function), "f32[B, 4]")


def test_what_is_read_cannot_be_written():
    def written(lib, self, x):
        self.edges.numpy()[0] = 7
        return x

    model = model_of(nncompile, written)
    with pytest.raises(TraceError, match="read-only"):
        nncompile.compile(model, "f32[B, 4]")
    assert model.edges[0] == 0


def test_reading_numbers_leaves_the_ops_in_the_graph():
    def text(function):
        graph = nncompile.trace(model_of(nncompile, function), "f32[B, 4]")
        assert [r.name for r in graph.readings] == ["edges", "scale"] * (function is reading)
        return str(replace(graph, readings=())).split("#")[0]

    def reading(lib, self, x):
        return x * known((self.scale * self.edges).sum())

    quiet = text(lambda lib, self, x: x * (self.scale * self.edges).sum())
    assert text(reading) == quiet


def known(value):
    assert value > -100
    return value


def copy_of(state):
    return {name: np.array(value) for name, value in state.items()}


def decided(lib, self, x):
    return lib.nn.functional.linear(x * int(self.count), self.plain.expand(2, 4)) * (
        self.scale if self.scale[0] > 0 else -self.scale)[:2] + self.edges[:2]


@pytest.mark.parametrize("through", [lambda f: f, lambda f: pickle.loads(pickle.dumps(f))],
                         ids=["", "pickled"])
def test_weights_that_a_forward_decided_by_stay(through):
    model = model_of(nncompile, decided)
    compiled = through(nncompile.compile(model, "f32[B, 4]"))
    x = np.ones((2, 4), np.float32)
    before = compiled(x)
    state = copy_of(model.state_dict())
    compiled.load_weights(state)                 # equal numbers
    state["edges"] += 1
    compiled.load_weights(state)                 # nobody read these
    np.testing.assert_array_equal(compiled(x), before + 1)
    state["count"] += 1
    state["scale"] = -state["scale"]
    with pytest.raises(InputError) as caught:
        compiled.load_weights(state)
    assert "'count'" in str(caught.value) and "'scale'" in str(caught.value)
    assert "test_known.py" in str(caught.value) and "'edges'" not in str(caught.value)
    np.testing.assert_array_equal(compiled(x), before + 1)


def test_a_buffer_that_is_only_read_stays_too():
    model = model_of(nncompile, lambda lib, self, x: x * int(self.count))
    compiled = nncompile.compile(model, "f32[B, 4]")
    state = copy_of(model.state_dict())
    for other in (4, [3]):
        with pytest.raises(InputError, match=r"'count' cannot change: .*test_known\.py"):
            compiled.load_weights(state | {"count": np.array(other)})
    compiled.load_weights(state)
    model.count = nncompile.tensor(5)
    np.testing.assert_array_equal(model(np.ones((1, 4), np.float32)), np.full((1, 4), 5.0))

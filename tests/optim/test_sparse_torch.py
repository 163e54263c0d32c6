"""Sparse gradients of embeddings, the optimizers that take them, and Muon, beside torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import nncompile
from nncompile import optim
from nncompile.errors import InputError

LIBRARIES = (nncompile, torch)
DRAW = np.random.default_rng(0)
TABLE = DRAW.standard_normal((40, 3))
BATCHES = [DRAW.integers(0, 40, size) for size in (12, 5, 0, 1, 12)]
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")


def embedding(lib: Any, **options: Any) -> Any:
    made = lib.nn.Embedding(40, 3, sparse=True, **options).double()
    with lib.no_grad():
        made.weight.copy_(lib.from_numpy(TABLE))
    return made


def trained(lib: Any, kind: str, options: dict[str, Any], **of_table: Any) -> tuple[Any, Any]:
    table = embedding(lib, **of_table)
    optimizer = getattr(lib.optim, kind)(table.parameters(), **options)
    for batch in BATCHES:
        optimizer.zero_grad()
        ids = lib.from_numpy(batch)
        (table(ids) * table(ids).sin()).sum().backward()
        assert table.weight.grad.is_sparse
        optimizer.step()
    return table, optimizer


TAKE = {
    "SGD": {"lr": 0.1}, "SGD maximize": {"lr": 0.1, "maximize": True},
    "SGD momentum": {"lr": 0.1, "momentum": 0.9},
    "SGD nesterov": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "Adagrad": {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5},
    "Adagrad maximize": {"maximize": True},
    "SparseAdam": {"lr": 0.1}, "SparseAdam options": {"betas": (0.3, 0.9), "maximize": True},
}


@pytest.mark.parametrize("padding", [None, 7])
@pytest.mark.parametrize("name", TAKE)
def test_steps_of_sparse_gradients_are_torchs(name: str, padding: int | None) -> None:
    kind = name.split()[0]
    ours, theirs = (trained(lib, kind, TAKE[name], padding_idx=padding) for lib in LIBRARIES)
    np.testing.assert_allclose(ours[0].weight.detach().numpy(), theirs[0].weight.detach().numpy(),
                               1e-10, 1e-12)
    mine, its = (o.state_dict()["state"] for _, o in (ours, theirs))
    assert mine.keys() == its.keys()
    for number, state in its.items():
        assert mine[number].keys() == state.keys()
        for slot, value in state.items():
            dense = value.to_dense() if getattr(value, "is_sparse", False) else value
            np.testing.assert_allclose(np.asarray(mine[number][slot]), np.asarray(dense),
                                       1e-10, 1e-12, err_msg=slot)
    if "momentum" in name or "nesterov" in name:         # torch's average is sparse, ours is not
        return
    again = getattr(optim, kind)(embedding(nncompile).parameters(), lr=5.0)
    again.load_state_dict(theirs[1].state_dict())
    back = getattr(torch.optim, kind)(embedding(torch).parameters(), lr=5.0)
    back.load_state_dict({**ours[1].state_dict(), "state": {
        n: {k: torch.as_tensor(v) for k, v in s.items()} for n, s in mine.items()}})
    assert again.state_dict()["param_groups"] == ours[1].state_dict()["param_groups"]


@pytest.mark.parametrize("name", [
    "SGD decay", "Adagrad decay", "Adam", "AdamW", "RMSprop", "Adadelta", "Adamax", "NAdam",
    "RAdam", "Rprop", "ASGD", "Adafactor", "Muon"])
def test_other_optimizers_refuse_sparse_gradients_as_torchs_do(name: str) -> None:
    kind, decay = name.split()[0], "decay" in name
    for lib in LIBRARIES:
        table = embedding(lib)
        before = table.weight.detach().numpy().copy()
        optimizer = getattr(lib.optim, kind)(
            table.parameters(), **{"weight_decay": 0.1} if decay else {})
        table(lib.from_numpy(BATCHES[0])).sum().backward()
        with pytest.raises(RuntimeError if lib is torch else InputError, match="sparse"):
            optimizer.step()
        np.testing.assert_array_equal(table.weight.detach().numpy(), before)


def test_sparse_adam_refuses_dense_gradients() -> None:
    for lib in LIBRARIES:
        p = lib.nn.Parameter(lib.ones(3, 2))
        p.sum().backward()
        with pytest.raises(RuntimeError if lib is torch else InputError, match="dense gradients"):
            lib.optim.SparseAdam([p]).step()
        for wrong in ({"lr": 0.0}, {"eps": 0.0}, {"betas": (1.0, 0.9)}):
            with pytest.raises(ValueError, match="Invalid"):
                lib.optim.SparseAdam([p], **wrong)


def test_a_step_computes_with_as_many_rows_as_were_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """No array as large as the table is made, but for the averages before the first step."""
    table = nncompile.nn.Embedding(1000, 4, sparse=True)
    for kind in ("SGD", "Adagrad", "SparseAdam"):
        optimizer = getattr(optim, kind)(table.parameters(), lr=0.1)
        sizes = []
        zeros = np.zeros
        monkeypatch.setattr(np, "zeros", lambda shape, *a, z=zeros, s=sizes, **k: (
            s.append(int(np.prod(shape))), z(shape, *a, **k))[1])
        for _ in range(2):
            optimizer.zero_grad()
            table(nncompile.tensor([3, 5, 3])).sum().backward()
            optimizer.step()
        monkeypatch.undo()
        assert max(sizes) <= 12
        assert table.weight.grad.rows()[0].tolist() == [3, 5]


def outcomes(lib: Any, function: Callable[[Any, Any], Any]) -> list[Any]:
    table = embedding(lib)
    table(lib.tensor([3, 1, 3])).pow(2).sum().backward()
    found = function(lib, table)
    return [x.to_dense().detach().numpy() if getattr(x, "is_sparse", False) else
            x.detach().numpy() if hasattr(x, "detach") else x for x in found]


def twice(lib: Any, t: Any) -> Any:
    t(lib.tensor([2, 3])).sum().backward()
    return [t.weight.grad.is_sparse, t.weight.grad]


def with_dense(lib: Any, t: Any) -> Any:
    t.weight.sin().sum().backward()
    return [t.weight.grad.is_sparse, t.weight.grad]


def after_dense(lib: Any, t: Any) -> Any:
    t.weight.grad = None
    t.weight.sin().sum().backward()
    t(lib.tensor([2, 3])).sum().backward()
    return [t.weight.grad.is_sparse, t.weight.grad]


def both_at_once(lib: Any, t: Any) -> Any:
    t.weight.grad = None
    (t(lib.tensor([2, 3])).sum() + t.weight.cos().sum()).backward()
    return [t.weight.grad.is_sparse, t.weight.grad]


def scaled_and_zeroed(lib: Any, t: Any) -> Any:
    first = t.weight.grad.clone()
    t.weight.grad.mul_(0.5)
    half = t.weight.grad.clone()
    t.zero_grad(set_to_none=False)
    return [first, half, t.weight.grad, t.weight.grad.is_sparse]


def parts(lib: Any, t: Any) -> Any:
    g = t.weight.grad.coalesce()
    return [g.indices(), g.values(), list(g.shape), str(g.dtype), g.to_dense()]


def of_grad(lib: Any, t: Any) -> Any:
    found, = lib.autograd.grad(t(lib.tensor([[0, 1], [1, 1]])).sum(), t.weight)
    return [found.is_sparse, found]


def hooked(lib: Any, t: Any) -> Any:
    seen = []
    t.weight.register_hook(lambda g: seen.append(g.is_sparse))
    t.weight.register_hook(lambda g: g * 2)
    t(lib.tensor([4])).sum().backward()
    return [seen[0], t.weight.grad]


@pytest.mark.parametrize("function", [
    twice, with_dense, after_dense, both_at_once, scaled_and_zeroed, parts, of_grad, hooked],
    ids=lambda f: f.__name__)
def test_what_becomes_of_a_sparse_gradient(function: Any) -> None:
    for a, b in zip(outcomes(nncompile, function), outcomes(torch, function), strict=True):
        if isinstance(b, np.ndarray):
            np.testing.assert_allclose(a, b, 1e-12)
        else:
            assert a == b


@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_by_frequency(sparse: bool) -> None:
    found = []
    for lib in LIBRARIES:
        table = lib.nn.Embedding(6, 2, scale_grad_by_freq=True, padding_idx=4, sparse=sparse)
        ids = lib.tensor([[1, 1, 3], [4, 1, 0]])
        weights = lib.arange(6.0).reshape(2, 3, 1)
        if sparse:
            with pytest.raises(RuntimeError if lib is torch else InputError, match="freq"):
                (table(ids) * weights).sum().backward()
            return
        (table(ids) * weights).sum().backward()
        found.append(table.weight.grad.numpy())
    np.testing.assert_allclose(*found, 1e-6)


class Words(nncompile.nn.Module):
    def __init__(self, sparse: bool, also: bool = False) -> None:
        super().__init__()
        self.table = nncompile.nn.Embedding(40, 3, padding_idx=2, sparse=sparse)
        self.head, self.also = nncompile.nn.Linear(3, 2), also
        with nncompile.no_grad():
            self.table.weight.copy_(nncompile.from_numpy(TABLE.astype("f4")))
            self.head.weight.fill_(0.3)
            self.head.bias.fill_(0.1)

    def forward(self, ids: Any) -> Any:
        found = self.head(self.table(ids).mean(1) + self.table(ids)[:, 0])
        return (found.pow(2).mean() + (self.table.weight.sum() if self.also else 0))


def compiled(model: Any, optimizer: Any) -> Any:
    return nncompile.compile(model, "i64[B, 4]", optimizer=optimizer, check=True)


@pytest.mark.parametrize("name", ["SGD", "SGD maximize", "SGD momentum", "Adagrad"])
def test_a_compiled_step_of_sparse_tables_is_the_eager_one(name: str) -> None:
    results = []
    for is_compiled in (False, True):
        model = Words(True)
        optimizer = getattr(optim, name.split()[0])(model.parameters(), **TAKE[name])
        step = compiled(model, optimizer) if is_compiled else None
        for k in range(4):
            ids = np.random.default_rng(k).integers(0, 40, (5, 4))
            if step is not None:
                step(ids)
                continue
            optimizer.zero_grad()
            model(nncompile.from_numpy(ids)).backward()
            assert model.table.weight.grad.is_sparse
            optimizer.step()
        results.append([p.detach().numpy().copy() for p in model.parameters()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-6)


@pytest.mark.parametrize(("kind", "options", "match"), [
    ("Adam", {}, "consider SparseAdam"), ("RMSprop", {}, "RMSprop does not support sparse"),
    ("SGD", {"weight_decay": 0.1}, "weight_decay"), ("Adagrad", {"weight_decay": 0.1}, "decay"),
    ("SparseAdam", {}, "SparseAdam does not support dense gradients")])
def test_a_compiled_step_refuses_what_the_eager_one_refuses(kind: str, options: Any, match: str
                                                            ) -> None:
    model = Words(True)
    with pytest.raises(InputError, match=match):
        compiled(model, getattr(optim, kind)(model.parameters(), **options))
    if kind != "SparseAdam":                     # dense, as in torch, where all rows are read too
        for dense in Words(True, also=True), Words(False):
            compiled(dense, getattr(optim, kind)(dense.parameters(), **options))


# -- Muon ------------------------------------------------------------------------------------------

MUON = {"default": {}, "plain": {"nesterov": False, "momentum": 0.3, "weight_decay": 0.0},
        "adamw": {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 3},
        "coefficients": {"ns_coefficients": (2.0, -1.5, 0.5), "eps": 1e-3}}


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (1, 6)])
@pytest.mark.parametrize("name", MUON)
def test_muon_is_torchs_with_its_iteration_in_the_same_precision(
        name: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda x: x.clone())
    begin, gradients = DRAW.standard_normal(shape), DRAW.standard_normal((4, *shape))
    results = []
    for lib in LIBRARIES:
        p = lib.nn.Parameter(lib.from_numpy(begin.copy()))
        optimizer = lib.optim.Muon([p], lr=0.1, **MUON[name])
        for g in gradients:
            p.grad = lib.from_numpy(g.copy())
            optimizer.step()
        results.append((p.detach().numpy(), optimizer.state_dict()))
    np.testing.assert_allclose(results[0][0], results[1][0], 1e-9)
    mine, its = (state["state"][0] for _, state in results)
    assert mine.keys() == its.keys() == {"momentum_buffer"}
    np.testing.assert_allclose(mine["momentum_buffer"], its["momentum_buffer"], 1e-12)
    assert results[0][1]["param_groups"] == results[1][1]["param_groups"]


def test_muon_beside_torchs_own_precision() -> None:
    results = []
    for lib in LIBRARIES:
        p = lib.nn.Parameter(lib.from_numpy(DRAW.standard_normal((8, 6)) * 0 + 1.0))
        optimizer = lib.optim.Muon([p], lr=0.1, weight_decay=0.0)
        p.grad = lib.from_numpy(np.arange(48.0).reshape(8, 6) % 7)
        optimizer.step()
        results.append(p.detach().numpy() - 1.0)
    off = np.linalg.norm(results[0] - results[1]) / np.linalg.norm(results[1])
    assert off < 0.03


@pytest.mark.parametrize("wrong", [
    {"lr": -1.0}, {"momentum": -0.1}, {"weight_decay": -1.0}, {"adjust_lr_fn": "other"}])
def test_wrong_options_of_muon(wrong: dict[str, Any]) -> None:
    for lib in LIBRARIES:
        with pytest.raises(ValueError, match=r"should be|not supported"):
            lib.optim.Muon([lib.nn.Parameter(lib.ones(2, 2))], **wrong)
        with pytest.raises(ValueError, match="2D"):
            lib.optim.Muon([lib.nn.Parameter(lib.ones(2))])


def test_muon_in_a_compiled_step_is_the_eager_one() -> None:
    x = DRAW.standard_normal((6, 4)).astype("f4")
    results = []
    for compiled in (False, True):
        nncompile.manual_seed(0)
        model = nncompile.nn.Linear(4, 3, bias=False)
        optimizer = optim.Muon(model.parameters(), lr=0.05)
        step = nncompile.compile(model, "f32[B, 4]", "f32[B, 3]", loss=nncompile.nn.MSELoss(),
                                 optimizer=optimizer, check=True) if compiled else None
        for _ in range(4):
            if step is not None:
                step(x, x[:, :3])
                continue
            optimizer.zero_grad()
            out = model(nncompile.from_numpy(x))
            nncompile.nn.functional.mse_loss(out, nncompile.from_numpy(x[:, :3].copy())).backward()
            optimizer.step()
        results.append(model.weight.detach().numpy().copy())
    np.testing.assert_allclose(*results, 1e-4, 1e-5)


@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("options", [{"sparse": True}, {"scale_grad_by_freq": True}], ids=str)
def test_gradients_of_bags(options: dict[str, Any], mode: str, padding: int | None) -> None:
    found: list[list[Any]] = []
    for lib in LIBRARIES:
        given = options if lib is nncompile or "sparse" in options else {}
        bag = lib.nn.EmbeddingBag(9, 2, mode=mode, padding_idx=padding, **given).double()
        with lib.no_grad():
            bag.weight.copy_(lib.from_numpy(TABLE[:9, :2].copy()))
        ids, offsets = lib.tensor([1, 3, 1, 0, 3, 8, 1]), lib.tensor([0, 2, 2, 5])
        out = bag(ids, offsets)
        (out * lib.arange(8.0).reshape(4, 2)).sum().backward()
        g = bag.weight.grad
        found.append([out.detach().numpy(), g.is_sparse,
                      (g.to_dense() if g.is_sparse else g).numpy()])
    np.testing.assert_allclose(found[0][0], found[1][0], 1e-12)
    assert found[0][1] == found[1][1]
    counts = np.ones(9)
    if "sparse" not in options:                  # torch 2.13 takes the counts of other rows
        counts = np.maximum(np.bincount([1, 3, 1, 0, 3, 8, 1], minlength=9), 1)
    np.testing.assert_allclose(found[0][2], found[1][2] / counts[:, None], 1e-12)


def test_frequencies_of_a_table_with_nan_and_infinity() -> None:
    table = nncompile.tensor([[np.nan, 1.0], [np.inf, 2.0], [3.0, 4.0]]).requires_grad_()
    found = nncompile.nn.functional.embedding(nncompile.tensor([2, 2, 0]), table,
                                              scale_grad_by_freq=True)
    np.testing.assert_array_equal(found.detach().numpy(), [[3, 4], [3, 4], [np.nan, 1]])
    found.sum().backward()
    np.testing.assert_array_equal(table.grad.numpy(), [[1, 1], [0, 0], [1, 1]])

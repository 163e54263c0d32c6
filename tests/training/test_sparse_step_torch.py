"""Compiled steps that change the rows alone that a batch looks up, beside torch's sparse gradients.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch

import ir
import nncompile
from ir.types import evaluate_dim
from nncompile import optim
from nncompile.errors import InputError
from nncompile.nn import Module
from nncompile.schedule import schedule

pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")
V, D = 40, 3
TABLE = np.random.default_rng(0).standard_normal((V, D))
SIZES = (7, 1, 0, 12, 7, 7)
TABLES: dict[str, dict[str, dict[str, Any]]] = {
    "One": {"table": {}},
    "Padded": {"table": {"padding_idx": 7}},
    "Bags": {"bag_sum": {"mode": "sum", "padding_idx": 3}, "bag_mean": {"mode": "mean"}},
    "Offsets": {"bag": {"mode": "sum"}},
    "Twice": {"table": {"padding_idx": 7}},
    "Several": {"a": {"padding_idx": 0}, "other": {}},
}
OPTIMIZERS = {
    "SGD": {"lr": 0.01}, "SGD maximize": {"lr": 0.003, "maximize": True},
    "Adagrad": {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5},
    "Adagrad maximize": {"lr": 0.2, "maximize": True},
    "SparseAdam": {"lr": 0.1},
    "SparseAdam options": {"lr": 0.05, "betas": (0.3, 0.9), "maximize": True},
}


def models(lib: Any) -> dict[str, type]:
    """Models that return a sum of squares for ids [B, 4], written once for both libraries."""
    nn: Any = lib.nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, options in TABLES[type(self).__name__].items():
                bag = name.startswith("bag")
                kind = nn.EmbeddingBag if bag else nn.Embedding
                table = kind(V, D, sparse=True, **options)
                with lib.no_grad():
                    table.weight.copy_(lib.from_numpy((TABLE * (1 + len(name))).astype("f4")))
                setattr(self, name, table)

    class One(Model):
        def forward(self, ids: Any) -> Any:
            return self.table(ids).sin().sum()

    class Padded(One):
        pass

    class Bags(Model):
        def forward(self, ids: Any) -> Any:
            return (self.bag_sum(ids) * self.bag_mean(ids).cos()).sum()

    class Offsets(Model):
        def forward(self, ids: Any) -> Any:
            flat = ids.reshape(-1)
            starts = lib.tensor([0, 0])
            return self.bag(flat, starts, per_sample_weights=flat.float().cos()).pow(2).sum()

    class Twice(Model):
        def forward(self, ids: Any) -> Any:
            other = lib.nn.functional.embedding(ids[:, 1], self.table.weight, sparse=True)
            return (self.table(ids).sum(1) * self.table(ids[:, :2]).sum(1)
                    + other.sin()).pow(2).sum()

    class Several(Model):
        def forward(self, ids: Any) -> Any:
            return (self.a(ids[:, :1]) * self.other(ids[:, 1:])).sum()

    found = (One, Padded, Bags, Offsets, Twice, Several)
    return {each.__name__: each for each in found}


OURS, THEIRS = models(nncompile), models(torch)


def batches() -> Iterable[np.ndarray]:
    """Ids that are there several times in a batch, and in other batches; a batch of none, too."""
    for k, size in enumerate(SIZES):
        yield np.random.default_rng(k).integers(0, V if k % 2 else 8, (size, 4))


def compiled(model: Any, optimizer: Any, **options: Any) -> Any:
    return nncompile.compile(model, "i64[B, 4]", optimizer=optimizer, **options)


def trained(model: Any, name: str, **options: Any) -> tuple[list[np.ndarray], Any]:
    """The parameters after each step of ours, and the optimizer."""
    optimizer = getattr(optim, name.split()[0])(model.parameters(), **OPTIMIZERS[name])
    step, found = compiled(model, optimizer, **options), []
    for ids in batches():
        step(ids)
        found.append(np.stack([p.detach().numpy().copy() for p in model.parameters()]))
    return found, optimizer


@pytest.mark.parametrize("model", OURS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_torchs(model: str, name: str) -> None:
    found, optimizer = trained(OURS[model](), name, check=True)
    theirs = THEIRS[model]()
    reference = getattr(torch.optim, name.split()[0])(theirs.parameters(), **OPTIMIZERS[name])
    for ids, mine in zip(batches(), found, strict=True):
        reference.zero_grad()
        theirs(torch.from_numpy(ids)).backward()
        assert all(p.grad.is_sparse for p in theirs.parameters())
        reference.step()
        expected = np.stack([p.detach().numpy() for p in theirs.parameters()])
        np.testing.assert_allclose(mine, expected, 2e-4, 2e-5)
    states, its = optimizer.state_dict()["state"], reference.state_dict()["state"]
    for number, state in its.items():
        for slot, value in state.items():
            np.testing.assert_allclose(np.asarray(states[number][slot]), np.asarray(value),
                                       2e-4, 2e-5, err_msg=slot)


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "SparseAdam"])
@pytest.mark.parametrize("model", ["Twice", "Bags"])
def test_a_step_is_that_of_float64(model: str, name: str) -> None:
    """Of torch's float64: what is left is float32's rounding."""
    found, _ = trained(OURS[model](), name)
    theirs = THEIRS[model]().double()
    reference = getattr(torch.optim, name)(theirs.parameters(), **OPTIMIZERS[name])
    for ids in batches():
        reference.zero_grad()
        theirs(torch.from_numpy(ids)).backward()
        reference.step()
    expected = np.stack([p.detach().numpy() for p in theirs.parameters()])
    np.testing.assert_allclose(found[-1], expected, 1e-4, 1e-5)


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "SparseAdam"])
def test_bits_do_not_depend_on_threads_or_the_way_that_runs(
        name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    once, _ = trained(OURS["Twice"](), name, threads=1)
    for again in (trained(OURS["Twice"](), name, threads=2)[0],
                  trained(OURS["Twice"](), name, threads=3)[0]):
        np.testing.assert_array_equal(once, again)
    monkeypatch.setenv("NNCOMPILE_JIT", "0")
    portable, _ = trained(OURS["Twice"](), name)
    np.testing.assert_allclose(once, portable, 1e-4, 1e-5)


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "SparseAdam"])
@pytest.mark.parametrize("model", OURS)
def test_no_step_has_the_size_of_the_table(model: str, name: str) -> None:
    """But those that write a few rows of it where it is; nothing else is as long as it."""
    ours = OURS[model]()
    step = compiled(ours, getattr(optim, name)(ours.parameters(), **OPTIMIZERS[name]))
    traced = step.ir("traced")
    sized = [n for n in traced.nodes if ir.same(n.result.type.shape, (V, D))]
    assert {node.op for node in sized} == {"put_rows"}
    program = schedule(step.ir())
    sized = [each for each in program.steps if ir.same(each.result.shape, (V, D))]
    assert {each.kind for each in sized} == {"put_rows"}
    assert len(sized) == len(traced.states)
    for each in sized:
        assert each.result.place.kind == "input" and each.result.place == each.views[-1].place
    scratch = {evaluate_dim(size, {"B": 1}) for size in program.buffers.values()}
    assert max(scratch) < V * D


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "SparseAdam"])
@pytest.mark.parametrize("wrong", [-1, V, 2**40])
def test_a_wrong_id_changes_nothing(name: str, wrong: int) -> None:
    ours = OURS["Several"]()
    optimizer = getattr(optim, name)(ours.parameters(), lr=0.1)
    step = compiled(ours, optimizer)
    step(np.array([[1, 2, 3, 4]]))
    before = [p.detach().numpy().copy() for p in ours.parameters()]
    for place in (0, 3):
        ids = np.array([[5, 2, 3, 4]])
        ids[0, place] = wrong
        with pytest.raises(InputError, match=str(wrong)):
            step(ids)
        for p, old in zip(ours.parameters(), before, strict=True):
            np.testing.assert_array_equal(p.detach().numpy(), old)


class Words(Module):
    """A table, and a layer behind it, which has a dense gradient."""

    def __init__(self, sparse: bool, tied: bool = False) -> None:
        self.table, self.tied = nncompile.nn.Embedding(V, D, padding_idx=2, sparse=sparse), tied
        self.head = nncompile.nn.Linear(D, V)
        with nncompile.no_grad():
            self.table.weight.copy_(nncompile.from_numpy(TABLE.astype("f4")))
            self.head.weight.copy_(nncompile.from_numpy(TABLE.astype("f4") * 0.1))
            self.head.bias.fill_(0.1)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, ids: Any) -> Any:
        return self.head(self.table(ids).mean(1)).pow(2).mean()


def weights(model: Module) -> list[np.ndarray]:
    return [p.detach().numpy().copy() for p in model.parameters()]


def test_with_clipping_it_is_the_eager_loop() -> None:
    """torch has no norm of sparse gradients; ours is that of the rows' sums."""
    ours, eager = Words(True), Words(True)
    step = compiled(ours, optim.SGD(ours.parameters(), lr=0.5), clip_norm=0.01, check=True)
    optimizer = optim.SGD(eager.parameters(), lr=0.5)
    for ids in batches():
        if not len(ids):
            continue
        step(ids)
        optimizer.zero_grad()
        eager(nncompile.from_numpy(ids)).backward()
        nncompile.nn.utils.clip_grad_norm_(eager.parameters(), 0.01)
        optimizer.step()
        for a, b in zip(weights(ours), weights(eager), strict=True):
            np.testing.assert_allclose(a, b, 1e-5, 1e-6)


def test_accumulated_gradients_are_those_of_all_rows() -> None:
    ours, eager = Words(True), Words(True)
    step = compiled(ours, optim.Adagrad(ours.parameters(), lr=0.5), accumulate=2, check=True)
    optimizer = optim.Adagrad(eager.parameters(), lr=0.5)
    for k, ids in enumerate(b for b in batches() if len(b)):
        step(ids)
        (eager(nncompile.from_numpy(ids)) / 2).backward()
        if k % 2:
            optimizer.step()
            optimizer.zero_grad()
            for a, b in zip(weights(ours), weights(eager), strict=True):
                np.testing.assert_allclose(a, b, 1e-4, 1e-6)
    table = Words(True)
    with pytest.raises(InputError, match="accumulate= adds up dense gradients"):
        compiled(table, optim.SparseAdam([table.table.weight]), accumulate=2)


def test_tied_weights_are_dense_as_torchs() -> None:
    tied = Words(True, tied=True)
    with pytest.raises(InputError, match="SparseAdam does not support dense gradients"):
        compiled(tied, optim.SparseAdam([tied.table.weight]))
    step = compiled(tied, optim.Adam(tied.parameters(), lr=0.1), check=True)
    assert "put_rows" not in {node.op for node in step.ir().nodes}
    dense = Words(False, tied=True)
    same = compiled(dense, optim.Adam(dense.parameters(), lr=0.1))
    for ids in batches():
        if len(ids):
            step(ids)
            same(ids)
    for a, b in zip(weights(tied), weights(dense), strict=True):
        np.testing.assert_array_equal(a, b)


def test_steps_and_the_eager_loop_take_turns() -> None:
    """model(x), the optimizer's state and a loaded checkpoint are the step's at once."""
    mixed, alone = Words(True), Words(True)
    one, other = (optim.Adagrad(m.parameters(), lr=0.3) for m in (mixed, alone))
    step = compiled(mixed, one)
    for k, ids in enumerate(b for b in batches() if len(b)):
        other.zero_grad()
        alone(nncompile.from_numpy(ids)).backward()
        other.step()
        if k % 2:
            step(ids)
        else:
            one.zero_grad()
            mixed(nncompile.from_numpy(ids)).backward()
            one.step()
        np.testing.assert_allclose(mixed(nncompile.from_numpy(ids)).item(),
                                   alone(nncompile.from_numpy(ids)).item(), 1e-4)
        saved = {k: np.array(v) for k, v in mixed.state_dict().items()}
        step(ids)
        mixed.load_state_dict(saved)
        one.load_state_dict(other.state_dict())
    for a, b in zip(weights(mixed), weights(alone), strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-5)


def test_an_unused_lookup_changes_nothing() -> None:
    class Unused(Words):
        def forward(self, ids: Any) -> Any:
            return self.head(self.table(ids).detach().mean(1)).pow(2).mean()

    model = Unused(True)
    step = compiled(model, optim.SGD(model.parameters(), lr=0.5), check=True)
    before = model.table.weight.detach().numpy().copy()
    step(np.array([[1, 2, 3, 4]]))
    np.testing.assert_array_equal(model.table.weight.detach().numpy(), before)


def test_nan_and_infinity_stay_in_their_rows() -> None:
    model = Words(True)
    with nncompile.no_grad():
        model.table.weight[5] = float("nan")
        model.table.weight[6] = float("inf")
    step = compiled(model, optim.SGD([model.table.weight], lr=0.5))
    assert np.isnan(step(np.array([[5, 1, 2, 1]])))
    found = model.table.weight.detach().numpy()
    assert np.isnan(found[[1, 5]]).all() and np.isposinf(found[6]).all()
    assert np.isfinite(np.delete(found, [1, 5, 6], 0)).all()

"""Compiled steps of models in training mode: random layers, and statistics of batches."""

import numpy as np
import pytest

import ir
import nncompile
from ir.ops import philox
from nncompile import nn, optim
from nncompile.errors import TraceError

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((16, 6)).astype("f4")
Y = RANDOM.standard_normal((16, 3)).astype("f4")


# -- the generator ---------------------------------------------------------------------------------

@pytest.mark.parametrize(("counter", "key", "wanted"), [
    # the known answers of Random123
    ([0] * 4, [0] * 2, [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
    ([0xffffffff] * 4, [0xffffffff] * 2, [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
    ([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0],
     [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]),
])
def test_philox_gives_the_published_words(counter, key, wanted):
    def multiplied(factor, word):
        return (word * factor) >> 32, (word * factor) & 0xFFFFFFFF
    found = philox.philox(counter, key, multiplied, int.__xor__,
                          lambda word, number: (word + number) & 0xFFFFFFFF)
    assert found == wanted


def test_parts_of_a_stream_are_parts_of_the_whole():
    seed = np.array([-5, 2**40 + 3])
    whole = philox.words(seed, 7, 0, 1000)
    for start, stop in ((0, 1), (63, 65), (64, 128), (100, 777), (999, 1000), (5, 5)):
        np.testing.assert_array_equal(philox.words(seed, 7, start, stop), whole[start:stop])
    seeds = [seed, np.add(seed, (0, 1)), np.add(seed, (1, 0))]
    assert len({philox.words(s, n, 0, 8).tobytes() for s in seeds for n in (0, 1)}) == 6


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_every_target_draws_what_the_reference_does(dtype):
    graph = ir.parse(f"graph g(%s: i64[2], %x: f32[B]) -> {dtype}[B, 5] {{\n  %0: {dtype}[B, 5] = "
                     f"uniform(%s) {{shape = [B, 5], dtype = {dtype}, stream = 3}}\n"
                     "  return %0\n}")
    assert str(ir.parse(str(graph))) == str(graph)
    fast = nncompile.compile(graph)
    for rows in (0, 1, 13, 100, 1000):
        for seed in ([0, 0], [123456789012345, 7], [-1, 2**40]):
            given = [np.array(seed), np.zeros(rows, "f4")]
            expected, = ir.interpret(graph, given)
            for threads in (1, 2):
                np.testing.assert_array_equal(fast(*given, threads=threads), expected)
    assert abs(expected.mean() - 0.5) < 0.02 and abs(expected.std() - 12**-0.5) < 0.01
    assert expected.min() >= 0 and expected.max() < 1


# -- dropout ---------------------------------------------------------------------------------------

def dropped(seed=3, threads=None, steps=3, **options):
    nncompile.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.Dropout(0.25), nn.ReLU(), nn.Linear(32, 3))
    nncompile.manual_seed(seed)
    step = nncompile.compile(model, X, Y, loss=nn.MSELoss(), threads=threads,
                             optimizer=optim.SGD(model.parameters(), lr=0.1), **options)
    losses = [float(step(X, Y)) for _ in range(steps)]
    return losses, [p.detach().numpy() for p in model.parameters()], step


def test_a_step_with_dropout_depends_on_the_seed_and_not_on_threads():
    losses, weights, step = dropped(threads=1)
    again, same, _ = dropped(threads=3)
    assert losses == again
    for a, b in zip(weights, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert dropped(seed=4)[0] != losses
    assert "uniform(%seed)" in str(step.ir())
    nncompile.manual_seed(9)
    first = [float(step(X, Y)), float(step(X, Y))]
    assert first[0] != first[1]


def test_a_step_with_dropout_is_the_graph_in_float64():
    model = nn.Sequential(nn.Linear(6, 32), nn.Dropout(0.25), nn.Tanh(), nn.Linear(32, 3))
    step = nncompile.compile(model, X, Y, loss=nn.MSELoss(), check=True,
                             optimizer=optim.SGD(model.parameters(), lr=0.1))
    before = [p.detach().numpy().copy() for p in model.parameters()]
    loss = step(X, Y)
    graph = step.ir("traced")
    seed = step._draws.seed - [0, 1]
    wanted, *after = ir.interpret(graph, [X, Y, seed, np.float32(0.1), *before], np.float64)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    for p, array in zip(model.parameters(), after, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), array, rtol=1e-4, atol=1e-6)


def test_the_share_that_is_dropped():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(np.ones((), "f4"))

        def forward(self, x):
            return nn.functional.dropout(x * self.scale, 0.3).mean()

    model = Net()
    step = nncompile.compile(model, "f32[B, 500]", optimizer=optim.SGD(model.parameters(), lr=0.0))
    ones = np.ones((200, 500), "f4")
    means = [float(step(ones)) for _ in range(3)]
    assert len(set(means)) == 3 and all(abs(mean - 1) < 0.01 for mean in means)


@pytest.mark.parametrize("draw", [
    lambda x: x * nncompile.rand(*x.shape), lambda x: x + nncompile.randn_like(x),
    lambda x: x * nncompile.bernoulli(x.sigmoid()), lambda x: x + nncompile.normal(x, 1.0).detach(),
    lambda x: nn.functional.alpha_dropout(x, 0.5, True), lambda x: nn.functional.rrelu(
        x, training=True), lambda x: x * nncompile.randint(0, 5, x.shape).float()])
def test_what_draws_can_be_trained(draw):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.Linear(6, 3)

        def forward(self, x):
            return draw(self.l(x))

    model = Net()
    step = nncompile.compile(model, X, Y, loss=nn.MSELoss(), check=True,
                             optimizer=optim.SGD(model.parameters(), lr=0.01))
    assert step(X, Y) != step(X, Y)
    with pytest.raises(TraceError):
        nncompile.compile(model, X)


def test_the_normal_distribution():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.zero = nn.Parameter(np.zeros((), "f4"))

        def forward(self, x):
            noise = nncompile.randn_like(x)
            return noise.mean() + self.zero + 1000 * noise.square().mean().round()

    model = Net()
    step = nncompile.compile(model, "f32[B]", optimizer=optim.SGD(model.parameters(), lr=0.0))
    assert abs(float(step(np.zeros(100_000, "f4"))) - 1000) < 0.02


def test_a_layer_in_eval_mode_draws_nothing():
    model = nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.5)).eval()
    step = nncompile.compile(model, X, Y, loss=nn.MSELoss(),
                             optimizer=optim.SGD(model.parameters()))
    assert "uniform" not in str(step.ir("traced"))


# -- statistics of batches -------------------------------------------------------------------------

@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_batch_norm_is_torchs(momentum, accumulate):
    torch = pytest.importorskip("torch", reason="torch, the oracle of batch norm, is missing")

    def net(lib):
        return lib.nn.Sequential(lib.nn.Linear(6, 8), lib.nn.BatchNorm1d(8, momentum=momentum),
                                 lib.nn.ReLU(), lib.nn.Linear(8, 3))
    ours, theirs = net(nncompile), net(torch)
    theirs.load_state_dict({n: torch.tensor(a) for n, a in ours.state_dict().items()})
    step = nncompile.compile(ours, X, Y, loss=nn.MSELoss(), check=True, accumulate=accumulate,
                             optimizer=optim.SGD(ours.parameters(), lr=0.1))
    other = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for number in range(6):
        x, y = X[number:], Y[number:]
        loss = torch.nn.functional.mse_loss(theirs(torch.tensor(x)), torch.tensor(y))
        np.testing.assert_allclose(step(x, y), loss.item(), rtol=1e-4)
        (loss / accumulate).backward()
        if number % accumulate == accumulate - 1:
            other.step()
            other.zero_grad()
    for name, array in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], array.numpy(), rtol=1e-3, atol=1e-5,
                                   err_msg=name)
    ours.eval(), theirs.eval()
    np.testing.assert_allclose(ours(X), theirs(torch.tensor(X)).detach().numpy(), rtol=1e-3,
                               atol=1e-5)


def test_a_norm_that_runs_twice_keeps_both_batches():
    torch = pytest.importorskip("torch", reason="torch, the oracle of batch norm, is missing")

    def classes(lib):
        class Net(lib.nn.Module):
            def __init__(self):
                super().__init__()
                self.norm, self.l = lib.nn.BatchNorm1d(6), lib.nn.Linear(6, 3)

            def forward(self, x):
                return self.l(self.norm(self.norm(x) * 2 + 1))
        return Net()
    ours, theirs = classes(nncompile), classes(torch)
    theirs.load_state_dict({n: torch.tensor(a) for n, a in ours.state_dict().items()})
    step = nncompile.compile(ours, X, Y, loss=nn.MSELoss(),
                             optimizer=optim.SGD(ours.parameters(), lr=0.1))
    other = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(3):
        step(X, Y)
        other.zero_grad()
        torch.nn.functional.mse_loss(theirs(torch.tensor(X)), torch.tensor(Y)).backward()
        other.step()
    for name, array in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], array.numpy(), rtol=1e-3, atol=1e-5,
                                   err_msg=name)

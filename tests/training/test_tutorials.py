"""What a newcomer types first: the steps of torch's own tutorials, with only the imports changed.

Each is a function of the library that yields numbers, which have to be torch's. Random weights and
data are drawn by NumPy, so that both libraries begin alike.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nncompile

Tutorial = Callable[[Any, Path], Iterator[Any]]


def weights(torch: Any, model: Any) -> Any:
    """The model with weights drawn by NumPy."""
    draw = np.random.default_rng(1)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.tensor(0.2 * draw.standard_normal(tuple(p.shape))))
    return model


# -- quickstart ------------------------------------------------------------------------------------

def quickstart(torch: Any, folder: Path) -> Iterator[Any]:
    """Images of clothes: a DataLoader, a train and a test loop, a saved and a loaded model."""
    nn, data = torch.nn, torch.utils.data
    device = torch.accelerator.current_accelerator().type if torch.accelerator.is_available() \
        else "cpu"
    draw = np.random.default_rng(0)
    images = torch.from_numpy(draw.random((96, 1, 8, 8), np.float32))
    labels = torch.from_numpy(draw.integers(0, 10, 96))
    training_data, test_data = (data.TensorDataset(images[a:b], labels[a:b])
                                for a, b in ((0, 64), (64, 96)))
    train_dataloader = data.DataLoader(training_data, batch_size=16)
    test_dataloader = data.DataLoader(test_data, batch_size=16)
    for X, y in test_dataloader:
        yield [*X.shape, *y.shape]
        assert y.dtype == torch.int64
        break

    class NeuralNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flatten = nn.Flatten()
            self.linear_relu_stack = nn.Sequential(
                nn.Linear(8 * 8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))

        def forward(self, x: Any) -> Any:
            return self.linear_relu_stack(self.flatten(x))

    model = weights(torch, NeuralNetwork().to(device))
    assert "(linear_relu_stack): Sequential(" in str(model)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)

    def train(dataloader: Any) -> Iterator[Any]:
        size = len(dataloader.dataset)
        model.train()
        for batch, (X, y) in enumerate(dataloader):
            X, y = X.to(device), y.to(device)
            pred = model(X)
            loss = loss_fn(pred, y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            loss, current = loss.item(), (batch + 1) * len(X)
            assert f"loss: {loss:>7f}  [{current:>5d}/{size:>5d}]"
            yield loss

    def test(dataloader: Any) -> Iterator[Any]:
        size, num_batches = len(dataloader.dataset), len(dataloader)
        model.eval()
        test_loss, correct = 0, 0
        with torch.no_grad():
            for X, y in dataloader:
                pred = model(X.to(device))
                test_loss += loss_fn(pred, y).item()
                correct += (pred.argmax(1) == y).type(torch.float).sum().item()
        yield test_loss / num_batches
        yield correct / size

    for _epoch in range(3):
        yield from train(train_dataloader)
        yield from test(test_dataloader)
    torch.save(model.state_dict(), folder / "model.pth")
    model = NeuralNetwork().to(device)
    model.load_state_dict(torch.load(folder / "model.pth", weights_only=True))
    yield from test(test_dataloader)
    x = test_data[0][0]
    with torch.no_grad():
        pred = model(x.to(device))
        yield pred[0].argmax(0).item()
        yield nn.Softmax(dim=1)(pred).tolist()[0]


# -- a sine by a polynomial, in six ways -----------------------------------------------------------

def polynomial_by_tensors(torch: Any, folder: Path) -> Iterator[Any]:
    """Gradients written by hand, then by autograd."""
    device, dtype = torch.device("cpu"), torch.float
    x = torch.linspace(-math.pi, math.pi, 2000, device=device, dtype=dtype)
    y = torch.sin(x)
    a, b, c, d = (torch.full((), v, device=device, dtype=dtype) for v in (0.1, -0.2, 0.3, 0.4))
    for t in range(20):
        y_pred = a + b * x + c * x ** 2 + d * x ** 3
        loss = (y_pred - y).pow(2).sum().item()
        if t % 5 == 4:
            yield loss
        grad_y_pred = 2.0 * (y_pred - y)
        a -= 1e-6 * grad_y_pred.sum()
        b -= 1e-6 * (grad_y_pred * x).sum()
        c -= 1e-6 * (grad_y_pred * x ** 2).sum()
        d -= 1e-6 * (grad_y_pred * x ** 3).sum()
    yield [a.item(), b.item(), c.item(), d.item()]
    a, b, c, d = (torch.full((), v, device=device, dtype=dtype, requires_grad=True)
                  for v in (0.1, -0.2, 0.3, 0.4))
    for _ in range(20):
        y_pred = a + b * x + c * x ** 2 + d * x ** 3
        loss = (y_pred - y).pow(2).sum()
        loss.backward()
        with torch.no_grad():
            for p in (a, b, c, d):
                p -= 1e-6 * p.grad
            a.grad = b.grad = c.grad = d.grad = None
    yield [a.item(), b.item(), c.item(), d.item()]


def polynomial_by_a_function(torch: Any, folder: Path) -> Iterator[Any]:
    """A function with a backward of its own: P3(x) = (5 x^3 - 3 x) / 2."""
    class LegendrePolynomial3(torch.autograd.Function):      # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, input: Any) -> Any:
            ctx.save_for_backward(input)
            return 0.5 * (5 * input ** 3 - 3 * input)

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            input, = ctx.saved_tensors
            return grad_output * 1.5 * (5 * input ** 2 - 1)

    x = torch.linspace(-math.pi, math.pi, 2000)
    y = torch.sin(x)
    a, b, c, d = (torch.full((), v, requires_grad=True) for v in (0.0, -1.0, 0.0, 0.3))
    for _ in range(20):
        P3 = LegendrePolynomial3.apply
        loss = (a + b * P3(c + d * x) - y).pow(2).sum()
        yield loss.item()
        loss.backward()
        with torch.no_grad():
            for p in (a, b, c, d):
                p -= 5e-6 * p.grad
                p.grad = None


def polynomial_by_nn(torch: Any, folder: Path) -> Iterator[Any]:
    """A Sequential, without and with an optimizer."""
    x = torch.linspace(-math.pi, math.pi, 2000)
    y = torch.sin(x)
    xx = x.unsqueeze(-1).pow(torch.tensor([1, 2, 3]))
    yield list(xx.shape)
    model = weights(torch, torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0, 1)))
    loss_fn = torch.nn.MSELoss(reduction="sum")
    for _ in range(10):
        loss = loss_fn(model(xx), y)
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for param in model.parameters():
                param -= 1e-6 * param.grad
        yield loss.item()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    for _ in range(10):
        loss = loss_fn(model(xx), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
    linear_layer = model[0]
    yield [linear_layer.bias.item(), linear_layer.weight[:, 0].item(),
           linear_layer.weight[:, 1].item(), linear_layer.weight[:, 2].item()]


def polynomial_by_modules(torch: Any, folder: Path) -> Iterator[Any]:
    """A module with four numbers, and one whose degree is another in each call."""
    class Polynomial3(torch.nn.Module):          # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.d = (torch.nn.Parameter(torch.zeros(())) for _ in range(4))

        def forward(self, x: Any) -> Any:
            return self.a + self.b * x + self.c * x ** 2 + self.d * x ** 3

        def string(self) -> str:
            return f"y = {self.a.item():.3f} + {self.b.item():.3f} x"

    class DynamicNet(Polynomial3):
        def __init__(self) -> None:
            super().__init__()
            self.e = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x: Any) -> Any:
            y = super().forward(x)
            for exp in range(4, random.randint(4, 6)):
                y = y + self.e * x ** exp
            return y

    x = torch.linspace(-math.pi, math.pi, 2000)
    y = torch.sin(x)
    criterion = torch.nn.MSELoss(reduction="sum")
    random.seed(0)
    for kind, rate in (Polynomial3, 1e-6), (DynamicNet, 1e-8):
        model = weights(torch, kind())
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
        for _ in range(15):
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()
        assert model.string().startswith("y = ")


# -- what torch.nn really is -----------------------------------------------------------------------

def _digits(torch: Any) -> Any:
    """Images and labels to train with and to validate with, and a matrix to begin with."""
    draw = np.random.default_rng(0)
    return (*map(torch.tensor, (
        draw.random((64, 49), np.float32), draw.integers(0, 10, 64),
        draw.random((32, 49), np.float32), draw.integers(0, 10, 32))),
        torch.from_numpy(draw.standard_normal((49, 10)).astype("f4")))


def without_nn(torch: Any, folder: Path) -> Iterator[Any]:
    """A classifier of bare tensors, and its loss by hand."""
    F = torch.nn.functional
    x_train, y_train, _, _, begin = _digits(torch)
    n, _ = x_train.shape
    bs, lr = 16, 0.5
    yield [y_train.min().item(), y_train.max().item()]
    part = begin / math.sqrt(49)
    part.requires_grad_()
    bias = torch.zeros(10, requires_grad=True)

    def log_softmax(x: Any) -> Any:
        return x - x.exp().sum(-1).log().unsqueeze(-1)

    def nll(input: Any, target: Any) -> Any:
        return -input[range(target.shape[0]), target].mean()

    def accuracy(out: Any, yb: Any) -> Any:
        return (torch.argmax(out, dim=1) == yb).float().mean()

    for i in range((n - 1) // bs + 1):
        xb, yb = x_train[i * bs:i * bs + bs], y_train[i * bs:i * bs + bs]
        pred = log_softmax(xb @ part + bias)
        loss = nll(pred, yb)
        yield [loss.item(), F.cross_entropy(xb @ part + bias, yb).item(), accuracy(pred, yb).item()]
        loss.backward()
        with torch.no_grad():
            part -= part.grad * lr
            bias -= bias.grad * lr
            part.grad.zero_()
            bias.grad.zero_()


def with_nn(torch: Any, folder: Path) -> Iterator[Any]:
    """The same by nn.Module."""
    F, nn = torch.nn.functional, torch.nn
    x_train, y_train, _, _, begin = _digits(torch)
    lr = 0.5

    class Mnist_Logistic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.Parameter(begin.clone() / math.sqrt(49))
            self.bias = nn.Parameter(torch.zeros(10))

        def forward(self, xb: Any) -> Any:
            return xb @ self.weights + self.bias

    model = Mnist_Logistic()
    for _ in range(2):
        loss = F.cross_entropy(model(x_train), y_train)
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= p.grad * lr
            model.zero_grad()
        yield loss.item()


class WrappedDataLoader:
    def __init__(self, dl: Any, func: Any) -> None:
        self.dl, self.func = dl, func

    def __len__(self) -> int:
        return len(self.dl)

    def __iter__(self) -> Iterator[Any]:
        for b in self.dl:
            yield self.func(*b)


def with_data(torch: Any, folder: Path) -> Iterator[Any]:
    """Datasets, loaders that are wrapped, a layer of a function, and validation."""
    F, nn, optim = torch.nn.functional, torch.nn, torch.optim
    x_train, y_train, x_valid, y_valid, _ = _digits(torch)
    bs = 16

    class Lambda(nn.Module):
        def __init__(self, func: Any) -> None:
            super().__init__()
            self.func = func

        def forward(self, x: Any) -> Any:
            return self.func(x)

    data = torch.utils.data
    train_dl = WrappedDataLoader(
        data.DataLoader(data.TensorDataset(x_train, y_train), batch_size=bs),
        lambda x, y: (x.view(-1, 1, 7, 7), y))
    valid_dl = WrappedDataLoader(
        data.DataLoader(data.TensorDataset(x_valid, y_valid), batch_size=bs * 2),
        lambda x, y: (x.view(-1, 1, 7, 7), y))

    def loss_batch(model: Any, loss_func: Any, xb: Any, yb: Any, opt: Any = None) -> Any:
        loss = loss_func(model(xb), yb)
        if opt is not None:
            loss.backward()
            opt.step()
            opt.zero_grad()
        return loss.item(), len(xb)

    model = weights(torch, nn.Sequential(Lambda(lambda x: x.view(x.size(0), -1)),
                                         nn.Linear(49, 20), nn.ReLU(), nn.Linear(20, 10)))
    opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        model.train()
        for xb, yb in train_dl:
            loss_batch(model, F.cross_entropy, xb, yb, opt)
        model.eval()
        with torch.no_grad():
            losses, nums = zip(*[loss_batch(model, F.cross_entropy, xb, yb)
                                 for xb, yb in valid_dl], strict=True)
        yield np.sum(np.multiply(losses, nums)) / np.sum(nums)


# -- the blitz, without its convolutions -----------------------------------------------------------

def blitz(torch: Any, folder: Path) -> Iterator[Any]:
    """Tensors and NumPy, gradients of vectors, a network and a step written out."""
    nn, F, optim = torch.nn, torch.nn.functional, torch.optim
    x_data = torch.tensor([[1, 2], [3, 4]])
    x_np = torch.from_numpy(np.array([[1, 2], [3, 4]]))
    yield [(x_data == x_np).all().item(), torch.ones_like(x_data).tolist(),
           list(torch.rand_like(x_data, dtype=torch.float).shape), list(torch.rand((2, 3)).shape)]
    tensor = torch.ones(4, 4)
    tensor[:, 1] = 0
    yield [tensor.tolist(), torch.cat([tensor, tensor, tensor], dim=1).tolist(),
           tensor.mul(tensor).tolist(), (tensor * tensor).tolist(),
           tensor.matmul(tensor.T).tolist(), (tensor @ tensor.T).tolist(),
           [str(tensor.dtype), str(tensor.device), list(tensor.shape)], tensor[..., -1].tolist()]
    tensor.add_(5)
    yield [tensor.tolist(), tensor.sum().item(), tensor.numpy().tolist()]

    a = torch.tensor([2., 3.], requires_grad=True)
    b = torch.tensor([6., 4.], requires_grad=True)
    Q = 3 * a ** 3 - b ** 2
    Q.backward(gradient=torch.tensor([1., 1.]))
    yield [(9 * a ** 2 == a.grad).tolist(), (-2 * b == b.grad).tolist()]
    x, y = torch.ones(5, 5), torch.ones((5, 5), requires_grad=True)
    yield [(x + x).requires_grad, (x + y).requires_grad]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2, self.fc3 = nn.Linear(64, 30), nn.Linear(30, 20), nn.Linear(20, 10)

        def forward(self, input: Any) -> Any:
            x = torch.flatten(input, 1)
            return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))

    net = weights(torch, Net())
    params = list(net.parameters())
    yield [len(params), list(params[0].size())]
    input = torch.from_numpy(np.random.default_rng(0).random((1, 1, 8, 8), np.float32))
    out = net(input)
    net.zero_grad()
    out.backward(torch.ones(1, 10))
    yield net.fc1.bias.grad.tolist()
    target = torch.linspace(0, 1, 10).view(1, -1)
    criterion = nn.MSELoss()
    loss = criterion(net(input), target)
    yield loss.item()
    assert "Backward" in str(loss.grad_fn)
    assert loss.grad_fn.next_functions[0][0] is not None
    net.zero_grad()
    loss.backward()
    for f in net.parameters():
        f.data.sub_(f.grad.data * 0.01)
    optimizer = optim.SGD(net.parameters(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        loss = criterion(net(input), target)
        loss.backward()
        optimizer.step()
        yield loss.item()
    for param in net.parameters():               # finetuning: a new last layer
        param.requires_grad = False
    net.fc3 = nn.Linear(20, 10)
    weights(torch, net)
    optimizer = optim.SGD(net.parameters(), lr=1e-2, momentum=0.9)
    for _ in range(3):
        loss = (net(input) - target).sum()
        loss.backward()
        optimizer.step()
    yield [p.sum().item() for p in net.parameters()]


def seeds(torch: Any, folder: Path) -> Iterator[Any]:
    """A linear model and SGD; a parameter times two, summed and gone back from."""
    param = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    (param * 2).sum().backward()
    yield param.grad.tolist()
    x = torch.linspace(0, 1, 20).unsqueeze(1)
    model = weights(torch, torch.nn.Linear(1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), 2 * x + 1)
        loss.backward()
        optimizer.step()
        yield loss.item()


TUTORIALS: tuple[Tutorial, ...] = (
    quickstart, polynomial_by_tensors, polynomial_by_a_function, polynomial_by_nn,
    polynomial_by_modules, without_nn, with_nn, with_data, blitz, seeds)


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda tutorial: tutorial.__name__)
def test_a_tutorial_gives_what_torch_gives(tutorial: Tutorial, tmp_path: Path) -> None:
    close = partial(pytest.approx, rel=2e-4, abs=2e-6)
    theirs, ours = ([*_flat(tutorial(lib, tmp_path))] for lib in (torch, nncompile))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a == (close(b) if isinstance(b, float) else b)


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value

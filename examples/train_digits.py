"""Handwritten digits from random weights: each training step is one call of compiled code.

    python examples/train_digits.py

It prints how the training goes, writes a plot of the loss to digits_loss.svg, and makes the same
steps in the eager loop, as torch has it, to compare.
"""
from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import nncompile
from nncompile import nn, optim

EPOCHS, BATCH = 40, 32
PLOT = Path("digits_loss.svg")

images, labels = load_digits(return_X_y=True)    # 8 x 8 grey values, and which digit each is
images = (images / 16).astype(np.float32)
train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=0.25, random_state=0)


def network() -> nn.Sequential:
    nncompile.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def batches(rng: np.random.Generator):
    """All images once, in another order each time; the last batch is shorter."""
    order = rng.permutation(len(train_x))
    for start in range(0, len(order), BATCH):
        chosen = order[start:start + BATCH]
        yield train_x[chosen], train_y[chosen]


def show_progress(epoch: int, loss: float, seconds: float) -> None:
    """A bar that grows in a terminal; elsewhere, a line for every tenth epoch."""
    done = 30 * epoch // EPOCHS
    line = f"|{'#' * done}{' ' * (30 - done)}| epoch {epoch:2d}  loss {loss:.4f}  {seconds:.2f} s"
    if sys.stdout.isatty():
        print(f"\r{line}", end="" if epoch < EPOCHS else "\n", flush=True)
    elif epoch % 10 == 0:
        print(line)


def plot(losses: list[float], path: Path) -> None:
    """Writes the loss of every step, on a logarithmic scale, as a picture."""
    logs = np.log10(losses)
    low, high = np.floor(logs.min()), np.ceil(logs.max())
    xs = 60 + 560 * np.arange(len(logs)) / len(logs)
    ys = 20 + 260 * (high - logs) / (high - low)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    ticks = "".join(
        f'<text x="52" y="{y + 4:.0f}" text-anchor="end">1e{power:.0f}</text>'
        f'<line x1="60" x2="620" y1="{y:.0f}" y2="{y:.0f}" stroke="#ccc"/>'
        for power in np.arange(low, high + 1) for y in [20 + 260 * (high - power) / (high - low)])
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="320" font-size="12" '
        'font-family="sans-serif"><rect width="640" height="320" fill="white"/>'
        f'{ticks}<polyline points="{points}" fill="none" stroke="#07c"/>'
        f'<text x="340" y="305" text-anchor="middle">{len(losses)} steps, loss of each</text></svg>'
        '\n')


def main() -> None:
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    started = time.perf_counter()
    step = nncompile.compile(model, "f32[B, 64]", "i64[B]",
                             loss=nn.CrossEntropyLoss(), optimizer=optimizer)
    print(f"compiled in {time.perf_counter() - started:.2f} s: {step}\n")

    rng, losses = np.random.default_rng(0), []
    started = time.perf_counter()
    for epoch in range(1, EPOCHS + 1):
        for x, y in batches(rng):
            losses.append(float(step(x, y)))
        show_progress(epoch, float(np.mean(losses[-40:])), time.perf_counter() - started)
    seconds = time.perf_counter() - started
    right = np.mean(model(test_x).argmax(axis=1) == test_y)      # the model has the new weights
    print(f"\n{len(losses)} steps in {seconds:.2f} s, {1e6 * seconds / len(losses):.0f} "
          f"microseconds each; held-out images recognised: {right:.1%}")
    plot(losses, PLOT)
    print(f"the loss of each step: {PLOT}\n")

    model = network()                            # the same steps, written out as with torch
    optimizer, loss_of = optim.Adam(model.parameters(), lr=2e-3), nn.CrossEntropyLoss()
    started = time.perf_counter()
    for number, (x, y) in enumerate(batches(np.random.default_rng(0))):
        optimizer.zero_grad()
        loss = loss_of(model(nncompile.from_numpy(x)), nncompile.from_numpy(y))
        loss.backward()
        optimizer.step()
        assert np.isclose(loss.item(), losses[number], rtol=1e-3), "another loss than compiled"
    each = (time.perf_counter() - started) / (number + 1)
    print(f"the same losses in the eager loop, {1e6 * each:.0f} microseconds a step")


if __name__ == "__main__":
    main()

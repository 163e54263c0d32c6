"""A pole is balanced on a cart: PPO, with the update as one compiled training step.

    python examples/policy.py

The model is written once, for torch and for nncompile. Where torch is installed, the same updates
are made by its eager loop, and the losses and the steps a second are compared.
"""
from __future__ import annotations

import importlib.util
import time
from math import pi
from typing import Any

import numpy as np

import nncompile

CARTS, MOMENTS, ROUNDS = 16, 128, 30             # a round: 128 moments of 16 carts, then updates
EPOCHS, BATCH, LONGEST = 4, 512, 500
STEPS = EPOCHS * MOMENTS * CARTS // BATCH         # updates in a round


class Carts:
    """Carts with poles, pushed to the left or the right 50 times a second.

    Source of the equations: Barto, Sutton and Anderson, Neuronlike adaptive elements that can solve
    difficult learning control problems, 1983; without friction.
    """

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self.rng, self.age, self.lived = rng, np.zeros(count, int), []
        self.state = self.new(count)             # place, speed, angle, its speed

    def new(self, count: int) -> np.ndarray:
        return self.rng.uniform(-0.05, 0.05, (count, 4))

    def push(self, right: np.ndarray) -> np.ndarray:
        """Moves all carts, and begins anew with those that fell. Returns which fell."""
        _, v, angle, spin = self.state.T
        force, sine, cosine = np.where(right, 10.0, -10.0), np.sin(angle), np.cos(angle)
        push = (force + 0.05 * spin**2 * sine) / 1.1
        turn = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
        moved = push - 0.05 * turn * cosine / 1.1
        self.state = self.state + 0.02 * np.stack([v, moved, spin, turn], axis=1)
        self.age += 1
        fell = (abs(self.state[:, 0]) > 2.4) | (abs(self.state[:, 2]) > 12 * pi / 180)
        over = fell | (self.age >= LONGEST)
        self.lived += self.age[over].tolist()
        self.state[over], self.age[over] = self.new(over.sum()), 0
        return over


def make_model(torch: Any) -> Any:
    """The policy and the value of a state, and as its forward the loss of PPO."""
    nn = torch.nn

    class ActorCritic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.policy = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
            self.value = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1))

        def forward(self, state, action, before, advantage, goal):
            scores = nn.functional.log_softmax(self.policy(state), dim=1)
            chosen = scores.gather(1, action[:, None])[:, 0]
            ratio = torch.exp(chosen - before)
            gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
            entropy = -(scores.exp() * scores).sum(1).mean()
            error = (self.value(state)[:, 0] - goal).square().mean()
            return 0.5 * error - gain - 0.01 * entropy

    return ActorCritic()


def advantages(reward: np.ndarray, over: np.ndarray, value: np.ndarray) -> np.ndarray:
    """How much better than expected each moment went on; value has one moment more."""
    found, later = np.zeros_like(reward), 0.0
    for t in reversed(range(len(reward))):
        surprise = reward[t] + 0.99 * value[t + 1] * ~over[t] - value[t]
        found[t] = later = surprise + 0.99 * 0.95 * ~over[t] * later
    return found


def play(carts: Carts, look: Any) -> list[np.ndarray]:
    """Lets the policy act, and returns what an update needs: rows, one for each moment and cart."""
    states, actions, logs, values, over = [], [], [], [], []
    for _ in range(MOMENTS):
        state = carts.state.astype(np.float32)
        scores, value = look(state)
        chance = np.exp(scores - scores.max(1, keepdims=True))
        chance /= chance.sum(1, keepdims=True)
        action = (carts.rng.random(CARTS) < chance[:, 1]).astype(np.int64)
        states.append(state)
        actions.append(action)
        logs.append(np.log(chance[np.arange(CARTS), action]))
        values.append(value[:, 0])
        over.append(carts.push(action == 1))
    values.append(look(carts.state.astype(np.float32))[1][:, 0])
    ended = np.array(over)
    gained = advantages(np.where(ended, 0.0, 0.1), ended, np.array(values))
    goal = gained + np.array(values[:-1])
    gained = (gained - gained.mean()) / gained.std()
    return [np.concatenate(np.asarray(rows, kind)) for rows, kind in (
        (states, np.float32), (actions, np.int64), (logs, np.float32), (gained, np.float32),
        (goal, np.float32))]


def main() -> None:
    nncompile.manual_seed(0)
    model = make_model(nncompile)
    begun = {name: np.array(array) for name, array in model.state_dict().items()}
    optimizer = nncompile.optim.Adam(model.parameters(), lr=3e-3)
    slower = nncompile.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, ROUNDS)
    step = nncompile.compile(model, "f32[B, 4]", "i64[B]", "f32[B]", "f32[B]", "f32[B]",
                             optimizer=optimizer, clip_norm=0.5, threads=1)
    heads = [nncompile.compile(head, "f32[B, 4]") for head in (model.policy, model.value)]

    rng = np.random.default_rng(0)
    carts, seconds, losses, batches = Carts(CARTS, rng), 0.0, [], []
    for number in range(1, ROUNDS + 1):
        rows = play(carts, lambda state: [head(state) for head in heads])
        for _ in range(EPOCHS):
            order = rng.permutation(len(rows[0]))
            parts = np.split(order, len(order) // BATCH)
            batches += [[row[part] for row in rows] for part in parts]
        started = time.perf_counter()
        for batch in batches[len(losses):]:
            losses.append(float(step(*batch)))
        seconds += time.perf_counter() - started
        slower.step()
        for head, module in zip(heads, (model.policy, model.value), strict=True):
            head.load_weights(module.state_dict())
        if number % 10 == 0:
            print(f"round {number:3d}: the last poles stood for {np.mean(carts.lived[-20:]):5.1f} "
                  f"moments of {LONGEST}")
    print("\nUpdates, on one thread")
    print(f"nncompile: {len(losses) / seconds:8.0f} steps a second")
    if importlib.util.find_spec("torch") is not None:
        beside_torch(begun, batches[:100], losses)


def beside_torch(begun: dict[str, np.ndarray], batches: list[list[np.ndarray]],
                 losses: list[float]) -> None:
    """Makes the first updates by torch's eager loop, from the same weights."""
    import torch

    torch.set_num_threads(1)
    model = make_model(torch)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in begun.items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    theirs: list[float] = []
    for batch in batches:
        if len(theirs) == 20:                    # it is warm by then
            started = time.perf_counter()
        optimizer.zero_grad()
        loss = model(*map(torch.from_numpy, batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        theirs.append(loss.item())
    rate = (len(theirs) - 20) / (time.perf_counter() - started)
    print(f"torch:     {rate:8.0f} steps a second, in its eager loop")
    apart = np.abs(np.array(theirs[:STEPS]) - losses[:STEPS]).max()
    print(f"The losses of the first {STEPS} steps are at most {apart:.0e} apart.")


if __name__ == "__main__":
    main()

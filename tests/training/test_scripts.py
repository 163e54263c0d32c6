"""Training scripts as people write them, with only the imports changed: their losses are torch's.

Each is a function of the library, and draws whatever is random by NumPy, so that both libraries
begin with the same weights and see the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch

import nncompile

_STEPS = 20
Script = Callable[[Any, np.random.Generator], Iterator[float]]


def _begun(torch: Any, model: Any, draw: np.random.Generator) -> Any:
    """The model in float64, with weights from NumPy."""
    model = model.double()
    with torch.no_grad():
        for p in model.parameters():
            scale = 1 / sqrt(p.shape[-1]) if p.ndim > 1 else 0.1
            p.copy_(torch.from_numpy(scale * draw.standard_normal(tuple(p.shape))))
    return model


def _normal(torch: Any, draw: np.random.Generator, *shape: int) -> Any:
    return torch.from_numpy(draw.standard_normal(shape))


def line_by_hand(torch: Any, draw: np.random.Generator) -> Iterator[float]:
    """The first page of a tutorial: gradients of two numbers, and a step written out."""
    x = _normal(torch, draw, 50)
    y = 3 * x - 1
    w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    b = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    assert w.grad is None and w.is_leaf
    for _ in range(_STEPS):
        loss = ((w * x + b - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            w -= 0.1 * w.grad
            b -= 0.1 * b.grad
            w.grad.zero_()
            b.grad.zero_()
        yield loss.item()
    param = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    (param * 2).sum().backward()
    assert param.grad.tolist() == [2, 2, 2]


def linear(torch: Any, draw: np.random.Generator) -> Iterator[float]:
    """A linear layer and SGD, from a DataLoader of a TensorDataset, as every tutorial begins."""
    nn, optim, data = torch.nn, torch.optim, torch.utils.data
    x, weight = _normal(torch, draw, 80, 4), _normal(torch, draw, 4, 1)
    loader = data.DataLoader(data.TensorDataset(x, x @ weight), batch_size=16, shuffle=False)
    model = _begun(torch, nn.Linear(4, 1), draw)
    criterion = nn.MSELoss()
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    for _epoch in range(_STEPS // 5):
        running = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()
            running += loss.item() * inputs.size(0)
            yield loss.item()
        yield running / len(loader.dataset)


def digits(torch: Any, draw: np.random.Generator) -> Iterator[float]:
    """An MLP for images of digits: dropout off, a schedule, clipping, evaluation, checkpoints."""
    nn, F, optim = torch.nn, torch.nn.functional, torch.optim

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(64, 32), nn.Linear(32, 10)
            self.dropout = nn.Dropout(0.0)

        def forward(self, x: Any) -> Any:
            x = torch.flatten(x, 1)
            x = self.dropout(F.relu(self.fc1(x)))
            return F.log_softmax(self.fc2(x), dim=1)

    model = _begun(torch, Net(), draw)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5)
    images = _normal(torch, draw, 64, 1, 8, 8)
    labels = torch.from_numpy(draw.integers(0, 10, 64))
    for step in range(_STEPS):
        model.train()
        optimizer.zero_grad(set_to_none=step % 2 == 0)
        loss = F.nll_loss(model(images), labels)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        scheduler.step()
        yield loss.item()
        yield float(norm)
        model.eval()
        with torch.no_grad():
            scores = model(images)
            correct = scores.argmax(dim=1, keepdim=True).eq(labels.view_as(labels[:, None])).sum()
        yield correct.item() / len(labels)
    again = Net().double()
    again.load_state_dict(model.state_dict())
    resumed = optim.Adam(again.parameters(), lr=1.0)
    resumed.load_state_dict(optimizer.state_dict())
    resumed.zero_grad()
    loss = F.nll_loss(again(images), labels)
    loss.backward()
    resumed.step()
    yield sum(p.detach().abs().sum().item() for p in again.parameters())


def sentiment(torch: Any, draw: np.random.Generator) -> Iterator[float]:
    """Bags of words: EmbeddingBag with offsets, and a logit."""
    nn, optim = torch.nn, torch.optim

    class Bag(nn.Module):
        def __init__(self, words: int) -> None:
            super().__init__()
            self.embedding = nn.EmbeddingBag(words, 8, mode="mean")
            self.out = nn.Linear(8, 1)

        def forward(self, text: Any, offsets: Any) -> Any:
            return self.out(self.embedding(text, offsets)).squeeze(1)

    model = _begun(torch, Bag(50), draw)
    optimizer = optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.01)
    criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(2.0, dtype=torch.float64))
    lengths = draw.integers(1, 9, 24)
    text = torch.from_numpy(draw.integers(0, 50, lengths.sum()))
    offsets = torch.tensor([0, *np.cumsum(lengths)[:-1].tolist()])
    labels = torch.from_numpy(draw.integers(0, 2, 24)).to(torch.float64)
    for _ in range(_STEPS):
        predicted = model(text, offsets)
        loss = criterion(predicted, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
        yield ((torch.sigmoid(predicted) > 0.5) == labels.bool()).float().mean().item()


def autoencoder(torch: Any, draw: np.random.Generator) -> Iterator[float]:
    """An encoder and a decoder in Sequentials, tied by one optimizer with two groups."""
    nn, optim = torch.nn, torch.optim
    encoder = _begun(torch, nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 3)), draw)
    decoder = _begun(torch, nn.Sequential(nn.Linear(3, 12), nn.ReLU(), nn.Linear(12, 20),
                                          nn.Sigmoid()), draw)
    optimizer = optim.RMSprop([{"params": encoder.parameters()},
                               {"params": decoder.parameters(), "lr": 1e-3}], lr=1e-2)
    x = torch.sigmoid(_normal(torch, draw, 32, 20))
    for _ in range(_STEPS):
        loss = nn.functional.binary_cross_entropy(decoder(encoder(x)), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.detach().cpu().numpy().item()


def variational(torch: Any, draw: np.random.Generator) -> Iterator[float]:
    """A VAE: reparameterisation, and the divergence written out and as a distribution's."""
    nn, F, optim = torch.nn, torch.nn.functional, torch.optim
    distributions = torch.distributions

    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc3, self.fc4 = nn.Linear(10, 16), nn.Linear(2, 16), nn.Linear(16, 10)
            self.mean, self.log_var = nn.Linear(16, 2), nn.Linear(16, 2)

        def encode(self, x: Any) -> Any:
            h = F.relu(self.fc1(x))
            return self.mean(h), self.log_var(h)

        def forward(self, x: Any, noise: Any) -> Any:
            mu, logvar = self.encode(x)
            z = mu + noise * torch.exp(0.5 * logvar)
            return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar

        def loss(self, x: Any, noise: Any) -> Any:
            found, mu, logvar = self(x, noise)
            bce = F.binary_cross_entropy(found, x, reduction="sum")
            kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
            q = distributions.Normal(mu, (0.5 * logvar).exp())
            p = distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
            other = distributions.kl_divergence(q, p).sum()
            return bce + 0.5 * kld + 0.5 * other

        def step(self, x: Any, noise: Any) -> float:
            loss = self.loss(x, noise)
            loss.backward()                      # within a method of the module
            return float(loss.item())

    model = _begun(torch, VAE(), draw)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    x = torch.sigmoid(_normal(torch, draw, 32, 10))
    for _ in range(_STEPS):
        optimizer.zero_grad()
        yield model.step(x, _normal(torch, draw, 32, 2))
        optimizer.step()


def adversarial(torch: Any, draw: np.random.Generator) -> Iterator[float]:
    """A GAN of two MLPs: detach, labels of ones and zeros, two optimizers."""
    nn, optim = torch.nn, torch.optim
    generator = _begun(torch, nn.Sequential(
        nn.Linear(4, 16), nn.LeakyReLU(0.2), nn.Linear(16, 2), nn.Tanh()), draw)
    critic = _begun(torch, nn.Sequential(
        nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1), nn.Sigmoid()), draw)
    of_g = optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    of_d = optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.999))
    criterion = nn.BCELoss()
    for _ in range(_STEPS):
        real = _normal(torch, draw, 16, 2)
        ones = torch.ones(16, 1, dtype=torch.float64)
        zeros = torch.full((16, 1), 0.0, dtype=torch.float64)
        critic.zero_grad()
        loss_real = criterion(critic(real), ones)
        loss_real.backward()
        fake = generator(_normal(torch, draw, 16, 4))
        loss_fake = criterion(critic(fake.detach()), zeros)
        loss_fake.backward()
        of_d.step()
        generator.zero_grad()
        loss_g = criterion(critic(fake), ones)
        loss_g.backward()
        of_g.step()
        yield (loss_real + loss_fake).item()
        yield loss_g.item()


def _gpt(torch: Any) -> Any:
    """Blocks as in every small GPT, with a mask that is a buffer, and tied weights."""
    nn, F = torch.nn, torch.nn.functional

    class Attention(nn.Module):
        def __init__(self, width: int, heads: int, length: int) -> None:
            super().__init__()
            self.heads = heads
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.register_buffer("mask", torch.tril(torch.ones(length, length))
                                 .view(1, 1, length, length))

        def forward(self, x: Any) -> Any:
            B, T, C = x.size()
            q, k, v = self.qkv(x).split(C, dim=2)
            q, k, v = (t.view(B, T, self.heads, C // self.heads).transpose(1, 2)
                       for t in (q, k, v))
            att = (q @ k.transpose(-2, -1)) * (1.0 / sqrt(k.size(-1)))
            att = att.masked_fill(self.mask[:, :, :T, :T] == 0, float("-inf"))
            y = F.softmax(att, dim=-1) @ v
            return self.proj(y.transpose(1, 2).contiguous().view(B, T, C))

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attn = Attention(width, 2, 12)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(),
                                     nn.Linear(4 * width, width))

        def forward(self, x: Any) -> Any:
            x = x + self.attn(self.ln1(x))
            return x + self.mlp(self.ln2(x))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wte, self.wpe = nn.Embedding(17, 8), nn.Embedding(12, 8)
            self.blocks = nn.ModuleList([Block(8) for _ in range(2)])
            self.ln_f = nn.LayerNorm(8)
            self.head = nn.Linear(8, 17, bias=False)
            self.head.weight = self.wte.weight

        def forward(self, ids: Any, targets: Any = None) -> Any:
            pos = torch.arange(0, ids.size(1), dtype=torch.long)
            x = self.wte(ids) + self.wpe(pos)
            for block in self.blocks:
                x = block(x)
            logits = self.head(self.ln_f(x))
            if targets is None:
                return logits, None
            return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1),
                                           ignore_index=-1)

    return GPT()


def language_model(torch: Any, draw: np.random.Generator) -> Iterator[float]:
    """A tiny GPT: groups with and without decay, accumulated gradients, clipping, warm-up."""
    nn, optim = torch.nn, torch.optim
    model = _begun(torch, _gpt(torch), draw)
    assert len(list(model.parameters())) == 28
    decay = [p for p in model.parameters() if p.dim() >= 2]
    rest = [p for p in model.parameters() if p.dim() < 2]
    optimizer = optim.AdamW([{"params": decay, "weight_decay": 0.1},
                             {"params": rest, "weight_decay": 0.0}], lr=1e-2, betas=(0.9, 0.95))
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 5))
    tokens = draw.integers(0, 17, (6, 13))
    tokens[0, -3:] = -1
    ids = torch.from_numpy(np.maximum(tokens[:, :-1], 0))
    targets = torch.from_numpy(tokens[:, 1:].copy())
    for _ in range(_STEPS):
        for part in range(2):                    # accumulated over two micro-batches
            _, loss = model(ids[part::2], targets[part::2])
            (loss / 2).backward()
            yield loss.item()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        yield schedule.get_last_lr()[0]


def q_learning(torch: Any, draw: np.random.Generator) -> Iterator[float]:
    """A DQN update: gather, a target network that follows softly, the Huber loss, clipping."""
    nn, optim = torch.nn, torch.optim

    def network() -> Any:
        return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))

    policy, target = _begun(torch, network(), draw), network().double()
    target.load_state_dict(policy.state_dict())
    optimizer = optim.AdamW(policy.parameters(), lr=1e-2, amsgrad=True)
    criterion = nn.SmoothL1Loss()
    for _ in range(_STEPS):
        state, after = _normal(torch, draw, 32, 4), _normal(torch, draw, 32, 4)
        action = torch.from_numpy(draw.integers(0, 3, (32, 1)))
        reward = _normal(torch, draw, 32)
        alive = torch.tensor(draw.random(32) > 0.2)
        values = policy(state).gather(1, action)
        following = torch.zeros(32, dtype=torch.float64)
        with torch.no_grad():
            following[alive] = target(after[alive]).max(1).values
        loss = criterion(values, (following * 0.99 + reward).unsqueeze(1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(policy.parameters(), 0.1)
        optimizer.step()
        of_target, of_policy = target.state_dict(), policy.state_dict()
        for key in of_policy:
            of_target[key] = of_policy[key] * 0.1 + of_target[key] * 0.9
        target.load_state_dict(of_target)
        for t, p in zip(target.parameters(), policy.parameters(), strict=True):
            t.data.copy_(0.05 * p.data + 0.95 * t.data)
        yield loss.item()


def metric_learning(torch: Any, draw: np.random.Generator) -> Iterator[float]:
    """Embeddings of unit length: the triplet loss, and the nearest other by a matrix of distances.
    """
    nn, F, optim = torch.nn, torch.nn.functional, torch.optim
    model = _begun(torch, nn.Sequential(nn.Linear(6, 16), nn.PReLU(), nn.Linear(16, 4)), draw)
    optimizer = optim.Adagrad(model.parameters(), lr=0.05)
    triplet = nn.TripletMarginLoss(margin=0.5, p=2)
    labels = torch.from_numpy(np.arange(12) % 3)
    for _ in range(_STEPS):
        z = F.normalize(model(_normal(torch, draw, 12, 6) + labels[:, None]), dim=1)
        loss = triplet(z[0::3], z[0::3].roll(1, 0), z[1::3])
        distances = (z.unsqueeze(0) - z.unsqueeze(1)).pow(2).sum(2).clamp(min=1e-12).sqrt()
        same = labels.unsqueeze(0) == labels.unsqueeze(1)
        farthest = (distances * same).max(dim=1)[0]
        nearest = distances.masked_fill(same, 1e9).min(dim=1)[0]
        loss = loss + F.relu(farthest - nearest + 0.3).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def factorisation(torch: Any, draw: np.random.Generator) -> Iterator[float]:
    """Users and items: two embeddings and biases, and a penalty on all that is looked up."""
    nn, optim = torch.nn, torch.optim

    class Factors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.users, self.items = nn.Embedding(10, 4), nn.Embedding(15, 4, padding_idx=0)
            self.user_bias, self.item_bias = nn.Embedding(10, 1), nn.Embedding(15, 1)
            self.offset = nn.Parameter(torch.zeros(1))

        def forward(self, user: Any, item: Any) -> Any:
            dot = (self.users(user) * self.items(item)).sum(1)
            return dot + self.user_bias(user).squeeze() + self.item_bias(item).squeeze() + (
                self.offset)

    model = _begun(torch, Factors(), draw)
    optimizer = optim.SGD(model.parameters(), lr=0.1, nesterov=True, momentum=0.8)
    user = torch.from_numpy(draw.integers(0, 10, 40))
    item = torch.from_numpy(draw.integers(0, 15, 40))
    rating = _normal(torch, draw, 40)
    for _ in range(_STEPS):
        error = model(user, item) - rating
        loss = (error ** 2).mean() + 1e-2 * sum(p.pow(2).sum() for p in model.parameters())
        model.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
    assert model.items.weight.grad[0].abs().sum() > 0        # of the penalty alone


def physics(torch: Any, draw: np.random.Generator) -> Iterator[float]:
    """A network that solves u'' = -u: derivatives of its output by its input in the loss."""
    nn, optim = torch.nn, torch.optim
    model = _begun(torch, nn.Sequential(nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(),
                                        nn.Linear(12, 1)), draw)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    x = torch.linspace(0, 3, 20, dtype=torch.float64).view(-1, 1).requires_grad_(True)
    start = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    for _ in range(_STEPS):
        u = model(x)
        du = torch.autograd.grad(u, x, grad_outputs=torch.ones_like(u), create_graph=True)[0]
        ddu = torch.autograd.grad(du, x, torch.ones_like(du), create_graph=True)[0]
        residual = torch.mean((ddu + u) ** 2)
        at_start = model(start)
        slope, = torch.autograd.grad(at_start.sum(), start, create_graph=True)
        loss = residual + (at_start - 0).pow(2).mean() + (slope - 1).pow(2).squeeze()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def critic_with_penalty(torch: Any, draw: np.random.Generator) -> Iterator[float]:
    """A Wasserstein critic, whose gradient by its input is held at length 1."""
    nn, optim = torch.nn, torch.optim
    critic = _begun(torch, nn.Sequential(nn.Linear(3, 16), nn.ELU(), nn.Linear(16, 1)), draw)
    optimizer = optim.Adam(critic.parameters(), lr=1e-2, betas=(0.0, 0.9))
    for _ in range(_STEPS):
        real, fake = _normal(torch, draw, 8, 3), 2 + _normal(torch, draw, 8, 3)
        alpha = torch.from_numpy(draw.random((8, 1)))
        between = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
        scores = critic(between)
        gradients = torch.autograd.grad(
            outputs=scores, inputs=between, grad_outputs=torch.ones(scores.size()).double(),
            create_graph=True, retain_graph=True, only_inputs=True)[0]
        penalty = ((gradients.view(gradients.size(0), -1).norm(2, dim=1) - 1) ** 2).mean()
        loss = critic(fake).mean() - critic(real).mean() + 10 * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


SCRIPTS: tuple[Script, ...] = (
    line_by_hand, linear, digits, sentiment, autoencoder, variational, adversarial, language_model,
    q_learning, metric_learning, factorisation, physics, critic_with_penalty)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_losses_are_torchs(script: Script) -> None:
    theirs = list(script(torch, np.random.default_rng(7)))
    ours = list(script(nncompile, np.random.default_rng(7)))
    assert len(ours) >= _STEPS
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)

"""The update of a parameter is recorded once, and its nodes are copied for others of its type."""

import numpy as np
import pytest

import nncompile
from nncompile import nn, optim


class Sums(nn.Module):
    """Parameters of one type, of which two have the same value as their gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(nncompile.full([4, 3], v)) for v in (0.1, 0.2, 0.3))
        self.bias = nn.Parameter(nncompile.zeros(4))

    def forward(self, x: nncompile.Array) -> nncompile.Array:
        return nn.functional.linear(x, self.a + self.b).tanh() + nn.functional.linear(
            x, self.c, self.bias)


@pytest.mark.parametrize("rule", [optim.Adam, optim.RMSprop, optim.NAdam, optim.Adafactor])
def test_each_type_is_recorded_once_in_a_group_and_trains_as_the_eager_loop_does(
        rule: type[optim.Optimizer], monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = []
    update = rule.update                                        # type: ignore[attr-defined]

    def counted(self: optim.Optimizer, p: nncompile.Array, *rest: object) -> object:
        recorded.append(tuple(p.shape))
        return update(self, p, *rest)

    random = np.random.default_rng(0)
    x, y = (random.standard_normal((8, n), np.float32) for n in (3, 4))
    models = Sums(), Sums()
    rules = [rule([{"params": [m.a, m.b, m.bias]}, {"params": [m.c], "lr": 0.05}], lr=0.01)
             for m in models]                                   # type: ignore[call-arg]
    monkeypatch.setattr(rule, "update", counted)
    step = nncompile.compile(models[0], "f32[B, 3]", "f32[B, 4]", loss=nn.MSELoss(),
                             optimizer=rules[0])
    assert sorted(recorded) == [(4,), (4, 3), (4, 3)]
    for _ in range(3):
        step(x, y)
        rules[1].zero_grad()
        nn.functional.mse_loss(models[1](nncompile.tensor(x)), nncompile.tensor(y)).backward()
        rules[1].step()
    for name, p in models[0].named_parameters():
        np.testing.assert_allclose(p.detach().numpy(),
                                   models[1].get_parameter(name).detach().numpy(), atol=2e-6)

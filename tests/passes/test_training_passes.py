"""What the passes of a training step do, and that steps compute what torch's do with them."""

import numpy as np
import pytest

import ir
import nncompile
from nncompile import nn, optim
from nncompile.passes import TransposeHead, TransposeNarrow, UseReciprocal, UseSavedGELU
from nncompile.passes.training import TRAINING_PIPELINE

torch = pytest.importorskip("torch", reason="torch, the oracle of training, is not installed")


def net(lib, classes, bias=True, act="GELU"):
    return lib.Sequential(lib.Linear(7, 9), getattr(lib, act)(), lib.Linear(9, classes, bias=bias))


def step_of(model, **options):
    return nncompile.compile(model, "f32[B, 7]", "i64[B]", loss=nn.CrossEntropyLoss(),
                             optimizer=optim.SGD(model.parameters(), lr=0.5), check=True, **options)


def ops(graph):
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize("batch", [1, 5, 64, 130])
@pytest.mark.parametrize("classes, bias", [(1, True), (2, True), (6, False), (32, True),
                                           (33, True)])
def test_a_cross_entropy_of_few_classes_is_transposed(classes, bias, batch):
    ours, theirs = net(nn, classes, bias), net(torch.nn, classes, bias)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    step = step_of(ours)
    head = step.ir("transpose_head")
    assert ("scatter_add" in ops(head)) == (classes > 32)
    random = np.random.default_rng(batch)
    x = random.standard_normal((batch, 7)).astype("f4") * 3
    y = random.integers(0, classes, batch)
    y[::3] = -100 if batch > 1 else 0                     # the index that is ignored
    loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
    loss.backward()
    torch.optim.SGD(theirs.parameters(), lr=0.5).step()
    np.testing.assert_allclose(step(x, y), loss.item(), rtol=2e-5, atol=1e-6)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-4, atol=2e-6)


def test_a_wrong_class_is_found_and_nothing_changes():
    model = net(nn, 6)
    step = step_of(model)
    before = [p.detach().numpy().copy() for p in model.parameters()]
    with pytest.raises(nncompile.InputError, match="6"):
        step(np.ones((3, 7), "f4"), np.array([1, 6, 2]))
    for p, b in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), b)


def test_scores_that_something_else_reads_stay():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(7, 4)

        def forward(self, x, y):
            scores = self.fc(x)
            return nn.functional.cross_entropy(scores, y) + scores.sum()

    model = Two()
    step = nncompile.compile(model, "f32[B, 7]", "i64[B]",
                             optimizer=optim.SGD(model.parameters()), check=True)
    assert "scatter_add" in ops(step.ir("transpose_head"))


def test_phi_is_read_from_the_result_of_a_gelu():
    step = step_of(net(nn, 3))
    assert "erfc" in ops(step.ir("use_gelu")) and "erfc" not in ops(step.ir("use_saved_gelu"))
    assert UseSavedGELU()(step.ir("transpose_head")) is not step.ir("transpose_head")


@pytest.mark.parametrize("batch", [0, 1, 3, 65])
@pytest.mark.parametrize("inputs, outputs, narrow", [
    (1, 32, True), (4, 33, True), (17, 64, True), (33, 64, True),
    (40, 64, True), (4, 31, False), (16, 64, False), (30, 64, False)])
def test_the_gradient_of_a_weight_with_few_inputs_is_computed_as_its_transpose(
        inputs, outputs, narrow, batch):
    def net(lib):
        return lib.Sequential(lib.Linear(inputs, outputs), lib.Tanh(), lib.Linear(outputs, 47))

    ours, theirs = net(nn), net(torch.nn)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    step = nncompile.compile(ours, f"f32[B, {inputs}]", "f32[B, 47]", check=True,
                             loss=nn.MSELoss(reduction="sum"),
                             optimizer=optim.SGD(ours.parameters(), lr=1e-3))
    products = [str(n.result.type) for n in step.ir("transpose_narrow").nodes if n.op == "matmul"]
    assert (f"f32[{inputs}, {outputs}]" in products) is narrow
    assert (f"f32[{outputs}, {inputs}]" in products) is not narrow
    random = np.random.default_rng(batch)
    x, y = (random.standard_normal((batch, n)).astype("f4") for n in (inputs, 47))
    torch.nn.MSELoss(reduction="sum")(theirs(torch.tensor(x)), torch.tensor(y)).backward()
    torch.optim.SGD(theirs.parameters(), lr=1e-3).step()
    step(x, y)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-5, atol=2e-6)


def test_a_stack_of_products_with_few_columns_stays():
    text = """
    graph g(%x: f32[B, 64], %w: f32[3, B, 4]) -> f32[3, 64, 4] {
      %0: f32[64, B] = transpose(%x) {axes = [1, 0]}
      %1: f32[3, 64, 4] = matmul(%0, %w)
      return %1
    }
    """
    graph = ir.parse(text)
    assert TransposeNarrow()(graph) is graph


POINTS = [0.0, -0.0, 1e-45, -1e-40, 1e-4, -9.9e-4, 1.1e-3, -1e-3, 0.5, -3.0, -9.0, -13.5, -30.0,
          39.0, 1e30, -1e30, np.inf, -np.inf]


def test_the_gradient_of_a_gelu_at_all_sizes():
    text = """
    graph g(%x: f32[N]) -> f32[] {
      %0: f32[N] = gelu(%x)
      %1: f32[] = sum(%0) {axes = [0], keepdims = false}
      return %1
    }
    """
    graph = ir.parse(text)
    made = ir.gradient(graph, of=0, wrt=[graph.inputs[0]])
    saved = UseSavedGELU()(made)
    assert "erfc" in ops(made) and "erfc" not in ops(saved)
    points = np.array(POINTS, "f4")
    p = torch.tensor(np.clip(points.astype("f8"), -40, 40))      # torch's own cancels at -9
    phi = torch.exp(-p * p / 2) / np.sqrt(2 * np.pi)
    expected = (torch.special.erfc(-p / np.sqrt(2)) / 2 + p * phi).numpy()
    with np.errstate(all="ignore"):
        found = nncompile.compile(saved)(points)[1]
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-30)


def test_the_pipeline_is_that_of_inference_and_more():
    names = [step.name for step in TRAINING_PIPELINE]
    kept = [n for n in names if n not in (
        TransposeHead.name, UseSavedGELU.name, TransposeNarrow.name, UseReciprocal.name)]
    assert kept == [step.name for step in nncompile.passes.DEFAULT_PIPELINE]


def test_what_all_elements_are_divided_by_is_inverted_once():
    text = """
    graph g(%x: f32[N], %z: f32[N], %s: f32[], %i: i64[N], %j: i64[]) -> f32[N], f32[N], f32[], \
i64[N] {
      %0: f32[N] = div(%x, %s)
      %1: f32[N] = div(%x, %z)
      %2: f32[] = div(1.0, %s)
      %3: i64[N] = floor_div(%i, %j)
      return %0, %1, %2, %3
    }
    """
    after = UseReciprocal()(ir.parse(text))
    assert ops(after) == ["div", "mul", "div", "div", "floor_div"]
    x, s = np.array([1, -3, 0, np.inf, np.nan], "f4"), np.float32(7)
    found = ir.interpret(after, [x, x, s, np.ones(5, "i8"), np.int64(1)])
    np.testing.assert_allclose(found[0], x / s, rtol=3e-7)

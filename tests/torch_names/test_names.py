"""The names that torch has exist, in every module that models import."""
from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import nncompile
from nncompile import nn
from nncompile.placeholders import (
    CLASSES,
    TORCH_VERSION,
    aliases,
    is_placeholder,
    names_of,
    no_ops,
    refusal,
    torch_names,
)

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = [module for module in torch_names() if module not in CLASSES]


def ours(module: str):
    return importlib.import_module(f"nncompile.{module}" if module else "nncompile")


def tool(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_names_are_those_of_the_torch_that_is_installed():
    torch = pytest.importorskip("torch", reason="torch, whose names these are, is not installed")
    assert torch.__version__.partition("+")[0] == TORCH_VERSION
    text = (ROOT / "nncompile/torch_names.txt").read_text()
    assert tool("torch_names").table() == text, "python tools/torch_names.py writes it anew"


@pytest.mark.parametrize("module", MODULES, ids=lambda name: name or "torch")
def test_every_name_of_a_module_is_there(module):
    for name in names_of(module):
        getattr(ours(module), name)


CLASHES = [(outer, name) for outer in MODULES for name in names_of(outer)
           if f"{outer}.{name}" in MODULES]


@pytest.mark.parametrize("outer, name", CLASHES)
def test_a_function_keeps_its_name_when_its_module_is_imported(outer, name):
    importlib.import_module(f"nncompile.{outer}.{name}")
    assert not isinstance(getattr(ours(outer), name), ModuleType)


def test_no_name_of_torchs_hides_a_module_of_ours():
    """`from package import module` asks the package's `__getattr__` before it imports."""
    checked = set()
    for path in sorted((ROOT / "nncompile").rglob("*.py")):
        room = path.with_name("__init__.py")
        if path == room or "__getattr__" not in room.read_text():
            continue
        home = importlib.import_module(".".join(path.relative_to(ROOT).parent.parts))
        if not isinstance(vars(home).get(path.stem, home), ModuleType):
            continue                             # F.linear, which has a file linear.py
        try:
            found = home.__getattr__(path.stem)
        except AttributeError:
            continue                             # Python imports the module then
        assert found is importlib.import_module(f"{home.__name__}.{path.stem}"), (
            f"torch has a name like that of {path}, which needs another one")
        checked.add(found.__name__)
    assert {"nncompile.cuda.memory", "nncompile.nn.parameter"} <= checked


def test_every_no_op_and_alias_is_a_name_of_torch():
    for full in (*no_ops(), *aliases()):
        module, _, name = full.rpartition(".")
        assert name in names_of(module), full


def test_a_name_of_two_modules_is_one_object():
    from nncompile.nn.modules.linear import Linear
    from nncompile.optim.adam import Adam
    assert Linear is nn.Linear and Adam is nncompile.optim.Adam
    assert nncompile.nn.modules.loss.MSELoss is nn.MSELoss


@pytest.mark.parametrize("module", MODULES, ids=lambda name: name or "torch")
def test_a_placeholder_can_be_made_and_refuses_to_be_used(module):
    for name, (kind, *home) in names_of(module).items():
        value = getattr(ours(module), name)
        if not is_placeholder(value) or home != [module, name]:
            continue
        if kind == "functions":
            with pytest.raises(nncompile.Error, match="is not in nncompile") as refused:
                value(1, two=2)
            assert str(refused.value) == refusal(module, name)
        elif kind in ("layers", "classes"):
            made = type("Mine", (value,), {})(1, two=2)
            with pytest.raises(nncompile.Error, match="is not in nncompile"):
                made(1)
            with pytest.raises(AttributeError, match=f"{name} is not in nncompile"):
                made.step  # noqa: B018
        elif kind == "errors":
            with pytest.raises(RuntimeError):
                raise value("text")


def test_a_message_names_the_row_of_the_table():
    text = (ROOT / "docs/torch_parity.md").read_text()
    with pytest.raises(nncompile.Error, match=r"^torch\.nn\.functional\.conv2d ") as refused:
        nn.functional.conv2d(1, 2)
    assert "out of scope (convolutions and pooling)" in str(refused.value)
    [_, section] = text.split("\n## torch.nn.functional\n")
    row = next(line for line in section.splitlines() if "out of scope: convolutions" in line)
    assert "`conv2d`" in row


def test_what_torch_has_not_is_an_ordinary_error():
    for module in (nncompile, nn, nncompile.optim, nn.functional):
        with pytest.raises(AttributeError, match="no attribute 'Linaer'"):
            module.Linaer  # noqa: B018
    with pytest.raises(ImportError):
        importlib.import_module("nncompile.no_such_module")


def test_a_model_with_a_loss_and_an_optimizer_runs():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)
            self.loss = nn.CrossEntropyLoss(label_smoothing=0.1)
            self.optimizer = nncompile.optim.AdamW(self.parameters(), lr=1e-3)

        @nncompile.jit.export
        def forward(self, x):
            if nncompile.jit.is_scripting() or nncompile.cuda.is_available():
                raise AssertionError
            with nncompile.autocast("cpu", enabled=False), \
                    nncompile.autograd.profiler.record_function("layer"):
                return self.layer(x)

    model = Model().eval()
    graph = nncompile.trace(model, "f32[B, 3]")
    assert [node.op for node in graph.nodes] == ["linear"]
    assert list(model.state_dict()) == ["layer.weight", "layer.bias"]


def test_no_name_is_read_before_one_is_asked_for():
    code = ("import nncompile, sys; from nncompile.placeholders import _sections; "
            "assert not _sections.cache_info().currsize, 'read'; "
            "assert 'nncompile.utils' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_settings_of_a_backend_may_be_assigned():
    nncompile.backends.cudnn.benchmark = True
    nncompile.backends.cuda.matmul.allow_tf32 = True
    assert nncompile.backends.cudnn.benchmark


def test_the_version_is_compared_as_torch_s_is():
    torch = pytest.importorskip("torch.torch_version", reason="the oracle")
    mine, theirs = nncompile.version.TorchVersion, torch.TorchVersion
    versions = ["1.9", "1.10", "1.10.0", "2.0.0+cu117", "2.13.0", "2.13", (2, 13), (1, 9, 1)]
    for text in [v for v in versions if isinstance(v, str)]:
        for other in versions:
            for sign in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__"):
                if isinstance(other, str):       # torch compares local parts, too
                    other = other.partition("+")[0]
                left = text.partition("+")[0]
                assert getattr(mine(left), sign)(other) == getattr(theirs(left), sign)(other), (
                    left, sign, other)
    assert nncompile.__version__ >= "2.0" and nncompile.__version__ == TORCH_VERSION
    assert nncompile.__version__.startswith("2.") and isinstance(nncompile.version.nncompile, str)


def test_a_checkpoint_calls_its_function():
    from nncompile.utils.checkpoint import checkpoint
    assert checkpoint(lambda a, b: a + b, 1, b=2, use_reentrant=False) == 3
    with pytest.raises(AssertionError, match="too long"):
        nncompile._assert(1 > 2, "too long")


@pytest.mark.parametrize("call", [
    lambda x: x.flip(dims=(0,)), lambda x: x.permute(dims=(1, 0)), lambda x: x.tile(dims=(2, 1)),
    lambda x: x.reshape(shape=(3, 2)), lambda x: x.repeat(repeats=(1, 2)),
    lambda x: x[:1].expand(size=(4, 3)),
])
def test_sizes_are_given_by_torch_s_name(call):
    torch = pytest.importorskip("torch", reason="the oracle")
    data = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert call(nncompile.tensor(data)).tolist() == call(torch.tensor(data)).tolist()


def test_a_module_that_needs_another_package_in_torch():
    """A script makes its writer where it begins, and a model file only imports it."""
    from nncompile.utils.tensorboard import SummaryWriter
    from nncompile.utils.tensorboard.writer import SummaryWriter as the_same
    assert the_same is SummaryWriter
    with pytest.raises(AttributeError, match=r"utils\.tensorboard in docs.*\n  do: leave the logg"):
        SummaryWriter("runs").add_scalar("loss", 1.0, 1)

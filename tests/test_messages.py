"""What people do wrong, and what they read: each message says what was wrong and what to do."""
from __future__ import annotations

import re

import numpy as np
import pytest

import nncompile as torch
import nncompile.nn.functional as F
from nncompile import nn

x, whole = torch.ones(2, 3), torch.arange(6)
data = np.ones((2, 3), np.float32)
linear = nn.Linear(3, 2).eval()
# Words of Python's and NumPy's that say nothing to somebody who called a layer.
RAW = re.compile(r"ambiguous|object is not|__\w+__|<locals>|inhomogeneous|SeedSequence|\bufunc\b|"
                 r"broadcast together|cannot be interpreted|scalar index|has no attribute '_")


class Model(nn.Module):
    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, *inputs):
        return self.function(*inputs)


class Two(nn.Module):
    def forward(self, a, b):
        return a + b


def traced(function, *types):
    return torch.trace(Model(function).eval(), *types or ["f32[B, 3]"])


def row(rows):
    return [rows[0] for _ in range(rows.shape[0])]


# What is done, and what its message says.
CASES = {
    # calls that do not fit
    "unknown keyword of a method": (lambda: x.flip(foo=1), r"^Tensor\.flip\(\) .*'foo'; it is "
                                                           r"Tensor\.flip\(\*dims\)$"),
    "missing argument of a layer": (lambda: nn.Linear(3), r"'out_features'; it is nn\.Linear\("
                                                          r"in_features, out_features, bias=True"),
    "too many of a layer": (lambda: nn.ReLU(1, 2), r"^nn\.ReLU\(\) takes .*; it is nn\.ReLU\("),
    "missing of a function": (lambda: torch.softmax(x), r"^softmax\(\): missing .*'dim'; it is "
                                                        r"softmax\(input, dim"),
    "missing of a method": (lambda: x.softmax(), r"^Tensor\.softmax\(\) missing .*'dim'; it is"),
    "too many of an in-place form": (lambda: x.clone().abs_(3), r"^Tensor\.abs_\(\) takes .*; it "
                                                                r"is Tensor\.abs_\(\)$"),
    "too many for a forward": (lambda: linear(data, 1), r"it is nn\.Linear\.forward\(input\)"),
    "missing for an own forward": (lambda: nn.Sequential(Two())(data),
                                   r"^Two.forward\(\) missing .* 'b'; it is Two.forward\(a, b\)"),
    "a text as features": (lambda: nn.Linear("a", 3), r"^nn.Linear\(\): sizes .*integers, not str"),
    "wrong call in a trace": (lambda: traced(lambda v: v.flip(foo=1)), r"it is Tensor.flip\(\*d"),
    "an alias": (lambda: torch.absolute("a"), r"^absolute takes arrays, not 'a': torch.tensor"),
    "an alias of a method": (lambda: x.true_divide("a"), r"^true_divide takes arrays"),
    "an op behind another": (lambda: torch.addmm(x, x, "a"), r"^addmm takes arrays, not 'a'"),
    "an alias by a wrong keyword": (lambda: torch.concat([x], foo=1), r"^concat\(\): .*'foo'"),
    "floor_divide": (lambda: x.floor_divide("a"), r"^floor_divide takes arrays"),
    # names
    "misspelt method": (lambda: x.permut(1, 0), "neither has torch.Tensor: did you mean permute?"),
    "misspelt function": (lambda: torch.reshap(x, (3, 2)), "did you mean reshape?"),
    "misspelt layer": (lambda: nn.LayrNorm(3), "did you mean LayerNorm?"),
    "misspelt functional": (lambda: F.gellu(x), "did you mean gelu?"),
    "complex numbers": (lambda: torch.fft.rfft(x), "no arrays of complex numbers: keep the real"),
    "view_as_complex": (lambda: torch.view_as_complex(x), "do: there are no arrays of complex"),
    "several devices": (lambda: nn.DataParallel(linear)(data), "do: leave it out"),
    "files": (lambda: torch.hub.load("x", "y"), "do: nncompile.load reads"),
    "a module in a checkpoint": (lambda: torch.save(linear, "x"), r"do: save the state_dict\(\)"),
    # devices and dtypes
    "cuda": (lambda: torch.zeros(3, device="cuda"), r"device='cuda': .*torch.cuda.is_available"),
    "to cuda": (lambda: x.to("cuda"), r"arrays are on the CPU, leave it out"),
    "method cuda": (lambda: x.cuda(), r"arrays are on the CPU, leave it out"),
    "half": (lambda: x.half(), "do: leave .half"),
    "float16": (lambda: torch.zeros(3, dtype=torch.float16), "half precision is computed in"),
    "int16": (lambda: torch.zeros(3, dtype=torch.int16), "int32 or uint8 hold the same"),
    "complex64": (lambda: torch.zeros(2, dtype=torch.complex64), "imaginary parts in two arrays"),
    "misspelt dtype": (lambda: torch.zeros(3, dtype="flot"), "no element type, such as torch.f"),
    # sizes
    "a size of 3.0": (lambda: torch.zeros(3.0), r"^zeros\(\): sizes .* are integers, not 3.0; it"),
    "a text as size": (lambda: torch.zeros("a"), r"^zeros\(\): sizes .* are integers, not str"),
    "an array as sizes": (lambda: torch.zeros(torch.tensor([2, 3])), r"not an array of shape \(2,"
                                                                     r"\): its .tolist\(\)"),
    "view of an array": (lambda: x.view(torch.tensor([3, 2])), r"^Tensor.view\(\): sizes .*array"),
    "view of a float": (lambda: x.view(2.0, 3), r"^Tensor.view\(\): .*integers, not 2.0; it is"),
    "full": (lambda: torch.full(torch.tensor([2, 3]), 1.0), r"^full\(\): sizes .*its .tolist"),
    "eye": (lambda: torch.eye("a"), r"^eye\(\): sizes and dimensions are integers, not str"),
    "view": (lambda: x.view(4, 2), r"cannot reshape f32\[2, 3\] to \[4, 2\]: 6 is not 8"),
    "negative": (lambda: nn.Linear(-3, 2), "sizes cannot be negative, got -3"),
    "a dim of 1.0": (lambda: x.sum(1.0), r"^Tensor.sum\(\): .*integers, not 1.0; it is Tensor.sum"),
    "no such dim": (lambda: x.sum(5), "has no axis 5: its axes are -2 to 1"),
    "heads": (lambda: nn.MultiheadAttention(10, 3), "3 heads do not divide a width of 10"),
    "groups": (lambda: nn.GroupNorm(3, 4), "4 channels do not divide into 3 groups"),
    "probability": (lambda: nn.Dropout(2), "between 0 and 1, not 2"),
    # what a layer gets
    "features": (lambda: linear(np.ones((2, 4), np.float32)), "expects 3 features, its input has"),
    "float64": (lambda: linear(data.astype(np.float64)), "floats of one type, .*: cast them to"),
    "integers": (lambda: linear(data.astype(int)), "floats of one type, .*: cast them to one"),
    "a list": (lambda: linear([[1.0, 2.0, 3.0]]), "linear takes arrays, not .* list: torch.tensor"),
    "None": (lambda: linear(None), "linear takes arrays, not None"),
    "layer_norm": (lambda: nn.LayerNorm(4)(data), r"over the last axes \[4\] does not fit f32\[2,"),
    "batch_norm": (lambda: nn.BatchNorm1d(4).eval()(data), "3 channels got a running_mean"),
    "ids": (lambda: nn.Embedding(3, 2)(data), "needs i32 or i64 ids"),
    "id too large": (lambda: nn.Embedding(3, 2)(np.full((2,), 7)), "no row 7: .* rows 0..2"),
    "attention": (lambda: nn.MultiheadAttention(4, 2)(x, x, x), "expects a width of 4"),
    "prelu": (lambda: nn.PReLU(4)(x), "has 4 weights, and .* has 3 channels"),
    "softmax": (lambda: nn.Softmax(5)(x), "no axis 5: its axes are -2 to 1"),
    "no forward": (lambda: nn.ModuleList([linear])(x), "no forward: define one, or call the mod"),
    "no layer": (lambda: nn.Sequential(3), "cannot have 3 as its module '0': it has to be"),
    # operations
    "matmul": (lambda: x @ x, "cannot multiply .*: 3 columns, and 2 rows"),
    "add": (lambda: x + torch.ones(2, 4), "cannot broadcast .*: 3 is not 4"),
    "add a text": (lambda: x + "a", "add takes arrays and real numbers, not 'a'"),
    "cat": (lambda: torch.cat([x, torch.ones(2, 4)]), r"cannot concatenate .* along axis 0"),
    "cat of one": (lambda: torch.cat(x), r"^cat\(\) takes a tuple or list of arrays, not one"),
    "and": (lambda: x & x, "bitwise_and takes integers or bools, not f32"),
    "too many indices": (lambda: x[:, :, 0], "indexed by 2 items at most"),
    "index out of range": (lambda: x[5], "index 5 is out of range for an axis of size 2"),
    "index of text": (lambda: x["a"], "indexed by integers, slices"),
    "item": (lambda: x.item(), r"item\(\) is of one element, and f32\[2, 3\] has 6: reduce it"),
    "float": (lambda: float(x), r"float\(\) is of one element"),
    "bool": (lambda: bool(x), r"`if`.* is of one element, .*: reduce it, as by sum\(\), any\(\)"),
    "mean": (lambda: whole.mean(), "mean takes floats, not i64.*: cast it"),
    "integers in place": (lambda: whole.clone().div_(2), "cast one of them, or write x = f"),
    "parameter in place": (lambda: linear.weight.add_(1), r"do it with no_grad\(\)"),
    "index of scatter": (lambda: x.scatter(1, torch.full((2, 2), 9), 1.0), "^scatter has no .* 9"),
    "text as numbers": (lambda: torch.tensor("abc"), "no array can be made of 'abc': text is no"),
    "None as numbers": (lambda: torch.tensor(None), "no array can be made of None"),
    "ragged lists": (lambda: torch.tensor([[1.0], [1.0, 2.0]]), "lists are not of one length"),
    "parameter of text": (lambda: nn.Parameter("a"), "no array can be made of 'a'"),
    # state dicts
    "missing key": (lambda: linear.load_state_dict({"weight": np.ones((2, 3))}),
                    "missing keys: bias\n  do: strict=False"),
    "unexpected key": (lambda: linear.load_state_dict({**linear.state_dict(), "foo": data}),
                       "unexpected keys: foo\n  do: strict"),
    "shape": (lambda: linear.load_state_dict({"weight": np.ones((3, 2)), "bias": np.ones(2)}),
              r"weight: the shape is \[3, 2\], the model's \[2, 3\]"),
    "no state dict": (lambda: linear.load_state_dict(3), "maps names to arrays, got int"),
    # compiling
    "no example": (lambda: torch.compile(linear), r'forward\(input\) .*\n  do: .*"f32\[B, 64\]"'),
    "bad type": (lambda: torch.compile(linear, "f32[B 3"), r"is not a type: expected ',' or '\]'"),
    "half type": (lambda: torch.compile(linear, "f16[B, 3]"), "there is no element type 'f16', on"),
    "two inputs": (lambda: torch.compile(linear, "f32[B, 3]", "f32[B]"), "does not take 2 inputs"),
    "a function": (lambda: torch.compile(lambda v: v, "f32[B]"), "make a function the forward of"),
    "training": (lambda: torch.compile(nn.Dropout(0.5).train(), "f32[B]"), r"call model.eval\(\)"),
    "target": (lambda: torch.compile(linear, "f32[B, 3]", target="gpu"), "there are cpu, cuda"),
    "item in a trace": (lambda: traced(lambda v: v.sum().item()), "do: go on with the array"),
    "if in a trace": (lambda: traced(lambda v: v if v.sum() > 0 else -v), "do: choose by torch.w"),
    "mask in a trace": (lambda: traced(lambda v: v[v > 0]), "do: keep the shape, by torch.where"),
    "nonzero in a trace": (lambda: traced(lambda v: v.nonzero()), "do: keep the shape"),
    "random in a trace": (lambda: traced(lambda v: v + torch.rand(3)), "do: draw outside of the"),
    "rows in a trace": (lambda: traced(row), "compute with the size as it is"),
    "convolution": (lambda: traced(lambda v: torch.fft.fft(v)), "do: there are no arrays of comp"),
    "a set": (lambda: traced(lambda v: {v}), "it has to return an array, or arrays in a tuple"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_message_says_what_to_do(name):
    call, said = CASES[name]
    with pytest.raises(Exception, match=said) as caught:
        call()
    assert not RAW.search(str(caught.value)), caught.value
    if isinstance(caught.value, torch.TraceError) and "layers:" not in str(caught.value):
        assert re.search(r"\n  line: +test_messages.py:\d+: ", str(caught.value))


def test_torch_s_own_functions_are_recognised():
    theirs = pytest.importorskip("torch", reason="whose message it is")
    with pytest.raises(torch.TraceError, match=r"torch itself\n  do: let the file that calls it"):
        traced(lambda v: theirs.exp(v))
    with pytest.raises(TypeError, match="torch itself"):
        Model(theirs.exp)(data)


def test_an_error_through_the_users_code_stays_as_it_is():
    """Only what is ours from the call down to the error is named after the call."""
    def layers():
        yield nn.Linear(3)

    with pytest.raises(TypeError, match=r"^nn.Linear\(\) missing"):
        nn.ModuleList(layers())

    def broken():
        raise TypeError("mine")
        yield

    with pytest.raises(TypeError, match=r"^mine$"):
        nn.Sequential(*broken())
    with pytest.raises(TypeError, match=r"^mine$"):
        nn.ModuleList(broken())

    class Wrong(nn.Module):
        def forward(self, given):
            return len(given, 3)

    with pytest.raises(TypeError, match=r"^len\(\) takes exactly one argument \(2 given\)$"):
        Wrong()(data)


def test_seeds_are_torch_s():
    torch.manual_seed(-1)                        # torch takes these
    first = torch.rand(3)
    torch.manual_seed(-1)
    assert (torch.rand(3) == first).all()


def test_one_array_is_a_size_as_in_torch():
    three = torch.tensor(3)
    assert torch.zeros(three).shape == torch.zeros(torch.tensor([3])).shape == (3,)
    assert x.view(three, 2).shape == x.view([three, 2]).shape == (3, 2)
    assert x.repeat(three, 1).shape == (6, 3) and x.new_zeros(2, three).shape == (2, 3)

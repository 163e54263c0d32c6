"""trace: the graph, the places on its nodes, and what the errors say."""

import math
import re
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ir
import nncompile
import nncompile.nn.functional as F
from nncompile import nn
from nncompile.errors import Error, InputError, TraceError
from nncompile.trace import trace


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Own(nn.Module):
    """Whatever forward a test gives it, and parts by name."""

    def __init__(self, function, **parts):
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width, bias=False),
        )
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        h = self.mix(self.norm(x))
        h = self.drop(h)
        return x + F.relu(
            h)


class Attention(nn.Module):
    def __init__(self, width=8, heads=2, length=16):
        super().__init__()
        self.heads = heads
        self.embed = nn.Embedding(50, width)
        self.position = nn.Parameter(draw(length, width))
        self.qkv = nn.Linear(width, 3 * width)
        self.block = Block(width)
        self.register_buffer("mean", draw(width))
        self.register_buffer("slope", draw(heads, 1, 1), persistent=False)

    def forward(self, ids):
        B, T = ids.shape
        x = self.embed(ids) + self.position[:T] - self.mean
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (a.view(B, T, self.heads, -1).transpose(1, 2) for a in (q, k, v))
        weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]) * self.slope).softmax(-1)
        x = (weights @ v).transpose(1, 2).reshape(B, T, x.shape[-1])
        return self.block(x), x.mean(dim=1)


def without_places(graph):
    return re.sub(r" +# .*", "", str(graph))


# -- graphs ----------------------------------------------------------------------------------------


def test_the_text_of_a_graph():
    assert without_places(trace(Block(4).eval(), "f32[B, T, 4]")) == """\
graph Block(%x: f32[B, T, 4]) -> f32[B, T, 4] {
  @norm.weight:  f32[4]
  @norm.bias:    f32[4]
  @mix.0.weight: f32[8, 4]
  @mix.0.bias:   f32[8]
  @mix.2.weight: f32[4, 8]
  %0: f32[B, T, 4] = layer_norm(%x, @norm.weight, @norm.bias) {axes = [2], eps = 1e-05}
  %1: f32[B, T, 8] = linear(%0, @mix.0.weight, @mix.0.bias)
  %2: f32[B, T, 8] = gelu(%1)
  %3: f32[B, T, 4] = linear(%2, @mix.2.weight)
  %4: f32[B, T, 4] = dropout(%3) {p = 0.1}
  %5: f32[B, T, 4] = relu(%4)
  %6: f32[B, T, 4] = add(%x, %5)
  return %6
}"""


def line_of(text, after=1):
    """The number of the first line of this file, behind another, that contains the text."""
    with open(__file__, encoding="utf-8") as file:
        lines = file.readlines()
    return next(n for n, line in enumerate(lines, 1) if n >= after and text in line)


def test_places():
    places = [(n.op, n.where.layer, n.where.line) for n in trace(Block(4).eval(), draw(1, 4)).nodes]
    start = line_of("class Block")
    lines = {text: f"test_trace.py:{line_of(text, start)}" for text in (
        "h = self.mix", "nn.Linear(width, 2 * width)", "nn.GELU()", "bias=False", "h = self.drop",
        "return x + F.relu")}
    assert places == [
        ("layer_norm", "norm LayerNorm", lines["h = self.mix"]),
        ("linear", "mix.0 Linear", lines["nn.Linear(width, 2 * width)"]),
        ("gelu", "mix.1 GELU", lines["nn.GELU()"]),
        ("linear", "mix.2 Linear", lines["bias=False"]),
        ("dropout", "drop Dropout", lines["h = self.drop"]),
        ("relu", "Block", lines["return x + F.relu"]),
        ("add", "Block", lines["return x + F.relu"]),
    ]


def test_places_of_layers_by_themselves_and_in_nested_containers():
    layer = nn.Tanh()
    here = f"test_trace.py:{line_of('layer = nn.Tanh()')}"
    for model, name in [(layer, "Tanh"), (nn.Sequential(layer), "0 Tanh"),
                        (nn.Sequential(nn.Sequential(layer)), "0.0 Tanh")]:
        where = trace(model, "f32[B, 4]").nodes[0].where
        assert (where.layer, where.line) == (name, here)

    user = nn.Sequential(Own(lambda self, x: helper(self.inner(x)), inner=nn.Sequential(layer)))
    first, second = trace(user, "f32[B, 4]").nodes
    assert (first.where.layer, first.where.line) == ("0.inner.0 Tanh", here)
    assert second.where.layer == "0 Own"
    assert second.where.line == f"test_trace.py:{helper.__code__.co_firstlineno + 1}"


def helper(x):
    return abs(x)


def test_parameters_that_are_used_twice_are_one_value():
    tied = nn.Linear(4, 4)
    model = nn.Sequential(tied, nn.ReLU(), tied)
    assert [v.name for v in trace(model, "f32[B, 4]").params] == ["0.weight", "0.bias"]
    other = nn.Linear(4, 4)
    other.weight = tied.weight
    graph = trace(nn.Sequential(tied, other), "f32[B, 4]")
    assert [v.name for v in graph.params] == ["0.weight", "0.bias", "1.bias"]


def test_the_data_are_the_models_own_arrays():
    model = Attention().eval()
    graph = trace(model, "i64[B, T]")
    state = model.state_dict()
    named = {v.name: graph.data[v] for v in graph.params if v.kind == "parameter"}
    assert set(named) == set(state) and all(named[name] is state[name] for name in named)


def test_constants_are_copies_and_equal_ones_are_one():
    mask = np.zeros(4, np.float32)

    def forward(self, x):
        for i in range(4):
            mask[:] = 0
            mask[i % 2] = 1
            x = x + mask
        return x * self.table * self.late

    model = Own(forward, table=np.arange(4, dtype=np.float32))
    model.register_buffer("late", np.ones(4, np.float32), persistent=False)
    graph = trace(model, "f32[B, 4]")
    assert [(v.kind, v.name) for v in graph.params] == [("constant", str(i)) for i in range(4)]
    mask[:] = 9
    x = draw(3, 4)
    assert np.array_equal(ir.interpret(graph, [x])[0], model(x))


def test_arithmetic_on_parameters_alone_is_traced():
    model = Own(lambda self, x: x @ (self.w * self.scale).T + self.scale[0],
                w=nn.Parameter(draw(3, 4)), scale=nn.Parameter(draw(4)))
    graph = trace(model, "f32[B, 4]")
    assert [n.op for n in graph.nodes] == ["mul", "transpose", "matmul", "slice", "reshape", "add"]
    x = draw(2, 4)
    assert np.array_equal(ir.interpret(graph, [x])[0], model(x))


def test_scalars_and_float64():
    graph = trace(Own(lambda self, x: 1 - np.float64(2) * x / 3), "f32[B]")
    assert without_places(graph).splitlines()[1:4] == [
        "  %0: f32[B] = mul(2.0, %x)", "  %1: f32[B] = div(%0, 3.0)", "  %2: f32[B] = sub(1.0, %1)"]
    graph = trace(Block(4).eval().double(), "f64[B, 4]")
    assert {n.result.type.dtype for n in graph.nodes} == {"f64"}


def test_sizes_compute():
    def forward(self, x):
        B, T, D = x.shape
        assert T == T and T * 2 > T - 1 and D % 4 == 0 and x.numel() == B * T * D
        return x.reshape(B, T * 2, D // 2)[:, 1:-1].reshape(B * (T - 1), -1)

    graph = trace(Own(forward), "f32[B, T, 8]")
    assert str(graph.outputs[0].type) == "f32[B*T - B, 8]"


def test_a_symbolic_axis_is_split_where_every_size_allows_it():
    model = Own(lambda self, x: x.reshape(-1).chunk(4)[1])
    x = draw(3, 8)
    graph = trace(model, "f32[B, 8]")
    assert str(graph.outputs[0].type) == "f32[2*B]"
    assert np.array_equal(ir.interpret(graph, [x])[0], model(x))
    graph = trace(Own(lambda self, x: x.chunk(2)[1]), "f32[B, 8]")
    assert [str(r) for r in graph.requirements] == ["B > FloorDiv(B + 1, 2)"]
    assert np.array_equal(ir.interpret(graph, [x])[0], x[2:])


def test_a_traced_array_says_its_type():
    told = []
    trace(Own(lambda self, x: told.append(f"{x!r}") or x), "f32[B, 4]")
    assert told == ["Array(f32[B, 4])"]


def test_inputs_and_outputs():
    class Many(nn.Module):
        def forward(self, x, *others, mask, scale=None):
            return [x + others[0], others[1], mask, np.ones(2, np.float32), self.w]

    model = Many()
    model.w = nn.Parameter([1.0])
    graph = trace(model, "f32[N, 4]", "f32[4]", "i64[]", mask="i32[N]")
    assert str(graph).splitlines()[0] == (
        "graph Many(%x: f32[N, 4], %others0: f32[4], %others1: i64[], %mask: i32[N]) -> "
        "f32[N, 4], i64[], i32[N], f32[2], f32[1] {")
    outputs = ir.interpret(graph, [draw(2, 4), draw(4), np.array(5), np.zeros(2, np.int32)])
    assert [o.shape for o in outputs] == [(2, 4), (), (2,), (2,), (1,)]


def test_inputs_whose_names_clash_are_numbered():
    model = Own(None)
    model.forward = lambda *others, others0: others0 + others[0]
    graph = trace(model, "f32[B]", others0="f32[B]")
    assert [v.name for v in graph.inputs] == ["x0", "x1"]


def test_example_arrays():
    two = Own(lambda self, x: x)
    two.forward = lambda x, ids: (x, ids)
    graph = trace(two, draw(3, 4), np.zeros((3, 2), np.int32))
    assert [str(v.type) for v in graph.inputs] == ["f32[B, 4]", "i32[B, 2]"]
    assert str(trace(two, np.array(3.0), "f32[1]").inputs[0].type) == "f64[]"
    with pytest.raises(InputError, match='x has 3, ids has 2 rows: give a type text'):
        trace(two, draw(3, 4), draw(2))


def test_eval_mode_leaves_traces_of_dropout_and_identity():
    model = nn.Sequential(nn.Identity(), nn.Dropout(0.25), nn.Dropout(0))
    assert [n.op for n in trace(model.eval(), "f32[B]").nodes] == ["identity", "dropout", "dropout"]
    assert [n.op for n in trace(nn.Dropout(0.0), "f32[B]").nodes] == ["dropout"]


ODD = ['a "b" #\n', "def", "%0", "", "x y, z", "λ", "{", "0:"]


@pytest.mark.parametrize("name", ODD, ids=repr)
def test_odd_names_do_not_break_the_graph(name):
    model = nn.Sequential({name or "empty": nn.Linear(2, 2), "more": nn.ReLU()})
    model.__class__ = type(name or "-", (nn.Sequential,), {})
    graph = trace(model, "f32[B, 2]")
    parsed = ir.parse(str(graph))
    assert str(parsed) == str(graph) and parsed.params[0].name == f"{name or 'empty'}.weight"
    with pytest.raises(TraceError, match="expects 2 features"):
        trace(model, "f32[B, 3]")


def test_code_without_a_source_file():
    space = {"nn": nn}
    exec("class Made(nn.Module):\n    def forward(self, x):\n        return x @ x", space)
    with pytest.raises(TraceError, match=r"line:     <string>:3$"):
        trace(space["Made"](), "f32[B, 3]")


# -- the same bits as the model --------------------------------------------------------------------


def check_bits(model, graph, *inputs):
    want = model(*inputs)
    got = ir.interpret(graph, list(inputs))
    for g, w in zip(got, want if isinstance(want, tuple) else [want], strict=True):
        assert g.dtype == w.dtype and g.shape == w.shape and np.array_equal(g, w, equal_nan=True)


@settings(max_examples=40, deadline=None)
@given(batch=st.integers(0, 9), length=st.integers(1, 16), seed=st.integers(0, 99))
def test_attention_has_the_bits_of_the_model(batch, length, seed):
    ids = np.random.default_rng(seed).integers(0, 50, (batch, length))
    check_bits(MODEL, GRAPH, ids)


MODEL = Attention().eval()
GRAPH = trace(MODEL, "i64[B, T]")
ACTIVATIONS = [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, lambda: nn.Softmax(-1), nn.Identity,
               lambda: nn.GELU("tanh"), lambda: nn.Dropout(0.5), nn.ReLU6, nn.LeakyReLU, nn.PReLU,
               nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.SiLU, nn.Mish, nn.LogSigmoid, nn.Tanhshrink,
               nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink, nn.Hardtanh, nn.Hardsigmoid,
               nn.Hardswish, lambda: nn.Threshold(0.1, 2), lambda: nn.LogSoftmax(-1),
               lambda: nn.Softmin(0), lambda: nn.AlphaDropout(0.1)]


@st.composite
def models(draw):
    width = draw(st.integers(1, 9))
    layers, first = [], width
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["linear", "norm", "act", "block"]))
        if kind == "linear":
            wide = draw(st.integers(1, 9))
            layers.append(nn.Linear(width, wide, bias=draw(st.booleans())))
            width = wide
        elif kind == "norm":
            norm = draw(st.sampled_from([nn.LayerNorm, nn.RMSNorm]))
            layers.append(norm(width, elementwise_affine=draw(st.booleans())))
        elif kind == "act":
            layers.append(draw(st.sampled_from(ACTIVATIONS))())
        else:
            layers.append(Block(width))
    return nn.Sequential(*layers).eval(), first


@settings(max_examples=60, deadline=None)
@given(models(), st.lists(st.integers(0, 5), max_size=2), st.integers(0, 99))
def test_random_models_have_the_bits_of_the_model(model_and_width, sizes, seed):
    model, width = model_and_width
    names = ["B", "T"][: len(sizes)]
    graph = trace(model, f"f32[{', '.join([*names, str(width)])}]")
    x = np.random.default_rng(seed).normal(0, 3, (*sizes, width)).astype(np.float32)
    check_bits(model, graph, x)
    assert str(ir.parse(str(graph))) == str(graph)


def test_threads_trace_and_run_side_by_side():
    model = Attention().eval()
    ids = np.arange(12).reshape(3, 4)
    want, text, failures = model(ids)[0], str(trace(model, "i64[B, T]")), []

    def work(number):
        for _ in range(5):
            same = (str(trace(model, "i64[B, T]")) == text if number % 2
                    else np.array_equal(model(ids)[0], want))
            if not same:
                failures.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# -- errors ----------------------------------------------------------------------------------------


def test_an_error_is_told_whole():
    model = Own(lambda self, x: self.fc(x), fc=nn.Linear(3, 2))
    number = line_of("model = Own(lambda self, x: self.fc(x)")
    with pytest.raises(TraceError) as caught:
        trace(model, "f32[B, 4]")
    assert str(caught.value) == f"""\
linear expects 3 features, its input has 4
  layer:    fc Linear
  operands: f32[B, 4], f32[2, 3], f32[2]
  line:     test_trace.py:{number}: model = Own(lambda self, x: self.fc(x), fc=nn.Linear(3, 2))"""


def kept(self, x):
    if not hasattr(self.function, "last"):
        self.function.last = x
    return self.function.last + x


def updated_buffer(self, x):
    self.mean = x.mean(0)
    return x


def counted(self, x):
    self.mean += x.mean(0)
    return x


def moved(self, x):
    self.down.weight.data[0] = 1
    return x


def remembered(self, x):
    self.parts[1][0] = x[0]
    return x


def swapped(self, x):
    x[:, 0] = x[:, :2]
    return x


def added(self, x):
    x += x[:, None]
    return x


FORWARDS = {
    "if": (lambda self, x: x if x.mean() > 0 else -x, "`if`, `while`, `and`", "bool[]"),
    "bool": (lambda self, x: x or x, "`if`, `while`", "f32[B, 4]"),
    "float": (lambda self, x: x * float(x.sum()), "float() needs the numbers", "f32[]"),
    "int": (lambda self, x: x * int(x[0, 0]), "int() needs the numbers", "f32[]"),
    "item": (lambda self, x: x * x.sum().item(), "item() needs the numbers", "f32[]"),
    "math": (lambda self, x: x * math.exp(x[0, 0]), "float() needs the numbers", "f32[]"),
    "numpy": (lambda self, x: np.median(x), "numpy.median", "f32[B, 4]"),
    "ufunc": (lambda self, x: np.cbrt(x), "numpy.cbrt", "f32[B, 4]"),
    "asarray": (lambda self, x: np.asarray(x), "a NumPy function needs", "f32[B, 4]"),
    "method": (lambda self, x: x.qr(1), "AttributeError: torch.Tensor.qr is", "f32[B, 4]"),
    "shapes": (lambda self, x: x + x[:, :3], "cannot broadcast", "f32[B, 4], f32[B, 3]"),
    "matmul": (lambda self, x: x @ x, "cannot multiply", "f32[B, 4], f32[B, 4]"),
    "dtypes": (lambda self, x: x @ np.ones((4, 2)), "one type", "f32[B, 4], f64[4, 2]"),
    "in place": (added, "in place an array keeps its shape", "f32[B, 4]"),
    "assignment": (swapped, "f32[B, 2] does not fit into f32[B]", "f32[B, 4]"),
    "type in place": (lambda self, x: x.long().add_(0.5), "whose type cannot hold", "f32[B, 4]"),
    "expanded": (lambda self, x: x[:, None].expand(-1, 3, 4).zero_(), "in several places", "f32[B"),
    "buffer in place": (counted, "mean, which the model owns", "f32[4]"),
    "parameter in place": (moved, "down.weight, which the model owns", "f32[3]"),
    "constant in place": (remembered, "made outside of the forward", "f32[4]"),
    "in place, then read": (lambda self, x: x.reshape(-1).add_(1) + x, "clone()", "f32[B, 4]"),
    "loop": (lambda self, x: sum(row for row in x), "compute with x.shape", "f32[B, 4]"),
    "range": (lambda self, x: sum(x[i] for i in range(x.shape[0])), "the size B", "f32[B, 4]"),
    "zeros": (lambda self, x: x + np.zeros(x.shape, np.float32), "the size B", "f32[B, 4]"),
    "root of a size": (lambda self, x: x / math.sqrt(x.shape[0]), "the size B is not", "f32[B, 4]"),
    "slice": (lambda self, x: x[5::-1], "how long 5:-1 is of a size B", "f32[B, 4]"),
    "None": (lambda self, x: self.down(None), "linear takes arrays, not None", "None"),
    "own error": (lambda self, x: {}["key"], "KeyError: 'key'", "f32[B, 4]"),
    "not registered": (lambda self, x: self.parts[0](x), "the model does not have", "f32[4, 4]"),
    "buffer": (updated_buffer, "buffer mean cannot take a new value", "f32[B, 4]"),
    "dropout": (lambda self, x: F.dropout(x), "dropout in training mode", "f32[B, 4]"),
}


@pytest.mark.parametrize("function, message, operands", FORWARDS.values(), ids=FORWARDS)
def test_what_cannot_be_traced(function, message, operands):
    model = Own(function, down=nn.Linear(3, 2), parts=[nn.Linear(4, 4), nncompile.zeros(2, 4)])
    model.register_buffer("mean", np.zeros(4, np.float32))
    with pytest.raises(TraceError) as caught:
        trace(model.eval(), "f32[B, 4]")
    text = str(caught.value)
    first, *advice, layer, types, line = text.split("\n")
    assert message in first
    assert all(one.startswith("  do: ") for one in advice) and len(advice) < 2
    assert layer.startswith("  layer:    ") and re.search("Own|down Linear|Linear", layer)
    assert types.startswith(f"  operands: {operands}")
    assert re.match(r"  line:     test_trace.py:\d+: \S", line)
    assert isinstance(caught.value, Error)


def test_the_line_is_the_users_own():
    with pytest.raises(TraceError, match=rf"test_trace.py:{line_of('x += x[:, None]')}: x \+= x"):
        trace(Own(added), "f32[B, 4]")
    inner = nn.Sequential(nn.ReLU(), Own(swapped))
    with pytest.raises(TraceError, match=r"layer:    body.1 Own\n") as caught:
        trace(Own(lambda self, x: self.body(x), body=inner), "f32[B, 4]")
    assert str(caught.value).endswith("x[:, 0] = x[:, :2]")


@pytest.mark.parametrize("result, told", [(None, "None"), (3.0, "3.0"), ({}, "type dict"),
                                          ((), "no array at all"), ([None], "no array at all"),
                                          (np.ones(2, np.float16), "float16")], ids=str)
def test_results_that_are_no_arrays(result, told):
    def forward(self, x):
        return result

    with pytest.raises(Error, match=told) as caught:
        trace(Own(forward), "f32[B]")
    assert "Own" in str(caught.value) or told == "float16"


def test_an_array_kept_from_another_trace():
    model = Own(kept)
    trace(model, "f32[B]")
    with pytest.raises(TraceError, match="kept from another trace"):
        trace(model, "f32[B]")
    with pytest.raises(Error, match="kept from a trace"):
        model(np.ones(2, np.float32))
    del kept.last


def test_training_mode_names_every_dropout():
    model = nn.Sequential(Block(4), nn.Dropout(0.5), nn.Dropout(0), nn.Dropout(0.1).eval())
    with pytest.raises(TraceError, match=r"model.eval\(\)(.|\n)*layers:   0.drop, 1$"):
        trace(model, "f32[B, 4]")
    assert model.eval() and trace(model, "f32[B, 4]")


INPUTS = {
    "none": ((), "does not take 0 inputs"),
    "many": (("f32[B]", "f32[B]"), "does not take 2 inputs"),
    "text": (("f32(B)",), "input 'input': .*f32"),
    "list": (([1.0],), "input 'input' is a type text .* or an example array, not"),
    "dtype": ((np.ones(3, np.float16),), "input 'input': arrays of float16"),
}


@pytest.mark.parametrize("inputs, message", INPUTS.values(), ids=INPUTS)
def test_inputs_that_are_refused(inputs, message):
    with pytest.raises(InputError, match=message):
        trace(nn.ReLU(), *inputs)


def test_only_modules_are_traced():
    with pytest.raises(InputError, match=r"is an nn\.Module, not an object of type function"):
        trace(lambda x: x, "f32[B]")
    with pytest.raises(InputError, match=r"not the class ReLU: ReLU\(\) makes one"):
        trace(nn.ReLU, "f32[B]")
    with pytest.raises(InputError, match="mask"):
        trace(nn.ReLU(), "f32[B]", mask="f32[B]")
    with pytest.raises(ir.Error):
        trace(nn.ReLU(), "f32[2*B]")

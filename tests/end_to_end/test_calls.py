"""How a compiled model is called: arrays it takes, converts, refuses; out, bind, threads."""
import pickle
import re
import threading

import numpy as np
import pytest

import ir
import nncompile
from nncompile import nn


@pytest.fixture(scope="module")
def model():
    nn.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()


@pytest.fixture
def fast(model):
    return nncompile.compile(model, "f32[B, 8]", threads=2)


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)


def test_layouts_give_the_same_bits(fast, x):
    want = fast(x)
    wide = np.zeros((10, 16), np.float32)
    wide[::2, ::2] = x
    readonly = x.copy()
    readonly.flags.writeable = False
    raw = np.zeros(5 * 8 * 4 + 1, np.uint8)
    unaligned = raw[1:].view(np.float32).reshape(5, 8)
    unaligned[...] = x
    layouts = {"strided": wide[::2, ::2], "fortran": np.asfortranarray(x), "read-only": readonly,
               "negative strides": x[::-1][::-1], "byte-swapped": x.astype(">f4"),
               "unaligned": unaligned, "float16": x.astype(np.float16), "list": x.tolist()}
    for name, given in layouts.items():
        before = np.array(given, copy=True)
        expected = fast(x.astype(np.float16).astype(np.float32)) if name == "float16" else want
        np.testing.assert_array_equal(fast(given), expected, err_msg=name)
        np.testing.assert_array_equal(np.array(given), before)


def test_stride_zero(fast, x):
    np.testing.assert_array_equal(fast(np.broadcast_to(x[0], (5, 8))), fast(np.tile(x[0], (5, 1))))


@pytest.mark.parametrize("given, message", [
    (np.zeros((5, 7), np.float32), r"f32\[B, 8\].*\(5, 7\)"),
    (np.zeros(8, np.float32), r"f32\[B, 8\]"),
    (np.float32(1), r"f32\[B, 8\]"),
    (np.zeros((5, 8)), "float64.*astype"),
    (np.zeros((5, 8), np.int64), "int64"),
    (np.zeros((5, 8), np.complex64), "complex64"),
    (np.array(["a"] * 8), "<U1"),
])
def test_refused_inputs(fast, given, message):
    with pytest.raises(nncompile.InputError, match=message):
        fast(given)


def test_wrong_numbers_of_arguments(fast, x):
    for arguments in [(), (x, x[:, :4].copy(), x)]:
        with pytest.raises(nncompile.InputError):
            fast(*arguments)
    with pytest.raises(nncompile.InputError, match="other"):
        fast(x, other=1)


def test_out(fast, x):
    want = fast(x)
    out = np.full((5, 4), np.nan, np.float32)
    assert fast(x, out=out) is out
    np.testing.assert_array_equal(out, want)
    strided = np.full((10, 8), np.nan, np.float32)[::2, ::2]
    assert fast(x, out=strided) is strided
    np.testing.assert_array_equal(strided, want)


def test_out_that_overlaps_the_input(x):
    fast = nncompile.compile(nn.Sequential(nn.Linear(8, 8), nn.Tanh()).eval(), "f32[B, 8]")
    want = fast(x)
    assert fast(x, out=x) is x
    np.testing.assert_array_equal(x, want)


@pytest.mark.parametrize("out", [np.zeros((5, 5), np.float32), np.zeros((5, 4)), [1.0], "no",
                                 np.zeros((4, 4), np.float32)])
def test_refused_out(fast, x, out):
    with pytest.raises(nncompile.InputError, match="out must be"):
        fast(x, out=out)


def test_read_only_out(fast, x):
    out = np.zeros((5, 4), np.float32)
    out.flags.writeable = False
    with pytest.raises(nncompile.InputError, match="writeable"):
        fast(x, out=out)


def test_bind(fast, x):
    out = np.zeros((5, 4), np.float32)
    run = fast.bind(x, out=out)
    x[...] = 0.5
    assert run() is out
    np.testing.assert_array_equal(out, fast(x))
    assert fast.bind(x)().shape == (5, 4)


def test_bind_refuses_what_it_would_have_to_copy(fast, x):
    with pytest.raises(nncompile.InputError, match="contiguous"):
        fast.bind(x[:, ::-1])
    with pytest.raises(nncompile.InputError, match="out must be"):
        fast.bind(x, out=np.zeros((1, 4), np.float32))


def test_results_are_separate_arrays(fast, x):
    first = fast(x)
    kept = first.copy()
    second = fast(x + 1)
    assert not np.may_share_memory(first, second)
    np.testing.assert_array_equal(first, kept)
    assert first.flags.owndata and first.flags.writeable


def test_threads_of_one_call(fast, model, x):
    want, out = fast(x), np.empty((5, 4), np.float32)
    for count in (1, 2, 3):
        assert same_bits(fast(x, threads=count), want)
        assert fast(x, out=out, threads=count) is out and same_bits(out, want)
    assert fast.threads == 2
    with pytest.raises(nncompile.Error, match="threads must be"):
        fast(x, threads=0)

    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return {"y": self.inner(x)}

    nested = nncompile.compile(Nested().eval(), "f32[B, 8]", threads=1)
    assert same_bits(nested(x, threads=2)["y"], want)


def same_bits(a, b):
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


def test_threads(fast, x):
    want = fast(x)
    for count in (1, 2, 5):
        fast.threads = count
        assert fast.threads == count
        np.testing.assert_array_equal(fast(x), want)
    for wrong in (0, -1, 1.5, "2"):
        with pytest.raises(nncompile.Error, match="threads must be"):
            fast.threads = wrong


def test_pickle(fast, x):
    copy = pickle.loads(pickle.dumps(fast))
    np.testing.assert_array_equal(copy(x), fast(x))
    assert copy.source == fast.source


def test_later_changes_of_the_model_do_not_reach_it(model, fast, x):
    want = fast(x)
    old = {name: np.array(value) for name, value in model.state_dict().items()}
    model.load_state_dict({name: value * 2 for name, value in old.items()})
    np.testing.assert_array_equal(fast(x), want)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fast))(x), want)
    model.load_state_dict(old)


def test_load_weights(model, fast, x):
    want = fast(x)
    old = {name: np.array(value) for name, value in model.state_dict().items()}
    doubled = {name: 2 * value for name, value in old.items()}
    fast.load_weights(doubled)
    changed = fast(x)
    assert not np.array_equal(changed, want)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fast))(x), changed)
    fast.load_weights(old)
    np.testing.assert_array_equal(fast(x), want)


def test_load_weights_names_everything_that_is_wrong(model, fast, x):
    want = fast(x)
    state = {name: np.array(value) for name, value in model.state_dict().items()}
    del state["0.bias"]
    state |= {"9.weight": np.zeros(3), "2.bias": np.zeros(9),
              "0.weight": state["0.weight"] * 1j}
    wrong = r"missing '0.bias'.*'9.weight'.*'0.weight' is complex\d+, not float32.*'2.bias'.*\(9,\)"
    with pytest.raises(nncompile.InputError, match=wrong):
        fast.load_weights(state)
    np.testing.assert_array_equal(fast(x), want)


def test_tied_weights_load_under_both_names():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    model = Tied().eval()
    fast = nncompile.compile(model, "f32[B, 4]")
    fast.load_weights(model.state_dict())
    x = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(fast(x), model(x), rtol=1e-5, atol=1e-6)


def test_weights_change_under_concurrent_calls(model, fast, x):
    """Every result is of the old weights or of the new ones."""
    old = {name: np.array(value) for name, value in model.state_dict().items()}
    new = {name: value + 1 for name, value in old.items()}
    x = np.tile(x, (40, 1))
    results = {fast(x).tobytes()}
    fast.load_weights(new)
    results.add(fast(x).tobytes())
    wrong, stop = [], threading.Event()

    def call():
        while not stop.is_set():
            if fast(x).tobytes() not in results:
                wrong.append(1)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for i in range(60):
        fast.load_weights(old if i % 2 else new)
    stop.set()
    for caller in callers:
        caller.join()
    assert not wrong


def test_several_outputs_and_keywords():
    class Two(nn.Module):
        def forward(self, left, right):
            return left + right, left - right

    fast = nncompile.compile(Two().eval(), "f32[B, 3]", "f32[B, 3]")
    a, b = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)
    total, difference = fast(a, b)
    np.testing.assert_array_equal(total, a + b)
    np.testing.assert_array_equal(difference, a - b)
    outs = np.empty_like(a), np.empty_like(a)
    assert fast(a, b, out=outs)[1] is outs[1]
    np.testing.assert_array_equal(outs[0], a + b)
    np.testing.assert_array_equal(fast(left=a, right=b)[0], total)
    with pytest.raises(nncompile.InputError, match="B"):
        fast(a, b[:1])


def test_an_index_outside_the_embedding_names_the_layer():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2)).eval()
    fast = nncompile.compile(model, "i64[B, 3]")
    good = np.zeros((4, 3), np.int64)
    want = fast(good)
    for index in (10, -1, 2**40, -2**63):
        bad = good.copy()
        bad[2, 1] = index
        with pytest.raises(nncompile.InputError, match=rf"(?s){index}.*10.*Embedding"):
            fast(bad)
        np.testing.assert_array_equal(fast(good), want)
    np.testing.assert_array_equal(fast(good.astype(np.int32)), want)      # casts safely


def test_embeddings_whose_sizes_cannot_be_compared_may_share_memory():
    class Twice(nn.Module):
        def __init__(self):
            self.embed, self.out = nn.Embedding(10, 8), nn.Linear(8, 8)

        def forward(self, ids):
            both = self.out(self.embed(nncompile.cat([ids, ids])))       # of 2*B rows
            return both, self.out(self.embed(ids)), self.out(self.embed(ids + 1))

    model, ids = Twice().eval(), np.arange(6)
    for got, want in zip(nncompile.compile(model, "i64[B]")(ids), model(ids), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


GATHERS = {
    "take": ("%x: f32[B, 4], %ids: i64[3]", "f32[B, 3]", "take(%x, %ids) {axis = 1}"),
    "take rows": ("%x: f32[4, B], %ids: i64[3]", "f32[3, B]", "take(%x, %ids) {axis = 0}"),
    "take_along": ("%x: f32[B, 4], %ids: i64[B, 3]", "f32[B, 3]",
                   "take_along(%x, %ids) {axis = 1}"),
    "scatter_add": ("%x: f32[B, 3], %ids: i64[B, 3]", "f32[B, 4]",
                    "scatter_add(%ids, %x) {axis = 1, size = 4}"),
}


@pytest.mark.parametrize("inputs, type_, call", GATHERS.values(), ids=GATHERS)
@pytest.mark.parametrize("index", [4, -1, 2**62, -(2**62)])
def test_an_index_outside_an_axis(inputs, type_, call, index):
    fast = nncompile.compile(ir.parse(
        f"graph g({inputs}) -> {type_} {{\n  %0: {type_} = {call}\n  return %0\n}}"))
    x = np.arange(16, dtype=np.float32).reshape(4, 4)
    x = x[:, :3] if "scatter" in call else x
    ids = np.array([3, 0, 2]) if "rows" in type_ or "i64[3]" in inputs else np.full((4, 3), 2)
    good = fast(x, ids)
    wrong = ids.copy()
    wrong[-1] = index
    with pytest.raises(nncompile.InputError, match=rf"(?s){index}.*4 elements"):
        fast(x, wrong)
    np.testing.assert_array_equal(fast(x, ids), good)


@pytest.mark.parametrize("ids, offsets, message", [
    ([0, 9, 1], [0, 1], "index 9 is outside an embedding of 5 rows"),
    ([0, 1, 1], [1, 2], "offset 1 is none"), ([0, 1, 1], [0, 4], "offset 4 is none of a bag.* 3,"),
    ([0, 1, 1], [0, -1], "offset -1 is none"),
])
def test_bags(ids, offsets, message):
    fast = nncompile.compile(nn.EmbeddingBag(5, 3), "i64[N]", "i64[B]")
    assert fast(np.array([0, 1, 4]), np.array([0, 1])).shape == (2, 3)
    with pytest.raises(nncompile.InputError, match=rf"(?s){message}.*layer: +EmbeddingBag"):
        fast(np.array(ids), np.array(offsets))


def test_division_of_integers_by_zero():
    class Rest(nn.Module):
        def forward(self, x, y):
            return x % y, x // y

    fast = nncompile.compile(Rest(), "i64[B]", "i64[B]")
    rest, whole = fast(np.array([7, -7, 7]), np.array([2, 2, -2]))
    assert (rest.tolist(), whole.tolist()) == ([1, 1, -1], [3, -4, -4])
    with pytest.raises(nncompile.InputError, match=r"(?s)divided by zero.*Rest"):
        fast(np.array([7, 7]), np.array([1, 0]))


@pytest.mark.parametrize("kind", ir.types.DTYPES)
def test_layouts_of_every_type(kind):
    """Elements 4, 2 and 0 of each row, from arrays that lie in memory in every way there is."""
    fast = nncompile.compile(ir.parse(f"""graph g(%x: {kind}[B, 5]) -> {kind}[B, 3] {{
  %0: {kind}[B, 3] = slice(%x) {{axis = 1, start = 4, stop = -1, step = -2}}
  return %0
}}"""), threads=2)
    dtype = ir.types.DTYPES[kind]
    x = np.random.default_rng(0).integers(0, 2 if kind == "bool" else 100, (7, 5)).astype(dtype)
    one = np.broadcast_to(x[0], (7, 5))
    read_only = x.copy()
    read_only.flags.writeable = False
    wide = np.zeros((14, 15), dtype)
    wide[::2, ::3] = x
    odd = np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view(dtype).reshape(7, 5)
    for array in (x, np.asfortranarray(x), x[::-1, ::-1].copy()[::-1, ::-1], one, read_only, odd,
                  wide[::2, ::3], x.astype(dtype.newbyteorder(">")), x[:0], x[:1]):
        kept = array.copy()
        got = fast(array)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, array[:, ::-2])
        np.testing.assert_array_equal(array, kept)
    out = np.zeros((7, 3), dtype)
    assert fast(x, out=out) is out
    np.testing.assert_array_equal(out, x[:, ::-2])


def test_float64_computes_in_float64():
    model = nn.Sequential(nn.Linear(40, 30), nn.GELU(), nn.Linear(30, 5), nn.Softmax(-1)).double()
    fast = nncompile.compile(model.eval(), "f64[B, 40]", threads=2)
    x = np.random.default_rng(0).normal(size=(33, 40))
    np.testing.assert_allclose(fast(x), model(x), rtol=1e-13)
    np.testing.assert_array_equal(fast(x)[5:6], fast(x[5:6]))
    single = x.astype(np.float32)
    np.testing.assert_array_equal(fast(single), fast(single.astype(np.float64)))


def test_train_mode_is_refused_by_name():
    with pytest.raises(nncompile.Error, match=r"(?s)eval\(\).*layers: *1"):
        nncompile.compile(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)), "f32[B, 3]")


def test_unknown_target():
    with pytest.raises(nncompile.CompileError, match="cpu"):
        nncompile.compile(nn.ReLU(), "f32[B, 3]", target="tpu")


@pytest.mark.parametrize("given", ["text", [[1.0, 2.0], [3.0]], [object()]])
def test_what_is_no_array_names_the_input(fast, given):
    with pytest.raises(nncompile.InputError,
                       match=r"'input' is f32\[B, 8\], and no array can be made"):
        fast(given)


def test_asm_has_every_kernel_once(fast):
    text = fast.asm()
    called = {name for name in fast._loaded._driver.kernels if not name.startswith("shared_")}
    assert called
    for name in called:
        assert len(re.findall(rf"^nnc_{name}:", text, re.MULTILINE)) == 1
        assert len(re.findall(rf"^nnc_shared_{name}:", text, re.MULTILINE)) == 1
        assert re.search(rf"^(#|//) {name}\(", text, re.MULTILINE)


def test_plain_python_has_no_asm(monkeypatch):
    monkeypatch.setenv("NNCOMPILE_JIT", "0")
    fast = nncompile.compile(nn.ReLU(), "f32[B, 3]")
    with pytest.raises(nncompile.InputError, match="NNCOMPILE_JIT=0"):
        fast.asm()


def test_explain_tells_tables_from_weights():
    model = nn.Sequential(nn.Embedding(5000, 64), nn.Linear(64, 8)).eval()
    text = nncompile.compile(model, "i64[B]").explain()
    assert "1250 KiB are tables, of which a call reads a few rows, the rest stays in each" in text


def test_explain_profile_source_and_stages(fast, x):
    profile = fast.profile(x)
    assert len(profile.seconds) == 2 and all(s >= 0 for s in profile.seconds)
    assert "linear" in str(profile) and "B = 5" in str(profile)
    text = fast.explain()
    assert "fuse_linear" in text and "linear(in0 [B, 8]" in text
    assert re.search(r"batch 1024: \d threads?, each a block of up to \d+ rows through all", text)
    assert "def row_blocks" in fast.source and "def phases" in fast.source
    assert fast.stages[0] == "traced" and fast.stages[-1] == "fused"
    with pytest.raises(nncompile.InputError, match="traced"):
        fast.ir("no such stage")
    assert "f32[B, 8]" in repr(fast)

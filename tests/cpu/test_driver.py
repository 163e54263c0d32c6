"""The generated source: golden files for a fixed target, and what must never get into it."""
import ast

import pytest

import ir
from nncompile.cpu import layout
from nncompile.cpu.driver import generate
from nncompile.cpu.objects.compile import execute
from nncompile.cpu.objects.primitives import PRIMITIVES
from nncompile.cpu.vector.target import of_level
from nncompile.schedule import schedule

GRAPHS = {
    "mlp": """graph mlp(%x: f32[B, 784]) -> f32[B, 10] {
  @0.weight: f32[512, 784]
  @0.bias: f32[512]
  @2.weight: f32[10, 512]
  @2.bias: f32[10]
  %0: f32[B, 512] = linear(%x, @0.weight, @0.bias) then relu
  %1: f32[B, 10] = linear(%0, @2.weight, @2.bias)
  %2: f32[B, 10] = softmax(%1) {axis = 1, scale = 1.0}
  return %2
}""",
    "residual": """graph residual(%x: f32[B, 64]) -> f32[B, 64] {
  @norm.weight: f32[64]
  @norm.bias: f32[64]
  @up.weight: f32[250, 64]
  @down.weight: f32[64, 250]
  @down.bias: f32[64]
  %0: f32[B, 64] = layer_norm(%x, @norm.weight, @norm.bias) {axes = [1], eps = 1e-05}
  %1: f32[B, 250] = linear(%0, @up.weight) then gelu
  %2: f32[B, 64] = linear(%1, @down.weight, @down.bias) then mul(0.5), add(%x)
  return %2
}""",
    "attention": """graph attention(%ids: i64[B, T]) -> f32[B, T, 32] {
  @table: f32[10, 32]
  @position: f32[16, 32]
  %0: f32[B, T, 32] = embedding(%ids, @table)
  %1: f32[T, 32] = slice(@position) {axis = 0, start = 0, stop = T}
  %2: f32[B, T, 32] = add(%0, %1)
  %3: f32[B, 32, T] = transpose(%2) {axes = [0, 2, 1]}
  %4: f32[B, T, T] = matmul(%2, %3)
  %5: f32[B, T, T] = softmax(%4) {axis = 2, scale = 0.25}
  %6: f32[B, T, 32] = matmul(%5, %2)
  return %6
}""",
    "over_the_batch": """graph over_the_batch(%x: f32[B, 6]) -> f32[B, B] {
  %0: f32[6] = mean(%x) {axes = [0], keepdims = false}
  %1: f32[B, 6] = sub(%x, %0)
  %2: f32[6, B] = transpose(%1) {axes = [1, 0]}
  %3: f32[B, B] = matmul(%1, %2) then tanh
  return %3
}""",
}


def source(text: str) -> str:
    return generate(schedule(ir.parse(text)), of_level("avx2", "x86-64-v3")).driver.text


@pytest.mark.parametrize("name", GRAPHS)
def test_golden(name, golden):
    text = source(GRAPHS[name])
    ast.parse(text)
    assert max(map(len, text.splitlines())) <= 110
    golden(f"{name}.py.txt", text)


EVIL = ['x"""\nimport os', "x\nraise SystemExit", "lambda", "at", "weights", "W0", "h0", "rows",
        "🦊", "x'", "#", "min", "__import__('os')", "y", "block", "B"]


@pytest.mark.parametrize("name", EVIL)
def test_names_of_a_model_never_reach_the_code(name):
    """Names of inputs, parameters and the graph come from outside: they may be in comments,
    escaped, and an input's name only where it is a plain name of no other meaning."""
    import json
    quoted = json.dumps(name)
    text = source(f"""graph {quoted}(%{quoted}: f32[B, 4]) -> f32[B, 4] {{
  @{quoted}: f32[4, 4]
  %0: f32[B, 4] = linear(%{quoted}, @{quoted})
  return %0
}}""")
    tree = ast.parse(text)
    assert [type(node).__name__ for node in tree.body[1:]] == ["Assign"] + ["FunctionDef"] * 3
    stored = [node.id for node in ast.walk(tree)
              if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    assert set(stored) <= {"W0", "B", "block", "row", "rows", "y", "out0", "in0"}


def called_and_bound(text: str) -> tuple[set[str], set[str]]:
    """The names that a source calls, and its variables and parameters."""
    nodes = list(ast.walk(ast.parse(text)))
    called = {n.func.id for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    stored = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return called, stored | {n.arg for n in nodes if isinstance(n, ast.arg)}


@pytest.mark.parametrize("name", GRAPHS)
def test_an_input_that_has_the_name_of_a_function_does_not_hide_it(name):
    own = "ids" if name == "attention" else "x"
    called, _ = called_and_bound(source(GRAPHS[name]))
    assert len(called) > 5
    for function in called:
        renamed = GRAPHS[name].replace(f"%{own}", f"%{function}")
        called_now, bound = called_and_bound(source(renamed))
        assert called_now == called and not called & bound


@pytest.mark.parametrize("size", ["W0", "S0", "Batch", "B2"])
def test_names_of_sizes(size):
    text = source(f"""graph g(%x: f32[{size}, 4]) -> f32[{size}, 4] {{
  @w: f32[4, 4]
  %0: f32[{size}, 4] = linear(%x, @w)
  return %0
}}""")
    assert ("Batch = size(sizes, 0)" in text) == (size == "Batch")


def test_places_count_elements_of_their_type():
    text = source("""graph g(%x: i64[B, 6], %m: bool[B, 6]) -> f64[B, 3] {
  @w: f64[6, 3]
  %0: i64[B, 3] = slice(%x) {axis = 1, start = 3, stop = 6, step = 1}
  %1: bool[B, 3] = slice(%m) {axis = 1, start = 5, stop = 2, step = -1}
  %2: f64[3, 3] = slice(@w) {axis = 0, start = 1, stop = 4, step = 1}
  %3: f64[B, 3] = cast(%0) {dtype = f64}
  %4: f64[B, 3] = where(%1, %3, 0.5)
  %5: f64[B, 3] = matmul(%4, %2)
  return %5
}""")
    for place in ("at_i64(x, 3)", "at_bool(m, 5)", "matmul_0_f64(h0, 3, at(weights, W1), 3,",
                  "at_i64(pointer(args, 0), row * 6)", "at_f64(pointer(args, 2), row * 3)",
                  "put(facts, 1, aligned(block * 6))"):
        assert place in text, text


def test_sizes_that_would_overflow_have_no_room():
    text = source("""graph g(%x: f32[B, T]) -> f32[B, B] {
  %0: f32[T, B] = transpose(%x) {axes = [1, 0]}
  %1: f32[B, B] = matmul(%x, %0)
  return %1
}""")
    facts: dict[int, int] = {}
    names = {"size": lambda sizes, k: sizes[k], "put": lambda f, k, v: facts.update({k: v}),
             "aligned": lambda n: n, "min": min, "max": max}
    exec(text.split("def phases")[0], names)
    names["plan"]([1000, 1000], facts)
    assert facts[4] >= 0
    names["plan"]([2**31, 2**10], facts)
    assert facts[4] < 0


BLOCKS = {                                    # a graph, its sizes, the rows of a block
    "a perceptron": (GRAPHS["mlp"], {"B": 1000}, 96),
    "products of 20 rows to a row of the batch": ("""graph g(%x: f32[B, T, 8]) -> f32[B, T, 8] {
  @w: f32[8, 8]
  %0: f32[B, T, 8] = linear(%x, @w)
  %1: f32[B, T, 8] = linear(%0, @w)
  return %1
}""", {"B": 9, "T": 20}, 4),
    "scores of attention": (GRAPHS["attention"], {"B": 9, "T": 16}, 96),
    "large scores": (GRAPHS["attention"].replace("[16, 32]", "[1024, 32]"),
                     {"B": 9, "T": 256}, (1 << 18) // (256 * 256 + 64 * 256)),
    "scores of one row that are too large": (
        GRAPHS["attention"].replace("[16, 32]", "[1024, 32]"), {"B": 9, "T": 1024}, 1),
    "a chain on long rows": ("""graph g(%x: f32[B, 9000]) -> f32[B, 9000] {
  %0: f32[B, 9000] = softmax(%x) {axis = 1, scale = 1.0}
  %1: f32[B, 9000] = exp(%0)
  %2: f32[B, 9000] = softmax(%1) {axis = 1, scale = 1.0}
  %3: f32[B, 9000] = mul(%2, %1)
  return %3
}""", {"B": 9}, (1 << 18) // 9000),
    "long rows, and weights that are larger": ("""graph g(%x: f32[B, 4000]) -> f32[B, 10] {
  @up: f32[4000, 4000]
  @down: f32[10, 4000]
  %0: f32[B, 4000] = linear(%x, @up) then relu
  %1: f32[B, 10] = linear(%0, @down)
  return %1
}""", {"B": 9}, 96),
    "a table looked up, one number left of it": ("""graph g(%i: i64[B, 500]) -> f32[B, 64] {
  @table: f32[10, 64]
  %0: f32[B, 500, 64] = embedding(%i, @table)
  %1: f32[B, 64] = mean(%0) {axes = [1], keepdims = false}
  return %1
}""", {"B": 9}, (1 << 18) // (500 * 64)),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_keep_their_scratch_small(name):
    graph, sizes, rows = BLOCKS[name]
    scope = execute(source(graph), PRIMITIVES)
    facts = [0] * 20
    scope["plan"](list(sizes.values()), facts)
    assert facts[layout.MOST_ROWS] == rows
    assert facts[layout.BLOCK_SCRATCH] <= 1 << 18 or rows in (1, 96)

"""The generated source, as a device gets it: golden texts, rules of its look, the op table."""
import ast
import re

import pytest

import ir
import nncompile
from nncompile import nn
from nncompile.cuda import kernels
from nncompile.cuda.backend import CudaBackend
from nncompile.cuda.build import Source, build, step_codes
from nncompile.cuda.target import DEVICE, SIMULATOR
from nncompile.passes import DEFAULT_PIPELINE
from nncompile.schedule import Program, schedule
from tests.end_to_end.models import CASES


def generated(model, *types, target=DEVICE) -> Source:
    return build(scheduled(model, *types), target)


def scheduled(model, *types) -> Program:
    graph = model if isinstance(model, ir.Graph) else nncompile.trace(model, *types)
    fused = ir.run(DEFAULT_PIPELINE, graph, lambda *_: None)
    return schedule(fused, CudaBackend.traits)


def case(name: str, target=DEVICE) -> Source:
    return generated(CASES[name].model().eval(), *CASES[name].types, target=target)


def test_golden_mlp(golden):
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10), nn.Softmax(dim=-1))
    golden("mlp.py.txt", generated(model.eval(), "f32[B, 64]").text)


def test_golden_driver_of_attention(golden):
    golden("encoder.py.txt", case("encoder").driver)


def test_golden_rows_and_views(golden):
    source = case("odd views")
    wanted = [k.text for k in source.kernels.values() if not k.name.startswith("product")]
    golden("odd.py.txt", "\n\n".join([source.driver, *wanted]))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("target", [DEVICE, SIMULATOR], ids=["device", "simulator"])
def test_looks(name, target):
    source = case(name, target)
    tree = ast.parse(source.text)
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert defined == ["run", *source.kernels] and len(set(defined)) == len(defined)
    too_long = [line for line in source.text.split("\n")
                if len(line) > 100 and not line.lstrip().startswith("#")]
    assert not too_long
    steps = len(re.findall(r"^    # (?:\w+, for )?%", source.driver, re.M))
    assert steps == int(re.search(r"in (\d+) steps", source.text)[1])
    for kernel in source.kernels.values():
        assert len(kernel.types) == len(kernel.arguments)
        assert f"{kernel.name}[blocks(" in source.driver


@pytest.mark.parametrize("name", CASES)
def test_the_code_of_each_step_is_a_part_of_the_source(name):
    program = scheduled(CASES[name].model().eval(), *CASES[name].types)
    source, codes = build(program, DEVICE), step_codes(program, DEVICE)
    assert len(codes) == len(program.steps)
    driver = [line.strip() for line in source.driver.splitlines()]
    for code in codes:
        lines = [line.strip() for line in code.lines.splitlines()]
        assert any(driver[i:i + len(lines)] == lines for i in range(len(driver)))
        assert code.kernels and source.kernels.keys() >= {*code.kernels}
        assert all(f"{kernel}[" in code.lines for kernel in code.kernels)


def test_models_of_one_structure_have_one_source():
    first, second = (generated(nn.Sequential(nn.Linear(5, 7), nn.ReLU()).eval(), "f32[B, 5]")
                     for _ in range(2))
    assert first.text == second.text and first.kernels == second.kernels


def test_no_name_of_the_model_gets_into_the_code():
    class Evil(nn.Module):
        def __init__(self):
            super().__init__()
            self.product_few_0 = nn.Linear(3, 3)

        def forward(self, weights, scratch):
            return self.product_few_0(weights) + scratch

    source = generated(Evil().eval(), "f32[B, 3]", "f32[B, 3]")
    assert "def run(in0, in1, y, sizes, weights, scratch," in source.text
    code = re.sub(r"#.*", "", source.driver)
    assert "product_few_0." not in code


def test_an_input_that_has_the_name_of_a_kernel_does_not_hide_it():
    text = """graph g(%x: f32[B, 4]) -> f32[B, 4] {
  @w: f32[4, 4]
  %0: f32[B, 4] = linear(%x, @w) then relu
  %1: f32[B, 4] = softmax(%0) {axis = 1, scale = 1.0}
  return %1
}"""
    kernels_before = generated(ir.parse(text)).kernels
    for name in kernels_before:
        source = generated(ir.parse(text.replace("%x", f"%{name}")))
        assert list(source.kernels) == list(kernels_before)
        run = ast.parse(source.driver).body[0]
        assert not {a.arg for a in run.args.args} & {*source.kernels}


def test_a_chain_names_its_ops_in_order():
    chain = (("add", "v"), ("relu", ""), ("maximum", "v"), ("mul", "s"))
    text = kernels.few(chain, 0, "f32", DEVICE).text
    assert "y = mul(maximum(relu(add(x @ w, r0)), r1), r2), of few rows" in text
    lines = [line.strip() for line in text.split("\n")]
    start = lines.index("value = total")
    assert lines[start + 1:start + 8] == [
        "value = value + r0[r0_at + m * r0_m + n * r0_n]", "# relu",
        "value = float32(0) if value < float32(0) else value", "# maximum",
        "maximum_y = r1[r1_at + m * r1_m + n * r1_n]",
        "value = value if value > maximum_y or value != value else maximum_y",
        "value = value * r2"]


def test_indices_are_computed_in_64_bits():
    """Block number times block size passes 2**31 before memory ends: all kernels widen it first."""
    for source in (case("encoder"), case("odd views"), case("over the batch")):
        for kernel in source.kernels.values():
            assert kernel.text.count("cuda.blockIdx.x") == 1
            assert "= int64(cuda.blockIdx.x)" in kernel.text

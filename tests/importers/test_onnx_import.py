"""from_onnx: sizes, weights and their names, branches, functions, and what is refused."""
from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")

from onnx import TensorProto, helper

import ir
import nncompile
from nncompile.errors import InputError, ModelImportError
from nncompile.importers.onnx.operators import OPERATORS
from tests.importers.onnx_models import model, node

X = np.random.default_rng(0).standard_normal((3, 8)).astype("float32")
W = np.random.default_rng(1).standard_normal((8, 16)).astype("float32")


def lines(graph: ir.Graph) -> list[str]:
    return [line.split("#")[0].strip() for line in str(graph).splitlines() if " = " in line]


# -- sizes -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, readable", [
    ("batch_size", "BatchSize"), ("unk__214", "Unk214"), ("N", "N"), ("True", "SizeTrue"),
    ("2d", "Size2d"), ("größe\n", "GrE"), ("a b", "AB"), ("?", "Size"),
])
def test_sizes_have_readable_names(name: str, readable: str) -> None:
    graph = nncompile.from_onnx(model([node("Relu", "x", "y")], {"x": [name, 4]}, "y"))
    assert str(graph.inputs[0].type) == f"f32[{readable}, 4]"


def test_sizes_without_a_name_are_the_batch_size_or_have_the_input_s() -> None:
    graph = nncompile.from_onnx(model([node("Add", "x z", "y")], {
        "x": [None, 4, None], "z": [-1, 4, 1]}, "y"))
    assert [str(v.type) for v in graph.inputs] == ["f32[B, 4, X2]", "f32[B, 4, 1]"]


def test_different_names_stay_different() -> None:
    graph = nncompile.from_onnx(model([node("Relu", "x", "y")], {"x": ["a_b", "aB", "A b"]}, "y"))
    assert len(set(map(str, graph.inputs[0].type.shape))) == 3


def test_sizes_are_computed_where_the_file_computes_them() -> None:
    graph = nncompile.from_onnx(model([
        node("Shape", "x", "s"), node("Gather", "s zero", "b"), node("Gather", "s one", "t"),
        node("Mul", "t four", "t4"), node("Div", "t4 two", "half"), node("Equal", "half m1", "q"),
        node("Where", "q one half", "w"), node("Unsqueeze", "b axes", "b1"),
        node("Unsqueeze", "w axes", "w1"), node("Concat", "b1 w1 m1s", "to", axis=0),
        node("Cast", "to", "to64", to=TensorProto.INT64), node("Reshape", "x to64", "y"),
    ], {"x": ["B", "T", 6]}, "y", zero=np.array(0), one=np.array(1), two=np.array(2),
        four=np.array(4), m1=np.array(-1), m1s=np.array([-1]), axes=np.array([0])))
    assert lines(graph) == ["%0: f32[B, 2*T, 3] = reshape(%x) {shape = [B, 2*T, 3]}"]


def test_a_quotient_that_is_not_whole_is_rounded_down_in_each_call() -> None:
    graph = nncompile.from_onnx(model([
        node("Shape", "x", "s"), node("Gather", "s one", "t"), node("Div", "t two", "h"),
        node("Unsqueeze", "h axes", "half"), node("Slice", "x axes half one1", "front"),
        node("Slice", "x half end one1", "back"), node("Mod", "t two", "odd"),
        node("Identity", "odd", "z")], {"x": ["B", "T"]}, "front back z", one=np.array(1),
        two=np.array(2), axes=np.array([0]), one1=np.array([1]), end=np.array([2**62])))
    assert str(graph.outputs[0].type) == "f32[B, FloorDiv(T, 2)]"
    fast = nncompile.compile(graph)
    for width in (7, 8):
        front, back, odd = fast(X[:, :width])
        np.testing.assert_array_equal(front, X[:, :width // 2])
        np.testing.assert_array_equal(back, X[:, width // 2:width])
        assert odd == width % 2


def test_a_shape_that_fits_some_sizes_only_is_required_of_calls() -> None:
    given = model([
        node("Shape", "x", "s"), node("Gather", "s one", "t"), node("Div", "t two", "h"),
        node("Unsqueeze", "h axes", "half"), node("Concat", "zero half rest", "to", axis=0),
        node("Reshape", "x to", "y")], {"x": ["B", "T", 4]}, "y", one=np.array(1),
        two=np.array(2), axes=np.array([0]), zero=np.array([0]), rest=np.array([2, 4]))
    fast = nncompile.compile(given)
    x = np.random.default_rng(0).standard_normal((3, 6, 4)).astype("float32")
    np.testing.assert_array_equal(fast(x), x.reshape(3, 3, 2, 4))
    with pytest.raises(InputError, match="T"):
        fast(x[:, :5])
    frozen = model([node("Reshape", "x to", "y")], {"x": ["B", "T", 4]}, "y",
                   to=np.array([0, 7, 4]))
    with pytest.raises(ModelImportError, match="for T = 7 alone"):
        nncompile.from_onnx(frozen)
    assert str(nncompile.from_onnx(frozen, shapes={"T": 7}).outputs[0].type) == "f32[B, 7, 4]"


def test_ranges_and_fills_of_a_size_are_made_in_each_call() -> None:
    graph = nncompile.from_onnx(model([
        node("Shape", "x", "s", start=1, end=2), node("Squeeze", "s axes", "t"),
        node("Range", "zero t one", "r"), node("ConstantOfShape", "s", "c"),
        node("Cast", "r", "f", to=TensorProto.FLOAT), node("Add", "f c", "y")],
        {"x": ["B", "T"]}, "y", zero=np.array(0), one=np.array(1), axes=np.array([0])))
    [result] = ir.interpret(graph, [np.zeros((2, 5), "float32")])
    np.testing.assert_array_equal(result, np.arange(5, dtype="float32"))


@pytest.mark.parametrize("start, stop, length", [(1, 3, 2), (5, 9, 4), (-3, -1, 2), (-4, 2**62, 4),
                                                (3, 3, 0), (4, 2, 0)])
def test_bounds_are_not_decided_for_an_example(start, stop, length) -> None:
    graph = nncompile.from_onnx(model([node("Slice", "x s e a", "y")], {"x": ["B", "T"]}, "y",
                                      s=np.array([start]), e=np.array([stop]), a=np.array([1])))
    assert str(graph.outputs[0].type) == f"f32[B, {length}]"
    assert not graph.requirements
    x = np.random.default_rng(0).standard_normal((2, 12)).astype("float32")
    np.testing.assert_array_equal(ir.interpret(graph, [x])[0], x[:, start:stop])
    with pytest.raises(ModelImportError, match="not known before run time"):
        nncompile.from_onnx(model([node("Squeeze", "x", "y")], {"x": ["B", "T"]}, "y"))


def test_a_size_may_be_data() -> None:
    graph = nncompile.from_onnx(model([
        node("Shape", "x", "s"), node("Gather", "s one", "t"),
        node("Cast", "t", "f", to=TensorProto.FLOAT), node("Sqrt", "f", "r"),
        node("Div", "x r", "y"), node("Identity", "s", "z")], {"x": ["B", "T"]}, "y z",
        one=np.array(1)))
    result, sizes = nncompile.compile(graph)(X)
    np.testing.assert_allclose(result, X / np.sqrt(np.float32(8)), rtol=1e-6)
    assert sizes.tolist() == [3, 8]


def test_shapes_fixes_and_renames_sizes() -> None:
    given = model([node("Add", "x z", "y")], {"x": ["unk__1", 4], "z": ["unk__2", 4]}, "y")
    with pytest.raises(ModelImportError, match="Unk1 is not Unk2"):
        nncompile.from_onnx(given)
    graph = nncompile.from_onnx(given, shapes={"unk__1": "N", "unk__2": "N"})
    assert [str(v.type) for v in graph.inputs] == ["f32[N, 4]", "f32[N, 4]"]
    graph = nncompile.from_onnx(given, shapes={"x": (7, 4), "unk__2": 7})
    assert [str(v.type) for v in graph.inputs] == ["f32[7, 4]", "f32[7, 4]"]


@pytest.mark.parametrize("arguments, message", [
    ({"shapes": {"q": 3}}, "no 'q'"), ({"shapes": {"n": -1}}, "a size is a number"),
    ({"shapes": {"n": True}}, "a size is a number"), ({"constants": {"q": 3}}, "no 'q'"),
    ({"constants": {"x": np.zeros((2, 5), "float32")}}, "not an array of shape"),
    ({"constants": {"x": "text"}}, "is not"),
])
def test_arguments_that_do_not_fit(arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        nncompile.from_onnx(model([node("Relu", "x", "y")], {"x": ["n", 4]}, "y"), **arguments)


def test_constants_decide_shapes() -> None:
    given = model([node("Reshape", "x s", "y")], {"x": ["N", 4], "s": ("int64", [2])}, "y")
    with pytest.raises(ModelImportError, match=r"constants=\{'s': ") as caught:
        nncompile.from_onnx(given)
    assert caught.value.inputs == ("s",)
    graph = nncompile.from_onnx(given, constants={"s": [-1, 2]})
    assert lines(graph) == ["%0: f32[2*N, 2] = reshape(%x) {shape = [2*N, 2]}"]


# -- weights ---------------------------------------------------------------------------------------

def test_weights_have_the_file_s_names() -> None:
    fast = nncompile.compile(model([
        node("MatMul", "x fc.weight", "h", name="/fc/MatMul"), node("Mul", "h two", "y")],
        {"x": ["B", 8]}, "y", fc__weight=W, two=np.float32(2)))
    graph = fast.ir("traced")
    assert [v.name for v in graph.params if v.kind == "parameter"] == ["fc.weight"]
    assert graph.nodes[0].where.layer == "/fc/MatMul MatMul"
    np.testing.assert_allclose(fast(x=X), X @ W * 2, rtol=1e-5, atol=1e-6)
    fast.load_weights({"fc.weight": -W})
    np.testing.assert_allclose(fast(X), X @ -W * 2, rtol=1e-5, atol=1e-6)


def test_a_weight_whose_numbers_decide_something_is_no_weight() -> None:
    graph = nncompile.from_onnx(model([
        node("OneHot", "x depth ends", "p"), node("Add", "p depth", "y")],
        {"x": ("int64", ["B", 8])}, "y", depth=np.full(1, 3, "float32"),
        ends=np.array([0, 1], "float32")))
    assert [v.name for v in graph.params if v.kind == "parameter"] == ["ends"]


def test_a_compiled_model_can_be_pickled() -> None:
    import pickle
    fast = nncompile.compile(model([node("MatMul", "x w", "y")], {"x": ["B", 8]}, "y", w=W))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fast))(X), fast(X))


# -- graphs inside ---------------------------------------------------------------------------------

def branches() -> dict[str, object]:
    def branch(op: str) -> object:
        return helper.make_graph([node(op, "x", "r")], op, [], [
            helper.make_tensor_value_info("r", TensorProto.FLOAT, None)])
    return {"then_branch": branch("Relu"), "else_branch": branch("Neg")}


def test_a_branch_is_decided_while_it_is_imported() -> None:
    given = model([node("Equal", "sr rate", "c"), node("If", "c", "y", **branches())],
                  {"x": ["B", 4], "sr": ("int64", [])}, "y", rate=np.array(16000))
    with pytest.raises(ModelImportError, match=r"constants=\{'sr'"):
        nncompile.from_onnx(given)
    for rate, op in ((16000, "relu"), (8000, "neg")):
        graph = nncompile.from_onnx(given, constants={"sr": rate})
        assert [n.op for n in graph.nodes] == [op]
        assert [v.name for v in graph.inputs] == ["x"]


def loop(count: object) -> object:
    info = helper.make_tensor_value_info
    body = helper.make_graph([node("Identity", "c", "going"), node("Add", "v x", "w"),
                              node("Identity", "w", "each")], "body", [
        info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []),
        info("v", TensorProto.FLOAT, None)], [
        info("going", TensorProto.BOOL, []), info("w", TensorProto.FLOAT, None),
        info("each", TensorProto.FLOAT, None)])
    return model([node("Shape", "x", "s"), node("Gather", "s zero", "n"),
                  node("Loop", f"{count} - x", "y all", body=body)],
                 {"x": ["B", 4]}, "y all", zero=np.array(0), three=np.array(3))


def test_a_loop_of_known_length_is_written_out() -> None:
    graph = nncompile.from_onnx(loop("three"))
    result, each = ir.interpret(graph, [X[:, :4]])
    np.testing.assert_allclose(result, 4 * X[:, :4], rtol=1e-6)
    assert each.shape == (3, 3, 4)
    with pytest.raises(ModelImportError, match="has to be a number, not the size B"):
        nncompile.from_onnx(loop("n"))


def test_functions_of_the_file_are_called() -> None:
    scaled = helper.make_function("own", "Scaled", ["a"], ["b"], [
        node("LeakyRelu", "a", "t"), node("Add", "t t", "b")],
        [helper.make_opsetid("", 17)], ["alpha"])
    reference = scaled.node[0].attribute.add()
    reference.name, reference.ref_attr_name, reference.type = "alpha", "alpha", 1
    given = model([helper.make_node("Scaled", ["x"], ["y"], domain="own", alpha=0.5)],
                  {"x": ["B", 4]}, "y", domains=("own",), functions=[scaled])
    assert lines(nncompile.from_onnx(given)) == [
        "%0: f32[B, 4] = leaky_relu(%x, 0.5)", "%1: f32[B, 4] = add(%0, %0)"]


# -- what is refused -------------------------------------------------------------------------------

def test_all_obstacles_are_in_one_error() -> None:
    given = model([
        node("Foo", "x", "a", name="first"), node("Foo", "x", "b"), node("Relu", "a", "c"),
        node("Softmax", "x", "d", zip=3), node("Gemm", "x", "e"), node("NonZero", "x", "f"),
        node("Sigmoid", "nothing", "g")], {"x": ["B", 4]}, "c d e f g")
    with pytest.raises(ModelImportError) as caught:
        nncompile.from_onnx(given)
    text = str(caught.value)
    assert "5 obstacles" in text
    assert "Foo (opset 17), 2 times, first first (node 0)" in text
    assert "Softmax (opset 17), d (node 3)\n    the attribute zip is not supported" in text
    assert "NonZero" in text and "constants=" in text
    assert "'nothing'" in text


@pytest.mark.parametrize("given, message", [
    (lambda: node("CumSum", "x axis", "y", direction=1), "attribute direction"),
    (lambda: node("Gelu", "x", "y", approximate="exact"), "approximate='exact'"),
    (lambda: node("Softmax", "x", "y", axis=1.5), "axis is an integer, not a number"),
    (lambda: node("Relu", "x x", "y"), "2 inputs"),
    (lambda: node("Relu", "x", "y z"), "2 outputs"),
    (lambda: node("Split", "x", "y z w", axis=1), "do not divide"),
    (lambda: node("ReduceSum", "x", "y", keepdims=2), "keepdims is 0 or 1"),
    (lambda: node("TopK", "x axis", "y i", axis=7), "no axis 7"),
])
def test_what_is_not_read_is_refused(given, message) -> None:
    nodes = [given()]
    if "z" in nodes[0].output:
        nodes.append(node("Neg", "z", "q"))
    with pytest.raises(ModelImportError, match=message):
        nncompile.from_onnx(model(nodes, {"x": ["B", 4]}, "y", 20, axis=np.array(1)))


def test_an_operator_that_has_changed_since_is_refused(monkeypatch) -> None:

    from ir.records import replace as changed
    row = OPERATORS["", "Softmax"]
    monkeypatch.setitem(OPERATORS, ("", "Softmax"), changed(row, versions=(1, 11)))
    with pytest.raises(ModelImportError, match="opset 13 of it is not supported"):
        nncompile.from_onnx(model([node("Softmax", "x", "y")], {"x": ["B", 4]}, "y"))


def test_each_row_of_the_table_knows_the_newest_version() -> None:
    from onnx import defs
    for (domain, name), row in OPERATORS.items():
        if domain == "com.microsoft":
            continue
        schema = defs.get_schema(name, domain=domain)
        assert schema.since_version in row.versions, name
        assert row.known_attributes <= {a for s in defs.get_all_schemas_with_history()
                                        if (s.domain, s.name) == (domain, name)
                                        for a in s.attributes}, name
        least, most = row.arity
        assert least <= schema.min_input or row.static, name
        assert most >= schema.max_input or schema.max_input > 2**30, name


@pytest.mark.parametrize("dtype", ["float16", "uint16", "int16", "uint64"])
def test_element_types_that_there_are_not(dtype) -> None:
    with pytest.raises(ModelImportError, match=f"{dtype} is not supported"):
        nncompile.from_onnx(model([node("Relu", "x", "y")], {"x": (dtype, ["B"])}, "y"))


def test_a_newer_opset_than_onnx_knows() -> None:
    with pytest.raises(ModelImportError, match="uses opset 99"):
        nncompile.from_onnx(model([node("Relu", "x", "y")], {"x": ["B"]}, "y", opset=99))


def test_a_file_that_is_none(tmp_path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        nncompile.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(ModelImportError, match="no whole ONNX file"):
        nncompile.from_onnx(b"\xffhello")
    with pytest.raises(InputError, match="an ONNX model is a path"):
        nncompile.from_onnx(3)
    with pytest.raises(InputError, match="leave 1 out"):
        nncompile.compile(model([node("Relu", "x", "y")], {"x": ["B"]}, "y"), "f32[B]")


# -- against onnx.reference ------------------------------------------------------------------------

def test_check_compares_with_the_reference(monkeypatch) -> None:
    given = model([node("MatMul", "x w", "h"), node("Softmax", "h", "y"),
                   node("ArgMax", "h", "i", axis=1)], {"x": ["B", 8]}, "y i", w=W)
    nncompile.compile(given, check=True)
    row = OPERATORS["", "Softmax"]

    def wrong(node, x):
        node.int("axis", -1)
        return x
    from ir.records import replace
    monkeypatch.setitem(OPERATORS, ("", "Softmax"), replace(row, function=wrong))
    with pytest.raises(nncompile.CompileError, match=r"output 0 differs from onnx\.reference"):
        nncompile.compile(given, check=True)

"""Files that are damaged or hostile: an error of ours, in little time and memory."""
from __future__ import annotations

import os
import random
import tracemalloc

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")

from onnx import TensorProto, helper

import ir
import nncompile
from nncompile.errors import Error, ModelImportError
from tests.importers.onnx_models import model, node

W = np.random.default_rng(1).standard_normal((8, 16)).astype("float32")


def whole() -> bytes:
    return model([
        node("MatMul", "x w", "h", name="fc"), node("Shape", "h", "s", start=0, end=1),
        node("Concat", "s four", "to", axis=0), node("Reshape", "h to", "r"),
        node("Softmax", "r", "p", axis=-1), node("Pad", "p pads", "z"),
        node("CumSum", "z zero", "c", reverse=1), node("TopK", "c k", "v i", axis=-1),
        node("LayerNormalization", "v g", "y")], {"x": ["batch", 8]}, "y i", w=W,
        four=np.array([4, 4]), pads=np.array([0, 0, 1, 0, 0, 1]), zero=np.array(0),
        k=np.array([3]), g=np.ones(3, "float32")).SerializeToString()


def test_every_prefix_is_refused() -> None:
    data = whole()
    nncompile.from_onnx(data)
    for length in range(len(data)):
        with pytest.raises(Error):
            nncompile.from_onnx(data[:length])


def test_a_changed_byte_is_refused_or_another_model() -> None:
    data, draw = whole(), random.Random(0)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << draw.randrange(8)
        try:
            graph = nncompile.from_onnx(bytes(changed))
        except Error:
            continue
        ir.verify(graph)


HUGE = {
    "a fill": ([node("ConstantOfShape", "s", "c"), node("ReduceSum", "c", "y")],
               {"s": np.array([2**20, 2**20])}),
    "a fill beyond 64 bits": ([node("ConstantOfShape", "s", "y")],
                              {"s": np.array([2**62, 2**62])}),
    "a range": ([node("Range", "z n o", "y")],
                {"z": np.array(0), "n": np.array(2**62), "o": np.array(1)}),
    "a range without an end": ([node("Range", "z n o", "y")], {
        "z": np.float32(0), "n": np.float32(np.inf), "o": np.float32(1)}),
    "a tile": ([node("Tile", "x r", "y")], {"r": np.array([2**40, 2**20])}),
    "doubling": ([node("Concat", f"a{i} a{i}", f"a{i + 1}", axis=0) for i in range(60)]
                 + [node("Reshape", "x a60", "y")], {"a0": np.array([1])}),
    "doubling of sizes": ([node("Shape", "x", "a0")] + [
        node("Concat", f"a{i} a{i}", f"a{i + 1}", axis=0) for i in range(60)]
        + [node("Reshape", "x a60", "y")], {}),
    "powers of a size": ([node("Shape", "x", "a0")] + [
        node("Mul", f"a{i} a{i}", f"a{i + 1}") for i in range(60)]
        + [node("Reshape", "x a60", "y")], {}),
    "axes": ([node("Unsqueeze", "x a", "y")], {"a": np.arange(100)}),
    "pads": ([node("Pad", "x p", "y", mode="wrap")], {"p": np.array([0, 0, 0, 2**60])}),
}


@pytest.mark.parametrize("nodes, weights", HUGE.values(), ids=HUGE)
def test_what_would_take_much_memory_is_refused(nodes, weights) -> None:
    given = model(nodes, {"x": ["N", 4]}, "y", **weights)
    tracemalloc.start()
    try:
        with pytest.raises(ModelImportError):
            nncompile.from_onnx(given)
        assert tracemalloc.get_traced_memory()[1] < 300 * 2**20
    finally:
        tracemalloc.stop()


def test_functions_that_call_each_other_twice_end() -> None:
    def calling(i: int) -> object:
        calls = [helper.make_node(f"f{i + 1}", ["a"], ["t"], domain="d"),
                 helper.make_node(f"f{i + 1}", ["t"], ["b"], domain="d")]
        return helper.make_function("d", f"f{i}", ["a"], ["b"],
                                    calls if i < 30 else [node("Relu", "a", "b")],
                                    [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)])
    given = model([helper.make_node("f0", ["x"], ["y"], domain="d")], {"x": [4]}, "y",
                  domains=("d",), functions=[calling(i) for i in range(31)])
    with pytest.raises(ModelImportError, match="runs more than"):
        nncompile.from_onnx(given)


def test_a_function_that_calls_itself_ends() -> None:
    itself = helper.make_function(
        "d", "f", ["a"], ["b"], [helper.make_node("f", ["a"], ["b"], domain="d")],
        [helper.make_opsetid("d", 1)])
    given = model([helper.make_node("f", ["x"], ["y"], domain="d")], {"x": [4]}, "y",
                  domains=("d",), functions=[itself])
    with pytest.raises(ModelImportError, match="deep"):
        nncompile.from_onnx(given)


def test_a_long_chain_needs_no_deep_recursion() -> None:
    count = 20_000
    chain = [node("Neg" if i % 2 else "Relu", f"x{i}", f"x{i + 1}") for i in range(count)]
    graph = nncompile.from_onnx(model(chain, {"x0": ["N", 4]}, f"x{count}"))
    assert len(graph.nodes) == count


@pytest.mark.parametrize("dims, data", [([2**62, 4], b"1234"), ([-1, 4], b""), ([3], b"1234"),
                                        ([1] * 70, b"1234")])
def test_a_tensor_s_shape_has_to_fit_its_bytes(dims, data) -> None:
    given = model([node("Add", "x w", "y")], {"x": [4]}, "y")
    given.graph.initializer.append(TensorProto(name="w", data_type=1, dims=dims, raw_data=data))
    with pytest.raises(ModelImportError, match="an array in the file, w"):
        nncompile.from_onnx(given)


NAMES = ['evil"\nimport os; os.system("echo PWNED")\n#', "x\u2028y", "class", "../../x", "\0",
         '"""', "\\", "{x}", "%s", "a" * 3000]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_are_texts_wherever_they_end_up(name: str) -> None:
    given = model([node("Identity", "x", "x2")], {"x": [4]}, "y")
    del given.graph.node[:], given.graph.input[:], given.graph.output[:]
    info = helper.make_tensor_value_info
    given.graph.name = name
    given.graph.input.append(info(name, TensorProto.FLOAT, [f"{name}s", 8]))
    given.graph.output.append(info("y", TensorProto.FLOAT, None))
    given.graph.node.extend([
        helper.make_node("MatMul", [name, f"w{name}"], [f"h{name}"], name=name),
        helper.make_node("Softmax", [f"h{name}"], ["y"], name=name)])
    given.graph.initializer.append(TensorProto(
        name=f"w{name}", data_type=1, dims=W.shape, raw_data=W.tobytes()))
    fast = nncompile.compile(given)
    graph = fast.ir("traced")
    assert str(ir.parse(str(graph))) == str(graph)
    assert graph.name.isidentifier()
    code = "\n".join(line.partition("#")[0] for line in fast.source.splitlines())
    assert "os.system" not in code and "echo PWNED" not in code
    x = np.ones((2, 8), "float32")
    np.testing.assert_allclose(fast(x).sum(1), 1, rtol=1e-6)
    fast.load_weights({f"w{name}": W})
    assert fast.explain()


def test_a_hostile_name_in_an_error_is_one_line() -> None:
    with pytest.raises(ModelImportError) as caught:
        nncompile.from_onnx(model([helper.make_node("Bad\nOp\x1b[2J", ["x"], ["y\n\n"])],
                                  {"x": [4]}, "y"))
    assert "\x1b" not in str(caught.value) and "Bad Op" in str(caught.value)


# -- data in other files ---------------------------------------------------------------------------

def external(folder, location: str, **entries: object) -> object:
    given = model([node("Add", "x w", "y")], {"x": [4]}, "y")
    tensor = TensorProto(name="w", data_type=1, dims=[4], data_location=1)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    given.graph.initializer.append(tensor)
    path = folder / "model" / "model.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(given.SerializeToString())
    return path


def test_data_in_another_file_are_read_when_asked_for(tmp_path) -> None:
    data = np.arange(6, dtype="float32")
    path = external(tmp_path, "sub/w.bin", offset=8, length=16)
    (path.parent / "sub").mkdir()
    (path.parent / "sub" / "w.bin").write_bytes(data.tobytes())
    with pytest.raises(ModelImportError, match="external_data=True"):
        nncompile.from_onnx(path)
    [result] = ir.interpret(nncompile.from_onnx(path, external_data=True), [np.ones(4, "float32")])
    np.testing.assert_array_equal(result, data[2:] + 1)
    with pytest.raises(ModelImportError, match="give the path"):
        nncompile.from_onnx(path.read_bytes(), external_data=True)


@pytest.mark.parametrize("location, entries, message", [
    ("../secret", {}, "no plain path"), ("/etc/passwd", {}, "no plain path"),
    ("sub/../../secret", {}, "no plain path"), ("C:/secret", {}, "no plain path"),
    ("..\\secret", {}, "no plain path"), ("", {}, "no plain path"), ("a\0b", {}, "no plain path"),
    ("link", {}, "through a link"), ("folder/secret", {}, "through a link"),
    ("pipe", {}, "is no file"), ("folder", {}, "through a link"), (".", {}, "no plain path"),
    ("there", {}, "No such file"),
    ("w.bin", {"offset": 1}, "which has 16"), ("w.bin", {"length": 8}, "are 8 bytes"),
    ("w.bin", {"offset": -1}, "no whole number"), ("w.bin", {"offset": 2**70}, "no whole number"),
    ("w.bin", {"length": 2**40}, "bytes of"),
])
def test_data_in_other_files_are_confined_to_the_folder(tmp_path, location, entries, message
                                                        ) -> None:
    path = external(tmp_path, location, **entries)
    (tmp_path / "secret").write_bytes(bytes(16))
    (path.parent / "w.bin").write_bytes(bytes(16))
    (path.parent / "link").symlink_to(tmp_path / "secret")
    (path.parent / "folder").symlink_to(tmp_path)
    os.mkfifo(path.parent / "pipe")
    with pytest.raises(ModelImportError, match=message):
        nncompile.from_onnx(path, external_data=True)
    assert os.path.exists(tmp_path / "secret")


def test_equal_places_are_one_weight(tmp_path) -> None:
    given = model([node("Add", "x w", "h"), node("Mul", "h v", "y")], {"x": [4]}, "y")
    for name in "wv":
        tensor = TensorProto(name=name, data_type=1, dims=[4], data_location=1)
        tensor.external_data.add(key="location", value="w.bin")
        given.graph.initializer.append(tensor)
    (tmp_path / "w.bin").write_bytes(np.arange(4, dtype="float32").tobytes())
    (tmp_path / "m.onnx").write_bytes(given.SerializeToString())
    fast = nncompile.compile(tmp_path / "m.onnx", external_data=True)
    assert [v.name for v in fast.ir("traced").params] == ["w"]
    ones = np.ones(4, "float32")
    fast.load_weights({"w": ones, "v": ones})
    np.testing.assert_array_equal(fast(ones), 2 * ones)

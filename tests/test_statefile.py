"""Files of weights: what torch's safetensors writes is read, and the other way round."""
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nncompile
from nncompile import nn
from nncompile.errors import InputError, MissingExtraError
from nncompile.statefile import load_weights

safetensors_numpy = pytest.importorskip("safetensors.numpy")
DTYPES = ["float32", "float64", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32",
          "int64", "uint64", "bool", "complex64"]


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5).filter(
    lambda name: name != "__metadata__"),
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))),
    max_size=4))
def test_there_and_back(tmp_path_factory, state):
    path = tmp_path_factory.mktemp("state") / "x.safetensors"
    nncompile.save_file(state, path, {"made by": "a test"})
    for got in (nncompile.load_file(path), safetensors_numpy.load_file(path)):
        assert got.keys() == state.keys()
        for name, array in state.items():
            assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
            assert got[name].tobytes() == array.tobytes()


def test_any_memory_order_and_the_arrays_of_a_model(tmp_path: Path):
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    odd = {"t": np.arange(6.0).reshape(2, 3).T, "big": np.arange(3, dtype=">i4"),
           "every": np.arange(9)[::2], "scalar": np.float32(3)}
    nncompile.save_file({**model.state_dict(keep_vars=True), **odd}, tmp_path / "x.safetensors")
    got = nncompile.load_file(str(tmp_path / "x.safetensors"))
    for name, array in {**model.state_dict(), **odd}.items():
        assert np.array_equal(got[name], array) and got[name].shape == array.shape


def test_halves(tmp_path: Path):
    torch, save = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch").save_file
    path = tmp_path / "half.safetensors"
    every = torch.arange(2**16, dtype=torch.int32).to(torch.uint16)
    state = {"b": every.view(torch.bfloat16).reshape(2, 8, 4096),
             "h": every.clone().view(torch.float16),
             "f": torch.randn(3), "empty": torch.zeros(0, 3, dtype=torch.bfloat16),
             "scalar": torch.tensor(-2.5).bfloat16()}
    save(state, path)
    with pytest.raises(InputError, match=r"'b' is BF16\n.*'empty' is BF16(.|\n)*widen=True"):
        nncompile.load_file(path)
    got = nncompile.load_file(path, widen=True)
    assert list(got) == sorted(state) or got.keys() == state.keys()
    for name, tensor in state.items():
        assert got[name].dtype == np.float32
        np.testing.assert_array_equal(got[name], tensor.float().numpy())
    save({"h": state["h"]}, path)
    assert nncompile.load_file(path)["h"].dtype == np.float16


def test_all_dtypes_that_numpy_lacks_are_named(tmp_path: Path):
    torch, save = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch").save_file
    save({f"w{i}": torch.zeros(2).to(torch.float8_e4m3fn) for i in range(3)},
         tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"'w0' is F8_E4M3(.|\n)*'w2' is F8_E4M3"):
        nncompile.load_file(tmp_path / "x.safetensors", widen=True)


def test_any_prefix_and_any_flipped_byte_is_a_clear_error_or_a_file(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    nncompile.save_file({"a": np.arange(6, dtype=np.float32).reshape(2, 3)}, path)
    whole = path.read_bytes()
    hostile = [whole[:n] for n in range(len(whole))]
    hostile += [whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1:]
                for i in range(len(whole)) for flip in (1, 0x80, 0xFF)]
    refused = 0
    for content in hostile:
        path.write_bytes(content)
        try:
            assert all(a.nbytes <= len(whole) for a in nncompile.load_file(path).values())
        except InputError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > len(whole)


def entry(start, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


HOSTILE = {
    "a header of 2**63 bytes": ({}, b"", 2**63), "a header of 2**40 bytes": ({}, b"", 2**40),
    "a header of 100 MB": ({}, b"", 100_000_001),
    "overlapping arrays": ({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)),
    "a hole": ({"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, bytes(12)),
    "too little data": ({"a": entry(0, 8, [2])}, bytes(4)),
    "too much data": ({"a": entry(0, 8, [2])}, bytes(12)),
    "a wrong length": ({"a": entry(0, 8, [3])}, bytes(8)),
    "an end before the start": ({"a": entry(8, 0, [2])}, bytes(8)),
    "a shape that overflows": ({"a": entry(0, 8, [2**62, 2**62])}, bytes(8)),
    "a shape that NumPy cannot have": ({"a": entry(0, 0, [2**62, 0])}, b""),
    "a negative size": ({"a": entry(0, 8, [-2])}, bytes(8)),
    "a dtype that is none": ({"a": entry(0, 8, [2], "F99")}, bytes(8)),
    "a name twice": (b'{"a":%s,"a":%s}' % ((json.dumps(entry(0, 4, [1])).encode(),) * 2), bytes(4)),
    "a name twice, elsewhere": (b'{"a":%s,"a":%s}' % (
        json.dumps(entry(0, 4, [1])).encode(), json.dumps(entry(4, 8, [1])).encode()), bytes(8)),
    "lists in lists": (b"[" * 100_000, b""), "no text": (b"\xff\xfe", b""),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_headers(tmp_path: Path, what):
    header, data, *claimed = HOSTILE[what]
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = claimed[0] if claimed else len(header)
    path = tmp_path / "x.safetensors"
    path.write_bytes(size.to_bytes(8, "little") + header + data)
    with pytest.raises(InputError, match=r"x\.safetensors is not a whole safetensors file"):
        nncompile.load_file(path)


def test_a_folder_a_pipe_and_nothing(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    for name in ("pipe", "folder", "nothing"):
        with pytest.raises(InputError, match=f"{name}.safetensors"):
            nncompile.load_file(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("state, match", [
    ({"a": np.array([None])}, "'a' is of object"),
    ({"a": np.array(["x"]), "b": np.zeros(2, np.longdouble)}, "'a' is of <U1; 'b' is of"),
    ({3: np.zeros(2)}, "the name 3"),
    ([1.0], "maps names"),
])
def test_what_cannot_be_saved_leaves_the_old_file(tmp_path: Path, state, match):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match=match):
        nncompile.save_file(state, path)
    assert path.read_bytes() == b"old" and [*tmp_path.iterdir()] == [path]
    with pytest.raises(InputError, match="there is no folder"):
        nncompile.save_file({}, tmp_path / "no" / "x.safetensors")


def test_npz(tmp_path: Path):
    path = str(tmp_path / "x.npz")
    np.savez(path, a=np.zeros(3, np.float16), b=np.arange(2))
    got = load_weights(path)
    assert got["a"].dtype == np.float32 and got["b"].dtype == np.int64
    np.savez(path, a=np.array([None], object))
    with pytest.raises(InputError, match="not a whole"):
        load_weights(path)
    Path(path).write_bytes(Path(path).read_bytes()[:50])
    with pytest.raises(InputError, match="not a whole"):
        load_weights(path)
    with pytest.raises(InputError, match=r"npz file, not w\.pt"):
        load_weights("w.pt")


def test_without_the_package_the_error_names_the_extra(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.delitem(sys.modules, "safetensors.numpy")
    for call in (lambda: nncompile.load_file("w.safetensors"),
                 lambda: nncompile.save_file({}, tmp_path / "w.safetensors")):
        with pytest.raises(MissingExtraError, match=r"pip install 'nncompile\[files\]'"):
            call()


def test_the_package_is_imported_only_when_asked_for():
    code = "import nncompile, nncompile.statefile, sys; assert 'safetensors' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

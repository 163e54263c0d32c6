"""Checkpoints: torch reads what we write and the other way round, and no file runs anything."""
from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nncompile
from nncompile import nn, optim
from nncompile.errors import InputError

torch = pytest.importorskip("torch", reason="the oracle of this file")

DTYPES = ["float32", "float64", "int8", "uint8", "int32", "int64", "bool"]
ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(
    dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))
KEYS = st.one_of(st.text(max_size=5), st.integers(-2**40, 2**40))
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=9),
                   st.text(st.characters(exclude_categories=["Cs"]), max_size=5), ARRAYS)
CHECKPOINTS = st.recursive(LEAVES, lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3),
    st.lists(inner, max_size=4).map(tuple),
    st.dictionaries(KEYS, inner, max_size=3).map(OrderedDict)), max_leaves=8)


def saved(checkpoint: Any, library: Any = nncompile) -> io.BytesIO:
    file = io.BytesIO()
    library.save(checkpoint, file)
    file.seek(0)
    return file


def plain(value: Any) -> Any:
    """A checkpoint with what == tells apart: arrays as bytes, and each with its type."""
    if isinstance(value, nncompile.Tensor | torch.Tensor | np.ndarray):
        array = value if isinstance(value, np.ndarray) else value.detach().numpy()
        return "array", array.dtype, array.shape, array.tobytes()
    if isinstance(value, dict):
        return type(value), [(plain(k), plain(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [plain(v) for v in value]
    return type(value), repr(value)


@settings(max_examples=150, deadline=None)
@given(CHECKPOINTS)
def test_there_and_back_and_in_torch(checkpoint: Any) -> None:
    expected = plain(checkpoint)
    file = saved(checkpoint)
    assert plain(nncompile.load(file)) == expected
    file.seek(0)
    assert plain(torch.load(file, weights_only=True)) == expected


@settings(max_examples=150, deadline=None)
@given(CHECKPOINTS)
def test_what_torch_saves(checkpoint: Any) -> None:
    def tensors(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return torch.from_numpy(value)
        if isinstance(value, dict):
            return type(value)((k, tensors(v)) for k, v in value.items())
        return type(value)(map(tensors, value)) if isinstance(value, list | tuple) else value

    assert plain(nncompile.load(saved(tensors(checkpoint), torch))) == plain(checkpoint)


def test_sizes_types_devices_sets_and_parameters() -> None:
    def of(lib: Any) -> dict[str, Any]:
        return {"size": lib.Size([2, 3]), "dtype": lib.float32, "device": lib.device("cpu"),
                "set": {1, "a"}, "parameter": lib.nn.Parameter(lib.ones(2), requires_grad=False),
                "leaf": lib.ones(1, requires_grad=True)}

    for writer in nncompile, torch:
        ours = nncompile.load(saved(of(writer), writer))
        theirs = torch.load(saved(of(writer), writer), weights_only=True)
        for found, lib in (ours, nncompile), (theirs, torch):
            assert found["size"] == lib.Size([2, 3]) and isinstance(found["size"], lib.Size)
            assert found["dtype"] is lib.float32 and found["device"] == lib.device("cpu")
            assert found["set"] == {1, "a"} and found["leaf"].requires_grad
            assert isinstance(found["parameter"], lib.nn.Parameter)
            assert not found["parameter"].requires_grad


def test_views_and_what_is_there_twice() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    found = nncompile.load(saved(
        {"base": base, "t": base.t(), "part": base[1:, ::2], "wide": base[:, :1].expand(3, 5),
         "empty": base[3:]}, torch))
    for name, view in (("base", base), ("t", base.t()), ("part", base[1:, ::2]),
                       ("wide", base[:, :1].expand(3, 5)), ("empty", base[3:])):
        np.testing.assert_array_equal(found[name].numpy(), view.numpy())
    found["wide"][0, 0] = 9
    assert found["wide"].sum() == 69
    weight = nncompile.ones(3)
    inner: list[Any] = [weight]
    checkpoint = {"a": weight, "b": inner, "c": inner, "t": nncompile.ones(2, 3).T}
    for lib in nncompile, torch:
        found = lib.load(saved(checkpoint))
        assert found["b"] is found["c"] and found["t"].shape == (3, 2)
    found["a"][0] = 7
    assert found["b"][0][0] == 7                 # the same memory in torch
    around: list[Any] = []
    around.append(around)
    assert (again := nncompile.load(saved(around)))[0] is again


def test_halves_are_widened() -> None:
    numbers = torch.tensor([1.5, -0.1, float("inf"), float("nan"), 1e-7])
    found = nncompile.load(saved([numbers.half(), numbers.bfloat16()], torch))
    for ours, theirs in zip(found, (numbers.half(), numbers.bfloat16()), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.float().numpy())
    with pytest.raises(InputError, match=r"torch\.ShortStorage"):
        nncompile.load(saved(numbers.short(), torch))


@pytest.mark.parametrize("reader", [nncompile, torch], ids=lambda lib: lib.__name__)
@pytest.mark.parametrize("writer", [nncompile, torch], ids=lambda lib: lib.__name__)
def test_a_training_goes_on_in_either_library(writer: Any, reader: Any, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((8, 4)).astype("f4")

    def begun(lib: Any) -> tuple[Any, Any, Any]:
        model = lib.nn.Sequential(lib.nn.Linear(4, 3), lib.nn.Tanh(), lib.nn.LayerNorm(3))
        optimizer = lib.optim.AdamW(model.parameters(), lr=0.05, amsgrad=True)
        schedule = lib.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
        return model, optimizer, schedule

    def trained(lib: Any, model: Any, optimizer: Any, schedule: Any) -> None:
        for _ in range(3):
            optimizer.zero_grad()
            model(lib.from_numpy(x)).exp().mean().backward()
            optimizer.step()
            schedule.step()

    first = begun(writer)
    trained(writer, *first)
    writer.save({"epoch": 3, "parts": [part.state_dict() for part in first]},
                tmp_path / "checkpoint.pt")
    trained(writer, *first)
    second = begun(reader)
    found = reader.load(tmp_path / "checkpoint.pt", map_location="cpu", weights_only=True)
    assert found["epoch"] == 3
    for part, state in zip(second, found["parts"], strict=True):
        part.load_state_dict(state)
    trained(reader, *second)
    for a, b in zip(first[0].parameters(), second[0].parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 1e-5, 1e-6)


def test_what_is_no_checkpoint_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    model = nn.Linear(2, 2)
    for wrong, match in ((model, "the checkpoint is a Linear"),
                         ({"a": [1, model]}, r"the checkpoint\['a'\]\[1\] is a Linear"),
                         ({"o": optim.SGD(model.parameters())}, r"\['o'\] is a SGD"),
                         (np.array(["text"]), "array of <U4"), (1 << 5000, "integer of 5001 bits")):
        with pytest.raises(InputError, match=match):
            nncompile.save(wrong, path)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(InputError, match="nested"):
        nncompile.save(deep, path)
    assert not path.exists()
    with pytest.raises(InputError, match="no folder"):
        nncompile.save(1, tmp_path / "missing" / "x.pt")


# -- files of strangers ----------------------------------------------------------------------------

def archive(pickled: bytes, compression: int = zipfile.ZIP_STORED, **files: bytes) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        made.writestr("a/data.pkl", pickled)
        for name, content in files.items():
            made.writestr(f"a/data/{name.strip('_')}", content)
    file.seek(0)
    return file


class Evil:
    """Pickles as a call of whatever can be imported."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.made = function, arguments

    def __reduce__(self) -> Any:
        return self.made


def tensor(offset: int, shape: str, strides: str, count: int = 4, kind: str = "Float") -> bytes:
    return ("\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage"
            f"ctorch\n{kind}Storage\n"
            "X\x01\0\0\0" "0X\x03\0\0\0cpu").encode("latin1") + b"".join([
        integer(count), b"tQ", integer(offset), tuples(shape), tuples(strides), b"\x89}tR."])


def integer(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def tuples(text: str) -> bytes:
    return b"(" + b"".join(integer(int(n)) for n in text.split()) + b"t"


HOSTILE = {
    "a command": pickle.dumps(Evil(os.system, "true"), 2),
    "eval": pickle.dumps(Evil(eval, "1"), 2), "protocol 4": pickle.dumps(Evil(eval, "1"), 4),
    "getattr": pickle.dumps(Evil(getattr, "a", "upper"), 2),
    "nncompile": b"\x80\x02cnncompile\nload_file\n(X\x01\0\0\0atR.",
    "instance": b"(S'true'\nios\nsystem\n.", "object": b"(cos\nsystem\nS'true'\no.",
    "class": b"\x80\x02cio\nBytesIO\n)\x81.",
    "extension": b"\x80\x02\x82\x01.", "attributes": (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x0c\0\0\0__defaults__)sb."),
    "a call of a number": b"\x80\x02K\x01)R.", "no end": b"\x80\x02N", "nothing": b"",
    "an empty stack": b"\x80\x02.", "items of a number": b"\x80\x02K\x01(K\x01K\x02u.",
    "an unhashable key": b"\x80\x02}]K\x01s.", "no such memory": b"\x80\x02h\x07.",
    "a storage that is none": b"\x80\x02(X\x07\0\0\0storage)X\x01\0\0\0" b"0X\x03\0\0\0cpuK\x04tQ.",
    "beyond the end": tensor(0, "5", "1"), "an offset beyond": tensor(3, "2", "1"),
    "negative": tensor(-1, "2", "1"), "negative strides": tensor(3, "2", "-1"),
    "negative sizes": tensor(0, "-2", "1"), "too few strides": tensor(0, "2 2", "1"),
    "huge": tensor(0, f"{2**40}", "0"), "huge in two": tensor(0, f"{2**31} {2**31}", "0 0"),
    "other count": tensor(0, "2", "1", count=3), "other type": tensor(0, "2", "1", kind="Double"),
    "many axes": tensor(0, "1 " * 70, "1 " * 70),
    "bytes by their count": b"\x80\x02c__builtin__\nbytes\n" + integer(2**33) + b"\x85R.",
    **{f"a key whose hash takes forever, {where}": (
        b"\x80\x02" + begin + b")" + b"q\0h\0\x86" * 60 + end) for where, begin, end in (
            ("in a dict", b"}", b"K\x01s."), ("in a dict of many", b"}(", b"K\x01u."),
            ("in a set", b"\x8f(", b"\x90."), ("of a set", b"c__builtin__\nset\n]", b"a\x85R."),
            ("of an OrderedDict", b"ccollections\nOrderedDict\n]", b"K\x01\x86a\x85R."))},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_files_of_strangers_run_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("it was run")

    monkeypatch.setattr(os, "system", refused)
    with pytest.raises(InputError, match=r"cannot be loaded|not a whole checkpoint"):
        nncompile.load(archive(HOSTILE[name], _0_=bytes(16)), weights_only=False)


def test_archives_that_are_none(tmp_path: Path) -> None:
    good = tensor(0, "4", "1")
    assert nncompile.load(archive(good, _0_=bytes(16))).tolist() == [0] * 4
    with pytest.raises(InputError, match="data/0 is missing"):
        nncompile.load(archive(good))
    with pytest.raises(InputError, match="compressed"):
        nncompile.load(archive(good, zipfile.ZIP_DEFLATED, _0_=bytes(16)))
    with pytest.raises(InputError, match="no zip archive"):
        nncompile.load(io.BytesIO(pickle.dumps({"a": 1})))
    with pytest.raises(InputError, match="no zip archive"):
        nncompile.load(io.BytesIO(b""))
    with pytest.raises(InputError, match="there is no file"):
        nncompile.load(tmp_path / "missing.pt")
    with pytest.raises(InputError, match=r"torch\.nn\.modules\.linear\.Linear"):
        nncompile.load(saved(torch.nn.Linear(1, 1), torch))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_file_whose_bytes_were_changed_is_refused_or_another(data: st.DataObject) -> None:
    content = bytearray(saved({"a": np.arange(4.0), "b": [1, "x", (None, True)]}).getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[:data.draw(st.integers(0, len(content)))] if data.draw(
        st.booleans()) else content
    with suppress(InputError):
        nncompile.load(io.BytesIO(bytes(content)))

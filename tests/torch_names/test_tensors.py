"""torch's classes of tensors, its element types, devices and new arrays, beside torch."""
from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nncompile
from nncompile import nn
from nncompile.array.dtypes import OF_IR, TENSOR_NAMES, TORCH_DTYPES

torch = pytest.importorskip("torch", reason="the oracle of this file")

CONSTRUCTORS = {
    "nothing": (), "a size": (3,), "sizes": (2, 3), "no elements": (0, 4),
    "a list": ([1.5, 2.0],), "a tuple": ((2, 3),), "nested": ([[1, 2], [3, 4]],),
    "float64": (np.array([0.1, 1e300 * 0 + 2.5]),), "int64": (np.arange(3),),
    "bools": ([True, False],),
}
CLASSES = ["Tensor", "FloatTensor", "DoubleTensor", "LongTensor", "IntTensor", "CharTensor",
           "ByteTensor", "BoolTensor"]


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("args", CONSTRUCTORS.values(), ids=CONSTRUCTORS)
def test_the_constructors_of_tensors(kind, args):
    theirs_args = [a.tolist() if isinstance(a, np.ndarray) else a for a in args]
    ours, theirs = getattr(nncompile, kind)(*args), getattr(torch, kind)(*theirs_args)
    assert ours.shape == tuple(theirs.shape) and str(ours.dtype) == str(theirs.dtype)
    if not all(isinstance(a, int) for a in args):          # else torch leaves them as they are
        assert np.array_equal(ours.numpy(), theirs.numpy())


def test_a_constructor_of_tensors_in_a_trace():
    class Model(nn.Module):
        def forward(self, x):
            y = nncompile.Tensor([[1.0, 2.0]]) * x
            return y + nncompile.FloatTensor(x.shape[0], 2) * 0

    graph = nncompile.trace(Model(), "f32[B, 2]")
    assert str(graph.outputs[0].type) == "f32[B, 2]"


@pytest.mark.parametrize("dtype", TENSOR_NAMES)
@pytest.mark.parametrize("kind", CLASSES)
def test_isinstance_knows_the_element_type(dtype, kind):
    ours = nncompile.zeros(2, dtype=OF_IR[dtype])
    theirs = torch.zeros(2, dtype=getattr(torch, OF_IR[dtype].torch_name))
    assert isinstance(ours, getattr(nncompile, kind)) == isinstance(theirs, getattr(torch, kind))
    assert ours.type() == theirs.type()


def test_tensor_is_the_class_of_all_arrays():
    x = nncompile.zeros(2)
    assert type(x) == nncompile.Tensor  # noqa: E721
    assert isinstance(nn.Parameter(np.ones(2)), nncompile.Tensor)
    assert issubclass(nncompile.Array, nncompile.Tensor)
    assert not isinstance(np.ones(2), nncompile.Tensor) and not isinstance(3, nncompile.FloatTensor)

    class Mine(nncompile.Tensor):
        pass

    assert not isinstance(x, Mine) and issubclass(Mine, nncompile.Tensor)
    assert not issubclass(int, nncompile.Tensor)
    with pytest.raises(AttributeError, match=r"torch\.Tensor\.geqrf is not in nncompile"):
        nncompile.Tensor.geqrf(x)


@pytest.mark.parametrize("way", [
    lambda t, x: x.type(t.float64), lambda t, x: x.type("torch.LongTensor"),
    lambda t, x: x.type(t.IntTensor), lambda t, x: x.type(t.zeros(1).type()),
    lambda t, x: x.type_as(t.zeros(2, dtype=t.uint8)), lambda t, x: x.type(dtype=t.bool),
    lambda t, x: x.new_tensor([1, 2]), lambda t, x: x.new_tensor(3, dtype=t.int64),
    lambda t, x: x.new_zeros(2, 3, device=x.device), lambda t, x: x.new_ones((2,), dtype=t.int32),
    lambda t, x: x.new_zeros(size=(2, 1)), lambda t, x: x.new_full((2,), 7, device="cpu"),
    lambda t, x: x.new([1, 2]), lambda t, x: x.to(tensor=t.zeros(1, dtype=t.float64)),
    lambda t, x: x.to(t.device("cpu"), non_blocking=True), lambda t, x: x.to(x.device, t.float64),
    lambda t, x: x.to(memory_format=t.contiguous_format), lambda t, x: x.real,
])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_conversions_and_new_arrays(way, dtype):
    ours = way(nncompile, nncompile.tensor([[0, 1, 1]], dtype=getattr(nncompile, dtype)))
    theirs = way(torch, torch.tensor([[0, 1, 1]], dtype=getattr(torch, dtype)))
    assert str(ours.dtype) == str(theirs.dtype) and np.array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("name", TORCH_DTYPES)
def test_element_types(name):
    ours, theirs = TORCH_DTYPES[name], getattr(torch, name)
    for attribute in ("is_floating_point", "is_complex", "is_signed", "itemsize"):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    assert str(ours) == str(theirs) and isinstance(ours, nncompile.dtype)
    assert pickle.loads(pickle.dumps(ours)) is ours and copy.deepcopy({1: ours})[1] is ours
    assert getattr(nncompile, name) == ours and {ours: 1}[ours] == 1
    assert [other for other in TORCH_DTYPES.values() if other == ours] == [ours]
    if name != "bfloat16":
        of_numpy = np.dtype(name)
        assert ours == of_numpy and of_numpy == ours and hash(ours) == hash(of_numpy)
        assert np.zeros(2, ours).dtype == of_numpy and ours.kind == of_numpy.kind


@pytest.mark.parametrize("name", [n for n in TORCH_DTYPES if n != "bool" and "complex" not in n])
def test_the_limits_of_element_types(name):
    which = "finfo" if TORCH_DTYPES[name].is_floating_point else "iinfo"
    ours = getattr(nncompile, which)(TORCH_DTYPES[name])
    theirs = getattr(torch, which)(getattr(torch, name))
    names = ["bits", "max", "min", "dtype"]
    names += ["eps", "tiny", "smallest_normal", "resolution"] if which == "finfo" else []
    for limit in names:
        expected = getattr(theirs, limit)
        assert getattr(ours, limit) == (expected if (limit in ("dtype", "max", "min") and
                                        which == "iinfo") or limit == "dtype"
                                        else pytest.approx(expected, rel=1e-6)), limit
        assert type(getattr(ours, limit)) is type(getattr(theirs, limit))
    with pytest.raises(nncompile.Error, match="finfo has"):
        nncompile.iinfo(nncompile.float32)
    with pytest.raises(nncompile.Error, match="iinfo has"):
        nncompile.finfo(nncompile.int8)


@given(st.lists(st.integers(0, 4), max_size=4))
def test_what_an_array_says_of_itself(shape):
    ours, theirs = nncompile.zeros(shape), torch.zeros(shape)
    if 0 not in shape:
        assert ours.stride() == theirs.stride()
        assert all(ours.stride(axis) == theirs.stride(axis) for axis in range(len(shape)))
    for name in ("is_cuda", "is_cpu", "is_sparse", "is_quantized", "is_meta", "is_leaf", "nbytes",
                 "itemsize", "grad_fn", "is_mps", "is_nested", "requires_grad"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("is_complex", "is_signed", "is_pinned", "is_inference", "storage_offset",
                 "get_device", "element_size", "is_floating_point"):
        assert getattr(ours, name)() == getattr(theirs, name)(), name
    assert str(ours.layout) == str(theirs.layout) == "torch.strided"


@pytest.mark.parametrize("args", [("cpu",), ("cuda", 0), ("cuda:1",), ("cuda",)])
def test_devices(args):
    ours, theirs = nncompile.device(*args), torch.device(*args)
    assert (ours.type, ours.index, str(ours)) == (theirs.type, theirs.index, str(theirs))
    assert isinstance(nncompile.zeros(1).device, nncompile.device)


@pytest.mark.parametrize("call, message", {
    "cuda": (lambda x: x.cuda(), "arrays are on the CPU"),
    "to cuda": (lambda x: x.to("cuda"), "arrays are on the CPU"),
    "on cuda": (lambda x: nncompile.zeros(2, device="cuda:0"), r"is_available\(\), which is False"),
    "half": (lambda x: x.to(nncompile.float16), r"arrays of torch\.float16 are not supported"),
    "bfloat16": (lambda x: x.type(nncompile.bfloat16), "half precision is computed in float32"),
    "HalfTensor": (lambda x: nncompile.HalfTensor([1]), r"torch\.float16 are not supported"),
    "a list": (lambda x: nncompile.Array([1.0]), r"torch\.tensor\(data\)"),
    "no dtype": (lambda x: x.to("floaty"), "'floaty' is no element type, such as torch.float32"),
}.values())
def test_what_is_refused(call, message):
    with pytest.raises(nncompile.Error, match=message):
        call(nncompile.zeros(2))


def test_an_attribute_that_is_not_here_points_to_its_row():
    x = nncompile.zeros(2)
    with pytest.raises(AttributeError, match=r"torch\.Tensor\.geqrf is not.*torch_parity\.md"):
        x.geqrf()
    with pytest.raises(AttributeError, match="neither has"):
        x.squeze()
    assert not hasattr(x, "geqrf") and not hasattr(x, "__cuda_array_interface__")
    with pytest.raises(AttributeError, match=r"torch\.nn\.Module\.share_memory is not in"):
        nn.Linear(2, 2).share_memory()

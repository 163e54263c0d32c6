"""The functions that exported programs call, each beside torch's.

Most samples are those of torch's own tests of its operators: what they call is recorded, called
here with the same arguments, and compared. What torch takes apart before is called directly.
"""
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from nncompile.array import Array
from nncompile.importers.torch.importer import _LAYOUT, _dtype
from nncompile.importers.torch.targets import TARGETS

torch = pytest.importorskip("torch")
SAMPLES = 2                                      # of each operator and dtype
# Which of equal elements comes first is open in torch, too.
TIES = {"topk.default": 1, "sort.default": 1, "argsort.default": 0}


TORCHS_OWN = (RuntimeError, ValueError, IndexError, NotImplementedError)     # refusals


def ours(value):
    """Returns an argument as the importer gives it."""
    if isinstance(value, torch.Tensor):
        return Array(value.detach().contiguous().numpy().copy())
    if isinstance(value, torch.dtype):
        return _dtype(value)
    return [ours(each) for each in value] if isinstance(value, list | tuple) else value


def called(name, args, kwargs):
    """Returns what our function makes of torch's arguments, as a list."""
    known = {key: ours(value) for key, value in kwargs.items() if key not in _LAYOUT}
    result = TARGETS[name](*ours(args), **known)
    return list(result) if isinstance(result, tuple | list) else [result]


def compare(name, got, wanted):
    wanted = list(wanted) if isinstance(wanted, tuple | list) else [wanted]
    for index, (g, w) in enumerate(zip(got, wanted, strict=False)):
        if not isinstance(w, torch.Tensor):
            assert g == w, name
            continue
        g, w = g.numpy(), w.detach().numpy()
        assert (g.dtype, g.shape) == (w.dtype, w.shape), name
        if index != TIES.get(name):
            np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5, err_msg=name)


def test_what_torchs_own_samples_call():
    pytest.importorskip("expecttest")
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.utils._python_dispatch import TorchDispatchMode
    seen, refused = Counter(), Counter()

    class Compare(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            name = str(func).removeprefix("aten.")
            if name in TARGETS and seen[name] < 12 and refused[name] < 6 and "empty" not in name:
                try:
                    got = called(name, args, kwargs or {})
                except Exception:                # a dtype or a form that is not supported
                    refused[name] += 1
                    return result
                compare(name, got, result)
                seen[name] += 1
            return result

    torch.manual_seed(0)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for op in (op for op in op_db if "jiterator" not in op.name):
            for dtype in {torch.float32, torch.int64} & op.dtypes:
                for sample in [*zip(range(SAMPLES), op.sample_inputs("cpu", dtype),
                                    strict=False)]:
                    _, sample = sample
                    with suppress(*TORCHS_OWN), Compare():
                        op.op(sample.input, *sample.args, **sample.kwargs)
    assert len(seen) > 130
    assert set(refused) - set(seen) <= {"bitwise_and.Tensor", "bitwise_or.Tensor",
                                        "bitwise_xor.Tensor", "index_put.default"}


def f(*shape, seed=0):
    random = np.random.default_rng([seed, *shape])
    return torch.from_numpy(random.standard_normal(shape).astype("f"))


X, B = f(4, 6), f(4, 6) > 0
IDS = torch.tensor([0, 3, 1, 1, 2])
DIRECT = {
    "_embedding_bag.default": (f(5, 3), IDS, torch.tensor([0, 2])),
    "embedding_bag.padding_idx": (f(5, 3), IDS, torch.tensor([0, 2]), False, 1, False, None, False,
                                  None),
    "_native_batch_norm_legit_no_training.default": (X, f(6), f(6), f(6), f(6) ** 2, 0.1, 1e-5),
    "batch_norm.default": (X, f(6), f(6), f(6), f(6) ** 2, False, 0.1, 1e-5, False),
    "instance_norm.default": (f(2, 4, 6), f(4), f(4), None, None, True, 0.1, 1e-5, False),
    "group_norm.default": (X, 2, f(6), f(6), 1e-5, False),
    "layer_norm.default": (X, [6], f(6), f(6), 1e-5, False),
    "rms_norm.default": (X, [6], f(6), None),
    "argsort.default": (X, 1, True), "bilinear.default": (X, X, f(3, 6, 6), f(3)),
    "bitwise_and.Scalar": (B, True), "bitwise_or.Scalar": (B, False),
    "bitwise_xor.Scalar": (B, True), "chunk.default": (X, 4, 1),
    "clamp_max.default": (X, 0.5), "contiguous.default": (X,), "copy.default": (X, f(6)),
    "cosine_similarity.default": (X, f(4, 6, seed=1), 1, 1e-8), "div.Scalar_mode": (X, 0.3),
    "dropout.default": (X, 0.5, False), "einsum.default": ("ij,kj->ik", [X, f(4, 6, seed=1)]),
    "flatten.using_ints": (f(2, 3, 4), 1), "fmod.Scalar": (X, 0.3), "gt.Scalar": (X, 0.1),
    "isfinite.default": (X / 0,), "linear.default": (X, f(3, 6), f(3)),
    "log_sigmoid.default": (X,), "log_softmax.int": (X, 1), "matmul.default": (X, f(6, 2)),
    "movedim.int": (f(2, 3, 4), 0, 2), "narrow.default": (X, 1, 2, 3),
    "native_dropout.default": (X, 0.5, False), "pad.default": (X, [1, 2], "constant", 3.0),
    "pairwise_distance.default": (X, f(4, 6, seed=1)), "pow.Scalar": (2.0, X),
    "prelu.default": (X, f(6)), "relu6.default": (X * 9,),
    "repeat_interleave.self_int": (X, 2, 1), "reshape.default": (X, [2, 12]),
    "scaled_dot_product_attention.default": (f(2, 3, 4), f(2, 5, 4), f(2, 5, 4), None, 0.0, True),
    "scatter.value": (X, 1, torch.tensor([[0], [1], [2], [3]]), 7.0), "selu.default": (X,),
    "softmax.int": (X, 1), "square.default": (X,), "std.dim": (X, [1], True),
    "sym_numel.default": (X,), "sym_size.int": (X, 1), "unflatten.int": (X, 1, [2, 3]),
    "var.dim": (X, [0], False, True), "where.Scalar": (B, 1.0, 2.0),
    "where.ScalarOther": (B, X, 2.0), "where.ScalarSelf": (B, 2.0, X),
    "index_put.default": (X, [B], torch.tensor(0.5)), "lift_fresh_copy.default": (X,),
}
MODES = {"div.Scalar_mode": {"rounding_mode": "floor"}}


@pytest.mark.parametrize("name", DIRECT)
def test_what_is_kept_whole(name):
    op, _, overload = name.partition(".")
    args, kwargs = DIRECT[name], MODES.get(name, {})
    with torch.no_grad():
        wanted = getattr(getattr(torch.ops.aten, op), overload)(*args, **kwargs)
    compare(name, called(name, args, kwargs), wanted)


def test_there_is_a_case_for_every_target():
    """Those that neither torch's samples nor the cases above meet are others of the table."""
    schemas = {f"{name}.{overload}" for name in {t.partition('.')[0] for t in TARGETS}
               for overload in getattr(torch.ops.aten, name).overloads()}
    assert set(TARGETS) <= schemas


def test_the_page_names_every_target():
    page = (Path(__file__).parents[2] / "docs/import.md").read_text()
    names = {target.partition(".")[0] for target in TARGETS if not target.startswith("sym_")}
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []

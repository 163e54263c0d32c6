"""What is called without the package that it needs says which extra has it."""
import re
import sys
from importlib import import_module

import numpy as np
import pytest

import nncompile
from nncompile import nn
from nncompile.errors import InputError, MissingExtraError

CALLS = {
    "a path": ("onnx", "onnx", lambda: nncompile.compile("model.onnx")),
    "bytes": ("onnx", "onnx", lambda: nncompile.from_onnx(b"model")),
    "to_onnx": ("onnx", "onnx", lambda: nncompile.to_onnx(nn.Linear(2, 2), "y.onnx", "f32[B, 2]")),
    "onnx_backend": ("onnx", "onnx", lambda: import_module("nncompile.onnx_backend")),
    "load_file": ("safetensors", "files", lambda: nncompile.load_file("model.safetensors")),
    "save_file": ("safetensors", "files", lambda: nncompile.save_file({"w": np.ones(2)}, "x")),
    "from_torch": ("torch", "torch", lambda: nncompile.from_torch(nn.Linear(2, 2), "f32[B, 2]")),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_error_names_the_extra(name, monkeypatch) -> None:
    package, extra, call = CALLS[name]
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "nncompile.onnx_backend", raising=False)
    with pytest.raises(MissingExtraError, match=re.escape(f"pip install 'nncompile[{extra}]'")):
        call()


def test_what_is_no_model_of_the_format_is_refused() -> None:
    pytest.importorskip("torch")
    with pytest.raises(InputError, match=r"takes a torch.nn.Module or .*, not .* Linear"):
        nncompile.from_torch(nn.Linear(2, 2), "f32[B, 2]")

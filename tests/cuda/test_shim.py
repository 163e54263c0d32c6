"""What a user is told where there is no package, no driver, no GPU, no compiler library."""
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nncompile.cuda import shim
from nncompile.errors import CompileError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def packages(monkeypatch):
    """packages(**modules): as if just these could be imported; a module may be an error."""
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)

    def install(**modules):
        def found(name):
            if name.endswith(".kernelapi"):
                return None
            module = modules[{"numba_cuda_mlir.cuda": "numba_cuda_mlir",
                              "numba.cuda": "numba_cuda" if "numba_cuda" in modules else "numba"
                              }[name]] if name.endswith(".cuda") else None
            if module is None or isinstance(module, Exception):
                raise module or ImportError(name)
            return module

        monkeypatch.setattr(shim, "find_spec", lambda name: modules.get(name) and object())
        monkeypatch.setattr(shim, "import_module", found)
        monkeypatch.setattr(shim.metadata, "version", lambda name: "1.2")
        shim.find.cache_clear()
    yield install
    shim.find.cache_clear()


def module(devices=(), available=True, simulator=False):
    def list_devices():
        if isinstance(devices, Exception):
            raise devices
        return devices
    jit = SimpleNamespace(__module__="numba.cuda.simulator.api" if simulator else "decorators")
    return SimpleNamespace(jit=jit, list_devices=list_devices, is_available=lambda: available)


def test_the_order_of_packages(packages):
    mlir, new, old = module(["gpu"]), module(["gpu"]), module(["gpu"])
    packages(numba_cuda_mlir=mlir, numba_cuda=new, numba=old)
    assert shim.load() == shim.Cuda(mlir, "numba-cuda-mlir", "1.2", False)
    packages(numba_cuda=new, numba=old)
    assert shim.load().package == "numba-cuda"
    packages(numba=old)
    assert str(shim.load()) == "numba 1.2"
    packages(numba_cuda_mlir=OSError("libMLIR.so is broken"), numba=old)
    assert shim.load().package == "numba"


def test_the_simulator_is_never_taken_from_a_package_without_one(packages, monkeypatch):
    packages(numba_cuda_mlir=module(["gpu"]), numba=module(simulator=True))
    monkeypatch.setattr(shim, "repair", lambda _: None)
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    assert str(shim.load()) == "numba 1.2, simulator"


def test_no_package(packages):
    packages(numba_cuda_mlir=OSError("libMLIR.so is broken"))
    with pytest.raises(CompileError) as error:
        shim.load()
    text = str(error.value)
    assert "numba-cuda-mlir: libMLIR.so is broken" in text
    assert "numba-cuda: not installed" in text and "pip install nncompile[cuda]" in text


@pytest.mark.parametrize("found, said, advice", [
    (module(RuntimeError("CUDA driver library cannot be found")), "driver does not load",
     "install the NVIDIA driver"),
    (module(RuntimeError("[100] Call to cuInit results in CUDA_ERROR_NO_DEVICE")),
     "finds no GPU", "CUDA_VISIBLE_DEVICES"),
    (module([]), "finds no GPU", "CUDA_VISIBLE_DEVICES"),
    (module(["gpu"], available=False), "NVVM", "pip install nncompile[cuda]"),
], ids=["no driver", "no device", "an empty list", "no NVVM"])
def test_no_gpu(packages, found, said, advice):
    packages(numba_cuda=found)
    with pytest.raises(CompileError) as error:
        shim.load()
    text = str(error.value)
    assert "numba-cuda 1.2" in text and said in text and advice in text
    assert "NUMBA_ENABLE_CUDASIM=1" in text
    assert shim.describe().startswith("cuda     not usable: ") and "\n" not in shim.describe()


def test_compile_says_so():
    """In this very environment, unless it has a GPU."""
    code = ("import nncompile\nfrom nncompile import nn\n"
            "nncompile.compile(nn.Linear(2, 2).eval(), 'f32[B, 2]', target='cuda')")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "NUMBA_ENABLE_CUDASIM": "0"}, check=False)
    if done.returncode == 0:
        pytest.skip("there is a GPU")
    assert "CompileError: target='cuda' found numba" in done.stderr
    assert "do: " in done.stderr


def test_bench_says_so(tmp_path):
    """And measures nothing."""
    (tmp_path / "file.py").write_text("from nncompile import nn\nnet = nn.Linear(2, 2)\n")
    done = subprocess.run([sys.executable, "-m", "nncompile", "bench", "--target", "cuda",
                           f"{tmp_path / 'file.py'}:net"], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "NUMBA_ENABLE_CUDASIM": "0"}, check=False)
    if done.returncode == 0:
        pytest.skip("there is a GPU")
    assert done.stderr.startswith("nncompile: error: target='cuda' found numba")
    assert "do: " in done.stderr and not done.stdout

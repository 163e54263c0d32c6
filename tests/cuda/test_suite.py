"""Runs device_*.py in processes of their own: numba reads NUMBA_ENABLE_CUDASIM when it is loaded.

By hand:  NUMBA_ENABLE_CUDASIM=1 python -m pytest tests/cuda/device_*.py      in the simulator
          python -m pytest tests/cuda/device_*.py                             on a GPU
"""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = sorted(path.name for path in Path(__file__).parent.glob("device_*.py"))


def python(*arguments: str, simulate: bool) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1" if simulate else "0"}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, text=True,
                          capture_output=True, timeout=1200, check=False)


def run(name: str, simulate: bool) -> None:
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/cuda/{name}",
                  simulate=simulate)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SUITE)
def test_in_the_simulator(name):
    run(name, simulate=True)


@pytest.fixture(scope="module")
def device() -> None:
    done = python("-c", "from nncompile.cuda import shim; shim.load()", simulate=False)
    if done.returncode:
        reason = done.stderr.rpartition("CompileError: ")[2].partition("\n  or: ")[0]
        pytest.skip(" ".join(reason.split()))


@pytest.mark.gpu
@pytest.mark.parametrize("name", SUITE)
def test_on_a_device(name, device):
    run(name, simulate=False)

"""The page on the start of a process: what runs, with what in the cache, and what is reported."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import compile_time
from benchmarks.compile_time import FIRST_RESULT, Process, Taken
from benchmarks.first_results import MODELS, mlp
from nncompile import nn

LOOK = "import sys\nassert ('numba' in sys.modules) == {}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("with", "without"):
        compile_time.copied_sources(tmp_path / name)
    return tmp_path


def test_what_is_cached_when(folder: Path) -> None:
    """numba is imported with an empty cache, and without the driver, and not with everything."""
    own = compile_time.first_result(FIRST_RESULT, mlp)
    for forget, numba in (("*", True), ("driver-*", True), ("", False)):
        taken, _ = compile_time.run(Process("ours", own + LOOK.format(numba), forget), folder)
        assert 0 < taken.cpu < 60 and 0 < taken.wall < 60
    assert list((folder / "with/nncompile").rglob("*.pyc"))


def test_without_byte_code(folder: Path) -> None:
    code = "import nncompile\nassert nncompile.__file__.startswith({!r})"
    for byte_code in (True, False):
        place = folder / ("with" if byte_code else "without")
        compile_time.run(Process("ours", code.format(str(place)), byte_code=byte_code), folder)
        assert bool(list(place.rglob("*.pyc"))) is byte_code


def test_rounds_and_the_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The round that writes the caches does not count, and of the others the least does."""
    taken = iter([Taken(1, 1), Taken(1, 1), Taken(6, 9), Taken(2, 4), Taken(5, 8), Taken(3, 3)])
    monkeypatch.setattr(compile_time, "run", lambda *_: (next(taken), ""))
    processes = [Process("one", "pass"), Process("other", "pass")]
    least = compile_time.least(processes, folder, 2)
    assert least == [Taken(5, 8), Taken(2, 3)]
    lines = compile_time.table("first", 1, processes, least).splitlines()
    assert lines[0] == "| first | CPU, ms | by the clock, ms | CPU / other |"
    assert lines[2:] == ["| one | 5000 | 8000 | 2.50 |", "| other | 2000 | 3000 | 1.00 |"]


def test_the_stages(folder: Path) -> None:
    """They are those of a process that has everything in the cache, and add up to all of it."""
    least = compile_time.least_stages(mlp, folder, 1)
    assert next(iter(least)) == "start of Python" and list(least)[-1] == "end of Python"
    assert len(least) == 14 and all(0 <= seconds < 10 for seconds in least.values())
    rows = compile_time.stages_table([mlp], [least]).splitlines()
    assert len(rows) == 2 + 14 + 1
    assert rows[-1] == f"| sum | {1e3 * sum(least.values()):.0f} |"


def test_stages_of_an_empty_cache_name_each_kernel_and_function(folder: Path) -> None:
    """Their rows are all there, and none is below 0."""
    least = compile_time.least_stages(mlp, folder, 1, empty=True)
    assert {"plan, by numba", "call, by numba", "their machine code", "linear_relu, LLVM IR",
            "linear_relu, machine code", "softmax, machine code"} <= set(least)
    assert min(least.values()) >= 0


def test_beyond_numpy() -> None:
    taken = [Taken(cpu, 0) for cpu in (1, 3, 4, 6)]
    assert "0.50 of the time" in compile_time.beyond(taken)
    assert "1.50 without byte code" in compile_time.beyond(taken)


@pytest.mark.parametrize("build", MODELS)
def test_the_models(build: compile_time.Build) -> None:
    """The same in torch: names and shapes of what they hold, and the result."""
    torch = pytest.importorskip("torch")
    nn.manual_seed(0)
    ours, theirs = build(nn).eval(), build(torch.nn).eval()
    theirs.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in ours.state_dict().items()})
    x = eval(MODELS[build][2], {"np": np})
    if x.dtype == np.float32:                 # a norm of equal numbers is nothing but rounding
        x = np.random.default_rng(0).standard_normal(x.shape, np.float32)
    with torch.inference_mode():
        want = theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours(x), want, atol=2e-5)


def test_the_onnx_file(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    file = compile_time.onnx_file(mlp, folder / "mlp.onnx")
    code = compile_time.first_result(compile_time.FIRST_RESULT_ONNX_RUNTIME, mlp, file)
    compile_time.run(Process("ONNX Runtime", code), folder)
    assert file.stat().st_size > 2_600_000


def test_the_packages_that_are_imported(folder: Path) -> None:
    table = compile_time.packages_table(folder, 1).splitlines()
    rows = {name: list(map(float, figures)) for name, *figures in
            (row.strip("| ").split(" | ") for row in table[2:])}
    assert {"ir", "ir.ops", "nncompile", "nncompile.array", "nncompile.nn", "sum"} <= rows.keys()
    assert all(0 < figure < 10_000 for figures in rows.values() for figure in figures)
    assert rows["sum"][0] < rows["sum"][1]                 # without byte code it takes longer

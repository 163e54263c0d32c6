"""The examples run; what the documents show is what comes out, and what they name is there."""
from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/architecture.md")]


def output_of(script: Path, folder: Path) -> str:
    code = ("import runpy, sys; sys.path.insert(0, sys.argv[1]); "
            "runpy.run_path(sys.argv[2], run_name='__main__')")
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, str(ROOT), str(script)],
                          cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def blocks(text: str, kind: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [inside for language, inside in fenced if language == kind]


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


def test_the_readme_s_tour_prints_what_it_says(tmp_path: Path) -> None:
    readme = DOCUMENTS[0].read_text()
    tour, excerpt = blocks(readme, "python")
    shown = next(block for block in blocks(readme, "") if block.startswith("graph "))
    script = tmp_path / "tour.py"
    script.write_text(tour + 'print("=" * 9, fast.source, sep="\\n")\n')
    printed, source = output_of(script, tmp_path).split("=" * 9 + "\n")
    assert printed == shown
    assert excerpt in source


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_a_document_names_are_there(document: Path) -> None:
    text = document.read_text()
    named = re.findall(r"`((?:ir|nncompile|tests|docs|examples)/[\w./]*)`", text)
    linked = [(document.parent / target).resolve().relative_to(ROOT)
              for target in re.findall(r"\]\(([\w./]+)[)#]", text)]
    assert named or linked
    assert [str(path) for path in (*named, *linked) if not (ROOT / path).exists()] == []


def test_the_picture_of_the_house_is_the_house() -> None:
    picture = blocks(DOCUMENTS[2].read_text(), "")[0]
    room, named = "", set()
    for line in picture.splitlines():
        words = line[2:25].split()
        if line and not line.startswith(" "):
            room = line.split()[0]
        else:
            named |= {room + word for word in words if word.endswith((".py", "/", ".md"))}
    here = {f"{room}/{path.name}{'/' * path.is_dir()}" for room in ("ir", "nncompile")
            for path in (ROOT / room).iterdir()
            if path.suffix in (".py", ".md") or (path.is_dir() and path.name[0] not in "._")}
    unsaid = {f"{room}/{name}" for room in ("ir", "nncompile")
              for name in ("__init__.py", "__main__.py", "errors.py")}
    assert named == here - unsaid

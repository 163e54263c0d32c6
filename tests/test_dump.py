"""NNCOMPILE_DUMP: which files there are, who may read them, and what comes of an error."""
from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import ir
import nncompile
from nncompile import nn
from nncompile.passes import DEFAULT_PIPELINE, FuseLinear
from nncompile.passes.parser import parse_passes


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "new" / "dump"
    monkeypatch.setenv("NNCOMPILE_DUMP", str(path))
    return path


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3), nn.Softmax(-1)).eval()


def test_every_stage_that_differs_is_a_file(folder: Path) -> None:
    fast = nncompile.compile(model(), "f32[B, 4]")
    made, = folder.iterdir()
    files = sorted(made.iterdir())
    assert made.name == "001-Sequential"
    last = len(fast.stages) - 1
    assert [f.name for f in files] == [
        "00-traced.ir", "23-fuse_linear.ir", f"{last}-program.txt", f"{last + 1}-source.py",
        "index.txt", "repro.py"]
    *graphs, program, source, index, _ = (f.read_text() for f in files)
    for text, stage in zip(graphs, ("traced", "fuse_linear"), strict=True):
        assert text.startswith(f"# after {stage}\n")
        assert str(ir.parse(text)) == str(fast.ir(stage))
    told = [line.split() for line in index.splitlines()]
    assert [line[1] for line in told[:-2]] == list(fast.stages[:-1])
    assert [line[-1] for line in told if line[-1] != "changed"] == [f.name for f in files[:-2]]
    assert program.rstrip() in fast.explain()
    assert source.rstrip() == fast.source.rstrip()


def test_only_the_user_can_read_them(folder: Path) -> None:
    nncompile.compile(model(), "f32[B, 4]")
    made, = folder.iterdir()
    for path in (folder, made, *made.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_each_compilation_has_a_folder_of_its_own(folder: Path) -> None:
    for _ in range(3):
        nncompile.compile(model(), "f32[B, 4]")
    names = ["001-Sequential", "002-Sequential", "003-Sequential"]
    assert sorted(p.name for p in folder.iterdir()) == names
    (folder / "004-Sequential").symlink_to(folder / "001-Sequential")
    (folder / "002-Sequential").rename(folder / "005-Sequential")     # the number of the next
    before = len(list((folder / "001-Sequential").iterdir()))
    nncompile.compile(model(), "f32[B, 4]")
    assert len(list((folder / "006-Sequential").iterdir())) == before
    assert len(list((folder / "001-Sequential").iterdir())) == before


@pytest.mark.parametrize(("name", "made"), [
    ("../../escape", "001-_.._escape"), ("/etc/passwd", "001-_etc_passwd"),
    (".hidden", "001-hidden"), ("größe 1", "001-gr_e_1"), ("", "001-_"),
    ("x" * 300, "001-" + "x" * 80)])
def test_names_stay_inside(folder: Path, name: str, made: str) -> None:
    graph = nncompile.trace(model(), "f32[B, 4]")
    nncompile.compile(replace(graph, name=name))
    assert [p.name for p in folder.iterdir()] == [made]


def test_a_value_has_one_number_in_all_files_and_what_became_of_it_is_told(folder: Path) -> None:
    nncompile.compile(model(), "f32[B, 4]")
    made, = folder.iterdir()
    traced, fused = ((made / f"{name}.ir").read_text() for name in ("00-traced", "23-fuse_linear"))
    for line in ("%3: f32[B, 3] = softmax(%2)", "%2: f32[B, 3] = linear(%1, "):
        assert line in traced and line in fused
    assert "\n# %0 is in %1 now\n" in fused and "%0:" not in fused


@pytest.mark.parametrize("stage", ["00-traced.ir", "23-fuse_linear.ir"])
def test_a_stage_can_be_run_again(folder: Path, stage: str) -> None:
    passes = tuple(FuseLinear(steps=1) if p.name == "fuse_linear" else p for p in DEFAULT_PIPELINE)
    nncompile.compile(model(), "f32[B, 4]", passes=passes)
    made, = folder.iterdir()
    done = subprocess.run([sys.executable, "-W", "error", str(made / "repro.py"), stage],
                          cwd=Path(__file__).parent.parent, text=True, capture_output=True,
                          env={**os.environ, "NNCOMPILE_DUMP": "", "PYTHONPATH": os.getcwd()})
    assert done.returncode == 0, done.stderr
    about, result = done.stdout.splitlines()
    assert about.startswith(f"{stage}: ")
    assert about.endswith(f" {len(passes) - int(stage[:2])} passes follow")
    assert float(result.split()[-4]) < 1e-6 and result.startswith("output 0: float32[3, 3]")
    assert "fuse_linear{steps=1}" in (made / "repro.py").read_text()


def test_a_pass_of_somebody_else_is_named_where_a_stage_is_run_again(folder: Path) -> None:
    nncompile.compile(model(), "f32[B, 4]", passes=(Other(), ir.CSE()))
    made, = folder.iterdir()
    assert "PASSES = 'other,cse'" in (made / "repro.py").read_text()
    with pytest.raises(nncompile.InputError, match="there is no pass 'other'"):
        parse_passes("other,cse")


@dataclass(frozen=True)
class Other:
    """Somebody's pass: it does nothing."""

    name = "other"

    def __call__(self, graph: ir.Graph) -> ir.Graph:
        return graph


@dataclass(frozen=True)
class Wrong:
    """An illegal graph: the first node is gone, and what it computed still used."""

    name = "wrong"

    def __call__(self, graph: ir.Graph) -> ir.Graph:
        return replace(graph, nodes=graph.nodes[1:])


def test_what_came_before_an_error_is_there(folder: Path) -> None:
    with pytest.raises(ir.Error):
        nncompile.compile(model(), "f32[B, 4]", passes=(ir.CSE(), Wrong(), ir.DCE()))
    made, = folder.iterdir()
    assert sorted(f.name for f in made.iterdir()) == [
        "00-traced.ir", "02-wrong.ir", "index.txt", "repro.py"]
    assert "%?" in (made / "02-wrong.ir").read_text()


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "below"):
        monkeypatch.setenv("NNCOMPILE_DUMP", str(path))
        with pytest.raises(nncompile.CompileError, match=r"NNCOMPILE_DUMP asks for .*\n  do: "):
            nncompile.compile(model(), "f32[B, 4]")


def test_nothing_is_written_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("NNCOMPILE_DUMP", raising=False)
        else:
            monkeypatch.setenv("NNCOMPILE_DUMP", value)
        fast = nncompile.compile(model(), "f32[B, 4]")
        assert fast(np.zeros((1, 4), np.float32)).shape == (1, 3)
    assert list(tmp_path.iterdir()) == []

"""Another module of the name `ir` on the path: an error that says whose it is."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True,
                          timeout=120, check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))})


@pytest.mark.parametrize("file", ["ir.py", "ir/__init__.py"])
@pytest.mark.parametrize("before", ["", "import ir; "])
def test_a_foreign_ir(tmp_path: Path, file: str, before: str) -> None:
    foreign = tmp_path / file
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("print('it ran')")
    done = run(before + "import nncompile.errors", tmp_path, ROOT)
    last = done.stderr.splitlines()[-2:]
    assert done.returncode == 1 and done.stdout == ("it ran\n" if before else "")
    assert last[0] == (f"ImportError: nncompile needs its own package 'ir', {ROOT / 'ir'}; here "
                       f"`import ir` is {foreign}")
    assert last[1].startswith("  do: rename that module")
    assert run(before + "import nncompile", ROOT, tmp_path).returncode == 0


def test_a_folder_of_that_name_and_a_module_made_by_hand(tmp_path: Path) -> None:
    (tmp_path / "ir").mkdir()                     # without a module: Python passes it over
    assert run("import nncompile", tmp_path, ROOT).returncode == 0
    made = "import sys, types; sys.modules['ir'] = types.ModuleType('ir'); import nncompile"
    assert "`import ir` is a module made by hand" in run(made, ROOT).stderr

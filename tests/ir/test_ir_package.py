"""The package as a whole: what it imports, what its README says."""
import re
import subprocess
import sys
from pathlib import Path

import ir

PACKAGE = Path(ir.__file__).parent


def test_it_stands_alone() -> None:
    code = ("import sys, pkgutil, importlib, ir\n"
            "quick = {name.split('.')[0] for name in sys.modules}\n"
            "assert 'networkx' not in quick, 'only analysis needs it'\n"
            "for module in pkgutil.walk_packages(ir.__path__, 'ir.'):\n"
            "    importlib.import_module(module.name)\n"
            "loaded = {name.split('.')[0] for name in sys.modules}\n"
            "print(sorted(loaded & {'nncompile', 'numba', 'llvmlite', 'scipy', 'torch'}))")
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True,
                            text=True, cwd=PACKAGE.parent)
    assert result.stdout.strip() == "[]", result.stderr


def test_public_names() -> None:
    assert ir.__all__ == sorted(ir.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert all(hasattr(ir, name) for name in ir.__all__)


def test_the_readmes_example_runs() -> None:
    readme = (PACKAGE / "README.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    scope: dict[str, object] = {}
    exec(code, scope)
    assert isinstance(scope["graph"], ir.Graph)


def test_the_readme_names_every_op_and_module() -> None:
    readme = (PACKAGE / "README.md").read_text()
    words = set(re.findall(r"\w+", readme))
    assert {name for name in ir.OPS} <= words
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert all(f"`{module}`" in readme for module in modules)

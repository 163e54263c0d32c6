"""Golden files, memory between fences, and a kernel cache of the test run's own."""
from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

# A run can be repeated; HYPOTHESIS_PROFILE=default draws other examples each time.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:                     # and not a fork of it
        shutil.rmtree(folder, ignore_errors=True)


# Before nncompile is imported: tests neither read nor fill the user's cache.
if "NNCOMPILE_CACHE_DIR" not in os.environ:
    os.environ["NNCOMPILE_CACHE_DIR"] = tempfile.mkdtemp(prefix="nncompile-tests-")
    atexit.register(_remove, os.environ["NNCOMPILE_CACHE_DIR"], os.getpid())
pytest_plugins = ["tests.fences"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true",
                     help="write the golden files from what the code gives now")
    parser.addoption("--fenced", action="store_true",
                     help="repeat every call of a model in memory between forbidden pages")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fenced"):
        for item in items:
            item.add_marker(pytest.mark.usefixtures("fences"))


_starts: dict[int, Any] = {}                     # of modules' generators, as collection left them


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Starts the random numbers of the test's module anew, and those of nncompile and torch.

    What a test draws, such as the first weights of a layer, then depends neither on the tests that
    ran before it nor on their order, and is the same in every run.
    """
    for name in ("nncompile", "torch"):
        if (library := sys.modules.get(name)) is not None:
            library.manual_seed(0)
    for value in vars(getattr(item, "module", None) or item).values():
        if isinstance(value, np.random.Generator):
            value.bit_generator.state = _starts.setdefault(id(value), value.bit_generator.state)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden(name, text): the text is what the file of that name beside the test holds."""
    def check(name: str, text: str) -> None:
        path = Path(request.path).parent / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert text == path.read_text(), f"{path.name} differs; --update-golden accepts the change"
    return check

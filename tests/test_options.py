"""The options: what is legal, what a scope overrides, and that nothing else reads the variables."""
from __future__ import annotations

import threading
from pathlib import Path

import pytest

import nncompile
from nncompile import options
from nncompile.cpu.vector.target import LEVELS
from nncompile.errors import Error
from nncompile.options import CACHE_DIR, JIT, OPTIONS, TARGET, THREADS, override

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in OPTIONS.values():
        monkeypatch.delenv(option.variable, raising=False)


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in OPTIONS.values():
        assert option.value() == option.default
        monkeypatch.setenv(option.variable, "")
        assert option.value() == option.default


@pytest.mark.parametrize(("variable", "text", "legal"), [
    ("NNCOMPILE_THREADS", "many", "a whole number from 1 on"),
    ("NNCOMPILE_THREADS", "0", "a whole number from 1 on"),
    ("NNCOMPILE_TARGET", "sse9", "avx512, avx2 or generic"),
    ("NNCOMPILE_JIT", "off", "0 or 1"),
    ("NNCOMPILE_CALL", "Portable", "compiled or portable"),
    ("NNCOMPILE_CUDA_GRAPH", "no", "0 or 1"),
])
def test_a_misspelt_value(monkeypatch: pytest.MonkeyPatch, variable: str, text: str,
                          legal: str) -> None:
    option, = (o for o in OPTIONS.values() if o.variable == variable)
    monkeypatch.setenv(variable, text)
    with pytest.raises(Error, match=f"^{variable}={text}: it must be {legal}$"):
        option.value()


def test_a_scope_overrides_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NNCOMPILE_THREADS", "3")
    with override(jit=False, threads=2, cache_dir=tmp_path):
        assert (JIT.value(), THREADS.value(), CACHE_DIR.value()) == (False, 2, str(tmp_path))
        with override(jit=True, threads=None):
            assert (JIT.value(), THREADS.value(), CACHE_DIR.value()) == (True, None, str(tmp_path))
        assert JIT.value() is False
    assert (JIT.value(), THREADS.value(), CACHE_DIR.value()) == (True, 3, "")


def test_a_scope_is_its_thread_s() -> None:
    seen = []
    with override(jit=False):
        other = threading.Thread(target=lambda: seen.append(JIT.value()))
        other.start()
        other.join()
    assert seen == [True]


def test_what_a_scope_refuses() -> None:
    with pytest.raises(Error, match="no option colour, speed; there are threads, cache_dir, "):
        override(colour="red", speed=1).__enter__()
    with pytest.raises(Error, match="NNCOMPILE_THREADS=-1: it must be"):
        override(threads=-1).__enter__()
    assert THREADS.value() is None


def test_the_levels_are_the_target_s(monkeypatch: pytest.MonkeyPatch) -> None:
    for level in LEVELS:
        monkeypatch.setenv(TARGET.variable, level)
        assert TARGET.value() == level
    assert TARGET.legal == f"{', '.join(LEVELS[:-1])} or {LEVELS[-1]}"


def test_the_table_of_the_documentation() -> None:
    rows = [f"| `{o.variable}` | {o.legal} | {o.meaning} |" for o in OPTIONS.values()]
    text = (ROOT / "docs/reference/options.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("| `")] == rows


def test_no_other_module_reads_them() -> None:
    others = {   # variables of other makers, and the environment that a child process is given
        "nncompile/cpu/objects/cache.py", "nncompile/cuda/shim.py", "nncompile/bench/compilers.py",
        "nncompile/bench/contender.py", "nncompile/bench/training.py", "nncompile/options.py"}
    readers = {str(path.relative_to(ROOT)) for path in (ROOT / "nncompile").rglob("*.py")
               if "environ" in path.read_text().replace("environment", "")}
    assert readers == others


def test_a_misspelt_variable_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    options._warn_of.cache_clear()
    monkeypatch.setenv("NNCOMPILE_TREADS", "2")
    with pytest.warns(UserWarning, match="NNCOMPILE_TREADS is no variable of nncompile: did you "
                                         "mean NNCOMPILE_THREADS"):
        options.check()
    options.check()
    monkeypatch.setenv("NNCOMPILE_QUIET", "1")
    with pytest.warns(UserWarning, match="NNCOMPILE_QUIET is no .*there are NNCOMPILE_THREADS, "):
        options.check()


def test_a_compilation_checks_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that it does not ask for."""
    monkeypatch.setenv("NNCOMPILE_CUDA_GRAPH", "yes")
    with pytest.raises(Error, match="NNCOMPILE_CUDA_GRAPH=yes: it must be 0 or 1"):
        nncompile.compile(nncompile.nn.ReLU().eval(), "f32[B, 3]")

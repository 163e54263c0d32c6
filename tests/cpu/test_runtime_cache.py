"""Compiling, linking, and the cache of object code on disk."""
import contextlib
import ctypes
import inspect
import os
import py_compile
import re
import shutil
import stat
import subprocess
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
from llvmlite import ir as ll

from nncompile import options
from nncompile.cpu.driver import load
from nncompile.cpu.objects import cache, link
from nncompile.cpu.objects.compile import Function, compile_functions, execute, source_hash
from nncompile.cpu.objects.library import kernel_primitive
from nncompile.cpu.objects.link import Linker, LinkError, linker
from nncompile.cpu.objects.primitives import PRIMITIVES, declared, symbol
from nncompile.cpu.runtime import PythonExecutable
from nncompile.cpu.vector.target import host, object_code
from nncompile.errors import CompileError
from tests.cpu.runtime_models import (
    LINEAR,
    RELU,
    SOFTMAX,
    WIDTHS,
    driver_of,
    mlp,
    mlp_source,
    rows_of,
)

ROOT = Path(__file__).parents[2]
MODEL = """
import sys
from tests.cpu.runtime_models import WIDTHS, mlp, rows_of
y = mlp(threads=1).call(rows_of(WIDTHS, 3))
print(y.tobytes().hex(), "numba" in sys.modules)
"""


def run(code: str, **environment: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          timeout=120, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache of the test's own."""
    path = tmp_path / "cache"
    monkeypatch.setenv(options.CACHE_DIR.variable, str(path))
    return path


class Builds:
    """Stands for a compiler: counts its calls."""

    def __init__(self, code=b"\x7fELF and so on"):
        self.code, self.count = code, 0

    def __call__(self):
        self.count += 1
        return self.code


@pytest.fixture(autouse=True)
def anew():
    """Each test is warned once, and not once in all."""
    cache._warn.cache_clear()
    yield
    cache._warn.cache_clear()


def get(builds, kind="kernel", name="linear"):
    assert cache.cached(kind, name, host(), builds) == builds.code


# -- the cache -------------------------------------------------------------------------------------

def test_built_once(folder):
    builds = Builds()
    get(builds)
    get(builds)
    assert builds.count == 1
    entry, = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    assert cache.info() == cache.Info(folder, "", 1, entry.stat().st_size)


def test_a_key_has_all_that_decides(folder, monkeypatch):
    builds = Builds()
    get(builds)
    get(builds, kind="driver")
    get(builds, name="linear_relu")
    monkeypatch.setattr(cache, "environment", lambda: "a later version of the sources")
    get(builds)
    assert builds.count == len(list(folder.iterdir())) == 4
    monkeypatch.undo()
    assert len(cache.environment().split()[0]) == 64 and np.__version__ in cache.environment()


def test_the_digest_of_modules(tmp_path):
    """It tells sources apart, and byte code where a distribution has no sources."""
    digest = lambda: cache.digest_of_modules(str(tmp_path))            # noqa: E731
    assert digest() == ""                                              # nothing to tell apart
    (tmp_path / "kernels").mkdir()
    file, seen = tmp_path / "kernels/sum.py", set()
    for text in ("UNROLL = 4", "UNROLL = 8"):
        file.write_text(text)
        seen.add(digest())
        assert digest() in seen
    py_compile.compile(str(file), doraise=True)                        # into __pycache__
    assert digest() in seen
    for text in ("UNROLL = 4", "UNROLL = 8"):
        file.write_text(text)
        py_compile.compile(str(file), str(file) + "c", doraise=True)
        file.unlink()
        seen.add(digest())
        assert digest() in seen
    file.with_suffix(".pyc").rename(tmp_path / "sum.pyc")
    seen.add(digest())
    assert len(seen) == 5
    inside = str(tmp_path / "nncompile.zip/nncompile/cpu")
    for text in ("UNROLL = 4", "UNROLL = 8"):
        (tmp_path / "nncompile.zip").write_text(text)
        seen.add(cache.digest_of_modules(inside, str(tmp_path / "nncompile.zip")))
    assert len(seen) == 7 and cache.digest_of_modules(inside, "no.zip") == ""


@pytest.mark.parametrize("damage", [
    lambda p: p.write_bytes(b""),
    lambda p: p.write_bytes(p.read_bytes()[:-1]),
    lambda p: p.write_bytes(p.read_bytes()[:20]),
    lambda p: p.write_bytes(p.read_bytes()[:-1] + b"?"),
    lambda p: p.write_bytes(b"?" + p.read_bytes()[1:]),
    lambda p: p.write_bytes(p.read_bytes() + b"more"),
    lambda p: p.unlink(),
    lambda p: p.chmod(0o666),
    lambda p: (p.rename(p.with_suffix(".moved")), p.symlink_to(p.with_suffix(".moved"))),
    lambda p: p.write_bytes(next(p.parent.glob("driver-*")).read_bytes()),       # another key's
], ids=["empty", "truncated", "header only", "last byte", "first byte", "longer", "gone",
        "writable by others", "symbolic link", "foreign"])
def test_damaged_entries_are_built_again(folder, damage):
    builds = Builds()
    get(Builds(b"something else"), kind="driver")
    get(builds)
    damage(next(folder.glob("kernel-*.o")))
    get(builds)
    get(builds)
    assert builds.count == 2
    entry = next(folder.glob("kernel-*.o"))
    assert not entry.is_symlink() and stat.S_IMODE(entry.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["directory", "fifo", "device"])
def test_an_entry_that_is_no_file(folder, kind):
    builds = Builds()
    get(builds)
    entry, = folder.iterdir()
    entry.unlink()
    if kind == "directory":
        entry.mkdir()
    elif kind == "fifo":
        os.mkfifo(entry)
    else:
        entry.symlink_to("/dev/zero")
    replaced = kind != "directory"                         # which stays, and is said
    with contextlib.nullcontext() if replaced else pytest.warns(UserWarning, match="directory"):
        get(builds)
    get(builds)
    assert builds.count == (2 if replaced else 3) and entry.is_file() == replaced


def warned_unless_off(reason):
    if reason == "=off":
        return contextlib.nullcontext()
    return pytest.warns(UserWarning, match=f"(?s){re.escape(reason)}.*do: let NNCOMPILE_CACHE_DIR")


def test_folders_not_to_be_trusted(folder, tmp_path, monkeypatch):
    def refused(reason):
        builds = Builds()
        cache._warn.cache_clear()
        with warned_unless_off(reason):
            get(builds)
        get(builds)
        info = cache.info()
        assert builds.count == 2 and info.folder is None and reason in info.reason
        assert cache.clear() == 0

    folder.mkdir(mode=0o700)
    folder.chmod(0o777)
    refused("can be written by other users")
    assert list(folder.iterdir()) == []
    folder.chmod(0o700)
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    monkeypatch.setenv(options.CACHE_DIR.variable, str(linked))
    refused("symbolic link")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(options.CACHE_DIR.variable, str(tmp_path / "file"))
    refused(str(tmp_path / "file"))
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv(options.CACHE_DIR.variable, str(tmp_path / "pipe"))
    refused("is of another kind")
    monkeypatch.setenv(options.CACHE_DIR.variable, "/proc/no/such")
    refused("/proc/no/such")
    monkeypatch.setenv(options.CACHE_DIR.variable, "~no_such_user/cache")
    refused("NNCOMPILE_CACHE_DIR=~no_such_user/cache: there is no such user")
    monkeypatch.setenv(options.CACHE_DIR.variable, "off")
    refused("=off")
    monkeypatch.setenv(options.CACHE_DIR.variable, str(folder))
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    refused("belongs to another user")


def test_where_it_is(tmp_path, monkeypatch):
    for name in (options.CACHE_DIR.variable, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.wanted_folder() == tmp_path / ".cache" / "nncompile"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")       # the XDG rules: then it is not set
    assert cache.wanted_folder() == tmp_path / ".cache" / "nncompile"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.wanted_folder() == tmp_path / "xdg" / "nncompile"
    monkeypatch.setenv(options.CACHE_DIR.variable, "~/own")
    assert cache.wanted_folder() == tmp_path / "own"


def test_without_a_home(monkeypatch):
    for name in (options.CACHE_DIR.variable, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc/no/such")
    with pytest.warns(UserWarning, match="/proc/no/such/.cache/nncompile: No such file"):
        get(Builds())
    get(Builds())                                          # it is said once
    assert "/proc/no/such" in cache.info().reason

    def nowhere():
        raise RuntimeError("Could not determine home directory.")
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.warns(UserWarning, match="there is no home folder"):
        get(Builds())
    assert cache.info().reason == "there is no home folder"


def test_a_full_or_read_only_disk_does_no_harm(folder, monkeypatch):
    builds = Builds()

    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        get(builds)
    get(builds)
    assert builds.count == 2 and list(folder.iterdir()) == []


def test_its_size_is_bounded(folder, monkeypatch):
    monkeypatch.setattr(cache, "MAX_BYTES", 5000)
    builds = {name: Builds(bytes(1000)) for name in "abcdef"}
    for age, (name, build) in enumerate(builds.items()):
        get(build, name=name)
        get(builds["a"], name="a")                         # used all the time: never the oldest
        for path in folder.iterdir():
            os.utime(path, (path.stat().st_mtime - 10,) * 2)
        assert cache.info().bytes <= 5000, age
    assert builds["a"].count == 1 and cache.info().entries == 4


def test_its_size_is_looked_at_seldom_and_bounded_all_the_same(folder, monkeypatch):
    looks, look = [], cache.entries

    def counted(path):
        looks.append(path)
        return look(path)
    monkeypatch.setattr(cache, "entries", counted)
    monkeypatch.setattr(cache, "MAX_BYTES", 400_000)
    one = 1000 + len(cache._MAGIC) + 2 * 32 + 100              # bytes of an entry
    for number in range(600):
        get(Builds(bytes(1000)), name=str(number))
        total = sum(path.stat().st_size for path in folder.iterdir())
        assert total <= 400_000 * 65 / 64 + one
    assert total > 400_000 - one
    assert len(looks) <= 2 + 600 * one * 64 / 400_000
    cache._unseen.clear()                                      # another process, which writes once
    get(Builds(bytes(1000)), name="more")
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 400_000


def test_clear_and_unfinished_files(folder):
    for name in "abc":
        get(Builds(), name=name)
    old, new, other = folder / "x.tmp", folder / "y.tmp", folder / "notes.txt"
    for path in (old, new, other):
        path.write_text("")
    os.utime(old, (time.time() - 7200,) * 2)
    assert cache.clear() == 3
    assert sorted(folder.iterdir()) == [other, new] and cache.info().entries == 0


# -- processes -------------------------------------------------------------------------------------

def test_a_second_process_does_not_import_numba(folder):
    first, second = run(MODEL).split(), run(MODEL).split()
    assert first[1] == "True" and second[1] == "False" and first[0] == second[0]
    sizes = {p: p.stat().st_size for p in folder.iterdir()}
    # Three kernels, the tiles of one, and the part that all have.
    assert sorted(p.name.split("-")[0] for p in sizes) == ["driver", *["kernel"] * 5, "runtime"]
    for path in sizes:
        if not path.name.startswith("runtime"):            # which takes longest to heal
            path.write_bytes(path.read_bytes()[:-7])
    assert run(MODEL).split() == first
    assert {p: p.stat().st_size for p in folder.iterdir()} == sizes


def a_distribution(place: Path, kind: str, version: int) -> Path:
    """A copy of the packages whose kernels differ by version; returns what goes on the path."""
    for package in ("ir", "nncompile"):
        shutil.copytree(ROOT / package, place / package,
                        ignore=shutil.ignore_patterns("__pycache__", "cuda", "bench"))
    module = place / "nncompile/cpu/kernels/packing.py"
    module.write_text(module.read_text() + f"\nVERSION = {version}\n")
    if kind == "byte code":
        for path in list(place.rglob("*.py")):
            py_compile.compile(str(path), str(path) + "c", doraise=True,
                               invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
            path.unlink()
    if kind == "zip":
        shutil.make_archive(str(place) + "-all", "zip", place)
        return Path(f"{place}-all.zip")
    return place


@pytest.mark.parametrize("kind", ["sources", "byte code", "zip"])
def test_two_versions_never_share_and_one_does(folder, tmp_path, kind):
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import nncompile, numpy as np
from nncompile import nn
from nncompile.cpu.objects import cache
assert nncompile.__file__.startswith(sys.argv[1]), nncompile.__file__
fast = nncompile.compile(nn.Linear(3, 2).eval(), "f32[B, 3]")
assert fast(np.ones((2, 3), np.float32)).shape == (2, 2)
print(len(list(cache.usable_folder()[0].glob("*.o"))))
"""
    counts = []
    for version in (1, 2):
        path = a_distribution(tmp_path / str(version), kind, version)
        for _ in range(2):
            done = subprocess.run([sys.executable, "-W", "error", "-c", code, str(path)],
                                  cwd=tmp_path, capture_output=True, text=True, timeout=120,
                                  check=False, env={n: v for n, v in os.environ.items()
                                                    if n != "PYTHONPATH"})
            assert done.returncode == 0, done.stderr
            counts.append(int(done.stdout))
    once = counts[0]
    assert counts == [once, once, 2 * once, 2 * once] and once >= 3


def test_plain_python_compiles_nothing(folder):
    code = """
import sys, numpy as np
import llvmlite.binding as llvm
def refuse(*_, **__): raise AssertionError("compiled something")
llvm.parse_assembly = llvm.create_lljit_compiler = refuse
from nncompile.cpu.runtime import PythonExecutable
from tests.cpu.runtime_models import WIDTHS, mlp, mlp_float64, rows_of
x = rows_of(WIDTHS, 100)
y = mlp(kind=PythonExecutable).call(x)
print(np.abs(y - mlp_float64(x)).max() < 1e-6, "numba" in sys.modules)
"""
    assert run(code) == "True False\n"
    assert not folder.exists()


# -- compiling -------------------------------------------------------------------------------------

def test_source_that_cannot_be_compiled_says_where():
    source = mlp_source(WIDTHS).replace("rows = min(block, B - row)", "rows = open('x')")
    with pytest.raises(CompileError) as info:
        load(driver_of(source, RELU, LINEAR, SOFTMAX), host())
    text = str(info.value)
    assert "row_blocks cannot be compiled (<nncompile" in text and "rows = open('x')" in text


def compiled(source: str) -> bytes:
    """Object code of a function `plan`, under that symbol."""
    plan = execute(source, PRIMITIVES)["plan"]
    return compile_functions([Function("plan", plan, "pp", "n")], host(), ["plan"])


def test_a_word_or_kernel_used_wrongly_says_where():
    for wrong in ("at(weights)", "at(B, weights)", "nothing(B)", "put(facts, 0, weights)"):
        source = f"def plan(sizes, weights):\n    B = facts = size(sizes, 0)\n    {wrong}\n"
        with pytest.raises(CompileError, match="plan cannot be compiled"):
            compiled(source)


def test_tracebacks_show_generated_lines():
    fast = mlp(kind=PythonExecutable)
    fast._scope["softmax"] = None
    with pytest.raises(TypeError) as info:
        fast.call(rows_of(WIDTHS, 2))
    text = "".join(traceback.format_exception(info.value))
    assert f'File "<nncompile {source_hash(fast.driver.text)}>"' in text
    assert "softmax(y, 6, y, 6, rows, 6)" in text
    assert inspect.getsource(fast._scope["plan"]) in fast.driver.text


def test_words_mean_the_same_compiled_and_plain():
    source = """
def plan(sizes, facts):
    a = size(sizes, 0)
    b = size(sizes, 1)
    put(facts, 0, aligned(a))
    put(facts, 1, min(a, b) - max(a, b))
    put(facts, 2, size(at_i64(sizes, 1), 0) + size(at_f64(at_i8(sizes, 8), 0), 0))
    put(facts, 3, a // 7 + a % 7)
    put(phase(facts, 1), 0, claim(facts, 1) + claim(facts, 1))
"""
    into = Linker(host())
    into.add(compiled(source))
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2)(into.address("plan"))
    plain = execute(source.replace("at_f64", "at_i64"), PRIMITIVES)["plan"]
    for a, b in ((0, 0), (1, 5), (16, 3), (17, 17), (2 ** 40, 1)):
        sizes, got, want = np.array([a, b]), np.arange(48), np.arange(48)
        run(sizes.ctypes.data, got.ctypes.data)
        plain(sizes, want)
        assert got.tolist() == want.tolist()


# -- linking ---------------------------------------------------------------------------------------

def needs(name: str) -> bytes:
    module = ll.Module(name="test")
    fn = ll.Function(module, ll.FunctionType(ll.VoidType(), []), "calls_" + name)
    builder = ll.IRBuilder(fn.append_basic_block())
    builder.call(declared(module, name, "", "n"), [])
    builder.ret_void()
    return object_code(module, host())


def test_a_missing_symbol_is_an_error_and_not_the_end():
    into = Linker(host())
    with pytest.raises(LinkError, match="needs the symbols nnc_there_is_no_such"):
        into.add(needs("nnc_there_is_no_such"))
    into.add(needs("getpid"))
    into.add(needs("calls_getpid"))                        # of an earlier object
    assert into.address("calls_calls_getpid") and "calls_nnc_there_is_no_such" not in into


def test_a_symbol_defined_twice_is_an_error():
    into = Linker(host())
    into.add(needs("getpid"))
    with pytest.raises(LinkError, match="two object files define calls_getpid"):
        into.add(needs("getpid"))


def test_damaged_objects_are_errors():
    into, code = Linker(host()), needs("getpid")
    for damaged in (b"", b"text", code[:50], code[:200], b"MZ" + code[2:]):
        with pytest.raises(LinkError, match="object file is"):
            into.add(damaged)


def test_symbols_of_an_object():
    assert link.symbols(needs("getpid")) == (["getpid"], ["calls_getpid"])


def test_only_what_is_exported_is_visible_and_nothing_of_numba_is_needed():
    scope = execute("def twice(a):\n    return helper(inner(a)) * 2\n"
                    "def inner(a):\n    return a + 1\n",
                    {"helper": symbol("helper", "i", "i", "nnc_helper")})
    scope["inner"], inner = symbol("inner", "i", "i", "nnc_inner"), scope["inner"]
    functions = [Function("nnc_twice", scope["twice"], "i", "i"),
                 Function("nnc_inner", inner, "i", "i")]
    code = compile_functions(functions, host(), ["nnc_twice"])
    assert link.symbols(code) == (["nnc_helper"], ["nnc_twice"])


@pytest.mark.parametrize("count", [1, 15, 30, 31, 40, 300])
def test_a_function_may_have_many_arguments(count):
    """Python passes more than 30 of them by way of a list."""
    names = [f"a{i}" for i in range(count)]
    inner, outer = f"nnc_weighted_{count}", f"nnc_passes_{count}"
    scope = execute(
        f"def weighted({', '.join(names)}):\n"
        f"    return {' + '.join(f'{i + 1} * {name}' for i, name in enumerate(names))}\n"
        f"def passes(x):\n"
        f"    return called({', '.join(f'x + {i}' for i in range(count))})\n",
        {"called": symbol("weighted", "i" * count, "i", inner)})
    into = Linker(host())
    into.add(compile_functions([Function(inner, scope["weighted"], "i" * count, "i"),
                                Function(outer, scope["passes"], "i", "i")], host(), [outer]))
    code = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(into.address(outer))
    assert code(7) == sum((i + 1) * (7 + i) for i in range(count))


def test_tuples_are_refused():
    def pair(x):
        return (x, x)
    for source in (pair, lambda x: (x + 1, 2)[0]):
        with pytest.raises(CompileError, match="cannot be compiled"):
            compile_functions([Function("nnc_pair", source, "i", "i")], host(), ["nnc_pair"])


def test_kernels_are_shared_by_models():
    mlp()
    assert LINEAR.symbol in linker(host()) and LINEAR.shared.symbol in linker(host())
    assert kernel_primitive(LINEAR).arguments == "pippiiii"

"""The rooms of the house: who imports whom, and what is loaded when."""
from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(p for package in ("ir", "nncompile") for p in (ROOT / package).rglob("*.py"))

# Data flows down this list and imports go up it: a module imports from its own room and from those
# above it. A room is one or several packages or modules; a package is all that is inside of it,
# but for what has a room of its own.
ROOMS = (
    ("ir",),
    ("nncompile.errors", "nncompile.extras", "nncompile.options", "nncompile.targets",
     "nncompile.collection", "nncompile.placeholders", "nncompile.version",
     "nncompile.forks", "nncompile.sibling", "nncompile.structure", "nncompile.conversion",
     "nncompile.console"),
    ("nncompile.array",),
    ("nncompile.statefile",),
    ("nncompile.nn",),
    ("nncompile.serialization",),
    ("nncompile.optim",),
    ("nncompile.functions", "nncompile.einops"),
    ("nncompile.autograd", "nncompile.utils", "nncompile.distributions", "nncompile.func"),
    ("nncompile.draws", "nncompile.trace"),
    ("nncompile.importers",),
    ("nncompile.passes",),
    ("nncompile.schedule",),
    ("nncompile.backend", "nncompile.faults"),
    ("nncompile.cpu.layout",),
    ("nncompile.cpu.vector",),
    ("nncompile.cpu.kernels",),
    ("nncompile.cpu.objects",),
    ("nncompile.cpu.machine",),
    ("nncompile.cpu.driver",),
    ("nncompile.cpu.runtime",),
    ("nncompile.cpu",),
    ("nncompile.cuda",),
    ("nncompile.inspect",),
    ("nncompile.plans",),                        # what the passes and the schedule make of a graph
    ("nncompile.entries", "nncompile.weights", "nncompile.arguments", "nncompile.model"),
    ("nncompile.training",),                     # a step, and the graph of one
    ("nncompile.estimator",),
    ("nncompile.modelfile",),
    ("nncompile.compiler",),
    ("nncompile.onnx_operators", "nncompile.counterparts", "nncompile.exporters"),
    ("nncompile.onnx_backend",),
    ("nncompile",),                              # the package itself: what a user imports
    ("nncompile.bench",),
    ("nncompile.cli", "nncompile.__main__"),
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


@cache
def imports(name: str, *, only_at_load: bool = False) -> set[str]:
    """Every module that this one imports, anywhere in it or only while it is loaded."""
    path = MODULES[name]
    found: set[str] = set()
    for node in statements(ast.parse(path.read_text()), only_at_load):
        match node:
            case ast.Import(names=aliases):
                found |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=module, names=aliases, level=level):
                assert level == 0, f"{name} imports relatively: the flow is easier seen in full"
                found |= {target if (target := f"{module}.{a.name}") in MODULES else str(module)
                          for a in aliases}
    return found


def statements(tree: ast.AST, only_at_load: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        in_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not (only_at_load and (in_function or for_types)):
            yield node
            yield from statements(node, only_at_load)


def inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("statement", [
    "import ir",
    "import ir.check, ir.interpret, ir.passes, ir.printer",
])
def test_ir_is_usable_by_itself(statement: str) -> None:
    assert loaded_by(statement).isdisjoint({"nncompile", "numba", "llvmlite"})


@pytest.mark.parametrize("statement", [
    "import nncompile",
    "from nncompile import nn; import nncompile.nn.functional",
    "import nncompile; model = nncompile.nn.Linear(3, 2); nncompile.trace(model, 'f32[B, 3]')",
    "import nncompile.cli; nncompile.cli.parser.program()",
])
def test_only_compiling_loads_a_code_generator(statement: str) -> None:
    assert loaded_by(statement).isdisjoint(
        {"numba", "llvmlite", "torch", "onnx", "onnxruntime", "scipy", "sklearn", "rich"})


def test_only_the_command_line_loads_its_parser() -> None:
    assert loaded_by("import nncompile, nncompile.nn, nncompile.bench").isdisjoint(
        {"click", "rich"})


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*(name.partition('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True,
                          capture_output=True, text=True)
    return set(done.stdout.split())


def test_nothing_in_ir_imports_nncompile() -> None:
    allowed = {"ir", "numpy", "networkx", *sys.stdlib_module_names}
    for name in MODULES:
        if inside(name, "ir"):
            roots = {target.partition(".")[0] for target in imports(name)}
            assert roots <= allowed, name


def test_only_the_target_s_room_imports_a_code_generator() -> None:
    users = {name for name in MODULES
             if imports(name) & {"numba", "llvmlite"}
             or any(inside(t, "numba") or inside(t, "llvmlite") for t in imports(name))}
    assert users
    assert all(inside(name, "nncompile.cpu") for name in users)


def test_numba_is_imported_only_where_something_is_compiled() -> None:
    knows = "nncompile.cpu.objects.numba_target"
    for name in set(MODULES) - {knows}:
        at_load = imports(name, only_at_load=True)
        assert not any(inside(t, "numba") or inside(t, knows) for t in at_load), name


def room_of(module: str) -> int | None:
    """The number of a module's room: that of the innermost package or module with a room."""
    rooms = [(len(package), number) for number, room in enumerate(ROOMS) for package in room
             if (module == package if package == "nncompile" else inside(module, package))]
    return max(rooms)[1] if rooms else None


@cache
def all_imports() -> nx.DiGraph:
    """Who imports whom, of our modules: in functions and for types, too."""
    return nx.DiGraph((name, target) for name in MODULES for target in imports(name)
                      if target in MODULES and target != name)


def goes_down(name: str, target: str) -> bool:
    here, there = room_of(name), room_of(target)
    return here is not None and there is not None and there > here


def test_every_module_is_in_a_room() -> None:
    assert [name for name in MODULES if room_of(name) is None] == []
    for package in (package for room in ROOMS for package in room):
        assert package in MODULES, f"there is no {package}"


def test_imports_go_up_the_flow() -> None:
    assert [edge for edge in all_imports().edges if goes_down(*edge)] == []


def test_no_module_imports_itself_in_a_circle() -> None:
    assert list(nx.simple_cycles(all_imports())) == []


def test_no_package_imports_itself_in_a_circle() -> None:
    """Where each package inside of another one counts as a whole."""
    for outer in {name.rpartition(".")[0] for name in MODULES} - {""}:
        def part(module: str, outer: str = outer) -> str | None:
            return module[len(outer) + 1:].partition(".")[0] if inside(module, outer) else None

        edges = {(part(name), part(target)) for name, target in all_imports().edges}
        graph = nx.DiGraph((here, there) for here, there in edges if here and there)
        graph.remove_edges_from(nx.selfloop_edges(graph))
        assert list(nx.simple_cycles(graph)) == [], outer
